/* invariants.c - what must hold after every event of a simulated world, and at its end (world.h). */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"

/* --- after every event ---------------------------------------------------------------------------------------------------------- */

/* What a job is charged with has been decided by somebody: nothing is counted twice, and no outage counts as a try. */
static void check_charges(struct sim_world *w)
{
    for (int i = 0; i < w->queue->job_count; i++) {
        const struct qm_job *job = &w->queue->jobs[i];
        const struct sim_ticket *ticket = &w->tickets[i];
        if (!job->kept || job->state == QM_DEAD)
            continue;
        if (job->attempts > ticket->retries)
            sim_fail(w, "no attempt is spent but by contention", "ticket %d has %lld, %d were given up for contention",
                     i, (long long)job->attempts, ticket->retries);
        if (job->requeues > ticket->requeues)
            sim_fail(w, "a job is handed back once for each decision", "ticket %d has %lld requeues, %d were decided",
                     i, (long long)job->requeues, ticket->requeues);
        if (ticket->kills > w->setup.rules.max_deliveries)
            sim_fail(w, "what kills workers is set aside", "ticket %d has killed %d", i, ticket->kills);
    }
}

void sim_check(struct sim_world *w)
{
    int job = QM_NONE;
    const char *wrong = qm_check(w->queue, &job);
    if (wrong)
        sim_fail(w, wrong, "ticket %d", job);
    if (w->ledger.foul)
        sim_fail(w, w->ledger.foul, "command of id c%d", w->commands[w->ledger.foul_command].id);
    check_charges(w);
}

/* --- fates ---------------------------------------------------------------------------------------------------------------------- */

static const struct lm_row *row_of(const struct sim_world *w, int job)
{
    return &w->ledger.rows[w->commands[w->tickets[job].command].id];
}

static bool is_its_row(const struct sim_world *w, int job)
{
    return row_of(w, job)->there && row_of(w, job)->contents == w->commands[w->tickets[job].command].contents;
}

/* Whether this very delivery has had an effect; that of another one of the same id is another story. */
static bool has_applied(const struct sim_world *w, int job)
{
    for (int i = 0; i < w->ledger.history_count; i++) {
        if (w->ledger.history[i].job == job && w->ledger.history[i].answer.outcome == LM_APPLIED)
            return true;
    }
    return false;
}

/* Whether all that a job is charged with are deaths by one and the same other job. As many lives as make a suspect they may
 * cost both, but what a suspect kills next dies without any other suspect. No more can be said of a job that was charged
 * for anything else as well: then it may be under suspicion earlier than the killer. */
static bool has_died_of_company(const struct sim_world *w, int number)
{
    const struct qm_job *job = &w->queue->jobs[number];
    int killer = QM_NONE;
    int charges = 0;
    if (w->setup.rules.max_deliveries < 2) /* the first death is the last */
        return false;
    for (int i = 0; i < job->charges; i++) {
        if (job->charged[i].since != job->retried_at)
            continue;
        int by = w->killed_by[job->charged[i].worker];
        if (by == QM_NONE || by == number || (charges > 0 && by != killer))
            return false;
        killer = by;
        charges++;
    }
    return charges > 0 && charges == job->deaths;
}

/* Whether a job may die of this, here and now. */
static bool may_die(const struct sim_world *w, const struct qm_record *r)
{
    const struct sim_ticket *ticket = &w->tickets[r->job];
    const struct sim_command *c = &w->commands[ticket->command];
    const struct qm_job *job = &w->queue->jobs[r->job];
    const struct bk_decision_rules *rules = &w->setup.rules;
    bk_ms since = job->retried_at ? job->retried_at : strtoll(job->ticket, NULL, 10);
    if (strcmp(r->reason, "malformed") == 0)
        return c->flaw == SIM_MALFORMED;
    if (strcmp(r->reason, "unknown_kind") == 0)
        return c->flaw == SIM_UNKNOWN_KIND;
    if (strcmp(r->reason, "invalid_args") == 0)
        return c->flaw == SIM_BAD_ARGS;
    if (strcmp(r->reason, "id_reused") == 0)
        return row_of(w, r->job)->there && !is_its_row(w, r->job);
    if (strcmp(r->reason, "expired") == 0)
        return c->expires_at && w->now >= c->expires_at && !has_applied(w, r->job);
    if (strcmp(r->reason, "too_many_attempts") == 0)
        return ticket->retries >= rules->max_attempts;
    if (strcmp(r->reason, "circuit_open") == 0)
        return ticket->requeues >= rules->max_requeues || w->now - since > rules->max_age_ms;
    if (strcmp(r->reason, "poison") == 0)
        return job->deaths >= rules->max_deliveries;
    return strcmp(r->reason, "database_refused") == 0 && (c->flaw == SIM_REFUSED || c->flaw == SIM_ODD);
}

void sim_check_settle(struct sim_world *w, const struct sim_message *m)
{
    const struct qm_worker *worker = &w->queue->workers[m->worker];
    for (int i = 0; i < m->count; i++) {
        const struct qm_record *r = &m->records[i];
        int at = 0;
        while (at < worker->active_count && worker->active[at].job != r->job)
            at++;
        if (at == worker->active_count || worker->active[at].turn != m->turn ||
            worker->active[at].lane != (unsigned)m->lane)
            continue; /* not its own any more: the queue will see to that */
        if (r->verb == QM_DO_DONE && !is_its_row(w, r->job))
            sim_fail(w, "what is done stands in the ledger", "ticket %d, id c%d", r->job,
                     w->commands[w->tickets[r->job].command].id);
        if (r->verb == QM_DO_DEAD && !may_die(w, r))
            sim_fail(w, "nothing dies but for a reason", "ticket %d: %s", r->job, r->reason);
        if (r->verb == QM_DO_DEAD && strcmp(r->reason, "poison") == 0 && has_died_of_company(w, r->job))
            sim_fail(w, "nothing dies as poison for what another one did", "ticket %d", r->job);
    }
}

/* --- effects -------------------------------------------------------------------------------------------------------------------- */

/* An unfinished job of the same key that has its place before this one and has not been decided. */
static int overtaken_by(const struct sim_world *w, int job)
{
    const struct qm_job *mine = &w->queue->jobs[job];
    for (int i = 0; i < w->queue->job_count; i++) {
        const struct qm_job *other = &w->queue->jobs[i];
        if (i != job && other->kept && other->gate == mine->gate && other->place && other->place < mine->place &&
            other->state != QM_DEAD && other->state != QM_SCHEDULED && !row_of(w, i)->there)
            return i;
    }
    return QM_NONE;
}

void sim_check_commit(struct sim_world *w)
{
    for (; w->seen_history < w->ledger.history_count; w->seen_history++) {
        const struct lm_event *event = &w->ledger.history[w->seen_history];
        const struct qm_job *job = &w->queue->jobs[event->job];
        bool dead = job->kept && job->state == QM_DEAD;
        /* a transaction can outlive the job's death: then it comes when it comes, and its letter waits for a person */
        bool late = dead || w->tickets[event->job].revived;
        if (!late && overtaken_by(w, event->job) != QM_NONE)
            sim_fail(w, "the commands of a key apply in order", "ticket %d before ticket %d", event->job,
                     overtaken_by(w, event->job));
        if (dead && event->answer.outcome == LM_APPLIED && strcmp(job->reason, "expired") == 0)
            sim_fail(w, "what has expired has no effect", "ticket %d", event->job);
    }
}

/* --- workers ---------------------------------------------------------------------------------------------------------------------- */

void sim_check_join(struct sim_world *w, int worker, int old)
{
    if (old != QM_NONE && w->number_of[worker] < w->number_of[old])
        sim_fail(w, "only a newcomer fences off a worker", "%s takes the place of %s", w->queue->workers[worker].text,
                 w->queue->workers[old].text);
}

void sim_check_fence(struct sim_world *w, int worker, int newer)
{
    if (w->number_of[newer] < w->number_of[worker])
        sim_fail(w, "a worker gives way to a newcomer only", "%s takes itself for replaced by %s",
                 w->queue->workers[worker].text, w->queue->workers[newer].text);
}

/* --- at the end -------------------------------------------------------------------------------------------------------------------- */

/* The ledger tells in which order the commands were decided: one after the other they must have come to the same. */
static void check_serial(struct sim_world *w)
{
    struct lm_booking bookings[SIM_BOOKINGS] = {{0}};
    for (int i = 0; i < w->ledger.history_count; i++) {
        const struct lm_event *event = &w->ledger.history[i];
        struct lm_answer expected = {LM_DEAD, "expired", -1, false};
        if (!event->expired)
            expected = lm_judge(&w->commands[event->command], bookings);
        bool same = expected.outcome == event->answer.outcome && expected.version == event->answer.version &&
                    strcmp(expected.code ? expected.code : "", event->answer.code ? event->answer.code : "") == 0;
        if (!same)
            sim_fail(w, "all is as if done one after the other", "id c%d is %s %s, should be %s %s",
                     w->commands[event->command].id, lm_outcome_names[event->answer.outcome],
                     event->answer.code ? event->answer.code : "", lm_outcome_names[expected.outcome],
                     expected.code ? expected.code : "");
    }
    for (int i = 0; i < SIM_BOOKINGS; i++) {
        const struct lm_booking *a = &bookings[i];
        const struct lm_booking *b = &w->ledger.bookings[i];
        if (a->there != b->there || a->status != b->status || a->version != b->version)
            sim_fail(w, "the bookings are what the ledger says", "booking %d", i);
    }
}

void sim_check_end(struct sim_world *w)
{
    sim_check(w);
    check_serial(w);
    for (int i = 0; i < w->queue->job_count; i++) {
        const struct qm_job *job = &w->queue->jobs[i];
        if (job->in_inbox || (job->kept && job->state != QM_DEAD))
            sim_fail(w, "everything is finished in the end", "ticket %d", i);
    }
}
