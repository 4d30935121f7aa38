/* Which sessions the next connection ends. */
#include "common/ghost.h"

#include <string.h>

#include <criterion/criterion.h>

Test(ghost, each_is_named_with_its_age)
{
    struct bk_ghosts ghosts = {0};
    bk_ghosts_add(&ghosts, 4711, 1000);
    bk_ghosts_add(&ghosts, 4712, 1500);
    BK_AUTO_TEXT sql = {0};
    bk_ghosts_sql(&ghosts, 2000, &sql);
    cr_expect(strstr(bk_text_string(&sql), "values (4711, 1000), (4712, 500))"), "%s", bk_text_string(&sql));
    cr_expect(strstr(bk_text_string(&sql), "current_user"), "nobody else's sessions");
    cr_expect(strstr(bk_text_string(&sql), "backend_start <"), "none that came since, by the same process id");
}

Test(ghost, no_process_id_no_ghost)
{
    struct bk_ghosts ghosts = {0};
    bk_ghosts_add(&ghosts, 0, 1);
    cr_expect_eq(ghosts.count, 0);
}

Test(ghost, too_many_are_left_to_the_server)
{
    struct bk_ghosts ghosts = {0};
    for (int i = 0; i < BK_GHOSTS_MOST + 5; i++)
        bk_ghosts_add(&ghosts, i + 1, 1);
    cr_expect_eq(ghosts.count, BK_GHOSTS_MOST);
}
