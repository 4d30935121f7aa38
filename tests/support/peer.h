/* peer.h - a peer that misbehaves as no real server can be made to: it says bytes that a test has chosen. */
#ifndef TEST_PEER_H
#define TEST_PEER_H

#include "common/base.h"

struct peer;

/** What it does when it has said all it has to say. */
enum peer_end {
    PEER_SILENT, /* for as long as the other side stays */
    PEER_CLOSES, /* the connection */
    PEER_DEAF,   /* stays, and takes nothing more */
    PEER_REPEATS /* its last line, unasked, for as long as the other side takes it */
};

/** Listens on a free port of 127.0.0.1 and serves one connection after the other: whenever something comes it says the
 *  next of its lines, and after the last one does as `end` says. The bytes are lent. */
struct peer *peer_open(size_t count, const struct bk_span *lines, enum peer_end end);
/** One whose queue of connections is full: nobody gets in, nobody is refused. */
struct peer *peer_open_full(void);
/** Ends it and whatever it has open; returns NULL. */
struct peer *peer_close(struct peer *peer);

unsigned peer_port(const struct peer *peer);

#endif
