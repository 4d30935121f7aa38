/* pool_stress.c - many threads over few connections: no wake-up is lost, nobody is passed over. A program of its own, for
 * ThreadSanitizer; the same under any other build.
 *
 * Fairness is counted, not timed, and by the pool itself, since between asking and getting in line a thread may lose its
 * processor for any time: while one waits in line, others may be served at most three times its fair share, which with T
 * threads is one round of T. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/backoff.h"
#include "common/log.h"
#include "common/pool.h"

enum { THREADS = 32, CONNECTIONS = 4, BORROWS = 100000, ALONE = 100000 };

static struct bk_pool *pool;
static _Atomic long served;
static _Atomic long to_go = BORROWS;
static _Atomic long lent; /* right now */
static _Atomic int failures;

static void *borrow(void *arg)
{
    (void)arg;
    while (atomic_fetch_sub(&to_go, 1) > 0) {
        struct bk_pg *pg = NULL;
        struct bk_error error = {0};
        if (bk_pool_acquire(pool, bk_clock_now() + 30000, "stress", &pg, NULL, &error) != BK_OK) {
            (void)fprintf(stderr, "%s\n", error.text);
            atomic_fetch_add(&failures, 1);
            continue;
        }
        atomic_fetch_add(&served, 1);
        if (atomic_fetch_add(&lent, 1) >= CONNECTIONS)
            atomic_fetch_add(&failures, 1); /* one connection lent twice */
        enum bk_pool_fate fate = bk_random() % 2000 == 0 ? BK_POOL_DISCARD : BK_POOL_KEEP;
        atomic_fetch_sub(&lent, 1);
        bk_pool_release(pool, pg, fate);
    }
    return NULL;
}

/* What a borrow and a return cost when nobody else wants one, told and not judged: ns. */
static long cost_alone(void)
{
    int64_t began_us = bk_clock_now_us();
    for (int i = 0; i < ALONE; i++) {
        struct bk_pg *pg = NULL;
        if (bk_pool_acquire(pool, bk_clock_now() + 1000, "alone", &pg, NULL, NULL) != BK_OK)
            return -1;
        bk_pool_release(pool, pg, BK_POOL_KEEP);
    }
    return (long)((bk_clock_now_us() - began_us) * 1000 / ALONE);
}

int main(void)
{
    const char *conninfo = getenv("TEST_DATABASE_URL");
    if (!conninfo) {
        (void)fputs("TEST_DATABASE_URL is not set; tests/run sets it\n", stderr);
        return 2;
    }
    bk_log_setup("error", "text", "stress");
    const struct bk_pool_settings settings = {.session = {.conninfo = conninfo,
                                                          .application_name = "stress",
                                                          .statement_timeout_ms = 5000,
                                                          .lock_timeout_ms = 2000},
                                              .min = CONNECTIONS,
                                              .max = CONNECTIONS,
                                              .connect_timeout_ms = 5000,
                                              .max_lifetime_ms = 2000,
                                              .keepalive_ms = 1000};
    struct bk_error error = {0};
    if (bk_pool_open(&pool, &settings, &error) != BK_OK) {
        (void)fprintf(stderr, "%s\n", error.text);
        return 2;
    }
    struct bk_pg *first = NULL; /* the measure begins when the server is there */
    if (bk_pool_acquire(pool, bk_clock_now() + 10000, "first", &first, NULL, &error) != BK_OK) {
        (void)fprintf(stderr, "%s\n", error.text);
        return 2;
    }
    bk_pool_release(pool, first, BK_POOL_KEEP);
    (void)printf("%ld ns for a borrow and a return, uncontended\n", cost_alone());
    pthread_t threads[THREADS];
    bk_ms began = bk_clock_now();
    for (int i = 0; i < THREADS; i++)
        (void)pthread_create(&threads[i], NULL, borrow, NULL);
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    bk_ms took = bk_clock_now() - began;
    struct bk_pool_stats stats;
    bk_pool_read_stats(pool, &stats);
    pool = bk_pool_close(pool);
    (void)printf("%ld borrows by %d threads over %d connections in %lld ms; most others served during one wait: %llu\n",
                 atomic_load(&served), THREADS, CONNECTIONS, (long long)took, (unsigned long long)stats.most_passed);
    bool good = atomic_load(&served) == BORROWS && atomic_load(&failures) == 0 && stats.most_passed <= 3 * THREADS;
    (void)puts(good ? "ok" : "FAILED");
    return good ? 0 : 1;
}
