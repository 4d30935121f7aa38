/* job.c - see job.h. */
#include "worker/job.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the rules of the fields -------------------------------------------------------------------------------------- */

bool bk_is_id(struct bk_span text)
{
    bool good = text.size >= 1 && text.size <= BK_ID_MOST;
    for (size_t i = 0; i < text.size && good; i++) {
        char c = text.at[i];
        good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
               c == ':' || c == '-';
    }
    return good;
}

static const char *check_id(struct bk_span value, struct bk_job *job)
{
    if (!bk_is_id(value))
        return "expected 1 to 128 of A-Z a-z 0-9 _ . : -";
    job->id = value;
    return NULL;
}

static const char *check_kind(struct bk_span value, struct bk_job *job)
{
    job->kind = value; /* whether there is such a kind is not the envelope's business */
    return NULL;
}

static const char *check_key(struct bk_span value, struct bk_job *job)
{
    if (value.size < 1 || value.size > 128)
        return "expected 1 to 128 bytes";
    job->key = value;
    return NULL;
}

static const char *check_args(struct bk_span value, struct bk_job *job)
{
    if (value.size > BK_ARGS_MOST)
        return "expected at most 65536 bytes";
    job->args = value;
    return NULL;
}

static bool read_unix_ms(struct bk_span value, bk_ms *ms)
{
    if (value.size < 1 || value.size > 15)
        return false;
    int64_t number = 0;
    for (size_t i = 0; i < value.size; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            return false;
        number = number * 10 + (value.at[i] - '0');
    }
    *ms = number;
    return true;
}

static const char *check_not_before(struct bk_span value, struct bk_job *job)
{
    bk_ms unused = 0;
    (void)job; /* the queue has acted on it already */
    return read_unix_ms(value, &unused) ? NULL : "expected Unix milliseconds, 1 to 15 digits";
}

static const char *check_expires_at(struct bk_span value, struct bk_job *job)
{
    bk_ms ms = 0;
    if (!read_unix_ms(value, &ms))
        return "expected Unix milliseconds, 1 to 15 digits";
    job->expires_at = BK_MAX(ms, INT64_C(1)); /* 0 stands for never here, 1970 is over either way */
    return NULL;
}

static const char *check_reply(struct bk_span value, struct bk_job *job)
{
    if (!bk_span_is(value, "1"))
        return "expected 1, or no such field";
    job->wants_reply = true;
    return NULL;
}

static const char *check_traceparent(struct bk_span value, struct bk_job *job)
{
    if (bk_traceparent_valid(value))
        job->traceparent = value;
    return NULL;
}

static const struct {
    const char *name;
    bool required;
    const char *(*check)(struct bk_span value, struct bk_job *job);
} fields[] = {
    {"id", true, check_id},
    {"kind", true, check_kind},
    {"key", true, check_key},
    {"args", true, check_args},
    {"not_before", false, check_not_before},
    {"expires_at", false, check_expires_at},
    {"reply", false, check_reply},
    {"traceparent", false, check_traceparent},
};

static bool is_lower_hex(const char *at, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (!((at[i] >= '0' && at[i] <= '9') || (at[i] >= 'a' && at[i] <= 'f')))
            return false;
    }
    return true;
}

static bool all_zero(const char *at, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (at[i] != '0')
            return false;
    }
    return true;
}

bool bk_traceparent_valid(struct bk_span text)
{
    const char *at = text.at; /* vv-<32>-<16>-ff */
    if (text.size < 55 || text.size > 128 || at[2] != '-' || at[35] != '-' || at[52] != '-')
        return false;
    if (!is_lower_hex(at, 2) || !is_lower_hex(at + 3, 32) || !is_lower_hex(at + 36, 16) || !is_lower_hex(at + 53, 2))
        return false;
    if (memcmp(at, "ff", 2) == 0 || all_zero(at + 3, 32) || all_zero(at + 36, 16))
        return false;
    if (memcmp(at, "00", 2) == 0)
        return text.size == 55;
    /* a later version may say more behind what we know; it is printed, so it must be plain */
    for (size_t i = 55; i < text.size; i++) {
        if (at[i] < 0x21 || at[i] > 0x7e)
            return false;
    }
    return text.size == 55 || at[55] == '-';
}

/* --- reading a job ------------------------------------------------------------------------------------------------ */

static void fault(struct bk_job *job, const char *format, ...) BK_PRINTF(2, 3);
static void fault(struct bk_job *job, const char *format, ...)
{
    if (*job->fault)
        return; /* the first one is told */
    va_list args;
    va_start(args, format);
    (void)vsnprintf(job->fault, sizeof(job->fault), format, args);
    va_end(args);
}

/* Takes one field of the entry; `seen` has a bit for each of the table's. */
static void take_field(struct bk_job *job, struct bk_span name, struct bk_span value, unsigned *seen)
{
    for (size_t i = 0; i < BK_COUNT(fields); i++) {
        if (!bk_span_is(name, fields[i].name))
            continue;
        if (*seen & 1U << i) {
            fault(job, "field %s: stands there twice, expected it once", fields[i].name);
            return;
        }
        *seen |= 1U << i;
        const char *expected = fields[i].check(value, job);
        if (expected)
            fault(job, "field %s: %s", fields[i].name, expected);
        return;
    }
    BK_AUTO_TEXT shown = {0};
    bk_text_safe(&shown, name.at, name.size, 40);
    fault(job, "field \"%s\": unknown, expected only id kind key args not_before expires_at reply traceparent",
          bk_text_string(&shown));
}

static void check_complete(struct bk_job *job, unsigned seen)
{
    for (size_t i = 0; i < BK_COUNT(fields); i++) {
        if (fields[i].required && !(seen & 1U << i))
            fault(job, "field %s: missing, expected it once", fields[i].name);
    }
}

/* The next netstring ("5:bytes,") of a malformed entry; false at the end. */
static bool next_netstring(struct bk_span *rest, struct bk_span *value)
{
    const char *colon = rest->size ? memchr(rest->at, ':', BK_MIN(rest->size, (size_t)12)) : NULL;
    int64_t size = 0;
    if (!colon || !bk_parse_integer((struct bk_span){rest->at, (size_t)(colon - rest->at)}, &size) || size < 0)
        return false;
    size_t used = (size_t)(colon + 1 - rest->at);
    if ((uint64_t)size + 1 > rest->size - used)
        return false;
    *value = (struct bk_span){colon + 1, (size_t)size};
    used += (size_t)size + 1;
    *rest = (struct bk_span){rest->at + used, rest->size - used};
    return true;
}

static void read_raw(struct bk_job *job, struct bk_span raw)
{
    struct bk_span name;
    struct bk_span value;
    unsigned seen = 0;
    while (next_netstring(&raw, &name) && next_netstring(&raw, &value))
        take_field(job, name, value, &seen);
    check_complete(job, seen);
    fault(job, "the entry is malformed"); /* the queue set it apart, so it is, whatever we think */
}

/* What the queue itself notes about a job, among the entry's fields. */
static bool take_note(struct bk_job *job, struct bk_span name, const struct bk_reply *value)
{
    static const char *const others[] = {"state", "error", "history", "reason", "sqlstate", "died_at", "worker"};
    if (bk_span_is(name, "attempts"))
        job->attempts = bk_reply_integer(value, 0);
    else if (bk_span_is(name, "requeues"))
        job->requeues = bk_reply_integer(value, 0);
    else if (bk_span_is(name, "deliveries"))
        job->deliveries = bk_reply_integer(value, 0);
    else if (bk_span_is(name, "unsure"))
        job->unsure = bk_reply_integer(value, 0) != 0;
    else if (bk_span_is(name, "retried_at"))
        job->waits_since = bk_reply_integer(value, job->waits_since);
    else {
        for (size_t i = 0; i < BK_COUNT(others); i++) {
            if (bk_span_is(name, others[i]))
                return true;
        }
        return false;
    }
    return true;
}

static bk_ms ticket_time(struct bk_span ticket, bk_ms now)
{
    const char *dash = ticket.size ? memchr(ticket.at, '-', ticket.size) : NULL;
    int64_t ms = 0;
    /* a producer may choose its entry's id: a time that cannot be true is not believed */
    bool good =
        dash && bk_parse_integer((struct bk_span){ticket.at, (size_t)(dash - ticket.at)}, &ms) && ms >= 0 && ms <= now;
    return good ? ms : now;
}

void bk_job_read(const struct bk_queue_job *from, bk_ms now, struct bk_job *job)
{
    bk_ms enqueued_at = ticket_time(from->ticket, now);
    *job = (struct bk_job){.ticket = from->ticket, .enqueued_at = enqueued_at, .waits_since = enqueued_at};
    const struct bk_reply *raw = bk_reply_field(from->fields, "raw");
    unsigned seen = 0;
    for (size_t i = 0; i + 1 < bk_reply_count(from->fields); i += 2) {
        struct bk_span name = bk_reply_text(bk_reply_at(from->fields, i));
        const struct bk_reply *value = bk_reply_at(from->fields, i + 1);
        if (!take_note(job, name, value) && !raw)
            take_field(job, name, bk_reply_text(value), &seen);
    }
    if (raw)
        read_raw(job, bk_reply_text(raw));
    else
        check_complete(job, seen);
}

void bk_job_check(const struct bk_span *words, size_t count, struct bk_job *job)
{
    *job = (struct bk_job){0};
    unsigned seen = 0;
    for (size_t i = 0; i + 1 < count; i += 2)
        take_field(job, words[i], words[i + 1], &seen);
    check_complete(job, seen);
}

void bk_job_reply(struct bk_text *text, struct bk_span id, const char *outcome, const char *code,
                  struct bk_span booking_id, int64_t version)
{
    bk_text_puts(text, "{\"id\":");
    bk_text_json(text, id.at, id.size);
    bk_text_printf(text, ",\"outcome\":\"%s\",\"code\":", outcome);
    bk_text_json_string(text, code);
    bk_text_puts(text, ",\"booking_id\":");
    if (booking_id.size)
        bk_text_json(text, booking_id.at, booking_id.size);
    else
        bk_text_puts(text, "null");
    bk_text_puts(text, ",\"version\":");
    if (version >= 0)
        bk_text_printf(text, "%lld}", (long long)version);
    else
        bk_text_puts(text, "null}");
}
