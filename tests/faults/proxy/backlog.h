/* backlog.h - bytes on their way through one direction of a connection, each with the time from which it may go on. */
#ifndef BACKLOG_H
#define BACKLOG_H

#include "common/clock.h"
#include "common/text.h"

/** `{0}` is a valid empty one; whoever holds it frees it with backlog_deinit. */
struct backlog {
    struct bk_text bytes;
    size_t gone; /* bytes at the front that were dropped */
    struct backlog_part *parts;
    size_t part_first;
    size_t part_end;
    size_t part_room;
};

/** Bytes that may go on at one time. */
struct backlog_part {
    size_t size;
    bk_ms due; /* monotonic, ms; 0: at once */
};

void backlog_deinit(struct backlog *backlog);
/** Empties it. */
void backlog_clear(struct backlog *backlog);
/** Appends bytes; `due` must not be before that of the bytes in front of them. */
void backlog_add(struct backlog *backlog, const char *bytes, size_t size, bk_ms due);
/** How many bytes wait. */
size_t backlog_size(const struct backlog *backlog);
/** The bytes at the front that are due at `now`, perhaps not all of them; size 0 if none. Lent until the next call. */
struct bk_span backlog_ready(const struct backlog *backlog, bk_ms now);
/** When the front is due (0: at once), or -1 for an empty backlog. */
bk_ms backlog_due(const struct backlog *backlog);
/** Takes bytes from the front, at most as many as were ready. */
void backlog_drop(struct backlog *backlog, size_t size);
/** Everything that waits may go at once. */
void backlog_hurry(struct backlog *backlog);

#endif
