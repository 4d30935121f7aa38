/* jitter.h - chance that happens again; pure. */
#ifndef JITTER_H
#define JITTER_H

#include "common/clock.h"
#include "tests/faults/proxy/frame.h"

/** A time from 0 to `most` ms, uniformly: a function of the seed, the connection, the direction and the number of the
 *  message there, and of nothing else. However the bytes are cut into chunks on their way and whenever they come, the same
 *  traffic has the same jitter. */
bk_ms jitter(uint64_t seed, uint64_t connection, enum frame_side side, uint64_t message, bk_ms most);

#endif
