/* setting.c - see setting.h. */
#include "tests/faults/proxy/setting.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

void setting_refuse(struct call *call, const char *format, ...)
{
    char text[500];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    bk_text_clear(call->answer);
    bk_text_puts(call->answer, "error ");
    bk_text_safe(call->answer, text, strlen(text), sizeof(text));
}

bool setting_read_choice(struct call *call, const char *name, const char *value, const char *choices, int64_t *number)
{
    size_t size = strlen(value);
    const char *at = choices;
    for (int64_t i = 0;; i++) {
        size_t length = strcspn(at, "|");
        if (length == size && memcmp(at, value, size) == 0) {
            *number = i;
            return true;
        }
        at += length;
        if (*at++ == '\0')
            break;
    }
    setting_refuse(call, "%s: \"%.60s\" is none of %s", name, value, choices);
    return false;
}

bool setting_read_number(struct call *call, const char *name, const char *value, int64_t least, int64_t most,
                         int64_t *number)
{
    int64_t read = 0;
    if (!bk_parse_integer(bk_span_of(value), &read) || read < least || read > most) {
        setting_refuse(call, "%s: \"%.60s\" is no number from %" PRId64 " to %" PRId64, name, value, least, most);
        return false;
    }
    *number = read;
    return true;
}

static bool read_one(struct call *call, struct setting *setting, const char *value)
{
    if (setting->given) {
        setting_refuse(call, "%s is given twice", setting->name);
        return false;
    }
    setting->given = true;
    if (setting->choices)
        return setting_read_choice(call, setting->name, value, setting->choices, &setting->number);
    if (!setting->is_text)
        return setting_read_number(call, setting->name, value, setting->least, setting->most, &setting->number);
    if (*value == '\0') {
        setting_refuse(call, "%s is empty", setting->name);
        return false;
    }
    setting->text = value;
    return true;
}

static struct setting *find(struct setting *settings, size_t count, const char *word)
{
    size_t size = strcspn(word, "=");
    for (size_t i = 0; i < count; i++) {
        if (word[size] == '=' && strlen(settings[i].name) == size && memcmp(settings[i].name, word, size) == 0)
            return &settings[i];
    }
    return NULL;
}

bool setting_read_all(struct call *call, struct setting *settings, size_t count)
{
    for (size_t i = 0; i < call->count; i++) {
        struct setting *setting = find(settings, count, call->words[i]);
        if (!setting) {
            setting_refuse(call, "unknown setting \"%.60s\"", call->words[i]);
            return false;
        }
        if (!read_one(call, setting, call->words[i] + strlen(setting->name) + 1))
            return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (settings[i].required && !settings[i].given) {
            setting_refuse(call, "%s= is missing", settings[i].name);
            return false;
        }
    }
    return true;
}
