/* words.c - see words.h. */
#include "tests/faults/proxy/words.h"

#include <stdlib.h>
#include <string.h>

static const char blanks[] = " \t\r";

/* Reads one word at *from and writes it, which is never longer, to *to. False at a missing quotation mark. */
static bool unquote(char **from, char **to)
{
    bool quoted = false;
    char *in = *from;
    char *out = *to;
    for (; *in && (quoted || !strchr(blanks, *in)); in++) {
        if (*in == '"') {
            quoted = !quoted;
            continue;
        }
        if (quoted && *in == '\\' && in[1])
            in++;
        *out++ = *in;
    }
    *from = *in ? in + 1 : in;
    *out++ = '\0';
    *to = out;
    return !quoted;
}

bool words_split(char *line, char ***words, size_t *count)
{
    char **list = NULL;
    size_t used = 0;
    size_t room = 0;
    char *out = line;
    for (char *in = line + strspn(line, blanks); *in; in += strspn(in, blanks)) {
        if (used == room) {
            room = room ? room * 2 : 8;
            list = bk_realloc(list, room * sizeof(*list));
        }
        list[used++] = out;
        if (!unquote(&in, &out)) {
            free(list);
            return false;
        }
    }
    *words = list;
    *count = used;
    return true;
}

void words_quote(struct bk_text *text, const char *word)
{
    if (*word && !strpbrk(word, " \t\r\"")) {
        bk_text_puts(text, word);
        return;
    }
    bk_text_putc(text, '"');
    for (; *word; word++) {
        if (*word == '"' || *word == '\\')
            bk_text_putc(text, '\\');
        bk_text_putc(text, *word);
    }
    bk_text_putc(text, '"');
}
