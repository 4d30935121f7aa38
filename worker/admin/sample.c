/* sample.c - the last ten minutes of the queue, for the charts.
 *
 * A worker tells its count of jobs only when it beats, so the throughput is the sum over the workers of what each did
 * between its last two beats, not what was counted between two samples.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/admin/admin.h"
#include "worker/report.h"

enum { EVERY_MS = 2000, KEPT = 300, WORKERS_MOST = 256 };

struct sample {
    int64_t at; /* Unix ms */
    bool known; /* Redis answered */
    int64_t oldest_ms;
    int64_t backlog; /* jobs that could run, or run */
    int64_t dead;
    double per_second;
};

struct worker {
    char incarnation[120];
    int64_t jobs;
    int64_t beat_at;
    double per_second;
    bool seen;
};

struct sampler {
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows, but the queue and the workers, which are the thread's */
    pthread_cond_t changed;
    bool stopping;
    struct sample samples[KEPT];
    size_t count; /* ever taken */
    struct bk_queue *queue;
    struct worker workers[WORKERS_MOST];
};

static struct worker *worker_of(struct sampler *sampler, const char *incarnation)
{
    struct worker *unused = NULL;
    for (size_t i = 0; i < WORKERS_MOST; i++) {
        struct worker *worker = &sampler->workers[i];
        if (strcmp(worker->incarnation, incarnation) == 0)
            return worker;
        if (!*worker->incarnation && !unused)
            unused = worker;
    }
    if (unused)
        (void)snprintf(unused->incarnation, sizeof(unused->incarnation), "%s", incarnation);
    return unused;
}

/* What one worker did a second between its last two beats. */
static double rate_of(struct sampler *sampler, struct bk_span incarnation, const struct bk_reply *facts)
{
    struct worker *worker = worker_of(sampler, incarnation.at);
    if (!worker)
        return 0;
    int64_t jobs = bk_reply_integer(bk_reply_field(facts, "jobs"), 0);
    int64_t beat_at = bk_reply_integer(bk_reply_field(facts, "beat_at"), 0);
    worker->seen = true;
    if (beat_at > worker->beat_at) {
        if (worker->beat_at)
            worker->per_second = (double)(jobs - worker->jobs) * 1e3 / (double)(beat_at - worker->beat_at);
        worker->jobs = jobs;
        worker->beat_at = beat_at;
    }
    return worker->per_second;
}

static enum bk_status sum_rates(struct sampler *sampler, double *sum)
{
    BK_AUTO(bk_reply) *workers = NULL;
    enum bk_status status = bk_report_workers(sampler->queue, &workers, NULL);
    for (size_t i = 0; i < WORKERS_MOST; i++)
        sampler->workers[i].seen = false;
    for (size_t i = 0; status == BK_OK && i + 1 < bk_reply_count(workers); i += 2) {
        BK_AUTO(bk_reply) *facts = NULL;
        struct bk_span incarnation = bk_reply_text(bk_reply_at(workers, i));
        status = bk_report_worker(sampler->queue, incarnation, &facts, NULL);
        if (status == BK_OK && incarnation.size < sizeof(sampler->workers[0].incarnation))
            *sum += rate_of(sampler, incarnation, facts);
    }
    for (size_t i = 0; i < WORKERS_MOST; i++) {
        if (!sampler->workers[i].seen)
            sampler->workers[i] = (struct worker){0};
    }
    return status;
}

static void take_sample(struct sampler *sampler, struct sample *sample)
{
    struct bk_queue_status q;
    *sample = (struct sample){.at = bk_clock_wall()};
    if (bk_queue_read_status(sampler->queue, &q, NULL) != BK_OK || sum_rates(sampler, &sample->per_second) != BK_OK)
        return;
    sample->known = true;
    sample->oldest_ms = q.oldest_ms;
    sample->backlog = q.inbox + q.ready + q.waiting + q.active + q.retry;
    sample->dead = q.dead;
}

static void *run(void *arg)
{
    struct sampler *sampler = arg;
    bk_ms due = bk_clock_now();
    (void)pthread_mutex_lock(&sampler->lock);
    while (!sampler->stopping) {
        (void)pthread_mutex_unlock(&sampler->lock);
        struct sample sample;
        take_sample(sampler, &sample);
        due = BK_MAX(due + EVERY_MS, bk_clock_now());
        const struct timespec until = bk_clock_timespec(due);
        (void)pthread_mutex_lock(&sampler->lock);
        sampler->samples[sampler->count++ % KEPT] = sample;
        while (!sampler->stopping && pthread_cond_timedwait(&sampler->changed, &sampler->lock, &until) != ETIMEDOUT)
            continue;
    }
    (void)pthread_mutex_unlock(&sampler->lock);
    return NULL;
}

struct sampler *sampler_start(const struct bk_queue_options *options)
{
    struct sampler *sampler = bk_zalloc(sizeof(*sampler));
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&sampler->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&sampler->lock, NULL);
    sampler->queue = bk_queue_open(options);
    BK_ASSERT(pthread_create(&sampler->thread, NULL, run, sampler) == 0);
    return sampler;
}

struct sampler *sampler_stop(struct sampler *sampler)
{
    (void)pthread_mutex_lock(&sampler->lock);
    sampler->stopping = true;
    (void)pthread_cond_signal(&sampler->changed);
    (void)pthread_mutex_unlock(&sampler->lock);
    (void)pthread_join(sampler->thread, NULL);
    (void)pthread_cond_destroy(&sampler->changed);
    (void)pthread_mutex_destroy(&sampler->lock);
    (void)bk_queue_close(sampler->queue);
    free(sampler);
    return NULL;
}

void sampler_json(struct sampler *sampler, struct bk_text *json)
{
    bk_text_printf(json, "{\"every_ms\":%d,\"samples\":[", EVERY_MS);
    (void)pthread_mutex_lock(&sampler->lock);
    size_t first = sampler->count > KEPT ? sampler->count - KEPT : 0;
    for (size_t i = first; i < sampler->count; i++) {
        const struct sample *s = &sampler->samples[i % KEPT];
        bk_text_puts(json, i > first ? "," : "");
        if (s->known)
            bk_text_printf(json, "[%lld,%.1f,%lld,%lld,%lld]", (long long)s->at, s->per_second, (long long)s->oldest_ms,
                           (long long)s->backlog, (long long)s->dead);
        else
            bk_text_printf(json, "[%lld,null,null,null,null]", (long long)s->at);
    }
    (void)pthread_mutex_unlock(&sampler->lock);
    bk_text_puts(json, "],\"columns\":[\"at_ms\",\"jobs_per_second\",\"oldest_ms\",\"backlog\",\"dead\"]}");
}
