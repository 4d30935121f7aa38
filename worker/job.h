/* job.h - one job as the queue delivered it: its envelope, checked.
 *
 * Producers are not trusted. What is in the entry is bytes until bk_job_read has looked at every field; a job whose
 * envelope breaks a rule carries a fault and goes nowhere but to the dead letters.
 */
#ifndef BK_JOB_H
#define BK_JOB_H

#include "common/queue.h"

enum { BK_ARGS_MOST = 65536, BK_ID_MOST = 128 };

struct bk_job {
    struct bk_span ticket;
    struct bk_span id; /* spans are lent by the take's answer; empty where a malformed entry has none */
    struct bk_span kind;
    struct bk_span key;
    struct bk_span args;
    struct bk_span traceparent; /* well-formed, or empty */
    bk_ms enqueued_at;          /* Unix ms, from the ticket */
    bk_ms waits_since;          /* Unix ms; later than enqueued_at when an admin has brought it back from the dead */
    bk_ms expires_at;           /* Unix ms; 0: never */
    bool wants_reply;
    int64_t attempts;   /* tries spent so far */
    int64_t requeues;   /* times an outage handed it back */
    int64_t deliveries; /* takes that ended with the worker's death */
    bool unsure;        /* an earlier try may have been applied */
    char fault[240];    /* "" or why it is malformed: names the field, says what was expected */
};

/** Reads a job of the queue. `now` is Redis's clock, Unix ms, and stands in for a ticket's time that cannot be true.
 *  Spans of *job are lent from `from`. Any thread. */
void bk_job_read(const struct bk_queue_job *from, bk_ms now, struct bk_job *job);

/** Checks the envelope of an entry that is about to be enqueued: `count` words, field and value in turn. Only the
 *  envelope's fields and `fault` of *job are meaningful. Any thread. */
void bk_job_check(const struct bk_span *words, size_t count, struct bk_job *job);

/** Whether the text can be a job's id. Any thread. */
bool bk_is_id(struct bk_span text);

/** Whether the text is a W3C trace context header that its recommendation calls valid (W3C Trace Context, section 3.2);
 *  any other is to be ignored. Any thread. */
bool bk_traceparent_valid(struct bk_span text);

/** Appends the reply for a waiting producer. `code` may be NULL; `booking_id` is empty or a UUID;
 *  `version` < 0 means null. Any thread. */
void bk_job_reply(struct bk_text *text, struct bk_span id, const char *outcome, const char *code,
                  struct bk_span booking_id, int64_t version);

#endif
