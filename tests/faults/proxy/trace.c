/* trace.c - which messages a conversation consists of, from the one with a text in it until the server is idle. */
#include <string.h>

#include "tests/faults/proxy/proxy.h"

void trace_want(struct trace *trace, const char *from)
{
    trace_deinit(trace);
    bk_text_puts(&trace->from, from);
    trace->state = TRACE_WANTED;
}

void trace_look(struct trace *trace, struct link *link, struct bk_span message)
{
    if (trace->state != TRACE_WANTED || !memmem(message.at, message.size, trace->from.data, trace->from.size))
        return;
    trace->state = TRACE_RUNNING;
    trace->link = link;
}

void trace_note(struct trace *trace, const struct link *link, enum frame_side side, char kind)
{
    if (trace->state != TRACE_RUNNING || trace->link != link)
        return;
    bk_text_safe(&trace->kinds[side], &kind, 1, 1);
    bk_text_putc(&trace->kinds[side], ' ');
    if (side == FRAME_SERVER && frame_idle(&link->talk))
        trace_end(trace, link);
}

void trace_end(struct trace *trace, const struct link *link)
{
    if (trace->state != TRACE_RUNNING || trace->link != link)
        return;
    trace->state = TRACE_DONE;
    trace->link = NULL;
}

bool trace_show(const struct trace *trace, struct bk_text *out)
{
    if (trace->state == TRACE_OFF || trace->state == TRACE_WANTED) {
        bk_text_puts(out, trace->state == TRACE_OFF ? "no trace is wanted" : "no message has had the text yet");
        return false;
    }
    if (trace->state == TRACE_RUNNING)
        bk_text_puts(out, "not idle yet: ");
    bk_text_printf(out, "client %sserver %s", bk_text_string(&trace->kinds[FRAME_CLIENT]),
                   bk_text_string(&trace->kinds[FRAME_SERVER]));
    out->data[--out->size] = '\0'; /* the blank at the end */
    return trace->state == TRACE_DONE;
}

void trace_deinit(struct trace *trace)
{
    bk_text_deinit(&trace->from);
    for (int side = 0; side < FRAME_SIDES; side++)
        bk_text_deinit(&trace->kinds[side]);
    *trace = (struct trace){0};
}
