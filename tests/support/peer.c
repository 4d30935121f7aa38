/* peer.c - see peer.h. */
#include "tests/support/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FILLERS = 4 };

struct peer {
    const struct bk_span *lines;
    size_t count;
    enum peer_end end;
    bool serves;
    int listener;
    int connection; /* -1: none */
    int fillers[FILLERS];
    unsigned port;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    bool over;
};

static bool is_over(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    bool over = peer->over;
    pthread_mutex_unlock(&peer->lock);
    return over;
}

static void wait_for_the_end(struct peer *peer)
{
    struct pollfd gone = {.fd = peer->connection};
    while (!is_over(peer) && poll(&gone, 1, 50) == 0)
        continue;
}

static bool say(struct peer *peer, struct bk_span line)
{
    return send(peer->connection, line.at, line.size, MSG_NOSIGNAL) == (ssize_t)line.size;
}

static void talk(struct peer *peer)
{
    char bytes[65536];
    for (size_t said = 0; recv(peer->connection, bytes, sizeof(bytes), 0) > 0; said++) {
        if (said < peer->count && !say(peer, peer->lines[said]))
            return;
        while (said + 2 == peer->count && peer->end == PEER_REPEATS) {
            if (!say(peer, peer->lines[said + 1]))
                return;
        }
        if (said + 1 < peer->count)
            continue;
        if (peer->end == PEER_CLOSES)
            return;
        if (peer->end == PEER_DEAF)
            wait_for_the_end(peer);
    }
}

static void *serve(void *arg)
{
    struct peer *peer = arg;
    for (;;) {
        int connection = accept(peer->listener, NULL, NULL);
        pthread_mutex_lock(&peer->lock);
        peer->connection = connection;
        pthread_mutex_unlock(&peer->lock);
        if (connection < 0 || is_over(peer))
            return NULL;
        talk(peer);
        pthread_mutex_lock(&peer->lock);
        peer->connection = -1;
        (void)close(connection);
        pthread_mutex_unlock(&peer->lock);
    }
}

static struct peer *listen_anywhere(int backlog)
{
    struct peer *peer = bk_zalloc(sizeof(*peer));
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(where);
    peer->connection = -1;
    peer->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    BK_ASSERT(peer->listener >= 0 && bind(peer->listener, (struct sockaddr *)&where, size) == 0);
    BK_ASSERT(listen(peer->listener, backlog) == 0);
    BK_ASSERT(getsockname(peer->listener, (struct sockaddr *)&where, &size) == 0);
    peer->port = ntohs(where.sin_port);
    (void)pthread_mutex_init(&peer->lock, NULL);
    return peer;
}

struct peer *peer_open(size_t count, const struct bk_span *lines, enum peer_end end)
{
    struct peer *peer = listen_anywhere(16);
    peer->lines = lines;
    peer->count = count;
    peer->end = end;
    peer->serves = true;
    BK_ASSERT(pthread_create(&peer->thread, NULL, serve, peer) == 0);
    return peer;
}

struct peer *peer_open_full(void)
{
    struct peer *peer = listen_anywhere(0);
    struct sockaddr_in where = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons((uint16_t)peer->port)};
    for (size_t i = 0; i < FILLERS; i++) {
        peer->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(peer->fillers[i], (struct sockaddr *)&where, sizeof(where));
    }
    return peer;
}

struct peer *peer_close(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    peer->over = true;
    (void)shutdown(peer->listener, SHUT_RDWR);
    if (peer->connection >= 0)
        (void)shutdown(peer->connection, SHUT_RDWR);
    pthread_mutex_unlock(&peer->lock);
    if (peer->serves)
        (void)pthread_join(peer->thread, NULL);
    for (size_t i = 0; i < FILLERS && !peer->serves; i++)
        (void)close(peer->fillers[i]);
    if (peer->connection >= 0)
        (void)close(peer->connection);
    (void)close(peer->listener);
    (void)pthread_mutex_destroy(&peer->lock);
    free(peer);
    return NULL;
}

unsigned peer_port(const struct peer *peer)
{
    return peer->port;
}
