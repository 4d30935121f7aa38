/* filter.c - see filter.h. */
#include "worker/admin/filter.h"

#include <stdlib.h>
#include <string.h>

#include "worker/decision.h"

/* What a filter may say, wherever it comes from. */
struct said {
    const char *reason;
    const char *kind;
    const char *key;
    const char *text;
    const char *since;
    const char *until;
    const char *order;
};

static const char *or_none(const char *text)
{
    return text && *text ? text : NULL;
}

/* Unix ms, RFC 3339 or an age. */
static bool read_time(struct exchange *exchange, const char *name, const char *text, int64_t *unix_ms)
{
    if (!or_none(text) ||
        (bk_parse_integer(bk_span_of(text), unix_ms) && *unix_ms > 0 && *unix_ms < INT64_C(1) << 50) ||
        bk_dead_time(text, bk_clock_wall(), unix_ms))
        return true;
    admin_refuse(exchange, 400, "%s: expected RFC 3339 with a zone, Unix ms, or an age like 30m, 12h, 7d", name);
    return false;
}

static bool understand(struct exchange *exchange, const struct said *said, const char *cursor,
                       struct bk_dead_walk *walk)
{
    struct bk_dead_filter *filter = &walk->filter;
    filter->reason = or_none(said->reason);
    filter->kind = or_none(said->kind);
    filter->key = or_none(said->key);
    filter->text = or_none(said->text);
    filter->oldest_first = said->order && strcmp(said->order, "oldest") == 0;
    if (filter->reason && !bk_dead_reason_meaning(filter->reason))
        admin_refuse(exchange, 400, "reason: there is no \"%.40s\"", filter->reason);
    else if (or_none(said->order) && !filter->oldest_first && strcmp(said->order, "newest") != 0)
        admin_refuse(exchange, 400, "order: expected newest or oldest");
    else if (!bk_dead_cursor_read(&walk->at, cursor))
        admin_refuse(exchange, 400, "cursor: expected what the last page gave as next");
    else
        return read_time(exchange, "since", said->since, &filter->since_ms) &&
               read_time(exchange, "until", said->until, &filter->until_ms);
    return false;
}

bool filter_from_query(struct exchange *exchange, struct bk_dead_walk *walk)
{
    const struct bk_http_request *request = exchange->request;
    const struct said said = {
        .reason = bk_http_query(request, "reason"),
        .kind = bk_http_query(request, "kind"),
        .key = bk_http_query(request, "key"),
        .text = bk_http_query(request, "text"),
        .since = bk_http_query(request, "since"),
        .until = bk_http_query(request, "until"),
        .order = bk_http_query(request, "order"),
    };
    return understand(exchange, &said, bk_http_query(request, "cursor"), walk);
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

static bool is_among(struct bk_span name, const char *const *names)
{
    for (; *names; names++) {
        if (bk_span_is(name, *names))
            return true;
    }
    return false;
}

/* Answers what is wrong with a member, and returns false; true for one that may be there. */
static bool check_member(struct exchange *exchange, const struct bk_json_member *member, const char *const *texts,
                         const char *const *others)
{
    if (is_among(member->name, others))
        return true;
    BK_AUTO_TEXT shown = {0};
    bk_text_safe(&shown, member->name.at, member->name.size, 40);
    if (!is_among(member->name, texts))
        admin_refuse(exchange, 400, "the body: unknown member \"%s\"", bk_text_string(&shown));
    else if (member->type != BK_JSON_STRING)
        admin_refuse(exchange, 400, "%s: expected a string, got %s", bk_text_string(&shown),
                     bk_json_type_name(member->type));
    else
        return true;
    return false;
}

bool change_read(struct exchange *exchange, struct change *change, const char *const *texts, const char *const *others)
{
    struct bk_error error = {0};
    *change = (struct change){0};
    if (bk_json_object(exchange->request->body, change->members, BK_COUNT(change->members), &change->count, &error) !=
        BK_OK) {
        admin_refuse(exchange, 400, "the body: %s", error.text);
        return false;
    }
    for (size_t i = 0; i < change->count; i++) {
        if (!check_member(exchange, &change->members[i], texts, others))
            return false;
    }
    return true;
}

void change_deinit(struct change *change)
{
    for (size_t i = 0; i < change->owned_count; i++)
        free(change->owned[i]);
}

static const struct bk_json_member *member_of(const struct bk_json_member *members, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (bk_span_is(members[i].name, name))
            return &members[i];
    }
    return NULL;
}

static const char *text_of(struct change *change, const struct bk_json_member *member)
{
    if (!member || member->type != BK_JSON_STRING || change->owned_count == BK_COUNT(change->owned))
        return NULL;
    return change->owned[change->owned_count++] = bk_json_unescape(member->raw);
}

const struct bk_json_member *change_member(const struct change *change, const char *name)
{
    return member_of(change->members, change->count, name);
}

const char *change_text(struct change *change, const char *name)
{
    return text_of(change, change_member(change, name));
}

/* Everything of a filter is a string; whatever else it holds would be a filter that filters nothing. */
bool filter_from_change(struct exchange *exchange, struct change *change, struct bk_dead_walk *walk)
{
    static const char *const names[] = {"reason", "kind", "key", "text", "since", "until", "order", NULL};
    struct bk_json_member members[BK_COUNT(names)];
    size_t count = 0;
    const struct bk_json_member *filter = change_member(change, "filter");
    bool good = filter && filter->type == BK_JSON_OBJECT &&
                bk_json_object(filter->raw, members, BK_COUNT(members), &count, NULL) == BK_OK;
    for (size_t i = 0; i < count && good; i++)
        good = is_among(members[i].name, names) && members[i].type == BK_JSON_STRING;
    if (!good) {
        admin_refuse(exchange, 400, "filter: expected an object of strings: reason kind key text since until order");
        return false;
    }
    const char *texts[BK_COUNT(names)] = {NULL};
    for (size_t i = 0; names[i]; i++)
        texts[i] = text_of(change, member_of(members, count, names[i]));
    const struct said said = {texts[0], texts[1], texts[2], texts[3], texts[4], texts[5], texts[6]};
    return understand(exchange, &said, change_text(change, "cursor"), walk);
}
