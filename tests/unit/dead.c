/* Dead letters as lines that can be taken back, and the times by which they are filtered. */
#include "worker/dead.h"

#include <string.h>

#include <criterion/criterion.h>

#include "tests/support/resp.h"

/* --- lines -------------------------------------------------------------------------------------------------------- */

enum { FIELDS_MOST = 6 };

/* The line of a letter with id a, kind b, key k and these fields besides; "" when it has none. */
static const char *line_of(struct bk_text *line, const char *const *pairs)
{
    struct bk_span words[2 * FIELDS_MOST + 6] = {bk_span_of("id"), bk_span_of("a"),   bk_span_of("kind"),
                                                 bk_span_of("b"),  bk_span_of("key"), bk_span_of("k")};
    size_t count = 6;
    for (; *pairs; pairs++)
        words[count++] = bk_span_of(*pairs);
    BK_AUTO(bk_reply) *fields = resp_words(count, words);
    bool good = bk_dead_line(line, fields);
    cr_expect_eq(good, line->size > 0);
    return bk_text_string(line);
}

Test(dead_line, says_what_the_entry_said)
{
    static const struct {
        const char *fields[2 * FIELDS_MOST + 1];
        const char *expected;
    } rows[] = {
        {{"args", "{}"}, "{\"id\":\"a\",\"kind\":\"b\",\"key\":\"k\",\"args\":{}}\n"},
        {{"args", "[]"}, "{\"id\":\"a\",\"kind\":\"b\",\"key\":\"k\",\"args\":[]}\n"},
        {{"args", "{\n  \"a\": 1\r\n}"}, "{\"id\":\"a\",\"kind\":\"b\",\"key\":\"k\",\"args\":{   \"a\": 1  }}\n"},
        {{"args", "{}", "not_before", "5", "expires_at", "17", "reply", "1", "traceparent", "t"},
         "{\"id\":\"a\",\"kind\":\"b\",\"key\":\"k\",\"traceparent\":\"t\",\"args\":{},\"not_before\":5,\"expires_at\":"
         "17,"
         "\"reply\":1}\n"},
        {{"args", "{}", "expires_at", "007"},
         "{\"id\":\"a\",\"kind\":\"b\",\"key\":\"k\",\"args\":{},\"expires_at\":7}\n"},
        {{"args", "{}", "not_before", "000"},
         "{\"id\":\"a\",\"kind\":\"b\",\"key\":\"k\",\"args\":{},\"not_before\":0}\n"},
        {{"args", "{}", "traceparent", "\xff"}, "{\"id\":\"a\",\"kind\":\"b\",\"key\":\"k\",\"args\":{}}\n"},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        BK_AUTO_TEXT line = {0};
        cr_expect_str_eq(line_of(&line, rows[i].fields), rows[i].expected, "row %zu: %s", i, line.data);
    }
}

/* A value that brings members of its own would come back as another command. */
Test(dead_line, is_not_made_of_what_would_say_something_else)
{
    static const char *const rows[][2 * FIELDS_MOST + 1] = {
        {"args", "{},\"reply\":1"},
        {"args", "{}}"},
        {"args", "{},\"args\":{}"},
        {"args", ""},
        {"args", "{"},
        {"args", "not JSON"},
        {"args", "{\"a\":\"\n\"}"},
        {"state", "dead"},
        {"args", "{}", "expires_at", "5,\"reply\":1"},
        {"args", "{}", "expires_at", "soon"},
        {"args", "{}", "expires_at", ""},
        {"args", "{}", "expires_at", "-1"},
        {"args", "{}", "not_before", "1e3"},
        {"args", "{}", "reply", "0"},
        {"args", "{}", "reply", "1,\"traceparent\":\"x\""},
        {"args", "{}", "raw", ""},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        BK_AUTO_TEXT line = {0};
        cr_expect_str_eq(line_of(&line, rows[i]), "", "row %zu: %s", i, line.data);
    }
}

Test(dead_line, is_not_made_of_bytes_that_json_does_not_hold)
{
    static const struct bk_span bad[] = {{"\xff", 1}, {"\xed\xa0\x80", 3}, {"a\0b", 3}};
    for (size_t field = 1; field < 6; field += 2) {
        for (size_t i = 0; i < BK_COUNT(bad); i++) {
            struct bk_span words[] = {bk_span_of("id"),  bk_span_of("a"), bk_span_of("kind"), bk_span_of("b"),
                                      bk_span_of("key"), bk_span_of("k"), bk_span_of("args"), bk_span_of("{}")};
            words[field] = bad[i];
            BK_AUTO_TEXT line = {0};
            BK_AUTO(bk_reply) *fields = resp_words(BK_COUNT(words), words);
            bk_text_puts(&line, "before");
            cr_expect_not(bk_dead_line(&line, fields), "field %zu, row %zu", field, i);
            cr_expect_str_eq(line.data, "before", "field %zu, row %zu: %s", field, i, line.data);
        }
    }
}

/* --- tickets ------------------------------------------------------------------------------------------------------ */

Test(ticket, is_two_numbers_of_64_bits)
{
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        {"0-0", true},
        {"1700000000000-17", true},
        {"18446744073709551615-18446744073709551615", true},
        {"18446744073709551616-0", false}, /* Redis would call it an error, and it is the caller's */
        {"0-18446744073709551616", false},
        {"99999999999999999999-0", false},
        {"111111111111111111111-0", false},
        {"-", false},
        {"1", false},
        {"1-", false},
        {"-1", false},
        {"1-1-1", false},
        {"1-1 ", false},
        {" 1-1", false},
        {"+1-1", false},
        {"1-x", false},
        {"", false},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++)
        cr_expect_eq(bk_is_ticket(rows[i].text), rows[i].good, "%s", rows[i].text);
}

/* --- times -------------------------------------------------------------------------------------------------------- */

Test(dead_time, is_an_age_or_an_instant)
{
    static const int64_t now = 1700000000000;
    static const struct {
        const char *text;
        int64_t expected; /* 0: none */
    } rows[] = {
        {"90s", now - 90000},
        {"30m", now - 1800000},
        {"12h", now - 43200000},
        {"7d", now - 604800000},
        {"0s", now},
        {"2030-03-09T10:00:00Z", 1899280800000},
        /* 0 filters nothing, so `--until 1970` would be everything there is */
        {"1970-01-01T00:00:00Z", 1},
        {"1970-01-01T00:00:00.000999Z", 1},
        {"1969-12-31T23:59:59Z", 1},
        {"0000-01-01T00:00:00Z", 1},
        {"999999d", 1},
        {"1000000d", 0},
        {"-1d", 0},
        {"1.5h", 0},
        {"d", 0},
        {"5", 0},
        {"", 0},
        {"now", 0},
        {"2030-03-09", 0},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        int64_t ms = 0;
        cr_expect_eq(bk_dead_time(rows[i].text, now, &ms), rows[i].expected != 0, "%s", rows[i].text);
        cr_expect_eq(ms, rows[i].expected, "%s: %lld", rows[i].text, (long long)ms);
    }
}
