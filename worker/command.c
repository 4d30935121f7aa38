/* command.c - see command.h. */
#include "worker/command.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/timestamp.h"

enum argument_type { ARG_UUID, ARG_INTEGER, ARG_TIME, ARG_TEXT };

static const char *const wanted[] = {"a UUID", "an integer", "an RFC 3339 time with a zone", "a string"};

struct argument {
    const char *name;
    enum argument_type type;
    bool required;
    size_t most; /* ARG_TEXT: characters */
};

enum { ARGS_MOST = 8, YEAR_FIRST = 2000, YEAR_LAST = 2199 };

struct kind {
    const char *name;
    struct argument args[ARGS_MOST]; /* a NULL name ends them */
};

static const struct kind kinds[] = {
    {"booking.create",
     {{"booking_id", ARG_UUID, true, 0},
      {"resource_id", ARG_INTEGER, true, 0},
      {"customer_id", ARG_INTEGER, true, 0},
      {"starts_at", ARG_TIME, true, 0},
      {"ends_at", ARG_TIME, true, 0},
      {"notes", ARG_TEXT, false, 2000}}},
    {"booking.confirm", {{"booking_id", ARG_UUID, true, 0}, {"expected_version", ARG_INTEGER, false, 0}}},
    {"booking.reschedule",
     {{"booking_id", ARG_UUID, true, 0},
      {"starts_at", ARG_TIME, true, 0},
      {"ends_at", ARG_TIME, true, 0},
      {"resource_id", ARG_INTEGER, false, 0},
      {"expected_version", ARG_INTEGER, false, 0}}},
    {"booking.cancel",
     {{"booking_id", ARG_UUID, true, 0},
      {"reason", ARG_TEXT, false, 500},
      {"expected_version", ARG_INTEGER, false, 0}}},
    {"booking.complete", {{"booking_id", ARG_UUID, true, 0}, {"expected_version", ARG_INTEGER, false, 0}}},
};

const char *bk_command_kind(size_t i)
{
    return i < BK_COUNT(kinds) ? kinds[i].name : NULL;
}

struct bk_span bk_command_booking(const struct bk_job *job)
{
    return bk_is_uuid(job->key) ? job->key : (struct bk_span){NULL, 0};
}

/* The text of a string member, escapes resolved. Without a backslash, which is the rule, it is the very bytes. */
struct string_value {
    struct bk_span span;
    char *owned;
};

static struct string_value string_of(const struct bk_json_member *member)
{
    struct bk_span inner = {member->raw.at + 1, member->raw.size - 2};
    if (!memchr(inner.at, '\\', inner.size))
        return (struct string_value){inner, NULL};
    char *text = bk_json_unescape(member->raw);
    return (struct string_value){bk_span_of(text), text};
}

/* What is still to be compared when each argument is right by itself. */
struct seen {
    struct bk_span booking_id; /* raw bytes between the quotes, or owned */
    char *booking_id_owned;
    int64_t starts_us;
    int64_t ends_us;
    bool has_times;
};

static enum bk_status check_time(const char *name, struct bk_span text, struct seen *seen, struct bk_error *error)
{
    int64_t us = 0;
    const char *expected = bk_timestamp_parse(text, &us);
    if (expected)
        return bk_fail(error, BK_INVALID, "args.%s: expected %s", name, expected);
    if (us < bk_timestamp_year(YEAR_FIRST) || us >= bk_timestamp_year(YEAR_LAST + 1))
        return bk_fail(error, BK_INVALID, "args.%s: expected a year from %d to %d (UTC)", name, YEAR_FIRST, YEAR_LAST);
    seen->has_times = true;
    if (strcmp(name, "starts_at") == 0)
        seen->starts_us = us;
    else
        seen->ends_us = us;
    return BK_OK;
}

static enum bk_status check_string(const struct argument *arg, const struct bk_json_member *member, struct seen *seen,
                                   struct bk_error *error)
{
    struct string_value value = string_of(member);
    enum bk_status status = BK_OK;
    size_t characters = 0;
    switch (arg->type) {
    case ARG_UUID:
        if (!bk_is_uuid(value.span)) {
            status = bk_fail(error, BK_INVALID, "args.%s: expected a UUID of 36 characters", arg->name);
            break;
        }
        seen->booking_id = value.span;
        seen->booking_id_owned = BK_STEAL(value.owned);
        break;
    case ARG_TIME:
        status = check_time(arg->name, value.span, seen, error);
        break;
    case ARG_TEXT:
        (void)bk_utf8_valid(value.span.at, value.span.size, &characters);
        if (characters > arg->most)
            status = bk_fail(error, BK_INVALID, "args.%s: expected at most %zu characters, got %zu", arg->name,
                             arg->most, characters);
        break;
    case ARG_INTEGER:
        break;
    }
    free(value.owned);
    return status;
}

static enum bk_status check_argument(const struct argument *arg, const struct bk_json_member *member, struct seen *seen,
                                     struct bk_error *error)
{
    if (arg->type != ARG_INTEGER) {
        if (member->type != BK_JSON_STRING)
            return bk_fail(error, BK_INVALID, "args.%s: expected a string, got %s", arg->name,
                           bk_json_type_name(member->type));
        return check_string(arg, member, seen, error);
    }
    if (member->type != BK_JSON_NUMBER)
        return bk_fail(error, BK_INVALID, "args.%s: expected an integer, got %s", arg->name,
                       bk_json_type_name(member->type));
    int64_t number = 0;
    if (!bk_json_integer(member->raw, &number))
        return bk_fail(error, BK_INVALID,
                       "args.%s: expected an integer within +-9007199254740991, without fraction or exponent",
                       arg->name);
    return BK_OK;
}

static const struct argument *find_argument(const struct kind *kind, struct bk_span name)
{
    for (size_t i = 0; i < ARGS_MOST && kind->args[i].name; i++) {
        if (bk_span_is(name, kind->args[i].name))
            return &kind->args[i];
    }
    return NULL;
}

static enum bk_status check_members(const struct kind *kind, const struct bk_json_member *members, size_t count,
                                    struct seen *seen, struct bk_error *error)
{
    unsigned present = 0;
    for (size_t i = 0; i < count; i++) {
        const struct argument *arg = find_argument(kind, members[i].name);
        if (!arg) {
            BK_AUTO_TEXT shown = {0};
            bk_text_safe(&shown, members[i].name.at, members[i].name.size, 40);
            bk_text_puts(&shown, ": unknown, expected only");
            for (size_t a = 0; a < ARGS_MOST && kind->args[a].name; a++)
                bk_text_printf(&shown, " %s", kind->args[a].name);
            return bk_fail(error, BK_INVALID, "args.%s", bk_text_string(&shown));
        }
        present |= 1U << (arg - kind->args);
        enum bk_status status = check_argument(arg, &members[i], seen, error);
        if (status != BK_OK)
            return status;
    }
    for (size_t i = 0; i < ARGS_MOST && kind->args[i].name; i++) {
        if (kind->args[i].required && !(present & 1U << i))
            return bk_fail(error, BK_INVALID, "args.%s: missing, expected %s", kind->args[i].name,
                           wanted[kind->args[i].type]);
    }
    return BK_OK;
}

static enum bk_status check_args(const struct bk_job *job, const struct kind *kind, struct seen *seen,
                                 struct bk_error *error)
{
    struct bk_json_member members[2 * ARGS_MOST];
    size_t count = 0;
    enum bk_status status = bk_json_object(job->args, members, BK_COUNT(members), &count, error);
    if (status != BK_OK) {
        bk_error_prefix(error, "args");
        return status;
    }
    status = check_members(kind, members, count, seen, error);
    if (status != BK_OK)
        return status;
    if (!bk_span_equal(seen->booking_id, job->key))
        return bk_fail(error, BK_INVALID, "key: expected the same as args.booking_id");
    if (seen->has_times && seen->starts_us >= seen->ends_us)
        return bk_fail(error, BK_INVALID, "args.ends_at: expected a time after starts_at");
    return BK_OK;
}

enum bk_command_verdict bk_command_check(const struct bk_job *job, struct bk_error *error)
{
    for (size_t i = 0; i < BK_COUNT(kinds); i++) {
        if (!bk_span_is(job->kind, kinds[i].name))
            continue;
        struct seen seen = {0};
        enum bk_status status = check_args(job, &kinds[i], &seen, error);
        free(seen.booking_id_owned);
        return status == BK_OK ? BK_COMMAND_GOOD : BK_COMMAND_INVALID_ARGS;
    }
    BK_AUTO_TEXT shown = {0};
    bk_text_safe(&shown, job->kind.at, job->kind.size, 40);
    (void)bk_fail(error, BK_INVALID,
                  "kind \"%s\": expected one of booking.create, booking.confirm, booking.reschedule, "
                  "booking.cancel, booking.complete",
                  bk_text_string(&shown));
    return BK_COMMAND_UNKNOWN_KIND;
}
