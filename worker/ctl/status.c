/* status.c - bookingctl status and workers: the queue at a glance. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/timestamp.h"
#include "worker/ctl/ctl.h"
#include "worker/report.h"

enum { WATCH_MS = 1000 };

/* --- workers ------------------------------------------------------------------------------------------------------------ */

static void put_fact(struct bk_text *text, const struct bk_reply *facts, const char *name, int width)
{
    struct bk_span value = bk_reply_text(bk_reply_field(facts, name));
    BK_AUTO_TEXT shown = {0};
    bk_text_safe(&shown, value.at, value.size, 40);
    bk_text_printf(text, " %*s", width, bk_text_string(&shown));
}

/* "3/5" of the pool's JSON: in use of the most. */
static void put_pool(struct bk_text *text, const struct bk_reply *facts)
{
    struct bk_span pool = bk_reply_text(bk_reply_field(facts, "pool"));
    struct bk_json_member members[16];
    size_t count = 0;
    int64_t numbers[3] = {0};
    static const char *const names[] = {"active", "idle", "max"};
    if (pool.size && bk_json_object(pool, members, BK_COUNT(members), &count, NULL) == BK_OK) {
        for (size_t i = 0; i < count; i++) {
            for (size_t k = 0; k < BK_COUNT(names); k++) {
                if (bk_span_is(members[i].name, names[k]))
                    (void)bk_json_integer(members[i].raw, &numbers[k]);
            }
        }
    }
    char room[64];
    (void)snprintf(room, sizeof(room), "%lld+%lld/%lld", (long long)numbers[0], (long long)numbers[1],
                   (long long)numbers[2]);
    bk_text_printf(text, " %12s", room);
}

static enum bk_status workers_table(struct ctl *ctl, struct bk_text *text, struct bk_error *error)
{
    BK_AUTO(bk_reply) *members = NULL;
    enum bk_status status = bk_report_workers(ctl->queue, &members, error);
    if (status != BK_OK)
        return status;
    if (bk_reply_count(members) == 0) {
        bk_text_puts(text, "no workers\n");
        return BK_OK;
    }
    bk_text_printf(text, "%-32s %-9s %-9s %5s %6s %10s %12s\n", "WORKER", "STATE", "BREAKER", "LANES", "HOLDS", "JOBS",
                   "POOL use+idle");
    for (size_t i = 0; i + 1 < bk_reply_count(members); i += 2) {
        BK_AUTO(bk_reply) *facts = NULL;
        struct bk_span incarnation = bk_reply_text(bk_reply_at(members, i));
        status = bk_report_worker(ctl->queue, incarnation, &facts, error);
        if (status != BK_OK)
            return status;
        const char *at = memrchr(incarnation.at, '@', incarnation.size);
        BK_AUTO_TEXT name = {0};
        bk_text_safe(&name, incarnation.at, at ? (size_t)(at - incarnation.at) : incarnation.size, 64);
        bk_text_printf(text, "%-32s", bk_text_string(&name));
        put_fact(text, facts, "state", -9);
        put_fact(text, facts, "breaker", -9);
        put_fact(text, facts, "lanes", 5);
        put_fact(text, facts, "held", 6);
        put_fact(text, facts, "jobs", 10);
        put_pool(text, facts);
        bk_text_putc(text, '\n');
    }
    return BK_OK;
}

int ctl_workers(struct ctl *ctl)
{
    bool json = false;
    const struct ctl_option options[] = {{"--json", &json, NULL}};
    if (!ctl_options(ctl, options, BK_COUNT(options)))
        return BK_EXIT_USAGE;
    if (ctl->argc > 0)
        return ctl_usage("workers takes no arguments");
    BK_AUTO_TEXT text = {0};
    struct bk_error error = {0};
    enum bk_status status =
        json ? bk_report_workers_json(ctl->queue, &text, &error) : workers_table(ctl, &text, &error);
    if (status != BK_OK)
        return ctl_failed(&error);
    if (json)
        bk_text_putc(&text, '\n');
    ctl_print(&text);
    return BK_EXIT_OK;
}

/* --- status --------------------------------------------------------------------------------------------------------------- */

static enum bk_status status_table(struct ctl *ctl, struct bk_text *text, struct bk_error *error)
{
    struct bk_queue_status q;
    enum bk_status status = bk_queue_read_status(ctl->queue, &q, error);
    if (status != BK_OK)
        return status;
    char time[32];
    bk_text_printf(text, "queue %s at %s%s\n\n", ctl->config.queue, bk_timestamp_format(q.now, time),
                   q.paused ? "   PAUSED: no worker takes; `bookingctl resume` goes on" : "");
    const struct {
        const char *place;
        int64_t jobs;
        const char *meaning;
    } rows[] = {{"inbox", q.inbox, "enqueued, not taken yet"},
                {"ready", q.ready, "to be taken before the inbox"},
                {"waiting", q.waiting, "in line behind another job of their key"},
                {"active", q.active, "held by a worker"},
                {"scheduled", q.scheduled, "not due yet (not_before)"},
                {"retry", q.retry, "to be tried again later"},
                {"dead", q.dead, "dead letters: `bookingctl dead list`"}};
    for (size_t i = 0; i < BK_COUNT(rows); i++)
        bk_text_printf(text, "  %-10s %10lld   %s\n", rows[i].place, (long long)rows[i].jobs, rows[i].meaning);
    bk_text_printf(text, "\n  oldest job that could run: %s\n", q.oldest_ms ? ctl_age(q.oldest_ms) : "none waits");
    if (q.dead)
        bk_text_printf(text, "  oldest dead letter: %s\n", ctl_age(q.oldest_dead_ms));
    bk_text_putc(text, '\n');
    return workers_table(ctl, text, error);
}

int ctl_status(struct ctl *ctl)
{
    bool json = false;
    bool watch = false;
    const struct ctl_option options[] = {{"--json", &json, NULL}, {"--watch", &watch, NULL}};
    if (!ctl_options(ctl, options, BK_COUNT(options)))
        return BK_EXIT_USAGE;
    if (ctl->argc > 0)
        return ctl_usage("status takes no arguments");
    for (;;) {
        BK_AUTO_TEXT text = {0};
        struct bk_error error = {0};
        if (watch && isatty(STDOUT_FILENO))
            bk_text_puts(&text, "\x1b[H\x1b[J"); /* home, clear */
        enum bk_status status = json ? bk_report_status_json(ctl->queue, ctl->config.queue, &text, &error)
                                     : status_table(ctl, &text, &error);
        if (status != BK_OK && !watch)
            return ctl_failed(&error);
        if (status != BK_OK)
            bk_text_printf(&text, "%s\n", error.text);
        ctl_print(&text);
        if (!watch)
            return BK_EXIT_OK;
        if (fflush(stdout) != 0)
            return BK_EXIT_INTERNAL;
        const struct timespec pause = {.tv_sec = WATCH_MS / 1000};
        (void)nanosleep(&pause, NULL);
    }
}
