/* kinds.h - the commands as they are documented, written down a second time: complete and valid args of each kind, and
 * what becomes of them when one member is changed. */
#ifndef TEST_KINDS_H
#define TEST_KINDS_H

#include "common/text.h"

enum { TEST_KINDS = 5, TEST_MEMBERS_MOST = 8 };

#define TEST_BOOKING "6f1d2c3b-4a59-4870-9b6c-0123456789af"

struct test_kind {
    const char *name;
    struct {
        const char *name; /* NULL ends them */
        const char *value;
        bool required;
    } members[TEST_MEMBERS_MOST];
};
extern const struct test_kind test_kinds[TEST_KINDS];

/** Appends a member to args in the making; nothing for a value whose at is NULL. */
void test_put_member(struct bk_text *args, struct bk_span name, struct bk_span value);
/** The complete args of a kind with one member changed, added, or left out (value.at NULL); with the member "(args)" the
 *  value itself. */
void test_make_args(struct bk_text *args, size_t kind, struct bk_span name, struct bk_span value);
/** The answer a row of tests/corpus/args.txt stands for: "unknown" is short for the list of what is known. */
void test_put_answer(struct bk_text *answer, size_t kind, const char *member, const char *cell);
/** Each member of each kind with a value of every other type, and the error it must get. */
void test_each_wrong_type(void (*check)(size_t kind, const char *member, const char *value, const char *error));

#endif
