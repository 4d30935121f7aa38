/* notify.c - the only file that includes libsystemd. */
#include "worker/notify.h"

#ifdef BOOKING_SYSTEMD
#include <systemd/sd-daemon.h>

void bk_notify(const char *state)
{
    (void)sd_notify(0, state);
}

bk_ms bk_notify_watchdog_interval(void)
{
    uint64_t us = 0;
    return sd_watchdog_enabled(0, &us) > 0 ? (bk_ms)(us / 2000) : 0;
}
#else
void bk_notify(const char *state)
{
    (void)state;
}

bk_ms bk_notify_watchdog_interval(void)
{
    return 0;
}
#endif
