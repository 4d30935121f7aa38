/* The args of a command: the first byte picks the kind, the rest are the args. What is good keeps to the rules, by
 * cJSON's reading, and goes into the database's JSON as the value it was; what is bad is told in one plain line that
 * names the member. */
#include "worker/command.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "tests/fuzz/check.h"
#include "worker/store.h"

static const char booking[] = "6f1d2c3b-4a59-4870-9b6c-0123456789af";

/* The rules once more, in other words: u uuid, i integer, t time, then texts; a capital must be there. */
static const struct {
    const char *kind;
    struct {
        const char *name;
        char form;
        size_t most;
    } members[8];
} rules[] = {
    {"booking.create",
     {{"booking_id", 'U', 0},
      {"resource_id", 'I', 0},
      {"customer_id", 'I', 0},
      {"starts_at", 'T', 0},
      {"ends_at", 'T', 0},
      {"notes", 's', 2000}}},
    {"booking.confirm", {{"booking_id", 'U', 0}, {"expected_version", 'i', 0}}},
    {"booking.reschedule",
     {{"booking_id", 'U', 0},
      {"starts_at", 'T', 0},
      {"ends_at", 'T', 0},
      {"resource_id", 'i', 0},
      {"expected_version", 'i', 0}}},
    {"booking.cancel", {{"booking_id", 'U', 0}, {"reason", 's', 500}, {"expected_version", 'i', 0}}},
    {"booking.complete", {{"booking_id", 'U', 0}, {"expected_version", 'i', 0}}},
};

static size_t characters(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static void check_value(const cJSON *item, char form, size_t most, int64_t *ns_of_2000)
{
    int64_t unix_s = 0;
    int64_t ns = 0;
    switch (form) {
    case 'U':
        BK_ASSERT(cJSON_IsString(item) && strcmp(item->valuestring, booking) == 0);
        return;
    case 'I':
    case 'i':
        BK_ASSERT(cJSON_IsNumber(item) && item->valuedouble == (double)(int64_t)item->valuedouble);
        BK_ASSERT(item->valuedouble > -9007199254740992.0 && item->valuedouble < 9007199254740992.0);
        return;
    case 'T':
        BK_ASSERT(cJSON_IsString(item) && fuzz_time(bk_span_of(item->valuestring), &unix_s, &ns));
        /* 2000-01-01 to 2200-01-01, and what rounds up into them */
        BK_ASSERT(unix_s >= 946684799 && unix_s < INT64_C(7258118400));
        *ns_of_2000 = (unix_s - 946684800) * 1000000000 + ns;
        return;
    default:
        BK_ASSERT(cJSON_IsString(item) && characters(item->valuestring) <= most);
    }
}

static void check_good(size_t kind, const cJSON *args)
{
    int64_t starts = 0;
    int64_t ends = 1;
    int known = 0;
    for (size_t i = 0; i < BK_COUNT(rules[kind].members) && rules[kind].members[i].name; i++) {
        const char *name = rules[kind].members[i].name;
        char form = rules[kind].members[i].form;
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(args, name);
        BK_ASSERT(item != NULL || form == 's' || form == 'i');
        if (!item)
            continue;
        known++;
        check_value(item, form, rules[kind].members[i].most, strcmp(name, "starts_at") == 0 ? &starts : &ends);
    }
    BK_ASSERT(known == cJSON_GetArraySize(args)); /* none twice, none unknown */
    BK_ASSERT(starts < ends);
}

static void check_for_the_database(const struct bk_job *job, const cJSON *args)
{
    const struct bk_store_command commands[] = {{job, false}, {job, true}};
    BK_AUTO_TEXT json = {0};
    bk_store_json(&json, "w\"1", commands, 2);
    cJSON *all = cJSON_ParseWithLength(json.data, json.size);
    BK_ASSERT(cJSON_IsArray(all) && cJSON_GetArraySize(all) == 2);
    for (int i = 0; i < 2; i++) {
        const cJSON *one = cJSON_GetArrayItem(all, i);
        BK_ASSERT(cJSON_GetArraySize(one) == 8 + i); /* whatever was in the args, it added no member */
        BK_ASSERT(cJSON_Compare(cJSON_GetObjectItemCaseSensitive(one, "args"), args, true));
    }
    cJSON_Delete(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > BK_ARGS_MOST)
        return 0;
    size_t kind = data[0] % BK_COUNT(rules);
    const struct bk_job job = {.ticket = bk_span_of("1700000000000-0"),
                               .id = bk_span_of("order-17"),
                               .kind = bk_span_of(rules[kind].kind),
                               .key = bk_span_of(booking),
                               .traceparent = bk_span_of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
                               .args = {(const char *)data + 1, size - 1}};
    struct bk_error error = {0};
    struct bk_error again = {0};
    enum bk_command_verdict verdict = bk_command_check(&job, &error);
    BK_ASSERT(bk_command_check(&job, &again) == verdict && strcmp(error.text, again.text) == 0);
    if (verdict != BK_COMMAND_GOOD) {
        BK_ASSERT(verdict == BK_COMMAND_INVALID_ARGS && fuzz_is_plain(error.text, sizeof(error.text) - 1));
        BK_ASSERT(strncmp(error.text, "args", 4) == 0 || strncmp(error.text, "key: ", 5) == 0);
        return 0;
    }
    cJSON *args = cJSON_ParseWithLength(job.args.at, job.args.size);
    BK_ASSERT(cJSON_IsObject(args));
    check_good(kind, args);
    check_for_the_database(&job, args);
    cJSON_Delete(args);
    return 0;
}
