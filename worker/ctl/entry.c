/* entry.c - see entry.h. */
#include "worker/ctl/entry.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "worker/job.h"

enum { MEMBERS_MOST = 16 };

static void add_word(struct ctl_entry *entry, const char *name, struct bk_span value)
{
    entry->words[entry->word_count++] = bk_span_of(name);
    entry->words[entry->word_count++] = value;
}

static const struct bk_json_member *find(const struct bk_json_member *members, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (bk_span_is(members[i].name, name))
            return &members[i];
    }
    return NULL;
}

static enum bk_status add_string(struct ctl_entry *entry, const char *name, const struct bk_json_member *member,
                                 struct bk_error *error)
{
    if (member->type != BK_JSON_STRING)
        return bk_fail(error, BK_INVALID, "%s: expected a string, got %s", name, bk_json_type_name(member->type));
    char *text = bk_json_unescape(member->raw);
    entry->texts[entry->text_count++] = text;
    add_word(entry, name, bk_span_of(text));
    return BK_OK;
}

/* The key is args.booking_id unless the line says otherwise. */
static enum bk_status add_default_key(struct ctl_entry *entry, struct bk_span args, struct bk_error *error)
{
    struct bk_json_member members[MEMBERS_MOST];
    size_t count = 0;
    const struct bk_json_member *id = NULL;
    if (bk_json_object(args, members, MEMBERS_MOST, &count, NULL) == BK_OK)
        id = find(members, count, "booking_id");
    if (!id || id->type != BK_JSON_STRING)
        return bk_fail(error, BK_INVALID, "key: missing, and args has no booking_id to take it from");
    return add_string(entry, "key", id, error);
}

static enum bk_status add_member(struct ctl_entry *entry, const struct bk_json_member *member, struct bk_error *error)
{
    static const char *const strings[] = {"id", "kind", "key", "traceparent"};
    static const char *const times[] = {"not_before", "expires_at"};
    for (size_t i = 0; i < BK_COUNT(strings); i++) {
        if (bk_span_is(member->name, strings[i]))
            return add_string(entry, strings[i], member, error);
    }
    int64_t number = 0;
    for (size_t i = 0; i < BK_COUNT(times); i++) {
        if (!bk_span_is(member->name, times[i]))
            continue;
        if (member->type != BK_JSON_NUMBER || !bk_json_integer(member->raw, &number) || number < 0)
            return bk_fail(error, BK_INVALID, "%s: expected Unix milliseconds", times[i]);
        add_word(entry, times[i], member->raw);
        return BK_OK;
    }
    if (bk_span_is(member->name, "args")) {
        add_word(entry, "args", member->raw);
        return BK_OK;
    }
    if (bk_span_is(member->name, "reply")) {
        if (!bk_span_is(member->raw, "1") && !bk_span_is(member->raw, "true"))
            return bk_fail(error, BK_INVALID, "reply: expected 1, or no such member");
        add_word(entry, "reply", bk_span_of("1"));
        return BK_OK;
    }
    BK_AUTO_TEXT shown = {0};
    bk_text_safe(&shown, member->name.at, member->name.size, 40);
    return bk_fail(error, BK_INVALID,
                   "member \"%s\": unknown, expected only id kind key args not_before expires_at reply traceparent",
                   bk_text_string(&shown));
}

/* Whether the worker would call the entry malformed: asked of the worker's own reader. */
static enum bk_status check_envelope(const struct ctl_entry *entry, struct bk_error *error)
{
    struct bk_job job;
    bk_job_check(entry->words, entry->word_count, &job);
    return *job.fault ? bk_fail(error, BK_INVALID, "%s", job.fault) : BK_OK;
}

enum bk_status ctl_entry_read(struct ctl_entry *entry, const char *line, size_t size, struct bk_error *error)
{
    entry->line = bk_alloc(size + 1);
    memcpy(entry->line, line, size);
    entry->line[size] = '\0';
    struct bk_json_member members[MEMBERS_MOST];
    size_t count = 0;
    enum bk_status status = bk_json_object((struct bk_span){entry->line, size}, members, MEMBERS_MOST, &count, error);
    for (size_t i = 0; i < count && status == BK_OK; i++)
        status = add_member(entry, &members[i], error);
    const struct bk_json_member *args = find(members, count, "args");
    if (status == BK_OK && !find(members, count, "key") && args)
        status = add_default_key(entry, args->raw, error);
    return status == BK_OK ? check_envelope(entry, error) : status;
}

void ctl_entry_deinit(struct ctl_entry *entry)
{
    for (size_t i = 0; i < entry->text_count; i++)
        free(entry->texts[i]);
    free(entry->line);
    *entry = (struct ctl_entry){0};
}
