/* url.c - see url.h. */
#include "common/url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* percent-decoding (RFC 3986); NULL for a broken escape or an escaped NUL */
static char *decoded(const char *at, size_t size)
{
    char *out = bk_alloc(size + 1);
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        if (at[i] != '%') {
            out[n++] = at[i];
            continue;
        }
        char hex[3] = {0};
        memcpy(hex, at + i + 1, BK_MIN(size - i - 1, (size_t)2));
        bool good = isxdigit((unsigned char)hex[0]) && isxdigit((unsigned char)hex[1]) && strcmp(hex, "00") != 0;
        if (!good) {
            free(out);
            return NULL;
        }
        out[n++] = (char)strtol(hex, NULL, 16);
        i += 2;
    }
    out[n] = '\0';
    return out;
}

/* --- masking ------------------------------------------------------------------------------------------------------ */

static bool is_blank(char c)
{
    return c && strchr(" \t\r\n\v\f", c);
}

static const char *skip_blanks(const char *at)
{
    while (is_blank(*at))
        at++;
    return at;
}

/* Behind a value of a conninfo: quoted, or up to a blank; a backslash protects the next byte (libpq's
 * conninfo_parse). */
static const char *end_of_word(const char *at)
{
    bool quoted = *at == '\'';
    for (at += quoted; *at && (quoted ? *at != '\'' : !is_blank(*at)); at++)
        at += *at == '\\' && at[1] ? 1 : 0;
    return at + (quoted && *at ? 1 : 0);
}

/* The end of a password: in a query of a URI at the next '&', in a conninfo before the next "name=". libpq refuses words
 * in between, but they may belong to a password that somebody forgot to quote. */
static const char *end_of_value(const char *at, bool uri)
{
    if (uri)
        return at + strcspn(at, "&");
    for (;;) {
        at = end_of_word(at);
        const char *next = skip_blanks(at);
        if (!*next || *skip_blanks(next + strcspn(next, "= \t\r\n\v\f")) == '=')
            return at;
        at = next;
    }
}

/* Behind "password" and "=" (in a conninfo with blanks around it), else NULL. */
static const char *value_of_password(const char *at, bool uri)
{
    static const char word[] = "password";
    if (strncasecmp(at, word, sizeof(word) - 1) != 0)
        return NULL;
    at += sizeof(word) - 1;
    if (!uri)
        at = skip_blanks(at);
    if (*at != '=')
        return NULL;
    return uri ? at + 1 : skip_blanks(at + 1);
}

/* password= and, as it ends alike, sslpassword= */
static void mask_assignments(struct bk_text *text, const char *at, bool uri)
{
    while (*at) {
        const char *value = value_of_password(at, uri);
        if (!value) {
            bk_text_putc(text, *at++);
            continue;
        }
        bk_text_add(text, at, (size_t)(value - at));
        bk_text_puts(text, "***");
        at = end_of_value(value, uri);
    }
}

/* Whether a password= begins in front of `end`. */
static bool has_assignment(const char *at, const char *end)
{
    while (at < end && !value_of_password(at, true))
        at++;
    return at < end;
}

/* Behind "scheme://"; the text itself when there is none. */
static const char *behind_scheme(const char *url)
{
    size_t size = strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    return size > 0 && starts_with(url + size, "://") ? url + size + 3 : url;
}

/* The '@' behind the user and password, NULL when there is none. A password may hold a raw '@', '/' or '?' by mistake:
 * the last '@' counts that does not stand in a parameter of the query. To libpq a '?' in front of the first '@' begins
 * no query, unless there is a '/' in between (conninfo_uri_parse_options). */
static const char *find_at_sign(const char *authority)
{
    const char *found = NULL;
    size_t user = strcspn(authority, "@/");
    const char *query = strchr(authority[user] == '@' ? authority + user : authority, '?');
    for (const char *at = strchr(authority, '@'); at; at = strchr(at + 1, '@')) {
        if (query && query < at && memchr(query, '=', (size_t)(at - query)))
            continue;
        found = at;
        query = strchr(at, '?'); /* what stands before this '@' was none */
    }
    return found;
}

/* "host:secret": somebody has left out the '@' and what belongs behind it. */
static const char *find_port_that_is_none(const char *authority)
{
    const char *colon = *authority == '[' ? NULL : memchr(authority, ':', strcspn(authority, "/?#"));
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
    return colon && !strchr("/?#,", colon[1 + digits]) ? colon : NULL;
}

void bk_url_mask(struct bk_text *text, const char *url)
{
    const char *authority = behind_scheme(url);
    bool uri = authority != url;
    const char *sign = find_at_sign(authority);
    if (!sign) /* better to hide a piece of a query than to show a password */
        sign = strrchr(authority, '@');
    const char *colon = sign ? memchr(authority, ':', (size_t)(sign - authority)) : NULL;
    /* without a scheme this is a conninfo, in which user:password@ means nothing; but somebody may have meant it */
    const char *equals = uri ? NULL : strchr(url, '=');
    if (equals && colon && equals < colon)
        colon = NULL;
    if (uri && !sign)
        colon = find_port_that_is_none(authority);
    if (uri && colon && has_assignment(authority, colon))
        colon = NULL; /* it stands in the value, which is masked from its beginning */
    if (!colon) {
        mask_assignments(text, url, uri);
        return;
    }
    bk_text_add(text, url, (size_t)(colon - url) + 1);
    bk_text_puts(text, "***");
    mask_assignments(text, sign ? sign : colon + strcspn(colon, "/?#,"), true);
}

/* --- DATABASE_URL ------------------------------------------------------------------------------------------------- */

struct parameter {
    const char *name;
    int64_t *number; /* NULL: see flag; both NULL: accepted and dropped */
    bool *flag;
};

/* No error quotes a value: of a password with a raw '?' in it, the rest stands where parameters are looked for. */
static enum bk_status read_parameter(const struct parameter *p, const char *value, size_t size, struct bk_error *error)
{
    struct bk_span span = {value, size};
    if (p->number && (!bk_parse_integer(span, p->number) || *p->number < 0 || *p->number > 86400))
        return bk_fail(error, BK_INVALID, "parameter %s: expected an integer from 0 to 86400", p->name);
    if (p->flag) {
        if (!bk_span_is(span, "true") && !bk_span_is(span, "false"))
            return bk_fail(error, BK_INVALID, "parameter %s: expected true or false", p->name);
        *p->flag = bk_span_is(span, "true");
    }
    return BK_OK;
}

static const struct parameter *find_parameter(const struct parameter *parameters, size_t count, struct bk_span name)
{
    for (size_t i = 0; i < count; i++) {
        if (bk_span_is(name, parameters[i].name))
            return &parameters[i];
    }
    return NULL;
}

/* What is neither a URI nor a conninfo; and a raw '@' and its like, for libpq would take a piece of such a password for
 * the host or the port, and name it in its errors. */
static enum bk_status check_form(const char *url, bool uri, struct bk_error *error)
{
    const char *authority = behind_scheme(url);
    if (!uri && (authority != url || !strchr(url, '=')))
        return bk_fail(error, BK_INVALID, "expected postgresql://user@host/database or host=... dbname=...");
    const char *sign = uri ? find_at_sign(authority) : NULL;
    if (sign && sign != memchr(authority, '@', strcspn(authority, "/?")))
        return bk_fail(error, BK_INVALID, "a raw @, / or ? in the user or the password: write %%40, %%2F or %%3F");
    return BK_OK;
}

enum bk_status bk_database_url_parse(const char *url, struct bk_database_url *out, struct bk_error *error)
{
    struct bk_database_url result = {NULL, -1, -1, -1, -1, false};
    const struct parameter ours[] = {
        {"connection_limit", &result.connection_limit, NULL},
        {"pool_timeout", &result.pool_timeout_s, NULL},
        {"connect_timeout", &result.connect_timeout_s, NULL},
        {"socket_timeout", &result.socket_timeout_s, NULL},
        {"pgbouncer", NULL, &result.pgbouncer},
        {"schema", NULL, NULL},
        {"statement_cache_size", NULL, NULL},
    };
    bool uri = starts_with(url, "postgres://") || starts_with(url, "postgresql://");
    enum bk_status status = check_form(url, uri, error);
    if (status != BK_OK)
        return status;
    const char *query = uri ? strchr(url, '?') : NULL;
    BK_AUTO_TEXT kept = {0};
    bk_text_add(&kept, url, query ? (size_t)(query - url) : strlen(url));
    char separator = '?';
    for (const char *at = query ? query + 1 : ""; *at;) {
        size_t size = strcspn(at, "&");
        size_t name_size = BK_MIN(strcspn(at, "="), size);
        const struct parameter *found = find_parameter(ours, BK_COUNT(ours), (struct bk_span){at, name_size});
        if (found) {
            size_t value_at = BK_MIN(name_size + 1, size);
            status = read_parameter(found, at + value_at, size - value_at, error);
            if (status != BK_OK)
                return status;
        } else if (size > 0) {
            bk_text_putc(&kept, separator);
            bk_text_add(&kept, at, size);
            separator = '&';
        }
        at += size + (at[size] == '&');
    }
    result.conninfo = BK_STEAL(kept.data);
    *out = result;
    return BK_OK;
}

void bk_database_url_deinit(struct bk_database_url *url)
{
    free(url->conninfo);
    *url = (struct bk_database_url){0};
}

/* --- REDIS_URL ---------------------------------------------------------------------------------------------------- */

void bk_redis_url_deinit(struct bk_redis_url *url)
{
    free(url->unix_path);
    free(url->user);
    free(url->password);
    free(url->master);
    for (size_t i = 0; i < url->host_count; i++)
        free(url->hosts[i]);
    *url = (struct bk_redis_url){0};
}

static enum bk_status read_credentials(struct bk_redis_url *url, const char *at, size_t size, struct bk_error *error)
{
    const char *colon = memchr(at, ':', size);
    size_t user_size = colon ? (size_t)(colon - at) : size;
    if (user_size > 0 && !(url->user = decoded(at, user_size)))
        return bk_fail(error, BK_INVALID, "the user has a broken %%-escape");
    if (colon && !(url->password = decoded(colon + 1, size - user_size - 1)))
        return bk_fail(error, BK_INVALID, "the password has a broken %%-escape");
    return BK_OK;
}

static enum bk_status read_host(struct bk_redis_url *url, const char *at, size_t size, struct bk_error *error)
{
    if (url->host_count == BK_REDIS_HOSTS_MAX)
        return bk_fail(error, BK_INVALID, "more than %d hosts", BK_REDIS_HOSTS_MAX);
    const char *host = at;
    size_t host_size = size;
    const char *rest = NULL; /* behind the host: empty or ":port" */
    if (size > 0 && *at == '[') {
        const char *end = memchr(at, ']', size);
        if (!end)
            return bk_fail(error, BK_INVALID, "the IPv6 address lacks its ]");
        host = at + 1;
        host_size = (size_t)(end - host);
        rest = end + 1;
    } else {
        rest = memchr(at, ':', size);
        host_size = rest ? (size_t)(rest - at) : size;
    }
    int64_t port = url->sentinel ? 26379 : 6379;
    const char *end = at + size;
    if (rest && rest < end) {
        struct bk_span digits = {rest + 1, (size_t)(end - rest - 1)};
        if (*rest != ':' || !bk_parse_integer(digits, &port) || port < 1 || port > 65535)
            return bk_fail(error, BK_INVALID, "the port must be from 1 to 65535");
    }
    char *name = host_size ? decoded(host, host_size) : NULL;
    if (!name)
        return bk_fail(error, BK_INVALID, "a host name is missing or has a broken %%-escape");
    url->hosts[url->host_count] = name;
    url->ports[url->host_count++] = (int)port;
    return BK_OK;
}

/* The path: "/db", or "/master[/db]" for Sentinel. It may be the rest of a password with a raw '/' in it, so no error
 * quotes it. */
static enum bk_status read_path(struct bk_redis_url *url, const char *path, struct bk_error *error)
{
    if (*path == '/')
        path++;
    if (url->sentinel) {
        size_t size = strcspn(path, "/");
        url->master = size ? decoded(path, size) : NULL;
        if (!url->master)
            return bk_fail(error, BK_INVALID, "the master's name is missing: redis+sentinel://host:port/<master>");
        path += size + (path[size] == '/');
    }
    int64_t db = 0;
    if (*path && (!bk_parse_integer(bk_span_of(path), &db) || db < 0 || db > 65535))
        return bk_fail(error, BK_INVALID, "the database must be a number from 0 to 65535");
    url->db = (int)db;
    return BK_OK;
}

static enum bk_status read_network_url(struct bk_redis_url *url, const char *at, struct bk_error *error)
{
    size_t size = strcspn(at, "/?#");
    const char *path = at + size;
    if (*path && *path != '/')
        return bk_fail(error, BK_INVALID, "expected nothing behind the hosts but /<database>");
    const char *sign = memrchr(at, '@', size);
    if (sign) {
        enum bk_status status = read_credentials(url, at, (size_t)(sign - at), error);
        if (status != BK_OK)
            return status;
        size -= (size_t)(sign + 1 - at);
        at = sign + 1;
    }
    for (;;) {
        const char *comma = memchr(at, ',', size);
        size_t part = comma ? (size_t)(comma - at) : size;
        enum bk_status status = read_host(url, at, part, error);
        if (status != BK_OK)
            return status;
        if (!comma)
            break;
        at += part + 1;
        size -= part + 1;
    }
    if (url->host_count > 1 && !url->sentinel)
        return bk_fail(error, BK_INVALID, "several hosts need redis+sentinel://");
    return read_path(url, path, error);
}

enum bk_status bk_redis_url_parse(const char *url, struct bk_redis_url *out, struct bk_error *error)
{
    static const struct {
        const char *prefix;
        bool tls;
        bool sentinel;
    } schemes[] = {{"redis://", false, false}, {"rediss://", true, false}, {"redis+sentinel://", false, true}};

    struct bk_redis_url result = {0};
    if (starts_with(url, "unix://")) {
        result.unix_path = decoded(url + 7, strlen(url + 7));
        if (!result.unix_path || *result.unix_path != '/') {
            bk_redis_url_deinit(&result);
            return bk_fail(error, BK_INVALID, "expected unix:///path/to/socket");
        }
        *out = result;
        return BK_OK;
    }
    for (size_t i = 0; i < BK_COUNT(schemes); i++) {
        if (!starts_with(url, schemes[i].prefix))
            continue;
        result.tls = schemes[i].tls;
        result.sentinel = schemes[i].sentinel;
        enum bk_status status = read_network_url(&result, url + strlen(schemes[i].prefix), error);
        if (status == BK_OK)
            *out = result;
        else
            bk_redis_url_deinit(&result);
        return status;
    }
    return bk_fail(error, BK_INVALID, "expected redis://, rediss://, redis+sentinel:// or unix://");
}
