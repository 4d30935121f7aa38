/* tell.c - the other end of the control socket: sends one command, prints what is answered. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/program.h"
#include "tests/faults/proxy/proxy.h"
#include "tests/faults/proxy/words.h"

static int fail(int code, const char *path, const char *why)
{
    (void)fprintf(stderr, "fault-proxy: %s: %s\n", path, why);
    return code;
}

/* One argument is a line already; of several each is a word. */
static bool make_line(struct bk_text *line, int argc, char **argv)
{
    if (argc == 1)
        bk_text_puts(line, argv[0]);
    for (int i = 0; argc > 1 && i < argc; i++) {
        if (i > 0)
            bk_text_putc(line, ' ');
        words_quote(line, argv[i]);
    }
    if (memchr(bk_text_string(line), '\n', line->size))
        return false;
    bk_text_putc(line, '\n');
    return true;
}

static bool send_all(int fd, const struct bk_text *line)
{
    for (size_t at = 0; at < line->size;) {
        ssize_t written = send(fd, line->data + at, line->size - at, MSG_NOSIGNAL);
        if (written < 0 && errno != EINTR)
            return false;
        at += written > 0 ? (size_t)written : 0;
    }
    return true;
}

static bool read_line(int fd, struct bk_text *line)
{
    while (line->size == 0 || line->data[line->size - 1] != '\n') {
        char chunk[4096];
        ssize_t got = recv(fd, chunk, sizeof(chunk), 0);
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        if (got > 0)
            bk_text_add(line, chunk, (size_t)got);
    }
    return true;
}

static int converse(int fd, const char *path, const struct bk_text *line)
{
    BK_AUTO_TEXT answer = {0};
    if (!send_all(fd, line) || !read_line(fd, &answer))
        return fail(BK_EXIT_UNAVAILABLE, path, "the proxy ended without an answer");
    bool good = strncmp(answer.data, "ok", 2) == 0;
    (void)fputs(answer.data, good ? stdout : stderr);
    if (fflush(stdout) != 0)
        return BK_EXIT_INTERNAL;
    return good ? BK_EXIT_OK : BK_EXIT_DATA;
}

int tell(const char *path, int argc, char **argv)
{
    struct net_address address;
    struct bk_error error = {0};
    BK_AUTO_TEXT line = {0};
    if (!make_line(&line, argc, argv))
        return fail(BK_EXIT_DATA, path, "a command is one line");
    if (net_address_unix(path, &address, &error) != BK_OK)
        return fail(BK_EXIT_USAGE, "--tell", error.text);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address.bytes, address.size) != 0) {
        int code = fail(BK_EXIT_UNAVAILABLE, path, strerror(errno));
        net_close(fd);
        return code;
    }
    int code = converse(fd, path, &line);
    net_close(fd);
    return code;
}
