/* The strict reader of JSON objects. */
#include "common/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "tests/support/corpus.h"

enum { MOST = 8 };

/* "ok", or what the reader says is wrong. */
static enum bk_status read_object(struct bk_span text, struct bk_json_member *members, size_t *count,
                                  struct bk_error *error)
{
    *error = (struct bk_error){.text = "ok"};
    return bk_json_object(text, members, MOST, count, error);
}

static void check_row(const struct corpus_row *row)
{
    const char *name = corpus_text(row, 0);
    struct bk_json_member members[MOST];
    size_t count = 99;
    struct bk_error error;

    enum bk_status status = read_object(corpus_span(row, 1), members, &count, &error);

    cr_expect_str_eq(error.text, corpus_text(row, 2), "line %d, %s: %s", row->line, name, error.text);
    cr_expect_eq(status, *name == 'y' ? BK_OK : BK_INVALID, "line %d, %s", row->line, name);
    cr_expect(*name == 'y' ? count <= MOST : count == 99, "line %d, %s: count %zu", row->line, name, count);
}

Test(json, each_row_of_the_corpus_gets_its_answer)
{
    cr_expect_gt(corpus_each("json.txt", 3, check_row), 100);
}

Test(json, members_are_handed_out_with_their_very_bytes)
{
    static const char text[] = " {\"s\" : \"a\\\"b\" ,\"n\":-1.50e+2, \"t\":true,\"z\":null, \"l\":[1, 2] ,\"o\":{ } }";
    static const struct {
        const char *name;
        const char *raw;
        enum bk_json_type type;
    } expected[] = {
        {"s", "\"a\\\"b\"", BK_JSON_STRING}, {"n", "-1.50e+2", BK_JSON_NUMBER}, {"t", "true", BK_JSON_BOOL},
        {"z", "null", BK_JSON_NULL},         {"l", "[1, 2]", BK_JSON_ARRAY},    {"o", "{ }", BK_JSON_OBJECT},
    };
    struct bk_json_member members[MOST];
    size_t count = 0;
    struct bk_error error;

    cr_assert_eq(read_object(bk_span_of(text), members, &count, &error), BK_OK, "%s", error.text);

    cr_assert_eq(count, BK_COUNT(expected));
    for (size_t i = 0; i < count; i++) {
        cr_expect(bk_span_is(members[i].name, expected[i].name), "member %zu", i);
        cr_expect(bk_span_is(members[i].raw, expected[i].raw), "member %zu: %.*s", i, (int)members[i].raw.size,
                  members[i].raw.at);
        cr_expect_eq(members[i].type, expected[i].type, "member %zu", i);
    }
}

Test(json, takes_as_many_members_as_there_is_room_for)
{
    struct bk_json_member members[2];
    size_t count = 0;
    struct bk_error error;
    cr_expect_eq(bk_json_object(bk_span_of("{\"a\":1,\"b\":2}"), members, 2, &count, &error), BK_OK);
    cr_expect_eq(count, 2);
    cr_expect_eq(bk_json_object(bk_span_of("{\"a\":1,\"b\":2,\"c\":3}"), members, 2, &count, &error), BK_INVALID);
    cr_expect_str_eq(error.text, "expected at most 2 members");
}

/* Whatever is cut off a good text, it is refused and nothing behind its end is read (the address sanitizer looks). */
Test(json, no_beginning_of_a_good_text_is_good)
{
    static const char text[] = "{\"a\":\"\\ud83d\\ude00\xf0\x9f\x98\x80\",\"b\":[-1.5e+3,{\"c\":true}],\"d\":null}";
    for (size_t size = 0; size + 1 < sizeof(text); size++) {
        char *cut = bk_alloc(size);
        memcpy(cut, text, size);
        struct bk_json_member members[MOST];
        size_t count = 0;
        struct bk_error error;
        cr_expect_eq(read_object((struct bk_span){cut, size}, members, &count, &error), BK_INVALID, "first %zu bytes",
                     size);
        free(cut);
    }
}

Test(json, strings_lose_their_escapes)
{
    static const struct {
        const char *raw;
        const char *expected;
    } rows[] = {
        {"\"\"", ""},
        {"\"plain\"", "plain"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u20ac\"", "A\xc3\xa9\xe2\x82\xac"},
        {"\"\\ud83d\\uDE00\"", "\xf0\x9f\x98\x80"},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        char *text = bk_json_unescape(bk_span_of(rows[i].raw));
        cr_expect_str_eq(text, rows[i].expected, "row %zu: %s", i, text);
        free(text);
    }
}

/* Behind the opening quote of a string the scanner and cJSON must agree on what is one. */
Test(json, whatever_string_is_taken_can_be_unescaped)
{
    for (unsigned unit = 1; unit <= 0xffff; unit++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "{\"a\":\"\\u%04x\"}", unit);
        struct bk_json_member members[MOST];
        size_t count = 0;
        struct bk_error error;
        bool surrogate = unit >= 0xd800 && unit <= 0xdfff;
        cr_assert_eq(read_object(bk_span_of(text), members, &count, &error), surrogate ? BK_INVALID : BK_OK, "%s",
                     text);
        if (surrogate)
            continue;
        char *plain = bk_json_unescape(members[0].raw);
        uint32_t scalar = 0;
        cr_assert_eq(bk_utf8_step(plain, strlen(plain), &scalar), strlen(plain), "%s", text);
        cr_assert_eq(scalar, unit, "%s", text);
        free(plain);
    }
}

Test(json, integers_end_where_readers_begin_to_disagree)
{
    static const struct {
        const char *raw;
        bool good;
        int64_t value;
    } rows[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"1", true, 1},
        {"-1", true, -1},
        {"9007199254740990", true, INT64_C(9007199254740990)},
        {"9007199254740991", true, INT64_C(9007199254740991)},
        {"-9007199254740991", true, -INT64_C(9007199254740991)},
        {"9007199254740992", false, 0},
        {"-9007199254740992", false, 0},
        {"9007199254740993", false, 0},
        {"9223372036854775807", false, 0},
        {"-9223372036854775808", false, 0},
        {"9223372036854775808", false, 0},
        {"18446744073709551617", false, 0},
        {"1.0", false, 0},
        {"-0.0", false, 0},
        {"1e2", false, 0},
        {"1E+2", false, 0},
        {"1e400", false, 0},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        int64_t value = 42;
        cr_expect_eq(bk_json_integer(bk_span_of(rows[i].raw), &value), rows[i].good, "%s", rows[i].raw);
        cr_expect_eq(value, rows[i].good ? rows[i].value : 42, "%s became %" PRId64, rows[i].raw, value);
    }
    char digits[401];
    memset(digits, '9', 400);
    digits[400] = '\0';
    int64_t value = 42;
    cr_expect_not(bk_json_integer(bk_span_of(digits), &value), "400 digits");
}

Test(json, types_are_named_as_people_say_them)
{
    static const char *const names[] = {"null", "a boolean", "a number", "a string", "an array", "an object"};
    for (size_t i = 0; i < BK_COUNT(names); i++)
        cr_expect_str_eq(bk_json_type_name((enum bk_json_type)i), names[i]);
}
