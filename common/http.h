/* http.h - a small HTTP server: requests in, answers out, limits on everything a client could use up. */
#ifndef BK_HTTP_H
#define BK_HTTP_H

#include "common/error.h"
#include "common/text.h"

struct bk_http_server;

/** A request; everything is lent until the handler returns. */
struct bk_http_request {
    const char *method; /* "GET", ... */
    const char *path;   /* decoded, without the query */
    struct bk_span body;
    const char *client; /* the peer's address, for logs and limits */
    void *connection;   /* for the two functions below */
};
/** A query parameter, decoded; NULL when it is not there. */
const char *bk_http_query(const struct bk_http_request *request, const char *name);
/** A header's value, any case of its name; NULL when it is not there. */
const char *bk_http_header(const struct bk_http_request *request, const char *name);

/** An answer; zeroed before the handler sees it. */
struct bk_http_response {
    int status;       /* 200 unless the handler says otherwise */
    const char *type; /* Content-Type; "text/plain; charset=utf-8" unless the handler says otherwise */
    struct bk_text body;
    struct bk_text headers; /* further ones, "Name: value\n" each */
};

typedef void (*bk_http_handler)(void *arg, const struct bk_http_request *request, struct bk_http_response *response);

struct bk_http_options {
    const char *address;      /* "127.0.0.1:9400", "[::1]:0"; port 0 picks one */
    unsigned connections;     /* most at once */
    unsigned per_client;      /* most at once from one address; 0: as many */
    unsigned idle_timeout_s;  /* a connection silent this long is closed */
    unsigned request_limit_s; /* a request not complete after this is closed, however it dribbles */
    size_t body_most;         /* bytes; a longer body is answered with 413 */
    unsigned threads;         /* that call the handler */
    bk_http_handler handler;  /* called from the server's threads */
    void *arg;
};

/** Starts serving. The caller owns *out. Errors: BK_INVALID for an address that is none, BK_OPERATOR when it cannot be
 *  listened on. */
enum bk_status bk_http_start(struct bk_http_server **out, const struct bk_http_options *options,
                             struct bk_error *error);
/** Stops, waiting for handlers that run. NULL is fine; returns NULL. */
struct bk_http_server *bk_http_stop(struct bk_http_server *server);
/** The port it listens on. */
unsigned bk_http_port(const struct bk_http_server *server);

/** Splits "host:port" or "[v6]:port"; false when it is none. `host` has room for 64 bytes. Any thread. */
bool bk_http_parse_address(const char *address, char host[64], unsigned *port);

#endif
