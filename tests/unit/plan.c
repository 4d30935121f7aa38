/* How a batch goes to the database, as a story of its steps: calls, waits, permits, halves, and the fates at the end. */
#include "worker/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

enum { JOBS = 8, NOW = 1700000000 };

static const struct bk_decision_rules rules = {
    .max_attempts = 3,
    .attempt_base_ms = 1000,
    .attempt_cap_ms = 60000,
    .max_requeues = 5,
    .max_age_ms = 86400000,
    .max_deliveries = 3,
};

static struct bk_task room[JOBS];
static struct bk_task *tasks[JOBS];
static struct bk_plan plan;
static struct bk_retry_budget budget;

static void begin(size_t count)
{
    memset(room, 0, sizeof(room));
    for (size_t i = 0; i < JOBS; i++) {
        tasks[i] = &room[i];
        room[i].job.ticket = bk_span_of("1-1");
        room[i].job.waits_since = NOW;
    }
    bk_retry_budget_init(&budget);
    bk_plan_begin(&plan, tasks, count, 2, 500, &budget);
}

static struct bk_error error_of(enum bk_status status, const char *sqlstate)
{
    struct bk_error error = {.status = status, .text = "as told"};
    (void)snprintf(error.sqlstate, sizeof(error.sqlstate), "%s", sqlstate);
    return error;
}

static enum bk_status call_ends(enum bk_status status, const char *sqlstate)
{
    const struct bk_error error = error_of(status, sqlstate);
    cr_assert_eq(plan.step, BK_PLAN_CALL);
    return bk_plan_called(&plan, &error, false, 12345);
}

static void expect_part(size_t first, size_t count)
{
    cr_expect_eq(plan.part.tasks, tasks + first, "begins with task %zu", (size_t)(plan.part.tasks - tasks));
    cr_expect_eq(plan.part.count, count, "has %zu tasks", plan.part.count);
}

/* Waits and gets a permit. */
static void go_on(void)
{
    cr_assert_eq(plan.step, BK_PLAN_WAIT);
    bk_plan_waited(&plan, true);
    cr_assert_eq(plan.step, BK_PLAN_ASK);
    bk_plan_asked(&plan, true);
}

Test(plan, what_goes_well_takes_one_call)
{
    begin(JOBS);
    expect_part(0, JOBS);
    cr_expect_eq(call_ends(BK_OK, ""), BK_OK);
    cr_expect_eq(plan.step, BK_PLAN_OVER);
    cr_expect(plan.any_good);
    begin(0);
    cr_expect_eq(plan.step, BK_PLAN_OVER, "nothing to call for");
}

Test(plan, one_bad_job_is_found_by_halves_and_costs_the_others_nothing)
{
    enum { BAD = 5 };
    begin(JOBS);
    bool done[JOBS] = {false};
    unsigned calls = 0;
    while (plan.step != BK_PLAN_OVER) {
        if (plan.step == BK_PLAN_ASK)
            bk_plan_asked(&plan, true);
        size_t first = (size_t)(plan.part.tasks - tasks);
        bool bad = first <= BAD && BAD < first + plan.part.count;
        for (size_t i = first; i < first + plan.part.count && !bad; i++)
            done[i] = true;
        (void)call_ends(bad ? BK_PERMANENT : BK_OK, bad ? "22003" : "");
        calls++;
        if (plan.step == BK_PLAN_GIVE_UP) {
            expect_part(BAD, 1);
            bk_plan_gave_up(&plan);
        }
    }
    for (size_t i = 0; i < JOBS; i++)
        cr_expect_eq(done[i], i != BAD, "task %zu", i);
    cr_expect_eq(calls, 7, "%u calls: all, two halves, two quarters, two singles", calls);
}

Test(plan, contention_is_tried_again_five_times_before_it_is_split)
{
    begin(2);
    for (int i = 1; i < 5; i++) {
        cr_expect_eq(call_ends(BK_TRANSIENT, "40001"), BK_TRANSIENT);
        cr_expect_leq(plan.wait_ms, 510);
        go_on();
    }
    (void)call_ends(BK_TRANSIENT, "40001");
    cr_expect_eq(plan.step, BK_PLAN_ASK);
    expect_part(0, 1);
}

Test(plan, a_lock_time_out_is_contention_unless_an_unknown_call_may_hold_the_lock)
{
    begin(1);
    cr_expect_eq(call_ends(BK_TRANSIENT, "55P03"), BK_TRANSIENT);
    cr_expect_eq(plan.step, BK_PLAN_GIVE_UP, "it has waited long enough in the server");
    begin(1);
    cr_expect_eq(call_ends(BK_UNKNOWN, ""), BK_UNKNOWN);
    go_on();
    cr_expect_eq(call_ends(BK_TRANSIENT, "55P03"), BK_TIMEOUT, "the outage going on");
    begin(1);
    room[0].job.unsure = true;
    cr_expect_eq(call_ends(BK_TRANSIENT, "57014"), BK_TIMEOUT, "an earlier turn's call");
    begin(1);
    const struct bk_error error = error_of(BK_TRANSIENT, "55P03");
    cr_expect_eq(bk_plan_called(&plan, &error, true, 0), BK_TIMEOUT, "another batch's call");
}

Test(plan, an_outage_is_retried_as_often_as_set_then_all_is_given_up_as_one)
{
    begin(4);
    (void)call_ends(BK_UNKNOWN, "");
    go_on();
    (void)call_ends(BK_OUTAGE, "57P01");
    go_on();
    (void)call_ends(BK_OUTAGE, "57P01");
    cr_expect_eq(plan.step, BK_PLAN_GIVE_UP);
    expect_part(0, 4);
    cr_expect(plan.part.unsure, "the first try may have been applied");
    bk_plan_gave_up(&plan);
    cr_expect_eq(plan.step, BK_PLAN_OVER);
    cr_expect_not(plan.any_good);
}

Test(plan, neither_a_stop_nor_the_breaker_is_a_jobs_affair)
{
    begin(2);
    (void)call_ends(BK_TRANSIENT, "40P01");
    bk_plan_waited(&plan, false);
    cr_expect_eq(plan.step, BK_PLAN_GIVE_UP);
    cr_expect_eq(plan.error.status, BK_STOPPED);
    begin(2);
    (void)call_ends(BK_TRANSIENT, "40P01");
    bk_plan_waited(&plan, true);
    bk_plan_asked(&plan, false);
    cr_expect_eq(plan.step, BK_PLAN_GIVE_UP);
    cr_expect_eq(plan.error.status, BK_OUTAGE);
}

Test(plan, class_42_is_a_single_jobs_fault_only_beside_others_that_went_through)
{
    begin(1);
    (void)call_ends(BK_OPERATOR, "42804");
    cr_expect_eq(plan.error.status, BK_OPERATOR);
    begin(2);
    (void)call_ends(BK_OPERATOR, "42804");
    bk_plan_asked(&plan, true);
    (void)call_ends(BK_OK, "");
    bk_plan_asked(&plan, true);
    (void)call_ends(BK_OPERATOR, "42804");
    cr_expect_eq(plan.step, BK_PLAN_GIVE_UP);
    cr_expect_eq(plan.error.status, BK_PERMANENT);
    begin(2);
    (void)call_ends(BK_OPERATOR, "42501");
    cr_expect_eq(plan.step, BK_PLAN_GIVE_UP, "a missing right hits everybody: nothing to split");
}

/* --- the fates ------------------------------------------------------------------------------------------------------------ */

Test(task, a_dead_jobs_story_outlives_the_error_that_tells_it)
{
    begin(1);
    struct bk_error error = error_of(BK_PERMANENT, "22003");
    bk_task_give_up(&room[0], &rules, &error, false, NOW, 0);
    memset(&error, 'x', sizeof(error));
    cr_assert_eq(room[0].settlement.fate, BK_FATE_DEAD);
    cr_expect_str_eq(room[0].settlement.sqlstate, "22003");
    cr_expect_str_eq(room[0].settlement.error, "as told");
    cr_expect_str_eq(room[0].settlement.reason, "database_refused");
    free(room[0].error);
}

Test(task, the_same_id_twice_waits_for_another_turn)
{
    static const char *const ids[] = {"b", "a", "b", "ab", "a"};
    begin(BK_COUNT(ids));
    for (size_t i = 0; i < BK_COUNT(ids); i++)
        room[i].job.id = bk_span_of(ids[i]);
    cr_assert_eq(bk_tasks_put_off_same_ids(tasks, BK_COUNT(ids)), 3);
    cr_expect_eq(tasks[0], &room[0]);
    cr_expect_eq(tasks[1], &room[1]);
    cr_expect_eq(tasks[2], &room[3]);
    cr_expect(room[2].settled && room[2].settlement.fate == BK_FATE_FREE, "the later of two b");
    cr_expect(room[4].settled && room[4].settlement.fate == BK_FATE_FREE, "the later of two a");
}
