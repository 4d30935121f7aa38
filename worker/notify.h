/* notify.h - what is said to the service manager (systemd), where there is one; nothing happens where there is none. */
#ifndef BK_NOTIFY_H
#define BK_NOTIFY_H

#include "common/base.h"
#include "common/clock.h"

/** Sends lines of sd_notify(3), like "READY=1" or "STATUS=...". Any thread. */
void bk_notify(const char *state);
/** How often the manager wants to hear WATCHDOG=1, ms: half of what it set; 0: not at all. */
bk_ms bk_notify_watchdog_interval(void);

#endif
