/* replay.c - the main of a fuzz target where there is no libFuzzer: runs each file that is named, and each of a folder. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/check.h"

static size_t runs;

/* Into memory of exactly its size, so that the address sanitizer sees who reads on. */
static void run(const char *path)
{
    FILE *file = fopen(path, "re");
    BK_ASSERT(file != NULL);
    BK_AUTO_TEXT bytes = {0};
    char room[65536];
    for (size_t size = fread(room, 1, sizeof(room), file); size > 0; size = fread(room, 1, sizeof(room), file))
        bk_text_add(&bytes, room, size);
    (void)fclose(file);
    uint8_t *exact = bk_alloc(bytes.size);
    memcpy(exact, bk_text_string(&bytes), bytes.size);
    (void)LLVMFuzzerTestOneInput(exact, bytes.size);
    free(exact);
    runs++;
}

static void run_all(const char *path)
{
    DIR *folder = opendir(path);
    if (!folder) {
        run(path);
        return;
    }
    for (const struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_name[0] == '.')
            continue;
        BK_AUTO_TEXT file = {0};
        bk_text_printf(&file, "%s/%s", path, entry->d_name);
        run(file.data);
    }
    (void)closedir(folder);
}

int main(int argc, char **argv)
{
    (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        run_all(argv[i]);
    (void)printf("%zu inputs\n", runs);
    return runs > 0 ? 0 : 1; /* a folder that is empty proves nothing */
}
