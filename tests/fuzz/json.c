/* The strict scanner beside cJSON: what it takes, cJSON takes with the same members; what it alone refuses, it refuses
 * for one of the reasons that json.h names. And the writer of strings: whatever bytes go in, JSON comes out. */
#include "common/json.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "tests/fuzz/check.h"

enum { MOST = 16 };

static enum bk_json_type type_of(const cJSON *item)
{
    return cJSON_IsString(item)   ? BK_JSON_STRING
           : cJSON_IsNumber(item) ? BK_JSON_NUMBER
           : cJSON_IsBool(item)   ? BK_JSON_BOOL
           : cJSON_IsNull(item)   ? BK_JSON_NULL
           : cJSON_IsArray(item)  ? BK_JSON_ARRAY
                                  : BK_JSON_OBJECT;
}

static void check_member(const struct bk_json_member *member, const cJSON *item)
{
    BK_ASSERT(bk_span_is(member->name, item->string));
    BK_ASSERT(member->type == type_of(item));
    int64_t number = 0;
    if (member->type == BK_JSON_STRING) {
        char *text = bk_json_unescape(member->raw);
        BK_ASSERT(strcmp(text, item->valuestring) == 0 && bk_utf8_valid(text, strlen(text), NULL));
        free(text);
    } else if (member->type == BK_JSON_NUMBER && bk_json_integer(member->raw, &number)) {
        BK_ASSERT((double)number == item->valuedouble && number > -(INT64_C(1) << 53) && number < INT64_C(1) << 53);
    } else if (member->type == BK_JSON_NUMBER && !memchr(member->raw.at, '.', member->raw.size) &&
               !memchr(member->raw.at, 'e', member->raw.size) && !memchr(member->raw.at, 'E', member->raw.size)) {
        BK_ASSERT(item->valuedouble >= 9007199254740992.0 || item->valuedouble <= -9007199254740992.0);
    }
}

static cJSON *read_with_cjson(struct bk_span text)
{
    const char *end = NULL;
    cJSON *json = cJSON_ParseWithLengthOpts(text.at, text.size, &end, 0);
    while (json && end < text.at + text.size) {
        if (!*end || !strchr(" \t\r\n", *end++)) {
            cJSON_Delete(json);
            return NULL;
        }
    }
    return json;
}

static void check_taken(struct bk_span text, const struct bk_json_member *members, size_t count)
{
    cJSON *json = read_with_cjson(text);
    BK_ASSERT(json != NULL || fuzz_has_long_number(text));
    BK_ASSERT(bk_utf8_valid(text.at, text.size, NULL) && !memchr(text.at, '\0', text.size));
    const cJSON *item = json ? json->child : NULL;
    for (size_t i = 0; i < count; i++) {
        BK_ASSERT(members[i].raw.at >= text.at && members[i].raw.at + members[i].raw.size <= text.at + text.size);
        if (!json)
            continue;
        BK_ASSERT(item != NULL);
        check_member(&members[i], item);
        item = item->next;
    }
    BK_ASSERT(item == NULL);
    cJSON_Delete(json);
}

/* Where cJSON is lenient: the list at the top of json.h, and what it takes for a blank (any control character). */
static void check_refused(struct bk_span text, const char *why)
{
    static const char *const reasons[] = {"expected an object",
                                          "raw control character",
                                          "UTF-8",
                                          "\\u0000",
                                          "lone surrogate",
                                          "stands there twice",
                                          "has an escape in it",
                                          "leading zeros",
                                          "behind the decimal point",
                                          "digits in the expone",
                                          "less nesting",
                                          "expected at most 16 members",
                                          "nothing behind the",
                                          "an escape like"};
    BK_ASSERT(fuzz_is_plain(why, 300));
    cJSON *json = read_with_cjson(text);
    bool known = json == NULL;
    for (size_t i = 0; i < BK_COUNT(reasons) && !known; i++)
        known = strstr(why, reasons[i]);
    for (size_t i = 0; i < text.size && !known; i++)
        known = (unsigned char)text.at[i] < 0x20 && !strchr("\t\r\n", text.at[i] ? text.at[i] : 'x');
    BK_ASSERT(known);
    cJSON_Delete(json);
}

static void check_scanner(struct bk_span text)
{
    struct bk_json_member members[MOST];
    struct bk_error error = {0};
    struct bk_error again = {0};
    size_t count = 99;
    enum bk_status status = bk_json_object(text, members, MOST, &count, &error);
    BK_ASSERT(status == BK_OK || (status == BK_INVALID && count == 99));
    if (status == BK_OK)
        check_taken(text, members, count);
    else
        check_refused(text, error.text);
    BK_ASSERT(bk_json_object(text, members, MOST, &count, &again) == status && strcmp(error.text, again.text) == 0);
}

/* A string of these bytes as a member, read again: the same bytes, if they were text. */
static void check_writer(struct bk_span bytes)
{
    BK_AUTO_TEXT json = {0};
    BK_AUTO_TEXT safe = {0};
    struct bk_json_member member;
    size_t count = 0;
    bk_text_puts(&json, "{\"a\":");
    bk_text_json(&json, bytes.at, bytes.size);
    bk_text_putc(&json, '}');
    BK_ASSERT(bk_utf8_valid(json.data, json.size, NULL) && !memchr(json.data, '\n', json.size));
    bool has_nul = bytes.size && memchr(bytes.at, '\0', bytes.size);
    enum bk_status status = bk_json_object((struct bk_span){json.data, json.size}, &member, 1, &count, NULL);
    BK_ASSERT((status == BK_OK) == !has_nul);
    if (status == BK_OK && bk_utf8_valid(bytes.at, bytes.size, NULL)) {
        char *text = bk_json_unescape(member.raw);
        BK_ASSERT(bk_span_equal(bk_span_of(text), bytes));
        free(text);
    }
    bk_text_puts(&safe, "x");
    bk_text_safe(&safe, bytes.at, bytes.size, bytes.size / 2);
    BK_ASSERT(fuzz_is_plain(safe.data, 6 * bytes.size + 10));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bk_span text = {(const char *)data, size};
    check_scanner(text);
    check_writer(text);
    return 0;
}
