/* pg.h - one connection to PostgreSQL, every call with a deadline.
 *
 * A connection belongs to one thread at a time. Transactions are one autocommit statement long: what is written goes
 * through a function of the schema, so there is no BEGIN to forget and no COMMIT to lose.
 *
 * A result row is not a commit. A statement counts as done only when the server has said that it is idle again; if
 * the connection is lost after the statement was sent, its outcome is BK_UNKNOWN, whatever arrived before.
 */
#ifndef BK_PG_H
#define BK_PG_H

#include "common/clock.h"
#include "common/error.h"

struct bk_pg;
struct bk_rows;

/** What a session is opened with. */
struct bk_pg_options {
    const char *conninfo;         /* libpq URI or key=value, several hosts allowed */
    const char *application_name; /* shown in pg_stat_activity, unless the conninfo names one */
    int64_t statement_timeout_ms;
    int64_t lock_timeout_ms;
    bool pgbouncer; /* transaction pooling in between: nothing may be set for the session */
};

/** Whether libpq accepts the conninfo; the error says what it does not like, and names of it only what is shown of `url`,
 *  from which it was made. Any thread. */
enum bk_status bk_pg_check_conninfo(const char *conninfo, const char *url, struct bk_error *error);

/** Appends nothing but the hosts ("db1:5432,db2:5432") of a conninfo to `out`, at most `room` bytes with the NUL; for
 *  messages. Any thread. */
void bk_pg_hosts(const char *conninfo, char *out, size_t room);

/** Connects before `deadline` (monotonic ms). With several hosts each gets its share of the time, so a silent first one
 *  cannot use it all up. A name lookup blocks in the resolver and may outlast the deadline: connect from a thread that
 *  nobody waits for without a deadline of his own. The caller owns *out and closes it.
 *  Errors: by SQLSTATE where the server gave one (sqlstate.h), else BK_OUTAGE. */
enum bk_status bk_pg_open(struct bk_pg **out, const struct bk_pg_options *options, bk_ms deadline,
                          struct bk_error *error);
/** Closes; takes NULL; returns NULL. A statement still running is left to the server's own limits. */
struct bk_pg *bk_pg_close(struct bk_pg *pg);
BK_DEFINE_AUTO(bk_pg, bk_pg_close)

/** Runs one statement with text parameters ($1...; a NULL is SQL's null) and reads everything to the end.
 *  `*out` is owned by the caller (bk_rows_free).
 *  Errors: the first one the server reported, by SQLSTATE; BK_UNKNOWN when the connection or the deadline was lost
 *  after sending, or the error ended the session; BK_OUTAGE when nothing was sent. */
enum bk_status bk_pg_query(struct bk_pg *pg, const char *sql, size_t count, const char *const *params, bk_ms deadline,
                           struct bk_rows **out, struct bk_error *error);
/** Runs several statements without parameters, separated by semicolons, in one implicit transaction unless they say
 *  otherwise. Errors as bk_pg_query. */
enum bk_status bk_pg_script(struct bk_pg *pg, const char *sql, bk_ms deadline, struct bk_error *error);

/** Whether the connection can be used again: open, idle, nothing unread, never timed out. */
bool bk_pg_reusable(const struct bk_pg *pg);
/** A look at the socket without waiting (under a microsecond): false when the server has closed it or said goodbye. */
bool bk_pg_alive(struct bk_pg *pg);
/** Whether the server says that it takes no writes (a standby, or a read-only default), known without a round trip. */
bool bk_pg_read_only(const struct bk_pg *pg);
/** Whether a commit was reported as possibly not replicated (WARNING 01000 of an interrupted wait for a synchronous
 *  standby) since the last call of this function. */
bool bk_pg_take_degraded(struct bk_pg *pg);
/** The server's version as a number (150006), 0 when closed. */
int bk_pg_server_version(const struct bk_pg *pg);
/** The process id of the backend, for messages; with PgBouncer in between not a real one. */
int bk_pg_backend_pid(const struct bk_pg *pg);

/** Frees a result; NULL is fine; returns NULL. */
struct bk_rows *bk_rows_free(struct bk_rows *rows);
BK_DEFINE_AUTO(bk_rows, bk_rows_free)
size_t bk_rows_count(const struct bk_rows *rows);
/** The text of a field, lent until the result is freed; NULL for SQL's null. */
const char *bk_rows_text(const struct bk_rows *rows, size_t row, int column);
/** The field as an integer; `otherwise` for null or anything that is none. */
int64_t bk_rows_integer(const struct bk_rows *rows, size_t row, int column, int64_t otherwise);

/** libpq's version, "15.6". Any thread. */
const char *bk_pg_library_version(void);

#endif
