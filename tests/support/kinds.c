/* kinds.c - see kinds.h. */
#include "tests/support/kinds.h"

#include <string.h>

const struct test_kind test_kinds[TEST_KINDS] = {
    {"booking.create",
     {{"booking_id", "\"" TEST_BOOKING "\"", true},
      {"resource_id", "7", true},
      {"customer_id", "42", true},
      {"starts_at", "\"2030-03-09T10:00:00Z\"", true},
      {"ends_at", "\"2030-03-09T11:00:00Z\"", true},
      {"notes", "\"by the window\"", false}}},
    {"booking.confirm", {{"booking_id", "\"" TEST_BOOKING "\"", true}, {"expected_version", "3", false}}},
    {"booking.reschedule",
     {{"booking_id", "\"" TEST_BOOKING "\"", true},
      {"starts_at", "\"2030-03-09T10:00:00Z\"", true},
      {"ends_at", "\"2030-03-09T11:00:00Z\"", true},
      {"resource_id", "7", false},
      {"expected_version", "3", false}}},
    {"booking.cancel",
     {{"booking_id", "\"" TEST_BOOKING "\"", true}, {"reason", "\"rain\"", false}, {"expected_version", "3", false}}},
    {"booking.complete", {{"booking_id", "\"" TEST_BOOKING "\"", true}, {"expected_version", "3", false}}},
};

void test_put_member(struct bk_text *args, struct bk_span name, struct bk_span value)
{
    if (!value.at)
        return;
    bk_text_puts(args, args->size ? ",\"" : "{\"");
    bk_text_add(args, name.at, name.size);
    bk_text_puts(args, "\":");
    bk_text_add(args, value.at, value.size);
}

void test_make_args(struct bk_text *args, size_t kind, struct bk_span name, struct bk_span value)
{
    bool changed = false;
    if (bk_span_is(name, "(args)")) {
        bk_text_add(args, value.at, value.size);
        return;
    }
    for (size_t i = 0; i < TEST_MEMBERS_MOST && test_kinds[kind].members[i].name; i++) {
        bool this_one = bk_span_is(name, test_kinds[kind].members[i].name);
        test_put_member(args, bk_span_of(test_kinds[kind].members[i].name),
                        this_one ? value : bk_span_of(test_kinds[kind].members[i].value));
        changed |= this_one;
    }
    if (!changed)
        test_put_member(args, name, value);
    bk_text_puts(args, args->size ? "}" : "{}");
}

void test_put_answer(struct bk_text *answer, size_t kind, const char *member, const char *cell)
{
    if (strcmp(cell, "unknown") != 0) {
        bk_text_puts(answer, cell);
        return;
    }
    bk_text_printf(answer, "args.%s: unknown, expected only", member);
    for (size_t i = 0; i < TEST_MEMBERS_MOST && test_kinds[kind].members[i].name; i++)
        bk_text_printf(answer, " %s", test_kinds[kind].members[i].name);
}

void test_each_wrong_type(void (*check)(size_t kind, const char *member, const char *value, const char *error))
{
    static const struct {
        const char *value;
        const char *called;
    } values[] = {{"null", "null"},      {"true", "a boolean"}, {"false", "a boolean"}, {"7", "a number"},
                  {"\"7\"", "a string"}, {"[]", "an array"},    {"[7]", "an array"},    {"{}", "an object"}};
    for (size_t k = 0; k < TEST_KINDS; k++) {
        for (size_t m = 0; m < TEST_MEMBERS_MOST && test_kinds[k].members[m].name; m++) {
            const char *member = test_kinds[k].members[m].name;
            bool wants_string = test_kinds[k].members[m].value[0] == '"';
            for (size_t v = 0; v < BK_COUNT(values); v++) {
                if (strcmp(values[v].called, wants_string ? "a string" : "a number") == 0)
                    continue;
                BK_AUTO_TEXT error = {0};
                bk_text_printf(&error, "args.%s: expected %s, got %s", member, wants_string ? "a string" : "an integer",
                               values[v].called);
                check(k, member, values[v].value, error.data);
            }
        }
    }
}
