/* find.h - one job by its id or ticket: where it is in the queue, and what the ledger says of it. */
#ifndef BK_FIND_H
#define BK_FIND_H

#include "common/pg.h"
#include "common/queue.h"

/** Where to look; everything is lent. */
struct bk_finder {
    struct bk_queue *queue;
    const char *name; /* of the queue */
    struct bk_pg_options pg;
};

/** What was found about one job; free with bk_found_deinit. */
struct bk_found {
    char ticket[48];
    struct bk_reply *fields; /* of job:<ticket>, or the inbox entry; NULL: not in the queue */
    bool in_inbox;
    struct bk_rows *ledger; /* zero or one row */
    bool ledger_unknown;    /* PostgreSQL did not answer */
};

/** Looks for the job that is called `asked`. Errors: BK_MISSING when nobody knows it; BK_OK when the queue has it,
 *  also if the ledger cannot be asked. The caller frees *found either way. */
enum bk_status bk_find(const struct bk_finder *finder, const char *asked, struct bk_found *found,
                       struct bk_error *error);
void bk_found_deinit(struct bk_found *found);

/** Its fields: name, value, ...; NULL when it is not in the queue. Lent. */
const struct bk_reply *bk_found_fields(const struct bk_found *found);
/** The place it is in ("inbox", "dead", "done", ...), in `room` or static. */
const char *bk_found_place(const struct bk_found *found, char room[32]);
/** Appends all of it as one JSON object and a line feed. */
void bk_found_json(struct bk_text *json, const struct bk_found *found, const char *asked);

#endif
