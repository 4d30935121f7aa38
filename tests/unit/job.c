/* One job as the queue delivered it: its envelope, checked. */
#include "worker/job.h"

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "tests/support/corpus.h"
#include "tests/support/resp.h"

/* --- a job in the making ------------------------------------------------------------------------------------------ */

enum { WORDS_MOST = 40, NOW = 1700000009000 };

struct making {
    struct bk_span words[WORDS_MOST]; /* field, value, ... */
    size_t count;
};

static void add_span(struct making *making, struct bk_span name, struct bk_span value)
{
    cr_assert_lt(making->count + 1, WORDS_MOST);
    making->words[making->count++] = name;
    making->words[making->count++] = value;
}

static void add(struct making *making, const char *name, const char *value)
{
    add_span(making, bk_span_of(name), bk_span_of(value));
}

static struct making valid(void)
{
    struct making making = {.count = 0};
    add(&making, "id", "order-17");
    add(&making, "kind", "booking.confirm");
    add(&making, "key", "6f1d2c3b-4a59-4870-9b6c-0123456789af");
    add(&making, "args", "{\"booking_id\":\"6f1d2c3b-4a59-4870-9b6c-0123456789af\"}");
    return making;
}

/* Gives the field another value, or adds it, or takes it away (value.at NULL). */
static void change(struct making *making, struct bk_span name, struct bk_span value)
{
    size_t at = 0;
    while (at < making->count &&
           !(making->words[at].size == name.size && memcmp(making->words[at].at, name.at, name.size) == 0))
        at += 2;
    if (at == making->count) {
        add_span(making, name, value);
    } else if (value.at) {
        making->words[at + 1] = value;
    } else {
        making->count -= 2;
        memmove(&making->words[at], &making->words[at + 2], (making->count - at) * sizeof(making->words[0]));
    }
}

/* What the last job was read from; its spans are lent from here. */
static struct bk_reply *reply;

static struct bk_job read_ticket(const struct making *making, const char *ticket)
{
    reply = bk_reply_free(reply);
    reply = resp_words(making->count, making->words);
    struct bk_queue_job from = {bk_span_of(ticket), reply};
    struct bk_job job;
    bk_job_read(&from, NOW, &job);
    return job;
}

static struct bk_job read_job(const struct making *making)
{
    return read_ticket(making, "1700000000000-3");
}

/* As the queue keeps a malformed entry: every byte in one field `raw`, as netstrings, and what it needs itself. */
static struct bk_job read_as_raw(const struct making *making)
{
    BK_AUTO_TEXT raw = {0};
    for (size_t i = 0; i < making->count; i++) {
        bk_text_printf(&raw, "%zu:", making->words[i].size);
        bk_text_add(&raw, making->words[i].at, making->words[i].size);
        bk_text_putc(&raw, ',');
    }
    struct making kept = {.count = 0};
    add(&kept, "id", "order-17");
    add(&kept, "state", "active");
    add_span(&kept, bk_span_of("raw"), (struct bk_span){bk_text_string(&raw), raw.size});
    return read_job(&kept);
}

static void forget(void)
{
    reply = bk_reply_free(reply);
}

TestSuite(job, .fini = forget);

#define cr_expect_span(span, text)                                                                                     \
    cr_expect(bk_span_is(span, text), "got \"%.*s\"", (int)(span).size, (span).at ? (span).at : "")

/* --- good ones ---------------------------------------------------------------------------------------------------- */

Test(job, is_read_with_its_four_fields)
{
    struct making making = valid();

    struct bk_job job = read_job(&making);

    cr_expect_str_eq(job.fault, "");
    cr_expect_span(job.ticket, "1700000000000-3");
    cr_expect_span(job.id, "order-17");
    cr_expect_span(job.kind, "booking.confirm");
    cr_expect_span(job.key, "6f1d2c3b-4a59-4870-9b6c-0123456789af");
    cr_expect_span(job.args, "{\"booking_id\":\"6f1d2c3b-4a59-4870-9b6c-0123456789af\"}");
    cr_expect_eq(job.enqueued_at, 1700000000000);
    cr_expect_eq(job.expires_at, 0);
    cr_expect_not(job.wants_reply);
    cr_expect_not(job.unsure);
    cr_expect_eq(job.traceparent.size, 0);
    cr_expect_eq(job.attempts + job.requeues + job.deliveries, 0);
}

Test(job, is_read_with_all_it_may_have_in_any_order)
{
    static const char trace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    struct making making = {.count = 0};
    add(&making, "traceparent", trace);
    add(&making, "deliveries", "2");
    add(&making, "reply", "1");
    add(&making, "args", "{}");
    add(&making, "unsure", "1");
    add(&making, "expires_at", "1899280800000");
    add(&making, "key", "k");
    add(&making, "attempts", "3");
    add(&making, "not_before", "1");
    add(&making, "kind", "booking.cancel");
    add(&making, "requeues", "4");
    add(&making, "id", "a");
    add(&making, "state", "active");
    add(&making, "error", "take: it was the database");

    struct bk_job job = read_job(&making);

    cr_expect_str_eq(job.fault, "", "%s", job.fault);
    cr_expect_span(job.traceparent, trace);
    cr_expect(job.wants_reply);
    cr_expect(job.unsure);
    cr_expect_eq(job.expires_at, 1899280800000);
    cr_expect_eq(job.attempts, 3);
    cr_expect_eq(job.requeues, 4);
    cr_expect_eq(job.deliveries, 2);
}

Test(job, that_expired_in_1970_has_expired)
{
    struct making making = valid();
    add(&making, "expires_at", "0");
    struct bk_job job = read_job(&making);
    cr_expect_gt(job.expires_at, 0, "0 would mean never");
}

/* --- bad ones ----------------------------------------------------------------------------------------------------- */

static void check_entry(const struct corpus_row *row)
{
    struct making making = valid();
    change(&making, corpus_span(row, 0), corpus_span(row, 1));
    const char *expected = corpus_text(row, 2);
    bool good = strcmp(expected, "none") == 0;

    struct bk_job job = read_job(&making);
    cr_expect_str_eq(job.fault, good ? "" : expected, "line %d: %s", row->line, job.fault);

    struct bk_job kept = read_as_raw(&making);
    cr_expect_str_eq(kept.fault, good ? "the entry is malformed" : expected, "line %d, as kept: %s", row->line,
                     kept.fault);

    struct bk_job before; /* as enqueue sees it, before it is sent */
    bk_job_check(making.words, making.count, &before);
    cr_expect_str_eq(before.fault, good ? "" : expected, "line %d, before sending: %s", row->line, before.fault);
}

Test(job, each_entry_of_the_corpus_gets_its_fault)
{
    cr_expect_gt(corpus_each("entries.txt", 3, check_entry), 60);
}

Test(job, that_says_a_thing_twice_is_malformed)
{
    static const char *const names[] = {"id",         "kind",       "key",   "args",
                                        "not_before", "expires_at", "reply", "traceparent"};
    for (size_t i = 0; i < BK_COUNT(names); i++) {
        struct making making = valid();
        change(&making, bk_span_of(names[i]), bk_span_of("1"));
        add(&making, names[i], "1");
        char expected[100];
        (void)snprintf(expected, sizeof(expected), "field %s: stands there twice, expected it once", names[i]);
        struct bk_job job = read_as_raw(&making);
        cr_expect_str_eq(job.fault, expected, "%s", job.fault);
    }
}

Test(job, of_nothing_at_all_lacks_its_id)
{
    struct making nothing = {.count = 0};
    cr_expect_str_eq(read_job(&nothing).fault, "field id: missing, expected it once");
    cr_expect_str_eq(read_as_raw(&nothing).fault, "field id: missing, expected it once");

    struct bk_queue_job gone = {bk_span_of("1-1"), NULL}; /* the hash is not there any more */
    struct bk_job job;
    bk_job_read(&gone, NOW, &job);
    cr_expect_str_eq(job.fault, "field id: missing, expected it once");
}

Test(job, tells_the_first_of_several_faults)
{
    struct making making = valid();
    change(&making, bk_span_of("id"), bk_span_of(""));
    change(&making, bk_span_of("key"), bk_span_of(""));
    add(&making, "colour", "blue");
    cr_expect_str_eq(read_job(&making).fault, "field id: expected 1 to 128 of A-Z a-z 0-9 _ . : -");
}

Test(job, keeps_the_good_fields_of_a_malformed_entry_for_people)
{
    struct making making = valid();
    add(&making, "colour", "blue");
    struct bk_job job = read_as_raw(&making);
    cr_expect_neq(*job.fault, '\0');
    cr_expect_span(job.id, "order-17");
    cr_expect_span(job.kind, "booking.confirm");
}

Test(job, survives_whatever_stands_in_the_raw_field)
{
    static const char *const rows[] = {
        "",
        ":",
        "1",
        "1:",
        "1:a",
        "5:ab,",
        "-1:a,",
        "99999999999:a,",
        "99999999999999999999:a,",
        "18446744073709551615:a,",
        "x:a,",
        "2:id,",
        "2:id,1:a",
        "2:id,1:a,4:kind",
        "2:id,9:a,",
        "00000000000001:a,",
        "9223372036854775807:a,",
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        struct making kept = {.count = 0};
        add(&kept, "raw", rows[i]);
        struct bk_job job = read_job(&kept);
        cr_expect(strstr(job.fault, ": missing, expected it once"), "\"%s\": %s", rows[i], job.fault);
    }
}

Test(job, brought_back_from_the_dead_waits_since_then)
{
    struct making making = valid();
    cr_expect_eq(read_job(&making).waits_since, 1700000000000);
    add(&making, "retried_at", "1700000005000");
    struct bk_job job = read_job(&making);
    cr_expect_eq(job.waits_since, 1700000005000);
    cr_expect_eq(job.enqueued_at, 1700000000000);
    cr_expect_str_eq(job.fault, "");
}

/* --- tickets ------------------------------------------------------------------------------------------------------ */

Test(job, is_as_old_as_its_ticket_says_unless_that_cannot_be)
{
    static const struct {
        const char *ticket;
        bk_ms expected;
    } rows[] = {
        {"1700000000000-0", 1700000000000},
        {"0-1", 0},
        {"1700000009000-7", NOW},
        {"1700000009001-0", NOW}, /* from the future: a producer chose the id */
        {"18446744073709551615-18446744073709551615", NOW},
        {"9223372036854775807-1", NOW},
        {"-5-0", NOW},
        {"nonsense", NOW},
        {"", NOW},
    };
    struct making making = valid();
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        struct bk_job job = read_ticket(&making, rows[i].ticket);
        cr_expect_eq(job.enqueued_at, rows[i].expected, "\"%s\": %lld", rows[i].ticket, (long long)job.enqueued_at);
        cr_expect_str_eq(job.fault, "");
    }
}

/* --- trace contexts (W3C Trace Context, section 3.2) -------------------------------------------------------------- */

Test(traceparent, is_taken_only_when_it_is_well_formed)
{
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", true},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", true},
        {"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true},
        {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings", true},
        {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-!~", true},
        {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01- ", false},
        {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-\x7f", false},
        {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x", false},
        {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-\x1b[2J", false},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", false},
        {"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false},
        {"00-00000000000000000000000000000000-00f067aa0ba902b7-01", false},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false},
        {"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false},
        {"00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01", false},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", false},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x", false},
        {"00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01", false},
        {"0-4bf92f3577b34da6a3ce929d0e0e47366-00f067aa0ba902b7-01", false},
        {"", false},
        {"00", false},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++)
        cr_expect_eq(bk_traceparent_valid(bk_span_of(rows[i].text)), rows[i].valid, "%s", rows[i].text);
    char longest[130];
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-", 56);
    cr_expect(bk_traceparent_valid((struct bk_span){longest, 128}));
    cr_expect_not(bk_traceparent_valid((struct bk_span){longest, 129}), "it is kept, so it has an end");
}

/* --- the reply ---------------------------------------------------------------------------------------------------- */

Test(reply, speaks_the_documented_words)
{
    static const char booking[] = "6f1d2c3b-4a59-4870-9b6c-0123456789af";
    static const struct {
        const char *outcome;
        const char *code;
        const char *booking;
        int64_t version;
        const char *expected;
    } rows[] = {
        {"applied", NULL, booking, 3,
         "{\"id\":\"order-17\",\"outcome\":\"applied\",\"code\":null,"
         "\"booking_id\":\"6f1d2c3b-4a59-4870-9b6c-0123456789af\",\"version\":3}"},
        {"applied", NULL, "", 0,
         "{\"id\":\"order-17\",\"outcome\":\"applied\",\"code\":null,\"booking_id\":null,\"version\":0}"},
        {"rejected", "slot_taken", booking, -1,
         "{\"id\":\"order-17\",\"outcome\":\"rejected\",\"code\":\"slot_taken\","
         "\"booking_id\":\"6f1d2c3b-4a59-4870-9b6c-0123456789af\",\"version\":null}"},
        {"dead", "invalid_args", "", -1,
         "{\"id\":\"order-17\",\"outcome\":\"dead\",\"code\":\"invalid_args\",\"booking_id\":null,\"version\":null}"},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        BK_AUTO_TEXT text = {0};
        bk_job_reply(&text, bk_span_of("order-17"), rows[i].outcome, rows[i].code, bk_span_of(rows[i].booking),
                     rows[i].version);
        cr_expect_str_eq(text.data, rows[i].expected, "row %zu: %s", i, text.data);
    }
}
