/* The admin page's requests, from what the HTTP library hands over to the answer, with Redis and PostgreSQL played by
 * the input. The first line says `METHOD path?query`, `Name: value` lines follow up to an empty one; what stands behind
 * is the body, then, each behind a 0x1e, what Redis answers (RESP), call by call.
 *
 * "Authorization: Bearer operator-token-0123456789" is an operator, viewer-... a viewer; a Cookie of `booking_session=@`
 * is a session of the operator's whose CSRF token is `@`.
 *
 * An input that begins with a lower-case `t` is a file of tokens instead. */
#include "worker/admin/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "tests/fuzz/check.h"
#include "tests/support/resp.h"
#include "worker/find.h"

enum { PAIRS_MOST = 24 };

struct pair {
    char *name;
    char *value;
};

/* What bk_http_request.connection leads to here. */
struct talk {
    struct pair queries[PAIRS_MOST];
    size_t query_count;
    struct pair headers[PAIRS_MOST];
    size_t header_count;
};

/* --- what is played: the linker brings calls of these here (--wrap) ------------------------------------------------ */

const char *__wrap_bk_http_query(const struct bk_http_request *request, const char *name);
const char *__wrap_bk_http_header(const struct bk_http_request *request, const char *name);
enum bk_status __wrap_bk_queue_function(struct bk_queue *queue, const char *function, size_t count,
                                        const struct bk_span *arguments, struct bk_reply **out, struct bk_error *error);
enum bk_status __wrap_bk_queue_command(struct bk_queue *queue, size_t count, const struct bk_span *words, size_t key_at,
                                       struct bk_reply **out, struct bk_error *error);
enum bk_status __wrap_bk_queue_raw(struct bk_queue *queue, size_t count, const struct bk_span *words,
                                   struct bk_reply **out, struct bk_error *error);
enum bk_status __wrap_bk_queue_dead_act(struct bk_queue *queue, const char *verb, const char *who, const char *why,
                                        size_t count, const struct bk_span *tickets, struct bk_reply **out,
                                        struct bk_error *error);
enum bk_status __wrap_bk_queue_configure(struct bk_queue *queue, const char *who, const char *verb, const char *name,
                                         const char *value, struct bk_error *error);
enum bk_status __wrap_bk_queue_read_status(struct bk_queue *queue, struct bk_queue_status *status,
                                           struct bk_error *error);
enum bk_status __wrap_bk_pg_open(struct bk_pg **out, const struct bk_pg_options *options, bk_ms deadline,
                                 struct bk_error *error);

void __wrap_sampler_json(struct sampler *sampler, struct bk_text *json);

static struct bk_span answers; /* of Redis, those not yet given */

static enum bk_status answer(struct bk_reply **out, struct bk_error *error)
{
    struct bk_span one = answers.at ? fuzz_piece(&answers, 0x1e) : (struct bk_span){NULL, 0};
    *out = one.at ? resp_try(one.at, one.size) : NULL;
    return *out ? BK_OK : bk_fail(error, BK_OUTAGE, "redis: no answer in time");
}

static const char *find(const struct pair *pairs, size_t count, const char *name,
                        int (*compare)(const char *, const char *))
{
    for (size_t i = 0; i < count; i++) {
        if (compare(pairs[i].name, name) == 0)
            return pairs[i].value;
    }
    return NULL;
}

const char *__wrap_bk_http_query(const struct bk_http_request *request, const char *name)
{
    const struct talk *talk = request->connection;
    return find(talk->queries, talk->query_count, name, strcmp);
}

const char *__wrap_bk_http_header(const struct bk_http_request *request, const char *name)
{
    const struct talk *talk = request->connection;
    return find(talk->headers, talk->header_count, name, strcasecmp);
}

enum bk_status __wrap_bk_queue_function(struct bk_queue *queue, const char *function, size_t count,
                                        const struct bk_span *arguments, struct bk_reply **out, struct bk_error *error)
{
    (void)queue;
    BK_ASSERT(fuzz_is_plain(function, 40));
    for (size_t i = 0; i < count; i++)
        BK_ASSERT(arguments[i].at != NULL || arguments[i].size == 0);
    return answer(out, error);
}

enum bk_status __wrap_bk_queue_command(struct bk_queue *queue, size_t count, const struct bk_span *words, size_t key_at,
                                       struct bk_reply **out, struct bk_error *error)
{
    (void)queue;
    BK_ASSERT(key_at < count && words[key_at].size > 0);
    return answer(out, error);
}

enum bk_status __wrap_bk_queue_raw(struct bk_queue *queue, size_t count, const struct bk_span *words,
                                   struct bk_reply **out, struct bk_error *error)
{
    (void)queue;
    BK_ASSERT(count > 0 && words[0].size > 0);
    return answer(out, error);
}

enum bk_status __wrap_bk_queue_dead_act(struct bk_queue *queue, const char *verb, const char *who, const char *why,
                                        size_t count, const struct bk_span *tickets, struct bk_reply **out,
                                        struct bk_error *error)
{
    (void)queue;
    BK_ASSERT(strcmp(verb, "retry") == 0 || strcmp(verb, "drop") == 0);
    BK_ASSERT(strncmp(who, "token:", 6) == 0 && why != NULL && count >= 1 && count <= 1000);
    for (size_t i = 0; i < count; i++)
        BK_ASSERT(tickets[i].size < 48);
    return answer(out, error);
}

enum bk_status __wrap_bk_queue_configure(struct bk_queue *queue, const char *who, const char *verb, const char *name,
                                         const char *value, struct bk_error *error)
{
    BK_AUTO(bk_reply) *reply = NULL;
    (void)queue;
    BK_ASSERT(strncmp(who, "token:", 6) == 0 && *verb && *name && fuzz_is_plain(value, 8));
    return answer(&reply, error);
}

enum bk_status __wrap_bk_queue_read_status(struct bk_queue *queue, struct bk_queue_status *status,
                                           struct bk_error *error)
{
    BK_AUTO(bk_reply) *reply = NULL;
    (void)queue;
    *status = (struct bk_queue_status){0};
    return answer(&reply, error);
}

enum bk_status __wrap_bk_pg_open(struct bk_pg **out, const struct bk_pg_options *options, bk_ms deadline,
                                 struct bk_error *error)
{
    (void)out;
    (void)options;
    (void)deadline;
    return bk_fail(error, BK_OUTAGE, "postgresql: not here");
}

void __wrap_sampler_json(struct sampler *sampler, struct bk_text *json)
{
    (void)sampler; /* it looks at the queue from a thread of its own */
    bk_text_puts(json, "{}");
}

/* --- the request --------------------------------------------------------------------------------------------------- */

/* As the HTTP library does: %XX, and + for a blank in a query; what stands behind a NUL is not seen. */
static char *decoded(struct bk_span text, bool query)
{
    BK_AUTO_TEXT out = {0};
    bk_text_puts(&out, "");
    for (size_t i = 0; i < text.size; i++) {
        char hex[3] = {0};
        if (text.at[i] == '%' && i + 2 < text.size) {
            memcpy(hex, text.at + i + 1, 2);
            char *end = NULL;
            long byte = strtol(hex, &end, 16);
            if (end == hex + 2 && hex[0] != '-' && hex[0] != '+' && hex[0] != ' ') {
                bk_text_putc(&out, (char)byte);
                i += 2;
                continue;
            }
        }
        bk_text_putc(&out, query && text.at[i] == '+' ? ' ' : text.at[i]);
    }
    return bk_strdup(bk_text_string(&out));
}

static void add_pair(struct pair *pairs, size_t *count, char *name, char *value)
{
    if (*count == PAIRS_MOST) {
        free(name);
        free(value);
        return;
    }
    pairs[(*count)++] = (struct pair){name, value};
}

static void read_query(struct talk *talk, struct bk_span query)
{
    while (query.at) {
        struct bk_span value = fuzz_piece(&query, '&');
        struct bk_span name = fuzz_piece(&value, '=');
        if (name.size)
            add_pair(talk->queries, &talk->query_count, decoded(name, true),
                     value.at ? decoded(value, true) : bk_strdup(""));
    }
}

/* `@` in a cookie is the session's id, in a header of its own the session's CSRF token. */
static char *filled(struct bk_span text, const char *with)
{
    BK_AUTO_TEXT out = {0};
    bk_text_puts(&out, "");
    for (size_t i = 0; i < text.size && text.at[i]; i++) {
        if (text.at[i] == '@')
            bk_text_puts(&out, with);
        else
            bk_text_putc(&out, text.at[i]);
    }
    return bk_strdup(out.data);
}

static void read_headers(struct talk *talk, struct bk_span *rest, const char *id, const char *csrf)
{
    while (rest->at) {
        struct bk_span line = fuzz_piece(rest, '\n');
        struct bk_span name = fuzz_piece(&line, ':');
        if (name.size == 0)
            return;
        while (line.size && *line.at == ' ')
            line = (struct bk_span){line.at + 1, line.size - 1};
        char *called = filled(name, "@");
        add_pair(talk->headers, &talk->header_count, called,
                 filled(line, strcasecmp(called, "Cookie") == 0 ? id : csrf));
    }
}

static void free_talk(struct talk *talk)
{
    for (size_t i = 0; i < talk->query_count; i++) {
        free(talk->queries[i].name);
        free(talk->queries[i].value);
    }
    for (size_t i = 0; i < talk->header_count; i++) {
        free(talk->headers[i].name);
        free(talk->headers[i].value);
    }
}

/* --- what must hold for every answer -------------------------------------------------------------------------------- */

static void check_headers(const struct bk_text *headers)
{
    char *copy = bk_strdup(bk_text_string(headers));
    char *rest = NULL;
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        size_t name = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-");
        BK_ASSERT(name > 0 && line[name] == ':' && line[name + 1] == ' ' && fuzz_is_plain(line, 500));
    }
    free(copy);
}

static void check_refusal(const struct bk_text *body)
{
    BK_AUTO_TEXT text = {0};
    BK_ASSERT(fuzz_is_json(body->data, body->size));
    BK_ASSERT(fuzz_error_of(&text, (struct bk_span){body->data, body->size}) && fuzz_is_plain(text.data, 2500));
}

static void check_lines(const struct bk_text *body)
{
    struct bk_span rest = {bk_text_string(body), body->size};
    while (rest.at && rest.size) {
        struct bk_span line = fuzz_piece(&rest, '\n');
        BK_ASSERT(fuzz_is_json(line.at, line.size));
    }
}

static void check_answer(const struct bk_http_response *response)
{
    static const int codes[] = {0, 400, 401, 403, 404, 405, 409, 415, 429, 503};
    bool known = false;
    for (size_t i = 0; i < BK_COUNT(codes); i++)
        known = known || response->status == codes[i];
    BK_ASSERT(known && response->type != NULL);
    check_headers(&response->headers);
    if (response->status != 0) {
        BK_ASSERT(strcmp(response->type, "application/json") == 0);
        check_refusal(&response->body);
    } else if (strcmp(response->type, "application/json") == 0) {
        BK_ASSERT(fuzz_is_json(bk_text_string(&response->body), response->body.size));
    } else if (strcmp(response->type, "application/x-ndjson") == 0) {
        check_lines(&response->body);
    }
}

/* --- the two kinds of input ------------------------------------------------------------------------------------------ */

static void serve(struct bk_span input)
{
    static struct token list[] = {{"olga", ROLE_OPERATOR, "operator-token-0123456789"},
                                  {"vera", ROLE_VIEWER, "viewer-token-0123456789"}};
    static char queue_name[] = "booking";
    struct admin admin = {.tokens = {list, BK_COUNT(list)}, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct bk_redis_url nowhere = {0};
    admin.config.queue = queue_name;
    admin.queue_options = (struct bk_queue_options){.url = &nowhere, .name = queue_name};
    admin.sessions = sessions_open();
    struct caller caller;
    char id[ADMIN_SECRET_ROOM];
    session_begin(admin.sessions, &list[0], id, &caller);

    struct talk talk = {.query_count = 0};
    struct bk_span head = input;
    struct bk_span line = fuzz_piece(&head, '\n');
    struct bk_span method = fuzz_piece(&line, ' ');
    struct bk_span path = fuzz_piece(&line, '?');
    read_query(&talk, line);
    read_headers(&talk, &head, id, caller.csrf);
    answers = head;
    struct bk_span body = head.at ? fuzz_piece(&answers, 0x1e) : (struct bk_span){"", 0};
    char *method_text = bk_strndup(method.at ? method.at : "", method.size);
    char *path_text = decoded(path, false);
    const struct bk_http_request request = {
        .method = method_text, .path = path_text, .body = body, .client = "127.0.0.1", .connection = &talk};
    struct bk_http_response response = {0};
    admin_handle(&admin, &request, &response);
    check_answer(&response);

    bk_text_deinit(&response.body);
    bk_text_deinit(&response.headers);
    for (size_t i = 0; i < BK_COUNT(admin.idle); i++)
        admin.idle[i] = bk_queue_close(admin.idle[i]);
    free(method_text);
    free(path_text);
    free_talk(&talk);
    admin.sessions = sessions_close(admin.sessions);
}

static void load_tokens(struct bk_span text)
{
    static int file = -1;
    char path[40];
    if (file < 0)
        file = memfd_create("tokens", MFD_CLOEXEC);
    BK_ASSERT(fchmod(file, 0600) == 0 && ftruncate(file, 0) == 0);
    BK_ASSERT(pwrite(file, text.at, text.size, 0) == (ssize_t)text.size);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    struct tokens tokens = {NULL, 0};
    struct bk_config config = {.env_file = NULL};
    tokens_load(&tokens, path, &config);
    BK_ASSERT(tokens.count > 0 || config.faults.size > 0);
    for (size_t i = 0; i < tokens.count; i++) {
        BK_ASSERT(fuzz_is_plain(tokens.list[i].name, ADMIN_NAME_ROOM - 1) && *tokens.list[i].secret);
        BK_ASSERT(tokens.list[i].role == ROLE_VIEWER || tokens.list[i].role == ROLE_OPERATOR);
        BK_ASSERT(tokens_find(&tokens, tokens.list[i].secret) == &tokens.list[i]);
    }
    BK_ASSERT(tokens_find(&tokens, "") == NULL && tokens_find(&tokens, NULL) == NULL);
    tokens_deinit(&tokens);
    bk_text_deinit(&config.faults);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bk_span input = {(const char *)data, size};
    bk_log_setup("error", "text", "fuzz"); /* a failed login is logged as a warning */
    if (size > 0 && data[0] == 't')
        load_tokens((struct bk_span){input.at + 1, size - 1});
    else
        serve(input);
    return 0;
}
