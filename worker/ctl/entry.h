/* entry.h - one line of `bookingctl enqueue` as the entry that is XADDed. Pure: no I/O. */
#ifndef BK_CTL_ENTRY_H
#define BK_CTL_ENTRY_H

#include "common/error.h"

enum { CTL_ENTRY_WORDS = 16 }; /* a name and a value for each field there is */

struct ctl_entry {
    char *line;                            /* owned, NUL-terminated, without the line feed */
    long number;                           /* of the line in its file; the caller's */
    struct bk_span words[CTL_ENTRY_WORDS]; /* field, value, ... */
    size_t word_count;
    char *texts[CTL_ENTRY_WORDS / 2]; /* words that are not in the line as they are; owned */
    size_t text_count;
};

/** Reads a line into a zeroed entry, which copies it; the caller frees it with ctl_entry_deinit either way. Refused is a
 *  line that could only become a malformed entry: whether kind and args are right is the worker's to judge.
 *  Errors: BK_INVALID; the text names the member, says what was expected, and can be shown as it is. Any thread. */
enum bk_status ctl_entry_read(struct ctl_entry *entry, const char *line, size_t size, struct bk_error *error);
void ctl_entry_deinit(struct ctl_entry *entry);

#endif
