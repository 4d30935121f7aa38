/* serve.c - the door: which route a request takes, who asks, and whether he may.
 *
 * Two ways to show who one is. A browser logs in once and has a cookie that scripts cannot read and other sites cannot
 * send; every change needs the session's CSRF token in a header besides. A program sends its token with every request,
 * which no browser does by itself, so it needs no more. What the page is made of is public, all of the API is not.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>
#include <stdio.h>
#include <string.h>

#include "common/embedded.h"
#include "common/log.h"
#include "worker/admin/admin.h"

extern const struct bk_embedded bk_admin_page[];

enum { SESSION_AGE_S = 12 * 3600 };

static const char cookie_name[] = "booking_session";

/* --- answering ---------------------------------------------------------------------------------------------------- */

static const char common_headers[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\n"
    "Referrer-Policy: no-referrer\n"
    "X-Frame-Options: DENY\n"
    "Cross-Origin-Opener-Policy: same-origin\n"
    "Cross-Origin-Resource-Policy: same-origin\n";

void admin_refuse(struct exchange *exchange, int status, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    BK_AUTO_TEXT shown = {0};
    bk_text_safe(&shown, text, strlen(text), sizeof(text)); /* it may quote the request: no terminal is to obey that */
    exchange->response->status = status;
    bk_text_clear(&exchange->response->body);
    bk_text_puts(&exchange->response->body, "{\"error\":");
    bk_text_json_string(&exchange->response->body, bk_text_string(&shown));
    bk_text_puts(&exchange->response->body, "}\n");
}

void admin_failed(struct exchange *exchange, const struct bk_error *error)
{
    enum bk_status status = error->status;
    int code = status == BK_MISSING ? 404 : status == BK_INVALID ? 400 : status == BK_PERMANENT ? 409 : 503;
    if (code == 503)
        bk_log(BK_LOG_WARN, "%s: %s", exchange->request->path, error->text);
    admin_refuse(exchange, code, "%s", error->text);
}

/* --- who asks ----------------------------------------------------------------------------------------------------- */

/* The session's id out of the Cookie header. */
static bool read_cookie(const struct bk_http_request *request, char id[ADMIN_SECRET_ROOM])
{
    const char *at = bk_http_header(request, "Cookie");
    size_t size = sizeof(cookie_name) - 1;
    while (at) {
        at += strspn(at, "; ");
        if (strncmp(at, cookie_name, size) == 0 && at[size] == '=')
            return secret_copy(id, at + size + 1, strcspn(at + size + 1, "; "));
        at = strchr(at, ';');
    }
    return false;
}

/* Tries a token; answers and returns NULL when it is none, or when this client has to wait. */
static const struct token *try_token(struct exchange *exchange, const char *secret)
{
    const char *client = exchange->request->client;
    bk_ms wait = login_wait(exchange->admin->sessions, client);
    if (wait > 0) {
        long long seconds = (long long)(wait + 999) / 1000;
        bk_text_printf(&exchange->response->headers, "Retry-After: %lld\n", seconds);
        admin_refuse(exchange, 429, "too many failed logins from %s; try again in %lld s", client, seconds);
        return NULL;
    }
    const struct token *token = tokens_find(&exchange->admin->tokens, secret);
    login_noted(exchange->admin->sessions, client, token != NULL);
    if (!token) {
        const struct bk_log_field fields[] = {{"client", client}, {NULL, NULL}};
        bk_log_with(BK_LOG_WARN, fields, "a login has failed: no such token");
        admin_refuse(exchange, 401, "there is no such token");
    }
    return token;
}

/* Fills exchange->caller, or answers and returns false. */
static bool identify(struct exchange *exchange)
{
    const char *authorization = bk_http_header(exchange->request, "Authorization");
    char id[ADMIN_SECRET_ROOM];
    if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0) {
        const struct token *token = try_token(exchange, authorization + 7);
        if (!token)
            return false;
        exchange->caller.role = token->role;
        (void)snprintf(exchange->caller.name, sizeof(exchange->caller.name), "%s", token->name);
        return true;
    }
    if (read_cookie(exchange->request, id) && session_find(exchange->admin->sessions, id, &exchange->caller))
        return true;
    admin_refuse(exchange, 401, "log in first");
    return false;
}

/* A change: an operator's, and meant by him. */
static bool may_change(struct exchange *exchange, enum role least)
{
    const char *type = bk_http_header(exchange->request, "Content-Type");
    const char *sent = bk_http_header(exchange->request, "X-CSRF-Token");
    char csrf[ADMIN_SECRET_ROOM];
    bool meant = !exchange->caller.by_cookie ||
                 (secret_copy(csrf, sent, sent ? strlen(sent) : 0) && secrets_equal(csrf, exchange->caller.csrf));
    if (!meant)
        admin_refuse(exchange, 403, "the CSRF token is missing or wrong");
    else if (exchange->caller.role < least)
        admin_refuse(exchange, 403, "%s is a viewer; only operators may do this", exchange->caller.name);
    else if (!type || strncmp(type, "application/json", 16) != 0)
        admin_refuse(exchange, 415, "expected Content-Type: application/json");
    else
        return true;
    return false;
}

/* --- sessions ----------------------------------------------------------------------------------------------------- */

static void put_session(struct exchange *exchange)
{
    struct bk_text *body = &exchange->response->body;
    bk_text_puts(body, "{\"name\":");
    bk_text_json_string(body, exchange->caller.name);
    bk_text_printf(body, ",\"role\":\"%s\",\"queue\":\"%s\",\"version\":\"" BOOKING_VERSION "\",\"csrf\":",
                   exchange->caller.role == ROLE_OPERATOR ? "operator" : "viewer", exchange->admin->config.queue);
    bk_text_json_string(body, exchange->caller.by_cookie ? exchange->caller.csrf : NULL);
    bk_text_puts(body, "}\n");
}

static void set_cookie(struct exchange *exchange, const char *id, int age_s)
{
    const char *scheme = bk_http_header(exchange->request, "X-Forwarded-Proto");
    bk_text_printf(&exchange->response->headers, "Set-Cookie: %s=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Strict%s\n",
                   cookie_name, id, age_s, scheme && strcmp(scheme, "https") == 0 ? "; Secure" : "");
}

static void log_in(struct exchange *exchange)
{
    struct bk_json_member member;
    size_t count = 0;
    const char *type = bk_http_header(exchange->request, "Content-Type");
    if (!type || strncmp(type, "application/json", 16) != 0) {
        admin_refuse(exchange, 415, "expected Content-Type: application/json");
        return;
    }
    if (bk_json_object(exchange->request->body, &member, 1, &count, NULL) != BK_OK || count != 1 ||
        !bk_span_is(member.name, "token") || member.type != BK_JSON_STRING) {
        admin_refuse(exchange, 400, "expected {\"token\":\"...\"}");
        return;
    }
    char *secret = bk_json_unescape(member.raw);
    const struct token *token = try_token(exchange, secret);
    explicit_bzero(secret, strlen(secret));
    free(secret);
    if (!token)
        return;
    char id[ADMIN_SECRET_ROOM];
    session_begin(exchange->admin->sessions, token, id, &exchange->caller);
    const struct bk_log_field fields[] = {{"client", exchange->request->client}, {NULL, NULL}};
    bk_log_with(BK_LOG_INFO, fields, "%s has logged in", token->name);
    set_cookie(exchange, id, SESSION_AGE_S);
    put_session(exchange);
}

static void log_out(struct exchange *exchange)
{
    char id[ADMIN_SECRET_ROOM];
    if (read_cookie(exchange->request, id))
        session_end(exchange->admin->sessions, id);
    set_cookie(exchange, "", 0);
    bk_text_puts(&exchange->response->body, "{}\n");
}

/* --- routes ------------------------------------------------------------------------------------------------------- */

static const struct route {
    const char *method;
    const char *path; /* with a slash at its end: whatever follows */
    enum role least;
    void (*handle)(struct exchange *exchange);
} routes[] = {
    {"POST", "/api/v1/login", ROLE_NONE, log_in},
    {"POST", "/api/v1/logout", ROLE_VIEWER, log_out},
    {"GET", "/api/v1/session", ROLE_VIEWER, put_session},
    {"GET", "/api/v1/overview", ROLE_VIEWER, look_overview},
    {"GET", "/api/v1/workers", ROLE_VIEWER, look_workers},
    {"GET", "/api/v1/dead", ROLE_VIEWER, look_dead},
    {"GET", "/api/v1/dead/export", ROLE_VIEWER, look_export},
    {"POST", "/api/v1/dead/retry", ROLE_OPERATOR, act_retry},
    {"POST", "/api/v1/dead/drop", ROLE_OPERATOR, act_drop},
    {"POST", "/api/v1/dead/edit", ROLE_OPERATOR, act_edit},
    {"GET", "/api/v1/dead/", ROLE_VIEWER, look_letter},
    {"GET", "/api/v1/job", ROLE_VIEWER, look_job},
    {"GET", "/api/v1/lines", ROLE_VIEWER, look_lines},
    {"GET", "/api/v1/audit", ROLE_VIEWER, look_audit},
    {"POST", "/api/v1/paused", ROLE_OPERATOR, act_paused},
    {"POST", "/api/v1/breaker", ROLE_OPERATOR, act_breaker},
};

static bool leads_to(const struct route *route, const char *path)
{
    size_t size = strlen(route->path);
    return route->path[size - 1] == '/' ? strncmp(path, route->path, size) == 0 && path[size]
                                        : strcmp(path, route->path) == 0;
}

static struct bk_queue *borrow(struct admin *admin)
{
    (void)pthread_mutex_lock(&admin->lock);
    BK_ASSERT(admin->lent < ADMIN_THREADS);
    struct bk_queue *queue = admin->idle[admin->lent];
    admin->idle[admin->lent++] = NULL;
    (void)pthread_mutex_unlock(&admin->lock);
    return queue ? queue : bk_queue_open(&admin->queue_options);
}

static void give_back(struct admin *admin, struct bk_queue *queue)
{
    (void)pthread_mutex_lock(&admin->lock);
    admin->idle[--admin->lent] = queue;
    (void)pthread_mutex_unlock(&admin->lock);
}

static void follow(struct exchange *exchange, const struct route *route)
{
    bool change = strcmp(route->method, "POST") == 0;
    if (route->least != ROLE_NONE && (!identify(exchange) || (change && !may_change(exchange, route->least))))
        return;
    exchange->rest = exchange->request->path + strlen(route->path);
    exchange->queue = borrow(exchange->admin);
    route->handle(exchange);
    give_back(exchange->admin, exchange->queue);
}

static void serve_api(struct exchange *exchange)
{
    bool known = false;
    const char *method = strcmp(exchange->request->method, "HEAD") == 0 ? "GET" : exchange->request->method;
    exchange->response->type = "application/json";
    bk_text_puts(&exchange->response->headers, "Cache-Control: no-store\n");
    for (size_t i = 0; i < BK_COUNT(routes); i++) {
        if (!leads_to(&routes[i], exchange->request->path))
            continue;
        known = true;
        if (strcmp(routes[i].method, method) == 0) {
            follow(exchange, &routes[i]);
            return;
        }
    }
    if (known)
        admin_refuse(exchange, 405, "not this way: see the API in the manual");
    else
        admin_refuse(exchange, 404, "there is nothing here");
}

static const char *type_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    return !dot || strcmp(dot, ".html") == 0 ? "text/html; charset=utf-8"
           : strcmp(dot, ".css") == 0        ? "text/css; charset=utf-8"
                                             : "text/javascript; charset=utf-8";
}

static void serve_page(struct exchange *exchange)
{
    const char *path = exchange->request->path;
    const char *name = strcmp(path, "/") == 0 ? "index.html" : *path == '/' ? path + 1 : path;
    bool get = strcmp(exchange->request->method, "GET") == 0 || strcmp(exchange->request->method, "HEAD") == 0;
    for (const struct bk_embedded *file = bk_admin_page; get && file->name; file++) {
        if (strcmp(file->name, name) != 0)
            continue;
        exchange->response->type = type_of(name);
        bk_text_puts(&exchange->response->headers, "Cache-Control: no-cache\n");
        bk_text_add(&exchange->response->body, (const char *)file->data, file->size);
        return;
    }
    exchange->response->type = "application/json";
    admin_refuse(exchange, get ? 404 : 405, "there is nothing here");
}

void admin_handle(void *arg, const struct bk_http_request *request, struct bk_http_response *response)
{
    struct exchange exchange = {.admin = arg, .request = request, .response = response};
    bk_text_puts(&response->headers, common_headers);
    if (strncmp(request->path, "/api/", 5) == 0)
        serve_api(&exchange);
    else
        serve_page(&exchange);
    explicit_bzero(&exchange.caller, sizeof(exchange.caller));
}
