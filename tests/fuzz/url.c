/* The two connection URLs. The first byte is a letter that picks a template, the rest is the password in it, or, for
 * any other byte, the URL itself. What is shown must not depend on a password: the same URL with its capitals changed
 * is shown the same, byte for byte, and so are the errors (the small letters may spell the name of a parameter). What
 * is taken keeps to its limits. */
#include "common/url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "tests/fuzz/check.h"

/* How a password may be written there: r raw with every mistake, q in a query of a URI, c in a conninfo without quotes,
 * s in a conninfo within quotes. */
static const struct {
    char form;
    const char *before;
    const char *after;
} templates[] = {
    {'r', "postgresql://app:", "@db/shop"},
    {'r', "postgresql://app:", "@db1:5432,db2/shop?sslmode=require"},
    {'r', "postgres://:", "@db"},
    {'r', "redis://:", "@cache:6379/2"},
    {'r', "redis://app:", "@cache"},
    {'r', "rediss://app:", "@cache"},
    {'r', "redis+sentinel://app:", "@s1:26379,s2/main/1"},
    {'q', "postgresql://db/shop?password=", ""},
    {'q', "postgresql://db/shop?connect_timeout=5&sslpassword=", "&pgbouncer=true"},
    {'c', "host=db password=", " user=app"},
    {'c', "password=", ""},
    {'s', "host=db password='", "' user=app"},
    {'s', "sslpassword = '", "' port=5432"},
};

/* Whether these bytes are a password in such a place, and nothing that ends there. */
static bool fits(char form, const char *text)
{
    if (form == 'q')
        return !strchr(text, '&') && !strchr(text, '?') && !strchr(text, '#');
    if (form == 'c') { /* a blank and then "name=" begins the next parameter */
        for (; *text; text++) {
            if (*text == '=' || *text == '\'' || *text == '\\')
                return false;
        }
        return true;
    }
    /* with a raw '@' and a raw "?name=" behind it, it reads as a shorter password and a query: nobody can tell */
    const char *sign = form == 'r' ? strchr(text, '@') : NULL;
    const char *query = sign ? strchr(sign, '?') : NULL;
    return !query || !strchr(query, '=');
}

static char other_letter(char c)
{
    /* letters that stand in no name of a parameter nor in a scheme, so that changing them changes no meaning */
    return c == 'Q' ? 'X' : c == 'X' ? 'Q' : c;
}

/* Everything that is told about a URL, in one text. */
static void tell(struct bk_text *out, const char *url)
{
    struct bk_error error = {0};
    struct bk_database_url database = {0};
    struct bk_redis_url redis = {0};
    bk_url_mask(out, url);
    if (bk_database_url_parse(url, &database, &error) != BK_OK)
        bk_text_printf(out, "\n%s", error.text);
    else if (bk_pg_check_conninfo(database.conninfo, url, &error) != BK_OK)
        bk_text_printf(out, "\n%s", error.text);
    bk_database_url_deinit(&database);
    if (bk_redis_url_parse(url, &redis, &error) != BK_OK)
        bk_text_printf(out, "\n%s", error.text);
    bk_redis_url_deinit(&redis);
}

static void check_secret(size_t row, struct bk_span bytes)
{
    BK_AUTO_TEXT secret = {0};
    BK_AUTO_TEXT url = {0};
    BK_AUTO_TEXT other = {0};
    BK_AUTO_TEXT told = {0};
    BK_AUTO_TEXT told_of_other = {0};
    for (size_t i = 0; i < bytes.size && bytes.at[i]; i++) {
        char c = bytes.at[i];
        if (templates[row].form == 's' && (c == '\'' || c == '\\'))
            bk_text_putc(&secret, '\\');
        bk_text_putc(&secret, isupper((unsigned char)c) ? (c & 1 ? 'Q' : 'X') : c);
    }
    if (!fits(templates[row].form, bk_text_string(&secret)))
        return;
    bk_text_printf(&url, "%s%s%s", templates[row].before, bk_text_string(&secret), templates[row].after);
    for (size_t i = 0; i < url.size; i++)
        bk_text_putc(&other, other_letter(url.data[i]));
    tell(&told, url.data);
    tell(&told_of_other, other.data);
    BK_ASSERT(strcmp(told.data, told_of_other.data) == 0);
    BK_ASSERT(!strpbrk(told.data, "QX"));
}

static void check_url(const char *text)
{
    struct bk_error error = {0};
    struct bk_database_url database = {0};
    struct bk_redis_url redis = {0};
    if (bk_database_url_parse(text, &database, &error) == BK_OK) {
        BK_ASSERT(database.conninfo && database.connection_limit >= -1 && database.connection_limit <= 86400);
        BK_ASSERT(database.pool_timeout_s <= 86400 && database.connect_timeout_s <= 86400);
    } else {
        BK_ASSERT(fuzz_is_plain(error.text, 200));
    }
    bk_database_url_deinit(&database);
    if (bk_redis_url_parse(text, &redis, &error) == BK_OK) {
        BK_ASSERT(redis.unix_path ? redis.unix_path[0] == '/' : redis.host_count >= 1);
        BK_ASSERT(redis.host_count <= BK_REDIS_HOSTS_MAX && redis.sentinel == (redis.master != NULL));
        BK_ASSERT(redis.db >= 0 && redis.db <= 65535);
        for (size_t i = 0; i < redis.host_count; i++)
            BK_ASSERT(*redis.hosts[i] && redis.ports[i] >= 1 && redis.ports[i] <= 65535);
    } else {
        BK_ASSERT(fuzz_is_plain(error.text, 200));
    }
    bk_redis_url_deinit(&redis);
    BK_AUTO_TEXT shown = {0};
    bk_url_mask(&shown, text);
    BK_ASSERT(shown.size <= strlen(text) + 3 * strlen(text) + 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] >= 'A' && data[0] < 'A' + BK_COUNT(templates)) {
        check_secret(data[0] - 'A', (struct bk_span){(const char *)data + 1, size - 1});
        return 0;
    }
    char *text = bk_strndup((const char *)data, size);
    check_url(text);
    free(text);
    return 0;
}
