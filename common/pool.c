/* pool.c - see pool.h.
 *
 * One mutex guards everything; nothing that can wait happens under it. A slot is in one of these states:
 *
 *   EMPTY --(keeper)--> BUSY --connected--> IDLE <--> LENT
 *     ^                  |                   |         |
 *     '-----closed-------+---(keeper takes it to check or retire it)
 *
 * BUSY slots belong to whoever made them so (the keeper, or a borrower that closes or checks one) and count against
 * the maximum until the socket is gone. The keeper is the pool's own thread: it alone connects, so a name lookup that
 * hangs holds up the keeper and no lane.
 */
#include "common/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/backoff.h"
#include "common/ghost.h"
#include "common/log.h"

enum {
    CONNECT_RETRY_BASE_MS = 100,
    CONNECT_RETRY_CAP_MS = 2000,
    CHECK_AFTER_MS = 5000, /* idle this long: a borrower asks the server before it trusts the connection */
    KEEPER_TICK_MS = 500
};

enum slot_state { EMPTY, BUSY, IDLE, LENT };

struct slot {
    enum slot_state state;
    struct bk_pg *pg;
    uint64_t generation;
    bk_ms expires_at; /* 0: never */
    bk_ms idle_since;
    bk_ms lent_at;
    const char *borrower;
    bool leak_told;
};

/* A thread that waits; lives on its stack, linked into the pool's queue. */
struct waiter {
    struct waiter *next;
    uint64_t borrowed_before; /* the pool's count when it got in line */
    pthread_cond_t wake;
    struct slot *slot; /* what was handed over, or NULL */
    bool refused;      /* there is nothing to wait for: look at the last error */
};

struct bk_pool {
    struct bk_pool_settings settings;
    char *conninfo;
    char *application_name;
    pthread_t keeper;
    pthread_mutex_t lock;
    pthread_cond_t work; /* the keeper waits here */
    struct slot *slots;  /* settings.max of them */
    unsigned *idle;      /* stack of slot numbers */
    unsigned idle_count;
    struct waiter *first;
    struct waiter **last;
    uint64_t handed_out; /* connections given to threads so far */
    struct bk_pool_stats stats;
    struct bk_error connect_error;
    unsigned connect_failures_in_a_row;
    bk_ms next_connect_at;
    struct bk_ghosts ghosts;
    bool draining;
    bool closing;
};

const int64_t bk_pool_wait_bounds_us[BK_POOL_WAIT_BUCKETS - 1] = {1,     10,     100,    1000,    5000,   10000,
                                                                  50000, 100000, 500000, 1000000, 5000000};

static void init_monotonic(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
}

/* --- the queue of waiters (under the lock) ------------------------------------------------------------------------ */

static void enqueue(struct bk_pool *pool, struct waiter *waiter)
{
    waiter->borrowed_before = pool->handed_out;
    *pool->last = waiter;
    pool->last = &waiter->next;
    pool->stats.waiting++;
}

static void dequeue(struct bk_pool *pool, struct waiter *waiter)
{
    for (struct waiter **at = &pool->first; *at; at = &(*at)->next) {
        if (*at != waiter)
            continue;
        *at = waiter->next;
        if (!*at)
            pool->last = at;
        pool->stats.waiting--;
        return;
    }
}

static void wake_first(struct bk_pool *pool, struct slot *slot)
{
    struct waiter *waiter = pool->first;
    dequeue(pool, waiter);
    if (slot) {
        uint64_t passed = pool->handed_out - waiter->borrowed_before;
        pool->stats.most_passed = BK_MAX(pool->stats.most_passed, passed);
        pool->handed_out++;
    }
    waiter->slot = slot;
    waiter->refused = slot == NULL;
    pthread_cond_signal(&waiter->wake);
}

static void refuse_all(struct bk_pool *pool)
{
    while (pool->first)
        wake_first(pool, NULL);
}

/* --- slots (under the lock) --------------------------------------------------------------------------------------- */

static unsigned live_count(const struct bk_pool *pool)
{
    unsigned count = 0;
    for (unsigned i = 0; i < pool->settings.max; i++)
        count += pool->slots[i].state != EMPTY;
    return count;
}

static struct slot *slot_of(struct bk_pool *pool, const struct bk_pg *pg)
{
    for (unsigned i = 0; i < pool->settings.max; i++) {
        if (pool->slots[i].pg == pg && pool->slots[i].state == LENT)
            return &pool->slots[i];
    }
    bk_bug("a connection of this pool, lent", __FILE__, __LINE__);
}

/* To the first waiter, else onto the idle stack. */
static void offer(struct bk_pool *pool, struct slot *slot, bk_ms now)
{
    slot->idle_since = now;
    if (pool->first) {
        slot->state = LENT;
        slot->lent_at = now;
        wake_first(pool, slot);
        return;
    }
    slot->state = IDLE;
    pool->idle[pool->idle_count++] = (unsigned)(slot - pool->slots);
}

static void unstack(struct bk_pool *pool, const struct slot *slot)
{
    unsigned number = (unsigned)(slot - pool->slots);
    for (unsigned i = 0; i < pool->idle_count; i++) {
        if (pool->idle[i] != number)
            continue;
        memmove(&pool->idle[i], &pool->idle[i + 1], (pool->idle_count - i - 1) * sizeof(*pool->idle));
        pool->idle_count--;
        return;
    }
}

static bool is_stale(const struct bk_pool *pool, const struct slot *slot, bk_ms now)
{
    return slot->generation != pool->stats.generation || (slot->expires_at && now >= slot->expires_at);
}

/* Closes outside the lock, which is held on entry and on return; the slot counts until the socket is gone. */
static void close_slot(struct bk_pool *pool, struct slot *slot)
{
    struct bk_pg *pg = slot->pg;
    slot->state = BUSY;
    slot->pg = NULL;
    pthread_mutex_unlock(&pool->lock);
    (void)bk_pg_close(pg);
    pthread_mutex_lock(&pool->lock);
    slot->state = EMPTY;
    pool->stats.closed++;
    pthread_cond_signal(&pool->work);
}

static void doom(struct bk_pool *pool)
{
    pool->stats.generation++;
    pthread_cond_signal(&pool->work);
}

/* --- the keeper --------------------------------------------------------------------------------------------------- */

static void connected(struct bk_pool *pool, struct slot *slot, struct bk_pg *pg, uint64_t generation)
{
    bk_ms now = bk_clock_now();
    slot->pg = pg;
    slot->generation = generation;
    slot->expires_at =
        pool->settings.max_lifetime_ms ? now + bk_jitter(pool->settings.max_lifetime_ms, 10, bk_random()) : 0;
    slot->leak_told = false;
    pool->stats.opened++;
    pool->stats.last_error[0] = '\0';
    pool->connect_failures_in_a_row = 0;
    pool->next_connect_at = 0;
    offer(pool, slot, now);
}

static void connect_failed(struct bk_pool *pool, struct slot *slot, const struct bk_error *error)
{
    slot->state = EMPTY;
    bool news = strcmp(pool->stats.last_error, error->text) != 0;
    pool->stats.connect_failures++;
    (void)snprintf(pool->stats.last_error, sizeof(pool->stats.last_error), "%.*s",
                   (int)sizeof(pool->stats.last_error) - 1, error->text);
    pool->connect_error = *error;
    bk_ms wait =
        bk_backoff(CONNECT_RETRY_BASE_MS, pool->connect_failures_in_a_row++, CONNECT_RETRY_CAP_MS, bk_random());
    pool->next_connect_at = bk_clock_now() + wait;
    if (live_count(pool) == 0)
        refuse_all(pool); /* nothing will come back; whoever waits should know now */
    if (news) {
        const struct bk_log_field fields[] = {{"sqlstate", error->sqlstate}, {NULL, NULL}};
        bk_log_with(error->status == BK_OPERATOR ? BK_LOG_ERROR : BK_LOG_WARN, fields,
                    "cannot connect (%s): %s; trying again", bk_status_label(error->status), error->text);
    }
}

/* Ends what was given up, over a new connection, which is the first to know that the server can be reached again. */
static enum bk_status end_ghosts(struct bk_pg *pg, const struct bk_ghosts *ghosts, bk_ms deadline,
                                 struct bk_error *error)
{
    BK_AUTO_TEXT sql = {0};
    bk_ghosts_sql(ghosts, bk_clock_now(), &sql);
    return bk_pg_script(pg, bk_text_string(&sql), deadline, error);
}

/* Opens one connection; the lock is held on entry and on return. */
static void connect_one(struct bk_pool *pool, struct slot *slot)
{
    slot->state = BUSY;
    pool->stats.connecting++;
    uint64_t generation = pool->stats.generation;
    struct bk_ghosts ghosts = pool->ghosts;
    pool->ghosts.count = 0;
    pthread_mutex_unlock(&pool->lock);
    struct bk_error error = {0};
    struct bk_pg *pg = NULL;
    bk_ms deadline = bk_clock_now() + pool->settings.connect_timeout_ms;
    enum bk_status status = bk_pg_open(&pg, &pool->settings.session, deadline, &error);
    if (status == BK_OK && bk_pg_read_only(pg)) {
        pg = bk_pg_close(pg);
        status = bk_fail(&error, BK_OUTAGE, "postgresql: the server is read-only (a standby, or a demoted primary)");
    }
    if (status == BK_OK && ghosts.count > 0 && end_ghosts(pg, &ghosts, deadline, &error) != BK_OK) {
        pg = bk_pg_close(pg);
        status = error.status;
    }
    pthread_mutex_lock(&pool->lock);
    pool->stats.connecting--;
    for (unsigned i = 0; status != BK_OK && i < ghosts.count; i++)
        bk_ghosts_add(&pool->ghosts, ghosts.list[i].pid, ghosts.list[i].since);
    if (status == BK_OK)
        connected(pool, slot, pg, generation);
    else
        connect_failed(pool, slot, &error);
}

static struct slot *empty_slot(struct bk_pool *pool)
{
    for (unsigned i = 0; i < pool->settings.max; i++) {
        if (pool->slots[i].state == EMPTY)
            return &pool->slots[i];
    }
    return NULL;
}

static bool wants_connection(const struct bk_pool *pool, bk_ms now)
{
    unsigned live = live_count(pool);
    if (pool->closing || pool->draining || live >= pool->settings.max || now < pool->next_connect_at)
        return false;
    return live < pool->settings.min || pool->stats.waiting > pool->stats.connecting;
}

/* A round trip over an idle connection that has been silent long; lock held on entry and on return. */
static void keep_alive(struct bk_pool *pool, struct slot *slot)
{
    unstack(pool, slot);
    slot->state = BUSY;
    pthread_mutex_unlock(&pool->lock);
    struct bk_error error = {0};
    bool good = bk_pg_alive(slot->pg) &&
                bk_pg_script(slot->pg, "", bk_clock_now() + pool->settings.connect_timeout_ms, &error) == BK_OK;
    pthread_mutex_lock(&pool->lock);
    if (good)
        offer(pool, slot, bk_clock_now());
    else
        close_slot(pool, slot);
}

static void tell_leak(struct slot *slot, bk_ms now)
{
    slot->leak_told = true;
    bk_log(BK_LOG_WARN, "a connection has been out for %lld ms; borrowed by %s", (long long)(now - slot->lent_at),
           slot->borrower ? slot->borrower : "?");
}

/* One look at every slot. */
static void maintain(struct bk_pool *pool, bk_ms now)
{
    for (unsigned i = 0; i < pool->settings.max; i++) {
        struct slot *slot = &pool->slots[i];
        const struct bk_pool_settings *s = &pool->settings;
        if (slot->state == LENT && s->leak_warning_ms && !slot->leak_told && now - slot->lent_at > s->leak_warning_ms)
            tell_leak(slot, now);
        if (slot->state != IDLE)
            continue;
        bk_ms idle_for = now - slot->idle_since;
        bool surplus = s->idle_timeout_ms && idle_for > s->idle_timeout_ms && live_count(pool) > s->min;
        if (pool->closing || surplus || is_stale(pool, slot, now) || bk_pg_read_only(slot->pg)) {
            unstack(pool, slot);
            close_slot(pool, slot);
        } else if (idle_for > s->keepalive_ms) {
            keep_alive(pool, slot);
        }
    }
}

static void *keep(void *arg)
{
    struct bk_pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        bk_ms now = bk_clock_now();
        maintain(pool, now);
        if (pool->closing && live_count(pool) == 0)
            break;
        if (wants_connection(pool, now)) {
            connect_one(pool, empty_slot(pool));
            continue;
        }
        bk_ms until = now + KEEPER_TICK_MS;
        if (pool->next_connect_at > now)
            until = BK_MIN(until, pool->next_connect_at);
        struct timespec deadline = bk_clock_timespec(until);
        (void)pthread_cond_timedwait(&pool->work, &pool->lock, &deadline);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* --- borrowing ---------------------------------------------------------------------------------------------------- */

static enum bk_status no_connection(const struct bk_pool *pool, struct bk_error *error)
{
    const struct bk_pool_stats *s = &pool->stats;
    if (pool->draining)
        return bk_fail(error, BK_STOPPED, "the pool is being drained");
    unsigned lent = 0;
    for (unsigned i = 0; i < pool->settings.max; i++)
        lent += pool->slots[i].state == LENT;
    bool down = lent == 0 && s->last_error[0];
    enum bk_status status = !down ? BK_TIMEOUT : pool->connect_error.status == BK_OPERATOR ? BK_OPERATOR : BK_OUTAGE;
    (void)bk_fail(error, status, "no connection (%s): %u of %u in use, %u idle, %u waiting%s%s",
                  down ? "the database cannot be reached" : "all are in use", lent, pool->settings.max,
                  pool->idle_count, s->waiting, s->last_error[0] ? "; last connect: " : "", s->last_error);
    if (error && down)
        memcpy(error->sqlstate, pool->connect_error.sqlstate, sizeof(error->sqlstate));
    return status;
}

/* Waits in the queue; the lock is held. NULL: nothing came. */
static struct slot *wait_for_slot(struct bk_pool *pool, bk_ms deadline)
{
    struct waiter self = {0};
    init_monotonic(&self.wake);
    enqueue(pool, &self);
    pthread_cond_signal(&pool->work);
    struct timespec until = bk_clock_timespec(deadline);
    int result = 0;
    while (!self.slot && !self.refused && result != ETIMEDOUT)
        result = pthread_cond_timedwait(&self.wake, &pool->lock, &until);
    if (!self.slot && !self.refused)
        dequeue(pool, &self); /* under the lock: a hand-over cannot have slipped in between */
    (void)pthread_cond_destroy(&self.wake);
    return self.slot;
}

/* Whether a slot just taken (LENT, lock not held) can be trusted. */
static bool fit_for_use(struct slot *slot, bk_ms idle_since, bk_ms deadline)
{
    if (!bk_pg_alive(slot->pg) || bk_pg_read_only(slot->pg))
        return false;
    if (bk_clock_now() - idle_since < CHECK_AFTER_MS)
        return true;
    struct bk_error error = {0};
    return bk_pg_script(slot->pg, "", BK_MIN(deadline, bk_clock_now() + 1000), &error) == BK_OK;
}

static void count_wait(struct bk_pool *pool, int64_t began_us)
{
    int64_t us = bk_clock_now_us() - began_us;
    unsigned i = 0;
    while (i < BK_POOL_WAIT_BUCKETS - 1 && us > bk_pool_wait_bounds_us[i])
        i++;
    pool->stats.wait_buckets[i]++;
    pool->stats.wait_us_sum += (uint64_t)us;
    pool->stats.borrowed++;
}

enum bk_status bk_pool_acquire(struct bk_pool *pool, bk_ms deadline, const char *borrower, struct bk_pg **out,
                               uint64_t *generation, struct bk_error *error)
{
    int64_t began_us = bk_clock_now_us();
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct slot *slot = NULL;
        if (!pool->draining && !pool->first && pool->idle_count > 0) {
            slot = &pool->slots[pool->idle[--pool->idle_count]];
            slot->state = LENT;
            slot->lent_at = began_us / 1000;
            pool->handed_out++;
        } else if (!pool->draining) {
            slot = wait_for_slot(pool, deadline);
        }
        if (!slot) {
            enum bk_status status = no_connection(pool, error);
            pool->stats.timeouts += status != BK_STOPPED;
            count_wait(pool, began_us);
            pthread_mutex_unlock(&pool->lock);
            return status;
        }
        slot->borrower = borrower;
        slot->leak_told = false;
        bool stale = is_stale(pool, slot, bk_clock_now());
        bk_ms idle_since = slot->idle_since;
        pthread_mutex_unlock(&pool->lock);
        bool fit = !stale && fit_for_use(slot, idle_since, deadline);
        pthread_mutex_lock(&pool->lock);
        if (fit) {
            count_wait(pool, began_us);
            *out = slot->pg;
            if (generation)
                *generation = slot->generation;
            pthread_mutex_unlock(&pool->lock);
            return BK_OK;
        }
        close_slot(pool, slot);
    }
}

void bk_pool_release(struct bk_pool *pool, struct bk_pg *pg, enum bk_pool_fate fate)
{
    bool keep_it = fate == BK_POOL_KEEP && bk_pg_reusable(pg);
    pthread_mutex_lock(&pool->lock);
    struct slot *slot = slot_of(pool, pg);
    bk_ms now = bk_clock_now();
    /* the connection itself is of the doomed set only if the set has not been doomed by somebody else already */
    if (fate == BK_POOL_DOOM && slot->generation == pool->stats.generation)
        doom(pool);
    if (fate == BK_POOL_DISCARD && !pool->settings.session.pgbouncer)
        bk_ghosts_add(&pool->ghosts, bk_pg_backend_pid(pg), now);
    if (keep_it && !is_stale(pool, slot, now) && !pool->closing)
        offer(pool, slot, now);
    else
        close_slot(pool, slot);
    pthread_mutex_unlock(&pool->lock);
}

void bk_pool_drain(struct bk_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->draining = true;
    refuse_all(pool);
    pthread_mutex_unlock(&pool->lock);
}

void bk_pool_read_stats(struct bk_pool *pool, struct bk_pool_stats *stats)
{
    pthread_mutex_lock(&pool->lock);
    *stats = pool->stats;
    stats->max = pool->settings.max;
    stats->idle = pool->idle_count;
    for (unsigned i = 0; i < pool->settings.max; i++)
        stats->active += pool->slots[i].state == LENT;
    stats->total = stats->idle + stats->active;
    pthread_mutex_unlock(&pool->lock);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void free_pool(struct bk_pool *pool)
{
    (void)pthread_mutex_destroy(&pool->lock);
    (void)pthread_cond_destroy(&pool->work);
    free(pool->slots);
    free(pool->idle);
    free(pool->conninfo);
    free(pool->application_name);
    free(pool);
}

enum bk_status bk_pool_open(struct bk_pool **out, const struct bk_pool_settings *settings, struct bk_error *error)
{
    struct bk_pool *pool = bk_zalloc(sizeof(*pool));
    pool->settings = *settings;
    pool->conninfo = bk_strdup(settings->session.conninfo);
    pool->application_name = bk_strdup(settings->session.application_name);
    pool->settings.session.conninfo = pool->conninfo;
    pool->settings.session.application_name = pool->application_name;
    pool->settings.min = BK_MIN(settings->min, settings->max);
    pool->slots = bk_zalloc(settings->max * sizeof(*pool->slots));
    pool->idle = bk_zalloc(settings->max * sizeof(*pool->idle));
    pool->last = &pool->first;
    pool->stats.generation = 1;
    (void)pthread_mutex_init(&pool->lock, NULL);
    init_monotonic(&pool->work);
    char hosts[200];
    bk_pg_hosts(pool->conninfo, hosts, sizeof(hosts));
    bk_log(BK_LOG_INFO, "starting a PostgreSQL pool of %u connections to %s", settings->max, hosts);
    int why = pthread_create(&pool->keeper, NULL, keep, pool);
    if (why != 0) {
        free_pool(pool);
        return bk_fail(error, BK_OPERATOR, "the pool's thread cannot be started: %s", strerror(why));
    }
    *out = pool;
    return BK_OK;
}

struct bk_pool *bk_pool_close(struct bk_pool *pool)
{
    if (!pool)
        return NULL;
    bk_pool_drain(pool);
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    (void)pthread_join(pool->keeper, NULL);
    free_pool(pool);
    return NULL;
}
