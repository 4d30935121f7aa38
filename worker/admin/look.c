/* look.c - the routes that change nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/admin/filter.h"
#include "worker/find.h"
#include "worker/report.h"

enum { PAGE_MOST = 200, WALK_MOST_MS = 1500, COUNT_MOST_MS = 6000, EXPORT_MOST = 4 << 20 };

static const char *query(const struct exchange *exchange, const char *name)
{
    return bk_http_query(exchange->request, name);
}

/* A query parameter that is a number from 1 to `most`; answers and returns false when it is none. */
static bool read_number(struct exchange *exchange, const char *name, int64_t most, int64_t *number)
{
    const char *text = query(exchange, name);
    if (!text || (bk_parse_integer(bk_span_of(text), number) && *number >= 1 && *number <= most))
        return true;
    admin_refuse(exchange, 400, "%s: expected a number from 1 to %lld", name, (long long)most);
    return false;
}

/* --- the queue ---------------------------------------------------------------------------------------------------- */

void look_overview(struct exchange *exchange)
{
    struct bk_text *body = &exchange->response->body;
    struct bk_error error = {0};
    bk_text_puts(body, "{\"status\":");
    if (bk_report_status_json(exchange->queue, exchange->admin->config.queue, body, &error) != BK_OK) {
        admin_failed(exchange, &error);
        return;
    }
    if (query(exchange, "history")) {
        bk_text_puts(body, ",\"history\":");
        sampler_json(exchange->admin->sampler, body);
    }
    bk_text_printf(body, ",\"now_ms\":%lld}\n", (long long)bk_clock_wall());
}

void look_workers(struct exchange *exchange)
{
    struct bk_error error = {0};
    if (bk_report_workers_json(exchange->queue, &exchange->response->body, &error) != BK_OK)
        admin_failed(exchange, &error);
}

/* --- the dead ----------------------------------------------------------------------------------------------------- */

struct listing {
    struct bk_text *body;
    int64_t count;
};

static bool list_one(void *arg, struct bk_span ticket, const struct bk_reply *fields)
{
    struct listing *listing = arg;
    bk_text_puts(listing->body, listing->count++ ? ",\n" : "");
    bk_dead_json(listing->body, ticket, fields);
    bk_text_putc(listing->body, '}');
    return true;
}

static bool count_one(void *arg, struct bk_span ticket, const struct bk_reply *fields)
{
    (void)arg;
    (void)ticket;
    (void)fields;
    return true;
}

/* With `count`: how many there are, and the time up to which they were counted, which a bulk change has to name. */
static void count_dead(struct exchange *exchange, struct bk_dead_walk *walk)
{
    struct bk_error error = {0};
    walk->deadline = bk_clock_now() + COUNT_MOST_MS;
    if (bk_dead_walk(exchange->queue, walk, count_one, NULL, &error) != BK_OK) {
        admin_failed(exchange, &error);
        return;
    }
    int64_t until = walk->filter.until_ms ? BK_MIN(walk->filter.until_ms, walk->now) : walk->now;
    bk_text_printf(&exchange->response->body, "{\"count\":%lld,\"until_ms\":%lld,\"next\":\"%s\"}\n",
                   (long long)walk->found, (long long)until, walk->at.text);
}

void look_dead(struct exchange *exchange)
{
    struct bk_text *body = &exchange->response->body;
    struct bk_dead_walk walk = {.most = 50, .detail = true, .deadline = bk_clock_now() + WALK_MOST_MS};
    struct listing listing = {.body = body};
    struct bk_error error = {0};
    if (!filter_from_query(exchange, &walk) || !read_number(exchange, "limit", PAGE_MOST, &walk.most))
        return;
    if (query(exchange, "count")) {
        walk.most = 0;
        walk.detail = false;
        count_dead(exchange, &walk);
        return;
    }
    bk_text_puts(body, "{\"letters\":[");
    if (bk_dead_walk(exchange->queue, &walk, list_one, &listing, &error) != BK_OK) {
        admin_failed(exchange, &error);
        return;
    }
    bk_text_printf(body, "],\"next\":\"%s\",\"now_ms\":%lld}\n", walk.at.text, (long long)walk.now);
}

void look_letter(struct exchange *exchange)
{
    BK_AUTO(bk_reply) *fields = NULL;
    struct bk_error error = {0};
    if (!bk_is_ticket(exchange->rest))
        admin_refuse(exchange, 404, "that is no ticket");
    else if (bk_dead_read(exchange->queue, exchange->rest, &fields, &error) != BK_OK)
        admin_failed(exchange, &error);
    else
        bk_dead_story(&exchange->response->body, bk_span_of(exchange->rest), fields);
}

struct exporting {
    struct exchange *exchange;
    struct bk_error error;
    int64_t left_out;
};

static bool export_one(void *arg, struct bk_span ticket, const struct bk_reply *unused)
{
    struct exporting *run = arg;
    BK_AUTO(bk_reply) *fields = NULL;
    (void)unused;
    enum bk_status status = bk_dead_read(run->exchange->queue, ticket.at, &fields, &run->error);
    if (status == BK_OK && !bk_dead_line(&run->exchange->response->body, fields))
        run->left_out++;
    return status == BK_OK || status == BK_MISSING; /* somebody may have acted on it since */
}

/* A part of the export that fits into memory; X-Next tells where the next one begins. */
void look_export(struct exchange *exchange)
{
    struct exporting run = {.exchange = exchange};
    struct bk_dead_walk walk = {0};
    struct bk_error error = {0};
    if (!filter_from_query(exchange, &walk))
        return;
    enum bk_status status = BK_OK;
    bk_ms deadline = bk_clock_now() + WALK_MOST_MS;
    do {
        walk.found = 0;
        walk.most = 64; /* as many as 4 MiB of args */
        status = bk_dead_walk(exchange->queue, &walk, export_one, &run, &error);
    } while (status == BK_OK && *walk.at.text && exchange->response->body.size < EXPORT_MOST &&
             bk_clock_now() < deadline && (run.error.status == BK_OK || run.error.status == BK_MISSING));
    if (status == BK_OK && run.error.status != BK_OK && run.error.status != BK_MISSING) {
        status = run.error.status;
        error = run.error;
    }
    if (status != BK_OK) {
        admin_failed(exchange, &error);
        return;
    }
    exchange->response->type = "application/x-ndjson";
    bk_text_printf(&exchange->response->headers, "X-Next: %s\nX-Left-Out: %lld\n", *walk.at.text ? walk.at.text : "end",
                   (long long)run.left_out);
}

/* --- one job, lines, audit ---------------------------------------------------------------------------------------- */

void look_job(struct exchange *exchange)
{
    const char *asked = query(exchange, "q");
    if (!asked || !*asked || strlen(asked) > 128) {
        admin_refuse(exchange, 400, "q: expected an id or a ticket");
        return;
    }
    const struct bk_finder finder = {
        .queue = exchange->queue, .name = exchange->admin->config.queue, .pg = exchange->admin->pg_options};
    struct bk_found found = {0};
    struct bk_error error = {0};
    if (bk_find(&finder, asked, &found, &error) == BK_OK)
        bk_found_json(&exchange->response->body, &found, asked);
    else
        admin_failed(exchange, &error);
    bk_found_deinit(&found);
}

void look_lines(struct exchange *exchange)
{
    static const char *const names[] = {"key", "waiting", "first", "holder", "place", "worker"};
    const struct bk_span most = bk_span_of("100");
    struct bk_text *body = &exchange->response->body;
    struct bk_error error = {0};
    BK_AUTO(bk_reply) *lines = NULL;
    if (bk_queue_function(exchange->queue, "booking_lines", 1, &most, &lines, &error) != BK_OK) {
        admin_failed(exchange, &error);
        return;
    }
    bk_text_puts(body, "{\"lines\":[");
    for (size_t i = 0; i < bk_reply_count(lines); i++) {
        const struct bk_reply *line = bk_reply_at(lines, i);
        for (size_t k = 0; k < BK_COUNT(names); k++) {
            struct bk_span value = bk_reply_text(bk_reply_at(line, k));
            bk_text_printf(body, "%s\"%s\":", k ? "," : i ? ",\n{" : "{", names[k]);
            if (k == 1)
                bk_text_printf(body, "%lld", (long long)bk_reply_integer(bk_reply_at(line, k), 0));
            else
                bk_text_json(body, value.at, value.size);
        }
        bk_text_putc(body, '}');
    }
    bk_text_puts(body, "]}\n");
}

void look_audit(struct exchange *exchange)
{
    struct bk_text *body = &exchange->response->body;
    struct bk_error error = {0};
    int64_t limit = 50;
    const char *before = query(exchange, "before");
    if (before && *before && !bk_is_ticket(before)) {
        admin_refuse(exchange, 400, "before: expected what the last page gave as next");
        return;
    }
    if (!read_number(exchange, "limit", PAGE_MOST, &limit))
        return;
    char count[24];
    (void)snprintf(count, sizeof(count), "%lld", (long long)limit);
    BK_AUTO(bk_reply) *entries = NULL;
    if (bk_report_audit(exchange->queue, before && *before ? before : NULL, count, &entries, &error) != BK_OK) {
        admin_failed(exchange, &error);
        return;
    }
    struct bk_span last = {0};
    bk_text_puts(body, "{\"entries\":[");
    for (size_t i = 0; i < bk_reply_count(entries); i++) {
        const struct bk_reply *entry = bk_reply_at(entries, i);
        last = bk_reply_text(bk_reply_at(entry, 0));
        bk_text_puts(body, i ? ",\n" : "");
        bk_report_audit_json(body, last, bk_reply_at(entry, 1));
    }
    bool more = bk_reply_count(entries) == (size_t)limit && last.size;
    bk_text_puts(body, "],\"next\":");
    bk_text_json(body, more ? last.at : "", more ? last.size : 0);
    bk_text_puts(body, "}\n");
}
