/* act.c - the routes that change something. Each leaves its line in the audit, in the same step, as token:<name>. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "worker/admin/filter.h"

enum { TICKETS_MOST = 1000, WALK_MOST_MS = 1500 };

static void who_of(const struct exchange *exchange, char who[64])
{
    (void)snprintf(who, 64, "token:%s", exchange->caller.name);
}

/* --- retry and drop ----------------------------------------------------------------------------------------------- */

struct tickets {
    char text[TICKETS_MOST][48];
    struct bk_span at[TICKETS_MOST];
    size_t count;
};

static bool add_ticket(void *arg, struct bk_span ticket, const struct bk_reply *fields)
{
    struct tickets *tickets = arg;
    (void)fields;
    (void)snprintf(tickets->text[tickets->count], sizeof(tickets->text[0]), "%.*s", (int)ticket.size, ticket.at);
    tickets->at[tickets->count] = bk_span_of(tickets->text[tickets->count]);
    tickets->count++;
    return true;
}

/* An array of tickets; its brackets, quotes and commas were checked with the body. */
static bool read_tickets(struct exchange *exchange, const struct bk_json_member *member, struct tickets *tickets)
{
    bool good = member->type == BK_JSON_ARRAY;
    const char *end = member->raw.at + member->raw.size - 1;
    for (const char *at = member->raw.at + 1; good && at < end;) {
        at += strspn(at, " \t\r\n,");
        if (at >= end)
            break;
        const char *close = *at == '"' ? memchr(at + 1, '"', (size_t)(end - at - 1)) : NULL;
        char ticket[48] = "";
        good = close && close - at - 1 < 48 && tickets->count < TICKETS_MOST;
        if (!good)
            break;
        (void)snprintf(ticket, sizeof(ticket), "%.*s", (int)(close - at - 1), at + 1);
        good = bk_is_ticket(ticket) && add_ticket(tickets, bk_span_of(ticket), NULL);
        at = close + 1;
    }
    if (!good || tickets->count == 0) {
        admin_refuse(exchange, 400, "tickets: expected an array of 1 to %d tickets", TICKETS_MOST);
        return false;
    }
    return true;
}

/* By tickets, or by a filter: then a thousand at a time, `next` telling where to go on, and only what had died when the
 * letters were counted. */
static bool choose(struct exchange *exchange, struct change *change, struct bk_dead_walk *walk, struct tickets *tickets)
{
    const struct bk_json_member *named = change_member(change, "tickets");
    const struct bk_json_member *filter = change_member(change, "filter");
    struct bk_error error = {0};
    if (!named == !filter) {
        admin_refuse(exchange, 400, "expected either tickets or a filter");
        return false;
    }
    if (named)
        return read_tickets(exchange, named, tickets);
    if (!filter_from_change(exchange, change, walk))
        return false;
    if (!walk->filter.until_ms) {
        admin_refuse(exchange, 400, "filter: count first, and give the count's until_ms as until");
        return false;
    }
    walk->most = TICKETS_MOST;
    walk->deadline = bk_clock_now() + WALK_MOST_MS;
    if (bk_dead_walk(exchange->queue, walk, add_ticket, tickets, &error) == BK_OK)
        return true;
    admin_failed(exchange, &error);
    return false;
}

static void act(struct exchange *exchange, const char *verb)
{
    static const char *const texts[] = {"cursor", "why", NULL};
    static const char *const others[] = {"tickets", "filter", NULL};
    struct change change;
    struct bk_dead_walk walk = {0};
    struct tickets *tickets = bk_zalloc(sizeof(*tickets));
    struct bk_error error = {0};
    BK_AUTO(bk_reply) *done = NULL;
    char who[64];
    who_of(exchange, who);
    if (change_read(exchange, &change, texts, others) && choose(exchange, &change, &walk, tickets)) {
        const char *why = change_text(&change, "why");
        if (tickets->count > 0 && bk_queue_dead_act(exchange->queue, verb, who, why ? why : "", tickets->count,
                                                    tickets->at, &done, &error) != BK_OK) {
            admin_failed(exchange, &error);
        } else {
            bk_log(BK_LOG_INFO, "%s: %s of %zu dead letters", who, verb, bk_reply_count(done));
            bk_text_printf(&exchange->response->body, "{\"acted\":%zu,\"asked\":%zu,\"next\":\"%s\"}\n",
                           bk_reply_count(done), tickets->count, walk.at.text);
        }
    }
    change_deinit(&change);
    free(tickets);
}

void act_retry(struct exchange *exchange)
{
    act(exchange, "retry");
}

void act_drop(struct exchange *exchange)
{
    act(exchange, "drop");
}

/* --- edit and retry ----------------------------------------------------------------------------------------------- */

void act_edit(struct exchange *exchange)
{
    static const char *const texts[] = {"ticket", "args", "kind", "key", "why", NULL};
    static const char *const others[] = {NULL};
    struct change change;
    if (change_read(exchange, &change, texts, others)) {
        char who[64];
        char id[136];
        char ticket[48];
        struct bk_error error = {0};
        who_of(exchange, who);
        const char *why = change_text(&change, "why");
        const struct bk_dead_edit edit = {.ticket = change_text(&change, "ticket"),
                                          .args = bk_span_of(change_text(&change, "args")),
                                          .kind = change_text(&change, "kind"),
                                          .key = change_text(&change, "key"),
                                          .who = who,
                                          .why = why ? why : ""};
        if (!edit.ticket || !bk_is_ticket(edit.ticket) || !edit.args.at) {
            admin_refuse(exchange, 400, "expected {\"ticket\":\"...\",\"args\":\"the new args, as text\"}");
        } else if (bk_dead_correct(exchange->queue, &exchange->admin->pg_options, &edit, id, ticket, &error) != BK_OK) {
            admin_failed(exchange, &error);
        } else {
            bk_log(BK_LOG_INFO, "%s: %s goes on as %s, id %s", who, edit.ticket, ticket, id);
            bk_text_printf(&exchange->response->body, "{\"ticket\":\"%s\",\"id\":\"%s\"}\n", ticket, id);
        }
    }
    change_deinit(&change);
}

/* --- switches ----------------------------------------------------------------------------------------------------- */

static void configure(struct exchange *exchange, const char *verb, const char *name, const char *value)
{
    char who[64];
    struct bk_error error = {0};
    who_of(exchange, who);
    if (bk_queue_configure(exchange->queue, who, verb, name, value, &error) != BK_OK) {
        admin_failed(exchange, &error);
        return;
    }
    bk_log(BK_LOG_INFO, "%s: %s, %s=%s", who, verb, name, value);
    bk_text_printf(&exchange->response->body, "{\"%s\":\"%s\"}\n", name, value);
}

void act_paused(struct exchange *exchange)
{
    static const char *const texts[] = {NULL};
    static const char *const others[] = {"paused", NULL};
    struct change change;
    if (change_read(exchange, &change, texts, others)) {
        const struct bk_json_member *paused = change_member(&change, "paused");
        if (!paused || paused->type != BK_JSON_BOOL)
            admin_refuse(exchange, 400, "expected {\"paused\":true} or false");
        else if (bk_span_is(paused->raw, "true"))
            configure(exchange, "pause", "paused", "1");
        else
            configure(exchange, "resume", "paused", "0");
    }
    change_deinit(&change);
}

void act_breaker(struct exchange *exchange)
{
    static const char *const texts[] = {"mode", NULL};
    static const char *const others[] = {NULL};
    struct change change;
    if (change_read(exchange, &change, texts, others)) {
        const char *mode = change_text(&change, "mode");
        if (mode && (strcmp(mode, "open") == 0 || strcmp(mode, "closed") == 0 || strcmp(mode, "auto") == 0))
            configure(exchange, "breaker", "breaker", mode);
        else
            admin_refuse(exchange, 400, "mode: expected open, closed or auto");
    }
    change_deinit(&change);
}
