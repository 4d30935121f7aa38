/* chance.h - where everything random of a simulated world comes from: its seed, and nothing else.
 *
 * Each actor (a lane, a server, a producer) draws from streams of its own, so that taking one fault out of a history
 * leaves the luck of all others as it was. That is what makes shrinking work.
 */
#ifndef SIM_CHANCE_H
#define SIM_CHANCE_H

#include "common/base.h"

/* What may go wrong: name as on the command line, what it is. */
#define SIM_FAULTS(X)                                                                                                  \
    X(crash, "a worker is killed")                                                                                     \
    X(freeze, "a worker stands still, maybe for longer than its lease")                                                \
    X(namesake, "a second worker of the same name")                                                                    \
    X(newname, "a worker comes back under another name")                                                               \
    X(stop, "a worker is asked to stop")                                                                               \
    X(quit, "a stopping worker is asked again: it hands back at once")                                                 \
    X(redis_refuse, "no connection to Redis")                                                                          \
    X(redis_drop, "a request is lost")                                                                                 \
    X(redis_late, "a request arrives late, maybe after its sender has given up")                                       \
    X(redis_cut, "of settle and take only the settle arrives")                                                         \
    X(redis_mute, "an answer is lost")                                                                                 \
    X(redis_down, "Redis is away for a while")                                                                         \
    X(redis_stall, "Redis stands still for a while, then does what has piled up, in any order")                        \
    X(pg_refuse, "no connection to PostgreSQL")                                                                        \
    X(pg_drop, "a call is lost")                                                                                       \
    X(pg_late, "a call arrives late, maybe after its sender has given up")                                             \
    X(pg_mute, "the answer to a commit is lost")                                                                       \
    X(pg_slow, "a commit takes long, and holds its locks")                                                             \
    X(pg_break, "the connection is lost before the commit")                                                            \
    X(pg_abort, "the server ends the transaction: 57P01")                                                              \
    X(pg_contend, "contention: 40001, 40P01")                                                                          \
    X(pg_cancel, "the statement takes too long: 57014")                                                                \
    X(pg_full, "the disk is full: 53100")                                                                              \
    X(pg_rights, "a right is missing: 42501")                                                                          \
    X(pg_down, "PostgreSQL refuses connections for a while")                                                           \
    X(pg_hang, "PostgreSQL does not answer for a while")                                                               \
    X(resend, "a producer sends an entry twice")                                                                       \
    X(reuse, "an id is used for something else")                                                                       \
    X(malformed, "an entry breaks the envelope's rules")                                                               \
    X(bad_args, "args are not what the kind wants")                                                                    \
    X(refused, "the database refuses a command for good: 22003")                                                       \
    X(odd, "a command meets an error of class 42")                                                                     \
    X(killer, "a command kills its worker")                                                                            \
    X(later, "a command has a not_before")                                                                             \
    X(expires, "a command has an expires_at")                                                                          \
    X(pause, "the queue is paused for a while")                                                                        \
    X(force, "an operator forces the breaker open or closed for a while")                                              \
    X(retry_dead, "an admin brings dead letters back")                                                                 \
    X(drop_dead, "an admin drops dead letters")

enum sim_fault {
#define SIM_FAULT_ENUM(name, meaning) SIM_##name,
    SIM_FAULTS(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
        SIM_FAULT_COUNT
};

extern const char *const sim_fault_names[SIM_FAULT_COUNT];
extern const char *const sim_fault_meanings[SIM_FAULT_COUNT];

/* Who draws. Lanes of the s-th process and its housekeeper follow SIM_PROCESSES. */
enum { SIM_WORLD, SIM_REDIS, SIM_POSTGRES, SIM_PRODUCER, SIM_ADMIN, SIM_PROCESSES, SIM_ACTORS = SIM_PROCESSES + 16 };

enum { SIM_FIRED_MOST = 400, SIM_OFF_MOST = 400 };

/** One fault of a history: the n-th of its kind that an actor met. */
struct sim_firing {
    uint8_t fault;
    uint8_t actor;
    uint16_t nth;
};

/** What is taken out of a history. */
struct sim_off {
    bool kinds[SIM_FAULT_COUNT];
    uint64_t commands; /* bit i: the i-th is not sent */
    size_t count;
    struct sim_firing firings[SIM_OFF_MOST];
};

struct sim_chance {
    uint64_t seed;
    const struct sim_off *off; /* lent */
    bool over;                 /* no fault fires any more */
    uint16_t permille[SIM_FAULT_COUNT];
    uint64_t drawn[SIM_ACTORS];
    uint16_t asked[SIM_FAULT_COUNT][SIM_ACTORS];
    uint16_t met[SIM_FAULT_COUNT][SIM_ACTORS];
    size_t fired_count;
    struct sim_firing fired[SIM_FIRED_MOST];
};

/** Begins a world's luck; which kinds of fault it has, and how many, is part of it. */
void sim_chance_begin(struct sim_chance *chance, uint64_t seed, const struct sim_off *off);

/** 64 random bits. */
uint64_t sim_draw(struct sim_chance *chance, int actor);
/** From `least` to `most`. */
int64_t sim_between(struct sim_chance *chance, int actor, int64_t least, int64_t most);

/** Whether this fault happens to this actor now. */
bool sim_fault(struct sim_chance *chance, enum sim_fault fault, int actor);

#endif
