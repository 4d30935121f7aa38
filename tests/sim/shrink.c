/* shrink.c - see shrink.h: greedy, largest bites first, until no bite can be taken any more.
 *
 * That works because each fault is decided by a stream of its own (chance.h): what is taken out leaves the others where
 * they were, as long as the history goes the same way.
 */
#include "tests/sim/shrink.h"

#include <stdlib.h>
#include <string.h>

struct shrinking {
    struct sim_world *world;
    uint64_t seed;
    enum sim_sabotage sabotage;
    const char *invariant;
};

static bool still_fails(const struct shrinking *s, const struct sim_off *off)
{
    return !sim_world_run(s->world, s->seed, s->sabotage, off, false) && strcmp(s->world->failure, s->invariant) == 0;
}

static bool without_kinds(const struct shrinking *s, struct sim_off *off)
{
    bool progress = false;
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (off->kinds[i])
            continue;
        off->kinds[i] = true;
        if (still_fails(s, off))
            progress = true;
        else
            off->kinds[i] = false;
    }
    return progress;
}

static bool without_commands(const struct shrinking *s, struct sim_off *off)
{
    bool progress = false;
    for (int i = 0; i < s->world->setup.commands; i++) {
        uint64_t bit = UINT64_C(1) << i;
        if (off->commands & bit)
            continue;
        off->commands |= bit;
        if (still_fails(s, off))
            progress = true;
        else
            off->commands &= ~bit;
    }
    return progress;
}

/* Takes out up to `bite` of the single faults that fire, from the `first` on. Returns how many. */
static size_t take_out(const struct shrinking *s, struct sim_off *off, size_t first, size_t bite)
{
    (void)still_fails(s, off); /* for the list of what fires */
    const struct sim_chance *chance = &s->world->chance;
    size_t count = 0;
    while (count < bite && first + count < chance->fired_count && off->count < SIM_OFF_MOST)
        off->firings[off->count++] = chance->fired[first + count++];
    return count;
}

static bool without_firings(const struct shrinking *s, struct sim_off *off, size_t bite)
{
    bool progress = false;
    size_t first = 0;
    for (size_t count = take_out(s, off, first, bite); count > 0; count = take_out(s, off, first, bite)) {
        if (still_fails(s, off)) {
            progress = true;
            continue;
        }
        off->count -= count;
        first += count;
    }
    return progress;
}

/* Of what was taken out one by one, some may never fire any more, now that other things are gone: it need not be named. */
static void forget_needless(const struct shrinking *s, struct sim_off *off)
{
    (void)still_fails(s, off);
    size_t fired = s->world->chance.fired_count;
    for (size_t i = off->count; i-- > 0;) {
        struct sim_firing out = off->firings[i];
        off->firings[i] = off->firings[--off->count];
        if (still_fails(s, off) && s->world->chance.fired_count <= fired)
            continue;
        off->firings[off->count++] = off->firings[i];
        off->firings[i] = out;
    }
}

void sim_shrink(struct sim_world *world, uint64_t seed, enum sim_sabotage sabotage, struct sim_off *off)
{
    if (sim_world_run(world, seed, sabotage, off, false))
        return;
    const struct shrinking s = {world, seed, sabotage, world->failure};
    bool progress = true;
    while (progress) {
        progress = without_kinds(&s, off);
        progress = without_commands(&s, off) || progress;
        for (size_t bite = 64; bite > 0; bite /= 4)
            progress = without_firings(&s, off, bite) || progress;
    }
    forget_needless(&s, off);
}

/* --- as a word: kinds by name, c<command>, <kind>@<actor>.<nth> -------------------------------------------------------------- */

void sim_write_off(struct bk_text *text, const struct sim_off *off)
{
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (off->kinds[i])
            bk_text_printf(text, "%s%s", text->size ? "," : "", sim_fault_names[i]);
    }
    for (int i = 0; i < SIM_COMMANDS; i++) {
        if (off->commands >> i & 1U)
            bk_text_printf(text, "%sc%d", text->size ? "," : "", i);
    }
    for (size_t i = 0; i < off->count; i++) {
        const struct sim_firing *f = &off->firings[i];
        bk_text_printf(text, "%s%s@%d.%d", text->size ? "," : "", sim_fault_names[f->fault], f->actor, f->nth);
    }
}

static bool read_item(struct sim_off *off, char *item)
{
    char *at = strchr(item, '@');
    if (at)
        *at = '\0';
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (strcmp(item, sim_fault_names[i]) != 0)
            continue;
        if (!at) {
            off->kinds[i] = true;
            return true;
        }
        char *rest = NULL;
        unsigned long actor = strtoul(at + 1, &rest, 10);
        if (*rest != '.' || off->count == SIM_OFF_MOST)
            return false;
        unsigned long nth = strtoul(rest + 1, &rest, 10);
        off->firings[off->count++] = (struct sim_firing){(uint8_t)i, (uint8_t)actor, (uint16_t)nth};
        return *rest == '\0';
    }
    char *rest = NULL;
    unsigned long command = *item == 'c' ? strtoul(item + 1, &rest, 10) : SIM_COMMANDS;
    if (command >= SIM_COMMANDS || !rest || *rest)
        return false;
    off->commands |= UINT64_C(1) << command;
    return true;
}

bool sim_read_off(struct sim_off *off, const char *word)
{
    char *copy = bk_strdup(word);
    char *rest = NULL;
    bool good = true;
    for (char *item = strtok_r(copy, ",", &rest); item && good; item = strtok_r(NULL, ",", &rest))
        good = read_item(off, item);
    free(copy);
    return good;
}
