/* audit.c - bookingctl audit: what admins did, newest first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/timestamp.h"
#include "worker/ctl/ctl.h"
#include "worker/report.h"

static void entry_text(struct bk_text *text, struct bk_span entry_id, const struct bk_reply *fields)
{
    static const char *const names[] = {"who", "verb", "detail", "why", "tickets"};
    char time[32];
    bk_text_puts(text, bk_timestamp_format(strtoll(entry_id.at, NULL, 10), time));
    for (size_t i = 0; i < BK_COUNT(names); i++) {
        struct bk_span value = bk_reply_text(bk_reply_field(fields, names[i]));
        if (!value.size)
            continue;
        bk_text_puts(text, strcmp(names[i], "why") == 0 ? "  because: " : "  ");
        bk_text_safe(text, value.at, value.size, 160);
    }
    bk_text_putc(text, '\n');
}

int ctl_audit(struct ctl *ctl)
{
    bool json = false;
    const char *limit_text = NULL;
    int64_t limit = 100;
    const struct ctl_option options[] = {{"--json", &json, NULL}, {"--limit", NULL, &limit_text}};
    if (!ctl_options(ctl, options, BK_COUNT(options)) || !ctl_number("--limit", limit_text, &limit))
        return BK_EXIT_USAGE;
    if (ctl->argc > 0)
        return ctl_usage("audit takes no arguments");
    char count[24];
    (void)snprintf(count, sizeof(count), "%lld", (long long)limit);
    BK_AUTO(bk_reply) *entries = NULL;
    struct bk_error error = {0};
    if (bk_report_audit(ctl->queue, NULL, count, &entries, &error) != BK_OK)
        return ctl_failed(&error);
    BK_AUTO_TEXT text = {0};
    bk_text_puts(&text, json ? "[" : "");
    for (size_t i = 0; i < bk_reply_count(entries); i++) {
        const struct bk_reply *entry = bk_reply_at(entries, i);
        bk_text_puts(&text, json && i ? ",\n" : "");
        (json ? bk_report_audit_json : entry_text)(&text, bk_reply_text(bk_reply_at(entry, 0)), bk_reply_at(entry, 1));
    }
    if (!json && bk_reply_count(entries) == 0)
        bk_text_puts(&text, "no admin has acted yet\n");
    bk_text_puts(&text, json ? "]\n" : "");
    ctl_print(&text);
    return BK_EXIT_OK;
}
