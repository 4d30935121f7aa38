/* service.h - what the threads of one worker process share.
 *
 * Threads: `lanes` identical lanes (lane.c), one watcher (watcher.c) that learns of new entries, one housekeeper
 * (housekeeper.c) that keeps the lease, and the main thread (main.c) that handles signals. The pool has its own.
 * Everything mutable is guarded by `lock`, but for the counters, which are atomic.
 */
#ifndef BK_SERVICE_H
#define BK_SERVICE_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/breaker.h"
#include "common/config.h"
#include "common/pool.h"
#include "common/queue.h"
#include "worker/decision.h"
#include "worker/doubt.h"
#include "worker/metrics.h"
#include "worker/store.h"

enum { BK_WORKER_ID_MOST = 96 };

/** What a lane is at, for TTIN, the watchdog and the admin page. */
enum bk_lane_activity {
    BK_LANE_IDLE,
    BK_LANE_TAKING,
    BK_LANE_APPLYING,
    BK_LANE_BACKING_OFF,
    BK_LANE_WAITING_BREAKER,
    BK_LANE_WAITING_REDIS,
    BK_LANE_ENDED
};

struct bk_lane_view {
    enum bk_lane_activity activity;
    bk_ms since;   /* monotonic */
    unsigned jobs; /* held right now */
};

struct bk_service {
    const struct bk_config *config;
    struct bk_queue_options queue_options;
    struct bk_decision_rules rules;
    struct bk_store store;
    struct bk_pool *pool;
    struct bk_metrics metrics;
    bk_ms started_at;      /* monotonic */
    bk_ms started_at_wall; /* Unix ms */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything below that somebody may wait for */
    struct bk_breaker breaker;
    uint64_t opened_before; /* connections the pool had opened when the breaker opened; one more is a sign of life */
    struct bk_doubt doubt;  /* between a batch that the database has just failed and the breaker's verdict */
    _Atomic bool ghosts;    /* a call was given up whose transaction may still be there, holding its locks */

    char worker[BK_WORKER_ID_MOST]; /* the present incarnation, "<name>@<unique>"; "" before the first join */
    bk_ms lease_until;              /* monotonic: after this others may hold our jobs */
    bool rejoin;                    /* a lane met trouble with Redis, or has no lease: beat now */
    bool redis_lost;                /* the last beat did not go through */
    bool fenced;                    /* a namesake has taken over: stop without touching anything */

    bool stopping;          /* TERM: take nothing more */
    bool quiet;             /* TSTP: the same, but stay up */
    bool paused;            /* the whole queue is, as the last take said */
    bk_ms stop_by;          /* monotonic: when what is left is handed back */
    bool housekeeping_over; /* the lanes have ended: nothing needs the lease any more */

    unsigned tokens; /* idle lanes that may look for work now */
    unsigned idle_lanes;
    uint64_t takes;                /* finished takes; the watcher waits for it to move */
    char last_id[48];              /* of the last inbox entry a take has seen */
    bk_ms next_due;                /* monotonic: when a take has something to do without a new entry; 0: unknown */
    bk_ms progress_at;             /* monotonic: the last take or settle that went through */
    struct bk_queue_status counts; /* of the last look */
    bk_ms counts_at;               /* monotonic; 0: never */

    unsigned lane_count;
    struct bk_lane_view *lanes;
};

/** Prepares the shared state and starts the pool. `config` must outlive the service. The caller ends it with
 *  bk_service_deinit. */
enum bk_status bk_service_init(struct bk_service *service, const struct bk_config *config, struct bk_error *error);
/** Ends the pool and frees; every thread that uses the service must have ended. */
void bk_service_deinit(struct bk_service *service);

/** Whether a lane may take now (joined, not stopping, quiet or fenced). Under the lock. */
bool bk_service_may_take(const struct bk_service *service);

/** Waits for `ms` or until the service stops, whichever is first; returns false when it stops. Takes the lock. */
bool bk_service_pause(struct bk_service *service, bk_ms ms);

/** Notes what a lane is at. Takes the lock. */
void bk_service_lane_at(struct bk_service *service, unsigned lane, enum bk_lane_activity activity, unsigned jobs);
/** The activity in words; a static string. */
const char *bk_lane_activity_name(enum bk_lane_activity activity);

/** The circuit breaker, under the service's lock and with its transitions logged and counted. Taking the lock. */
bool bk_service_ask(struct bk_service *service, struct bk_permit *permit, bk_ms *retry_at, bool *probe);
void bk_service_end_call(struct bk_service *service, struct bk_permit permit, enum bk_call_result result,
                         uint64_t connections, const struct bk_error *why);
void bk_service_force_breaker(struct bk_service *service, enum bk_breaker_mode mode);

/** The doubt (doubt.h), under the service's lock. Taking the lock. */
void bk_service_end_turn(struct bk_service *service, bool any_good, bool handed_back);
void bk_service_end_probe(struct bk_service *service, bool good, bool verdict);
enum bk_trust bk_service_trust(struct bk_service *service, bk_ms *retry_at);

/** "starting", "running", "paused", "quiet", "stopping" or "fenced". Under the lock. */
const char *bk_service_state(const struct bk_service *service);

#endif
