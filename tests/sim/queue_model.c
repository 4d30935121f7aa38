/* queue_model.c - see queue_model.h. Each function has the name, the order and the steps of its twin in queue.lua. */
#include "tests/sim/queue_model.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HISTORY_MOST = 8000, REST_MOST_MS = 30000 };

/* --- memory --------------------------------------------------------------------------------------------------------------- */

static void list_open(struct qm_list *list, int capacity)
{
    list->at = bk_alloc((size_t)capacity * sizeof(*list->at));
    list->count = 0;
}

struct queue_model *qm_open(int capacity)
{
    struct queue_model *q = bk_zalloc(sizeof(*q));
    q->capacity = capacity;
    q->jobs = bk_zalloc((size_t)capacity * sizeof(*q->jobs));
    list_open(&q->inbox, capacity);
    list_open(&q->ready, capacity);
    struct qm_zset *sets[] = {&q->scheduled, &q->retry, &q->dead};
    for (size_t i = 0; i < BK_COUNT(sets); i++)
        sets[i]->at = bk_alloc((size_t)capacity * sizeof(*sets[i]->at));
    for (size_t i = 0; i < BK_COUNT(q->gates); i++)
        list_open(&q->gates[i].line, capacity);
    for (size_t i = 0; i < BK_COUNT(q->workers); i++)
        q->workers[i].active = bk_alloc((size_t)capacity * sizeof(*q->workers[i].active));
    return q;
}

void qm_reset(struct queue_model *q, unsigned sabotage, bool stories)
{
    for (int i = 0; i < q->job_count; i++)
        bk_text_deinit(&q->jobs[i].history);
    q->sabotage = sabotage;
    q->stories = stories;
    q->job_count = q->gate_count = q->worker_count = q->name_count = q->reply_count = 0;
    q->inbox.count = q->ready.count = q->scheduled.count = q->retry.count = q->dead.count = 0;
    q->paused = false;
    q->breaker[0] = '\0';
    q->audit = 0;
    q->places = 0;
    q->foul = NULL;
}

struct queue_model *qm_close(struct queue_model *q)
{
    if (!q)
        return NULL;
    qm_reset(q, 0, false);
    free(q->jobs);
    free(q->inbox.at);
    free(q->ready.at);
    free(q->scheduled.at);
    free(q->retry.at);
    free(q->dead.at);
    for (size_t i = 0; i < BK_COUNT(q->gates); i++)
        free(q->gates[i].line.at);
    for (size_t i = 0; i < BK_COUNT(q->workers); i++)
        free(q->workers[i].active);
    free(q);
    return NULL;
}

/* --- lists, sorted sets, hashes --------------------------------------------------------------------------------------------- */

static void push(struct queue_model *q, struct qm_list *list, int job)
{
    BK_ASSERT(list->count < q->capacity);
    list->at[list->count++] = job;
}

static void pop(struct qm_list *list, int count)
{
    list->count -= count;
    memmove(list->at, list->at + count, (size_t)list->count * sizeof(*list->at));
}

static int find_in(const struct qm_zset *set, int job)
{
    for (int i = 0; i < set->count; i++) {
        if (set->at[i].job == job)
            return i;
    }
    return QM_NONE;
}

static bool zset_remove(struct qm_zset *set, int job)
{
    int i = find_in(set, job);
    if (i == QM_NONE)
        return false;
    set->count--;
    memmove(set->at + i, set->at + i + 1, (size_t)(set->count - i) * sizeof(*set->at));
    return true;
}

static void zset_add(struct queue_model *q, struct qm_zset *set, bk_ms score, int job)
{
    (void)zset_remove(set, job);
    int i = set->count++;
    BK_ASSERT(set->count <= q->capacity);
    while (i > 0 &&
           (set->at[i - 1].score > score ||
            (set->at[i - 1].score == score && strcmp(q->jobs[set->at[i - 1].job].ticket, q->jobs[job].ticket) > 0))) {
        set->at[i] = set->at[i - 1];
        i--;
    }
    set->at[i].score = score;
    set->at[i].job = job;
}

static int find_held(const struct qm_worker *worker, int job)
{
    for (int i = 0; i < worker->active_count; i++) {
        if (worker->active[i].job == job)
            return i;
    }
    return QM_NONE;
}

static void hold(struct queue_model *q, struct qm_worker *worker, int job, unsigned lane, uint64_t turn)
{
    BK_ASSERT(worker->active_count < q->capacity);
    worker->active[worker->active_count++] = (struct qm_held){job, lane, turn};
}

static void let_go(struct qm_worker *worker, int job)
{
    int i = find_held(worker, job);
    if (i == QM_NONE)
        return;
    worker->active_count--;
    memmove(worker->active + i, worker->active + i + 1, (size_t)(worker->active_count - i) * sizeof(*worker->active));
}

static void copy_text(char *to, size_t room, const char *from)
{
    size_t size = strnlen(from, room - 1);
    memcpy(to, from, size);
    to[size] = '\0';
}

static int gate_of(struct queue_model *q, struct bk_span key)
{
    char name[132];
    for (size_t i = 0; i < key.size; i++)
        name[i] = (char)tolower((unsigned char)key.at[i]);
    name[key.size] = '\0';
    for (int i = 0; i < q->gate_count; i++) {
        if (strcmp(q->gates[i].name, name) == 0)
            return i;
    }
    BK_ASSERT(q->gate_count < (int)BK_COUNT(q->gates));
    struct qm_gate *gate = &q->gates[q->gate_count];
    memcpy(gate->name, name, key.size + 1);
    gate->count = gate->line.count = 0;
    return q->gate_count++;
}

static int name_of(struct queue_model *q, const char *worker)
{
    char text[QM_TEXT];
    copy_text(text, sizeof(text), worker);
    *strrchr(text, '@') = '\0';
    for (int i = 0; i < q->name_count; i++) {
        if (strcmp(q->names[i].text, text) == 0)
            return i;
    }
    BK_ASSERT(q->name_count < (int)BK_COUNT(q->names));
    q->names[q->name_count] = (struct qm_name){.incarnation = QM_NONE, .instead_of = QM_NONE};
    copy_text(q->names[q->name_count].text, QM_TEXT, text);
    return q->name_count++;
}

int qm_worker(struct queue_model *q, const char *text)
{
    for (int i = 0; i < q->worker_count; i++) {
        if (strcmp(q->workers[i].text, text) == 0)
            return i;
    }
    BK_ASSERT(q->worker_count < (int)BK_COUNT(q->workers));
    struct qm_worker *worker = &q->workers[q->worker_count];
    copy_text(worker->text, QM_TEXT, text);
    worker->name = name_of(q, text);
    worker->member = false;
    worker->active_count = 0;
    return q->worker_count++;
}

static void note(struct queue_model *q, int job, bk_ms now, const char *format, const char *a, const char *b)
{
    struct bk_text *history = &q->jobs[job].history;
    if (!q->stories || history->size >= HISTORY_MOST)
        return;
    bk_text_printf(history, "%lld ", (long long)now);
    for (const char *at = format; *at; at++) {
        if (*at == '%') {
            bk_text_puts(history, a);
            a = b;
        } else {
            bk_text_putc(history, *at);
        }
    }
    bk_text_putc(history, '\n');
}

static void foul(struct queue_model *q, const char *what, int job)
{
    if (q->foul)
        return;
    q->foul = what;
    q->foul_job = job;
}

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
    copy_text(job->ticket, sizeof(job->ticket), ticket);
    struct bk_span key = {NULL, 0};
    if (shape_of(fields, count, &key, &job->not_before))
        job->gate = gate_of(q, key);
    push(q, &q->inbox, q->job_count);
    return q->job_count++;
}

/* Everything of a job's hash is forgotten. */
static void drop_hash(struct queue_model *q, int job)
{
    q->jobs[job].kept = false;
    bk_text_deinit(&q->jobs[job].history);
}

/* --- moves -------------------------------------------------------------------------------------------------------------------- */

static void make_ready(struct queue_model *q, int job)
{
    push(q, &q->ready, job);
    q->jobs[job].state = QM_READY;
}

/* plan_release and release in one: nothing of a model fails between them. */
static void release(struct queue_model *q, const int *gates, int count, int *freed)
{
    int following[QM_BOUND];
    for (int i = 0; i < count; i++) {
        struct qm_gate *gate = &q->gates[gates[i]];
        if (gate->count > 1 && gate->line.count > 0) {
            gate->count--;
            following[(*freed)++] = gate->line.at[0];
            pop(&gate->line, 1);
        } else {
            gate->count = 0;
        }
    }
    for (int i = 0; i < *freed; i++)
        make_ready(q, following[i]);
}

/* Where the charge by this worker stands, or would stand. */
static int find_charge(const struct qm_job *job, int worker)
{
    int i = 0;
    while (i < job->charges && job->charged[i].worker != worker)
        i++;
    return i;
}

static void charge(struct queue_model *q, int worker, const struct qm_held *held, bk_ms now)
{
    struct qm_job *j = &q->jobs[held->job];
    if (q->sabotage & QM_NO_CHARGE)
        return;
    j->deliveries++;
    j->deaths++;
    int i = find_charge(j, worker);
    BK_ASSERT(i < QM_CHARGES);
    j->charges = BK_MAX(j->charges, i + 1);
    j->charged[i].worker = worker;
    j->charged[i].lane = held->lane;
    j->charged[i].turn = held->turn;
    j->charged[i].since = j->retried_at;
    note(q, held->job, now, "its worker % fell silent", q->workers[worker].text, "");
}

static void hand_back(struct queue_model *q, int worker, const int *jobs, int count, bk_ms now, bool tried, bool death)
{
    for (int i = 0; i < count; i++) {
        struct qm_job *job = &q->jobs[jobs[i]];
        job->unsure = job->unsure || (tried && !(q->sabotage & QM_SURE));
        struct qm_held held = q->workers[worker].active[find_held(&q->workers[worker], jobs[i])];
        let_go(&q->workers[worker], jobs[i]);
        if (death)
            charge(q, worker, &held, now);
        make_ready(q, jobs[i]);
    }
}

static void forget(struct queue_model *q, int worker)
{
    struct qm_worker *w = &q->workers[worker];
    struct qm_name *about = &q->names[w->name];
    w->member = false;
    w->active_count = 0;
    if (about->incarnation == worker) {
        about->incarnation = about->instead_of = QM_NONE;
        memset(about->taken, 0, sizeof(about->taken));
        memset(about->settled, 0, sizeof(about->settled));
    }
}

static int held_by(const struct qm_worker *worker, int lane, int *jobs, int most)
{
    int count = 0;
    for (int i = 0; i < worker->active_count && count < most; i++) {
        if (lane < 0 || worker->active[i].lane == (unsigned)lane)
            jobs[count++] = worker->active[i].job;
    }
    return count;
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
        int some = held_by(&q->workers[w], -1, jobs, QM_BOUND - count);
        hand_back(q, w, jobs, some, now, true, true);
        count += some;
        if (some == held)
            forget(q, w);
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

/* The job takes its place: at its gate if that is free, else in its line. */
static void take_place(struct queue_model *q, int job)
{
    struct qm_gate *gate = &q->gates[q->jobs[job].gate];
    q->jobs[job].place = ++q->places;
    if (gate->count++ > 0) {
        push(q, &gate->line, job);
        q->jobs[job].state = QM_WAITING;
    } else {
        make_ready(q, job);
    }
}

static void promote(struct queue_model *q, bk_ms now)
{
    int jobs[QM_BOUND];
    int count = take_due(&q->retry, now, jobs);
    for (int i = 0; i < count; i++)
        make_ready(q, jobs[i]);
    count = take_due(&q->scheduled, now, jobs);
    for (int i = 0; i < count; i++)
        take_place(q, jobs[i]);
}

/* --- take --------------------------------------------------------------------------------------------------------------------- */

struct taking {
    int worker;
    unsigned lane;
    uint64_t turn;
    bk_ms now;
    struct qm_taken *taken;
};

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
            zset_add(q, &q->scheduled, job->not_before, number);
            continue;
        }
        job->place = ++q->places;
        if (gate && gate->count > 0 && !(q->sabotage & QM_NO_GATE)) {
            job->state = QM_WAITING;
            push(q, &gate->line, number);
        } else {
            hold(q, &q->workers[t->worker], number, t->lane, t->turn);
            t->taken->jobs[t->taken->count++] = number;
        }
        if (gate)
            gate->count++;
    }
    pop(&q->inbox, n);
    return n;
}

static void take_ready(struct queue_model *q, const struct taking *t, int want)
{
    int n = BK_MIN(q->ready.count, want);
    for (int i = 0; i < n; i++) {
        int job = q->ready.at[i];
        if (!q->jobs[job].kept)
            continue;
        hold(q, &q->workers[t->worker], job, t->lane, t->turn);
        t->taken->jobs[t->taken->count++] = job;
        q->jobs[job].state = QM_NO_STATE;
    }
    pop(&q->ready, n);
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

enum qm_verdict qm_take(struct queue_model *q, bk_ms now, int worker, unsigned lane, uint64_t turn, int want,
                        bool resume, struct qm_taken *taken)
{
    static int room[1024];
    struct qm_worker *w = &q->workers[worker];
    uint64_t *last_turn = &q->names[w->name].taken[lane];
    *taken = (struct qm_taken){.last = QM_NONE, .jobs = room};
    if (!w->member || w->lease <= now)
        return QM_FENCED;
    if (turn <= *last_turn && !(q->sabotage & QM_NO_TURNS))
        return QM_TOO_LATE;
    if (resume && !(q->sabotage & QM_NO_RESUME)) {
        int mine = held_by(w, (int)lane, room, (int)BK_COUNT(room));
        hand_back(q, worker, room, mine, now, false, false);
    }
    *last_turn = turn;
    if (q->paused) {
        taken->paused = true;
        return QM_OK;
    }
    taken->recovered = reap(q, now);
    promote(q, now);
    struct taking t = {worker, lane, turn, now, taken};
    int scanned = 0;
    take_ready(q, &t, want);
    while (taken->count < want && scanned < want + QM_BOUND) {
        int asked = want - taken->count;
        int n = take_inbox(q, &t, asked);
        scanned += n;
        if (n < asked)
            break;
    }
    taken->more = taken->count == want || scanned >= want + QM_BOUND;
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
        copy_text(q->replies[i].id, QM_TEXT, id);
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
    copy_text(job->error, QM_TEXT, r->error);
    note(q, r->job, now, "handed back: %", r->error, "");
    if (rest > 0) {
        job->state = QM_RETRY;
        zset_add(q, &q->retry, now + rest, r->job);
    } else {
        make_ready(q, r->job);
    }
}

static void bury(struct queue_model *q, bk_ms now, int worker, const struct qm_record *r)
{
    struct qm_job *job = &q->jobs[r->job];
    job->state = QM_DEAD;
    job->reason = r->reason;
    copy_text(job->sqlstate, sizeof(job->sqlstate), r->sqlstate);
    copy_text(job->error, QM_TEXT, r->error);
    job->attempts = r->attempts;
    job->died_at = now;
    job->died_at_worker = worker;
    note(q, r->job, now, "dead, %: %", r->reason, r->error);
    zset_add(q, &q->dead, now, r->job);
    push_reply(q, r->reply_id);
}

static void settle_one(struct queue_model *q, bk_ms now, int worker, const struct qm_record *r)
{
    struct qm_job *job = &q->jobs[r->job];
    switch (r->verb) {
    case QM_DO_REPLY:
        push_reply(q, r->reply_id);
        drop_hash(q, r->job);
        return;
    case QM_DO_DONE:
        drop_hash(q, r->job);
        return;
    case QM_DO_RETRY:
        job->attempts++;
        job->state = QM_RETRY;
        job->unsure = r->unsure;
        copy_text(job->error, QM_TEXT, r->error);
        note(q, r->job, now, "to be tried again: %", r->error, "");
        zset_add(q, &q->retry, now + r->delay, r->job);
        return;
    case QM_DO_REQUEUE:
        requeue(q, now, r);
        return;
    case QM_DO_FREE:
        make_ready(q, r->job);
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
    int i = find_charge(j, worker);
    bool its = i < j->charges && j->charged[i].lane == lane && j->charged[i].turn <= turn;
    bool charged = its && j->charged[i].since == j->retried_at;
    if (its)
        j->charged[i] = j->charged[--j->charges];
    if (!j->kept || j->deliveries == 0 || !(charged || q->sabotage & QM_REFUNDS_ANY))
        return;
    j->deliveries--;
    if (!charged)
        foul(q, "a death is refunded that this worker was not charged with", job);
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
        int at = find_held(w, r->job);
        bool mine = at != QM_NONE && ((w->active[at].lane == lane && w->active[at].turn <= turn) ||
                                      q->sabotage & (QM_NO_OWNERSHIP | QM_WORKER_OWNS));
        if (!mine && !(q->sabotage & QM_NO_OWNERSHIP && q->jobs[r->job].kept)) {
            settled->lost[settled->lost_count++] = r->job;
            continue;
        }
        if (at == QM_NONE || w->active[at].lane != lane || w->active[at].turn != turn)
            foul(q, "a job is settled that another take holds", r->job);
        bool lets_go = is_over(r->verb) || (q->sabotage & QM_LETS_GO && r->verb != QM_DO_FREE);
        if (lets_go && q->jobs[r->job].gate != QM_NONE)
            gates[gate_count++] = q->jobs[r->job].gate;
        settle_one(q, now, worker, r);
        let_go(w, r->job);
    }
    release(q, gates, gate_count, &settled->freed);
    for (int i = 0; i < settled->lost_count; i++)
        refund(q, worker, lane, turn, settled->lost[i]);
    if (w->member)
        *last_turn = turn;
}

/* --- a worker's life ------------------------------------------------------------------------------------------------------------ */

struct qm_joined qm_join(struct queue_model *q, bk_ms now, int worker, int instead_of, bk_ms lease_ms)
{
    struct qm_worker *w = &q->workers[worker];
    struct qm_name *about = &q->names[w->name];
    int old = about->incarnation;
    struct qm_joined joined = {0, QM_NONE, false};
    if (old != QM_NONE && old != worker && old != instead_of && !(q->sabotage & QM_JOINS_ANY))
        return (struct qm_joined){-1, old, about->instead_of == worker};
    if (old != QM_NONE && old != worker) {
        int jobs[1024];
        joined.recovered = held_by(&q->workers[old], -1, jobs, (int)BK_COUNT(jobs));
        if (!(q->sabotage & QM_FENCE_FORGETS))
            hand_back(q, old, jobs, joined.recovered, now, true, true);
        forget(q, old);
    }
    w->member = true;
    w->lease = now + lease_ms;
    about->incarnation = worker;
    about->instead_of = instead_of;
    return joined;
}

bool qm_beat(struct queue_model *q, bk_ms now, int worker, bk_ms lease_ms, int *current)
{
    struct qm_worker *w = &q->workers[worker];
    *current = q->names[w->name].incarnation;
    if (!w->member)
        return false;
    w->lease = now + lease_ms;
    return true;
}

int qm_leave(struct queue_model *q, bk_ms now, int worker)
{
    int jobs[1024];
    int count = held_by(&q->workers[worker], -1, jobs, (int)BK_COUNT(jobs));
    hand_back(q, worker, jobs, count, now, true, false);
    forget(q, worker);
    return count;
}

/* --- admins ----------------------------------------------------------------------------------------------------------------------- */

static void bring_back(struct queue_model *q, bk_ms now, const char *who, int number)
{
    struct qm_job *job = &q->jobs[number];
    note(q, number, now, "brought back by %", who, "");
    job->attempts = job->requeues = job->deliveries = 0;
    job->reason = NULL;
    job->sqlstate[0] = '\0';
    job->died_at = 0;
    job->unsure = true;
    job->retried_at = now;
    job->deaths = 0;
    if (job->gate == QM_NONE)
        make_ready(q, number);
    else
        take_place(q, number);
}

int qm_dead_act(struct queue_model *q, bk_ms now, bool drop, const char *who, int *jobs, int count)
{
    int acted = 0;
    bool any = false;
    for (int i = 0; i < count; i++)
        any = any || find_in(&q->dead, jobs[i]) != QM_NONE;
    q->audit += any;
    for (int i = 0; i < count; i++) {
        if (!zset_remove(&q->dead, jobs[i]))
            continue;
        if (drop)
            drop_hash(q, jobs[i]);
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
        copy_text(q->breaker, sizeof(q->breaker), value);
}
