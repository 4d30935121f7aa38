/* resolve.c - see resolve.h. The lookup is shared by two: who asks, and the thread that looks. Whoever lets go last frees
 * it, so that a thread that comes back after the deadline writes into nobody's memory. */
#include "common/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct lookup {
    pthread_mutex_t lock;
    pthread_cond_t done;
    int holders;
    bool ended;
    int why; /* of getaddrinfo */
    struct bk_addresses addresses;
    char host[];
};

static void let_go(struct lookup *lookup)
{
    pthread_mutex_lock(&lookup->lock);
    bool last = --lookup->holders == 0;
    pthread_mutex_unlock(&lookup->lock);
    if (!last)
        return;
    (void)pthread_mutex_destroy(&lookup->lock);
    (void)pthread_cond_destroy(&lookup->done);
    free(lookup);
}

static void *look(void *arg)
{
    struct lookup *lookup = arg;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    struct bk_addresses addresses = {0};
    int why = getaddrinfo(lookup->host, NULL, &hints, &found);
    for (const struct addrinfo *at = found; why == 0 && at && addresses.count < BK_ADDRESSES_MOST; at = at->ai_next)
        why = getnameinfo(at->ai_addr, at->ai_addrlen, addresses.list[addresses.count++], BK_ADDRESS_MOST, NULL, 0,
                          NI_NUMERICHOST);
    if (found)
        freeaddrinfo(found);
    pthread_mutex_lock(&lookup->lock);
    lookup->addresses = addresses;
    lookup->why = why;
    lookup->ended = true;
    pthread_cond_signal(&lookup->done);
    pthread_mutex_unlock(&lookup->lock);
    let_go(lookup);
    return NULL;
}

static struct lookup *start(const char *host)
{
    size_t size = strlen(host) + 1;
    struct lookup *lookup = bk_zalloc(sizeof(*lookup) + size);
    memcpy(lookup->host, host, size);
    lookup->holders = 2;
    (void)pthread_mutex_init(&lookup->lock, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&lookup->done, &attr);
    (void)pthread_condattr_destroy(&attr);
    pthread_t thread;
    if (pthread_create(&thread, NULL, look, lookup) != 0) {
        lookup->holders = 1; /* nobody else has it */
        lookup->ended = true;
        lookup->why = EAI_AGAIN;
        return lookup;
    }
    (void)pthread_detach(thread);
    return lookup;
}

static bool is_numeric(const char *host)
{
    unsigned char room[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, room) == 1 || inet_pton(AF_INET6, host, room) == 1;
}

enum bk_status bk_resolve(const char *host, bk_ms deadline, struct bk_addresses *out, struct bk_error *error)
{
    if (is_numeric(host) && strlen(host) < BK_ADDRESS_MOST) {
        out->count = 1;
        (void)snprintf(out->list[0], BK_ADDRESS_MOST, "%s", host);
        return BK_OK;
    }
    struct lookup *lookup = start(host);
    struct timespec until = bk_clock_timespec(deadline);
    int result = 0;
    pthread_mutex_lock(&lookup->lock);
    while (!lookup->ended && result != ETIMEDOUT)
        result = pthread_cond_timedwait(&lookup->done, &lookup->lock, &until);
    enum bk_status status = BK_OK;
    if (!lookup->ended)
        status = bk_fail(error, BK_OUTAGE, "looking up the name \"%s\" took too long", host);
    else if (lookup->why != 0)
        status = bk_fail(error, BK_OUTAGE, "the name \"%s\" cannot be looked up: %s", host, gai_strerror(lookup->why));
    else
        *out = lookup->addresses;
    pthread_mutex_unlock(&lookup->lock);
    let_go(lookup);
    return status;
}
