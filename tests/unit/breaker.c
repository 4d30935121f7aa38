/* The circuit breaker: every way from one state to another, and what must hold whatever happens. */
#include "common/breaker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "common/backoff.h"

static const struct bk_breaker_settings usual = {
    .window = 20,
    .min_calls = 10,
    .failure_rate = 50,
    .consecutive = 5,
    .slow_ms = 2000,
    .slow_rate = 80,
    .open_ms = 1000,
    .open_max_ms = 30000,
    .probes = 3,
    .limit = 8,
};

static struct bk_breaker breaker;
static bk_ms now;
static uint64_t set_of_connections;

static void begin(void)
{
    bk_breaker_init(&breaker, &usual);
    now = 1000000;
    set_of_connections = 0;
}

TestSuite(breaker, .init = begin);

static struct bk_permit must_ask(void)
{
    struct bk_permit permit = {0};
    bk_ms retry_at = 0;
    cr_assert(bk_breaker_ask(&breaker, now, &permit, &retry_at), "no permit in state %s",
              bk_breaker_state_name(breaker.state));
    return permit;
}

static bool refused(void)
{
    struct bk_permit permit = {0};
    bk_ms retry_at = 0;
    return !bk_breaker_ask(&breaker, now, &permit, &retry_at);
}

/* One call from beginning to end, over connections of its own so that nothing is lumped. */
static bool call_for(enum bk_call_result result, bk_ms lasting)
{
    struct bk_permit permit = must_ask();
    now += lasting;
    return bk_breaker_end(&breaker, permit, result, ++set_of_connections, now);
}

static bool call(enum bk_call_result result)
{
    return call_for(result, 1);
}

static void calls(unsigned count, enum bk_call_result result)
{
    for (unsigned i = 0; i < count; i++)
        (void)call(result);
}

static void open_it(void)
{
    calls(usual.consecutive, BK_CALL_BAD);
    cr_assert_eq(breaker.state, BK_BREAKER_OPEN);
}

static void half_open_it(void)
{
    open_it();
    now += usual.open_ms;
}

static void close_it(void)
{
    half_open_it();
    calls(usual.probes, BK_CALL_GOOD);
    cr_assert_eq(breaker.state, BK_BREAKER_CLOSED);
}

/* --- closed ------------------------------------------------------------------------------------------------------- */

Test(breaker, begins_closed_and_lets_every_lane_call)
{
    cr_expect_eq(breaker.state, BK_BREAKER_CLOSED);
    for (unsigned i = 0; i < usual.limit; i++)
        (void)must_ask();
    cr_expect(refused(), "no more calls at once than there are lanes");
}

Test(breaker, opens_after_a_run_of_failures_even_when_few_calls_were_made)
{
    calls(4, BK_CALL_BAD);
    cr_expect_eq(breaker.state, BK_BREAKER_CLOSED);
    cr_expect(call(BK_CALL_BAD), "the fifth changes the state, and says so");
    cr_expect_eq(breaker.state, BK_BREAKER_OPEN);
    cr_expect(refused());
}

Test(breaker, a_success_ends_a_run)
{
    calls(4, BK_CALL_BAD);
    calls(1, BK_CALL_GOOD);
    calls(4, BK_CALL_BAD);
    cr_expect_eq(breaker.state, BK_BREAKER_CLOSED, "four, and four");
    cr_expect(call(BK_CALL_BAD), "ten calls, nine failed: that is the rate's affair");
}

Test(breaker, opens_at_the_failure_rate_and_not_below_it)
{
    static const struct {
        unsigned good;
        unsigned bad;
        enum bk_breaker_state expected;
    } rows[] = {
        {5, 4, BK_BREAKER_CLOSED},  /* nine calls say nothing yet */
        {6, 4, BK_BREAKER_CLOSED},  /* 40 % of ten */
        {5, 5, BK_BREAKER_OPEN},    /* 50 % of ten */
        {11, 9, BK_BREAKER_CLOSED}, /* 45 % of twenty */
        {10, 10, BK_BREAKER_OPEN},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        begin();
        struct bk_breaker_settings settings = usual;
        settings.consecutive = 1000;
        bk_breaker_init(&breaker, &settings);
        calls(rows[i].good, BK_CALL_GOOD);
        calls(rows[i].bad, BK_CALL_BAD);
        cr_expect_eq(breaker.state, rows[i].expected, "%u good, %u bad", rows[i].good, rows[i].bad);
    }
}

Test(breaker, forgets_what_is_older_than_its_window)
{
    struct bk_breaker_settings settings = usual;
    settings.consecutive = 1000;
    bk_breaker_init(&breaker, &settings);
    calls(11, BK_CALL_GOOD);
    calls(9, BK_CALL_BAD);   /* 45 % */
    calls(11, BK_CALL_GOOD); /* the first eleven good ones have left */
    cr_expect_eq(breaker.failed, 9);
    calls(9, BK_CALL_GOOD);
    cr_expect_eq(breaker.failed, 0, "every failure has left the window");
    cr_expect_eq(breaker.used, 20);
    cr_expect_eq(breaker.state, BK_BREAKER_CLOSED);
}

Test(breaker, a_call_that_takes_just_as_long_as_allowed_is_not_slow)
{
    for (int i = 0; i < 20; i++)
        cr_expect_not(call_for(BK_CALL_GOOD, usual.slow_ms));
    cr_expect_eq(breaker.slow, 0);
}

Test(breaker, opens_when_most_calls_are_slow)
{
    for (int i = 0; i < 2; i++)
        (void)call_for(BK_CALL_GOOD, usual.slow_ms);
    for (int i = 0; i < 7; i++)
        (void)call_for(BK_CALL_GOOD, usual.slow_ms + 1);
    cr_expect_eq(breaker.state, BK_BREAKER_CLOSED, "seven of nine");
    cr_expect(call_for(BK_CALL_GOOD, usual.slow_ms + 1), "eight of ten");
    cr_expect_eq(breaker.state, BK_BREAKER_OPEN);
}

Test(breaker, a_released_permit_says_nothing)
{
    calls(4, BK_CALL_BAD);
    for (int i = 0; i < 100; i++)
        cr_expect_not(call(BK_CALL_RELEASED));
    cr_expect_eq(breaker.used, 4);
    cr_expect_eq(breaker.in_flight, 0);
    cr_expect(call(BK_CALL_BAD), "the run goes on");
}

/* --- one blow that takes all connections -------------------------------------------------------------------------- */

Test(breaker, counts_one_blow_to_all_connections_once)
{
    struct bk_permit permits[8];
    for (size_t i = 0; i < BK_COUNT(permits); i++)
        permits[i] = must_ask();
    for (size_t i = 0; i < BK_COUNT(permits); i++)
        cr_expect_not(bk_breaker_end(&breaker, permits[i], BK_CALL_BAD, 1, now + (bk_ms)i * 14));
    cr_expect_eq(breaker.state, BK_BREAKER_CLOSED);
    cr_expect_eq(breaker.failed, 1, "eight failures within 98 ms");
    cr_expect_eq(breaker.in_flight, 0);
}

Test(breaker, counts_failures_apart_when_they_are_apart)
{
    static const struct {
        bk_ms later;
        uint64_t connections;
        unsigned expected;
    } rows[] = {
        {99, 1, 1},  /* the same set, at once */
        {100, 1, 2}, /* the same set, later */
        {0, 2, 2},   /* another set */
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        begin();
        struct bk_permit first = must_ask();
        struct bk_permit second = must_ask();
        (void)bk_breaker_end(&breaker, first, BK_CALL_BAD, 1, now);
        (void)bk_breaker_end(&breaker, second, BK_CALL_BAD, rows[i].connections, now + rows[i].later);
        cr_expect_eq(breaker.failed, rows[i].expected, "row %zu: %u", i, breaker.failed);
    }
}

/* --- open --------------------------------------------------------------------------------------------------------- */

Test(breaker, says_when_to_ask_again)
{
    struct bk_permit permit;
    bk_ms retry_at = 0;
    open_it();
    cr_expect_not(bk_breaker_ask(&breaker, now, &permit, &retry_at));
    cr_expect_eq(retry_at, now + usual.open_ms);
    now += usual.open_ms - 1;
    cr_expect_not(bk_breaker_ask(&breaker, now, &permit, &retry_at));
    cr_expect_eq(retry_at, now + 1);
    now++;
    cr_expect(bk_breaker_ask(&breaker, now, &permit, &retry_at));
    cr_expect_eq(breaker.state, BK_BREAKER_HALF_OPEN);
}

Test(breaker, never_says_to_come_back_in_more_than_a_second)
{
    struct bk_permit permit;
    bk_ms retry_at = 0;
    half_open_it();
    for (int i = 0; i < 5; i++) {
        (void)call(BK_CALL_BAD);
        cr_expect_not(bk_breaker_ask(&breaker, now, &permit, &retry_at));
        cr_expect_leq(retry_at, now + 1000);
        now = breaker.until;
    }
}

/* --- half-open ---------------------------------------------------------------------------------------------------- */

Test(breaker, sends_one_probe_at_a_time)
{
    half_open_it();
    struct bk_permit probe = must_ask();
    cr_expect(refused(), "while one is under way");
    (void)bk_breaker_end(&breaker, probe, BK_CALL_GOOD, 1, now);
    cr_expect_not(refused());
}

Test(breaker, closes_after_good_probes_in_a_row)
{
    half_open_it();
    cr_expect_not(call(BK_CALL_GOOD));
    cr_expect_not(call(BK_CALL_GOOD));
    cr_expect_eq(breaker.state, BK_BREAKER_HALF_OPEN);
    cr_expect(call(BK_CALL_GOOD));
    cr_expect_eq(breaker.state, BK_BREAKER_CLOSED);
}

Test(breaker, a_failed_probe_opens_it_and_the_good_ones_before_count_no_more)
{
    half_open_it();
    calls(2, BK_CALL_GOOD);
    cr_expect(call(BK_CALL_BAD));
    cr_expect_eq(breaker.state, BK_BREAKER_OPEN);
    now = breaker.until;
    calls(2, BK_CALL_GOOD);
    cr_expect_eq(breaker.state, BK_BREAKER_HALF_OPEN);
}

Test(breaker, a_released_probe_makes_room_for_another)
{
    half_open_it();
    (void)call(BK_CALL_RELEASED);
    cr_expect_eq(breaker.state, BK_BREAKER_HALF_OPEN);
    (void)must_ask();
    cr_expect_eq(breaker.good_probes, 0);
}

Test(breaker, waits_twice_as_long_after_each_failed_probe_up_to_a_limit)
{
    static const bk_ms waits[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000};
    open_it();
    for (size_t i = 0; i < BK_COUNT(waits); i++) {
        cr_expect_eq(breaker.until - now, waits[i], "after %zu failed probes: %" PRId64, i, breaker.until - now);
        now = breaker.until;
        (void)call(BK_CALL_BAD);
    }
}

/* Opens it, and lets its probes fail until it waits for `wait_ms`. */
static void open_for(bk_ms wait_ms)
{
    for (unsigned i = 0; i < usual.consecutive; i++)
        (void)call_for(BK_CALL_BAD, 200);
    while (breaker.wait_ms < wait_ms) {
        now = breaker.until;
        (void)call_for(BK_CALL_BAD, 1);
    }
    cr_assert_eq(breaker.state, BK_BREAKER_OPEN);
}

Test(breaker, a_sign_of_life_brings_the_next_probe_forward)
{
    open_for(16000);
    now += 5000;
    cr_assert(refused(), "eleven seconds are left");

    bk_breaker_hint(&breaker, now);

    (void)must_ask();
    cr_expect_eq(breaker.state, BK_BREAKER_HALF_OPEN);
}

Test(breaker, a_sign_of_life_does_not_make_it_ask_faster_than_the_first_wait)
{
    open_for(16000);
    now += usual.open_ms - 1;
    bk_breaker_hint(&breaker, now);
    cr_expect(refused());
    now += 1;
    (void)must_ask();
}

Test(breaker, a_sign_of_life_means_nothing_while_forced_open)
{
    (void)bk_breaker_force(&breaker, BK_BREAKER_FORCED_OPEN, now);
    now += 100000;
    bk_breaker_hint(&breaker, now);
    cr_expect(refused());
}

Test(breaker, waits_the_first_time_again_once_it_has_closed)
{
    half_open_it();
    (void)call(BK_CALL_BAD); /* 2 s now */
    now = breaker.until;
    calls(3, BK_CALL_GOOD);
    cr_assert_eq(breaker.state, BK_BREAKER_CLOSED);
    open_it();
    cr_expect_eq(breaker.until - now, 1000);
}

/* --- closed again ------------------------------------------------------------------------------------------------- */

Test(breaker, begins_anew_when_it_has_closed)
{
    close_it();
    calls(4, BK_CALL_BAD);
    cr_expect_eq(breaker.state, BK_BREAKER_CLOSED, "failures from before it opened count no more");
    cr_expect_eq(breaker.used, 4);
}

Test(breaker, lets_calls_in_one_two_four_at_a_time_after_closing)
{
    static const unsigned at_once[] = {1, 2, 4, 8, 8};
    close_it();
    unsigned begun = 0;
    for (size_t i = 0; i < BK_COUNT(at_once); i++) {
        struct bk_permit permits[8];
        unsigned count = 0;
        while (count < 8 && !refused()) {
            permits[count++] = (struct bk_permit){.generation = breaker.generation, .began = now};
        }
        cr_expect_eq(count, at_once[i], "round %zu: %u", i, count);
        begun += count;
        /* one success is enough to double; the others' ends come later */
        (void)bk_breaker_end(&breaker, permits[0], BK_CALL_GOOD, 1, now);
        for (unsigned p = 1; p < count; p++)
            (void)bk_breaker_end(&breaker, permits[p], BK_CALL_RELEASED, 1, now);
    }
    cr_expect_eq(begun, 23);
    cr_expect_eq(breaker.in_flight, 0);
}

Test(breaker, a_failure_does_not_widen_the_ramp)
{
    close_it();
    (void)call(BK_CALL_BAD);
    cr_expect_eq(breaker.ramp, 1);
    (void)must_ask();
    cr_expect(refused());
}

/* --- permits of older states -------------------------------------------------------------------------------------- */

Test(breaker, an_answer_from_before_it_opened_does_not_close_it)
{
    struct bk_permit late = must_ask();
    half_open_it();
    struct bk_permit probe = must_ask();

    cr_expect_not(bk_breaker_end(&breaker, late, BK_CALL_GOOD, 1, now));

    cr_expect_eq(breaker.good_probes, 0);
    cr_expect_eq(breaker.in_flight, 1, "the probe is still out");
    (void)bk_breaker_end(&breaker, probe, BK_CALL_GOOD, 1, now);
    cr_expect_eq(breaker.good_probes, 1);
}

Test(breaker, a_failure_from_before_it_opened_does_not_open_it_again)
{
    struct bk_permit late = must_ask();
    close_it();
    cr_expect_not(bk_breaker_end(&breaker, late, BK_CALL_BAD, 1, now));
    cr_expect_eq(breaker.failed, 0);
    cr_expect_eq(breaker.in_flight, 0);
}

/* --- what an operator says ---------------------------------------------------------------------------------------- */

Test(breaker, forced_open_it_lets_nothing_through_for_ever)
{
    cr_expect(bk_breaker_force(&breaker, BK_BREAKER_FORCED_OPEN, now));
    cr_expect_eq(breaker.state, BK_BREAKER_OPEN);
    now += 1000000000;
    cr_expect(refused());
    cr_expect_not(bk_breaker_force(&breaker, BK_BREAKER_FORCED_OPEN, now), "nothing new");
}

Test(breaker, forced_open_while_open_it_does_not_probe)
{
    open_it();
    cr_expect_not(bk_breaker_force(&breaker, BK_BREAKER_FORCED_OPEN, now), "the state is the same");
    now += usual.open_ms;
    cr_expect(refused());
}

Test(breaker, forced_closed_it_lets_everything_through_whatever_fails)
{
    open_it();
    cr_expect(bk_breaker_force(&breaker, BK_BREAKER_FORCED_CLOSED, now));
    cr_expect_eq(breaker.state, BK_BREAKER_CLOSED);
    calls(100, BK_CALL_BAD);
    cr_expect_eq(breaker.state, BK_BREAKER_CLOSED);
    for (unsigned i = 0; i < 4 * usual.limit; i++)
        (void)must_ask();
}

Test(breaker, released_from_open_it_probes_at_once)
{
    (void)bk_breaker_force(&breaker, BK_BREAKER_FORCED_OPEN, now);
    cr_expect(bk_breaker_force(&breaker, BK_BREAKER_AUTO, now));
    cr_expect_eq(breaker.state, BK_BREAKER_HALF_OPEN);
    calls(usual.probes, BK_CALL_GOOD);
    cr_expect_eq(breaker.state, BK_BREAKER_CLOSED);
}

Test(breaker, released_from_closed_it_judges_again)
{
    (void)bk_breaker_force(&breaker, BK_BREAKER_FORCED_CLOSED, now);
    cr_expect_not(bk_breaker_force(&breaker, BK_BREAKER_AUTO, now), "it stays closed");
    calls(5, BK_CALL_BAD);
    cr_expect_eq(breaker.state, BK_BREAKER_OPEN);
}

Test(breaker, a_permit_from_before_it_was_forced_does_not_count)
{
    struct bk_permit late = must_ask();
    (void)bk_breaker_force(&breaker, BK_BREAKER_FORCED_OPEN, now);
    (void)bk_breaker_force(&breaker, BK_BREAKER_FORCED_CLOSED, now);
    cr_expect_not(bk_breaker_end(&breaker, late, BK_CALL_BAD, 1, now));
    cr_expect_eq(breaker.in_flight, 0);
    cr_expect_eq(breaker.failed, 0);
}

/* --- counting and naming ------------------------------------------------------------------------------------------ */

Test(breaker, counts_its_transitions)
{
    close_it();
    half_open_it();
    (void)call(BK_CALL_BAD);
    cr_expect_eq(breaker.transitions[BK_BREAKER_OPEN], 3);
    cr_expect_eq(breaker.transitions[BK_BREAKER_HALF_OPEN], 2);
    cr_expect_eq(breaker.transitions[BK_BREAKER_CLOSED], 1);
}

Test(breaker, names_its_states_as_the_metrics_do)
{
    cr_expect_str_eq(bk_breaker_state_name(BK_BREAKER_CLOSED), "closed");
    cr_expect_str_eq(bk_breaker_state_name(BK_BREAKER_OPEN), "open");
    cr_expect_str_eq(bk_breaker_state_name(BK_BREAKER_HALF_OPEN), "half_open");
}

/* --- whatever happens --------------------------------------------------------------------------------------------- */

/* Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014: the same seed tells the same story. */
static uint64_t dice;

static unsigned pick(unsigned most)
{
    uint64_t z = dice += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (unsigned)((z ^ z >> 31) % most);
}

struct story {
    struct bk_permit held[64];
    unsigned count;
    uint64_t entered[3];
    bool indulged; /* it was forced closed and has not changed its state since: its window may be full of failures */
};

static void expect_sound(const struct bk_breaker *b, const struct story *story)
{
    unsigned ours = 0;
    for (unsigned i = 0; i < story->count; i++)
        ours += story->held[i].generation == b->generation;
    unsigned failed = 0;
    unsigned slow = 0;
    for (unsigned i = 0; i < b->used; i++) {
        failed += b->outcomes[i] & 1U;
        slow += b->outcomes[i] >> 1;
    }
    cr_assert_eq(b->in_flight, ours, "every permit of this generation is counted once");
    cr_assert_eq(b->failed, failed);
    cr_assert_eq(b->slow, slow);
    cr_assert(b->used <= b->settings.window && b->at < b->settings.window);
    cr_assert(b->wait_ms >= b->settings.open_ms && b->wait_ms <= b->settings.open_max_ms);
    cr_assert(b->ramp >= 1 && b->ramp <= b->settings.limit);
    if (b->state == BK_BREAKER_CLOSED && !story->indulged)
        cr_assert_lt(b->run, b->settings.consecutive);
    if (b->state == BK_BREAKER_HALF_OPEN)
        cr_assert(b->in_flight <= 1 && b->good_probes < b->settings.probes);
    if (b->state == BK_BREAKER_OPEN)
        cr_assert(b->in_flight == 0 && b->until <= now + b->settings.open_max_ms);
    if (b->mode != BK_BREAKER_AUTO)
        cr_assert_eq(b->state, b->mode == BK_BREAKER_FORCED_OPEN ? BK_BREAKER_OPEN : BK_BREAKER_CLOSED);
    for (int s = 0; s < 3; s++)
        cr_assert_eq(b->transitions[s], story->entered[s], "every change is told by a return value or a permit");
}

/* Asks, and keeps the permit. */
static bool step_ask(struct bk_breaker *b, struct story *story)
{
    enum bk_breaker_state before = b->state;
    bk_ms retry_at = 0;
    bool given = bk_breaker_ask(b, now, &story->held[story->count], &retry_at);
    cr_assert(given || (retry_at > now && retry_at <= now + 1000), "ask again in %" PRId64 " ms", retry_at - now);
    story->count += given;
    return given && before == BK_BREAKER_OPEN;
}

/* Ends any permit that is held, in times of trouble mostly badly. */
static bool step_end(struct bk_breaker *b, struct story *story)
{
    unsigned which = pick(story->count);
    struct bk_permit permit = story->held[which];
    story->held[which] = story->held[--story->count];
    unsigned bad_in_ten = now / 20000 % 2 ? 8 : 2;
    unsigned luck = pick(10);
    enum bk_call_result result = luck == 0 ? BK_CALL_RELEASED : luck <= bad_in_ten ? BK_CALL_BAD : BK_CALL_GOOD;
    return bk_breaker_end(b, permit, result, pick(3), now);
}

static bool step_force(struct bk_breaker *b, struct story *story)
{
    enum bk_breaker_mode mode = pick(4) ? BK_BREAKER_AUTO : (enum bk_breaker_mode)pick(3);
    story->indulged |= mode == BK_BREAKER_FORCED_CLOSED;
    return bk_breaker_force(b, mode, now);
}

static void random_step(struct bk_breaker *b, struct story *story)
{
    enum bk_breaker_state before = b->state;
    unsigned what = pick(100);
    bool told = false;
    now += pick(4) ? pick(50) : pick(3000);
    if (what >= 98)
        told = step_force(b, story);
    else if (what < 50 && story->count < BK_COUNT(story->held))
        told = step_ask(b, story);
    else if (story->count > 0)
        told = step_end(b, story);
    cr_assert_eq(told, b->state != before, "from %s to %s", bk_breaker_state_name(before),
                 bk_breaker_state_name(b->state));
    story->entered[b->state] += told;
    if (told && b->mode != BK_BREAKER_FORCED_CLOSED)
        story->indulged = false;
}

/* The seed is printed; TEST_SEED=N runs one story again. */
Test(breaker, is_sound_whatever_happens)
{
    const char *given = getenv("TEST_SEED");
    for (int run = 0; run < (given ? 1 : 30); run++) {
        uint64_t seed = given ? strtoull(given, NULL, 10) : bk_random() >> 1;
        dice = seed;
        struct bk_breaker_settings settings = usual;
        settings.window = 1 + pick(40);
        settings.min_calls = 1 + pick(settings.window);
        settings.consecutive = 1 + pick(20);
        settings.probes = 1 + pick(4);
        settings.limit = 1 + pick(16);
        struct story story = {.count = 0};
        bk_breaker_init(&breaker, &settings);
        (void)printf("breaker: story of TEST_SEED=%" PRIu64 "\n", seed);
        for (int step = 0; step < 20000; step++) {
            random_step(&breaker, &story);
            expect_sound(&breaker, &story);
        }
        cr_assert(given || story.entered[BK_BREAKER_OPEN] > 0, "a story in which nothing happens tests nothing");
    }
}
