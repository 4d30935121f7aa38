/* setting.h - what stands behind a command's name: NAME=VALUE settings and numbers, read strictly, refused by name. */
#ifndef SETTING_H
#define SETTING_H

#include "tests/faults/proxy/proxy.h"

/** What a command is run with; `answer` has its whole text when the command returns. */
struct call {
    struct proxy *proxy;
    size_t count; /* of its words, without the name */
    char **words;
    struct bk_text *answer;
    struct command_wait *wait;
    bk_ms now;
};

/** A NAME=VALUE of a command. */
struct setting {
    const char *name;
    const char *choices; /* "a|b|c", or NULL; the number of a choice is its place among them, from 0 */
    int64_t least;       /* of a number */
    int64_t most;
    int64_t number;   /* what was given, else the default */
    bool is_text;     /* neither a choice nor a number */
    const char *text; /* what was given, else NULL; lent from the line */
    bool required;
    bool given;
};

/** Makes the answer "error ...". */
void setting_refuse(struct call *call, const char *format, ...) BK_PRINTF(2, 3);
/** Reads all words of a command as settings. False after a refusal. */
bool setting_read_all(struct call *call, struct setting *settings, size_t count);
/** Reads a word as a number. False after a refusal. */
bool setting_read_number(struct call *call, const char *name, const char *value, int64_t least, int64_t most,
                         int64_t *number);
/** Reads a word as one of the choices. False after a refusal. */
bool setting_read_choice(struct call *call, const char *name, const char *value, const char *choices, int64_t *number);

#endif
