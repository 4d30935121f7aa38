/* json.c - the strict scanner of json.h; the only file that includes cJSON.
 *
 * The scanner is one pass with a counter of depth and a stack of bits (object or array), so a text nested a hundred
 * thousand deep costs nothing but its refusal. Values inside the top-level object are checked and measured, not built.
 */
#include "common/json.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

struct scan {
    const char *text;
    size_t size;
    size_t at;
    struct bk_error *error;
};

static enum bk_status expected(const struct scan *s, const char *what)
{
    return bk_fail(s->error, BK_INVALID, "not JSON at byte %zu: expected %s", s->at, what);
}

static int peek(const struct scan *s)
{
    return s->at < s->size ? (unsigned char)s->text[s->at] : -1;
}

static void skip_blanks(struct scan *s)
{
    while (s->at < s->size && strchr(" \t\r\n", s->text[s->at]) && s->text[s->at])
        s->at++;
}

static int hex4(const struct scan *s, size_t at)
{
    int value = 0;
    for (size_t i = at; i < at + 4; i++) {
        int c = i < s->size ? (unsigned char)s->text[i] : 0;
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* `at` stands behind the backslash of an escape. */
static enum bk_status scan_escape(struct scan *s)
{
    int c = peek(s);
    if (c > 0 && strchr("\"\\/bfnrt", c)) {
        s->at++;
        return BK_OK;
    }
    int unit = c == 'u' ? hex4(s, s->at + 1) : -1;
    if (unit < 0)
        return expected(s, "an escape like \\n or \\u0041");
    if (unit == 0)
        return expected(s, "no \\u0000, which PostgreSQL cannot store");
    s->at += 5;
    if (unit >= 0xdc00 && unit <= 0xdfff)
        return expected(s, "no lone surrogate");
    if (unit < 0xd800 || unit > 0xdbff)
        return BK_OK;
    bool follows = s->at + 6 <= s->size && s->text[s->at] == '\\' && s->text[s->at + 1] == 'u';
    int low = follows ? hex4(s, s->at + 2) : -1;
    if (low < 0xdc00 || low > 0xdfff)
        return expected(s, "no lone surrogate");
    s->at += 6;
    return BK_OK;
}

static enum bk_status scan_string(struct scan *s)
{
    s->at++; /* the quote */
    for (;;) {
        int c = peek(s);
        if (c < 0)
            return expected(s, "the closing quote of a string");
        if (c < 0x20)
            return expected(s, "no raw control character in a string");
        if (c == '"') {
            s->at++;
            return BK_OK;
        }
        if (c == '\\') {
            s->at++;
            enum bk_status status = scan_escape(s);
            if (status != BK_OK)
                return status;
            continue;
        }
        size_t step = bk_utf8_step(s->text + s->at, s->size - s->at, NULL);
        if (step == 0)
            return expected(s, "UTF-8");
        s->at += step;
    }
}

static size_t skip_digits(struct scan *s)
{
    size_t start = s->at;
    while (peek(s) >= '0' && peek(s) <= '9')
        s->at++;
    return s->at - start;
}

static enum bk_status scan_number(struct scan *s)
{
    if (peek(s) == '-')
        s->at++;
    else if (peek(s) < '0' || peek(s) > '9')
        return expected(s, "a value");
    bool zero = peek(s) == '0';
    size_t digits = skip_digits(s);
    if (digits == 0 || (zero && digits > 1))
        return expected(s, "a number without leading zeros");
    if (peek(s) == '.') {
        s->at++;
        if (skip_digits(s) == 0)
            return expected(s, "digits behind the decimal point");
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->at++;
        if (peek(s) == '+' || peek(s) == '-')
            s->at++;
        if (skip_digits(s) == 0)
            return expected(s, "digits in the exponent");
    }
    return BK_OK;
}

static enum bk_status scan_word(struct scan *s, const char *word)
{
    size_t size = strlen(word);
    if (s->size - s->at < size || memcmp(s->text + s->at, word, size) != 0)
        return expected(s, "a value");
    s->at += size;
    return BK_OK;
}

/* A value that holds no other one. */
static enum bk_status scan_scalar(struct scan *s, enum bk_json_type *type)
{
    switch (peek(s)) {
    case '"':
        *type = BK_JSON_STRING;
        return scan_string(s);
    case 't':
        *type = BK_JSON_BOOL;
        return scan_word(s, "true");
    case 'f':
        *type = BK_JSON_BOOL;
        return scan_word(s, "false");
    case 'n':
        *type = BK_JSON_NULL;
        return scan_word(s, "null");
    default:
        *type = BK_JSON_NUMBER;
        return scan_number(s);
    }
}

static enum bk_status scan_name(struct scan *s)
{
    skip_blanks(s);
    if (peek(s) != '"')
        return expected(s, "a member's name in quotes");
    enum bk_status status = scan_string(s);
    if (status != BK_OK)
        return status;
    skip_blanks(s);
    if (peek(s) != ':')
        return expected(s, "a colon");
    s->at++;
    return BK_OK;
}

/* Closes as many containers as end here, takes the comma if there is one. On return either depth is 0 or the next
 * value (with its name, in an object) stands at `at`. */
static enum bk_status scan_after_value(struct scan *s, uint64_t objects, int *depth)
{
    while (*depth > 0) {
        bool object = objects >> (*depth - 1) & 1;
        skip_blanks(s);
        int c = peek(s);
        if (c == ',') {
            s->at++;
            return object ? scan_name(s) : BK_OK;
        }
        if (c != (object ? '}' : ']'))
            return expected(s, object ? "a comma or }" : "a comma or ]");
        s->at++;
        (*depth)--;
    }
    return BK_OK;
}

/* The opening bracket of a container, and on to its first value; or its closing one, if it is empty. */
static enum bk_status scan_open(struct scan *s, bool object, bool *empty)
{
    s->at++;
    skip_blanks(s);
    *empty = peek(s) == (object ? '}' : ']');
    if (*empty)
        s->at++;
    return object && !*empty ? scan_name(s) : BK_OK;
}

/* Any value, with everything inside it. */
static enum bk_status scan_value(struct scan *s, int depth_left, enum bk_json_type *type)
{
    uint64_t objects = 0; /* bit d: the container of depth d+1 is an object */
    int depth = 0;
    bool first = true;
    do {
        skip_blanks(s);
        bool object = peek(s) == '{';
        bool whole = true; /* the value ends here; false: it is a container, and its first value comes next */
        enum bk_json_type here = object ? BK_JSON_OBJECT : BK_JSON_ARRAY;
        enum bk_status status = BK_OK;
        if (object || peek(s) == '[') {
            if (depth == depth_left)
                return expected(s, "less nesting");
            objects = (objects & ~(UINT64_C(1) << depth)) | (uint64_t)object << depth;
            status = scan_open(s, object, &whole);
            depth += whole ? 0 : 1;
        } else {
            status = scan_scalar(s, &here);
        }
        if (first)
            *type = here;
        first = false;
        if (status == BK_OK && whole)
            status = scan_after_value(s, objects, &depth);
        if (status != BK_OK)
            return status;
    } while (depth > 0);
    return BK_OK;
}

static enum bk_status twice(const struct scan *s, struct bk_span name)
{
    BK_AUTO_TEXT shown = {0};
    bk_text_safe(&shown, name.at, name.size, 40);
    return bk_fail(s->error, BK_INVALID, "%s: stands there twice, expected it once", bk_text_string(&shown));
}

static enum bk_status scan_member(struct scan *s, struct bk_json_member *members, size_t most, size_t *count)
{
    skip_blanks(s);
    size_t start = s->at + 1;
    enum bk_status status = scan_name(s);
    if (status != BK_OK)
        return status;
    /* scan_name stands behind the colon; the name ends at the quote before it */
    size_t end = s->at - 1;
    while (s->text[end] != '"')
        end--;
    struct bk_json_member member = {.name = {s->text + start, end - start}};
    if (memchr(member.name.at, '\\', member.name.size))
        return bk_fail(s->error, BK_INVALID, "the member name at byte %zu has an escape in it, expected none", start);
    for (size_t i = 0; i < *count; i++) {
        if (bk_span_equal(members[i].name, member.name))
            return twice(s, member.name);
    }
    if (*count == most)
        return bk_fail(s->error, BK_INVALID, "expected at most %zu members", most);
    skip_blanks(s);
    size_t value_at = s->at;
    status = scan_value(s, BK_JSON_MAX_DEPTH - 1, &member.type);
    if (status != BK_OK)
        return status;
    member.raw = (struct bk_span){s->text + value_at, s->at - value_at};
    members[(*count)++] = member;
    return BK_OK;
}

enum bk_status bk_json_object(struct bk_span text, struct bk_json_member *members, size_t most, size_t *count,
                              struct bk_error *error)
{
    struct scan s = {.text = text.at, .size = text.size, .error = error};
    size_t found = 0;
    skip_blanks(&s);
    if (peek(&s) != '{')
        return expected(&s, "an object");
    s.at++;
    skip_blanks(&s);
    while (peek(&s) != '}') {
        if (found > 0) {
            if (peek(&s) != ',')
                return expected(&s, "a comma or }");
            s.at++;
        }
        enum bk_status status = scan_member(&s, members, most, &found);
        if (status != BK_OK)
            return status;
        skip_blanks(&s);
    }
    s.at++;
    skip_blanks(&s);
    if (s.at != s.size)
        return expected(&s, "nothing behind the object");
    *count = found;
    return BK_OK;
}

const char *bk_json_type_name(enum bk_json_type type)
{
    static const char *const names[] = {"null", "a boolean", "a number", "a string", "an array", "an object"};
    return names[type];
}

char *bk_json_unescape(struct bk_span raw)
{
    cJSON *item = cJSON_ParseWithLength(raw.at, raw.size);
    BK_ASSERT(cJSON_IsString(item)); /* the scanner accepted it */
    char *text = bk_strdup(item->valuestring);
    cJSON_Delete(item);
    return text;
}

bool bk_json_integer(struct bk_span raw, int64_t *value)
{
    static const int64_t limit = (INT64_C(1) << 53) - 1;
    int64_t number = 0;
    if (!bk_parse_integer(raw, &number) || number > limit || number < -limit)
        return false;
    *value = number;
    return true;
}
