/* main.c - booking-admin: the admins' page and its API over HTTP. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "common/log.h"
#include "worker/admin/admin.h"

enum {
    CONNECTIONS = 4096,
    IDLE_TIMEOUT_S = 15,
    REQUEST_LIMIT_S = 10,
    BODY_MOST = 512 * 1024, /* 64 KiB of args as a JSON string, whatever is escaped in it */
    CALL_TIMEOUT_MS = 5000
};

static void print_help(void)
{
    BK_AUTO_TEXT text = {0};
    bk_text_puts(&text, "booking-admin: the admins' page: overview, dead letters, jobs, lines, audit.\n\n"
                        "usage: booking-admin [--env-file FILE]\n"
                        "       booking-admin --help | --version\n\n"
                        "The token file has a line `name role token` for each admin, role being viewer or operator,\n"
                        "and mode 0600. TERM and INT end the program.\n\n"
                        "Exit: 0 ok, 64 usage, 78 configuration.\n\n");
    bk_config_help(&text, BK_FOR_ADMIN);
    (void)fputs(bk_text_string(&text), stdout);
}

/* An exit code, or -1 to go on. */
static int read_options(int argc, char **argv, const char **env_file)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return BK_EXIT_OK;
        }
        if (strcmp(argv[i], "--version") == 0) {
            bk_print_version("booking-admin");
            return BK_EXIT_OK;
        }
        if (strcmp(argv[i], "--env-file") == 0 && i + 1 < argc) {
            *env_file = argv[++i];
        } else if (strncmp(argv[i], "--env-file=", 11) == 0) {
            *env_file = argv[i] + 11;
        } else {
            return bk_usage("booking-admin", "unknown option %s; see --help", argv[i]);
        }
    }
    return -1;
}

/* Many slow connections must not use up the descriptors that the servers behind need. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static unsigned connections(void)
{
    struct rlimit limit;
    rlim_t room = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur : 1024;
    return (unsigned)BK_MIN(BK_MAX(room, (rlim_t)192) - 128, (rlim_t)CONNECTIONS);
}

static int serve(struct admin *admin)
{
    struct bk_error error = {0};
    struct bk_http_server *http = NULL;
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL); /* before the threads, which inherit it */
    (void)signal(SIGHUP, SIG_IGN);
    raise_descriptor_limit();
    const struct bk_http_options options = {.address = admin->config.admin_listen,
                                            .connections = connections(),
                                            .idle_timeout_s = IDLE_TIMEOUT_S,
                                            .request_limit_s = REQUEST_LIMIT_S,
                                            .body_most = BODY_MOST,
                                            .threads = ADMIN_THREADS,
                                            .handler = admin_handle,
                                            .arg = admin};
    admin->sessions = sessions_open();
    admin->sampler = sampler_start(&admin->queue_options);
    int code = BK_EXIT_OK;
    if (bk_http_start(&http, &options, &error) != BK_OK) {
        bk_log(BK_LOG_ERROR, "BOOKING_ADMIN_LISTEN: %s", error.text);
        code = BK_EXIT_CONFIG;
    } else {
        char host[64];
        unsigned port = 0;
        int number = 0;
        (void)bk_http_parse_address(admin->config.admin_listen, host, &port);
        bk_log(BK_LOG_INFO, "booking-admin %s listening on %s:%u, %zu tokens", BOOKING_VERSION, host,
               bk_http_port(http), admin->tokens.count);
        (void)sigwait(&set, &number);
        bk_log(BK_LOG_INFO, "stopping");
    }
    http = bk_http_stop(http);
    admin->sampler = sampler_stop(admin->sampler);
    admin->sessions = sessions_close(admin->sessions);
    for (size_t i = 0; i < BK_COUNT(admin->idle); i++)
        admin->idle[i] = bk_queue_close(admin->idle[i]);
    return code;
}

int main(int argc, char **argv)
{
    const char *env_file = NULL;
    int code = read_options(argc, argv, &env_file);
    if (code >= 0)
        return code;
    static struct admin admin = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct bk_config *config = &admin.config;
    code = bk_load_settings(config, BK_FOR_ADMIN, env_file, "booking-admin");
    size_t told = config->faults.size;
    if (config->admin_token_file)
        tokens_load(&admin.tokens, config->admin_token_file, config);
    if (config->faults.size > told) {
        (void)fputs(config->faults.data + told, stderr); /* the others have been printed */
        code = BK_EXIT_CONFIG;
    }
    if (code == BK_EXIT_OK) {
        admin.queue_options = (struct bk_queue_options){.url = &config->redis,
                                                        .name = config->queue,
                                                        .connect_timeout_ms = config->connect_timeout_ms,
                                                        .call_timeout_ms = CALL_TIMEOUT_MS};
        admin.pg_options = (struct bk_pg_options){.conninfo = config->database.conninfo,
                                                  .application_name = "booking-admin",
                                                  .statement_timeout_ms = config->statement_timeout_ms,
                                                  .lock_timeout_ms = config->lock_timeout_ms,
                                                  .pgbouncer = config->database.pgbouncer};
        code = serve(&admin);
    }
    tokens_deinit(&admin.tokens);
    bk_config_deinit(config);
    return code;
}
