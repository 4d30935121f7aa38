/* queue_model.c - see queue_model.h: what one call does. Each function has the name, the order and the steps of its twin in queue.lua. */
#include "tests/sim/queue_parts.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REST_MOST_MS = 30000 };

/* --- entries ------------------------------------------------------------------------------------------------------------------ */

static bool is_due_time(struct bk_span text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!isdigit((unsigned char)text.at[i]))
            return false;
    }
    return text.size >= 1 && text.size <= 15;
}

/* queue.lua's shape_of: whether the shape is right, and the two fields that decide on the place. */
static bool shape_of(const struct bk_span *fields, size_t count, struct bk_span *key, bk_ms *not_before)
{
    static const char *const known[] = {"id",         "kind",       "args",  "key",
                                        "not_before", "expires_at", "reply", "traceparent"};
    unsigned seen = 0;
    *not_before = 0;
    for (size_t i = 0; i + 1 < count; i += 2) {
        size_t k = 0;
        while (k < BK_COUNT(known) && !bk_span_is(fields[i], known[k]))
            k++;
        if (k == BK_COUNT(known) || (seen & 1U << k))
            return false;
        seen |= 1U << k;
        if (k == 3)
            *key = fields[i + 1];
        if (k == 4 && !is_due_time(fields[i + 1]))
            return false;
        if (k == 4)
            *not_before = strtoll(fields[i + 1].at, NULL, 10);
    }
    return (seen & 15U) == 15U && key->size >= 1 && key->size <= 128;
}

int qm_add(struct queue_model *q, const char *ticket, const struct bk_span *fields, size_t count)
{
    BK_ASSERT(q->job_count < q->capacity);
    struct qm_job *job = &q->jobs[q->job_count];
    *job = (struct qm_job){
        .fields = fields, .field_count = count, .gate = QM_NONE, .in_inbox = true, .died_at_worker = QM_NONE};
    qp_copy_text(job->ticket, sizeof(job->ticket), ticket);
    struct bk_span key = {NULL, 0};
    if (shape_of(fields, count, &key, &job->not_before))
        job->gate = qp_gate_of(q, key);
    qp_push(q, &q->inbox, q->job_count);
    return q->job_count++;
}

/* The next member in the order of workers' leases behind the one given. */
static int next_silent(const struct queue_model *q, bk_ms now, int behind)
{
    int best = QM_NONE;
    for (int i = 0; i < q->worker_count; i++) {
        const struct qm_worker *w = &q->workers[i];
        if (!w->member || w->lease > now)
            continue;
        const struct qm_worker *b = behind == QM_NONE ? NULL : &q->workers[behind];
        if (b && (w->lease < b->lease || (w->lease == b->lease && strcmp(w->text, b->text) <= 0)))
            continue;
        const struct qm_worker *x = best == QM_NONE ? NULL : &q->workers[best];
        if (!x || w->lease < x->lease || (w->lease == x->lease && strcmp(w->text, x->text) < 0))
            best = i;
    }
    return best;
}

static int reap(struct queue_model *q, bk_ms now)
{
    int count = 0;
    for (int w = next_silent(q, now, QM_NONE); w != QM_NONE && count < QM_BOUND; w = next_silent(q, now, w)) {
        int jobs[QM_BOUND];
        int held = q->workers[w].active_count;
        int some = qp_held_by(&q->workers[w], -1, jobs, QM_BOUND - count);
        qp_hand_back(q, w, jobs, some, now, true, true);
        count += some;
        if (some == held)
            qp_forget(q, w);
    }
    return count;
}

static int take_due(struct qm_zset *set, bk_ms now, int *jobs)
{
    int count = 0;
    while (count < BK_MIN(set->count, (int)QM_BOUND) && set->at[count].score <= now) {
        jobs[count] = set->at[count].job;
        count++;
    }
    set->count -= count;
    memmove(set->at, set->at + count, (size_t)set->count * sizeof(*set->at));
    return count;
}

static void promote(struct queue_model *q, bk_ms now)
{
    int jobs[QM_BOUND];
    int count = take_due(&q->retry, now, jobs);
    for (int i = 0; i < count; i++)
        qp_make_ready(q, jobs[i]);
    count = take_due(&q->scheduled, now, jobs);
    for (int i = 0; i < count; i++)
        qp_take_place(q, jobs[i]);
}

/* --- take --------------------------------------------------------------------------------------------------------------------- */

struct taking {
    int worker;
    const struct qm_take *wanted;
    bk_ms now;
    struct qm_taken *taken;
};

static void give(struct queue_model *q, const struct taking *t, int job)
{
    qp_hold(q, &q->workers[t->worker], job, t->wanted->lane, t->wanted->turn);
    t->taken->jobs[t->taken->count++] = job;
}

static int take_inbox(struct queue_model *q, const struct taking *t, int want)
{
    int n = BK_MIN(q->inbox.count, want);
    for (int i = 0; i < n; i++) {
        int number = q->inbox.at[i];
        struct qm_job *job = &q->jobs[number];
        struct qm_gate *gate = job->gate == QM_NONE ? NULL : &q->gates[job->gate];
        job->in_inbox = false;
        job->kept = true;
        t->taken->last = number;
        if (gate && job->not_before > t->now) {
            job->state = QM_SCHEDULED;
            qp_zset_add(q, &q->scheduled, job->not_before, number);
            continue;
        }
        job->place = ++q->places;
        if (gate && gate->count > 0 && !(q->sabotage & QM_NO_GATE)) {
            job->state = QM_WAITING;
            qp_push(q, &gate->line, number);
        } else {
            give(q, t, number);
        }
        if (gate)
            gate->count++;
    }
    qp_pop(&q->inbox, n);
    return n;
}

static bool is_suspect(const struct queue_model *q, int job, int careful)
{
    return careful > 0 && q->jobs[job].deliveries >= careful && !(q->sabotage & QM_IN_COMPANY);
}

static bool holds_suspect(const struct queue_model *q, int worker, int careful)
{
    const struct qm_worker *w = &q->workers[worker];
    for (int i = 0; i < w->active_count; i++) {
        if (is_suspect(q, w->active[i].job, careful))
            return true;
    }
    return false;
}

/* Returns whether what it took is alone. */
static bool take_ready(struct queue_model *q, const struct taking *t)
{
    int n = BK_MIN(q->ready.count, t->wanted->want);
    bool one_at_work = holds_suspect(q, t->worker, t->wanted->careful);
    bool alone = false;
    int looked = 0;
    for (; looked < n && !alone; looked++) {
        int job = q->ready.at[looked];
        bool suspect = is_suspect(q, job, t->wanted->careful);
        if (suspect && one_at_work) {
            qp_push(q, &q->ready, job);
            continue;
        }
        if (suspect && t->taken->count > 0)
            break;
        if (!q->jobs[job].kept)
            continue;
        give(q, t, job);
        q->jobs[job].state = QM_NO_STATE;
        alone = suspect;
    }
    qp_pop(&q->ready, looked);
    return alone;
}

static bk_ms next_due(const struct queue_model *q)
{
    bk_ms first = 0;
    if (q->scheduled.count > 0)
        first = q->scheduled.at[0].score;
    if (q->retry.count > 0 && (first == 0 || q->retry.at[0].score < first))
        first = q->retry.at[0].score;
    for (int i = 0; i < q->worker_count; i++) {
        if (q->workers[i].member && (first == 0 || q->workers[i].lease < first))
            first = q->workers[i].lease;
    }
    return first;
}

/* Returns whether there may be more in the inbox than was looked at. */
static bool fill_up(struct queue_model *q, const struct taking *t)
{
    int want = t->wanted->want;
    int scanned = 0;
    while (t->taken->count < want && scanned < want + QM_BOUND) {
        int asked = want - t->taken->count;
        int n = take_inbox(q, t, asked);
        scanned += n;
        if (n < asked)
            break;
    }
    return scanned >= want + QM_BOUND;
}

static enum qm_verdict may_take(const struct queue_model *q, bk_ms now, int worker, const struct qm_take *wanted)
{
    const struct qm_worker *w = &q->workers[worker];
    if (!w->member || w->lease <= now)
        return QM_FENCED;
    bool stale = wanted->turn <= q->names[w->name].taken[wanted->lane];
    return stale && !(q->sabotage & QM_NO_TURNS) ? QM_TOO_LATE : QM_OK;
}

enum qm_verdict qm_take(struct queue_model *q, bk_ms now, int worker, const struct qm_take *wanted,
                        struct qm_taken *taken)
{
    static int room[1024];
    struct qm_worker *w = &q->workers[worker];
    *taken = (struct qm_taken){.last = QM_NONE, .jobs = room};
    enum qm_verdict verdict = may_take(q, now, worker, wanted);
    if (verdict != QM_OK)
        return verdict;
    if (wanted->resume && !(q->sabotage & QM_NO_RESUME)) {
        int mine = qp_held_by(w, (int)wanted->lane, room, (int)BK_COUNT(room));
        qp_hand_back(q, worker, room, mine, now, false, false);
    }
    q->names[w->name].taken[wanted->lane] = wanted->turn;
    if (q->paused) {
        taken->paused = true;
        return QM_OK;
    }
    taken->recovered = reap(q, now);
    promote(q, now);
    struct taking t = {worker, wanted, now, taken};
    taken->more = take_ready(q, &t) || fill_up(q, &t) || taken->count == wanted->want;
    taken->next_due = taken->more ? 0 : next_due(q);
    return QM_OK;
}

/* --- settle ------------------------------------------------------------------------------------------------------------------- */

static void push_reply(struct queue_model *q, const char *id)
{
    if (!*id)
        return;
    int i = 0;
    while (i < q->reply_count && strcmp(q->replies[i].id, id) != 0)
        i++;
    if (i == (int)BK_COUNT(q->replies))
        return;
    if (i == q->reply_count) {
        qp_copy_text(q->replies[i].id, QM_TEXT, id);
        q->replies[i].count = 0;
        q->reply_count++;
    }
    q->replies[i].count++;
}

static bk_ms rest_ms(int64_t times)
{
    return times < 3 ? 0 : BK_MIN((bk_ms)REST_MOST_MS, INT64_C(250) << BK_MIN(times - 1, INT64_C(20)));
}

static void requeue(struct queue_model *q, bk_ms now, const struct qm_record *r)
{
    struct qm_job *job = &q->jobs[r->job];
    bk_ms rest = rest_ms(++job->requeues);
    job->unsure = r->unsure;
    qp_copy_text(job->error, QM_TEXT, r->error);
    qp_note(q, r->job, now, "handed back: %", r->error, "");
    if (rest > 0) {
        job->state = QM_RETRY;
        qp_zset_add(q, &q->retry, now + rest, r->job);
    } else {
        qp_make_ready(q, r->job);
    }
}

static void bury(struct queue_model *q, bk_ms now, int worker, const struct qm_record *r)
{
    struct qm_job *job = &q->jobs[r->job];
    job->state = QM_DEAD;
    job->reason = r->reason;
    qp_copy_text(job->sqlstate, sizeof(job->sqlstate), r->sqlstate);
    qp_copy_text(job->error, QM_TEXT, r->error);
    job->attempts = r->attempts;
    job->died_at = now;
    job->died_at_worker = worker;
    qp_note(q, r->job, now, "dead, %: %", r->reason, r->error);
    qp_zset_add(q, &q->dead, now, r->job);
    push_reply(q, r->reply_id);
}

static void settle_one(struct queue_model *q, bk_ms now, int worker, const struct qm_record *r)
{
    struct qm_job *job = &q->jobs[r->job];
    switch (r->verb) {
    case QM_DO_REPLY:
        push_reply(q, r->reply_id);
        qp_drop_hash(q, r->job);
        return;
    case QM_DO_DONE:
        qp_drop_hash(q, r->job);
        return;
    case QM_DO_RETRY:
        job->attempts++;
        job->state = QM_RETRY;
        job->unsure = r->unsure;
        qp_copy_text(job->error, QM_TEXT, r->error);
        qp_note(q, r->job, now, "to be tried again: %", r->error, "");
        qp_zset_add(q, &q->retry, now + r->delay, r->job);
        return;
    case QM_DO_REQUEUE:
        requeue(q, now, r);
        return;
    case QM_DO_FREE:
        qp_make_ready(q, r->job);
        return;
    case QM_DO_DEAD:
        bury(q, now, worker, r);
        return;
    }
}

/* That a worker still speaks of a job proves that this did not kill it. */
static void refund(struct queue_model *q, int worker, unsigned lane, uint64_t turn, int job)
{
    struct qm_job *j = &q->jobs[job];
    int i = qp_find_charge(j, worker);
    bool its = i < j->charges && j->charged[i].lane == lane && j->charged[i].turn <= turn;
    bool charged = its && j->charged[i].since == j->retried_at;
    if (its)
        j->charged[i] = j->charged[--j->charges];
    if (!j->kept || j->deliveries == 0 || !(charged || q->sabotage & QM_REFUNDS_ANY))
        return;
    j->deliveries--;
    if (!charged)
        qp_foul(q, "a death is refunded that this worker was not charged with", job);
}

static bool is_over(enum qm_verb verb)
{
    return verb == QM_DO_DONE || verb == QM_DO_REPLY || verb == QM_DO_DEAD;
}

void qm_settle(struct queue_model *q, bk_ms now, int worker, unsigned lane, uint64_t turn,
               const struct qm_record *records, int count, struct qm_settled *settled)
{
    struct qm_worker *w = &q->workers[worker];
    uint64_t *last_turn = &q->names[w->name].settled[lane];
    *settled = (struct qm_settled){0};
    if (count == 0 || (w->member && turn <= *last_turn && !(q->sabotage & QM_SETTLES_AGAIN)))
        return;
    int gates[QM_BOUND];
    int gate_count = 0;
    for (int i = 0; i < count; i++) {
        const struct qm_record *r = &records[i];
        int at = qp_find_held(w, r->job);
        bool mine = at != QM_NONE && ((w->active[at].lane == lane && w->active[at].turn <= turn) ||
                                      q->sabotage & (QM_NO_OWNERSHIP | QM_WORKER_OWNS));
        if (!mine && !(q->sabotage & QM_NO_OWNERSHIP && q->jobs[r->job].kept)) {
            settled->lost[settled->lost_count++] = r->job;
            continue;
        }
        if (at == QM_NONE || w->active[at].lane != lane || w->active[at].turn != turn)
            qp_foul(q, "a job is settled that another take holds", r->job);
        bool lets_go = is_over(r->verb) || (q->sabotage & QM_LETS_GO && r->verb != QM_DO_FREE);
        if (lets_go && q->jobs[r->job].gate != QM_NONE)
            gates[gate_count++] = q->jobs[r->job].gate;
        settle_one(q, now, worker, r);
        qp_let_go(w, r->job);
    }
    qp_release(q, gates, gate_count, &settled->freed);
    for (int i = 0; i < settled->lost_count; i++)
        refund(q, worker, lane, turn, settled->lost[i]);
    if (w->member)
        *last_turn = turn;
}

/* --- a worker's life ------------------------------------------------------------------------------------------------------------ */

int qm_join(struct queue_model *q, bk_ms now, const struct qm_life *life)
{
    struct qm_worker *w = &q->workers[life->worker];
    struct qm_name *about = &q->names[w->name];
    int old = about->incarnation;
    int recovered = 0;
    if (old != QM_NONE && old != life->worker) {
        bool older = life->number != QM_NONE && life->number < about->number;
        if (older && !(q->sabotage & QM_JOINS_ANY))
            return -1;
        int jobs[1024];
        recovered = qp_held_by(&q->workers[old], -1, jobs, (int)BK_COUNT(jobs));
        if (!(q->sabotage & QM_FENCE_FORGETS))
            qp_hand_back(q, old, jobs, recovered, now, true, true);
        qp_forget(q, old);
    }
    w->member = true;
    w->lease = now + life->lease_ms;
    about->incarnation = life->worker;
    if (life->number != QM_NONE)
        about->number = life->number;
    return recovered;
}

struct qm_pulse qm_beat(struct queue_model *q, bk_ms now, const struct qm_life *life)
{
    struct qm_worker *w = &q->workers[life->worker];
    struct qm_name *about = &q->names[w->name];
    struct qm_pulse pulse = {.alive = w->member, .current = about->incarnation};
    if (!w->member) {
        bool older = about->number != QM_NONE && about->number < life->number;
        if (older && !(q->sabotage & QM_LATE_COUNTS))
            pulse.current = QM_NONE;
        pulse.number = ++q->incarnations;
        return pulse;
    }
    w->lease = now + life->lease_ms;
    if (life->number != QM_NONE)
        about->number = life->number;
    return pulse;
}

int qm_leave(struct queue_model *q, bk_ms now, int worker)
{
    int jobs[1024];
    int count = qp_held_by(&q->workers[worker], -1, jobs, (int)BK_COUNT(jobs));
    qp_hand_back(q, worker, jobs, count, now, true, false);
    qp_forget(q, worker);
    return count;
}

/* --- admins ----------------------------------------------------------------------------------------------------------------------- */

static void bring_back(struct queue_model *q, bk_ms now, const char *who, int number)
{
    struct qm_job *job = &q->jobs[number];
    qp_note(q, number, now, "brought back by %", who, "");
    job->attempts = job->requeues = job->deliveries = 0;
    job->reason = NULL;
    job->sqlstate[0] = '\0';
    job->died_at = 0;
    job->unsure = true;
    job->retried_at = now;
    job->deaths = 0;
    if (job->gate == QM_NONE)
        qp_make_ready(q, number);
    else
        qp_take_place(q, number);
}

int qm_dead_act(struct queue_model *q, bk_ms now, bool drop, const char *who, int *jobs, int count)
{
    int acted = 0;
    bool any = false;
    for (int i = 0; i < count; i++)
        any = any || qp_find_in(&q->dead, jobs[i]) != QM_NONE;
    q->audit += any;
    for (int i = 0; i < count; i++) {
        if (!qp_zset_remove(&q->dead, jobs[i]))
            continue;
        if (drop)
            qp_drop_hash(q, jobs[i]);
        else
            bring_back(q, now, who, jobs[i]);
        jobs[acted++] = jobs[i];
    }
    return acted;
}

void qm_configure(struct queue_model *q, const char *name, const char *value)
{
    q->audit++;
    if (strcmp(name, "paused") == 0)
        q->paused = strcmp(value, "1") == 0;
    else
        qp_copy_text(q->breaker, sizeof(q->breaker), value);
}
