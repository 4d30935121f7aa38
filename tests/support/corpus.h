/* corpus.h - tables of inputs, each with the expected answer beside it (tests/corpus/).
 *
 * A line is a row; two blanks or more stand between its cells. Empty lines and lines that begin with `# ` are passed
 * over. In a cell
 *   <>         is the empty text
 *   <absent>   is no text at all: data is NULL
 *   <0a>       is the byte of that value, two lower-case hexadecimal digits
 *   <x*2000>   is the text x, 2000 times over
 * and any other `<` is itself.
 */
#ifndef TEST_CORPUS_H
#define TEST_CORPUS_H

#include "common/text.h"

enum { CORPUS_CELLS = 4 };

struct corpus_row {
    const char *file;
    int line;
    size_t count;
    struct bk_text cells[CORPUS_CELLS];
};

/** Gives each row to `check`; returns how many there were. A file that cannot be read, or a row with fewer cells than
 *  `cells` or more, is a bug and aborts. */
size_t corpus_each(const char *name, size_t cells, void (*check)(const struct corpus_row *row));

/** The cell's bytes; lent as long as the row. */
struct bk_span corpus_span(const struct corpus_row *row, size_t cell);
/** The cell as a C string; NULL for <absent>. */
const char *corpus_text(const struct corpus_row *row, size_t cell);

#endif
