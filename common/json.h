/* json.h - strict JSON (RFC 8259) for text from people who may be hostile.
 *
 * cJSON turns text into values, but it is lenient: it keeps one of two equal members, takes control characters, bad
 * UTF-8, `01` and `1e999`, and knows numbers only as doubles. So every text first passes a scanner of our own that
 * refuses all that and hands out the object's members with the very bytes of their values.
 */
#ifndef BK_JSON_H
#define BK_JSON_H

#include "common/error.h"
#include "common/text.h"

enum bk_json_type { BK_JSON_NULL, BK_JSON_BOOL, BK_JSON_NUMBER, BK_JSON_STRING, BK_JSON_ARRAY, BK_JSON_OBJECT };

/** One member of a scanned object. The spans lie in the scanned text and live as long as it. */
struct bk_json_member {
    struct bk_span name; /* between the quotes, escapes not resolved */
    struct bk_span raw;  /* the value's bytes; for a string with its quotes */
    enum bk_json_type type;
};

enum { BK_JSON_MAX_DEPTH = 64 };

/** Checks that `text` is one JSON object and lists its members. Refused: anything RFC 8259 does not have, text that is
 *  not UTF-8, a lone surrogate or \u0000 in a string, nesting deeper than BK_JSON_MAX_DEPTH, two members of one name
 *  at the top level (escapes resolved or not: a name with an escape is refused), and more than `most` members.
 *  The members go to `members` (room for `most`) and their number to `count`, both only on success.
 *  Errors: BK_INVALID with the byte offset and what was expected. Any thread. */
enum bk_status bk_json_object(struct bk_span text, struct bk_json_member *members, size_t most, size_t *count,
                              struct bk_error *error);

/** The type's name with its article, as error texts want it ("a string"). Any thread. */
const char *bk_json_type_name(enum bk_json_type type);

/** The text of a scanned string value, escapes resolved, NUL-terminated; the caller frees it. `raw` must be a
 *  BK_JSON_STRING's. Any thread. */
char *bk_json_unescape(struct bk_span raw);

/** Reads a scanned number as an integer: no fraction, no exponent, within +-(2^53-1), the range in which every JSON
 *  reader agrees (RFC 7493). False otherwise. Any thread. */
bool bk_json_integer(struct bk_span raw, int64_t *value);

#endif
