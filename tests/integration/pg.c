/* pg.c - one connection to PostgreSQL: how it is made, how a statement ends, and what is believed of a server that says
 * strange things. On a real server wherever a real one can be made to do it. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "common/text.h"
#include "tests/support/peer.h"

static const char *real; /* the private server's URL */
static struct bk_pg_options options;
static struct bk_pg *pg;
static struct bk_error error;

static bk_ms soon(void)
{
    return bk_clock_now() + 5000;
}

static enum bk_status open_at(const char *conninfo)
{
    options.conninfo = conninfo;
    pg = bk_pg_close(pg);
    error = (struct bk_error){0};
    return bk_pg_open(&pg, &options, soon(), &error);
}

static void begin(void)
{
    real = getenv("TEST_DATABASE_URL");
    cr_assert(real, "TEST_DATABASE_URL is not set; tests/run store sets it");
    options =
        (struct bk_pg_options){.application_name = "pg test", .statement_timeout_ms = 5000, .lock_timeout_ms = 2000};
    cr_assert_eq(open_at(real), BK_OK, "%s", error.text);
}

static void end(void)
{
    pg = bk_pg_close(pg);
}

TestSuite(pg, .init = begin, .fini = end, .timeout = 30);

static void expect_error(const char *piece)
{
    cr_expect(strstr(error.text, piece), "\"%s\" is not in \"%s\"", piece, error.text);
}

/* The real server's URL with something behind it. */
static const char *with(const char *parameters)
{
    static char text[300];
    (void)snprintf(text, sizeof(text), "%s?%s", real, parameters);
    return text;
}

static const char *real_port(void)
{
    static char port[8];
    (void)snprintf(port, sizeof(port), "%.*s", (int)strspn(strrchr(real, ':') + 1, "0123456789"),
                   strrchr(real, ':') + 1);
    return port;
}

/* A conninfo of several hosts; the real server is at the port between `before` and `behind`. */
static const char *hosts(const char *names, const char *before, const char *behind)
{
    static char text[300];
    (void)snprintf(text, sizeof(text), "%s port=%s%s%s dbname=booking user=postgres", names, before, real_port(),
                   behind);
    return text;
}

static enum bk_status query(const char *sql, struct bk_rows **rows)
{
    error = (struct bk_error){0};
    return bk_pg_query(pg, sql, 0, NULL, soon(), rows, &error);
}

static enum bk_status script(const char *sql)
{
    error = (struct bk_error){0};
    return bk_pg_script(pg, sql, soon(), &error);
}

static void expect_value(const char *sql, const char *expected)
{
    BK_AUTO(bk_rows) *rows = NULL;
    cr_assert_eq(query(sql, &rows), BK_OK, "%s", error.text);
    cr_expect_str_eq(bk_rows_text(rows, 0, 0), expected);
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

Test(pg, a_session_has_the_limits_that_were_asked_for_and_what_the_url_says)
{
    cr_assert_eq(open_at(with("options=-c%20work_mem%3D7MB")), BK_OK, "%s", error.text);
    expect_value("show statement_timeout", "5s");
    expect_value("show lock_timeout", "2s");
    expect_value("show work_mem", "7MB");
    expect_value("show application_name", "pg test");
    cr_expect_geq(bk_pg_server_version(pg), 150000);
    cr_expect_gt(bk_pg_backend_pid(pg), 0);
}

Test(pg, behind_a_pooler_nothing_is_set_for_the_session)
{
    options.pgbouncer = true;
    cr_assert_eq(open_at(real), BK_OK, "%s", error.text);
    expect_value("show lock_timeout", "0");
}

Test(pg, the_first_host_that_can_be_reached_is_taken)
{
    cr_expect_eq(open_at(hosts("host=127.0.0.1,127.0.0.1", "1,", "")), BK_OK, "%s", error.text);
    cr_expect_eq(open_at(hosts("hostaddr=127.0.0.1,127.0.0.1", "1,", "")), BK_OK, "%s", error.text);
    cr_expect_eq(open_at(hosts("host=localhost,db2,db3 hostaddr=127.0.0.1,127.0.0.1,127.0.0.1", "", ",1,1")), BK_OK);
    cr_expect_eq(open_at("host=127.0.0.1,127.0.0.1 port=1 dbname=x"), BK_OUTAGE, "one port serves for both");
}

Test(pg, a_host_that_takes_no_writes_is_passed_over_for_one_that_does_and_taken_for_want_of_any)
{
    cr_assert_eq(script("alter role postgres set default_transaction_read_only = on"), BK_OK, "%s", error.text);
    enum bk_status status = open_at(hosts("host=127.0.0.1,127.0.0.1", "", ""));
    bool read_only = status == BK_OK && bk_pg_read_only(pg);
    cr_assert_eq(script("begin read write; alter role postgres reset all; commit"), BK_OK);
    cr_expect_eq(status, BK_OK, "%s", error.text);
    cr_expect(read_only, "the last one is taken as it is: its caller looks");
    cr_expect_eq(open_at(real), BK_OK);
    cr_expect(!bk_pg_read_only(pg));
}

Test(pg, what_is_wrong_at_the_door_is_an_operators_matter_or_an_outage_and_no_jobs_fault)
{
    cr_expect_eq(open_at("host=127.0.0.1 port=1 dbname=x"), BK_OUTAGE);
    expect_error("refused");
    cr_expect_eq(open_at(with("user=nobody_of_that_name")), BK_OPERATOR);
    cr_expect_str_eq(error.sqlstate, "28000");
    cr_expect_null(strstr(error.text, "LOCATION"), "%s", error.text);
    cr_expect_eq(open_at(with("options=-c%20no_such_setting%3D1")), BK_OPERATOR);
    cr_expect_str_eq(error.sqlstate, "42704");
    cr_expect_eq(open_at(with("options=-c%20work_mem%3Dnonsense")), BK_OUTAGE, "22023, elsewhere a job's fault");
    cr_expect_str_eq(error.sqlstate, "22023");
    cr_expect_eq(open_at(with("sslmode=nonsense")), BK_OUTAGE);
    expect_error("sslmode");
    cr_expect_eq(open_at("host = = ="), BK_INVALID);
    cr_expect_eq(bk_pg_open(&pg, &options, soon(), NULL), BK_INVALID, "nobody has to ask why");
}

Test(pg, a_password_that_is_missing_is_an_operators_matter)
{
    static const char asks[] = {'R', 0, 0, 0, 8, 0, 0, 0, 3}; /* AuthenticationCleartextPassword */
    struct peer *peer = peer_open(1, &(struct bk_span){asks, sizeof(asks)}, PEER_SILENT);
    char text[100];
    (void)snprintf(text, sizeof(text), "host=127.0.0.1 port=%u dbname=x user=x sslmode=disable", peer_port(peer));
    cr_expect_eq(open_at(text), BK_OPERATOR);
    expect_error("password");
    (void)peer_close(peer);
}

Test(pg, who_accepts_and_is_silent_costs_the_deadline_and_no_more)
{
    struct peer *peer = peer_open(0, NULL, PEER_SILENT);
    char text[100];
    (void)snprintf(text, sizeof(text), "host=127.0.0.1 port=%u dbname=x user=x", peer_port(peer));
    options.conninfo = text;
    pg = bk_pg_close(pg);
    bk_ms began = bk_clock_now();
    cr_expect_eq(bk_pg_open(&pg, &options, began + 200, &error), BK_OUTAGE);
    expect_error("connecting took too long");
    cr_expect_lt(bk_clock_now() - began, 2000);
    (void)peer_close(peer);
}

Test(pg, messages_name_the_hosts_and_nothing_else)
{
    char text[100];
    bk_pg_hosts("postgresql://me:secret@db1:5433,db2:5434/x", text, sizeof(text));
    cr_expect_str_eq(text, "db1,db2 port 5433,5434");
    bk_pg_hosts("hostaddr=10.0.0.1 password=secret", text, sizeof(text));
    cr_expect_str_eq(text, "10.0.0.1");
    (void)setenv("PGHOST", "from.the.environment", 1);
    bk_pg_hosts("dbname=x", text, sizeof(text));
    cr_expect_str_eq(text, "from.the.environment");
    (void)unsetenv("PGHOST");
    bk_pg_hosts("dbname=x", text, sizeof(text));
    cr_expect_str_eq(text, "local socket");
}

Test(pg, a_port_that_is_none_is_told_before_anybody_connects)
{
    static const char *const bad[] = {"0", "65536", "-1", "x", "5432,x", "5432,0"};
    for (size_t i = 0; i < BK_COUNT(bad); i++) {
        char text[60];
        (void)snprintf(text, sizeof(text), "host=a,b port=%s", bad[i]);
        cr_expect_eq(bk_pg_check_conninfo(text, text, &error), BK_INVALID, "%s", text);
        expect_error("1 to 65535");
    }
    static const char *const good[] = {"host=a,b port=5432,", "host=a,b port=,1", "host=a port=65535", "dbname=x"};
    for (size_t i = 0; i < BK_COUNT(good); i++)
        cr_expect_eq(bk_pg_check_conninfo(good[i], good[i], &error), BK_OK, "%s: %s", good[i], error.text);
    cr_expect_eq(bk_pg_check_conninfo("secret", "secret", NULL), BK_INVALID, "nobody has to ask why");
}

/* --- statements --------------------------------------------------------------------------------------------------- */

Test(pg, a_statement_larger_than_any_buffer_arrives_whole)
{
    static char huge[(32 << 20) + 1];
    memset(huge, 'x', sizeof(huge) - 1);
    const char *const params[] = {huge};
    BK_AUTO(bk_rows) *rows = NULL;
    cr_assert_eq(bk_pg_query(pg, "select length($1)", 1, params, bk_clock_now() + 20000, &rows, &error), BK_OK, "%s",
                 error.text);
    cr_expect_eq(bk_rows_integer(rows, 0, 0, 0), 32 << 20);
}

Test(pg, a_field_reads_as_text_integer_or_null)
{
    BK_AUTO(bk_rows) *rows = NULL;
    cr_assert_eq(query("select 7, 'seven', null", &rows), BK_OK);
    cr_expect_eq(bk_rows_count(rows), 1);
    cr_expect_eq(bk_rows_integer(rows, 0, 0, -1), 7);
    cr_expect_eq(bk_rows_integer(rows, 0, 1, -1), -1);
    cr_expect_eq(bk_rows_integer(rows, 0, 2, -1), -1);
    cr_expect_null(bk_rows_text(rows, 0, 2));
    cr_expect_eq(bk_rows_count(NULL), 0);
}

Test(pg, of_several_statements_the_first_error_is_told_and_nothing_is_done)
{
    cr_expect_eq(script("create temp table t (n int); select 1; select 1/0; select nonsense"), BK_PERMANENT);
    cr_expect_str_eq(error.sqlstate, "22012");
    cr_expect(bk_pg_reusable(pg));
    expect_value("select to_regclass('pg_temp.t') is null", "t");
}

Test(pg, a_session_left_inside_a_transaction_is_not_used_again)
{
    cr_expect_eq(script("begin; select 1"), BK_UNKNOWN, "whether it will ever commit is not known");
    expect_error("did not come to rest");
    cr_expect(!bk_pg_reusable(pg));
    cr_expect(!bk_pg_alive(pg));
    cr_expect_eq(script("select 1"), BK_OUTAGE, "nothing is sent any more");
    expect_error("is closed");
}

Test(pg, an_error_inside_a_transaction_left_open_is_no_clear_no)
{
    cr_expect_eq(script("begin; select 1/0"), BK_UNKNOWN);
    cr_expect_str_eq(error.sqlstate, "22012");
    cr_expect(!bk_pg_reusable(pg));
}

Test(pg, a_copy_that_nobody_asked_for_ends_the_connection)
{
    cr_expect_eq(script("copy (select 1) to stdout"), BK_UNKNOWN);
    cr_expect(!bk_pg_reusable(pg));
}

Test(pg, what_cannot_be_sent_is_told)
{
    static char *params[70000];
    error = (struct bk_error){0};
    BK_AUTO(bk_rows) *rows = NULL;
    cr_expect_eq(bk_pg_query(pg, "select 1", BK_COUNT(params), (const char *const *)params, soon(), &rows, &error),
                 BK_UNKNOWN);
    expect_error("parameters");
    cr_expect(!bk_pg_reusable(pg));
}

Test(pg, a_commit_that_may_not_have_reached_the_standby_is_noted_once)
{
    cr_expect(!bk_pg_take_degraded(pg));
    cr_assert_eq(script("do $$ begin raise warning 'x' using errcode = '01000'; end $$"), BK_OK);
    cr_expect(bk_pg_take_degraded(pg));
    cr_expect(!bk_pg_take_degraded(pg));
    cr_assert_eq(script("do $$ begin raise notice 'x' using errcode = '01000'; end $$"), BK_OK);
    cr_assert_eq(script("do $$ begin raise warning 'x' using errcode = '01001'; end $$"), BK_OK);
    cr_expect(!bk_pg_take_degraded(pg), "another severity, and another code, say nothing of it");
}

/* --- what happens to a connection that rests ---------------------------------------------------------------------------- */

static void as_somebody_else(const char *format, ...) BK_PRINTF(1, 2);
static void as_somebody_else(const char *format, ...)
{
    char sql[200];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(sql, sizeof(sql), format, args);
    va_end(args);
    BK_AUTO(bk_pg) *other = NULL;
    options.conninfo = real;
    cr_assert_eq(bk_pg_open(&other, &options, soon(), &error), BK_OK, "%s", error.text);
    cr_assert_eq(bk_pg_script(other, "set default_transaction_read_only = off", soon(), &error), BK_OK);
    cr_assert_eq(bk_pg_script(other, sql, soon(), &error), BK_OK, "%s", error.text);
}

/* Looks until it sees what is expected of the resting connection. */
static bool comes_true(bool (*look)(void))
{
    for (bk_ms deadline = soon(); bk_clock_now() < deadline;) {
        if (look())
            return true;
    }
    return false;
}

static bool is_dead(void)
{
    return !bk_pg_alive(pg);
}

static bool is_read_only(void)
{
    return script("") == BK_OK && bk_pg_read_only(pg);
}

static bool may_write(void)
{
    return script("") == BK_OK && !bk_pg_read_only(pg);
}

Test(pg, a_resting_connection_hears_of_its_end)
{
    cr_assert(bk_pg_alive(pg));
    as_somebody_else("select pg_terminate_backend(%d)", bk_pg_backend_pid(pg));
    cr_expect(comes_true(is_dead));
    cr_expect_eq(script("select 1"), BK_OUTAGE);
    cr_expect_str_eq(error.sqlstate, "57P01", "%s", error.text);
}

Test(pg, a_resting_connection_hears_of_other_things_and_lives_on)
{
    cr_assert_eq(script("listen something"), BK_OK);
    as_somebody_else("notify something");
    for (bk_ms until = bk_clock_now() + 200; bk_clock_now() < until;) /* it comes some time in between */
        cr_assert(bk_pg_alive(pg));
    expect_value("select 1", "1");
}

Test(pg, a_server_that_takes_no_more_writes_says_so_with_its_next_answer)
{
    as_somebody_else("alter system set default_transaction_read_only = on");
    as_somebody_else("select pg_reload_conf()");
    bool heard = comes_true(is_read_only);
    as_somebody_else("alter system reset default_transaction_read_only");
    as_somebody_else("select pg_reload_conf()");
    cr_expect(heard);
    cr_expect(comes_true(may_write));
}

/* --- a server that is none ---------------------------------------------------------------------------------------- */

/* What a server says to let somebody in: AuthenticationOk, ReadyForQuery. */
static const char welcome[] = "R\0\0\0\10\0\0\0\0Z\0\0\0\5I";

static struct peer *let_in(const char *answer, size_t size, enum peer_end how)
{
    static struct bk_span lines[2];
    lines[0] = (struct bk_span){welcome, sizeof(welcome) - 1};
    lines[1] = (struct bk_span){answer, size};
    struct peer *peer = peer_open(2, lines, how);
    char text[100];
    (void)snprintf(text, sizeof(text), "host=127.0.0.1 port=%u dbname=x user=x sslmode=disable gssencmode=disable",
                   peer_port(peer));
    cr_assert_eq(open_at(text), BK_OK, "%s", error.text);
    return peer;
}

Test(pg, an_error_without_a_code_is_no_clear_no)
{
    static const char answer[] = "E\0\0\0\10M?\0\0Z\0\0\0\5I";
    struct peer *peer = let_in(answer, sizeof(answer) - 1, PEER_SILENT);
    cr_expect_eq(script("select 1"), BK_UNKNOWN);
    cr_expect_str_eq(error.sqlstate, "");
    (void)peer_close(peer);
}

Test(pg, a_notice_without_a_code_is_nothing)
{
    static const char answer[] = "N\0\0\0\10M?\0\0C\0\0\0\rSELECT 1\0Z\0\0\0\5I";
    struct peer *peer = let_in(answer, sizeof(answer) - 1, PEER_SILENT);
    cr_expect_eq(script("select 1"), BK_OK, "%s", error.text);
    cr_expect(!bk_pg_take_degraded(pg));
    (void)peer_close(peer);
}

Test(pg, who_says_nonsense_or_goes_away_leaves_the_outcome_unknown)
{
    static const char *const answers[] = {"?", "", "T\0\0\0"};
    for (size_t i = 0; i < BK_COUNT(answers); i++) {
        struct peer *peer = let_in(answers[i], 1, i ? PEER_CLOSES : PEER_SILENT);
        error = (struct bk_error){0};
        cr_expect_eq(bk_pg_script(pg, "select 1", bk_clock_now() + 300, &error), BK_UNKNOWN, "%zu", i);
        cr_expect(!bk_pg_reusable(pg));
        cr_expect_neq(*error.text, '\0');
        (void)peer_close(peer);
    }
}

Test(pg, rows_without_end_are_not_read_beyond_the_deadline)
{
    bk_ms began = bk_clock_now();
    BK_AUTO(bk_rows) *rows = NULL;
    cr_expect_eq(bk_pg_query(pg, "select repeat('x', 1000) from generate_series(1, 3000000)", 0, NULL, began + 300,
                             &rows, &error),
                 BK_UNKNOWN);
    expect_error("no answer in time");
    cr_expect_lt(bk_clock_now() - began, 2000, "%lld ms", (long long)(bk_clock_now() - began));
}

Test(pg, who_takes_nothing_more_costs_the_deadline_and_no_more)
{
    static char huge[(32 << 20) + 1];
    memset(huge, 'x', sizeof(huge) - 1);
    const char *const params[] = {huge};
    static const enum peer_end ends[] = {PEER_DEAF, PEER_CLOSES};
    for (size_t i = 0; i < BK_COUNT(ends); i++) {
        struct peer *peer = let_in(welcome, 0, ends[i]);
        BK_AUTO(bk_rows) *rows = NULL;
        bk_ms began = bk_clock_now();
        error = (struct bk_error){0};
        cr_expect_eq(bk_pg_query(pg, "select $1", 1, params, began + 500, &rows, &error), BK_UNKNOWN);
        cr_expect_lt(bk_clock_now() - began, 3000);
        cr_expect_neq(*error.text, '\0');
        cr_expect(!bk_pg_reusable(pg));
        (void)peer_close(peer);
    }
}
