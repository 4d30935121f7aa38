/* ghost.c - see ghost.h. */
#include "common/ghost.h"

void bk_ghosts_add(struct bk_ghosts *ghosts, int pid, bk_ms now)
{
    if (pid <= 0 || ghosts->count == BK_GHOSTS_MOST)
        return;
    ghosts->list[ghosts->count].pid = pid;
    ghosts->list[ghosts->count].since = now;
    ghosts->count++;
}

void bk_ghosts_sql(const struct bk_ghosts *ghosts, bk_ms now, struct bk_text *sql)
{
    bk_text_puts(sql, "select pg_terminate_backend(a.pid) from pg_stat_activity a join (values ");
    for (unsigned i = 0; i < ghosts->count; i++)
        bk_text_printf(sql, "%s(%d, %lld)", i ? ", " : "", ghosts->list[i].pid,
                       (long long)(now - ghosts->list[i].since));
    bk_text_puts(sql, ") as ghost (pid, ms_ago) using (pid) where a.usename = current_user"
                      " and a.backend_start < clock_timestamp() - ghost.ms_ago * interval '1 ms'");
}
