/* heap.h - what happens next: events in the order of virtual time, those of one time in the order they were put in. */
#ifndef SIM_HEAP_H
#define SIM_HEAP_H

#include "common/base.h"
#include "common/clock.h"

enum { SIM_EVENTS_MOST = 2048 };

struct sim_event {
    bk_ms at;
    uint64_t order;
    int type; /* enum sim_event_type, world.h */
    int slot; /* of a process */
    int lane;
    uint32_t life;  /* of the process: events of dead ones mean nothing */
    uint32_t token; /* of a timer: older ones mean nothing */
    int data;
};

struct sim_heap {
    uint64_t order;
    size_t count;
    struct sim_event events[SIM_EVENTS_MOST];
};

void sim_heap_push(struct sim_heap *heap, const struct sim_event *event);
/** False when it is empty. */
bool sim_heap_pop(struct sim_heap *heap, struct sim_event *event);

#endif
