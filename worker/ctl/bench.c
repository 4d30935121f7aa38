/* bench.c - bookingctl bench: how fast is this set-up?
 *
 * It fills a queue of its own, starts workers of its own on it, and writes real bookings into the database: on resources
 * with negative ids that it makes, and removes with everything else at the end. So it needs a DATABASE_URL that may insert
 * and delete there (the owner's), and takes speed away from whatever else runs on these servers.
 *
 * The mix is 70% create, 10% each of confirm, reschedule and cancel. Throughput is measured from full to empty; latency
 * afterwards, one job at a time, from XADD to the reply.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/backoff.h"
#include "common/timestamp.h"
#include "worker/ctl/ctl.h"

enum {
    RESOURCES = 1000,
    PIECE = 500,
    POLL_MS = 10,
    WORKERS_MOST = 16,
    READY_TIMEOUT_MS = 15000,
    STALL_MS = 30000,
    MAKE_TIMEOUT_MS = 60000
};

struct bench {
    struct ctl *ctl;
    struct bk_pg *pg;
    struct bk_queue *queue; /* of its own name */
    char name[40];
    int64_t jobs;
    int64_t workers;
    int64_t samples;
    int64_t measured; /* jobs that were left when the clock started */
    pid_t pids[WORKERS_MOST];
    /* results */
    bk_ms took_ms;
    double redis_cpu_us;
    double worker_cpu_us;
    long worker_rss_kb;
    int64_t *latencies_us;
};

/* --- servers ------------------------------------------------------------------------------------------------------------- */

static enum bk_status sql(struct bench *bench, const char *text, struct bk_error *error)
{
    return bk_pg_script(bench->pg, text, bk_clock_now() + MAKE_TIMEOUT_MS, error);
}

static enum bk_status make_resources(struct bench *bench, struct bk_error *error)
{
    BK_AUTO_TEXT text = {0};
    bk_text_printf(&text,
                   "insert into booking.resource (id, name) select -g, 'bench' from generate_series(1, %d) g"
                   " on conflict do nothing",
                   RESOURCES);
    return sql(bench, bk_text_string(&text), error);
}

static void clean_up(struct bench *bench)
{
    struct bk_error error = {0};
    BK_AUTO_TEXT text = {0};
    bk_text_printf(&text,
                   "delete from booking.booking where resource_id between -%d and -1;"
                   "delete from booking.command where id like '%s-%%';"
                   "delete from booking.resource where id between -%d and -1",
                   RESOURCES, bench->name, RESOURCES);
    if (bench->pg && sql(bench, bk_text_string(&text), &error) != BK_OK)
        (void)fprintf(stderr, "bookingctl: bench: what it made could not be removed: %s\n", error.text);
    static const char *const keys[] = {"inbox", "gate",    "ready",  "scheduled", "retry",
                                       "dead",  "workers", "config", "audit"};
    for (size_t i = 0; i < BK_COUNT(keys) && bench->queue; i++) {
        const struct bk_span words[] = {bk_span_of("DEL"), bk_span_of(keys[i])};
        BK_AUTO(bk_reply) *reply = NULL;
        (void)bk_queue_command(bench->queue, 2, words, 1, &reply, NULL);
    }
}

static double redis_cpu_us(struct bench *bench)
{
    const struct bk_span words[] = {bk_span_of("INFO"), bk_span_of("cpu")};
    BK_AUTO(bk_reply) *reply = NULL;
    if (bk_queue_raw(bench->queue, 2, words, &reply, NULL) != BK_OK)
        return 0;
    double sum = 0;
    static const char *const names[] = {"used_cpu_sys:", "used_cpu_user:"};
    for (size_t i = 0; i < BK_COUNT(names); i++) {
        const char *at = strstr(bk_reply_text(reply).at, names[i]);
        sum += at ? strtod(at + strlen(names[i]), NULL) : 0;
    }
    return sum * 1e6;
}

/* --- jobs ------------------------------------------------------------------------------------------------------------------ */

static const char *slot(int64_t n, char out[64])
{
    char from[32];
    char to[32];
    bk_ms start = bk_timestamp_year(2100) / 1000 + n / RESOURCES * 3600000;
    (void)snprintf(out, 64, "%.19sZ\",\"ends_at\":\"%.19sZ", bk_timestamp_format(start, from),
                   bk_timestamp_format(start + 3600000, to));
    return out;
}

/* The n-th job: of ten, seven create bookings and three act on the first of them. */
static void write_job(const struct bench *bench, int64_t n, struct bk_text *id, struct bk_text *key,
                      struct bk_text *args, const char **kind)
{
    static const char *const later[] = {"booking.confirm", "booking.reschedule", "booking.cancel"};
    int64_t step = n % 10;
    int64_t booking = n / 10 * 7 + (step < 7 ? step : step - 7);
    char times[64];
    bk_text_printf(id, "%s-%lld", bench->name, (long long)n);
    bk_text_printf(key, "%08x-0000-4000-8000-%012llx", (unsigned)getpid(), (unsigned long long)booking);
    bk_text_printf(args, "{\"booking_id\":\"%s\"", bk_text_string(key));
    *kind = step < 7 ? "booking.create" : later[step - 7];
    if (step < 7)
        bk_text_printf(args, ",\"resource_id\":%lld,\"customer_id\":%lld,\"starts_at\":\"%s\"",
                       (long long)(-1 - booking % RESOURCES), (long long)(booking % 5000), slot(booking, times));
    else if (step == 8)
        bk_text_printf(args, ",\"starts_at\":\"%s\"", slot(booking + bench->jobs + RESOURCES, times));
    bk_text_putc(args, '}');
}

static void add_job(struct bench *bench, int64_t n, bool reply)
{
    BK_AUTO_TEXT id = {0};
    BK_AUTO_TEXT key = {0};
    BK_AUTO_TEXT args = {0};
    const char *kind = NULL;
    write_job(bench, n, &id, &key, &args, &kind);
    const struct bk_span words[] = {
        bk_span_of("id"),     {id.data, id.size}, bk_span_of("kind"),     bk_span_of(kind),    bk_span_of("key"),
        {key.data, key.size}, bk_span_of("args"), {args.data, args.size}, bk_span_of("reply"), bk_span_of("1")};
    bk_queue_add(bench->queue, BK_COUNT(words) - (reply ? 0 : 2), words);
}

static enum bk_status fill(struct bench *bench, struct bk_error *error)
{
    enum bk_status status = bk_queue_connect(bench->queue, error);
    for (int64_t n = 0; n < bench->jobs && status == BK_OK; n += PIECE) {
        int64_t end = BK_MIN(n + PIECE, bench->jobs);
        for (int64_t i = n; i < end; i++)
            add_job(bench, i, false);
        for (int64_t i = n; i < end && status == BK_OK; i++) {
            char ticket[48];
            status = bk_queue_added(bench->queue, ticket, error);
        }
    }
    return status;
}

/* --- workers ---------------------------------------------------------------------------------------------------------------- */

static _Noreturn void become_worker(const struct bench *bench, int64_t i)
{
    char path[4096];
    char name[64];
    ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 32);
    path[size > 0 ? size : 0] = '\0';
    char *slash = strrchr(path, '/');
    (void)snprintf(slash ? slash + 1 : path, 32, "booking-worker");
    (void)snprintf(name, sizeof(name), "%s-%lld", bench->name, (long long)i);
    const char *const settings[][2] = {{"BOOKING_QUEUE", bench->name},
                                       {"BOOKING_WORKER_NAME", name},
                                       {"BOOKING_HTTP", "off"},
                                       {"BOOKING_LOG_LEVEL", "error"},
                                       {"DATABASE_URL", bench->ctl->config.database_url},
                                       {"REDIS_URL", bench->ctl->config.redis_url}};
    for (size_t k = 0; k < BK_COUNT(settings); k++)
        (void)setenv(settings[k][0], settings[k][1], 1);
    (void)execl(path, "booking-worker", (char *)NULL);
    (void)fprintf(stderr, "bookingctl: bench: %s: %s\n", path, strerror(errno));
    _exit(BK_EXIT_INTERNAL);
}

static enum bk_status wait_until(struct bench *bench, bool (*reached)(struct bench *, const struct bk_queue_status *),
                                 bk_ms patience_ms, struct bk_error *error)
{
    struct bk_queue_status q = {0};
    int64_t before = -1;
    bk_ms deadline = bk_clock_now() + patience_ms;
    for (;;) {
        enum bk_status status = bk_queue_read_status(bench->queue, &q, error);
        if (status != BK_OK || reached(bench, &q))
            return status;
        int64_t left = q.inbox + q.ready + q.waiting + q.active + q.retry;
        if (left != before) /* as long as something moves, there is patience */
            deadline = bk_clock_now() + patience_ms;
        before = left;
        if (bk_clock_now() > deadline)
            return bk_fail(error, BK_OUTAGE,
                           "bench: nothing moves any more; %lld jobs are left, %lld workers are there", (long long)left,
                           (long long)q.workers);
        const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
    }
}

static bool all_joined(struct bench *bench, const struct bk_queue_status *q)
{
    return q->workers >= bench->workers;
}

static bool all_done(struct bench *bench, const struct bk_queue_status *q)
{
    (void)bench;
    return q->inbox + q->ready + q->waiting + q->active + q->retry == 0;
}

/* Workers look at a paused queue once a second, so the clock starts when they have seen that it is not any more. */
static bool has_begun(struct bench *bench, const struct bk_queue_status *q)
{
    bench->measured = q->inbox + q->ready + q->waiting + q->active;
    return q->inbox < bench->jobs;
}

static enum bk_status start_workers(struct bench *bench, struct bk_error *error)
{
    for (int64_t i = 0; i < bench->workers; i++) {
        bench->pids[i] = fork();
        if (bench->pids[i] == 0)
            become_worker(bench, i);
        if (bench->pids[i] < 0)
            return bk_fail(error, BK_OUTAGE, "bench: cannot start a worker: %s", strerror(errno));
    }
    return wait_until(bench, all_joined, READY_TIMEOUT_MS, error);
}

static void stop_workers(struct bench *bench)
{
    for (int64_t i = 0; i < bench->workers; i++) {
        struct rusage usage = {0};
        int status = 0;
        if (bench->pids[i] <= 0)
            continue;
        (void)kill(bench->pids[i], SIGTERM);
        if (wait4(bench->pids[i], &status, 0, &usage) < 0)
            continue;
        bench->worker_cpu_us += (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
                                (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
        bench->worker_rss_kb = BK_MAX(bench->worker_rss_kb, usage.ru_maxrss);
    }
}

/* --- measuring ---------------------------------------------------------------------------------------------------------------- */

static enum bk_status measure_throughput(struct bench *bench, struct bk_error *error)
{
    const char *who = ctl_who();
    enum bk_status status = bk_queue_configure(bench->queue, who, "bench", "paused", "1", error);
    if (status == BK_OK)
        status = fill(bench, error);
    if (status == BK_OK)
        status = start_workers(bench, error);
    if (status == BK_OK)
        status = bk_queue_configure(bench->queue, who, "bench", "paused", "0", error);
    double cpu = redis_cpu_us(bench);
    if (status == BK_OK)
        status = wait_until(bench, has_begun, READY_TIMEOUT_MS, error);
    bk_ms began = bk_clock_now();
    if (status == BK_OK)
        status = wait_until(bench, all_done, STALL_MS, error);
    bench->took_ms = BK_MAX(bk_clock_now() - began, (bk_ms)1);
    bench->redis_cpu_us = redis_cpu_us(bench) - cpu;
    return status;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static enum bk_status measure_latency(struct bench *bench, struct bk_error *error)
{
    bench->latencies_us = bk_zalloc((size_t)bench->samples * sizeof(*bench->latencies_us));
    int64_t first = (bench->jobs / 10 + 2) * 10;
    for (int64_t i = 0; i < bench->samples; i++) {
        int64_t n = first + i / 7 * 10 + i % 7; /* creates only */
        char ticket[48];
        BK_AUTO_TEXT key = {0};
        bk_text_printf(&key, "reply:%s-%lld", bench->name, (long long)n);
        int64_t began = bk_clock_now_us();
        add_job(bench, n, true);
        enum bk_status status = bk_queue_added(bench->queue, ticket, error);
        const struct bk_span words[] = {bk_span_of("BLPOP"), {key.data, key.size}, bk_span_of("4")};
        BK_AUTO(bk_reply) *reply = NULL;
        if (status == BK_OK)
            status = bk_queue_command(bench->queue, BK_COUNT(words), words, 1, &reply, error);
        if (status == BK_OK && bk_reply_type(reply) != BK_REPLY_ARRAY)
            status = bk_fail(error, BK_OUTAGE, "bench: no reply within 4 s");
        if (status != BK_OK)
            return status;
        bench->latencies_us[i] = bk_clock_now_us() - began;
    }
    qsort(bench->latencies_us, (size_t)bench->samples, sizeof(*bench->latencies_us), by_size);
    return BK_OK;
}

static void report(const struct bench *bench, bool json)
{
    double per_second = (double)bench->measured * 1e3 / (double)bench->took_ms;
    const int64_t median = bench->samples / 2;
    const int64_t almost_all = bench->samples * 99 / 100;
    double p50 = (double)bench->latencies_us[median] / 1e3;
    double p99 = (double)bench->latencies_us[almost_all] / 1e3;
    double redis = bench->redis_cpu_us / (double)bench->jobs;
    double cpu = bench->worker_cpu_us / (double)bench->jobs;
    if (json) {
        (void)printf("{\"jobs\":%lld,\"workers\":%lld,\"jobs_per_second\":%.0f,\"latency_p50_ms\":%.2f,"
                     "\"latency_p99_ms\":%.2f,\"redis_cpu_us_per_job\":%.1f,\"worker_cpu_us_per_job\":%.1f,"
                     "\"worker_rss_kb\":%ld}\n",
                     (long long)bench->jobs, (long long)bench->workers, per_second, p50, p99, redis, cpu,
                     bench->worker_rss_kb);
        return;
    }
    (void)printf("%lld jobs (70%% create, 10%% confirm, 10%% reschedule, 10%% cancel) by %lld workers\n"
                 "  throughput   %.0f jobs/s, %.2f s to empty\n"
                 "  latency      p50 %.2f ms, p99 %.2f ms from XADD to reply, one at a time\n"
                 "  Redis CPU    %.1f us a job\n"
                 "  worker CPU   %.1f us a job, start and latency run included\n"
                 "  worker RSS   %ld kB at most\n",
                 (long long)bench->jobs, (long long)bench->workers, per_second, (double)bench->took_ms / 1e3, p50, p99,
                 redis, cpu, bench->worker_rss_kb);
}

static enum bk_status run(struct bench *bench, struct bk_error *error)
{
    bench->pg = ctl_database(bench->ctl, error);
    if (!bench->pg)
        return error->status;
    enum bk_status status = make_resources(bench, error);
    if (status != BK_OK) {
        bk_error_prefix(error, "bench needs a DATABASE_URL that may write booking.resource");
        bench->pg = bk_pg_close(bench->pg);
        return status;
    }
    status = measure_throughput(bench, error);
    if (status == BK_OK)
        status = measure_latency(bench, error);
    return status;
}

int ctl_bench(struct ctl *ctl)
{
    const char *jobs = NULL;
    const char *workers = NULL;
    const char *samples = NULL;
    bool json = false;
    struct bench bench = {.ctl = ctl, .jobs = 20000, .workers = 2, .samples = 500};
    const struct ctl_option options[] = {
        {"--jobs", NULL, &jobs}, {"--workers", NULL, &workers}, {"--samples", NULL, &samples}, {"--json", &json, NULL}};
    if (!ctl_options(ctl, options, BK_COUNT(options)) || !ctl_number("--jobs", jobs, &bench.jobs) ||
        !ctl_number("--workers", workers, &bench.workers) || !ctl_number("--samples", samples, &bench.samples))
        return BK_EXIT_USAGE;
    if (ctl->argc > 0 || bench.workers > WORKERS_MOST || bench.jobs > 1000000 || bench.samples > 100000)
        return ctl_usage("bench takes [--jobs 1..1000000] [--workers 1..%d] [--samples 1..100000] [--json]",
                         WORKERS_MOST);
    (void)snprintf(bench.name, sizeof(bench.name), "bench-%ld-%04x", (long)getpid(), (unsigned)(bk_random() & 0xffff));
    const struct bk_queue_options queue_options = {.url = &ctl->config.redis,
                                                   .name = bench.name,
                                                   .connect_timeout_ms = ctl->config.connect_timeout_ms,
                                                   .call_timeout_ms = 5000};
    bench.queue = bk_queue_open(&queue_options);
    struct bk_error error = {0};
    enum bk_status status = run(&bench, &error);
    stop_workers(&bench);
    clean_up(&bench);
    if (status == BK_OK)
        report(&bench, json);
    free(bench.latencies_us);
    bench.pg = bk_pg_close(bench.pg);
    bench.queue = bk_queue_close(bench.queue);
    return status == BK_OK ? BK_EXIT_OK : ctl_failed(&error);
}
