/* main.c - booking-worker: options, signals, threads, and the order in which everything begins and ends. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/crash.h"
#include "common/log.h"
#include "common/program.h"
#include "worker/health.h"
#include "worker/housekeeper.h"
#include "worker/lane.h"
#include "worker/notify.h"
#include "worker/service.h"
#include "worker/watcher.h"

enum { TICK_MS = 1000, STOPPING_TICK_MS = 20, LEAVE_TRIES = 3 };

struct options {
    const char *env_file;
    bool check;
};

static void print_help(void)
{
    BK_AUTO_TEXT text = {0};
    bk_text_puts(
        &text,
        "booking-worker: takes booking commands from a Redis queue and applies them to PostgreSQL.\n"
        "\n"
        "usage: booking-worker [--env-file FILE] [--check-config]\n"
        "       booking-worker --help | --version\n"
        "\n"
        "  --env-file FILE  read settings from FILE as well (NAME=value lines; the environment wins)\n"
        "  --check-config   print every setting, its value and where it came from; exit 0, or 78 if any is bad\n"
        "\n"
        "Signals: TERM or INT finishes what is held and leaves, a second one hands it back at once;\n"
        "         TSTP stops taking, CONT goes on; TTIN logs what each lane is doing; HUP is ignored.\n"
        "Exit:    0 left in good order, 64 usage, 78 configuration (or fenced off by a worker of the same name).\n"
        "\n");
    bk_config_help(&text, BK_FOR_WORKER);
    (void)fputs(bk_text_string(&text), stdout);
}

/* Returns -1 to go on, else the exit code. */
static int read_options(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {{"env-file", required_argument, NULL, 'e'},
                                          {"check-config", no_argument, NULL, 'c'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'v'},
                                          {NULL, 0, NULL, 0}};
    opterr = 0;
    for (int c = 0; (c = getopt_long(argc, argv, ":", known, NULL)) != -1;) {
        switch (c) {
        case 'e':
            options->env_file = optarg;
            break;
        case 'c':
            options->check = true;
            break;
        case 'h':
            print_help();
            return BK_EXIT_OK;
        case 'v':
            bk_print_version("booking-worker");
            return BK_EXIT_OK;
        default:
            return bk_usage("booking-worker", "%s %s; see --help",
                            c == ':' ? "a value is missing for" : "unknown option", argv[optind - 1]);
        }
    }
    if (optind < argc)
        return bk_usage("booking-worker", "unexpected argument %s; see --help", argv[optind]);
    return -1;
}

/* --- threads ------------------------------------------------------------------------------------------------------------ */

struct threads {
    struct bk_lane *lanes;
    pthread_t watcher;
    pthread_t housekeeper;
};

static void must(int why, const char *what)
{
    if (why == 0)
        return;
    bk_log(BK_LOG_ERROR, "%s cannot be started: %s", what, strerror(why));
    exit(BK_EXIT_INTERNAL);
}

static void start_threads(struct threads *threads, struct bk_service *service)
{
    must(pthread_create(&threads->housekeeper, NULL, bk_housekeeper_run, service), "the housekeeper");
    must(pthread_create(&threads->watcher, NULL, bk_watcher_run, service), "the watcher");
    threads->lanes = bk_zalloc(service->lane_count * sizeof(*threads->lanes));
    for (unsigned i = 0; i < service->lane_count; i++) {
        threads->lanes[i] = (struct bk_lane){.service = service, .number = i};
        must(pthread_create(&threads->lanes[i].thread, NULL, bk_lane_run, &threads->lanes[i]), "a lane");
    }
}

static bool lanes_have_ended(struct bk_service *service)
{
    bool ended = true;
    pthread_mutex_lock(&service->lock);
    for (unsigned i = 0; i < service->lane_count; i++)
        ended = ended && service->lanes[i].activity == BK_LANE_ENDED;
    pthread_mutex_unlock(&service->lock);
    return ended;
}

/* --- signals --------------------------------------------------------------------------------------------------------------- */

static sigset_t handled_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGTSTP, SIGCONT, SIGTTIN, SIGHUP};
    sigset_t set;
    (void)sigemptyset(&set);
    for (size_t i = 0; i < BK_COUNT(numbers); i++)
        (void)sigaddset(&set, numbers[i]);
    return set;
}

static void log_lanes(struct bk_service *service)
{
    bk_ms now = bk_clock_now();
    for (unsigned i = 0; i < service->lane_count; i++) {
        pthread_mutex_lock(&service->lock);
        struct bk_lane_view lane = service->lanes[i];
        pthread_mutex_unlock(&service->lock);
        bk_log(BK_LOG_INFO, "lane %u: %s since %lld ms, %u jobs", i, bk_lane_activity_name(lane.activity),
               (long long)(now - lane.since), lane.jobs);
    }
}

static void set_quiet(struct bk_service *service, bool quiet)
{
    pthread_mutex_lock(&service->lock);
    bool news = service->quiet != quiet;
    service->quiet = quiet;
    service->tokens = quiet ? 0 : 1;
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->lock);
    if (news)
        bk_log(BK_LOG_INFO, quiet ? "quiet: taking nothing until CONT" : "going on: taking jobs");
}

static void begin_stopping(struct bk_service *service)
{
    pthread_mutex_lock(&service->lock);
    service->stopping = true;
    service->stop_by = bk_clock_now() + service->config->shutdown_timeout_ms;
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->lock);
    bk_notify("STOPPING=1\nSTATUS=finishing what is held");
    bk_log(BK_LOG_INFO, "stopping: finishing what is held, at most %lld ms",
           (long long)service->config->shutdown_timeout_ms);
}

enum verdict { GO_ON, LANES_ENDED, HAND_BACK_NOW, FENCED };

static void tend_watchdog(struct bk_service *service, bk_ms interval, bk_ms *due)
{
    if (interval == 0 || bk_clock_now() < *due)
        return;
    *due = bk_clock_now() + interval;
    BK_AUTO_TEXT why = {0};
    if (bk_health_alive(service, &why))
        bk_notify("WATCHDOG=1");
    else
        bk_log(BK_LOG_ERROR, "no progress: %s", bk_text_string(&why));
}

/* Whether, and how, the end has come. */
static enum verdict look_for_the_end(struct bk_service *service, bool *stopping)
{
    pthread_mutex_lock(&service->lock);
    *stopping = service->stopping;
    bool fenced = service->fenced;
    bool out_of_time = *stopping && bk_clock_now() >= service->stop_by;
    pthread_mutex_unlock(&service->lock);
    if (fenced)
        return FENCED;
    if (*stopping && lanes_have_ended(service))
        return LANES_ENDED;
    return out_of_time ? HAND_BACK_NOW : GO_ON;
}

/* The main thread's life: signals, until there is nothing left to wait for. */
static enum verdict handle_signals(struct bk_service *service)
{
    sigset_t set = handled_signals();
    bk_ms watchdog = bk_notify_watchdog_interval();
    bk_ms watchdog_due = 0;
    for (;;) {
        bool stopping = false;
        enum verdict verdict = look_for_the_end(service, &stopping);
        if (verdict != GO_ON)
            return verdict;
        tend_watchdog(service, watchdog, &watchdog_due);
        bk_ms tick = stopping ? STOPPING_TICK_MS : watchdog ? BK_MIN(watchdog, (bk_ms)TICK_MS) : TICK_MS;
        struct timespec wait = {.tv_sec = tick / 1000, .tv_nsec = tick % 1000 * 1000000};
        int number = sigtimedwait(&set, NULL, &wait);
        if ((number == SIGTERM || number == SIGINT) && stopping)
            return HAND_BACK_NOW;
        if (number == SIGTERM || number == SIGINT)
            begin_stopping(service);
        else if (number == SIGTSTP || number == SIGCONT)
            set_quiet(service, number == SIGTSTP);
        else if (number == SIGTTIN)
            log_lanes(service);
    }
}

/* --- the end ---------------------------------------------------------------------------------------------------------------- */

/* Gives up the lease; what is still held goes back free of charge. Without Redis the lease runs out by itself. */
static void leave(struct bk_service *service)
{
    if (!service->worker[0])
        return;
    bk_crash_point("leave");
    BK_AUTO(bk_queue) *queue = bk_queue_open(&service->queue_options);
    struct bk_error error = {0};
    int64_t handed_back = 0;
    for (int i = 0; i < LEAVE_TRIES; i++) {
        if (bk_queue_leave(queue, service->worker, &handed_back, &error) == BK_OK) {
            bk_log(BK_LOG_INFO, "left the queue, %lld jobs handed back", (long long)handed_back);
            return;
        }
    }
    bk_log(BK_LOG_WARN, "%s; the lease will run out by itself, then others take what was held", error.text);
}

static void join_threads(struct threads *threads, struct bk_service *service)
{
    for (unsigned i = 0; i < service->lane_count; i++)
        (void)pthread_join(threads->lanes[i].thread, NULL);
    (void)pthread_join(threads->watcher, NULL);
    pthread_mutex_lock(&service->lock);
    service->housekeeping_over = true;
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->lock);
    (void)pthread_join(threads->housekeeper, NULL);
    free(threads->lanes);
}

static int run(const struct bk_config *config)
{
    sigset_t set = handled_signals();
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL); /* before the threads, which inherit it */
    struct bk_service service;
    struct bk_error error = {0};
    bk_log(BK_LOG_INFO, "booking-worker %s starting", BOOKING_VERSION);
    if (bk_service_init(&service, config, &error) != BK_OK) {
        bk_log(BK_LOG_ERROR, "%s", error.text);
        return BK_EXIT_INTERNAL;
    }
    struct bk_http_server *http = NULL;
    if (bk_health_start(&http, &service, &error) != BK_OK) {
        /* the second worker of a host finds the default port taken; that is no reason not to work */
        bool wanted = bk_config_was_set(config, &config->http);
        bk_log(wanted ? BK_LOG_ERROR : BK_LOG_WARN, "%s%s", error.text,
               wanted ? "" : "; going on without /livez /readyz /metrics, set BOOKING_HTTP");
        if (wanted) {
            bk_service_deinit(&service);
            return BK_EXIT_CONFIG;
        }
    }
    struct threads threads = {0};
    start_threads(&threads, &service);
    bk_notify("READY=1\nSTATUS=taking jobs");

    enum verdict verdict = handle_signals(&service);
    if (verdict != LANES_ENDED) {
        if (verdict == HAND_BACK_NOW)
            leave(&service);
        /* lanes may be inside a call that ends later; the process does not wait for it, the ledger sees to the rest */
        _exit(verdict == FENCED ? BK_EXIT_CONFIG : BK_EXIT_OK);
    }
    join_threads(&threads, &service);
    leave(&service);
    http = bk_http_stop(http);
    bk_service_deinit(&service);
    bk_log(BK_LOG_INFO, "stopped");
    return BK_EXIT_OK;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    int code = read_options(argc, argv, &options);
    if (code >= 0)
        return code;
    struct bk_config config;
    code = bk_load_settings(&config, BK_FOR_WORKER, options.env_file, NULL);
    if (options.check) { /* with faults too: what was understood helps to find them */
        BK_AUTO_TEXT text = {0};
        bk_config_print(&text, &config, BK_FOR_WORKER);
        (void)fputs(bk_text_string(&text), stdout);
    } else if (code == BK_EXIT_OK) {
        code = run(&config);
    }
    bk_config_deinit(&config);
    return code;
}
