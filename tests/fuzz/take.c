/* A take's answer, as it comes from Redis, through to what the worker thinks of each job. The first byte tells how:
 *   R  the rest is the answer itself, as bytes of RESP
 *   E  the rest is a ticket and an entry's names and values, with 0x1f between them, as the queue hands out good ones
 *   K  the same as it is kept of a malformed one: all of it in the one field `raw` */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/check.h"
#include "tests/fuzz/letter.h"
#include "tests/support/resp.h"
#include "worker/command.h"

enum { NOW = 1700000009, WORDS_MOST = 64 };

static void resp_number(struct bk_text *out, int64_t number)
{
    bk_text_printf(out, ":%lld\r\n", (long long)number);
}

static void keep_raw(struct bk_text *fields, const struct bk_span *words, size_t count)
{
    BK_AUTO_TEXT raw = {0};
    for (size_t i = 0; i < count; i++) {
        bk_text_printf(&raw, "%zu:", words[i].size);
        bk_text_add(&raw, words[i].at, words[i].size);
        bk_text_putc(&raw, ',');
    }
    bk_text_puts(fields, "*2\r\n$3\r\nraw\r\n");
    resp_word(fields, (struct bk_span){bk_text_string(&raw), raw.size});
}

static struct bk_reply *build(struct bk_span rest, bool kept)
{
    struct bk_span words[WORDS_MOST];
    size_t count = 0;
    struct bk_span ticket = fuzz_piece(&rest, 0x1f);
    while (rest.at && count < WORDS_MOST)
        words[count++] = fuzz_piece(&rest, 0x1f);
    BK_AUTO_TEXT bytes = {0};
    bk_text_puts(&bytes, "*7\r\n");
    resp_number(&bytes, NOW * INT64_C(1000));
    for (int i = 0; i < 4; i++)
        resp_number(&bytes, i);
    resp_word(&bytes, ticket);
    bk_text_puts(&bytes, "*1\r\n*2\r\n");
    resp_word(&bytes, ticket);
    if (kept) {
        keep_raw(&bytes, words, count);
    } else {
        bk_text_printf(&bytes, "*%zu\r\n", count);
        for (size_t i = 0; i < count; i++)
            resp_word(&bytes, words[i]);
    }
    return resp_read(bytes.data, bytes.size);
}

static bool is_id(struct bk_span id)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-";
    for (size_t i = 0; i < id.size; i++) {
        if (!memchr(good, id.at[i], sizeof(good) - 1))
            return false;
    }
    return id.size >= 1 && id.size <= 128;
}

static void check_job(const struct bk_queue_job *from, bk_ms now)
{
    struct bk_job job;
    struct bk_job again;
    struct bk_error error = {0};
    bk_job_read(from, now, &job);
    bk_job_read(from, now, &again);
    BK_ASSERT(strcmp(job.fault, again.fault) == 0);
    BK_ASSERT(job.enqueued_at == now || (job.enqueued_at >= 0 && job.enqueued_at < now));
    if (*job.fault) {
        BK_ASSERT(fuzz_is_plain(job.fault, sizeof(job.fault) - 1));
        BK_ASSERT(strncmp(job.fault, "field ", 6) == 0 || strcmp(job.fault, "the entry is malformed") == 0);
    } else {
        BK_ASSERT(is_id(job.id) && job.key.size >= 1 && job.key.size <= 128 && job.args.size <= 65536);
        BK_ASSERT(job.expires_at >= 0 && job.expires_at < INT64_C(1000000000000000));
        BK_ASSERT(job.traceparent.size == 0 || (job.traceparent.size >= 55 && job.traceparent.size <= 128));
        if (bk_command_check(&job, &error) != BK_COMMAND_GOOD)
            BK_ASSERT(fuzz_is_plain(error.text, sizeof(error.text) - 1));
    }
    fuzz_check_letter(&job, from->fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bk_span rest = {(const char *)data + 1, size - 1};
    struct bk_reply *reply = data[0] == 'R' ? resp_try(rest.at, rest.size) : build(rest, data[0] == 'K');
    struct bk_taken taken;
    bk_taken_read(reply, &taken);
    for (size_t i = 0; i < taken.count; i++)
        check_job(&taken.jobs[i], taken.now);
    bk_taken_deinit(&taken);
    return 0;
}
