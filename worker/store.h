/* store.h - the ledger and the bookings, through the one function that writes them: booking.apply(jsonb). */
#ifndef BK_STORE_H
#define BK_STORE_H

#include "common/pool.h"
#include "worker/job.h"

/** One command for the database. */
struct bk_store_command {
    const struct bk_job *job;
    bool expired; /* must have no effect any more; the ledger is asked whether it had one */
};

/** What the database says became of it; strings are lent by the answer. */
struct bk_store_outcome {
    const char *outcome; /* "applied", "rejected" or "dead" */
    const char *code;    /* NULL when applied */
    int64_t version;     /* -1: none */
};

struct bk_store_answer {
    struct bk_store_outcome *outcomes; /* one for each command, in their order */
    struct bk_rows *rows;
    uint64_t connections; /* the pool generation the call went over; 0: it got no connection */
    bool degraded;        /* the commit may not have reached the synchronous standby */
};
/** Frees what an answer owns. */
void bk_store_answer_deinit(struct bk_store_answer *answer);

struct bk_store {
    struct bk_pool *pool;
    const char *worker; /* name, for the ledger */
    bk_ms acquire_timeout_ms;
    bk_ms call_timeout_ms; /* the client's deadline for the statement, commit included */
};

/** Asked when a connection is there, at the last moment before commands are sent: whether they are still ours. */
struct bk_store_guard {
    bool (*may_send)(const void *context);
    const void *context;
};

/** Appends the commands as the array that booking.apply takes; `worker` is for the ledger. Their args are checked JSON
 *  and go in byte for byte. Any thread. */
void bk_store_json(struct bk_text *json, const char *worker, const struct bk_store_command *commands, size_t count);

/** Applies the commands (ids and bookings distinct) in one transaction. On BK_OK all of them are committed and
 *  `*answer` tells what became of each; the caller frees it either way. `deadline` (monotonic ms) cuts both waits short.
 *  Errors: BK_UNKNOWN may have been applied; every other status has not. BK_FENCED if the guard says no (NULL: none). BK_TRANSIENT for contention (a race with
 *  another session shows as a constraint violation: 23505, 23P01). Any thread. */
enum bk_status bk_store_apply(const struct bk_store *store, const struct bk_store_command *commands, size_t count,
                              bk_ms deadline, const char *borrower, const struct bk_store_guard *guard,
                              struct bk_store_answer *answer, struct bk_error *error);

/** Asks the database whether it serves: a call of apply with no commands, which reaches every object a real one does
 *  not have to wait for. Any thread. */
enum bk_status bk_store_probe(const struct bk_store *store, bk_ms deadline, uint64_t *connections,
                              struct bk_error *error);

/** Deletes at most `most` ledger rows older than `days`; `*deleted` tells how many. Any thread. */
enum bk_status bk_store_prune(const struct bk_store *store, int64_t days, int64_t most, bk_ms deadline,
                              int64_t *deleted, struct bk_error *error);

#endif
