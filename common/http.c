/* http.c - the only file that includes libmicrohttpd. */
#include "common/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "common/clock.h"

/* MHD_Result came with 0.9.71; before it the callbacks returned int. */
#if MHD_VERSION < 0x00097002
typedef int bk_mhd_result;
#else
typedef enum MHD_Result bk_mhd_result;
#endif

/* A connection, from its start to its end. */
struct peer {
    int fd;
    bk_ms since; /* monotonic; waiting for a request's head from then on; 0: it has one */
    struct peer *next;
    struct peer **link; /* what points at it */
};

struct bk_http_server {
    struct bk_http_options options;
    struct MHD_Daemon *daemon;
    unsigned port;
    pthread_mutex_t lock; /* of what follows */
    struct peer *peers;
    bk_ms swept_at;
};

/* What is kept between the calls for one request. */
struct exchange {
    struct bk_text body;
    bool too_large;
    bk_ms deadline;
};

const char *bk_http_query(const struct bk_http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *bk_http_header(const struct bk_http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

static void add_headers(struct MHD_Response *response, struct bk_text *headers)
{
    char *rest = NULL;
    char *line = headers->data ? strtok_r(headers->data, "\n", &rest) : NULL;
    for (; line; line = strtok_r(NULL, "\n", &rest)) {
        char *colon = strstr(line, ": ");
        if (!colon)
            continue;
        *colon = '\0';
        (void)MHD_add_response_header(response, line, colon + 2);
    }
}

static bk_mhd_result send_answer(struct MHD_Connection *connection, struct bk_http_response *answer)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(answer->body.size, answer->body.data, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    (void)MHD_add_response_header(response, "Content-Type", answer->type ? answer->type : "text/plain; charset=utf-8");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    add_headers(response, &answer->headers);
    bk_mhd_result result = MHD_queue_response(connection, (unsigned)(answer->status ? answer->status : 200), response);
    MHD_destroy_response(response);
    bk_text_deinit(&answer->body);
    bk_text_deinit(&answer->headers);
    return result;
}

static void client_of(struct MHD_Connection *connection, char out[64])
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;
    out[0] = '\0';
    if (address && address->sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, out, 64);
    else if (address && address->sa_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, out, 64);
}

static bk_mhd_result answer_request(struct bk_http_server *server, struct MHD_Connection *connection, const char *url,
                                    const char *method, struct exchange *exchange)
{
    struct bk_http_response answer = {0};
    if (exchange->too_large) {
        answer.status = 413;
        bk_text_puts(&answer.body, "the request's body is too large\n");
        return send_answer(connection, &answer);
    }
    char client[64];
    client_of(connection, client);
    const struct bk_http_request request = {.method = method,
                                            .path = url,
                                            .body = {bk_text_string(&exchange->body), exchange->body.size},
                                            .client = client,
                                            .connection = connection};
    server->options.handler(server->options.arg, &request, &answer);
    return send_answer(connection, &answer);
}

/* --- who dribbles -------------------------------------------------------------------------------------------------

   libmicrohttpd's own timeout starts anew with each byte, so a head that comes a byte at a time would hold its
   connection for ever. Whenever somebody new comes, those who have been about it for too long are shown out: then,
   and only then, it matters. Shutting the socket down wakes the thread it belongs to, which closes it. */

static void show_out_the_slow(struct bk_http_server *server, bk_ms now)
{
    bk_ms limit = now - (bk_ms)server->options.request_limit_s * 1000;
    if (now - server->swept_at < 500)
        return;
    server->swept_at = now;
    for (struct peer *peer = server->peers; peer; peer = peer->next) {
        if (peer->since && peer->since < limit)
            (void)shutdown(peer->fd, SHUT_RDWR);
    }
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct bk_http_server *server = cls;
    struct peer *peer = *context;
    pthread_mutex_lock(&server->lock);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        peer = bk_zalloc(sizeof(*peer));
        *peer = (struct peer){info ? info->connect_fd : -1, bk_clock_now(), server->peers, &server->peers};
        if (peer->next)
            peer->next->link = &peer->next;
        server->peers = peer;
        *context = peer;
        show_out_the_slow(server, peer->since);
    } else if (peer) {
        *peer->link = peer->next;
        if (peer->next)
            peer->next->link = peer->link;
        free(peer);
        *context = NULL;
    }
    pthread_mutex_unlock(&server->lock);
}

/* Whether this connection waits for a request's head. */
static void note_waiting(struct bk_http_server *server, struct MHD_Connection *connection, bool waiting)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct peer *peer = info ? info->socket_context : NULL;
    pthread_mutex_lock(&server->lock);
    if (peer)
        peer->since = waiting ? bk_clock_now() : 0;
    pthread_mutex_unlock(&server->lock);
}

static bk_mhd_result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                const char *version, const char *data, size_t *size, void **state)
{
    struct bk_http_server *server = cls;
    struct exchange *exchange = *state;
    (void)version;
    if (!exchange) {
        exchange = bk_zalloc(sizeof(*exchange));
        exchange->deadline = bk_clock_now() + (bk_ms)server->options.request_limit_s * 1000;
        *state = exchange;
        note_waiting(server, connection, false);
        return MHD_YES;
    }
    if (*size > 0) {
        if (bk_clock_now() > exchange->deadline)
            return MHD_NO;
        exchange->too_large = exchange->too_large || exchange->body.size + *size > server->options.body_most;
        if (!exchange->too_large)
            bk_text_add(&exchange->body, data, *size);
        *size = 0;
        return MHD_YES;
    }
    return answer_request(server, connection, url, method, exchange);
}

static void on_done(void *cls, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why)
{
    (void)why;
    struct exchange *exchange = *state;
    if (!exchange)
        return;
    note_waiting(cls, connection, true);
    bk_text_deinit(&exchange->body);
    free(exchange);
    *state = NULL;
}

bool bk_http_parse_address(const char *address, char host[64], unsigned *port)
{
    const char *colon = strrchr(address, ':');
    int64_t number = 0;
    if (!colon || !bk_parse_integer(bk_span_of(colon + 1), &number) || number < 0 || number > 65535)
        return false;
    const char *from = address;
    size_t size = (size_t)(colon - address);
    if (size >= 2 && from[0] == '[' && from[size - 1] == ']') {
        from++;
        size -= 2;
    }
    if (size == 0 || size >= 64)
        return false;
    memcpy(host, from, size);
    host[size] = '\0';
    *port = (unsigned)number;
    return true;
}

static bool to_socket_address(const char *address, struct sockaddr_storage *out)
{
    char host[64];
    unsigned port = 0;
    if (!bk_http_parse_address(address, host, &port))
        return false;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    memset(out, 0, sizeof(*out));
    if (strcmp(host, "localhost") == 0)
        memcpy(host, "127.0.0.1", sizeof("127.0.0.1"));
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
        memcpy(out, &v4, sizeof(v4));
    else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1)
        memcpy(out, &v6, sizeof(v6));
    else
        return false;
    return true;
}

/* The socket is ours, so that an address in use is told as what it is. */
static enum bk_status listen_on(const char *address, int *out, unsigned *port, struct bk_error *error)
{
    struct sockaddr_storage where;
    if (!to_socket_address(address, &where))
        return bk_fail(error, BK_INVALID, "\"%.80s\": expected address:port, like 127.0.0.1:9400", address);
    int fd = socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int one = 1;
    socklen_t size = where.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(fd, (struct sockaddr *)&where, size) < 0 || listen(fd, 128) < 0 ||
        getsockname(fd, (struct sockaddr *)&where, &size) < 0) {
        int why = errno;
        if (fd >= 0)
            (void)close(fd);
        return bk_fail(error, BK_OPERATOR, "cannot listen on %s: %s", address, strerror(why));
    }
    *port = ntohs(where.ss_family == AF_INET ? ((struct sockaddr_in *)(void *)&where)->sin_port
                                             : ((struct sockaddr_in6 *)(void *)&where)->sin6_port);
    *out = fd;
    return BK_OK;
}

enum bk_status bk_http_start(struct bk_http_server **out, const struct bk_http_options *options, struct bk_error *error)
{
    int fd = -1;
    unsigned port = 0;
    enum bk_status status = listen_on(options->address, &fd, &port, error);
    if (status != BK_OK)
        return status;
    struct bk_http_server *server = bk_zalloc(sizeof(*server));
    server->options = *options;
    server->port = port;
    (void)pthread_mutex_init(&server->lock, NULL);
    unsigned flags = MHD_USE_AUTO_INTERNAL_THREAD;
    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, server, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        BK_MAX(options->connections, options->threads), MHD_OPTION_PER_IP_CONNECTION_LIMIT, options->per_client,
        MHD_OPTION_CONNECTION_TIMEOUT, options->idle_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)32768,
        MHD_OPTION_NOTIFY_COMPLETED, on_done, server, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
        options->threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, options->threads, MHD_OPTION_END);
    if (!server->daemon) {
        (void)close(fd);
        (void)pthread_mutex_destroy(&server->lock);
        free(server);
        return bk_fail(error, BK_OPERATOR, "the HTTP server on %s cannot be started", options->address);
    }
    *out = server;
    return BK_OK;
}

struct bk_http_server *bk_http_stop(struct bk_http_server *server)
{
    if (server) {
        MHD_stop_daemon(server->daemon);
        (void)pthread_mutex_destroy(&server->lock);
        free(server);
    }
    return NULL;
}

unsigned bk_http_port(const struct bk_http_server *server)
{
    return server->port;
}
