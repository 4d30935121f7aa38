/* redis.h - one connection to Redis, every call with a deadline.
 *
 * A connection belongs to one thread at a time. After any failure of transport or deadline it is broken: the caller
 * closes it and opens a new one, so an answer that comes late can never be read as the next call's.
 */
#ifndef BK_REDIS_H
#define BK_REDIS_H

#include "common/clock.h"
#include "common/error.h"
#include "common/url.h"

struct bk_redis;

/** One part of an answer; lent, lives as long as the answer it belongs to. */
struct bk_reply;

enum bk_reply_type { BK_REPLY_NIL, BK_REPLY_TEXT, BK_REPLY_INTEGER, BK_REPLY_ARRAY, BK_REPLY_ERROR };

/** Connects to the server that `url` names (for Sentinel: to the master they name, checked by ROLE), logs in and
 *  selects the database, all before `deadline` (monotonic ms). The caller owns *out and closes it.
 *  Errors: BK_OUTAGE when it cannot be reached or is not ready, BK_OPERATOR for refused credentials. */
enum bk_status bk_redis_open(struct bk_redis **out, const struct bk_redis_url *url, bk_ms deadline,
                             struct bk_error *error);
/** Closes; takes NULL and broken connections; returns NULL. */
struct bk_redis *bk_redis_close(struct bk_redis *redis);
BK_DEFINE_AUTO(bk_redis, bk_redis_close)

/** Whether a failure has made the connection unusable. */
bool bk_redis_broken(const struct bk_redis *redis);
/** Where the server said that our keys are now ("host:port" of a MOVED answer); "" if it did not. Lent. */
const char *bk_redis_moved_to(const struct bk_redis *redis);

/** Puts a command into the buffer; nothing is sent yet. The bytes are copied. */
void bk_redis_append(struct bk_redis *redis, size_t count, const struct bk_span *words);
/** Sends what is buffered and reads the next answer. `*out` is owned by the caller (bk_reply_free).
 *  An error answer of Redis becomes a failure with a status by its class, and leaves the connection usable;
 *  BK_UNKNOWN when the connection was lost after something was sent. */
enum bk_status bk_redis_receive(struct bk_redis *redis, bk_ms deadline, struct bk_reply **out, struct bk_error *error);
/** append and receive in one. */
enum bk_status bk_redis_call(struct bk_redis *redis, size_t count, const struct bk_span *words, bk_ms deadline,
                             struct bk_reply **out, struct bk_error *error);

/** Frees an answer that bk_redis_receive gave out (not a part of one). NULL is fine; returns NULL. */
struct bk_reply *bk_reply_free(struct bk_reply *reply);
BK_DEFINE_AUTO(bk_reply, bk_reply_free)

enum bk_reply_type bk_reply_type(const struct bk_reply *reply);
/** Parts of an array; 0 for anything else. */
size_t bk_reply_count(const struct bk_reply *reply);
/** The i-th part of an array; NULL beyond its end. */
const struct bk_reply *bk_reply_at(const struct bk_reply *reply, size_t i);
/** The bytes of a text, NUL-terminated; the empty span (at == NULL) for anything else and for NULL. */
struct bk_span bk_reply_text(const struct bk_reply *reply);
/** An integer, or a text that reads as one; `otherwise` for anything else and for NULL. */
int64_t bk_reply_integer(const struct bk_reply *reply, int64_t otherwise);

/** Whether rediss:// works in this build. Any thread. */
bool bk_redis_has_tls(void);

/** The version of the library this was built with, "1.2.3". Any thread. */
const char *bk_redis_library_version(void);

#endif
