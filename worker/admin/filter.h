/* filter.h - what a request says of the dead letters it is about. */
#ifndef BK_ADMIN_FILTER_H
#define BK_ADMIN_FILTER_H

#include "worker/admin/admin.h"
#include "worker/dead.h"

/** Reads reason, kind, key, text, since, until, order and cursor from the query; answers and returns false when one is
 *  wrong. Strings are lent by the request. */
bool filter_from_query(struct exchange *exchange, struct bk_dead_walk *walk);

/** A JSON body, taken apart; strings are owned and go with change_deinit. */
struct change {
    struct bk_json_member members[16];
    size_t count;
    char *owned[32];
    size_t owned_count;
};

/** Reads the body as one object with no other members than the strings `texts` and `others`, whose types are the caller's
 *  business (NULL ends them); answers and returns false when it is none: what were passed over would be taken for done.
 *  Free with change_deinit either way. */
bool change_read(struct exchange *exchange, struct change *change, const char *const *texts, const char *const *others);
void change_deinit(struct change *change);
/** A member; NULL when it is not there. */
const struct bk_json_member *change_member(const struct change *change, const char *name);
/** A member's text, owned by the change; NULL when it is not there. */
const char *change_text(struct change *change, const char *name);

/** Reads the member `filter` (an object as of the query) and `cursor`; answers and returns false when one is wrong. */
bool filter_from_change(struct exchange *exchange, struct change *change, struct bk_dead_walk *walk);

#endif
