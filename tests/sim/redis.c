/* redis.c - the way to Redis and back, and what Redis does with a request (world.h).
 *
 * A lane's settle and take travel in one write: the take arrives behind the settle, or not at all. A connection that its
 * owner has given up may still have a request on its way.
 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/world.h"

static const char *const request_names[] = {"settle", "take", "join", "beat", "leave", "call", "probe"};

bool sim_redis_reachable(struct sim_world *w, int actor)
{
    return w->now >= w->redis_down_until && !sim_fault(&w->chance, SIM_redis_refuse, actor);
}

/* Nobody will answer; half of the time the sender is told so by a reset, else it waits. */
static void lose(struct sim_world *w, int actor, struct sim_message *m)
{
    SIM_SAY(w, "%s of w%d/%d is lost", request_names[m->request], m->slot, m->lane);
    m->broken = true;
    if (sim_draw(&w->chance, actor) % 2 == 0)
        m->used = false;
    else
        sim_later(w, sim_between(&w->chance, actor, 1, 50),
                  (struct sim_event){.type = SIM_AT_ANSWER, .data = sim_letter_number(w, m)});
}

void sim_redis_send(struct sim_world *w, int actor, struct sim_message *first, struct sim_message *second)
{
    struct sim_chance *c = &w->chance;
    bk_ms delay = sim_between(c, actor, 0, 3);
    if (sim_fault(c, SIM_redis_late, actor))
        delay = sim_between(c, actor, 200, 9000);
    bool cut = second && sim_fault(c, SIM_redis_cut, actor);
    if (sim_fault(c, SIM_redis_drop, actor)) {
        lose(w, actor, first);
        if (second)
            second->used = false;
        return;
    }
    sim_later(w, delay, (struct sim_event){.type = SIM_AT_REDIS, .data = sim_letter_number(w, first)});
    if (cut)
        lose(w, actor, second);
    else if (second)
        sim_later(w, delay, (struct sim_event){.type = SIM_AT_REDIS, .data = sim_letter_number(w, second)});
}

/* --- Redis itself ----------------------------------------------------------------------------------------------------------- */

static void do_take(struct sim_world *w, struct sim_message *m)
{
    const struct qm_take wanted = {(unsigned)m->lane, m->turn, w->setup.batch, m->resume, m->careful};
    m->verdict = qm_take(w->queue, w->now, m->worker, &wanted, &m->taken);
    for (int i = 0; i < m->taken.count; i++) {
        const struct qm_job *job = &w->queue->jobs[m->taken.jobs[i]];
        m->jobs[i] = m->taken.jobs[i];
        m->shots[i] = (struct sim_shot){job->attempts, job->requeues, job->deliveries, job->unsure, job->retried_at};
    }
    SIM_SAY(w, "redis: take %llu of w%d/%d (%s): %s, %d jobs%s%s", (unsigned long long)m->turn, m->slot, m->lane,
            w->queue->workers[m->worker].text, m->verdict == QM_OK ? "ok" : "refused", m->taken.count,
            m->resume ? ", resumes" : "", m->taken.recovered ? ", reaps" : "");
    for (int i = 0; i < m->taken.count; i++)
        SIM_SAY(w, "       ticket %d", m->jobs[i]);
}

static void do_settle(struct sim_world *w, struct sim_message *m)
{
    static const char *const verbs[] = {"done", "reply", "retry", "requeue", "free", "dead"};
    struct qm_settled settled;
    sim_check_settle(w, m);
    qm_settle(w->queue, w->now, m->worker, (unsigned)m->lane, m->turn, m->records, m->count, &settled);
    SIM_SAY(w, "redis: settle of turn %llu of w%d/%d (%s): %d lost", (unsigned long long)m->turn, m->slot, m->lane,
            w->queue->workers[m->worker].text, settled.lost_count);
    for (int i = 0; i < m->count; i++)
        SIM_SAY(w, "       ticket %d %s%s%s", m->records[i].job, verbs[m->records[i].verb],
                m->records[i].verb == QM_DO_DEAD ? " " : "",
                m->records[i].verb == QM_DO_DEAD ? m->records[i].reason : "");
}

static void do_join(struct sim_world *w, struct sim_message *m, const struct qm_life *life)
{
    struct queue_model *q = w->queue;
    int old = q->names[q->workers[m->worker].name].incarnation;
    m->recovered = qm_join(q, w->now, life);
    if (m->recovered >= 0)
        sim_check_join(w, m->worker, old);
}

static void do_life(struct sim_world *w, struct sim_message *m)
{
    struct queue_model *q = w->queue;
    const struct qm_life life = {m->worker, m->number, w->setup.lease_ms};
    const char *remark = "";
    if (m->request == SIM_JOIN) {
        do_join(w, m, &life);
        remark = m->recovered < 0 ? ": is too late" : "";
    } else if (m->request == SIM_LEAVE) {
        (void)qm_leave(q, w->now, m->worker);
    } else {
        m->pulse = qm_beat(q, w->now, &life);
        remark = m->pulse.alive ? "" : ": has no place";
    }
    memcpy(m->breaker, q->breaker, sizeof(m->breaker));
    SIM_SAY(w, "redis: %s of %s, number %lld%s", request_names[m->request], q->workers[m->worker].text,
            (long long)m->number, remark);
}

void sim_redis_arrives(struct sim_world *w, const struct sim_event *event)
{
    struct sim_message *m = &w->messages[event->data];
    if (w->now < w->redis_stall_until) {
        /* what has piled up is read connection by connection, in whatever order; one connection's keeps its own */
        bk_ms turn = (bk_ms)(m->exchange * 7919U % 11U);
        sim_later(w, w->redis_stall_until - w->now + turn, *event);
        return;
    }
    if (w->now < w->redis_down_until) {
        lose(w, SIM_REDIS, m);
        return;
    }
    if (m->request == SIM_TAKE)
        do_take(w, m);
    else if (m->request == SIM_SETTLE)
        do_settle(w, m);
    else
        do_life(w, m);
    m->now = w->now;
    if (sim_fault(&w->chance, SIM_redis_mute, SIM_REDIS))
        lose(w, SIM_REDIS, m);
    else
        sim_later(w, (bk_ms)(m->exchange % 3U), (struct sim_event){.type = SIM_AT_ANSWER, .data = event->data});
}
