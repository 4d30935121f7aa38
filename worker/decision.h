/* decision.h - the brain: what becomes of a job. Pure: state, event, time and random bits in, a decision out. */
#ifndef BK_DECISION_H
#define BK_DECISION_H

#include "common/config.h"
#include "worker/job.h"

/* Why a job is dead: word, what it means to the person who finds it. */
#define BK_DEAD_REASONS(X)                                                                                             \
    X(malformed, "the entry itself breaks a rule: a field is missing, repeated, unknown or not of its form")           \
    X(invalid_args, "the arguments are not what this kind of command wants")                                           \
    X(unknown_kind, "there is no such command")                                                                        \
    X(id_reused, "the id has been used before for something else; this one had no effect")                             \
    X(expired, "it was not applied before its expires_at, and never will be")                                          \
    X(too_many_attempts, "it was tried as often as allowed and failed each time")                                      \
    X(circuit_open, "the database was away longer than this job was allowed to wait")                                  \
    X(poison, "the workers that held it died, again and again")                                                        \
    X(database_refused, "the database refused it for good")

/** The reason that a word stands for, as a static string that outlives whoever said it; NULL for a word that is none.
 *  Any thread. */
const char *bk_dead_reason(const char *word);

/** What a dead reason means, in a sentence; NULL for a word that is none. Any thread. */
const char *bk_dead_reason_meaning(const char *reason);

/** What the decisions depend on. */
struct bk_decision_rules {
    int64_t max_attempts;
    bk_ms attempt_base_ms;
    bk_ms attempt_cap_ms;
    int64_t max_requeues;
    bk_ms max_age_ms;
    int64_t max_deliveries;
};

/** The rules a configuration asks for. */
struct bk_decision_rules bk_decision_rules_of(const struct bk_config *config);

/** What to do with a job that has just been taken. */
enum bk_next {
    BK_NEXT_APPLY,         /* bring it to the database */
    BK_NEXT_APPLY_EXPIRED, /* too late, but an earlier try may have been applied: the ledger decides */
    BK_NEXT_DEAD           /* `reason` says why */
};
enum bk_next bk_decide_taken(const struct bk_decision_rules *rules, const struct bk_job *job, bk_ms now,
                             const char **reason);

/** What becomes of a job whose try has failed for good in this turn. */
struct bk_decision {
    enum bk_fate fate;
    const char *reason; /* BK_FATE_DEAD */
    bk_ms delay_ms;     /* BK_FATE_RETRY */
    bool unsure;        /* it may have been applied all the same */
    int64_t attempts;   /* tries spent, this one included if it counts */
};

/** `failure` is the class of the last error; `unsure` whether any try of this turn ended with BK_UNKNOWN. `now` is
 *  Redis's clock, Unix ms; `random` any 64 random bits. The table of the failure classes is README's. */
struct bk_decision bk_decide_failed(const struct bk_decision_rules *rules, const struct bk_job *job,
                                    enum bk_status failure, bool unsure, bk_ms now, uint64_t random);

/** Whether a failure speaks of the server rather than of the job: it counts for the circuit breaker and is tried again
 *  while the job is held. */
bool bk_is_outage(enum bk_status status);

#endif
