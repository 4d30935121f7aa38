/* What the programs have in common at their doors. */
#include "common/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "common/queue.h"

Test(program, each_failure_has_its_exit_code)
{
    static const int codes[] = {
        [BK_OK] = BK_EXIT_OK,
        [BK_TRANSIENT] = BK_EXIT_UNAVAILABLE,
        [BK_OUTAGE] = BK_EXIT_UNAVAILABLE,
        [BK_UNKNOWN] = BK_EXIT_UNAVAILABLE,
        [BK_TIMEOUT] = BK_EXIT_UNAVAILABLE,
        [BK_OPERATOR] = BK_EXIT_NO_PERMISSION,
        [BK_PERMANENT] = BK_EXIT_INTERNAL,
        [BK_INVALID] = BK_EXIT_DATA,
        [BK_FENCED] = BK_EXIT_UNAVAILABLE,
        [BK_MISSING] = BK_EXIT_DATA,
        [BK_STOPPED] = BK_EXIT_UNAVAILABLE,
    };
    for (size_t i = 0; i < BK_COUNT(codes); i++)
        cr_expect_eq(bk_exit_for((enum bk_status)i), codes[i], "%s", bk_status_label((enum bk_status)i));
}

/* Loads the settings for a program; what it says goes to `told`. */
static int load(int program, char told[2000])
{
    struct bk_config config;
    int ends[2];
    memset(told, 0, 2000);
    cr_assert_eq(pipe(ends), 0);
    int before = dup(STDERR_FILENO);
    (void)dup2(ends[1], STDERR_FILENO);
    int code = bk_load_settings(&config, program, NULL, "test");
    (void)dup2(before, STDERR_FILENO);
    (void)close(ends[1]);
    (void)close(before);
    cr_expect_geq(read(ends[0], told, 1999), 0);
    (void)close(ends[0]);
    bk_config_deinit(&config);
    return code;
}

static void begin(void)
{
    (void)clearenv();
    (void)setenv("DATABASE_URL", "postgresql://u:secret-1@db/x", 1);
    (void)setenv("REDIS_URL", "redis://127.0.0.1", 1);
}

TestSuite(door, .init = begin);

Test(door, good_settings_open_it)
{
    char told[2000];
    cr_expect_eq(load(BK_FOR_WORKER, told), BK_EXIT_OK, "%s", told);
    (void)setenv("BOOKING_HTTP", "off", 1);
    cr_expect_eq(load(BK_FOR_WORKER, told), BK_EXIT_OK, "%s", told);
    cr_expect_str_eq(told, "");
}

Test(door, what_libpq_cannot_read_is_told_without_its_secrets)
{
    static const char *const urls[] = {"postgresql://u:secret-1@db:0/x", "postgresql://u:secret-1@[db/x",
                                       "host=db password='secret-1", "postgresql://u:secret-1@db/x?nonsense=1"};
    char told[2000];
    for (size_t i = 0; i < BK_COUNT(urls); i++) {
        (void)setenv("DATABASE_URL", urls[i], 1);
        cr_expect_eq(load(BK_FOR_CTL, told), BK_EXIT_CONFIG, "%s", urls[i]);
        cr_expect(strstr(told, "DATABASE_URL"), "%s", told);
        cr_expect_null(strstr(told, "secret-1"), "%s", told);
    }
}

Test(door, an_address_that_is_none_is_told_with_what_was_expected)
{
    char told[2000];
    (void)setenv("BOOKING_HTTP", "9400", 1);
    cr_expect_eq(load(BK_FOR_WORKER, told), BK_EXIT_CONFIG);
    cr_expect(strstr(told, "BOOKING_HTTP") && strstr(told, "\"9400\"") && strstr(told, ", or off"), "%s", told);
    (void)setenv("BOOKING_ADMIN_LISTEN", "off", 1);
    (void)setenv("BOOKING_ADMIN_TOKEN_FILE", "/etc/hostname", 1);
    cr_expect_eq(load(BK_FOR_ADMIN, told), BK_EXIT_CONFIG);
    cr_expect(strstr(told, "BOOKING_ADMIN_LISTEN") && !strstr(told, ", or off"), "%s", told);
    cr_expect_eq(load(BK_FOR_CTL, told), BK_EXIT_OK, "who listens nowhere does not care: %s", told);
}

Test(door, tls_is_refused_by_a_build_without)
{
    char told[2000];
    (void)setenv("REDIS_URL", "rediss://127.0.0.1", 1);
    int code = load(BK_FOR_WORKER, told);
    cr_expect_eq(code, bk_redis_has_tls() ? BK_EXIT_OK : BK_EXIT_CONFIG, "%s", told);
    cr_expect(bk_redis_has_tls() || strstr(told, "REDIS_URL"), "%s", told);
}
