/* decision.c - see decision.h. */
#include "worker/decision.h"

#include <string.h>

#include "common/backoff.h"

const char *bk_dead_reason(const char *word)
{
#define BK_DEAD_WORD(reason, meaning)                                                                                  \
    if (strcmp(word, #reason) == 0)                                                                                    \
        return #reason;
    BK_DEAD_REASONS(BK_DEAD_WORD)
#undef BK_DEAD_WORD
    return NULL;
}

const char *bk_dead_reason_meaning(const char *reason)
{
#define BK_DEAD_MEANING(word, meaning)                                                                                 \
    if (strcmp(reason, #word) == 0)                                                                                    \
        return meaning;
    BK_DEAD_REASONS(BK_DEAD_MEANING)
#undef BK_DEAD_MEANING
    return NULL;
}

struct bk_decision_rules bk_decision_rules_of(const struct bk_config *config)
{
    return (struct bk_decision_rules){
        .max_attempts = config->max_attempts,
        .attempt_base_ms = 1000,
        .attempt_cap_ms = config->attempt_cap_s * 1000,
        .max_requeues = config->max_requeues,
        .max_age_ms = config->max_age_s * 1000,
        .max_deliveries = config->max_deliveries,
    };
}

enum bk_next bk_decide_taken(const struct bk_decision_rules *rules, const struct bk_job *job, bk_ms now,
                             const char **reason)
{
    if (job->deliveries >= rules->max_deliveries) {
        *reason = "poison";
        return BK_NEXT_DEAD;
    }
    if (job->expires_at == 0 || now < job->expires_at)
        return BK_NEXT_APPLY;
    /* A try whose answer was lost, or a worker that died, may have applied it. */
    if (job->unsure || job->deliveries > 0)
        return BK_NEXT_APPLY_EXPIRED;
    *reason = "expired";
    return BK_NEXT_DEAD;
}

bool bk_is_outage(enum bk_status status)
{
    return status == BK_OUTAGE || status == BK_UNKNOWN || status == BK_TIMEOUT || status == BK_OPERATOR;
}

static struct bk_decision dead(const char *reason, bool unsure, int64_t attempts)
{
    return (struct bk_decision){.fate = BK_FATE_DEAD, .reason = reason, .unsure = unsure, .attempts = attempts};
}

struct bk_decision bk_decide_failed(const struct bk_decision_rules *rules, const struct bk_job *job,
                                    enum bk_status failure, bool unsure, bk_ms now, uint64_t random)
{
    unsure = unsure || job->unsure;
    if (failure == BK_PERMANENT)
        return dead("database_refused", unsure, job->attempts + 1);
    if (failure == BK_TRANSIENT) {
        int64_t spent = job->attempts + 1;
        if (spent >= rules->max_attempts)
            return dead("too_many_attempts", unsure, spent);
        bk_ms delay = bk_backoff(rules->attempt_base_ms, (unsigned)BK_MIN(job->attempts, INT64_C(40)),
                                 rules->attempt_cap_ms, random);
        return (struct bk_decision){BK_FATE_RETRY, NULL, delay, unsure, spent};
    }
    if (failure == BK_OPERATOR) /* somebody has to mend the set-up; no job dies of that */
        return (struct bk_decision){BK_FATE_REQUEUE, NULL, 0, unsure, job->attempts};
    if (bk_is_outage(failure)) {
        if (job->requeues + 1 > rules->max_requeues || now - job->waits_since > rules->max_age_ms)
            return dead("circuit_open", unsure, job->attempts);
        return (struct bk_decision){BK_FATE_REQUEUE, NULL, 0, unsure, job->attempts};
    }
    /* stopped, fenced: not the job's affair */
    return (struct bk_decision){unsure && !job->unsure ? BK_FATE_REQUEUE : BK_FATE_FREE, NULL, 0, unsure,
                                job->attempts};
}
