/* token.c - the file of the admins' tokens: lines `name role token`, # comments. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/admin/admin.h"

enum { SHORT_TOKEN = 16 };

static const char setting[] = "BOOKING_ADMIN_TOKEN_FILE";

bool secret_copy(char out[ADMIN_SECRET_ROOM], const char *text, size_t size)
{
    memset(out, 0, ADMIN_SECRET_ROOM);
    if (!text || size == 0 || size >= ADMIN_SECRET_ROOM)
        return false;
    memcpy(out, text, size);
    return true;
}

bool secrets_equal(const char a[ADMIN_SECRET_ROOM], const char b[ADMIN_SECRET_ROOM])
{
    unsigned different = 0;
    for (size_t i = 0; i < ADMIN_SECRET_ROOM; i++) {
        different |= (unsigned char)(a[i] ^ b[i]);
        __asm__ volatile("" : "+r"(different)); /* nothing is known of it half-way: no early end */
    }
    return different == 0 && a[0];
}

const struct token *tokens_find(const struct tokens *tokens, const char *secret)
{
    char asked[ADMIN_SECRET_ROOM];
    bool fits = secret_copy(asked, secret, secret ? strlen(secret) : 0);
    const struct token *found = NULL;
    for (size_t i = 0; i < tokens->count; i++) {
        if (secrets_equal(tokens->list[i].secret, asked) && fits)
            found = &tokens->list[i];
    }
    explicit_bzero(asked, sizeof(asked));
    return found;
}

static bool is_name(const char *text)
{
    size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@-");
    return size > 0 && size < ADMIN_NAME_ROOM && text[size] == '\0';
}

static bool is_new(const struct tokens *tokens, const struct token *token)
{
    for (size_t i = 0; i < tokens->count; i++) {
        if (strcmp(tokens->list[i].name, token->name) == 0 || secrets_equal(tokens->list[i].secret, token->secret))
            return false;
    }
    return true;
}

/* NULL, or what is wrong with the line. */
static const char *read_line(struct tokens *tokens, char *line)
{
    static const char blanks[] = " \t\r\n";
    char *rest = NULL;
    const char *name = strtok_r(line, blanks, &rest);
    if (!name || *name == '#')
        return NULL;
    const char *role = strtok_r(NULL, blanks, &rest);
    const char *secret = strtok_r(NULL, blanks, &rest);
    struct token token = {0};
    const char *more = strtok_r(NULL, blanks, &rest);
    if (!role || !secret || more)
        return "expected `name role token`";
    if (!is_name(name))
        return "name: expected 1 to 40 of A-Z a-z 0-9 _ . @ -";
    token.role = strcmp(role, "operator") == 0 ? ROLE_OPERATOR : strcmp(role, "viewer") == 0 ? ROLE_VIEWER : ROLE_NONE;
    if (token.role == ROLE_NONE)
        return "role: expected viewer or operator";
    if (!secret_copy(token.secret, secret, strlen(secret)))
        return "token: expected at most 256 bytes";
    (void)snprintf(token.name, sizeof(token.name), "%s", name);
    if (!is_new(tokens, &token))
        return "the name or the token stands there twice";
    if (strlen(secret) < SHORT_TOKEN)
        bk_log(BK_LOG_WARN, "the token of %s has fewer than %d characters and can be guessed", name, SHORT_TOKEN);
    tokens->list = bk_realloc(tokens->list, (tokens->count + 1) * sizeof(*tokens->list));
    tokens->list[tokens->count++] = token;
    explicit_bzero(&token, sizeof(token));
    return NULL;
}

static FILE *open_private(const char *path, struct bk_config *config)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &about) < 0) {
        bk_config_fault(config, setting, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(about.st_mode)) {
        bk_config_fault(config, setting, "%s: is no file", path);
    } else if (about.st_mode & 077) {
        bk_config_fault(config, setting, "%s: has mode %04o, others may get at it: expected 0600", path,
                        (unsigned)(about.st_mode & 07777));
    } else {
        return fdopen(fd, "r");
    }
    if (fd >= 0)
        (void)close(fd);
    return NULL;
}

void tokens_load(struct tokens *tokens, const char *path, struct bk_config *config)
{
    FILE *file = open_private(path, config);
    if (!file)
        return;
    char *line = NULL;
    size_t room = 0;
    size_t faults = config->faults.size;
    ssize_t size = 0;
    for (int number = 1; (size = getline(&line, &room, file)) >= 0; number++) {
        bool whole = strlen(line) == (size_t)size; /* no NUL that would cut the token */
        const char *fault = whole ? read_line(tokens, line) : "expected no NUL byte";
        if (fault)
            bk_config_fault(config, setting, "%s line %d: %s", path, number, fault);
    }
    if (line)
        explicit_bzero(line, room);
    free(line);
    (void)fclose(file);
    if (tokens->count == 0 && config->faults.size == faults)
        bk_config_fault(config, setting, "%s: holds no token, so nobody could log in", path);
}

void tokens_deinit(struct tokens *tokens)
{
    if (tokens->list)
        explicit_bzero(tokens->list, tokens->count * sizeof(*tokens->list));
    free(tokens->list);
    *tokens = (struct tokens){0};
}
