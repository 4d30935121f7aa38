/* resp.c - see resp.h; the one file of the tests that includes hiredis. */
#include "tests/support/resp.h"

#include <hiredis/hiredis.h>

/* Lengths beyond what a test has any use for would only measure how much memory hiredis asks for. */
static bool is_modest(const char *bytes, size_t size)
{
    for (size_t i = 0; i + 1 < size; i++) {
        size_t digits = 0;
        while (i + 1 + digits < size && bytes[i + 1 + digits] >= '0' && bytes[i + 1 + digits] <= '9')
            digits++;
        if ((bytes[i] == '*' || bytes[i] == '$') && digits > 5)
            return false;
    }
    return true;
}

static struct bk_reply *read_whole(const char *bytes, size_t size)
{
    redisReader *reader = redisReaderCreate();
    BK_ASSERT(reader != NULL);
    void *reply = NULL;
    BK_ASSERT(redisReaderFeed(reader, bytes, size) == REDIS_OK);
    if (redisReaderGetReply(reader, &reply) != REDIS_OK)
        reply = NULL;
    redisReaderFree(reader);
    return reply;
}

struct bk_reply *resp_try(const char *bytes, size_t size)
{
    return is_modest(bytes, size) ? read_whole(bytes, size) : NULL;
}

struct bk_reply *resp_read(const char *bytes, size_t size)
{
    struct bk_reply *reply = read_whole(bytes, size);
    BK_ASSERT(reply != NULL);
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
