/* calls.c - what a lane does between take and settle, as worker/apply.c has it (world.h): it follows the product's own
 * plan. The mutants of that part are here, too.
 */
#include <stdio.h>
#include <string.h>

#include "common/sqlstate.h"
#include "tests/sim/world.h"

static int actor_of(const struct sim_world *w, const struct sim_process *p, const struct sim_lane *lane)
{
    return sim_actor(w, p, (int)lane->number);
}

/* --- the breaker, as worker/service.c has it -------------------------------------------------------------------------------- */

bool sim_ask(struct sim_world *w, struct sim_process *p, struct bk_permit *permit, bk_ms *retry_at, bool *probe)
{
    bk_ms now = sim_mono(w, p);
    if (p->breaker.state == BK_BREAKER_OPEN && w->pg_opened > p->opened_before)
        bk_breaker_hint(&p->breaker, now);
    bool granted = bk_breaker_ask(&p->breaker, now, permit, retry_at);
    *probe = granted && p->breaker.state == BK_BREAKER_HALF_OPEN;
    return granted;
}

void sim_end_call(struct sim_world *w, struct sim_process *p, struct bk_permit permit, enum bk_call_result result)
{
    if (bk_breaker_end(&p->breaker, permit, result, w->pg_opened + 1, sim_mono(w, p))) {
        p->opened_before = w->pg_opened;
        SIM_SAY(w, "w%d breaker %s", (int)(p - w->processes), bk_breaker_state_name(p->breaker.state));
    }
    sim_changed(w, p);
}

/* --- the plan's steps --------------------------------------------------------------------------------------------------------- */

struct bk_error sim_error_of(const struct sim_lane *lane, const struct sim_message *m)
{
    struct bk_error error;
    error.text[0] = error.sqlstate[0] = '\0';
    error.status = lane->refused;
    if (error.status != BK_OK)
        return error;
    error.status = BK_UNKNOWN;
    if (!m || m->broken)
        return error;
    error.status = BK_OK;
    if (!m->sqlstate[0])
        return error;
    memcpy(error.sqlstate, m->sqlstate, sizeof(error.sqlstate));
    /* worker/store.c: a race with another session shows as a violated constraint */
    error.status = strcmp(m->sqlstate, "23505") == 0 ? BK_TRANSIENT : bk_sqlstate_class(m->sqlstate);
    return error;
}

/* The command that kills its worker, if one is about to be brought to the database. */
static struct sim_ticket *killer_of(struct sim_world *w, const struct sim_lane *lane)
{
    for (size_t i = 0; i < lane->plan.part.count; i++) {
        struct sim_ticket *ticket = &w->tickets[lane->jobs[lane->plan.part.tasks[i] - lane->tasks]];
        if (w->commands[ticket->command].flaw == SIM_KILLER)
            return ticket;
    }
    return NULL;
}

/* Whether the queue thinks so, too: else nobody can charge the job with this death. */
static bool still_holds(const struct sim_world *w, const struct sim_lane *lane, int job)
{
    const struct qm_worker *worker = &w->queue->workers[lane->worker];
    for (int i = 0; i < worker->active_count; i++) {
        const struct qm_held *held = &worker->active[i];
        if (held->job == job && held->lane == lane->number && held->turn == lane->taken_turn)
            return true;
    }
    return false;
}

static void note_kill(struct sim_world *w, const struct sim_process *p, const struct sim_lane *lane,
                      struct sim_ticket *killer)
{
    int job = (int)(killer - w->tickets);
    /* not if its leave is on the way, which hands back free of charge */
    if (p->leaving || !still_holds(w, lane, job))
        return;
    killer->kills++;
    if (!killer->revived)
        w->killed_by[lane->worker] = job;
}

static void finish_all(const struct bk_part *part, const struct sim_message *m)
{
    for (size_t i = 0; i < part->count; i++) {
        struct bk_store_outcome outcome = {"applied", NULL, 1};
        if (m) {
            const struct lm_answer *a = &m->items[i].answer;
            outcome = (struct bk_store_outcome){lm_outcome_names[a->outcome], a->code, a->version};
        }
        bk_task_finish(part->tasks[i], &outcome);
    }
}

static void send_call(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    int actor = actor_of(w, p, lane);
    const struct bk_part part = lane->plan.part;
    lane->state = SIM_LANE_CALLING;
    lane->exchange = ++w->exchanges;
    lane->permit.began = sim_mono(w, p);
    lane->refused = BK_OK;
    if (!sim_pg_reachable(w, actor)) {
        bool at_once = sim_draw(&w->chance, actor) % 2 == 0;
        lane->refused = at_once ? BK_OUTAGE : BK_TIMEOUT;
        sim_lane_in(w, p, lane, at_once ? 1 : 5000);
        return;
    }
    struct sim_message *m = sim_letter(w, p, (int)lane->number, SIM_CALL);
    m->count = (int)part.count;
    for (int i = 0; i < m->count; i++) {
        int job = lane->jobs[part.tasks[i] - lane->tasks];
        m->items[i] =
            (struct lm_item){.command = w->tickets[job].command, .job = job, .expired = part.tasks[i]->expired};
    }
    sim_pg_send(w, actor, m);
    sim_lane_in(w, p, lane, SIM_CALL_TIMEOUT_MS);
    if (w->sabotage == SIM_DO_early_settle) {
        const struct bk_error good = {0};
        (void)bk_plan_called(&lane->plan, &good, false, 0);
        sim_end_call(w, p, lane->permit, BK_CALL_GOOD);
        finish_all(&part, NULL);
        sim_follow(w, p, lane);
    }
}

static void give_part_up(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    struct bk_plan *plan = &lane->plan;
    bk_ms redis_now = sim_mono(w, p) + lane->redis_ahead;
    if (w->sabotage == SIM_DO_outage_spends && bk_is_outage(plan->error.status))
        plan->error.status = BK_TRANSIENT;
    bool outage = bk_is_outage(plan->error.status);
    for (size_t i = 0; i < plan->part.count; i++) {
        struct bk_task *task = plan->part.tasks[i];
        struct sim_ticket *ticket = &w->tickets[lane->jobs[task - lane->tasks]];
        bk_task_give_up(task, &w->setup.rules, &plan->error, plan->part.unsure, redis_now,
                        sim_draw(&w->chance, actor_of(w, p, lane)));
        ticket->retries += plan->error.status == BK_TRANSIENT && w->sabotage != SIM_DO_outage_spends;
        ticket->requeues += task->settlement.fate == BK_FATE_REQUEUE;
        lane->handed_back = lane->handed_back || (task->settlement.fate == BK_FATE_REQUEUE && outage);
    }
    bk_plan_gave_up(plan);
}

static void ask_again(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    bk_ms retry_at = 0;
    bool probe = false;
    bool granted = sim_ask(w, p, &lane->permit, &retry_at, &probe);
    if (granted && probe)
        sim_end_call(w, p, lane->permit, BK_CALL_RELEASED);
    bk_plan_asked(&lane->plan, granted && !probe);
}

static void end_turn(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    bk_doubt_end_turn(&p->doubt, lane->plan.any_good, lane->handed_back, sim_mono(w, p),
                      sim_draw(&w->chance, actor_of(w, p, lane)));
    sim_lane_begin(w, p, lane);
}

void sim_follow(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    struct sim_ticket *killer = NULL;
    for (;;) {
        switch (lane->plan.step) {
        case BK_PLAN_CALL:
            killer = killer_of(w, lane);
            if (killer) {
                note_kill(w, p, lane, killer);
                sim_kill(w, p, "by a command");
                return;
            }
            send_call(w, p, lane);
            return;
        case BK_PLAN_WAIT:
            lane->state = SIM_LANE_BACKING_OFF;
            sim_lane_in(w, p, lane, lane->plan.wait_ms);
            return;
        case BK_PLAN_ASK:
            ask_again(w, p, lane);
            break;
        case BK_PLAN_GIVE_UP:
            give_part_up(w, p, lane);
            break;
        case BK_PLAN_OVER:
            end_turn(w, p, lane);
            return;
        }
    }
}

void sim_backed_off(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    bk_plan_waited(&lane->plan, !p->stopping && !p->fenced);
    sim_follow(w, p, lane);
}

void sim_called(struct sim_world *w, struct sim_process *p, struct sim_lane *lane, const struct sim_message *m)
{
    const struct bk_part part = lane->plan.part;
    struct bk_error error = sim_error_of(lane, m);
    if (error.status == BK_UNKNOWN && w->sabotage == SIM_DO_unknown_done) {
        error.status = BK_OK;
        m = NULL;
    }
    if (error.status == BK_UNKNOWN && w->sabotage == SIM_DO_unknown_failed)
        error.status = BK_OUTAGE;
    SIM_SAY(w, "w%d/%u call of %zu: %s %s", (int)(p - w->processes), lane->number, part.count,
            bk_status_label(error.status), error.sqlstate);
    enum bk_status status = bk_plan_called(&lane->plan, &error, p->ghosts, sim_draw(&w->chance, actor_of(w, p, lane)));
    lane->exchange = ++w->exchanges;
    if (status == BK_OK || status == BK_UNKNOWN)
        p->ghosts = status == BK_UNKNOWN;
    sim_end_call(w, p, lane->permit, bk_plan_result(status));
    if (status == BK_OK)
        finish_all(&part, m);
    sim_follow(w, p, lane);
}

void sim_apply(struct sim_world *w, struct sim_process *p, struct sim_lane *lane)
{
    size_t count = 0;
    bk_ms redis_now = sim_mono(w, p) + lane->redis_ahead;
    lane->handed_back = false;
    for (int i = 0; i < lane->count; i++) {
        bk_task_decide(&lane->tasks[i], &w->setup.rules, redis_now);
        if (!lane->tasks[i].settled)
            lane->list[count++] = &lane->tasks[i];
    }
    count = bk_tasks_put_off_same_ids(lane->list, count);
    if (count == 0)
        sim_end_call(w, p, lane->permit, BK_CALL_RELEASED);
    bk_plan_begin(&lane->plan, lane->list, count, w->setup.retries, w->setup.retry_base_ms, &lane->budget);
    sim_follow(w, p, lane);
}
