/* url.h - the two connection URLs: what they may say, and how they are shown without their secrets. */
#ifndef BK_URL_H
#define BK_URL_H

#include "common/error.h"
#include "common/text.h"

/** DATABASE_URL taken apart: what libpq gets, and the parameters of Prisma's that libpq does not know. A parameter
 *  that is absent is -1. Free with bk_database_url_deinit. */
struct bk_database_url {
    char *conninfo;            /* for libpq; owned */
    int64_t connection_limit;  /* BOOKING_POOL_MAX */
    int64_t pool_timeout_s;    /* BOOKING_POOL_ACQUIRE_TIMEOUT_MS / 1000; 0 means none to Prisma */
    int64_t connect_timeout_s; /* BOOKING_CONNECT_TIMEOUT_MS / 1000 */
    int64_t socket_timeout_s;  /* BOOKING_STATEMENT_TIMEOUT_MS / 1000 */
    bool pgbouncer;            /* transaction pooling in between: no session state */
};

/** Takes a libpq URI (`postgres://` or `postgresql://`) or a `key=value` conninfo apart. `schema` and
 *  `statement_cache_size` are accepted and have no effect here: the schema is always `booking`.
 *  Errors: BK_INVALID naming the parameter. Any thread. */
enum bk_status bk_database_url_parse(const char *url, struct bk_database_url *out, struct bk_error *error);
void bk_database_url_deinit(struct bk_database_url *url);

enum { BK_REDIS_HOSTS_MAX = 16 };

/** REDIS_URL taken apart; every string is owned. Free with bk_redis_url_deinit. */
struct bk_redis_url {
    bool tls;
    bool sentinel;     /* `hosts` are Sentinels; ask them for `master` */
    char *unix_path;   /* else NULL */
    char *user;        /* NULL: Redis's default user */
    char *password;    /* NULL: none */
    char *master;      /* the master's name at the Sentinels */
    size_t host_count; /* 1, or the number of Sentinels; 0 for a socket */
    char *hosts[BK_REDIS_HOSTS_MAX];
    int ports[BK_REDIS_HOSTS_MAX];
    int db;
};

/** Takes redis://, rediss://, redis+sentinel:// and unix:// URLs apart (percent-escapes resolved).
 *  Errors: BK_INVALID with what is wrong. Any thread. */
enum bk_status bk_redis_url_parse(const char *url, struct bk_redis_url *out, struct bk_error *error);
void bk_redis_url_deinit(struct bk_redis_url *url);

/** Appends a URL or conninfo with every password in it replaced by "***", also where it is ill-formed (what looks like a
 *  password is taken for one). Any thread. */
void bk_url_mask(struct bk_text *text, const char *url);

#endif
