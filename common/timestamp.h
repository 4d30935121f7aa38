/* timestamp.h - RFC 3339 date-times, strictly.
 *
 * PostgreSQL's own parser takes `now`, `infinity`, `epoch`, 24:00:00 and dates without a zone; an instant that means
 * something else tomorrow has no place in a queue, so nothing reaches it unparsed.
 */
#ifndef BK_TIMESTAMP_H
#define BK_TIMESTAMP_H

#include "common/base.h"
#include "common/clock.h"

/** Reads `YYYY-MM-DDTHH:MM:SS[.f{1,9}](Z|+HH:MM|-HH:MM)` (RFC 3339 section 5.6, T and Z of either case; no leap
 *  second, offset within 15:59). The instant goes to `unix_us`, microseconds since 1970 UTC, a longer fraction rounded
 *  half to even as PostgreSQL does. On failure returns what was expected, a static string, and leaves `unix_us` alone;
 *  NULL is success. Any thread. */
const char *bk_timestamp_parse(struct bk_span span, int64_t *unix_us);

/** Writes Unix ms as `YYYY-MM-DDTHH:MM:SS.mmmZ` into `out`, `N ms` for what lies before 1970 or behind year 9999;
 *  returns `out`. Any thread. */
const char *bk_timestamp_format(bk_ms unix_ms, char out[32]);

/** The first microsecond of a year (Gregorian, UTC). Any thread. */
int64_t bk_timestamp_year(int year);

#endif
