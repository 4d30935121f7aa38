/* fault.c - see fault.h. */
#include "tests/faults/proxy/fault.h"

#include <stdlib.h>
#include <string.h>

static void fault_free(struct fault *fault)
{
    bk_text_deinit(&fault->from);
    free(fault);
}

void fault_arm(struct fault_list *list, struct fault fault)
{
    struct fault **end = &list->first;
    while (*end)
        end = &(*end)->next;
    *end = bk_alloc(sizeof(**end));
    **end = fault;
    (*end)->next = NULL;
}

void fault_list_clear(struct fault_list *list)
{
    while (list->first) {
        struct fault *fault = list->first;
        BK_ASSERT(fault->counting == 0);
        list->first = fault->next;
        fault_free(fault);
    }
}

uint64_t fault_armed(const struct fault_list *list)
{
    uint64_t armed = 0;
    for (const struct fault *fault = list->first; fault; fault = fault->next)
        armed += fault->left + fault->counting;
    return armed;
}

bool fault_list_looks_for_text(const struct fault_list *list)
{
    for (const struct fault *fault = list->first; fault; fault = fault->next) {
        if (fault->left > 0 && fault->from.size > 0)
            return true;
    }
    return false;
}

static bool has_counter(const struct fault_counters *counters, const struct fault *fault)
{
    for (size_t i = 0; i < counters->count; i++) {
        if (counters->list[i].fault == fault)
            return true;
    }
    return false;
}

static bool triggers(const struct fault *fault, const struct bk_span *message)
{
    if (fault->from.size == 0)
        return true;
    return message && memmem(message->at, message->size, fault->from.data, fault->from.size);
}

void fault_trigger(struct fault_list *list, struct fault_counters *counters, const struct bk_span *message)
{
    for (struct fault *fault = list->first; fault; fault = fault->next) {
        if (fault->left == 0 || has_counter(counters, fault) || !triggers(fault, message))
            continue;
        if (counters->count == counters->room) {
            counters->room = counters->room ? counters->room * 2 : 4;
            counters->list = bk_realloc(counters->list, counters->room * sizeof(*counters->list));
        }
        counters->list[counters->count++] = (struct fault_counter){.fault = fault};
        fault->left--;
        fault->counting++;
    }
}

void fault_count_message(struct fault_counters *counters, enum frame_side side)
{
    for (size_t i = 0; i < counters->count; i++) {
        struct fault_counter *counter = &counters->list[i];
        if (counter->fault->side == side && counter->fault->kind != FAULT_FLIP)
            counter->seen++;
    }
}

static void remove_counter(struct fault_counters *counters, size_t at)
{
    counters->count--;
    memmove(counters->list + at, counters->list + at + 1, (counters->count - at) * sizeof(*counters->list));
}

/* The fault has happened once more; one that has happened for the last time goes. */
static void happened(struct fault_list *list, struct fault *fault)
{
    fault->counting--;
    if (fault->left > 0 || fault->counting > 0)
        return;
    struct fault **link = &list->first;
    while (*link != fault)
        link = &(*link)->next;
    *link = fault->next;
    fault_free(fault);
}

bool fault_take(struct fault_list *list, struct fault_counters *counters, enum frame_side side, struct fault *out)
{
    for (size_t i = 0; i < counters->count; i++) {
        struct fault *fault = counters->list[i].fault;
        if (fault->side != side || fault->kind == FAULT_FLIP || counters->list[i].seen != fault->at)
            continue;
        *out = *fault;
        out->from = (struct bk_text){0};
        out->next = NULL;
        remove_counter(counters, i);
        happened(list, fault);
        return true;
    }
    return false;
}

unsigned fault_flip(struct fault_list *list, struct fault_counters *counters, enum frame_side side, char *bytes,
                    size_t size)
{
    unsigned flips = 0;
    for (size_t i = counters->count; i-- > 0;) {
        struct fault_counter *counter = &counters->list[i];
        struct fault *fault = counter->fault;
        if (fault->side != side || fault->kind != FAULT_FLIP)
            continue;
        if (fault->at - counter->seen > size) {
            counter->seen += size;
            continue;
        }
        char *byte = &bytes[fault->at - counter->seen - 1];
        *byte = (char)((unsigned char)*byte ^ 1U << fault->bit);
        flips++;
        remove_counter(counters, i);
        happened(list, fault);
    }
    return flips;
}

void fault_counters_deinit(struct fault_counters *counters)
{
    for (size_t i = 0; i < counters->count; i++) {
        counters->list[i].fault->counting--;
        counters->list[i].fault->left++;
    }
    free(counters->list);
    *counters = (struct fault_counters){0};
}

const char *fault_kind_name(enum fault_kind kind)
{
    static const char *const names[] = {[FAULT_CUT] = "cut", [FAULT_DELAY] = "delay", [FAULT_FLIP] = "flip"};
    return names[kind];
}

const char *fault_end_name(enum fault_end end)
{
    static const char *const names[] = {[FAULT_RST] = "rst", [FAULT_FIN] = "fin", [FAULT_SILENCE] = "silence"};
    return names[end];
}

const char *fault_side_name(enum frame_side side)
{
    static const char *const names[] = {[FRAME_CLIENT] = "client", [FRAME_SERVER] = "server"};
    return names[side];
}
