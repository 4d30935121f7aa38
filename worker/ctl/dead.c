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
#include "worker/dead.h"
#include "worker/decision.h"

enum { ACT_AT_ONCE = 500, LIST_LIMIT = 50 };

struct filter {
    struct bk_dead_filter of;
    int64_t limit; /* 0: none */
};

static enum bk_status walk(struct ctl *ctl, const struct filter *filter, bool detail, bk_dead_visit visit, void *arg,
                           struct bk_error *error)
{
    struct bk_dead_walk walk = {.filter = filter->of, .most = filter->limit, .detail = detail};
    return bk_dead_walk(ctl->queue, &walk, visit, arg, error);
}

/* --- list -------------------------------------------------------------------------------------------------------------- */

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
        bk_dead_json(&listing->text, ticket, fields);
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
    enum bk_status status = walk(ctl, &limited, true, list_one, &listing, &error);
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

static int show(struct ctl *ctl, bool json)
{
    if (ctl->argc != 1)
        return ctl_usage("dead show takes one TICKET");
    if (!json) /* the same story as any job's */
        return ctl_job(ctl);
    BK_AUTO(bk_reply) *fields = NULL;
    struct bk_error error = {0};
    if (bk_dead_read(ctl->queue, ctl->argv[0], &fields, &error) != BK_OK)
        return ctl_failed(&error);
    BK_AUTO_TEXT text = {0};
    bk_dead_story(&text, bk_span_of(ctl->argv[0]), fields);
    ctl_print(&text);
    return BK_EXIT_OK;
}

/* --- export ------------------------------------------------------------------------------------------------------------- */

struct exporting {
    struct ctl *ctl;
    struct bk_text text;
    struct bk_error error;
    int64_t left_out;
};

/* What never was an entry of the right shape cannot become a line. */
static bool export_one(void *arg, struct bk_span ticket, const struct bk_reply *unused)
{
    struct exporting *run = arg;
    (void)unused;
    BK_AUTO(bk_reply) *fields = NULL;
    enum bk_status status = bk_dead_read(run->ctl->queue, ticket.at, &fields, &run->error);
    if (status == BK_MISSING)
        return true; /* somebody has acted on it since */
    if (status != BK_OK)
        return false;
    if (!bk_dead_line(&run->text, fields))
        run->left_out++;
    if (run->text.size > 65536)
        ctl_print(&run->text);
    return true;
}

static int export(struct ctl *ctl, const struct filter *filter)
{
    struct exporting run = {.ctl = ctl};
    struct bk_error error = {0};
    enum bk_status status = walk(ctl, filter, false, export_one, &run, &error);
    ctl_print(&run.text);
    bk_text_deinit(&run.text);
    if (run.left_out)
        (void)fprintf(stderr, "%lld left out: malformed, or args that are no JSON\n", (long long)run.left_out);
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
    const char *args; /* of a retry: the corrected ones */
};

static int correct(struct ctl *ctl, const struct act_options *options)
{
    if (ctl->argc != 1 || options->all)
        return ctl_usage("dead retry --args takes one TICKET");
    if (options->dry_run) {
        (void)printf("would put %s back with other args\n", ctl->argv[0]);
        return BK_EXIT_OK;
    }
    const struct bk_pg_options pg = ctl_database_options(ctl);
    const struct bk_dead_edit edit = {.ticket = ctl->argv[0],
                                      .args = bk_span_of(options->args),
                                      .who = ctl_who(),
                                      .why = options->why ? options->why : ""};
    char id[136];
    char ticket[48];
    struct bk_error error = {0};
    if (bk_dead_correct(ctl->queue, &pg, &edit, id, ticket, &error) != BK_OK)
        return ctl_failed(&error);
    (void)printf("%s goes on as %s, id %s\n", edit.ticket, ticket, id);
    return BK_EXIT_OK;
}

static bool filtered(const struct filter *filter)
{
    const struct bk_dead_filter *of = &filter->of;
    return of->reason || of->kind || of->key || of->text || of->since_ms || of->until_ms || filter->limit;
}

static int act(struct ctl *ctl, const char *verb, const struct filter *filter, const struct act_options *options)
{
    if (options->all == (ctl->argc > 0))
        return ctl_usage("dead %s takes either TICKETs or --all with filters", verb);
    if (!options->all && filtered(filter))
        return ctl_usage("dead %s: filters go with --all", verb);
    struct tickets tickets = {0};
    struct bk_error error = {0};
    enum bk_status status = BK_OK;
    if (options->all)
        status = walk(ctl, filter, false, collect_one, &tickets, &error);
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

/* --- the verb ----------------------------------------------------------------------------------------------------- */

static const char usage[] =
    "dead list [--json] [filters] [--limit N] | dead show TICKET [--json] |\n"
    "  dead retry|drop TICKET... | --all [filters] [--dry-run] [--yes] [--why TEXT] |\n"
    "  dead retry TICKET --args JSON [--why TEXT] | dead export [filters]\n"
    "  filters: --reason R --kind K --key K --text T --since TIME --until TIME; a TIME is RFC 3339 or an age like 2h";

static bool read_time(const char *name, const char *text, int64_t *unix_ms)
{
    if (!text || bk_dead_time(text, bk_clock_wall(), unix_ms))
        return true;
    (void)ctl_usage("%s: expected RFC 3339 with a zone, or an age like 30m, 12h, 7d, not \"%.40s\"", name, text);
    return false;
}

/* What is left on the command line are tickets. */
static int check_tickets(const struct ctl *ctl)
{
    struct bk_error error = {0};
    for (int i = 0; i < ctl->argc; i++) {
        if (!bk_is_ticket(ctl->argv[i])) {
            (void)bk_fail(&error, BK_INVALID, "\"%.60s\" is no ticket", ctl->argv[i]);
            return ctl_failed(&error);
        }
    }
    return BK_EXIT_OK;
}

static int run(struct ctl *ctl, const struct filter *filter, const struct act_options *acting, bool json)
{
    const char *verb = ctl->argv[0];
    ctl->argv++;
    ctl->argc--;
    bool retry = strcmp(verb, "retry") == 0;
    if (acting->args && !retry)
        return ctl_usage("dead %.40s takes no --args", verb);
    if (strcmp(verb, "list") == 0)
        return ctl->argc > 0 ? ctl_usage("dead list takes no TICKET; see dead show") : list(ctl, filter, json);
    if (strcmp(verb, "show") == 0)
        return show(ctl, json);
    if (strcmp(verb, "export") == 0)
        return ctl->argc > 0 ? ctl_usage("dead export takes filters, no TICKET") : export(ctl, filter);
    if (!retry && strcmp(verb, "drop") != 0)
        return ctl_usage("dead: unknown verb %.40s", verb);
    int code = check_tickets(ctl);
    if (code != BK_EXIT_OK)
        return code;
    return acting->args ? correct(ctl, acting) : act(ctl, verb, filter, acting);
}

int ctl_dead(struct ctl *ctl)
{
    struct filter filter = {0};
    struct act_options acting = {0};
    bool json = false;
    const char *limit = NULL;
    const char *since = NULL;
    const char *until = NULL;
    const struct ctl_option options[] = {{"--json", &json, NULL},
                                         {"--all", &acting.all, NULL},
                                         {"--yes", &acting.yes, NULL},
                                         {"--dry-run", &acting.dry_run, NULL},
                                         {"--why", NULL, &acting.why},
                                         {"--args", NULL, &acting.args},
                                         {"--reason", NULL, &filter.of.reason},
                                         {"--kind", NULL, &filter.of.kind},
                                         {"--key", NULL, &filter.of.key},
                                         {"--text", NULL, &filter.of.text},
                                         {"--since", NULL, &since},
                                         {"--until", NULL, &until},
                                         {"--limit", NULL, &limit}};
    if (!ctl_options(ctl, options, BK_COUNT(options)) || !ctl_number("--limit", limit, &filter.limit) ||
        !read_time("--since", since, &filter.of.since_ms) || !read_time("--until", until, &filter.of.until_ms))
        return BK_EXIT_USAGE;
    if (filter.of.reason && !bk_dead_reason_meaning(filter.of.reason))
        return ctl_usage("dead: there is no reason \"%.40s\"", filter.of.reason);
    if (ctl->argc == 0) {
        (void)fprintf(stderr, "bookingctl: %s\n", usage);
        return BK_EXIT_USAGE;
    }
    return run(ctl, &filter, &acting, json);
}
