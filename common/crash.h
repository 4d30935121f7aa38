/* crash.h - points at which a test build dies on demand, to show that it may die there.
 *
 * With BOOKING_TEST_HOOKS the environment's BOOKING_CRASH_AT=name:n makes the process SIGKILL itself the n-th time that
 * one of its threads passes the point of that name, and BOOKING_STOP_AT=name:n makes it SIGSTOP itself, so that what others
 * do meanwhile can be seen. Every other build has none of this.
 *
 *   taken        jobs have come from Redis, nothing has been looked at
 *   decided      what can't run is decided, the rest is about to go to the database
 *   sent         the batch has left for the database, nothing has come back
 *   answered     the database has committed, Redis knows nothing of it
 *   settle_sent  the fates have left for Redis, nothing has come back
 *   settled      Redis has answered, the batch is not forgotten yet
 *   beat         the lease has just been prolonged
 *   leave        asked to stop, the queue not left yet
 */
#ifndef BK_CRASH_H
#define BK_CRASH_H

#ifdef BOOKING_TEST_HOOKS

/** This thread passes a point. Any thread. */
void bk_crash_point(const char *name);
/** The next request that this thread sends to a server has left when it passes `name` (a static string); NULL: no point.
 *  Whoever writes to the socket does not know what it is that it writes. */
void bk_crash_name_request(const char *name);
/** A request of this thread has left. */
void bk_crash_request_sent(void);

#else

static inline void bk_crash_point(const char *name)
{
    (void)name;
}
static inline void bk_crash_name_request(const char *name)
{
    (void)name;
}
static inline void bk_crash_request_sent(void)
{
}

#endif
#endif
