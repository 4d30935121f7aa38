/* control.c - the control socket: a line in, a line out, in order, for as many at once as want to. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/faults/proxy/proxy.h"

/* Somebody who is connected. */
struct teller {
    int fd;
    struct bk_text in;
    struct bk_text out;
    size_t written; /* of out */
    struct command_wait wait;
    bool ended; /* says no more */
    struct teller *next;
};

struct control {
    int listener;
    char *path;
    struct teller *tellers; /* the latest first */
};

enum bk_status control_open(struct control **out, const char *path, struct bk_error *error)
{
    struct net_address address;
    int listener = -1;
    enum bk_status status = net_address_unix(path, &address, error);
    if (status == BK_OK)
        status = net_listen(&address, &listener, error);
    if (status != BK_OK)
        return status;
    struct control *control = bk_zalloc(sizeof(*control));
    control->listener = listener;
    control->path = bk_strdup(path);
    *out = control;
    return BK_OK;
}

static void free_teller(struct teller *teller)
{
    net_close(teller->fd);
    bk_text_deinit(&teller->in);
    bk_text_deinit(&teller->out);
    free(teller);
}

struct control *control_close(struct control *control)
{
    if (!control)
        return NULL;
    while (control->tellers) {
        struct teller *teller = control->tellers;
        control->tellers = teller->next;
        free_teller(teller);
    }
    net_close(control->listener);
    (void)unlink(control->path);
    free(control->path);
    free(control);
    return NULL;
}

size_t control_poll_count(const struct control *control)
{
    size_t count = 1;
    for (const struct teller *teller = control->tellers; teller; teller = teller->next)
        count++;
    return count;
}

void control_poll(const struct control *control, struct pollfd *polls)
{
    *polls++ = (struct pollfd){.fd = control->listener, .events = POLLIN};
    for (const struct teller *teller = control->tellers; teller; teller = teller->next) {
        short events = teller->ended ? 0 : POLLIN;
        if (teller->written < teller->out.size)
            events |= POLLOUT;
        *polls++ = (struct pollfd){.fd = teller->fd, .events = events};
    }
}

static void hear(struct teller *teller)
{
    char chunk[4096];
    ssize_t got = recv(teller->fd, chunk, sizeof(chunk), 0);
    if (got > 0)
        bk_text_add(&teller->in, chunk, (size_t)got);
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        teller->ended = true;
}

/* Runs the lines that are complete, up to one whose answer has to wait. */
static void obey(struct teller *teller, struct proxy *proxy, bk_ms now)
{
    char *end = NULL;
    while (!teller->wait.waiting && teller->in.size > 0 && (end = memchr(teller->in.data, '\n', teller->in.size))) {
        *end = '\0';
        proxy_log(proxy, "told: %s", teller->in.data);
        command_run(proxy, teller->in.data, &teller->out, &teller->wait, now);
        if (!teller->wait.waiting)
            bk_text_putc(&teller->out, '\n');
        size_t used = (size_t)(end + 1 - teller->in.data);
        teller->in.size -= used;
        memmove(teller->in.data, end + 1, teller->in.size + 1);
    }
}

static void look_at_wait(struct teller *teller, const struct proxy *proxy, bk_ms now)
{
    unsigned long long fired = proxy->fired;
    if (!teller->wait.waiting || (fired < teller->wait.fired && now < teller->wait.until))
        return;
    teller->wait.waiting = false;
    if (fired >= teller->wait.fired)
        bk_text_printf(&teller->out, "ok fired=%llu\n", fired);
    else
        bk_text_printf(&teller->out, "error fired=%llu, not %llu, in the time given\n", fired,
                       (unsigned long long)teller->wait.fired);
}

static void speak(struct teller *teller)
{
    while (teller->written < teller->out.size) {
        ssize_t written =
            send(teller->fd, teller->out.data + teller->written, teller->out.size - teller->written, MSG_NOSIGNAL);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN)
            return;
        if (written < 0) {
            teller->ended = true;
            break;
        }
        teller->written += (size_t)written;
    }
    bk_text_clear(&teller->out);
    teller->written = 0;
}

static void welcome(struct control *control)
{
    int fd = net_accept(control->listener);
    if (fd < 0)
        return;
    struct teller *teller = bk_zalloc(sizeof(*teller));
    teller->fd = fd;
    teller->next = control->tellers;
    control->tellers = teller;
}

void control_step(struct control *control, struct proxy *proxy, const struct pollfd *polls, bk_ms now)
{
    short news = polls++->revents;
    for (struct teller **at = &control->tellers; *at;) {
        struct teller *teller = *at;
        short events = polls++->revents;
        if (events & POLLIN || (events & (POLLHUP | POLLERR) && !teller->ended))
            hear(teller);
        bool gone = (events & (POLLHUP | POLLERR)) && teller->ended;
        obey(teller, proxy, now);
        look_at_wait(teller, proxy, now);
        obey(teller, proxy, now); /* what stood behind the wait */
        speak(teller);
        if (gone || (teller->ended && !teller->wait.waiting && teller->out.size == 0)) {
            *at = teller->next;
            free_teller(teller);
        } else {
            at = &teller->next;
        }
    }
    if (news & POLLIN)
        welcome(control);
}

bk_ms control_wake(const struct control *control)
{
    bk_ms wake = -1;
    for (const struct teller *teller = control->tellers; teller; teller = teller->next) {
        if (teller->wait.waiting && (wake < 0 || teller->wait.until < wake))
            wake = teller->wait.until;
    }
    return wake;
}
