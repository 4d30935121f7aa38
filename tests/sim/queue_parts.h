/* queue_parts.h - what the functions of queue_model.c are made of: lists, sorted sets, hashes, and the moves that several of
 * them make. Only for them. */
#ifndef SIM_QUEUE_PARTS_H
#define SIM_QUEUE_PARTS_H

#include "tests/sim/queue_model.h"

/* lists and sorted sets */
void qp_push(struct queue_model *q, struct qm_list *list, int job);
void qp_pop(struct qm_list *list, int count);
int qp_find_in(const struct qm_zset *set, int job);
bool qp_zset_remove(struct qm_zset *set, int job);
void qp_zset_add(struct queue_model *q, struct qm_zset *set, bk_ms score, int job);

/* what a worker holds: find_* give QM_NONE for nothing, held_by counts, `lane` -1 for all */
int qp_find_held(const struct qm_worker *worker, int job);
void qp_hold(struct queue_model *q, struct qm_worker *worker, int job, unsigned lane, uint64_t turn);
void qp_let_go(struct qm_worker *worker, int job);
int qp_held_by(const struct qm_worker *worker, int lane, int *jobs, int most);

/* texts, and the gate of a key */
void qp_copy_text(char *to, size_t room, const char *from);
int qp_gate_of(struct queue_model *q, struct bk_span key);

/** A line of a job's story; each % in the format is the next of the two texts. */
void qp_note(struct queue_model *q, int job, bk_ms now, const char *format, const char *a, const char *b);

/** Notes the first thing that nobody may do. */
void qp_foul(struct queue_model *q, const char *what, int job);

/** Everything of a job's hash is forgotten. */
void qp_drop_hash(struct queue_model *q, int job);

/* moves, as in queue.lua */
void qp_make_ready(struct queue_model *q, int job);
void qp_release(struct queue_model *q, const int *gates, int count, int *freed);
int qp_find_charge(const struct qm_job *job, int worker);
void qp_hand_back(struct queue_model *q, int worker, const int *jobs, int count, bk_ms now, bool tried, bool death);
void qp_forget(struct queue_model *q, int worker);
void qp_take_place(struct queue_model *q, int job);

#endif
