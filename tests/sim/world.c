/* world.c - see world.h: how a world is set up, the loop of its events, and its end. */
#include "tests/sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DRAIN_MS = 900000 };
static const bk_ms BEGIN = 1700000000000;

const char *const sim_sabotage_names[SIM_SABOTAGE_COUNT] = {"none",
#define SIM_SABOTAGE_NAME(name, queue, ledger, meaning) #name,
                                                            SIM_SABOTAGES(SIM_SABOTAGE_NAME)
#undef SIM_SABOTAGE_NAME
};

static const struct {
    unsigned queue;
    unsigned ledger;
} mutants[SIM_SABOTAGE_COUNT] = {{0, 0},
#define SIM_SABOTAGE_MUTANT(name, queue, ledger, meaning) {queue, ledger},
                                 SIM_SABOTAGES(SIM_SABOTAGE_MUTANT)
#undef SIM_SABOTAGE_MUTANT
};

struct sim_world *sim_world_open(void)
{
    struct sim_world *w = bk_zalloc(sizeof(*w));
    w->queue = qm_open(SIM_TICKETS);
    return w;
}

struct sim_world *sim_world_close(struct sim_world *world)
{
    if (world) {
        world->queue = qm_close(world->queue);
        free(world);
    }
    return NULL;
}

/* --- what the other files share -------------------------------------------------------------------------------------------------- */

void sim_say(struct sim_world *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)printf("%8lld ", (long long)(w->now - w->setup.begin));
    (void)vprintf(format, args);
    (void)putchar('\n');
    va_end(args);
}

void sim_fail(struct sim_world *w, const char *invariant, const char *format, ...)
{
    if (w->failure)
        return;
    va_list args;
    va_start(args, format);
    w->failure = invariant;
    (void)vsnprintf(w->failure_text, sizeof(w->failure_text), format, args);
    va_end(args);
    SIM_SAY(w, "BROKEN: %s (%s)", invariant, w->failure_text);
}

void sim_later(struct sim_world *w, bk_ms delay, struct sim_event event)
{
    event.at = w->now + BK_MAX(delay, (bk_ms)0);
    sim_heap_push(&w->heap, &event);
}

int sim_actor(const struct sim_world *w, const struct sim_process *p, int lane)
{
    return SIM_PROCESSES + (int)(p - w->processes) * 4 + lane;
}

bk_ms sim_mono(const struct sim_world *w, const struct sim_process *p)
{
    return w->now - p->clock_base;
}

void sim_lane_in(struct sim_world *w, struct sim_process *p, struct sim_lane *lane, bk_ms delay)
{
    sim_later(w, delay,
              (struct sim_event){.type = SIM_AT_LANE,
                                 .slot = (int)(p - w->processes),
                                 .lane = (int)lane->number,
                                 .life = p->life,
                                 .token = ++lane->token});
}

struct sim_message *sim_letter(struct sim_world *w, const struct sim_process *p, int lane, enum sim_request request)
{
    size_t i = w->exchanges % SIM_MESSAGES;
    for (size_t tries = 0; w->messages[i].used; tries++) {
        BK_ASSERT(tries < SIM_MESSAGES);
        i = (i + 1) % SIM_MESSAGES;
    }
    struct sim_message *m = &w->messages[i];
    m->used = true;
    m->request = request;
    m->slot = (int)(p - w->processes);
    m->life = p->life;
    m->lane = lane;
    m->exchange = lane < SIM_LANES ? p->lanes[lane].exchange : p->keeper_exchange;
    m->count = 0;
    m->transaction = -1;
    m->verdict = QM_OK;
    m->broken = false;
    m->sqlstate[0] = '\0';
    return m;
}

int sim_letter_number(const struct sim_world *w, const struct sim_message *m)
{
    return (int)(m - w->messages);
}

/* --- events -------------------------------------------------------------------------------------------------------------------------- */

/* Whether a process gets to see this event now: it may stand still, or die before. */
static bool reaches(struct sim_world *w, struct sim_process *p, int lane, const struct sim_event *event)
{
    int actor = sim_actor(w, p, lane);
    if (w->now >= p->frozen_until && sim_fault(&w->chance, SIM_freeze, actor)) {
        bk_ms ms = sim_between(&w->chance, actor, 50, 3 * w->setup.lease_ms);
        SIM_SAY(w, "w%d stands still for %lld ms", (int)(p - w->processes), (long long)ms);
        p->frozen_until = w->now + ms;
    }
    if (w->now < p->frozen_until) {
        sim_later(w, p->frozen_until - w->now, *event);
        return false;
    }
    if (sim_fault(&w->chance, SIM_crash, actor)) {
        sim_kill(w, p, "killed");
        return false;
    }
    return true;
}

static void maybe_die(struct sim_world *w, struct sim_process *p, int lane, uint32_t life)
{
    if (p->alive && p->life == life && sim_fault(&w->chance, SIM_crash, sim_actor(w, p, lane)))
        sim_kill(w, p, "killed");
}

static void timer(struct sim_world *w, const struct sim_event *event)
{
    struct sim_process *p = &w->processes[event->slot];
    if (!p->alive || p->life != event->life)
        return;
    struct sim_lane *lane = event->type == SIM_AT_LANE ? &p->lanes[event->lane] : NULL;
    uint32_t token = lane                            ? lane->token
                     : event->type == SIM_AT_KEEPER  ? p->keeper_token
                     : event->type == SIM_AT_WATCHER ? p->watcher_token
                                                     : p->main_token;
    int who = lane ? event->lane : event->type == SIM_AT_KEEPER ? SIM_KEEPER : SIM_MAIN;
    if (token != event->token || !reaches(w, p, who, event))
        return;
    if (lane)
        sim_lane_timer(w, p, lane);
    else if (event->type == SIM_AT_KEEPER)
        sim_keeper_timer(w, p);
    else if (event->type == SIM_AT_WATCHER)
        sim_watcher(w, p);
    else
        sim_main(w, p);
    maybe_die(w, p, who, event->life);
}

static void answer(struct sim_world *w, const struct sim_event *event)
{
    struct sim_message *m = &w->messages[event->data];
    struct sim_process *p = &w->processes[m->slot];
    if (p->alive && p->life == m->life) {
        if (!reaches(w, p, m->lane, event)) {
            m->used = p->alive && p->life == m->life; /* it waits for the process to go on */
            return;
        }
        if (m->lane < SIM_LANES)
            sim_lane_answer(w, p, &p->lanes[m->lane], m);
        else if (m->lane == SIM_KEEPER)
            sim_keeper_answer(w, p, m);
        else
            sim_main_answer(w, p, m);
        maybe_die(w, p, m->lane, m->life);
    }
    m->used = false;
}

static void heal(struct sim_world *w)
{
    SIM_SAY(w, "all faults are over");
    w->chance.over = w->healed = true;
    w->redis_down_until = w->redis_stall_until = w->pg_hang_until = w->pg_down_until = w->now;
    w->pg_opened++;
    w->ledger.mended = true;
    qm_configure(w->queue, "paused", "0");
    qm_configure(w->queue, "breaker", "auto");
}

static void happen(struct sim_world *w, const struct sim_event *event)
{
    switch ((enum sim_event_type)event->type) {
    case SIM_AT_LANE:
    case SIM_AT_KEEPER:
    case SIM_AT_WATCHER:
    case SIM_AT_MAIN:
        timer(w, event);
        return;
    case SIM_AT_ANSWER:
        answer(w, event);
        return;
    case SIM_AT_REDIS:
        sim_redis_arrives(w, event);
        sim_check(w);
        return;
    case SIM_AT_POSTGRES:
        sim_pg_arrives(w, event);
        sim_check(w);
        return;
    case SIM_AT_COMMIT:
        sim_pg_ends(w, event->data);
        sim_check(w);
        return;
    case SIM_AT_PATIENCE:
        sim_pg_impatient(w, event);
        return;
    case SIM_AT_PRODUCER:
        sim_produce(w, event);
        sim_check(w);
        return;
    case SIM_AT_ADMIN:
        sim_administer(w, event);
        sim_check(w);
        return;
    case SIM_AT_SPAWN:
        sim_spawn(w, event->slot, event->data);
        return;
    case SIM_AT_HEAL:
        heal(w);
        return;
    }
}

/* --- a world's life -------------------------------------------------------------------------------------------------------------------- */

static void set_up(struct sim_world *w)
{
    struct sim_chance *c = &w->chance;
#define BETWEEN(least, most) sim_between(c, SIM_WORLD, least, most)
    w->setup = (struct sim_setup){.workers = (int)BETWEEN(1, 3),
                                  .lanes = (unsigned)BETWEEN(1, SIM_LANES),
                                  .batch = (int)BETWEEN(1, SIM_BATCH),
                                  .commands = (int)BETWEEN(4, 12),
                                  .bookings = (int)BETWEEN(1, 3),
                                  .lease_ms = BETWEEN(1500, 6000),
                                  .begin = BEGIN,
                                  .faults_end = BEGIN + BETWEEN(2000, 25000),
                                  .retries = (unsigned)BETWEEN(0, 3),
                                  .retry_base_ms = BETWEEN(50, 500)};
    w->setup.rules = (struct bk_decision_rules){.max_attempts = BETWEEN(2, 6),
                                                .attempt_base_ms = BETWEEN(200, 1000),
                                                .attempt_cap_ms = BETWEEN(2000, 8000),
                                                .max_requeues = BETWEEN(1, 20),
                                                .max_age_ms = BETWEEN(0, 3) ? 86400000 : BETWEEN(3000, 20000),
                                                .max_deliveries = BETWEEN(1, 4)};
    w->setup.breaker = (struct bk_breaker_settings){.window = 20,
                                                    .min_calls = (unsigned)BETWEEN(2, 10),
                                                    .failure_rate = 50,
                                                    .consecutive = (unsigned)BETWEEN(2, 5),
                                                    .slow_ms = 2000,
                                                    .slow_rate = 80,
                                                    .open_ms = BETWEEN(200, 1000),
                                                    .open_max_ms = BETWEEN(1000, 8000),
                                                    .probes = (unsigned)BETWEEN(1, 3),
                                                    .limit = w->setup.lanes};
#undef BETWEEN
}

static void begin(struct sim_world *w, uint64_t seed, enum sim_sabotage sabotage, const struct sim_off *off)
{
    for (size_t i = 0; i < SIM_MESSAGES; i++)
        w->messages[i].used = false;
    sim_chance_begin(&w->chance, seed, off);
    w->now = BEGIN;
    w->sabotage = sabotage;
    w->heap.count = 0;
    w->heap.order = 0;
    memset(w->processes, 0, sizeof(w->processes));
    memset((char *)w + offsetof(struct sim_world, lives), 0, sizeof(*w) - offsetof(struct sim_world, lives));
    for (size_t i = 0; i < BK_COUNT(w->killed_by); i++)
        w->killed_by[i] = QM_NONE;
    set_up(w);
    bk_ms half = (w->setup.faults_end - BEGIN) / 2;
    sim_make_commands(&w->chance, w->commands, w->setup.commands, w->setup.bookings, BEGIN, BEGIN + half);
    qm_reset(w->queue, mutants[sabotage].queue, false);
    lm_reset(&w->ledger, w->commands, mutants[sabotage].ledger);
    for (int i = 0; i < w->setup.workers; i++)
        sim_later(w, i, (struct sim_event){.type = SIM_AT_SPAWN, .slot = i, .data = i});
    sim_people_begin(w);
    sim_later(w, w->setup.faults_end - BEGIN, (struct sim_event){.type = SIM_AT_HEAL});
}

static bool is_finished(const struct sim_world *w)
{
    if (!w->healed || w->to_send > 0 || !qm_is_drained(w->queue))
        return false;
    for (size_t i = 0; i < LM_TRANSACTIONS; i++) {
        if (w->ledger.transactions[i].state != LM_FREE)
            return false;
    }
    return true;
}

bool sim_world_run(struct sim_world *w, uint64_t seed, enum sim_sabotage sabotage, const struct sim_off *off,
                   bool verbose)
{
    w->verbose = verbose;
    begin(w, seed, sabotage, off);
    struct sim_event event;
    while (!w->failure && !is_finished(w) && sim_heap_pop(&w->heap, &event)) {
        w->now = event.at;
        w->steps++;
        happen(w, &event);
        if (w->heap.count > SIM_EVENTS_MOST / 2)
            sim_fail(w, "nobody turns in circles", "%zu events are waiting", w->heap.count);
        if (w->now > w->setup.faults_end + DRAIN_MS)
            sim_fail(w, "everything is finished soon after the faults",
                     "%d dead, %d ready, %d in retry, %d in the inbox", w->queue->dead.count, w->queue->ready.count,
                     w->queue->retry.count, w->queue->inbox.count);
    }
    if (!w->failure)
        sim_check_end(w);
    for (int i = 0; i < SIM_SLOTS; i++) {
        for (unsigned k = 0; k < w->processes[i].lane_count; k++)
            sim_lane_drop(&w->processes[i].lanes[k]);
    }
    return !w->failure;
}
