/* enqueue.c - bookingctl enqueue: JSON lines into the inbox.
 *
 * A line is refused when it could only become a malformed entry; whether its kind and args are right is the worker's to
 * judge, so that what `dead export` wrote can come back. Lines go in pieces, one round trip each. An enqueue that broke
 * off can be repeated as it is: the ids see to it that nothing happens twice.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/json.h"
#include "worker/ctl/ctl.h"
#include "worker/job.h"

enum { PIECE = 256, MEMBERS_MOST = 16, WORDS_MOST = 16 };

/* One line on its way. */
struct entry {
    char *line; /* owned, without the line feed */
    long number;
    char *texts[8]; /* owned words */
    size_t text_count;
    struct bk_span words[WORDS_MOST];
    size_t word_count;
};

struct enqueue {
    struct ctl *ctl;
    FILE *input;
    FILE *journal; /* NULL: none */
    off_t size;    /* of the input, 0 if unknown */
    long enqueued;
    long refused;
    struct entry entries[PIECE];
    size_t count;
    bk_ms began;
    bk_ms drawn_at;
};

static void free_entry(struct entry *entry)
{
    for (size_t i = 0; i < entry->text_count; i++)
        free(entry->texts[i]);
    free(entry->line);
    *entry = (struct entry){0};
}

static void add_word(struct entry *entry, const char *name, struct bk_span value)
{
    entry->words[entry->word_count++] = bk_span_of(name);
    entry->words[entry->word_count++] = value;
}

/* --- reading a line ---------------------------------------------------------------------------------------------------- */

static const struct bk_json_member *find(const struct bk_json_member *members, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (bk_span_is(members[i].name, name))
            return &members[i];
    }
    return NULL;
}

static enum bk_status add_string(struct entry *entry, const char *name, const struct bk_json_member *member,
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
static enum bk_status add_default_key(struct entry *entry, struct bk_span args, struct bk_error *error)
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

static enum bk_status add_member(struct entry *entry, const struct bk_json_member *member, struct bk_error *error)
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
    return bk_fail(error, BK_INVALID, "%.*s: unknown member", (int)BK_MIN(member->name.size, (size_t)40),
                   member->name.at);
}

/* Whether the worker would call the entry malformed: asked of the worker's own reader. */
static enum bk_status check_envelope(const struct entry *entry, struct bk_error *error)
{
    struct bk_job job;
    bk_job_check(entry->words, entry->word_count, &job);
    return *job.fault ? bk_fail(error, BK_INVALID, "%s", job.fault) : BK_OK;
}

static enum bk_status read_entry(struct entry *entry, struct bk_error *error)
{
    struct bk_json_member members[MEMBERS_MOST];
    size_t count = 0;
    enum bk_status status = bk_json_object(bk_span_of(entry->line), members, MEMBERS_MOST, &count, error);
    for (size_t i = 0; i < count && status == BK_OK; i++)
        status = add_member(entry, &members[i], error);
    const struct bk_json_member *args = find(members, count, "args");
    if (status == BK_OK && !find(members, count, "key") && args)
        status = add_default_key(entry, args->raw, error);
    return status == BK_OK ? check_envelope(entry, error) : status;
}

/* --- the journal ---------------------------------------------------------------------------------------------------------- */

static void journal(struct enqueue *run, const char *state, const struct entry *entry, const char *ticket)
{
    if (run->journal)
        (void)fprintf(run->journal, "%s\t%ld\t%s\t%s\n", state, entry->number, ticket, entry->line);
}

static enum bk_status sync_journal(struct enqueue *run, struct bk_error *error)
{
    if (run->journal && (fflush(run->journal) != 0 || fsync(fileno(run->journal)) != 0))
        return bk_fail(error, BK_STOPPED, "the journal cannot be written: %s", strerror(errno));
    return BK_OK;
}

/* --- sending ------------------------------------------------------------------------------------------------------------------ */

static void draw_progress(struct enqueue *run, bool last)
{
    bk_ms now = bk_clock_now();
    if (!isatty(STDERR_FILENO) || (!last && now - run->drawn_at < 100))
        return;
    run->drawn_at = now;
    off_t at = ftello(run->input);
    int percent = last ? 100 : run->size > 0 && at > 0 ? (int)(at * 100 / run->size) : 0;
    char bar[31];
    for (int i = 0; i < 30; i++)
        bar[i] = i * 100 / 30 < percent ? '#' : '-';
    bar[30] = '\0';
    double seconds = (double)BK_MAX(now - run->began, (bk_ms)1) / 1e3;
    (void)fprintf(stderr, "\r[%s] %3d%%  %ld enqueued, %.0f/s ", bar, percent, run->enqueued,
                  (double)run->enqueued / seconds);
    if (last)
        (void)fputc('\n', stderr);
}

static enum bk_status read_answers(struct enqueue *run, struct bk_error *error)
{
    enum bk_status first = BK_OK;
    for (size_t i = 0; i < run->count; i++) {
        char ticket[48] = "-";
        struct bk_error one = {0};
        enum bk_status status = bk_queue_added(run->ctl->queue, ticket, &one);
        bool unknown = status == BK_UNKNOWN || (status != BK_OK && bk_queue_lost(run->ctl->queue));
        journal(run, status == BK_OK ? "ok" : unknown ? "unknown" : "fail", &run->entries[i], ticket);
        run->enqueued += status == BK_OK;
        if (status != BK_OK && first == BK_OK) {
            first = status;
            *error = one;
            bk_error_prefix(error, "line %ld", run->entries[i].number);
        }
    }
    return first;
}

static enum bk_status send_piece(struct enqueue *run, struct bk_error *error)
{
    for (size_t i = 0; i < run->count; i++)
        journal(run, "try", &run->entries[i], "-");
    enum bk_status status = sync_journal(run, error);
    if (status == BK_OK)
        status = bk_queue_connect(run->ctl->queue, error);
    if (status == BK_OK) {
        for (size_t i = 0; i < run->count; i++)
            bk_queue_add(run->ctl->queue, run->entries[i].word_count, run->entries[i].words);
        status = read_answers(run, error);
    }
    struct bk_error journal_error = {0};
    if (sync_journal(run, &journal_error) != BK_OK && status == BK_OK) {
        *error = journal_error;
        status = journal_error.status;
    }
    for (size_t i = 0; i < run->count; i++)
        free_entry(&run->entries[i]);
    run->count = 0;
    draw_progress(run, false);
    return status;
}

static enum bk_status take_line(struct enqueue *run, const char *line, size_t size, long number, struct bk_error *error)
{
    struct entry *entry = &run->entries[run->count];
    struct bk_error why = {0};
    *entry = (struct entry){.line = bk_strndup(line, size), .number = number};
    enum bk_status status = strlen(entry->line) != size
                                ? bk_fail(&why, BK_INVALID, "not JSON: a NUL byte at %zu", strlen(entry->line))
                                : read_entry(entry, &why);
    if (status != BK_OK) {
        BK_AUTO_TEXT shown = {0};
        bk_text_safe(&shown, why.text, strlen(why.text), sizeof(why.text));
        (void)fprintf(stderr, "line %ld refused: %s\n", number, bk_text_string(&shown));
        free_entry(entry);
        run->refused++;
        return BK_OK;
    }
    return ++run->count == PIECE ? send_piece(run, error) : BK_OK;
}

static enum bk_status send_all(struct enqueue *run, struct bk_error *error)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t size = 0;
    enum bk_status status = BK_OK;
    for (long number = 1; status == BK_OK && (size = getline(&line, &room, run->input)) >= 0; number++) {
        while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r'))
            size--;
        if (size > 0)
            status = take_line(run, line, (size_t)size, number, error);
    }
    free(line);
    if (status == BK_OK && run->count > 0)
        status = send_piece(run, error);
    for (size_t i = 0; i < run->count; i++)
        free_entry(&run->entries[i]);
    return status;
}

int ctl_enqueue(struct ctl *ctl)
{
    const char *journal_path = NULL;
    const struct ctl_option options[] = {{"--journal", NULL, &journal_path}};
    if (!ctl_options(ctl, options, BK_COUNT(options)))
        return BK_EXIT_USAGE;
    if (ctl->argc != 1)
        return ctl_usage("enqueue takes one FILE, or - for standard input");
    struct enqueue *run = bk_zalloc(sizeof(*run));
    *run = (struct enqueue){.ctl = ctl, .began = bk_clock_now()};
    bool standard = strcmp(ctl->argv[0], "-") == 0;
    run->input = standard ? stdin : fopen(ctl->argv[0], "re");
    run->journal = journal_path ? fopen(journal_path, "ae") : NULL;
    if (!run->input || (journal_path && !run->journal)) {
        (void)fprintf(stderr, "bookingctl: %s: %s\n", run->input ? journal_path : ctl->argv[0], strerror(errno));
        if (run->input && !standard)
            (void)fclose(run->input);
        free(run);
        return BK_EXIT_DATA;
    }
    struct stat about;
    if (fstat(fileno(run->input), &about) == 0 && S_ISREG(about.st_mode))
        run->size = about.st_size;

    struct bk_error error = {0};
    enum bk_status status = send_all(run, &error);
    draw_progress(run, status == BK_OK);
    int code = status != BK_OK ? ctl_failed(&error) : run->refused > 0 ? BK_EXIT_DATA : BK_EXIT_OK;
    if (status != BK_OK)
        (void)fputs("bookingctl: not everything was acknowledged; the same file can be enqueued again, ids see to it "
                    "that nothing happens twice\n",
                    stderr);
    (void)printf("enqueued %ld, refused %ld\n", run->enqueued, run->refused);
    if (!standard)
        (void)fclose(run->input);
    if (run->journal)
        (void)fclose(run->journal);
    free(run);
    return code;
}
