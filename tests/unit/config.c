/* The settings: where they come from, what is wrong with them, how they are shown. */
#include "common/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

/* --- a clean place to stand --------------------------------------------------------------------------------------- */

/* name, default as it is documented */
static const struct {
    const char *name;
    const char *fallback;
    int programs;
} documented[] = {
    {"DATABASE_URL", "required", BK_FOR_ALL},
    {"REDIS_URL", "required", BK_FOR_ALL},
    {"BOOKING_QUEUE", "booking", BK_FOR_ALL},
    {"BOOKING_WORKER_NAME", "host name + pid", BK_FOR_WORKER},
    {"BOOKING_LANES", "2 x cores", BK_FOR_WORKER},
    {"BOOKING_BATCH", "64", BK_FOR_WORKER},
    {"BOOKING_POOL_MAX", "2 x cores + 1", BK_FOR_WORKER},
    {"BOOKING_POOL_MIN", "the same", BK_FOR_WORKER},
    {"BOOKING_POOL_ACQUIRE_TIMEOUT_MS", "5000", BK_FOR_WORKER},
    {"BOOKING_POOL_IDLE_TIMEOUT_S", "600", BK_FOR_WORKER},
    {"BOOKING_POOL_MAX_LIFETIME_S", "1800", BK_FOR_WORKER},
    {"BOOKING_POOL_KEEPALIVE_S", "30", BK_FOR_WORKER},
    {"BOOKING_CONNECT_TIMEOUT_MS", "3000", BK_FOR_ALL},
    {"BOOKING_STATEMENT_TIMEOUT_MS", "5000", BK_FOR_ALL},
    {"BOOKING_LOCK_TIMEOUT_MS", "2000", BK_FOR_ALL},
    {"BOOKING_RETRIES", "2", BK_FOR_WORKER},
    {"BOOKING_RETRY_BASE_MS", "500", BK_FOR_WORKER},
    {"BOOKING_MAX_ATTEMPTS", "10", BK_FOR_WORKER},
    {"BOOKING_ATTEMPT_CAP_S", "60", BK_FOR_WORKER},
    {"BOOKING_MAX_REQUEUES", "20", BK_FOR_WORKER},
    {"BOOKING_MAX_AGE_S", "86400", BK_FOR_WORKER},
    {"BOOKING_MAX_DELIVERIES", "3", BK_FOR_WORKER},
    {"BOOKING_BREAKER_WINDOW", "20", BK_FOR_WORKER},
    {"BOOKING_BREAKER_MIN_CALLS", "10", BK_FOR_WORKER},
    {"BOOKING_BREAKER_FAILURE_RATE", "50", BK_FOR_WORKER},
    {"BOOKING_BREAKER_CONSECUTIVE", "5", BK_FOR_WORKER},
    {"BOOKING_BREAKER_SLOW_MS", "2000", BK_FOR_WORKER},
    {"BOOKING_BREAKER_SLOW_RATE", "80", BK_FOR_WORKER},
    {"BOOKING_BREAKER_OPEN_MS", "1000", BK_FOR_WORKER},
    {"BOOKING_BREAKER_OPEN_MAX_MS", "30000", BK_FOR_WORKER},
    {"BOOKING_BREAKER_PROBES", "3", BK_FOR_WORKER},
    {"BOOKING_LEASE_MS", "15000", BK_FOR_WORKER},
    {"BOOKING_SHUTDOWN_TIMEOUT_MS", "25000", BK_FOR_WORKER},
    {"BOOKING_HTTP", "127.0.0.1:9400", BK_FOR_WORKER},
    {"BOOKING_LOG_LEVEL", "info", BK_FOR_ALL},
    {"BOOKING_LOG_FORMAT", "text on a terminal, else json", BK_FOR_ALL},
    {"BOOKING_LEDGER_RETENTION_DAYS", "0", BK_FOR_WORKER},
    {"BOOKING_ADMIN_LISTEN", "127.0.0.1:8400", BK_FOR_ADMIN},
    {"BOOKING_ADMIN_TOKEN_FILE", "required", BK_FOR_ADMIN},
};

static struct bk_config config;

static void set(const char *name, const char *value)
{
    cr_assert_eq(setenv(name, value, 1), 0);
}

/* Nothing of the machine's own environment, and the two settings that nobody can do without. */
static void begin(void)
{
    for (size_t i = 0; i < BK_COUNT(documented); i++)
        cr_assert_eq(unsetenv(documented[i].name), 0);
    set("DATABASE_URL", "postgresql://app:Secret@db/shop");
    set("REDIS_URL", "redis://:Secret@cache");
}

static void end(void)
{
    bk_config_deinit(&config);
}

/* Loads the worker's settings and expects these faults, all of them, one a line; "" for none. */
static void expect_faults(const char *expected)
{
    enum bk_status status = bk_config_load(&config, BK_FOR_WORKER, NULL);
    cr_expect_str_eq(bk_text_string(&config.faults), expected, "%s", bk_text_string(&config.faults));
    cr_expect_eq(status, *expected ? BK_INVALID : BK_OK);
}

/* The line of a setting as --check-config prints it. */
static const char *shown(const char *name)
{
    static char line[600];
    BK_AUTO_TEXT all = {0};
    BK_AUTO_TEXT start = {0};
    bk_config_print(&all, &config, BK_FOR_WORKER);
    bk_text_printf(&start, "%s=", name);
    for (const char *at = bk_text_string(&all); *at; at += strcspn(at, "\n") + 1) {
        if (strncmp(at, start.data, start.size) == 0) {
            (void)snprintf(line, sizeof(line), "%.*s", (int)strcspn(at, "\n"), at);
            return line;
        }
    }
    return "(not shown)";
}

/* A file with this content; the caller removes it. */
static const char *file_of(const char *content, size_t size)
{
    static char path[] = "/tmp/booking-test-env.XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0, "%s", strerror(errno));
    cr_assert_eq(write(fd, content, size), (ssize_t)size);
    cr_assert_eq(close(fd), 0);
    return path;
}

static const char *file_with(const char *content)
{
    return file_of(content, strlen(content));
}

TestSuite(config, .init = begin, .fini = end);

/* --- defaults ----------------------------------------------------------------------------------------------------- */

Test(config, has_the_documented_defaults)
{
    int64_t cores = sysconf(_SC_NPROCESSORS_ONLN);

    expect_faults("");

    for (size_t i = 0; i < BK_COUNT(documented); i++) {
        int64_t number = 0;
        if (!bk_parse_integer(bk_span_of(documented[i].fallback), &number))
            continue;
        BK_AUTO_TEXT line = {0};
        bk_text_printf(&line, "%s=%lld  # default", documented[i].name, (long long)number);
        cr_expect_str_eq(shown(documented[i].name), line.data);
    }
    cr_expect_str_eq(config.queue, "booking");
    cr_expect_str_eq(config.http, "127.0.0.1:9400");
    cr_expect_str_eq(config.log_level, "info");
    cr_expect_eq(config.lanes, BK_MIN(2 * cores, INT64_C(256)));
    cr_expect_eq(config.pool_max, 2 * cores + 1);
    cr_expect_eq(config.pool_min, config.pool_max);
    cr_expect_str_eq(config.database.conninfo, "postgresql://app:Secret@db/shop");
    cr_expect_str_eq(config.redis.hosts[0], "cache");
}

Test(config, names_a_worker_after_its_host_and_process)
{
    expect_faults("");
    char pid[24];
    (void)snprintf(pid, sizeof(pid), "-%ld", (long)getpid());
    cr_expect_gt(strlen(config.worker_name), strlen(pid));
    cr_expect_str_eq(config.worker_name + strlen(config.worker_name) - strlen(pid), pid);
}

Test(config, logs_json_where_no_person_reads)
{
    int null = dup(STDERR_FILENO);
    FILE *file = tmpfile();
    cr_assert_not_null(file);
    cr_assert_geq(dup2(fileno(file), STDERR_FILENO), 0);
    enum bk_status status = bk_config_load(&config, BK_FOR_WORKER, NULL);
    cr_assert_geq(dup2(null, STDERR_FILENO), 0);
    cr_expect_eq(status, BK_OK);
    cr_expect_str_eq(config.log_format, "json");
    (void)fclose(file);
    (void)close(null);
}

Test(config, every_documented_setting_is_in_help_and_sample_of_its_programs_only)
{
    static const int programs[] = {BK_FOR_WORKER, BK_FOR_CTL, BK_FOR_ADMIN};
    for (size_t p = 0; p < BK_COUNT(programs); p++) {
        BK_AUTO_TEXT help = {0};
        BK_AUTO_TEXT sample = {0};
        bk_config_help(&help, programs[p]);
        bk_config_sample(&sample, programs[p]);
        size_t expected = 0;
        for (size_t i = 0; i < BK_COUNT(documented); i++) {
            BK_AUTO_TEXT in_help = {0};
            BK_AUTO_TEXT in_sample = {0};
            bool required = strcmp(documented[i].fallback, "required") == 0;
            bk_text_printf(&in_help, "\n  %s (%s%s)\n", documented[i].name, required ? "" : "default ",
                           documented[i].fallback);
            bk_text_printf(&in_sample, "\n%s%s=", required ? "" : "#", documented[i].name);
            bool used = documented[i].programs & programs[p];
            cr_expect_eq(strstr(help.data, in_help.data) != NULL, used, "help of %d: %s", programs[p], in_help.data);
            cr_expect_eq(strstr(sample.data, in_sample.data) != NULL, used, "sample of %d: %s", programs[p],
                         in_sample.data);
            expected += used;
        }
        size_t lines = 0; /* two for each setting and one above: no setting is undocumented */
        for (const char *at = help.data; *at; at++)
            lines += *at == '\n';
        cr_expect_eq(lines, 2 * expected + 1, "help of %d has %zu lines", programs[p], lines);
    }
}

Test(config, a_program_is_not_asked_for_what_another_one_needs)
{
    cr_expect_eq(bk_config_load(&config, BK_FOR_CTL, NULL), BK_OK, "%s", bk_text_string(&config.faults));
    bk_config_deinit(&config);
    cr_expect_eq(bk_config_load(&config, BK_FOR_ADMIN, NULL), BK_INVALID);
    cr_expect(strncmp(config.faults.data, "BOOKING_ADMIN_TOKEN_FILE: is required: ", 39) == 0, "%s",
              config.faults.data);
    bk_config_deinit(&config);
    set("BOOKING_LANES", "none"); /* a worker's, so it does not hurt bookingctl */
    cr_expect_eq(bk_config_load(&config, BK_FOR_CTL, NULL), BK_OK, "%s", bk_text_string(&config.faults));
}

/* --- where a value comes from ------------------------------------------------------------------------------------- */

Test(config, environment_beats_file_beats_url_beats_default)
{
    const char *path = file_with("BOOKING_POOL_MAX=31\nBOOKING_CONNECT_TIMEOUT_MS=3100\nBOOKING_BATCH=32\n");
    set("DATABASE_URL", "postgresql://db/shop?connection_limit=41&connect_timeout=4&socket_timeout=4");
    set("BOOKING_POOL_MAX", "21");

    enum bk_status status = bk_config_load(&config, BK_FOR_WORKER, path);

    cr_assert_eq(status, BK_OK, "%s", bk_text_string(&config.faults));
    char from_file[100];
    (void)snprintf(from_file, sizeof(from_file), "BOOKING_CONNECT_TIMEOUT_MS=3100  # file %s", path);
    cr_expect_str_eq(shown("BOOKING_POOL_MAX"), "BOOKING_POOL_MAX=21  # environment");
    cr_expect_str_eq(shown("BOOKING_CONNECT_TIMEOUT_MS"), from_file);
    cr_expect_str_eq(shown("BOOKING_STATEMENT_TIMEOUT_MS"), "BOOKING_STATEMENT_TIMEOUT_MS=4000  # DATABASE_URL");
    cr_expect_str_eq(shown("BOOKING_RETRIES"), "BOOKING_RETRIES=2  # default");
    cr_expect_eq(config.batch, 32);
    cr_expect(bk_config_was_set(&config, &config.batch));
    cr_expect_not(bk_config_was_set(&config, &config.retries));
    (void)unlink(path);
}

Test(config, understands_prismas_parameters)
{
    set("DATABASE_URL", "postgresql://db/shop?connection_limit=7&pool_timeout=8&connect_timeout=9&socket_timeout=10"
                        "&pgbouncer=true&schema=public");
    expect_faults("");
    cr_expect_eq(config.pool_max, 7);
    cr_expect_eq(config.pool_min, 7, "the same as the maximum, wherever that came from");
    cr_expect_eq(config.acquire_timeout_ms, 8000);
    cr_expect_eq(config.connect_timeout_ms, 9000);
    cr_expect_eq(config.statement_timeout_ms, 10000);
    cr_expect(config.database.pgbouncer);
    cr_expect_str_eq(config.database.conninfo, "postgresql://db/shop");
}

Test(config, prismas_zero_means_no_limit_and_gets_the_longest_there_is)
{
    set("DATABASE_URL", "postgresql://db/shop?pool_timeout=0&connect_timeout=0&socket_timeout=0");
    expect_faults("");
    cr_expect_eq(config.acquire_timeout_ms, 600000);
    cr_expect_eq(config.connect_timeout_ms, 3000);
    cr_expect_eq(config.statement_timeout_ms, 5000);
}

Test(config, an_empty_value_is_none)
{
    set("BOOKING_BATCH", "");
    expect_faults("");
    cr_expect_str_eq(shown("BOOKING_BATCH"), "BOOKING_BATCH=64  # default");
}

Test(config, reads_a_file_as_systemd_and_docker_do)
{
    const char *path = file_with("# a comment\n"
                                 "\n"
                                 "   \t\n"
                                 "  # an indented one\n"
                                 "BOOKING_BATCH=11\n"
                                 "  BOOKING_RETRIES=1  \r\n"
                                 "export BOOKING_LANES=3\n"
                                 "BOOKING_QUEUE=\"quoted\"\n"
                                 "BOOKING_HTTP='off'\n"
                                 "BOOKING_WORKER_NAME=a=b\n"
                                 "SOMETHING_ELSE=$(not run)\n"
                                 "BOOKING_MAX_AGE_S=1\n"
                                 "BOOKING_MAX_AGE_S=2\n"
                                 "BOOKING_LOG_LEVEL=warn"); /* no line feed at the end */
    enum bk_status status = bk_config_load(&config, BK_FOR_WORKER, path);
    cr_expect_eq(status, BK_INVALID, "a=b is no worker's name");
    cr_expect_eq(config.batch, 11);
    cr_expect_eq(config.retries, 1);
    cr_expect_eq(config.lanes, 3);
    cr_expect_str_eq(config.queue, "quoted");
    cr_expect_str_eq(config.http, "off");
    cr_expect_str_eq(config.worker_name, "a=b");
    cr_expect_eq(config.max_age_s, 2, "the last line of a name wins");
    cr_expect_str_eq(config.log_level, "warn");
    (void)unlink(path);
}

Test(config, names_the_lines_of_a_file_that_are_none)
{
    const char *path = file_with("BOOKING_BATCH=11\nBOOKING_RETRIES 1\n=x\nBOOKING_LANES=3\n\"BOOKING_QUEUE\"=x\n");
    char expected[300];
    (void)snprintf(expected, sizeof(expected),
                   "--env-file: %s line 2: expected NAME=value\n--env-file: %s line 3: expected NAME=value\n"
                   "--env-file: %s line 5: expected NAME=value\n",
                   path, path, path);
    cr_expect_eq(bk_config_load(&config, BK_FOR_WORKER, path), BK_INVALID);
    cr_expect_str_eq(bk_text_string(&config.faults), expected, "%s", bk_text_string(&config.faults));
    cr_expect_eq(config.lanes, 3, "the good lines count");
    (void)unlink(path);
}

Test(config, passes_no_line_over_that_somebody_has_meant)
{
    static const char content[] = "\xef\xbb\xbf"
                                  "BOOKING_BATCH=11\nBOOKING_RETRIES=1\0BOOKING_LANES=3\n\0\n"
                                  "BOOKING_LANES\xc2\xa0=4\nBOOKING_QUEUE=a\n";
    const char *path = file_of(content, sizeof(content) - 1);
    cr_expect_eq(bk_config_load(&config, BK_FOR_WORKER, path), BK_INVALID);
    for (int number = 1; number <= 4; number++) {
        char expected[100];
        (void)snprintf(expected, sizeof(expected), "%s line %d: expected NAME=value\n", path, number);
        cr_expect(strstr(config.faults.data, expected), "line %d: %s", number, config.faults.data);
    }
    cr_expect_str_eq(config.queue, "a");
    (void)unlink(path);
}

Test(config, says_why_a_file_cannot_be_read)
{
    cr_expect_eq(bk_config_load(&config, BK_FOR_WORKER, "/nowhere/env"), BK_INVALID);
    cr_expect_str_eq(bk_text_string(&config.faults), "--env-file: /nowhere/env: No such file or directory\n");
}

/* --- faults ------------------------------------------------------------------------------------------------------- */

Test(config, lists_all_faults_at_once)
{
    set("DATABASE_URL", "mysql://app:Secret@db/shop");
    set("REDIS_URL", "redis://:Secret@cache:99999");
    set("BOOKING_LANES", "many");
    set("BOOKING_BATCH", "0");
    set("BOOKING_MAX_ATTEMPTS", "1001");
    set("BOOKING_LOG_LEVEL", "debug");
    set("BOOKING_QUEUE", "Bookings");
    set("BOOKING_WORKER_NAME", "a b");
    set("BOOKING_LOCK_TIMEOUT_MS", "700");
    set("BOOKING_STATEMENT_TIMEOUT_MS", "600");
    expect_faults(
        "BOOKING_LANES: \"many\": expected an integer from 1 to 256\n"
        "BOOKING_BATCH: \"0\": expected an integer from 1 to 1000\n"
        "BOOKING_MAX_ATTEMPTS: \"1001\": expected an integer from 1 to 1000\n"
        "BOOKING_LOG_LEVEL: \"debug\": expected one of error|warn|info|query\n"
        "DATABASE_URL: \"mysql://app:***@db/shop\": expected postgresql://user@host/database or host=... dbname=...\n"
        "REDIS_URL: \"redis://:***@cache:99999\": the port must be from 1 to 65535\n"
        "BOOKING_LOCK_TIMEOUT_MS: 700 must be below BOOKING_STATEMENT_TIMEOUT_MS=600\n"
        "BOOKING_QUEUE: \"Bookings\": expected 1 to 40 of a-z 0-9 -\n"
        "BOOKING_WORKER_NAME: \"a b\": expected 1 to 64 of A-Z a-z 0-9 _ . : -\n");
}

Test(config, asks_for_both_urls)
{
    (void)unsetenv("DATABASE_URL");
    (void)unsetenv("REDIS_URL");
    cr_expect_eq(bk_config_load(&config, BK_FOR_WORKER, NULL), BK_INVALID);
    cr_expect(strstr(config.faults.data, "DATABASE_URL: is required: PostgreSQL: "), "%s", config.faults.data);
    cr_expect(strstr(config.faults.data, "\nREDIS_URL: is required: Redis: "), "%s", config.faults.data);
}

Test(config, takes_numbers_within_their_limits_only)
{
    static const struct {
        const char *value;
        bool good;
    } rows[] = {
        {"1", true},         {"1000", true},
        {"0", false},        {"1001", false},
        {"-1", false},       {"+5", false},
        {"05", false},       {" 5", false},
        {"5 ", false},       {"5s", false},
        {"0x10", false},     {"1e2", false},
        {"5.0", false},      {"9223372036854775808", false},
        {"\xd9\xa1", false},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        set("BOOKING_BATCH", rows[i].value);
        cr_expect_eq(bk_config_load(&config, BK_FOR_WORKER, NULL), rows[i].good ? BK_OK : BK_INVALID, "\"%s\"",
                     rows[i].value);
        cr_expect(rows[i].good || config.batch == 64, "what is refused leaves the default");
        bk_config_deinit(&config);
    }
}

Test(config, a_fault_stays_on_its_line_whatever_is_in_the_value)
{
    set("BOOKING_BATCH", "1\nBOOKING_LANES: fine\x1b[2J");
    expect_faults("BOOKING_BATCH: \"1\\x0aBOOKING_LANES: fine\\x1b[2J\": expected an integer from 1 to 1000\n");
}

Test(config, tells_a_parameter_of_the_url_that_is_out_of_range)
{
    set("DATABASE_URL", "postgresql://app:Secret@db/shop?connection_limit=2000");
    expect_faults("DATABASE_URL: sets BOOKING_POOL_MAX to 2000: expected 1 to 1000\n");
}

Test(config, takes_names_of_their_alphabet_only)
{
    static const struct {
        const char *queue;
        bool good;
    } rows[] = {
        {"a", true},
        {"booking-2", true},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
        {"A", false},
        {"a b", false},
        {"a_b", false},
        {"{a}", false},
        {"a:b", false},
        {"a*", false},
        {"\xc3\xa4", false},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        set("BOOKING_QUEUE", rows[i].queue);
        cr_expect_eq(bk_config_load(&config, BK_FOR_WORKER, NULL), rows[i].good ? BK_OK : BK_INVALID, "\"%s\"",
                     rows[i].queue);
        bk_config_deinit(&config);
    }
}

/* --- secrets ------------------------------------------------------------------------------------------------------ */

Test(config, shows_no_secret)
{
    set("DATABASE_URL", "host=db user=app password = 'my Secret' dbname=shop");
    set("REDIS_URL", "redis+sentinel://app:Secret@s1,s2/main");
    set("BOOKING_QUEUE", "Bad");
    cr_expect_eq(bk_config_load(&config, BK_FOR_WORKER, NULL), BK_INVALID);

    BK_AUTO_TEXT all = {0};
    bk_config_print(&all, &config, BK_FOR_ALL);
    cr_expect_not(strstr(all.data, "Secret"), "%s", all.data);
    cr_expect_not(strstr(config.faults.data, "Secret"), "%s", config.faults.data);
    cr_expect_str_eq(shown("DATABASE_URL"), "DATABASE_URL=host=db user=app password = *** dbname=shop  # environment");
    cr_expect_str_eq(shown("REDIS_URL"), "REDIS_URL=redis+sentinel://app:***@s1,s2/main  # environment");
}

Test(config, shows_what_was_refused_as_the_default_it_has_become)
{
    set("BOOKING_BATCH", "lots");
    set("BOOKING_LOG_FORMAT", "xml");
    cr_expect_eq(bk_config_load(&config, BK_FOR_WORKER, NULL), BK_INVALID);
    cr_expect_str_eq(shown("BOOKING_BATCH"), "BOOKING_BATCH=64  # default, what was given is no good");
    cr_expect_not_null(config.log_format);
}

/* --- rules between settings --------------------------------------------------------------------------------------- */

struct limits {
    int64_t lock;
    int64_t statement;
    int64_t shutdown;
};

/* lock < statement < shutdown, 2000 < 5000 < 25000 unless somebody sets one. */
Test(ladder, defaults_give_way_to_what_was_set, .init = begin, .fini = end)
{
    static const struct {
        const char *lock;
        const char *statement;
        const char *shutdown;
        struct limits expected; /* lock 0: a fault */
    } rows[] = {
        {NULL, NULL, NULL, {2000, 5000, 25000}},
        {"100", NULL, NULL, {100, 5000, 25000}},
        {"4999", NULL, NULL, {4999, 5000, 25000}},
        {"5000", NULL, NULL, {5000, 10000, 25000}},
        {"30000", NULL, NULL, {30000, 60000, 120000}},
        {NULL, "100", NULL, {40, 100, 25000}},
        {NULL, "2000", NULL, {800, 2000, 25000}},
        {NULL, "25000", NULL, {2000, 25000, 50000}},
        {NULL, NULL, "3000", {2000, 2400, 3000}},
        {NULL, NULL, "1000", {320, 800, 1000}},
        {"20000", NULL, "30000", {20000, 24000, 30000}},
        {"100", NULL, "1000", {100, 800, 1000}},
        {"8000", "9000", NULL, {8000, 9000, 25000}},
        {"9000", "8000", NULL, {0, 0, 0}},
        {"8000", "8000", NULL, {0, 0, 0}},
        {NULL, "8000", "8000", {0, 0, 0}},
        {"8000", NULL, "7000", {0, 0, 0}},
        {"1", "10", "11", {1, 10, 11}},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        static const char *const names[] = {"BOOKING_LOCK_TIMEOUT_MS", "BOOKING_STATEMENT_TIMEOUT_MS",
                                            "BOOKING_SHUTDOWN_TIMEOUT_MS"};
        const char *const values[] = {rows[i].lock, rows[i].statement, rows[i].shutdown};
        for (size_t n = 0; n < BK_COUNT(names); n++)
            cr_assert_eq(values[n] ? setenv(names[n], values[n], 1) : unsetenv(names[n]), 0);

        enum bk_status status = bk_config_load(&config, BK_FOR_WORKER, NULL);

        struct limits got = {config.lock_timeout_ms, config.statement_timeout_ms, config.shutdown_timeout_ms};
        if (rows[i].expected.lock == 0)
            cr_expect_eq(status, BK_INVALID, "row %zu", i);
        else
            cr_expect(status == BK_OK && memcmp(&got, &rows[i].expected, sizeof(got)) == 0,
                      "row %zu: %lld %lld %lld %s", i, (long long)got.lock, (long long)got.statement,
                      (long long)got.shutdown, bk_text_string(&config.faults));
        bk_config_deinit(&config);
    }
}

/* A pair of settings of which the first may be at most the second. */
Test(ladder, at_most_means_that_equal_is_fine, .init = begin, .fini = end)
{
    static const struct {
        const char *low;
        const char *low_value;
        const char *high;
        const char *high_value;
        const char *faults;
    } rows[] = {
        {"BOOKING_POOL_MIN", "3", "BOOKING_POOL_MAX", "3", ""},
        {"BOOKING_POOL_MIN", "4", "BOOKING_POOL_MAX", "3", "BOOKING_POOL_MIN: 4 must be at most BOOKING_POOL_MAX=3\n"},
        {"BOOKING_BREAKER_OPEN_MS", "500", "BOOKING_BREAKER_OPEN_MAX_MS", "500", ""},
        {"BOOKING_BREAKER_OPEN_MS", "501", "BOOKING_BREAKER_OPEN_MAX_MS", "500",
         "BOOKING_BREAKER_OPEN_MS: 501 must be at most BOOKING_BREAKER_OPEN_MAX_MS=500\n"},
        {"BOOKING_BREAKER_MIN_CALLS", "30", "BOOKING_BREAKER_WINDOW", "30", ""},
        {"BOOKING_BREAKER_MIN_CALLS", "31", "BOOKING_BREAKER_WINDOW", "30",
         "BOOKING_BREAKER_MIN_CALLS: 31 must be at most BOOKING_BREAKER_WINDOW=30\n"},
        /* a refused one has had its fault; no second one follows from it */
        {"BOOKING_BREAKER_MIN_CALLS", "900", "BOOKING_BREAKER_WINDOW", "x",
         "BOOKING_BREAKER_WINDOW: \"x\": expected an integer from 1 to 1000\n"},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        begin();
        set(rows[i].low, rows[i].low_value);
        set(rows[i].high, rows[i].high_value);
        expect_faults(rows[i].faults);
        bk_config_deinit(&config);
    }
}

Test(ladder, one_side_that_was_set_moves_the_other, .init = begin, .fini = end)
{
    set("BOOKING_POOL_MIN", "900");
    set("BOOKING_BREAKER_WINDOW", "4");
    set("BOOKING_BREAKER_OPEN_MS", "60000");
    expect_faults("");
    cr_expect_eq(config.pool_max, 900);
    cr_expect_eq(config.breaker_min_calls, 4);
    cr_expect_eq(config.breaker_open_max_ms, 60000);
}
