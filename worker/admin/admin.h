/* admin.h - what the files of booking-admin share.
 *
 * Requests are handled by a few threads of the HTTP server. Each borrows one of as many connections to Redis for as
 * long as its handler runs, so none is used by two threads at once; tokens never change after the start; sessions and
 * samples have a mutex of their own.
 */
#ifndef BK_ADMIN_H
#define BK_ADMIN_H

#include <pthread.h>

#include "common/config.h"
#include "common/http.h"
#include "common/json.h"
#include "common/pg.h"
#include "common/program.h"
#include "common/queue.h"

enum {
    ADMIN_THREADS = 4,
    ADMIN_NAME_ROOM = 41,   /* of a token, with the NUL */
    ADMIN_SECRET_ROOM = 257 /* the token itself, a session's id or a CSRF token */
};

enum role { ROLE_NONE, ROLE_VIEWER, ROLE_OPERATOR };

struct token {
    char name[ADMIN_NAME_ROOM];
    enum role role;
    char secret[ADMIN_SECRET_ROOM]; /* zero-filled to the end, as secrets_equal wants it */
};

struct tokens {
    struct token *list;
    size_t count;
};

struct sessions;
struct sampler;

struct admin {
    struct bk_config config;
    struct tokens tokens;
    struct sessions *sessions;
    struct sampler *sampler;
    struct bk_queue_options queue_options;
    struct bk_pg_options pg_options;
    pthread_mutex_t lock;                 /* of the two below */
    struct bk_queue *idle[ADMIN_THREADS]; /* NULL: never made, or lent */
    unsigned lent;
};

/** Who asks; copied, so that a session that ends meanwhile takes nothing away. */
struct caller {
    char name[ADMIN_NAME_ROOM]; /* of the token */
    enum role role;
    bool by_cookie; /* a browser: every change needs the CSRF token */
    char csrf[ADMIN_SECRET_ROOM];
};

/** One request on its way through a route. */
struct exchange {
    struct admin *admin;
    const struct bk_http_request *request;
    struct bk_http_response *response;
    struct caller caller;
    struct bk_queue *queue;
    const char *rest; /* of the path behind a route that ends with a slash */
};

/* --- token.c ------------------------------------------------------------------------------------------------------ */

/** Reads the file of lines `name role token`; what is wrong with it goes to config->faults, as of
 *  BOOKING_ADMIN_TOKEN_FILE. No token is ever shown. */
void tokens_load(struct tokens *tokens, const char *path, struct bk_config *config);
/** Wipes and frees. */
void tokens_deinit(struct tokens *tokens);
/** The token with this secret, NULL when there is none. Takes the same time wherever the difference is. Any thread. */
const struct token *tokens_find(const struct tokens *tokens, const char *secret);
/** Whether two secrets, each zero-filled to its room, are the same; in constant time. Any thread. */
bool secrets_equal(const char a[ADMIN_SECRET_ROOM], const char b[ADMIN_SECRET_ROOM]);
/** Copies a secret, zero-filled; false, and an empty one, when it is too long. Any thread. */
bool secret_copy(char out[ADMIN_SECRET_ROOM], const char *text, size_t size);

/* --- session.c ---------------------------------------------------------------------------------------------------- */

struct sessions *sessions_open(void);
struct sessions *sessions_close(struct sessions *sessions);
/** Begins a session for a token; `id` gets what the cookie carries. Any thread, as the others. */
void session_begin(struct sessions *sessions, const struct token *token, char id[ADMIN_SECRET_ROOM],
                   struct caller *caller);
/** Finds who a cookie belongs to and keeps the session alive; false when it is none, or over. */
bool session_find(struct sessions *sessions, const char *id, struct caller *caller);
void session_end(struct sessions *sessions, const char *id);
/** How long this client has to wait before it may present a token, ms; 0: not at all. */
bk_ms login_wait(struct sessions *sessions, const char *address);
/** Notes how presenting one went. */
void login_noted(struct sessions *sessions, const char *address, bool good);

/* --- sample.c ----------------------------------------------------------------------------------------------------- */

/** Starts the thread that looks at the queue every two seconds and keeps the last ten minutes. */
struct sampler *sampler_start(const struct bk_queue_options *options);
struct sampler *sampler_stop(struct sampler *sampler);
/** Appends the samples as one JSON object of arrays. Any thread. */
void sampler_json(struct sampler *sampler, struct bk_text *json);

/* --- serve.c ------------------------------------------------------------------------------------------------------ */

/** Answers a request; `arg` is the struct admin. Any thread. */
void admin_handle(void *arg, const struct bk_http_request *request, struct bk_http_response *response);
/** Answers {"error": ...} with a status code. */
void admin_refuse(struct exchange *exchange, int status, const char *format, ...) BK_PRINTF(3, 4);
/** The same for a failed call. */
void admin_failed(struct exchange *exchange, const struct bk_error *error);

/* --- look.c and act.c: the routes of the API ---------------------------------------------------------------------- */

void look_overview(struct exchange *exchange);
void look_workers(struct exchange *exchange);
void look_dead(struct exchange *exchange);
void look_letter(struct exchange *exchange);
void look_export(struct exchange *exchange);
void look_job(struct exchange *exchange);
void look_lines(struct exchange *exchange);
void look_audit(struct exchange *exchange);

void act_retry(struct exchange *exchange);
void act_drop(struct exchange *exchange);
void act_edit(struct exchange *exchange);
void act_paused(struct exchange *exchange);
void act_breaker(struct exchange *exchange);

#endif
