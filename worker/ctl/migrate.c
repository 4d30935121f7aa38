/* migrate.c - bookingctl migrate: the schema and the queue's functions, brought up to date.
 *
 * All pending migrations run in one transaction, so a schema is never half new; a session lock makes twenty migrators
 * at once one after the other. A schema newer than this program is left alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/embedded.h"
#include "worker/ctl/ctl.h"

extern const struct bk_embedded bk_bootstrap[];
extern const struct bk_embedded bk_migrations[];

/* "booking!" in ASCII; any number will do as long as nobody else uses it */
#define MIGRATION_LOCK "7092172902397371169"

enum { MIGRATION_TIMEOUT_MS = 120000 };

static int version_of(const struct bk_embedded *migration)
{
    return (int)strtol(migration->name, NULL, 10);
}

static int newest_known(void)
{
    int newest = 0;
    for (const struct bk_embedded *m = bk_migrations; m->name; m++)
        newest = BK_MAX(newest, version_of(m));
    return newest;
}

static enum bk_status current_version(struct bk_pg *pg, int64_t *version, struct bk_error *error)
{
    BK_AUTO(bk_rows) *there = NULL;
    bk_ms deadline = bk_clock_now() + MIGRATION_TIMEOUT_MS;
    enum bk_status status =
        bk_pg_query(pg, "select to_regclass('booking.schema_migration') is not null", 0, NULL, deadline, &there, error);
    *version = 0;
    if (status != BK_OK || strcmp(bk_rows_text(there, 0, 0), "t") != 0)
        return status;
    BK_AUTO(bk_rows) *rows = NULL;
    status = bk_pg_query(pg, "select coalesce(max(version), 0) from booking.schema_migration", 0, NULL, deadline, &rows,
                         error);
    if (status == BK_OK)
        *version = bk_rows_integer(rows, 0, 0, 0);
    return status;
}

static enum bk_status apply_pending(struct bk_pg *pg, int64_t version, int *applied, struct bk_error *error)
{
    BK_AUTO_TEXT script = {0};
    bk_text_puts(&script, "begin;\n");
    bk_text_add(&script, (const char *)bk_bootstrap[0].data, bk_bootstrap[0].size);
    for (const struct bk_embedded *m = bk_migrations; m->name; m++) {
        if (version_of(m) <= version)
            continue;
        bk_text_puts(&script, "\n");
        bk_text_add(&script, (const char *)m->data, m->size);
        bk_text_printf(&script, "\ninsert into booking.schema_migration (version, name) values (%d, '%.*s');\n",
                       version_of(m), (int)strcspn(m->name, "."), m->name);
        (*applied)++;
    }
    bk_text_puts(&script, "commit;\n");
    if (*applied == 0)
        return BK_OK;
    return bk_pg_script(pg, bk_text_string(&script), bk_clock_now() + MIGRATION_TIMEOUT_MS, error);
}

static enum bk_status migrate_schema(struct ctl *ctl, struct bk_error *error)
{
    const struct bk_pg_options options = {.conninfo = ctl->config.database.conninfo,
                                          .application_name = "bookingctl migrate",
                                          .statement_timeout_ms = MIGRATION_TIMEOUT_MS,
                                          .lock_timeout_ms = MIGRATION_TIMEOUT_MS};
    BK_AUTO(bk_pg) *pg = NULL;
    enum bk_status status = bk_pg_open(&pg, &options, bk_clock_now() + ctl->config.connect_timeout_ms, error);
    if (status != BK_OK)
        return status;
    BK_AUTO(bk_rows) *locked = NULL;
    status = bk_pg_query(pg, "select pg_advisory_lock(" MIGRATION_LOCK ")", 0, NULL,
                         bk_clock_now() + MIGRATION_TIMEOUT_MS, &locked, error);
    int64_t version = 0;
    if (status == BK_OK)
        status = current_version(pg, &version, error);
    if (status != BK_OK)
        return status;
    if (version > newest_known())
        return bk_fail(error, BK_STOPPED,
                       "the schema is at version %lld, newer than this program knows (%d): use a newer bookingctl",
                       (long long)version, newest_known());
    int applied = 0;
    status = apply_pending(pg, version, &applied, error);
    if (status == BK_OK)
        (void)printf("schema: version %d, %d migrations applied now\n", newest_known(), applied);
    return status;
}

int ctl_migrate(struct ctl *ctl)
{
    if (!ctl_options(ctl, NULL, 0))
        return BK_EXIT_USAGE;
    if (ctl->argc > 0)
        return ctl_usage("migrate takes no arguments");
    struct bk_error error = {0};
    enum bk_status status = migrate_schema(ctl, &error);
    if (status == BK_STOPPED) {
        (void)ctl_failed(&error);
        return BK_EXIT_CONFIG;
    }
    if (status == BK_OK)
        status = bk_queue_connect(ctl->queue, &error);
    if (status != BK_OK)
        return ctl_failed(&error);
    (void)printf("queue: functions of version %d\n", BK_QUEUE_VERSION);
    return BK_EXIT_OK;
}
