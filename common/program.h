/* program.h - what the three programs have in common at their doors: exit codes, --help, --version, settings. */
#ifndef BK_PROGRAM_H
#define BK_PROGRAM_H

#include "common/config.h"

/* of sysexits.h */
enum {
    BK_EXIT_OK = 0,
    BK_EXIT_USAGE = 64,
    BK_EXIT_DATA = 65,
    BK_EXIT_UNAVAILABLE = 69,
    BK_EXIT_INTERNAL = 70,
    BK_EXIT_NO_PERMISSION = 77,
    BK_EXIT_CONFIG = 78
};

/** The exit code for a failure of a server or of a call. */
int bk_exit_for(enum bk_status status);

/** Prints "<program> <version> (libpq ..., hiredis ..., queue functions ...)" to stdout. */
void bk_print_version(const char *program);

/** Prints "<program>: ..." to stderr, in one line whatever the words on the command line are, and returns
 *  BK_EXIT_USAGE. */
int bk_usage(const char *program, const char *format, ...) BK_PRINTF(2, 3);

/** Loads the settings for `program` (a BK_FOR_ bit), has libpq check the DATABASE_URL, and sets the log up. On a fault
 *  prints all of them to stderr, one a line, and returns BK_EXIT_CONFIG; the caller frees *config either way. */
int bk_load_settings(struct bk_config *config, int program, const char *env_file, const char *log_name);

#endif
