/* switch.c - bookingctl pause, resume and breaker: the switches of a queue. */
#include <stdio.h>
#include <string.h>

#include "worker/ctl/ctl.h"

static int set(struct ctl *ctl, const char *name, const char *value, const char *said)
{
    struct bk_error error = {0};
    if (bk_queue_configure(ctl->queue, ctl_who(), ctl->verb, name, value, &error) != BK_OK)
        return ctl_failed(&error);
    (void)printf("%s\n", said);
    return BK_EXIT_OK;
}

static int no_arguments(struct ctl *ctl)
{
    if (!ctl_options(ctl, NULL, 0))
        return BK_EXIT_USAGE;
    return ctl->argc > 0 ? ctl_usage("%s takes no arguments", ctl->verb) : BK_EXIT_OK;
}

int ctl_pause(struct ctl *ctl)
{
    int code = no_arguments(ctl);
    return code != BK_EXIT_OK ? code
                              : set(ctl, "paused", "1", "paused: no worker takes jobs until `bookingctl resume`");
}

int ctl_resume(struct ctl *ctl)
{
    int code = no_arguments(ctl);
    return code != BK_EXIT_OK ? code : set(ctl, "paused", "0", "resumed: workers take jobs again");
}

int ctl_breaker(struct ctl *ctl)
{
    static const struct {
        const char *mode;
        const char *said;
    } modes[] = {
        {"open", "breaker open: no worker brings jobs to the database until `bookingctl breaker auto`"},
        {"closed", "breaker closed: workers go on whatever the database does; `bookingctl breaker auto` ends it"},
        {"auto", "breaker auto: each worker's breaker judges by itself"}};
    if (!ctl_options(ctl, NULL, 0))
        return BK_EXIT_USAGE;
    for (size_t i = 0; i < BK_COUNT(modes) && ctl->argc == 1; i++) {
        if (strcmp(ctl->argv[0], modes[i].mode) == 0)
            return set(ctl, "breaker", modes[i].mode, modes[i].said);
    }
    return ctl_usage("breaker takes one of open, closed, auto");
}
