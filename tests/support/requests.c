/* requests.c - requests PORT OPERATOR VIEWER TICKET: sends each row of tests/corpus/requests.txt to booking-admin at that
 * port of 127.0.0.1, byte for byte, and prints a line for each answer that is not the expected one; then how many rows
 * there were. OPERATOR and VIEWER are tokens. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/check.h"
#include "tests/support/corpus.h"

static char **given; /* the arguments */

enum { GIVEN_PORT = 1, GIVEN_OPERATOR, GIVEN_VIEWER, GIVEN_TICKET, GIVEN_COUNT };

/* --- asking ---------------------------------------------------------------------------------------------------------- */

static void fill(struct bk_text *out, struct bk_span text)
{
    for (size_t i = 0; i < text.size; i++) {
        bool ticket = text.at[i] == '@' && i + 1 < text.size && text.at[i + 1] == 't';
        if (ticket)
            bk_text_puts(out, given[GIVEN_TICKET]);
        else
            bk_text_putc(out, text.at[i]);
        i += ticket;
    }
}

static void put_header(struct bk_text *out, struct bk_span header)
{
    if (bk_span_is(header, "op"))
        bk_text_printf(out, "Authorization: Bearer %s", given[GIVEN_OPERATOR]);
    else if (bk_span_is(header, "vi"))
        bk_text_printf(out, "Authorization: Bearer %s", given[GIVEN_VIEWER]);
    else if (bk_span_is(header, "json"))
        bk_text_puts(out, "Content-Type: application/json");
    else
        bk_text_add(out, header.at, header.size);
    bk_text_puts(out, "\r\n");
}

static void put_request(struct bk_text *out, const struct corpus_row *row)
{
    BK_AUTO_TEXT body = {0};
    fill(&body, corpus_span(row, 2));
    fill(out, corpus_span(row, 0));
    bk_text_puts(out, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    struct bk_span headers = corpus_span(row, 1);
    while (headers.size) {
        struct bk_span header = fuzz_piece(&headers, '|');
        put_header(out, header);
    }
    if (body.size || strncmp(corpus_text(row, 0), "POST", 4) == 0)
        bk_text_printf(out, "Content-Length: %zu\r\n", body.size);
    bk_text_puts(out, "\r\n");
    bk_text_add(out, bk_text_string(&body), body.size);
}

/* Sends, and reads until the other end closes; what it does not want to read any more is its own affair. */
static void talk(const struct bk_text *request, struct bk_text *answer)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(given[GIVEN_PORT]))};
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const struct timeval patience = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    BK_ASSERT(fd >= 0 && connect(fd, (struct sockaddr *)&where, sizeof(where)) == 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ssize_t sent = 1;
    for (size_t i = 0; i < request->size && sent > 0; i += (size_t)sent)
        sent = send(fd, request->data + i, request->size - i, MSG_NOSIGNAL);
    char room[65536];
    for (ssize_t size = recv(fd, room, sizeof(room), 0); size > 0; size = recv(fd, room, sizeof(room), 0))
        bk_text_add(answer, room, (size_t)size);
    (void)close(fd);
}

/* --- judging --------------------------------------------------------------------------------------------------------- */

static bool fits(const char *got, const char *wanted)
{
    size_t size = strlen(wanted);
    if (size >= 3 && strcmp(wanted + size - 3, "...") == 0)
        return strncmp(got, wanted, size - 3) == 0;
    return strcmp(got, wanted) == 0;
}

/* What a body says, in the table's words: the error, or itself. "" for one that is no JSON. */
static void read_body(struct bk_text *out, struct bk_span body, bool refused)
{
    while (body.size && body.at[body.size - 1] == '\n')
        body.size--;
    if (!fuzz_is_json(body.at, body.size))
        return;
    if (!refused)
        bk_text_add(out, body.at, body.size);
    else if (!fuzz_error_of(out, body))
        bk_text_clear(out);
}

/* NULL, or what is wrong. */
static const char *judge(const char *wanted, int status, struct bk_span body, struct bk_text *said)
{
    if (strcmp(wanted, "any") == 0)
        return status < 500 ? NULL : "expected no 5xx";
    if (status != atoi(wanted))
        return "another status";
    const char *text = wanted + strspn(wanted, "0123456789 ");
    read_body(said, body, status >= 400);
    if (said->size == 0)
        return status >= 400 ? "expected {\"error\":...}" : "expected JSON";
    if (status >= 400 && !fuzz_is_plain(said->data, 2500))
        return "no error to show to a person";
    return *text && !fits(said->data, text) ? "another answer" : NULL;
}

static void check(const struct corpus_row *row)
{
    BK_AUTO_TEXT request = {0};
    BK_AUTO_TEXT answer = {0};
    BK_AUTO_TEXT said = {0};
    BK_AUTO_TEXT shown = {0};
    put_request(&request, row);
    talk(&request, &answer);
    const char *text = bk_text_string(&answer);
    int status = strncmp(text, "HTTP/1.1 ", 9) == 0 ? atoi(text + 9) : 0;
    const char *blank = memmem(text, answer.size, "\r\n\r\n", 4);
    struct bk_span body = {"", 0};
    if (blank)
        body = (struct bk_span){blank + 4, (size_t)(text + answer.size - blank - 4)};
    const char *wrong = judge(corpus_text(row, 3), status, body, &said);
    if (!wrong)
        return;
    bk_text_safe(&shown, body.at, body.size, 300);
    (void)printf("requests.txt line %d: %s: %d %s\n", row->line, wrong, status, bk_text_string(&shown));
}

int main(int argc, char **argv)
{
    if (argc != GIVEN_COUNT) {
        (void)fputs("usage: requests PORT OPERATOR VIEWER TICKET\n", stderr);
        return 64;
    }
    given = argv;
    (void)printf("%zu requests\n", corpus_each("requests.txt", 4, check));
    return 0;
}
