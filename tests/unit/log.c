/* One line a happening; a reader that sleeps or has gone costs lines, never time. */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "common/json.h"
#include "common/text.h"

static int pipe_ends[2];
static int real_stderr;

/* Standard error goes into a pipe that the test reads when it likes. */
static void begin(void)
{
    cr_assert_eq(pipe2(pipe_ends, O_CLOEXEC), 0);
    real_stderr = dup(STDERR_FILENO);
    cr_assert_geq(dup2(pipe_ends[1], STDERR_FILENO), 0);
    (void)signal(SIGPIPE, SIG_IGN); /* as the programs do */
}

static void end(void)
{
    (void)dup2(real_stderr, STDERR_FILENO);
    (void)close(real_stderr);
    (void)close(pipe_ends[0]);
    (void)close(pipe_ends[1]);
}

TestSuite(log, .init = begin, .fini = end);

/* What has been written so far, without waiting. */
static const char *written(void)
{
    static struct bk_text all;
    bk_text_clear(&all);
    int flags = fcntl(pipe_ends[0], F_GETFL);
    (void)fcntl(pipe_ends[0], F_SETFL, flags | O_NONBLOCK);
    char part[4096];
    for (ssize_t size = 0; (size = read(pipe_ends[0], part, sizeof(part))) > 0;)
        bk_text_add(&all, part, (size_t)size);
    return bk_text_string(&all);
}

/* The line behind its time stamp. */
static const char *message(void)
{
    const char *line = written();
    const char *blank = strchr(line, ' ');
    return blank ? blank + 1 : line;
}

static const struct bk_log_field fields[] = {
    {"ticket", "1-1"}, {"empty", ""}, {"null", NULL}, {"key", "a b"}, {NULL, NULL}};

Test(log, writes_text_for_people)
{
    bk_log_setup("info", "text", "worker-1");
    bk_log_with(BK_LOG_WARN, fields, "took %d jobs", 3);
    cr_expect_str_eq(message(), "warn  worker-1: took 3 jobs ticket=1-1 key=a b\n");
}

Test(log, writes_json_for_machines)
{
    bk_log_setup("info", "json", "worker-1");
    bk_log_with(BK_LOG_INFO, fields, "took \"%d\" jobs", 3);
    const char *line = written();
    cr_expect(strncmp(line, "{\"time\":\"20", 11) == 0, "%s", line);
    const char *rest = strstr(line, ",\"level\"");
    cr_assert_not_null(rest, "%s", line);
    cr_expect_str_eq(rest, ",\"level\":\"info\",\"worker\":\"worker-1\",\"message\":\"took \\\"3\\\" jobs\","
                           "\"ticket\":\"1-1\",\"key\":\"a b\"}\n");
}

Test(log, keeps_silent_below_its_level)
{
    bk_log_setup("warn", "text", "w");
    bk_log(BK_LOG_INFO, "not this");
    bk_log(BK_LOG_QUERY, "nor this");
    cr_expect_str_eq(written(), "");
    cr_expect(bk_log_on(BK_LOG_ERROR) && bk_log_on(BK_LOG_WARN) && !bk_log_on(BK_LOG_INFO));
    bk_log(BK_LOG_ERROR, "but this");
    cr_expect_str_eq(message(), "error w: but this\n");
}

Test(log, stays_one_line_that_no_terminal_obeys)
{
    bk_log_setup("info", "text", "w");
    bk_log(BK_LOG_INFO, "key %s", "a\r\nfake line\x1b[2J\xff");
    cr_expect_str_eq(message(), "info  w: key a\\x0d\\x0afake line\\x1b[2J\\xff\n");
}

Test(log, no_line_is_longer_than_a_pipe_takes_at_once)
{
    static const char *const formats[] = {"text", "json"};
    char nasty[2000];
    memset(nasty, '\x01', sizeof(nasty));
    nasty[sizeof(nasty) - 1] = '\0';
    const struct bk_log_field many[] = {{"a", nasty}, {"b", nasty}, {"c", nasty}, {"d", nasty}, {NULL, NULL}};
    for (size_t i = 0; i < BK_COUNT(formats); i++) {
        bk_log_setup("info", formats[i], "w");
        bk_log_with(BK_LOG_INFO, many, "%s", nasty);
        const char *line = written();
        size_t size = strlen(line);
        cr_expect_leq(size, 4096, "%s: %zu bytes", formats[i], size);
        cr_expect_eq(strcspn(line, "\n"), size - 1, "%s: one line", formats[i]);
        struct bk_json_member members[8];
        size_t count = 0;
        if (i == 1)
            cr_expect_eq(bk_json_object(bk_span_of(line), members, 8, &count, NULL), BK_OK, "it is JSON all the same");
    }
}

Test(log, leaves_errno_alone)
{
    bk_log_setup("info", "text", "w");
    errno = EDOM;
    bk_log(BK_LOG_INFO, "%s", strerror(ENOENT));
    cr_expect_eq(errno, EDOM);
}

Test(log, a_reader_that_sleeps_costs_lines_and_no_time, .timeout = 20)
{
    bk_log_setup("info", "text", "w");
    for (int i = 0; i < 10000; i++) /* far more than a pipe holds; blocking would hang here */
        bk_log(BK_LOG_INFO, "line %d", i);
    const char *all = written();
    size_t lines = 0;
    for (const char *at = all; *at; at++)
        lines += *at == '\n';
    cr_assert(lines > 100 && lines < 10000, "%zu lines got through", lines);

    bk_log(BK_LOG_INFO, "awake again");

    char expected[100];
    (void)snprintf(expected, sizeof(expected), "w: %zu log lines were lost because nobody read them\n", 10000 - lines);
    const char *after = written();
    cr_expect(strstr(after, "awake again\n"), "%s", after);
    cr_expect(strstr(after, expected), "expected %sgot %s", expected, after);
}

Test(log, a_reader_that_has_gone_hurts_nobody, .timeout = 20)
{
    bk_log_setup("info", "text", "w");
    (void)close(pipe_ends[0]);
    for (int i = 0; i < 1000; i++)
        bk_log(BK_LOG_INFO, "line %d", i);
    pipe_ends[0] = -1;
}
