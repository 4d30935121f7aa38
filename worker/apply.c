/* apply.c - see apply.h.
 *
 * Drives the batch's plan (plan.h): makes its calls with permits of the circuit breaker, waits, and tells the logs and the
 * metrics what becomes of each job.
 */
#include "worker/apply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crash.h"
#include "common/log.h"
#include "worker/command.h"
#include "worker/plan.h"

/* --- telling what becomes of a task ----------------------------------------------------------------------------------- */

static void count_outcome(struct bk_service *service, const struct bk_job *job, enum bk_outcome outcome)
{
    size_t kind = 0;
    while (bk_command_kind(kind) && !bk_span_is(job->kind, bk_command_kind(kind)))
        kind++;
    size_t row = bk_command_kind(kind) ? kind : BK_KINDS_MOST;
    (void)atomic_fetch_add_explicit(&service->metrics.jobs[row][outcome], 1, memory_order_relaxed);
}

static void count_dead(struct bk_service *service, const char *reason)
{
    size_t i = 0;
#define BK_DEAD_COUNT(word, meaning)                                                                                   \
    if (strcmp(reason, #word) == 0)                                                                                    \
        (void)atomic_fetch_add_explicit(&service->metrics.dead[i], 1, memory_order_relaxed);                           \
    i++;
    BK_DEAD_REASONS(BK_DEAD_COUNT)
#undef BK_DEAD_COUNT
    BK_ASSERT(i <= BK_REASONS_MOST);
}

/* The fields that name a job in a log line. */
struct job_fields {
    char ticket[48];
    char id[BK_ID_MOST + 1];
    char key[132];
    char traceparent[132];
    struct bk_log_field fields[6];
};

static void copy(char *to, size_t room, struct bk_span from)
{
    (void)snprintf(to, room, "%.*s", (int)BK_MIN(from.size, room - 1), from.at ? from.at : "");
}

static const struct bk_log_field *describe(struct job_fields *out, const struct bk_job *job, const char *sqlstate)
{
    copy(out->ticket, sizeof(out->ticket), job->ticket);
    copy(out->id, sizeof(out->id), job->id);
    copy(out->key, sizeof(out->key), job->key);
    copy(out->traceparent, sizeof(out->traceparent), job->traceparent);
    const struct bk_log_field fields[6] = {{"ticket", out->ticket},           {"id", out->id},        {"key", out->key},
                                           {"traceparent", out->traceparent}, {"sqlstate", sqlstate}, {NULL, NULL}};
    memcpy(out->fields, fields, sizeof(fields));
    return out->fields;
}

static void tell_dead(struct bk_apply *apply, const struct bk_task *task)
{
    const struct bk_settlement *s = &task->settlement;
    count_outcome(apply->service, &task->job, BK_OUTCOME_dead);
    count_dead(apply->service, s->reason);
    struct job_fields fields;
    bk_log_with(BK_LOG_WARN, describe(&fields, &task->job, s->sqlstate), "job is dead: %s: %s", s->reason, s->error);
}

static void finish(struct bk_apply *apply, struct bk_task *task, const struct bk_store_outcome *outcome)
{
    bk_task_finish(task, outcome);
    if (task->settlement.fate == BK_FATE_DEAD) {
        tell_dead(apply, task);
        return;
    }
    bool applied = strcmp(outcome->outcome, "applied") == 0;
    count_outcome(apply->service, &task->job, applied ? BK_OUTCOME_applied : BK_OUTCOME_rejected);
    if (bk_log_on(BK_LOG_QUERY)) {
        struct job_fields fields;
        bk_log_with(BK_LOG_QUERY, describe(&fields, &task->job, ""), "%.*s %s%s%s", (int)task->job.kind.size,
                    task->job.kind.at, outcome->outcome, outcome->code ? ": " : "", outcome->code ? outcome->code : "");
    }
}

static bk_ms redis_now(const struct bk_apply *apply)
{
    return bk_clock_now() + apply->redis_ahead;
}

static void give_up(struct bk_apply *apply, struct bk_task *task, const struct bk_error *error, bool unsure)
{
    struct bk_service *service = apply->service;
    bk_task_give_up(task, &service->rules, error, unsure, redis_now(apply), bk_random());
    enum bk_fate fate = task->settlement.fate;
    if (fate == BK_FATE_DEAD) {
        tell_dead(apply, task);
        return;
    }
    if (fate == BK_FATE_RETRY)
        (void)atomic_fetch_add_explicit(&service->metrics.retried[error->status], 1, memory_order_relaxed);
    if (fate == BK_FATE_REQUEUE) {
        (void)atomic_fetch_add_explicit(&service->metrics.requeued, 1, memory_order_relaxed);
        apply->handed_back = apply->handed_back || bk_is_outage(error->status);
    }
    enum bk_log_level level = fate == BK_FATE_RETRY ? BK_LOG_WARN : BK_LOG_QUERY;
    if (!bk_log_on(level))
        return;
    struct job_fields fields;
    const struct bk_log_field *described = describe(&fields, &task->job, error->sqlstate);
    if (fate == BK_FATE_RETRY)
        bk_log_with(level, described, "%s; try %lld of %lld failed, the next in %lld ms", error->text,
                    (long long)task->job.attempts + 1, (long long)service->rules.max_attempts,
                    (long long)task->settlement.delay_ms);
    else
        bk_log_with(level, described, "%s; handed back", error->text);
}

/* --- the plan's steps --------------------------------------------------------------------------------------------------- */

/* Whether the incarnation that took the batch still has its lease. A worker that was frozen, or cut off from Redis, for
 * longer than that must not bring to the database what others have decided about meanwhile. */
static bool is_still_ours(const void *context)
{
    const struct bk_apply *apply = context;
    struct bk_service *service = apply->service;
    pthread_mutex_lock(&service->lock);
    bool ours = strcmp(service->worker, apply->worker) == 0 && bk_clock_now() < service->lease_until;
    pthread_mutex_unlock(&service->lock);
    return ours;
}

/* One call, with the permit in apply->permit, which it ends. */
static void call(struct bk_apply *apply, struct bk_plan *plan)
{
    struct bk_service *service = apply->service;
    const struct bk_part part = plan->part;
    struct bk_store_command *commands = bk_alloc(part.count * sizeof(*commands));
    for (size_t i = 0; i < part.count; i++)
        commands[i] = (struct bk_store_command){&part.tasks[i]->job, part.tasks[i]->expired};
    bk_service_lane_at(service, apply->lane, BK_LANE_APPLYING, (unsigned)part.count);
    int64_t began_us = bk_clock_now_us();
    apply->permit.began = began_us / 1000;
    struct bk_store_answer answer = {0};
    struct bk_error error = {0};
    const struct bk_store_guard guard = {is_still_ours, apply};
    error.status =
        bk_store_apply(&service->store, commands, part.count, INT64_MAX, apply->borrower, &guard, &answer, &error);
    double seconds = (double)(bk_clock_now_us() - began_us) / 1e6;
    enum bk_status status = bk_plan_called(plan, &error, service->ghosts, bk_random());
    if (status == BK_OK || status == BK_UNKNOWN)
        service->ghosts = status == BK_UNKNOWN;
    bk_service_end_call(service, apply->permit, bk_plan_result(status), answer.connections, &error);
    bk_histogram_add(&service->metrics.apply_seconds, seconds);
    bk_histogram_add(&service->metrics.batch_jobs, (double)part.count);
    (void)atomic_fetch_add_explicit(&service->metrics.batches, 1, memory_order_relaxed);
    if (answer.degraded) {
        (void)atomic_fetch_add_explicit(&service->metrics.durability_degraded, 1, memory_order_relaxed);
        bk_log(BK_LOG_WARN, "durability degraded: a commit may not have reached the synchronous standby");
    }
    if (status != BK_OK)
        (void)atomic_fetch_add_explicit(&service->metrics.database_errors[status], 1, memory_order_relaxed);
    bk_log(BK_LOG_QUERY, "applied %zu jobs in %.1f ms: %s", part.count, seconds * 1e3,
           status == BK_OK ? "ok" : error.text);
    for (size_t i = 0; i < part.count && status == BK_OK; i++)
        finish(apply, part.tasks[i], &answer.outcomes[i]);
    bk_store_answer_deinit(&answer);
    free(commands);
}

static void back_off(struct bk_apply *apply, struct bk_plan *plan)
{
    bk_log(BK_LOG_INFO, "%s; %zu jobs are tried again in %lld ms", plan->error.text, plan->part.count,
           (long long)plan->wait_ms);
    bk_service_lane_at(apply->service, apply->lane, BK_LANE_BACKING_OFF, (unsigned)plan->part.count);
    bk_plan_waited(plan, bk_service_pause(apply->service, plan->wait_ms));
}

/* A permit for another call of this turn. */
static bool ask_again(struct bk_apply *apply)
{
    bk_ms retry_at = 0;
    bool probe = false;
    if (!bk_service_ask(apply->service, &apply->permit, &retry_at, &probe))
        return false;
    if (!probe)
        return true;
    /* half-open: probing is the idle lanes' business, not this batch's */
    bk_service_end_call(apply->service, apply->permit, BK_CALL_RELEASED, 0, NULL);
    return false;
}

static void give_part_up(struct bk_apply *apply, struct bk_plan *plan)
{
    for (size_t i = 0; i < plan->part.count; i++)
        give_up(apply, plan->part.tasks[i], &plan->error, plan->part.unsure);
    bk_plan_gave_up(plan);
}

static void follow(struct bk_apply *apply, struct bk_plan *plan)
{
    while (plan->step != BK_PLAN_OVER) {
        switch (plan->step) {
        case BK_PLAN_CALL:
            call(apply, plan);
            break;
        case BK_PLAN_WAIT:
            back_off(apply, plan);
            break;
        case BK_PLAN_ASK:
            bk_plan_asked(plan, ask_again(apply));
            break;
        case BK_PLAN_GIVE_UP:
            give_part_up(apply, plan);
            break;
        case BK_PLAN_OVER:
            break;
        }
    }
    apply->any_good = plan->any_good;
}

void bk_apply_batch(struct bk_apply *apply, struct bk_batch *batch)
{
    const struct bk_config *config = apply->service->config;
    struct bk_task **tasks = bk_alloc(batch->count * sizeof(struct bk_task *));
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct bk_task *task = &batch->tasks[i];
        bk_task_decide(task, &apply->service->rules, redis_now(apply));
        if (task->settled)
            tell_dead(apply, task);
        else
            tasks[count++] = task;
    }
    count = bk_tasks_put_off_same_ids(tasks, count);
    bk_crash_point("decided");
    if (count == 0)
        bk_service_end_call(apply->service, apply->permit, BK_CALL_RELEASED, 0, NULL);
    struct bk_plan plan;
    bk_plan_begin(&plan, tasks, count, (unsigned)config->retries, config->retry_base_ms, apply->budget);
    follow(apply, &plan);
    free(tasks);
    for (size_t i = 0; i < batch->count; i++)
        batch->settlements[i] = batch->tasks[i].settlement;
}
