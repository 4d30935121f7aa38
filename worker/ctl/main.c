/* main.c - bookingctl: the table of verbs and what they share. */
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/ctl/ctl.h"

static const struct verb {
    const char *name;
    int (*run)(struct ctl *ctl);
    const char *usage;
    const char *meaning;
} verbs[] = {
    {"migrate", ctl_migrate, "migrate",
     "bring the database schema and the queue's functions up to date; safe to repeat"},
    {"enqueue", ctl_enqueue, "enqueue [--journal FILE] FILE|-",
     "put commands into the queue: JSON lines "
     "{\"id\",\"kind\",\"args\"[,\"key\",\"not_before\",\"expires_at\",\"reply\","
     "\"traceparent\"]}"},
    {"status", ctl_status, "status [--json] [--watch]", "depth by place, oldest job, workers"},
    {"workers", ctl_workers, "workers [--json]", "each worker with its lanes, breaker and pool"},
    {"job", ctl_job, "job ID|TICKET [--json]", "where a job is and what happened to it"},
    {"dead", ctl_dead, "dead list|show|retry|drop|export ...", "the dead letters; `bookingctl dead` tells more"},
    {"audit", ctl_audit, "audit [--json] [--limit N]", "what admins did"},
    {"pause", ctl_pause, "pause", "no worker takes jobs from now on; enqueuing goes on"},
    {"resume", ctl_resume, "resume", "workers take jobs again"},
    {"breaker", ctl_breaker, "breaker open|closed|auto", "force the circuit breaker of all workers, or let it judge"},
    {"doctor", ctl_doctor, "doctor [--json]",
     "is this set-up fit for production? one line a check; exit 69 if any FAIL"},
    {"bench", ctl_bench, "bench [--jobs N] [--workers N] [--samples N] [--json]",
     "throughput and latency on a queue and resources of its own, removed afterwards"},
};

static void print_help(void)
{
    BK_AUTO_TEXT text = {0};
    bk_text_puts(&text, "bookingctl: runs and inspects a booking queue.\n\n"
                        "usage: bookingctl [--env-file FILE] VERB ...\n"
                        "       bookingctl --help | --version\n\n");
    for (size_t i = 0; i < BK_COUNT(verbs); i++)
        bk_text_printf(&text, "  %s\n      %s\n", verbs[i].usage, verbs[i].meaning);
    bk_text_puts(&text, "\nExit: 0 ok, 64 usage, 65 bad input data, 69 a server is unavailable, 70 internal,\n"
                        "      77 no permission, 78 configuration.\n\n");
    bk_config_help(&text, BK_FOR_CTL);
    ctl_print(&text);
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < BK_COUNT(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

static int run(const struct verb *verb, const char *env_file, int argc, char **argv)
{
    struct ctl ctl = {.verb = verb->name, .argc = argc, .argv = argv};
    int code = bk_load_settings(&ctl.config, BK_FOR_CTL, env_file, "bookingctl");
    if (code == BK_EXIT_OK) {
        const struct bk_queue_options options = {.url = &ctl.config.redis,
                                                 .name = ctl.config.queue,
                                                 .connect_timeout_ms = ctl.config.connect_timeout_ms,
                                                 .call_timeout_ms = 5000};
        ctl.queue = bk_queue_open(&options);
        code = verb->run(&ctl);
        ctl.queue = bk_queue_close(ctl.queue);
    }
    bk_config_deinit(&ctl.config);
    /* a full disk or a closed pipe must not look like success */
    if (fflush(stdout) != 0 && code == BK_EXIT_OK)
        code = BK_EXIT_INTERNAL;
    return code;
}

int main(int argc, char **argv)
{
    const char *env_file = NULL;
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            print_help();
            return BK_EXIT_OK;
        }
        if (strcmp(argv[at], "--version") == 0) {
            bk_print_version("bookingctl");
            return BK_EXIT_OK;
        }
        if (strcmp(argv[at], "--env-file") == 0 && at + 1 < argc)
            env_file = argv[++at];
        else if (strncmp(argv[at], "--env-file=", 11) == 0)
            env_file = argv[at] + 11;
        else
            return ctl_usage("unknown option %s; see --help", argv[at]);
    }
    if (at == argc)
        return ctl_usage("a verb is missing; see --help");
    const struct verb *verb = find_verb(argv[at]);
    if (!verb)
        return ctl_usage("unknown verb %s; see --help", argv[at]);
    for (int i = at + 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            (void)printf("usage: bookingctl %s\n  %s\n", verb->usage, verb->meaning);
            return BK_EXIT_OK;
        }
    }
    return run(verb, env_file, argc - at - 1, argv + at + 1);
}

/* --- what the verbs share --------------------------------------------------------------------------------------------- */

static const struct ctl_option *find_option(const struct ctl_option *options, size_t count, const char *text)
{
    size_t size = strcspn(text, "=");
    for (size_t i = 0; i < count; i++) {
        if (strlen(options[i].name) == size && strncmp(options[i].name, text, size) == 0)
            return &options[i];
    }
    return NULL;
}

bool ctl_options(struct ctl *ctl, const struct ctl_option *options, size_t count)
{
    int kept = 0;
    bool ended = false;
    for (int i = 0; i < ctl->argc; i++) {
        char *text = ctl->argv[i];
        if (ended || text[0] != '-' || text[1] == '\0') {
            ctl->argv[kept++] = text;
            continue;
        }
        if (strcmp(text, "--") == 0) {
            ended = true;
            continue;
        }
        const struct ctl_option *option = find_option(options, count, text);
        const char *equals = strchr(text, '=');
        if (!option || (option->flag && equals)) {
            (void)ctl_usage("unknown option %s of %s; see bookingctl %s --help", text, ctl->verb, ctl->verb);
            return false;
        }
        if (option->flag) {
            *option->flag = true;
        } else if (equals) {
            *option->value = equals + 1;
        } else if (i + 1 < ctl->argc) {
            *option->value = ctl->argv[++i];
        } else {
            (void)ctl_usage("%s needs a value", text);
            return false;
        }
    }
    ctl->argc = kept;
    return true;
}

int ctl_failed(const struct bk_error *error)
{
    BK_AUTO_TEXT shown = {0};
    bk_text_safe(&shown, error->text, strlen(error->text), sizeof(error->text));
    (void)fprintf(stderr, "bookingctl: %s%s%s%s\n", bk_text_string(&shown), *error->sqlstate ? " (SQLSTATE " : "",
                  error->sqlstate, *error->sqlstate ? ")" : "");
    return bk_exit_for(error->status);
}

int ctl_usage(const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return bk_usage("bookingctl", "%s", text);
}

bool ctl_number(const char *name, const char *text, int64_t *number)
{
    if (!text)
        return true;
    int64_t value = 0;
    if (bk_parse_integer(bk_span_of(text), &value) && value >= 1) {
        *number = value;
        return true;
    }
    (void)ctl_usage("%s: expected a number from 1 up, not \"%s\"", name, text);
    return false;
}

struct bk_pg_options ctl_database_options(const struct ctl *ctl)
{
    return (struct bk_pg_options){.conninfo = ctl->config.database.conninfo,
                                  .application_name = "bookingctl",
                                  .statement_timeout_ms = ctl->config.statement_timeout_ms,
                                  .lock_timeout_ms = ctl->config.lock_timeout_ms,
                                  .pgbouncer = ctl->config.database.pgbouncer};
}

struct bk_pg *ctl_database(struct ctl *ctl, struct bk_error *error)
{
    const struct bk_pg_options options = ctl_database_options(ctl);
    struct bk_pg *pg = NULL;
    (void)bk_pg_open(&pg, &options, bk_clock_now() + ctl->config.connect_timeout_ms, error);
    return pg;
}

bk_ms ctl_deadline(const struct ctl *ctl)
{
    return bk_clock_now() + ctl->config.statement_timeout_ms + 500;
}

const char *ctl_who(void)
{
    static char who[80];
    const char *sudo = getenv("SUDO_USER");
    char room[4096];
    struct passwd entry;
    struct passwd *found = NULL;
    (void)getpwuid_r(getuid(), &entry, room, sizeof(room), &found);
    (void)snprintf(who, sizeof(who), "unix:%.64s", sudo && *sudo ? sudo : found ? found->pw_name : "?");
    return who;
}

void ctl_print(struct bk_text *text)
{
    (void)fwrite(bk_text_string(text), 1, text->size, stdout);
    bk_text_clear(text);
}

const char *ctl_age(int64_t ms)
{
    static char rooms[4][24];
    static unsigned next;
    char *room = rooms[next++ % BK_COUNT(rooms)];
    double s = (double)ms / 1e3;
    if (s < 120)
        (void)snprintf(room, sizeof(rooms[0]), "%.1f s", s);
    else if (s < 7200)
        (void)snprintf(room, sizeof(rooms[0]), "%.0f min", s / 60);
    else if (s < 172800)
        (void)snprintf(room, sizeof(rooms[0]), "%.1f h", s / 3600);
    else
        (void)snprintf(room, sizeof(rooms[0]), "%.1f d", s / 86400);
    return room;
}
