/* corpus.c - see corpus.h. */
#include "tests/support/corpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Appends what the bracket at `at` stands for; returns its length, 0 when it is no notation of ours. */
static size_t expand(struct bk_text *out, const char *at, const char *end)
{
    const char *close = memchr(at, '>', (size_t)(end - at));
    if (!close)
        return 0;
    if (close - at == 3 && hex(at[1]) >= 0 && hex(at[2]) >= 0) {
        bk_text_putc(out, (char)(hex(at[1]) * 16 + hex(at[2])));
        return 4;
    }
    const char *star = memrchr(at, '*', (size_t)(close - at));
    int64_t times = 0;
    if (!star || !bk_parse_integer((struct bk_span){star + 1, (size_t)(close - star - 1)}, &times))
        return 0;
    for (int64_t i = 0; i < times; i++)
        bk_text_add(out, at + 1, (size_t)(star - at - 1));
    return (size_t)(close - at) + 1;
}

static void decode(struct bk_text *out, const char *at, size_t size)
{
    struct bk_span cell = {at, size};
    if (bk_span_is(cell, "<absent>"))
        return;
    bk_text_puts(out, "");
    if (bk_span_is(cell, "<>"))
        return;
    for (const char *end = at + size; at < end;) {
        size_t used = *at == '<' ? expand(out, at, end) : 0;
        if (used == 0)
            bk_text_putc(out, *at);
        at += used ? used : 1;
    }
}

static void read_row(struct corpus_row *row, const char *line)
{
    row->count = 0;
    for (const char *at = line; *at;) {
        BK_ASSERT(row->count < CORPUS_CELLS);
        const char *gap = strstr(at, "  ");
        size_t size = gap ? (size_t)(gap - at) : strlen(at);
        decode(&row->cells[row->count++], at, size);
        at += size + strspn(at + size, " ");
    }
}

size_t corpus_each(const char *name, size_t cells, void (*check)(const struct corpus_row *row))
{
    BK_AUTO_TEXT path = {0};
    bk_text_printf(&path, "%s/%s", TEST_CORPUS, name);
    FILE *file = fopen(bk_text_string(&path), "re");
    BK_ASSERT(file != NULL);
    char *line = NULL;
    size_t room = 0;
    size_t rows = 0;
    struct corpus_row row = {.file = name};
    while (getline(&line, &room, file) >= 0) {
        row.line++;
        line[strcspn(line, "\n")] = '\0';
        if (!*line || strncmp(line, "# ", 2) == 0)
            continue;
        read_row(&row, line);
        if (row.count != cells) {
            (void)fprintf(stderr, "%s line %d: %zu cells instead of %zu\n", name, row.line, row.count, cells);
            abort();
        }
        check(&row);
        rows++;
        for (size_t i = 0; i < row.count; i++)
            bk_text_deinit(&row.cells[i]);
    }
    free(line);
    (void)fclose(file);
    return rows;
}

struct bk_span corpus_span(const struct corpus_row *row, size_t cell)
{
    return (struct bk_span){row->cells[cell].data, row->cells[cell].size};
}

const char *corpus_text(const struct corpus_row *row, size_t cell)
{
    return row->cells[cell].data;
}
