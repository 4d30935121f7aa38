/* main.c - fault-proxy: options, and the loop that everything else is called from. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/program.h"
#include "tests/faults/proxy/proxy.h"

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
        proxy_run(&proxy, control);
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
