/* report.c - see report.h. */
#include "worker/report.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/timestamp.h"

enum bk_status bk_report_worker(struct bk_queue *queue, struct bk_span incarnation, struct bk_reply **out,
                                struct bk_error *error)
{
    const char *at = incarnation.size ? memrchr(incarnation.at, '@', incarnation.size) : NULL;
    BK_AUTO_TEXT key = {0};
    bk_text_puts(&key, "worker:");
    bk_text_add(&key, incarnation.at, at ? (size_t)(at - incarnation.at) : incarnation.size);
    const struct bk_span words[] = {bk_span_of("HGETALL"), {key.data, key.size}};
    return bk_queue_command(queue, 2, words, 1, out, error);
}

enum bk_status bk_report_workers(struct bk_queue *queue, struct bk_reply **out, struct bk_error *error)
{
    const struct bk_span words[] = {bk_span_of("ZRANGE"), bk_span_of("workers"), bk_span_of("0"), bk_span_of("-1"),
                                    bk_span_of("WITHSCORES")};
    return bk_queue_command(queue, BK_COUNT(words), words, 1, out, error);
}

static void worker_json(struct bk_text *json, struct bk_span incarnation, int64_t lease_until,
                        const struct bk_reply *facts)
{
    static const char *const texts[] = {"state", "breaker", "host", "version"};
    static const char *const numbers[] = {"pid", "lanes", "held", "jobs", "started_at", "beat_at", "lease_ms"};
    const char *at = incarnation.size ? memrchr(incarnation.at, '@', incarnation.size) : NULL;
    bk_text_puts(json, "{\"name\":");
    bk_text_json(json, incarnation.at, at ? (size_t)(at - incarnation.at) : incarnation.size);
    bk_text_puts(json, ",\"incarnation\":");
    bk_text_json(json, incarnation.at, incarnation.size);
    bk_text_printf(json, ",\"lease_until\":%lld", (long long)lease_until);
    for (size_t i = 0; i < BK_COUNT(texts); i++) {
        struct bk_span value = bk_reply_text(bk_reply_field(facts, texts[i]));
        bk_text_printf(json, ",\"%s\":", texts[i]);
        bk_text_json(json, value.at, value.size);
    }
    for (size_t i = 0; i < BK_COUNT(numbers); i++)
        bk_text_printf(json, ",\"%s\":%lld", numbers[i],
                       (long long)bk_reply_integer(bk_reply_field(facts, numbers[i]), 0));
    /* a worker wrote it, but it comes from outside all the same */
    struct bk_span pool = bk_reply_text(bk_reply_field(facts, "pool"));
    struct bk_json_member members[16];
    size_t count = 0;
    bool good = pool.size && bk_json_object(pool, members, BK_COUNT(members), &count, NULL) == BK_OK;
    bk_text_puts(json, ",\"pool\":");
    bk_text_add(json, good ? pool.at : "{}", good ? pool.size : 2);
    bk_text_putc(json, '}');
}

enum bk_status bk_report_workers_json(struct bk_queue *queue, struct bk_text *json, struct bk_error *error)
{
    BK_AUTO(bk_reply) *members = NULL;
    enum bk_status status = bk_report_workers(queue, &members, error);
    bk_text_putc(json, '[');
    for (size_t i = 0; status == BK_OK && i + 1 < bk_reply_count(members); i += 2) {
        BK_AUTO(bk_reply) *facts = NULL;
        struct bk_span incarnation = bk_reply_text(bk_reply_at(members, i));
        status = bk_report_worker(queue, incarnation, &facts, error);
        if (status != BK_OK)
            break;
        bk_text_puts(json, i ? "," : "");
        worker_json(json, incarnation, bk_reply_integer(bk_reply_at(members, i + 1), 0), facts);
    }
    bk_text_putc(json, ']');
    return status;
}

/* --- the queue ---------------------------------------------------------------------------------------------------- */

enum bk_status bk_report_status_json(struct bk_queue *queue, const char *name, struct bk_text *json,
                                     struct bk_error *error)
{
    struct bk_queue_status q;
    enum bk_status status = bk_queue_read_status(queue, &q, error);
    if (status != BK_OK)
        return status;
    bk_text_printf(json, "{\"queue\":\"%s\",\"paused\":%s", name, q.paused ? "true" : "false");
    const struct {
        const char *name;
        int64_t value;
    } counts[] = {{"inbox", q.inbox},   {"ready", q.ready},         {"waiting", q.waiting},
                  {"active", q.active}, {"scheduled", q.scheduled}, {"retry", q.retry},
                  {"dead", q.dead},     {"oldest_ms", q.oldest_ms}, {"oldest_dead_ms", q.oldest_dead_ms}};
    for (size_t i = 0; i < BK_COUNT(counts); i++)
        bk_text_printf(json, ",\"%s\":%lld", counts[i].name, (long long)counts[i].value);
    bk_text_puts(json, ",\"workers\":");
    status = bk_report_workers_json(queue, json, error);
    bk_text_puts(json, "}\n");
    return status;
}

/* --- the audit ---------------------------------------------------------------------------------------------------- */

enum bk_status bk_report_audit(struct bk_queue *queue, const char *before, const char *count, struct bk_reply **out,
                               struct bk_error *error)
{
    BK_AUTO_TEXT from = {0};
    bk_text_printf(&from, "%s%s", before ? "(" : "+", before ? before : "");
    const struct bk_span words[] = {bk_span_of("XREVRANGE"), bk_span_of("audit"), bk_span_of(from.data),
                                    bk_span_of("-"),         bk_span_of("COUNT"), bk_span_of(count)};
    return bk_queue_command(queue, BK_COUNT(words), words, 1, out, error);
}

void bk_report_audit_json(struct bk_text *json, struct bk_span entry_id, const struct bk_reply *fields)
{
    static const char *const names[] = {"who", "verb", "detail", "why"};
    char time[32];
    bk_text_puts(json, "{\"entry\":");
    bk_text_json(json, entry_id.at, entry_id.size);
    bk_text_printf(json, ",\"at\":\"%s\"", bk_timestamp_format(entry_id.at ? strtoll(entry_id.at, NULL, 10) : 0, time));
    for (size_t i = 0; i < BK_COUNT(names); i++) {
        struct bk_span value = bk_reply_text(bk_reply_field(fields, names[i]));
        bk_text_printf(json, ",\"%s\":", names[i]);
        bk_text_json(json, value.at, value.size);
    }
    bk_text_puts(json, ",\"tickets\":[");
    struct bk_span tickets = bk_reply_text(bk_reply_field(fields, "tickets"));
    for (size_t i = 0; i < tickets.size;) {
        size_t size = strcspn(tickets.at + i, " ");
        bk_text_puts(json, i ? "," : "");
        bk_text_json(json, tickets.at + i, size);
        i += size + 1;
    }
    bk_text_puts(json, "]}");
}
