/* net.c - see net.h. */
#include "tests/faults/proxy/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

enum bk_status net_address_unix(const char *path, struct net_address *out, struct bk_error *error)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof(name.sun_path))
        return bk_fail(error, BK_INVALID, "\"%s\": the path of a socket has 1 to %zu bytes", path,
                       sizeof(name.sun_path) - 1);
    memcpy(name.sun_path, path, size + 1);
    *out = (struct net_address){.size = sizeof(name)};
    memcpy(&out->bytes, &name, sizeof(name));
    return BK_OK;
}

static enum bk_status look_up(const char *host, const char *port, const char *text, struct net_address *out,
                              struct bk_error *error)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int why = getaddrinfo(host, port, &hints, &found);
    if (why != 0)
        return bk_fail(error, BK_INVALID, "\"%s\": %s", text, gai_strerror(why));
    *out = (struct net_address){.size = found->ai_addrlen};
    memcpy(&out->bytes, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return BK_OK;
}

enum bk_status net_address_parse(const char *text, bool host_optional, struct net_address *out, struct bk_error *error)
{
    static const char unix_prefix[] = "unix:";
    if (strncmp(text, unix_prefix, strlen(unix_prefix)) == 0)
        return net_address_unix(text + strlen(unix_prefix), out, error);
    const char *colon = strrchr(text, ':');
    const char *port = colon ? colon + 1 : text;
    int64_t number = 0;
    if (!bk_parse_integer(bk_span_of(port), &number) || number < 0 || number > 65535 || (!colon && !host_optional) ||
        colon == text)
        return bk_fail(error, BK_INVALID, "\"%s\": expected %sHOST:PORT%s", text, host_optional ? "PORT or " : "",
                       host_optional ? "" : " or unix:PATH");
    const char *host = text;
    size_t size = colon ? (size_t)(colon - text) : 0;
    if (size >= 2 && host[0] == '[' && host[size - 1] == ']') {
        host++;
        size -= 2;
    }
    char *name = colon ? bk_strndup(host, size) : bk_strdup("127.0.0.1");
    enum bk_status status = look_up(name, port, text, out, error);
    free(name);
    return status;
}

bool net_address_is_unix(const struct net_address *address)
{
    return address->bytes.ss_family == AF_UNIX;
}

void net_address_show(struct bk_text *text, const struct net_address *address)
{
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];
    if (net_address_is_unix(address)) {
        struct sockaddr_un name;
        memcpy(&name, &address->bytes, sizeof(name));
        bk_text_printf(text, "unix:%s", name.sun_path);
    } else if (getnameinfo((const struct sockaddr *)&address->bytes, address->size, host, sizeof(host), port,
                           sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        bk_text_printf(text, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    } else {
        bk_text_puts(text, "?");
    }
}

static int make_socket(const struct net_address *address)
{
    return socket(address->bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* A Unix socket that nobody listens to stays in the file system when its owner is killed. */
static void remove_stale(const struct net_address *address)
{
    int fd = make_socket(address);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address->bytes, address->size) != 0 && errno == ECONNREFUSED) {
        struct sockaddr_un name;
        memcpy(&name, &address->bytes, sizeof(name));
        (void)unlink(name.sun_path);
    }
    net_close(fd);
}

enum bk_status net_listen(const struct net_address *address, int *fd, struct bk_error *error)
{
    BK_AUTO_TEXT shown = {0};
    net_address_show(&shown, address);
    if (net_address_is_unix(address))
        remove_stale(address);
    int listener = make_socket(address);
    const int yes = 1;
    if (listener >= 0)
        (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (listener < 0 || bind(listener, (const struct sockaddr *)&address->bytes, address->size) != 0 ||
        listen(listener, SOMAXCONN) != 0) {
        int why = errno;
        net_close(listener);
        return bk_fail(error, BK_OUTAGE, "cannot listen on %s: %s", bk_text_string(&shown), strerror(why));
    }
    *fd = listener;
    return BK_OK;
}

void net_bound(int fd, struct net_address *out)
{
    *out = (struct net_address){.size = sizeof(out->bytes)};
    (void)getsockname(fd, (struct sockaddr *)&out->bytes, &out->size);
}

/* What is written goes out at once: the cut into segments is ours to make. */
static void no_delay(int fd)
{
    const int yes = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)); /* not for a Unix socket, and needless there */
}

int net_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        no_delay(fd);
    return fd;
}

int net_connect(const struct net_address *address)
{
    int fd = make_socket(address);
    if (fd < 0)
        return -1;
    no_delay(fd);
    if (connect(fd, (const struct sockaddr *)&address->bytes, address->size) == 0 || errno == EINPROGRESS)
        return fd;
    int why = errno;
    net_close(fd);
    errno = why;
    return -1;
}

int net_error(int fd)
{
    int why = 0;
    socklen_t size = sizeof(why);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &size) == 0 ? why : errno;
}

size_t net_unconfirmed(int fd)
{
    int domain = 0;
    int size = 0;
    socklen_t length = sizeof(domain);
    /* what is written to a Unix socket is at the other side already */
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0 || domain == AF_UNIX)
        return 0;
    return ioctl(fd, SIOCOUTQ, &size) == 0 && size > 0 ? (size_t)size : 0;
}

void net_reset(int fd)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (fd < 0)
        return;
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    (void)close(fd);
}

void net_close(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}
