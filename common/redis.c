/* redis.c - the only file that includes hiredis.
 *
 * The context is non-blocking and this file does the waiting: poll() with the time that remains, so that a server that
 * sends one byte a second, or none, cannot stretch a call. hiredis's own time-outs count per read and are not used,
 * and neither is redisReconnect (after a failed name lookup it closes a descriptor that may be somebody else's).
 */
#include "common/redis.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <hiredis/hiredis.h>
#if HIREDIS_MAJOR == 0
#include <hiredis/sds.h>
#endif

#include "common/crash.h"
#include "common/resolve.h"

struct bk_redis {
    redisContext *context;
    bool broken;
    size_t unanswered; /* commands appended whose answers are not read */
    char peer[300];
    char moved_to[300]; /* "host:port" of the last MOVED; "" for none */
};

/* How an error answer is classed, by its first word. What is not listed is a bug or a wrong set-up: an operator's. */
static const struct {
    const char *word;
    enum bk_status status;
} error_classes[] = {
    {"READONLY", BK_OUTAGE},   {"LOADING", BK_OUTAGE},   {"MASTERDOWN", BK_OUTAGE},  {"CLUSTERDOWN", BK_OUTAGE},
    {"TRYAGAIN", BK_OUTAGE},   {"BUSY", BK_OUTAGE},      {"OOM", BK_OUTAGE},         {"MISCONF", BK_OUTAGE},
    {"NOREPLICAS", BK_OUTAGE}, {"UNBLOCKED", BK_OUTAGE}, {"MOVED", BK_OUTAGE},       {"ASK", BK_OUTAGE},
    {"NOAUTH", BK_OPERATOR},   {"NOPERM", BK_OPERATOR},  {"WRONGPASS", BK_OPERATOR}, {"FENCED", BK_FENCED},
    {"INVALID", BK_INVALID},   {"MISSING", BK_MISSING},
};

static enum bk_status class_of(const char *text)
{
    size_t size = strcspn(text, " ");
    for (size_t i = 0; i < BK_COUNT(error_classes); i++) {
        if (strlen(error_classes[i].word) == size && strncmp(error_classes[i].word, text, size) == 0)
            return error_classes[i].status;
    }
    if (strstr(text, "Function not found"))
        return BK_MISSING;
    if (strstr(text, "max number of clients") || strstr(text, "DENIED"))
        return BK_OUTAGE;
    return BK_OPERATOR;
}

static enum bk_status broke(struct bk_redis *redis, enum bk_status status, struct bk_error *error, const char *what)
{
    redis->broken = true;
    (void)bk_fail(error, status, "redis %s: %s", redis->peer, what);
    return status;
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

/* Set anew on every connection: hiredis forgets them, and forked children must not inherit it. */
static void tune(int fd, bool tcp)
{
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (!tcp)
        return;
    const int one = 1;
    const int idle_s = 15;
    const int interval_s = 5;
    const int count = 3;
    const unsigned int user_timeout_ms = 30000;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
}

static enum bk_status finish_connect(struct bk_redis *redis, bk_ms deadline, struct bk_error *error)
{
    struct pollfd wait = {.fd = redis->context->fd, .events = POLLOUT};
    int ready = 0;
    do {
        ready = poll(&wait, 1, bk_clock_left(deadline));
    } while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return broke(redis, BK_OUTAGE, error, "connecting took too long");
    int why = 0;
    socklen_t size = sizeof(why);
    if (ready < 0 || getsockopt(redis->context->fd, SOL_SOCKET, SO_ERROR, &why, &size) < 0 || why != 0)
        return broke(redis, BK_OUTAGE, error, strerror(why ? why : errno));
    return BK_OK;
}

/* To a numeric address, or to a socket's path if the port is 0. */
static enum bk_status connect_once(struct bk_redis **out, const char *where, int port, const char *peer, bk_ms deadline,
                                   struct bk_error *error)
{
    BK_AUTO(bk_redis) *redis = bk_zalloc(sizeof(*redis));
    (void)snprintf(redis->peer, sizeof(redis->peer), "%s", peer);
    redis->context = port ? redisConnectNonBlock(where, port) : redisConnectUnixNonBlock(where);
    if (!redis->context)
        return broke(redis, BK_OUTAGE, error, "no memory");
    if (redis->context->err)
        return broke(redis, BK_OUTAGE, error, redis->context->errstr);
    tune(redis->context->fd, port != 0);
    enum bk_status status = finish_connect(redis, deadline, error);
    if (status == BK_OK)
        *out = BK_STEAL(redis);
    return status;
}

static enum bk_status connect_to(struct bk_redis **out, const char *host, int port, bk_ms deadline,
                                 struct bk_error *error)
{
    char peer[300];
    if (port)
        (void)snprintf(peer, sizeof(peer), "%s:%d", host, port);
    else
        (void)snprintf(peer, sizeof(peer), "%s", host);
    if (!port)
        return connect_once(out, host, 0, peer, deadline, error);
    struct bk_addresses addresses;
    enum bk_status status = bk_resolve(host, deadline, &addresses, error);
    if (status != BK_OK) {
        bk_error_prefix(error, "redis %s", peer);
        return status;
    }
    BK_ASSERT(addresses.count > 0);
    for (size_t i = 0; i < addresses.count; i++) {
        bk_ms share = bk_clock_now() + bk_clock_left(deadline) / (bk_ms)(addresses.count - i);
        status = connect_once(out, addresses.list[i], port, peer, share, error);
        if (status == BK_OK)
            break;
    }
    return status;
}

static enum bk_status greet(struct bk_redis *redis, const struct bk_redis_url *url, bk_ms deadline,
                            struct bk_error *error)
{
    enum bk_status status = BK_OK;
    if (url->password) {
        const struct bk_span words[] = {bk_span_of("AUTH"), bk_span_of(url->user ? url->user : url->password),
                                        bk_span_of(url->password)};
        struct bk_span short_form[] = {words[0], words[2]};
        BK_AUTO(bk_reply) *reply = NULL;
        status = url->user ? bk_redis_call(redis, 3, words, deadline, &reply, error)
                           : bk_redis_call(redis, 2, short_form, deadline, &reply, error);
    }
    if (status == BK_OK && url->db != 0) {
        char db[16];
        (void)snprintf(db, sizeof(db), "%d", url->db);
        const struct bk_span words[] = {bk_span_of("SELECT"), bk_span_of(db)};
        BK_AUTO(bk_reply) *reply = NULL;
        status = bk_redis_call(redis, 2, words, deadline, &reply, error);
    }
    if (status == BK_OK && !url->password) { /* else AUTH has shown that somebody answers */
        const struct bk_span words[] = {bk_span_of("PING")};
        BK_AUTO(bk_reply) *reply = NULL;
        status = bk_redis_call(redis, 1, words, deadline, &reply, error);
    }
    return status;
}

/* Asks one Sentinel where the master is. */
static enum bk_status ask_sentinel(const struct bk_redis_url *url, size_t i, bk_ms deadline, char **host, int *port,
                                   struct bk_error *error)
{
    BK_AUTO(bk_redis) *sentinel = NULL;
    enum bk_status status = connect_to(&sentinel, url->hosts[i], url->ports[i], deadline, error);
    if (status != BK_OK) {
        bk_error_prefix(error, "sentinel");
        return status;
    }
    const struct bk_span words[] = {bk_span_of("SENTINEL"), bk_span_of("get-master-addr-by-name"),
                                    bk_span_of(url->master)};
    BK_AUTO(bk_reply) *reply = NULL;
    status = bk_redis_call(sentinel, 3, words, deadline, &reply, error);
    if (status != BK_OK) {
        bk_error_prefix(error, "sentinel");
        return status;
    }
    struct bk_span name = bk_reply_text(bk_reply_at(reply, 0));
    int64_t number = bk_reply_integer(bk_reply_at(reply, 1), 0);
    if (name.size == 0 || number < 1 || number > 65535)
        return bk_fail(error, BK_OPERATOR, "sentinel %s:%d knows no master \"%s\"", url->hosts[i], url->ports[i],
                       url->master);
    *host = bk_strndup(name.at, name.size);
    *port = (int)number;
    return BK_OK;
}

/* A Sentinel may still name a master that has just been demoted: only a server that calls itself master will do. */
static enum bk_status check_role(struct bk_redis *redis, bk_ms deadline, struct bk_error *error)
{
    const struct bk_span words[] = {bk_span_of("ROLE")};
    BK_AUTO(bk_reply) *reply = NULL;
    enum bk_status status = bk_redis_call(redis, 1, words, deadline, &reply, error);
    if (status == BK_OK && !bk_span_is(bk_reply_text(bk_reply_at(reply, 0)), "master"))
        return bk_fail(error, BK_OUTAGE, "redis %s: is not the master", redis->peer);
    return status;
}

static enum bk_status open_by_sentinel(struct bk_redis **out, const struct bk_redis_url *url, bk_ms deadline,
                                       struct bk_error *error)
{
    enum bk_status status = BK_OUTAGE;
    for (size_t i = 0; i < url->host_count; i++) {
        /* each Sentinel gets its share of the time, so that one that is silent leaves some for the next */
        bk_ms share = bk_clock_now() + bk_clock_left(deadline) / (bk_ms)(url->host_count - i);
        char *host = NULL;
        int port = 0;
        status = ask_sentinel(url, i, share, &host, &port, error);
        if (status != BK_OK)
            continue;
        BK_AUTO(bk_redis) *redis = NULL;
        status = connect_to(&redis, host, port, share, error);
        free(host);
        if (status == BK_OK)
            status = greet(redis, url, share, error);
        if (status == BK_OK)
            status = check_role(redis, share, error);
        if (status == BK_OK) {
            *out = BK_STEAL(redis);
            return BK_OK;
        }
    }
    return status;
}

enum bk_status bk_redis_open(struct bk_redis **out, const struct bk_redis_url *url, bk_ms deadline,
                             struct bk_error *error)
{
    if (url->tls)
        return bk_fail(error, BK_OPERATOR, "rediss:// needs hiredis built with TLS, which this program was not");
    if (url->sentinel)
        return open_by_sentinel(out, url, deadline, error);
    BK_AUTO(bk_redis) *redis = NULL;
    enum bk_status status = url->unix_path ? connect_to(&redis, url->unix_path, 0, deadline, error)
                                           : connect_to(&redis, url->hosts[0], url->ports[0], deadline, error);
    if (status == BK_OK)
        status = greet(redis, url, deadline, error);
    if (status == BK_OK)
        *out = BK_STEAL(redis);
    return status;
}

struct bk_redis *bk_redis_close(struct bk_redis *redis)
{
    if (redis && redis->context)
        redisFree(redis->context);
    free(redis);
    return NULL;
}

bool bk_redis_broken(const struct bk_redis *redis)
{
    return redis->broken;
}

/* --- talking ------------------------------------------------------------------------------------------------------ */

void bk_redis_append(struct bk_redis *redis, size_t count, const struct bk_span *words)
{
    const char **argv = bk_alloc(count * sizeof(*argv));
    size_t *sizes = bk_alloc(count * sizeof(*sizes));
    for (size_t i = 0; i < count; i++) {
        argv[i] = words[i].at ? words[i].at : "";
        sizes[i] = words[i].size;
    }
    int done = redisAppendCommandArgv(redis->context, (int)count, argv, sizes);
    free(argv);
    free(sizes);
    if (done != REDIS_OK)
        redis->broken = true;
    else
        redis->unanswered++;
}

/* Writes what the connection takes; sent: all of it.
 * hiredis 0.14 has thrown its buffer away when all is written, and crashes if there is no memory for another one and it is
 * asked whether it is empty. */
static enum bk_status write_some(struct bk_redis *redis, bool *sent, struct bk_error *error)
{
    redisContext *context = redis->context;
#if HIREDIS_MAJOR == 0
    if (redisBufferWrite(context, NULL) != REDIS_OK)
        return broke(redis, BK_UNKNOWN, error, context->errstr);
    if (!context->obuf)
        return broke(redis, BK_UNKNOWN, error, "no memory");
    *sent = sdslen(context->obuf) == 0;
#else
    int done = 0;
    if (redisBufferWrite(context, &done) != REDIS_OK)
        return broke(redis, BK_UNKNOWN, error, context->errstr);
    *sent = done;
#endif
    return BK_OK;
}

/* Moves bytes in both directions until an answer is complete. */
static enum bk_status exchange(struct bk_redis *redis, bk_ms deadline, redisReply **reply, struct bk_error *error)
{
    bool sent = false;
    bool late = false;
    for (;;) {
        if (!sent) {
            enum bk_status status = write_some(redis, &sent, error);
            if (status != BK_OK)
                return status;
            if (sent)
                bk_crash_request_sent();
        }
        void *got = NULL;
        if (redisGetReplyFromReader(redis->context, &got) != REDIS_OK)
            return broke(redis, BK_UNKNOWN, error, redis->context->errstr);
        if (got) {
            *reply = got;
            return BK_OK;
        }
        if (late) /* what had come by the deadline has been read; an answer without end always has more */
            return broke(redis, BK_UNKNOWN, error, "no answer in time");
        late = bk_clock_left(deadline) == 0;
        struct pollfd wait = {.fd = redis->context->fd, .events = (short)(sent ? POLLIN : POLLIN | POLLOUT)};
        int ready = poll(&wait, 1, bk_clock_left(deadline));
        if (ready == 0)
            return broke(redis, BK_UNKNOWN, error, "no answer in time");
        if (ready < 0 && errno != EINTR)
            return broke(redis, BK_UNKNOWN, error, strerror(errno));
        if (ready > 0 && (wait.revents & ~POLLOUT) && redisBufferRead(redis->context) != REDIS_OK)
            return broke(redis, BK_UNKNOWN, error, redis->context->errstr);
    }
}

/* "MOVED 3999 127.0.0.1:6381"; an empty host means the one that said it. */
static void note_move(struct bk_redis *redis, const char *text)
{
    const char *slot_end = strncmp(text, "MOVED ", 6) == 0 ? strchr(text + 6, ' ') : NULL;
    if (!slot_end)
        return;
    size_t host_size = slot_end[1] == ':' ? strcspn(redis->peer, ":") : 0;
    (void)snprintf(redis->moved_to, sizeof(redis->moved_to), "%.*s%s", (int)host_size, redis->peer, slot_end + 1);
}

const char *bk_redis_moved_to(const struct bk_redis *redis)
{
    return redis->moved_to;
}

enum bk_status bk_redis_receive(struct bk_redis *redis, bk_ms deadline, struct bk_reply **out, struct bk_error *error)
{
    if (redis->broken)
        return bk_fail(error, BK_OUTAGE, "redis %s: the connection is broken", redis->peer);
    BK_ASSERT(redis->unanswered > 0);
    redisReply *reply = NULL;
    enum bk_status status = exchange(redis, deadline, &reply, error);
    if (status != BK_OK)
        return status;
    redis->unanswered--;
    if (reply->type == REDIS_REPLY_ERROR) {
        status = bk_fail(error, class_of(reply->str), "redis %s: %s", redis->peer, reply->str);
        note_move(redis, reply->str);
        freeReplyObject(reply);
        return status;
    }
    *out = (struct bk_reply *)reply;
    return BK_OK;
}

enum bk_status bk_redis_call(struct bk_redis *redis, size_t count, const struct bk_span *words, bk_ms deadline,
                             struct bk_reply **out, struct bk_error *error)
{
    bk_redis_append(redis, count, words);
    return bk_redis_receive(redis, deadline, out, error);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static const redisReply *raw(const struct bk_reply *reply)
{
    return (const redisReply *)(const void *)reply;
}

struct bk_reply *bk_reply_free(struct bk_reply *reply)
{
    if (reply)
        freeReplyObject(reply);
    return NULL;
}

enum bk_reply_type bk_reply_type(const struct bk_reply *reply)
{
    switch (reply ? raw(reply)->type : REDIS_REPLY_NIL) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
        return BK_REPLY_TEXT;
    case REDIS_REPLY_INTEGER:
        return BK_REPLY_INTEGER;
    case REDIS_REPLY_ARRAY:
        return BK_REPLY_ARRAY;
    case REDIS_REPLY_ERROR:
        return BK_REPLY_ERROR;
    default:
        return BK_REPLY_NIL;
    }
}

size_t bk_reply_count(const struct bk_reply *reply)
{
    return bk_reply_type(reply) == BK_REPLY_ARRAY ? raw(reply)->elements : 0;
}

const struct bk_reply *bk_reply_at(const struct bk_reply *reply, size_t i)
{
    return i < bk_reply_count(reply) ? (const struct bk_reply *)raw(reply)->element[i] : NULL;
}

struct bk_span bk_reply_text(const struct bk_reply *reply)
{
    if (bk_reply_type(reply) != BK_REPLY_TEXT)
        return (struct bk_span){NULL, 0};
    return (struct bk_span){raw(reply)->str, (size_t)raw(reply)->len};
}

int64_t bk_reply_integer(const struct bk_reply *reply, int64_t otherwise)
{
    if (bk_reply_type(reply) == BK_REPLY_INTEGER)
        return raw(reply)->integer;
    int64_t value = 0;
    return bk_parse_integer(bk_reply_text(reply), &value) ? value : otherwise;
}

bool bk_redis_has_tls(void)
{
    return false;
}

const char *bk_redis_library_version(void)
{
    static char version[24];
    (void)snprintf(version, sizeof(version), "%d.%d.%d", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
    return version;
}
