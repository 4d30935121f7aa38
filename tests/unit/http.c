/* The small HTTP server, over real sockets: addresses, limits on what a client may send, and what it gets back. */
#include "common/http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "common/clock.h"

/* Says what it was asked, by whom. */
static void echo(void *arg, const struct bk_http_request *request, struct bk_http_response *response)
{
    const char *name = bk_http_query(request, "name");
    const char *header = bk_http_header(request, "X-Test");
    response->status = arg ? 201 : 0;
    if (strcmp(request->path, "/bad-header") == 0)
        bk_text_puts(&response->headers, "no colon in it\nX-Good: yes\n");
    bk_text_printf(&response->body, "%s %s from %s; %s; %s; %zu bytes", request->method, request->path, request->client,
                   name ? name : "-", header ? header : "-", request->body.size);
}

static struct bk_http_options options_of(const char *address)
{
    return (struct bk_http_options){.address = address,
                                    .connections = 8,
                                    .idle_timeout_s = 5,
                                    .request_limit_s = 1,
                                    .body_most = 1000,
                                    .threads = 1,
                                    .handler = echo};
}

static struct bk_http_server *start(const char *address)
{
    const struct bk_http_options options = options_of(address);
    struct bk_http_server *server = NULL;
    struct bk_error error = {0};
    cr_assert_eq(bk_http_start(&server, &options, &error), BK_OK, "%s", error.text);
    cr_assert_neq(bk_http_port(server), 0);
    return server;
}

static int dial(const struct bk_http_server *server)
{
    struct sockaddr_in where = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons((uint16_t)bk_http_port(server))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&where, sizeof(where)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* Everything until the other side closes; closes. */
static const char *hear(int fd)
{
    static char text[4096];
    size_t size = 0;
    for (ssize_t got = 0; (got = recv(fd, text + size, sizeof(text) - 1 - size, 0)) > 0;)
        size += (size_t)got;
    text[size] = '\0';
    (void)close(fd);
    return text;
}

static const char *ask(const struct bk_http_server *server, const char *request)
{
    int fd = dial(server);
    say(fd, request);
    return hear(fd);
}

static void expect_in(const char *text, const char *piece)
{
    cr_expect(strstr(text, piece), "\"%s\" is not in \"%s\"", piece, text);
}

TestSuite(http, .timeout = 30);

Test(http, splits_an_address_into_host_and_port)
{
    static const struct {
        const char *address;
        const char *host; /* NULL: it is none */
        unsigned port;
    } cases[] = {
        {"127.0.0.1:9400", "127.0.0.1", 9400},
        {"[::1]:0", "::1", 0},
        {"localhost:65535", "localhost", 65535},
        {"127.0.0.1", NULL, 0},
        {":9400", NULL, 0},
        {"[]:9400", NULL, 0},
        {"127.0.0.1:", NULL, 0},
        {"x:65536", NULL, 0},
        {"x:-1", NULL, 0},
        {"x:9400x", NULL, 0},
        {"[::1:1", "[::1", 1},
        {"[:1", "[", 1},
        {"a]:1", "a]", 1},
        {"", NULL, 0},
    };
    for (size_t i = 0; i < BK_COUNT(cases); i++) {
        char host[64] = "";
        unsigned port = 0;
        bool good = bk_http_parse_address(cases[i].address, host, &port);
        cr_expect_eq(good, cases[i].host != NULL, "%s", cases[i].address);
        if (good && cases[i].host) {
            cr_expect_str_eq(host, cases[i].host);
            cr_expect_eq(port, cases[i].port);
        }
    }
    char longest[70];
    char host[64];
    unsigned port = 0;
    memset(longest, 'x', sizeof(longest));
    memcpy(longest + 63, ":1", 3);
    cr_expect(bk_http_parse_address(longest, host, &port), "63 bytes fit");
    memcpy(longest + 63, "x:1", 4);
    cr_expect(!bk_http_parse_address(longest, host, &port), "64 do not");
}

Test(http, listens_where_it_is_told_and_nowhere_else)
{
    struct bk_http_server *named = start("localhost:0");
    expect_in(ask(named, "GET / HTTP/1.0\r\n\r\n"), "from 127.0.0.1;");
    (void)bk_http_stop(named);
    static const char *const bad[] = {"nonsense", "no.such.host:1", "256.0.0.1:1"};
    struct bk_http_server *none = NULL;
    struct bk_error error = {0};
    for (size_t i = 0; i < BK_COUNT(bad); i++) {
        const struct bk_http_options options = options_of(bad[i]);
        cr_expect_eq(bk_http_start(&none, &options, &error), BK_INVALID, "%s", bad[i]);
        expect_in(error.text, "expected address:port");
    }
    const struct bk_http_options foreign = options_of("192.0.2.1:0");
    cr_expect_eq(bk_http_start(&none, &foreign, &error), BK_OPERATOR);
    expect_in(error.text, "cannot listen on 192.0.2.1:0: ");
    cr_expect_null(none);
    cr_expect_null(bk_http_stop(NULL));
}

Test(http, an_address_that_is_taken_is_told_as_what_it_is)
{
    struct bk_http_server *first = start("127.0.0.1:0");
    char address[40];
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", bk_http_port(first));
    const struct bk_http_options options = options_of(address);
    struct bk_http_server *second = NULL;
    struct bk_error error = {0};
    cr_expect_eq(bk_http_start(&second, &options, &error), BK_OPERATOR);
    expect_in(error.text, "Address already in use");
    (void)bk_http_stop(first);
}

Test(http, serves_version_six_of_the_protocol)
{
    struct sockaddr_in6 where = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&where, sizeof(where)) < 0)
        cr_skip_test("no IPv6 here");
    (void)close(fd);
    struct bk_http_server *server = start("[::1]:0");
    where.sin6_port = htons((uint16_t)bk_http_port(server));
    fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&where, sizeof(where)), 0);
    say(fd, "GET / HTTP/1.0\r\n\r\n");
    expect_in(hear(fd), "from ::1;");
    (void)bk_http_stop(server);
}

Test(http, tells_the_handler_what_was_asked_and_the_client_what_it_says)
{
    struct bk_http_server *server = start("127.0.0.1:0");
    const char *answer = ask(server, "GET /a%20b?name=x%26y HTTP/1.0\r\nx-test: value\r\n\r\n");
    expect_in(answer, " 200 OK");
    expect_in(answer, "Content-Type: text/plain; charset=utf-8");
    expect_in(answer, "X-Content-Type-Options: nosniff");
    expect_in(answer, "GET /a b from 127.0.0.1; x&y; value; 0 bytes");
    answer = ask(server, "GET /bad-header HTTP/1.0\r\n\r\n");
    expect_in(answer, "X-Good: yes");
    cr_expect_null(strstr(answer, "no colon"), "%s", answer);
    (void)bk_http_stop(server);
}

Test(http, a_handler_chooses_the_status)
{
    struct bk_http_options options = options_of("127.0.0.1:0");
    options.arg = &options;
    options.threads = 2;
    struct bk_http_server *server = NULL;
    cr_assert_eq(bk_http_start(&server, &options, NULL), BK_OK);
    expect_in(ask(server, "GET / HTTP/1.0\r\n\r\n"), " 201 Created");
    (void)bk_http_stop(server);
}

Test(http, a_body_within_the_limit_arrives_and_a_longer_one_is_refused)
{
    struct bk_http_server *server = start("127.0.0.1:0");
    char request[3000];
    static const size_t sizes[] = {1000, 1001};
    for (size_t i = 0; i < BK_COUNT(sizes); i++) {
        int head = snprintf(request, sizeof(request), "POST / HTTP/1.0\r\nContent-Length: %zu\r\n\r\n", sizes[i]);
        memset(request + head, 'x', sizes[i]);
        request[(size_t)head + sizes[i]] = '\0';
        expect_in(ask(server, request), i ? " 413 " : "1000 bytes");
    }
    (void)bk_http_stop(server);
}

Test(http, a_body_that_dribbles_is_cut_off_at_the_limit)
{
    struct bk_http_server *server = start("127.0.0.1:0");
    int fd = dial(server);
    bk_ms began = bk_clock_now();
    say(fd, "POST / HTTP/1.0\r\nContent-Length: 1000\r\n\r\n");
    while (bk_clock_now() - began < 10000 && send(fd, "x", 1, MSG_NOSIGNAL) == 1)
        (void)usleep(50000);
    cr_expect_geq(bk_clock_now() - began, 1000);
    cr_expect_lt(bk_clock_now() - began, 8000);
    (void)close(fd);
    (void)bk_http_stop(server);
}

Test(http, heads_that_do_not_end_are_shown_out_when_somebody_else_comes)
{
    struct bk_http_server *server = start("127.0.0.1:0");
    int silent = dial(server);
    int fast = dial(server);
    say(silent, "GET / HTTP/1.1\r\nX-Slow:");
    say(fast, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    char byte = 0;
    bk_ms deadline = bk_clock_now() + 15000;
    while (recv(silent, &byte, 1, MSG_DONTWAIT) != 0 && bk_clock_now() < deadline)
        expect_in(ask(server, "GET / HTTP/1.0\r\n\r\n"), "GET / from");
    cr_expect_lt(bk_clock_now(), deadline, "closed, not merely silent");
    (void)close(silent);
    (void)close(fast);
    (void)bk_http_stop(server);
}
