/* words.h - a command line as it goes over the control socket: words between blanks, with "..." for blanks in them. */
#ifndef WORDS_H
#define WORDS_H

#include "common/text.h"

/** Takes a line apart in place. Inside quotation marks, which may begin and end anywhere in a word, a backslash takes the
 *  next character as it is. The caller frees *words, whose strings are lent from the line. False, with nothing to free,
 *  when a quotation mark is missing. */
bool words_split(char *line, char ***words, size_t *count);

/** Appends a word so that words_split gives it back. */
void words_quote(struct bk_text *text, const char *word);

#endif
