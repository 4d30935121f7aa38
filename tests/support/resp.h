/* resp.h - answers of Redis made from bytes, so that what reads them can be tested without a server. */
#ifndef TEST_RESP_H
#define TEST_RESP_H

#include "common/redis.h"
#include "common/text.h"

/** The answer that these bytes of RESP are; the caller frees it with bk_reply_free. Bytes that are no whole answer are
 *  a bug of the test and abort. */
struct bk_reply *resp_read(const char *bytes, size_t size);

/** The same; NULL for bytes that are none, or that announce more than 99,999 of anything. */
struct bk_reply *resp_try(const char *bytes, size_t size);

/** Appends a word as a bulk string. */
void resp_word(struct bk_text *out, struct bk_span word);
/** An answer that is an array of words; the caller frees it with bk_reply_free. */
struct bk_reply *resp_words(size_t count, const struct bk_span *words);

#endif
