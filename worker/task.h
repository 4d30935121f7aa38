/* task.h - a job of a batch and what becomes of it. Pure: no I/O, time and random bits come in as arguments. */
#ifndef BK_TASK_H
#define BK_TASK_H

#include "worker/decision.h"
#include "worker/store.h"

struct bk_task {
    struct bk_job job;
    struct bk_settlement settlement; /* filled when `settled` */
    bool settled;
    bool expired; /* to be brought to the ledger only */
    char *error;  /* owned; the settlement's texts live here and in the two below */
    char *reply;
    char sqlstate[6];
};

/** What one lane has taken. */
struct bk_batch {
    struct bk_task *tasks;
    size_t count;
    struct bk_settlement *settlements; /* those of the tasks, in order, for bk_queue_turn */
};

/** Reads what was taken into tasks; spans are lent from `taken`, which must live until bk_batch_deinit. */
void bk_batch_init(struct bk_batch *batch, const struct bk_taken *taken);
void bk_batch_deinit(struct bk_batch *batch);

/** Decides what can be decided without the database: settles the task as dead, or finds whether it is expired. `now` is
 *  Redis's clock, Unix ms. */
void bk_task_decide(struct bk_task *task, const struct bk_decision_rules *rules, bk_ms now);

/** Keeps one task of each id in `tasks`, in their order, and settles the others free of charge: the same id under two
 *  keys can be taken together, and one statement cannot touch one ledger row twice. Returns how many stay. */
size_t bk_tasks_put_off_same_ids(struct bk_task **tasks, size_t count);

/** The database has said what became of it. */
void bk_task_finish(struct bk_task *task, const struct bk_store_outcome *outcome);

/** Its tries have failed in this turn. `unsure`: one of them may have been applied. */
void bk_task_give_up(struct bk_task *task, const struct bk_decision_rules *rules, const struct bk_error *error,
                     bool unsure, bk_ms now, uint64_t random);

#endif
