/* job.c - bookingctl job: where a job is, from the queue and the ledger, and what happened to it. */
#include <stdlib.h>
#include <string.h>

#include "common/timestamp.h"
#include "worker/ctl/ctl.h"
#include "worker/decision.h"
#include "worker/find.h"
#include "worker/job.h"

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

static void put_text(struct bk_text *text, const struct bk_found *found, const char *asked)
{
    static const char *const names[] = {"id",         "kind",       "key",        "attempts",    "requeues",
                                        "deliveries", "not_before", "expires_at", "traceparent", "reason",
                                        "sqlstate",   "error",      "args",       "raw"};
    const struct bk_reply *fields = bk_found_fields(found);
    char room[32];
    char time[32];
    bk_text_puts(text, "job ");
    bk_text_safe(text, asked, strlen(asked), BK_ID_MOST);
    bk_text_printf(text, ": %s\n", bk_found_place(found, room));
    put_line(text, "ticket", bk_span_of(found->ticket), 48);
    for (size_t i = 0; i < BK_COUNT(names) && fields; i++)
        put_line(text, names[i], bk_reply_text(bk_reply_field(fields, names[i])), 2000);
    struct bk_span reason = bk_reply_text(bk_reply_field(fields, "reason"));
    if (reason.size)
        put_line(text, "that is", bk_span_of(bk_dead_reason_meaning(reason.at)), 200);
    struct bk_span history = bk_reply_text(bk_reply_field(fields, "history"));
    if (history.size) {
        bk_text_puts(text, "\nwhat happened to it\n");
        print_history(text, history);
    }
    if (bk_rows_count(found->ledger) > 0) {
        const char *code = bk_rows_text(found->ledger, 0, 5);
        const char *version = bk_rows_text(found->ledger, 0, 6);
        bk_text_printf(text, "\nin the ledger\n  %s %s%s%s\n  booking %s, version %s\n",
                       bk_rows_text(found->ledger, 0, 2), bk_rows_text(found->ledger, 0, 4), code ? ": " : "",
                       code ? code : "", bk_rows_text(found->ledger, 0, 3), version ? version : "none");
        bk_text_printf(text, "  enqueued %s\n", bk_timestamp_format(bk_rows_integer(found->ledger, 0, 10, 0), time));
        bk_text_printf(text, "  applied  %s by %s, seen %s times\n",
                       bk_timestamp_format(bk_rows_integer(found->ledger, 0, 11, 0), time),
                       bk_rows_text(found->ledger, 0, 8), bk_rows_text(found->ledger, 0, 7));
    }
    if (found->ledger_unknown)
        bk_text_puts(text, "\nthe ledger could not be asked: PostgreSQL does not answer\n");
}

int ctl_job(struct ctl *ctl)
{
    bool json = false;
    const struct ctl_option options[] = {{"--json", &json, NULL}};
    if (!ctl_options(ctl, options, BK_COUNT(options)))
        return BK_EXIT_USAGE;
    if (ctl->argc != 1)
        return ctl_usage("job takes one ID or TICKET");
    struct bk_found found = {0};
    struct bk_error error = {0};
    int code = BK_EXIT_OK;
    const struct bk_finder finder = {.queue = ctl->queue, .name = ctl->config.queue, .pg = ctl_database_options(ctl)};
    BK_AUTO_TEXT text = {0};
    if (bk_find(&finder, ctl->argv[0], &found, &error) != BK_OK)
        code = ctl_failed(&error);
    else
        (json ? bk_found_json : put_text)(&text, &found, ctl->argv[0]);
    ctl_print(&text);
    bk_found_deinit(&found);
    return code;
}
