/* store.c - see store.h. */
#include "worker/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crash.h"
#include "common/sqlstate.h"

void bk_store_json(struct bk_text *json, const char *worker, const struct bk_store_command *commands, size_t count)
{
    BK_AUTO_TEXT by = {0};
    bk_text_json_string(&by, worker);
    bk_text_putc(json, '[');
    for (size_t i = 0; i < count; i++) {
        const struct bk_job *job = commands[i].job;
        bk_text_printf(json, "%s{\"id\":", i ? "," : "");
        bk_text_json(json, job->id.at, job->id.size);
        bk_text_puts(json, ",\"ticket\":");
        bk_text_json(json, job->ticket.at, job->ticket.size);
        bk_text_puts(json, ",\"kind\":");
        bk_text_json(json, job->kind.at, job->kind.size);
        bk_text_puts(json, ",\"booking_id\":");
        bk_text_json(json, job->key.at, job->key.size);
        bk_text_printf(json, ",\"enqueued_ms\":%lld,\"worker\":", (long long)job->enqueued_at);
        bk_text_add(json, by.data, by.size);
        if (job->traceparent.size) {
            bk_text_puts(json, ",\"traceparent\":");
            bk_text_json(json, job->traceparent.at, job->traceparent.size);
        }
        if (commands[i].expired)
            bk_text_puts(json, ",\"expired\":true");
        /* checked JSON, byte for byte as the producer wrote it */
        bk_text_puts(json, ",\"args\":");
        bk_text_add(json, job->args.at, job->args.size);
        bk_text_putc(json, '}');
    }
    bk_text_putc(json, ']');
}

/* What the connection is good for after a call. */
static enum bk_pool_fate fate_after(enum bk_status status, const struct bk_error *error)
{
    if (status == BK_OK)
        return BK_POOL_KEEP;
    if (bk_sqlstate_dooms_server(error->sqlstate))
        return BK_POOL_DOOM;
    return status == BK_OUTAGE || status == BK_UNKNOWN ? BK_POOL_DISCARD : BK_POOL_KEEP;
}

/* Two sessions that met on one id or one slot: apply foresees both, and the one that lost has to look again. */
static enum bk_status as_contention(enum bk_status status, struct bk_error *error)
{
    bool raced = strcmp(error->sqlstate, "23505") == 0 || strcmp(error->sqlstate, "23P01") == 0;
    if (status != BK_PERMANENT || !raced)
        return status;
    error->status = BK_TRANSIENT;
    return BK_TRANSIENT;
}

/* `guard` NULL: what is sent are no commands. */
static enum bk_status query(const struct bk_store *store, const struct bk_store_guard *guard, const char *sql,
                            size_t count, const char *const *params, bk_ms deadline, const char *borrower,
                            struct bk_store_answer *answer, struct bk_error *error)
{
    *answer = (struct bk_store_answer){0};
    struct bk_pg *pg = NULL;
    enum bk_status status = bk_pool_acquire(store->pool, BK_MIN(deadline, bk_clock_now() + store->acquire_timeout_ms),
                                            borrower, &pg, &answer->connections, error);
    if (status != BK_OK)
        return status;
    if (guard && !guard->may_send(guard->context)) {
        bk_pool_release(store->pool, pg, BK_POOL_KEEP);
        return bk_fail(error, BK_FENCED, "the lease has run out: others may have these jobs");
    }
    bk_ms until = BK_MIN(deadline, bk_clock_now() + store->call_timeout_ms);
    bk_crash_name_request(guard ? "sent" : NULL);
    status = bk_pg_query(pg, sql, count, params, until, &answer->rows, error);
    if (status == BK_OK && guard)
        bk_crash_point("answered");
    answer->degraded = bk_pg_take_degraded(pg);
    bk_pool_release(store->pool, pg, fate_after(status, error));
    return status == BK_OK ? BK_OK : as_contention(status, error);
}

void bk_store_answer_deinit(struct bk_store_answer *answer)
{
    free(answer->outcomes);
    (void)bk_rows_free(answer->rows);
    *answer = (struct bk_store_answer){0};
}

/* The rows come in the order of the commands; that each is where it belongs is checked all the same. */
static enum bk_status read_outcomes(const struct bk_store_command *commands, size_t count,
                                    struct bk_store_answer *answer, struct bk_error *error)
{
    if (bk_rows_count(answer->rows) != count)
        return bk_fail(error, BK_OPERATOR, "booking.apply gave %zu rows for %zu commands", bk_rows_count(answer->rows),
                       count);
    answer->outcomes = bk_alloc(count * sizeof(*answer->outcomes));
    for (size_t i = 0; i < count; i++) {
        const char *id = bk_rows_text(answer->rows, i, 0);
        const char *outcome = bk_rows_text(answer->rows, i, 1);
        if (!id || !outcome || !bk_span_is(commands[i].job->id, id))
            return bk_fail(error, BK_OPERATOR, "booking.apply answered out of order");
        answer->outcomes[i] = (struct bk_store_outcome){outcome, bk_rows_text(answer->rows, i, 2),
                                                        bk_rows_integer(answer->rows, i, 3, -1)};
    }
    return BK_OK;
}

enum bk_status bk_store_apply(const struct bk_store *store, const struct bk_store_command *commands, size_t count,
                              bk_ms deadline, const char *borrower, const struct bk_store_guard *guard,
                              struct bk_store_answer *answer, struct bk_error *error)
{
    BK_AUTO_TEXT json = {0};
    bk_store_json(&json, store->worker, commands, count);
    const char *params[] = {bk_text_string(&json)};
    enum bk_status status = query(store, guard, "select id, outcome, code, version from booking.apply($1::jsonb)", 1,
                                  params, deadline, borrower, answer, error);
    return status == BK_OK ? read_outcomes(commands, count, answer, error) : status;
}

enum bk_status bk_store_probe(const struct bk_store *store, bk_ms deadline, uint64_t *connections,
                              struct bk_error *error)
{
    struct bk_store_answer answer;
    /* With a transaction id of its own it commits as a batch does: into the log on the disk, and to the synchronous
     * standby. A probe that only read would find a database well that cannot commit. */
    enum bk_status status = query(store, NULL, "select pg_current_xact_id(), count(*) from booking.apply('[]'::jsonb)",
                                  0, NULL, deadline, "probe", &answer, error);
    *connections = answer.connections;
    bk_store_answer_deinit(&answer);
    return status;
}

enum bk_status bk_store_prune(const struct bk_store *store, int64_t days, int64_t most, bk_ms deadline,
                              int64_t *deleted, struct bk_error *error)
{
    char days_text[24];
    char most_text[24];
    (void)snprintf(days_text, sizeof(days_text), "%lld", (long long)days);
    (void)snprintf(most_text, sizeof(most_text), "%lld", (long long)most);
    const char *params[] = {days_text, most_text};
    struct bk_store_answer answer;
    enum bk_status status =
        query(store, NULL, "select booking.prune($1::int, $2::int)", 2, params, deadline, "prune", &answer, error);
    if (status == BK_OK)
        *deleted = bk_rows_integer(answer.rows, 0, 0, 0);
    bk_store_answer_deinit(&answer);
    return status;
}
