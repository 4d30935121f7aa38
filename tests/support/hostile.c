/* hostile.c - what tests/integration/hostile.t sends, and what must become of it, from the tables of tests/corpus.
 *
 *   hostile entries QUEUE EXPECTED   writes XADDs as RESP to stdout, for redis-cli --pipe; each entry's words go besides
 *                                    into a list hostile:sent:<ticket>, to be compared with what the queue has kept
 *   hostile lines EXPECTED           writes lines for bookingctl enqueue to stdout, an honest one behind each row
 *
 * EXPECTED gets one JSON object for each entry: ticket, row (where it stands), id, answer, error, and for times the
 * instant that the database must make of it; of lines it gets what enqueue has to say on stderr. */
#include <stdio.h>
#include <string.h>

#include "common/timestamp.h"
#include "tests/support/corpus.h"
#include "tests/support/kinds.h"
#include "tests/support/resp.h"

enum { WORDS_MOST = 5000 };

static const char *queue;
static FILE *expected;
static unsigned number; /* of entries sent */

/* --- one entry ----------------------------------------------------------------------------------------------------- */

struct entry {
    struct bk_span words[WORDS_MOST];
    size_t count;
    char ticket[48];
    char id[32];
    char booking[40];
};

static void begin(struct entry *entry)
{
    number++;
    entry->count = 0;
    (void)snprintf(entry->ticket, sizeof(entry->ticket), "1700000000000-%u", number);
    (void)snprintf(entry->id, sizeof(entry->id), "row-%u", number);
    (void)snprintf(entry->booking, sizeof(entry->booking), "6f1d2c3b-4a59-4870-9b6c-%012u", number);
}

static void add(struct entry *entry, struct bk_span name, struct bk_span value)
{
    BK_ASSERT(entry->count + 2 <= WORDS_MOST);
    entry->words[entry->count++] = name;
    entry->words[entry->count++] = value;
}

static struct bk_span value_of(const struct entry *entry, const char *name)
{
    for (size_t i = 0; i < entry->count; i += 2) {
        if (bk_span_is(entry->words[i], name))
            return entry->words[i + 1];
    }
    return (struct bk_span){NULL, 0};
}

static void put_command(struct bk_text *out, const char *verb, const char *key, const char *id, const struct entry *e)
{
    bk_text_printf(out, "*%zu\r\n", e->count + (id ? 3 : 2));
    resp_word(out, bk_span_of(verb));
    resp_word(out, bk_span_of(key));
    if (id)
        resp_word(out, bk_span_of(id));
    for (size_t i = 0; i < e->count; i++)
        resp_word(out, e->words[i]);
}

/* `error` may end with "..."; `starts_us` of an instant that is none is INT64_MIN. */
static void send(const struct entry *entry, const char *row, const char *answer, const char *error, int64_t starts_us)
{
    BK_AUTO_TEXT out = {0};
    BK_AUTO_TEXT key = {0};
    bk_text_printf(&key, "{%s}:inbox", queue);
    put_command(&out, "XADD", key.data, entry->ticket, entry);
    bk_text_clear(&key);
    bk_text_printf(&key, "hostile:sent:%s", entry->ticket);
    put_command(&out, "RPUSH", key.data, NULL, entry);
    BK_ASSERT(fwrite(out.data, 1, out.size, stdout) == out.size);

    bk_text_clear(&out);
    struct bk_span id = value_of(entry, "id");
    bk_text_printf(&out,
                   "{\"ticket\":\"%s\",\"row\":\"%s\",\"answer\":\"%s\",\"booking\":\"%s\",\"id\":", entry->ticket, row,
                   answer, entry->booking);
    bk_text_json(&out, id.at, id.size);
    bk_text_puts(&out, ",\"error\":");
    bk_text_json_string(&out, error);
    if (starts_us != INT64_MIN)
        bk_text_printf(&out, ",\"starts_us\":%lld", (long long)starts_us);
    (void)fprintf(expected, "%s}\n", out.data);
}

static const char *place(const struct corpus_row *row, char room[64])
{
    (void)snprintf(room, 64, "%s line %d", row->file, row->line);
    return room;
}

/* --- tests/corpus/hostile.txt --------------------------------------------------------------------------------------- */

/* @v, @i, @b, @a of the table. */
static void fill(struct bk_text *out, const struct entry *entry, struct bk_span text)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = text.at[i] == '@' && i + 1 < text.size ? text.at[i + 1] : '\0';
        if (c == 'v')
            bk_text_printf(out, "id=%s|kind=booking.confirm|key=%s|args={\"booking_id\":\"%s\"}", entry->id,
                           entry->booking, entry->booking);
        else if (c == 'i')
            bk_text_puts(out, entry->id);
        else if (c == 'b')
            bk_text_puts(out, entry->booking);
        else if (c == 'a')
            bk_text_printf(out, "{\"booking_id\":\"%s\"}", entry->booking);
        else
            bk_text_putc(out, text.at[i]);
        i += c && strchr("viba", c) ? 1 : 0;
    }
}

static void send_whole(const struct corpus_row *row)
{
    static struct entry entry;
    char room[64];
    BK_AUTO_TEXT text = {0};
    begin(&entry);
    fill(&text, &entry, corpus_span(row, 0));
    for (const char *at = text.data, *end = text.data + text.size; at <= end;) {
        const char *bar = memchr(at, '|', (size_t)(end - at));
        size_t size = bar ? (size_t)(bar - at) : (size_t)(end - at);
        const char *equals = memchr(at, '=', size);
        BK_ASSERT(equals != NULL);
        add(&entry, (struct bk_span){at, (size_t)(equals - at)},
            (struct bk_span){equals + 1, size - (size_t)(equals + 1 - at)});
        at += size + 1;
    }
    send(&entry, place(row, room), corpus_text(row, 1), corpus_text(row, 2), INT64_MIN);
}

/* --- tests/corpus/entries.txt: the valid entry with one field changed ------------------------------------------------ */

/* What becomes of an entry without a fault, by the field that was changed. */
static const char *answer_of(const char *field, const char *value, const char **error)
{
    *error = "";
    if (strcmp(field, "kind") == 0) {
        *error = "kind \"...";
        return "unknown_kind";
    }
    if (strcmp(field, "args") == 0) {
        *error = "args: not JSON at byte 0: expected an object";
        return "invalid_args";
    }
    if (strcmp(field, "key") == 0) {
        *error = "key: expected the same as args.booking_id";
        return "invalid_args";
    }
    if (strcmp(field, "not_before") == 0 && strcmp(value, "0") != 0)
        return "scheduled";
    if (strcmp(field, "expires_at") == 0 && strcmp(value, "0") == 0) {
        *error = "expires_at: not applied by then, and never will be";
        return "expired";
    }
    return "good";
}

static void send_changed(const struct corpus_row *row)
{
    static const char *const names[] = {"id", "kind", "key", "args"};
    static struct entry entry;
    char room[64];
    bool changed = false;
    BK_AUTO_TEXT args = {0};
    begin(&entry);
    bk_text_printf(&args, "{\"booking_id\":\"%s\"}", entry.booking);
    const char *const values[] = {entry.id, "booking.confirm", entry.booking, args.data};
    for (size_t i = 0; i < BK_COUNT(names); i++) {
        bool this_one = bk_span_is(corpus_span(row, 0), names[i]);
        changed = changed || this_one;
        struct bk_span value = this_one ? corpus_span(row, 1) : bk_span_of(values[i]);
        if (value.at)
            add(&entry, bk_span_of(names[i]), value);
    }
    if (!changed)
        add(&entry, corpus_span(row, 0), corpus_span(row, 1));
    const char *error = corpus_text(row, 2);
    const char *answer = "malformed";
    if (strcmp(error, "none") == 0)
        answer = answer_of(corpus_text(row, 0), corpus_text(row, 1), &error);
    send(&entry, place(row, room), answer, error, INT64_MIN);
}

/* --- args ------------------------------------------------------------------------------------------------------------ */

/* With a booking of its own, unless the row is about the booking: all ids have one length, so errors name the same byte. */
static void send_args(struct entry *entry, const char *row, size_t kind, struct bk_span args, bool own,
                      const char *answer, const char *error, int64_t starts_us)
{
    BK_AUTO_TEXT text = {0};
    const char *booking = own ? entry->booking : TEST_BOOKING;
    for (size_t i = 0; i < args.size;) {
        bool here = own && args.size - i >= 36 && memcmp(args.at + i, TEST_BOOKING, 36) == 0;
        bk_text_add(&text, here ? booking : args.at + i, here ? 36 : 1);
        i += here ? 36 : 1;
    }
    bool too_long = text.size > 65536;
    add(entry, bk_span_of("id"), bk_span_of(entry->id));
    add(entry, bk_span_of("kind"), bk_span_of(test_kinds[kind].name));
    add(entry, bk_span_of("key"), bk_span_of(booking));
    add(entry, bk_span_of("args"), (struct bk_span){bk_text_string(&text), text.size});
    send(entry, row, too_long ? "malformed" : answer, too_long ? "field args: expected at most 65536 bytes" : error,
         starts_us);
}

static void send_row(const struct corpus_row *row)
{
    static struct entry entry;
    char room[64];
    const char *kind = corpus_text(row, 0);
    for (size_t k = 0; k < TEST_KINDS; k++) {
        if (strcmp(kind, "*") != 0 && strcmp(kind, test_kinds[k].name) != 0)
            continue;
        BK_AUTO_TEXT args = {0};
        BK_AUTO_TEXT error = {0};
        begin(&entry);
        test_make_args(&args, k, corpus_span(row, 1), corpus_span(row, 2));
        test_put_answer(&error, k, corpus_text(row, 1), corpus_text(row, 3));
        bool good = strcmp(error.data, "good") == 0;
        bool own = strcmp(corpus_text(row, 1), "booking_id") != 0;
        send_args(&entry, place(row, room), k, (struct bk_span){bk_text_string(&args), args.size}, own,
                  good ? "good" : "invalid_args", good ? "" : error.data, INT64_MIN);
    }
}

static void send_type(size_t kind, const char *member, const char *value, const char *error)
{
    static struct entry entry;
    BK_AUTO_TEXT args = {0};
    begin(&entry);
    test_make_args(&args, kind, bk_span_of(member), bk_span_of(value));
    send_args(&entry, "another type", kind, (struct bk_span){args.data, args.size}, true, "invalid_args", error,
              INT64_MIN);
}

/* What is JSON is still not what the kind wants. */
static void send_json(const struct corpus_row *row)
{
    static struct entry entry;
    char room[64];
    BK_AUTO_TEXT error = {0};
    bool is_json = corpus_text(row, 0)[0] == 'y' || strstr(corpus_text(row, 2), "at most 8 members");
    bk_text_printf(&error, is_json ? "args.%s" : "args: %s", is_json ? "..." : corpus_text(row, 2));
    begin(&entry);
    send_args(&entry, place(row, room), 1, corpus_span(row, 1), true, "invalid_args", error.data, INT64_MIN);
}

/* As starts_at of a booking that lasts to the end of what is allowed, each on a resource of its own. */
static void send_time(const struct corpus_row *row)
{
    static struct entry entry;
    char room[64];
    int64_t us = INT64_MIN;
    BK_AUTO_TEXT args = {0};
    BK_AUTO_TEXT error = {0};
    begin(&entry);
    bk_text_printf(&args,
                   "{\"booking_id\":\"" TEST_BOOKING "\",\"resource_id\":%d,\"customer_id\":1,"
                   "\"ends_at\":\"2199-12-31T23:59:59.999999Z\",\"starts_at\":",
                   1000 + row->line);
    bk_text_json(&args, corpus_text(row, 0), row->cells[0].size);
    bk_text_putc(&args, '}');
    const char *wanted = bk_timestamp_parse(corpus_span(row, 0), &us);
    if (row->cells[0].size && memchr(row->cells[0].data, '\0', row->cells[0].size))
        bk_text_puts(&error, "args: not JSON at byte ...");
    else if (wanted)
        bk_text_printf(&error, "args.starts_at: expected %s", wanted);
    else if (us < bk_timestamp_year(2000) || us >= bk_timestamp_year(2200))
        bk_text_puts(&error, "args.starts_at: expected a year from 2000 to 2199 (UTC)");
    send_args(&entry, place(row, room), 0, (struct bk_span){args.data, args.size}, true,
              error.size ? "invalid_args" : "good", bk_text_string(&error), error.size ? INT64_MIN : us);
}

/* --- lines ----------------------------------------------------------------------------------------------------------- */

static long line;

static void put_line(struct bk_span text)
{
    line++;
    BK_ASSERT(fwrite(text.at, 1, text.size, stdout) == text.size && putchar('\n') == '\n');
}

static void write_line(const struct corpus_row *row)
{
    BK_AUTO_TEXT honest = {0};
    put_line(corpus_span(row, 0));
    if (strcmp(corpus_text(row, 1), "good") != 0)
        (void)fprintf(expected, "line %ld refused: %s\n", line, corpus_text(row, 1));
    bk_text_printf(&honest, "{\"id\":\"honest-%d\",\"kind\":\"booking.confirm\",\"args\":{\"booking_id\":\"%s\"}}",
                   row->line, TEST_BOOKING);
    put_line((struct bk_span){honest.data, honest.size});
}

int main(int argc, char **argv)
{
    bool entries = argc == 4 && strcmp(argv[1], "entries") == 0;
    bool lines = argc == 3 && strcmp(argv[1], "lines") == 0;
    if (!entries && !lines) {
        (void)fputs("usage: hostile entries QUEUE EXPECTED | hostile lines EXPECTED\n", stderr);
        return 64;
    }
    expected = fopen(argv[argc - 1], "we");
    BK_ASSERT(expected != NULL);
    if (entries) {
        queue = argv[2];
        (void)corpus_each("hostile.txt", 3, send_whole);
        (void)corpus_each("entries.txt", 3, send_changed);
        (void)corpus_each("args.txt", 4, send_row);
        (void)corpus_each("json.txt", 3, send_json);
        (void)corpus_each("timestamps.txt", 2, send_time);
        test_each_wrong_type(send_type);
    } else {
        (void)corpus_each("lines.txt", 2, write_line);
    }
    BK_ASSERT(fclose(expected) == 0 && fflush(stdout) == 0);
    return 0;
}
