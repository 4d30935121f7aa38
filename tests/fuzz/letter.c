/* letter.c - see letter.h. */
#include "tests/fuzz/letter.h"

#include <string.h>

#include "tests/fuzz/check.h"
#include "common/json.h"
#include "worker/ctl/entry.h"
#include "worker/dead.h"

static struct bk_span trimmed(struct bk_span text)
{
    while (text.size && strchr(" \t\r\n", text.at[0]) && text.at[0])
        text = (struct bk_span){text.at + 1, text.size - 1};
    while (text.size && strchr(" \t\r\n", text.at[text.size - 1]) && text.at[text.size - 1])
        text.size--;
    return text;
}

static struct bk_span word_of(const struct ctl_entry *entry, const char *name)
{
    for (size_t i = 0; i + 1 < entry->word_count; i += 2) {
        if (bk_span_is(entry->words[i], name))
            return entry->words[i + 1];
    }
    return (struct bk_span){NULL, 0};
}

static bool same_number(struct bk_span a, struct bk_span b)
{
    while (a.size > 1 && a.at[0] == '0')
        a = (struct bk_span){a.at + 1, a.size - 1};
    return bk_span_equal(a, b);
}

/* The same but for blanks in the place of line feeds. */
static bool same_args(struct bk_span letter, struct bk_span line)
{
    letter = trimmed(letter);
    bool same = letter.size == line.size;
    for (size_t i = 0; i < line.size && same; i++)
        same = letter.at[i] == line.at[i] || (line.at[i] == ' ' && (letter.at[i] == '\n' || letter.at[i] == '\r'));
    return same;
}

/* The entry that the line makes is the letter's: byte for byte, but for blanks in the args and zeros before a number. */
static void check_same(const struct ctl_entry *entry, const struct bk_reply *fields)
{
    static const char *const names[] = {"id", "kind", "key", "reply"};
    static const char *const numbers[] = {"not_before", "expires_at"};
    for (size_t i = 0; i < BK_COUNT(names); i++)
        BK_ASSERT(bk_span_equal(word_of(entry, names[i]), bk_reply_text(bk_reply_field(fields, names[i]))));
    for (size_t i = 0; i < BK_COUNT(numbers); i++)
        BK_ASSERT(same_number(bk_reply_text(bk_reply_field(fields, numbers[i])), word_of(entry, numbers[i])));
    struct bk_span trace = bk_reply_text(bk_reply_field(fields, "traceparent"));
    BK_ASSERT(bk_span_equal(word_of(entry, "traceparent"), trace) || !bk_traceparent_valid(trace));
    BK_ASSERT(same_args(bk_reply_text(bk_reply_field(fields, "args")), word_of(entry, "args")));
}

/* Nothing is wrong with it but what the kind makes of its args. */
static bool must_have_a_line(const struct bk_job *job)
{
    struct bk_json_member members[64];
    size_t count = 0;
    return !*job->fault && bk_utf8_valid(job->kind.at, job->kind.size, NULL) &&
           bk_utf8_valid(job->key.at, job->key.size, NULL) && !memchr(job->key.at, '\0', job->key.size) &&
           !(job->kind.size && memchr(job->kind.at, '\0', job->kind.size)) &&
           bk_json_object(job->args, members, BK_COUNT(members), &count, NULL) == BK_OK;
}

static void check_line(const struct bk_job *job, const struct bk_reply *fields)
{
    BK_AUTO_TEXT line = {0};
    bk_text_puts(&line, "before\n");
    if (!bk_dead_line(&line, fields)) {
        BK_ASSERT(strcmp(line.data, "before\n") == 0);
        BK_ASSERT(!must_have_a_line(job));
        return;
    }
    BK_ASSERT(line.data[line.size - 1] == '\n' && strchr(line.data + 7, '\n') == line.data + line.size - 1);
    struct ctl_entry entry = {0};
    struct bk_error error = {0};
    if (ctl_entry_read(&entry, line.data + 7, line.size - 8, &error) == BK_OK)
        check_same(&entry, fields);
    else
        BK_ASSERT(*job->fault && fuzz_is_plain(error.text, sizeof(error.text) - 1));
    ctl_entry_deinit(&entry);
}

void fuzz_check_letter(const struct bk_job *job, const struct bk_reply *fields)
{
    BK_AUTO_TEXT json = {0};
    bk_dead_story(&json, job->ticket, fields);
    BK_ASSERT(fuzz_is_json(json.data, json.size));
    bk_text_clear(&json);
    bk_job_reply(&json, job->id, "dead", "invalid_args", (struct bk_span){NULL, 0}, -1);
    BK_ASSERT(fuzz_is_json(json.data, json.size));
    check_line(job, fields);
}
