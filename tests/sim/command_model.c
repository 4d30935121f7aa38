/* command_model.c - see command_model.h. */
#include "tests/sim/command_model.h"

#include <stdio.h>

static const char *const kinds[] = {"booking.confirm", "booking.cancel", "booking.complete", "booking.reschedule",
                                    "booking.create"};

const char *sim_kind_name(enum sim_kind kind)
{
    return kinds[kind];
}

static enum sim_flaw flaw_of(struct sim_chance *chance)
{
    if (sim_fault(chance, SIM_malformed, SIM_PRODUCER))
        return SIM_MALFORMED;
    if (sim_fault(chance, SIM_bad_args, SIM_PRODUCER))
        return sim_draw(chance, SIM_PRODUCER) % 4 == 0 ? SIM_UNKNOWN_KIND : SIM_BAD_ARGS;
    if (sim_fault(chance, SIM_refused, SIM_PRODUCER))
        return SIM_REFUSED;
    if (sim_fault(chance, SIM_odd, SIM_PRODUCER))
        return SIM_ODD;
    return sim_fault(chance, SIM_killer, SIM_PRODUCER) ? SIM_KILLER : SIM_GOOD;
}

/* A booking's commands are worth most when they fit what came before: so create first, as a rule. */
static enum sim_kind kind_of(struct sim_chance *chance, int earlier)
{
    static const enum sim_kind usual[] = {SIM_CONFIRM, SIM_RESCHEDULE, SIM_CANCEL, SIM_COMPLETE, SIM_CREATE};
    uint64_t luck = sim_draw(chance, SIM_PRODUCER);
    if (earlier == 0 && luck % 8 != 0)
        return SIM_CREATE;
    return usual[(luck >> 8) % BK_COUNT(usual)];
}

static void write_args(struct sim_command *c)
{
    size_t room = sizeof(c->args);
    int size = 0;
    if (c->kind == SIM_CREATE)
        size = snprintf(
            c->args, room,
            "{\"booking_id\":\"%s\",\"resource_id\":%d,\"customer_id\":1,\"starts_at\":\"2030-01-01T%02d:00:00Z\","
            "\"ends_at\":\"2030-01-01T%02d:00:00Z\"",
            c->key, c->resource, c->from, c->to);
    else if (c->kind == SIM_RESCHEDULE)
        size = snprintf(
            c->args, room,
            "{\"booking_id\":\"%s\",\"starts_at\":\"2030-01-01T%02d:00:00Z\",\"ends_at\":\"2030-01-01T%02d:00:00Z\"",
            c->key, c->from, c->to);
    else
        size = snprintf(c->args, room, "{\"booking_id\":\"%s\"", c->key);
    if (c->kind == SIM_RESCHEDULE && c->resource >= 0)
        size += snprintf(c->args + size, room - (size_t)size, ",\"resource_id\":%d", c->resource);
    if (c->expected > 0 && c->kind != SIM_CREATE)
        size += snprintf(c->args + size, room - (size_t)size, ",\"expected_version\":%d", c->expected);
    (void)snprintf(c->args + size, room - (size_t)size, "%s}", c->flaw == SIM_BAD_ARGS ? ",\"colour\":1" : "");
}

static void add_field(struct sim_command *c, const char *name, const char *value)
{
    c->fields[c->field_count++] = bk_span_of(name);
    c->fields[c->field_count++] = bk_span_of(value);
}

static void write_fields(struct sim_command *c)
{
    add_field(c, "id", c->id_text);
    add_field(c, "kind", c->flaw == SIM_UNKNOWN_KIND ? "booking.paint" : kinds[c->kind]);
    add_field(c, "key", c->key);
    add_field(c, c->flaw == SIM_MALFORMED ? "arguments" : "args", c->args);
    if (c->not_before) {
        (void)snprintf(c->not_before_text, sizeof(c->not_before_text), "%lld", (long long)c->not_before);
        add_field(c, "not_before", c->not_before_text);
    }
    if (c->expires_at) {
        (void)snprintf(c->expires_at_text, sizeof(c->expires_at_text), "%lld", (long long)c->expires_at);
        add_field(c, "expires_at", c->expires_at_text);
    }
}

void sim_make_commands(struct sim_chance *chance, struct sim_command *commands, int count, int bookings, bk_ms begin,
                       bk_ms end)
{
    int earlier[SIM_BOOKINGS] = {0};
    for (int i = 0; i < count; i++) {
        struct sim_command *c = &commands[i];
        *c = (struct sim_command){.id = i, .contents = i};
        c->booking = (int)sim_between(chance, SIM_PRODUCER, 0, bookings - 1);
        c->flaw = flaw_of(chance);
        c->kind = kind_of(chance, earlier[c->booking]++);
        uint64_t luck = sim_draw(chance, SIM_PRODUCER);
        c->resource = luck % 16 == 0 ? SIM_RESOURCES : (int)((luck >> 8) % SIM_RESOURCES);
        if (c->kind == SIM_RESCHEDULE && luck % 3 == 0)
            c->resource = -1;
        c->from = 8 + (int)(luck >> 16 & 3);
        c->to = c->from + 1 + (int)(luck >> 24 & 1);
        c->expected = (luck >> 32) % 6 == 0 ? 1 + (int)(luck >> 40 & 1) : 0;
        c->sent_at = begin + sim_between(chance, SIM_PRODUCER, 0, end - begin);
        if (i > 0 && sim_fault(chance, SIM_reuse, SIM_PRODUCER)) {
            c->id = commands[(luck >> 48) % (uint64_t)i].id;
            c->same_id = true;
        }
        if (sim_fault(chance, SIM_later, SIM_PRODUCER))
            c->not_before = c->sent_at + sim_between(chance, SIM_PRODUCER, -1000, 8000);
        if (sim_fault(chance, SIM_expires, SIM_PRODUCER))
            c->expires_at = c->sent_at + sim_between(chance, SIM_PRODUCER, 0, 6000);
        (void)snprintf(c->id_text, sizeof(c->id_text), "c%d", c->id);
        (void)snprintf(c->key, sizeof(c->key), "%08d-0000-4000-8000-000000000000", c->booking);
        write_args(c);
        write_fields(c);
    }
}

void sim_describe_command(const struct sim_command *c, char *text, size_t room)
{
    static const char *const flaws[] = {"", " MALFORMED", " UNKNOWN KIND", " BAD ARGS", " 22003", " 42804", " KILLER"};
    (void)snprintf(text, room, "id c%d %s booking %d resource %d %d-%d expects %d%s%s", c->id, kinds[c->kind],
                   c->booking, c->resource, c->from, c->to, c->expected, c->same_id ? " ID REUSED" : "",
                   flaws[c->flaw]);
}
