/* Dead letters, and the times by which they are filtered. */
#include "worker/dead.h"

#include <criterion/criterion.h>

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
