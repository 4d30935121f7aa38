/* How long to wait before trying again, and when not to. */
#include "common/backoff.h"

#include <inttypes.h>

#include <criterion/criterion.h>

/* The longest wait that any random bits can give. */
static bk_ms longest(bk_ms base, unsigned n, bk_ms cap)
{
    bk_ms most = 0;
    for (bk_ms guess = 0; guess <= cap; guess++)
        most = BK_MAX(most, bk_backoff(base, n, cap, (uint64_t)guess));
    return most;
}

Test(backoff, doubles_up_to_its_cap)
{
    static const struct {
        bk_ms base;
        unsigned n;
        bk_ms cap;
        bk_ms most;
    } rows[] = {
        {500, 0, 60000, 500},
        {500, 1, 60000, 1000},
        {500, 2, 60000, 2000},
        {500, 6, 60000, 32000},
        {500, 7, 60000, 60000},
        {500, 39, 60000, 60000},
        {500, 40, 60000, 60000},
        {500, 63, 60000, 60000},
        {500, 64, 60000, 60000},
        {1, 0, 1, 1},
        {1, 16, 60000, 60000},
        {1, 15, 60000, 32768},
        {1000, 0, 100, 100},
        {10, 3, 500, 80},
        {500, 4000000000, 60000, 60000},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        bk_ms most = longest(rows[i].base, rows[i].n, rows[i].cap);
        cr_expect_eq(most, rows[i].most, "%" PRId64 " x 2^%u, cap %" PRId64 ": at most %" PRId64, rows[i].base,
                     rows[i].n, rows[i].cap, most);
    }
}

Test(backoff, has_full_jitter)
{
    /* every wait from 0 to the limit, each as often as the others */
    unsigned seen[8] = {0};
    for (uint64_t random = 0; random < 8000; random++)
        seen[bk_backoff(7, 0, 100, random)]++;
    for (size_t i = 0; i < BK_COUNT(seen); i++)
        cr_expect_eq(seen[i], 1000, "%zu ms: %u times", i, seen[i]);
}

Test(backoff, does_not_overflow)
{
    for (unsigned n = 0; n < 200; n++) {
        bk_ms wait = bk_backoff(INT64_MAX / 2, n, INT64_MAX - 1, UINT64_MAX);
        cr_expect_geq(wait, 0, "n %u: %" PRId64, n, wait);
    }
    cr_expect_eq(bk_backoff(0, 0, 0, UINT64_MAX), 0);
    cr_expect_eq(bk_backoff(500, 3, 0, UINT64_MAX), 0);
}

Test(jitter, takes_off_up_to_its_percentage)
{
    bk_ms least = INT64_MAX;
    bk_ms most = 0;
    for (uint64_t random = 0; random < 1000; random++) {
        bk_ms span = bk_jitter(1000, 10, random);
        least = BK_MIN(least, span);
        most = BK_MAX(most, span);
    }
    cr_expect_eq(least, 900);
    cr_expect_eq(most, 1000);
    cr_expect_eq(bk_jitter(1000, 0, 77), 1000);
    cr_expect_eq(bk_jitter(5, 10, 77), 5, "less than a millisecond to take off");
    cr_expect_eq(bk_jitter(0, 10, 77), 0);
}

Test(budget, lets_five_retries_through_and_then_none)
{
    struct bk_retry_budget budget;
    bk_retry_budget_init(&budget);
    for (int i = 0; i < 5; i++)
        cr_expect(bk_retry_budget_take(&budget), "retry %d", i);
    cr_expect_not(bk_retry_budget_take(&budget), "half of the tokens must stay");
    cr_expect_not(bk_retry_budget_take(&budget), "a refused one takes nothing, and changes nothing");
}

Test(budget, ten_successes_pay_for_one_retry)
{
    struct bk_retry_budget budget;
    bk_retry_budget_init(&budget);
    while (bk_retry_budget_take(&budget))
        ;
    for (int i = 0; i < 9; i++)
        bk_retry_budget_success(&budget);
    cr_expect_not(bk_retry_budget_take(&budget));

    bk_retry_budget_success(&budget);

    cr_expect(bk_retry_budget_take(&budget));
    cr_expect_not(bk_retry_budget_take(&budget));
}

Test(budget, successes_fill_it_up_to_the_brim_only)
{
    struct bk_retry_budget budget;
    bk_retry_budget_init(&budget);
    for (int i = 0; i < 100000; i++)
        bk_retry_budget_success(&budget);
    int retries = 0;
    while (bk_retry_budget_take(&budget))
        retries++;
    cr_expect_eq(retries, 5);
}

/* Under an overload in which everything fails, retries add no more than a tenth to what is asked of the server. */
Test(budget, retries_cannot_multiply_an_overload)
{
    struct bk_retry_budget budget;
    bk_retry_budget_init(&budget);
    int retries = 0;
    for (int call = 0; call < 10000; call++) {
        if (call % 2) /* half of the calls fail */
            retries += bk_retry_budget_take(&budget);
        else
            bk_retry_budget_success(&budget);
    }
    cr_expect_leq(retries, 5 + 5000 / 10, "%d retries", retries);
}

Test(random, is_not_the_same_twice)
{
    uint64_t all = 0;
    uint64_t none = UINT64_MAX;
    uint64_t last = bk_random();
    for (int i = 0; i < 1000; i++) {
        uint64_t next = bk_random();
        cr_assert_neq(next, last);
        all |= next;
        none &= next;
        last = next;
    }
    cr_expect_eq(all, UINT64_MAX, "every bit is set at times");
    cr_expect_eq(none, 0, "and not at others");
}
