/* command.h - the booking commands: the one place in C that knows what a booking is.
 *
 * A new command is one row in the table of command.c and one SQL function. Arguments are checked completely here, so
 * that whatever PostgreSQL refuses afterwards is not for their form.
 */
#ifndef BK_COMMAND_H
#define BK_COMMAND_H

#include "worker/job.h"

enum bk_command_verdict { BK_COMMAND_GOOD, BK_COMMAND_UNKNOWN_KIND, BK_COMMAND_INVALID_ARGS };

/** Checks a job's kind and args. For a bad one `error->text` names the kind or the member and says what was expected.
 *  Any thread. */
enum bk_command_verdict bk_command_check(const struct bk_job *job, struct bk_error *error);

/** The booking a job speaks of, if its key is a UUID; else the empty span. Any thread. */
struct bk_span bk_command_booking(const struct bk_job *job);

/** The i-th kind's name, NULL behind the last; for metrics and help. Any thread. */
const char *bk_command_kind(size_t i);

#endif
