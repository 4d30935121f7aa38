/* service.c - see service.h. */
#include "worker/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/backoff.h"
#include "common/log.h"

enum { REDIS_CALL_TIMEOUT_MS = 2000, CLIENT_SLACK_MS = 500, LEAK_WARNING_MS = 60000 };

static struct bk_breaker_settings breaker_settings(const struct bk_config *config)
{
    return (struct bk_breaker_settings){
        .window = (unsigned)config->breaker_window,
        .min_calls = (unsigned)config->breaker_min_calls,
        .failure_rate = (unsigned)config->breaker_failure_rate,
        .consecutive = (unsigned)config->breaker_consecutive,
        .slow_ms = config->breaker_slow_ms,
        .slow_rate = (unsigned)config->breaker_slow_rate,
        .open_ms = config->breaker_open_ms,
        .open_max_ms = config->breaker_open_max_ms,
        .probes = (unsigned)config->breaker_probes,
        .limit = (unsigned)config->lanes,
    };
}

static struct bk_pool_settings pool_settings(const struct bk_config *config)
{
    return (struct bk_pool_settings){
        .session = {.conninfo = config->database.conninfo,
                    .application_name = config->worker_name,
                    .statement_timeout_ms = config->statement_timeout_ms,
                    .lock_timeout_ms = config->lock_timeout_ms,
                    .pgbouncer = config->database.pgbouncer},
        .min = (unsigned)config->pool_min,
        .max = (unsigned)config->pool_max,
        .connect_timeout_ms = config->connect_timeout_ms,
        .idle_timeout_ms = config->idle_timeout_s * 1000,
        .max_lifetime_ms = config->max_lifetime_s * 1000,
        .keepalive_ms = config->keepalive_s * 1000,
        .leak_warning_ms = LEAK_WARNING_MS,
    };
}

enum bk_status bk_service_init(struct bk_service *service, const struct bk_config *config, struct bk_error *error)
{
    *service = (struct bk_service){
        .config = config,
        /* three beats fit into a lease, each with its deadline */
        .queue_options = {.url = &config->redis,
                          .name = config->queue,
                          .connect_timeout_ms = BK_MIN(config->connect_timeout_ms, config->lease_ms / 3),
                          .call_timeout_ms = BK_MIN((bk_ms)REDIS_CALL_TIMEOUT_MS, config->lease_ms / 3)},
        .rules = bk_decision_rules_of(config),
        .started_at = bk_clock_now(),
        .started_at_wall = bk_clock_wall(),
        .progress_at = bk_clock_now(),
        .lane_count = (unsigned)config->lanes,
    };
    bk_metrics_init(&service->metrics);
    bk_doubt_init(&service->doubt, config->retry_base_ms);
    struct bk_breaker_settings breaker = breaker_settings(config);
    bk_breaker_init(&service->breaker, &breaker);
    struct bk_pool_settings pool = pool_settings(config);
    enum bk_status status = bk_pool_open(&service->pool, &pool, error);
    if (status != BK_OK)
        return status;
    service->store = (struct bk_store){.pool = service->pool,
                                       .worker = config->worker_name,
                                       .acquire_timeout_ms = config->acquire_timeout_ms,
                                       .call_timeout_ms = config->statement_timeout_ms + CLIENT_SLACK_MS};
    service->lanes = bk_zalloc(service->lane_count * sizeof(*service->lanes));
    for (unsigned i = 0; i < service->lane_count; i++)
        service->lanes[i].since = service->started_at;
    (void)pthread_mutex_init(&service->lock, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&service->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    return BK_OK;
}

void bk_service_deinit(struct bk_service *service)
{
    service->pool = bk_pool_close(service->pool);
    (void)pthread_mutex_destroy(&service->lock);
    (void)pthread_cond_destroy(&service->changed);
    free(service->lanes);
}

bool bk_service_may_take(const struct bk_service *service)
{
    return service->worker[0] && !service->stopping && !service->quiet && !service->fenced;
}

bool bk_service_pause(struct bk_service *service, bk_ms ms)
{
    struct timespec until = bk_clock_timespec(bk_clock_now() + ms);
    pthread_mutex_lock(&service->lock);
    int result = 0;
    while (result == 0 && !service->stopping && !service->fenced)
        result = pthread_cond_timedwait(&service->changed, &service->lock, &until);
    bool go_on = !service->stopping && !service->fenced;
    pthread_mutex_unlock(&service->lock);
    return go_on;
}

void bk_service_lane_at(struct bk_service *service, unsigned lane, enum bk_lane_activity activity, unsigned jobs)
{
    pthread_mutex_lock(&service->lock);
    service->lanes[lane] = (struct bk_lane_view){activity, bk_clock_now(), jobs};
    pthread_mutex_unlock(&service->lock);
}

const char *bk_lane_activity_name(enum bk_lane_activity activity)
{
    static const char *const names[] = {"idle",
                                        "waits for Redis's answer to a take",
                                        "waits for PostgreSQL to apply a batch",
                                        "backs off before a retry",
                                        "waits for the circuit breaker to close",
                                        "waits for Redis to come back",
                                        "ended"};
    return names[activity];
}

static void log_transition(const struct bk_service *service, const struct bk_error *why)
{
    const struct bk_breaker *b = &service->breaker;
    const struct bk_log_field fields[] = {{"sqlstate", why ? why->sqlstate : NULL}, {NULL, NULL}};
    const char *mode = b->mode == BK_BREAKER_AUTO ? "" : " (forced)";
    switch (b->state) {
    case BK_BREAKER_OPEN:
        bk_log_with(BK_LOG_ERROR, fields, "circuit breaker open%s: %s; no job is taken, next probe in %lld ms", mode,
                    why ? why->text : "by an operator", (long long)b->wait_ms);
        break;
    case BK_BREAKER_HALF_OPEN:
        bk_log(BK_LOG_INFO, "circuit breaker half-open%s: probing the database", mode);
        break;
    case BK_BREAKER_CLOSED:
        bk_log(BK_LOG_INFO, "circuit breaker closed%s: taking jobs again", mode);
        break;
    }
}

static uint64_t connections_opened(struct bk_service *service)
{
    struct bk_pool_stats stats;
    bk_pool_read_stats(service->pool, &stats);
    return stats.opened;
}

/* After a long outage the next probe may be half a minute away. The pool goes on trying to connect all the while, so it
 * knows first. Under the lock. */
static void look_for_life(struct bk_service *service)
{
    if (service->breaker.state != BK_BREAKER_OPEN)
        return;
    uint64_t opened = connections_opened(service);
    if (opened > service->opened_before)
        bk_breaker_hint(&service->breaker, bk_clock_now());
}

bool bk_service_ask(struct bk_service *service, struct bk_permit *permit, bk_ms *retry_at, bool *probe)
{
    pthread_mutex_lock(&service->lock);
    look_for_life(service);
    enum bk_breaker_state before = service->breaker.state;
    bool granted = bk_breaker_ask(&service->breaker, bk_clock_now(), permit, retry_at);
    if (service->breaker.state != before)
        log_transition(service, NULL);
    *probe = granted && service->breaker.state == BK_BREAKER_HALF_OPEN;
    pthread_mutex_unlock(&service->lock);
    return granted;
}

void bk_service_end_call(struct bk_service *service, struct bk_permit permit, enum bk_call_result result,
                         uint64_t connections, const struct bk_error *why)
{
    pthread_mutex_lock(&service->lock);
    if (bk_breaker_end(&service->breaker, permit, result, connections, bk_clock_now())) {
        service->opened_before = connections_opened(service);
        log_transition(service, why);
    }
    pthread_cond_broadcast(&service->changed); /* whoever waits for its turn may have it now */
    pthread_mutex_unlock(&service->lock);
}

void bk_service_force_breaker(struct bk_service *service, enum bk_breaker_mode mode)
{
    pthread_mutex_lock(&service->lock);
    if (bk_breaker_force(&service->breaker, mode, bk_clock_now())) {
        log_transition(service, NULL);
        pthread_cond_broadcast(&service->changed);
    }
    pthread_mutex_unlock(&service->lock);
}

void bk_service_end_turn(struct bk_service *service, bool any_good, bool handed_back)
{
    pthread_mutex_lock(&service->lock);
    bk_doubt_end_turn(&service->doubt, any_good, handed_back, bk_clock_now(), bk_random());
    pthread_mutex_unlock(&service->lock);
}

void bk_service_end_probe(struct bk_service *service, bool good, bool verdict)
{
    pthread_mutex_lock(&service->lock);
    bk_doubt_end_probe(&service->doubt, good, verdict, bk_clock_now(), bk_random());
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->lock);
}

enum bk_trust bk_service_trust(struct bk_service *service, bk_ms *retry_at)
{
    pthread_mutex_lock(&service->lock);
    enum bk_trust trust = bk_doubt_trust(&service->doubt, &service->breaker, bk_clock_now());
    *retry_at = service->doubt.look_again_at;
    pthread_mutex_unlock(&service->lock);
    return trust;
}

const char *bk_service_state(const struct bk_service *service)
{
    if (service->fenced)
        return "fenced";
    if (service->stopping)
        return "stopping";
    if (service->quiet)
        return "quiet";
    if (!service->worker[0])
        return "starting";
    return service->paused ? "paused" : "running";
}
