/* The words every other file uses, and errors with their story. */
#include "common/base.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "common/error.h"

Test(base, every_status_has_a_name_for_messages)
{
    cr_expect_str_eq(bk_status_label(BK_OK), "ok");
    cr_expect_str_eq(bk_status_label(BK_UNKNOWN), "outcome unknown");
    for (enum bk_status s = BK_OK; s <= BK_STOPPED; s++)
        cr_expect(strlen(bk_status_label(s)) > 0, "status %d", (int)s);
}

Test(base, a_broken_assumption_ends_the_process, .signal = SIGABRT)
{
    BK_ASSERT(1 + 1 == 3);
}

Test(base, an_assumption_that_holds_costs_nothing)
{
    BK_ASSERT(1 + 1 == 2);
}

Test(base, a_span_is_its_bytes_and_no_others)
{
    cr_expect(bk_span_is(bk_span_of("inbox"), "inbox"));
    cr_expect(bk_span_is((struct bk_span){"inboxes", 5}, "inbox"));
    cr_expect_not(bk_span_is(bk_span_of("inboxes"), "inbox"));
    cr_expect_not(bk_span_is((struct bk_span){"in\0x", 4}, "in"));
    cr_expect(bk_span_is(bk_span_of(""), ""));
    cr_expect(bk_span_is(bk_span_of(NULL), ""));
    cr_expect_null(bk_span_of(NULL).at);
}

struct door {
    int closed;
};

static struct door *door_close(struct door *door)
{
    if (door)
        door->closed++;
    return NULL;
}
BK_DEFINE_AUTO(door, door_close)

Test(base, an_owner_closes_at_the_end_of_its_scope)
{
    struct door house = {0};
    {
        BK_AUTO(door) *owner = &house;
        cr_expect_eq(owner->closed, 0);
    }
    cr_expect_eq(house.closed, 1);
}

Test(base, what_was_handed_on_is_not_closed)
{
    struct door house = {0};
    struct door *kept = NULL;
    {
        BK_AUTO(door) *owner = &house;
        kept = BK_STEAL(owner);
        cr_expect_null(owner);
    }
    cr_expect_eq(kept, &house);
    cr_expect_eq(house.closed, 0);
}

Test(base, memory_of_no_size_is_memory_all_the_same)
{
    void *none = bk_alloc(0);
    void *zeroed = bk_zalloc(0);
    cr_expect_not_null(none);
    cr_expect_not_null(zeroed);
    none = bk_realloc(none, 0);
    cr_expect_not_null(none);
    free(none);
    free(zeroed);
}

Test(error, says_what_failed_and_is_returned_in_one_step)
{
    struct bk_error error = {.sqlstate = "40001", .text = "something older"};

    enum bk_status status = bk_fail(&error, BK_OUTAGE, "no answer in %d ms", 250);

    cr_expect_eq(status, BK_OUTAGE);
    cr_expect_eq(error.status, BK_OUTAGE);
    cr_expect_str_eq(error.text, "no answer in 250 ms");
    cr_expect_str_eq(error.sqlstate, "", "the SQLSTATE of the older error must not stay");
}

Test(error, may_be_retold_from_its_own_text)
{
    struct bk_error error = {0};
    (void)bk_fail(&error, BK_INVALID, "the port must be from 1 to 65535");

    (void)bk_fail(&error, BK_OPERATOR, "REDIS_URL: %s", error.text);

    cr_expect_str_eq(error.text, "REDIS_URL: the port must be from 1 to 65535");
}

Test(error, is_not_needed_by_who_does_not_ask)
{
    cr_expect_eq(bk_fail(NULL, BK_FENCED, "gone"), BK_FENCED);
    bk_error_prefix(NULL, "beat");
}

Test(error, grows_a_prefix_at_each_layer)
{
    struct bk_error error = {0};
    (void)bk_fail(&error, BK_UNKNOWN, "no answer in time");

    bk_error_prefix(&error, "redis %s:%d", "127.0.0.1", 6379);
    bk_error_prefix(&error, "take");

    cr_expect_eq(error.status, BK_UNKNOWN);
    cr_expect_str_eq(error.text, "take: redis 127.0.0.1:6379: no answer in time");
}

Test(error, loses_its_end_and_never_its_beginning)
{
    char story[2000];
    memset(story, 'x', sizeof(story));
    story[sizeof(story) - 1] = '\0';
    struct bk_error error = {0};
    (void)bk_fail(&error, BK_PERMANENT, "%s", story);
    cr_expect_eq(strlen(error.text), sizeof(error.text) - 1);

    for (int i = 0; i < 10; i++)
        bk_error_prefix(&error, "layer %d", i);

    cr_expect(strncmp(error.text, "layer 9: layer 8: ", 18) == 0, "%s", error.text);
    cr_expect(strlen(error.text) < sizeof(error.text));
}
