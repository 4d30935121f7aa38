/* pg.c - the only file that includes libpq.
 *
 * Everything goes: send, then poll() with the time that remains, read, until PQgetResult returns NULL. PQexec is not
 * used (it blocks, and of the two results of a killed backend it returns the one without an SQLSTATE), PQreset is not
 * used (it keeps what should be forgotten), and neither is PQcancel (it blocks when the postmaster is frozen): a
 * statement that outlives its deadline loses its connection, and the server ends it by statement_timeout or by
 * client_connection_check_interval.
 */
#include "common/pg.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "common/crash.h"
#include "common/sqlstate.h"
#include "common/text.h"
#include "common/url.h"

struct bk_pg {
    PGconn *conn;
    int backend_pid;
    bool broken;             /* a deadline or the connection was lost: never use it again */
    bool degraded;           /* a commit may not have reached the synchronous standby */
    char notice_sqlstate[6]; /* of a FATAL or worse that came as a notice */
};

/* --- errors ------------------------------------------------------------------------------------------------------- */

/* libpq's messages end in line feeds and run over several lines. */
static void one_line(char *text)
{
    size_t n = 0;
    for (size_t i = 0; text[i]; i++) {
        bool blank = text[i] == '\n' || text[i] == '\t' || text[i] == ' ';
        if (!blank)
            text[n++] = text[i];
        else if (n > 0 && text[n - 1] != ' ')
            text[n++] = ' ';
    }
    while (n > 0 && text[n - 1] == ' ')
        n--;
    text[n] = '\0';
}

static enum bk_status fail_with(struct bk_error *error, enum bk_status status, const char *sqlstate, const char *text)
{
    (void)bk_fail(error, status, "postgresql: %s", *text ? text : "the connection was lost");
    if (error) {
        one_line(error->text);
        (void)snprintf(error->sqlstate, sizeof(error->sqlstate), "%s", sqlstate);
    }
    return status;
}

/* A connect error has no PGresult; in verbose form its text carries the code: "FATAL:  28P01: password ...". */
static void find_sqlstate(const char *text, char out[6])
{
    const char *at = strstr(text, "FATAL:  ");
    if (at && strlen(at) > 14 && at[13] == ':')
        (void)snprintf(out, 6, "%.5s", at + 8);
    else
        out[0] = '\0';
}

static enum bk_status connect_failed(PGconn *conn, struct bk_error *error)
{
    const char *text = PQerrorMessage(conn);
    char sqlstate[6];
    find_sqlstate(text, sqlstate);
    /* the verbose form adds "LOCATION: ..." lines which help nobody here */
    const char *location = strstr(text, "LOCATION:");
    char first[400];
    (void)snprintf(first, sizeof(first), "%.*s", (int)(location ? location - text : (long)strlen(text)), text);
    enum bk_status status = bk_sqlstate_class(sqlstate);
    if (PQconnectionNeedsPassword(conn)) /* libpq gives up by itself then, without an SQLSTATE */
        status = BK_OPERATOR;
    /* whatever else the server says at the door, no job is to blame for it */
    if (status != BK_OPERATOR)
        status = BK_OUTAGE;
    return fail_with(error, status, sqlstate, first);
}

static void on_notice(void *arg, const PGresult *result)
{
    struct bk_pg *pg = arg;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (!sqlstate || !severity)
        return;
    if (strcmp(sqlstate, "01000") == 0 && strcmp(severity, "WARNING") == 0)
        pg->degraded = true;
    /* 57P02 (and 57P01 in the middle of a commit) come only here */
    if (strncmp(sqlstate, "57P", 3) == 0)
        (void)snprintf(pg->notice_sqlstate, sizeof(pg->notice_sqlstate), "%s", sqlstate);
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

struct parameters {
    const char *names[16];
    const char *values[16];
    size_t count;
};

static void add(struct parameters *p, const char *name, const char *value)
{
    BK_ASSERT(p->count + 1 < BK_COUNT(p->names));
    p->names[p->count] = name;
    p->values[p->count++] = value;
    p->names[p->count] = NULL;
    p->values[p->count] = NULL;
}

static const char *option_of(const PQconninfoOption *options, const char *name)
{
    for (const PQconninfoOption *o = options; o && o->keyword; o++) {
        if (strcmp(o->keyword, name) == 0)
            return o->val;
    }
    return NULL;
}

/* The i-th item of a comma-separated list; a list of one item serves for every i. NULL for no list. */
static char *item_of(const char *list, size_t i)
{
    if (!list || !strchr(list, ','))
        return list ? bk_strdup(list) : NULL;
    for (; i > 0 && list; i--) {
        list = strchr(list, ',');
        list = list ? list + 1 : NULL;
    }
    return list ? bk_strndup(list, strcspn(list, ",")) : NULL;
}

static size_t item_count(const char *list)
{
    size_t count = 1;
    for (const char *at = list; at && *at; at++)
        count += *at == ',';
    return count;
}

/* Whether the quoted word is the name of a parameter that is shown anyway, in the URL without its secrets. */
static bool is_shown(const char *quote, const char *url)
{
    BK_AUTO_TEXT shown = {0};
    BK_AUTO_TEXT name = {0};
    bk_url_mask(&shown, url);
    bk_text_add(&name, quote + 1, strcspn(quote + 1, "\""));
    bk_text_putc(&name, '=');
    const char *at = name.size > 1 ? strstr(bk_text_string(&shown), name.data) : NULL;
    return at && (at == shown.data || strchr("?& \t", at[-1]));
}

/* What libpq cannot read it quotes, be it a piece of the password: a raw '?' or a blank in one begins what looks like a
 * parameter. */
static void hide_quoted(char *text, const char *url)
{
    static const char missing[] = "missing \"=\"";
    char *from = strncmp(text, missing, sizeof(missing) - 1) == 0 ? text + sizeof(missing) - 1 : text;
    char *quote = strchr(from, '"');
    if (!quote || is_shown(quote, url))
        return;
    size_t size = BK_MIN(strlen(quote), (size_t)3);
    memcpy(quote, "...", size);
    quote[size] = '\0';
}

/* libpq looks at ports only when it connects. An empty item means the default one. */
static bool ports_are_good(const char *list)
{
    for (size_t i = 0; list && i < item_count(list); i++) {
        char *item = item_of(list, i);
        int64_t port = 0;
        bool good = !*item || (bk_parse_integer(bk_span_of(item), &port) && port >= 1 && port <= 65535);
        free(item);
        if (!good)
            return false;
    }
    return true;
}

enum bk_status bk_pg_check_conninfo(const char *conninfo, const char *url, struct bk_error *error)
{
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &why);
    if (options) {
        bool good = ports_are_good(option_of(options, "port"));
        PQconninfoFree(options);
        return good ? BK_OK : bk_fail(error, BK_INVALID, "the port must be from 1 to 65535");
    }
    enum bk_status status = bk_fail(error, BK_INVALID, "%s", why ? why : "no memory");
    if (error) {
        one_line(error->text);
        hide_quoted(error->text, url);
    }
    PQfreemem(why);
    return status;
}

void bk_pg_hosts(const char *conninfo, char *out, size_t room)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    const char *host = option_of(options, "host");
    const char *address = option_of(options, "hostaddr");
    const char *port = option_of(options, "port");
    const char *shown = host ? host : address ? address : getenv("PGHOST") ? getenv("PGHOST") : "local socket";
    (void)snprintf(out, room, "%s%s%s", shown, port ? " port " : "", port ? port : "");
    PQconninfoFree(options);
}

static void session_options(struct bk_text *text, const struct bk_pg_options *options, const char *given)
{
    if (given)
        bk_text_puts(text, given);
    bk_text_printf(text,
                   " -c statement_timeout=%lld -c lock_timeout=%lld -c idle_in_transaction_session_timeout=%lld"
                   " -c client_connection_check_interval=2000"
                   " -c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
                   (long long)options->statement_timeout_ms, (long long)options->lock_timeout_ms,
                   (long long)options->statement_timeout_ms * 2);
}

static enum bk_status poll_connection(PGconn *conn, bk_ms deadline, struct bk_error *error)
{
    PostgresPollingStatusType phase = PGRES_POLLING_WRITING;
    while (phase != PGRES_POLLING_OK) {
        if (phase == PGRES_POLLING_FAILED)
            return connect_failed(conn, error);
        struct pollfd wait = {.fd = PQsocket(conn),
                              .events = (short)(phase == PGRES_POLLING_READING ? POLLIN : POLLOUT)};
        int ready = poll(&wait, 1, bk_clock_left(deadline));
        if (ready == 0)
            return fail_with(error, BK_OUTAGE, "", "connecting took too long");
        if (ready < 0 && errno != EINTR)
            return fail_with(error, BK_OUTAGE, "", strerror(errno));
        if (ready > 0)
            phase = PQconnectPoll(conn);
    }
    return BK_OK;
}

static enum bk_status open_one(struct bk_pg **out, const struct bk_pg_options *options, const PQconninfoOption *given,
                               size_t i, bk_ms deadline, struct bk_error *error)
{
    char *host = item_of(option_of(given, "host"), i);
    char *address = item_of(option_of(given, "hostaddr"), i);
    char *port = item_of(option_of(given, "port"), i);
    BK_AUTO_TEXT session = {0};
    session_options(&session, options, option_of(given, "options"));

    struct parameters p = {0};
    /* what the conninfo may override */
    add(&p, "fallback_application_name", options->application_name);
    add(&p, "keepalives_idle", "15");
    add(&p, "keepalives_interval", "5");
    add(&p, "keepalives_count", "3");
    add(&p, "tcp_user_timeout", "15000");
    add(&p, "dbname", options->conninfo);
    /* what it may not */
    if (host)
        add(&p, "host", host);
    if (address)
        add(&p, "hostaddr", address);
    if (port)
        add(&p, "port", port);
    add(&p, "client_encoding", "UTF8");
    if (!options->pgbouncer)
        add(&p, "options", bk_text_string(&session));

    BK_AUTO(bk_pg) *pg = bk_zalloc(sizeof(*pg));
    pg->conn = PQconnectStartParams(p.names, p.values, 1);
    free(host);
    free(address);
    free(port);
    if (!pg->conn)
        return fail_with(error, BK_OUTAGE, "", "no memory");
    (void)PQsetErrorVerbosity(pg->conn, PQERRORS_VERBOSE);
    (void)PQsetNoticeReceiver(pg->conn, on_notice, pg);
    if (PQstatus(pg->conn) == CONNECTION_BAD)
        return connect_failed(pg->conn, error);
    enum bk_status status = poll_connection(pg->conn, deadline, error);
    if (status != BK_OK)
        return status;
    (void)PQsetErrorVerbosity(pg->conn, PQERRORS_DEFAULT);
    if (PQsetnonblocking(pg->conn, 1) != 0)
        return fail_with(error, BK_OUTAGE, "", PQerrorMessage(pg->conn));
    pg->backend_pid = PQbackendPID(pg->conn); /* libpq forgets it when the connection is lost */
    *out = BK_STEAL(pg);
    return BK_OK;
}

enum bk_status bk_pg_open(struct bk_pg **out, const struct bk_pg_options *options, bk_ms deadline,
                          struct bk_error *error)
{
    PQconninfoOption *given = PQconninfoParse(options->conninfo, NULL);
    if (!given) {
        enum bk_status why = bk_pg_check_conninfo(options->conninfo, options->conninfo, error);
        return why == BK_OK ? fail_with(error, BK_OUTAGE, "", "no memory") : why;
    }
    const char *hosts = option_of(given, "host");
    size_t count = item_count(hosts ? hosts : option_of(given, "hostaddr"));
    enum bk_status status = BK_OUTAGE;
    for (size_t i = 0; i < count; i++) {
        bk_ms share = bk_clock_now() + bk_clock_left(deadline) / (bk_ms)(count - i);
        status = open_one(out, options, given, i, share, error);
        if (status != BK_OK)
            continue;
        /* a standby, or a demoted primary: the next one may be the primary, whatever target_session_attrs says */
        if (!bk_pg_read_only(*out) || i + 1 == count)
            break;
        *out = bk_pg_close(*out);
    }
    PQconninfoFree(given);
    return status;
}

struct bk_pg *bk_pg_close(struct bk_pg *pg)
{
    if (pg && pg->conn)
        PQfinish(pg->conn);
    free(pg);
    return NULL;
}

/* --- running a statement ------------------------------------------------------------------------------------------ */

static enum bk_status lost(struct bk_pg *pg, enum bk_status status, struct bk_error *error, const char *text)
{
    pg->broken = true;
    return fail_with(error, status, pg->notice_sqlstate, text);
}

/* Waits until the socket can be read (or written too, while there is something to send), then reads. */
static enum bk_status wait_for_input(struct bk_pg *pg, bool sending, bk_ms deadline, struct bk_error *error)
{
    struct pollfd wait = {.fd = PQsocket(pg->conn), .events = (short)(sending ? POLLIN | POLLOUT : POLLIN)};
    int ready = poll(&wait, 1, bk_clock_left(deadline));
    if (ready == 0)
        return lost(pg, BK_UNKNOWN, error, "no answer in time");
    if (ready < 0 && errno != EINTR)
        return lost(pg, BK_UNKNOWN, error, strerror(errno));
    if (ready > 0 && (wait.revents & ~POLLOUT) && !PQconsumeInput(pg->conn))
        return lost(pg, BK_UNKNOWN, error, PQerrorMessage(pg->conn));
    return BK_OK;
}

static enum bk_status flush(struct bk_pg *pg, bk_ms deadline, struct bk_error *error)
{
    int left = 0;
    while ((left = PQflush(pg->conn)) == 1) {
        enum bk_status status = wait_for_input(pg, true, deadline, error);
        if (status != BK_OK)
            return status;
    }
    /* a failed flush is told by the results that follow: the server may have said why before it closed */
    return left < 0 && PQstatus(pg->conn) == CONNECTION_BAD ? lost(pg, BK_UNKNOWN, error, PQerrorMessage(pg->conn))
                                                            : BK_OK;
}

/* The first error of a statement's results, if there was one. */
struct verdict {
    bool failed;
    bool fatal; /* the session ended: whether the statement took effect is not known */
    char sqlstate[6];
    char text[400];
};

static void judge(struct verdict *verdict, const PGresult *result)
{
    ExecStatusType type = PQresultStatus(result);
    if (verdict->failed || type == PGRES_TUPLES_OK || type == PGRES_COMMAND_OK || type == PGRES_EMPTY_QUERY)
        return;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    verdict->failed = true;
    verdict->fatal = !sqlstate || !severity || strcmp(severity, "ERROR") != 0;
    (void)snprintf(verdict->sqlstate, sizeof(verdict->sqlstate), "%s", sqlstate ? sqlstate : "");
    (void)snprintf(verdict->text, sizeof(verdict->text), "%s", PQresultErrorMessage(result));
}

/* Reads results until there are no more; the last one with rows goes to *rows. */
static enum bk_status drain(struct bk_pg *pg, bk_ms deadline, PGresult **rows, struct verdict *verdict,
                            struct bk_error *error)
{
    bool late = false;
    for (;;) {
        while (PQisBusy(pg->conn)) {
            if (late) /* what had come by the deadline has been read; rows without end may always have more */
                return lost(pg, BK_UNKNOWN, error, "no answer in time");
            late = bk_clock_left(deadline) == 0;
            enum bk_status status = wait_for_input(pg, false, deadline, error);
            if (status != BK_OK)
                return status;
        }
        PGresult *result = PQgetResult(pg->conn);
        if (!result)
            return BK_OK;
        ExecStatusType type = PQresultStatus(result);
        if (type == PGRES_COPY_OUT || type == PGRES_COPY_IN || type == PGRES_COPY_BOTH) {
            PQclear(result); /* it would come again, without end */
            return lost(pg, BK_UNKNOWN, error, "a COPY began, which nobody asked for");
        }
        judge(verdict, result);
        if (type == PGRES_TUPLES_OK) {
            PQclear(*rows);
            *rows = result;
        } else {
            PQclear(result);
        }
    }
}

static enum bk_status finish(struct bk_pg *pg, bk_ms deadline, PGresult **rows, struct bk_error *error)
{
    struct verdict verdict = {0};
    struct bk_error lost_error = {0};
    enum bk_status status = flush(pg, deadline, &lost_error);
    if (status == BK_OK) {
        bk_crash_request_sent();
        status = drain(pg, deadline, rows, &verdict, &lost_error);
    }
    if (verdict.failed) {
        /* An ERROR the server has recovered from is a clear no; anything that ended the session is not. */
        bool clear = status == BK_OK && !verdict.fatal && PQtransactionStatus(pg->conn) == PQTRANS_IDLE;
        const char *sqlstate = *verdict.sqlstate ? verdict.sqlstate : pg->notice_sqlstate;
        if (!clear)
            pg->broken = true;
        return fail_with(error, clear ? bk_sqlstate_class(sqlstate) : BK_UNKNOWN, sqlstate, verdict.text);
    }
    if (status != BK_OK) {
        if (error)
            *error = lost_error;
        return status;
    }
    if (PQstatus(pg->conn) != CONNECTION_OK || PQtransactionStatus(pg->conn) != PQTRANS_IDLE)
        return lost(pg, BK_UNKNOWN, error, "the session did not come to rest behind the statement");
    return BK_OK;
}

static enum bk_status ready_to_send(struct bk_pg *pg, struct bk_error *error)
{
    if (bk_pg_reusable(pg))
        return BK_OK;
    pg->broken = true;
    return fail_with(error, BK_OUTAGE, pg->notice_sqlstate, "the connection is closed");
}

enum bk_status bk_pg_query(struct bk_pg *pg, const char *sql, size_t count, const char *const *params, bk_ms deadline,
                           struct bk_rows **out, struct bk_error *error)
{
    enum bk_status status = ready_to_send(pg, error);
    if (status != BK_OK)
        return status;
    if (!PQsendQueryParams(pg->conn, sql, (int)count, NULL, params, NULL, NULL, 0))
        return lost(pg, BK_UNKNOWN, error, PQerrorMessage(pg->conn));
    PGresult *rows = NULL;
    status = finish(pg, deadline, &rows, error);
    if (status != BK_OK) {
        PQclear(rows);
        return status;
    }
    *out = (struct bk_rows *)rows;
    return BK_OK;
}

enum bk_status bk_pg_script(struct bk_pg *pg, const char *sql, bk_ms deadline, struct bk_error *error)
{
    enum bk_status status = ready_to_send(pg, error);
    if (status != BK_OK)
        return status;
    if (!PQsendQuery(pg->conn, sql))
        return lost(pg, BK_UNKNOWN, error, PQerrorMessage(pg->conn));
    PGresult *rows = NULL;
    status = finish(pg, deadline, &rows, error);
    PQclear(rows);
    return status;
}

/* --- the state of a connection ------------------------------------------------------------------------------------ */

bool bk_pg_reusable(const struct bk_pg *pg)
{
    return !pg->broken && PQstatus(pg->conn) == CONNECTION_OK && PQtransactionStatus(pg->conn) == PQTRANS_IDLE;
}

bool bk_pg_alive(struct bk_pg *pg)
{
    struct pollfd look = {.fd = PQsocket(pg->conn), .events = POLLIN};
    if (!bk_pg_reusable(pg))
        return false;
    int ready = poll(&look, 1, 0);
    if (ready == 0)
        return true;
    /* something to read while idle: a parameter that changed, or a goodbye */
    if (ready < 0 || !PQconsumeInput(pg->conn) || PQstatus(pg->conn) != CONNECTION_OK)
        return false;
    while (!PQisBusy(pg->conn)) {
        PGresult *result = PQgetResult(pg->conn);
        if (!result)
            break;
        PQclear(result);
    }
    if (pg->notice_sqlstate[0])
        pg->broken = true;
    return bk_pg_reusable(pg) && poll(&look, 1, 0) == 0;
}

bool bk_pg_read_only(const struct bk_pg *pg)
{
    const char *standby = PQparameterStatus(pg->conn, "in_hot_standby");
    const char *read_only = PQparameterStatus(pg->conn, "default_transaction_read_only");
    return (standby && strcmp(standby, "on") == 0) || (read_only && strcmp(read_only, "on") == 0);
}

bool bk_pg_take_degraded(struct bk_pg *pg)
{
    bool degraded = pg->degraded;
    pg->degraded = false;
    return degraded;
}

int bk_pg_server_version(const struct bk_pg *pg)
{
    return PQserverVersion(pg->conn);
}

int bk_pg_backend_pid(const struct bk_pg *pg)
{
    return pg->backend_pid;
}

/* --- results ------------------------------------------------------------------------------------------------------ */

static const PGresult *raw(const struct bk_rows *rows)
{
    return (const PGresult *)(const void *)rows;
}

struct bk_rows *bk_rows_free(struct bk_rows *rows)
{
    PQclear((PGresult *)(void *)rows);
    return NULL;
}

size_t bk_rows_count(const struct bk_rows *rows)
{
    return rows ? (size_t)PQntuples(raw(rows)) : 0;
}

const char *bk_rows_text(const struct bk_rows *rows, size_t row, int column)
{
    if (PQgetisnull(raw(rows), (int)row, column))
        return NULL;
    return PQgetvalue(raw(rows), (int)row, column);
}

int64_t bk_rows_integer(const struct bk_rows *rows, size_t row, int column, int64_t otherwise)
{
    const char *text = bk_rows_text(rows, row, column);
    int64_t value = 0;
    return text && bk_parse_integer(bk_span_of(text), &value) ? value : otherwise;
}

const char *bk_pg_library_version(void)
{
    static char version[24];
    int number = PQlibVersion();
    (void)snprintf(version, sizeof(version), "%d.%d", number / 10000, number % 10000);
    return version;
}
