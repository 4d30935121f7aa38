/* resp.c - see resp.h; the one file of the tests that includes hiredis. */
#include "tests/support/resp.h"

#include <hiredis/hiredis.h>

struct bk_reply *resp_read(const char *bytes, size_t size)
{
    redisReader *reader = redisReaderCreate();
    BK_ASSERT(reader != NULL);
    void *reply = NULL;
    BK_ASSERT(redisReaderFeed(reader, bytes, size) == REDIS_OK);
    BK_ASSERT(redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL);
    redisReaderFree(reader);
    return reply;
}

void resp_word(struct bk_text *out, struct bk_span word)
{
    bk_text_printf(out, "$%zu\r\n", word.size);
    bk_text_add(out, word.at, word.size);
    bk_text_puts(out, "\r\n");
}

struct bk_reply *resp_words(size_t count, const struct bk_span *words)
{
    BK_AUTO_TEXT bytes = {0};
    bk_text_printf(&bytes, "*%zu\r\n", count);
    for (size_t i = 0; i < count; i++)
        resp_word(&bytes, words[i]);
    return resp_read(bytes.data, bytes.size);
}
