/* check.h - what the fuzz targets share: the judges of an answer, none of which shares code with what it judges.
 *
 * A target is one LLVMFuzzerTestOneInput. It is linked with libFuzzer in the fuzz preset, and with replay.c, which runs
 * the saved inputs, in every other. A broken promise is a BK_ASSERT.
 */
#ifndef TEST_FUZZ_CHECK_H
#define TEST_FUZZ_CHECK_H

#include "common/text.h"

/* each target has this one function, and libFuzzer or replay.c calls it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** Whether this can be told to a person as it is: not empty, at most `most` bytes, UTF-8, one line, no controls. */
bool fuzz_is_plain(const char *text, size_t most);
/** Whether there may be a number longer than the 63 characters that cJSON 1.7 reads. */
bool fuzz_has_long_number(struct bk_span text);
/** Whether this is one value of JSON and nothing else, by cJSON, and UTF-8, and without a raw control character but the
 *  line feeds between its parts. */
bool fuzz_is_json(const char *text, size_t size);
/** The text of {"error":"..."}, escapes resolved; false when this is none. */
bool fuzz_error_of(struct bk_text *out, struct bk_span json);
/** Whether this is an RFC 3339 time with a zone, by a regular expression and the C library's calendar; the instant goes
 *  to `unix_s` and `ns`. */
bool fuzz_time(struct bk_span text, int64_t *unix_s, int64_t *ns);

/** Takes the bytes up to the next `separator` off `rest`; what is left has at == NULL behind the last piece. */
struct bk_span fuzz_piece(struct bk_span *rest, char separator);

#endif
