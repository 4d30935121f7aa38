/* apply.h - from a batch of jobs to their fates: the part of a lane's turn between take and settle. */
#ifndef BK_APPLY_H
#define BK_APPLY_H

#include "common/backoff.h"
#include "worker/service.h"
#include "worker/task.h"

struct bk_apply {
    struct bk_service *service;
    unsigned lane;
    const char *borrower;
    const char *worker;      /* the incarnation that took the batch */
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
