/* fault.h - the faults that are armed, and who counts towards them.
 *
 * A fault is triggered by a message on one connection, which from then on has a *counter* for it: the fault happens at
 * that connection's at-th message (or byte). A counter that ends before, since its connection did, gives the fault back:
 * it is armed again.
 */
#ifndef FAULT_H
#define FAULT_H

#include "common/clock.h"
#include "common/text.h"
#include "tests/faults/proxy/frame.h"

enum fault_kind { FAULT_CUT, FAULT_DELAY, FAULT_FLIP };
enum fault_end { FAULT_RST, FAULT_FIN, FAULT_SILENCE };

struct fault {
    enum fault_kind kind;
    enum frame_side side; /* whose messages or bytes are counted */
    uint64_t at;          /* from 1 */
    bool after;           /* cut: the message is forwarded before */
    enum fault_end end;   /* cut */
    bk_ms delay_ms;       /* delay */
    unsigned bit;         /* flip: 0 is the lowest */
    struct bk_text from;  /* what the triggering client message contains; empty: any message of either side triggers */
    uint64_t left;        /* how often it may still be triggered */
    uint64_t counting;    /* counters there are */
    struct fault *next;
};

/** All that are armed. `{0}` is valid; freed by fault_list_clear. */
struct fault_list {
    struct fault *first;
};

/** One connection's way to one fault. */
struct fault_counter {
    struct fault *fault;
    uint64_t seen;
};

/** One connection's counters. `{0}` is valid; freed by fault_counters_deinit. */
struct fault_counters {
    struct fault_counter *list;
    size_t count;
    size_t room;
};

/** Arms a fault, behind those that are. Takes over what `fault` owns. */
void fault_arm(struct fault_list *list, struct fault fault);
/** Disarms all; there must be no counters any more. */
void fault_list_clear(struct fault_list *list);
/** How often a fault can still happen, those that are being counted for included. */
uint64_t fault_armed(const struct fault_list *list);
/** Whether a message's contents may trigger something. */
bool fault_list_looks_for_text(const struct fault_list *list);

/** Begins counters for the faults that a message triggers. `message` is NULL if only those without a text are asked. */
void fault_trigger(struct fault_list *list, struct fault_counters *counters, const struct bk_span *message);
/** Counts one message of `side` for cuts and delays. */
void fault_count_message(struct fault_counters *counters, enum frame_side side);
/** Takes a cut or delay of `side` that is due at the message just counted off the counters, and copies it to *out without
 *  its text. False: there is none (any more). */
bool fault_take(struct fault_list *list, struct fault_counters *counters, enum frame_side side, struct fault *out);
/** Counts bytes of `side` and does to them what flips say; returns how many happened. */
unsigned fault_flip(struct fault_list *list, struct fault_counters *counters, enum frame_side side, char *bytes,
                    size_t size);
/** Ends all counters and gives the faults back. */
void fault_counters_deinit(struct fault_counters *counters);

/** "cut", "delay", "flip"; static. */
const char *fault_kind_name(enum fault_kind kind);
/** "rst", "fin", "silence"; static. */
const char *fault_end_name(enum fault_end end);
/** "client", "server"; static. */
const char *fault_side_name(enum frame_side side);

#endif
