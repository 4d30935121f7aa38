/* ledger_model.h - PostgreSQL as booking.apply() uses it: a ledger, bookings, and transactions that hold locks until they
 * end, in the three steps that sql/migrations/004 describes. One thread; time is the caller's affair.
 */
#ifndef SIM_LEDGER_MODEL_H
#define SIM_LEDGER_MODEL_H

#include "tests/sim/command_model.h"

enum { LM_BATCH = 8, LM_TRANSACTIONS = 48 };

/** What is broken on purpose (see sim's --sabotage). */
enum lm_sabotage { LM_OUTSIDE = 1, LM_NO_KEY = 2 };

enum lm_outcome { LM_APPLIED, LM_REJECTED, LM_DEAD };
extern const char *const lm_outcome_names[];

struct lm_answer {
    enum lm_outcome outcome;
    const char *code; /* NULL when applied */
    int version;      /* -1: none */
    bool repeated;
};

struct lm_row {
    bool there;
    int contents;
    struct lm_answer answer;
};

enum lm_status { LM_PENDING, LM_CONFIRMED, LM_CANCELLED, LM_COMPLETED };

struct lm_booking {
    bool there;
    enum lm_status status;
    int version;
    int resource;
    int from;
    int to;
};

struct lm_slot {
    int resource;
    int from;
    int to;
};

/** A command of a call. */
struct lm_item {
    int command;
    int job;      /* whose delivery it is; the caller's number */
    bool expired; /* to have no effect any more */
    struct lm_answer answer;
};

enum lm_state { LM_FREE, LM_WAITING, LM_EXECUTED, LM_FAILED };

struct lm_transaction {
    enum lm_state state;
    int step;         /* 1..3, of booking.apply */
    uint64_t arrival; /* of waiting ones the first goes first */
    char sqlstate[6]; /* LM_FAILED */
    int count;
    struct lm_item items[LM_BATCH];
    uint32_t known;    /* ids that the ledger knew at its first step */
    uint32_t ids;      /* locked */
    uint32_t bookings; /* locked */
    struct lm_slot slots[2 * LM_BATCH];
    int slot_count;
    struct lm_booking view[SIM_BOOKINGS]; /* its own changes included */
    int order[LM_BATCH];                  /* items in the order of their effects */
};

/** A first decision about an id, in the order of the commits. */
struct lm_event {
    int command;
    int job;
    bool expired;
    struct lm_answer answer;
};

struct ledger_model {
    const struct sim_command *commands; /* lent */
    unsigned sabotage;
    bool mended; /* somebody has seen to what class 42 was about */
    struct lm_row rows[SIM_COMMANDS];
    struct lm_booking bookings[SIM_BOOKINGS];
    struct lm_transaction transactions[LM_TRANSACTIONS];
    uint64_t arrivals;
    struct lm_event history[4 * SIM_COMMANDS];
    int history_count;
    int effects[SIM_COMMANDS]; /* of each id */
    const char *foul;          /* the first thing that must not happen, NULL: none */
    int foul_command;
};

void lm_reset(struct ledger_model *l, const struct sim_command *commands, unsigned sabotage);

/** A call arrives. Returns its transaction, which lm_run then drives. */
int lm_begin(struct ledger_model *l, const struct lm_item *items, int count);
/** Goes on as far as the locks allow: LM_WAITING (run again when another ended), LM_EXECUTED (commit or abort), LM_FAILED
 *  (its sqlstate says why; abort). */
enum lm_state lm_run(struct ledger_model *l, int transaction);
void lm_commit(struct ledger_model *l, int transaction);
void lm_abort(struct ledger_model *l, int transaction);
/** Gives up waiting: fails with this SQLSTATE. */
void lm_fail(struct ledger_model *l, int transaction, const char *sqlstate);
/** The waiting transaction that came first after `behind` (an arrival; 0 at the start), -1: none. */
int lm_next_waiting(const struct ledger_model *l, uint64_t behind);

/** Judges one command on bookings that nobody else is changing; changes them where it applies. */
struct lm_answer lm_judge(const struct sim_command *command, struct lm_booking *bookings);

#endif
