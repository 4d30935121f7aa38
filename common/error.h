/* error.h - a failure and its story.
 *
 * The caller owns a struct bk_error and lends it downward; the function that fails fills it, each layer on the way up
 * may put one prefix before the text. Library code never logs: whoever handles the error logs it once.
 */
#ifndef BK_ERROR_H
#define BK_ERROR_H

#include "common/base.h"

struct bk_error {
    enum bk_status status;
    char sqlstate[6]; /* PostgreSQL's five characters, or "" */
    char text[500];   /* what failed, where, and why; valid UTF-8 as far as its sources were */
};

/** Fills `error` (which may be NULL) and returns `status`, so that callers write `return bk_fail(...)`. An older
 *  content is replaced; the SQLSTATE is cleared. Any thread. */
enum bk_status bk_fail(struct bk_error *error, enum bk_status status, const char *format, ...) BK_PRINTF(3, 4);

/** Puts a formatted prefix and ": " before the text, cutting the end if it grows too long; nothing for NULL, so callers
 *  return the status they have. Any thread. */
void bk_error_prefix(struct bk_error *error, const char *format, ...) BK_PRINTF(2, 3);

#endif
