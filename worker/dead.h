/* dead.h - the dead letters as bookingctl and booking-admin need them: filter, walk, show, export, correct. */
#ifndef BK_DEAD_H
#define BK_DEAD_H

#include "common/pg.h"
#include "common/queue.h"

/** What a person wants to see; NULL and 0 filter nothing. `key` and `text` are compared without regard to case, `text`
 *  is looked for in the entry (args too) and in the error. */
struct bk_dead_filter {
    const char *reason;
    const char *kind;
    const char *key;
    const char *text;
    int64_t since_ms; /* time of death, Unix ms */
    int64_t until_ms;
    bool oldest_first;
};

/** A place in the list: "" is its beginning, and its end once a step has been made. */
struct bk_dead_cursor {
    char text[72];
};
/** Reads a cursor that came from outside; false when it is none. NULL is the beginning. Any thread. */
bool bk_dead_cursor_read(struct bk_dead_cursor *cursor, const char *text);

/** Reads a time: RFC 3339, or an age like 90s, 30m, 12h, 7d (before `now`, Unix ms); 1 at the least, as 0 stands for
 *  no time. False when it is none. Any thread. */
bool bk_dead_time(const char *text, int64_t now, int64_t *unix_ms);

/** Called for each letter that fits; `fields` is NULL in a walk without detail. False ends the walk. */
typedef bool (*bk_dead_visit)(void *arg, struct bk_span ticket, const struct bk_reply *fields);

struct bk_dead_walk {
    struct bk_dead_filter filter;
    struct bk_dead_cursor at; /* where it begins, then where to go on; "" at the end */
    int64_t most;             /* letters; 0: all */
    bool detail;              /* whether `visit` wants the fields (all but args and raw) */
    bk_ms deadline;           /* monotonic; 0: none. Between two steps it may end the walk early */
    int64_t found;
    int64_t now; /* Redis's clock at the last step, Unix ms */
};

/** Walks through the letters that fit in bounded steps, so that neither Redis nor this program feels their number. */
enum bk_status bk_dead_walk(struct bk_queue *queue, struct bk_dead_walk *walk, bk_dead_visit visit, void *arg,
                            struct bk_error *error);

/** Reads one letter with everything it has. The caller frees *out. Errors: BK_MISSING. */
enum bk_status bk_dead_read(struct bk_queue *queue, const char *ticket, struct bk_reply **out, struct bk_error *error);

/** Appends the letter's members without the closing brace. */
void bk_dead_json(struct bk_text *json, struct bk_span ticket, const struct bk_reply *fields);
/** Appends the whole letter as one object: its meaning in plain words, args and raw as they are. */
void bk_dead_story(struct bk_text *json, struct bk_span ticket, const struct bk_reply *fields);
/** Appends one line that `bookingctl enqueue` takes back as the same entry; false, and nothing, for a letter that cannot
 *  be one: malformed, args that are no JSON, or bytes that it does not hold. */
bool bk_dead_line(struct bk_text *text, const struct bk_reply *fields);

/** A correction; NULL leaves a field as it is. */
struct bk_dead_edit {
    const char *ticket;
    struct bk_span args;
    const char *kind;
    const char *key; /* NULL: args.booking_id, or as it is */
    const char *who;
    const char *why;
};

/** Puts the corrected command into the queue under a new id that names its origin, and forgets the letter; `id` and
 *  `ticket` (room for 136 and 48 bytes) get the new ones. What the old one's producer waits for is over: not_before and
 *  reply are not taken along, expires_at only if it is still to come. A letter that may have been applied all the same
 *  is looked up in the ledger first (`pg`), as the new id could have the same effect once more.
 *  Errors: BK_INVALID for args that are no entry, BK_MISSING when the letter is not dead, BK_PERMANENT when it has been
 *  applied. */
enum bk_status bk_dead_correct(struct bk_queue *queue, const struct bk_pg_options *pg, const struct bk_dead_edit *edit,
                               char id[136], char ticket[48], struct bk_error *error);

/** Whether the text has the form of a ticket, which is a stream entry's id: two numbers of 64 bits. Any thread. */
bool bk_is_ticket(const char *text);

#endif
