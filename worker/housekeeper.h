/* housekeeper.h - the thread that keeps the worker's lease and its numbers. */
#ifndef BK_HOUSEKEEPER_H
#define BK_HOUSEKEEPER_H

/** The thread's body; `arg` is the struct bk_service. Joins, beats, looks at the queue's counts, prunes the ledger.
 *  Goes on while the service stops (the lanes still hold jobs) and ends when `housekeeping_over` is set or the worker is
 *  fenced. */
void *bk_housekeeper_run(void *arg);

#endif
