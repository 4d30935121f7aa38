/* find.c - see find.h. */
#include "worker/find.h"

#include <stdio.h>
#include <string.h>

#include "worker/dead.h"
#include "worker/job.h"

enum { SCAN_PAGE = 1000 };

void bk_found_deinit(struct bk_found *found)
{
    (void)bk_reply_free(found->fields);
    (void)bk_rows_free(found->ledger);
}

const struct bk_reply *bk_found_fields(const struct bk_found *found)
{
    return found->in_inbox ? bk_reply_at(bk_reply_at(found->fields, 0), 1) : found->fields;
}

/* --- looking in Redis -------------------------------------------------------------------------------------------------- */

static enum bk_status find_by_ticket(const struct bk_finder *finder, const char *ticket, struct bk_found *found,
                                     struct bk_error *error)
{
    BK_AUTO_TEXT key = {0};
    bk_text_printf(&key, "job:%s", ticket);
    const struct bk_span hash[] = {bk_span_of("HGETALL"), {key.data, key.size}};
    BK_AUTO(bk_reply) *fields = NULL;
    enum bk_status status = bk_queue_command(finder->queue, 2, hash, 1, &fields, error);
    if (status != BK_OK)
        return status;
    if (bk_reply_count(fields) > 0) {
        (void)snprintf(found->ticket, sizeof(found->ticket), "%s", ticket);
        found->fields = BK_STEAL(fields);
        return BK_OK;
    }
    const struct bk_span range[] = {bk_span_of("XRANGE"), bk_span_of("inbox"), bk_span_of(ticket), bk_span_of(ticket)};
    BK_AUTO(bk_reply) *entries = NULL;
    status = bk_queue_command(finder->queue, BK_COUNT(range), range, 1, &entries, error);
    if (status == BK_OK && bk_reply_count(entries) > 0) {
        (void)snprintf(found->ticket, sizeof(found->ticket), "%s", ticket);
        found->fields = BK_STEAL(entries);
        found->in_inbox = true;
    }
    return status;
}

/* Jobs that have left the inbox; SCAN sees each that is there all the time at least once. */
static enum bk_status find_id_in_hashes(const struct bk_finder *finder, const char *id, struct bk_found *found,
                                        struct bk_error *error)
{
    BK_AUTO_TEXT match = {0};
    bk_text_printf(&match, "{%s}:job:*", finder->name);
    char cursor[32] = "0";
    do {
        const struct bk_span scan[] = {bk_span_of("SCAN"),       bk_span_of(cursor),  bk_span_of("MATCH"),
                                       {match.data, match.size}, bk_span_of("COUNT"), bk_span_of("1000")};
        BK_AUTO(bk_reply) *page = NULL;
        enum bk_status status = bk_queue_raw(finder->queue, BK_COUNT(scan), scan, &page, error);
        if (status != BK_OK)
            return status;
        struct bk_span next = bk_reply_text(bk_reply_at(page, 0));
        (void)snprintf(cursor, sizeof(cursor), "%.*s", (int)next.size, next.at ? next.at : "0");
        const struct bk_reply *keys = bk_reply_at(page, 1);
        for (size_t i = 0; i < bk_reply_count(keys); i++) {
            struct bk_span key = bk_reply_text(bk_reply_at(keys, i));
            const struct bk_span get[] = {bk_span_of("HGET"), key, bk_span_of("id")};
            BK_AUTO(bk_reply) *value = NULL;
            status = bk_queue_raw(finder->queue, BK_COUNT(get), get, &value, error);
            if (status != BK_OK)
                return status;
            if (bk_span_is(bk_reply_text(value), id))
                return find_by_ticket(finder, key.at + match.size - 1, found, error);
        }
    } while (strcmp(cursor, "0") != 0);
    return BK_OK;
}

static enum bk_status find_id_in_inbox(const struct bk_finder *finder, const char *id, struct bk_found *found,
                                       struct bk_error *error)
{
    char from[52] = "-";
    for (;;) {
        const struct bk_span range[] = {bk_span_of("XRANGE"), bk_span_of("inbox"), bk_span_of(from),
                                        bk_span_of("+"),      bk_span_of("COUNT"), bk_span_of("1000")};
        BK_AUTO(bk_reply) *entries = NULL;
        enum bk_status status = bk_queue_command(finder->queue, BK_COUNT(range), range, 1, &entries, error);
        if (status != BK_OK)
            return status;
        size_t count = bk_reply_count(entries);
        for (size_t i = 0; i < count; i++) {
            const struct bk_reply *entry = bk_reply_at(entries, i);
            struct bk_span ticket = bk_reply_text(bk_reply_at(entry, 0));
            if (bk_span_is(bk_reply_text(bk_reply_field(bk_reply_at(entry, 1), "id")), id))
                return find_by_ticket(finder, ticket.at, found, error);
            (void)snprintf(from, sizeof(from), "(%.*s", (int)ticket.size, ticket.at);
        }
        if (count < SCAN_PAGE)
            return BK_OK;
    }
}

/* --- looking in the ledger --------------------------------------------------------------------------------------------------- */

/* What is no id has no row; PostgreSQL would not even take it for text if it is no UTF-8. */
static enum bk_status ask_ledger(const struct bk_finder *finder, const char *column, const char *value,
                                 struct bk_found *found, struct bk_error *error)
{
    if (!bk_is_id(bk_span_of(value)))
        return BK_OK;
    bk_ms deadline = bk_clock_now() + finder->pg.statement_timeout_ms + 500;
    BK_AUTO(bk_pg) *pg = NULL;
    enum bk_status status = bk_pg_open(&pg, &finder->pg, deadline, error);
    if (status != BK_OK)
        return status;
    BK_AUTO_TEXT sql = {0};
    bk_text_printf(&sql,
                   "select id, ticket, kind, booking_id, outcome, code, version, deliveries, worker, traceparent,"
                   " (extract(epoch from enqueued_at) * 1000)::bigint, (extract(epoch from applied_at) * 1000)::bigint"
                   " from booking.command where %s = $1 limit 1",
                   column);
    const char *params[] = {value};
    return bk_pg_query(pg, bk_text_string(&sql), 1, params, deadline, &found->ledger, error);
}

/* --- both --------------------------------------------------------------------------------------------------------- */

enum bk_status bk_find(const struct bk_finder *finder, const char *asked, struct bk_found *found,
                       struct bk_error *error)
{
    enum bk_status status = BK_OK;
    struct bk_error ledger_error = {0};
    bool ticket = bk_is_ticket(asked);
    if (ticket)
        status = find_by_ticket(finder, asked, found, error);
    enum bk_status ledger = ask_ledger(finder, "id", asked, found, &ledger_error);
    if (ledger == BK_OK && ticket && bk_rows_count(found->ledger) == 0) {
        found->ledger = bk_rows_free(found->ledger);
        ledger = ask_ledger(finder, "ticket", asked, found, &ledger_error);
    }
    found->ledger_unknown = ledger != BK_OK;
    if (status == BK_OK && !found->fields)
        status = find_id_in_hashes(finder, asked, found, error);
    if (status == BK_OK && !found->fields)
        status = find_id_in_inbox(finder, asked, found, error);
    if (status != BK_OK || found->fields || bk_rows_count(found->ledger) > 0)
        return status;
    if (found->ledger_unknown) {
        *error = ledger_error;
        return error->status;
    }
    return bk_fail(error, BK_MISSING, "no job \"%s\", neither in the queue nor in the ledger", asked);
}

/* --- as JSON ------------------------------------------------------------------------------------------------------ */

const char *bk_found_place(const struct bk_found *found, char room[32])
{
    if (found->in_inbox)
        return "inbox";
    struct bk_span state = bk_reply_text(bk_reply_field(bk_found_fields(found), "state"));
    if (found->fields) /* what a worker holds has no state of its own */
        (void)snprintf(room, 32, "%.*s", state.size ? (int)state.size : 6, state.size ? state.at : "active");
    else if (bk_rows_count(found->ledger) > 0)
        (void)snprintf(room, 32, "done");
    else
        (void)snprintf(room, 32, "unknown");
    return room;
}

static void json_text(struct bk_text *json, const char *name, struct bk_span value)
{
    bk_text_printf(json, ",\"%s\":", name);
    if (value.at)
        bk_text_json(json, value.at, value.size);
    else
        bk_text_puts(json, "null");
}

static void ledger_json(struct bk_text *json, const struct bk_rows *rows)
{
    static const char *const names[] = {"id",   "ticket",  "kind",       "booking_id", "outcome",
                                        "code", "version", "deliveries", "worker",     "traceparent"};
    bk_text_puts(json, ",\"ledger\":");
    if (bk_rows_count(rows) == 0) {
        bk_text_puts(json, "null");
        return;
    }
    for (int i = 0; i < (int)BK_COUNT(names); i++) {
        bk_text_printf(json, "%s\"%s\":", i ? "," : "{", names[i]);
        const char *value = bk_rows_text(rows, 0, i);
        if (value && (i == 6 || i == 7))
            bk_text_puts(json, value);
        else
            bk_text_json_string(json, value);
    }
    bk_text_printf(json, ",\"enqueued_ms\":%lld,\"applied_ms\":%lld}", (long long)bk_rows_integer(rows, 0, 10, 0),
                   (long long)bk_rows_integer(rows, 0, 11, 0));
}

/* "1700000000000 text\n..." as an array of {"at_ms", "what"}. */
static void history_json(struct bk_text *json, struct bk_span history)
{
    bk_text_puts(json, ",\"history\":[");
    for (size_t i = 0, n = 0; i < history.size; n++) {
        const char *line = history.at + i;
        const char *end = memchr(line, '\n', history.size - i);
        size_t size = end ? (size_t)(end - line) : history.size - i;
        size_t digits = strspn(line, "0123456789");
        int64_t at_ms = 0; /* in the inbox an entry may say what it likes, a history too */
        (void)bk_parse_integer((struct bk_span){line, digits}, &at_ms);
        bk_text_printf(json, "%s{\"at_ms\":%lld,\"what\":", n ? "," : "", (long long)at_ms);
        size_t skip = BK_MIN(digits + 1, size);
        bk_text_json(json, line + skip, size - skip);
        bk_text_putc(json, '}');
        i += size + 1;
    }
    bk_text_putc(json, ']');
}

void bk_found_json(struct bk_text *json, const struct bk_found *found, const char *asked)
{
    static const char *const texts[] = {"kind",     "key",         "args",   "reason", "error",
                                        "sqlstate", "traceparent", "worker", "raw"};
    static const char *const numbers[] = {"attempts", "requeues", "deliveries", "not_before", "expires_at", "died_at"};
    const struct bk_reply *fields = bk_found_fields(found);
    char room[32];
    const char *ledger_id = bk_rows_count(found->ledger) ? bk_rows_text(found->ledger, 0, 0) : NULL;
    struct bk_span id = bk_reply_text(bk_reply_field(fields, "id"));
    if (!id.at)
        id = bk_span_of(ledger_id ? ledger_id : asked);
    bk_text_puts(json, "{\"id\":");
    bk_text_json(json, id.at, id.size);
    json_text(json, "ticket", bk_span_of(*found->ticket ? found->ticket : bk_rows_text(found->ledger, 0, 1)));
    json_text(json, "state", bk_span_of(bk_found_place(found, room)));
    for (size_t i = 0; i < BK_COUNT(texts) && fields; i++)
        json_text(json, texts[i], bk_reply_text(bk_reply_field(fields, texts[i])));
    for (size_t i = 0; i < BK_COUNT(numbers) && fields; i++)
        bk_text_printf(json, ",\"%s\":%lld", numbers[i],
                       (long long)bk_reply_integer(bk_reply_field(fields, numbers[i]), 0));
    history_json(json, bk_reply_text(bk_reply_field(fields, "history")));
    ledger_json(json, found->ledger);
    bk_text_puts(json, "}\n");
}
