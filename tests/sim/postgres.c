/* postgres.c - the way to PostgreSQL and back, and the life of a transaction there (world.h).
 *
 * A call arrives, runs as far as the locks let it, and commits some time later; its client may be gone by then, and the
 * transaction with its locks is still there. Only an answer tells the client how it ended.
 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/world.h"

bool sim_pg_reachable(struct sim_world *w, int actor)
{
    return w->now >= w->pg_down_until && !sim_fault(&w->chance, SIM_pg_refuse, actor);
}

static struct sim_event event_of(const struct sim_world *w, const struct sim_message *m, enum sim_event_type type)
{
    return (struct sim_event){.type = (int)type, .data = sim_letter_number(w, m)};
}

static void answer(struct sim_world *w, struct sim_message *m)
{
    sim_later(w, sim_between(&w->chance, SIM_POSTGRES, 0, 3), event_of(w, m, SIM_AT_ANSWER));
}

static void lose(struct sim_world *w, int actor, struct sim_message *m)
{
    SIM_SAY(w, "the answer to the call of w%d/%d is lost", m->slot, m->lane);
    m->broken = true;
    if (sim_draw(&w->chance, actor) % 2 == 0)
        m->used = false;
    else
        answer(w, m);
}

void sim_pg_send(struct sim_world *w, int actor, struct sim_message *call)
{
    struct sim_chance *c = &w->chance;
    bk_ms delay = sim_between(c, actor, 0, 3);
    call->transaction = -1;
    if (sim_fault(c, SIM_pg_late, actor))
        delay = sim_between(c, actor, 200, 12000);
    if (sim_fault(c, SIM_pg_drop, actor))
        lose(w, actor, call);
    else
        sim_later(w, delay, event_of(w, call, SIM_AT_POSTGRES));
}

static void refuse(struct sim_world *w, struct sim_message *m, const char *sqlstate)
{
    SIM_SAY(w, "postgres: call of w%d/%d ends with %s", m->slot, m->lane, sqlstate);
    (void)snprintf(m->sqlstate, sizeof(m->sqlstate), "%s", sqlstate);
    answer(w, m);
}

/* What may go wrong with a call before its locks; NULL for nothing. */
static const char *trouble(struct sim_world *w)
{
    struct sim_chance *c = &w->chance;
    if (sim_fault(c, SIM_pg_contend, SIM_POSTGRES))
        return sim_draw(c, SIM_POSTGRES) % 2 ? "40001" : "40P01";
    if (sim_fault(c, SIM_pg_cancel, SIM_POSTGRES))
        return "57014";
    if (sim_fault(c, SIM_pg_full, SIM_POSTGRES))
        return "53100";
    if (sim_fault(c, SIM_pg_rights, SIM_POSTGRES))
        return "42501";
    return sim_fault(c, SIM_pg_abort, SIM_POSTGRES) ? "57P01" : NULL;
}

/* Others may go on now. */
static void wake_waiting(struct sim_world *w);

static void end_failed(struct sim_world *w, struct sim_message *m)
{
    char sqlstate[6];
    memcpy(sqlstate, w->ledger.transactions[m->transaction].sqlstate, sizeof(sqlstate));
    lm_abort(&w->ledger, m->transaction);
    m->transaction = -1;
    refuse(w, m, sqlstate);
    wake_waiting(w);
}

static struct sim_message *owner_of(struct sim_world *w, int transaction)
{
    for (size_t i = 0; i < SIM_MESSAGES; i++) {
        struct sim_message *m = &w->messages[i];
        if (m->used && m->request == SIM_CALL && m->transaction == transaction)
            return m;
    }
    return NULL;
}

static void run(struct sim_world *w, struct sim_message *m)
{
    enum lm_state state = lm_run(&w->ledger, m->transaction);
    if (state == LM_FAILED) {
        end_failed(w, m);
        return;
    }
    if (state != LM_EXECUTED)
        return;
    bk_ms delay = sim_between(&w->chance, SIM_POSTGRES, 0, 15);
    if (sim_fault(&w->chance, SIM_pg_slow, SIM_POSTGRES))
        delay = sim_between(&w->chance, SIM_POSTGRES, 500, 15000);
    SIM_SAY(w, "postgres: call of w%d/%d is done but for its commit, in %lld ms", m->slot, m->lane, (long long)delay);
    sim_later(w, delay, event_of(w, m, SIM_AT_COMMIT));
}

static void wake_waiting(struct sim_world *w)
{
    uint64_t behind = 0;
    for (int t = lm_next_waiting(&w->ledger, behind); t >= 0; t = lm_next_waiting(&w->ledger, behind)) {
        behind = w->ledger.transactions[t].arrival;
        struct sim_message *m = owner_of(w, t);
        BK_ASSERT(m);
        run(w, m);
    }
}

void sim_pg_arrives(struct sim_world *w, const struct sim_event *event)
{
    struct sim_message *m = &w->messages[event->data];
    if (w->now < w->pg_hang_until) {
        sim_later(w, w->pg_hang_until - w->now + sim_between(&w->chance, SIM_POSTGRES, 0, 9), *event);
        return;
    }
    if (w->now < w->pg_down_until) {
        lose(w, SIM_POSTGRES, m);
        return;
    }
    const char *sqlstate = trouble(w);
    if (sqlstate) {
        refuse(w, m, sqlstate);
        return;
    }
    if (m->request == SIM_PROBE) {
        answer(w, m);
        return;
    }
    m->transaction = lm_begin(&w->ledger, m->items, m->count);
    sim_later(w, SIM_LOCK_TIMEOUT_MS,
              (struct sim_event){.type = SIM_AT_PATIENCE, .data = event->data, .token = m->exchange});
    run(w, m);
}

void sim_pg_impatient(struct sim_world *w, const struct sim_event *event)
{
    struct sim_message *m = &w->messages[event->data];
    bool same = m->used && m->request == SIM_CALL && m->exchange == event->token && m->transaction >= 0;
    if (!same || w->ledger.transactions[m->transaction].state != LM_WAITING)
        return;
    lm_fail(&w->ledger, m->transaction, "55P03");
    end_failed(w, m);
}

static void abort_one(struct sim_world *w, struct sim_message *m)
{
    SIM_SAY(w, "postgres: call of w%d/%d is rolled back", m->slot, m->lane);
    lm_abort(&w->ledger, m->transaction);
    m->transaction = -1;
    lose(w, SIM_POSTGRES, m);
}

void sim_pg_ends(struct sim_world *w, int message)
{
    struct sim_message *m = &w->messages[message];
    if (!m->used || m->request != SIM_CALL || m->transaction < 0)
        return; /* the server went down in between */
    if (w->now < w->pg_hang_until) {
        sim_later(w, w->pg_hang_until - w->now, event_of(w, m, SIM_AT_COMMIT));
        return;
    }
    if (sim_fault(&w->chance, SIM_pg_break, SIM_POSTGRES)) {
        abort_one(w, m);
        wake_waiting(w);
        return;
    }
    struct lm_transaction *t = &w->ledger.transactions[m->transaction];
    lm_commit(&w->ledger, m->transaction);
    memcpy(m->items, t->items, sizeof(m->items));
    m->transaction = -1;
    for (int i = 0; i < m->count; i++)
        SIM_SAY(w, "postgres: commit of ticket %d, id c%d: %s %s%s", m->items[i].job,
                w->commands[m->items[i].command].id, lm_outcome_names[m->items[i].answer.outcome],
                m->items[i].answer.code ? m->items[i].answer.code : "",
                m->items[i].answer.repeated ? " (as before)" : "");
    sim_check_commit(w);
    if (sim_fault(&w->chance, SIM_pg_mute, SIM_POSTGRES))
        lose(w, SIM_POSTGRES, m);
    else
        answer(w, m);
    wake_waiting(w);
}

void sim_pg_crash(struct sim_world *w)
{
    for (size_t i = 0; i < SIM_MESSAGES; i++) {
        struct sim_message *m = &w->messages[i];
        if (m->used && m->request == SIM_CALL && m->transaction >= 0)
            abort_one(w, m);
    }
}
