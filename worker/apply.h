/* apply.h - from a batch of jobs to their fates: the part of a lane's turn between take and settle. */
#ifndef BK_APPLY_H
#define BK_APPLY_H

#include "common/backoff.h"
#include "worker/service.h"

/** A job of the batch and what becomes of it. */
struct bk_task {
    struct bk_job job;
    struct bk_settlement settlement; /* filled when `settled` */
    bool settled;
    bool expired; /* to be brought to the ledger only */
    char *error;  /* owned; the settlement's texts live here */
    char *reply;
};

struct bk_batch {
    struct bk_task *tasks;
    size_t count;
    struct bk_settlement *settlements; /* those of the tasks, in order, for bk_queue_turn */
};

/** Reads what was taken into tasks; spans are lent from `taken`, which must live until bk_batch_deinit. */
void bk_batch_init(struct bk_batch *batch, const struct bk_taken *taken);
void bk_batch_deinit(struct bk_batch *batch);

struct bk_apply {
    struct bk_service *service;
    unsigned lane;
    const char *borrower;
    struct bk_permit permit; /* for the next database call; consumed by bk_apply_batch */
    struct bk_retry_budget *budget;
    bk_ms redis_ahead; /* Redis's clock (Unix ms) less our monotonic one */
    bool any_good;     /* out: a call went through */
    bool handed_back;  /* out: a job was handed back because of the database */
};

/** Decides, applies, retries and splits until every task of the batch is settled. Ends `apply->permit` in every case.
 *  Never fails: whatever goes wrong is some job's fate. */
void bk_apply_batch(struct bk_apply *apply, struct bk_batch *batch);

#endif
