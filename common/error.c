/* error.c - see error.h. */
#include "common/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum bk_status bk_fail(struct bk_error *error, enum bk_status status, const char *format, ...)
{
    if (!error)
        return status;
    va_list args;
    char text[sizeof(error->text)];
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    *error = (struct bk_error){.status = status};
    memcpy(error->text, text, sizeof(text));
    return status;
}

void bk_error_prefix(struct bk_error *error, const char *format, ...)
{
    if (!error)
        return;
    char prefix[200];
    char text[sizeof(error->text)];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(prefix, sizeof(prefix), format, args);
    va_end(args);
    memcpy(text, error->text, sizeof(text));
    int prefix_length = (int)strlen(prefix);
    (void)snprintf(error->text, sizeof(error->text), "%s: %.*s", prefix, (int)sizeof(error->text) - prefix_length - 3,
                   text);
}
