/* timestamp.c - see timestamp.h. */
#include "common/timestamp.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Days from 1970-01-01 in the proleptic Gregorian calendar; Howard Hinnant, "chrono-Compatible Low-Level Date
 * Algorithms", days_from_civil. */
static int64_t days_from_civil(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

/* In a pattern '0' takes a digit, 'T' a t of either case (RFC 3339 allows both), every other character itself. */
static bool fits(char c, char pattern)
{
    if (pattern == '0')
        return c >= '0' && c <= '9';
    return c == pattern || (pattern == 'T' && c == 't');
}

static bool matches(const char *at, size_t left, const char *pattern)
{
    for (size_t i = 0; pattern[i]; i++) {
        if (i >= left || !fits(at[i], pattern[i]))
            return false;
    }
    return true;
}

static int number(const char *at, int digits)
{
    int value = 0;
    for (int i = 0; i < digits; i++)
        value = value * 10 + (at[i] - '0');
    return value;
}

/* A fraction of 1..9 digits at `at` (behind the point), in microseconds; false when there is none such. */
static bool fraction_us(const char *at, size_t left, size_t *used, int64_t *us)
{
    char text[16] = "0.";
    size_t digits = 0;
    while (digits < left && at[digits] >= '0' && at[digits] <= '9') {
        if (digits == 9)
            return false;
        text[2 + digits] = at[digits];
        digits++;
    }
    if (digits == 0)
        return false;
    *used = digits;
    *us = (int64_t)rint(strtod(text, NULL) * 1000000.0);
    return true;
}

const char *bk_timestamp_parse(struct bk_span span, int64_t *unix_us)
{
    static const char *const form = "an RFC 3339 time with a zone, like 2030-03-09T10:00:00Z";
    const char *at = span.at;
    size_t left = span.size;
    if (!matches(at, left, "0000-00-00T00:00:00"))
        return form;
    int year = number(at, 4);
    int month = number(at + 5, 2);
    int day = number(at + 8, 2);
    int hour = number(at + 11, 2);
    int minute = number(at + 14, 2);
    int second = number(at + 17, 2);
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return "a day that the calendar has";
    if (hour > 23 || minute > 59 || second > 59)
        return "a time of day from 00:00:00 to 23:59:59";
    at += 19;
    left -= 19;

    int64_t us = 0;
    if (left > 0 && *at == '.') {
        size_t used = 0;
        if (!fraction_us(at + 1, left - 1, &used, &us))
            return "a fraction of 1 to 9 digits";
        at += 1 + used;
        left -= 1 + used;
    }
    int64_t offset_minutes = 0;
    if (left == 6 && (matches(at, left, "+00:00") || matches(at, left, "-00:00"))) {
        int offset_hour = number(at + 1, 2);
        int offset_minute = number(at + 4, 2);
        if (offset_hour > 15 || offset_minute > 59)
            return "a zone offset within 15:59";
        offset_minutes = (*at == '-' ? INT64_C(-1) : INT64_C(1)) * (offset_hour * 60 + offset_minute);
    } else if (left != 1 || (*at != 'Z' && *at != 'z')) {
        return form;
    }
    int64_t minutes = days_from_civil(year, month, day) * 1440 + (int64_t)hour * 60 + minute - offset_minutes;
    *unix_us = (minutes * 60 + second) * 1000000 + us;
    return NULL;
}

int64_t bk_timestamp_year(int year)
{
    return days_from_civil(year, 1, 1) * 86400 * 1000000;
}

const char *bk_timestamp_format(bk_ms unix_ms, char out[32])
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm;
    if (unix_ms < 0 || !gmtime_r(&seconds, &tm) || tm.tm_year > 9999 - 1900) {
        (void)snprintf(out, 32, "%lld ms", (long long)unix_ms);
        return out;
    }
    size_t size = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out + size, 32 - size, ".%03dZ", (int)(unix_ms % 1000));
    return out;
}
