/* ctl.h - what the verbs of bookingctl share. */
#ifndef BK_CTL_H
#define BK_CTL_H

#include "common/config.h"
#include "common/pg.h"
#include "common/program.h"
#include "common/queue.h"

struct ctl {
    struct bk_config config;
    struct bk_queue *queue;
    const char *verb;
    int argc; /* the verb's own arguments, without the verb */
    char **argv;
};

/** One option of a verb: a flag (`value` NULL) or one that takes a value. */
struct ctl_option {
    const char *name; /* "--json" */
    bool *flag;
    const char **value;
};

/** Takes the options out of ctl->argv, wherever they stand; what is left are the operands. Returns false after a
 *  message to stderr when one is unknown or lacks its value. "--" ends the options. */
bool ctl_options(struct ctl *ctl, const struct ctl_option *options, size_t count);
/** Prints "bookingctl: ..." to stderr and returns the exit code that goes with the error. */
int ctl_failed(const struct bk_error *error);
/** Prints "bookingctl: ..." to stderr and returns BK_EXIT_USAGE. */
int ctl_usage(const char *format, ...) BK_PRINTF(1, 2);
/** Reads a --limit or --jobs: false after a message when it is no number from 1 up. NULL text leaves *number alone. */
bool ctl_number(const char *name, const char *text, int64_t *number);
/** What connections to PostgreSQL are opened with; lent from the configuration. */
struct bk_pg_options ctl_database_options(const struct ctl *ctl);
/** Opens a connection to PostgreSQL; NULL after an error was filled in. The caller closes it. */
struct bk_pg *ctl_database(struct ctl *ctl, struct bk_error *error);
/** The deadline of one statement from now. */
bk_ms ctl_deadline(const struct ctl *ctl);
/** Who does this, for the audit: the unix user, also behind sudo. Lent, static. */
const char *ctl_who(void);
/** Writes the text to stdout and empties it. */
void ctl_print(struct bk_text *text);
/** "3.2 s", "5 min", "2.1 d" of a duration in ms; lent, valid until the fourth call from now. */
const char *ctl_age(int64_t ms);

/* The verbs; each returns an exit code. */
int ctl_migrate(struct ctl *ctl);
int ctl_enqueue(struct ctl *ctl);
int ctl_status(struct ctl *ctl);
int ctl_workers(struct ctl *ctl);
int ctl_job(struct ctl *ctl);
int ctl_dead(struct ctl *ctl);
int ctl_audit(struct ctl *ctl);
int ctl_pause(struct ctl *ctl);
int ctl_resume(struct ctl *ctl);
int ctl_breaker(struct ctl *ctl);
int ctl_doctor(struct ctl *ctl);
int ctl_bench(struct ctl *ctl);

#endif
