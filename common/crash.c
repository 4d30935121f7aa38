/* crash.c - see crash.h; empty but in test builds. */
#include "common/crash.h"

#ifdef BOOKING_TEST_HOOKS

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Thread_local const char *request;

/* Whether this is the n-th pass of the point that the variable names. Nobody changes the environment once threads run. */
static bool is_time(const char *variable, const char *name, _Atomic long *passes)
{
    const char *wanted = getenv(variable);
    size_t size = strlen(name);
    if (!wanted || strncmp(wanted, name, size) != 0 || wanted[size] != ':')
        return false;
    return atomic_fetch_add(passes, 1) + 1 == strtol(wanted + size + 1, NULL, 10);
}

void bk_crash_point(const char *name)
{
    static _Atomic long deaths;
    static _Atomic long stops;
    if (is_time("BOOKING_CRASH_AT", name, &deaths))
        (void)kill(getpid(), SIGKILL);
    if (is_time("BOOKING_STOP_AT", name, &stops))
        (void)raise(SIGSTOP); /* to this thread, so that it does not go on until the signal is delivered */
}

void bk_crash_name_request(const char *name)
{
    request = name;
}

void bk_crash_request_sent(void)
{
    if (request)
        bk_crash_point(request);
    request = NULL;
}

#endif
