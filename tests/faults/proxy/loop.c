/* loop.c - the loop that everything else is called from. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "tests/faults/proxy/proxy.h"

enum { ACCEPT_AGAIN_MS = 100 };

/* What is polled: signals, the listener, the control socket and its connections, and two sockets for each link. */
struct poll_set {
    struct pollfd *list;
    size_t room;
};

enum { POLL_SIGNALS, POLL_LISTENER, POLL_CONTROL };

static size_t fill(struct poll_set *set, const struct proxy *proxy, const struct control *control, int signals,
                   bk_ms now)
{
    size_t own = POLL_CONTROL + control_poll_count(control);
    size_t count = own;
    for (const struct link *link = proxy->links; link; link = link->next)
        count += FRAME_SIDES;
    if (!set->list || count > set->room) {
        set->room = count * 2;
        set->list = bk_realloc(set->list, set->room * sizeof(*set->list));
    }
    set->list[POLL_SIGNALS] = (struct pollfd){.fd = signals, .events = POLLIN};
    set->list[POLL_LISTENER] = (struct pollfd){.fd = now < proxy->accept_at ? -1 : proxy->listener, .events = POLLIN};
    control_poll(control, set->list + POLL_CONTROL);
    struct pollfd *at = set->list + own;
    for (const struct link *link = proxy->links; link; link = link->next) {
        for (int side = 0; side < FRAME_SIDES; side++, at++) {
            int events = link_events(link, (enum frame_side)side);
            *at = (struct pollfd){.fd = events < 0 ? -1 : link->fd[side], .events = (short)(events < 0 ? 0 : events)};
        }
    }
    return count;
}

static void sooner(bk_ms *wake, bk_ms other)
{
    if (other >= 0 && (*wake < 0 || other < *wake))
        *wake = other;
}

static int timeout(const struct proxy *proxy, const struct control *control, bk_ms now)
{
    bk_ms wake = control_wake(control);
    if (now < proxy->accept_at)
        sooner(&wake, proxy->accept_at);
    for (const struct link *link = proxy->links; link; link = link->next)
        sooner(&wake, link_wake(proxy, link, now));
    return wake < 0 ? -1 : bk_clock_left(wake);
}

static void accept_one(struct proxy *proxy, bk_ms now)
{
    int fd = net_accept(proxy->listener);
    if (fd >= 0 && proxy->refusing) {
        proxy->refused++;
        net_reset(fd);
    } else if (fd >= 0) {
        link_open(proxy, fd, now);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        proxy_log(proxy, "accept: %s", strerror(errno));
        proxy->accept_at = now + ACCEPT_AGAIN_MS;
    }
}

/* One turn. What is told happens before what arrives, and that before what is new. */
static void turn(struct poll_set *set, struct proxy *proxy, struct control *control, int signals)
{
    bk_ms now = bk_clock_now();
    size_t own = POLL_CONTROL + control_poll_count(control);
    size_t count = fill(set, proxy, control, signals, now);
    if (poll(set->list, (nfds_t)count, timeout(proxy, control, now)) < 0) {
        BK_ASSERT(errno == EINTR || errno == EAGAIN || errno == ENOMEM);
        return;
    }
    now = bk_clock_now();
    if (set->list[POLL_SIGNALS].revents)
        proxy->quitting = true;
    control_step(control, proxy, set->list + POLL_CONTROL, now);
    const struct pollfd *at = set->list + own;
    for (struct link *link = proxy->links; link; link = link->next, at += FRAME_SIDES) {
        const short events[FRAME_SIDES] = {at[FRAME_CLIENT].revents, at[FRAME_SERVER].revents};
        link_step(proxy, link, events, now);
    }
    if (set->list[POLL_LISTENER].revents)
        accept_one(proxy, now);
    link_sweep(proxy);
}

static int signal_descriptor(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void announce(const struct proxy *proxy)
{
    struct net_address bound;
    BK_AUTO_TEXT shown = {0};
    net_bound(proxy->listener, &bound);
    net_address_show(&shown, &bound);
    (void)printf("listening on %s\n", bk_text_string(&shown));
    (void)fflush(stdout);
    proxy_log(proxy, "listening on %s", bk_text_string(&shown));
}

void proxy_run(struct proxy *proxy, struct control *control)
{
    struct poll_set set = {0};
    int signals = signal_descriptor();
    BK_ASSERT(signals >= 0);
    announce(proxy);
    while (!proxy->quitting)
        turn(&set, proxy, control, signals);
    proxy_log(proxy, "ending");
    for (struct link *link = proxy->links; link; link = link->next)
        link_reset(proxy, link);
    link_sweep(proxy);
    fault_list_clear(&proxy->faults);
    trace_deinit(&proxy->trace);
    net_close(signals);
    free(set.list);
}
