/* health.c - see health.h. The format of /metrics is the Prometheus text exposition format 0.0.4. */
#include "worker/health.h"

#include <inttypes.h>
#include <string.h>

#include "common/log.h"
#include "worker/command.h"

enum { STALL_MS = 60000 };

/* --- liveness and readiness ------------------------------------------------------------------------------------------- */

static void describe_lanes(struct bk_service *service, bk_ms now, struct bk_text *why)
{
    for (unsigned i = 0; i < service->lane_count; i++) {
        const struct bk_lane_view *lane = &service->lanes[i];
        bk_text_printf(why, "%slane %u %s since %lld ms with %u jobs", i ? "; " : "", i,
                       bk_lane_activity_name(lane->activity), (long long)(now - lane->since), lane->jobs);
    }
}

/* Alive, unless jobs wait that this worker could take, nothing is known to hold it up (an outage is not its fault), and
 * no take or settle has gone through for a long time. A lane that has overstayed every deadline is a stall as well. */
bool bk_health_alive(struct bk_service *service, struct bk_text *why)
{
    bk_ms now = bk_clock_now();
    bk_ms longest = service->store.acquire_timeout_ms + service->store.call_timeout_ms + STALL_MS;
    bool alive = true;
    pthread_mutex_lock(&service->lock);
    bool redis_answers = service->counts_at && now - service->counts_at < STALL_MS;
    bool could_work = bk_service_may_take(service) && !service->paused && redis_answers &&
                      service->breaker.state == BK_BREAKER_CLOSED;
    if (could_work && service->counts.inbox + service->counts.ready > 0 && now - service->progress_at > STALL_MS)
        alive = false;
    for (unsigned i = 0; i < service->lane_count; i++) {
        const struct bk_lane_view *lane = &service->lanes[i];
        bool calls = lane->activity == BK_LANE_TAKING || lane->activity == BK_LANE_APPLYING;
        alive = alive && !(calls && now - lane->since > longest);
    }
    if (!alive)
        describe_lanes(service, now, why);
    pthread_mutex_unlock(&service->lock);
    return alive;
}

static void serve_livez(struct bk_service *service, struct bk_http_response *response)
{
    BK_AUTO_TEXT why = {0};
    bool alive = bk_health_alive(service, &why);
    response->status = alive ? 200 : 503;
    response->type = "application/json";
    bk_text_printf(&response->body, "{\"alive\":%s,\"why\":", alive ? "true" : "false");
    bk_text_json_string(&response->body, alive ? NULL : bk_text_string(&why));
    bk_text_puts(&response->body, "}\n");
}

static void serve_readyz(struct bk_service *service, struct bk_http_response *response)
{
    pthread_mutex_lock(&service->lock);
    bool redis = service->worker[0] && !service->redis_lost && bk_clock_now() < service->lease_until;
    const char *state = bk_service_state(service);
    const char *breaker = bk_breaker_state_name(service->breaker.state);
    bool ready =
        redis && service->breaker.state != BK_BREAKER_OPEN && !service->quiet && !service->stopping && !service->fenced;
    pthread_mutex_unlock(&service->lock);
    response->status = ready ? 200 : 503;
    response->type = "application/json";
    bk_text_printf(&response->body, "{\"ready\":%s,\"redis\":%s,\"breaker\":\"%s\",\"state\":\"%s\"}\n",
                   ready ? "true" : "false", redis ? "true" : "false", breaker, state);
}

/* --- metrics -------------------------------------------------------------------------------------------------------------- */

static void family(struct bk_text *out, const char *name, const char *type, const char *help)
{
    bk_text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void counter(struct bk_text *out, const char *name, const char *help, uint64_t value)
{
    family(out, name, "counter", help);
    bk_text_printf(out, "%s %" PRIu64 "\n", name, value);
}

static void gauge(struct bk_text *out, const char *name, const char *label, const char *value, double number)
{
    bk_text_printf(out, "%s{%s=\"%s\"} %.15g\n", name, label, value, number);
}

static void histogram(struct bk_text *out, const char *name, const char *help, const struct bk_histogram *h)
{
    family(out, name, "histogram", help);
    uint64_t sum = 0;
    for (unsigned i = 0; i < BK_HISTOGRAM_BUCKETS - 1; i++) {
        sum += load(&h->buckets[i]);
        bk_text_printf(out, "%s_bucket{le=\"%.15g\"} %" PRIu64 "\n", name, h->bounds[i], sum);
    }
    sum += load(&h->buckets[BK_HISTOGRAM_BUCKETS - 1]);
    bk_text_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.15g\n%s_count %" PRIu64 "\n", name, sum, name,
                   (double)load(&h->sum_micro) / 1e6, name, sum);
}

static void print_jobs(struct bk_text *out, const struct bk_metrics *m)
{
    static const char *const outcomes[] = {
#define BK_OUTCOME_NAME(name) #name,
        BK_OUTCOMES(BK_OUTCOME_NAME)
#undef BK_OUTCOME_NAME
    };
    family(out, "booking_jobs_total", "counter", "Jobs that came to their final outcome.");
    for (size_t kind = 0; kind <= BK_KINDS_MOST; kind++) {
        const char *name = kind < BK_KINDS_MOST ? bk_command_kind(kind) : "unknown";
        for (size_t outcome = 0; name && outcome < BK_OUTCOME_COUNT; outcome++)
            bk_text_printf(out, "booking_jobs_total{kind=\"%s\",outcome=\"%s\"} %" PRIu64 "\n", name, outcomes[outcome],
                           load(&m->jobs[kind][outcome]));
    }
    family(out, "booking_jobs_dead_total", "counter", "Jobs that became dead letters, by reason.");
    size_t i = 0;
#define BK_DEAD_PRINT(word, meaning)                                                                                   \
    bk_text_printf(out, "booking_jobs_dead_total{reason=\"%s\"} %" PRIu64 "\n", #word, load(&m->dead[i++]));
    BK_DEAD_REASONS(BK_DEAD_PRINT)
#undef BK_DEAD_PRINT
}

static void print_classes(struct bk_text *out, const char *name, const char *help, const _Atomic uint64_t *counts)
{
    static const struct {
        enum bk_status status;
        const char *label;
    } classes[] = {{BK_TRANSIENT, "transient"}, {BK_OUTAGE, "outage"},     {BK_UNKNOWN, "unknown"},
                   {BK_TIMEOUT, "timeout"},     {BK_OPERATOR, "operator"}, {BK_PERMANENT, "permanent"}};
    family(out, name, "counter", help);
    for (size_t i = 0; i < BK_COUNT(classes); i++)
        bk_text_printf(out, "%s{class=\"%s\"} %" PRIu64 "\n", name, classes[i].label, load(&counts[classes[i].status]));
}

static void print_queue(struct bk_text *out, struct bk_service *service)
{
    pthread_mutex_lock(&service->lock);
    struct bk_queue_status q = service->counts;
    bool known = service->counts_at != 0;
    pthread_mutex_unlock(&service->lock);
    if (!known)
        return;
    const char *name = "booking_queue_jobs";
    family(out, name, "gauge", "Jobs of the queue by place.");
    gauge(out, name, "place", "inbox", (double)q.inbox);
    gauge(out, name, "place", "ready", (double)q.ready);
    gauge(out, name, "place", "waiting", (double)q.waiting);
    gauge(out, name, "place", "active", (double)q.active);
    gauge(out, name, "place", "scheduled", (double)q.scheduled);
    gauge(out, name, "place", "retry", (double)q.retry);
    gauge(out, name, "place", "dead", (double)q.dead);
    family(out, "booking_queue_oldest_seconds", "gauge", "Age of the oldest job that could run now.");
    bk_text_printf(out, "booking_queue_oldest_seconds %.15g\n", (double)q.oldest_ms / 1e3);
    family(out, "booking_queue_oldest_dead_seconds", "gauge", "Age of the oldest dead letter.");
    bk_text_printf(out, "booking_queue_oldest_dead_seconds %.15g\n", (double)q.oldest_dead_ms / 1e3);
}

static void print_pool(struct bk_text *out, struct bk_service *service)
{
    struct bk_pool_stats pool;
    bk_pool_read_stats(service->pool, &pool);
    const char *name = "booking_pool_connections";
    family(out, name, "gauge", "Connections of the pool by state.");
    gauge(out, name, "state", "idle", pool.idle);
    gauge(out, name, "state", "active", pool.active);
    gauge(out, name, "state", "connecting", pool.connecting);
    family(out, "booking_pool_waiting", "gauge", "Threads that wait for a connection.");
    bk_text_printf(out, "booking_pool_waiting %u\n", pool.waiting);
    name = "booking_pool_acquire_seconds";
    family(out, name, "histogram", "Time to borrow a connection.");
    uint64_t sum = 0;
    for (unsigned i = 0; i < BK_POOL_WAIT_BUCKETS - 1; i++) {
        sum += pool.wait_buckets[i];
        bk_text_printf(out, "%s_bucket{le=\"%.15g\"} %" PRIu64 "\n", name, (double)bk_pool_wait_bounds_us[i] / 1e6,
                       sum);
    }
    sum += pool.wait_buckets[BK_POOL_WAIT_BUCKETS - 1];
    bk_text_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.15g\n%s_count %" PRIu64 "\n", name, sum, name,
                   (double)pool.wait_us_sum / 1e6, name, sum);
    counter(out, "booking_pool_timeouts_total", "Waits for a connection that ended without one.", pool.timeouts);
    counter(out, "booking_pool_opened_total", "Connections opened.", pool.opened);
    counter(out, "booking_pool_connect_failures_total", "Connection attempts that failed.", pool.connect_failures);
}

static void print_breaker(struct bk_text *out, struct bk_service *service)
{
    pthread_mutex_lock(&service->lock);
    enum bk_breaker_state state = service->breaker.state;
    uint64_t transitions[3];
    memcpy(transitions, service->breaker.transitions, sizeof(transitions));
    pthread_mutex_unlock(&service->lock);
    family(out, "booking_breaker_state", "gauge", "1 for the state the circuit breaker is in.");
    for (unsigned i = 0; i < 3; i++)
        gauge(out, "booking_breaker_state", "state", bk_breaker_state_name((enum bk_breaker_state)i), i == state);
    family(out, "booking_breaker_transitions_total", "counter",
           "Changes of the circuit breaker, by the state entered.");
    for (unsigned i = 0; i < 3; i++)
        bk_text_printf(out, "booking_breaker_transitions_total{to=\"%s\"} %" PRIu64 "\n",
                       bk_breaker_state_name((enum bk_breaker_state)i), transitions[i]);
}

static void serve_metrics(struct bk_service *service, struct bk_http_response *response)
{
    const struct bk_metrics *m = &service->metrics;
    struct bk_text *out = &response->body;
    response->type = "text/plain; version=0.0.4; charset=utf-8";
    print_jobs(out, m);
    print_classes(out, "booking_jobs_retried_total", "Jobs put off for another try, by the class of the failure.",
                  m->retried);
    counter(out, "booking_jobs_requeued_total", "Jobs handed back because of an outage.", load(&m->requeued));
    counter(out, "booking_jobs_recovered_total", "Jobs taken over from workers that fell silent.", load(&m->recovered));
    counter(out, "booking_jobs_lost_lease_total", "Settlements of jobs that had gone to another worker.",
            load(&m->lost_lease));
    counter(out, "booking_durability_degraded_total", "Commits that may not have reached the synchronous standby.",
            load(&m->durability_degraded));
    print_queue(out, service);
    histogram(out, "booking_job_wait_seconds", "Time from enqueued to taken.", &m->wait_seconds);
    histogram(out, "booking_apply_seconds", "Time of a database call for a batch.", &m->apply_seconds);
    histogram(out, "booking_batch_jobs", "Jobs in a database transaction.", &m->batch_jobs);
    print_pool(out, service);
    print_breaker(out, service);
    print_classes(out, "booking_database_errors_total", "Database calls that failed, by class.", m->database_errors);
    family(out, "booking_build_info", "gauge", "1, labelled with the version.");
    gauge(out, "booking_build_info", "version", BOOKING_VERSION, 1);
}

/* --- the server --------------------------------------------------------------------------------------------------------------- */

static void handle(void *arg, const struct bk_http_request *request, struct bk_http_response *response)
{
    static const struct {
        const char *path;
        void (*serve)(struct bk_service *service, struct bk_http_response *response);
    } routes[] = {{"/livez", serve_livez}, {"/readyz", serve_readyz}, {"/metrics", serve_metrics}};
    if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0) {
        response->status = 405;
        bk_text_puts(&response->headers, "Allow: GET, HEAD\n");
        return;
    }
    for (size_t i = 0; i < BK_COUNT(routes); i++) {
        if (strcmp(request->path, routes[i].path) == 0) {
            routes[i].serve(arg, response);
            return;
        }
    }
    response->status = 404;
    bk_text_puts(&response->body, "there are /livez, /readyz and /metrics\n");
}

enum bk_status bk_health_start(struct bk_http_server **out, struct bk_service *service, struct bk_error *error)
{
    *out = NULL;
    if (strcmp(service->config->http, "off") == 0)
        return BK_OK;
    const struct bk_http_options options = {.address = service->config->http,
                                            .connections = 64,
                                            .idle_timeout_s = 10,
                                            .request_limit_s = 10,
                                            .body_most = 4096,
                                            .threads = 1,
                                            .handler = handle,
                                            .arg = service};
    enum bk_status status = bk_http_start(out, &options, error);
    if (status == BK_OK)
        bk_log(BK_LOG_INFO, "serving /livez /readyz /metrics on %s (port %u)", service->config->http,
               bk_http_port(*out));
    return status;
}
