/* main.c - fault-proxy: options, and the loop that everything else is called from. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/program.h"
#include "tests/faults/proxy/proxy.h"

enum { ACCEPT_AGAIN_MS = 100, QUIT_MS = 1000 };

struct options {
    const char *protocol;
    const char *listen;
    const char *upstream;
    const char *control;
    const char *seed;
    const char *log;
    const char *tell;
};

static int usage_error(const char *what, const char *which)
{
    (void)fprintf(stderr, "fault-proxy: %s %s; see --help\n", what, which);
    return BK_EXIT_USAGE;
}

static int unavailable(const char *why)
{
    (void)fprintf(stderr, "fault-proxy: %s\n", why);
    return BK_EXIT_UNAVAILABLE;
}

static void print_help(void)
{
    BK_AUTO_TEXT text = {0};
    bk_text_puts(
        &text,
        "fault-proxy: forwards TCP connections, and does to them what it is told.\n"
        "\n"
        "usage: fault-proxy --protocol pg|resp|raw --listen [HOST:]PORT --upstream HOST:PORT|unix:PATH --control PATH\n"
        "                   [--seed N] [--log FILE]\n"
        "       fault-proxy --tell PATH COMMAND...\n"
        "       fault-proxy --help | --version\n"
        "\n"
        "  --protocol   how messages are told apart: PostgreSQL's, Redis's, or each chunk that is read is one\n"
        "  --listen     127.0.0.1 unless a host is given; port 0 is any free one. Prints `listening on HOST:PORT`\n"
        "  --upstream   the server\n"
        "  --control    a Unix socket for commands, a line each; answered by `ok ...` or `error ...`\n"
        "  --seed       of the jitter; 1 unless given\n"
        "  --log        a line for what happens is appended to this file\n"
        "  --tell       sends a command to the proxy at PATH, prints its answer. One argument is taken as the line\n"
        "\n"
        "Commands:\n");
    command_help(&text);
    bk_text_puts(
        &text,
        "\n"
        "A cut, delay or flip begins to count with the first client message that has the bytes TEXT in it, or with "
        "the\n"
        "first message at all, on the connection of that message. That message is the client's number 1; the server's\n"
        "number 1 is the first that begins after it. Once it has fired it is disarmed, unless times=N; if its\n"
        "connection ends before, it is armed again. A TEXT with blanks is written from=\"a b\".\n"
        "\n"
        "Exit: 0 ended by a signal or told to, 64 usage, 65 the command was refused, 69 it cannot listen, or nobody\n"
        "      listens.\n");
    (void)fputs(bk_text_string(&text), stdout);
}

/* Returns -1 to go on, else the exit code. */
static int read_options(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"protocol", required_argument, NULL, 'p'}, {"listen", required_argument, NULL, 'l'},
        {"upstream", required_argument, NULL, 'u'}, {"control", required_argument, NULL, 'c'},
        {"seed", required_argument, NULL, 's'},     {"log", required_argument, NULL, 'o'},
        {"tell", required_argument, NULL, 't'},     {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},        {NULL, 0, NULL, 0}};
    opterr = 0;
    for (int c = 0; (c = getopt_long(argc, argv, "+:", known, NULL)) != -1;) {
        switch (c) {
        case 'p':
            options->protocol = optarg;
            break;
        case 'l':
            options->listen = optarg;
            break;
        case 'u':
            options->upstream = optarg;
            break;
        case 'c':
            options->control = optarg;
            break;
        case 's':
            options->seed = optarg;
            break;
        case 'o':
            options->log = optarg;
            break;
        case 't':
            options->tell = optarg;
            break;
        case 'h':
            print_help();
            return BK_EXIT_OK;
        case 'v':
            (void)printf("fault-proxy %s\n", BOOKING_VERSION);
            return BK_EXIT_OK;
        default:
            return usage_error(c == ':' ? "a value is missing for" : "unknown option", argv[optind - 1]);
        }
    }
    return -1;
}

/* --- settings of the proxy ---------------------------------------------------------------------------------------- */

static bool read_protocol(const char *name, enum frame_protocol *protocol)
{
    static const char *const names[] = {[FRAME_RAW] = "raw", [FRAME_PG] = "pg", [FRAME_RESP] = "resp"};
    for (size_t i = 0; i < BK_COUNT(names); i++) {
        if (strcmp(names[i], name) == 0) {
            *protocol = (enum frame_protocol)i;
            return true;
        }
    }
    return false;
}

/* Returns BK_EXIT_OK, or the exit code after a message. */
static int read_settings(const struct options *options, struct proxy *proxy, struct net_address *listen)
{
    struct bk_error error = {0};
    int64_t seed = 1;
    if (!options->protocol || !options->listen || !options->upstream || !options->control)
        return usage_error("missing:", !options->protocol   ? "--protocol"
                                       : !options->listen   ? "--listen"
                                       : !options->upstream ? "--upstream"
                                                            : "--control");
    if (!read_protocol(options->protocol, &proxy->protocol))
        return usage_error("--protocol is none of pg, resp, raw:", options->protocol);
    if (options->seed && !bk_parse_integer(bk_span_of(options->seed), &seed))
        return usage_error("--seed is no number:", options->seed);
    proxy->seed = (uint64_t)seed;
    if (net_address_parse(options->listen, true, listen, &error) != BK_OK)
        return usage_error("--listen:", error.text);
    if (net_address_is_unix(listen))
        return usage_error("--listen is no HOST:PORT:", options->listen);
    if (net_address_parse(options->upstream, false, &proxy->upstream, &error) != BK_OK)
        return usage_error("--upstream:", error.text);
    return BK_EXIT_OK;
}

static int open_log(const char *path, FILE **log)
{
    if (!path)
        return BK_EXIT_OK;
    *log = fopen(path, "ae");
    if (!*log) {
        (void)fprintf(stderr, "fault-proxy: --log %s: %s\n", path, strerror(errno));
        return BK_EXIT_UNAVAILABLE;
    }
    (void)setvbuf(*log, NULL, _IOLBF, 0);
    return BK_EXIT_OK;
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

/* What is polled: signals, the listener, the control socket and its connections, and two sockets for each link. */
struct poll_set {
    struct pollfd *list;
    size_t room;
};

enum { POLL_SIGNALS, POLL_LISTENER, POLL_CONTROL };

static size_t fill(struct poll_set *set, const struct proxy *proxy, const struct control *control, int signals,
                   bk_ms now)
{
    size_t own = POLL_CONTROL + control_poll_count(control);
    size_t count = own;
    for (const struct link *link = proxy->links; link; link = link->next)
        count += FRAME_SIDES;
    if (count > set->room) {
        set->room = count * 2;
        set->list = bk_realloc(set->list, set->room * sizeof(*set->list));
    }
    set->list[POLL_SIGNALS] = (struct pollfd){.fd = signals, .events = POLLIN};
    set->list[POLL_LISTENER] = (struct pollfd){.fd = now < proxy->accept_at ? -1 : proxy->listener, .events = POLLIN};
    control_poll(control, set->list + POLL_CONTROL);
    struct pollfd *at = set->list + own;
    for (const struct link *link = proxy->links; link; link = link->next) {
        for (int side = 0; side < FRAME_SIDES; side++, at++) {
            int events = link_events(link, (enum frame_side)side);
            *at = (struct pollfd){.fd = events < 0 ? -1 : link->fd[side], .events = (short)(events < 0 ? 0 : events)};
        }
    }
    return count;
}

static void sooner(bk_ms *wake, bk_ms other)
{
    if (other >= 0 && (*wake < 0 || other < *wake))
        *wake = other;
}

static int timeout(const struct proxy *proxy, const struct control *control, bk_ms now)
{
    bk_ms wake = control_wake(control);
    if (now < proxy->accept_at)
        sooner(&wake, proxy->accept_at);
    for (const struct link *link = proxy->links; link; link = link->next)
        sooner(&wake, link_wake(proxy, link, now));
    return wake < 0 ? -1 : bk_clock_left(wake);
}

static void accept_one(struct proxy *proxy, bk_ms now)
{
    int fd = net_accept(proxy->listener);
    if (fd >= 0 && proxy->refusing) {
        proxy->refused++;
        net_reset(fd);
    } else if (fd >= 0) {
        link_open(proxy, fd, now);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        proxy_log(proxy, "accept: %s", strerror(errno));
        proxy->accept_at = now + ACCEPT_AGAIN_MS;
    }
}

/* One turn. What is told happens before what arrives, and that before what is new. */
static void turn(struct poll_set *set, struct proxy *proxy, struct control *control, int signals)
{
    bk_ms now = bk_clock_now();
    size_t own = POLL_CONTROL + control_poll_count(control);
    size_t count = fill(set, proxy, control, signals, now);
    if (poll(set->list, (nfds_t)count, timeout(proxy, control, now)) < 0) {
        BK_ASSERT(errno == EINTR || errno == EAGAIN || errno == ENOMEM);
        return;
    }
    now = bk_clock_now();
    if (set->list[POLL_SIGNALS].revents)
        proxy->quitting = true;
    control_step(control, proxy, set->list + POLL_CONTROL, now);
    const struct pollfd *at = set->list + own;
    for (struct link *link = proxy->links; link; link = link->next, at += FRAME_SIDES) {
        const short events[FRAME_SIDES] = {at[FRAME_CLIENT].revents, at[FRAME_SERVER].revents};
        link_step(proxy, link, events, now);
    }
    if (set->list[POLL_LISTENER].revents)
        accept_one(proxy, now);
    link_sweep(proxy);
}

static int signal_descriptor(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void announce(const struct proxy *proxy)
{
    struct net_address bound;
    BK_AUTO_TEXT shown = {0};
    net_bound(proxy->listener, &bound);
    net_address_show(&shown, &bound);
    (void)printf("listening on %s\n", bk_text_string(&shown));
    (void)fflush(stdout);
    proxy_log(proxy, "listening on %s", bk_text_string(&shown));
}

static void run(struct proxy *proxy, struct control *control)
{
    struct poll_set set = {0};
    int signals = signal_descriptor();
    BK_ASSERT(signals >= 0);
    announce(proxy);
    while (!proxy->quitting)
        turn(&set, proxy, control, signals);
    proxy_log(proxy, "ending");
    for (struct link *link = proxy->links; link; link = link->next)
        link_reset(proxy, link);
    link_sweep(proxy);
    fault_list_clear(&proxy->faults);
    trace_deinit(&proxy->trace);
    net_close(signals);
    free(set.list);
}

static int serve(const struct options *options)
{
    struct proxy proxy = {.listener = -1};
    struct net_address listen;
    struct control *control = NULL;
    struct bk_error error = {0};
    int code = read_settings(options, &proxy, &listen);
    if (code == BK_EXIT_OK)
        code = open_log(options->log, &proxy.log);
    if (code != BK_EXIT_OK)
        return code;
    if (net_listen(&listen, &proxy.listener, &error) != BK_OK ||
        control_open(&control, options->control, &error) != BK_OK)
        code = error.status == BK_INVALID ? usage_error("--control:", error.text) : unavailable(error.text);
    else
        run(&proxy, control);
    control = control_close(control);
    net_close(proxy.listener);
    if (proxy.log)
        (void)fclose(proxy.log);
    return code;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    (void)signal(SIGPIPE, SIG_IGN);
    int code = read_options(argc, argv, &options);
    if (code >= 0)
        return code;
    if (options.tell && optind == argc)
        return usage_error("a command is missing after --tell", options.tell);
    if (options.tell)
        return tell(options.tell, argc - optind, argv + optind);
    if (optind < argc)
        return usage_error("unexpected argument", argv[optind]);
    return serve(&options);
}
