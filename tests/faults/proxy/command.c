/* command.c - what can be told to the proxy: a table of commands, and their settings. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/faults/proxy/setting.h"
#include "tests/faults/proxy/words.h"

/* --- faults ------------------------------------------------------------------------------------------------------- */

/* What cut, delay and flip have in common; each has settings of its own behind them. */
enum { SIDE, AT, FROM, TIMES, OWN, OWN_2, FAULT_SETTINGS };

#define COMMON_SETTINGS                                                                                                \
    [SIDE] = {.name = "side", .choices = "client|server", .required = true},                                           \
    [AT] = {.name = "at", .least = 1, .most = INT64_MAX, .required = true},                                            \
    [FROM] = {.name = "from", .is_text = true},                                                                        \
    [TIMES] = {.name = "times", .least = 1, .most = INT64_MAX, .number = 1}

static void arm(struct call *call, struct fault fault, const struct setting *settings)
{
    fault.side = (enum frame_side)settings[SIDE].number;
    fault.at = (uint64_t)settings[AT].number;
    fault.left = (uint64_t)settings[TIMES].number;
    if (settings[FROM].text)
        bk_text_puts(&fault.from, settings[FROM].text);
    fault_arm(&call->proxy->faults, fault);
    bk_text_printf(call->answer, "ok armed=%" PRIu64, fault_armed(&call->proxy->faults));
}

static void run_cut(struct call *call)
{
    struct setting settings[FAULT_SETTINGS] = {
        COMMON_SETTINGS, [OWN] = {.name = "when", .choices = "before|after", .required = true},
        [OWN_2] = {.name = "how", .choices = "rst|fin|silence", .required = true}};
    if (!setting_read_all(call, settings, FAULT_SETTINGS))
        return;
    arm(call,
        (struct fault){
            .kind = FAULT_CUT, .after = settings[OWN].number == 1, .end = (enum fault_end)settings[OWN_2].number},
        settings);
}

static void run_delay(struct call *call)
{
    struct setting settings[OWN + 1] = {
        COMMON_SETTINGS, [OWN] = {.name = "ms", .least = 1, .most = INT32_MAX, .required = true}};
    if (setting_read_all(call, settings, OWN + 1))
        arm(call, (struct fault){.kind = FAULT_DELAY, .delay_ms = settings[OWN].number}, settings);
}

static void run_flip(struct call *call)
{
    struct setting settings[OWN + 1] = {COMMON_SETTINGS, [OWN] = {.name = "bit", .most = 7}};
    if (setting_read_all(call, settings, OWN + 1))
        arm(call, (struct fault){.kind = FAULT_FLIP, .bit = (unsigned)settings[OWN].number}, settings);
}

/* --- what holds for all connections ------------------------------------------------------------------------------- */

static void run_latency(struct call *call)
{
    int64_t latency = 0;
    int64_t jitter = 0;
    if (!setting_read_number(call, "MS", call->words[0], 0, INT32_MAX, &latency) ||
        (call->count > 1 && !setting_read_number(call, "JITTER", call->words[1], 0, INT32_MAX, &jitter)))
        return;
    call->proxy->latency_ms = latency;
    call->proxy->jitter_ms = jitter;
    bk_text_puts(call->answer, "ok");
}

static void run_bandwidth(struct call *call)
{
    if (setting_read_number(call, "BYTES_PER_S", call->words[0], 0, INT32_MAX, &call->proxy->bandwidth))
        bk_text_puts(call->answer, "ok");
}

static void run_slice(struct call *call)
{
    int64_t slice = 0;
    if (!setting_read_number(call, "N", call->words[0], 0, INT32_MAX, &slice))
        return;
    call->proxy->slice = (size_t)slice;
    bk_text_puts(call->answer, "ok");
}

static void set_blackhole(struct call *call, bool up, bool down)
{
    struct proxy *proxy = call->proxy;
    const bool wanted[FRAME_SIDES] = {[FRAME_CLIENT] = up, [FRAME_SERVER] = down};
    for (int side = 0; side < FRAME_SIDES; side++) {
        bool over = proxy->blackhole[side] && !wanted[side];
        proxy->blackhole[side] = wanted[side];
        for (struct link *link = over ? proxy->links : NULL; link; link = link->next)
            link_unhold(proxy, link, (enum frame_side)side, call->now);
    }
}

static void run_blackhole(struct call *call)
{
    enum { UP, DOWN, BOTH };
    int64_t chosen = 0;
    if (!setting_read_choice(call, "blackhole", call->words[0], "up|down|both|off", &chosen))
        return;
    set_blackhole(call, chosen == UP || chosen == BOTH, chosen == DOWN || chosen == BOTH);
    bk_text_puts(call->answer, "ok");
}

static void run_refuse(struct call *call)
{
    int64_t chosen = 0;
    if (!setting_read_choice(call, "refuse", call->words[0], "on|off", &chosen))
        return;
    call->proxy->refusing = chosen == 0;
    bk_text_puts(call->answer, "ok");
}

static void run_upstream(struct call *call)
{
    struct net_address address;
    struct bk_error error = {0};
    if (net_address_parse(call->words[0], false, &address, &error) != BK_OK) {
        setting_refuse(call, "%s", error.text);
        return;
    }
    call->proxy->upstream = address;
    bk_text_puts(call->answer, "ok");
}

static bool is_open(const struct link *link)
{
    return link->state != LINK_DEAD && link->state != LINK_LINGERING;
}

static void run_reset(struct call *call)
{
    unsigned count = 0;
    for (struct link *link = call->proxy->links; link; link = link->next) {
        count += is_open(link);
        link_reset(call->proxy, link);
    }
    bk_text_printf(call->answer, "ok %u", count);
}

static void run_close(struct call *call)
{
    unsigned count = 0;
    for (struct link *link = call->proxy->links; link; link = link->next) {
        count += is_open(link);
        link_finish(call->proxy, link, call->now);
    }
    bk_text_printf(call->answer, "ok %u", count);
}

static void run_heal(struct call *call)
{
    struct proxy *proxy = call->proxy;
    set_blackhole(call, false, false);
    for (struct link *link = proxy->links; link; link = link->next)
        link_heal(proxy, link);
    fault_list_clear(&proxy->faults);
    proxy->latency_ms = proxy->jitter_ms = 0;
    proxy->bandwidth = 0;
    proxy->slice = 0;
    proxy->refusing = false;
    bk_text_puts(call->answer, "ok");
}

/* --- what is known ------------------------------------------------------------------------------------------------ */

static void run_stats(struct call *call)
{
    const struct proxy *proxy = call->proxy;
    uint64_t open = 0;
    uint64_t held = 0;
    for (const struct link *link = proxy->links; link; link = link->next) {
        open += is_open(link);
        held += link_held(link);
    }
    bk_text_printf(call->answer,
                   "ok connections=%" PRIu64 " open=%" PRIu64 " fired=%" PRIu64 " armed=%" PRIu64
                   " client_messages=%" PRIu64 " server_messages=%" PRIu64 " client_bytes=%" PRIu64
                   " server_bytes=%" PRIu64 " held=%" PRIu64 " refused=%" PRIu64,
                   proxy->connections, open, proxy->fired, fault_armed(&proxy->faults), proxy->messages[FRAME_CLIENT],
                   proxy->messages[FRAME_SERVER], proxy->bytes[FRAME_CLIENT], proxy->bytes[FRAME_SERVER], held,
                   proxy->refused);
}

static void run_trace(struct call *call)
{
    struct trace *trace = &call->proxy->trace;
    if (call->proxy->protocol == FRAME_RAW) {
        setting_refuse(call, "raw has no messages");
        return;
    }
    if (strcmp(call->words[0], "show") == 0) {
        bk_text_puts(call->answer, "ok ");
        BK_AUTO_TEXT shown = {0};
        if (trace_show(trace, &shown))
            bk_text_add(call->answer, shown.data, shown.size);
        else
            setting_refuse(call, "%s", bk_text_string(&shown));
        return;
    }
    struct setting from = {.name = "from", .is_text = true, .required = true};
    if (!setting_read_all(call, &from, 1))
        return;
    trace_want(trace, from.text);
    bk_text_puts(call->answer, "ok");
}

static void run_wait_fired(struct call *call)
{
    int64_t fired = 0;
    int64_t ms = 0;
    if (!setting_read_number(call, "N", call->words[0], 0, INT64_MAX, &fired) ||
        !setting_read_number(call, "MS", call->words[1], 0, INT32_MAX, &ms))
        return;
    *call->wait = (struct command_wait){.waiting = true, .fired = (uint64_t)fired, .until = call->now + ms};
}

static void run_quit(struct call *call)
{
    call->proxy->quitting = true;
    bk_text_puts(call->answer, "ok");
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

enum { ANY = 9 }; /* words: settings tell by themselves */

static const struct command {
    const char *name;
    void (*run)(struct call *call);
    size_t least; /* words */
    size_t most;
    const char *usage;
    const char *meaning;
} commands[] = {
    {"cut", run_cut, 0, ANY, "side=client|server at=K when=before|after how=rst|fin|silence [from=TEXT] [times=N]",
     "ends a connection at its K-th message; silence forwards nothing and closes nothing any more"},
    {"delay", run_delay, 0, ANY, "side=client|server at=K ms=N [from=TEXT] [times=N]",
     "holds the K-th message and what is behind it; the server gets it even if the client has left"},
    {"flip", run_flip, 0, ANY, "side=client|server at=BYTE [bit=0..7] [from=TEXT] [times=N]", "flips one bit"},
    {"latency", run_latency, 1, 2, "MS [JITTER]", "each way takes MS and at random up to JITTER more; order is kept"},
    {"bandwidth", run_bandwidth, 1, 1, "BYTES_PER_S", "of each direction of each connection; 0: any"},
    {"slice", run_slice, 1, 1, "N", "writes have at most N bytes; 0: any"},
    {"blackhole", run_blackhole, 1, 1, "up|down|both|off",
     "holds what goes to the server, to the client, both; off delivers it, but nothing of a client that has left"},
    {"refuse", run_refuse, 1, 1, "on|off", "resets new connections"},
    {"reset", run_reset, 0, 0, "", "resets all connections; says how many"},
    {"close", run_close, 0, 0, "", "closes all connections in order; says how many"},
    {"upstream", run_upstream, 1, 1, "HOST:PORT|unix:PATH", "where new connections go"},
    {"heal", run_heal, 0, 0, "", "everything off and disarmed; what is held goes on, silent connections are reset"},
    {"stats", run_stats, 0, 0, "", "connections, open, fired, armed, messages and bytes of each side, held, refused"},
    {"trace", run_trace, 1, 1, "from=TEXT | show",
     "the kinds of the messages from one with TEXT until all is answered"},
    {"wait-fired", run_wait_fired, 2, 2, "N MS", "answers as soon as N faults have fired, an error after MS"},
    {"quit", run_quit, 0, 0, "", "ends the proxy"},
};

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < BK_COUNT(commands); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

void command_run(struct proxy *proxy, char *line, struct bk_text *answer, struct command_wait *wait, bk_ms now)
{
    char **words = NULL;
    size_t count = 0;
    BK_AUTO_TEXT own = {0};
    struct call call = {.proxy = proxy, .answer = &own, .wait = wait, .now = now};
    bool whole = words_split(line, &words, &count);
    const struct command *command = whole && count > 0 ? find_command(words[0]) : NULL;
    call.words = words + 1;
    call.count = count > 0 ? count - 1 : 0;
    if (!whole)
        setting_refuse(&call, "a quotation mark is missing");
    else if (count == 0)
        setting_refuse(&call, "a command is missing");
    else if (!command)
        setting_refuse(&call, "unknown command \"%.60s\"", words[0]);
    else if (call.count < command->least || call.count > command->most)
        setting_refuse(&call, "usage: %s%s%s", command->name, *command->usage ? " " : "", command->usage);
    else
        command->run(&call);
    free(words);
    bk_text_add(answer, bk_text_string(&own), own.size);
}

void command_help(struct bk_text *text)
{
    for (size_t i = 0; i < BK_COUNT(commands); i++)
        bk_text_printf(text, "  %s%s%s\n      %s\n", commands[i].name, *commands[i].usage ? " " : "", commands[i].usage,
                       commands[i].meaning);
}
