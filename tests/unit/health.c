/* What a worker says of its own health: whether it is alive, and why not. The threads are the test's imagination. */
#include "worker/health.h"

#include <string.h>

#include <criterion/criterion.h>

static struct bk_config config;
static struct bk_service service;
static struct bk_lane_view lanes[2];

/* A worker that runs, and has just done something. */
static void begin(void)
{
    bk_ms now = bk_clock_now();
    config = (struct bk_config){.lease_ms = 15000};
    service = (struct bk_service){.config = &config,
                                  .worker = "w@1",
                                  .lease_until = now + 15000,
                                  .counts = {.inbox = 5},
                                  .counts_at = now,
                                  .progress_at = now,
                                  .lane_count = 2,
                                  .lanes = lanes};
    service.store.acquire_timeout_ms = 5000;
    service.store.call_timeout_ms = 5000;
    lanes[0] = (struct bk_lane_view){BK_LANE_IDLE, now, 0};
    lanes[1] = (struct bk_lane_view){BK_LANE_APPLYING, now, 64};
    (void)pthread_mutex_init(&service.lock, NULL);
}

TestSuite(alive, .init = begin);

enum { LONG_AGO = 61000, VERY_LONG_AGO = 80000 };

static bool alive(void)
{
    BK_AUTO_TEXT why = {0};
    bool is = bk_health_alive(&service, &why);
    cr_expect_eq(is, why.size == 0, "why not is told, and only then: %s", bk_text_string(&why));
    return is;
}

Test(alive, who_works_is)
{
    cr_expect(alive());
    service.progress_at -= LONG_AGO - 5000;
    cr_expect(alive(), "not for a minute is not yet too long");
}

Test(alive, who_leaves_jobs_lying_is_not)
{
    service.progress_at -= LONG_AGO;
    cr_expect(!alive());
    service.counts.inbox = 0;
    cr_expect(alive(), "nothing to do");
    service.counts.ready = 1;
    cr_expect(!alive());
}

Test(alive, who_may_not_work_is)
{
    service.progress_at -= LONG_AGO;
    service.paused = true;
    cr_expect(alive(), "paused");
    service.paused = false;
    service.quiet = true;
    cr_expect(alive(), "quiet");
    service.quiet = false;
    service.breaker.state = BK_BREAKER_OPEN;
    cr_expect(alive(), "the database is away");
    service.breaker.state = BK_BREAKER_CLOSED;
    service.counts_at -= LONG_AGO;
    cr_expect(alive(), "Redis is away");
    service.counts_at = 0;
    cr_expect(alive(), "Redis has never been there");
    service.worker[0] = '\0';
    cr_expect(alive(), "not joined");
}

Test(alive, a_lane_that_overstays_every_deadline_is_a_stall)
{
    lanes[1].since -= LONG_AGO;
    cr_expect(alive(), "a call may take its time-outs and a minute");
    lanes[1].since = bk_clock_now() - VERY_LONG_AGO;
    cr_expect(!alive());
    lanes[1].activity = BK_LANE_TAKING;
    cr_expect(!alive());
    static const enum bk_lane_activity patient[] = {BK_LANE_IDLE, BK_LANE_BACKING_OFF, BK_LANE_WAITING_BREAKER,
                                                    BK_LANE_WAITING_REDIS, BK_LANE_ENDED};
    for (size_t i = 0; i < BK_COUNT(patient); i++) {
        lanes[1].activity = patient[i];
        cr_expect(alive(), "%s", bk_lane_activity_name(patient[i]));
    }
}

Test(alive, who_is_not_says_which_lane_waits_for_what)
{
    lanes[1].since = bk_clock_now() - VERY_LONG_AGO;
    BK_AUTO_TEXT why = {0};
    cr_assert(!bk_health_alive(&service, &why));
    cr_expect(strstr(why.data, "lane 0 ") && strstr(why.data, "; lane 1 ") && strstr(why.data, "with 64 jobs"), "%s",
              why.data);
    cr_expect(strstr(why.data, bk_lane_activity_name(BK_LANE_APPLYING)), "%s", why.data);
}

/* --- in a word ---------------------------------------------------------------------------------------------------- */

Test(alive, the_state_is_the_strongest_thing_to_say)
{
    cr_expect_str_eq(bk_service_state(&service), "running");
    service.paused = true;
    cr_expect_str_eq(bk_service_state(&service), "paused");
    service.worker[0] = '\0';
    cr_expect_str_eq(bk_service_state(&service), "starting");
    service.quiet = true;
    cr_expect_str_eq(bk_service_state(&service), "quiet");
    service.stopping = true;
    cr_expect_str_eq(bk_service_state(&service), "stopping");
    service.fenced = true;
    cr_expect_str_eq(bk_service_state(&service), "fenced");
}
