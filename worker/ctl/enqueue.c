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

#include "worker/ctl/ctl.h"
#include "worker/ctl/entry.h"

enum { PIECE = 256 };

struct enqueue {
    struct ctl *ctl;
    FILE *input;
    FILE *journal; /* NULL: none */
    off_t size;    /* of the input, 0 if unknown */
    long enqueued;
    long refused;
    struct ctl_entry entries[PIECE];
    size_t count;
    bk_ms began;
    bk_ms drawn_at;
};

/* --- the journal ---------------------------------------------------------------------------------------------------------- */

static void journal(struct enqueue *run, const char *state, const struct ctl_entry *entry, const char *ticket)
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
        ctl_entry_deinit(&run->entries[i]);
    run->count = 0;
    draw_progress(run, false);
    return status;
}

static enum bk_status take_line(struct enqueue *run, const char *line, size_t size, long number, struct bk_error *error)
{
    struct ctl_entry *entry = &run->entries[run->count];
    struct bk_error why = {0};
    *entry = (struct ctl_entry){.number = number};
    if (ctl_entry_read(entry, line, size, &why) != BK_OK) {
        (void)fprintf(stderr, "line %ld refused: %s\n", number, why.text);
        ctl_entry_deinit(entry);
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
        ctl_entry_deinit(&run->entries[i]);
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
