/* RFC 3339 times, strictly. */
#include "common/timestamp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "tests/support/corpus.h"

static const char *told(const char *word)
{
    static const struct {
        const char *word;
        const char *expected;
    } answers[] = {
        {"form", "an RFC 3339 time with a zone, like 2030-03-09T10:00:00Z"},
        {"calendar", "a day that the calendar has"},
        {"day", "a time of day from 00:00:00 to 23:59:59"},
        {"fraction", "a fraction of 1 to 9 digits"},
        {"offset", "a zone offset within 15:59"},
    };
    for (size_t i = 0; i < BK_COUNT(answers); i++) {
        if (strcmp(answers[i].word, word) == 0)
            return answers[i].expected;
    }
    return NULL;
}

static void check_row(const struct corpus_row *row)
{
    const char *shown = corpus_text(row, 0);
    const char *answer = told(corpus_text(row, 1));
    int64_t instant = 42;
    if (!answer)
        cr_assert(bk_parse_integer(corpus_span(row, 1), &instant), "line %d: no answer", row->line);

    int64_t us = 42;
    const char *expected = bk_timestamp_parse(corpus_span(row, 0), &us);

    cr_expect(!expected == !answer, "line %d, %.60s: %s", row->line, shown, expected ? expected : "taken");
    if (expected && answer)
        cr_expect_str_eq(expected, answer, "line %d, %.60s: %s", row->line, shown, expected);
    cr_expect_eq(us, instant, "line %d, %.60s: %" PRId64, row->line, shown, us);
}

Test(timestamp, each_row_of_the_corpus_gets_its_answer)
{
    cr_expect_gt(corpus_each("timestamps.txt", 2, check_row), 100);
}

Test(timestamp, no_beginning_of_one_is_one)
{
    static const char text[] = "2030-03-09T10:00:00.123456789+01:00";
    for (size_t size = 0; size + 1 < sizeof(text); size++) {
        int64_t us = 42;
        char *cut = bk_alloc(size); /* of exactly that size, so that the address sanitizer sees what reads on */
        memcpy(cut, text, size);
        cr_expect_not_null(bk_timestamp_parse((struct bk_span){cut, size}, &us), "first %zu bytes", size);
        cr_expect_eq(us, 42);
        free(cut);
    }
}

/* Every byte of the form is needed: another one in its place makes it none, or another instant. */
Test(timestamp, no_byte_of_it_is_decoration)
{
    static const char text[] = "2030-03-09T10:00:00Z";
    int64_t right = 0;
    cr_assert_null(bk_timestamp_parse(bk_span_of(text), &right));
    for (size_t at = 0; at + 1 < sizeof(text); at++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            char changed[sizeof(text)];
            memcpy(changed, text, sizeof(text));
            changed[at] = (char)byte;
            bool same_letter = (text[at] == 'T' && byte == 't') || (text[at] == 'Z' && byte == 'z');
            if (changed[at] == text[at] || same_letter)
                continue;
            int64_t us = right;
            const char *expected = bk_timestamp_parse((struct bk_span){changed, sizeof(text) - 1}, &us);
            bool digits = text[at] >= '0' && text[at] <= '9' && byte >= '0' && byte <= '9';
            cr_expect(expected || (digits && us != right), "byte %02x at %zu", byte, at);
        }
    }
}

/* The calendar arithmetic against gmtime, for a day of each month of 400 years and more. */
Test(timestamp, agrees_with_the_calendar_of_the_c_library)
{
    for (int year = 1890; year <= 2310; year++) {
        for (int month = 1; month <= 12; month++) {
            char text[40];
            (void)snprintf(text, sizeof(text), "%04d-%02d-28T12:34:56Z", year, month);
            int64_t us = 0;
            cr_assert_null(bk_timestamp_parse(bk_span_of(text), &us), "%s", text);
            time_t seconds = (time_t)(us / 1000000);
            struct tm tm;
            cr_assert_not_null(gmtime_r(&seconds, &tm));
            char again[64];
            (void)strftime(again, sizeof(again), "%Y-%m-%dT%H:%M:%SZ", &tm);
            cr_assert_str_eq(again, text);
        }
    }
}

Test(timestamp, february_has_29_days_in_leap_years_only)
{
    for (int year = 1890; year <= 2310; year++) {
        char text[40];
        (void)snprintf(text, sizeof(text), "%04d-02-29T00:00:00Z", year);
        int64_t us = 0;
        bool leap = bk_timestamp_year(year + 1) - bk_timestamp_year(year) == INT64_C(366) * 86400 * 1000000;
        cr_expect_eq(bk_timestamp_parse(bk_span_of(text), &us) == NULL, leap, "%s", text);
    }
}

Test(timestamp, years_begin_at_their_first_microsecond)
{
    cr_expect_eq(bk_timestamp_year(1970), 0);
    cr_expect_eq(bk_timestamp_year(2000), INT64_C(946684800000000));
    cr_expect_eq(bk_timestamp_year(2200), INT64_C(7258118400000000));
}

Test(timestamp, is_written_in_utc_with_milliseconds)
{
    static const struct {
        bk_ms ms;
        const char *expected;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {INT64_C(1899280800123), "2030-03-09T10:00:00.123Z"},
        {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
        {INT64_C(253402300800000), "253402300800000 ms"},
        {-1, "-1 ms"},
        {INT64_MAX, "9223372036854775807 ms"},
        {INT64_MIN, "-9223372036854775808 ms"},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        char out[32];
        cr_expect_str_eq(bk_timestamp_format(rows[i].ms, out), rows[i].expected, "%s", out);
    }
}

Test(timestamp, what_is_written_can_be_read)
{
    for (bk_ms ms = 1; ms < INT64_C(253402300800000); ms = ms * 3 + 7) {
        char out[32];
        int64_t us = 0;
        cr_expect_null(bk_timestamp_parse(bk_span_of(bk_timestamp_format(ms, out)), &us), "%s", out);
        cr_expect_eq(us, ms * 1000, "%s", out);
    }
}
