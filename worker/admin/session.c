/* session.c - who is logged in, and who has to wait before trying again.
 *
 * Both tables live in memory and are small and fixed: a full one forgets what is oldest. A wrong token costs its client
 * time without costing a thread: the next attempt is refused until the wait is over, also one with the right token,
 * else guessing would be worth while. The wait doubles with each failure from the third on, up to half a minute.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "worker/admin/admin.h"

enum {
    SESSIONS_MOST = 256,
    CLIENTS_MOST = 256,
    IDLE_MOST_MS = 3600 * 1000,
    AGE_MOST_MS = 12 * 3600 * 1000,
    FREE_FAILURES = 3,
    WAIT_BASE_MS = 1000,
    WAIT_MOST_MS = 30000,
    FORGET_MS = 600000
};

struct session {
    char id[ADMIN_SECRET_ROOM]; /* "": free */
    struct caller caller;
    bk_ms began;
    bk_ms used;
};

struct client {
    char address[64]; /* "": free */
    unsigned failures;
    bk_ms last;
    bk_ms until;
};

struct sessions {
    pthread_mutex_t lock;
    struct session list[SESSIONS_MOST];
    struct client clients[CLIENTS_MOST];
};

struct sessions *sessions_open(void)
{
    struct sessions *sessions = bk_zalloc(sizeof(*sessions));
    (void)pthread_mutex_init(&sessions->lock, NULL);
    return sessions;
}

struct sessions *sessions_close(struct sessions *sessions)
{
    if (sessions) {
        (void)pthread_mutex_destroy(&sessions->lock);
        explicit_bzero(sessions, sizeof(*sessions));
        free(sessions);
    }
    return NULL;
}

/* 256 random bits in hexadecimal. */
static void random_secret(char out[ADMIN_SECRET_ROOM])
{
    unsigned char bytes[32];
    BK_ASSERT(getrandom(bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes));
    memset(out, 0, ADMIN_SECRET_ROOM);
    for (size_t i = 0; i < sizeof(bytes); i++)
        (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static bool is_over(const struct session *session, bk_ms now)
{
    return !*session->id || now - session->used > IDLE_MOST_MS || now - session->began > AGE_MOST_MS;
}

void session_begin(struct sessions *sessions, const struct token *token, char id[ADMIN_SECRET_ROOM],
                   struct caller *caller)
{
    *caller = (struct caller){.role = token->role, .by_cookie = true};
    (void)snprintf(caller->name, sizeof(caller->name), "%s", token->name);
    random_secret(caller->csrf);
    random_secret(id);
    bk_ms now = bk_clock_now();
    (void)pthread_mutex_lock(&sessions->lock);
    struct session *place = &sessions->list[0];
    for (size_t i = 0; i < SESSIONS_MOST && !is_over(place, now); i++) {
        if (is_over(&sessions->list[i], now) || sessions->list[i].used < place->used)
            place = &sessions->list[i];
    }
    *place = (struct session){.caller = *caller, .began = now, .used = now};
    memcpy(place->id, id, ADMIN_SECRET_ROOM);
    (void)pthread_mutex_unlock(&sessions->lock);
}

/* Holding the lock; all are looked at, so that the time tells nothing. */
static struct session *find(struct sessions *sessions, const char *id)
{
    char asked[ADMIN_SECRET_ROOM];
    struct session *found = NULL;
    if (!secret_copy(asked, id, id ? strlen(id) : 0))
        return NULL;
    for (size_t i = 0; i < SESSIONS_MOST; i++) {
        if (secrets_equal(sessions->list[i].id, asked))
            found = &sessions->list[i];
    }
    return found;
}

bool session_find(struct sessions *sessions, const char *id, struct caller *caller)
{
    bk_ms now = bk_clock_now();
    (void)pthread_mutex_lock(&sessions->lock);
    struct session *session = find(sessions, id);
    bool good = session && !is_over(session, now);
    if (good) {
        session->used = now;
        *caller = session->caller;
    }
    (void)pthread_mutex_unlock(&sessions->lock);
    return good;
}

void session_end(struct sessions *sessions, const char *id)
{
    (void)pthread_mutex_lock(&sessions->lock);
    struct session *session = find(sessions, id);
    if (session)
        *session = (struct session){0};
    (void)pthread_mutex_unlock(&sessions->lock);
}

/* --- slowing down who guesses ------------------------------------------------------------------------------------- */

static struct client *client_of(struct sessions *sessions, const char *address)
{
    for (size_t i = 0; i < CLIENTS_MOST; i++) {
        if (strcmp(sessions->clients[i].address, address) == 0)
            return &sessions->clients[i];
    }
    return NULL;
}

bk_ms login_wait(struct sessions *sessions, const char *address)
{
    (void)pthread_mutex_lock(&sessions->lock);
    const struct client *client = client_of(sessions, address);
    bk_ms wait = client ? client->until - bk_clock_now() : 0;
    (void)pthread_mutex_unlock(&sessions->lock);
    return wait > 0 ? wait : 0;
}

static void count_failure(struct sessions *sessions, const char *address)
{
    bk_ms now = bk_clock_now();
    struct client *client = client_of(sessions, address);
    if (!client) {
        client = &sessions->clients[0];
        for (size_t i = 0; i < CLIENTS_MOST; i++) {
            if (sessions->clients[i].last < client->last)
                client = &sessions->clients[i];
        }
        *client = (struct client){0};
        (void)snprintf(client->address, sizeof(client->address), "%s", address);
    }
    if (now - client->last > FORGET_MS)
        client->failures = 0;
    client->last = now;
    client->failures++;
    unsigned doubled = client->failures < FREE_FAILURES ? 0 : client->failures - FREE_FAILURES;
    if (client->failures >= FREE_FAILURES)
        client->until = now + BK_MIN((bk_ms)WAIT_BASE_MS << BK_MIN(doubled, 10U), (bk_ms)WAIT_MOST_MS);
}

void login_noted(struct sessions *sessions, const char *address, bool good)
{
    (void)pthread_mutex_lock(&sessions->lock);
    struct client *client = client_of(sessions, address);
    if (!good)
        count_failure(sessions, address);
    else if (client)
        *client = (struct client){0};
    (void)pthread_mutex_unlock(&sessions->lock);
}
