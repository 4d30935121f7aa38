/* chance.c - see chance.h. */
#include "tests/sim/chance.h"

#include <string.h>

const char *const sim_fault_names[SIM_FAULT_COUNT] = {
#define SIM_FAULT_NAME(name, meaning) #name,
    SIM_FAULTS(SIM_FAULT_NAME)
#undef SIM_FAULT_NAME
};

const char *const sim_fault_meanings[SIM_FAULT_COUNT] = {
#define SIM_FAULT_MEANING(name, meaning) meaning,
    SIM_FAULTS(SIM_FAULT_MEANING)
#undef SIM_FAULT_MEANING
};

/* splitmix64's finalizer: S. Vigna, "Further scramblings of Marsaglia's xorshift generators", 2017. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t hash(uint64_t seed, uint64_t stream, uint64_t n)
{
    return mix(mix(seed * UINT64_C(0x9e3779b97f4a7c15) + stream) + n * UINT64_C(0x9e3779b97f4a7c15));
}

/* Worlds differ in kind, not only in luck: each has some kinds of fault and not the others, else every history would be
 * the same soup. (A. Groce and others, "Swarm Testing", ISSTA 2012.) */
static void choose_kinds(struct sim_chance *chance)
{
    static const uint16_t levels[] = {0, 0, 10, 40, 150};
    uint64_t calm = hash(chance->seed, 1000, 0) % 8; /* some worlds are nearly quiet */
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        uint64_t luck = hash(chance->seed, 1001, i);
        chance->permille[i] = levels[luck % BK_COUNT(levels)];
        if (calm == 0 && (luck >> 32) % 4 != 0)
            chance->permille[i] = 0;
        if (i == SIM_crash || i == SIM_freeze) /* these are asked for at every step */
            chance->permille[i] = (uint16_t)((chance->permille[i] + 9) / 10);
        if (chance->off->kinds[i])
            chance->permille[i] = 0;
    }
}

void sim_chance_begin(struct sim_chance *chance, uint64_t seed, const struct sim_off *off)
{
    memset(chance, 0, offsetof(struct sim_chance, fired));
    chance->seed = seed;
    chance->off = off;
    choose_kinds(chance);
}

uint64_t sim_draw(struct sim_chance *chance, int actor)
{
    return hash(chance->seed, (uint64_t)actor, chance->drawn[actor]++);
}

int64_t sim_between(struct sim_chance *chance, int actor, int64_t least, int64_t most)
{
    return least + (int64_t)(sim_draw(chance, actor) % (uint64_t)(most - least + 1));
}

static bool is_off(const struct sim_off *off, struct sim_firing firing)
{
    for (size_t i = 0; i < off->count; i++) {
        const struct sim_firing *f = &off->firings[i];
        if (f->fault == firing.fault && f->actor == firing.actor && f->nth == firing.nth)
            return true;
    }
    return false;
}

bool sim_fault(struct sim_chance *chance, enum sim_fault fault, int actor)
{
    if (chance->over || chance->permille[fault] == 0)
        return false;
    uint64_t luck =
        hash(chance->seed, 2000 + (uint64_t)fault * SIM_ACTORS + (uint64_t)actor, chance->asked[fault][actor]++);
    if (luck % 1000 >= chance->permille[fault])
        return false;
    struct sim_firing firing = {(uint8_t)fault, (uint8_t)actor, chance->met[fault][actor]++};
    if (is_off(chance->off, firing))
        return false;
    if (chance->fired_count < SIM_FIRED_MOST)
        chance->fired[chance->fired_count++] = firing;
    return true;
}
