/* Who may use the admins' page: the file of tokens, sessions, and the waits of who guesses. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "common/log.h"
#include "worker/admin/admin.h"

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static struct tokens tokens;
static struct bk_config config;
static char path[] = "/tmp/booking-tokens.XXXXXX";

static void begin(void)
{
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    (void)close(fd);
    bk_log_setup("error", "text", "test");
}

static void end(void)
{
    tokens_deinit(&tokens);
    bk_text_deinit(&config.faults);
    (void)unlink(path);
}

TestSuite(tokens, .init = begin, .fini = end);

static void load(const char *text)
{
    FILE *file = fopen(path, "we");
    cr_assert_not_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
    tokens_deinit(&tokens);
    bk_text_deinit(&config.faults);
    tokens_load(&tokens, path, &config);
}

#define SECRET "0123456789abcdef0123"

Test(tokens, are_lines_of_name_role_and_token)
{
    load("# a comment\n\n \t\nolga operator " SECRET "1\n\tvera\tviewer\t" SECRET "2  \r\nshort viewer 1234");
    cr_expect_str_eq(bk_text_string(&config.faults), "");
    cr_assert_eq(tokens.count, 3);
    const struct token *olga = tokens_find(&tokens, SECRET "1");
    cr_assert_not_null(olga);
    cr_expect_str_eq(olga->name, "olga");
    cr_expect_eq(olga->role, ROLE_OPERATOR);
    cr_expect_eq(tokens_find(&tokens, SECRET "2")->role, ROLE_VIEWER);
    cr_expect_str_eq(tokens_find(&tokens, "1234")->name, "short", "warned of, but taken");
    static const char *const wrong[] = {"", SECRET, SECRET "12", "123", NULL};
    for (size_t i = 0; i < BK_COUNT(wrong); i++)
        cr_expect_null(tokens_find(&tokens, wrong[i]), "%s", wrong[i] ? wrong[i] : "none");
}

Test(tokens, of_no_more_than_256_bytes)
{
    char line[400] = "olga operator ";
    memset(line + strlen(line), 'x', 256);
    load(line);
    cr_expect_str_eq(bk_text_string(&config.faults), "");
    cr_expect_not_null(tokens_find(&tokens, line + strlen("olga operator ")));
    line[strlen(line)] = 'x';
    cr_expect_null(tokens_find(&tokens, line + strlen("olga operator ")), "what is too long is no token, cut or not");
    load(line);
    cr_expect(strstr(bk_text_string(&config.faults), "at most 256 bytes"));
}

Test(tokens, that_are_none_are_told_by_line_and_shown_to_nobody)
{
    static const struct {
        const char *line;
        const char *told;
    } cases[] = {
        {"olga", "expected `name role token`"},
        {"olga operator", "expected `name role token`"},
        {"olga operator " SECRET " more", "expected `name role token`"},
        {"ol/ga operator " SECRET, "name: expected"},
        {"olga-olga-olga-olga-olga-olga-olga-olga-x operator " SECRET, "name: expected"},
        {"olga boss " SECRET, "role: expected"},
        {"vera viewer " SECRET, "twice"},
        {"vera2 viewer other-" SECRET "\nvera2 viewer another-" SECRET, "twice"},
    };
    for (size_t i = 0; i < BK_COUNT(cases); i++) {
        char text[400];
        (void)snprintf(text, sizeof(text), "first viewer " SECRET "\n%s\n", cases[i].line);
        load(text);
        const char *told = bk_text_string(&config.faults);
        cr_expect(strstr(told, cases[i].told) && strstr(told, "BOOKING_ADMIN_TOKEN_FILE"), "%s: %s", cases[i].line,
                  told);
        cr_expect(strstr(told, " line "), "%s", told);
        cr_expect_null(strstr(told, SECRET), "%s", told);
    }
}

Test(tokens, in_a_file_that_nobody_else_can_read_or_not_at_all)
{
    static const unsigned modes[] = {0640, 0604, 0660, 0601, 0777};
    load("olga operator " SECRET);
    for (size_t i = 0; i < BK_COUNT(modes); i++) {
        (void)chmod(path, (mode_t)modes[i]);
        bk_text_deinit(&config.faults);
        tokens_load(&tokens, path, &config);
        cr_expect(strstr(bk_text_string(&config.faults), "expected 0600"), "%04o", modes[i]);
    }
    static const struct {
        const char *path;
        const char *told;
    } cases[] = {{"/tmp", "is no file"}, {"/no/such/file", "No such file"}, {"/dev/null", "is no file"}};
    for (size_t i = 0; i < BK_COUNT(cases); i++) {
        bk_text_deinit(&config.faults);
        tokens_load(&tokens, cases[i].path, &config);
        cr_expect(strstr(bk_text_string(&config.faults), cases[i].told), "%s", cases[i].path);
    }
    (void)chmod(path, 0600);
    load("# nothing but this\n");
    cr_expect(strstr(bk_text_string(&config.faults), "holds no token"));
    load("");
    cr_expect(strstr(bk_text_string(&config.faults), "holds no token"));
}

Test(tokens, are_copied_whole_or_not_at_all)
{
    char a[ADMIN_SECRET_ROOM];
    char b[ADMIN_SECRET_ROOM];
    cr_expect(secret_copy(a, "x", 1) && secret_copy(b, "x", 1) && secrets_equal(a, b));
    cr_expect(secret_copy(b, "y", 1) && !secrets_equal(a, b));
    cr_expect(!secret_copy(a, "", 0) && !secret_copy(b, NULL, 0));
    cr_expect(!secrets_equal(a, b), "nothing is not the same as nothing");
}

/* --- sessions ----------------------------------------------------------------------------------------------------- */

static const struct token olga = {.name = "olga", .role = ROLE_OPERATOR, .secret = SECRET};

Test(sessions, last_from_login_to_logout)
{
    struct sessions *sessions = sessions_open();
    char id[ADMIN_SECRET_ROOM];
    struct caller began;
    struct caller found;
    session_begin(sessions, &olga, id, &began);
    cr_expect_str_eq(began.name, "olga");
    cr_expect(began.by_cookie && *began.csrf && strcmp(began.csrf, id) != 0);
    cr_assert(session_find(sessions, id, &found));
    cr_expect_str_eq(found.csrf, began.csrf);
    cr_expect_eq(found.role, ROLE_OPERATOR);
    cr_expect(!session_find(sessions, "", &found));
    cr_expect(!session_find(sessions, NULL, &found));
    cr_expect(!session_find(sessions, began.csrf, &found));
    session_end(sessions, "another");
    cr_expect(session_find(sessions, id, &found));
    session_end(sessions, id);
    cr_expect(!session_find(sessions, id, &found));
    cr_expect_null(sessions_close(sessions));
    cr_expect_null(sessions_close(NULL));
}

Test(sessions, beyond_the_most_forget_who_was_silent_longest)
{
    enum { MOST = 256 };
    struct sessions *sessions = sessions_open();
    static char ids[MOST + 1][ADMIN_SECRET_ROOM];
    struct caller caller;
    for (size_t i = 0; i < MOST; i++)
        session_begin(sessions, &olga, ids[i], &caller);
    (void)usleep(5000);
    for (size_t i = 0; i < MOST; i++)
        cr_assert(i == 7 || session_find(sessions, ids[i], &caller), "%zu", i);
    session_begin(sessions, &olga, ids[MOST], &caller);
    cr_expect(!session_find(sessions, ids[7], &caller), "number 7 has not been seen since");
    for (size_t i = 0; i <= MOST; i++)
        cr_expect(i == 7 || session_find(sessions, ids[i], &caller), "%zu", i);
    (void)sessions_close(sessions);
}

/* --- who guesses -------------------------------------------------------------------------------------------------- */

Test(guessing, costs_twice_as_much_time_with_each_failure_from_the_third_on)
{
    struct sessions *sessions = sessions_open();
    static const bk_ms waits[] = {0, 0, 1000, 2000, 4000, 8000, 16000, 30000, 30000};
    for (size_t i = 0; i < BK_COUNT(waits); i++) {
        login_noted(sessions, "10.0.0.1", false);
        bk_ms wait = login_wait(sessions, "10.0.0.1");
        cr_expect_leq(wait, waits[i]);
        cr_expect_geq(wait, waits[i] - BK_MIN(waits[i], 500), "failure %zu: %lld ms", i + 1, (long long)wait);
    }
    cr_expect_eq(login_wait(sessions, "10.0.0.2"), 0, "nobody else waits");
    login_noted(sessions, "10.0.0.2", true);
    login_noted(sessions, "10.0.0.1", true);
    cr_expect_eq(login_wait(sessions, "10.0.0.1"), 0, "who gets in is forgiven");
    (void)sessions_close(sessions);
}

Test(guessing, from_many_addresses_is_remembered_for_the_latest)
{
    struct sessions *sessions = sessions_open();
    char address[32];
    for (int i = 0; i < 3; i++)
        login_noted(sessions, "first", false);
    (void)usleep(5000);
    for (int i = 0; i < 256; i++) {
        (void)snprintf(address, sizeof(address), "10.0.0.%d", i);
        login_noted(sessions, address, false);
    }
    cr_expect_eq(login_wait(sessions, "first"), 0, "the oldest had to make room");
    for (int i = 0; i < 2; i++)
        login_noted(sessions, address, false);
    cr_expect_gt(login_wait(sessions, address), 0, "the latest is still known");
    (void)sessions_close(sessions);
}
