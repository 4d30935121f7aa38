/* watcher.c - see watcher.h.
 *
 * It reads the inbox with a blocking XREAD, which takes nothing, from the last entry that a take has seen (not from
 * "$": an entry that came in between would sleep until the next). When something has come, or something is due, it
 * gives one token; a lane that then finds plenty passes tokens on. Without news it gives one a second, so that due jobs
 * and those of dead workers are found by whoever is idle.
 */
#include "worker/watcher.h"

#include <string.h>

#include "common/backoff.h"
#include "common/log.h"
#include "worker/service.h"

enum { POLL_MS = 1000, RETRY_BASE_MS = 100, RETRY_CAP_MS = 2000 };

struct plan {
    bool over;
    bool watch; /* else: just wait */
    bk_ms wait_ms;
    uint64_t takes;
    char last_id[48];
};

/* Waits until a lane is idle, then says what to do for it. */
static struct plan next_plan(struct bk_service *service)
{
    struct plan plan = {0};
    pthread_mutex_lock(&service->lock);
    while (!service->stopping && !service->fenced && service->idle_lanes <= service->tokens)
        (void)pthread_cond_wait(&service->changed, &service->lock);
    plan.over = service->stopping || service->fenced;
    plan.watch = bk_service_may_take(service) && !service->paused && service->breaker.state == BK_BREAKER_CLOSED;
    bk_ms until_due = service->next_due ? service->next_due - bk_clock_now() : POLL_MS;
    plan.wait_ms = BK_MAX(BK_MIN(until_due, (bk_ms)POLL_MS), (bk_ms)1);
    plan.takes = service->takes;
    memcpy(plan.last_id, service->last_id, sizeof(plan.last_id));
    pthread_mutex_unlock(&service->lock);
    return plan;
}

/* Gives a token, and gives a lane the time to use it: until then the same entry would only be seen again. */
static void wake_one(struct bk_service *service, uint64_t takes)
{
    struct timespec until = bk_clock_timespec(bk_clock_now() + POLL_MS);
    pthread_mutex_lock(&service->lock);
    if (service->tokens < service->idle_lanes)
        service->tokens++;
    pthread_cond_broadcast(&service->changed);
    int result = 0;
    while (result == 0 && service->takes == takes && !service->stopping && !service->fenced)
        result = pthread_cond_timedwait(&service->changed, &service->lock, &until);
    pthread_mutex_unlock(&service->lock);
}

void *bk_watcher_run(void *arg)
{
    struct bk_service *service = arg;
    struct bk_queue *queue = bk_queue_open(&service->queue_options);
    unsigned failures = 0;
    for (;;) {
        struct plan plan = next_plan(service);
        if (plan.over)
            break;
        bool arrived = false;
        struct bk_error error = {0};
        enum bk_status status = BK_OK;
        if (plan.watch)
            status = bk_queue_watch(queue, plan.last_id, plan.wait_ms, &arrived, &error);
        else
            (void)bk_service_pause(service, plan.wait_ms);
        if (status != BK_OK) {
            if (failures == 0)
                bk_log(BK_LOG_WARN, "watcher: %s (%s); new entries are found by looking instead", error.text,
                       bk_status_label(status));
            (void)bk_service_pause(service,
                                   RETRY_BASE_MS + bk_backoff(RETRY_BASE_MS, failures++, RETRY_CAP_MS, bk_random()));
        } else {
            failures = 0;
        }
        /* also without news: what is due, and what a watcher that cannot watch has missed, is found by a take */
        wake_one(service, plan.takes);
    }
    (void)bk_queue_close(queue);
    return NULL;
}
