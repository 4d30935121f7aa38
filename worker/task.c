/* task.c - see task.h. */
#include "worker/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/command.h"

void bk_batch_init(struct bk_batch *batch, const struct bk_taken *taken)
{
    batch->count = taken->count;
    batch->tasks = bk_zalloc(taken->count * sizeof(*batch->tasks));
    batch->settlements = bk_zalloc(taken->count * sizeof(*batch->settlements));
    for (size_t i = 0; i < taken->count; i++)
        bk_job_read(&taken->jobs[i], taken->now, &batch->tasks[i].job);
}

void bk_batch_deinit(struct bk_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        free(batch->tasks[i].error);
        free(batch->tasks[i].reply);
    }
    free(batch->tasks);
    free(batch->settlements);
    *batch = (struct bk_batch){0};
}

/* --- settling a task ------------------------------------------------------------------------------------------------ */

static void add_reply(struct bk_task *task, const char *outcome, const char *code, int64_t version)
{
    /* a malformed entry may have no id that a reply list could be named by */
    if (!task->job.wants_reply || task->job.id.size == 0)
        return;
    BK_AUTO_TEXT reply = {0};
    bk_job_reply(&reply, task->job.id, outcome, code, bk_command_booking(&task->job), version);
    task->reply = BK_STEAL(reply.data);
    task->settlement.reply_id = task->job.id;
    task->settlement.reply_json = task->reply;
}

static void bury(struct bk_task *task, const char *reason, const char *sqlstate, const char *error, int64_t attempts)
{
    task->error = bk_strdup(error);
    (void)snprintf(task->sqlstate, sizeof(task->sqlstate), "%s", sqlstate);
    task->settlement = (struct bk_settlement){.ticket = task->job.ticket,
                                              .fate = BK_FATE_DEAD,
                                              .reason = reason,
                                              .sqlstate = task->sqlstate,
                                              .error = task->error,
                                              .attempts = attempts};
    task->settled = true;
    add_reply(task, "dead", reason, -1);
}

void bk_task_finish(struct bk_task *task, const struct bk_store_outcome *outcome)
{
    if (strcmp(outcome->outcome, "dead") == 0) {
        /* the outcome's strings are gone when its answer is: the settlement needs one that stays */
        const char *reason = outcome->code ? bk_dead_reason(outcome->code) : NULL;
        bool reused = reason && strcmp(reason, "id_reused") == 0;
        bury(task, reason ? reason : "database_refused", "",
             reused ? "id: has been used before with another kind, key or args; this command had no effect"
                    : "expires_at: not applied by then; the ledger bars it for good",
             task->job.attempts);
        return;
    }
    task->settlement = (struct bk_settlement){.ticket = task->job.ticket, .fate = BK_FATE_DONE};
    task->settled = true;
    add_reply(task, outcome->outcome, outcome->code, outcome->version);
}

void bk_task_give_up(struct bk_task *task, const struct bk_decision_rules *rules, const struct bk_error *error,
                     bool unsure, bk_ms now, uint64_t random)
{
    struct bk_decision d = bk_decide_failed(rules, &task->job, error->status, unsure, now, random);
    if (d.fate == BK_FATE_DEAD) {
        bury(task, d.reason, error->sqlstate, error->text, d.attempts);
        return;
    }
    task->error = bk_strdup(error->text);
    task->settlement = (struct bk_settlement){
        .ticket = task->job.ticket, .fate = d.fate, .delay_ms = d.delay_ms, .unsure = d.unsure, .error = task->error};
    task->settled = true;
}

/* --- what can be decided without the database ---------------------------------------------------------------------------- */

void bk_task_decide(struct bk_task *task, const struct bk_decision_rules *rules, bk_ms now)
{
    const struct bk_job *job = &task->job;
    struct bk_error error = {0};
    const char *reason = NULL;
    if (*job->fault) {
        bury(task, "malformed", "", job->fault, job->attempts);
        return;
    }
    enum bk_next next = bk_decide_taken(rules, job, now, &reason);
    if (next == BK_NEXT_DEAD && strcmp(reason, "poison") == 0) {
        /* before anything looks into it: whatever it is that kills workers may be in there */
        char text[100];
        (void)snprintf(text, sizeof(text), "%lld workers died while they held it", (long long)job->deliveries);
        bury(task, reason, "", text, job->attempts);
        return;
    }
    enum bk_command_verdict verdict = bk_command_check(job, &error);
    if (verdict != BK_COMMAND_GOOD)
        bury(task, verdict == BK_COMMAND_UNKNOWN_KIND ? "unknown_kind" : "invalid_args", "", error.text, job->attempts);
    else if (next == BK_NEXT_DEAD)
        bury(task, reason, "", "expires_at: not applied by then, and never will be", job->attempts);
    task->expired = next == BK_NEXT_APPLY_EXPIRED;
}

static int compare_ids(const void *a, const void *b)
{
    const struct bk_task *x = *(struct bk_task *const *)a;
    const struct bk_task *y = *(struct bk_task *const *)b;
    size_t size = BK_MIN(x->job.id.size, y->job.id.size);
    int order = memcmp(x->job.id.at, y->job.id.at, size);
    if (order == 0)
        order = (x->job.id.size > y->job.id.size) - (x->job.id.size < y->job.id.size);
    if (order == 0)
        order = x < y ? -1 : 1;
    return order;
}

size_t bk_tasks_put_off_same_ids(struct bk_task **tasks, size_t count)
{
    if (count < 2)
        return count;
    struct bk_task **sorted = bk_alloc(count * sizeof(struct bk_task *));
    memcpy(sorted, tasks, count * sizeof(struct bk_task *));
    qsort(sorted, count, sizeof(struct bk_task *), compare_ids);
    for (size_t i = 1; i < count; i++) {
        const struct bk_job *job = &sorted[i]->job;
        if (!bk_span_equal(sorted[i - 1]->job.id, job->id))
            continue;
        sorted[i]->settlement = (struct bk_settlement){.ticket = job->ticket, .fate = BK_FATE_FREE};
        sorted[i]->settled = true;
    }
    free(sorted);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!tasks[i]->settled)
            tasks[kept++] = tasks[i];
    }
    return kept;
}
