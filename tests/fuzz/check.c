/* check.c - see check.h. */
#include "tests/fuzz/check.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cjson/cJSON.h>

/* The length of the character at `at` (1..4), 0 for bytes that are none, by the table of RFC 3629 section 4. */
static size_t character(const unsigned char *at, size_t left)
{
    static const struct {
        unsigned char low, high, second_low, second_high;
        size_t size;
    } rows[] = {{0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
                {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        if (at[0] < rows[i].low || at[0] > rows[i].high)
            continue;
        bool good = rows[i].size <= left;
        if (good && rows[i].size > 1)
            good = at[1] >= rows[i].second_low && at[1] <= rows[i].second_high;
        for (size_t k = 2; k < rows[i].size && good; k++)
            good = at[k] >= 0x80 && at[k] <= 0xbf;
        return good ? rows[i].size : 0;
    }
    return 0;
}

static bool is_text(const char *text, size_t size, bool line_feeds)
{
    const unsigned char *at = (const unsigned char *)text;
    for (size_t i = 0; i < size;) {
        size_t step = character(at + i, size - i);
        bool control = at[i] < 0x20 || at[i] == 0x7f || (at[i] == 0xc2 && step == 2 && at[i + 1] < 0xa0);
        if (step == 0 || (control && !(line_feeds && at[i] == '\n')))
            return false;
        i += step;
    }
    return true;
}

bool fuzz_is_plain(const char *text, size_t most)
{
    size_t size = strlen(text);
    return size > 0 && size <= most && is_text(text, size, false);
}

/* U+0080 to U+009F may stand in JSON as they are; a terminal that obeys them is the business of who prints it. */
static bool is_json_text(const char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        size_t step = character((const unsigned char *)text + i, size - i);
        if (step == 0 || ((unsigned char)text[i] < 0x20 && text[i] != '\n') || text[i] == 0x7f)
            return false;
        i += step;
    }
    return true;
}

/* cJSON takes 007 for a number. */
static bool has_padded_number(const char *text, size_t size)
{
    bool inside = false; /* a string */
    char last = ' ';
    for (size_t i = 0; i + 1 < size; i++) {
        bool begins = !inside && text[i] == '0' && !strchr("0123456789.eE+", last);
        if (begins && text[i + 1] >= '0' && text[i + 1] <= '9')
            return true;
        if (inside && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            inside = !inside;
        last = text[i] ? text[i] : ' ';
    }
    return false;
}

bool fuzz_has_long_number(struct bk_span text)
{
    size_t run = 0;
    for (size_t i = 0; i < text.size; i++) {
        run = text.at[i] && strchr("0123456789+-.eE", text.at[i]) ? run + 1 : 0;
        if (run > 63)
            return true;
    }
    return false;
}

bool fuzz_is_json(const char *text, size_t size)
{
    const char *end = NULL;
    if (!is_json_text(text, size) || has_padded_number(text, size))
        return false;
    cJSON *json = cJSON_ParseWithLengthOpts(text, size, &end, 0);
    bool whole = json != NULL;
    if (!json && fuzz_has_long_number((struct bk_span){text, size}))
        return true; /* nobody to ask */
    while (whole && end < text + size)
        whole = *end++ == '\n';
    cJSON_Delete(json);
    return whole;
}

bool fuzz_error_of(struct bk_text *out, struct bk_span json)
{
    cJSON *object = cJSON_ParseWithLength(json.at, json.size);
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(object, "error");
    bool good = cJSON_GetArraySize(object) == 1 && cJSON_IsString(error);
    if (good)
        bk_text_puts(out, error->valuestring);
    cJSON_Delete(object);
    return good;
}

bool fuzz_time(struct bk_span text, int64_t *unix_s, int64_t *ns)
{
    static regex_t form;
    static bool ready = false;
    if (!ready)
        BK_ASSERT(
            regcomp(&form,
                    "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
                    "(\\.[0-9]{1,9})?([Zz]|[+-](0[0-9]|1[0-5]):[0-5][0-9])$",
                    REG_EXTENDED | REG_NOSUB) == 0);
    ready = true;
    char copy[64];
    if (text.size >= sizeof(copy) || (text.size && memchr(text.at, '\0', text.size)))
        return false;
    memcpy(copy, text.at ? text.at : "", text.size);
    copy[text.size] = '\0';
    if (regexec(&form, copy, 0, NULL, 0) != 0)
        return false;
    struct tm tm = {.tm_year = atoi(copy) - 1900,
                    .tm_mon = atoi(copy + 5) - 1,
                    .tm_mday = atoi(copy + 8),
                    .tm_hour = atoi(copy + 11),
                    .tm_min = atoi(copy + 14),
                    .tm_sec = atoi(copy + 17)};
    struct tm same = tm;
    time_t seconds = timegm(&same);
    if (same.tm_mday != tm.tm_mday) /* no such day: the C library made it one of the next month */
        return false;
    *ns = 0;
    size_t at = 19;
    if (copy[at] == '.') {
        int64_t weight = 100000000;
        for (at++; copy[at] >= '0' && copy[at] <= '9'; at++, weight /= 10)
            *ns += (copy[at] - '0') * weight;
    }
    int64_t offset_s = copy[at] == '+' || copy[at] == '-' ? atoi(copy + at + 1) * 3600 + atoi(copy + at + 4) * 60 : 0;
    *unix_s = (int64_t)seconds - (copy[at] == '-' ? -offset_s : offset_s);
    return true;
}

struct bk_span fuzz_piece(struct bk_span *rest, char separator)
{
    const char *end = rest->size ? memchr(rest->at, separator, rest->size) : NULL;
    struct bk_span piece = {rest->at, end ? (size_t)(end - rest->at) : rest->size};
    *rest = end ? (struct bk_span){end + 1, rest->size - piece.size - 1} : (struct bk_span){NULL, 0};
    return piece;
}
