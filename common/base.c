/* base.c - see base.h. */
#include "common/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void bk_bug(const char *condition, const char *file, int line)
{
    (void)fprintf(stderr, "booking-worker: bug: %s does not hold at %s:%d\n", condition, file, line);
    abort();
}

const char *bk_status_label(enum bk_status status)
{
    static const char *const labels[] = {
#define BK_STATUS_LABEL(name, label, next) [BK_##name] = (label),
        BK_STATUS_TABLE(BK_STATUS_LABEL)
#undef BK_STATUS_LABEL
    };
    return labels[status];
}

static void *checked(void *memory)
{
    if (!memory) {
        (void)fputs("booking-worker: out of memory\n", stderr);
        abort();
    }
    return memory;
}

void *bk_alloc(size_t size)
{
    return checked(malloc(size ? size : 1));
}

void *bk_zalloc(size_t size)
{
    return checked(calloc(1, size ? size : 1));
}

void *bk_realloc(void *old, size_t size)
{
    return checked(realloc(old, size ? size : 1));
}

char *bk_strdup(const char *text)
{
    return checked(strdup(text));
}

char *bk_strndup(const char *text, size_t length)
{
    return checked(strndup(text, length));
}

struct bk_span bk_span_of(const char *text)
{
    return (struct bk_span){text, text ? strlen(text) : 0};
}

bool bk_span_is(struct bk_span span, const char *text)
{
    return bk_span_equal(span, bk_span_of(text));
}

bool bk_span_equal(struct bk_span a, struct bk_span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.at, b.at, a.size) == 0);
}
