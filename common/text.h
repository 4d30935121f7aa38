/* text.h - a growable buffer of bytes, and the strict little parsers for text from outside. */
#ifndef BK_TEXT_H
#define BK_TEXT_H

#include "common/base.h"

/** A byte buffer that is always NUL-terminated once something was added. `{0}` is a valid empty one; whoever holds it
 *  frees it with bk_text_deinit. Not thread-safe; used by one thread at a time. */
struct bk_text {
    char *data; /* NULL while empty and untouched */
    size_t size;
    size_t room;
};

/** Frees the bytes and leaves an empty buffer. */
void bk_text_deinit(struct bk_text *text);
/** Empties the buffer and keeps its memory for the next use. */
void bk_text_clear(struct bk_text *text);
/** Forgets what stands behind the first `size` bytes. */
void bk_text_cut(struct bk_text *text, size_t size);
/** The content as a C string, "" when empty; lent until the next call on this buffer. */
const char *bk_text_string(const struct bk_text *text);
/** Appends bytes. */
void bk_text_add(struct bk_text *text, const char *bytes, size_t size);
/** Appends a C string. */
void bk_text_puts(struct bk_text *text, const char *string);
/** Appends one byte. */
void bk_text_putc(struct bk_text *text, char byte);
/** Appends as printf does. */
void bk_text_printf(struct bk_text *text, const char *format, ...) BK_PRINTF(2, 3);
/** Appends `bytes` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD; control characters, and the
 *  Unicode characters that turn the direction of writing, are escaped: somebody will look at it in a terminal. */
void bk_text_json(struct bk_text *text, const char *bytes, size_t size);
/** bk_text_json of a C string; NULL appends null. */
void bk_text_json_string(struct bk_text *text, const char *string);
/** Appends `bytes` so that no terminal obeys them: control characters, bytes that are not UTF-8 and the Unicode
 *  characters that turn the direction of writing appear as \xNN or \u{NNNN}. At most `most` input bytes, then "...". */
void bk_text_safe(struct bk_text *text, const char *bytes, size_t size, size_t most);

static inline void bk_text_cleanup_(struct bk_text *text)
{
    bk_text_deinit(text);
}
#define BK_AUTO_TEXT __attribute__((cleanup(bk_text_cleanup_))) struct bk_text

/** The length in bytes (1..4) of the well-formed UTF-8 sequence at `at`, or 0 where there is none: overlong forms,
 *  surrogates and values above U+10FFFF are refused (RFC 3629). The scalar value goes to `scalar` unless NULL. */
size_t bk_utf8_step(const char *at, size_t left, uint32_t *scalar);
/** Whether all of it is well-formed UTF-8; the number of characters goes to `characters` unless NULL. */
bool bk_utf8_valid(const char *at, size_t size, size_t *characters);

/** Reads a whole span as a decimal integer: an optional minus, no plus, no blanks, no leading zeros. False when it is
 *  none or does not fit. */
bool bk_parse_integer(struct bk_span span, int64_t *value);
/** Whether the span is a UUID in its 36-character form, hexadecimal digits of either case. */
bool bk_is_uuid(struct bk_span span);

#endif
