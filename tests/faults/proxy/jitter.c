/* jitter.c - see jitter.h. */
#include "tests/faults/proxy/jitter.h"

/* Sebastiano Vigna's splitmix64: a well-mixed number from any. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

bk_ms jitter(uint64_t seed, uint64_t connection, enum frame_side side, uint64_t message, bk_ms most)
{
    uint64_t direction = mix(mix(seed) ^ (connection << 1 | side));
    return (bk_ms)(mix(direction ^ message) % ((uint64_t)most + 1));
}
