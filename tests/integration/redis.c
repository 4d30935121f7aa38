/* redis.c - one connection to Redis: how it is made, what becomes of it when the other side misbehaves, and what each
 * answer means. On a real Redis wherever a real one can be made to do it. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/redis.h"
#include "common/text.h"
#include "tests/support/peer.h"
#include "tests/support/resp.h"

static struct bk_redis_url url;
static struct bk_redis *redis;
static struct bk_error error;

static bk_ms soon(void)
{
    return bk_clock_now() + 3000;
}

static void parse(const char *text)
{
    bk_redis_url_deinit(&url);
    cr_assert_eq(bk_redis_url_parse(text, &url, &error), BK_OK, "%s", error.text);
}

static enum bk_status open_url(const char *text)
{
    parse(text);
    redis = bk_redis_close(redis);
    error = (struct bk_error){0};
    return bk_redis_open(&redis, &url, soon(), &error);
}

static void begin(void)
{
    const char *where = getenv("TEST_REDIS_URL");
    cr_assert(where, "TEST_REDIS_URL is not set; tests/run store sets it");
    cr_assert_eq(open_url(where), BK_OK, "%s", error.text);
}

static void end(void)
{
    redis = bk_redis_close(redis);
    bk_redis_url_deinit(&url);
}

TestSuite(redis, .init = begin, .fini = end, .timeout = 30);

/* The real server by another URL: "redis://%s%s" with what stands before and behind host and port. */
static const char *real(const char *before, const char *behind)
{
    static char text[200];
    (void)snprintf(text, sizeof(text), "redis://%s%s%s", before, getenv("TEST_REDIS_URL") + strlen("redis://"), behind);
    return text;
}

/* Up to eight words, the rest of the arguments NULL. */
static enum bk_status call(struct bk_reply **reply, const char *const *words)
{
    struct bk_span spans[8];
    size_t count = 0;
    for (; words[count]; count++)
        spans[count] = bk_span_of(words[count]);
    error = (struct bk_error){0};
    return bk_redis_call(redis, count, spans, soon(), reply, &error);
}
#define CALL(reply, ...) call(reply, (const char *const[]){__VA_ARGS__, NULL})

static void expect_text(struct bk_reply *reply, const char *text)
{
    struct bk_span got = bk_reply_text(reply);
    cr_expect(bk_span_is(got, text), "expected %s, got %.*s", text, (int)got.size, got.at ? got.at : "");
    (void)bk_reply_free(reply);
}

static void expect_error(const char *piece)
{
    cr_expect(strstr(error.text, piece), "\"%s\" is not in \"%s\"", piece, error.text);
}

/* --- on a real server --------------------------------------------------------------------------------------------- */

Test(redis, a_unix_socket_serves_as_well)
{
    struct bk_reply *reply = NULL;
    cr_assert_eq(CALL(&reply, "CONFIG", "GET", "unixsocket"), BK_OK);
    BK_AUTO_TEXT text = {0};
    bk_text_printf(&text, "unix://%s", bk_reply_text(bk_reply_at(reply, 1)).at);
    (void)bk_reply_free(reply);
    cr_assert_eq(open_url(text.data), BK_OK, "%s", error.text);
    cr_assert_eq(CALL(&reply, "PING"), BK_OK);
    expect_text(reply, "PONG");
}

Test(redis, a_socket_that_is_not_there_is_an_outage)
{
    cr_expect_eq(open_url("unix:///tmp/no/such/socket"), BK_OUTAGE);
    expect_error("/tmp/no/such/socket");
    expect_error("No such file");
}

Test(redis, the_database_of_the_url_is_selected)
{
    struct bk_reply *reply = NULL;
    cr_assert_eq(open_url(real("", "/3")), BK_OK, "%s", error.text);
    cr_assert_eq(CALL(&reply, "CLIENT", "INFO"), BK_OK);
    cr_expect(strstr(bk_reply_text(reply).at, " db=3 "), "%s", bk_reply_text(reply).at);
    (void)bk_reply_free(reply);
    cr_expect_neq(open_url(real("", "/9999")), BK_OK);
    expect_error("out of range");
}

Test(redis, who_has_a_password_is_let_in_and_nobody_else)
{
    struct bk_reply *reply = NULL;
    cr_assert_eq(CALL(&reply, "ACL", "SETUSER", "tester", "on", ">secret", "~*", "+@all"), BK_OK);
    (void)bk_reply_free(reply);
    cr_assert_eq(open_url(real("tester:secret@", "")), BK_OK, "%s", error.text);
    cr_assert_eq(CALL(&reply, "ACL", "WHOAMI"), BK_OK);
    expect_text(reply, "tester");
    cr_expect_eq(open_url(real("tester:wrong@", "")), BK_OPERATOR);
    expect_error("WRONGPASS");
    cr_expect_eq(open_url(real(":only@", "/2")), BK_OPERATOR, "a password and no user: the default user has none");
}

Test(redis, a_name_is_looked_up_and_a_wrong_one_is_an_outage)
{
    char text[100];
    const char *colon = strrchr(getenv("TEST_REDIS_URL"), ':');
    (void)snprintf(text, sizeof(text), "redis://localhost%s", colon);
    cr_assert_eq(open_url(text), BK_OK, "%s", error.text);
    cr_expect_eq(open_url("redis://no-such-name.invalid:6379"), BK_OUTAGE);
    expect_error("no-such-name.invalid");
}

Test(redis, a_build_without_tls_says_so)
{
    parse("rediss://127.0.0.1:6379");
    if (bk_redis_has_tls())
        cr_skip_test("this hiredis has TLS");
    cr_expect_eq(bk_redis_open(&redis, &url, soon(), &error), BK_OPERATOR);
    expect_error("rediss:// needs");
}

Test(redis, a_port_where_nobody_listens_refuses)
{
    cr_expect_eq(open_url("redis://127.0.0.1:1"), BK_OUTAGE);
    expect_error("redis 127.0.0.1:1: Connection refused");
}

Test(redis, a_command_larger_than_any_buffer_arrives_whole)
{
    static char huge[32 << 20];
    memset(huge, 'x', sizeof(huge));
    const struct bk_span words[] = {bk_span_of("ECHO"), {huge, sizeof(huge)}};
    struct bk_reply *reply = NULL;
    cr_assert_eq(bk_redis_call(redis, 2, words, bk_clock_now() + 20000, &reply, &error), BK_OK, "%s", error.text);
    cr_expect_eq(bk_reply_text(reply).size, sizeof(huge));
    (void)bk_reply_free(reply);
}

Test(redis, an_error_is_classed_and_leaves_the_connection_good)
{
    struct bk_reply *reply = NULL;
    cr_expect_eq(CALL(&reply, "NONSENSE"), BK_OPERATOR);
    cr_expect_eq(CALL(&reply, "FCALL", "booking_no_such_function", "0"), BK_MISSING);
    cr_expect(!bk_redis_broken(redis));
    cr_assert_eq(CALL(&reply, "ECHO", "x"), BK_OK);
    expect_text(reply, "x");
}

Test(redis, an_answer_that_is_late_breaks_the_connection)
{
    struct bk_reply *reply = NULL;
    const struct bk_span words[] = {bk_span_of("BLPOP"), bk_span_of("nothing"), bk_span_of("5")};
    cr_expect_eq(bk_redis_call(redis, 3, words, bk_clock_now() + 50, &reply, &error), BK_UNKNOWN);
    expect_error("no answer in time");
    cr_expect(bk_redis_broken(redis));
    cr_expect_eq(CALL(&reply, "PING"), BK_OUTAGE, "and what came late is not read as the next one's");
    expect_error("the connection is broken");
}

/* --- Sentinels, one of which is a Redis that is none ------------------------------------------------------------------ */

static const char *sentinel_url(const struct peer *peer)
{
    static char text[200];
    (void)snprintf(text, sizeof(text), "redis+sentinel://127.0.0.1:%u/booking", peer_port(peer));
    return text;
}

/* A Sentinel's answer that names this port. */
static const char *named(unsigned port)
{
    static char line[100];
    char number[8];
    int size = snprintf(number, sizeof(number), "%u", port);
    (void)snprintf(line, sizeof(line), "*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n", size, number);
    return line;
}

static unsigned real_port(void)
{
    return (unsigned)strtoul(strrchr(getenv("TEST_REDIS_URL"), ':') + 1, NULL, 10);
}

Test(redis, the_master_that_a_sentinel_names_is_asked_whether_it_is_one)
{
    const struct bk_span says[] = {bk_span_of(named(real_port()))};
    struct peer *peer = peer_open(BK_COUNT(says), says, PEER_SILENT);
    cr_assert_eq(open_url(sentinel_url(peer)), BK_OK, "%s", error.text);
    struct bk_reply *reply = NULL;
    cr_assert_eq(CALL(&reply, "PING"), BK_OK);
    expect_text(reply, "PONG");
    (void)peer_close(peer);
}

Test(redis, a_replica_is_no_master_whatever_a_sentinel_says)
{
    const struct bk_span replica[] = {bk_span_of("+PONG\r\n"), bk_span_of("*1\r\n$5\r\nslave\r\n")};
    struct peer *demoted = peer_open(BK_COUNT(replica), replica, PEER_SILENT);
    const struct bk_span says[] = {bk_span_of(named(peer_port(demoted)))};
    struct peer *peer = peer_open(BK_COUNT(says), says, PEER_SILENT);
    cr_expect_eq(open_url(sentinel_url(peer)), BK_OUTAGE);
    expect_error("is not the master");
    (void)peer_close(peer);
    (void)peer_close(demoted);
}

Test(redis, a_sentinel_that_cannot_help_is_named)
{
    static const struct {
        const char *says;
        enum bk_status status;
        const char *told;
    } cases[] = {
        {"*-1\r\n", BK_OPERATOR, "knows no master \"booking\""},
        {"*2\r\n$9\r\n127.0.0.1\r\n$1\r\n0\r\n", BK_OPERATOR, "knows no master"},
        {"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n65536\r\n", BK_OPERATOR, "knows no master"},
        {"-LOADING still reading\r\n", BK_OUTAGE, "sentinel: redis"},
        {"*2\r\n$9\r\n127.0.0.1\r\n$1\r\n1\r\n", BK_OUTAGE, "refused"},
    };
    for (size_t i = 0; i < BK_COUNT(cases); i++) {
        const struct bk_span says[] = {bk_span_of(cases[i].says)};
        struct peer *peer = peer_open(BK_COUNT(says), says, PEER_SILENT);
        cr_expect_eq(open_url(sentinel_url(peer)), cases[i].status, "%s: %s", cases[i].says, error.text);
        expect_error(cases[i].told);
        (void)peer_close(peer);
    }
    cr_expect_eq(open_url("redis+sentinel://127.0.0.1:1/booking"), BK_OUTAGE);
    expect_error("sentinel: redis 127.0.0.1:1");
}

Test(redis, the_next_sentinel_is_asked_when_one_does_not_answer)
{
    const struct bk_span says[] = {bk_span_of(named(real_port()))};
    struct peer *peer = peer_open(BK_COUNT(says), says, PEER_SILENT);
    char text[200];
    (void)snprintf(text, sizeof(text), "redis+sentinel://127.0.0.1:1,127.0.0.1:%u/booking", peer_port(peer));
    cr_expect_eq(open_url(text), BK_OK, "%s", error.text);
    (void)peer_close(peer);
}

/* --- a peer that is no Redis -------------------------------------------------------------------------------------- */

static enum bk_status open_peer(const struct peer *peer)
{
    char text[60];
    (void)snprintf(text, sizeof(text), "redis://127.0.0.1:%u", peer_port(peer));
    return open_url(text);
}

Test(redis, who_does_not_speak_redis_is_found_out_at_once)
{
    const struct bk_span says[] = {bk_span_of("HTTP/1.1 400 Bad Request\r\n\r\n")};
    struct peer *peer = peer_open(BK_COUNT(says), says, PEER_SILENT);
    cr_expect_eq(open_peer(peer), BK_UNKNOWN);
    expect_error("Protocol error");
    (void)peer_close(peer);
}

Test(redis, who_closes_before_or_within_an_answer_has_given_none)
{
    static const char *const answers[] = {"", "$5\r\nhal"};
    for (size_t i = 0; i < BK_COUNT(answers); i++) {
        const struct bk_span says[] = {bk_span_of("+PONG\r\n"), bk_span_of(answers[i])};
        struct peer *peer = peer_open(BK_COUNT(says), says, PEER_CLOSES);
        struct bk_reply *reply = NULL;
        cr_assert_eq(open_peer(peer), BK_OK, "%s", error.text);
        cr_expect_eq(CALL(&reply, "GET", "x"), BK_UNKNOWN);
        cr_expect(bk_redis_broken(redis));
        (void)peer_close(peer);
    }
}

Test(redis, who_accepts_nobody_costs_the_deadline_and_no_more)
{
    struct peer *peer = peer_open_full();
    bk_ms began = bk_clock_now();
    char text[60];
    (void)snprintf(text, sizeof(text), "redis://127.0.0.1:%u", peer_port(peer));
    parse(text);
    cr_expect_eq(bk_redis_open(&redis, &url, began + 200, &error), BK_OUTAGE);
    expect_error("connecting took too long");
    cr_expect_lt(bk_clock_now() - began, 2000);
    (void)peer_close(peer);
}

Test(redis, each_error_that_a_server_may_give_has_its_class)
{
    static const struct {
        const char *says;
        enum bk_status status;
    } cases[] = {
        {"-ERR max number of clients reached\r\n", BK_OUTAGE},
        {"-DENIED Redis is running in protected mode\r\n", BK_OUTAGE},
        {"-NOAUTH Authentication required.\r\n", BK_OPERATOR},
        {"-NOPERM this user has no permissions\r\n", BK_OPERATOR},
        {"-LOADING Redis is loading the dataset in memory\r\n", BK_OUTAGE},
        {"-OOM command not allowed\r\n", BK_OUTAGE},
        {"-OOMPH is no word of Redis's\r\n", BK_OPERATOR},
        {"-ERR unknown\r\n", BK_OPERATOR},
    };
    for (size_t i = 0; i < BK_COUNT(cases); i++) {
        const struct bk_span says[] = {bk_span_of(cases[i].says)};
        struct peer *peer = peer_open(BK_COUNT(says), says, PEER_SILENT);
        cr_expect_eq(open_peer(peer), cases[i].status, "%s", cases[i].says);
        (void)peer_close(peer);
    }
}

Test(redis, a_key_that_has_moved_is_told_with_its_new_place)
{
    static const struct {
        const char *says;
        const char *place; /* "": behind "127.0.0.1" */
    } cases[] = {{"-MOVED 3999 10.0.0.1:6381\r\n", "10.0.0.1:6381"},
                 {"-MOVED 3999 :6381\r\n", "127.0.0.1:6381"},
                 {"-MOVED 3999\r\n", ""},
                 {"-ASK 3999 10.0.0.1:6381\r\n", ""}};
    for (size_t i = 0; i < BK_COUNT(cases); i++) {
        const struct bk_span says[] = {bk_span_of("+PONG\r\n"), bk_span_of(cases[i].says)};
        struct peer *peer = peer_open(BK_COUNT(says), says, PEER_SILENT);
        struct bk_reply *reply = NULL;
        cr_assert_eq(open_peer(peer), BK_OK, "%s", error.text);
        cr_expect_eq(CALL(&reply, "GET", "x"), BK_OUTAGE);
        cr_expect_str_eq(bk_redis_moved_to(redis), cases[i].place);
        (void)peer_close(peer);
    }
}

Test(redis, an_answer_without_end_is_not_read_beyond_the_deadline)
{
    static char part[60001];
    memset(part, 'x', sizeof(part) - 1);
    const struct bk_span says[] = {bk_span_of("+PONG\r\n"), bk_span_of("$500000000\r\n"), bk_span_of(part)};
    struct peer *peer = peer_open(BK_COUNT(says), says, PEER_REPEATS);
    struct bk_reply *reply = NULL;
    cr_assert_eq(open_peer(peer), BK_OK, "%s", error.text);
    const struct bk_span words[] = {bk_span_of("GET"), bk_span_of("x")};
    bk_ms began = bk_clock_now();
    cr_expect_eq(bk_redis_call(redis, 2, words, began + 50, &reply, &error), BK_UNKNOWN);
    expect_error("no answer in time");
    cr_expect_lt(bk_clock_now() - began, 1000);
    (void)peer_close(peer);
}

Test(redis, who_takes_nothing_more_costs_the_deadline_and_no_more)
{
    static char huge[32 << 20];
    memset(huge, 'x', sizeof(huge));
    static const enum peer_end ends[] = {PEER_DEAF, PEER_CLOSES};
    for (size_t i = 0; i < BK_COUNT(ends); i++) {
        const struct bk_span says[] = {bk_span_of("+PONG\r\n"), bk_span_of("")};
        struct peer *peer = peer_open(BK_COUNT(says), says, ends[i]);
        struct bk_reply *reply = NULL;
        cr_assert_eq(open_peer(peer), BK_OK, "%s", error.text);
        const struct bk_span words[] = {bk_span_of("ECHO"), {huge, sizeof(huge)}};
        bk_ms began = bk_clock_now();
        cr_expect_eq(bk_redis_call(redis, 2, words, began + 500, &reply, &error), BK_UNKNOWN);
        cr_expect_lt(bk_clock_now() - began, 3000);
        cr_expect(bk_redis_broken(redis));
        (void)peer_close(peer);
    }
}

/* --- answers ------------------------------------------------------------------------------------------------------- */

Test(answer, each_part_reads_as_what_it_is_and_as_nothing_else)
{
    static const char bytes[] = "*5\r\n$2\r\n42\r\n:7\r\n+OK\r\n$-1\r\n-ERR inside\r\n";
    struct bk_reply *reply = resp_read(bytes, sizeof(bytes) - 1);
    cr_assert_eq(bk_reply_count(reply), 5);
    cr_expect_eq(bk_reply_integer(bk_reply_at(reply, 0), -1), 42, "a text that is a number");
    cr_expect_eq(bk_reply_integer(bk_reply_at(reply, 1), -1), 7);
    cr_expect_eq(bk_reply_type(bk_reply_at(reply, 1)), BK_REPLY_INTEGER);
    cr_expect(bk_span_is(bk_reply_text(bk_reply_at(reply, 2)), "OK"));
    cr_expect_eq(bk_reply_type(bk_reply_at(reply, 3)), BK_REPLY_NIL);
    cr_expect_eq(bk_reply_type(bk_reply_at(reply, 4)), BK_REPLY_ERROR);
    cr_expect_null(bk_reply_text(bk_reply_at(reply, 4)).at);
    cr_expect_null(bk_reply_at(reply, 5));
    cr_expect_eq(bk_reply_count(bk_reply_at(reply, 0)), 0);
    cr_expect_eq(bk_reply_integer(bk_reply_at(reply, 3), -1), -1);
    (void)bk_reply_free(reply);
    cr_expect_eq(bk_reply_type(NULL), BK_REPLY_NIL);
}
