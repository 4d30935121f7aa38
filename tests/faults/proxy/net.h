/* net.h - addresses and sockets that never block. */
#ifndef NET_H
#define NET_H

#include <sys/socket.h>

#include "common/error.h"
#include "common/text.h"

struct net_address {
    struct sockaddr_storage bytes;
    socklen_t size;
};

/** Reads HOST:PORT, [HOST]:PORT or unix:PATH; with `host_optional` also PORT, for 127.0.0.1. A host that is a name is
 *  looked up at once. Errors: BK_INVALID. */
enum bk_status net_address_parse(const char *text, bool host_optional, struct net_address *out, struct bk_error *error);
/** The address of a Unix socket. Errors: BK_INVALID for a path that is empty or too long. */
enum bk_status net_address_unix(const char *path, struct net_address *out, struct bk_error *error);
/** Appends an address as it is written. */
void net_address_show(struct bk_text *text, const struct net_address *address);
bool net_address_is_unix(const struct net_address *address);

/** Listens. The socket of a Unix address that was left behind by a program that is gone is replaced.
 *  Errors: BK_OUTAGE. The caller closes *fd. */
enum bk_status net_listen(const struct net_address *address, int *fd, struct bk_error *error);
/** Where a socket is bound. */
void net_bound(int fd, struct net_address *out);
/** Takes a connection; -1 with errno if there is none. The caller closes it. */
int net_accept(int listener);
/** Begins to connect; the socket is writable when that has ended, well or not. -1 with errno if it fails at once (EAGAIN
 *  for a Unix socket: later). The caller closes it. */
int net_connect(const struct net_address *address);
/** The error that is pending on a socket, or 0. */
int net_error(int fd);
/** How many written bytes the other side's kernel has not confirmed; 0 where that is not known. */
size_t net_unconfirmed(int fd);
/** Closes so that the other side gets a reset (TCP). -1 is fine. */
void net_reset(int fd);
/** Closes; -1 is fine. */
void net_close(int fd);

#endif
