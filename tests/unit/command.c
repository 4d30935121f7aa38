/* The booking commands: what may be asked for, and what the answer is to everything else. */
#include "worker/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "common/text.h"
#include "tests/support/corpus.h"

static const char booking[] = "6f1d2c3b-4a59-4870-9b6c-0123456789af";

/* --- the commands as the contract has them ------------------------------------------------------------------------ */

enum { MEMBERS_MOST = 8 };

static const struct {
    const char *name;
    struct {
        const char *name;
        const char *value;
        bool required;
    } members[MEMBERS_MOST];
} kinds[] = {
    {"booking.create",
     {{"booking_id", "\"6f1d2c3b-4a59-4870-9b6c-0123456789af\"", true},
      {"resource_id", "7", true},
      {"customer_id", "42", true},
      {"starts_at", "\"2030-03-09T10:00:00Z\"", true},
      {"ends_at", "\"2030-03-09T11:00:00Z\"", true},
      {"notes", "\"by the window\"", false}}},
    {"booking.confirm",
     {{"booking_id", "\"6f1d2c3b-4a59-4870-9b6c-0123456789af\"", true}, {"expected_version", "3", false}}},
    {"booking.reschedule",
     {{"booking_id", "\"6f1d2c3b-4a59-4870-9b6c-0123456789af\"", true},
      {"starts_at", "\"2030-03-09T10:00:00Z\"", true},
      {"ends_at", "\"2030-03-09T11:00:00Z\"", true},
      {"resource_id", "7", false},
      {"expected_version", "3", false}}},
    {"booking.cancel",
     {{"booking_id", "\"6f1d2c3b-4a59-4870-9b6c-0123456789af\"", true},
      {"reason", "\"rain\"", false},
      {"expected_version", "3", false}}},
    {"booking.complete",
     {{"booking_id", "\"6f1d2c3b-4a59-4870-9b6c-0123456789af\"", true}, {"expected_version", "3", false}}},
};

static void put_member(struct bk_text *args, struct bk_span name, struct bk_span value)
{
    if (!value.at)
        return;
    bk_text_puts(args, args->size ? ",\"" : "{\"");
    bk_text_add(args, name.at, name.size);
    bk_text_puts(args, "\":");
    bk_text_add(args, value.at, value.size);
}

/* The complete args of a kind with one member changed, added, or left out (value.at NULL). */
static void make_args(struct bk_text *args, size_t kind, struct bk_span name, struct bk_span value)
{
    bool changed = false;
    for (size_t i = 0; i < MEMBERS_MOST && kinds[kind].members[i].name; i++) {
        bool this_one = bk_span_is(name, kinds[kind].members[i].name);
        put_member(args, bk_span_of(kinds[kind].members[i].name),
                   this_one ? value : bk_span_of(kinds[kind].members[i].value));
        changed |= this_one;
    }
    if (!changed)
        put_member(args, name, value);
    bk_text_puts(args, args->size ? "}" : "{}");
}

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
    if (bk_span_is(name, "(args)"))
        bk_text_add(&args, value.at, value.size);
    else
        make_args(&args, kind, name, value);
    bool good = strcmp(expected, "good") == 0;
    enum bk_command_verdict verdict;

    const char *answer = answer_to(kinds[kind].name, (struct bk_span){args.data, args.size}, &verdict);

    cr_expect_str_eq(answer, expected, "%s, %s: %s", what, kinds[kind].name, answer);
    cr_expect_eq(verdict, good ? BK_COMMAND_GOOD : BK_COMMAND_INVALID_ARGS, "%s, %s", what, kinds[kind].name);
}

/* --- good commands ------------------------------------------------------------------------------------------------ */

Test(command, there_are_the_five_of_the_contract)
{
    for (size_t i = 0; i < BK_COUNT(kinds); i++)
        cr_expect_str_eq(bk_command_kind(i), kinds[i].name);
    cr_expect_null(bk_command_kind(BK_COUNT(kinds)));
    cr_expect_null(bk_command_kind(SIZE_MAX));
}

Test(command, is_good_with_every_member_and_with_the_required_ones_alone)
{
    for (size_t k = 0; k < BK_COUNT(kinds); k++) {
        BK_AUTO_TEXT required = {0};
        for (size_t i = 0; i < MEMBERS_MOST && kinds[k].members[i].name; i++) {
            if (kinds[k].members[i].required)
                put_member(&required, bk_span_of(kinds[k].members[i].name), bk_span_of(kinds[k].members[i].value));
        }
        bk_text_putc(&required, '}');
        expect_answer(k, bk_span_of("booking_id"), bk_span_of(kinds[k].members[0].value), "good", "every member");
        expect_answer(k, bk_span_of("(args)"), bk_span_of(required.data), "good", "required ones");
    }
}

/* --- bad ones ----------------------------------------------------------------------------------------------------- */

/* A row of the corpus says "unknown" where the answer would list all members of its kind. */
static void expand_unknown(struct bk_text *out, size_t kind, const char *name)
{
    bk_text_printf(out, "args.%s: unknown, expected only", name);
    for (size_t i = 0; i < MEMBERS_MOST && kinds[kind].members[i].name; i++)
        bk_text_printf(out, " %s", kinds[kind].members[i].name);
}

static void check_args(const struct corpus_row *row)
{
    const char *kind = corpus_text(row, 0);
    size_t matched = 0;
    for (size_t k = 0; k < BK_COUNT(kinds); k++) {
        if (strcmp(kind, "*") != 0 && strcmp(kind, kinds[k].name) != 0)
            continue;
        BK_AUTO_TEXT expected = {0};
        if (strcmp(corpus_text(row, 3), "unknown") == 0)
            expand_unknown(&expected, k, corpus_text(row, 1));
        else
            bk_text_puts(&expected, corpus_text(row, 3));
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

Test(command, every_type_in_the_place_of_every_other_is_refused)
{
    static const struct {
        const char *value;
        const char *called;
    } values[] = {{"null", "null"},      {"true", "a boolean"}, {"false", "a boolean"}, {"7", "a number"},
                  {"\"7\"", "a string"}, {"[]", "an array"},    {"[7]", "an array"},    {"{}", "an object"}};
    for (size_t k = 0; k < BK_COUNT(kinds); k++) {
        for (size_t m = 0; m < MEMBERS_MOST && kinds[k].members[m].name; m++) {
            const char *member = kinds[k].members[m].name;
            bool wants_string = kinds[k].members[m].value[0] == '"';
            for (size_t v = 0; v < BK_COUNT(values); v++) {
                if (strcmp(values[v].called, wants_string ? "a string" : "a number") == 0)
                    continue;
                BK_AUTO_TEXT expected = {0};
                bk_text_printf(&expected, "args.%s: expected %s, got %s", member,
                               wants_string ? "a string" : "an integer", values[v].called);
                expect_answer(k, bk_span_of(member), bk_span_of(values[v].value), expected.data, values[v].value);
            }
        }
    }
}

Test(command, every_required_member_is_missed_and_no_other)
{
    for (size_t k = 0; k < BK_COUNT(kinds); k++) {
        for (size_t m = 0; m < MEMBERS_MOST && kinds[k].members[m].name; m++) {
            const char *member = kinds[k].members[m].name;
            BK_AUTO_TEXT args = {0};
            make_args(&args, k, bk_span_of(member), (struct bk_span){NULL, 0});
            enum bk_command_verdict verdict;
            const char *answer = answer_to(kinds[k].name, (struct bk_span){args.data, args.size}, &verdict);
            char begins[64];
            (void)snprintf(begins, sizeof(begins), "args.%s: missing, expected ", member);
            if (kinds[k].members[m].required)
                cr_expect(strncmp(answer, begins, strlen(begins)) == 0, "%s without %s: %s", kinds[k].name, member,
                          answer);
            else
                cr_expect_str_eq(answer, "good", "%s without %s: %s", kinds[k].name, member, answer);
        }
    }
}

/* Whatever is cut off the args, and whatever byte of them is another one: an answer, and never a good one that is not.
 * The sanitizers look on. */
Test(command, no_cut_and_no_flipped_bit_breaks_the_check)
{
    BK_AUTO_TEXT whole = {0};
    make_args(&whole, 0, bk_span_of("booking_id"), bk_span_of(kinds[0].members[0].value));
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
