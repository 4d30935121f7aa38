/* queue_dump.h - everything that stands in a queue, as text: of the model, and of a real Redis. Equal contents give equal
 * texts. Counters of 0, empty fields and what a worker only tells about itself are left out.
 */
#ifndef SIM_QUEUE_DUMP_H
#define SIM_QUEUE_DUMP_H

#include "common/redis.h"
#include "tests/sim/queue_model.h"

void qm_dump(const struct queue_model *q, struct bk_text *out);

/** The dump of the queue whose keys begin with `prefix` ("{name}:"). */
enum bk_status redis_dump(struct bk_redis *redis, const char *prefix, struct bk_text *out, struct bk_error *error);

#endif
