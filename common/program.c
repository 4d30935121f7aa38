/* program.c - see program.h. */
#include "common/program.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/http.h"
#include "common/log.h"
#include "common/pg.h"
#include "common/queue.h"

int bk_exit_for(enum bk_status status)
{
    switch (status) {
    case BK_OK:
        return BK_EXIT_OK;
    case BK_INVALID:
    case BK_MISSING:
        return BK_EXIT_DATA;
    case BK_PERMANENT:
        return BK_EXIT_INTERNAL;
    case BK_OPERATOR:
        return BK_EXIT_NO_PERMISSION;
    default:
        return BK_EXIT_UNAVAILABLE;
    }
}

void bk_print_version(const char *program)
{
    (void)printf("%s %s (libpq %s, hiredis %s, queue functions %d)\n", program, BOOKING_VERSION,
                 bk_pg_library_version(), bk_redis_library_version(), BK_QUEUE_VERSION);
}

int bk_usage(const char *program, const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    BK_AUTO_TEXT shown = {0};
    bk_text_safe(&shown, text, strlen(text), sizeof(text));
    (void)fprintf(stderr, "%s: %s\n", program, bk_text_string(&shown));
    return BK_EXIT_USAGE;
}

/* An address to listen on; `off` where that is a choice. NULL: this program has none. */
static void check_address(struct bk_config *config, const char *setting, const char *address, bool may_be_off)
{
    char host[64];
    unsigned port = 0;
    if (!address || (may_be_off && strcmp(address, "off") == 0) || bk_http_parse_address(address, host, &port))
        return;
    bk_config_fault(config, setting, "\"%.80s\": expected host:port, like 127.0.0.1:9400 or [::1]:9400%s", address,
                    may_be_off ? ", or off" : "");
}

int bk_load_settings(struct bk_config *config, int program, const char *env_file, const char *log_name)
{
    /* hiredis and libpq write to sockets that may be closed at the other end */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)bk_config_load(config, program, env_file);
    struct bk_error error = {0};
    if (config->database.conninfo &&
        bk_pg_check_conninfo(config->database.conninfo, config->database_url, &error) != BK_OK) {
        BK_AUTO_TEXT shown = {0};
        BK_AUTO_TEXT why = {0};
        bk_url_mask(&shown, config->database_url);
        bk_url_mask(&why, error.text); /* libpq quotes what it cannot read */
        bk_config_fault(config, "DATABASE_URL", "\"%s\": %s", bk_text_string(&shown), bk_text_string(&why));
    }
    if (config->redis.tls && !bk_redis_has_tls())
        bk_config_fault(config, "REDIS_URL", "rediss:// needs a hiredis with TLS, and this program was built without");
    check_address(config, "BOOKING_HTTP", config->http, true);
    check_address(config, "BOOKING_ADMIN_LISTEN", config->admin_listen, false);
    if (config->faults.size > 0) {
        (void)fputs(bk_text_string(&config->faults), stderr);
        return BK_EXIT_CONFIG;
    }
    bk_log_setup(config->log_level, config->log_format, log_name ? log_name : config->worker_name);
    return BK_EXIT_OK;
}
