/* job.c - bookingctl job: where a job is, from the queue and the ledger, and what happened to it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/timestamp.h"
#include "worker/ctl/ctl.h"
#include "worker/decision.h"

enum { SCAN_PAGE = 1000 };

/* What was found about one job. */
struct found {
    char ticket[48];
    struct bk_reply *fields; /* of job:<ticket>, or of the inbox entry; NULL: not in the queue */
    bool in_inbox;
    struct bk_rows *ledger; /* zero or one row */
    bool ledger_unknown;    /* PostgreSQL did not answer */
};

static void found_deinit(struct found *found)
{
    (void)bk_reply_free(found->fields);
    (void)bk_rows_free(found->ledger);
}

static bool is_ticket(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && text[digits] == '-' && text[digits + 1] &&
           strspn(text + digits + 1, "0123456789") == strlen(text + digits + 1) && strlen(text) < 48;
}

/* --- looking in Redis -------------------------------------------------------------------------------------------------- */

static enum bk_status find_by_ticket(struct ctl *ctl, const char *ticket, struct found *found, struct bk_error *error)
{
    BK_AUTO_TEXT key = {0};
    bk_text_printf(&key, "job:%s", ticket);
    const struct bk_span hash[] = {bk_span_of("HGETALL"), {key.data, key.size}};
    BK_AUTO(bk_reply) *fields = NULL;
    enum bk_status status = bk_queue_command(ctl->queue, 2, hash, 1, &fields, error);
    if (status != BK_OK)
        return status;
    if (bk_reply_count(fields) > 0) {
        (void)snprintf(found->ticket, sizeof(found->ticket), "%s", ticket);
        found->fields = BK_STEAL(fields);
        return BK_OK;
    }
    const struct bk_span range[] = {bk_span_of("XRANGE"), bk_span_of("inbox"), bk_span_of(ticket), bk_span_of(ticket)};
    BK_AUTO(bk_reply) *entries = NULL;
    status = bk_queue_command(ctl->queue, BK_COUNT(range), range, 1, &entries, error);
    if (status == BK_OK && bk_reply_count(entries) > 0) {
        (void)snprintf(found->ticket, sizeof(found->ticket), "%s", ticket);
        found->fields = BK_STEAL(entries);
        found->in_inbox = true;
    }
    return status;
}

static const struct bk_reply *fields_of(const struct found *found)
{
    return found->in_inbox ? bk_reply_at(bk_reply_at(found->fields, 0), 1) : found->fields;
}

/* Jobs that have left the inbox; SCAN sees each that is there all the time at least once. */
static enum bk_status find_id_in_hashes(struct ctl *ctl, const char *id, struct found *found, struct bk_error *error)
{
    BK_AUTO_TEXT match = {0};
    bk_text_printf(&match, "{%s}:job:*", ctl->config.queue);
    char cursor[32] = "0";
    do {
        const struct bk_span scan[] = {bk_span_of("SCAN"),       bk_span_of(cursor),  bk_span_of("MATCH"),
                                       {match.data, match.size}, bk_span_of("COUNT"), bk_span_of("1000")};
        BK_AUTO(bk_reply) *page = NULL;
        enum bk_status status = bk_queue_raw(ctl->queue, BK_COUNT(scan), scan, &page, error);
        if (status != BK_OK)
            return status;
        struct bk_span next = bk_reply_text(bk_reply_at(page, 0));
        (void)snprintf(cursor, sizeof(cursor), "%.*s", (int)next.size, next.at ? next.at : "0");
        const struct bk_reply *keys = bk_reply_at(page, 1);
        for (size_t i = 0; i < bk_reply_count(keys); i++) {
            struct bk_span key = bk_reply_text(bk_reply_at(keys, i));
            const struct bk_span get[] = {bk_span_of("HGET"), key, bk_span_of("id")};
            BK_AUTO(bk_reply) *value = NULL;
            status = bk_queue_raw(ctl->queue, BK_COUNT(get), get, &value, error);
            if (status != BK_OK)
                return status;
            if (bk_span_is(bk_reply_text(value), id))
                return find_by_ticket(ctl, key.at + match.size - 1, found, error);
        }
    } while (strcmp(cursor, "0") != 0);
    return BK_OK;
}

static enum bk_status find_id_in_inbox(struct ctl *ctl, const char *id, struct found *found, struct bk_error *error)
{
    char from[52] = "-";
    for (;;) {
        const struct bk_span range[] = {bk_span_of("XRANGE"), bk_span_of("inbox"), bk_span_of(from),
                                        bk_span_of("+"),      bk_span_of("COUNT"), bk_span_of("1000")};
        BK_AUTO(bk_reply) *entries = NULL;
        enum bk_status status = bk_queue_command(ctl->queue, BK_COUNT(range), range, 1, &entries, error);
        if (status != BK_OK)
            return status;
        size_t count = bk_reply_count(entries);
        for (size_t i = 0; i < count; i++) {
            const struct bk_reply *entry = bk_reply_at(entries, i);
            struct bk_span ticket = bk_reply_text(bk_reply_at(entry, 0));
            if (bk_span_is(bk_reply_text(bk_reply_field(bk_reply_at(entry, 1), "id")), id))
                return find_by_ticket(ctl, ticket.at, found, error);
            (void)snprintf(from, sizeof(from), "(%.*s", (int)ticket.size, ticket.at);
        }
        if (count < SCAN_PAGE)
            return BK_OK;
    }
}

/* --- looking in the ledger --------------------------------------------------------------------------------------------------- */

static enum bk_status ask_ledger(struct ctl *ctl, const char *column, const char *value, struct found *found,
                                 struct bk_error *error)
{
    BK_AUTO(bk_pg) *pg = ctl_database(ctl, error);
    if (!pg)
        return error->status;
    BK_AUTO_TEXT sql = {0};
    bk_text_printf(&sql,
                   "select id, ticket, kind, booking_id, outcome, code, version, deliveries, worker, traceparent,"
                   " (extract(epoch from enqueued_at) * 1000)::bigint, (extract(epoch from applied_at) * 1000)::bigint"
                   " from booking.command where %s = $1 limit 1",
                   column);
    const char *params[] = {value};
    return bk_pg_query(pg, bk_text_string(&sql), 1, params, ctl_deadline(ctl), &found->ledger, error);
}

/* --- printing ------------------------------------------------------------------------------------------------------------------ */

static const char *place_of(const struct found *found, char room[32])
{
    if (found->in_inbox)
        return "inbox";
    struct bk_span state = bk_reply_text(bk_reply_field(fields_of(found), "state"));
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
        bk_text_printf(json, "%s{\"at_ms\":%.*s,\"what\":", n ? "," : "", (int)(digits ? digits : 1),
                       digits ? line : "0");
        size_t skip = BK_MIN(digits + 1, size);
        bk_text_json(json, line + skip, size - skip);
        bk_text_putc(json, '}');
        i += size + 1;
    }
    bk_text_putc(json, ']');
}

static void print_json(const struct found *found, const char *asked)
{
    static const char *const texts[] = {"kind",     "key",         "args",   "reason", "error",
                                        "sqlstate", "traceparent", "worker", "raw"};
    static const char *const numbers[] = {"attempts", "requeues", "deliveries", "not_before", "expires_at", "died_at"};
    const struct bk_reply *fields = fields_of(found);
    char room[32];
    BK_AUTO_TEXT json = {0};
    const char *ledger_id = bk_rows_count(found->ledger) ? bk_rows_text(found->ledger, 0, 0) : NULL;
    struct bk_span id = bk_reply_text(bk_reply_field(fields, "id"));
    if (!id.at)
        id = bk_span_of(ledger_id ? ledger_id : asked);
    bk_text_puts(&json, "{\"id\":");
    bk_text_json(&json, id.at, id.size);
    json_text(&json, "ticket", bk_span_of(*found->ticket ? found->ticket : bk_rows_text(found->ledger, 0, 1)));
    json_text(&json, "state", bk_span_of(place_of(found, room)));
    for (size_t i = 0; i < BK_COUNT(texts) && fields; i++)
        json_text(&json, texts[i], bk_reply_text(bk_reply_field(fields, texts[i])));
    for (size_t i = 0; i < BK_COUNT(numbers) && fields; i++)
        bk_text_printf(&json, ",\"%s\":%lld", numbers[i],
                       (long long)bk_reply_integer(bk_reply_field(fields, numbers[i]), 0));
    history_json(&json, bk_reply_text(bk_reply_field(fields, "history")));
    ledger_json(&json, found->ledger);
    bk_text_puts(&json, "}\n");
    ctl_print(&json);
}

static void put_line(struct bk_text *text, const char *name, struct bk_span value, size_t most)
{
    if (!value.size)
        return;
    bk_text_printf(text, "  %-12s ", name);
    bk_text_safe(text, value.at, value.size, most);
    bk_text_putc(text, '\n');
}

static void print_history(struct bk_text *text, struct bk_span history)
{
    for (size_t i = 0; i < history.size;) {
        const char *line = history.at + i;
        const char *end = memchr(line, '\n', history.size - i);
        size_t size = end ? (size_t)(end - line) : history.size - i;
        char *rest = NULL;
        long long ms = strtoll(line, &rest, 10);
        char time[32];
        size_t skip = BK_MIN((size_t)(rest - line) + 1, size);
        bk_text_printf(text, "  %s  ", bk_timestamp_format(ms, time));
        bk_text_safe(text, line + skip, size - skip, 400);
        bk_text_putc(text, '\n');
        i += size + 1;
    }
}

static void print_text(const struct found *found, const char *asked)
{
    static const char *const names[] = {"id",         "kind",       "key",        "attempts",    "requeues",
                                        "deliveries", "not_before", "expires_at", "traceparent", "reason",
                                        "sqlstate",   "error",      "args",       "raw"};
    const struct bk_reply *fields = fields_of(found);
    char room[32];
    char time[32];
    BK_AUTO_TEXT text = {0};
    bk_text_printf(&text, "job %s: %s\n", asked, place_of(found, room));
    put_line(&text, "ticket", bk_span_of(found->ticket), 48);
    for (size_t i = 0; i < BK_COUNT(names) && fields; i++)
        put_line(&text, names[i], bk_reply_text(bk_reply_field(fields, names[i])), 2000);
    struct bk_span reason = bk_reply_text(bk_reply_field(fields, "reason"));
    if (reason.size)
        put_line(&text, "that is", bk_span_of(bk_dead_reason_meaning(reason.at)), 200);
    struct bk_span history = bk_reply_text(bk_reply_field(fields, "history"));
    if (history.size) {
        bk_text_puts(&text, "\nwhat happened to it\n");
        print_history(&text, history);
    }
    if (bk_rows_count(found->ledger) > 0) {
        const char *code = bk_rows_text(found->ledger, 0, 5);
        const char *version = bk_rows_text(found->ledger, 0, 6);
        bk_text_printf(&text, "\nin the ledger\n  %s %s%s%s\n  booking %s, version %s\n",
                       bk_rows_text(found->ledger, 0, 2), bk_rows_text(found->ledger, 0, 4), code ? ": " : "",
                       code ? code : "", bk_rows_text(found->ledger, 0, 3), version ? version : "none");
        bk_text_printf(&text, "  enqueued %s\n", bk_timestamp_format(bk_rows_integer(found->ledger, 0, 10, 0), time));
        bk_text_printf(&text, "  applied  %s by %s, seen %s times\n",
                       bk_timestamp_format(bk_rows_integer(found->ledger, 0, 11, 0), time),
                       bk_rows_text(found->ledger, 0, 8), bk_rows_text(found->ledger, 0, 7));
    }
    if (found->ledger_unknown)
        bk_text_puts(&text, "\nthe ledger could not be asked: PostgreSQL does not answer\n");
    ctl_print(&text);
}

/* --- the verb -------------------------------------------------------------------------------------------------------------------- */

static enum bk_status look(struct ctl *ctl, const char *asked, struct found *found, struct bk_error *error)
{
    enum bk_status status = BK_OK;
    struct bk_error ledger_error = {0};
    bool ticket = is_ticket(asked);
    if (ticket)
        status = find_by_ticket(ctl, asked, found, error);
    enum bk_status ledger = ask_ledger(ctl, "id", asked, found, &ledger_error);
    if (ledger == BK_OK && ticket && bk_rows_count(found->ledger) == 0) {
        found->ledger = bk_rows_free(found->ledger);
        ledger = ask_ledger(ctl, "ticket", asked, found, &ledger_error);
    }
    found->ledger_unknown = ledger != BK_OK;
    if (status == BK_OK && !found->fields)
        status = find_id_in_hashes(ctl, asked, found, error);
    if (status == BK_OK && !found->fields)
        status = find_id_in_inbox(ctl, asked, found, error);
    if (status != BK_OK || found->fields || bk_rows_count(found->ledger) > 0)
        return status;
    if (found->ledger_unknown) {
        *error = ledger_error;
        return error->status;
    }
    return bk_fail(error, BK_MISSING, "no job \"%s\", neither in the queue nor in the ledger", asked);
}

int ctl_job(struct ctl *ctl)
{
    bool json = false;
    const struct ctl_option options[] = {{"--json", &json, NULL}};
    if (!ctl_options(ctl, options, BK_COUNT(options)))
        return BK_EXIT_USAGE;
    if (ctl->argc != 1)
        return ctl_usage("job takes one ID or TICKET");
    struct found found = {0};
    struct bk_error error = {0};
    int code = BK_EXIT_OK;
    if (look(ctl, ctl->argv[0], &found, &error) != BK_OK)
        code = ctl_failed(&error);
    else
        (json ? print_json : print_text)(&found, ctl->argv[0]);
    found_deinit(&found);
    return code;
}
