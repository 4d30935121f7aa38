/* shrink.h - from a failing history to the shortest one that fails in the same way. */
#ifndef SIM_SHRINK_H
#define SIM_SHRINK_H

#include "tests/sim/world.h"

/** Takes out of the world of this seed, which fails, all kinds of fault, commands and single faults without which it
 *  still breaks the same invariant; `off` says which. Lives the world a few hundred times. */
void sim_shrink(struct sim_world *world, uint64_t seed, enum sim_sabotage sabotage, struct sim_off *off);

/** Writes what is taken out as a word for --off, "" for nothing. */
void sim_write_off(struct bk_text *text, const struct sim_off *off);
/** Reads such a word; false when it is none. */
bool sim_read_off(struct sim_off *off, const char *word);

#endif
