/* frame.h - where messages begin and end in the two streams of a conversation; pure, and content with any bytes.
 *
 * PostgreSQL: the frontend/backend protocol 3.0. What comes before the first typed message is one message each: the
 * startup packet, a request for encryption or to cancel, and the one byte that answers a request for encryption.
 * Redis: RESP2 and RESP3; an array is one message whatever is nested in it, and so is an inline command.
 * Nothing is stored, so a message may be of any size. Bytes that cannot be of the protocol, and those that follow an
 * agreed encryption, are opaque from there on: each chunk that is scanned counts as one message, as in the protocol raw.
 */
#ifndef FRAME_H
#define FRAME_H

#include "common/base.h"

enum frame_protocol { FRAME_RAW, FRAME_PG, FRAME_RESP };
enum frame_side { FRAME_CLIENT, FRAME_SERVER };
enum { FRAME_SIDES = 2 };

/** The kinds of messages that have no type byte; all others are called by theirs (RESP: by the first byte). */
enum frame_kind {
    FRAME_STARTUP = '^',
    FRAME_ENCRYPTION = '?', /* SSLRequest, GSSENCRequest */
    FRAME_ENCRYPTION_ANSWER = '~',
    FRAME_CANCEL = '!',
    FRAME_INLINE = 'i',
    FRAME_OPAQUE = '.'
};

enum frame_state {
    FRAME_BETWEEN, /* no byte of the next message has been seen */
    FRAME_HEAD,    /* PostgreSQL: in the length, or in length and code of a startup packet */
    FRAME_BODY,    /* `left` bytes remain of a body */
    FRAME_ELEMENT, /* RESP: the type byte of a nested element is next */
    FRAME_NUMBER,  /* RESP: in the length of a string or aggregate */
    FRAME_NEWLINE, /* RESP: the line feed after such a length is next */
    FRAME_LINE,    /* RESP: in a line, up to its line feed */
    FRAME_CLOSED   /* opaque */
};

/** One direction. */
struct frame_scanner {
    enum frame_state state;
    char kind;
    char detail;       /* PostgreSQL: the first byte of the body */
    unsigned head;     /* bytes of the head seen */
    uint64_t number;   /* read so far */
    unsigned digits;   /* of it */
    bool negative;     /* RESP: a length of -1 is null */
    char type;         /* RESP: of the element whose length is read */
    uint64_t left;     /* bytes of the body to come */
    uint64_t elements; /* RESP: to come, the one being read included */
    bool asks;         /* RESP: a client's message that is not empty, and so has an answer */
};

/** A conversation. `{.protocol = ...}` is a valid new one. */
struct frame_talk {
    enum frame_protocol protocol;
    struct frame_scanner scanner[FRAME_SIDES];
    bool started;        /* PostgreSQL: the startup packet was seen, messages are typed now */
    unsigned bytes_due;  /* PostgreSQL: one-byte answers the server owes */
    int64_t answers_due; /* PostgreSQL: ReadyForQuery, Redis: replies, that the server owes */
    bool unsynced;       /* PostgreSQL: an extended query has begun whose Sync has not been seen */
    char transaction;    /* PostgreSQL: the state that the last ReadyForQuery told, I, T or E */
};

/** What a scan found: `size` bytes that belong to one message. */
struct frame_piece {
    size_t size;
    bool begins; /* its first byte is the message's */
    bool ends;   /* its last byte is the message's */
    char kind;   /* of the message, for certain only when it ends */
};

/** Scans bytes that `side` sent, up to the end of a message or of the bytes: `size` > 0, and so is the piece's. */
struct frame_piece frame_scan(struct frame_talk *talk, enum frame_side side, const char *bytes, size_t size);

/** Whether the server has answered everything that was asked and holds no transaction. Never in the protocol raw. To be
 *  asked after a message of the server has ended. */
bool frame_idle(const struct frame_talk *talk);

/** Whether the bytes of `side` are not understood (any more). */
bool frame_opaque(const struct frame_talk *talk, enum frame_side side);

#endif
