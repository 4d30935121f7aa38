/* frame.c - see frame.h.
 *
 * The scanner is a state machine over bytes, so that it does not matter how the stream is cut into chunks. Sources: the
 * chapter "Frontend/Backend Protocol" of PostgreSQL's documentation, and the RESP protocol specification of Redis.
 */
#include "tests/faults/proxy/frame.h"

#include <string.h>

enum {
    PG_STARTUP_HEAD = 8, /* length and code */
    PG_HEAD = 4,         /* length */
    PG_STARTUP_MOST = 10000,
    PG_CODE_CANCEL = 80877102,
    PG_CODE_SSL = 80877103,
    PG_CODE_GSS = 80877104,
    RESP_DIGITS_MOST = 15
};

static void make_opaque(struct frame_scanner *scanner)
{
    scanner->state = FRAME_CLOSED;
    scanner->kind = FRAME_OPAQUE;
}

static void begin_body(struct frame_scanner *scanner, uint64_t size, bool *ends)
{
    scanner->left = size;
    scanner->state = FRAME_BODY;
    *ends = size == 0;
}

/* --- PostgreSQL --------------------------------------------------------------------------------------------------- */

static void pg_begin(struct frame_talk *talk, enum frame_side side, char byte, bool *ends)
{
    struct frame_scanner *scanner = &talk->scanner[side];
    scanner->detail = '\0';
    scanner->head = 0;
    scanner->number = 0;
    scanner->state = FRAME_HEAD;
    if (side == FRAME_SERVER && talk->bytes_due > 0) {
        talk->bytes_due--;
        if (byte == 'E') { /* the answer of servers that are older than the request */
            scanner->kind = byte;
            return;
        }
        scanner->kind = FRAME_ENCRYPTION_ANSWER;
        scanner->detail = byte;
        *ends = true;
    } else if (side == FRAME_CLIENT && !talk->started) {
        scanner->kind = FRAME_STARTUP;
        scanner->number = (unsigned char)byte;
        scanner->head = 1;
    } else {
        scanner->kind = byte;
    }
}

static void pg_startup(struct frame_talk *talk, struct frame_scanner *scanner, bool *ends)
{
    uint64_t size = scanner->number >> 32;
    uint32_t code = (uint32_t)scanner->number;
    if (size < PG_STARTUP_HEAD || size > PG_STARTUP_MOST) {
        make_opaque(scanner);
        return;
    }
    if (code == PG_CODE_SSL || code == PG_CODE_GSS) {
        scanner->kind = FRAME_ENCRYPTION;
        talk->bytes_due++;
    } else if (code == PG_CODE_CANCEL) {
        scanner->kind = FRAME_CANCEL;
    } else {
        talk->started = true;
        talk->answers_due++;
    }
    begin_body(scanner, size - PG_STARTUP_HEAD, ends);
}

static void pg_head(struct frame_talk *talk, enum frame_side side, char byte, bool *ends)
{
    struct frame_scanner *scanner = &talk->scanner[side];
    bool startup = side == FRAME_CLIENT && !talk->started;
    scanner->number = scanner->number << 8 | (unsigned char)byte;
    if (++scanner->head < (startup ? PG_STARTUP_HEAD : PG_HEAD))
        return;
    if (startup)
        pg_startup(talk, scanner, ends);
    else if (scanner->number < PG_HEAD || scanner->number > INT32_MAX)
        make_opaque(scanner);
    else
        begin_body(scanner, scanner->number - PG_HEAD, ends);
}

static void pg_end(struct frame_talk *talk, enum frame_side side)
{
    const struct frame_scanner *scanner = &talk->scanner[side];
    if (side == FRAME_SERVER && scanner->kind == FRAME_ENCRYPTION_ANSWER && scanner->detail != 'N') {
        make_opaque(&talk->scanner[FRAME_CLIENT]);
        make_opaque(&talk->scanner[FRAME_SERVER]);
    } else if (side == FRAME_SERVER && scanner->kind == 'Z') {
        talk->answers_due--;
        talk->transaction = scanner->detail;
    } else if (side == FRAME_CLIENT && scanner->kind && strchr("QSF", scanner->kind)) {
        talk->answers_due++;
        talk->unsynced = false;
    } else if (side == FRAME_CLIENT && scanner->kind && strchr("PBDECH", scanner->kind)) {
        talk->unsynced = true;
    }
}

/* --- RESP --------------------------------------------------------------------------------------------------------- */

static void resp_element(struct frame_scanner *scanner, char byte)
{
    scanner->type = byte;
    scanner->number = 0;
    scanner->digits = 0;
    scanner->negative = false;
    if (byte && strchr("+-:_#,(", byte))
        scanner->state = FRAME_LINE;
    else if (byte && strchr("$=!*~>%|", byte))
        scanner->state = FRAME_NUMBER;
    else
        make_opaque(scanner);
}

static void resp_element_done(struct frame_scanner *scanner, bool *ends)
{
    scanner->elements--;
    scanner->state = FRAME_ELEMENT;
    *ends = scanner->elements == 0;
}

static void resp_line(struct frame_scanner *scanner, char byte, bool *ends)
{
    scanner->asks = scanner->asks || !strchr(" \t\r\n", byte);
    if (byte == '\n')
        resp_element_done(scanner, ends);
}

static void resp_begin(struct frame_scanner *scanner, enum frame_side side, char byte, bool *ends)
{
    scanner->kind = byte;
    scanner->elements = 1;
    scanner->asks = false;
    if (side == FRAME_SERVER || byte == '*') {
        resp_element(scanner, byte);
        return;
    }
    scanner->kind = FRAME_INLINE;
    scanner->state = FRAME_LINE;
    resp_line(scanner, byte, ends);
}

static void resp_number(struct frame_scanner *scanner, char byte)
{
    if (byte == '-' && scanner->digits == 0 && !scanner->negative) {
        scanner->negative = true;
    } else if (byte >= '0' && byte <= '9' && scanner->digits < RESP_DIGITS_MOST) {
        scanner->number = scanner->number * 10 + (uint64_t)(byte - '0');
        scanner->digits++;
    } else if (byte == '\r' && scanner->digits > 0) {
        scanner->state = FRAME_NEWLINE;
    } else {
        make_opaque(scanner);
    }
}

/* The length has been read, and what it says begins. */
static void resp_length(struct frame_scanner *scanner, bool *ends)
{
    uint64_t number = scanner->negative ? 0 : scanner->number;
    bool text = strchr("$=!", scanner->type) != NULL;
    scanner->asks = scanner->asks || number > 0;
    if (text && !scanner->negative) {
        scanner->left = number + 2; /* and CR LF */
        scanner->state = FRAME_BODY;
        return;
    }
    if (!text)
        scanner->elements += scanner->type == '%' || scanner->type == '|' ? 2 * number : number;
    if (scanner->type == '|')
        scanner->elements++; /* attributes stand before the element and are none */
    resp_element_done(scanner, ends);
}

static void resp_end(struct frame_talk *talk, enum frame_side side)
{
    if (side == FRAME_CLIENT)
        talk->answers_due += talk->scanner[side].asks;
    else if (talk->scanner[side].kind != '>') /* pushed, not asked for */
        talk->answers_due--;
}

/* --- both --------------------------------------------------------------------------------------------------------- */

static void take_byte(struct frame_talk *talk, enum frame_side side, char byte, bool *ends)
{
    struct frame_scanner *scanner = &talk->scanner[side];
    switch (scanner->state) {
    case FRAME_BETWEEN:
        if (talk->protocol == FRAME_PG)
            pg_begin(talk, side, byte, ends);
        else
            resp_begin(scanner, side, byte, ends);
        break;
    case FRAME_HEAD:
        pg_head(talk, side, byte, ends);
        break;
    case FRAME_ELEMENT:
        resp_element(scanner, byte);
        break;
    case FRAME_NUMBER:
        resp_number(scanner, byte);
        break;
    case FRAME_NEWLINE:
        if (byte == '\n')
            resp_length(scanner, ends);
        else
            make_opaque(scanner);
        break;
    case FRAME_LINE:
        resp_line(scanner, byte, ends);
        break;
    case FRAME_BODY:
    case FRAME_CLOSED:
        break; /* frame_scan takes many at once */
    }
}

/* Takes what it can of a body. */
static size_t take_body(struct frame_talk *talk, struct frame_scanner *scanner, const char *bytes, size_t size,
                        bool *ends)
{
    size_t taken = scanner->left < size ? (size_t)scanner->left : size;
    if (talk->protocol == FRAME_PG && !scanner->detail && taken > 0)
        scanner->detail = bytes[0];
    scanner->left -= taken;
    if (scanner->left > 0)
        return taken;
    if (talk->protocol == FRAME_RESP)
        resp_element_done(scanner, ends);
    else
        *ends = true;
    return taken;
}

static void end_message(struct frame_talk *talk, enum frame_side side)
{
    struct frame_scanner *scanner = &talk->scanner[side];
    scanner->state = FRAME_BETWEEN;
    if (talk->protocol == FRAME_PG)
        pg_end(talk, side);
    else
        resp_end(talk, side);
}

struct frame_piece frame_scan(struct frame_talk *talk, enum frame_side side, const char *bytes, size_t size)
{
    struct frame_scanner *scanner = &talk->scanner[side];
    bool begins = scanner->state == FRAME_BETWEEN || scanner->state == FRAME_CLOSED;
    if (talk->protocol == FRAME_RAW)
        make_opaque(scanner);
    bool ends = false;
    size_t at = 0;
    while (at < size && !ends && scanner->state != FRAME_CLOSED) {
        if (scanner->state == FRAME_BODY)
            at += take_body(talk, scanner, bytes + at, size - at, &ends);
        else
            take_byte(talk, side, bytes[at++], &ends);
    }
    if (scanner->state == FRAME_CLOSED)
        return (struct frame_piece){size, begins, true, FRAME_OPAQUE};
    char kind = scanner->kind;
    if (ends)
        end_message(talk, side);
    return (struct frame_piece){at, begins, ends, kind};
}

bool frame_idle(const struct frame_talk *talk)
{
    if (frame_opaque(talk, FRAME_CLIENT) || frame_opaque(talk, FRAME_SERVER) || talk->answers_due > 0)
        return false;
    if (talk->protocol == FRAME_RESP)
        return true;
    return talk->scanner[FRAME_SERVER].kind == 'Z' && talk->transaction == 'I' && !talk->unsynced;
}

bool frame_opaque(const struct frame_talk *talk, enum frame_side side)
{
    return talk->protocol == FRAME_RAW || talk->scanner[side].state == FRAME_CLOSED;
}
