/* pool.c - the connection pool on a real PostgreSQL: whom it serves, what it trusts, what it says when it cannot. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/pool.h"
#include "common/text.h"

static const char *conninfo;

static struct bk_pool_settings settings_of(unsigned min, unsigned max)
{
    return (struct bk_pool_settings){.session = {.conninfo = conninfo,
                                                 .application_name = "pool test",
                                                 .statement_timeout_ms = 5000,
                                                 .lock_timeout_ms = 2000},
                                     .min = min,
                                     .max = max,
                                     .connect_timeout_ms = 2000,
                                     .keepalive_ms = 30000};
}

static struct bk_pool *open_pool(struct bk_pool_settings settings)
{
    struct bk_pool *pool = NULL;
    struct bk_error error = {0};
    bk_log_setup("error", "text", "test");
    cr_assert_eq(bk_pool_open(&pool, &settings, &error), BK_OK, "%s", error.text);
    return pool;
}

static void need_server(void)
{
    conninfo = getenv("TEST_DATABASE_URL");
    cr_assert(conninfo, "TEST_DATABASE_URL is not set; tests/run store sets it");
}

TestSuite(pool, .init = need_server, .timeout = 60);

static struct bk_pg *acquire(struct bk_pool *pool)
{
    struct bk_pg *pg = NULL;
    struct bk_error error = {0};
    enum bk_status status = bk_pool_acquire(pool, bk_clock_now() + 5000, "test", &pg, NULL, &error);
    cr_assert_eq(status, BK_OK, "%s", error.text);
    return pg;
}

static void run(struct bk_pg *pg, const char *sql)
{
    struct bk_error error = {0};
    cr_assert_eq(bk_pg_script(pg, sql, bk_clock_now() + 5000, &error), BK_OK, "%s", error.text);
}

Test(pool, the_last_one_given_back_is_the_first_one_lent)
{
    struct bk_pool *pool = open_pool(settings_of(3, 3));
    struct bk_pg *a = acquire(pool);
    struct bk_pg *b = acquire(pool);
    bk_pool_release(pool, a, BK_POOL_KEEP);
    bk_pool_release(pool, b, BK_POOL_KEEP);
    cr_expect_eq(acquire(pool), b);
    bk_pool_release(pool, b, BK_POOL_KEEP);
    (void)bk_pool_close(pool);
}

Test(pool, a_timeout_tells_exhausted_from_down)
{
    struct bk_pool *pool = open_pool(settings_of(1, 1));
    struct bk_pg *only = acquire(pool);
    struct bk_pg *none = NULL;
    struct bk_error error = {0};
    cr_expect_eq(bk_pool_acquire(pool, bk_clock_now() + 50, "test", &none, NULL, &error), BK_TIMEOUT);
    cr_expect(strstr(error.text, "all are in use: ") || strstr(error.text, "(all are in use)"), "%s", error.text);
    cr_expect(strstr(error.text, "1 of 1 in use"), "%s", error.text);
    bk_pool_release(pool, only, BK_POOL_KEEP);
    (void)bk_pool_close(pool);

    conninfo = "host=127.0.0.1 port=1 dbname=nowhere";
    pool = open_pool(settings_of(1, 1));
    cr_expect_eq(bk_pool_acquire(pool, bk_clock_now() + 3000, "test", &none, NULL, &error), BK_OUTAGE);
    cr_expect(strstr(error.text, "cannot be reached") && strstr(error.text, "refused"), "%s", error.text);
    (void)bk_pool_close(pool);
}

Test(pool, a_wrong_database_is_an_operators_matter)
{
    BK_AUTO_TEXT wrong = {0};
    const char *slash = strrchr(conninfo, '/');
    bk_text_add(&wrong, conninfo, (size_t)(slash + 1 - conninfo));
    bk_text_puts(&wrong, "no_such_database");
    conninfo = bk_text_string(&wrong);
    struct bk_pool *pool = open_pool(settings_of(1, 1));
    struct bk_pg *none = NULL;
    struct bk_error error = {0};
    cr_expect_eq(bk_pool_acquire(pool, bk_clock_now() + 5000, "test", &none, NULL, &error), BK_OPERATOR);
    cr_expect_str_eq(error.sqlstate, "3D000");
    (void)bk_pool_close(pool);
}

Test(pool, a_backend_that_was_killed_is_found_out_before_it_is_lent)
{
    struct bk_pool *pool = open_pool(settings_of(2, 2));
    struct bk_pg *victim = acquire(pool);
    struct bk_pg *killer = acquire(pool);
    char sql[100];
    (void)snprintf(sql, sizeof(sql), "select pg_terminate_backend(%d, 5000)", bk_pg_backend_pid(victim));
    bk_pool_release(pool, victim, BK_POOL_KEEP);
    run(killer, sql);
    struct bk_pg *fresh = acquire(pool); /* the dead one lies on top of the idle ones */
    run(fresh, "select 1");
    bk_pool_release(pool, fresh, BK_POOL_KEEP);
    bk_pool_release(pool, killer, BK_POOL_KEEP);
    struct bk_pool_stats stats;
    bk_pool_read_stats(pool, &stats);
    cr_expect_eq(stats.closed, 1);
    (void)bk_pool_close(pool);
}

Test(pool, a_doomed_set_is_not_used_again)
{
    struct bk_pool *pool = open_pool(settings_of(2, 2));
    struct bk_pg *a = acquire(pool);
    struct bk_pg *b = acquire(pool);
    int pid = bk_pg_backend_pid(b);
    bk_pool_release(pool, b, BK_POOL_KEEP);
    bk_pool_release(pool, a, BK_POOL_DOOM);
    struct bk_pg *c = acquire(pool);
    cr_expect_neq(bk_pg_backend_pid(c), pid, "b was opened before the server changed its role");
    bk_pool_release(pool, c, BK_POOL_KEEP);
    struct bk_pool_stats stats;
    bk_pool_read_stats(pool, &stats);
    cr_expect_eq(stats.generation, 2);
    (void)bk_pool_close(pool);
}

Test(pool, a_failed_statement_leaves_the_connection_good_and_a_lost_one_does_not)
{
    struct bk_pool *pool = open_pool(settings_of(1, 1));
    struct bk_pg *pg = acquire(pool);
    struct bk_error error = {0};
    cr_expect_eq(bk_pg_script(pg, "select 1/0", bk_clock_now() + 5000, &error), BK_PERMANENT);
    cr_expect_str_eq(error.sqlstate, "22012");
    cr_expect(bk_pg_reusable(pg));
    cr_expect_eq(bk_pg_script(pg, "select pg_sleep(5)", bk_clock_now() + 50, &error), BK_UNKNOWN, "a deadline");
    cr_expect(!bk_pg_reusable(pg));
    bk_pool_release(pool, pg, BK_POOL_KEEP); /* says keep, but the pool looks for itself */
    struct bk_pool_stats stats;
    bk_pool_read_stats(pool, &stats);
    cr_expect_eq(stats.closed, 1);
    (void)bk_pool_close(pool);
}

Test(pool, the_first_error_of_a_killed_backend_is_told)
{
    struct bk_pool *pool = open_pool(settings_of(1, 1));
    struct bk_pg *pg = acquire(pool);
    struct bk_error error = {0};
    enum bk_status status =
        bk_pg_script(pg, "select pg_terminate_backend(pg_backend_pid())", bk_clock_now() + 5000, &error);
    cr_expect_eq(status, BK_UNKNOWN, "what it did before is not known");
    cr_expect_str_eq(error.sqlstate, "57P01", "%s", error.text);
    bk_pool_release(pool, pg, BK_POOL_DISCARD);
    (void)bk_pool_close(pool);
}

Test(pool, a_commit_that_fails_is_no_success)
{
    struct bk_pool *pool = open_pool(settings_of(1, 1));
    struct bk_pg *pg = acquire(pool);
    run(pg, "create temp table t (id int, constraint t_u unique (id) deferrable initially deferred)");
    struct bk_error error = {0};
    /* both rows arrive, and then the commit fails */
    struct bk_rows *rows = NULL;
    cr_expect_eq(
        bk_pg_query(pg, "insert into t values (1), (1) returning id", 0, NULL, bk_clock_now() + 5000, &rows, &error),
        BK_PERMANENT);
    cr_expect_str_eq(error.sqlstate, "23505");
    cr_expect_null(rows);
    bk_pool_release(pool, pg, BK_POOL_KEEP);
    (void)bk_pool_close(pool);
}

/* --- waiting ------------------------------------------------------------------------------------------------------------------- */

struct waiting {
    struct bk_pool *pool;
    int number;
    int *order; /* shared: who was served when */
    _Atomic int *served;
};

static void *wait_in_line(void *arg)
{
    struct waiting *w = arg;
    struct bk_pg *pg = NULL;
    if (bk_pool_acquire(w->pool, bk_clock_now() + 20000, "waiter", &pg, NULL, NULL) == BK_OK) {
        w->order[(*w->served)++] = w->number;
        bk_pool_release(w->pool, pg, BK_POOL_KEEP);
    }
    return NULL;
}

static void wait_until_waiting(struct bk_pool *pool, unsigned count)
{
    struct bk_pool_stats stats;
    do {
        bk_pool_read_stats(pool, &stats);
    } while (stats.waiting < count);
}

/* Returns when it stands there, behind `number` others. */
static pthread_t join_line(struct waiting *w)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, wait_in_line, w), 0);
    wait_until_waiting(w->pool, (unsigned)w->number + 1);
    return thread;
}

Test(pool, first_come_first_served)
{
    enum { WAITERS = 8 };
    struct bk_pool *pool = open_pool(settings_of(1, 1));
    struct bk_pg *only = acquire(pool);
    int order[WAITERS];
    _Atomic int served = 0;
    struct waiting waiting[WAITERS];
    pthread_t threads[WAITERS];
    for (int i = 0; i < WAITERS; i++) {
        waiting[i] = (struct waiting){pool, i, order, &served};
        threads[i] = join_line(&waiting[i]);
    }
    bk_pool_release(pool, only, BK_POOL_KEEP);
    for (int i = 0; i < WAITERS; i++)
        (void)pthread_join(threads[i], NULL);
    cr_assert_eq(served, WAITERS);
    for (int i = 0; i < WAITERS; i++)
        cr_expect_eq(order[i], i);
    (void)bk_pool_close(pool);
}

Test(pool, draining_ends_every_wait_at_once)
{
    struct bk_pool *pool = open_pool(settings_of(1, 1));
    struct bk_pg *only = acquire(pool);
    int order[1];
    _Atomic int served = 0;
    struct waiting waiting = {pool, 0, order, &served};
    pthread_t thread = join_line(&waiting);
    bk_pool_drain(pool);
    (void)pthread_join(thread, NULL);
    cr_expect_eq(served, 0);
    struct bk_error error = {0};
    struct bk_pg *none = NULL;
    cr_expect_eq(bk_pool_acquire(pool, bk_clock_now() + 5000, "test", &none, NULL, &error), BK_STOPPED);
    bk_pool_release(pool, only, BK_POOL_KEEP);
    (void)bk_pool_close(pool);
}

Test(pool, idle_connections_above_the_minimum_and_old_ones_go)
{
    struct bk_pool_settings settings = settings_of(1, 2);
    settings.idle_timeout_ms = 1;
    settings.max_lifetime_ms = 200;
    struct bk_pool *pool = open_pool(settings);
    struct bk_pg *a = acquire(pool);
    struct bk_pg *b = acquire(pool);
    bk_pool_release(pool, a, BK_POOL_KEEP);
    bk_pool_release(pool, b, BK_POOL_KEEP);
    struct bk_pool_stats stats;
    bk_ms deadline = bk_clock_now() + 20000;
    do { /* the surplus one goes, then the other for its age, and a new one takes its place */
        bk_pool_read_stats(pool, &stats);
    } while ((stats.closed < 2 || stats.opened < 3) && bk_clock_now() < deadline);
    cr_expect_geq(stats.closed, 2);
    cr_expect_geq(stats.opened, 3);
    (void)bk_pool_close(pool);
}

/* --- the keeper --------------------------------------------------------------------------------------------------- */

/* Waits until the pool's numbers are as `good` wants them. */
static bool comes_to(struct bk_pool *pool, bool (*good)(const struct bk_pool_stats *stats))
{
    for (bk_ms deadline = bk_clock_now() + 20000; bk_clock_now() < deadline;) {
        struct bk_pool_stats stats;
        bk_pool_read_stats(pool, &stats);
        if (good(&stats))
            return true;
    }
    return false;
}

static bool one_is_idle(const struct bk_pool_stats *stats)
{
    return stats->idle == 1;
}

static bool one_was_closed(const struct bk_pool_stats *stats)
{
    return stats->closed == 1 && stats->idle == 1;
}

static void terminate(int pid)
{
    char sql[100];
    struct bk_pg *killer = NULL;
    const struct bk_pg_options options = settings_of(1, 1).session;
    cr_assert_eq(bk_pg_open(&killer, &options, bk_clock_now() + 5000, NULL), BK_OK);
    (void)snprintf(sql, sizeof(sql), "select pg_terminate_backend(%d, 5000)", pid);
    run(killer, sql);
    (void)bk_pg_close(killer);
}

Test(pool, a_silent_connection_is_checked_and_kept_while_it_is_good)
{
    struct bk_pool_settings settings = settings_of(1, 1);
    settings.keepalive_ms = 1;
    struct bk_pool *pool = open_pool(settings);
    struct bk_pg *pg = acquire(pool);
    int pid = bk_pg_backend_pid(pg);
    bk_pool_release(pool, pg, BK_POOL_KEEP);
    /* its round trips are seen by the server */
    char sql[120];
    struct bk_pg *other = NULL;
    (void)snprintf(sql, sizeof(sql), "select 1 from pg_stat_activity where pid = %d and query = ''", pid);
    cr_assert_eq(bk_pg_open(&other, &settings.session, bk_clock_now() + 5000, NULL), BK_OK);
    size_t seen = 0;
    for (bk_ms deadline = bk_clock_now() + 20000; seen == 0 && bk_clock_now() < deadline;) {
        BK_AUTO(bk_rows) *rows = NULL;
        cr_assert_eq(bk_pg_query(other, sql, 0, NULL, bk_clock_now() + 5000, &rows, NULL), BK_OK);
        seen = bk_rows_count(rows);
    }
    cr_expect_eq(seen, 1);
    (void)bk_pg_close(other);
    cr_assert(comes_to(pool, one_is_idle));
    terminate(pid);
    cr_expect(comes_to(pool, one_was_closed), "one that has ended goes, and another takes its place");
    (void)bk_pool_close(pool);
}

Test(pool, who_keeps_a_connection_for_long_is_named_in_the_log)
{
    int ends[2];
    char line[600] = "";
    cr_assert_eq(pipe(ends), 0);
    int before = dup(STDERR_FILENO);
    struct bk_pool_settings settings = settings_of(1, 1);
    settings.leak_warning_ms = 1;
    struct bk_pool *pool = open_pool(settings);
    struct bk_pg *pg = NULL;
    cr_assert_eq(bk_pool_acquire(pool, bk_clock_now() + 5000, "forgetful", &pg, NULL, NULL), BK_OK);
    (void)dup2(ends[1], STDERR_FILENO);
    bk_log_setup("warn", "text", "test");
    cr_expect_gt(read(ends[0], line, sizeof(line) - 1), 0); /* comes with the keeper's next look */
    (void)dup2(before, STDERR_FILENO);
    cr_expect(strstr(line, "has been out for") && strstr(line, "borrowed by forgetful"), "%s", line);
    bk_pool_release(pool, pg, BK_POOL_KEEP);
    (void)bk_pool_close(pool);
    (void)close(before);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

Test(pool, a_server_that_takes_no_writes_is_none)
{
    char text[200];
    (void)snprintf(text, sizeof(text), "%s?options=-c%%20default_transaction_read_only%%3Don", conninfo);
    conninfo = text;
    struct bk_pool *pool = open_pool(settings_of(1, 1));
    struct bk_pg *none = NULL;
    struct bk_error error = {0};
    cr_expect_eq(bk_pool_acquire(pool, bk_clock_now() + 5000, "test", &none, NULL, &error), BK_OUTAGE);
    cr_expect(strstr(error.text, "the server is read-only"), "%s", error.text);
    (void)bk_pool_close(pool);
}

Test(pool, a_connection_that_has_become_read_only_goes_when_it_is_seen)
{
    struct bk_pool *pool = open_pool(settings_of(1, 1));
    struct bk_pg *pg = acquire(pool);
    run(pg, "set default_transaction_read_only = on");
    bk_pool_release(pool, pg, BK_POOL_KEEP);
    cr_expect(comes_to(pool, one_was_closed));
    pg = acquire(pool);
    run(pg, "create temp table t ()");
    bk_pool_release(pool, pg, BK_POOL_KEEP);
    (void)bk_pool_close(pool);
}

Test(pool, who_comes_late_to_the_line_may_leave_it_first)
{
    struct bk_pool *pool = open_pool(settings_of(1, 1));
    struct bk_pg *only = acquire(pool);
    int order[1];
    _Atomic int served = 0;
    struct waiting waiting = {pool, 0, order, &served};
    pthread_t thread = join_line(&waiting);
    struct bk_pg *none = NULL;
    cr_expect_eq(bk_pool_acquire(pool, bk_clock_now() + 50, "late", &none, NULL, NULL), BK_TIMEOUT);
    cr_expect_eq(served, 0);
    bk_pool_release(pool, only, BK_POOL_KEEP);
    (void)pthread_join(thread, NULL);
    cr_expect_eq(served, 1);
    (void)bk_pool_close(pool);
}

Test(pool, what_a_given_up_session_holds_is_ended_over_the_next_connection)
{
    struct bk_pool *pool = open_pool(settings_of(1, 1));
    struct bk_pg *pg = acquire(pool);
    run(pg, "create table if not exists held ()");
    cr_expect_eq(bk_pg_script(pg, "lock table held; select pg_sleep(60)", bk_clock_now() + 100, NULL), BK_UNKNOWN);
    bk_pool_release(pool, pg, BK_POOL_DISCARD);
    pg = acquire(pool);
    bk_ms began = bk_clock_now();
    run(pg, "drop table held");
    cr_expect_lt(bk_clock_now() - began, 4000, "else it would have waited for the sleeper");
    bk_pool_release(pool, pg, BK_POOL_KEEP);
    (void)bk_pool_close(pool);
}

Test(pool, nothing_is_closed_twice)
{
    cr_expect_null(bk_pool_close(NULL));
}

Test(pool, what_a_given_up_session_holds_is_remembered_until_somebody_can_connect)
{
    char text[200];
    struct bk_pg *admin = NULL;
    const struct bk_pg_options options = settings_of(1, 1).session;
    const char *at = strchr(conninfo, '@');
    cr_assert_eq(bk_pg_open(&admin, &options, bk_clock_now() + 5000, NULL), BK_OK);
    run(admin, "drop role if exists guest; create role guest login; create table if not exists held ();"
               "alter table held owner to guest");
    (void)snprintf(text, sizeof(text), "postgresql://guest%s", at);
    conninfo = text;
    struct bk_pool *pool = open_pool(settings_of(1, 1));
    struct bk_pg *pg = acquire(pool);
    cr_expect_eq(bk_pg_script(pg, "lock table held; select pg_sleep(60)", bk_clock_now() + 100, NULL), BK_UNKNOWN);
    run(admin, "alter role guest nologin");
    bk_pool_release(pool, pg, BK_POOL_DISCARD);
    struct bk_pg *none = NULL;
    cr_expect_neq(bk_pool_acquire(pool, bk_clock_now() + 2000, "test", &none, NULL, NULL), BK_OK);
    run(admin, "alter role guest login");
    struct bk_error error = {0};
    for (bk_ms deadline = bk_clock_now() + 20000; !none && bk_clock_now() < deadline;)
        (void)bk_pool_acquire(pool, bk_clock_now() + 2000, "test", &none, NULL, &error);
    cr_assert_not_null(none, "%s", error.text);
    bk_ms began = bk_clock_now();
    run(none, "drop table held");
    cr_expect_lt(bk_clock_now() - began, 4000, "else it would have waited for the sleeper");
    bk_pool_release(pool, none, BK_POOL_KEEP);
    (void)bk_pool_close(pool);
    run(admin, "drop role guest");
    (void)bk_pg_close(admin);
}
