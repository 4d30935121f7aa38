/* queue_parts.c - see queue_parts.h. */
#include "tests/sim/queue_parts.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HISTORY_MOST = 8000 };

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
    q->incarnations = 0;
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

void qp_push(struct queue_model *q, struct qm_list *list, int job)
{
    BK_ASSERT(list->count < q->capacity);
    list->at[list->count++] = job;
}

void qp_pop(struct qm_list *list, int count)
{
    list->count -= count;
    memmove(list->at, list->at + count, (size_t)list->count * sizeof(*list->at));
}

int qp_find_in(const struct qm_zset *set, int job)
{
    for (int i = 0; i < set->count; i++) {
        if (set->at[i].job == job)
            return i;
    }
    return QM_NONE;
}

bool qp_zset_remove(struct qm_zset *set, int job)
{
    int i = qp_find_in(set, job);
    if (i == QM_NONE)
        return false;
    set->count--;
    memmove(set->at + i, set->at + i + 1, (size_t)(set->count - i) * sizeof(*set->at));
    return true;
}

void qp_zset_add(struct queue_model *q, struct qm_zset *set, bk_ms score, int job)
{
    (void)qp_zset_remove(set, job);
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

int qp_find_held(const struct qm_worker *worker, int job)
{
    for (int i = 0; i < worker->active_count; i++) {
        if (worker->active[i].job == job)
            return i;
    }
    return QM_NONE;
}

void qp_hold(struct queue_model *q, struct qm_worker *worker, int job, unsigned lane, uint64_t turn)
{
    BK_ASSERT(worker->active_count < q->capacity);
    worker->active[worker->active_count++] = (struct qm_held){job, lane, turn};
}

void qp_let_go(struct qm_worker *worker, int job)
{
    int i = qp_find_held(worker, job);
    if (i == QM_NONE)
        return;
    worker->active_count--;
    memmove(worker->active + i, worker->active + i + 1, (size_t)(worker->active_count - i) * sizeof(*worker->active));
}

void qp_copy_text(char *to, size_t room, const char *from)
{
    size_t size = strnlen(from, room - 1);
    memcpy(to, from, size);
    to[size] = '\0';
}

int qp_gate_of(struct queue_model *q, struct bk_span key)
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
    qp_copy_text(text, sizeof(text), worker);
    *strrchr(text, '@') = '\0';
    for (int i = 0; i < q->name_count; i++) {
        if (strcmp(q->names[i].text, text) == 0)
            return i;
    }
    BK_ASSERT(q->name_count < (int)BK_COUNT(q->names));
    q->names[q->name_count] = (struct qm_name){.incarnation = QM_NONE, .number = QM_NONE};
    qp_copy_text(q->names[q->name_count].text, QM_TEXT, text);
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
    qp_copy_text(worker->text, QM_TEXT, text);
    worker->name = name_of(q, text);
    worker->member = false;
    worker->active_count = 0;
    return q->worker_count++;
}

void qp_note(struct queue_model *q, int job, bk_ms now, const char *format, const char *a, const char *b)
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

void qp_foul(struct queue_model *q, const char *what, int job)
{
    if (q->foul)
        return;
    q->foul = what;
    q->foul_job = job;
}

/* --- moves -------------------------------------------------------------------------------------------------------------------- */

void qp_make_ready(struct queue_model *q, int job)
{
    qp_push(q, &q->ready, job);
    q->jobs[job].state = QM_READY;
}

/* plan_release and release in one: nothing of a model fails between them. */
void qp_release(struct queue_model *q, const int *gates, int count, int *freed)
{
    int following[QM_BOUND] = {0};
    for (int i = 0; i < count; i++) {
        struct qm_gate *gate = &q->gates[gates[i]];
        if (gate->count > 1 && gate->line.count > 0) {
            gate->count--;
            following[(*freed)++] = gate->line.at[0];
            qp_pop(&gate->line, 1);
        } else {
            gate->count = 0;
        }
    }
    for (int i = 0; i < *freed; i++)
        qp_make_ready(q, following[i]);
}

/* Where the charge by this worker stands, or would stand. */
int qp_find_charge(const struct qm_job *job, int worker)
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
    int i = qp_find_charge(j, worker);
    BK_ASSERT(i < QM_CHARGES);
    j->charges = BK_MAX(j->charges, i + 1);
    j->charged[i].worker = worker;
    j->charged[i].lane = held->lane;
    j->charged[i].turn = held->turn;
    j->charged[i].since = j->retried_at;
    qp_note(q, held->job, now, "its worker % fell silent", q->workers[worker].text, "");
}

void qp_hand_back(struct queue_model *q, int worker, const int *jobs, int count, bk_ms now, bool tried, bool death)
{
    for (int i = 0; i < count; i++) {
        struct qm_job *job = &q->jobs[jobs[i]];
        job->unsure = job->unsure || (tried && !(q->sabotage & QM_SURE));
        struct qm_held held = q->workers[worker].active[qp_find_held(&q->workers[worker], jobs[i])];
        qp_let_go(&q->workers[worker], jobs[i]);
        if (death)
            charge(q, worker, &held, now);
        qp_make_ready(q, jobs[i]);
    }
}

void qp_forget(struct queue_model *q, int worker)
{
    struct qm_worker *w = &q->workers[worker];
    struct qm_name *about = &q->names[w->name];
    w->member = false;
    w->active_count = 0;
    if (about->incarnation == worker) {
        about->incarnation = QM_NONE;
        about->number = QM_NONE;
        memset(about->taken, 0, sizeof(about->taken));
        memset(about->settled, 0, sizeof(about->settled));
    }
}

int qp_held_by(const struct qm_worker *worker, int lane, int *jobs, int most)
{
    int count = 0;
    for (int i = 0; i < worker->active_count && count < most; i++) {
        if (lane < 0 || worker->active[i].lane == (unsigned)lane)
            jobs[count++] = worker->active[i].job;
    }
    return count;
}

/* Everything of a job's hash is forgotten. */
void qp_drop_hash(struct queue_model *q, int job)
{
    q->jobs[job].kept = false;
    bk_text_deinit(&q->jobs[job].history);
}

/* The job takes its place: at its gate if that is free, else in its line. */
void qp_take_place(struct queue_model *q, int job)
{
    struct qm_gate *gate = &q->gates[q->jobs[job].gate];
    q->jobs[job].place = ++q->places;
    if (gate->count++ > 0) {
        qp_push(q, &gate->line, job);
        q->jobs[job].state = QM_WAITING;
    } else {
        qp_make_ready(q, job);
    }
}
