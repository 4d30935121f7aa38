/* text.c - see text.h. */
#include "common/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bk_text_deinit(struct bk_text *text)
{
    free(text->data);
    *text = (struct bk_text){0};
}

void bk_text_clear(struct bk_text *text)
{
    bk_text_cut(text, 0);
}

void bk_text_cut(struct bk_text *text, size_t size)
{
    if (!text->data)
        return;
    text->size = BK_MIN(size, text->size);
    text->data[text->size] = '\0';
}

const char *bk_text_string(const struct bk_text *text)
{
    return text->data ? text->data : "";
}

static void reserve(struct bk_text *text, size_t more)
{
    size_t wanted = text->size + more + 1;
    if (wanted <= text->room)
        return;
    size_t room = text->room ? text->room : 64;
    while (room < wanted)
        room *= 2;
    text->data = bk_realloc(text->data, room);
    text->room = room;
}

void bk_text_add(struct bk_text *text, const char *bytes, size_t size)
{
    reserve(text, size);
    if (size)
        memcpy(text->data + text->size, bytes, size);
    text->size += size;
    text->data[text->size] = '\0';
}

void bk_text_puts(struct bk_text *text, const char *string)
{
    bk_text_add(text, string, strlen(string));
}

void bk_text_putc(struct bk_text *text, char byte)
{
    bk_text_add(text, &byte, 1);
}

void bk_text_printf(struct bk_text *text, const char *format, ...)
{
    va_list args;
    va_list again;
    va_start(args, format);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    BK_ASSERT(size >= 0);
    reserve(text, (size_t)size);
    (void)vsnprintf(text->data + text->size, (size_t)size + 1, format, again);
    va_end(again);
    text->size += (size_t)size;
}

/* Characters that change how the text around them is laid out: C1 controls, bidirectional marks, separators, BOM. */
static bool is_deceptive(uint32_t c)
{
    return (c >= 0x80 && c < 0xa0) || c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

void bk_text_json(struct bk_text *text, const char *bytes, size_t size)
{
    reserve(text, size + 2);
    bk_text_putc(text, '"');
    for (size_t i = 0; i < size;) {
        /* the longest run that needs no care, in one copy */
        size_t run = i;
        while (run < size && bytes[run] >= 0x20 && bytes[run] < 0x7f && bytes[run] != '"' && bytes[run] != '\\')
            run++;
        bk_text_add(text, bytes + i, run - i);
        i = run;
        if (i == size)
            break;
        unsigned char c = (unsigned char)bytes[i];
        uint32_t scalar = 0;
        size_t step = bk_utf8_step(bytes + i, size - i, &scalar);
        if (c == '"' || c == '\\')
            bk_text_printf(text, "\\%c", c);
        else if (c < 0x20 || c == 0x7f || (step > 0 && is_deceptive(scalar)))
            bk_text_printf(text, "\\u%04x", scalar);
        else if (step > 0)
            bk_text_add(text, bytes + i, step);
        else
            bk_text_puts(text, "\xef\xbf\xbd");
        i += step ? step : 1;
    }
    bk_text_putc(text, '"');
}

void bk_text_json_string(struct bk_text *text, const char *string)
{
    if (string)
        bk_text_json(text, string, strlen(string));
    else
        bk_text_puts(text, "null");
}

void bk_text_safe(struct bk_text *text, const char *bytes, size_t size, size_t most)
{
    size_t end = BK_MIN(size, most);
    size_t i = 0;
    while (i < end) {
        uint32_t scalar = 0;
        size_t step = bk_utf8_step(bytes + i, size - i, &scalar);
        unsigned char c = (unsigned char)bytes[i];
        if (step == 0 || c < 0x20 || c == 0x7f)
            bk_text_printf(text, "\\x%02x", c);
        else if (is_deceptive(scalar))
            bk_text_printf(text, "\\u{%x}", scalar);
        else
            bk_text_add(text, bytes + i, step);
        i += step ? step : 1;
    }
    if (i < size) /* a character that lies across the end is shown whole */
        bk_text_puts(text, "...");
}

size_t bk_utf8_step(const char *at, size_t left, uint32_t *scalar)
{
    if (left == 0)
        return 0;
    const unsigned char *p = (const unsigned char *)at;
    size_t size = p[0] < 0x80             ? 1
                  : (p[0] & 0xe0) == 0xc0 ? 2
                  : (p[0] & 0xf0) == 0xe0 ? 3
                  : (p[0] & 0xf8) == 0xf0 ? 4
                                          : 0;
    if (size == 0 || size > left)
        return 0;
    static const unsigned char first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t value = p[0] & first_bits[size];
    for (size_t i = 1; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (p[i] & 0x3f);
    }
    if (value < smallest[size] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    if (scalar)
        *scalar = value;
    return size;
}

bool bk_utf8_valid(const char *at, size_t size, size_t *characters)
{
    size_t count = 0;
    for (size_t i = 0; i < size; count++) {
        size_t step = bk_utf8_step(at + i, size - i, NULL);
        if (step == 0)
            return false;
        i += step;
    }
    if (characters)
        *characters = count;
    return true;
}

bool bk_parse_integer(struct bk_span span, int64_t *value)
{
    size_t digits_at = span.size > 0 && span.at[0] == '-' ? 1 : 0;
    size_t digits = span.size - digits_at;
    if (digits == 0 || digits > 19 || (digits > 1 && span.at[digits_at] == '0'))
        return false;
    uint64_t magnitude = 0;
    for (size_t i = digits_at; i < span.size; i++) {
        if (span.at[i] < '0' || span.at[i] > '9')
            return false;
        magnitude = magnitude * 10 + (uint64_t)(span.at[i] - '0');
    }
    if (magnitude > (uint64_t)INT64_MAX + digits_at)
        return false;
    *value = digits_at ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

bool bk_is_uuid(struct bk_span span)
{
    if (span.size != 36)
        return false;
    for (size_t i = 0; i < 36; i++) {
        char c = span.at[i];
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (c != '-')
                return false;
        } else if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))) {
            return false;
        }
    }
    return true;
}
