/* apply.c - see apply.h.
 *
 * The batch goes to the database in one transaction. If that fails
 *   - for contention, the same batch is tried again after a short wait, a few times;
 *   - for trouble of the server, it is tried again while the retry budget and the breaker allow it, then handed back;
 *   - for a reason that one job alone may be to blame for, it is split in halves down to single jobs, so that a bad job
 *     costs its neighbours a few extra tries and nothing else.
 */
#include "worker/apply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crash.h"
#include "common/log.h"
#include "worker/command.h"

enum { CONTENTION_TRIES = 5, CONTENTION_BASE_MS = 10, CONTENTION_CAP_MS = 500 };

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

static void bury(struct bk_apply *apply, struct bk_task *task, const char *reason, const char *sqlstate,
                 const char *error, int64_t attempts)
{
    task->error = bk_strdup(error);
    task->settlement = (struct bk_settlement){.ticket = task->job.ticket,
                                              .fate = BK_FATE_DEAD,
                                              .reason = reason,
                                              .sqlstate = sqlstate,
                                              .error = task->error,
                                              .attempts = attempts};
    task->settled = true;
    add_reply(task, "dead", reason, -1);
    count_outcome(apply->service, &task->job, BK_OUTCOME_dead);
    count_dead(apply->service, reason);
    struct job_fields fields;
    bk_log_with(BK_LOG_WARN, describe(&fields, &task->job, sqlstate), "job is dead: %s: %s", reason, error);
}

static void finish(struct bk_apply *apply, struct bk_task *task, const struct bk_store_outcome *outcome)
{
    if (strcmp(outcome->outcome, "dead") == 0) {
        /* the outcome's strings are gone when its answer is: the settlement needs one that stays */
        const char *reason = outcome->code ? bk_dead_reason(outcome->code) : NULL;
        bool reused = reason && strcmp(reason, "id_reused") == 0;
        bury(apply, task, reason ? reason : "database_refused", "",
             reused ? "id: has been used before with another kind, key or args; this command had no effect"
                    : "expires_at: not applied by then; the ledger bars it for good",
             task->job.attempts);
        return;
    }
    task->settlement = (struct bk_settlement){.ticket = task->job.ticket, .fate = BK_FATE_DONE};
    task->settled = true;
    add_reply(task, outcome->outcome, outcome->code, outcome->version);
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

/* The fate of a task whose tries have failed in this turn. */
static void give_up(struct bk_apply *apply, struct bk_task *task, const struct bk_error *error, bool unsure)
{
    struct bk_service *service = apply->service;
    struct bk_decision d =
        bk_decide_failed(&service->rules, &task->job, error->status, unsure, redis_now(apply), bk_random());
    if (d.fate == BK_FATE_DEAD) {
        bury(apply, task, d.reason, error->sqlstate, error->text, d.attempts);
        return;
    }
    task->error = bk_strdup(error->text);
    task->settlement = (struct bk_settlement){
        .ticket = task->job.ticket, .fate = d.fate, .delay_ms = d.delay_ms, .unsure = d.unsure, .error = task->error};
    task->settled = true;
    if (d.fate == BK_FATE_RETRY)
        (void)atomic_fetch_add_explicit(&service->metrics.retried[error->status], 1, memory_order_relaxed);
    if (d.fate == BK_FATE_REQUEUE) {
        (void)atomic_fetch_add_explicit(&service->metrics.requeued, 1, memory_order_relaxed);
        apply->handed_back = apply->handed_back || bk_is_outage(error->status);
    }
    enum bk_log_level level = d.fate == BK_FATE_RETRY ? BK_LOG_WARN : BK_LOG_QUERY;
    if (!bk_log_on(level))
        return;
    struct job_fields fields;
    const struct bk_log_field *described = describe(&fields, &task->job, error->sqlstate);
    if (d.fate == BK_FATE_RETRY)
        bk_log_with(level, described, "%s; try %lld of %lld failed, the next in %lld ms", error->text,
                    (long long)d.attempts, (long long)service->rules.max_attempts, (long long)d.delay_ms);
    else
        bk_log_with(level, described, "%s; handed back", error->text);
}

/* --- what can be decided without the database ---------------------------------------------------------------------------- */

static void decide(struct bk_apply *apply, struct bk_task *task)
{
    const struct bk_job *job = &task->job;
    struct bk_error error = {0};
    const char *reason = NULL;
    if (*job->fault) {
        bury(apply, task, "malformed", "", job->fault, job->attempts);
        return;
    }
    enum bk_next next = bk_decide_taken(&apply->service->rules, job, redis_now(apply), &reason);
    if (next == BK_NEXT_DEAD && strcmp(reason, "poison") == 0) {
        /* before anything looks into it: whatever it is that kills workers may be in there */
        char text[100];
        (void)snprintf(text, sizeof(text), "%lld workers died while they held it", (long long)job->deliveries);
        bury(apply, task, reason, "", text, job->attempts);
        return;
    }
    enum bk_command_verdict verdict = bk_command_check(job, &error);
    if (verdict != BK_COMMAND_GOOD)
        bury(apply, task, verdict == BK_COMMAND_UNKNOWN_KIND ? "unknown_kind" : "invalid_args", "", error.text,
             job->attempts);
    else if (next == BK_NEXT_DEAD)
        bury(apply, task, reason, "", "expires_at: not applied by then, and never will be", job->attempts);
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

/* The same id under two keys can be taken together; one statement cannot touch one ledger row twice, so all but the
 * first wait for another turn. */
static void put_off_same_ids(struct bk_task **tasks, size_t *count)
{
    if (*count < 2)
        return;
    struct bk_task **sorted = bk_alloc(*count * sizeof(struct bk_task *));
    memcpy(sorted, tasks, *count * sizeof(struct bk_task *));
    qsort(sorted, *count, sizeof(struct bk_task *), compare_ids);
    for (size_t i = 1; i < *count; i++) {
        const struct bk_job *before = &sorted[i - 1]->job;
        struct bk_job *job = &sorted[i]->job;
        if (before->id.size != job->id.size || memcmp(before->id.at, job->id.at, job->id.size) != 0)
            continue;
        sorted[i]->settlement = (struct bk_settlement){.ticket = job->ticket, .fate = BK_FATE_FREE};
        sorted[i]->settled = true;
    }
    free(sorted);
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        if (!tasks[i]->settled)
            tasks[kept++] = tasks[i];
    }
    *count = kept;
}

/* --- calling the database ------------------------------------------------------------------------------------------------ */

/* How one part of the batch fared; carried over its tries. */
struct part {
    struct bk_task **tasks;
    size_t count;
    bool unsure; /* a try ended without an answer */
};

static enum bk_call_result result_of(enum bk_status status)
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
static bool met_a_ghost(const struct bk_apply *apply, const struct part *part, const struct bk_error *error)
{
    if (!is_statement_timeout(error))
        return false;
    bool unsure = part->unsure || apply->service->ghosts;
    for (size_t i = 0; i < part->count && !unsure; i++)
        unsure = part->tasks[i]->job.unsure;
    return unsure;
}

/* One try, with the permit in apply->permit, which it ends. */
static enum bk_status try_once(struct bk_apply *apply, const struct part *part, struct bk_error *error)
{
    struct bk_service *service = apply->service;
    struct bk_store_command *commands = bk_alloc(part->count * sizeof(*commands));
    for (size_t i = 0; i < part->count; i++)
        commands[i] = (struct bk_store_command){&part->tasks[i]->job, part->tasks[i]->expired};
    bk_service_lane_at(service, apply->lane, BK_LANE_APPLYING, (unsigned)part->count);
    int64_t began_us = bk_clock_now_us();
    apply->permit.began = began_us / 1000;
    struct bk_store_answer answer = {0};
    enum bk_status status =
        bk_store_apply(&service->store, commands, part->count, INT64_MAX, apply->borrower, &answer, error);
    double seconds = (double)(bk_clock_now_us() - began_us) / 1e6;
    if (met_a_ghost(apply, part, error))
        status = error->status = BK_TIMEOUT;
    if (status == BK_OK || status == BK_UNKNOWN)
        service->ghosts = status == BK_UNKNOWN;
    bk_service_end_call(service, apply->permit, result_of(status), answer.connections, error);
    bk_histogram_add(&service->metrics.apply_seconds, seconds);
    bk_histogram_add(&service->metrics.batch_jobs, (double)part->count);
    (void)atomic_fetch_add_explicit(&service->metrics.batches, 1, memory_order_relaxed);
    if (answer.degraded) {
        (void)atomic_fetch_add_explicit(&service->metrics.durability_degraded, 1, memory_order_relaxed);
        bk_log(BK_LOG_WARN, "durability degraded: a commit may not have reached the synchronous standby");
    }
    if (status != BK_OK)
        (void)atomic_fetch_add_explicit(&service->metrics.database_errors[status], 1, memory_order_relaxed);
    bk_log(BK_LOG_QUERY, "applied %zu jobs in %.1f ms: %s", part->count, seconds * 1e3,
           status == BK_OK ? "ok" : error->text);
    for (size_t i = 0; i < part->count && status == BK_OK; i++)
        finish(apply, part->tasks[i], &answer.outcomes[i]);
    bk_store_answer_deinit(&answer);
    free(commands);
    return status;
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

/* Whether, and after what wait, the same part is worth another try. */
static bool worth_another_try(struct bk_apply *apply, const struct bk_error *error, unsigned tries, bk_ms *wait)
{
    const struct bk_config *config = apply->service->config;
    if (error->status == BK_TRANSIENT && !is_statement_timeout(error)) {
        *wait = CONTENTION_BASE_MS + bk_backoff(CONTENTION_BASE_MS, tries, CONTENTION_CAP_MS, bk_random());
        return tries < CONTENTION_TRIES;
    }
    if (!bk_is_outage(error->status) || error->status == BK_OPERATOR || tries > (unsigned)config->retries ||
        !bk_retry_budget_take(apply->budget))
        return false;
    *wait = bk_backoff(config->retry_base_ms, tries - 1, config->retry_base_ms * 1024, bk_random());
    return true;
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

/* Tries a part until it is applied or there is no use; the caller has a permit in apply->permit. */
static enum bk_status try_part(struct bk_apply *apply, struct part *part, struct bk_error *error)
{
    for (unsigned tries = 1;; tries++) {
        *error = (struct bk_error){0};
        enum bk_status status = try_once(apply, part, error);
        if (status == BK_OK) {
            bk_retry_budget_success(apply->budget);
            return BK_OK;
        }
        part->unsure = part->unsure || status == BK_UNKNOWN;
        bk_ms wait = 0;
        if (!worth_another_try(apply, error, tries, &wait))
            return status;
        bk_log(BK_LOG_INFO, "%s; %zu jobs are tried again in %lld ms", error->text, part->count, (long long)wait);
        bk_service_lane_at(apply->service, apply->lane, BK_LANE_BACKING_OFF, (unsigned)part->count);
        /* neither a stop nor the breaker is the job's affair: no attempt is spent on it */
        if (!bk_service_pause(apply->service, wait))
            return bk_fail(error, BK_STOPPED, "the worker is stopping");
        if (!ask_again(apply))
            return bk_fail(error, BK_OUTAGE, "the circuit breaker is open");
    }
}

static void apply_part(struct bk_apply *apply, struct part part, bool have_permit)
{
    struct bk_error error = {0};
    if (!have_permit && !ask_again(apply)) {
        (void)bk_fail(&error, BK_OUTAGE, "the circuit breaker is open");
        for (size_t i = 0; i < part.count; i++)
            give_up(apply, part.tasks[i], &error, part.unsure);
        return;
    }
    if (try_part(apply, &part, &error) == BK_OK) {
        apply->any_good = true;
        return;
    }
    if (part.count > 1 && may_be_one_jobs_fault(&error)) {
        size_t half = part.count / 2;
        apply_part(apply, (struct part){part.tasks, half, part.unsure}, false);
        apply_part(apply, (struct part){part.tasks + half, part.count - half, part.unsure}, false);
        return;
    }
    /* class 42 on this job alone, while others of the same turn went through: it is the job's */
    if (error.status == BK_OPERATOR && apply->any_good && may_be_one_jobs_fault(&error))
        error.status = BK_PERMANENT;
    for (size_t i = 0; i < part.count; i++)
        give_up(apply, part.tasks[i], &error, part.unsure);
}

void bk_apply_batch(struct bk_apply *apply, struct bk_batch *batch)
{
    struct bk_task **tasks = bk_alloc(batch->count * sizeof(struct bk_task *));
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        decide(apply, &batch->tasks[i]);
        if (!batch->tasks[i].settled)
            tasks[count++] = &batch->tasks[i];
    }
    put_off_same_ids(tasks, &count);
    bk_crash_point("decided");
    if (count > 0)
        apply_part(apply, (struct part){tasks, count, false}, true);
    else
        bk_service_end_call(apply->service, apply->permit, BK_CALL_RELEASED, 0, NULL);
    free(tasks);
    for (size_t i = 0; i < batch->count; i++)
        batch->settlements[i] = batch->tasks[i].settlement;
}
