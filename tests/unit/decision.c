/* The brain: what becomes of a job, case by case. */
#include "worker/decision.h"

#include <string.h>

#include <criterion/criterion.h>

static const struct bk_decision_rules rules = {
    .max_attempts = 10,
    .attempt_base_ms = 1000,
    .attempt_cap_ms = 60000,
    .max_requeues = 20,
    .max_age_ms = 86400000,
    .max_deliveries = 3,
};

enum { NOW = 1700000000000 };

static const char *text_of(const char *text)
{
    return text ? text : "(none)";
}

/* --- when it has been taken --------------------------------------------------------------------------------------- */

Test(taken, a_job_is_applied_unless_it_is_too_late_or_a_danger)
{
    static const struct {
        const char *story;
        struct bk_job job;
        enum bk_next expected;
        const char *reason;
    } rows[] = {
        // clang-format off
        {"a fresh one", {.attempts = 0}, BK_NEXT_APPLY, NULL},
        {"one that has been tried", {.attempts = 9, .requeues = 20}, BK_NEXT_APPLY, NULL},
        {"killed a worker", {.deliveries = 1}, BK_NEXT_APPLY, NULL},
        {"killed two", {.deliveries = 2}, BK_NEXT_APPLY, NULL},
        {"killed three", {.deliveries = 3}, BK_NEXT_DEAD, "poison"},
        {"killed more", {.deliveries = 4}, BK_NEXT_DEAD, "poison"},
        {"due in the future", {.expires_at = NOW + 1}, BK_NEXT_APPLY, NULL},
        {"due now", {.expires_at = NOW}, BK_NEXT_DEAD, "expired"},
        {"due before now", {.expires_at = NOW - 1}, BK_NEXT_DEAD, "expired"},
        {"due in 1970", {.expires_at = 1}, BK_NEXT_DEAD, "expired"},
        {"too late, but was tried with an answer", {.expires_at = NOW, .attempts = 3}, BK_NEXT_DEAD, "expired"},
        {"too late, but may be applied", {.expires_at = NOW, .unsure = true}, BK_NEXT_APPLY_EXPIRED, NULL},
        {"too late, but a dead worker may have", {.expires_at = NOW, .deliveries = 1}, BK_NEXT_APPLY_EXPIRED, NULL},
        {"too late, and a danger", {.expires_at = NOW, .deliveries = 3}, BK_NEXT_DEAD, "poison"},
        {"unsure, but in time", {.expires_at = NOW + 1, .unsure = true}, BK_NEXT_APPLY, NULL},
        // clang-format on
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        const char *reason = NULL;
        enum bk_next next = bk_decide_taken(&rules, &rows[i].job, NOW, &reason);
        cr_expect_eq(next, rows[i].expected, "%s: %d", rows[i].story, (int)next);
        cr_expect_str_eq(text_of(reason), text_of(rows[i].reason), "%s: %s", rows[i].story, text_of(reason));
    }
}

/* --- when its try has failed -------------------------------------------------------------------------------------- */

/* fate, reason, attempts, unsure: what is expected; the delay has tests of its own */
struct verdict {
    enum bk_fate fate;
    const char *reason;
    int64_t attempts;
    bool unsure;
};

Test(failed, each_failure_has_its_price)
{
    enum { OLD = 86400000 };
    static const struct {
        const char *story;
        struct bk_job job;
        enum bk_status failure;
        bool unsure;
        struct verdict expected;
    } rows[] = {
        // clang-format off
        /* contention: an attempt each time, until there are no more */
        {"first deadlock", {.attempts = 0}, BK_TRANSIENT, false, {BK_FATE_RETRY, NULL, 1, false}},
        {"ninth", {.attempts = 8}, BK_TRANSIENT, false, {BK_FATE_RETRY, NULL, 9, false}},
        {"tenth", {.attempts = 9}, BK_TRANSIENT, false, {BK_FATE_DEAD, "too_many_attempts", 10, false}},
        {"beyond", {.attempts = 50}, BK_TRANSIENT, false, {BK_FATE_DEAD, "too_many_attempts", 51, false}},
        {"deadlock after a lost answer", {.attempts = 0}, BK_TRANSIENT, true, {BK_FATE_RETRY, NULL, 1, true}},
        {"old age is no matter", {.waits_since = NOW - 2LL * OLD}, BK_TRANSIENT, false, {BK_FATE_RETRY, NULL, 1, false}},

        /* the job's own fault */
        {"refused", {.attempts = 0}, BK_PERMANENT, false, {BK_FATE_DEAD, "database_refused", 1, false}},
        {"refused at last", {.attempts = 4}, BK_PERMANENT, false, {BK_FATE_DEAD, "database_refused", 5, false}},
        {"refused, once unsure", {.unsure = true}, BK_PERMANENT, false, {BK_FATE_DEAD, "database_refused", 1, true}},

        /* outages: no attempt is spent */
        {"outage", {.attempts = 9, .waits_since = NOW}, BK_OUTAGE, false, {BK_FATE_REQUEUE, NULL, 9, false}},
        {"lost answer", {.waits_since = NOW}, BK_UNKNOWN, true, {BK_FATE_REQUEUE, NULL, 0, true}},
        {"no connection", {.waits_since = NOW}, BK_TIMEOUT, false, {BK_FATE_REQUEUE, NULL, 0, false}},
        {"nineteenth", {.requeues = 18, .waits_since = NOW}, BK_OUTAGE, false, {BK_FATE_REQUEUE, NULL, 0, false}},
        {"twentieth", {.requeues = 19, .waits_since = NOW}, BK_OUTAGE, false, {BK_FATE_REQUEUE, NULL, 0, false}},
        {"a last one", {.requeues = 20, .waits_since = NOW}, BK_OUTAGE, false, {BK_FATE_DEAD, "circuit_open", 0, false}},
        {"as old as allowed", {.waits_since = NOW - OLD}, BK_OUTAGE, false, {BK_FATE_REQUEUE, NULL, 0, false}},
        {"older", {.waits_since = NOW - OLD - 1}, BK_OUTAGE, false, {BK_FATE_DEAD, "circuit_open", 0, false}},
        {"older, unknown", {.waits_since = NOW - OLD - 1}, BK_UNKNOWN, true, {BK_FATE_DEAD, "circuit_open", 0, true}},
        {"older, no connection", {.waits_since = 0}, BK_TIMEOUT, false, {BK_FATE_DEAD, "circuit_open", 0, false}},
        {"back again", {.enqueued_at = 1, .waits_since = NOW}, BK_OUTAGE, false, {BK_FATE_REQUEUE, NULL, 0, false}},

        /* somebody must mend the set-up: no job dies of it, however long that takes */
        {"no right", {.waits_since = NOW}, BK_OPERATOR, false, {BK_FATE_REQUEUE, NULL, 0, false}},
        {"still no right", {.requeues = 100000}, BK_OPERATOR, false, {BK_FATE_REQUEUE, NULL, 0, false}},

        /* not the job's affair */
        {"asked to stop", {.attempts = 2}, BK_STOPPED, false, {BK_FATE_FREE, NULL, 2, false}},
        {"fenced", {.attempts = 0}, BK_FENCED, false, {BK_FATE_FREE, NULL, 0, false}},
        {"asked to stop, answer lost", {.attempts = 0}, BK_STOPPED, true, {BK_FATE_REQUEUE, NULL, 0, true}},
        {"asked to stop, known to be unsure", {.unsure = true}, BK_STOPPED, true, {BK_FATE_FREE, NULL, 0, true}},
        // clang-format on
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        struct bk_decision got = bk_decide_failed(&rules, &rows[i].job, rows[i].failure, rows[i].unsure, NOW, 12345);
        const struct verdict *expected = &rows[i].expected;
        cr_expect_eq(got.fate, expected->fate, "%s: fate %d", rows[i].story, (int)got.fate);
        cr_expect_str_eq(text_of(got.reason), text_of(expected->reason), "%s: %s", rows[i].story, text_of(got.reason));
        cr_expect_eq(got.attempts, expected->attempts, "%s: %lld attempts", rows[i].story, (long long)got.attempts);
        cr_expect_eq(got.unsure, expected->unsure, "%s: unsure", rows[i].story);
        if (got.fate != BK_FATE_RETRY)
            cr_expect_eq(got.delay_ms, 0, "%s: a delay", rows[i].story);
    }
}

Test(failed, waits_up_to_twice_as_long_after_each_attempt)
{
    static const struct {
        int64_t attempts;
        bk_ms most;
    } rows[] = {{0, 1000}, {1, 2000}, {2, 4000}, {5, 32000}, {6, 60000}, {8, 60000}};
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        struct bk_job job = {.attempts = rows[i].attempts};
        bk_ms longest = 0;
        for (uint64_t random = 0; random <= 60000; random++)
            longest = BK_MAX(longest, bk_decide_failed(&rules, &job, BK_TRANSIENT, false, NOW, random).delay_ms);
        cr_expect_eq(longest, rows[i].most, "after %lld attempts: %lld ms", (long long)rows[i].attempts,
                     (long long)longest);
    }
}

Test(failed, patience_without_end_overflows_nothing)
{
    struct bk_decision_rules patient = rules;
    patient.max_attempts = INT64_MAX;
    for (int64_t attempts = 0; attempts < 100000; attempts = attempts * 2 + 1) {
        struct bk_job job = {.attempts = attempts};
        bk_ms delay = bk_decide_failed(&patient, &job, BK_TRANSIENT, false, NOW, UINT64_MAX).delay_ms;
        cr_expect(delay >= 0 && delay <= rules.attempt_cap_ms, "%lld", (long long)delay);
    }
}

/* --- words -------------------------------------------------------------------------------------------------------- */

Test(decision, knows_a_failure_of_the_server_from_one_of_the_job)
{
    static const enum bk_status outages[] = {BK_OUTAGE, BK_UNKNOWN, BK_TIMEOUT, BK_OPERATOR};
    static const enum bk_status others[] = {BK_OK,     BK_TRANSIENT, BK_PERMANENT, BK_INVALID,
                                            BK_FENCED, BK_MISSING,   BK_STOPPED};
    for (size_t i = 0; i < BK_COUNT(outages); i++)
        cr_expect(bk_is_outage(outages[i]), "%s", bk_status_label(outages[i]));
    for (size_t i = 0; i < BK_COUNT(others); i++)
        cr_expect_not(bk_is_outage(others[i]), "%s", bk_status_label(others[i]));
}

Test(decision, every_documented_reason_has_a_meaning)
{
    static const char *const reasons[] = {"malformed",    "invalid_args", "unknown_kind",
                                          "id_reused",    "expired",      "too_many_attempts",
                                          "circuit_open", "poison",       "database_refused"};
    size_t declared = 0;
#define COUNT_REASON(word, meaning) declared++;
    BK_DEAD_REASONS(COUNT_REASON)
#undef COUNT_REASON
    cr_expect_eq(declared, BK_COUNT(reasons));
    for (size_t i = 0; i < BK_COUNT(reasons); i++)
        cr_expect_not_null(bk_dead_reason_meaning(reasons[i]), "%s", reasons[i]);
    cr_expect_null(bk_dead_reason_meaning("slot_taken"));
    cr_expect_null(bk_dead_reason_meaning(""));
}

Test(decision, takes_its_rules_from_the_settings)
{
    struct bk_config config = {
        .max_attempts = 3, .attempt_cap_s = 4, .max_requeues = 5, .max_age_s = 6, .max_deliveries = 7};
    struct bk_decision_rules got = bk_decision_rules_of(&config);
    cr_expect_eq(got.max_attempts, 3);
    cr_expect_eq(got.attempt_base_ms, 1000);
    cr_expect_eq(got.attempt_cap_ms, 4000);
    cr_expect_eq(got.max_requeues, 5);
    cr_expect_eq(got.max_age_ms, 6000);
    cr_expect_eq(got.max_deliveries, 7);
}
