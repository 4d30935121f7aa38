/* backlog.c - see backlog.h. */
#include "tests/faults/proxy/backlog.h"

#include <stdlib.h>
#include <string.h>

enum { COMPACT_FROM = 65536 };

void backlog_deinit(struct backlog *backlog)
{
    bk_text_deinit(&backlog->bytes);
    free(backlog->parts);
    *backlog = (struct backlog){0};
}

void backlog_clear(struct backlog *backlog)
{
    bk_text_clear(&backlog->bytes);
    backlog->gone = backlog->part_first = backlog->part_end = 0;
}

void backlog_add(struct backlog *backlog, const char *bytes, size_t size, bk_ms due)
{
    if (size == 0)
        return;
    bk_text_add(&backlog->bytes, bytes, size);
    if (backlog->part_end > backlog->part_first && backlog->parts[backlog->part_end - 1].due == due) {
        backlog->parts[backlog->part_end - 1].size += size;
        return;
    }
    if (backlog->part_end == backlog->part_room) {
        backlog->part_room = backlog->part_room ? backlog->part_room * 2 : 16;
        backlog->parts = bk_realloc(backlog->parts, backlog->part_room * sizeof(*backlog->parts));
    }
    backlog->parts[backlog->part_end++] = (struct backlog_part){size, due};
}

size_t backlog_size(const struct backlog *backlog)
{
    return backlog->bytes.size - backlog->gone;
}

struct bk_span backlog_ready(const struct backlog *backlog, bk_ms now)
{
    if (backlog->part_first == backlog->part_end || backlog->parts[backlog->part_first].due > now)
        return (struct bk_span){0};
    return (struct bk_span){backlog->bytes.data + backlog->gone, backlog->parts[backlog->part_first].size};
}

bk_ms backlog_due(const struct backlog *backlog)
{
    return backlog->part_first == backlog->part_end ? -1 : backlog->parts[backlog->part_first].due;
}

/* Gives the room at the front back, at a cost that is small beside what went through it. */
static void compact(struct backlog *backlog)
{
    if (backlog->gone == backlog->bytes.size) {
        backlog_clear(backlog);
        return;
    }
    if (backlog->gone < COMPACT_FROM || backlog->gone < backlog->bytes.size / 2)
        return;
    backlog->bytes.size -= backlog->gone;
    memmove(backlog->bytes.data, backlog->bytes.data + backlog->gone, backlog->bytes.size + 1);
    backlog->gone = 0;
    backlog->part_end -= backlog->part_first;
    memmove(backlog->parts, backlog->parts + backlog->part_first, backlog->part_end * sizeof(*backlog->parts));
    backlog->part_first = 0;
}

void backlog_drop(struct backlog *backlog, size_t size)
{
    if (size == 0)
        return;
    BK_ASSERT(backlog->part_first < backlog->part_end && size <= backlog->parts[backlog->part_first].size);
    backlog->gone += size;
    backlog->parts[backlog->part_first].size -= size;
    if (backlog->parts[backlog->part_first].size == 0)
        backlog->part_first++;
    compact(backlog);
}

void backlog_hurry(struct backlog *backlog)
{
    for (size_t i = backlog->part_first; i < backlog->part_end; i++)
        backlog->parts[i].due = 0;
}
