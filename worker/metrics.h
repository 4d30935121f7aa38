/* metrics.h - what a worker counts. Declared once; /metrics and the worker's facts in Redis are drawn from here. */
#ifndef BK_METRICS_H
#define BK_METRICS_H

#include <stdatomic.h>

#include "common/base.h"
#include "common/clock.h"

enum { BK_KINDS_MOST = 8, BK_HISTOGRAM_BUCKETS = 16 };

/** A histogram of fixed buckets; counts are not cumulative until printed. */
struct bk_histogram {
    const double *bounds; /* BK_HISTOGRAM_BUCKETS - 1 upper bounds, ascending */
    _Atomic uint64_t buckets[BK_HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum_micro; /* sum x 10^6 */
};

extern const double bk_seconds_bounds[BK_HISTOGRAM_BUCKETS - 1];
extern const double bk_jobs_bounds[BK_HISTOGRAM_BUCKETS - 1];

/** Adds one observation. Any thread. */
void bk_histogram_add(struct bk_histogram *histogram, double value);

#define BK_OUTCOMES(X) X(applied) X(rejected) X(dead)
enum bk_outcome {
#define BK_OUTCOME_ENUM(name) BK_OUTCOME_##name,
    BK_OUTCOMES(BK_OUTCOME_ENUM)
#undef BK_OUTCOME_ENUM
        BK_OUTCOME_COUNT
};

enum { BK_REASONS_MOST = 12, BK_CLASSES_MOST = 16 };

struct bk_metrics {
    _Atomic uint64_t jobs[BK_KINDS_MOST + 1][BK_OUTCOME_COUNT]; /* by kind (the last row: unknown) and outcome */
    _Atomic uint64_t dead[BK_REASONS_MOST];                     /* in the order of BK_DEAD_REASONS */
    _Atomic uint64_t retried[BK_CLASSES_MOST];                  /* by enum bk_status */
    _Atomic uint64_t database_errors[BK_CLASSES_MOST];          /* by enum bk_status */
    _Atomic uint64_t requeued;
    _Atomic uint64_t recovered;
    _Atomic uint64_t lost_lease; /* settlements of jobs that were not ours any more */
    _Atomic uint64_t durability_degraded;
    _Atomic uint64_t batches;
    struct bk_histogram wait_seconds;  /* enqueued -> taken */
    struct bk_histogram apply_seconds; /* a database call */
    struct bk_histogram batch_jobs;
};

void bk_metrics_init(struct bk_metrics *metrics);

#endif
