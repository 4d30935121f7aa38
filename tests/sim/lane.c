/* lane.c - a lane as worker/lane.c has it, with its blocking calls turned into states (world.h). */
#include <stdlib.h>
#include <string.h>

#include "common/backoff.h"
#include "tests/sim/world.h"

enum { REDIS_RETRY_BASE_MS = 50, REDIS_RETRY_CAP_MS = 2000, PROBE_TIMEOUT_MS = 5000 };

static bool is_over(const struct sim_process *p)
{
    return p->stopping || p->fenced;
}

bool sim_may_take(const struct sim_process *p)
{
    return p->worker != QM_NONE && !p->stopping && !p->fenced;
}

static int actor_of(const struct sim_world *w, const struct sim_process *p, const struct sim_lane *lane)
{
    return sim_actor(w, p, (int)lane->number);
}

void sim_lane_drop(struct sim_lane *lane)
{
    for (int i = 0; i < lane->count; i++) {
        free(lane->tasks[i].error);
        free(lane->tasks[i].reply);
    }
    lane->count = 0;
}

static void end_lane(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    lane->state = SIM_LANE_ENDED;
    sim_lane_drop(lane);
    SIM_SAY(w, "w%d/%u ends", (int)(p - w->processes), lane->number);
}

void sim_changed(struct sim_world *w, struct sim_process *p)
{
    for (unsigned i = 0; i < p->lane_count; i++) {
        struct sim_lane *lane = &p->lanes[i];
        bool waits = lane->state == SIM_LANE_IDLE || lane->state == SIM_LANE_PERMIT || lane->state == SIM_LANE_REDIS;
        if (waits || (lane->state == SIM_LANE_BACKING_OFF && is_over(p)))
            sim_lane_in(w, p, lane, 0);
    }
}

/* --- when to take ----------------------------------------------------------------------------------------------------- */

static void exchange(struct sim_world *w, struct sim_process *p, struct sim_lane *lane);

static void probe(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    int actor = actor_of(w, p, lane);
    lane->state = SIM_LANE_PROBING;
    lane->exchange = ++w->exchanges;
    lane->permit.began = sim_mono(w, p);
    lane->refused = BK_OK;
    if (!sim_pg_reachable(w, actor)) {
        lane->refused = BK_OUTAGE;
        sim_lane_in(w, p, lane, sim_between(&w->chance, actor, 1, 200));
        return;
    }
    sim_pg_send(w, actor, sim_letter(w, p, (int)lane->number, SIM_PROBE));
    sim_lane_in(w, p, lane, PROBE_TIMEOUT_MS);
}

static void wait_for_permit(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    bk_ms now = sim_mono(w, p);
    bk_ms retry_at = p->doubt.look_again_at;
    enum bk_trust trust = bk_doubt_trust(&p->doubt, &p->breaker, now);
    if (trust != BK_TRUST_WAIT && sim_ask(w, p, &lane->permit, &retry_at, &lane->is_probe)) {
        lane->take = true;
        if (!lane->is_probe && trust == BK_TRUST_FULL)
            exchange(w, p, lane);
        else
            probe(w, p, lane);
        return;
    }
    lane->state = SIM_LANE_PERMIT;
    sim_lane_in(w, p, lane, BK_MAX(retry_at - now, (bk_ms)1));
}

static void probed(struct sim_world *w, struct sim_process *p, struct sim_lane *lane, const struct sim_message *m)
{
    struct bk_error error = sim_error_of(lane, m);
    enum bk_call_result result = error.status == BK_OK ? BK_CALL_GOOD : BK_CALL_BAD;
    if (error.status == BK_OK && !lane->is_probe)
        result = BK_CALL_RELEASED;
    SIM_SAY(w, "w%d/%u probe: %s", (int)(p - w->processes), lane->number, bk_status_label(error.status));
    sim_end_call(w, p, lane->permit, result);
    if (error.status == BK_OK || error.status == BK_UNKNOWN)
        p->ghosts = error.status == BK_UNKNOWN;
    bk_doubt_end_probe(&p->doubt, error.status == BK_OK, lane->is_probe, sim_mono(w, p),
                       sim_draw(&w->chance, actor_of(w, p, lane)));
    lane->exchange = ++w->exchanges;
    lane->state = SIM_LANE_PERMIT;
    sim_changed(w, p);
}

/* Waits for work: it has just found some and looks again, or somebody gives it a token. */
static void wait_for_work(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    if (!is_over(p) && !(sim_may_take(p) && (lane->more || p->tokens > 0)))
        return;
    p->idle_lanes--;
    if (!lane->more && p->tokens > 0)
        p->tokens--;
    if (is_over(p))
        end_lane(w, p, lane);
    else
        wait_for_permit(w, p, lane);
}

static bool may_take_at_once(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    bk_ms retry_at = 0;
    bool is_probe = false;
    if (!sim_may_take(p) || bk_doubt_trust(&p->doubt, &p->breaker, sim_mono(w, p)) != BK_TRUST_FULL ||
        !sim_ask(w, p, &lane->permit, &retry_at, &is_probe))
        return false;
    if (is_probe)
        sim_end_call(w, p, lane->permit, BK_CALL_RELEASED);
    return !is_probe;
}

void sim_lane_begin(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    if (lane->count > 0) {
        lane->take = may_take_at_once(w, p, lane);
        exchange(w, p, lane);
        return;
    }
    lane->state = SIM_LANE_IDLE;
    p->idle_lanes++;
    wait_for_work(w, p, lane);
}

/* --- the exchange with Redis ---------------------------------------------------------------------------------------------- */

static struct qm_record record_of(const struct sim_lane *lane, int i)
{
    static const enum qm_verb verbs[] = {[BK_FATE_DONE] = QM_DO_DONE,
                                         [BK_FATE_RETRY] = QM_DO_RETRY,
                                         [BK_FATE_REQUEUE] = QM_DO_REQUEUE,
                                         [BK_FATE_FREE] = QM_DO_FREE,
                                         [BK_FATE_DEAD] = QM_DO_DEAD};
    const struct bk_settlement *s = &lane->tasks[i].settlement;
    return (struct qm_record){.verb = verbs[s->fate],
                              .job = lane->jobs[i],
                              .delay = s->delay_ms,
                              .unsure = s->unsure,
                              .error = "",
                              .reason = s->reason,
                              .sqlstate = "",
                              .reply_id = "",
                              .attempts = s->attempts};
}

static void exchange(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    int actor = actor_of(w, p, lane);
    lane->permitted = lane->take;
    lane->take = lane->take && sim_may_take(p);
    lane->take_worker = p->worker;
    lane->turn++;
    lane->exchange = ++w->exchanges;
    lane->state = SIM_LANE_EXCHANGE;
    lane->settled = lane->count == 0;
    if ((!lane->take && lane->settled) || !sim_redis_reachable(w, actor)) {
        sim_lane_in(w, p, lane, sim_between(&w->chance, actor, 1, 20));
        return;
    }
    struct sim_message *settle = NULL;
    struct sim_message *take = NULL;
    if (lane->count > 0) {
        settle = sim_letter(w, p, (int)lane->number, SIM_SETTLE);
        settle->worker = lane->worker;
        settle->turn = lane->taken_turn;
        settle->count = lane->count;
        for (int i = 0; i < lane->count; i++)
            settle->records[i] = record_of(lane, i);
    }
    if (lane->take) {
        take = sim_letter(w, p, (int)lane->number, SIM_TAKE);
        take->worker = p->worker;
        take->turn = lane->turn;
        take->resume = lane->resume;
        take->careful = (int)BK_MAX(w->setup.rules.max_deliveries - 1, INT64_C(1));
    }
    sim_redis_send(w, actor, settle ? settle : take, settle ? take : NULL);
    sim_lane_in(w, p, lane, SIM_REDIS_TIMEOUT_MS);
}

static void exchange_failed(struct sim_world *w, struct sim_process *p, struct sim_lane *lane, bool fenced)
{
    lane->exchange = ++w->exchanges; /* the connection is given up */
    lane->resume = true;
    lane->state = SIM_LANE_REDIS;
    if ((fenced || lane->redis_failures == 0) && !p->rejoin) {
        p->rejoin = true;
        sim_changed(w, p);
        sim_keeper_wake(w, p, 0);
    }
    bk_ms wait = REDIS_RETRY_BASE_MS + bk_backoff(REDIS_RETRY_BASE_MS, lane->redis_failures++, REDIS_RETRY_CAP_MS,
                                                  sim_draw(&w->chance, actor_of(w, p, lane)));
    sim_lane_in(w, p, lane, p->stopping ? REDIS_RETRY_BASE_MS : wait);
}

/* The end of a turn that took nothing. */
static void turn_over(struct sim_world *w, struct sim_process *p, struct sim_lane *lane, bool through)
{
    if (lane->permitted)
        sim_end_call(w, p, lane->permit, BK_CALL_RELEASED);
    lane->permitted = false;
    if (!through || !lane->take)
        lane->more = true;
    bool out_of_time = p->fenced || (p->stopping && sim_mono(w, p) >= p->stop_by);
    if (!through && out_of_time)
        end_lane(w, p, lane);
    else
        sim_lane_begin(w, p, lane);
}

static void through(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    lane->redis_failures = 0;
    turn_over(w, p, lane, true);
}

static struct bk_job job_of(const struct sim_world *w, int number, const struct sim_shot *shot)
{
    const struct qm_job *from = &w->queue->jobs[number];
    const struct sim_command *c = &w->commands[w->tickets[number].command];
    bk_ms enqueued_at = strtoll(from->ticket, NULL, 10);
    struct bk_job job = {.ticket = bk_span_of(from->ticket),
                         .id = bk_span_of(c->id_text),
                         .kind = c->fields[3],
                         .key = bk_span_of(c->key),
                         .args = bk_span_of(c->args),
                         .enqueued_at = enqueued_at,
                         .waits_since = shot->retried_at ? shot->retried_at : enqueued_at,
                         .expires_at = c->expires_at,
                         .attempts = shot->attempts,
                         .requeues = shot->requeues,
                         .deliveries = shot->deliveries,
                         .unsure = shot->unsure};
    if (from->gate == QM_NONE)
        memcpy(job.fault, "malformed", sizeof("malformed"));
    return job;
}

static void taken(struct sim_world *w, struct sim_process *p, struct sim_lane *lane, const struct sim_message *m)
{
    bk_ms now = sim_mono(w, p);
    lane->redis_failures = 0;
    lane->resume = false;
    lane->more = m->taken.count > 0;
    lane->worker = lane->take_worker;
    lane->taken_turn = lane->turn;
    lane->redis_ahead = m->now - now;
    lane->count = m->taken.count;
    lane->exchange = ++w->exchanges;
    for (int i = 0; i < lane->count; i++) {
        lane->jobs[i] = m->jobs[i];
        lane->tasks[i] = (struct bk_task){.job = job_of(w, m->jobs[i], &m->shots[i])};
    }
    p->paused = m->taken.paused;
    p->next_due = m->taken.next_due ? now + BK_MAX(m->taken.next_due - m->now, (bk_ms)0) : 0;
    if (m->taken.more && p->tokens < p->idle_lanes)
        p->tokens++;
    lane->state = SIM_LANE_CALLING; /* not one of those that wait for a change */
    sim_changed(w, p);
    if (lane->count == 0) {
        turn_over(w, p, lane, true);
        return;
    }
    lane->permitted = false;
    sim_apply(w, p, lane);
}

void sim_lane_answer(struct sim_world *w, struct sim_process *p, struct sim_lane *lane, struct sim_message *m)
{
    if (m->exchange != lane->exchange)
        return;
    if (m->request == SIM_CALL) {
        sim_called(w, p, lane, m);
    } else if (m->request == SIM_PROBE) {
        probed(w, p, lane, m);
    } else if (m->request == SIM_TAKE && !lane->settled && !m->broken) {
        return; /* the settle's answer in front of it was lost: nobody gets here */
    } else if (m->broken || m->verdict != QM_OK) {
        exchange_failed(w, p, lane, !m->broken && m->verdict == QM_FENCED);
    } else if (m->request == SIM_TAKE) {
        taken(w, p, lane, m);
    } else {
        lane->settled = true;
        sim_lane_drop(lane);
        if (!lane->take)
            through(w, p, lane);
    }
}

void sim_lane_timer(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    switch (lane->state) {
    case SIM_LANE_IDLE:
        wait_for_work(w, p, lane);
        return;
    case SIM_LANE_PERMIT:
        if (is_over(p))
            end_lane(w, p, lane);
        else
            wait_for_permit(w, p, lane);
        return;
    case SIM_LANE_PROBING:
        probed(w, p, lane, NULL);
        return;
    case SIM_LANE_EXCHANGE:
        if (!lane->take && lane->settled)
            through(w, p, lane);
        else
            exchange_failed(w, p, lane, false);
        return;
    case SIM_LANE_REDIS:
        turn_over(w, p, lane, false);
        return;
    case SIM_LANE_CALLING:
        sim_called(w, p, lane, NULL);
        return;
    case SIM_LANE_BACKING_OFF:
        sim_backed_off(w, p, lane);
        return;
    case SIM_LANE_ENDED:
        return;
    }
}
