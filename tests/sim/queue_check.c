/* queue_check.c - what must hold for the places after every call (see queue_model.h). */
#include <string.h>

#include "tests/sim/queue_model.h"

enum { MOST = 1024 };

struct census {
    int places[MOST]; /* of each ticket */
    int holders[80];  /* of each gate: active, ready, retry */
    int crowded;      /* a job that shares its gate's holding, QM_NONE */
};

static void count_holder(struct census *census, const struct queue_model *q, int job)
{
    int gate = q->jobs[job].gate;
    census->places[job]++;
    if (gate != QM_NONE && ++census->holders[gate] > 1)
        census->crowded = job;
}

static void count_all(struct census *census, const struct queue_model *q)
{
    for (int i = 0; i < q->inbox.count; i++)
        census->places[q->inbox.at[i]]++;
    for (int i = 0; i < q->ready.count; i++)
        count_holder(census, q, q->ready.at[i]);
    for (int i = 0; i < q->retry.count; i++)
        count_holder(census, q, q->retry.at[i].job);
    for (int w = 0; w < q->worker_count; w++) {
        for (int i = 0; i < q->workers[w].active_count; i++)
            count_holder(census, q, q->workers[w].active[i].job);
    }
    for (int i = 0; i < q->scheduled.count; i++)
        census->places[q->scheduled.at[i].job]++;
    for (int i = 0; i < q->dead.count; i++)
        census->places[q->dead.at[i].job]++;
    for (int g = 0; g < q->gate_count; g++) {
        for (int i = 0; i < q->gates[g].line.count; i++)
            census->places[q->gates[g].line.at[i]]++;
    }
}

const char *qm_check(const struct queue_model *q, int *job)
{
    static struct census census;
    memset(census.places, 0, (size_t)q->job_count * sizeof(census.places[0]));
    memset(census.holders, 0, (size_t)q->gate_count * sizeof(census.holders[0]));
    census.crowded = QM_NONE;
    count_all(&census, q);
    for (*job = 0; *job < q->job_count; ++*job) {
        const struct qm_job *j = &q->jobs[*job];
        int expected = j->in_inbox || j->kept;
        if (census.places[*job] < expected)
            return "a job is in no place";
        if (census.places[*job] > expected)
            return expected ? "a job is in two places" : "a finished job is in a place";
    }
    *job = census.crowded;
    if (census.crowded != QM_NONE)
        return "two jobs of one key at once";
    for (int g = 0; g < q->gate_count; g++) {
        const struct qm_gate *gate = &q->gates[g];
        if (gate->count != census.holders[g] + gate->line.count)
            return "a gate does not count its holder and its line";
        if (gate->line.count > 0 && census.holders[g] == 0)
            return "a line without a holder";
    }
    return q->foul ? (*job = q->foul_job, q->foul) : NULL;
}

bool qm_is_drained(const struct queue_model *q)
{
    bool busy = q->inbox.count + q->ready.count + q->retry.count + q->scheduled.count > 0;
    for (int w = 0; w < q->worker_count && !busy; w++)
        busy = q->workers[w].active_count > 0;
    for (int g = 0; g < q->gate_count && !busy; g++)
        busy = q->gates[g].count > 0;
    return !busy;
}
