/* plan.h - how a batch goes to the database: which tasks in which call, when to try again, when to split it, when to give
 * up. Pure: it says what to do next and is told how that went; whoever drives it calls, waits and asks.
 *
 *   struct bk_plan plan;
 *   bk_plan_begin(&plan, ...);
 *   while (plan.step != BK_PLAN_OVER) do what plan.step says, then call the function that stands beside it below
 *
 * Not thread-safe: one for each lane.
 */
#ifndef BK_PLAN_H
#define BK_PLAN_H

#include "common/backoff.h"
#include "common/breaker.h"
#include "worker/task.h"

enum bk_plan_step {
    BK_PLAN_CALL,    /* bring the part to the database, with the permit in hand; then bk_plan_called */
    BK_PLAN_WAIT,    /* for wait_ms; then bk_plan_waited */
    BK_PLAN_ASK,     /* ask the circuit breaker for another permit; then bk_plan_asked */
    BK_PLAN_GIVE_UP, /* the tries of the part's tasks have failed with `error`; then bk_plan_gave_up */
    BK_PLAN_OVER
};

/** Tasks that go together. */
struct bk_part {
    struct bk_task **tasks; /* lent by whoever began the plan */
    size_t count;
    bool unsure; /* a try ended without an answer */
};

enum { BK_PLAN_DEPTH = 16 }; /* halves of halves ... of the largest batch */

struct bk_plan {
    enum bk_plan_step step;
    struct bk_part part;   /* at hand */
    bk_ms wait_ms;         /* BK_PLAN_WAIT */
    struct bk_error error; /* of the part's last try */
    bool any_good;         /* a call of this plan went through */
    /* its own */
    unsigned retries;
    bk_ms retry_base_ms;
    struct bk_retry_budget *budget;
    unsigned tries; /* of the part */
    struct bk_part rest[BK_PLAN_DEPTH];
    size_t rest_count;
};

/** Begins with all `count` tasks as one part; the caller has a permit for the first call. `tasks` and `budget` must
 *  outlive the plan; `retries` and `retry_base_ms` are BOOKING_RETRIES and BOOKING_RETRY_BASE_MS. */
void bk_plan_begin(struct bk_plan *plan, struct bk_task **tasks, size_t count, unsigned retries, bk_ms retry_base_ms,
                   struct bk_retry_budget *budget);

/** How the call of plan->part ended: error->status (BK_OK for well) and the SQLSTATE. `ghosts`: a call was given up, of
 *  this lane or another, whose transaction may still be there. Returns the status as the plan sees it, with which the
 *  permit ends (bk_plan_result). Afterwards plan->part may be another one. */
enum bk_status bk_plan_called(struct bk_plan *plan, const struct bk_error *error, bool ghosts, uint64_t random);
/** Whether the wait went by (false: the worker stops). */
void bk_plan_waited(struct bk_plan *plan, bool go_on);
/** Whether there is a permit. */
void bk_plan_asked(struct bk_plan *plan, bool granted);
/** The part's tasks have their fates. */
void bk_plan_gave_up(struct bk_plan *plan);

/** What a call that ended with this status says about the server. */
enum bk_call_result bk_plan_result(enum bk_status status);

#endif
