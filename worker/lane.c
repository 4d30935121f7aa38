/* lane.c - see lane.h.
 *
 * A lane's turn: settle what the last turn held and take anew, in one write; decide, apply; and so on. What it holds is
 * settled under the incarnation it was taken by, so a lane that was declared dead in between moves nothing.
 *
 * A lane takes only with a permit of the circuit breaker in its hand, so while the breaker is not closed the backlog
 * waits in Redis and burns nothing; the lanes that wait for a permit make the probes.
 */
#include "worker/lane.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crash.h"
#include "common/log.h"
#include "worker/apply.h"

enum { REDIS_RETRY_BASE_MS = 50, REDIS_RETRY_CAP_MS = 2000, PROBE_TIMEOUT_MS = 5000 };

struct turn {
    struct bk_lane *lane;
    struct bk_queue *queue;
    struct bk_retry_budget budget;
    char borrower[24];
    /* what is held, until its settlement is acknowledged */
    struct bk_taken taken;
    struct bk_batch batch;
    char worker[BK_WORKER_ID_MOST]; /* the incarnation it was taken by */
    uint64_t number;                /* of this turn, counted from 1 */
    uint64_t taken_in;              /* the turn it was taken in */
    bool resume;                    /* the answer to a take was lost */
    bool more;                      /* the last take was full */
    unsigned redis_failures;        /* in a row */
    bool told;                      /* that an operator must act on them */
};

/* --- when to take ----------------------------------------------------------------------------------------------------- */

static bool is_over(const struct bk_service *service)
{
    return service->stopping || service->fenced;
}

/* Waits until there may be work for this lane: it has just found some and looks again, or somebody gives it a token.
 * False when the lane is to end. */
static bool wait_for_work(struct turn *turn)
{
    struct bk_service *service = turn->lane->service;
    bk_service_lane_at(service, turn->lane->number, BK_LANE_IDLE, 0);
    pthread_mutex_lock(&service->lock);
    service->idle_lanes++;
    if (!turn->more)
        pthread_cond_broadcast(&service->changed); /* the watcher may be waiting for somebody to wake */
    while (!is_over(service) && !(bk_service_may_take(service) && (turn->more || service->tokens > 0)))
        (void)pthread_cond_wait(&service->changed, &service->lock);
    service->idle_lanes--;
    if (!turn->more && service->tokens > 0)
        service->tokens--;
    bool go_on = !is_over(service);
    pthread_mutex_unlock(&service->lock);
    return go_on;
}

static void probe(struct turn *turn, struct bk_permit permit, bool half_open)
{
    struct bk_service *service = turn->lane->service;
    struct bk_error error = {0};
    uint64_t connections = 0;
    bk_ms timeout = BK_MIN((bk_ms)PROBE_TIMEOUT_MS, service->store.call_timeout_ms);
    permit.began = bk_clock_now();
    enum bk_status status = bk_store_probe(&service->store, bk_clock_now() + timeout, &connections, &error);
    enum bk_call_result result = status == BK_OK ? BK_CALL_GOOD : BK_CALL_BAD;
    /* outside half-open, what decides is how batches fare: a probe that does well must not outvote them */
    if (status == BK_STOPPED || (status == BK_OK && !half_open))
        result = BK_CALL_RELEASED;
    if (status != BK_OK)
        bk_log(BK_LOG_WARN, "probe of the database failed: %s", error.text);
    bk_service_end_call(service, permit, result, connections, &error);
    if (status == BK_OK || status == BK_UNKNOWN)
        service->ghosts = status == BK_UNKNOWN;
    bk_service_end_probe(service, status == BK_OK, half_open);
}

/* Waits for the breaker to let a batch through; false when the lane is to end. */
static bool wait_for_permit(struct turn *turn, struct bk_permit *permit)
{
    struct bk_service *service = turn->lane->service;
    for (;;) {
        bk_ms retry_at = 0;
        bool is_probe = false;
        enum bk_trust trust = bk_service_trust(service, &retry_at);
        if (trust != BK_TRUST_WAIT && bk_service_ask(service, permit, &retry_at, &is_probe)) {
            if (!is_probe && trust == BK_TRUST_FULL)
                return true;
            probe(turn, *permit, is_probe);
            continue;
        }
        bk_service_lane_at(service, turn->lane->number, BK_LANE_WAITING_BREAKER, 0);
        struct timespec until = bk_clock_timespec(retry_at);
        pthread_mutex_lock(&service->lock);
        if (!is_over(service))
            (void)pthread_cond_timedwait(&service->changed, &service->lock, &until);
        bool go_on = !is_over(service);
        pthread_mutex_unlock(&service->lock);
        if (!go_on)
            return false;
    }
}

/* Whether this turn takes as well, without waiting: a settlement must not wait for a permit. */
static bool may_take_at_once(struct turn *turn, struct bk_permit *permit)
{
    struct bk_service *service = turn->lane->service;
    pthread_mutex_lock(&service->lock);
    bool allowed = bk_service_may_take(service);
    pthread_mutex_unlock(&service->lock);
    bk_ms retry_at = 0;
    bool is_probe = false;
    if (!allowed || bk_service_trust(service, &retry_at) != BK_TRUST_FULL ||
        !bk_service_ask(service, permit, &retry_at, &is_probe))
        return false;
    if (is_probe)
        bk_service_end_call(service, *permit, BK_CALL_RELEASED, 0, NULL);
    return !is_probe;
}

/* --- after a take ------------------------------------------------------------------------------------------------------- */

static void drop_held(struct turn *turn)
{
    bk_batch_deinit(&turn->batch);
    bk_taken_deinit(&turn->taken);
}

/* Tells the others what the take has shown. */
static void note_take(struct turn *turn, const struct bk_taken *taken)
{
    struct bk_service *service = turn->lane->service;
    bk_ms now = bk_clock_now();
    if (taken->count)
        bk_crash_point("taken");
    pthread_mutex_lock(&service->lock);
    service->takes++;
    service->progress_at = now;
    service->paused = taken->paused;
    service->next_due = taken->next_due ? now + BK_MAX(taken->next_due - taken->now, (bk_ms)0) : 0;
    if (taken->last_id[0])
        memcpy(service->last_id, taken->last_id, sizeof(service->last_id));
    if (taken->more && service->tokens < service->idle_lanes)
        service->tokens++; /* enough for another lane */
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->lock);
    if (taken->recovered > 0) {
        (void)atomic_fetch_add(&service->metrics.recovered, (uint64_t)taken->recovered);
        bk_log(BK_LOG_WARN, "took over %lld jobs of workers that fell silent", (long long)taken->recovered);
    }
    for (size_t i = 0; i < turn->batch.count; i++) {
        bk_ms waited = taken->now - turn->batch.tasks[i].job.enqueued_at;
        bk_histogram_add(&service->metrics.wait_seconds, (double)waited / 1e3);
    }
}

/* --- the exchange with Redis ---------------------------------------------------------------------------------------------- */

static void on_redis_failure(struct turn *turn, enum bk_status status, const struct bk_error *error)
{
    struct bk_service *service = turn->lane->service;
    turn->resume = true;
    if (status == BK_FENCED || turn->redis_failures == 0) {
        /* the housekeeper finds out whether Redis is gone, the lease just ran out or a namesake has taken over */
        pthread_mutex_lock(&service->lock);
        if (!service->rejoin) { /* told once: this wakes the lanes as well, and they would go on to wake each other */
            service->rejoin = true;
            pthread_cond_broadcast(&service->changed);
        }
        pthread_mutex_unlock(&service->lock);
    }
    /* what begins as a lost connection may turn out to be a wrong password */
    if (turn->redis_failures == 0 || (status == BK_OPERATOR && !turn->told))
        bk_log(status == BK_OPERATOR ? BK_LOG_ERROR : BK_LOG_WARN, "lane %u: %s (%s); trying again", turn->lane->number,
               error->text, bk_status_label(status));
    turn->told = turn->told || status == BK_OPERATOR;
    bk_service_lane_at(service, turn->lane->number, BK_LANE_WAITING_REDIS, (unsigned)turn->batch.count);
    bk_ms wait =
        REDIS_RETRY_BASE_MS + bk_backoff(REDIS_RETRY_BASE_MS, turn->redis_failures++, REDIS_RETRY_CAP_MS, bk_random());
    pthread_mutex_lock(&service->lock);
    bool stopping = service->stopping;
    struct timespec until = bk_clock_timespec(bk_clock_now() + (stopping ? REDIS_RETRY_BASE_MS : wait));
    /* while stopping there is still something to settle: wait, but not for the stop that has come already */
    (void)pthread_cond_timedwait(&service->changed, &service->lock, &until);
    pthread_mutex_unlock(&service->lock);
}

static void on_settled(struct turn *turn, const struct bk_turn *done)
{
    if (turn->batch.count)
        bk_crash_point("settled");
    if (done->lost > 0) {
        (void)atomic_fetch_add(&turn->lane->service->metrics.lost_lease, done->lost);
        bk_log(BK_LOG_WARN, "lane %u: %zu jobs were not ours any more: the lease had run out, somebody else has them",
               turn->lane->number, done->lost);
    }
    drop_held(turn);
}

/* One exchange: settles what is held, takes if `*take`, which becomes false when taking is not allowed any more. True
 * when it went through. */
static bool exchange(struct turn *turn, bool *take, struct bk_apply *apply)
{
    struct bk_service *service = turn->lane->service;
    char worker[BK_WORKER_ID_MOST];
    pthread_mutex_lock(&service->lock);
    memcpy(worker, service->worker, sizeof(worker));
    *take = *take && bk_service_may_take(service);
    pthread_mutex_unlock(&service->lock);
    /* what has one life left to cost is tried alone: its neighbours are not to die as poison with it */
    unsigned careful = (unsigned)BK_MAX(service->config->max_deliveries - 1, INT64_C(1));
    const struct bk_take wanted = {worker, (unsigned)service->config->batch, turn->resume, careful};
    const struct bk_turn_name name = {turn->worker, turn->lane->number, ++turn->number, turn->taken_in};
    bk_service_lane_at(service, turn->lane->number, BK_LANE_TAKING, (unsigned)turn->batch.count);
    struct bk_turn done;
    struct bk_taken taken = {0};
    struct bk_error error = {0};
    enum bk_status status = bk_queue_turn(turn->queue, &name, turn->batch.settlements, turn->batch.count,
                                          *take ? &wanted : NULL, &done, &taken, &error);
    if (done.settled)
        on_settled(turn, &done);
    if (status != BK_OK) {
        on_redis_failure(turn, status, &error);
        return false;
    }
    if (turn->redis_failures > 0)
        bk_log(BK_LOG_INFO, "lane %u: Redis answers again", turn->lane->number);
    turn->redis_failures = 0;
    turn->told = false;
    if (!*take)
        return true;
    turn->resume = false;
    turn->more = taken.count > 0;
    turn->taken = taken;
    turn->taken_in = turn->number;
    memcpy(turn->worker, worker, sizeof(worker));
    apply->redis_ahead = taken.now - bk_clock_now();
    bk_batch_init(&turn->batch, &turn->taken);
    note_take(turn, &turn->taken);
    return true;
}

/* --- the lane --------------------------------------------------------------------------------------------------------------- */

/* What is still held when the time to stop is over is handed back by the main thread, all at once. */
static bool out_of_time(struct bk_service *service)
{
    pthread_mutex_lock(&service->lock);
    bool over = service->fenced || (service->stopping && bk_clock_now() >= service->stop_by);
    pthread_mutex_unlock(&service->lock);
    return over;
}

static bool run_turn(struct turn *turn)
{
    struct bk_apply apply = {.service = turn->lane->service,
                             .lane = turn->lane->number,
                             .borrower = turn->borrower,
                             .worker = turn->worker,
                             .budget = &turn->budget};
    bool holding = turn->batch.count > 0;
    bool take = false;
    if (holding)
        take = may_take_at_once(turn, &apply.permit);
    else if (wait_for_work(turn) && wait_for_permit(turn, &apply.permit))
        take = true;
    if (!holding && !take)
        return false;
    /* a lane that has just worked looks again by itself; one that came back with nothing waits for a token */
    turn->more = false;
    bool permitted = take;
    bool through = exchange(turn, &take, &apply);
    if (through && take && turn->batch.count > 0) {
        bk_apply_batch(&apply, &turn->batch);
        bk_service_end_turn(apply.service, apply.any_good, apply.handed_back);
    } else if (permitted) {
        bk_service_end_call(apply.service, apply.permit, BK_CALL_RELEASED, 0, NULL);
    }
    if (!through || !take)
        turn->more = true;
    return through || !out_of_time(apply.service);
}

void *bk_lane_run(void *arg)
{
    struct turn turn = {.lane = arg};
    struct bk_service *service = turn.lane->service;
    turn.queue = bk_queue_open(&service->queue_options);
    (void)snprintf(turn.borrower, sizeof(turn.borrower), "lane %u", turn.lane->number);
    bk_retry_budget_init(&turn.budget);
    while (run_turn(&turn))
        continue;
    drop_held(&turn);
    (void)bk_queue_close(turn.queue);
    bk_service_lane_at(service, turn.lane->number, BK_LANE_ENDED, 0);
    return NULL;
}
