/* log.h - one line a happening, to standard error, as text for people or JSON for machines.
 *
 * Only loops that handle an error log it; library code returns its story in a struct bk_error. A line is written with
 * one write() of at most 4096 bytes, so lines of several threads and processes never mix, and a full or closed pipe
 * costs lines, never the worker's time: the number of lines lost is told in the next line that goes through.
 */
#ifndef BK_LOG_H
#define BK_LOG_H

#include "common/error.h"

/* level, name; the less severe the further down */
#define BK_LOG_LEVELS(X)                                                                                               \
    X(ERROR, "error")                                                                                                  \
    X(WARN, "warn")                                                                                                    \
    X(INFO, "info")                                                                                                    \
    X(QUERY, "query")

enum bk_log_level {
#define BK_LOG_ENUM(name, label) BK_LOG_##name,
    BK_LOG_LEVELS(BK_LOG_ENUM)
#undef BK_LOG_ENUM
};

/** A name and a value that go with a line ("ticket", "1700000000000-0"); a NULL name ends an array of them, a NULL or
 *  empty value is left out. */
struct bk_log_field {
    const char *name;
    const char *value;
};

/** Sets level ("error".."query"), format ("text" or "json") and the program's name for the lines. Call once, before
 *  threads start; `who` must live on. */
void bk_log_setup(const char *level, const char *format, const char *who);
/** Whether lines of this level are written. Any thread. */
bool bk_log_on(enum bk_log_level level);
/** Writes one line. Any thread; never blocks, never fails. */
void bk_log(enum bk_log_level level, const char *format, ...) BK_PRINTF(2, 3);
/** The same with fields. Any thread. */
void bk_log_with(enum bk_log_level level, const struct bk_log_field *fields, const char *format, ...) BK_PRINTF(3, 4);

#endif
