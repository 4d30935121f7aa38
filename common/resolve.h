/* resolve.h - name lookup with a deadline.
 *
 * The resolver of the C library has no deadline of ours: a name server that is silent holds its caller for many seconds.
 * So the lookup happens in a thread of its own that nobody has to wait for.
 */
#ifndef BK_RESOLVE_H
#define BK_RESOLVE_H

#include "common/clock.h"
#include "common/error.h"

enum { BK_ADDRESS_MOST = 64, BK_ADDRESSES_MOST = 8 };

/** Numeric addresses of one host, in the order that the system prefers. */
struct bk_addresses {
    size_t count;
    char list[BK_ADDRESSES_MOST][BK_ADDRESS_MOST];
};

/** The addresses of `host` (itself, if it is one) before `deadline` (monotonic ms), at least one.
 *  Errors: BK_OUTAGE, saying why. Any thread. */
enum bk_status bk_resolve(const char *host, bk_ms deadline, struct bk_addresses *out, struct bk_error *error);

#endif
