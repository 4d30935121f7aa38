/* seed.c - fuzz-seed TARGET FOLDER: writes the inputs that a target begins with, all of them from the tables of
 * tests/corpus, so that what is added there is fuzzed from then on. */
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/check.h"
#include "tests/support/corpus.h"

enum { SEED_MOST = 4096 }; /* what is longer is there for its length alone, and the unit tests have it */

static const char *target;
static const char *folder;
static unsigned written;

static void save(struct bk_span bytes)
{
    if (bytes.size > SEED_MOST)
        return;
    BK_AUTO_TEXT path = {0};
    bk_text_printf(&path, "%s/seed-%04u", folder, written++);
    FILE *file = fopen(path.data, "we");
    BK_ASSERT(file != NULL && fwrite(bytes.at, 1, bytes.size, file) == bytes.size && fclose(file) == 0);
}

static void save_around(const char *before, struct bk_span value, const char *after)
{
    BK_AUTO_TEXT text = {0};
    bk_text_puts(&text, before);
    bk_text_add(&text, value.at, value.size);
    bk_text_puts(&text, after);
    save((struct bk_span){text.data, text.size});
}

static void first_cell(const struct corpus_row *row)
{
    save(corpus_span(row, 0));
}

static void second_cell(const struct corpus_row *row)
{
    save(corpus_span(row, 1));
}

static void own_seed(const struct corpus_row *row)
{
    if (strcmp(corpus_text(row, 0), target) == 0)
        save(corpus_span(row, 1));
}

/* --- args: the kind's letter, the text ------------------------------------------------------------------------------ */

static void args_row(const struct corpus_row *row)
{
    static const char *const kinds[] = {"booking.create", "booking.confirm", "booking.reschedule", "booking.cancel",
                                        "booking.complete"};
    static const char letters[] = "FGCDEF";
    size_t kind = 0;
    while (kind < BK_COUNT(kinds) && strcmp(kinds[kind], corpus_text(row, 0)) != 0)
        kind++;
    BK_AUTO_TEXT before = {0};
    bk_text_putc(&before, letters[kind]);
    if (strcmp(corpus_text(row, 1), "(args)") == 0) {
        save_around(before.data, corpus_span(row, 2), "");
    } else if (corpus_text(row, 2)) {
        bk_text_printf(&before, "{\"%s\":", corpus_text(row, 1));
        save_around(before.data, corpus_span(row, 2),
                    ",\"booking_id\":\"6f1d2c3b-4a59-4870-9b6c-0123456789af\",\"starts_at\":\"2030-03-09T10:00:00Z\"}");
    }
}

static void args_of_json(const struct corpus_row *row)
{
    save_around("F", corpus_span(row, 1), "");
}

static void seed_args(void)
{
    (void)corpus_each("args.txt", 4, args_row);
    (void)corpus_each("json.txt", 3, args_of_json);
}

/* --- take: an entry with one field changed, as it is and as it is kept when it is malformed ------------------------- */

static void add_word(struct bk_text *text, struct bk_span word)
{
    bk_text_putc(text, 0x1f);
    bk_text_add(text, word.at, word.size);
}

static void entry_row(const struct corpus_row *row)
{
    static const char *const names[] = {"id", "kind", "key", "args"};
    static const char *const values[] = {"order-17", "booking.confirm", "6f1d2c3b-4a59-4870-9b6c-0123456789af",
                                         "{\"booking_id\":\"6f1d2c3b-4a59-4870-9b6c-0123456789af\"}"};
    for (int kept = 0; kept < 2; kept++) {
        BK_AUTO_TEXT text = {0};
        bool changed = false;
        bk_text_puts(&text, kept ? "K1700000000000-3" : "E1700000000000-3");
        for (size_t i = 0; i < BK_COUNT(names); i++) {
            bool this_one = bk_span_is(corpus_span(row, 0), names[i]);
            struct bk_span value = this_one ? corpus_span(row, 1) : bk_span_of(values[i]);
            changed = changed || this_one;
            if (!value.at)
                continue;
            add_word(&text, bk_span_of(names[i]));
            add_word(&text, value);
        }
        if (!changed) {
            add_word(&text, corpus_span(row, 0));
            add_word(&text, corpus_span(row, 1));
        }
        save((struct bk_span){text.data, text.size});
    }
}

static void seed_take(void)
{
    (void)corpus_each("entries.txt", 3, entry_row);
}

/* --- the others ------------------------------------------------------------------------------------------------------ */

static void seed_timestamp(void)
{
    (void)corpus_each("timestamps.txt", 2, first_cell);
}

static void seed_json(void)
{
    (void)corpus_each("json.txt", 3, second_cell);
}

static void seed_url(void)
{
    (void)corpus_each("masks.txt", 2, first_cell);
}

static void setting_of_mask(const struct corpus_row *row)
{
    save_around("REDIS_URL=redis://localhost\nDATABASE_URL=", corpus_span(row, 0), "\n");
}

static void seed_config(void)
{
    (void)corpus_each("masks.txt", 2, setting_of_mask);
}

static void line_of_json(const struct corpus_row *row)
{
    save(corpus_span(row, 1));
    save_around("{\"id\":\"a\",\"kind\":\"b\",\"key\":\"k\",\"args\":", corpus_span(row, 1), "}");
}

static void seed_enqueue(void)
{
    (void)corpus_each("json.txt", 3, line_of_json);
    (void)corpus_each("lines.txt", 2, first_cell);
}

static void seed_admin(void)
{
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*seed)(void);
    } targets[] = {{"args", seed_args}, {"take", seed_take},     {"timestamp", seed_timestamp}, {"json", seed_json},
                   {"url", seed_url},   {"config", seed_config}, {"enqueue", seed_enqueue},     {"admin", seed_admin}};
    if (argc != 3) {
        (void)fputs("usage: fuzz-seed TARGET FOLDER\n", stderr);
        return 64;
    }
    target = argv[1];
    folder = argv[2];
    (void)corpus_each("seeds.txt", 2, own_seed);
    for (size_t i = 0; i < BK_COUNT(targets); i++) {
        if (strcmp(targets[i].name, target) == 0)
            targets[i].seed();
    }
    return written > 0 ? 0 : 64;
}
