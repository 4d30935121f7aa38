/* log.c - what the proxy did, for whoever wonders afterwards. */
#include <stdarg.h>
#include <time.h>

#include "tests/faults/proxy/proxy.h"

void proxy_log(const struct proxy *proxy, const char *format, ...)
{
    if (!proxy->log)
        return;
    bk_ms wall = bk_clock_wall();
    time_t seconds = (time_t)(wall / 1000);
    struct tm tm;
    char when[sizeof("2000-01-01T00:00:00")];
    (void)gmtime_r(&seconds, &tm);
    (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)fprintf(proxy->log, "%s.%03dZ ", when, (int)(wall % 1000));
    va_list args;
    va_start(args, format);
    (void)vfprintf(proxy->log, format, args);
    va_end(args);
    (void)fputc('\n', proxy->log);
}
