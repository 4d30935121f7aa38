/* watcher.h - the thread that learns of new work while lanes sleep. */
#ifndef BK_WATCHER_H
#define BK_WATCHER_H

/** The thread's body; `arg` is the struct bk_service. Ends when the service stops or is fenced, at most a second
 *  (and one call to Redis) later. */
void *bk_watcher_run(void *arg);

#endif
