/* report.h - the queue, its workers and its audit as JSON, as bookingctl and booking-admin tell them. */
#ifndef BK_REPORT_H
#define BK_REPORT_H

#include "common/queue.h"

/** The incarnations and their leases: "<name>@<unique>", Unix ms, ... ; the caller frees *out. */
enum bk_status bk_report_workers(struct bk_queue *queue, struct bk_reply **out, struct bk_error *error);
/** What an incarnation said of itself last: name, value, ... ; the caller frees *out. */
enum bk_status bk_report_worker(struct bk_queue *queue, struct bk_span incarnation, struct bk_reply **out,
                                struct bk_error *error);
/** Appends the array of workers. */
enum bk_status bk_report_workers_json(struct bk_queue *queue, struct bk_text *json, struct bk_error *error);
/** Appends depth by place, ages and workers as one object and a line feed. `name` is the queue's. */
enum bk_status bk_report_status_json(struct bk_queue *queue, const char *name, struct bk_text *json,
                                     struct bk_error *error);

/** The newest `count` audit entries (those before the entry `before`, unless NULL): an array of {entry id, {name, value,
 *  ...}}; the caller frees *out. */
enum bk_status bk_report_audit(struct bk_queue *queue, const char *before, const char *count, struct bk_reply **out,
                               struct bk_error *error);
/** Appends one of them as an object. */
void bk_report_audit_json(struct bk_text *json, struct bk_span entry_id, const struct bk_reply *fields);

#endif
