/* base.h - the words every other file uses: result statuses, ownership helpers, memory.
 *
 * Three kinds of result are never mixed. An *answer* (nothing to take, slot taken) comes in an out-parameter
 * with BK_OK. A *failure* is one of the statuses below: its class tells the caller what to do next. A *bug* is
 * BK_ASSERT, which stays on in release builds.
 *
 * Memory: the allocators never return NULL. A worker that is out of memory cannot keep its promises by limping on;
 * it dies at once, its lease runs out, and the others take its jobs over: the same path as kill -9, which is the
 * path that is tested most.
 */
#ifndef BK_BASE_H
#define BK_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* name, what it is called in messages, what the caller does next */
#define BK_STATUS_TABLE(X)                                                                                             \
    X(OK, "ok", "go on")                                                                                               \
    X(TRANSIENT, "contention", "try again soon")                                                                       \
    X(OUTAGE, "outage", "the server is in trouble: hand back, wait")                                                   \
    X(UNKNOWN, "outcome unknown", "the answer was lost: as outage, and the ledger decides")                            \
    X(TIMEOUT, "no connection in time", "as outage")                                                                   \
    X(OPERATOR, "needs an operator", "as outage, and say so loudly")                                                   \
    X(PERMANENT, "refused for good", "bury the job that caused it")                                                    \
    X(INVALID, "invalid", "tell the caller what is wrong with its input")                                              \
    X(FENCED, "fenced", "another worker has taken over: drop what is held")                                            \
    X(MISSING, "missing", "the thing asked for is not there")                                                          \
    X(STOPPED, "stopped", "we are shutting down: hand back")

enum bk_status {
#define BK_STATUS_ENUM(name, label, next) BK_##name,
    BK_STATUS_TABLE(BK_STATUS_ENUM)
#undef BK_STATUS_ENUM
};

#define BK_PRINTF(format_index, first_arg) __attribute__((format(printf, format_index, first_arg)))
#define BK_MUST_CHECK                      __attribute__((warn_unused_result))
#define BK_COUNT(array)                    (sizeof(array) / sizeof((array)[0]))
/* their arguments are evaluated twice: no side effects in them */
#define BK_MIN(a, b) ((a) < (b) ? (a) : (b))
#define BK_MAX(a, b) ((a) > (b) ? (a) : (b))

/* BK_AUTO(bk_pg) *pg = NULL;  closes itself at the end of the scope; BK_STEAL(pg) hands it on. */
#define BK_AUTO(type) __attribute__((cleanup(type##_cleanup_))) struct type
#define BK_DEFINE_AUTO(type, close)                                                                                    \
    static inline void type##_cleanup_(struct type **p)                                                                \
    {                                                                                                                  \
        (void)close(*p);                                                                                               \
    }
#define BK_STEAL(pointer)                                                                                              \
    __extension__({                                                                                                    \
        __typeof__(pointer) stolen_ = (pointer);                                                                       \
        (pointer) = NULL;                                                                                              \
        stolen_;                                                                                                       \
    })

#define BK_ASSERT(condition) ((condition) ? (void)0 : bk_bug(#condition, __FILE__, __LINE__))

/** Prints the broken assumption to stderr and aborts. Any thread. */
_Noreturn void bk_bug(const char *condition, const char *file, int line);

/** The status' name for messages ("outage"); a static string. Any thread. */
const char *bk_status_label(enum bk_status status);

/** malloc, calloc, realloc, strdup, strndup that abort the process when there is no memory (see the top of this
 *  file). The caller owns the result and gives it back with free(). Any thread. */
void *bk_alloc(size_t size) __attribute__((malloc));
void *bk_zalloc(size_t size) __attribute__((malloc));
void *bk_realloc(void *old, size_t size);
char *bk_strdup(const char *text) __attribute__((malloc));
char *bk_strndup(const char *text, size_t length) __attribute__((malloc));

/** A span of bytes that somebody else owns; not NUL-terminated unless its lender says so. */
struct bk_span {
    const char *at;
    size_t size;
};

/** The span of a C string; NULL gives the empty span with at == NULL. Any thread. */
struct bk_span bk_span_of(const char *text);
/** Whether a span holds exactly the bytes of a C string. Any thread. */
bool bk_span_is(struct bk_span span, const char *text);
/** Whether two spans hold the same bytes. Any thread. */
bool bk_span_equal(struct bk_span a, struct bk_span b);

#endif
