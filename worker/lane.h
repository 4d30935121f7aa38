/* lane.h - a lane: one thread that takes a batch, has it applied, settles it, and so on. */
#ifndef BK_LANE_H
#define BK_LANE_H

#include "worker/service.h"

struct bk_lane {
    struct bk_service *service;
    unsigned number; /* 0.. */
    pthread_t thread;
};

/** The thread's body; `arg` is its struct bk_lane. Ends when the service stops or is fenced. */
void *bk_lane_run(void *arg);

#endif
