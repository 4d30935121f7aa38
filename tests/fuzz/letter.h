/* letter.h - what must hold for whatever the queue may keep of an entry, shared by the targets that make such things. */
#ifndef TEST_FUZZ_LETTER_H
#define TEST_FUZZ_LETTER_H

#include "worker/job.h"

/** Shows the fields as a dead letter in each way there is, and takes its exported line back: each way is JSON, and the
 *  line means what the letter meant. `job` is what the worker read from the same fields. */
void fuzz_check_letter(const struct bk_job *job, const struct bk_reply *fields);

#endif
