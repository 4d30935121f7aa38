/* queue.c - the queue's protocol on a real Redis: a job is in exactly one place after every call, also when a call fails
 * half-way; leases, fences and versions do what queue.lua says. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/backoff.h"
#include "common/queue.h"
#include "tests/support/peer.h"

/* --- the fixture: a queue of its own for each test, on the private server ---------------------------------------------- */

static struct bk_redis_url url;
static struct bk_redis *redis;
static struct bk_queue *queue;
static char name[48];
static uint64_t turns; /* one count for all lanes is as good as one each */

static void open_queue(void)
{
    const char *where = getenv("TEST_REDIS_URL");
    cr_assert(where, "TEST_REDIS_URL is not set; tests/run store sets it");
    struct bk_error error = {0};
    cr_assert_eq(bk_redis_url_parse(where, &url, &error), BK_OK, "%s", error.text);
    (void)snprintf(name, sizeof(name), "t%llx", (unsigned long long)bk_random());
    const struct bk_queue_options options = {&url, name, 2000, 2000};
    queue = bk_queue_open(&options);
    cr_assert_eq(bk_queue_connect(queue, &error), BK_OK, "%s", error.text);
    cr_assert_eq(bk_redis_open(&redis, &url, bk_clock_now() + 2000, &error), BK_OK, "%s", error.text);
}

static void close_queue(void)
{
    queue = bk_queue_close(queue);
    redis = bk_redis_close(redis);
    bk_redis_url_deinit(&url);
}

TestSuite(queue, .init = open_queue, .fini = close_queue);

/* One command, words separated by blanks; "@" in a word stands for "{queue}:". */
static struct bk_reply *command(const char *format, ...) BK_PRINTF(1, 2);
static struct bk_reply *command(const char *format, ...)
{
    char line[1024];
    char words[2048] = "";
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    struct bk_span spans[40];
    size_t count = 0;
    char *out = words;
    char *rest = NULL;
    for (char *word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        const char *at = *word == '@' ? word + 1 : word;
        int size = *word == '@' ? sprintf(out, "{%s}:%s", name, at) : sprintf(out, "%s", at);
        spans[count++] = (struct bk_span){out, (size_t)size};
        out += size + 1;
    }
    struct bk_reply *reply = NULL;
    struct bk_error error = {0};
    enum bk_status status = bk_redis_call(redis, count, spans, bk_clock_now() + 2000, &reply, &error);
    cr_assert_eq(status, BK_OK, "%s", error.text);
    return reply;
}

static void forget(struct bk_reply *reply)
{
    (void)bk_reply_free(reply);
}

static int64_t number(const char *verb, const char *key)
{
    BK_AUTO(bk_reply) *reply = command("%s %s", verb, key);
    return bk_reply_integer(reply, -1);
}

static void add(const char *id, const char *key)
{
    BK_AUTO(bk_reply) *reply = command("XADD @inbox * id %s kind booking.confirm key %s args {}", id, key);
    cr_assert(bk_reply_text(reply).size > 0);
}

static void join(const char *worker, bk_ms lease_ms)
{
    int64_t recovered = 0;
    struct bk_error error = {0};
    const struct bk_queue_fact facts[] = {{"state", "running"}};
    cr_assert_eq(bk_queue_join(queue, worker, lease_ms, facts, 1, &recovered, &error), BK_OK, "%s", error.text);
}

static enum bk_status try_take(const char *worker, unsigned lane, unsigned want, bool resume, struct bk_taken *taken)
{
    const struct bk_take take = {worker, want, resume, 2};
    const struct bk_turn_name turn_name = {worker, lane, ++turns, 0};
    struct bk_turn turn;
    struct bk_error error = {0};
    return bk_queue_turn(queue, &turn_name, NULL, 0, &take, &turn, taken, &error);
}

static struct bk_taken take(const char *worker, unsigned lane, unsigned want)
{
    struct bk_taken taken = {0};
    cr_assert_eq(try_take(worker, lane, want, false, &taken), BK_OK);
    return taken;
}

static struct bk_turn settle(const char *worker, struct bk_settlement settlement)
{
    struct bk_turn turn;
    struct bk_error error = {0};
    if (!settlement.error)
        settlement.error = "";
    ++turns;
    const struct bk_turn_name turn_name = {worker, 0, turns, turns};
    cr_assert_eq(bk_queue_turn(queue, &turn_name, &settlement, 1, NULL, &turn, NULL, &error), BK_OK, "%s", error.text);
    return turn;
}

static void expect_field(const char *ticket, const char *field, const char *expected)
{
    BK_AUTO(bk_reply) *reply = command("HGET @job:%s %s", ticket, field);
    struct bk_span got = bk_reply_text(reply);
    cr_expect(bk_span_is(got, expected), "%s of %s: expected \"%s\", got \"%.*s\"", field, ticket, expected,
              (int)got.size, got.at ? got.at : "");
}

/* --- the invariant ------------------------------------------------------------------------------------------------------- */

struct places {
    size_t count;
    char tickets[4096][48];
};

static void collect(struct places *places, const struct bk_reply *list, size_t step)
{
    for (size_t i = 0; i < bk_reply_count(list); i += step) {
        struct bk_span text = bk_reply_text(bk_reply_at(list, i));
        if (!text.at) /* a stream's entry */
            text = bk_reply_text(bk_reply_at(bk_reply_at(list, i), 0));
        (void)snprintf(places->tickets[places->count++], 48, "%.*s", (int)text.size, text.at);
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Every ticket in exactly one place, `expected` of them; every gate as high as the taken, unfinished jobs of its key; a
 * hash for each job outside the inbox and for no other. */
static void expect_sound(size_t expected, const char *after)
{
    struct places *places = bk_zalloc(sizeof(*places));
    BK_AUTO(bk_reply) *inbox = command("XRANGE @inbox - +");
    collect(places, inbox, 1);
    size_t in_inbox = places->count;
    static const char *const simple[] = {"LRANGE @ready 0 -1", "ZRANGE @scheduled 0 -1", "ZRANGE @retry 0 -1",
                                         "ZRANGE @dead 0 -1"};
    for (size_t i = 0; i < BK_COUNT(simple); i++) {
        BK_AUTO(bk_reply) *list = command("%s", simple[i]);
        collect(places, list, 1);
    }
    BK_AUTO(bk_reply) *lines = command("KEYS @line:*");
    for (size_t i = 0; i < bk_reply_count(lines); i++) {
        BK_AUTO(bk_reply) *line = command("LRANGE %s 0 -1", bk_reply_text(bk_reply_at(lines, i)).at);
        collect(places, line, 1);
    }
    BK_AUTO(bk_reply) *actives = command("KEYS @active:*");
    for (size_t i = 0; i < bk_reply_count(actives); i++) {
        BK_AUTO(bk_reply) *active = command("HGETALL %s", bk_reply_text(bk_reply_at(actives, i)).at);
        collect(places, active, 2);
    }
    qsort(places->tickets, places->count, sizeof(places->tickets[0]), by_text);
    for (size_t i = 1; i < places->count; i++)
        cr_assert_str_neq(places->tickets[i - 1], places->tickets[i], "%s: %s is in two places", after,
                          places->tickets[i]);
    cr_assert_eq(places->count, expected, "%s: %zu jobs in all places, expected %zu", after, places->count, expected);
    BK_AUTO(bk_reply) *hashes = command("KEYS @job:*");
    cr_assert_eq(bk_reply_count(hashes), places->count - in_inbox, "%s: %zu job hashes for %zu jobs outside the inbox",
                 after, bk_reply_count(hashes), places->count - in_inbox);
    struct bk_queue_status status;
    cr_assert_eq(bk_queue_read_status(queue, &status, NULL), BK_OK);
    BK_AUTO(bk_reply) *gates = command("HGETALL @gate");
    int64_t gated = 0;
    for (size_t i = 1; i < bk_reply_count(gates); i += 2)
        gated += bk_reply_integer(bk_reply_at(gates, i), 0);
    int64_t unfinished = (int64_t)expected - status.inbox - status.scheduled - status.dead;
    cr_assert_eq(gated, unfinished, "%s: gates add up to %lld, unfinished jobs are %lld", after, (long long)gated,
                 (long long)unfinished);
    free(places);
}

/* --- the story of one key ---------------------------------------------------------------------------------------------- */

Test(queue, jobs_of_one_key_come_one_at_a_time_and_in_order)
{
    add("a1", "A");
    add("a2", "a"); /* keys are compared without regard to case */
    add("b1", "B");
    join("w@1", 60000);

    struct bk_taken first = take("w@1", 0, 64);
    cr_assert_eq(first.count, 2, "a1 and b1, not a2 behind a1");
    expect_sound(3, "take");
    struct bk_taken none = take("w@1", 1, 64);
    cr_expect_eq(none.count, 0, "a2 waits");

    struct bk_turn turn = settle("w@1", (struct bk_settlement){.ticket = first.jobs[0].ticket, .fate = BK_FATE_DONE});
    cr_expect_eq(turn.freed, 1, "a2 is ready");
    expect_sound(2, "settle");
    struct bk_taken second = take("w@1", 0, 64);
    cr_assert_eq(second.count, 1);
    cr_expect(bk_span_is(bk_reply_text(bk_reply_field(second.jobs[0].fields, "id")), "a2"));
    bk_taken_deinit(&first);
    bk_taken_deinit(&none);
    bk_taken_deinit(&second);
}

Test(queue, a_retry_keeps_its_gate_and_costs_an_attempt)
{
    add("r1", "k");
    add("r2", "k");
    join("w@1", 60000);
    struct bk_taken first = take("w@1", 0, 1);
    char ticket[48];
    (void)snprintf(ticket, sizeof(ticket), "%s", first.jobs[0].ticket.at);
    (void)settle("w@1", (struct bk_settlement){.ticket = first.jobs[0].ticket, .fate = BK_FATE_RETRY, .error = "why"});
    expect_sound(2, "retry");
    struct bk_taken again = take("w@1", 0, 64);
    cr_assert_eq(again.count, 1, "the retry is due at once, r2 still waits");
    cr_expect(bk_span_is(again.jobs[0].ticket, ticket), "it is r1 again");
    expect_field(ticket, "attempts", "1");
    expect_field(ticket, "error", "why");
    bk_taken_deinit(&first);
    bk_taken_deinit(&again);
}

Test(queue, an_outage_costs_no_attempt)
{
    add("o1", "k");
    join("w@1", 60000);
    struct bk_taken first = take("w@1", 0, 1);
    char ticket[48];
    (void)snprintf(ticket, sizeof(ticket), "%s", first.jobs[0].ticket.at);
    (void)settle("w@1",
                 (struct bk_settlement){.ticket = first.jobs[0].ticket, .fate = BK_FATE_REQUEUE, .unsure = true});
    expect_sound(1, "requeue");
    expect_field(ticket, "requeues", "1");
    expect_field(ticket, "attempts", "");
    expect_field(ticket, "unsure", "1");
    expect_field(ticket, "state", "ready");
    bk_taken_deinit(&first);
}

Test(queue, what_is_dead_lets_the_next_go)
{
    add("d1", "k");
    add("d2", "k");
    join("w@1", 60000);
    struct bk_taken first = take("w@1", 0, 64);
    char ticket[48];
    (void)snprintf(ticket, sizeof(ticket), "%s", first.jobs[0].ticket.at);
    (void)settle("w@1", (struct bk_settlement){.ticket = first.jobs[0].ticket,
                                               .fate = BK_FATE_DEAD,
                                               .reason = "invalid_args",
                                               .sqlstate = "",
                                               .error = "bad",
                                               .reply_id = bk_span_of("d1"),
                                               .reply_json = "{}"});
    expect_sound(2, "dead");
    expect_field(ticket, "reason", "invalid_args");
    cr_expect_eq(number("LLEN", "@reply:d1"), 1);
    cr_expect_gt(number("TTL", "@reply:d1"), 0);
    struct bk_taken next = take("w@1", 0, 64);
    cr_expect_eq(next.count, 1);
    bk_taken_deinit(&first);
    bk_taken_deinit(&next);
}

Test(queue, a_dead_letter_brought_back_takes_its_place_in_line)
{
    add("x1", "k");
    add("x2", "k");
    join("w@1", 60000);
    struct bk_taken first = take("w@1", 0, 64);
    char ticket[48];
    (void)snprintf(ticket, sizeof(ticket), "%s", first.jobs[0].ticket.at);
    (void)settle("w@1", (struct bk_settlement){
                            .ticket = first.jobs[0].ticket, .fate = BK_FATE_DEAD, .reason = "poison", .sqlstate = ""});
    const struct bk_span tickets[] = {bk_span_of(ticket), bk_span_of(ticket), bk_span_of("1-1")};
    BK_AUTO(bk_reply) *acted = NULL;
    cr_assert_eq(bk_queue_dead_act(queue, "retry", "unix:me", "try it", 3, tickets, &acted, NULL), BK_OK);
    cr_expect_eq(bk_reply_count(acted), 1, "once, though named twice, and no other");
    expect_sound(2, "dead retry");
    expect_field(ticket, "state", "waiting"); /* x2 holds the gate by now */
    expect_field(ticket, "unsure", "1");
    BK_AUTO(bk_reply) *again = NULL;
    cr_assert_eq(bk_queue_dead_act(queue, "retry", "unix:you", "", 1, tickets, &again, NULL), BK_OK);
    cr_expect_eq(bk_reply_count(again), 0, "the second admin finds nothing to do");
    cr_expect_eq(number("XLEN", "@audit"), 1, "and leaves no line");
    bk_taken_deinit(&first);
}

Test(queue, malformed_entries_keep_every_byte_and_hold_no_gate)
{
    forget(command("XADD @inbox * id m1 kind k key k args {} id again"));
    forget(command("XADD @inbox * what ever"));
    join("w@1", 60000);
    struct bk_taken taken = take("w@1", 0, 64);
    cr_assert_eq(taken.count, 2);
    cr_expect(bk_span_is(bk_reply_text(bk_reply_field(taken.jobs[0].fields, "raw")),
                         "2:id,2:m1,4:kind,1:k,3:key,1:k,4:args,2:{},2:id,5:again,"));
    cr_expect(bk_span_is(bk_reply_text(bk_reply_field(taken.jobs[1].fields, "raw")), "4:what,4:ever,"));
    cr_expect_eq(number("HLEN", "@gate"), 0);
    bk_taken_deinit(&taken);
}

/* --- leases and fences --------------------------------------------------------------------------------------------------- */

/* Sets a lease to a time that is over, instead of waiting for it. */
static void let_lease_run_out(const char *worker)
{
    forget(command("ZADD @workers 1 %s", worker));
}

Test(queue, the_jobs_of_a_silent_worker_go_to_others)
{
    add("s1", "k");
    join("a@1", 60000);
    join("b@1", 60000);
    struct bk_taken held = take("a@1", 0, 64);
    char ticket[48];
    (void)snprintf(ticket, sizeof(ticket), "%s", held.jobs[0].ticket.at);
    let_lease_run_out("a@1");
    struct bk_taken taken = {0};
    cr_expect_eq(try_take("a@1", 0, 64, false, &taken), BK_FENCED, "without a lease nothing is taken");
    struct bk_taken heirs = take("b@1", 0, 64);
    cr_assert_eq(heirs.count, 1);
    cr_expect_eq(heirs.recovered, 1);
    expect_sound(1, "reap");
    expect_field(ticket, "deliveries", "1");
    expect_field(ticket, "attempts", "");

    /* the zombie wakes: it moves nothing, and shows that the job did not kill it */
    struct bk_turn turn = settle("a@1", (struct bk_settlement){.ticket = bk_span_of(ticket), .fate = BK_FATE_DONE});
    cr_expect_eq(turn.lost, 1);
    expect_sound(1, "the zombie's settle");
    expect_field(ticket, "deliveries", "0");
    bk_taken_deinit(&held);
    bk_taken_deinit(&heirs);
}

/* Three jobs have cost two workers their lives, and a third death would be the end of them: each is tried alone. */
Test(queue, suspects_are_taken_alone)
{
    add("a", "a");
    add("b", "b");
    add("c", "c");
    for (int death = 0; death < 2; death++) {
        join("w@1", 60000);
        struct bk_taken held = take("w@1", 0, 64);
        cr_assert_eq(held.count, 3);
        bk_taken_deinit(&held);
        join("w@2", 60000); /* the namesake takes over from one that died */
        let_lease_run_out("w@2");
    }
    join("w@3", 60000);
    add("d", "d");
    struct bk_taken first = take("w@3", 0, 64);
    cr_assert_eq(first.count, 1, "a suspect came in company");
    expect_field(first.jobs[0].ticket.at, "deliveries", "2");
    struct bk_taken second = take("w@3", 1, 64);
    cr_assert_eq(second.count, 1, "meanwhile the other lane gets what is no suspect");
    expect_field(second.jobs[0].ticket.at, "id", "d");
    expect_sound(4, "one suspect and one other");
    (void)settle("w@3", (struct bk_settlement){.ticket = first.jobs[0].ticket, .fate = BK_FATE_DONE});
    bk_taken_deinit(&first);
    bk_taken_deinit(&second);
    first = take("w@3", 0, 64);
    cr_assert_eq(first.count, 1, "then the next suspect has its turn");
    expect_field(first.jobs[0].ticket.at, "deliveries", "2");
    expect_sound(3, "the next suspect");
    bk_taken_deinit(&first);
}

Test(queue, a_death_is_refunded_once_and_by_none_but_its_worker)
{
    add("r1", "k");
    join("a@1", 60000);
    join("b@1", 60000);
    struct bk_taken held = take("a@1", 0, 64);
    char ticket[48];
    (void)snprintf(ticket, sizeof(ticket), "%s", held.jobs[0].ticket.at);
    let_lease_run_out("a@1");
    struct bk_taken heirs = take("b@1", 0, 64);
    const struct bk_settlement requeue = {.ticket = bk_span_of(ticket), .fate = BK_FATE_REQUEUE, .error = ""};
    (void)settle("b@1", requeue);
    (void)settle("b@1", requeue); /* lost, and b has died of nothing */
    expect_field(ticket, "deliveries", "1");
    (void)settle("a@1", requeue);
    expect_field(ticket, "deliveries", "0");
    expect_field(ticket, "unsure", "0"); /* as b has said, which saw to it */
    bk_taken_deinit(&held);
    bk_taken_deinit(&heirs);
}

Test(queue, what_a_worker_may_have_tried_is_unsure)
{
    add("u1", "k");
    add("u2", "l");
    join("a@1", 60000);
    join("b@1", 60000);
    struct bk_taken dead = take("a@1", 0, 1);
    struct bk_taken left = take("b@1", 0, 1);
    let_lease_run_out("a@1");
    int64_t handed_back = 0;
    cr_assert_eq(bk_queue_leave(queue, "b@1", &handed_back, NULL), BK_OK);
    join("c@1", 60000);
    struct bk_taken heirs = take("c@1", 0, 64);
    cr_assert_eq(heirs.count, 2);
    /* also when the death is refunded, which takes the other evidence away */
    (void)settle("a@1", (struct bk_settlement){.ticket = dead.jobs[0].ticket, .fate = BK_FATE_FREE});
    expect_field(dead.jobs[0].ticket.at, "deliveries", "0");
    expect_field(dead.jobs[0].ticket.at, "unsure", "1");
    expect_field(left.jobs[0].ticket.at, "unsure", "1");
    bk_taken_deinit(&dead);
    bk_taken_deinit(&left);
    bk_taken_deinit(&heirs);
}

Test(queue, a_namesake_fences_the_old_one_off)
{
    add("n1", "k");
    join("w@old", 60000);
    struct bk_taken held = take("w@old", 0, 64);
    join("w@new", 60000);
    expect_sound(1, "join");
    struct bk_pulse pulse = {0};
    const struct bk_queue_fact facts[] = {{"state", "running"}};
    cr_assert_eq(bk_queue_beat(queue, "w@old", 60000, facts, 1, &pulse, NULL), BK_OK);
    cr_expect(!pulse.alive && pulse.fenced);
    struct bk_turn turn = settle("w@old", (struct bk_settlement){.ticket = held.jobs[0].ticket, .fate = BK_FATE_DONE});
    cr_expect_eq(turn.lost, 1);
    struct bk_taken mine = take("w@new", 0, 64);
    cr_expect_eq(mine.count, 1);
    bk_taken_deinit(&held);
    bk_taken_deinit(&mine);
}

Test(queue, leaving_hands_back_free_of_charge)
{
    add("l1", "k");
    join("w@1", 60000);
    struct bk_taken held = take("w@1", 0, 64);
    int64_t handed_back = 0;
    cr_assert_eq(bk_queue_leave(queue, "w@1", &handed_back, NULL), BK_OK);
    cr_expect_eq(handed_back, 1);
    expect_sound(1, "leave");
    expect_field(held.jobs[0].ticket.at, "deliveries", "");
    cr_expect_eq(number("EXISTS", "@worker:w"), 0);
    bk_taken_deinit(&held);
}

Test(queue, a_lost_answer_to_a_take_is_made_good_by_resuming)
{
    add("t1", "k");
    add("t2", "l");
    join("w@1", 60000);
    struct bk_taken lost = take("w@1", 3, 1);  /* suppose this answer never came */
    struct bk_taken other = take("w@1", 4, 1); /* another lane's */
    struct bk_taken again = {0};
    cr_assert_eq(try_take("w@1", 3, 64, true, &again), BK_OK);
    cr_assert_eq(again.count, 1, "what lane 3 was noted to hold, and nothing of lane 4");
    cr_expect(bk_span_is(again.jobs[0].ticket, lost.jobs[0].ticket.at));
    expect_sound(2, "resume");
    bk_taken_deinit(&lost);
    bk_taken_deinit(&other);
    bk_taken_deinit(&again);
}

Test(queue, a_call_that_comes_too_late_does_not_happen)
{
    add("late1", "k");
    add("late2", "l");
    join("w@1", 60000);
    struct bk_taken taken = take("w@1", 0, 1);
    /* the lane has given up a connection on which this take of an older turn was still on its way */
    const struct bk_take late = {"w@1", 64, false, 0};
    const struct bk_turn_name old = {"w@1", 0, turns - 1, 0};
    struct bk_turn turn;
    struct bk_taken nothing = {0};
    cr_expect_eq(bk_queue_turn(queue, &old, NULL, 0, &late, &turn, &nothing, NULL), BK_INVALID);
    expect_sound(2, "a late take");
    cr_expect_eq(number("XLEN", "@inbox"), 1, "late2 is still there for somebody who reads the answer");
    bk_taken_deinit(&taken);
}

Test(queue, a_settlement_that_is_sent_again_is_not_done_again)
{
    add("again1", "k");
    join("w@1", 60000);
    struct bk_taken taken = take("w@1", 0, 1);
    char ticket[48];
    (void)snprintf(ticket, sizeof(ticket), "%s", taken.jobs[0].ticket.at);
    const uint64_t taken_in = turns;
    const struct bk_settlement settlement = {.ticket = bk_span_of(ticket), .fate = BK_FATE_REQUEUE, .error = ""};
    struct bk_turn turn;
    struct bk_turn_name turn_name = {"w@1", 0, ++turns, taken_in};
    cr_assert_eq(bk_queue_turn(queue, &turn_name, &settlement, 1, NULL, &turn, NULL, NULL), BK_OK);
    struct bk_taken next = take("w@1", 1, 1); /* lane 1 has it by now */
    cr_assert_eq(next.count, 1);
    /* suppose lane 0 has not seen the answer */
    turn_name.number = ++turns;
    cr_assert_eq(bk_queue_turn(queue, &turn_name, &settlement, 1, NULL, &turn, NULL, NULL), BK_OK);
    cr_expect(turn.settled);
    cr_expect_eq(turn.lost, 0, "nothing is lost: it was done the first time");
    cr_expect_eq(number("HLEN", "@active:w@1"), 1, "lane 1 keeps what it has taken");
    expect_field(ticket, "requeues", "1");
    expect_sound(1, "a repeated settlement");
    bk_taken_deinit(&taken);
    bk_taken_deinit(&next);
}

/* Joins with the number that a beat has given. */
static enum bk_status join_numbered(const char *worker, int64_t incarnation)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%lld", (long long)incarnation);
    const struct bk_queue_fact facts[] = {{"state", "running"}, {"number", text}};
    int64_t recovered = 0;
    return bk_queue_join(queue, worker, 60000, facts, 2, &recovered, NULL);
}

static int64_t ask_number(const char *worker)
{
    const struct bk_queue_fact facts[] = {{"state", "running"}};
    struct bk_pulse pulse = {0};
    cr_assert_eq(bk_queue_beat(queue, worker, 60000, facts, 1, &pulse, NULL), BK_OK);
    cr_assert(!pulse.alive);
    return pulse.number;
}

Test(queue, a_join_that_comes_too_late_fences_nobody_off)
{
    add("j1", "k");
    int64_t first = ask_number("w@dead");
    int64_t second = ask_number("w@living");
    cr_assert_gt(second, first);
    cr_assert_eq(join_numbered("w@living", second), BK_OK);
    struct bk_taken held = take("w@living", 0, 1);
    cr_assert_eq(held.count, 1);
    /* what the first process had sent before it died arrives now */
    cr_expect_eq(join_numbered("w@dead", first), BK_FENCED);
    expect_sound(1, "a late join");
    cr_expect_eq(join_numbered("w@living", second), BK_OK,
                 "its own, repeated as the answer was lost, is none too late");
    cr_expect_eq(settle("w@living", (struct bk_settlement){.ticket = held.jobs[0].ticket, .fate = BK_FATE_FREE}).lost,
                 0);
    cr_expect_eq(join_numbered("w@new", ask_number("w@new")), BK_OK, "a newer one takes the place");
    cr_expect_eq(join_numbered("w@living", second), BK_FENCED);
    cr_expect_eq(number("ZCARD", "@workers"), 1);

    /* nor if it arrives when nobody has the name: who comes back from silence is not fenced off by it */
    forget(command("ZADD @workers 1 w@new"));
    add("j2", "l");
    join("other@1", 60000);
    struct bk_taken reaped = take("other@1", 0, 64);
    cr_expect_eq(number("EXISTS", "@worker:w"), 0);
    cr_expect_eq(join_numbered("w@dead", first), BK_OK);
    struct bk_pulse pulse = {0};
    const struct bk_queue_fact newer[] = {{"number", "3"}};
    cr_assert_eq(bk_queue_beat(queue, "w@new", 60000, newer, 1, &pulse, NULL), BK_OK);
    cr_expect(!pulse.alive && !pulse.fenced);
    const struct bk_queue_fact older[] = {{"number", "0"}};
    cr_assert_eq(bk_queue_beat(queue, "w@new", 60000, older, 1, &pulse, NULL), BK_OK);
    cr_expect(!pulse.alive && pulse.fenced);
    cr_expect_eq(join_numbered("w@again", pulse.number), BK_OK);
    expect_sound(2, "late joins");
    bk_taken_deinit(&reaped);
    bk_taken_deinit(&held);
}

/* --- calls that fail ------------------------------------------------------------------------------------------------------- */

/* Everything of the queue, as one text. */
static char *dump(void)
{
    BK_AUTO_TEXT text = {0};
    BK_AUTO(bk_reply) *keys = command("KEYS @*");
    size_t count = bk_reply_count(keys);
    char(*names)[200] = bk_zalloc((count + 1) * sizeof(*names));
    for (size_t i = 0; i < count; i++)
        (void)snprintf(names[i], sizeof(names[i]), "%s", bk_reply_text(bk_reply_at(keys, i)).at);
    qsort(names, count, sizeof(*names), by_text);
    for (size_t i = 0; i < count; i++) {
        BK_AUTO(bk_reply) *value = command("DUMP %s", names[i]);
        struct bk_span bytes = bk_reply_text(value);
        bk_text_json(&text, bytes.at, bytes.size);
    }
    free(names);
    return BK_STEAL(text.data);
}

Test(queue, a_call_that_meets_a_key_of_the_wrong_type_changes_nothing)
{
    static const char *const sabotaged[] = {"@ready", "@retry",  "@scheduled", "@dead",
                                            "@gate",  "@line:k", "@active:w@1"};
    for (size_t i = 0; i < BK_COUNT(sabotaged); i++) {
        close_queue();
        open_queue();
        add("f1", "k");
        add("f2", "k");
        add("f3", "l");
        join("w@1", 60000);
        struct bk_taken held = take("w@1", 0, 1);
        forget(command("DEL %s", sabotaged[i]));
        forget(command("SET %s rubbish", sabotaged[i]));
        char *before = dump();

        struct bk_taken taken = {0};
        cr_expect_neq(try_take("w@1", 1, 64, false, &taken), BK_OK, "take with %s spoilt", sabotaged[i]);
        char *after = dump();
        cr_expect_str_eq(before, after, "a failed take has moved something, %s spoilt", sabotaged[i]);
        free(after);

        const struct bk_settlement settlement = {
            .ticket = held.jobs[0].ticket, .fate = BK_FATE_DEAD, .reason = "poison", .sqlstate = "", .error = ""};
        struct bk_turn turn;
        ++turns;
        const struct bk_turn_name turn_name = {"w@1", 0, turns, turns};
        if (bk_queue_turn(queue, &turn_name, &settlement, 1, NULL, &turn, NULL, NULL) != BK_OK) {
            after = dump();
            cr_expect_str_eq(before, after, "a failed settle has moved something, %s spoilt", sabotaged[i]);
            free(after);
        }
        free(before);
        bk_taken_deinit(&held);
    }
}

Test(queue, a_full_redis_can_be_emptied)
{
    for (int i = 0; i < 20; i++)
        add("full", "k");
    join("w@1", 60000);
    forget(command("CONFIG SET maxmemory 1"));
    struct bk_taken taken = take("w@1", 0, 64);
    cr_assert_eq(taken.count, 1);
    (void)settle("w@1", (struct bk_settlement){.ticket = taken.jobs[0].ticket, .fate = BK_FATE_DONE});
    struct bk_taken next = take("w@1", 0, 64);
    cr_expect_eq(next.count, 1);
    forget(command("CONFIG SET maxmemory 0"));
    expect_sound(19, "with memory full");
    bk_taken_deinit(&taken);
    bk_taken_deinit(&next);
}

Test(queue, a_newer_library_is_left_alone_and_an_older_one_replaced)
{
    static const char form[] = "#!lua name=booking_worker\n"
                               "redis.register_function('booking_hello', function() return %d end)";
    char library[200];
    const int versions[] = {BK_QUEUE_VERSION + 1, 0};
    for (size_t i = 0; i < BK_COUNT(versions); i++) {
        (void)snprintf(library, sizeof(library), form, versions[i]);
        const struct bk_span load[] = {bk_span_of("FUNCTION"), bk_span_of("LOAD"), bk_span_of("REPLACE"),
                                       bk_span_of(library)};
        BK_AUTO(bk_reply) *loaded = NULL;
        cr_assert_eq(bk_redis_call(redis, 4, load, bk_clock_now() + 2000, &loaded, NULL), BK_OK);
        const struct bk_queue_options options = {&url, name, 2000, 2000};
        BK_AUTO(bk_queue) *other = bk_queue_open(&options);
        cr_assert_eq(bk_queue_connect(other, NULL), BK_OK);
        BK_AUTO(bk_reply) *version = command("FCALL booking_hello 1 @inbox");
        int expected = versions[i] > BK_QUEUE_VERSION ? versions[i] : BK_QUEUE_VERSION;
        cr_expect_eq(bk_reply_integer(version, -1), expected);
    }
}

/* --- anything in any order ---------------------------------------------------------------------------------------------------- */

enum { STEPS = 1500, KEYS = 6, WORKERS = 3, HELD_MOST = 256 };

struct held {
    char worker[16];
    char ticket[48];
};

static void random_settle(struct held *held, size_t *count, size_t *living)
{
    size_t i = bk_random() % *count;
    static const enum bk_fate fates[] = {BK_FATE_DONE,    BK_FATE_DONE, BK_FATE_DONE, BK_FATE_RETRY,
                                         BK_FATE_REQUEUE, BK_FATE_FREE, BK_FATE_DEAD};
    enum bk_fate fate = fates[bk_random() % BK_COUNT(fates)];
    struct bk_turn turn = settle(
        held[i].worker,
        (struct bk_settlement){.ticket = bk_span_of(held[i].ticket), .fate = fate, .reason = "poison", .sqlstate = ""});
    if (fate == BK_FATE_DONE && turn.lost == 0)
        (*living)--;
    held[i] = held[--*count];
}

static void random_take(struct held *held, size_t *count, const char *worker)
{
    struct bk_taken taken = {0};
    if (try_take(worker, (unsigned)(bk_random() % 2), 1 + (unsigned)(bk_random() % 8), bk_random() % 8 == 0, &taken) !=
        BK_OK) {
        join(worker, 60000);
        return;
    }
    for (size_t i = 0; i < taken.count && *count < HELD_MOST; i++) {
        (void)snprintf(held[*count].worker, sizeof(held[0].worker), "%s", worker);
        (void)snprintf(held[(*count)++].ticket, sizeof(held[0].ticket), "%s", taken.jobs[i].ticket.at);
    }
    bk_taken_deinit(&taken);
}

Test(queue, whatever_happens_each_job_is_in_one_place, .timeout = 120)
{
    struct held held[HELD_MOST];
    size_t held_count = 0;
    size_t living = 0;
    for (int step = 0; step < STEPS; step++) {
        char worker[16];
        char key[16];
        (void)snprintf(worker, sizeof(worker), "w%d@1", (int)(bk_random() % WORKERS));
        (void)snprintf(key, sizeof(key), "k%d", (int)(bk_random() % KEYS));
        switch (bk_random() % 10) {
        case 0:
        case 1:
        case 2:
            add("any", key);
            living++;
            break;
        case 3: {
            forget(command("XADD @inbox * id any kind k key %s args {} not_before %lld", key,
                           (long long)(bk_clock_wall() + (bk_ms)(bk_random() % 20))));
            living++;
            break;
        }
        case 4:
            if (bk_random() % 8 == 0)
                let_lease_run_out(worker);
            break;
        case 5: {
            BK_AUTO(bk_reply) *dead = command("ZRANGE @dead 0 2");
            for (size_t i = 0; i < bk_reply_count(dead); i++) {
                struct bk_span ticket = bk_reply_text(bk_reply_at(dead, i));
                bool drop = bk_random() % 2;
                BK_AUTO(bk_reply) *acted = NULL;
                (void)bk_queue_dead_act(queue, drop ? "drop" : "retry", "me", "", 1, &ticket, &acted, NULL);
                living -= drop ? bk_reply_count(acted) : 0;
            }
            break;
        }
        case 6:
        case 7:
            random_take(held, &held_count, worker);
            break;
        default:
            if (held_count > 0)
                random_settle(held, &held_count, &living);
        }
        expect_sound(living, "a random step");
    }
}

/* --- finding the way ---------------------------------------------------------------------------------------------- */

static struct bk_error error;

/* A queue whose URL leads to a peer. */
static struct bk_queue *queue_at(const struct peer *peer, struct bk_redis_url *there)
{
    char text[60];
    (void)snprintf(text, sizeof(text), "redis://127.0.0.1:%u", peer_port(peer));
    cr_assert_eq(bk_redis_url_parse(text, there, &error), BK_OK);
    const struct bk_queue_options options = {there, name, 2000, 2000};
    error = (struct bk_error){0};
    return bk_queue_open(&options);
}

Test(queue, goes_where_a_cluster_says_that_its_keys_are)
{
    char moved[60];
    (void)snprintf(moved, sizeof(moved), "-MOVED 1 127.0.0.1:%d\r\n", url.ports[0]);
    const struct bk_span says[] = {bk_span_of("+PONG\r\n"), bk_span_of(moved)};
    struct peer *peer = peer_open(BK_COUNT(says), says, PEER_SILENT);
    struct bk_redis_url there;
    struct bk_queue *moving = queue_at(peer, &there);
    struct bk_queue_status counts = {0};
    cr_expect_eq(bk_queue_read_status(moving, &counts, &error), BK_OK, "%s", error.text);
    cr_expect_gt(counts.now, 0, "the real one has answered");
    (void)bk_queue_close(moving);
    bk_redis_url_deinit(&there);
    (void)peer_close(peer);
}

Test(queue, is_not_sent_in_circles_for_ever_nor_to_places_that_are_none)
{
    static const char *const places[] = {"(itself)", "127.0.0.1:0", "127.0.0.1:65536", "nowhere", "x:y"};
    for (size_t i = 0; i < BK_COUNT(places); i++) {
        char moved[60];
        struct bk_span says[] = {bk_span_of("+PONG\r\n"), bk_span_of(moved)};
        struct peer *peer = peer_open(BK_COUNT(says), says, PEER_CLOSES);
        int size = i == 0 ? snprintf(moved, sizeof(moved), "-MOVED 1 127.0.0.1:%u\r\n", peer_port(peer))
                          : snprintf(moved, sizeof(moved), "-MOVED 1 %s\r\n", places[i]);
        says[1].size = (size_t)size;
        struct bk_redis_url there;
        struct bk_queue *lost = queue_at(peer, &there);
        cr_expect_eq(bk_queue_connect(lost, &error), BK_OUTAGE, "%s: %s", places[i], error.text);
        cr_expect(strstr(error.text, "MOVED"), "%s", error.text);
        cr_expect(bk_queue_lost(lost));
        (void)bk_queue_close(lost);
        bk_redis_url_deinit(&there);
        (void)peer_close(peer);
    }
}

Test(queue, a_server_that_goes_away_in_between_is_an_outage_and_nothing_was_sent)
{
    const struct bk_span says[] = {bk_span_of("+PONG\r\n"), bk_span_of("")};
    struct peer *peer = peer_open(BK_COUNT(says), says, PEER_CLOSES);
    struct bk_redis_url there;
    struct bk_queue *lost = queue_at(peer, &there);
    cr_expect_eq(bk_queue_connect(lost, &error), BK_OUTAGE);
    cr_expect_eq(error.status, BK_OUTAGE, "not unknown: what the caller wanted has not been sent");
    cr_expect_eq(bk_queue_connect(lost, NULL), BK_OUTAGE);
    (void)bk_queue_close(lost);
    bk_redis_url_deinit(&there);
    (void)peer_close(peer);
}

/* What connecting comes to where a server says this; the text is in `error`. */
static enum bk_status connect_to_peer(size_t count, const struct bk_span *says)
{
    struct peer *peer = peer_open(count, says, PEER_SILENT);
    struct bk_redis_url there;
    struct bk_queue *other = queue_at(peer, &there);
    enum bk_status status = bk_queue_connect(other, &error);
    (void)bk_queue_close(other);
    bk_redis_url_deinit(&there);
    (void)peer_close(peer);
    return status;
}

Test(queue, functions_that_somebody_else_keeps_replacing_are_told)
{
    const struct bk_span says[] = {bk_span_of("+PONG\r\n"), bk_span_of(":1\r\n"), bk_span_of("+booking\r\n"),
                                   bk_span_of(":1\r\n")};
    cr_expect_eq(connect_to_peer(BK_COUNT(says), says), BK_OUTAGE);
    cr_expect(strstr(error.text, "keeps loading older queue functions (version 1)"), "%s", error.text);
}

Test(queue, functions_that_may_not_be_loaded_are_an_operators_matter)
{
    const struct bk_span says[] = {bk_span_of("+PONG\r\n"), bk_span_of(":1\r\n"),
                                   bk_span_of("-NOPERM this user has no permissions to run 'function|load'\r\n")};
    cr_expect_eq(connect_to_peer(BK_COUNT(says), says), BK_OPERATOR);
    cr_expect(strstr(error.text, "cannot be loaded; run bookingctl migrate"), "%s", error.text);
}

Test(queue, a_settlement_that_is_not_answered_is_not_known_to_have_happened)
{
    join("w@1", 60000);
    add("a", "k");
    struct bk_taken taken = take("w@1", 0, 1);
    char version[30];
    (void)snprintf(version, sizeof(version), ":%d\r\n", BK_QUEUE_VERSION);
    const struct bk_span says[] = {bk_span_of("+PONG\r\n"), bk_span_of(version), bk_span_of("")};
    struct peer *peer = peer_open(BK_COUNT(says), says, PEER_CLOSES);
    struct bk_redis_url there;
    struct bk_queue *cut = queue_at(peer, &there);
    const struct bk_settlement done = {.ticket = taken.jobs[0].ticket, .fate = BK_FATE_DONE, .error = ""};
    const struct bk_turn_name turn_name = {"w@1", 0, turns + 1, turns};
    struct bk_turn turn;
    cr_expect_eq(bk_queue_turn(cut, &turn_name, &done, 1, NULL, &turn, NULL, &error), BK_UNKNOWN);
    cr_expect(!turn.settled);
    cr_expect(bk_queue_lost(cut));
    (void)bk_queue_close(cut);
    bk_redis_url_deinit(&there);
    (void)peer_close(peer);
    bk_taken_deinit(&taken);
}
