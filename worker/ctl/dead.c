/* dead.c - bookingctl dead list, show, retry, drop and export: the jobs that a person must look at.
 *
 * A bulk verb acts on exactly what `list` shows with the same filter: it walks the pages once, collects the tickets,
 * says how many there are, asks, and then names each of them to the queue. What dies in the meantime is left alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/timestamp.h"
#include "worker/ctl/ctl.h"
#include "worker/decision.h"

enum { PAGE = 500, ACT_AT_ONCE = 500, LIST_LIMIT = 50 };

struct filter {
    const char *reason;
    const char *kind;
    const char *key;
    const char *limit_text;
    int64_t limit; /* 0: none */
};

/* Called for each letter that fits, newest first; false ends the walk. */
typedef bool (*on_letter)(void *arg, struct bk_span ticket, const struct bk_reply *fields);

static bool fits(const struct bk_reply *fields, const char *name, const char *wanted)
{
    return !wanted || bk_span_is(bk_reply_text(bk_reply_field(fields, name)), wanted);
}

static enum bk_status walk(struct ctl *ctl, const struct filter *filter, on_letter visit, void *arg,
                           struct bk_error *error)
{
    int64_t found = 0;
    for (int64_t offset = 0;; offset += PAGE) {
        BK_AUTO(bk_reply) *page = NULL;
        enum bk_status status = bk_queue_dead_page(ctl->queue, offset, PAGE, &page, error);
        if (status != BK_OK)
            return status;
        size_t count = bk_reply_count(page);
        for (size_t i = 0; i + 1 < count; i += 2) {
            const struct bk_reply *fields = bk_reply_at(page, i + 1);
            if (!fits(fields, "reason", filter->reason) || !fits(fields, "kind", filter->kind) ||
                !fits(fields, "key", filter->key))
                continue;
            if (!visit(arg, bk_reply_text(bk_reply_at(page, i)), fields))
                return BK_OK;
            if (filter->limit && ++found == filter->limit)
                return BK_OK;
        }
        if (count < (size_t)2 * PAGE)
            return BK_OK;
    }
}

/* --- list -------------------------------------------------------------------------------------------------------------- */

static void put_json(struct bk_text *json, const char *name, struct bk_span value)
{
    bk_text_printf(json, ",\"%s\":", name);
    bk_text_json(json, value.at, value.size);
}

static void letter_json(struct bk_text *json, struct bk_span ticket, const struct bk_reply *fields)
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

struct listing {
    struct bk_text text;
    bool json;
    int64_t count;
};

static bool list_one(void *arg, struct bk_span ticket, const struct bk_reply *fields)
{
    struct listing *listing = arg;
    listing->count++;
    if (listing->json) {
        bk_text_puts(&listing->text, listing->count > 1 ? ",\n" : "");
        letter_json(&listing->text, ticket, fields);
        bk_text_putc(&listing->text, '}');
    } else {
        char time[32];
        struct bk_span error = bk_reply_text(bk_reply_field(fields, "error"));
        struct bk_span reason = bk_reply_text(bk_reply_field(fields, "reason"));
        struct bk_span id = bk_reply_text(bk_reply_field(fields, "id"));
        BK_AUTO_TEXT id_shown = {0};
        bk_text_safe(&id_shown, id.at, id.size, 24);
        bk_text_printf(&listing->text, "%-22.*s %s  %-17.*s %-28s ", (int)ticket.size, ticket.at,
                       bk_timestamp_format(bk_reply_integer(bk_reply_field(fields, "died_at"), 0), time),
                       (int)reason.size, reason.at ? reason.at : "", bk_text_string(&id_shown));
        bk_text_safe(&listing->text, error.at, error.size, 90);
        bk_text_putc(&listing->text, '\n');
    }
    if (listing->text.size > 65536)
        ctl_print(&listing->text);
    return true;
}

static int list(struct ctl *ctl, const struct filter *filter, bool json)
{
    struct filter limited = *filter;
    if (!limited.limit)
        limited.limit = json ? 0 : LIST_LIMIT;
    struct listing listing = {.json = json};
    struct bk_error error = {0};
    bk_text_puts(&listing.text, json ? "[" : "");
    enum bk_status status = walk(ctl, &limited, list_one, &listing, &error);
    if (status == BK_OK) {
        if (json)
            bk_text_puts(&listing.text, "]\n");
        else if (listing.count == 0)
            bk_text_puts(&listing.text, "no dead letters\n");
        else if (listing.count == limited.limit)
            bk_text_printf(&listing.text, "the newest %lld; --limit shows more\n", (long long)listing.count);
        ctl_print(&listing.text);
    }
    bk_text_deinit(&listing.text);
    return status == BK_OK ? BK_EXIT_OK : ctl_failed(&error);
}

/* --- show -------------------------------------------------------------------------------------------------------------- */

static enum bk_status read_letter(struct ctl *ctl, const char *ticket, struct bk_reply **fields, struct bk_error *error)
{
    BK_AUTO_TEXT key = {0};
    bk_text_printf(&key, "job:%s", ticket);
    const struct bk_span words[] = {bk_span_of("HGETALL"), {key.data, key.size}};
    BK_AUTO(bk_reply) *reply = NULL;
    enum bk_status status = bk_queue_command(ctl->queue, 2, words, 1, &reply, error);
    if (status != BK_OK)
        return status;
    if (!bk_span_is(bk_reply_text(bk_reply_field(reply, "state")), "dead"))
        return bk_fail(error, BK_MISSING, "no dead letter with the ticket \"%.48s\"", ticket);
    *fields = BK_STEAL(reply);
    return BK_OK;
}

static void show_json(struct bk_span ticket, const struct bk_reply *fields)
{
    static const char *const extra[] = {"args", "not_before", "expires_at", "reply", "raw", "history"};
    BK_AUTO_TEXT json = {0};
    letter_json(&json, ticket, fields);
    struct bk_span reason = bk_reply_text(bk_reply_field(fields, "reason"));
    put_json(&json, "meaning", bk_span_of(reason.size ? bk_dead_reason_meaning(reason.at) : NULL));
    for (size_t i = 0; i < BK_COUNT(extra); i++) {
        struct bk_span value = bk_reply_text(bk_reply_field(fields, extra[i]));
        if (value.at)
            put_json(&json, extra[i], value);
    }
    bk_text_puts(&json, "}\n");
    ctl_print(&json);
}

static int show(struct ctl *ctl, bool json)
{
    if (ctl->argc != 1)
        return ctl_usage("dead show takes one TICKET");
    if (!json) /* the same story as any job's */
        return ctl_job(ctl);
    BK_AUTO(bk_reply) *fields = NULL;
    struct bk_error error = {0};
    if (read_letter(ctl, ctl->argv[0], &fields, &error) != BK_OK)
        return ctl_failed(&error);
    show_json(bk_span_of(ctl->argv[0]), fields);
    return BK_EXIT_OK;
}

/* --- export ------------------------------------------------------------------------------------------------------------- */

struct exporting {
    struct ctl *ctl;
    struct bk_text text;
    struct bk_error error;
    int64_t left_out;
};

/* One line that `enqueue` takes back. What never was an entry of the right shape cannot become a line. */
static bool export_one(void *arg, struct bk_span ticket, const struct bk_reply *unused)
{
    static const char *const texts[] = {"id", "kind", "key", "traceparent"};
    static const char *const raw[] = {"args", "not_before", "expires_at", "reply"};
    struct exporting *run = arg;
    (void)unused;
    BK_AUTO(bk_reply) *fields = NULL;
    enum bk_status status = read_letter(run->ctl, ticket.at, &fields, &run->error);
    if (status == BK_MISSING)
        return true; /* somebody has acted on it since */
    if (status != BK_OK)
        return false;
    struct bk_span args = bk_reply_text(bk_reply_field(fields, "args"));
    bool line = args.size && !bk_reply_field(fields, "raw") && bk_utf8_valid(args.at, args.size, NULL) &&
                !memchr(args.at, '\n', args.size);
    if (!line) {
        run->left_out++;
        return true;
    }
    size_t start = run->text.size;
    for (size_t i = 0; i < BK_COUNT(texts); i++) {
        struct bk_span value = bk_reply_text(bk_reply_field(fields, texts[i]));
        if (!value.at)
            continue;
        bk_text_printf(&run->text, "%s\"%s\":", run->text.size == start ? "{" : ",", texts[i]);
        bk_text_json(&run->text, value.at, value.size);
    }
    for (size_t i = 0; i < BK_COUNT(raw); i++) {
        struct bk_span value = bk_reply_text(bk_reply_field(fields, raw[i]));
        if (value.at)
            bk_text_printf(&run->text, ",\"%s\":%.*s", raw[i], (int)value.size, value.at);
    }
    bk_text_puts(&run->text, "}\n");
    if (run->text.size > 65536)
        ctl_print(&run->text);
    return true;
}

static int export(struct ctl *ctl, const struct filter *filter)
{
    struct exporting run = {.ctl = ctl};
    struct bk_error error = {0};
    enum bk_status status = walk(ctl, filter, export_one, &run, &error);
    ctl_print(&run.text);
    bk_text_deinit(&run.text);
    if (run.left_out)
        (void)fprintf(stderr, "%lld left out: malformed, or args that are no line of text\n", (long long)run.left_out);
    if (status != BK_OK)
        return ctl_failed(&error);
    return run.error.status == BK_OK || run.error.status == BK_MISSING ? BK_EXIT_OK : ctl_failed(&run.error);
}

/* --- retry and drop ------------------------------------------------------------------------------------------------------- */

struct tickets {
    char **owned;
    struct bk_span *at; /* the same as spans */
    size_t count;
    size_t room;
};

static void add_ticket(struct tickets *tickets, struct bk_span ticket)
{
    if (tickets->count == tickets->room) {
        tickets->room = tickets->room ? tickets->room * 2 : 64;
        tickets->at = bk_realloc(tickets->at, tickets->room * sizeof(*tickets->at));
        tickets->owned = bk_realloc(tickets->owned, tickets->room * sizeof(char *));
    }
    tickets->owned[tickets->count] = bk_strndup(ticket.at, ticket.size);
    tickets->at[tickets->count] = bk_span_of(tickets->owned[tickets->count]);
    tickets->count++;
}

static bool collect_one(void *arg, struct bk_span ticket, const struct bk_reply *fields)
{
    (void)fields;
    add_ticket(arg, ticket);
    return true;
}

static void free_tickets(struct tickets *tickets)
{
    for (size_t i = 0; i < tickets->count; i++)
        free(tickets->owned[i]);
    free(tickets->owned);
    free(tickets->at);
}

/* Asks a person; without one, --yes must have been given. */
static bool confirmed(const char *verb, size_t count, bool yes, int *code)
{
    if (yes)
        return true;
    if (!isatty(STDIN_FILENO)) {
        *code = ctl_usage("dead %s: %zu dead letters; give --yes to go on without a terminal", verb, count);
        return false;
    }
    (void)fprintf(stderr, "%s %zu dead letters? [y/N] ", verb, count);
    char answer[16] = "";
    bool agreed = fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
    *code = BK_EXIT_OK;
    if (!agreed)
        (void)puts("nothing done");
    return agreed;
}

static int act_on(struct ctl *ctl, const char *verb, const char *why, const struct tickets *tickets)
{
    size_t acted = 0;
    for (size_t i = 0; i < tickets->count; i += ACT_AT_ONCE) {
        struct bk_error error = {0};
        BK_AUTO(bk_reply) *done = NULL;
        size_t count = BK_MIN(tickets->count - i, (size_t)ACT_AT_ONCE);
        if (bk_queue_dead_act(ctl->queue, verb, ctl_who(), why, count, tickets->at + i, &done, &error) != BK_OK) {
            (void)printf("%zu of %zu done\n", acted, tickets->count);
            return ctl_failed(&error);
        }
        acted += bk_reply_count(done);
        if (isatty(STDERR_FILENO) && tickets->count > ACT_AT_ONCE)
            (void)fprintf(stderr, "\r%zu of %zu ", i + count, tickets->count);
    }
    if (isatty(STDERR_FILENO) && tickets->count > ACT_AT_ONCE)
        (void)fputc('\n', stderr);
    (void)printf("%s: %zu dead letters%s\n", verb, acted,
                 acted < tickets->count ? " (the others were not dead any more, or never were)" : "");
    return acted == 0 && tickets->count > 0 ? BK_EXIT_DATA : BK_EXIT_OK;
}

struct act_options {
    bool all;
    bool yes;
    bool dry_run;
    const char *why;
};

static int act(struct ctl *ctl, const char *verb, const struct filter *filter, const struct act_options *options)
{
    if (options->all == (ctl->argc > 0))
        return ctl_usage("dead %s takes either TICKETs or --all with filters", verb);
    if (!options->all && (filter->reason || filter->kind || filter->key || filter->limit))
        return ctl_usage("dead %s: filters go with --all", verb);
    struct tickets tickets = {0};
    struct bk_error error = {0};
    enum bk_status status = BK_OK;
    if (options->all)
        status = walk(ctl, filter, collect_one, &tickets, &error);
    for (int i = 0; i < ctl->argc; i++)
        add_ticket(&tickets, bk_span_of(ctl->argv[i]));
    int code = BK_EXIT_OK;
    bool ask = options->all || strcmp(verb, "drop") == 0;
    if (status != BK_OK) {
        code = ctl_failed(&error);
    } else if (options->dry_run) {
        for (size_t i = 0; i < tickets.count; i++)
            (void)printf("%s\n", tickets.at[i].at);
        (void)printf("would %s %zu dead letters\n", verb, tickets.count);
    } else if (tickets.count == 0) {
        (void)puts("no dead letters");
    } else if (!ask || confirmed(verb, tickets.count, options->yes, &code)) {
        code = act_on(ctl, verb, options->why ? options->why : "", &tickets);
    }
    free_tickets(&tickets);
    return code;
}

/* --- the verb ----------------------------------------------------------------------------------------------------------------- */

int ctl_dead(struct ctl *ctl)
{
    struct filter filter = {0};
    struct act_options acting = {0};
    bool json = false;
    const struct ctl_option options[] = {{"--json", &json, NULL},
                                         {"--all", &acting.all, NULL},
                                         {"--yes", &acting.yes, NULL},
                                         {"--dry-run", &acting.dry_run, NULL},
                                         {"--why", NULL, &acting.why},
                                         {"--reason", NULL, &filter.reason},
                                         {"--kind", NULL, &filter.kind},
                                         {"--key", NULL, &filter.key},
                                         {"--limit", NULL, &filter.limit_text}};
    if (!ctl_options(ctl, options, BK_COUNT(options)) || !ctl_number("--limit", filter.limit_text, &filter.limit))
        return BK_EXIT_USAGE;
    if (filter.reason && !bk_dead_reason_meaning(filter.reason))
        return ctl_usage("dead: there is no reason \"%.40s\"", filter.reason);
    if (ctl->argc == 0)
        return ctl_usage(
            "dead list [--json] [--reason R] [--kind K] [--key K] [--limit N] | dead show TICKET [--json] |\n"
            "  dead retry|drop TICKET... | --all [filters] [--dry-run] [--yes] [--why TEXT] |\n"
            "  dead export [filters]");
    const char *verb = ctl->argv[0];
    ctl->argv++;
    ctl->argc--;
    if (strcmp(verb, "list") == 0)
        return ctl->argc > 0 ? ctl_usage("dead list takes no TICKET; see dead show") : list(ctl, &filter, json);
    if (strcmp(verb, "show") == 0)
        return show(ctl, json);
    if (strcmp(verb, "export") == 0)
        return ctl->argc > 0 ? ctl_usage("dead export takes filters, no TICKET") : export(ctl, &filter);
    if (strcmp(verb, "retry") == 0 || strcmp(verb, "drop") == 0)
        return act(ctl, verb, &filter, &acting);
    return ctl_usage("dead: unknown verb %.40s", verb);
}
