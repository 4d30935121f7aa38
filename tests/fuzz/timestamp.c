/* RFC 3339 times: what is taken is one, by another reading of the same rules, and is the same instant; what is refused
 * is none. And the ages and times that admins type. */
#include "common/timestamp.h"

#include <stdio.h>
#include <string.h>

#include "tests/fuzz/check.h"
#include "worker/dead.h"

enum { NOW = 1700000000 };

/* Half a microsecond may go either way: the product rounds a double, as PostgreSQL does. */
static bool is_near(int64_t us, int64_t unix_s, int64_t ns)
{
    int64_t exact = unix_s * 1000000 + ns / 1000;
    int64_t rest = ns % 1000;
    return us == exact + (rest > 500 ? 1 : 0) || (rest == 500 && us == exact + 1);
}

static void check_timestamp(struct bk_span text)
{
    int64_t us = 42;
    int64_t again = 42;
    int64_t unix_s = 0;
    int64_t ns = 0;
    const char *expected = bk_timestamp_parse(text, &us);
    BK_ASSERT(!expected == fuzz_time(text, &unix_s, &ns));
    BK_ASSERT(bk_timestamp_parse(text, &again) == expected && again == us);
    if (expected) {
        BK_ASSERT(fuzz_is_plain(expected, 80) && us == 42);
        return;
    }
    BK_ASSERT(is_near(us, unix_s, ns));
    char out[32];
    int64_t back = 0;
    int64_t ms = us / 1000;
    if (us < 0 || us >= bk_timestamp_year(10000))
        return;
    BK_ASSERT(bk_timestamp_parse(bk_span_of(bk_timestamp_format(ms, out)), &back) == NULL && back == ms * 1000);
}

/* Whatever is written is one line that fits, and a time reads back as itself. */
static void check_format(const uint8_t *data)
{
    bk_ms ms = 0;
    memcpy(&ms, data, sizeof(ms));
    char out[32];
    int64_t us = 0;
    BK_ASSERT(fuzz_is_plain(bk_timestamp_format(ms, out), sizeof(out) - 1));
    if (ms >= 0 && ms < bk_timestamp_year(10000) / 1000)
        BK_ASSERT(bk_timestamp_parse(bk_span_of(out), &us) == NULL && us == ms * 1000);
}

/* Whoever says a time has said one: 0 stands for "no limit", and a limit that is none would let everything through. */
static void check_dead_time(const char *text)
{
    int64_t ms = 0;
    if (bk_dead_time(text, NOW * INT64_C(1000), &ms))
        BK_ASSERT(ms > 0 && ms <= bk_timestamp_year(10000) / 1000);
    else
        BK_ASSERT(ms == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[64];
    check_timestamp((struct bk_span){(const char *)data, size});
    if (size == sizeof(bk_ms))
        check_format(data);
    if (size < sizeof(text)) {
        (void)snprintf(text, sizeof(text), "%.*s", (int)size, size ? (const char *)data : "");
        check_dead_time(text);
    }
    return 0;
}
