/* The settings, from the text of an env file: no fault without the name of a setting, none over more than one line, no
 * password in what is shown, and no value beyond its limits in what is taken. */
#include "common/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/check.h"

extern char **environ;

/* The environment is stronger than the file, so it must be silent. */
static int open_file(void)
{
    static int file = -1;
    if (file >= 0)
        return file;
    for (char **at = environ; *at;) {
        size_t size = strcspn(*at, "=");
        bool ours = strncmp(*at, "BOOKING_", 8) == 0 || strncmp(*at, "DATABASE_URL", 12) == 0 ||
                    strncmp(*at, "REDIS_URL", 9) == 0;
        char *name = bk_strndup(*at, size);
        if (ours)
            (void)unsetenv(name);
        else
            at++;
        free(name);
    }
    file = memfd_create("env", MFD_CLOEXEC);
    BK_ASSERT(file >= 0);
    return file;
}

static void check_lines(const struct bk_text *text, const char *separator)
{
    char *copy = bk_strdup(bk_text_string(text));
    char *rest = NULL;
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        BK_ASSERT(fuzz_is_plain(line, 2500));
        char *end = strstr(line, separator);
        BK_ASSERT(end != NULL);
        size_t size = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-envfile");
        BK_ASSERT(size > 0 && line + size == end);
    }
    free(copy);
}

#define CHECK_TEXT(field, name, fallback, programs, meaning)
#define CHECK_NUMBER(field, name, fallback, least, most, programs, meaning)                                            \
    BK_ASSERT(!((programs)&program) || (config->field >= (least) && config->field <= (most)));
#define CHECK_CHOICE(field, name, fallback, choices, programs, meaning)                                                \
    BK_ASSERT(!((programs)&program) || strstr(choices, config->field) != NULL);

static void check_good(const struct bk_config *config, int program)
{
    BK_SETTINGS(CHECK_TEXT, CHECK_TEXT, CHECK_NUMBER, CHECK_CHOICE)
    BK_ASSERT(config->lock_timeout_ms < config->statement_timeout_ms || !(program & BK_FOR_WORKER));
    BK_ASSERT(strspn(config->queue, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(config->queue));
    BK_ASSERT(strlen(config->queue) >= 1 && strlen(config->queue) <= 40);
    BK_ASSERT(config->database.conninfo && (config->redis.unix_path || config->redis.host_count > 0));
}

/* A password of the Redis URL that stands once in the file, as the password, is nowhere in what is shown. */
static void check_secret(const struct bk_config *config, struct bk_span file, const struct bk_text *shown)
{
    const char *password = config->redis.password;
    size_t size = password ? strlen(password) : 0;
    bool telling = size >= 6 && strspn(password, "QXZ0123456789") == size;
    const char *first = telling ? memmem(file.at, file.size, password, size) : NULL;
    const char *end = file.at + file.size;
    telling = first && first > file.at && first[-1] == ':' && first + size < end && first[size] == '@' &&
              !memmem(first + 1, (size_t)(end - first - 1), password, size);
    BK_ASSERT(!telling || !strstr(shown->data, password));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[40];
    int file = open_file();
    if (size == 0)
        return 0;
    BK_ASSERT(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    const int programs[] = {BK_FOR_WORKER, BK_FOR_CTL, BK_FOR_ADMIN};
    int program = programs[data[size - 1] % BK_COUNT(programs)];
    struct bk_config config;
    struct bk_config again;
    BK_AUTO_TEXT shown = {0};
    enum bk_status status = bk_config_load(&config, program, path);
    BK_ASSERT(bk_config_load(&again, program, path) == status);
    BK_ASSERT(strcmp(bk_text_string(&config.faults), bk_text_string(&again.faults)) == 0);
    BK_ASSERT((status == BK_OK) == (config.faults.size == 0));
    check_lines(&config.faults, ": ");
    if (status == BK_OK)
        check_good(&config, program);
    bk_config_print(&shown, &config, program);
    check_lines(&shown, "=");
    check_secret(&config, (struct bk_span){(const char *)data, size}, &shown);
    bk_config_deinit(&config);
    bk_config_deinit(&again);
    return 0;
}
