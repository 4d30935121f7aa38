/* Where messages begin and end, however the stream that carries them is cut into chunks. */
#include "tests/faults/proxy/frame.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "common/text.h"

/* What one side says in one go, and the kinds of the messages in it. */
struct turn {
    enum frame_side side;
    const char *bytes;
    size_t size;
    const char *kinds;
};

/* string literals with zeros in them */
#define SAYS(who, literal, message_kinds)                                                                              \
    {                                                                                                                  \
        FRAME_##who, literal, sizeof(literal) - 1, message_kinds                                                       \
    }

enum { TURNS_MOST = 8 };

static const struct {
    const char *name;
    enum frame_protocol protocol;
    bool idle; /* at the end */
    struct turn turns[TURNS_MOST];
} talks[] = {
    {"pg: startup, password, a simple query",
     FRAME_PG,
     true,
     {SAYS(CLIENT, "\0\0\0\x13\0\x03\0\0user\0anna\0\0", "^"), SAYS(SERVER, "R\0\0\0\x08\0\0\0\x03", "R"),
      SAYS(CLIENT, "p\0\0\0\x09open\0", "p"),
      SAYS(SERVER, "R\0\0\0\x08\0\0\0\0S\0\0\0\x09x\0on\0K\0\0\0\x0c\0\0\0\x07\0\0\0\x09Z\0\0\0\x05I", "RSKZ"),
      SAYS(CLIENT, "Q\0\0\0\x0dselect 1\0", "Q"),
      SAYS(SERVER,
           "T\0\0\0\x06\0\0"
           "D\0\0\0\x0b\0\1\0\0\0\0011C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I",
           "TDCZ")}},
    {"pg: encryption refused twice, then the extended protocol in a transaction",
     FRAME_PG,
     false,
     {SAYS(CLIENT, "\0\0\0\x08\x04\xd2\x16\x30", "?"), SAYS(SERVER, "N", "~"),
      SAYS(CLIENT, "\0\0\0\x08\x04\xd2\x16\x2f", "?"), SAYS(SERVER, "N", "~"),
      SAYS(CLIENT,
           "\0\0\0\x08\0\x03\0\0"
           "P\0\0\0\x05xB\0\0\0\x04"
           "D\0\0\0\x05PE\0\0\0\x09\0\0\0\0\0S\0\0\0\x04",
           "^PBDES"),
      SAYS(SERVER,
           "Z\0\0\0\x05I1\0\0\0\0042\0\0\0\004n\0\0\0\x04"
           "C\0\0\0\x06"
           "B\0Z\0\0\0\x05T",
           "Z12nCZ")}},
    {"pg: a request to cancel", FRAME_PG, false, {SAYS(CLIENT, "\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\7\0\0\0\x09", "!")}},
    {"pg: a server that is older than encryption",
     FRAME_PG,
     false,
     {SAYS(CLIENT, "\0\0\0\x08\x04\xd2\x16\x2f", "?"), SAYS(SERVER,
                                                            "E\0\0\0\x09"
                                                            "Fbad\0",
                                                            "E")}},
    {"resp: pipelined commands, one of them inline, and every type of RESP2",
     FRAME_RESP,
     true,
     {SAYS(CLIENT,
           "*1\r\n$4\r\nPING\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n\r\n\r\n\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n"
           "*1\r\n$1\r\nx\r\n*1\r\n$1\r\ny\r\n*1\r\n$1\r\nz\r\n",
           "*i*****"),
      SAYS(SERVER,
           "+PONG\r\n+PONG\r\n-ERR no\r\n:42\r\n$-1\r\n*-1\r\n"
           "*3\r\n*2\r\n:1\r\n*0\r\n$5\r\n*9\r\n+\r\n*1\r\n*1\r\n$-1\r\n",
           "++-:$**")}},
    {"resp: a command without an answer", FRAME_RESP, false, {SAYS(CLIENT, "*1\r\n$4\r\nPING\r\n", "*")}},
    {"resp: empty commands, which have no answer",
     FRAME_RESP,
     true,
     {SAYS(CLIENT, "\r\n*0\r\n \t\r\n*-1\r\n\nPING\r\n", "i*i*ii"), SAYS(SERVER, "+PONG\r\n", "+")}},
    {"resp: RESP3, where attributes belong to what follows, and what is pushed answers nothing",
     FRAME_RESP,
     true,
     {SAYS(CLIENT, "a\r\nb\r\nc\nd\r\ne\r\nf\r\ng\r\nh\r\ni\r\n", "iiiiiiiii"),
      SAYS(SERVER,
           "%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n_\r\n_\r\n#t\r\n,1.5\r\n(12345678901234567890\r\n!3\r\nbad\r\n=7\r\ntxt:"
           "abc\r\n"
           ">2\r\n+message\r\n+x\r\n|1\r\n+ttl\r\n:3\r\n*1\r\n|1\r\n+k\r\n:1\r\n:5\r\n~0\r\n%0\r\n",
           "%_#,(!=>|~%")}},
};

static void note(struct bk_text *heard, const struct frame_piece *piece)
{
    cr_assert(piece->size > 0);
    if (piece->begins)
        bk_text_putc(heard, '<');
    if (piece->ends)
        bk_text_printf(heard, "%c>", piece->kind);
}

static void say(struct frame_talk *talk, enum frame_side side, const char *bytes, size_t size, struct bk_text *heard)
{
    while (size > 0) {
        const struct frame_piece piece = frame_scan(talk, side, bytes, size);
        cr_assert(piece.size <= size);
        note(heard, &piece);
        bytes += piece.size;
        size -= piece.size;
    }
}

/* Has the talk with each turn cut in two at `cut`, or into single bytes if that is 0. */
static void have_talk(size_t which, size_t cut)
{
    struct frame_talk talk = {.protocol = talks[which].protocol};
    for (size_t t = 0; t < TURNS_MOST && talks[which].turns[t].bytes; t++) {
        const struct turn *turn = &talks[which].turns[t];
        BK_AUTO_TEXT heard = {0};
        BK_AUTO_TEXT expected = {0};
        for (const char *kind = turn->kinds; *kind; kind++)
            bk_text_printf(&expected, "<%c>", *kind);
        if (cut == 0) {
            for (size_t i = 0; i < turn->size; i++)
                say(&talk, turn->side, turn->bytes + i, 1, &heard);
        } else {
            size_t first = BK_MIN(cut, turn->size);
            say(&talk, turn->side, turn->bytes, first, &heard);
            say(&talk, turn->side, turn->bytes + first, turn->size - first, &heard);
        }
        cr_expect_str_eq(bk_text_string(&heard), bk_text_string(&expected), "%s, turn %zu cut at %zu: %s",
                         talks[which].name, t, cut, bk_text_string(&heard));
    }
    cr_expect_not(frame_opaque(&talk, FRAME_CLIENT), "%s", talks[which].name);
    cr_expect_not(frame_opaque(&talk, FRAME_SERVER), "%s", talks[which].name);
    cr_expect_eq(frame_idle(&talk), talks[which].idle, "%s cut at %zu", talks[which].name, cut);
}

Test(frame, finds_the_same_messages_wherever_the_stream_is_cut)
{
    for (size_t i = 0; i < BK_COUNT(talks); i++) {
        size_t longest = 0;
        for (size_t t = 0; t < TURNS_MOST; t++)
            longest = BK_MAX(longest, talks[i].turns[t].size);
        for (size_t cut = 0; cut <= longest; cut++)
            have_talk(i, cut);
    }
}

Test(frame, tells_where_each_message_ends)
{
    struct frame_talk talk = {.protocol = FRAME_RESP};
    static const char bytes[] = "*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n*1";
    struct frame_piece piece = frame_scan(&talk, FRAME_CLIENT, bytes, sizeof(bytes) - 1);
    cr_expect(piece.size == 11 && piece.begins && piece.ends);
    piece = frame_scan(&talk, FRAME_CLIENT, bytes + 11, sizeof(bytes) - 1 - 11);
    cr_expect(piece.size == 11 && piece.begins && piece.ends);
    piece = frame_scan(&talk, FRAME_CLIENT, bytes + 22, sizeof(bytes) - 1 - 22);
    cr_expect(piece.size == 2 && piece.begins && !piece.ends);
    piece = frame_scan(&talk, FRAME_CLIENT, "\r\n$1\r\nc\r\nX", 10);
    cr_expect(piece.size == 9 && !piece.begins && piece.ends);
}

Test(frame, stores_nothing_of_a_message_that_is_larger_than_memory)
{
    struct frame_talk talk = {.protocol = FRAME_PG, .started = true};
    static char megabyte[1 << 20];
    static const char head[] = "d\x7f\xff\xff\xff"; /* 2 GiB less a byte */
    BK_AUTO_TEXT heard = {0};
    say(&talk, FRAME_CLIENT, head, sizeof(head) - 1, &heard);
    for (int i = 0; i < 2047; i++)
        say(&talk, FRAME_CLIENT, megabyte, sizeof(megabyte), &heard);
    say(&talk, FRAME_CLIENT, megabyte, sizeof(megabyte) - 8, &heard);
    cr_expect_str_eq(bk_text_string(&heard), "<");
    say(&talk, FRAME_CLIENT, "123S\0\0\0\4", 8, &heard);
    cr_expect_str_eq(bk_text_string(&heard), "<d><S>", "%s", bk_text_string(&heard));
}

Test(frame, is_not_idle_while_an_answer_is_owed)
{
    struct frame_talk talk = {.protocol = FRAME_PG, .started = true};
    BK_AUTO_TEXT heard = {0};
    say(&talk, FRAME_CLIENT, "S\0\0\0\4P\0\0\0\4", 10, &heard);
    say(&talk, FRAME_SERVER, "Z\0\0\0\5I", 6, &heard);
    cr_expect_not(frame_idle(&talk), "the Parse has no Sync behind it yet");
    say(&talk, FRAME_CLIENT, "S\0\0\0\4", 5, &heard);
    cr_expect_not(frame_idle(&talk), "and now it has, but no answer");
    say(&talk, FRAME_SERVER, "Z\0\0\0\5E", 6, &heard);
    cr_expect_not(frame_idle(&talk), "a failed transaction is one");
    say(&talk, FRAME_CLIENT, "S\0\0\0\4", 5, &heard);
    say(&talk, FRAME_SERVER, "Z\0\0\0\5I", 6, &heard);
    cr_expect(frame_idle(&talk));
    say(&talk, FRAME_SERVER, "A\0\0\0\4", 5, &heard);
    cr_expect_not(frame_idle(&talk), "only where an answer has ended");
}

Test(frame, looks_into_nothing_that_is_encrypted)
{
    struct frame_talk talk = {.protocol = FRAME_PG};
    BK_AUTO_TEXT heard = {0};
    say(&talk, FRAME_CLIENT, "\0\0\0\x08\x04\xd2\x16\x2f", 8, &heard);
    say(&talk, FRAME_SERVER, "S", 1, &heard);
    cr_expect(frame_opaque(&talk, FRAME_CLIENT) && frame_opaque(&talk, FRAME_SERVER));
    say(&talk, FRAME_CLIENT, "\x16\x03\x01", 3, &heard);
    say(&talk, FRAME_SERVER, "Z\0\0\0\5I", 6, &heard);
    cr_expect_str_eq(bk_text_string(&heard), "<?><~><.><.>", "%s", bk_text_string(&heard));
    cr_expect_not(frame_idle(&talk));
}

Test(frame, takes_each_chunk_for_a_message_where_there_are_none)
{
    struct frame_talk talk = {.protocol = FRAME_RAW};
    BK_AUTO_TEXT heard = {0};
    say(&talk, FRAME_CLIENT, "abc", 3, &heard);
    say(&talk, FRAME_SERVER, "*1\r\n", 4, &heard);
    cr_expect_str_eq(bk_text_string(&heard), "<.><.>");
    cr_expect_not(frame_idle(&talk));
}

Test(frame, gives_up_on_what_cannot_be_a_message_and_goes_on)
{
    static const struct {
        enum frame_protocol protocol;
        enum frame_side side;
        const char *bytes;
        size_t size;
    } rows[] = {
#define ROW(protocol, side, literal) {FRAME_##protocol, FRAME_##side, literal, sizeof(literal) - 1}
        ROW(PG, CLIENT, "GET / HTTP/1.1\r\n"),
        ROW(PG, CLIENT, "\0\0\0\0\0\0\0\0"),
        ROW(PG, CLIENT, "\0\0\0\7\0\3\0\0"),
        ROW(PG, CLIENT, "\xff\xff\xff\xff\xff\xff\xff\xff"),
        ROW(PG, SERVER, "Z\0\0\0\3"),
        ROW(PG, SERVER, "Z\x80\0\0\0"),
        ROW(RESP, SERVER, "HTTP"),
        ROW(RESP, SERVER, "\0"),
        ROW(RESP, SERVER, "$\r\n"),
        ROW(RESP, SERVER, "$-\r\n"),
        ROW(RESP, SERVER, "$--1\r\n"),
        ROW(RESP, SERVER, "$1x"),
        ROW(RESP, SERVER, "$1\r\r"),
        ROW(RESP, SERVER, "$1234567890123456"),
        ROW(RESP, SERVER, "*1\r\nx"),
        ROW(RESP, CLIENT, "*?\r\n"),
#undef ROW
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        struct frame_talk talk = {.protocol = rows[i].protocol};
        BK_AUTO_TEXT heard = {0};
        say(&talk, rows[i].side, rows[i].bytes, rows[i].size, &heard);
        cr_expect_str_eq(bk_text_string(&heard), "<.>", "row %zu: %s", i, bk_text_string(&heard));
        cr_expect(frame_opaque(&talk, rows[i].side), "row %zu", i);
        cr_expect_not(frame_opaque(&talk, rows[i].side == FRAME_CLIENT ? FRAME_SERVER : FRAME_CLIENT), "row %zu", i);
        say(&talk, rows[i].side, "more", 4, &heard);
        cr_expect_str_eq(bk_text_string(&heard), "<.><.>", "row %zu", i);
    }
}

/* Bytes of which many are of those that mean something. */
static char likely_byte(unsigned random)
{
    static const char likely[] = "\0\0\0\4*$%|>~+-:0123456789\r\n\r\nZSPQ";
    return random % 4 == 0 ? (char)(random >> 8) : likely[(random >> 8) % (sizeof(likely) - 1)];
}

Test(frame, survives_any_bytes)
{
    const char *given = getenv("TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : 20300309;
    cr_log_info("TEST_SEED=%u", seed);
    srand(seed);
    for (int run = 0; run < 20000; run++) {
        struct frame_talk talk = {.protocol = (enum frame_protocol)(run % 3), .started = run % 2};
        for (int turn = 0; turn < 6; turn++) {
            size_t size = 1 + (unsigned)rand() % 40;
            char *bytes = bk_alloc(size); /* of exactly this size, so that a step too far is seen */
            for (size_t i = 0; i < size; i++)
                bytes[i] = likely_byte((unsigned)rand());
            BK_AUTO_TEXT heard = {0};
            say(&talk, (enum frame_side)(rand() % 2), bytes, size, &heard);
            free(bytes);
        }
        (void)frame_idle(&talk);
    }
}
