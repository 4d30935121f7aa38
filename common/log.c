/* log.c - see log.h. */
#include "common/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/text.h"
#include "common/timestamp.h"

enum {
    LINE_MOST = 4096, /* PIPE_BUF: what POLLOUT on a pipe promises room for */
    SHORT_MOST = 500  /* bytes of a message that fit a line whatever they are: an escape takes six at most */
};

static const char *const level_names[] = {
#define BK_LOG_NAME(name, label) label,
    BK_LOG_LEVELS(BK_LOG_NAME)
#undef BK_LOG_NAME
};

static struct {
    enum bk_log_level level;
    bool json;
    const char *who;
    pthread_mutex_t lock; /* makes poll and write one step */
    unsigned long lost;   /* lines since the last one that went through */
} logger = {.level = BK_LOG_INFO, .who = "booking-worker", .lock = PTHREAD_MUTEX_INITIALIZER};

void bk_log_setup(const char *level, const char *format, const char *who)
{
    for (size_t i = 0; i < BK_COUNT(level_names); i++) {
        if (strcmp(level, level_names[i]) == 0)
            logger.level = (enum bk_log_level)i;
    }
    logger.json = strcmp(format, "json") == 0;
    logger.who = who;
}

bool bk_log_on(enum bk_log_level level)
{
    return level <= logger.level;
}

static void write_json(struct bk_text *line, enum bk_log_level level, const struct bk_log_field *fields,
                       const char *message, const char *time)
{
    bk_text_printf(line, "{\"time\":\"%s\",\"level\":\"%s\",\"worker\":", time, level_names[level]);
    bk_text_json_string(line, logger.who);
    bk_text_puts(line, ",\"message\":");
    bk_text_json_string(line, message);
    for (const struct bk_log_field *f = fields; f && f->name; f++) {
        if (!f->value || !*f->value)
            continue;
        bk_text_printf(line, ",\"%s\":", f->name);
        bk_text_json(line, f->value, BK_MIN(strlen(f->value), (size_t)256));
    }
    bk_text_puts(line, "}\n");
}

static void write_plain(struct bk_text *line, enum bk_log_level level, const struct bk_log_field *fields,
                        const char *message, const char *time)
{
    bk_text_printf(line, "%s %-5s %s: ", time, level_names[level], logger.who);
    bk_text_safe(line, message, strlen(message), 2048);
    for (const struct bk_log_field *f = fields; f && f->name; f++) {
        if (!f->value || !*f->value)
            continue;
        bk_text_printf(line, " %s=", f->name);
        bk_text_safe(line, f->value, strlen(f->value), 256);
    }
    bk_text_putc(line, '\n');
}

/* Writes without ever waiting; what does not fit now is lost and counted. */
static void emit(const char *bytes, size_t size)
{
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT) || (ready.revents & (POLLERR | POLLNVAL))) {
        logger.lost++;
        return;
    }
    ssize_t written = write(STDERR_FILENO, bytes, size);
    if (written < 0)
        logger.lost++;
}

static void log_line(enum bk_log_level level, const struct bk_log_field *fields, const char *message)
{
    int saved = errno;
    char time[32];
    (void)bk_timestamp_format(bk_clock_wall(), time);
    BK_AUTO_TEXT line = {0};
    (logger.json ? write_json : write_plain)(&line, level, fields, message, time);
    if (line.size > LINE_MOST) { /* full of escapes: what fits of the message alone, and JSON stays JSON */
        char start[SHORT_MOST];
        (void)snprintf(start, sizeof(start), "%s", message);
        bk_text_clear(&line);
        (logger.json ? write_json : write_plain)(&line, level, NULL, start, time);
    }
    pthread_mutex_lock(&logger.lock);
    unsigned long lost = logger.lost;
    emit(line.data, line.size);
    if (lost > 0 && logger.lost == lost) {
        logger.lost = 0;
        char told[96];
        (void)snprintf(told, sizeof(told), "%lu log lines were lost because nobody read them", lost);
        bk_text_clear(&line);
        (logger.json ? write_json : write_plain)(&line, BK_LOG_WARN, NULL, told, time);
        emit(line.data, line.size);
    }
    pthread_mutex_unlock(&logger.lock);
    errno = saved;
}

void bk_log(enum bk_log_level level, const char *format, ...)
{
    if (!bk_log_on(level))
        return;
    char message[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    log_line(level, NULL, message);
}

void bk_log_with(enum bk_log_level level, const struct bk_log_field *fields, const char *format, ...)
{
    if (!bk_log_on(level))
        return;
    char message[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    log_line(level, fields, message);
}
