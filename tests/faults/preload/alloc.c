/* alloc.c - LD_PRELOAD: the FAULT_ALLOC_AT-th allocation of the process fails, whoever asks for it. Counted from the moment
 * when main reads its options: the libraries' own start makes thousands that say nothing.
 *
 * FAULT_ALLOC_LOG names a file that is created when it has happened. Counted are malloc, calloc, realloc and what the C
 * library builds on them; glibc's own names for them do the work.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static _Atomic bool counting;
static _Atomic long allocations;

/* Whether this allocation is the one. Nothing in here may allocate. */
static bool fails(void)
{
    const char *wanted = getenv("FAULT_ALLOC_AT");
    if (!counting || !wanted || atomic_fetch_add(&allocations, 1) + 1 != strtol(wanted, NULL, 10))
        return false;
    const char *log = getenv("FAULT_ALLOC_LOG");
    int fd = log ? open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1;
    if (fd >= 0)
        (void)close(fd);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, size);
}

int getopt_long(int argc, char *const *argv, const char *letters, const struct option *options, int *which)
{
    __typeof__(&getopt_long) real = (__typeof__(&getopt_long))dlsym(RTLD_NEXT, "getopt_long");
    counting = true;
    return real(argc, argv, letters, options, which);
}
