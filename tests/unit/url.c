/* The two connection URLs, and how they are shown without their secrets. */
#include "common/url.h"

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "common/pg.h"
#include "tests/support/corpus.h"

/* --- masking ------------------------------------------------------------------------------------------------------ */

static void check_mask(const struct corpus_row *row)
{
    BK_AUTO_TEXT shown = {0};

    bk_url_mask(&shown, corpus_text(row, 0));

    cr_expect_str_eq(bk_text_string(&shown), corpus_text(row, 1), "line %d: %s", row->line, bk_text_string(&shown));
    /* whatever the table says: two letters of a secret in a row are shown by no row */
    for (const char *at = bk_text_string(&shown); *at; at++)
        cr_expect(!(strchr("SECRT", at[0]) && at[1] && strchr("SECRT", at[1]) && !strstr(at, "://")), "line %d: %s",
                  row->line, bk_text_string(&shown));
}

Test(mask, hides_every_password_and_nothing_else)
{
    cr_expect_gt(corpus_each("masks.txt", 2, check_mask), 50);
}

Test(mask, leaves_nothing_of_a_password_of_any_character)
{
    for (unsigned c = 1; c < 256; c++) {
        char url[64];
        (void)snprintf(url, sizeof(url), "postgresql://app:QQ%cXX@db/shop", (int)c);
        BK_AUTO_TEXT shown = {0};
        bk_url_mask(&shown, url);
        cr_expect_not(strpbrk(shown.data, "QX"), "%02x: %s", c, shown.data);

        (void)snprintf(url, sizeof(url), "host=db password='QQ\\%cXX' user=app", (int)c);
        bk_text_clear(&shown);
        bk_url_mask(&shown, url);
        cr_expect_str_eq(shown.data, "host=db password=*** user=app", "%02x: %s", c, shown.data);
    }
}

/* --- DATABASE_URL ------------------------------------------------------------------------------------------------- */

Test(database_url, gives_libpq_all_but_prismas_parameters)
{
    static const struct {
        const char *url;
        const char *conninfo;
    } rows[] = {
        {"postgresql://app@db/shop", "postgresql://app@db/shop"},
        {"postgres://app@db/shop", "postgres://app@db/shop"},
        {"postgresql://a:p%40ss@db1:5432,db2:5433/shop", "postgresql://a:p%40ss@db1:5432,db2:5433/shop"},
        {"postgresql://db/shop?sslmode=require", "postgresql://db/shop?sslmode=require"},
        {"postgresql://db/shop?schema=public", "postgresql://db/shop"},
        {"postgresql://db/shop?schema=public&sslmode=require", "postgresql://db/shop?sslmode=require"},
        {"postgresql://db/shop?sslmode=require&connection_limit=5&target_session_attrs=read-write&pgbouncer=true",
         "postgresql://db/shop?sslmode=require&target_session_attrs=read-write"},
        {"postgresql://db/shop?", "postgresql://db/shop"},
        {"postgresql://db/shop?&&sslmode=require&", "postgresql://db/shop?sslmode=require"},
        {"postgresql://db/shop?statement_cache_size=0", "postgresql://db/shop"},
        {"postgresql://db/shop?my_schema=x", "postgresql://db/shop?my_schema=x"},
        {"postgresql:///shop?host=/run/postgresql&user=a@b", "postgresql:///shop?host=/run/postgresql&user=a@b"},
        {"postgresql://%2Frun%2Fpostgresql/shop", "postgresql://%2Frun%2Fpostgresql/shop"},
        {"host=db dbname=shop password=a?b&c", "host=db dbname=shop password=a?b&c"},
        {"host=db password=a://b", "host=db password=a://b"},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        struct bk_database_url url;
        struct bk_error error = {0};
        cr_assert_eq(bk_database_url_parse(rows[i].url, &url, &error), BK_OK, "%s: %s", rows[i].url, error.text);
        cr_expect_str_eq(url.conninfo, rows[i].conninfo, "%s became %s", rows[i].url, url.conninfo);
        bk_database_url_deinit(&url);
    }
}

Test(database_url, understands_prismas_parameters)
{
    struct bk_database_url url;
    struct bk_error error = {0};

    cr_assert_eq(bk_database_url_parse("postgresql://db/shop?connection_limit=7&pool_timeout=0&connect_timeout=4"
                                       "&socket_timeout=86400&pgbouncer=true&schema=public",
                                       &url, &error),
                 BK_OK, "%s", error.text);

    cr_expect_eq(url.connection_limit, 7);
    cr_expect_eq(url.pool_timeout_s, 0);
    cr_expect_eq(url.connect_timeout_s, 4);
    cr_expect_eq(url.socket_timeout_s, 86400);
    cr_expect(url.pgbouncer);
    bk_database_url_deinit(&url);
}

Test(database_url, tells_what_is_absent_from_what_is_zero)
{
    struct bk_database_url url;
    struct bk_error error = {0};

    cr_assert_eq(bk_database_url_parse("postgresql://db/shop?pgbouncer=false", &url, &error), BK_OK);

    cr_expect_eq(url.connection_limit, -1);
    cr_expect_eq(url.pool_timeout_s, -1);
    cr_expect_eq(url.connect_timeout_s, -1);
    cr_expect_eq(url.socket_timeout_s, -1);
    cr_expect_not(url.pgbouncer);
    bk_database_url_deinit(&url);
}

Test(database_url, names_the_parameter_it_does_not_like)
{
    static const char form[] = "expected postgresql://user@host/database or host=... dbname=...";
    static const char raw[] = "a raw @, / or ? in the user or the password: write %40, %2F or %3F";
    static const struct {
        const char *url;
        const char *expected;
    } rows[] = {
        {"postgresql://db/shop?connection_limit=", "parameter connection_limit: expected an integer from 0 to 86400"},
        {"postgresql://db/shop?connection_limit", "parameter connection_limit: expected an integer from 0 to 86400"},
        {"postgresql://db/shop?pool_timeout=-1", "parameter pool_timeout: expected an integer from 0 to 86400"},
        {"postgresql://db/shop?a=b&socket_timeout=5s&c=d",
         "parameter socket_timeout: expected an integer from 0 to 86400"},
        {"postgresql://db/shop?connect_timeout=86401",
         "parameter connect_timeout: expected an integer from 0 to 86400"},
        {"postgresql://db/shop?pgbouncer=1", "parameter pgbouncer: expected true or false"},
        {"postgresql://db/shop?pgbouncer=TRUE", "parameter pgbouncer: expected true or false"},
        {"", form},
        {"shop", form},
        {"mysql://db/shop", form},
        {"redis://cache", form},
        {"http://db/shop?a=b", form},
        {"postgresql:/db/shop", form},
        {"postgresql://app:pa@ss@db/shop", raw},
        {"postgresql://app:pa/ss@db/shop", raw},
        {"postgresql://app:pa?ss@db/shop", raw},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        struct bk_database_url url = {.connection_limit = 77};
        struct bk_error error = {0};
        cr_expect_eq(bk_database_url_parse(rows[i].url, &url, &error), BK_INVALID, "%s", rows[i].url);
        cr_expect_str_eq(error.text, rows[i].expected, "%s: %s", rows[i].url, error.text);
        cr_expect_eq(url.connection_limit, 77, "%s: was refused and written", rows[i].url);
    }
}

/* --- REDIS_URL ---------------------------------------------------------------------------------------------------- */

/* What a URL was taken to mean, in one line: kind user/password hosts master db. */
static void describe(struct bk_text *out, const struct bk_redis_url *url)
{
    bk_text_printf(out, "%s%s", url->tls ? "tls " : "", url->sentinel ? "sentinel " : "");
    if (url->user || url->password)
        bk_text_printf(out, "%s/%s ", url->user ? url->user : "-", url->password ? url->password : "-");
    if (url->unix_path)
        bk_text_puts(out, url->unix_path);
    for (size_t i = 0; i < url->host_count; i++)
        bk_text_printf(out, "%s%s:%d", i ? "," : "", url->hosts[i], url->ports[i]);
    if (url->master)
        bk_text_printf(out, " %s", url->master);
    bk_text_printf(out, " %d", url->db);
}

Test(redis_url, understands_every_documented_form)
{
    static const struct {
        const char *url;
        const char *expected;
    } rows[] = {
        {"redis://cache", "cache:6379 0"},
        {"redis://cache/", "cache:6379 0"},
        {"redis://cache:7000", "cache:7000 0"},
        {"redis://cache:7000/5", "cache:7000 5"},
        {"redis://127.0.0.1:1/65535", "127.0.0.1:1 65535"},
        {"redis://[::1]", "::1:6379 0"},
        {"redis://[2001:db8::7]:65535/1", "2001:db8::7:65535 1"},
        {"redis://:secret@cache", "-/secret cache:6379 0"},
        {"redis://app:secret@cache:7000/2", "app/secret cache:7000 2"},
        {"redis://app@cache", "app/- cache:6379 0"},
        {"redis://app:@cache", "app/ cache:6379 0"},
        {"redis://ap%70:%73ec%2Fr%40et%3a@cache", "app/sec/r@et: cache:6379 0"},
        {"redis://:a:b@c@cache", "-/a:b@c cache:6379 0"},
        {"rediss://app:secret@cache:6380", "tls app/secret cache:6380 0"},
        {"redis+sentinel://s1/main", "sentinel s1:26379 main 0"},
        {"redis+sentinel://s1:1,s2,[::3]:3/main/4", "sentinel s1:1,s2:26379,::3:3 main 4"},
        {"redis+sentinel://app:secret@s1,s2/ma%69n/", "sentinel app/secret s1:26379,s2:26379 main 0"},
        {"unix:///run/redis.sock", "/run/redis.sock 0"},
        {"unix:///run/a%20b.sock", "/run/a b.sock 0"},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        struct bk_redis_url url;
        struct bk_error error = {0};
        cr_assert_eq(bk_redis_url_parse(rows[i].url, &url, &error), BK_OK, "%s: %s", rows[i].url, error.text);
        BK_AUTO_TEXT meant = {0};
        describe(&meant, &url);
        cr_expect_str_eq(meant.data, rows[i].expected, "%s meant %s", rows[i].url, meant.data);
        bk_redis_url_deinit(&url);
    }
}

Test(redis_url, says_what_is_wrong_with_it)
{
    static const char scheme[] = "expected redis://, rediss://, redis+sentinel:// or unix://";
    static const char port[] = "the port must be from 1 to 65535";
    static const char host[] = "a host name is missing or has a broken %-escape";
    static const char behind[] = "expected nothing behind the hosts but /<database>";
    static const char master[] = "the master's name is missing: redis+sentinel://host:port/<master>";
    static const struct {
        const char *url;
        const char *expected;
    } rows[] = {
        {"", scheme},
        {"cache:6379", scheme},
        {"REDIS://cache", scheme},
        {"http://cache", scheme},
        {"redis:/cache", scheme},
        {"redis://", host},
        {"redis:///0", host},
        {"redis://:6379", host},
        {"redis://[]:6379", host},
        {"redis://app:secret@", host},
        {"redis://ca%zzche", host},
        {"redis://ca%00che", host},
        {"redis://cache%", host},
        {"redis://cache%4", host},
        {"redis://cache% 4", host},
        {"redis://cache%\t4", host},
        {"redis://cache%-4", host},
        {"redis://cache:", port},
        {"redis://cache:0", port},
        {"redis://cache:65536", port},
        {"redis://cache:-1", port},
        {"redis://cache:6379x", port},
        {"redis://::1", port},
        {"redis://[::1]6379", port},
        {"redis://[::1", "the IPv6 address lacks its ]"},
        {"redis://a,b", "several hosts need redis+sentinel://"},
        {"redis://cache?db=1", behind},
        {"redis://cache#1", behind},
        {"redis://cache/one", "the database must be a number from 0 to 65535"},
        {"redis://cache/-1", "the database must be a number from 0 to 65535"},
        {"redis://cache/65536", "the database must be a number from 0 to 65535"},
        {"redis://cache/0/1", "the database must be a number from 0 to 65535"},
        {"redis://cache/0?a=b", "the database must be a number from 0 to 65535"},
        {"redis://a%:b@cache", "the user has a broken %-escape"},
        {"redis://a:b%4@cache", "the password has a broken %-escape"},
        {"redis+sentinel://s1", master},
        {"redis+sentinel://s1/", master},
        {"redis+sentinel://s1//0", master},
        {"redis+sentinel://s1,/main", host},
        {"redis+sentinel://,s1/main", host},
        {"redis+sentinel://s1/main/x", "the database must be a number from 0 to 65535"},
        {"redis+sentinel://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17/main", "more than 16 hosts"},
        {"unix://", "expected unix:///path/to/socket"},
        {"unix://run/redis.sock", "expected unix:///path/to/socket"},
        {"unix:///run/%", "expected unix:///path/to/socket"},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        struct bk_redis_url url = {.db = 77};
        struct bk_error error = {0};
        cr_expect_eq(bk_redis_url_parse(rows[i].url, &url, &error), BK_INVALID, "%s", rows[i].url);
        cr_expect_str_eq(error.text, rows[i].expected, "%s: %s", rows[i].url, error.text);
        cr_expect_eq(url.db, 77, "%s was refused and written", rows[i].url);
    }
}

/* What is refused may be a password in the wrong place: a raw '/' or '?' in it makes a database or a parameter of the
 * rest. */
Test(url, no_error_quotes_a_secret)
{
    static const char *const databases[] = {
        "postgresql://app:SEC?pgbouncer=RET@db/shop",
        "postgresql://app:SEC?connect_timeout=RET@db/shop",
        "postgresql://db/shop?socket_timeout=SECRET",
        "app:SECRET@db",
        "postgresql://app:S?ECRET=/@db/shop", /* refused by libpq */
        "postgres://:S?ECRET=/&schema=@db",
        "postgresql://app:SEC?RET=x@db/shop", /* libpq would take it; we have said already what is wrong */
    };
    static const char *const redises[] = {
        "redis://:@SEC/RET@cache:6379/2", "redis://app:12/SECRET@cache", "redis+sentinel://app:12/main/SECRET@s1/main",
        "redis://app:SEC/RET@cache",      "redis://app:SEC#RET@cache",
    };
    for (size_t i = 0; i < BK_COUNT(databases); i++) {
        struct bk_database_url url = {0};
        struct bk_error error = {0};
        enum bk_status status = bk_database_url_parse(databases[i], &url, &error);
        if (status == BK_OK)
            status = bk_pg_check_conninfo(url.conninfo, databases[i], &error);
        bk_database_url_deinit(&url);
        cr_expect_eq(status, BK_INVALID, "%s", databases[i]);
        cr_expect_not(strstr(error.text, "SEC") || strstr(error.text, "RET"), "%s: %s", databases[i], error.text);
    }
    for (size_t i = 0; i < BK_COUNT(redises); i++) {
        struct bk_redis_url url = {0};
        struct bk_error error = {0};
        cr_expect_eq(bk_redis_url_parse(redises[i], &url, &error), BK_INVALID, "%s", redises[i]);
        cr_expect_not(strstr(error.text, "SEC") || strstr(error.text, "RET"), "%s: %s", redises[i], error.text);
    }
}

Test(url, what_is_shown_anyway_is_named)
{
    static const char *const urls[] = {"postgresql://app:SECRET@db/shop?sslmod=require", "host=db sslmod=require"};
    for (size_t i = 0; i < BK_COUNT(urls); i++) {
        struct bk_error error = {0};
        cr_expect_eq(bk_pg_check_conninfo(urls[i], urls[i], &error), BK_INVALID);
        cr_expect(strstr(error.text, "\"sslmod\""), "%s", error.text);
    }
}
