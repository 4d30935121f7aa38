/* dead.c - see dead.h. */
#include "worker/dead.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/timestamp.h"
#include "worker/decision.h"

enum { STEP = 1000, ID_ROOM = BK_ID_MOST + 1 };

/* Digits that fit into 64 bits; what stands behind them goes to `end`. */
static bool read_part(const char *text, const char **end)
{
    size_t digits = strspn(text, "0123456789");
    *end = text + digits;
    return digits > 0 && (digits < 20 || (digits == 20 && strncmp(text, "18446744073709551615", 20) <= 0));
}

bool bk_is_ticket(const char *text)
{
    const char *end = NULL;
    return read_part(text, &end) && *end == '-' && read_part(end + 1, &end) && !*end;
}

bool bk_dead_cursor_read(struct bk_dead_cursor *cursor, const char *text)
{
    size_t digits = text ? strspn(text, "0123456789") : 0;
    bool good =
        !text || !*text || (digits > 0 && digits < 20 && text[digits] == ':' && bk_is_ticket(text + digits + 1));
    if (good)
        (void)snprintf(cursor->text, sizeof(cursor->text), "%s", text ? text : "");
    return good;
}

bool bk_dead_time(const char *text, int64_t now, int64_t *unix_ms)
{
    static const char units[] = "smhd";
    static const int64_t unit_ms[] = {1000, 60000, 3600000, 86400000};
    size_t size = strlen(text);
    const char *unit = size > 1 ? strchr(units, text[size - 1]) : NULL;
    int64_t number = 0;
    int64_t us = 0;
    if (unit && bk_parse_integer((struct bk_span){text, size - 1}, &number) && number >= 0 && number < 1000000)
        number = now - number * unit_ms[unit - units];
    else if (!bk_timestamp_parse(bk_span_of(text), &us))
        number = us / 1000;
    else
        return false;
    *unix_ms = BK_MAX(number, INT64_C(1)); /* 0 would filter nothing: --until 1970 is to find none, and not all */
    return true;
}

/* --- walking ------------------------------------------------------------------------------------------------------ */

static enum bk_status step(struct bk_queue *queue, const struct bk_dead_walk *walk, struct bk_reply **out,
                           struct bk_error *error)
{
    char want[24];
    char since[24] = "";
    char until[24] = "";
    int64_t left = walk->most ? BK_MIN(walk->most - walk->found, (int64_t)STEP) : STEP;
    (void)snprintf(want, sizeof(want), "%lld", (long long)left);
    if (walk->filter.since_ms)
        (void)snprintf(since, sizeof(since), "%lld", (long long)walk->filter.since_ms);
    if (walk->filter.until_ms)
        (void)snprintf(until, sizeof(until), "%lld", (long long)walk->filter.until_ms);
    const struct bk_dead_filter *f = &walk->filter;
    const char *const words[] = {f->oldest_first ? "oldest" : "newest",
                                 walk->at.text,
                                 want,
                                 "1000", /* STEP */
                                 walk->detail ? "1" : "0",
                                 since,
                                 until,
                                 f->reason ? f->reason : "",
                                 f->kind ? f->kind : "",
                                 f->key ? f->key : "",
                                 f->text ? f->text : ""};
    struct bk_span spans[BK_COUNT(words)];
    for (size_t i = 0; i < BK_COUNT(words); i++)
        spans[i] = bk_span_of(words[i]);
    return bk_queue_function(queue, "booking_dead_find", BK_COUNT(spans), spans, out, error);
}

enum bk_status bk_dead_walk(struct bk_queue *queue, struct bk_dead_walk *walk, bk_dead_visit visit, void *arg,
                            struct bk_error *error)
{
    do {
        BK_AUTO(bk_reply) *page = NULL;
        enum bk_status status = step(queue, walk, &page, error);
        if (status != BK_OK)
            return status;
        struct bk_span next = bk_reply_text(bk_reply_at(page, 0));
        walk->now = bk_reply_integer(bk_reply_at(page, 2), 0);
        if (!bk_dead_cursor_read(&walk->at, next.at))
            return bk_fail(error, BK_OPERATOR, "the queue's functions gave a cursor that is none");
        size_t each = walk->detail ? 2 : 1;
        for (size_t i = 3; i + each <= bk_reply_count(page); i += each) {
            const struct bk_reply *fields = walk->detail ? bk_reply_at(page, i + 1) : NULL;
            walk->found++;
            if (!visit(arg, bk_reply_text(bk_reply_at(page, i)), fields))
                return BK_OK;
        }
        if (walk->most && walk->found >= walk->most)
            return BK_OK;
    } while (*walk->at.text && (walk->deadline == 0 || bk_clock_now() < walk->deadline));
    return BK_OK;
}

enum bk_status bk_dead_read(struct bk_queue *queue, const char *ticket, struct bk_reply **out, struct bk_error *error)
{
    BK_AUTO_TEXT key = {0};
    bk_text_printf(&key, "job:%s", ticket);
    const struct bk_span words[] = {bk_span_of("HGETALL"), {key.data, key.size}};
    BK_AUTO(bk_reply) *reply = NULL;
    enum bk_status status = bk_queue_command(queue, 2, words, 1, &reply, error);
    if (status != BK_OK)
        return status;
    if (!bk_span_is(bk_reply_text(bk_reply_field(reply, "state")), "dead"))
        return bk_fail(error, BK_MISSING, "no dead letter with the ticket \"%.48s\"", ticket);
    *out = BK_STEAL(reply);
    return BK_OK;
}

/* --- showing ------------------------------------------------------------------------------------------------------ */

static void put_json(struct bk_text *json, const char *name, struct bk_span value)
{
    bk_text_printf(json, ",\"%s\":", name);
    bk_text_json(json, value.at, value.size);
}

void bk_dead_json(struct bk_text *json, struct bk_span ticket, const struct bk_reply *fields)
{
    static const char *const texts[] = {"id", "kind", "key", "reason", "error", "sqlstate", "worker", "traceparent"};
    static const char *const numbers[] = {"attempts", "requeues", "deliveries"};
    bk_text_puts(json, "{\"ticket\":");
    bk_text_json(json, ticket.at, ticket.size);
    for (size_t i = 0; i < BK_COUNT(texts); i++)
        put_json(json, texts[i], bk_reply_text(bk_reply_field(fields, texts[i])));
    for (size_t i = 0; i < BK_COUNT(numbers); i++)
        bk_text_printf(json, ",\"%s\":%lld", numbers[i],
                       (long long)bk_reply_integer(bk_reply_field(fields, numbers[i]), 0));
    char time[32];
    int64_t died_at = bk_reply_integer(bk_reply_field(fields, "died_at"), 0);
    bk_text_printf(json, ",\"dead_at\":\"%s\",\"dead_at_ms\":%lld", bk_timestamp_format(died_at, time),
                   (long long)died_at);
}

void bk_dead_story(struct bk_text *json, struct bk_span ticket, const struct bk_reply *fields)
{
    static const char *const extra[] = {"args", "not_before", "expires_at", "reply", "raw", "history"};
    bk_dead_json(json, ticket, fields);
    struct bk_span reason = bk_reply_text(bk_reply_field(fields, "reason"));
    put_json(json, "meaning", bk_span_of(reason.size ? bk_dead_reason_meaning(reason.at) : NULL));
    for (size_t i = 0; i < BK_COUNT(extra); i++) {
        struct bk_span value = bk_reply_text(bk_reply_field(fields, extra[i]));
        if (value.at)
            put_json(json, extra[i], value);
    }
    bk_text_puts(json, "}\n");
}

/* A time as JSON has numbers: without zeros in front. False when it is none. */
static bool put_time(struct bk_text *text, const char *name, struct bk_span value)
{
    int64_t unused = 0;
    while (value.size > 1 && value.at[0] == '0')
        value = (struct bk_span){value.at + 1, value.size - 1};
    if (!bk_parse_integer(value, &unused) || unused < 0)
        return false;
    bk_text_printf(text, ",\"%s\":%.*s", name, (int)value.size, value.at);
    return true;
}

/* Args go in as they are, so they have to be one value and nothing behind it. A line feed can stand only between the
 * parts of checked JSON, where a blank means the same. */
static bool put_args(struct bk_text *text, struct bk_span args)
{
    size_t start = text->size;
    struct bk_json_member member;
    size_t count = 0;
    bk_text_puts(text, "{\"args\":");
    bk_text_add(text, args.at, args.size);
    bk_text_putc(text, '}');
    if (bk_json_object((struct bk_span){text->data + start, text->size - start}, &member, 1, &count, NULL) != BK_OK)
        return false;
    text->data[start] = ',';
    bk_text_cut(text, text->size - 1); /* the brace */
    for (char *at = strpbrk(text->data + start, "\r\n"); at; at = strpbrk(at, "\r\n"))
        *at = ' ';
    return true;
}

/* Whether all of the fields could be put: what does not fit into JSON byte for byte is not put at all. */
static bool put_fields(struct bk_text *text, const struct bk_reply *fields)
{
    static const char *const texts[] = {"id", "kind", "key", "traceparent"};
    static const char *const times[] = {"not_before", "expires_at"};
    for (size_t i = 0; i < BK_COUNT(texts); i++) {
        struct bk_span value = bk_reply_text(bk_reply_field(fields, texts[i]));
        bool good = value.at && bk_utf8_valid(value.at, value.size, NULL) && !memchr(value.at, '\0', value.size);
        if (!good && i < 3) /* the fourth is optional, and an ill-formed one means nothing */
            return false;
        if (!good)
            continue;
        bk_text_printf(text, "%s\"%s\":", i ? "," : "{", texts[i]);
        bk_text_json(text, value.at, value.size);
    }
    if (!put_args(text, bk_reply_text(bk_reply_field(fields, "args"))))
        return false;
    for (size_t i = 0; i < BK_COUNT(times); i++) {
        struct bk_span value = bk_reply_text(bk_reply_field(fields, times[i]));
        if (value.at && !put_time(text, times[i], value))
            return false;
    }
    struct bk_span reply = bk_reply_text(bk_reply_field(fields, "reply"));
    if (reply.at)
        bk_text_puts(text, ",\"reply\":1");
    return !reply.at || bk_span_is(reply, "1");
}

bool bk_dead_line(struct bk_text *text, const struct bk_reply *fields)
{
    size_t start = text->size;
    if (bk_reply_field(fields, "raw") || !put_fields(text, fields)) {
        bk_text_cut(text, start);
        return false;
    }
    bk_text_puts(text, "}\n");
    return true;
}

/* --- correcting --------------------------------------------------------------------------------------------------- */

/* Letters of these were never brought to the database, so there is nothing to look up. */
static bool never_applied(struct bk_span reason)
{
    static const char *const reasons[] = {"malformed", "invalid_args", "unknown_kind", "id_reused"};
    for (size_t i = 0; i < BK_COUNT(reasons); i++) {
        if (bk_span_is(reason, reasons[i]))
            return true;
    }
    return false;
}

static enum bk_status check_ledger(const struct bk_pg_options *options, const char *id, struct bk_error *error)
{
    bk_ms deadline = bk_clock_now() + options->statement_timeout_ms + 500;
    const char *params[] = {id};
    BK_AUTO(bk_pg) *pg = NULL;
    BK_AUTO(bk_rows) *rows = NULL;
    enum bk_status status = bk_pg_open(&pg, options, deadline, error);
    if (status == BK_OK)
        status = bk_pg_query(pg, "select 1 from booking.command where id = $1 and outcome = 'applied'", 1, params,
                             deadline, &rows, error);
    if (status != BK_OK) {
        bk_error_prefix(error, "whether it has been applied is not known, so it stays as it is");
        return status;
    }
    return bk_rows_count(rows) == 0 ? BK_OK
                                    : bk_fail(error, BK_PERMANENT,
                                              "the ledger says that it has been applied: it needs "
                                              "no correction, drop it");
}

/* The id a corrected letter goes on under: one of its own for each ticket, the origin's in front as far as it fits. */
static void new_id(char out[136], struct bk_span origin, const char *ticket)
{
    char tail[64];
    int size = snprintf(tail, sizeof(tail), "edit:%s", ticket);
    size_t kept = 0;
    while (kept < origin.size && kept + (size_t)size + 1 < BK_ID_MOST &&
           (strchr("_.:-", origin.at[kept]) || (origin.at[kept] >= '0' && origin.at[kept] <= '9') ||
            ((origin.at[kept] | 32) >= 'a' && (origin.at[kept] | 32) <= 'z')))
        kept++;
    (void)snprintf(out, 136, "%.*s%s%s", (int)kept, kept ? origin.at : "", kept ? ":" : "", tail);
}

/* args.booking_id, when args say one: the two have to agree. The caller frees it. */
static char *key_in(const struct bk_json_member *members, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bk_span_is(members[i].name, "booking_id") && members[i].type == BK_JSON_STRING)
            return bk_json_unescape(members[i].raw);
    }
    return NULL;
}

struct entry {
    struct bk_span words[16];
    size_t count;
};

static void put(struct entry *entry, const char *name, struct bk_span value)
{
    if (!value.at)
        return;
    entry->words[entry->count++] = bk_span_of(name);
    entry->words[entry->count++] = value;
}

static enum bk_status send_correction(struct bk_queue *queue, const struct bk_dead_edit *edit,
                                      const struct entry *entry, char ticket[48], struct bk_error *error)
{
    struct bk_job job;
    bk_job_check(entry->words, entry->count, &job);
    if (*job.fault)
        return bk_fail(error, BK_INVALID, "%s", job.fault);
    struct bk_span words[20] = {bk_span_of(edit->who), bk_span_of(edit->why), bk_span_of(edit->ticket)};
    memcpy(words + 3, entry->words + 1, (entry->count - 1) * sizeof(*words)); /* the id's name is the function's */
    BK_AUTO(bk_reply) *done = NULL;
    enum bk_status status = bk_queue_function(queue, "booking_dead_edit", entry->count + 2, words, &done, error);
    if (status != BK_OK)
        return status;
    if (bk_reply_count(done) == 0)
        return bk_fail(error, BK_MISSING, "%s is not dead any more", edit->ticket);
    const char *given = bk_reply_text(bk_reply_at(done, 0)).at;
    if (!given || !bk_is_ticket(given))
        return bk_fail(error, BK_OPERATOR, "the queue's functions gave a ticket that is none");
    (void)snprintf(ticket, 48, "%s", given);
    return BK_OK;
}

enum bk_status bk_dead_correct(struct bk_queue *queue, const struct bk_pg_options *pg, const struct bk_dead_edit *edit,
                               char id[136], char ticket[48], struct bk_error *error)
{
    BK_AUTO(bk_reply) *fields = NULL;
    enum bk_status status = bk_dead_read(queue, edit->ticket, &fields, error);
    if (status != BK_OK)
        return status;
    struct bk_json_member members[64];
    size_t count = 0;
    if (bk_json_object(edit->args, members, BK_COUNT(members), &count, error) != BK_OK) {
        bk_error_prefix(error, "args");
        return error->status;
    }
    struct bk_span origin = bk_reply_text(bk_reply_field(fields, "id"));
    if (!never_applied(bk_reply_text(bk_reply_field(fields, "reason"))) && origin.size)
        status = check_ledger(pg, origin.at, error);
    if (status != BK_OK)
        return status;
    char *said = edit->key ? NULL : key_in(members, count);
    const char *key = edit->key ? edit->key : said;
    int64_t expires_at = bk_reply_integer(bk_reply_field(fields, "expires_at"), 0);
    struct entry entry = {0};
    new_id(id, origin, edit->ticket);
    put(&entry, "id", bk_span_of(id));
    put(&entry, "kind", edit->kind ? bk_span_of(edit->kind) : bk_reply_text(bk_reply_field(fields, "kind")));
    put(&entry, "key", key ? bk_span_of(key) : bk_reply_text(bk_reply_field(fields, "key")));
    put(&entry, "args", edit->args);
    put(&entry, "traceparent", bk_reply_text(bk_reply_field(fields, "traceparent")));
    if (expires_at > bk_clock_wall())
        put(&entry, "expires_at", bk_reply_text(bk_reply_field(fields, "expires_at")));
    status = send_correction(queue, edit, &entry, ticket, error);
    free(said);
    return status;
}
