/* metrics.c - see metrics.h. */
#include "worker/metrics.h"

const double bk_seconds_bounds[BK_HISTOGRAM_BUCKETS - 1] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                            0.5,   1,      2.5,   5,    10,    60,   600};
const double bk_jobs_bounds[BK_HISTOGRAM_BUCKETS - 1] = {1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1000};

void bk_histogram_add(struct bk_histogram *histogram, double value)
{
    unsigned i = 0;
    while (i < BK_HISTOGRAM_BUCKETS - 1 && value > histogram->bounds[i])
        i++;
    (void)atomic_fetch_add_explicit(&histogram->buckets[i], 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&histogram->sum_micro, (uint64_t)(value * 1e6), memory_order_relaxed);
}

void bk_metrics_init(struct bk_metrics *metrics)
{
    *metrics = (struct bk_metrics){
        .wait_seconds.bounds = bk_seconds_bounds,
        .apply_seconds.bounds = bk_seconds_bounds,
        .batch_jobs.bounds = bk_jobs_bounds,
    };
}
