/* housekeeper.c - see housekeeper.h. */
#include "worker/housekeeper.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/backoff.h"
#include "common/crash.h"
#include "common/log.h"
#include "worker/service.h"

enum {
    BEAT_MOST_MS = 5000,
    RETRY_BASE_MS = 100,
    RETRY_CAP_MS = 1000,
    PRUNE_EVERY_MS = 60000,
    PRUNE_MOST = 5000,
    PRUNE_TIMEOUT_MS = 5000
};

struct keeper {
    struct bk_service *service;
    struct bk_queue *queue;
    unsigned failures; /* of Redis, in a row */
    bool told;         /* that an operator must act on them */
    bk_ms prune_at;
    bool news;                       /* something to tell without waiting */
    char joining[BK_WORKER_ID_MOST]; /* the incarnation being joined as, until that is known to have worked */
    char joining_number[24];         /* and its number */
    char number[24];                 /* that of service->worker; "" before there is one */
    char mode[8];                    /* what an operator last wanted of the breaker */
};

/* --- what the worker says of itself ------------------------------------------------------------------------------------ */

enum { FACT_COUNT = 11 };

struct facts {
    char pid[24];
    char host[65];
    char started[24];
    char lanes[24];
    char held[24];
    char jobs[24];
    char state[16];
    char breaker[16];
    struct bk_text pool;
    struct bk_queue_fact list[FACT_COUNT];
};

static struct bk_queue_fact *number_in(struct facts *facts)
{
    return &facts->list[FACT_COUNT - 1];
}

static uint64_t jobs_done(const struct bk_metrics *metrics)
{
    uint64_t sum = 0;
    for (size_t kind = 0; kind <= BK_KINDS_MOST; kind++) {
        for (size_t outcome = 0; outcome < BK_OUTCOME_COUNT; outcome++)
            sum += atomic_load_explicit(&metrics->jobs[kind][outcome], memory_order_relaxed);
    }
    return sum;
}

static void gather(struct bk_service *service, struct facts *facts)
{
    struct bk_pool_stats pool;
    bk_pool_read_stats(service->pool, &pool);
    bk_text_printf(&facts->pool,
                   "{\"max\":%u,\"total\":%u,\"idle\":%u,\"active\":%u,\"connecting\":%u,\"waiting\":%u,"
                   "\"timeouts\":%" PRIu64 ",\"last_error\":",
                   pool.max, pool.total, pool.idle, pool.active, pool.connecting, pool.waiting, pool.timeouts);
    bk_text_json_string(&facts->pool, pool.last_error);
    bk_text_putc(&facts->pool, '}');
    (void)gethostname(facts->host, sizeof(facts->host) - 1);
    (void)snprintf(facts->pid, sizeof(facts->pid), "%ld", (long)getpid());
    (void)snprintf(facts->started, sizeof(facts->started), "%lld", (long long)service->started_at_wall);
    (void)snprintf(facts->jobs, sizeof(facts->jobs), "%" PRIu64, jobs_done(&service->metrics));
    pthread_mutex_lock(&service->lock);
    unsigned held = 0;
    for (unsigned i = 0; i < service->lane_count; i++)
        held += service->lanes[i].jobs;
    (void)snprintf(facts->state, sizeof(facts->state), "%s", bk_service_state(service));
    (void)snprintf(facts->breaker, sizeof(facts->breaker), "%s", bk_breaker_state_name(service->breaker.state));
    pthread_mutex_unlock(&service->lock);
    (void)snprintf(facts->lanes, sizeof(facts->lanes), "%u", service->lane_count);
    (void)snprintf(facts->held, sizeof(facts->held), "%u", held);
    const struct bk_queue_fact list[FACT_COUNT] = {
        {"pid", facts->pid},
        {"host", facts->host},
        {"version", BOOKING_VERSION},
        {"started_at", facts->started},
        {"lanes", facts->lanes},
        {"held", facts->held},
        {"jobs", facts->jobs},
        {"state", facts->state},
        {"breaker", facts->breaker},
        {"pool", bk_text_string(&facts->pool)},
        {"number", "0"},
    };
    memcpy(facts->list, list, sizeof(list));
}

/* --- join and beat ------------------------------------------------------------------------------------------------------- */

/* The lease counts from before the question: the answer may have been long on its way. `worker` NULL: as before. */
static void leased(struct bk_service *service, const char *worker, bk_ms asked_at)
{
    pthread_mutex_lock(&service->lock);
    if (worker) {
        (void)snprintf(service->worker, sizeof(service->worker), "%s", worker);
        service->tokens = 1; /* whatever waits already is not announced by a new entry */
    }
    service->lease_until = asked_at + service->config->lease_ms;
    service->rejoin = false;
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->lock);
}

static void obey(struct keeper *keeper, const char *wanted)
{
    if (strcmp(wanted, keeper->mode) == 0)
        return;
    (void)snprintf(keeper->mode, sizeof(keeper->mode), "%s", wanted);
    bk_service_force_breaker(keeper->service, strcmp(wanted, "open") == 0     ? BK_BREAKER_FORCED_OPEN
                                              : strcmp(wanted, "closed") == 0 ? BK_BREAKER_FORCED_CLOSED
                                                                              : BK_BREAKER_AUTO);
}

/* A new incarnation. Its number is asked for first, so that a join that is long on its way is known to be the older one.
 * Each try is of another incarnation: a question that is long on its way must not look like a beat of who has joined. */
static enum bk_status begin_joining(struct keeper *keeper, struct facts *facts, struct bk_error *error)
{
    const struct bk_config *config = keeper->service->config;
    char worker[BK_WORKER_ID_MOST];
    (void)snprintf(worker, sizeof(worker), "%s@%016" PRIx64, config->worker_name, bk_random());
    struct bk_pulse pulse = {0};
    enum bk_status status =
        bk_queue_beat(keeper->queue, worker, config->lease_ms, facts->list, FACT_COUNT, &pulse, error);
    if (status != BK_OK)
        return status;
    memcpy(keeper->joining, worker, sizeof(worker));
    (void)snprintf(keeper->joining_number, sizeof(keeper->joining_number), "%" PRId64, pulse.number);
    return BK_OK;
}

static enum bk_status join(struct keeper *keeper, struct facts *facts, struct bk_error *error)
{
    struct bk_service *service = keeper->service;
    /* the same one at each try: a join whose answer was lost must not look like somebody else's */
    char *worker = keeper->joining;
    enum bk_status status = *worker ? BK_OK : begin_joining(keeper, facts, error);
    if (status != BK_OK)
        return status;
    number_in(facts)->value = keeper->joining_number;
    int64_t recovered = 0;
    bk_ms asked_at = bk_clock_now();
    status =
        bk_queue_join(keeper->queue, worker, service->config->lease_ms, facts->list, FACT_COUNT, &recovered, error);
    if (status == BK_FENCED)
        *worker = '\0'; /* a namesake came later and yet first: the next try begins with the question who is who */
    if (status != BK_OK)
        return status;
    if (recovered > 0) {
        (void)atomic_fetch_add(&service->metrics.recovered, (uint64_t)recovered);
        bk_log(BK_LOG_WARN, "an older worker named %s is fenced off; its %lld jobs go to whoever takes them",
               service->config->worker_name, (long long)recovered);
    }
    bk_log(BK_LOG_INFO, "joined the queue \"%s\" as %s with %u lanes", service->config->queue, worker,
           service->lane_count);
    /* what an operator wants of the breaker is told by a beat: ask before the lanes may take */
    struct bk_pulse pulse = {0};
    status = bk_queue_beat(keeper->queue, worker, service->config->lease_ms, facts->list, FACT_COUNT, &pulse, error);
    if (status != BK_OK)
        return status;
    if (pulse.alive)
        obey(keeper, pulse.breaker);
    leased(service, worker, asked_at);
    memcpy(keeper->number, keeper->joining_number, sizeof(keeper->number));
    *worker = '\0';
    keeper->news = true; /* the state that was told is not true any more: beat at once */
    return BK_OK;
}

static enum bk_status beat(struct keeper *keeper, struct facts *facts, struct bk_error *error)
{
    struct bk_service *service = keeper->service;
    number_in(facts)->value = keeper->number;
    struct bk_pulse pulse = {0};
    bk_ms asked_at = bk_clock_now();
    enum bk_status status = bk_queue_beat(keeper->queue, service->worker, service->config->lease_ms, facts->list,
                                          FACT_COUNT, &pulse, error);
    if (status != BK_OK)
        return status;
    if (pulse.alive) {
        bk_crash_point("beat");
        obey(keeper, pulse.breaker);
        leased(service, NULL, asked_at);
        return BK_OK;
    }
    if (!pulse.fenced) {
        bk_log(BK_LOG_WARN, "the lease had run out and the jobs went to others; joining anew");
        return join(keeper, facts, error);
    }
    pthread_mutex_lock(&service->lock);
    service->fenced = true;
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->lock);
    bk_log(BK_LOG_ERROR, "fenced: another worker named %s has taken over; set BOOKING_WORKER_NAME so that names differ",
           service->config->worker_name);
    return BK_OK;
}

static void stay_alive(struct keeper *keeper)
{
    struct bk_service *service = keeper->service;
    struct facts facts = {0};
    gather(service, &facts);
    struct bk_error error = {0};
    enum bk_status status =
        service->worker[0] && !keeper->joining[0] ? beat(keeper, &facts, &error) : join(keeper, &facts, &error);
    /* what begins as a lost connection may turn out to be a wrong password */
    if (status != BK_OK && (keeper->failures++ == 0 || (status == BK_OPERATOR && !keeper->told)))
        bk_log(status == BK_OPERATOR ? BK_LOG_ERROR : BK_LOG_WARN, "housekeeper: %s (%s); trying again", error.text,
               bk_status_label(status));
    keeper->told = status != BK_OK && (keeper->told || status == BK_OPERATOR);
    if (status == BK_OK)
        keeper->failures = 0;
    pthread_mutex_lock(&service->lock);
    service->redis_lost = status != BK_OK;
    pthread_mutex_unlock(&service->lock);
    bk_text_deinit(&facts.pool);
}

/* --- the rest -------------------------------------------------------------------------------------------------------------- */

static void look_at_queue(struct keeper *keeper)
{
    struct bk_service *service = keeper->service;
    struct bk_queue_status counts = {0};
    if (keeper->failures > 0 || bk_queue_read_status(keeper->queue, &counts, NULL) != BK_OK)
        return;
    pthread_mutex_lock(&service->lock);
    service->counts = counts;
    service->counts_at = bk_clock_now();
    pthread_mutex_unlock(&service->lock);
}

static void prune(struct keeper *keeper, bk_ms now)
{
    struct bk_service *service = keeper->service;
    int64_t days = service->config->ledger_retention_days;
    if (days == 0 || now < keeper->prune_at)
        return;
    int64_t deleted = 0;
    struct bk_error error = {0};
    enum bk_status status = bk_store_prune(&service->store, days, PRUNE_MOST, now + PRUNE_TIMEOUT_MS, &deleted, &error);
    if (status != BK_OK)
        bk_log(BK_LOG_WARN, "pruning the ledger: %s", error.text);
    else if (deleted > 0)
        bk_log(BK_LOG_INFO, "pruned %lld ledger rows older than %lld days", (long long)deleted, (long long)days);
    /* a full bite means that there is more */
    keeper->prune_at = now + (deleted == PRUNE_MOST ? 0 : PRUNE_EVERY_MS);
}

static bk_ms interval(struct keeper *keeper)
{
    if (keeper->news) {
        keeper->news = false;
        return 0;
    }
    if (keeper->failures > 0)
        return RETRY_BASE_MS + bk_backoff(RETRY_BASE_MS, keeper->failures - 1, RETRY_CAP_MS, bk_random());
    return BK_MIN(keeper->service->config->lease_ms / 4, (bk_ms)BEAT_MOST_MS);
}

void *bk_housekeeper_run(void *arg)
{
    struct keeper keeper = {.service = arg};
    struct bk_service *service = keeper.service;
    keeper.queue = bk_queue_open(&service->queue_options);
    for (;;) {
        stay_alive(&keeper);
        look_at_queue(&keeper);
        prune(&keeper, bk_clock_now());
        struct timespec until = bk_clock_timespec(bk_clock_now() + interval(&keeper));
        pthread_mutex_lock(&service->lock);
        int result = 0;
        while (result == 0 && !service->housekeeping_over && !service->fenced && !service->rejoin)
            result = pthread_cond_timedwait(&service->changed, &service->lock, &until);
        bool over = service->housekeeping_over || service->fenced;
        service->rejoin = false;
        pthread_mutex_unlock(&service->lock);
        if (over)
            break;
    }
    (void)bk_queue_close(keeper.queue);
    return NULL;
}
