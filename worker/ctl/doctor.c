/* doctor.c - bookingctl doctor: is this set-up fit for production? One line a check. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/embedded.h"
#include "common/json.h"
#include "worker/ctl/ctl.h"
#include "worker/report.h"

extern const struct bk_embedded bk_migrations[];

enum level { OK, WARN, FAIL };

enum {
    CLOCK_WARN_MS = 1000,
    CLOCK_FAIL_MS = 60000,
    OLDEST_WARN_MS = 60000,
    SPARE_CONNECTIONS = 5 /* for people, monitoring and the web tier's own look */
};

struct doctor {
    struct ctl *ctl;
    struct bk_text out;
    bool json;
    int found[3]; /* by level */
};

static void say(struct doctor *doctor, enum level level, const char *check, const char *format, ...) BK_PRINTF(4, 5);
static void say(struct doctor *doctor, enum level level, const char *check, const char *format, ...)
{
    static const char *const names[] = {"ok", "warn", "FAIL"};
    char text[600];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    bool first = doctor->found[OK] + doctor->found[WARN] + doctor->found[FAIL] == 0;
    doctor->found[level]++;
    if (!doctor->json) {
        bk_text_printf(&doctor->out, "%-4s  %-18s ", names[level], check);
        bk_text_safe(&doctor->out, text, strlen(text), sizeof(text));
        bk_text_putc(&doctor->out, '\n');
        return;
    }
    bk_text_printf(&doctor->out, "%s{\"level\":\"%s\",\"check\":\"%s\",\"text\":", first ? "" : ",\n", names[level],
                   check);
    bk_text_json_string(&doctor->out, text);
    bk_text_putc(&doctor->out, '}');
}

/* --- PostgreSQL ------------------------------------------------------------------------------------------------------- */

/* One row of facts, by column. */
enum { F_VERSION, F_SCHEMA, F_FSYNC, F_PAGES, F_SYNC, F_RECOVERY, F_MAX, F_RESERVED, F_NOW, F_SUPER, F_ROLE };
static const char facts_sql[] =
    "select current_setting('server_version'),"
    " to_regclass('booking.schema_migration') is not null,"
    " current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),"
    " pg_is_in_recovery(), current_setting('max_connections'), current_setting('superuser_reserved_connections'),"
    " (extract(epoch from clock_timestamp()) * 1000)::bigint,"
    " (select rolsuper from pg_roles where rolname = current_user), current_user";

enum { S_VERSION, S_APPLY, S_CONSTRAINT, S_TOO_MUCH };
static const char schema_sql[] = "select coalesce((select max(version) from booking.schema_migration), 0),"
                                 " has_function_privilege('booking.apply(jsonb)', 'execute'),"
                                 " exists (select from pg_constraint where conrelid = 'booking.booking'::regclass and "
                                 "contype = 'x' and convalidated),"
                                 " has_table_privilege('booking.booking', 'delete')";

static bool is_true(const struct bk_rows *rows, int column)
{
    const char *text = bk_rows_text(rows, 0, column);
    return text && strcmp(text, "t") == 0;
}

static int newest_migration(void)
{
    int newest = 0;
    for (const struct bk_embedded *m = bk_migrations; m->name; m++)
        newest = BK_MAX(newest, (int)strtol(m->name, NULL, 10));
    return newest;
}

static void check_setting(struct doctor *doctor, const char *name, const char *value, const char *bad, const char *why)
{
    bool is_bad = strcmp(value, bad) == 0;
    say(doctor, is_bad ? FAIL : OK, name, "%s%s%s", value, is_bad ? ": " : "", is_bad ? why : "");
}

static void check_clock(struct doctor *doctor, const char *whose, int64_t theirs, bk_ms before, bk_ms after)
{
    int64_t off = theirs < before ? before - theirs : theirs > after ? theirs - after : 0;
    say(doctor,
        off > CLOCK_FAIL_MS   ? FAIL
        : off > CLOCK_WARN_MS ? WARN
                              : OK,
        whose,
        off > CLOCK_WARN_MS ? "%lld ms apart from this machine's clock; let NTP see to it"
                            : "within %lld ms of this machine's clock",
        (long long)BK_MAX(off, (int64_t)1));
}

static void check_schema(struct doctor *doctor, struct bk_pg *pg, bool super)
{
    BK_AUTO(bk_rows) *rows = NULL;
    struct bk_error error = {0};
    if (bk_pg_query(pg, schema_sql, 0, NULL, ctl_deadline(doctor->ctl), &rows, &error) != BK_OK) {
        say(doctor, FAIL, "schema", "%s", error.text);
        return;
    }
    int64_t version = bk_rows_integer(rows, 0, S_VERSION, 0);
    int newest = newest_migration();
    if (version == newest)
        say(doctor, OK, "schema", "version %lld", (long long)version);
    else
        say(doctor, FAIL, "schema", "version %lld, this program wants %d: %s", (long long)version, newest,
            version < newest ? "run bookingctl migrate" : "use a newer bookingctl and workers");
    say(doctor, is_true(rows, S_CONSTRAINT) ? OK : FAIL, "no overlap", "%s",
        is_true(rows, S_CONSTRAINT) ? "the exclusion constraint stands"
                                    : "the exclusion constraint is gone or not valid");
    say(doctor, is_true(rows, S_APPLY) ? OK : FAIL, "right to apply", "%s",
        is_true(rows, S_APPLY) ? "this role may call booking.apply"
                               : "this role may not call booking.apply: grant booking_worker to it");
    if (super || is_true(rows, S_TOO_MUCH))
        say(doctor, WARN, "role",
            "this role may do more than a worker needs%s; let workers log in as a member of booking_worker",
            super ? " (superuser)" : "");
    else
        say(doctor, OK, "role", "no more rights than a worker needs");
}

/* The pool sizes of the workers that have joined, summed up. */
static int64_t pools_of_workers(struct doctor *doctor, int64_t *workers)
{
    BK_AUTO_TEXT json = {0};
    struct bk_error error = {0};
    int64_t sum = 0;
    *workers = 0;
    if (bk_report_workers_json(doctor->ctl->queue, &json, &error) != BK_OK)
        return 0;
    for (const char *at = bk_text_string(&json); (at = strstr(at, "\"pool\":")); at++) {
        const char *max = strstr(at, "\"max\":");
        (*workers)++;
        sum += max ? strtoll(max + 6, NULL, 10) : 0;
    }
    return sum;
}

static void check_connections(struct doctor *doctor, int64_t most, int64_t reserved)
{
    int64_t workers = 0;
    int64_t pools = pools_of_workers(doctor, &workers);
    int64_t room = most - reserved - SPARE_CONNECTIONS;
    say(doctor, pools > room ? FAIL : OK, "connections",
        "%lld workers with pools of %lld in all, max_connections %lld less %lld reserved%s", (long long)workers,
        (long long)pools, (long long)most, (long long)reserved,
        pools > room ? ": lower BOOKING_POOL_MAX or raise max_connections" : "");
}

static void check_postgresql(struct doctor *doctor)
{
    struct bk_error error = {0};
    BK_AUTO(bk_pg) *pg = ctl_database(doctor->ctl, &error);
    BK_AUTO(bk_rows) *rows = NULL;
    bk_ms before = bk_clock_wall();
    if (!pg || bk_pg_query(pg, facts_sql, 0, NULL, ctl_deadline(doctor->ctl), &rows, &error) != BK_OK) {
        say(doctor, FAIL, "postgresql", "%s", error.text);
        return;
    }
    bk_ms after = bk_clock_wall();
    bool old = bk_pg_server_version(pg) < 150000;
    say(doctor, old ? WARN : OK, "postgresql", "version %s, as %s%s", bk_rows_text(rows, 0, F_VERSION),
        bk_rows_text(rows, 0, F_ROLE), old ? "; tested with 15 and newer" : "");
    say(doctor, is_true(rows, F_RECOVERY) ? FAIL : OK, "primary", "%s",
        is_true(rows, F_RECOVERY) ? "this is a standby: name all hosts and target_session_attrs=read-write"
                                  : "takes writes");
    check_setting(doctor, "fsync", bk_rows_text(rows, 0, F_FSYNC), "off",
                  "a crash can lose and damage what was committed");
    check_setting(doctor, "full_page_writes", bk_rows_text(rows, 0, F_PAGES), "off", "a crash can damage pages");
    check_setting(doctor, "synchronous_commit", bk_rows_text(rows, 0, F_SYNC), "off",
                  "a crash loses what was acknowledged: an applied booking would be gone");
    check_clock(doctor, "clock of pg", bk_rows_integer(rows, 0, F_NOW, 0), before, after);
    if (is_true(rows, F_SCHEMA))
        check_schema(doctor, pg, is_true(rows, F_SUPER));
    else
        say(doctor, FAIL, "schema", "there is none: run bookingctl migrate");
    check_connections(doctor, bk_rows_integer(rows, 0, F_MAX, 0), bk_rows_integer(rows, 0, F_RESERVED, 0));
}

/* --- Redis ------------------------------------------------------------------------------------------------------------ */

/* "name:value\r\n" of INFO; "" when it is not there. */
static void info_value(struct bk_span info, const char *name, char *out, size_t room)
{
    size_t size = strlen(name);
    out[0] = '\0';
    for (const char *at = info.at; at && (at = strstr(at, name)); at += size) {
        if ((at == info.at || at[-1] == '\n') && at[size] == ':') {
            const char *value = at + size + 1;
            (void)snprintf(out, room, "%.*s", (int)strcspn(value, "\r\n"), value);
            return;
        }
    }
}

static int64_t info_number(struct bk_span info, const char *name)
{
    char text[40];
    info_value(info, name, text, sizeof(text));
    return strtoll(text, NULL, 10);
}

static void check_durability(struct doctor *doctor, struct bk_span info)
{
    if (info_number(info, "aof_enabled") == 0) {
        say(doctor, FAIL, "appendonly", "no: a crash of Redis loses acknowledged commands; set appendonly yes");
        return;
    }
    const struct bk_span words[] = {bk_span_of("CONFIG"), bk_span_of("GET"), bk_span_of("appendfsync")};
    BK_AUTO(bk_reply) *reply = NULL;
    if (bk_queue_raw(doctor->ctl->queue, BK_COUNT(words), words, &reply, NULL) != BK_OK) {
        say(doctor, WARN, "appendonly", "yes; appendfsync may not be read by this user: see that it is always");
        return;
    }
    struct bk_span mode = bk_reply_text(bk_reply_at(reply, 1));
    bool always = bk_span_is(mode, "always");
    say(doctor,
        always                   ? OK
        : bk_span_is(mode, "no") ? FAIL
                                 : WARN,
        "appendonly", "yes, appendfsync %.*s%s", (int)mode.size, mode.at ? mode.at : "?",
        always ? "" : ": a crash can lose the last moments; always loses nothing");
}

static void check_memory(struct doctor *doctor, struct bk_span info)
{
    char policy[40];
    info_value(info, "maxmemory_policy", policy, sizeof(policy));
    int64_t most = info_number(info, "maxmemory");
    int64_t used = info_number(info, "used_memory");
    bool evicts = strcmp(policy, "noeviction") != 0;
    if (evicts)
        say(doctor, FAIL, "eviction", "maxmemory-policy %s throws jobs away when memory is full; set noeviction",
            policy);
    else
        say(doctor, OK, "eviction", "noeviction");
    if (most == 0)
        say(doctor, WARN, "maxmemory", "not set: a long outage can take all of the machine's memory (%lld MB used)",
            (long long)(used / 1048576));
    else
        say(doctor, used > most / 10 * 8 ? WARN : OK, "maxmemory", "%lld of %lld MB used", (long long)(used / 1048576),
            (long long)(most / 1048576));
}

/* Redis 7.0 checks what functions did, when it reads it back from its log at start, against the rights of the user
 * `default`, and passes over what that user may not do: with fewer rights, settled jobs would come back and taken ones
 * vanish. It may be off, but must keep all rights. */
static void check_default_user(struct doctor *doctor)
{
    const struct bk_span words[] = {bk_span_of("ACL"), bk_span_of("GETUSER"), bk_span_of("default")};
    BK_AUTO(bk_reply) *reply = NULL;
    if (bk_queue_raw(doctor->ctl->queue, BK_COUNT(words), words, &reply, NULL) != BK_OK) {
        say(doctor, WARN, "user default",
            "its rights may not be read by this user: see that it has ~* &* +@all, if off");
        return;
    }
    bool all = bk_span_is(bk_reply_text(bk_reply_field(reply, "commands")), "+@all") &&
               bk_span_is(bk_reply_text(bk_reply_field(reply, "keys")), "~*");
    say(doctor, all ? OK : FAIL, "user default", "%s",
        all ? "has all rights, so that Redis can read back its log"
            : "has lost rights: a restart of Redis passes over what functions did; set `user default off ~* &* +@all`");
}

static bool check_redis(struct doctor *doctor)
{
    struct bk_error error = {0};
    if (bk_queue_connect(doctor->ctl->queue, &error) != BK_OK) {
        say(doctor, FAIL, "redis", "%s", error.text);
        return false;
    }
    say(doctor, OK, "queue functions", "version %d", BK_QUEUE_VERSION);
    const struct bk_span words[] = {bk_span_of("INFO")};
    BK_AUTO(bk_reply) *reply = NULL;
    if (bk_queue_raw(doctor->ctl->queue, 1, words, &reply, &error) != BK_OK) {
        say(doctor, WARN, "redis", "INFO may not be read by this user: %s", error.text);
        return true;
    }
    struct bk_span info = bk_reply_text(reply);
    char version[40];
    char role[24];
    info_value(info, "redis_version", version, sizeof(version));
    info_value(info, "role", role, sizeof(role));
    bool old = strtol(version, NULL, 10) < 7;
    say(doctor, old ? FAIL : OK, "redis", "version %s%s", version, old ? ": functions need 7.0" : "");
    say(doctor, strcmp(role, "master") == 0 ? OK : FAIL, "redis role", "%s", role);
    check_durability(doctor, info);
    check_default_user(doctor);
    check_memory(doctor, info);
    return true;
}

/* --- the queue --------------------------------------------------------------------------------------------------------- */

static void check_queue(struct doctor *doctor)
{
    struct bk_queue_status q;
    struct bk_error error = {0};
    bk_ms before = bk_clock_wall();
    if (bk_queue_read_status(doctor->ctl->queue, &q, &error) != BK_OK) {
        say(doctor, FAIL, "queue", "%s", error.text);
        return;
    }
    check_clock(doctor, "clock of redis", q.now, before, bk_clock_wall());
    say(doctor, q.paused ? WARN : OK, "paused", "%s", q.paused ? "yes: bookingctl resume goes on" : "no");
    say(doctor, q.workers == 0 ? WARN : OK, "workers", "%lld with a lease", (long long)q.workers);
    say(doctor, q.oldest_ms > OLDEST_WARN_MS ? WARN : OK, "oldest job", "%s",
        q.oldest_ms ? ctl_age(q.oldest_ms) : "none waits");
    if (q.dead)
        say(doctor, WARN, "dead letters", "%lld, the oldest %s old: bookingctl dead list", (long long)q.dead,
            ctl_age(q.oldest_dead_ms));
    else
        say(doctor, OK, "dead letters", "none");
    const struct bk_span words[] = {bk_span_of("HGET"), bk_span_of("config"), bk_span_of("breaker")};
    BK_AUTO(bk_reply) *reply = NULL;
    if (bk_queue_command(doctor->ctl->queue, BK_COUNT(words), words, 1, &reply, &error) != BK_OK)
        return;
    struct bk_span mode = bk_reply_text(reply);
    bool judged = mode.size == 0 || bk_span_is(mode, "auto");
    say(doctor, judged ? OK : WARN, "breaker", "%.*s", judged ? 4 : (int)mode.size, judged ? "auto" : mode.at);
}

static void check_ladder(struct doctor *doctor)
{
    const struct bk_config *c = &doctor->ctl->config;
    bool good = c->lock_timeout_ms < c->statement_timeout_ms;
    say(doctor, good ? OK : FAIL, "time limits", "lock %lld < statement %lld ms%s", (long long)c->lock_timeout_ms,
        (long long)c->statement_timeout_ms, good ? "" : " does not hold");
}

int ctl_doctor(struct ctl *ctl)
{
    struct doctor doctor = {.ctl = ctl};
    const struct ctl_option options[] = {{"--json", &doctor.json, NULL}};
    if (!ctl_options(ctl, options, BK_COUNT(options)))
        return BK_EXIT_USAGE;
    if (ctl->argc > 0)
        return ctl_usage("doctor takes no arguments");
    bk_text_puts(&doctor.out, doctor.json ? "[" : "");
    check_ladder(&doctor);
    check_postgresql(&doctor);
    if (check_redis(&doctor))
        check_queue(&doctor);
    if (doctor.json)
        bk_text_puts(&doctor.out, "]\n");
    else
        bk_text_printf(&doctor.out, "%d ok, %d warn, %d FAIL\n", doctor.found[OK], doctor.found[WARN],
                       doctor.found[FAIL]);
    ctl_print(&doctor.out);
    bk_text_deinit(&doctor.out);
    return doctor.found[FAIL] ? BK_EXIT_UNAVAILABLE : BK_EXIT_OK;
}
