/* pool.h - PostgreSQL connections shared by the threads of a process.
 *
 * Its own thread connects, checks and retires connections; a borrower only ever waits for one, and never past its
 * deadline. Waiters are served first come first served by handing the connection over directly; idle connections are
 * used last in, first out, so that what is not needed grows old and is closed.
 */
#ifndef BK_POOL_H
#define BK_POOL_H

#include "common/pg.h"

struct bk_pool;

struct bk_pool_settings {
    struct bk_pg_options session; /* strings must outlive the pool */
    unsigned min;
    unsigned max;
    bk_ms connect_timeout_ms;
    bk_ms idle_timeout_ms; /* 0: never */
    bk_ms max_lifetime_ms; /* 0: never; less up to 10% of jitter for each connection */
    bk_ms keepalive_ms;
    bk_ms leak_warning_ms; /* a connection out this long is logged with its borrower's name; 0: never */
};

/** What becomes of a borrowed connection. */
enum bk_pool_fate {
    BK_POOL_KEEP,    /* it is good: idle, everything read (checked; discarded if it is not) */
    BK_POOL_DISCARD, /* close it */
    BK_POOL_DOOM     /* close it, and every other connection opened before now: the server has changed its role */
};

enum { BK_POOL_WAIT_BUCKETS = 12 };

struct bk_pool_stats {
    unsigned max;
    unsigned total; /* idle + active */
    unsigned idle;
    unsigned active;
    unsigned connecting;
    unsigned waiting;    /* threads */
    uint64_t generation; /* rises with every BK_POOL_DOOM */
    uint64_t opened;
    uint64_t closed;
    uint64_t connect_failures;
    uint64_t timeouts;
    uint64_t borrowed;
    uint64_t most_passed; /* most borrows served to others while one thread waited in line */
    uint64_t wait_us_sum;
    uint64_t wait_buckets[BK_POOL_WAIT_BUCKETS]; /* waits of at most bk_pool_wait_bounds_us[i], not cumulative; the last
                                                    one takes the rest */
    char last_error[300];                        /* of the last failed connect; "" since the last good one */
};

extern const int64_t bk_pool_wait_bounds_us[BK_POOL_WAIT_BUCKETS - 1];

/** Starts a pool and its thread; does not wait for a connection. The caller owns *out and closes it. `settings` is
 *  copied. Errors: BK_OPERATOR when the thread cannot be started. */
enum bk_status bk_pool_open(struct bk_pool **out, const struct bk_pool_settings *settings, struct bk_error *error);
/** Closes idle connections and ends the thread, then frees the pool. Every connection must have been released and no
 *  thread may wait. NULL is fine; returns NULL. */
struct bk_pool *bk_pool_close(struct bk_pool *pool);
BK_DEFINE_AUTO(bk_pool, bk_pool_close)

/** Borrows a connection that looked alive a moment ago, waiting until `deadline` (monotonic ms). `borrower` is named in
 *  warnings and must outlive the loan. The caller gives *out back by bk_pool_release. `*generation` (NULL: not wanted)
 *  is the set of connections it belongs to. Any thread.
 *  Errors: BK_TIMEOUT when all were in use all that time; BK_OUTAGE (or BK_OPERATOR) when there is no connection and
 *  none can be made. The text carries the counts and the last connect error. */
enum bk_status bk_pool_acquire(struct bk_pool *pool, bk_ms deadline, const char *borrower, struct bk_pg **out,
                               uint64_t *generation, struct bk_error *error);
/** Gives a connection back. Any thread. */
void bk_pool_release(struct bk_pool *pool, struct bk_pg *pg, enum bk_pool_fate fate);

/** Makes every wait, present and future, end at once with BK_STOPPED. Any thread. */
void bk_pool_drain(struct bk_pool *pool);

/** A consistent copy of the pool's numbers. Any thread. */
void bk_pool_read_stats(struct bk_pool *pool, struct bk_pool_stats *stats);

#endif
