/* What the fault proxy decides and keeps, without any socket: faults and who counts towards them, bytes that wait, words,
   jitter. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "tests/faults/proxy/backlog.h"
#include "tests/faults/proxy/fault.h"
#include "tests/faults/proxy/jitter.h"
#include "tests/faults/proxy/words.h"

/* --- faults ------------------------------------------------------------------------------------------------------- */

static struct fault_list faults;

static void arm(struct fault fault, const char *from)
{
    if (from)
        bk_text_puts(&fault.from, from);
    fault.left = fault.left ? fault.left : 1;
    fault_arm(&faults, fault);
}

/* A message on a connection; whether a fault happens at it. */
static bool message(struct fault_counters *counters, enum frame_side side, const char *text)
{
    const struct bk_span span = bk_span_of(text);
    struct fault fault;
    fault_trigger(&faults, counters, side == FRAME_CLIENT ? &span : NULL);
    fault_count_message(counters, side);
    return fault_take(&faults, counters, side, &fault);
}

Test(fault, counts_the_clients_messages_from_the_one_with_the_text)
{
    struct fault_counters counters = {0};
    arm((struct fault){.kind = FAULT_CUT, .side = FRAME_CLIENT, .at = 2}, "commit");
    cr_expect_not(message(&counters, FRAME_CLIENT, "begin"));
    cr_expect_not(message(&counters, FRAME_CLIENT, "a commit"), "number 1");
    cr_expect_not(message(&counters, FRAME_SERVER, "commit"));
    cr_expect(message(&counters, FRAME_CLIENT, "sync"), "number 2");
    cr_expect_eq(fault_armed(&faults), 0);
    cr_expect_null(faults.first);
    fault_counters_deinit(&counters);
}

Test(fault, counts_the_servers_messages_from_the_first_one_after_the_text)
{
    struct fault_counters counters = {0};
    arm((struct fault){.kind = FAULT_DELAY, .side = FRAME_SERVER, .at = 1}, "commit");
    cr_expect_not(message(&counters, FRAME_SERVER, "commit"), "only the client's can trigger");
    cr_expect_not(message(&counters, FRAME_CLIENT, "commit"));
    cr_expect(message(&counters, FRAME_SERVER, "ok"));
    fault_counters_deinit(&counters);
}

Test(fault, without_a_text_begins_with_any_message)
{
    struct fault_counters counters = {0};
    arm((struct fault){.kind = FAULT_CUT, .side = FRAME_SERVER, .at = 1}, NULL);
    cr_expect(message(&counters, FRAME_SERVER, "hello"));
    fault_counters_deinit(&counters);
}

Test(fault, counts_on_the_connection_that_triggered_it_alone)
{
    struct fault_counters one = {0};
    struct fault_counters other = {0};
    arm((struct fault){.kind = FAULT_CUT, .side = FRAME_CLIENT, .at = 2}, "x");
    cr_expect_not(message(&one, FRAME_CLIENT, "x"));
    cr_expect_not(message(&other, FRAME_CLIENT, "x"));
    cr_expect_not(message(&other, FRAME_CLIENT, "x"));
    cr_expect(message(&one, FRAME_CLIENT, "y"));
    fault_counters_deinit(&one);
    fault_counters_deinit(&other);
}

Test(fault, is_armed_again_when_its_connection_ends_before)
{
    struct fault_counters one = {0};
    struct fault_counters other = {0};
    arm((struct fault){.kind = FAULT_CUT, .side = FRAME_CLIENT, .at = 2}, "x");
    cr_expect_not(message(&one, FRAME_CLIENT, "x"));
    cr_expect_not(fault_list_looks_for_text(&faults), "one connection has it");
    fault_counters_deinit(&one);
    cr_expect(fault_list_looks_for_text(&faults));
    cr_expect_eq(fault_armed(&faults), 1);
    cr_expect_not(message(&other, FRAME_CLIENT, "x"));
    cr_expect(message(&other, FRAME_CLIENT, "y"));
    fault_counters_deinit(&other);
}

Test(fault, happens_as_often_as_it_was_told_to)
{
    struct fault_counters counters = {0};
    arm((struct fault){.kind = FAULT_DELAY, .side = FRAME_CLIENT, .at = 1, .left = 2}, "x");
    cr_expect_eq(fault_armed(&faults), 2);
    cr_expect(message(&counters, FRAME_CLIENT, "x"));
    cr_expect(message(&counters, FRAME_CLIENT, "x"));
    cr_expect_not(message(&counters, FRAME_CLIENT, "x"));
    fault_counters_deinit(&counters);
}

Test(fault, several_are_counted_side_by_side)
{
    struct fault_counters counters = {0};
    arm((struct fault){.kind = FAULT_DELAY, .side = FRAME_CLIENT, .at = 1}, "x");
    arm((struct fault){.kind = FAULT_CUT, .side = FRAME_CLIENT, .at = 1}, "x");
    cr_expect(message(&counters, FRAME_CLIENT, "x"), "the delay");
    struct fault fault;
    cr_expect(fault_take(&faults, &counters, FRAME_CLIENT, &fault));
    cr_expect_eq(fault.kind, FAULT_CUT);
    fault_counters_deinit(&counters);
}

Test(fault, flips_the_one_bit_it_names_wherever_the_bytes_are_cut)
{
    for (size_t cut = 0; cut <= 6; cut++) {
        struct fault_counters counters = {0};
        char bytes[] = "abcdef";
        const struct bk_span text = bk_span_of(bytes);
        arm((struct fault){.kind = FAULT_FLIP, .side = FRAME_CLIENT, .at = 4, .bit = 5}, "abc");
        fault_trigger(&faults, &counters, &text);
        unsigned flips = fault_flip(&faults, &counters, FRAME_SERVER, bytes, 6);
        cr_expect_eq(flips, 0);
        flips = fault_flip(&faults, &counters, FRAME_CLIENT, bytes, cut);
        flips += fault_flip(&faults, &counters, FRAME_CLIENT, bytes + cut, 6 - cut);
        cr_expect_eq(flips, 1);
        cr_expect_str_eq(bytes, "abcDef", "cut at %zu: %s", cut, bytes);
        fault_counters_deinit(&counters);
    }
}

/* --- bytes that wait ---------------------------------------------------------------------------------------------- */

Test(backlog, gives_bytes_in_order_and_not_before_their_time)
{
    struct backlog backlog = {0};
    cr_expect_eq(backlog_due(&backlog), -1);
    backlog_add(&backlog, "ab", 2, 10);
    backlog_add(&backlog, "c", 1, 10);
    backlog_add(&backlog, "de", 2, 20);
    cr_expect_eq(backlog_ready(&backlog, 9).size, 0);
    cr_expect(bk_span_is(backlog_ready(&backlog, 10), "abc"));
    backlog_drop(&backlog, 1);
    cr_expect(bk_span_is(backlog_ready(&backlog, 10), "bc"));
    backlog_drop(&backlog, 2);
    cr_expect_eq(backlog_due(&backlog), 20);
    cr_expect_eq(backlog_ready(&backlog, 19).size, 0);
    backlog_hurry(&backlog);
    cr_expect(bk_span_is(backlog_ready(&backlog, 0), "de"));
    cr_expect_eq(backlog_size(&backlog), 2);
    backlog_clear(&backlog);
    cr_expect_eq(backlog_size(&backlog), 0);
    backlog_deinit(&backlog);
}

Test(backlog, keeps_its_bytes_while_it_gives_room_back)
{
    struct backlog backlog = {0};
    uint32_t in = 0;
    uint32_t out = 0;
    for (int round = 0; round < 2000; round++) {
        for (int i = 0; i < 300; i++, in++)
            backlog_add(&backlog, (const char *)&in, sizeof(in), (bk_ms)(in / 7));
        for (int i = 0; i < (round < 1000 ? 200 : 400) && out < in; i++, out++) {
            uint32_t got = 0;
            for (size_t at = 0; at < sizeof(got); at++) { /* a time's bytes may end in the middle of a number */
                const struct bk_span ready = backlog_ready(&backlog, INT64_MAX);
                cr_assert(ready.size > 0);
                memcpy((char *)&got + at, ready.at, 1);
                backlog_drop(&backlog, 1);
            }
            cr_assert_eq(got, out);
        }
    }
    cr_expect_eq(backlog_size(&backlog), 0);
    cr_expect(backlog.bytes.room < 2 * sizeof(in) * in, "room of what is gone is used again");
    backlog_deinit(&backlog);
}

/* --- words -------------------------------------------------------------------------------------------------------- */

Test(words, are_what_stands_between_blanks_unless_it_is_quoted)
{
    static const struct {
        const char *line;
        const char *expected;
    } rows[] = {
        {"", ""},
        {"  \t ", ""},
        {"stats", "[stats]"},
        {" cut  side=client\tat=1 \r", "[cut][side=client][at=1]"},
        {"from=\"a b\"", "[from=a b]"},
        {"\"a \\\" \\\\ b\"c d", "[a \" \\ bc][d]"},
        {"a\\b \"\" c", "[a\\b][][c]"},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        char *line = bk_strdup(rows[i].line);
        char **words = NULL;
        size_t count = 0;
        BK_AUTO_TEXT shown = {0};
        cr_assert(words_split(line, &words, &count), "row %zu", i);
        for (size_t w = 0; w < count; w++)
            bk_text_printf(&shown, "[%s]", words[w]);
        cr_expect_str_eq(bk_text_string(&shown), rows[i].expected, "row %zu: %s", i, bk_text_string(&shown));
        free(words);
        free(line);
    }
    char open[] = "from=\"a b";
    char **words = NULL;
    size_t count = 0;
    cr_expect_not(words_split(open, &words, &count));
}

Test(words, come_back_as_they_were_quoted)
{
    static const char *const rows[] = {"", "a", "a b", "\"", "a\\b", "a \\ b", "\\\"", "\t"};
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        BK_AUTO_TEXT line = {0};
        words_quote(&line, rows[i]);
        char **words = NULL;
        size_t count = 0;
        cr_assert(words_split(line.data, &words, &count));
        cr_assert_eq(count, 1);
        cr_expect_str_eq(words[0], rows[i]);
        free(words);
    }
}

/* --- jitter ------------------------------------------------------------------------------------------------------- */

Test(jitter, is_the_same_for_the_same_and_another_for_all_else)
{
    unsigned same = 0;
    unsigned seen[11] = {0};
    for (uint64_t i = 0; i < 1100; i++) {
        bk_ms one = jitter(1, 1, FRAME_CLIENT, i, 1000000);
        cr_expect_eq(one, jitter(1, 1, FRAME_CLIENT, i, 1000000));
        same += one == jitter(2, 1, FRAME_CLIENT, i, 1000000);
        same += one == jitter(1, 2, FRAME_CLIENT, i, 1000000);
        same += one == jitter(1, 1, FRAME_SERVER, i, 1000000);
        same += one == jitter(1, 1, FRAME_CLIENT, i + 1, 1000000);
        bk_ms small = jitter(1, 1, FRAME_CLIENT, i, 10);
        cr_assert(small >= 0 && small <= 10);
        seen[small]++;
        cr_expect_eq(jitter(1, 1, FRAME_CLIENT, i, 0), 0);
    }
    cr_expect(same < 3, "%u", same);
    for (size_t i = 0; i < BK_COUNT(seen); i++)
        cr_expect(seen[i] > 50, "%zu came %u times of about 100", i, seen[i]);
}
