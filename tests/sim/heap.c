/* heap.c - see heap.h: a binary heap. */
#include "tests/sim/heap.h"

static bool goes_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

void sim_heap_push(struct sim_heap *heap, const struct sim_event *event)
{
    BK_ASSERT(heap->count < SIM_EVENTS_MOST);
    struct sim_event e = *event;
    e.order = ++heap->order;
    size_t i = heap->count++;
    while (i > 0 && goes_before(&e, &heap->events[(i - 1) / 2])) {
        heap->events[i] = heap->events[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap->events[i] = e;
}

bool sim_heap_pop(struct sim_heap *heap, struct sim_event *event)
{
    if (heap->count == 0)
        return false;
    *event = heap->events[0];
    const struct sim_event last = heap->events[--heap->count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && goes_before(&heap->events[child + 1], &heap->events[child]))
            child++;
        if (!goes_before(&heap->events[child], &last))
            break;
        heap->events[i] = heap->events[child];
        i = child;
    }
    heap->events[i] = last;
    return true;
}
