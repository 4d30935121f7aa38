/* crash.c - see crash.h; compiled into test builds only. */
#include "common/crash.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic long passes;
static _Thread_local const char *request;

void bk_crash_point(const char *name)
{
    const char *wanted = getenv("BOOKING_CRASH_AT"); /* nobody changes the environment once threads run */
    size_t size = strlen(name);
    if (!wanted || strncmp(wanted, name, size) != 0 || wanted[size] != ':')
        return;
    if (atomic_fetch_add(&passes, 1) + 1 == strtol(wanted + size + 1, NULL, 10))
        (void)kill(getpid(), SIGKILL);
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
