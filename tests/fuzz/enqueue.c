/* The lines of `bookingctl enqueue`: what is taken is an entry the worker finds no fault with, which as a dead letter
 * becomes a line that makes the same entry; what is refused is told in one plain line. */
#include <string.h>

#include "tests/fuzz/check.h"
#include "tests/fuzz/letter.h"
#include "tests/support/resp.h"
#include "worker/ctl/entry.h"

static void check_entry(const struct ctl_entry *entry)
{
    BK_AUTO(bk_reply) *fields = resp_words(entry->word_count, entry->words);
    const struct bk_queue_job from = {bk_span_of("1700000000000-0"), fields};
    struct bk_job job;
    bk_job_read(&from, INT64_C(1700000009000), &job);
    BK_ASSERT(*job.fault == '\0');
    fuzz_check_letter(&job, fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ctl_entry entry = {0};
    struct ctl_entry again = {0};
    struct bk_error error = {0};
    struct bk_error same = {0};
    const char *line = size ? (const char *)data : "";
    enum bk_status status = ctl_entry_read(&entry, line, size, &error);
    BK_ASSERT(ctl_entry_read(&again, line, size, &same) == status && strcmp(error.text, same.text) == 0);
    BK_ASSERT(status == BK_OK || (status == BK_INVALID && fuzz_is_plain(error.text, sizeof(error.text) - 1)));
    if (status == BK_OK)
        check_entry(&entry);
    ctl_entry_deinit(&entry);
    ctl_entry_deinit(&again);
    return 0;
}
