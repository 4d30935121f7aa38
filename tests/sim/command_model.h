/* command_model.h - the booking commands of a simulated world: what a producer sends, and what it means to the ledger. */
#ifndef SIM_COMMAND_MODEL_H
#define SIM_COMMAND_MODEL_H

#include "common/clock.h"
#include "tests/sim/chance.h"

enum { SIM_COMMANDS = 16, SIM_BOOKINGS = 4, SIM_RESOURCES = 2 };

enum sim_kind { SIM_CONFIRM, SIM_CANCEL, SIM_COMPLETE, SIM_RESCHEDULE, SIM_CREATE };

/** What is wrong with a command. */
enum sim_flaw { SIM_GOOD, SIM_MALFORMED, SIM_UNKNOWN_KIND, SIM_BAD_ARGS, SIM_REFUSED, SIM_ODD, SIM_KILLER };

struct sim_command {
    int id;       /* number of its id; two commands of one id differ in contents */
    int contents; /* equal contents, equal number */
    int booking;
    enum sim_kind kind;
    int resource; /* SIM_RESOURCES: there is no such; -1: the booking's own (reschedule) */
    int from;     /* hours of a day in 2030 */
    int to;
    int expected; /* version; 0: any */
    enum sim_flaw flaw;
    bool same_id;     /* shares its id with an older command of other contents */
    bk_ms sent_at;    /* virtual time */
    bk_ms not_before; /* 0: none */
    bk_ms expires_at; /* 0: none */
    char id_text[8];
    char key[40];
    char args[240];
    char not_before_text[16];
    char expires_at_text[16];
    struct bk_span fields[14];
    size_t field_count;
};

/** Makes `count` commands on `bookings` bookings, sent between `begin` and `end`. */
void sim_make_commands(struct sim_chance *chance, struct sim_command *commands, int count, int bookings, bk_ms begin,
                       bk_ms end);

/** One line about it. */
void sim_describe_command(const struct sim_command *command, char *text, size_t room);

const char *sim_kind_name(enum sim_kind kind);

#endif
