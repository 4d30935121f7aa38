/* config.c - see config.h. */
#include "common/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum setting_type { TYPE_TEXT, TYPE_SECRET, TYPE_NUMBER, TYPE_CHOICE };

struct setting {
    enum setting_type type;
    const char *name;
    const char *fallback; /* as people read it; computed below when it is no plain value */
    const char *choices;
    int64_t least;
    int64_t most;
    int programs;
    size_t offset;
    const char *meaning;
};

#define ROW_TEXT(field, name, fallback, programs, meaning)                                                             \
    {TYPE_TEXT, name, fallback, NULL, 0, 0, programs, offsetof(struct bk_config, field), meaning},
#define ROW_SECRET(field, name, fallback, programs, meaning)                                                           \
    {TYPE_SECRET, name, fallback, NULL, 0, 0, programs, offsetof(struct bk_config, field), meaning},
#define ROW_NUMBER(field, name, fallback, least, most, programs, meaning)                                              \
    {TYPE_NUMBER, name, fallback, NULL, least, most, programs, offsetof(struct bk_config, field), meaning},
#define ROW_CHOICE(field, name, fallback, choices, programs, meaning)                                                  \
    {TYPE_CHOICE, name, fallback, choices, 0, 0, programs, offsetof(struct bk_config, field), meaning},

static const struct setting settings[] = {BK_SETTINGS(ROW_TEXT, ROW_SECRET, ROW_NUMBER, ROW_CHOICE)};

static int64_t *number_at(struct bk_config *config, const struct setting *s)
{
    return (int64_t *)(void *)((char *)config + s->offset);
}

static char **text_at(struct bk_config *config, const struct setting *s)
{
    return (char **)(void *)((char *)config + s->offset);
}

static size_t index_of(const void *field, const struct bk_config *config)
{
    size_t offset = (size_t)((const char *)field - (const char *)config);
    for (size_t i = 0; i < BK_COUNT(settings); i++) {
        if (settings[i].offset == offset)
            return i;
    }
    bk_bug("a field of the settings table", __FILE__, __LINE__);
}

static char source_of(const struct bk_config *config, const void *field)
{
    return config->sources.data[index_of(field, config)];
}

bool bk_config_was_set(const struct bk_config *config, const void *field)
{
    return source_of(config, field) != 'd';
}

void bk_config_fault(struct bk_config *config, const char *setting, const char *format, ...)
{
    char text[500];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    bk_text_printf(&config->faults, "%s: ", setting);
    bk_text_safe(&config->faults, text, strlen(text), sizeof(text)); /* values are anybody's: one line stays one line */
    bk_text_putc(&config->faults, '\n');
}

/* --- the env file ------------------------------------------------------------------------------------------------- */

struct pair {
    char *name;
    char *value;
};

struct env_file {
    struct pair *pairs;
    size_t count;
};

/* A byte order mark in front would make a name that nothing has, and its line would be passed over in silence. */
static bool is_plain(const char *at, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (at[i] <= 0x20 || at[i] >= 0x7f || strchr("\"'", at[i]))
            return false;
    }
    return true;
}

/* NAME=value lines as systemd's EnvironmentFile= and docker --env-file read them: blank lines and # comments, an
 * optional `export `, optional quotes of one kind around the value. */
static bool read_line(char *line, struct pair *pair)
{
    char *at = line + strspn(line, " \t");
    if (strncmp(at, "export ", 7) == 0)
        at += 7 + strspn(at + 7, " \t");
    char *equals = strchr(at, '=');
    if (!equals || equals == at || !is_plain(at, (size_t)(equals - at)))
        return false;
    char *value = equals + 1;
    size_t size = strlen(value);
    while (size > 0 && strchr(" \t\r\n", value[size - 1]))
        size--;
    if (size >= 2 && (*value == '"' || *value == '\'') && value[size - 1] == *value) {
        value++;
        size -= 2;
    }
    pair->name = bk_strndup(at, (size_t)(equals - at));
    pair->value = bk_strndup(value, size);
    return true;
}

static void read_env_file(struct bk_config *config, const char *path, struct env_file *out)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        bk_config_fault(config, "--env-file", "%s: %s", path, strerror(errno));
        return;
    }
    char *line = NULL;
    size_t room = 0;
    ssize_t size = 0;
    for (int number = 1; (size = getline(&line, &room, file)) >= 0; number++) {
        bool whole = strlen(line) == (size_t)size; /* no NUL that would cut it */
        const char *content = line + strspn(line, " \t\r\n");
        if (whole && (!*content || *content == '#'))
            continue;
        struct pair pair;
        if (!whole || !read_line(line, &pair)) {
            bk_config_fault(config, "--env-file", "%s line %d: expected NAME=value", path, number);
            continue;
        }
        out->pairs = bk_realloc(out->pairs, (out->count + 1) * sizeof(*out->pairs));
        out->pairs[out->count++] = pair;
    }
    free(line);
    (void)fclose(file);
}

static void free_env_file(struct env_file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        free(file->pairs[i].name);
        free(file->pairs[i].value);
    }
    free(file->pairs);
}

/* The last line of a name wins, as in a shell. */
static const char *find_in_file(const struct env_file *file, const char *name)
{
    for (size_t i = file->count; i > 0; i--) {
        if (strcmp(file->pairs[i - 1].name, name) == 0)
            return file->pairs[i - 1].value;
    }
    return NULL;
}

/* --- one setting -------------------------------------------------------------------------------------------------- */

static bool is_choice(const char *choices, const char *value)
{
    size_t size = strlen(value);
    for (const char *at = choices; *at;) {
        size_t part = strcspn(at, "|");
        if (part == size && strncmp(at, value, size) == 0)
            return true;
        at += part + (at[part] == '|');
    }
    return false;
}

/* False when the value is refused; the fault is noted then. */
static bool read_setting(struct bk_config *config, const struct setting *s, const char *value)
{
    int64_t number = 0;
    if (s->type == TYPE_NUMBER) {
        if (!bk_parse_integer(bk_span_of(value), &number) || number < s->least || number > s->most) {
            bk_config_fault(config, s->name, "\"%.64s\": expected an integer from %lld to %lld", value,
                            (long long)s->least, (long long)s->most);
            return false;
        }
        *number_at(config, s) = number;
        return true;
    }
    if (s->type == TYPE_CHOICE && !is_choice(s->choices, value)) {
        bk_config_fault(config, s->name, "\"%.64s\": expected one of %s", value, s->choices);
        return false;
    }
    *text_at(config, s) = bk_strdup(value);
    return true;
}

/* --- defaults that are computed, and what the URLs say ------------------------------------------------------------ */

static int64_t cores(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? count : 1;
}

static char *default_worker_name(void)
{
    char host[65] = "worker";
    (void)gethostname(host, sizeof(host) - 1);
    BK_AUTO_TEXT name = {0};
    for (const char *at = host; *at && name.size < 48; at++) {
        bool plain = (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');
        bk_text_add(&name, plain || strchr("_.", *at) ? at : "-", 1);
    }
    bk_text_printf(&name, "-%ld", (long)getpid());
    return BK_STEAL(name.data);
}

static void compute_default(struct bk_config *config, const struct setting *s)
{
    int64_t number = 0;
    if (s->type == TYPE_NUMBER && bk_parse_integer(bk_span_of(s->fallback), &number))
        *number_at(config, s) = number;
    else if (number_at(config, s) == &config->lanes)
        config->lanes = BK_MIN(2 * cores(), INT64_C(256));
    else if (number_at(config, s) == &config->pool_max)
        config->pool_max = BK_MIN(2 * cores() + 1, INT64_C(1000));
    else if (number_at(config, s) == &config->pool_min)
        config->pool_min = config->pool_max;
    else if (text_at(config, s) == &config->worker_name)
        config->worker_name = default_worker_name();
    else if (text_at(config, s) == &config->log_format)
        config->log_format = bk_strdup(isatty(STDERR_FILENO) ? "text" : "json");
    else if (strcmp(s->fallback, "required") != 0)
        *text_at(config, s) = bk_strdup(s->fallback);
    else
        bk_config_fault(config, s->name, "is required: %s", s->meaning);
}

static void set_from_url(struct bk_config *config, int64_t *field, int64_t value)
{
    size_t i = index_of(field, config);
    if (value < 0 || config->sources.data[i] != 'd')
        return;
    bool good = value >= settings[i].least && value <= settings[i].most;
    config->sources.data[i] = good ? 'u' : 'x';
    if (good)
        *field = value;
    else
        bk_config_fault(config, "DATABASE_URL", "sets %s to %lld: expected %lld to %lld", settings[i].name,
                        (long long)value, (long long)settings[i].least, (long long)settings[i].most);
}

static int64_t in_ms(int64_t seconds)
{
    return seconds < 0 ? -1 : seconds * 1000;
}

static void read_urls(struct bk_config *config)
{
    struct bk_error error = {0};
    BK_AUTO_TEXT shown = {0};
    if (config->database_url && bk_database_url_parse(config->database_url, &config->database, &error) != BK_OK) {
        bk_url_mask(&shown, config->database_url);
        bk_config_fault(config, "DATABASE_URL", "\"%s\": %s", bk_text_string(&shown), error.text);
    } else if (config->database_url) {
        const struct bk_database_url *url = &config->database;
        set_from_url(config, &config->pool_max, url->connection_limit);
        /* Prisma's pool_timeout=0 waits for ever; nothing does so here */
        set_from_url(config, &config->acquire_timeout_ms,
                     url->pool_timeout_s == 0 ? 600000 : in_ms(url->pool_timeout_s));
        set_from_url(config, &config->connect_timeout_ms, url->connect_timeout_s ? in_ms(url->connect_timeout_s) : -1);
        set_from_url(config, &config->statement_timeout_ms, url->socket_timeout_s ? in_ms(url->socket_timeout_s) : -1);
    }
    bk_text_clear(&shown);
    if (config->redis_url && bk_redis_url_parse(config->redis_url, &config->redis, &error) != BK_OK) {
        bk_url_mask(&shown, config->redis_url);
        bk_config_fault(config, "REDIS_URL", "\"%s\": %s", bk_text_string(&shown), error.text);
    }
}

/* --- rules between settings --------------------------------------------------------------------------------------- */

/* `low` must be below `high`, or at most equal to it. */
struct rung {
    int64_t *low;
    int64_t *high;
    bool may_equal;
    int64_t percent; /* of `high`: what a default `low` falls to */
};

static bool holds(const struct rung *rung)
{
    return *rung->low < *rung->high || (rung->may_equal && *rung->low == *rung->high);
}

/* A default gives way to what somebody set: first upward, as one raised default may push the next, then downward. What
 * two explicit settings say against each other is a fault; one that was refused has had its fault already. */
static void check_ladder(struct bk_config *config)
{
    const struct rung rungs[] = {
        {&config->lock_timeout_ms, &config->statement_timeout_ms, false, 40},
        {&config->statement_timeout_ms, &config->shutdown_timeout_ms, false, 80},
        {&config->pool_min, &config->pool_max, true, 100},
        {&config->breaker_open_ms, &config->breaker_open_max_ms, true, 100},
        {&config->breaker_min_calls, &config->breaker_window, true, 100},
    };
    for (size_t i = 0; i < BK_COUNT(rungs); i++) {
        const struct rung *r = &rungs[i];
        if (!holds(r) && source_of(config, r->high) == 'd')
            *r->high = r->may_equal ? *r->low : *r->low * 2;
    }
    for (size_t i = BK_COUNT(rungs); i-- > 0;) {
        const struct rung *r = &rungs[i];
        if (!holds(r) && source_of(config, r->low) == 'd' && source_of(config, r->high) != 'x')
            *r->low = BK_MAX(*r->high * r->percent / 100, INT64_C(1));
    }
    for (size_t i = 0; i < BK_COUNT(rungs); i++) {
        const struct rung *r = &rungs[i];
        if (!holds(r) && source_of(config, r->low) != 'x' && source_of(config, r->high) != 'x')
            bk_config_fault(config, settings[index_of(r->low, config)].name, "%lld must be %s %s=%lld",
                            (long long)*r->low, r->may_equal ? "at most" : "below",
                            settings[index_of(r->high, config)].name, (long long)*r->high);
    }
}

static bool is_name(const char *text, const char *extra, size_t most)
{
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c && strchr(extra, c))))
            return false;
    }
    return size >= 1 && size <= most;
}

static void check_rules(struct bk_config *config, int program)
{
    if (source_of(config, &config->pool_min) == 'd')
        config->pool_min = config->pool_max; /* whatever the maximum came from */
    check_ladder(config);
    if (!is_name(config->queue, "-", 40))
        bk_config_fault(config, "BOOKING_QUEUE", "\"%.64s\": expected 1 to 40 of a-z 0-9 -", config->queue);
    if (program == BK_FOR_WORKER && !is_name(config->worker_name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_.:-", 64))
        bk_config_fault(config, "BOOKING_WORKER_NAME", "\"%.80s\": expected 1 to 64 of A-Z a-z 0-9 _ . : -",
                        config->worker_name);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

enum bk_status bk_config_load(struct bk_config *config, int program, const char *env_file)
{
    *config = (struct bk_config){.database = {NULL, -1, -1, -1, -1, false}};
    config->env_file = env_file ? bk_strdup(env_file) : NULL;
    struct env_file file = {0};
    if (env_file)
        read_env_file(config, env_file, &file);
    for (size_t i = 0; i < BK_COUNT(settings); i++) {
        const struct setting *s = &settings[i];
        const char *value = getenv(s->name);
        char source = 'e';
        if (!value || !*value) { /* empty is as good as not there */
            value = find_in_file(&file, s->name);
            source = 'f';
        }
        bool used = s->programs & program;
        if (!value || !*value || !used)
            source = 'd';
        if (source != 'd' && !read_setting(config, s, value))
            source = 'x';
        if (used && (source == 'd' || source == 'x'))
            compute_default(config, s);
        bk_text_putc(&config->sources, source);
    }
    free_env_file(&file);
    read_urls(config);
    check_rules(config, program);
    return config->faults.size ? BK_INVALID : BK_OK;
}

void bk_config_deinit(struct bk_config *config)
{
    for (size_t i = 0; i < BK_COUNT(settings); i++) {
        if (settings[i].type != TYPE_NUMBER)
            free(*text_at(config, &settings[i]));
    }
    bk_database_url_deinit(&config->database);
    bk_redis_url_deinit(&config->redis);
    bk_text_deinit(&config->faults);
    bk_text_deinit(&config->sources);
    free(config->env_file);
    *config = (struct bk_config){0};
}

static void print_text(struct bk_text *text, const char *value, bool secret)
{
    BK_AUTO_TEXT shown = {0};
    if (secret)
        bk_url_mask(&shown, value);
    else
        bk_text_puts(&shown, value);
    bk_text_safe(text, bk_text_string(&shown), shown.size, 500);
}

void bk_config_print(struct bk_text *text, const struct bk_config *config, int program)
{
    for (size_t i = 0; i < BK_COUNT(settings); i++) {
        const struct setting *s = &settings[i];
        if (!(s->programs & program))
            continue;
        const void *field = (const char *)config + s->offset;
        const char *value = s->type == TYPE_NUMBER ? NULL : *(char *const *)field;
        bk_text_printf(text, "%s=", s->name);
        if (s->type == TYPE_NUMBER)
            bk_text_printf(text, "%lld", (long long)*(const int64_t *)field);
        else if (value)
            print_text(text, value, s->type == TYPE_SECRET);
        char source = config->sources.data[i];
        bk_text_printf(text, "  # %s%s\n",
                       source == 'e'   ? "environment"
                       : source == 'f' ? "file "
                       : source == 'u' ? "DATABASE_URL"
                       : source == 'x' ? "default, what was given is no good"
                                       : "default",
                       source == 'f' ? config->env_file : "");
    }
}

static void print_range(struct bk_text *text, const struct setting *s)
{
    if (s->type == TYPE_NUMBER)
        bk_text_printf(text, " [%lld..%lld]", (long long)s->least, (long long)s->most);
    else if (s->type == TYPE_CHOICE)
        bk_text_printf(text, " [%s]", s->choices);
}

void bk_config_help(struct bk_text *text, int program)
{
    bk_text_puts(text, "Settings, from the environment or --env-file FILE:\n");
    for (size_t i = 0; i < BK_COUNT(settings); i++) {
        const struct setting *s = &settings[i];
        if (!(s->programs & program))
            continue;
        bk_text_printf(text, "  %s (%s%s)\n      %s", s->name, strcmp(s->fallback, "required") ? "default " : "",
                       s->fallback, s->meaning);
        print_range(text, s);
        bk_text_putc(text, '\n');
    }
}

void bk_config_sample(struct bk_text *text, int program)
{
    for (size_t i = 0; i < BK_COUNT(settings); i++) {
        const struct setting *s = &settings[i];
        if (!(s->programs & program))
            continue;
        bk_text_printf(text, "# %s", s->meaning);
        print_range(text, s);
        bool required = strcmp(s->fallback, "required") == 0;
        bool plain = !strchr(s->fallback, ' ');
        bk_text_printf(text, "\n%s%s=%s\n\n", required ? "" : "#", s->name, required ? "" : plain ? s->fallback : "");
    }
}
