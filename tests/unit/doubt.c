/* Between a batch that the database has just failed and the breaker's verdict: pause, then probe, then trust. */
#include "worker/doubt.h"

#include <criterion/criterion.h>

static struct bk_doubt doubt;
static struct bk_breaker breaker;
enum { NOW = 1000000 };

static void begin(void)
{
    bk_doubt_init(&doubt, 500);
    breaker = (struct bk_breaker){.state = BK_BREAKER_CLOSED, .mode = BK_BREAKER_AUTO};
}

TestSuite(doubt, .init = begin);

Test(doubt, there_is_none_at_first_nor_after_a_good_turn)
{
    cr_expect_eq(bk_doubt_trust(&doubt, &breaker, NOW), BK_TRUST_FULL);
    bk_doubt_end_turn(&doubt, true, false, NOW, 1);
    cr_expect_eq(bk_doubt_trust(&doubt, &breaker, NOW), BK_TRUST_FULL);
}

Test(doubt, jobs_handed_back_bring_a_pause_then_a_probe_then_trust)
{
    bk_doubt_end_turn(&doubt, false, true, NOW, UINT64_MAX);
    cr_expect_eq(bk_doubt_trust(&doubt, &breaker, NOW), BK_TRUST_WAIT);
    bk_ms again = doubt.look_again_at;
    cr_expect_eq(bk_doubt_trust(&doubt, &breaker, again - 1), BK_TRUST_WAIT);
    cr_expect_eq(bk_doubt_trust(&doubt, &breaker, again), BK_TRUST_PROBE_FIRST);
    bk_doubt_end_probe(&doubt, true, false, again, 1);
    cr_expect_eq(bk_doubt_trust(&doubt, &breaker, again), BK_TRUST_FULL);
}

Test(doubt, one_blow_that_hits_several_lanes_counts_once)
{
    bk_doubt_end_turn(&doubt, false, true, NOW, 1);
    bk_ms again = doubt.look_again_at;
    bk_doubt_end_turn(&doubt, false, true, NOW + 1, UINT64_MAX);
    cr_expect_eq(doubt.look_again_at, again);
    cr_expect_eq(doubt.failed_turns, 1);
}

Test(doubt, the_pause_grows_with_each_failed_turn_up_to_five_seconds)
{
    bk_ms last = 0;
    for (unsigned turn = 0; turn < 70; turn++) {
        bk_doubt_end_turn(&doubt, false, true, NOW, 0); /* the shortest of each */
        bk_ms pause = doubt.look_again_at - NOW;
        cr_expect_geq(pause, last, "turn %u", turn);
        cr_expect_leq(pause, 5000);
        last = pause;
        bk_doubt_end_probe(&doubt, true, false, NOW, 0);
    }
    cr_expect_geq(last, 2500);
    bk_doubt_end_turn(&doubt, true, false, NOW, 0);
    bk_doubt_end_turn(&doubt, false, true, NOW, 0);
    cr_expect_leq(doubt.look_again_at - NOW, 500, "one good turn, and it begins anew");
}

Test(doubt, half_of_a_pause_is_certain_and_the_rest_is_chance)
{
    for (uint64_t random = 0; random < 64; random++) {
        begin();
        bk_doubt_end_turn(&doubt, false, true, NOW, random << 58);
        cr_expect_geq(doubt.look_again_at - NOW, 250);
        cr_expect_leq(doubt.look_again_at - NOW, 500);
    }
}

Test(doubt, a_probe_that_fails_brings_another_pause_unless_the_breaker_has_judged)
{
    bk_doubt_end_turn(&doubt, false, true, NOW, 1);
    bk_ms later = doubt.look_again_at + 10000;
    bk_doubt_end_probe(&doubt, false, true, later, 1);
    cr_expect_eq(bk_doubt_trust(&doubt, &breaker, later), BK_TRUST_PROBE_FIRST, "the breaker says when");
    bk_doubt_end_probe(&doubt, false, false, later, 1);
    cr_expect_eq(bk_doubt_trust(&doubt, &breaker, later), BK_TRUST_WAIT);
    bk_doubt_init(&doubt, 1);
    bk_doubt_end_probe(&doubt, false, false, later, 1);
    cr_expect_eq(bk_doubt_trust(&doubt, &breaker, later), BK_TRUST_FULL, "nothing was doubted");
    cr_expect_eq(doubt.base_ms, 100, "and no base is shorter");
}

Test(doubt, a_breaker_that_is_not_closed_or_forced_rules_alone)
{
    bk_doubt_end_turn(&doubt, false, true, NOW, 1);
    breaker.state = BK_BREAKER_OPEN;
    cr_expect_eq(bk_doubt_trust(&doubt, &breaker, NOW), BK_TRUST_FULL);
    breaker = (struct bk_breaker){.state = BK_BREAKER_CLOSED, .mode = BK_BREAKER_FORCED_CLOSED};
    cr_expect_eq(bk_doubt_trust(&doubt, &breaker, NOW + 10000), BK_TRUST_FULL);
}
