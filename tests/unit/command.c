/* The booking commands: what may be asked for, and what the answer is to everything else. */
#include "worker/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "common/text.h"
#include "tests/support/corpus.h"
#include "tests/support/kinds.h"

static const char booking[] = TEST_BOOKING;

/* "good", or the error. */
static const char *answer_to(const char *kind, struct bk_span args, enum bk_command_verdict *verdict)
{
    static struct bk_error error;
    error = (struct bk_error){.text = "good"};
    struct bk_job job = {.kind = bk_span_of(kind), .key = bk_span_of(booking), .args = args};
    *verdict = bk_command_check(&job, &error);
    return error.text;
}

static void expect_answer(size_t kind, struct bk_span name, struct bk_span value, const char *expected,
                          const char *what)
{
    BK_AUTO_TEXT args = {0};
    test_make_args(&args, kind, name, value);
    bool good = strcmp(expected, "good") == 0;
    enum bk_command_verdict verdict;

    const char *answer = answer_to(test_kinds[kind].name, (struct bk_span){args.data, args.size}, &verdict);

    cr_expect_str_eq(answer, expected, "%s, %s: %s", what, test_kinds[kind].name, answer);
    cr_expect_eq(verdict, good ? BK_COMMAND_GOOD : BK_COMMAND_INVALID_ARGS, "%s, %s", what, test_kinds[kind].name);
}

/* --- good commands ------------------------------------------------------------------------------------------------ */

Test(command, there_are_the_five_documented)
{
    for (size_t i = 0; i < TEST_KINDS; i++)
        cr_expect_str_eq(bk_command_kind(i), test_kinds[i].name);
    cr_expect_null(bk_command_kind(TEST_KINDS));
    cr_expect_null(bk_command_kind(SIZE_MAX));
}

Test(command, is_good_with_every_member_and_with_the_required_ones_alone)
{
    for (size_t k = 0; k < TEST_KINDS; k++) {
        BK_AUTO_TEXT required = {0};
        for (size_t i = 0; i < TEST_MEMBERS_MOST && test_kinds[k].members[i].name; i++) {
            if (test_kinds[k].members[i].required)
                test_put_member(&required, bk_span_of(test_kinds[k].members[i].name),
                                bk_span_of(test_kinds[k].members[i].value));
        }
        bk_text_putc(&required, '}');
        expect_answer(k, bk_span_of("booking_id"), bk_span_of(test_kinds[k].members[0].value), "good", "every member");
        expect_answer(k, bk_span_of("(args)"), bk_span_of(required.data), "good", "required ones");
    }
}

/* --- bad ones ----------------------------------------------------------------------------------------------------- */

static void check_args(const struct corpus_row *row)
{
    const char *kind = corpus_text(row, 0);
    size_t matched = 0;
    for (size_t k = 0; k < TEST_KINDS; k++) {
        if (strcmp(kind, "*") != 0 && strcmp(kind, test_kinds[k].name) != 0)
            continue;
        BK_AUTO_TEXT expected = {0};
        test_put_answer(&expected, k, corpus_text(row, 1), corpus_text(row, 3));
        char what[64];
        (void)snprintf(what, sizeof(what), "line %d", row->line);
        expect_answer(k, corpus_span(row, 1), corpus_span(row, 2), expected.data, what);
        matched++;
    }
    cr_assert_gt(matched, 0, "line %d: no such kind", row->line);
}

Test(command, each_row_of_the_corpus_gets_its_answer)
{
    cr_expect_gt(corpus_each("args.txt", 4, check_args), 120);
}

static void check_type(size_t kind, const char *member, const char *value, const char *error)
{
    expect_answer(kind, bk_span_of(member), bk_span_of(value), error, value);
}

Test(command, every_type_in_the_place_of_every_other_is_refused)
{
    test_each_wrong_type(check_type);
}

Test(command, every_required_member_is_missed_and_no_other)
{
    for (size_t k = 0; k < TEST_KINDS; k++) {
        for (size_t m = 0; m < TEST_MEMBERS_MOST && test_kinds[k].members[m].name; m++) {
            const char *member = test_kinds[k].members[m].name;
            BK_AUTO_TEXT args = {0};
            test_make_args(&args, k, bk_span_of(member), (struct bk_span){NULL, 0});
            enum bk_command_verdict verdict;
            const char *answer = answer_to(test_kinds[k].name, (struct bk_span){args.data, args.size}, &verdict);
            char begins[64];
            (void)snprintf(begins, sizeof(begins), "args.%s: missing, expected ", member);
            if (test_kinds[k].members[m].required)
                cr_expect(strncmp(answer, begins, strlen(begins)) == 0, "%s without %s: %s", test_kinds[k].name, member,
                          answer);
            else
                cr_expect_str_eq(answer, "good", "%s without %s: %s", test_kinds[k].name, member, answer);
        }
    }
}

/* Whatever is cut off the args, and whatever byte of them is another one: an answer, and never a good one that is not.
 * The sanitizers look on. */
Test(command, no_cut_and_no_flipped_bit_breaks_the_check)
{
    BK_AUTO_TEXT whole = {0};
    test_make_args(&whole, 0, bk_span_of("booking_id"), bk_span_of(test_kinds[0].members[0].value));
    for (size_t size = 0; size < whole.size; size++) {
        enum bk_command_verdict verdict;
        char *cut = bk_alloc(size); /* of exactly that size, so that reading on is noticed */
        memcpy(cut, whole.data, size);
        (void)answer_to("booking.create", (struct bk_span){cut, size}, &verdict);
        cr_expect_eq(verdict, BK_COMMAND_INVALID_ARGS, "first %zu bytes", size);
        free(cut);
    }
    for (size_t at = 0; at < whole.size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            whole.data[at] = (char)(whole.data[at] ^ (1 << bit));
            enum bk_command_verdict verdict;
            const char *answer = answer_to("booking.create", (struct bk_span){whole.data, whole.size}, &verdict);
            cr_expect(verdict == BK_COMMAND_GOOD || strstr(answer, "expected"), "byte %zu bit %d: %s", at, bit, answer);
            cr_expect(bk_utf8_valid(answer, strlen(answer), NULL), "byte %zu bit %d", at, bit);
            whole.data[at] = (char)(whole.data[at] ^ (1 << bit));
        }
    }
}

/* --- kinds and keys ----------------------------------------------------------------------------------------------- */

Test(command, of_an_unknown_kind_is_told_which_there_are)
{
    static const char known[] =
        "\": expected one of booking.create, booking.confirm, booking.reschedule, booking.cancel, "
        "booking.complete";
    static const struct {
        const char *kind;
        const char *shown;
    } rows[] = {
        {"", ""},
        {"booking", "booking"},
        {"booking.", "booking."},
        {"booking.creat", "booking.creat"},
        {"booking.create ", "booking.create "},
        {"booking.creates", "booking.creates"},
        {"Booking.Create", "Booking.Create"},
        {"booking.delete", "booking.delete"},
        {"\x1b[2J", "\\x1b[2J"},
        {"%s%n", "%s%n"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        BK_AUTO_TEXT expected = {0};
        bk_text_printf(&expected, "kind \"%s%s", rows[i].shown, known);
        enum bk_command_verdict verdict;
        const char *answer = answer_to(rows[i].kind, bk_span_of("not even JSON"), &verdict);
        cr_expect_eq(verdict, BK_COMMAND_UNKNOWN_KIND, "\"%s\"", rows[i].kind);
        cr_expect_str_eq(answer, expected.data, "%s", answer);
    }
}

Test(command, key_and_booking_are_the_same_to_the_byte)
{
    static const char *const keys[] = {"6F1D2C3B-4A59-4870-9B6C-0123456789AF", "6f1d2c3b-4a59-4870-9b6c-0123456789ae",
                                       "6f1d2c3b-4a59-4870-9b6c-0123456789a", "x"};
    for (size_t i = 0; i < BK_COUNT(keys); i++) {
        struct bk_error error = {0};
        struct bk_job job = {.kind = bk_span_of("booking.confirm"),
                             .key = bk_span_of(keys[i]),
                             .args = bk_span_of("{\"booking_id\":\"6f1d2c3b-4a59-4870-9b6c-0123456789af\"}")};
        cr_expect_eq(bk_command_check(&job, &error), BK_COMMAND_INVALID_ARGS, "%s", keys[i]);
        cr_expect_str_eq(error.text, "key: expected the same as args.booking_id");
    }
}

Test(command, speaks_of_a_booking_only_if_its_key_can_be_one)
{
    struct bk_job job = {.key = bk_span_of(booking)};
    cr_expect(bk_span_is(bk_command_booking(&job), booking));
    job.key = bk_span_of("not-a-uuid");
    cr_expect_eq(bk_command_booking(&job).size, 0);
    job.key = (struct bk_span){NULL, 0};
    cr_expect_eq(bk_command_booking(&job).size, 0);
}
