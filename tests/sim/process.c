/* process.c - a worker process but for its lanes (world.h): the housekeeper's and the watcher's threads and main, as
 * worker/housekeeper.c, watcher.c and main.c have them, and its birth and death.
 */
#include <stdio.h>
#include <string.h>

#include "common/backoff.h"
#include "tests/sim/world.h"

enum {
    BEAT_MOST_MS = 5000,
    RETRY_BASE_MS = 100,
    RETRY_CAP_MS = 1000,
    POLL_MS = 1000,
    OVERDUE_MS = 50,
    TICK_MS = 1000,
    STOPPING_TICK_MS = 50,
    LEAVE_TRIES = 3,
    SHUTDOWN_MS = 8000
};

static int slot_of(const struct sim_world *w, const struct sim_process *p)
{
    return (int)(p - w->processes);
}

static struct sim_event timer(const struct sim_world *w, const struct sim_process *p, enum sim_event_type type,
                              uint32_t token)
{
    return (struct sim_event){.type = (int)type, .slot = slot_of(w, p), .life = p->life, .token = token};
}

/* --- birth and death ------------------------------------------------------------------------------------------------------------ */

void sim_spawn(struct sim_world *w, int slot, int name)
{
    struct sim_process *p = &w->processes[slot];
    int actor = sim_actor(w, p, SIM_MAIN);
    memset(p, 0, sizeof(*p));
    p->alive = true;
    p->life = ++w->lives;
    p->name = name;
    p->clock_base = w->now - sim_between(&w->chance, actor, 1000, 100000);
    p->worker = p->asking = p->joining = QM_NONE;
    p->lane_count = w->setup.lanes;
    bk_breaker_init(&p->breaker, &w->setup.breaker);
    bk_doubt_init(&p->doubt, w->setup.retry_base_ms);
    SIM_SAY(w, "w%d is born with the name n%d", slot, name);
    for (unsigned i = 0; i < p->lane_count; i++) {
        struct sim_lane *lane = &p->lanes[i];
        lane->number = i;
        lane->worker = QM_NONE;
        bk_retry_budget_init(&lane->budget);
        sim_lane_begin(w, p, lane);
    }
    sim_keeper_wake(w, p, 0);
    sim_later(w, 1, timer(w, p, SIM_AT_WATCHER, p->watcher_token));
    sim_later(w, TICK_MS, timer(w, p, SIM_AT_MAIN, p->main_token));
}

void sim_kill(struct sim_world *w, struct sim_process *p, const char *why)
{
    int slot = slot_of(w, p);
    int actor = sim_actor(w, p, SIM_MAIN);
    SIM_SAY(w, "w%d dies: %s", slot, why);
    for (unsigned i = 0; i < p->lane_count; i++)
        sim_lane_drop(&p->lanes[i]);
    p->alive = false;
    if (slot >= w->setup.workers)
        return; /* a namesake was a mistake */
    int name = p->name;
    if (p->fenced || sim_fault(&w->chance, SIM_newname, actor))
        name = slot + SIM_SLOTS * (int)sim_between(&w->chance, actor, 1, 2);
    sim_later(w, sim_between(&w->chance, actor, 20, 4000),
              (struct sim_event){.type = SIM_AT_SPAWN, .slot = slot, .data = name});
}

/* --- the housekeeper -------------------------------------------------------------------------------------------------------------- */

void sim_keeper_wake(struct sim_world *w, struct sim_process *p, bk_ms delay)
{
    if (!p->keeper_waits && !p->keeper_over)
        sim_later(w, delay, timer(w, p, SIM_AT_KEEPER, ++p->keeper_token));
}

static void ask(struct sim_world *w, struct sim_process *p, enum sim_request request, int worker, int64_t number)
{
    int actor = sim_actor(w, p, SIM_KEEPER);
    p->keeper_exchange = ++w->exchanges;
    p->keeper_waits = true;
    bk_ms patience = SIM_REDIS_TIMEOUT_MS;
    if (sim_redis_reachable(w, actor)) {
        struct sim_message *m = sim_letter(w, p, SIM_KEEPER, request);
        m->worker = worker;
        m->number = number;
        sim_redis_send(w, actor, m, NULL);
    } else {
        patience = 1;
    }
    sim_later(w, patience, timer(w, p, SIM_AT_KEEPER, ++p->keeper_token));
}

/* Another one at each try: a question that comes late must not look like a beat of who has joined since. */
static void begin_joining(struct sim_world *w, struct sim_process *p)
{
    char text[QM_TEXT];
    (void)snprintf(text, sizeof(text), "n%d@%d", p->name, ++w->incarnations);
    p->asking = qm_worker(w->queue, text);
    ask(w, p, SIM_BEAT, p->asking, p->number);
}

static void join(struct sim_world *w, struct sim_process *p)
{
    /* the same one at each try: a join whose answer was lost must not look like somebody else's */
    if (p->joining == QM_NONE)
        begin_joining(w, p);
    else
        ask(w, p, SIM_JOIN, p->joining, p->joining_number);
}

static void numbered(struct sim_world *w, struct sim_process *p, int64_t number)
{
    p->joining = p->asking;
    p->asking = QM_NONE;
    p->joining_number = w->number_of[p->joining] = number;
    join(w, p);
}

static void obey(struct sim_world *w, struct sim_process *p, const char *wanted)
{
    if (strcmp(wanted, p->mode) == 0)
        return;
    (void)snprintf(p->mode, sizeof(p->mode), "%s", wanted);
    (void)bk_breaker_force(&p->breaker,
                           strcmp(wanted, "open") == 0     ? BK_BREAKER_FORCED_OPEN
                           : strcmp(wanted, "closed") == 0 ? BK_BREAKER_FORCED_CLOSED
                                                           : BK_BREAKER_AUTO,
                           sim_mono(w, p));
    sim_changed(w, p);
}

static void go_on(struct sim_world *w, struct sim_process *p, bool good)
{
    int actor = sim_actor(w, p, SIM_KEEPER);
    bk_ms delay = BK_MIN(w->setup.lease_ms / 4, (bk_ms)BEAT_MOST_MS);
    p->keeper_waits = false;
    p->failures = good ? 0 : p->failures + 1;
    if (!good)
        delay = RETRY_BASE_MS + bk_backoff(RETRY_BASE_MS, p->failures - 1, RETRY_CAP_MS, sim_draw(&w->chance, actor));
    if (p->news || p->rejoin)
        delay = 0;
    p->news = p->rejoin = false;
    sim_keeper_wake(w, p, delay);
}

static void leased(struct sim_world *w, struct sim_process *p, int worker)
{
    if (worker != QM_NONE) {
        p->worker = worker;
        p->tokens = 1;
    }
    p->rejoin = false;
    sim_changed(w, p);
}

static void fence(struct sim_world *w, struct sim_process *p, int by)
{
    SIM_SAY(w, "w%d is fenced by %s", slot_of(w, p), w->queue->workers[by].text);
    sim_check_fence(w, p->worker, by);
    p->fenced = true;
    p->keeper_over = true;
    p->keeper_waits = false;
    sim_changed(w, p);
}

/* The beat behind a join. */
static void settled_in(struct sim_world *w, struct sim_process *p, const struct sim_message *m)
{
    if (m->pulse.alive)
        obey(w, p, m->breaker);
    leased(w, p, p->joining);
    p->number = p->joining_number;
    p->joining = QM_NONE;
    p->news = true;
    go_on(w, p, true);
}

static void joined(struct sim_world *w, struct sim_process *p, int recovered)
{
    if (recovered >= 0) {
        ask(w, p, SIM_BEAT, p->joining, p->joining_number);
    } else {
        p->joining =
            QM_NONE; /* a namesake came later and yet first: the next try begins with the question who is who */
        go_on(w, p, false);
    }
}

void sim_keeper_answer(struct sim_world *w, struct sim_process *p, const struct sim_message *m)
{
    if (!p->keeper_waits || m->exchange != p->keeper_exchange)
        return;
    if (m->broken) {
        go_on(w, p, false);
    } else if (m->request == SIM_JOIN) {
        joined(w, p, m->recovered);
    } else if (m->worker == p->asking) {
        numbered(w, p, m->pulse.number);
    } else if (m->worker == p->joining) {
        settled_in(w, p, m);
    } else if (m->pulse.alive) {
        obey(w, p, m->breaker);
        leased(w, p, QM_NONE);
        go_on(w, p, true);
    } else if (m->pulse.current == QM_NONE || m->pulse.current == p->worker) {
        join(w, p);
    } else {
        fence(w, p, m->pulse.current);
    }
}

/* Two workers of one name, by mistake. */
static void maybe_namesake(struct sim_world *w, const struct sim_process *p)
{
    int slot = w->setup.workers;
    if (slot < SIM_SLOTS && !w->processes[slot].alive &&
        sim_fault(&w->chance, SIM_namesake, sim_actor(w, p, SIM_KEEPER)))
        sim_spawn(w, slot, p->name);
}

static void maybe_stop(struct sim_world *w, struct sim_process *p)
{
    int actor = sim_actor(w, p, SIM_MAIN);
    if (!p->stopping && sim_fault(&w->chance, SIM_stop, actor)) {
        SIM_SAY(w, "w%d is asked to stop", slot_of(w, p));
        p->stopping = true;
        p->stop_by = sim_mono(w, p) + SHUTDOWN_MS;
    } else if (p->stopping && sim_fault(&w->chance, SIM_quit, actor)) {
        p->stop_by = sim_mono(w, p);
    } else {
        return;
    }
    sim_changed(w, p);
    sim_later(w, 0, timer(w, p, SIM_AT_MAIN, ++p->main_token));
}

void sim_keeper_timer(struct sim_world *w, struct sim_process *p)
{
    if (p->keeper_over)
        return;
    if (p->keeper_waits) { /* no answer in time */
        go_on(w, p, false);
        return;
    }
    maybe_namesake(w, p);
    maybe_stop(w, p);
    p->rejoin = false;
    if (p->worker != QM_NONE && p->joining == QM_NONE)
        ask(w, p, SIM_BEAT, p->worker, p->number);
    else
        join(w, p);
}

/* --- the watcher ------------------------------------------------------------------------------------------------------------------ */

void sim_watcher(struct sim_world *w, struct sim_process *p)
{
    if (p->stopping || p->fenced)
        return;
    if (p->idle_lanes > p->tokens) {
        p->tokens++;
        sim_changed(w, p);
    }
    bk_ms until_due = p->next_due ? p->next_due - sim_mono(w, p) : POLL_MS;
    if (until_due <= 0)
        until_due = OVERDUE_MS; /* the real one waits for somebody to use the token it has given */
    sim_later(w, BK_MIN(until_due, (bk_ms)POLL_MS), timer(w, p, SIM_AT_WATCHER, ++p->watcher_token));
}

/* --- main ----------------------------------------------------------------------------------------------------------------------------- */

static bool lanes_have_ended(const struct sim_process *p)
{
    for (unsigned i = 0; i < p->lane_count; i++) {
        if (p->lanes[i].state != SIM_LANE_ENDED)
            return false;
    }
    return true;
}

static void leave(struct sim_world *w, struct sim_process *p)
{
    int actor = sim_actor(w, p, SIM_MAIN);
    if (p->worker == QM_NONE || p->leave_tries++ == LEAVE_TRIES) {
        sim_kill(w, p, "left");
        return;
    }
    p->leaving = true;
    if (lanes_have_ended(p))
        p->keeper_over = true;
    if (sim_redis_reachable(w, actor)) {
        struct sim_message *m = sim_letter(w, p, SIM_MAIN, SIM_LEAVE);
        m->worker = p->worker;
        sim_redis_send(w, actor, m, NULL);
    }
    sim_later(w, SIM_REDIS_TIMEOUT_MS, timer(w, p, SIM_AT_MAIN, ++p->main_token));
}

void sim_main_answer(struct sim_world *w, struct sim_process *p, const struct sim_message *m)
{
    if (m->broken)
        leave(w, p);
    else
        sim_kill(w, p, "left");
}

void sim_main(struct sim_world *w, struct sim_process *p)
{
    bool over = p->stopping && (lanes_have_ended(p) || sim_mono(w, p) >= p->stop_by);
    if (p->fenced)
        sim_kill(w, p, "fenced");
    else if (over || p->leaving)
        leave(w, p);
    else
        sim_later(w, p->stopping ? STOPPING_TICK_MS : TICK_MS, timer(w, p, SIM_AT_MAIN, ++p->main_token));
}
