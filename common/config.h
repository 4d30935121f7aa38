/* config.h - every setting, declared once.
 *
 * The table below is the only place that knows a setting's name, type, default and limits; the reader, --help,
 * --check-config, deploy/env.example and the check of README's table are all drawn from it.
 *
 * Where a value comes from, strongest first: the environment, the --env-file, a parameter of DATABASE_URL (Prisma's
 * names), the default.
 */
#ifndef BK_CONFIG_H
#define BK_CONFIG_H

#include "common/clock.h"
#include "common/error.h"
#include "common/text.h"
#include "common/url.h"

/* Who reads a setting. */
enum { BK_FOR_WORKER = 1, BK_FOR_CTL = 2, BK_FOR_ADMIN = 4, BK_FOR_ALL = 7 };

/* TEXT(field, name, default, for, meaning)
 * SECRET: as TEXT, masked wherever it is shown
 * NUMBER(field, name, default, least, most, for, meaning): a default that is no number is computed, see config.c
 * CHOICE(field, name, default, choices, for, meaning) */
#define BK_SETTINGS(TEXT, SECRET, NUMBER, CHOICE)                                                                      \
    SECRET(database_url, "DATABASE_URL", "required", BK_FOR_ALL,                                                       \
           "PostgreSQL: libpq URI or conninfo, several hosts allowed; Prisma's parameters are understood")             \
    SECRET(redis_url, "REDIS_URL", "required", BK_FOR_ALL,                                                             \
           "Redis: redis://, redis+sentinel://h1:p1,h2:p2/<master>[/db] or unix:///path")                              \
    TEXT(queue, "BOOKING_QUEUE", "booking", BK_FOR_ALL, "queue name, [a-z0-9-]{1,40}")                                 \
    TEXT(worker_name, "BOOKING_WORKER_NAME", "host name + pid", BK_FOR_WORKER,                                         \
         "one running worker per name; a newcomer with the same name fences the old one off")                          \
    NUMBER(lanes, "BOOKING_LANES", "2 x cores", 1, 256, BK_FOR_WORKER, "concurrent batches in one process")            \
    NUMBER(batch, "BOOKING_BATCH", "64", 1, 1000, BK_FOR_WORKER,                                                       \
           "most jobs in one database transaction (1 = a transaction a job)")                                          \
    NUMBER(pool_max, "BOOKING_POOL_MAX", "2 x cores + 1", 1, 1000, BK_FOR_WORKER,                                      \
           "most PostgreSQL connections, shared by all lanes")                                                         \
    NUMBER(pool_min, "BOOKING_POOL_MIN", "the same", 0, 1000, BK_FOR_WORKER,                                           \
           "connections kept open when idle (a fixed size is the calm one)")                                           \
    NUMBER(acquire_timeout_ms, "BOOKING_POOL_ACQUIRE_TIMEOUT_MS", "5000", 10, 600000, BK_FOR_WORKER,                   \
           "longest wait for a connection of the pool")                                                                \
    NUMBER(idle_timeout_s, "BOOKING_POOL_IDLE_TIMEOUT_S", "600", 0, 86400, BK_FOR_WORKER,                              \
           "an idle connection above the minimum is closed after this; 0 never")                                       \
    NUMBER(max_lifetime_s, "BOOKING_POOL_MAX_LIFETIME_S", "1800", 0, 604800, BK_FOR_WORKER,                            \
           "a connection is replaced at this age, less up to 10% of jitter; 0 never")                                  \
    NUMBER(keepalive_s, "BOOKING_POOL_KEEPALIVE_S", "30", 1, 3600, BK_FOR_WORKER,                                      \
           "a connection idle this long is checked by a round trip")                                                   \
    NUMBER(connect_timeout_ms, "BOOKING_CONNECT_TIMEOUT_MS", "3000", 10, 600000, BK_FOR_ALL,                           \
           "longest connecting to PostgreSQL or Redis, name lookup and login included")                                \
    NUMBER(statement_timeout_ms, "BOOKING_STATEMENT_TIMEOUT_MS", "5000", 10, 600000, BK_FOR_ALL,                       \
           "longest statement; the client gives up half a second later at the latest")                                 \
    NUMBER(lock_timeout_ms, "BOOKING_LOCK_TIMEOUT_MS", "2000", 1, 600000, BK_FOR_ALL, "longest wait for one lock")     \
    NUMBER(retries, "BOOKING_RETRIES", "2", 0, 10, BK_FOR_WORKER,                                                      \
           "retries of one database call while the job is held")                                                       \
    NUMBER(retry_base_ms, "BOOKING_RETRY_BASE_MS", "500", 1, 60000, BK_FOR_WORKER,                                     \
           "delay before retry n, counted from 0: up to this x 2^n, full jitter")                                      \
    NUMBER(max_attempts, "BOOKING_MAX_ATTEMPTS", "10", 1, 1000, BK_FOR_WORKER,                                         \
           "tries of one job before it is dead as too_many_attempts")                                                  \
    NUMBER(attempt_cap_s, "BOOKING_ATTEMPT_CAP_S", "60", 1, 86400, BK_FOR_WORKER,                                      \
           "longest wait between two tries of one job (1 s x 2^n, full jitter)")                                       \
    NUMBER(max_requeues, "BOOKING_MAX_REQUEUES", "20", 1, 1000000, BK_FOR_WORKER,                                      \
           "how often an outage may hand a job back before it is dead as circuit_open")                                \
    NUMBER(max_age_s, "BOOKING_MAX_AGE_S", "86400", 1, 31536000, BK_FOR_WORKER,                                        \
           "how old a job handed back by an outage may be before it is dead as circuit_open")                          \
    NUMBER(max_deliveries, "BOOKING_MAX_DELIVERIES", "3", 1, 1000, BK_FOR_WORKER,                                      \
           "takes that ended with the worker's death before a job is dead as poison")                                  \
    NUMBER(breaker_window, "BOOKING_BREAKER_WINDOW", "20", 1, 1000, BK_FOR_WORKER,                                     \
           "the circuit breaker looks at this many last calls")                                                        \
    NUMBER(breaker_min_calls, "BOOKING_BREAKER_MIN_CALLS", "10", 1, 1000, BK_FOR_WORKER,                               \
           "calls needed before a rate can open it")                                                                   \
    NUMBER(breaker_failure_rate, "BOOKING_BREAKER_FAILURE_RATE", "50", 1, 100, BK_FOR_WORKER,                          \
           "percent of failed calls that opens it")                                                                    \
    NUMBER(breaker_consecutive, "BOOKING_BREAKER_CONSECUTIVE", "5", 1, 1000, BK_FOR_WORKER,                            \
           "failures in a row that open it")                                                                           \
    NUMBER(breaker_slow_ms, "BOOKING_BREAKER_SLOW_MS", "2000", 1, 600000, BK_FOR_WORKER,                               \
           "a call slower than this counts as slow")                                                                   \
    NUMBER(breaker_slow_rate, "BOOKING_BREAKER_SLOW_RATE", "80", 1, 100, BK_FOR_WORKER,                                \
           "percent of slow calls that opens it")                                                                      \
    NUMBER(breaker_open_ms, "BOOKING_BREAKER_OPEN_MS", "1000", 10, 600000, BK_FOR_WORKER,                              \
           "first wait before a probe; doubles at each failed one")                                                    \
    NUMBER(breaker_open_max_ms, "BOOKING_BREAKER_OPEN_MAX_MS", "30000", 10, 3600000, BK_FOR_WORKER,                    \
           "longest wait before a probe")                                                                              \
    NUMBER(breaker_probes, "BOOKING_BREAKER_PROBES", "3", 1, 100, BK_FOR_WORKER, "good probes in a row that close it") \
    NUMBER(lease_ms, "BOOKING_LEASE_MS", "15000", 300, 3600000, BK_FOR_WORKER,                                         \
           "a worker silent this long loses its jobs to the others")                                                   \
    NUMBER(shutdown_timeout_ms, "BOOKING_SHUTDOWN_TIMEOUT_MS", "25000", 1, 3600000, BK_FOR_WORKER,                     \
           "longest time to finish what is held after TERM; the rest is handed back")                                  \
    TEXT(http, "BOOKING_HTTP", "127.0.0.1:9400", BK_FOR_WORKER,                                                        \
         "address of /livez /readyz /metrics; off for none; port 0 picks one and logs it")                             \
    CHOICE(log_level, "BOOKING_LOG_LEVEL", "info", "error|warn|info|query", BK_FOR_ALL, "what is logged")              \
    CHOICE(log_format, "BOOKING_LOG_FORMAT", "text on a terminal, else json", "text|json", BK_FOR_ALL,                 \
           "how it is logged")                                                                                         \
    NUMBER(ledger_retention_days, "BOOKING_LEDGER_RETENTION_DAYS", "0", 0, 36500, BK_FOR_WORKER,                       \
           "ledger rows older than this are deleted; 0 keeps them; an id older than that may have its effect again")   \
    TEXT(admin_listen, "BOOKING_ADMIN_LISTEN", "127.0.0.1:8400", BK_FOR_ADMIN, "address of the admin page")            \
    TEXT(admin_token_file, "BOOKING_ADMIN_TOKEN_FILE", "required", BK_FOR_ADMIN,                                       \
         "file of the admins' tokens, mode 0600")

#define BK_FIELD_TEXT(field, ...)   char *field;
#define BK_FIELD_NUMBER(field, ...) int64_t field;
struct bk_config {
    BK_SETTINGS(BK_FIELD_TEXT, BK_FIELD_TEXT, BK_FIELD_NUMBER, BK_FIELD_TEXT)
    /* drawn from the URLs */
    struct bk_database_url database; /* database.conninfo goes to libpq */
    struct bk_redis_url redis;
    struct bk_text faults;  /* one line each; empty: the configuration is good */
    struct bk_text sources; /* one letter per setting, in table order: e f u d, x for a refused one */
    char *env_file;         /* as given, or NULL */
};
#undef BK_FIELD_TEXT
#undef BK_FIELD_NUMBER

/** Reads every setting that a program of kind `program` (one BK_FOR_ bit) uses, from the environment and `env_file`
 *  (NULL: none). All faults are gathered in config->faults, one a line, each naming the setting and its value with
 *  secrets masked; returns BK_INVALID if there is any. The caller frees with bk_config_deinit either way. Not
 *  thread-safe (reads the environment). */
enum bk_status bk_config_load(struct bk_config *config, int program, const char *env_file);
/** Frees what the configuration owns. */
void bk_config_deinit(struct bk_config *config);
/** Adds a fault found by somebody who knows more (libpq's own check of the URL). */
void bk_config_fault(struct bk_config *config, const char *setting, const char *format, ...) BK_PRINTF(3, 4);

/** Whether somebody set this field of the configuration (false: it is the default). */
bool bk_config_was_set(const struct bk_config *config, const void *field);

/** Appends NAME=value and where it came from, one setting of `program` a line. */
void bk_config_print(struct bk_text *text, const struct bk_config *config, int program);
/** Appends the table of settings of `program` as --help shows it. */
void bk_config_help(struct bk_text *text, int program);
/** Appends the settings of `program` as a commented environment file (deploy/env.example). */
void bk_config_sample(struct bk_text *text, int program);

#endif
