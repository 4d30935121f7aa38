/* ghost.h - sessions that were given up while the server may still be at them.
 *
 * A session whose answer did not come in time is closed on our side, but the server learns of that only when it reads or
 * writes: one that waits for the end of a message that never comes, or whose end of the connection a proxy holds open, keeps
 * its transaction and its locks for hours, and whoever tries the same commands again waits for them. statement_timeout does
 * not count there. So the next connection ends them by their process ids.
 *
 * Pure; not thread-safe.
 */
#ifndef BK_GHOST_H
#define BK_GHOST_H

#include "common/clock.h"
#include "common/text.h"

enum { BK_GHOSTS_MOST = 64 };

struct bk_ghosts {
    struct {
        int pid;
        bk_ms since; /* monotonic: when it was given up */
    } list[BK_GHOSTS_MOST];
    unsigned count;
};

/** Notes a backend that was given up now; beyond BK_GHOSTS_MOST the server's own limits have to do. */
void bk_ghosts_add(struct bk_ghosts *ghosts, int pid, bk_ms now);

/** Appends the SQL that ends them: sessions of the same role, and old enough to be meant, since process ids come back. */
void bk_ghosts_sql(const struct bk_ghosts *ghosts, bk_ms now, struct bk_text *sql);

#endif
