/* clock.c - see clock.h. */
#include "common/clock.h"

static int64_t read_us(clockid_t id)
{
    struct timespec now;
    (void)clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

bk_ms bk_clock_now(void)
{
    return read_us(CLOCK_MONOTONIC) / 1000;
}

int64_t bk_clock_now_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

bk_ms bk_clock_wall(void)
{
    return read_us(CLOCK_REALTIME) / 1000;
}

int bk_clock_left(bk_ms deadline)
{
    bk_ms left = deadline - bk_clock_now();
    if (left <= 0)
        return 0;
    return left > INT32_MAX ? INT32_MAX : (int)left;
}

struct timespec bk_clock_timespec(bk_ms deadline)
{
    return (struct timespec){.tv_sec = deadline / 1000, .tv_nsec = (deadline % 1000) * 1000000};
}
