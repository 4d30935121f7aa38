/* plan.c - see plan.h.
 *
 * The batch goes to the database in one transaction. If that fails
 *   - for contention, the same batch is tried again after a short wait, a few times;
 *   - for trouble of the server, it is tried again while the retry budget and the breaker allow it, then handed back;
 *   - for a reason that one job alone may be to blame for, it is split in halves down to single jobs, so that a bad job
 *     costs its neighbours a few extra tries and nothing else.
 */
#include "worker/plan.h"

#include <string.h>

enum { CONTENTION_TRIES = 5, CONTENTION_BASE_MS = 10, CONTENTION_CAP_MS = 500 };

void bk_plan_begin(struct bk_plan *plan, struct bk_task **tasks, size_t count, unsigned retries, bk_ms retry_base_ms,
                   struct bk_retry_budget *budget)
{
    *plan = (struct bk_plan){.step = count > 0 ? BK_PLAN_CALL : BK_PLAN_OVER,
                             .part = {tasks, count, false},
                             .retries = retries,
                             .retry_base_ms = retry_base_ms,
                             .budget = budget};
}

/* --- what a failure means ----------------------------------------------------------------------------------------------- */

enum bk_call_result bk_plan_result(enum bk_status status)
{
    if (status == BK_STOPPED || status == BK_FENCED)
        return BK_CALL_RELEASED;
    return bk_is_outage(status) ? BK_CALL_BAD : BK_CALL_GOOD;
}

static bool is_statement_timeout(const struct bk_error *error)
{
    return strcmp(error->sqlstate, "57014") == 0 || strcmp(error->sqlstate, "55P03") == 0;
}

/* Whether what a try ran into is what an earlier one, of this batch or of another, has left behind in the server: a
 * transaction whose answer was given up and that still holds its locks, as when its commit waits for a standby that
 * hangs. That is the outage going on and no contention: no job is charged for it. */
static bool met_a_ghost(const struct bk_part *part, const struct bk_error *error, bool ghosts)
{
    if (!is_statement_timeout(error))
        return false;
    bool unsure = part->unsure || ghosts;
    for (size_t i = 0; i < part->count && !unsure; i++)
        unsure = part->tasks[i]->job.unsure;
    return unsure;
}

/* Whether one job of the part alone may be to blame. */
static bool may_be_one_jobs_fault(const struct bk_error *error)
{
    if (error->status == BK_PERMANENT || error->status == BK_TRANSIENT)
        return true;
    /* a missing right, table or function hits everybody; what else of class 42 there is may not */
    return strncmp(error->sqlstate, "42", 2) == 0 && strcmp(error->sqlstate, "42501") != 0 &&
           strcmp(error->sqlstate, "42P01") != 0 && strcmp(error->sqlstate, "42883") != 0;
}

/* Whether, and after what wait, the same part is worth another try. */
static bool worth_another_try(struct bk_plan *plan, uint64_t random)
{
    if (plan->error.status == BK_TRANSIENT && !is_statement_timeout(&plan->error)) {
        plan->wait_ms = CONTENTION_BASE_MS + bk_backoff(CONTENTION_BASE_MS, plan->tries, CONTENTION_CAP_MS, random);
        return plan->tries < CONTENTION_TRIES;
    }
    if (!bk_is_outage(plan->error.status) || plan->error.status == BK_OPERATOR || plan->tries > plan->retries ||
        !bk_retry_budget_take(plan->budget))
        return false;
    plan->wait_ms = bk_backoff(plan->retry_base_ms, plan->tries - 1, plan->retry_base_ms * 1024, random);
    return true;
}

/* --- from step to step ---------------------------------------------------------------------------------------------------- */

static void next_part(struct bk_plan *plan)
{
    plan->step = BK_PLAN_OVER;
    if (plan->rest_count == 0)
        return;
    plan->part = plan->rest[--plan->rest_count];
    plan->tries = 0;
    plan->step = BK_PLAN_ASK;
}

static void split(struct bk_plan *plan)
{
    size_t half = plan->part.count / 2;
    BK_ASSERT(plan->rest_count + 2 <= BK_PLAN_DEPTH);
    plan->rest[plan->rest_count++] =
        (struct bk_part){plan->part.tasks + half, plan->part.count - half, plan->part.unsure};
    plan->rest[plan->rest_count++] = (struct bk_part){plan->part.tasks, half, plan->part.unsure};
    next_part(plan);
}

static void fail_part(struct bk_plan *plan)
{
    if (plan->part.count > 1 && may_be_one_jobs_fault(&plan->error)) {
        split(plan);
        return;
    }
    /* class 42 on this job alone, while others of the same turn went through: it is the job's */
    if (plan->error.status == BK_OPERATOR && plan->any_good && may_be_one_jobs_fault(&plan->error))
        plan->error.status = BK_PERMANENT;
    plan->step = BK_PLAN_GIVE_UP;
}

enum bk_status bk_plan_called(struct bk_plan *plan, const struct bk_error *error, bool ghosts, uint64_t random)
{
    BK_ASSERT(plan->step == BK_PLAN_CALL);
    plan->error = *error;
    if (met_a_ghost(&plan->part, error, ghosts))
        plan->error.status = BK_TIMEOUT;
    enum bk_status status = plan->error.status;
    plan->tries++;
    plan->part.unsure = plan->part.unsure || status == BK_UNKNOWN;
    if (status == BK_OK) {
        bk_retry_budget_success(plan->budget);
        plan->any_good = true;
        next_part(plan);
    } else if (worth_another_try(plan, random)) {
        plan->step = BK_PLAN_WAIT;
    } else {
        fail_part(plan);
    }
    return status;
}

void bk_plan_waited(struct bk_plan *plan, bool go_on)
{
    BK_ASSERT(plan->step == BK_PLAN_WAIT);
    plan->step = BK_PLAN_ASK;
    if (go_on)
        return;
    /* neither a stop nor the breaker is the job's affair: no attempt is spent on it */
    (void)bk_fail(&plan->error, BK_STOPPED, "the worker is stopping");
    fail_part(plan);
}

void bk_plan_asked(struct bk_plan *plan, bool granted)
{
    BK_ASSERT(plan->step == BK_PLAN_ASK);
    plan->step = BK_PLAN_CALL;
    if (granted)
        return;
    (void)bk_fail(&plan->error, BK_OUTAGE, "the circuit breaker is open");
    fail_part(plan);
}

void bk_plan_gave_up(struct bk_plan *plan)
{
    BK_ASSERT(plan->step == BK_PLAN_GIVE_UP);
    next_part(plan);
}
