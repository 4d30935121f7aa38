/* exit.c - keeps what was counted when a process ends by _exit, which runs nothing of its own.
 *
 * Linked into the coverage build only, with --wrap=_exit: the worker that hands back at once, or is fenced off, ends
 * like that on purpose. */
#include <unistd.h>

void __gcov_dump(void);                /* NOLINT: libgcov's name */
_Noreturn void __real__exit(int code); /* NOLINT: the linker's names */
_Noreturn void __wrap__exit(int code); /* NOLINT */

_Noreturn void __wrap__exit(int code) /* NOLINT */
{
    __gcov_dump();
    __real__exit(code);
}
