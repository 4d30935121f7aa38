/* world.h - a simulated world: some workers, a Redis, a PostgreSQL, producers and admins, in one thread and virtual time.
 *
 * One seed decides everything. What decides about jobs is the product's own code (plan, task, decision, doubt, breaker,
 * back-off); around it stand models: the queue and the ledger (queue_model, ledger_model), the network (redis.c,
 * postgres.c) and the threads of a worker (lane.c, process.c here), which follow their namesakes in worker/ step by step.
 *
 * Every request and every answer is a message that can be lost or late; every event is a point where a worker can be
 * killed or stand still. After each event invariants.c looks at everything.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdarg.h>

#include "tests/sim/heap.h"
#include "tests/sim/ledger_model.h"
#include "tests/sim/queue_model.h"
#include "worker/doubt.h"
#include "worker/plan.h"

enum {
    SIM_SLOTS = 4,
    SIM_LANES = 2,
    SIM_BATCH = 4,
    SIM_TICKETS = 64,
    SIM_MESSAGES = 512,
    SIM_REDIS_TIMEOUT_MS = 2000,
    SIM_CALL_TIMEOUT_MS = 5500,
    SIM_LOCK_TIMEOUT_MS = 2000
};

/* What a mutant of the protocol does wrong: name, what it is. Those of the queue and the ledger are theirs. */
#define SIM_SABOTAGES(X)                                                                                               \
    X(no_ownership, QM_NO_OWNERSHIP, 0, "settle moves what the worker does not hold")                                  \
    X(gate_let_go, QM_LETS_GO, 0, "retry and requeue let go of the gate")                                              \
    X(no_gate, QM_NO_GATE, 0, "take does not look at the gate")                                                        \
    X(reap_free, QM_NO_CHARGE, 0, "a worker's death is not counted")                                                   \
    X(no_turns, QM_NO_TURNS, 0, "a take that was long on its way is still done")                                       \
    X(worker_owns, QM_WORKER_OWNS | QM_SETTLES_AGAIN, 0, "settle does not look at whose turn brought a job")           \
    X(joins_any, QM_JOINS_ANY, 0, "a join that was long on its way fences off a newcomer")                             \
    X(late_counts, QM_LATE_COUNTS, 0, "who comes back from silence gives way to a late join")                          \
    X(in_company, QM_IN_COMPANY, 0, "a job that may be what kills workers is taken together with others")              \
    X(refunds_any, QM_REFUNDS_ANY, 0, "a death is refunded to whoever lost the job")                                   \
    X(sure, QM_SURE, 0, "what a dead worker held does not count as tried")                                             \
    X(no_resume, QM_NO_RESUME, 0, "a lost answer's jobs are not given back")                                           \
    X(fence_forgets, QM_FENCE_FORGETS, 0, "a newcomer forgets its namesake's jobs")                                    \
    X(ledger_outside, 0, LM_OUTSIDE, "the ledger is written in a transaction of its own")                              \
    X(no_key, 0, LM_NO_KEY, "the ledger has no primary key")                                                           \
    X(unknown_done, 0, 0, "a lost answer counts as done")                                                              \
    X(unknown_failed, 0, 0, "a lost answer counts as failed, without asking the ledger")                               \
    X(early_settle, 0, 0, "jobs are settled before the commit")                                                        \
    X(outage_spends, 0, 0, "an outage spends attempts")

enum sim_sabotage {
    SIM_HONEST,
#define SIM_SABOTAGE_ENUM(name, queue, ledger, meaning) SIM_DO_##name,
    SIM_SABOTAGES(SIM_SABOTAGE_ENUM)
#undef SIM_SABOTAGE_ENUM
        SIM_SABOTAGE_COUNT
};

extern const char *const sim_sabotage_names[SIM_SABOTAGE_COUNT];

enum sim_event_type {
    SIM_AT_LANE,     /* a timer of a lane */
    SIM_AT_KEEPER,   /* a timer of a housekeeper */
    SIM_AT_WATCHER,  /* it looks for news */
    SIM_AT_MAIN,     /* the main thread looks for the end */
    SIM_AT_REDIS,    /* a request arrives */
    SIM_AT_ANSWER,   /* an answer arrives, from either server */
    SIM_AT_POSTGRES, /* a call arrives */
    SIM_AT_COMMIT,   /* a transaction ends */
    SIM_AT_PATIENCE, /* a waiting transaction's lock_timeout */
    SIM_AT_PRODUCER,
    SIM_AT_ADMIN,
    SIM_AT_SPAWN, /* a process begins */
    SIM_AT_HEAL   /* all faults are over */
};

/* Who of a process speaks: lanes by number. */
enum { SIM_KEEPER = SIM_LANES, SIM_MAIN };

enum sim_request { SIM_SETTLE, SIM_TAKE, SIM_JOIN, SIM_BEAT, SIM_LEAVE, SIM_CALL, SIM_PROBE };

/** What a job's hash said when it was taken. */
struct sim_shot {
    int64_t attempts;
    int64_t requeues;
    int64_t deliveries;
    bool unsure;
    bk_ms retried_at;
};

struct sim_message {
    bool used;
    enum sim_request request;
    int slot;
    uint32_t life;
    int lane;
    uint32_t exchange; /* answers to an older one find nobody who reads */
    int worker;
    uint64_t turn;
    int64_t number; /* SIM_JOIN, SIM_BEAT */
    bool resume;
    int careful;
    int count;
    struct qm_record records[SIM_BATCH];
    struct lm_item items[SIM_BATCH];
    int transaction;
    /* the answer */
    enum qm_verdict verdict;
    bk_ms now;
    bool broken; /* no answer: the connection was lost */
    struct qm_taken taken;
    int jobs[SIM_BATCH];
    struct sim_shot shots[SIM_BATCH];
    int recovered; /* SIM_JOIN: -1: refused */
    struct qm_pulse pulse;
    char breaker[8];
    char sqlstate[6];
};

enum sim_lane_state {
    SIM_LANE_IDLE,
    SIM_LANE_PERMIT,
    SIM_LANE_PROBING,
    SIM_LANE_EXCHANGE,
    SIM_LANE_REDIS,
    SIM_LANE_CALLING,
    SIM_LANE_BACKING_OFF,
    SIM_LANE_ENDED
};

struct sim_lane {
    unsigned number;
    enum sim_lane_state state;
    uint32_t token; /* of its timer */
    uint32_t exchange;
    /* struct turn of worker/lane.c */
    struct bk_retry_budget budget;
    int worker; /* the incarnation that what is held was taken by */
    uint64_t turn;
    uint64_t taken_turn;
    bool resume;
    bool more;
    unsigned redis_failures;
    int count;
    int jobs[SIM_BATCH];
    struct bk_task tasks[SIM_BATCH];
    struct bk_task *list[SIM_BATCH];
    /* of this turn */
    bool take;
    bool permitted;
    int take_worker;
    bool settled;
    bool is_probe; /* half-open's */
    struct bk_permit permit;
    struct bk_plan plan;
    enum bk_status refused; /* no connection to PostgreSQL: nothing was sent */
    bk_ms redis_ahead;
    bool handed_back;
};

struct sim_process {
    bool alive;
    uint32_t life;
    int name;
    bk_ms clock_base; /* virtual time less its monotonic clock */
    bk_ms frozen_until;
    /* struct bk_service */
    struct bk_breaker breaker;
    struct bk_doubt doubt;
    uint64_t opened_before;
    bool ghosts;
    int worker; /* QM_NONE before the first join */
    bool rejoin;
    bool fenced;
    bool stopping;
    bool paused;
    bk_ms stop_by; /* monotonic */
    unsigned tokens;
    unsigned idle_lanes;
    bk_ms next_due; /* monotonic, 0: unknown */
    uint32_t watcher_token;
    /* struct keeper of worker/housekeeper.c */
    int asking; /* for the number of this incarnation */
    int joining;
    int64_t joining_number;
    int64_t number; /* of `worker` */
    bool news;
    unsigned failures;
    uint32_t keeper_token;
    uint32_t keeper_exchange;
    bool keeper_waits; /* for an answer */
    bool keeper_over;
    char mode[8];
    int leave_tries;
    bool leaving;
    uint32_t main_token;
    unsigned lane_count;
    struct sim_lane lanes[SIM_LANES];
};

/** How the world is set up; part of the seed. */
struct sim_setup {
    int workers;
    unsigned lanes;
    int batch;
    int commands;
    int bookings;
    bk_ms lease_ms;
    bk_ms begin; /* virtual time, Unix ms */
    bk_ms faults_end;
    unsigned retries;
    bk_ms retry_base_ms;
    struct bk_decision_rules rules;
    struct bk_breaker_settings breaker;
};

/** What is known of a ticket beside the queue: who asked for it, and what has been decided about it since it was last
 *  brought back, by whom. */
struct sim_ticket {
    int command;
    int retries;  /* decisions to try again, that is contention given up */
    int requeues; /* decisions to hand back */
    int kills;    /* workers it has on its conscience */
    bool revived;
};

struct sim_world {
    struct sim_chance chance;
    enum sim_sabotage sabotage;
    bool verbose;
    bk_ms now;
    struct sim_setup setup;
    struct sim_heap heap;
    struct queue_model *queue;
    struct ledger_model ledger;
    struct sim_command commands[SIM_COMMANDS];
    struct sim_ticket tickets[SIM_TICKETS];
    struct sim_process processes[SIM_SLOTS];
    struct sim_message messages[SIM_MESSAGES];
    uint32_t lives;
    uint32_t exchanges;
    int incarnations;
    bk_ms redis_down_until;
    bk_ms redis_stall_until;
    bk_ms pg_down_until;
    bk_ms pg_hang_until;
    uint64_t pg_opened; /* rises when PostgreSQL comes back */
    bk_ms last_ms;      /* of the last ticket */
    int last_sequence;
    int64_t number_of[QM_WORKERS]; /* that each incarnation was given */
    int killed_by
        [QM_WORKERS]; /* the ticket that each incarnation died of, QM_NONE: none, or one that has lived before */
    int seen_history;
    uint64_t steps;
    int to_send; /* entries that producers have yet to send */
    bool healed;
    const char *failure; /* the first broken invariant, NULL: none */
    char failure_text[300];
};

/** Makes a world; free with sim_world_close. */
struct sim_world *sim_world_open(void);
struct sim_world *sim_world_close(struct sim_world *world);

/** Lives one world from its beginning to its end. Returns whether everything held; world->failure tells what did not. */
bool sim_world_run(struct sim_world *world, uint64_t seed, enum sim_sabotage sabotage, const struct sim_off *off,
                   bool verbose);

/* --- between the files of the simulator -------------------------------------------------------------------------------- */

/* world.c */
#define SIM_SAY(w, ...) ((w)->verbose ? sim_say(w, __VA_ARGS__) : (void)0)
void sim_say(struct sim_world *w, const char *format, ...) BK_PRINTF(2, 3);
void sim_fail(struct sim_world *w, const char *invariant, const char *format, ...) BK_PRINTF(3, 4);
void sim_later(struct sim_world *w, bk_ms delay, struct sim_event event);
int sim_actor(const struct sim_world *w, const struct sim_process *p, int lane);
bk_ms sim_mono(const struct sim_world *w, const struct sim_process *p);
/** Sets a lane's only timer. */
void sim_lane_in(struct sim_world *w, struct sim_process *p, struct sim_lane *lane, bk_ms delay);
/** A message to fill in; the sender is noted. */
struct sim_message *sim_letter(struct sim_world *w, const struct sim_process *p, int lane, enum sim_request request);
int sim_letter_number(const struct sim_world *w, const struct sim_message *m);

/* redis.c: the network to Redis, and Redis. Whether a connection could be made: nothing was sent if not. */
bool sim_redis_reachable(struct sim_world *w, int actor);
/** Sends one request, or two in one write. */
void sim_redis_send(struct sim_world *w, int actor, struct sim_message *first, struct sim_message *second);
void sim_redis_arrives(struct sim_world *w, const struct sim_event *event);

/* postgres.c */
bool sim_pg_reachable(struct sim_world *w, int actor);
void sim_pg_send(struct sim_world *w, int actor, struct sim_message *call);
void sim_pg_arrives(struct sim_world *w, const struct sim_event *event);
void sim_pg_ends(struct sim_world *w, int message);
void sim_pg_impatient(struct sim_world *w, const struct sim_event *event);
void sim_pg_crash(struct sim_world *w);

/* lane.c */
void sim_lane_begin(struct sim_world *w, struct sim_process *p, struct sim_lane *lane);
void sim_lane_timer(struct sim_world *w, struct sim_process *p, struct sim_lane *lane);
void sim_lane_answer(struct sim_world *w, struct sim_process *p, struct sim_lane *lane, struct sim_message *m);
void sim_lane_drop(struct sim_lane *lane);
/** Something has changed that lanes may wait for. */
void sim_changed(struct sim_world *w, struct sim_process *p);
bool sim_may_take(const struct sim_process *p);

/* calls.c: a lane between take and settle */
void sim_apply(struct sim_world *w, struct sim_process *p, struct sim_lane *lane);
void sim_follow(struct sim_world *w, struct sim_process *p, struct sim_lane *lane);
/** The call that is at hand has ended; `m` is its answer, NULL for none. */
void sim_called(struct sim_world *w, struct sim_process *p, struct sim_lane *lane, const struct sim_message *m);
/** The plan's wait is over. */
void sim_backed_off(struct sim_world *w, struct sim_process *p, struct sim_lane *lane);
bool sim_ask(struct sim_world *w, struct sim_process *p, struct bk_permit *permit, bk_ms *retry_at, bool *probe);
void sim_end_call(struct sim_world *w, struct sim_process *p, struct bk_permit permit, enum bk_call_result result);
/** How a call ended: with an answer, without one (NULL), or refused before it was sent. */
struct bk_error sim_error_of(const struct sim_lane *lane, const struct sim_message *m);

/* process.c */
void sim_spawn(struct sim_world *w, int slot, int name);
void sim_kill(struct sim_world *w, struct sim_process *p, const char *why);
void sim_keeper_timer(struct sim_world *w, struct sim_process *p);
void sim_keeper_answer(struct sim_world *w, struct sim_process *p, const struct sim_message *m);
void sim_keeper_wake(struct sim_world *w, struct sim_process *p, bk_ms delay);
void sim_watcher(struct sim_world *w, struct sim_process *p);
void sim_main(struct sim_world *w, struct sim_process *p);
void sim_main_answer(struct sim_world *w, struct sim_process *p, const struct sim_message *m);

/* people.c: producers and admins */
void sim_people_begin(struct sim_world *w);
void sim_produce(struct sim_world *w, const struct sim_event *event);
void sim_administer(struct sim_world *w, const struct sim_event *event);

/* invariants.c */
void sim_check(struct sim_world *w);
void sim_check_settle(struct sim_world *w, const struct sim_message *m);
void sim_check_commit(struct sim_world *w);
/** An incarnation has come in the place of `old`, QM_NONE: of none. */
void sim_check_join(struct sim_world *w, int worker, int old);
/** An incarnation gives way to `newer`. */
void sim_check_fence(struct sim_world *w, int worker, int newer);
void sim_check_end(struct sim_world *w);

#endif
