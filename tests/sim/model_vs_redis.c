/* model_vs_redis.c - queue_model.c and queue.lua do the same: one random sequence of calls on both, and after every call
 * equal answers and equal contents of all places.
 *
 * The model takes Redis's clock from the answer, so both count with the same time. Nobody waits for a lease or a due time:
 * these are moved into the past, on both sides.
 */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/backoff.h"
#include "common/queue.h"
#include "tests/sim/queue_dump.h"

enum {
    SEQUENCES = 300,
    STEPS = 50,
    TICKETS = 512,
    TAKES_MOST = 256,
    WORDS_MOST = 200,
    LEASE_MS = 60000,
    BIG = 160,
    DATABASE = 7
};

static struct bk_redis_url url;
static struct bk_redis *redis;
static struct bk_queue *queue;
static struct queue_model *model;
static char name[48];
static char prefix[56];
static uint64_t dice;
static uint64_t seed;
static int step;
static char what[400]; /* the step, for messages */

/* A take that has happened: what may be settled under its turn. */
struct taken_turn {
    int worker;
    unsigned lane;
    uint64_t turn;
    int count;
    int jobs[8];
};
static struct taken_turn takes[TAKES_MOST];
static int take_count;
static uint64_t turns;
static int incarnations;

static uint64_t draw(void)
{
    dice ^= dice >> 12;
    dice ^= dice << 25;
    dice ^= dice >> 27;
    return dice * UINT64_C(0x2545f4914f6cdd1d) >> 11;
}

static int pick(int below)
{
    return (int)(draw() % (uint64_t)below);
}

/* --- the two sides -------------------------------------------------------------------------------------------------------------- */

static struct bk_reply *command(size_t count, const struct bk_span *words)
{
    struct bk_reply *reply = NULL;
    struct bk_error error = {0};
    enum bk_status status = bk_redis_call(redis, count, words, bk_clock_now() + 2000, &reply, &error);
    cr_assert_eq(status, BK_OK, "seed %" PRIu64 ", step %d: %s", seed, step, error.text);
    return reply;
}

/* A write that waits for the disk takes a hundred times longer, and shows nothing more here. */
static void set_fsync(const char *policy)
{
    const struct bk_span words_of_it[] = {bk_span_of("CONFIG"), bk_span_of("SET"), bk_span_of("appendfsync"),
                                          bk_span_of(policy)};
    (void)bk_reply_free(command(BK_COUNT(words_of_it), words_of_it));
}

static void open_all(void)
{
    const char *where = getenv("TEST_REDIS_URL");
    cr_assert(where, "TEST_REDIS_URL is not set; tests/run store sets it");
    struct bk_error error = {0};
    cr_assert_eq(bk_redis_url_parse(where, &url, &error), BK_OK, "%s", error.text);
    url.db = DATABASE; /* its own, that it may flush */
    cr_assert_eq(bk_redis_open(&redis, &url, bk_clock_now() + 2000, &error), BK_OK, "%s", error.text);
    model = qm_open(TICKETS);
    set_fsync("no");
}

static void close_all(void)
{
    set_fsync("always");
    redis = bk_redis_close(redis);
    model = qm_close(model);
    bk_redis_url_deinit(&url);
}

TestSuite(model, .init = open_all, .fini = close_all);

static bk_ms redis_now(void)
{
    const struct bk_span word = bk_span_of("TIME");
    BK_AUTO(bk_reply) *reply = command(1, &word);
    return bk_reply_integer(bk_reply_at(reply, 0), 0) * 1000 + bk_reply_integer(bk_reply_at(reply, 1), 0) / 1000;
}

static void begin_queue(void)
{
    (void)snprintf(name, sizeof(name), "m%" PRIx64, bk_random() >> 16);
    (void)snprintf(prefix, sizeof(prefix), "{%s}:", name);
    const struct bk_queue_options options = {&url, name, 2000, 2000};
    queue = bk_queue_open(&options);
    qm_reset(model, 0, true);
    take_count = incarnations = 0;
    turns = 1;
}

static void forget_queue(void)
{
    const struct bk_span flush = bk_span_of("FLUSHDB");
    (void)bk_reply_free(command(1, &flush));
    queue = bk_queue_close(queue);
}

static void differ(const char *format, ...) BK_PRINTF(1, 2);
static void differ(const char *format, ...)
{
    BK_AUTO_TEXT text = {0};
    char message[3000];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    bk_text_printf(&text, "TEST_SEED=%" PRIu64 ", step %d, %s: %s", seed, step, what, message);
    cr_assert_fail("%s", text.data);
}

#define EXPECT(condition, ...) ((condition) ? (void)0 : differ(__VA_ARGS__))

static void expect_number(const char *label, int64_t redis_says, int64_t model_says)
{
    EXPECT(redis_says == model_says, "%s is %lld in Redis, %lld in the model", label, (long long)redis_says,
           (long long)model_says);
}

static void expect_ticket(const char *label, struct bk_span ticket, int job)
{
    const char *expected = job == QM_NONE ? "" : model->jobs[job].ticket;
    EXPECT(bk_span_is(ticket, expected) || (ticket.size == 0 && !*expected), "%s is %.*s in Redis, %s in the model",
           label, (int)ticket.size, ticket.at ? ticket.at : "", expected);
}

/* Shows the first line that differs. */
static void expect_equal_contents(void)
{
    BK_AUTO_TEXT ours = {0};
    BK_AUTO_TEXT theirs = {0};
    struct bk_error error = {0};
    qm_dump(model, &ours);
    cr_assert_eq(redis_dump(redis, prefix, &theirs, &error), BK_OK, "%s", error.text);
    const char *a = bk_text_string(&theirs);
    const char *b = bk_text_string(&ours);
    while (*a && *b && strncmp(a, b, strcspn(a, "\n") + 1) == 0) {
        a += strcspn(a, "\n") + 1;
        b += strcspn(b, "\n") + 1;
    }
    EXPECT(!*a && !*b, "contents differ\n redis %.*s\n model %.*s", (int)strcspn(a, "\n"), a, (int)strcspn(b, "\n"), b);
    int job = QM_NONE;
    const char *wrong = qm_check(model, &job);
    EXPECT(!wrong, "%s", wrong);
}

/* --- words of a call -------------------------------------------------------------------------------------------------------------- */

static struct {
    size_t count;
    struct bk_span at[WORDS_MOST];
    size_t used;
    char room[16384];
} words;

static void begin_words(void)
{
    words.count = words.used = 0;
}

static void word(const char *format, ...) BK_PRINTF(1, 2);
static void word(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *at = words.room + words.used;
    int size = vsnprintf(at, sizeof(words.room) - words.used, format, args);
    va_end(args);
    cr_assert(size >= 0 && words.used + (size_t)size < sizeof(words.room) && words.count < WORDS_MOST);
    words.at[words.count++] = (struct bk_span){at, (size_t)size};
    words.used += (size_t)size + 1;
}

static enum bk_status call(const char *function, struct bk_reply **reply)
{
    struct bk_error error = {0};
    enum bk_status status = bk_queue_function(queue, function, words.count, words.at, reply, &error);
    EXPECT(status == BK_OK || status == BK_FENCED || status == BK_INVALID, "%s", error.text);
    return status;
}

/* --- producers -------------------------------------------------------------------------------------------------------------------- */

/* Entries live as long as the sequence: the model lends their fields. */
static struct {
    struct bk_span fields[16];
    char room[700];
} entries[TICKETS];

static void add_field(size_t *count, size_t *used, const char *field, const char *value)
{
    struct bk_span *fields = entries[model->job_count].fields;
    char *room = entries[model->job_count].room;
    const char *texts[] = {field, value};
    for (size_t i = 0; i < 2; i++) {
        size_t size = strlen(texts[i]);
        cr_assert(*used + size < sizeof(entries[0].room));
        memcpy(room + *used, texts[i], size + 1);
        fields[(*count)++] = (struct bk_span){room + *used, size};
        *used += size + 1;
    }
}

static void write_entry(size_t *count, bool later)
{
    static const char *const keys[] = {"a", "A", "b", "B", "c{d}", "long-key-0123456789", "", "7/3:odd"};
    static const char *const odd_times[] = {"", "soon", "-5", "1234567890123456", "0", "12x"};
    char huge[140];
    char due[24];
    size_t used = 0;
    int luck = pick(30);
    memset(huge, 'k', 129);
    huge[129] = '\0';
    *count = 0;
    if (luck == 0)
        add_field(count, &used, "what", "ever");
    if (luck != 1)
        add_field(count, &used, "id", luck == 2 ? "" : "an-id");
    add_field(count, &used, "kind", "booking.confirm");
    add_field(count, &used, "key", luck == 3 ? huge : keys[pick(BK_COUNT(keys))]);
    if (luck == 4)
        add_field(count, &used, "key", "again");
    if (luck != 5)
        add_field(count, &used, "args", luck == 6 ? "" : "{\"n\":1}");
    (void)snprintf(due, sizeof(due), "%lld", (long long)bk_clock_wall() + (later ? 5000 : pick(20000) - 10000));
    if (later || pick(5) == 0)
        add_field(count, &used, "not_before", luck == 7 ? odd_times[pick(BK_COUNT(odd_times))] : due);
    if (pick(6) == 0)
        add_field(count, &used, pick(2) ? "reply" : "traceparent", "1");
}

static void add(bool later)
{
    size_t count = 0;
    if (model->job_count == TICKETS)
        return;
    write_entry(&count, later);
    begin_words();
    word("XADD");
    word("%sinbox", prefix);
    if (pick(60) == 0) /* a sequence number that Lua's numbers do not hold */
        word("%lld-%" PRIu64, (long long)redis_now() + 1, UINT64_C(9007199254740993) + (uint64_t)pick(1000000));
    else
        word("*");
    for (size_t i = 0; i < count; i++)
        words.at[words.count++] = entries[model->job_count].fields[i];
    struct bk_reply *reply = NULL;
    /* a clock that stands behind the last such entry makes it refuse an explicit number */
    if (bk_redis_call(redis, words.count, words.at, bk_clock_now() + 2000, &reply, NULL) == BK_OK)
        (void)qm_add(model, bk_reply_text(reply).at, entries[model->job_count].fields, count);
    (void)bk_reply_free(reply);
}

/* --- workers ------------------------------------------------------------------------------------------------------------------------ */

static int any_worker(void)
{
    return model->worker_count ? pick(model->worker_count) : QM_NONE;
}

/* What a worker tells: mostly a number that was given or is just to come, now and then none. */
static int64_t any_number(void)
{
    return pick(5) == 0 ? QM_NONE : (int64_t)pick((int)model->incarnations + 2);
}

static void do_join(void)
{
    static const char *const names[] = {"w", "x", "host-1"};
    char text[QM_TEXT];
    int worker = any_worker();
    if (worker == QM_NONE || (pick(3) > 0 && model->worker_count < 60)) {
        (void)snprintf(text, sizeof(text), "%s@%d", names[pick(BK_COUNT(names))], ++incarnations);
        worker = qm_worker(model, text);
    }
    struct qm_life life = {worker, any_number(), LEASE_MS};
    (void)snprintf(text, sizeof(text), "%lld", (long long)life.number);
    (void)snprintf(what, sizeof(what), "join %s, number %s", model->workers[worker].text, text);
    const struct bk_queue_fact facts[] = {{"lease_ms", "1"}, {"number", text}};
    size_t told = life.number == QM_NONE ? 1 : 2;
    bk_ms before = redis_now();
    int64_t recovered = -1;
    struct bk_error error = {0};
    enum bk_status status =
        bk_queue_join(queue, model->workers[worker].text, LEASE_MS, facts, told, &recovered, &error);
    EXPECT(status == BK_OK || status == BK_FENCED, "%s", error.text);
    begin_words();
    word("ZSCORE");
    word("%sworkers", prefix);
    word("%s", model->workers[worker].text);
    BK_AUTO(bk_reply) *lease = command(words.count, words.at);
    /* this call's answer keeps its time to itself, but the lease tells it */
    bk_ms now = status == BK_OK ? bk_reply_integer(lease, 0) - LEASE_MS : before;
    EXPECT(now >= before && now <= redis_now(), "joined at %lld", (long long)now);
    expect_number("recovered", recovered, qm_join(model, now, &life));
}

static void do_beat(void)
{
    int worker = any_worker();
    if (worker == QM_NONE)
        return;
    struct qm_life life = {worker, any_number(), LEASE_MS};
    (void)snprintf(what, sizeof(what), "beat %s, number %lld", model->workers[worker].text, (long long)life.number);
    begin_words();
    word("%s", model->workers[worker].text);
    word("%d", LEASE_MS);
    word("lease_ms");
    word("%d", LEASE_MS);
    if (life.number != QM_NONE) {
        word("number");
        word("%lld", (long long)life.number);
    }
    BK_AUTO(bk_reply) *reply = NULL;
    EXPECT(call("booking_beat", &reply) == BK_OK, "refused");
    struct qm_pulse pulse = qm_beat(model, bk_reply_integer(bk_reply_at(reply, 0), 0), &life);
    expect_number("alive", bk_reply_integer(bk_reply_at(reply, 1), -1), pulse.alive);
    struct bk_span name_now = bk_reply_text(bk_reply_at(reply, 2));
    EXPECT(bk_span_is(name_now, pulse.current == QM_NONE ? "" : model->workers[pulse.current].text),
           "%.*s has the name", (int)name_now.size, name_now.at);
    EXPECT(!pulse.alive || bk_span_is(bk_reply_text(bk_reply_at(reply, 3)), model->breaker), "breaker");
    expect_number("a new number", bk_reply_integer(bk_reply_at(reply, 4), -1), pulse.number);
}

static void do_leave(void)
{
    int worker = any_worker();
    if (worker == QM_NONE || pick(3))
        return;
    (void)snprintf(what, sizeof(what), "leave %s", model->workers[worker].text);
    begin_words();
    word("%s", model->workers[worker].text);
    BK_AUTO(bk_reply) *reply = NULL;
    EXPECT(call("booking_leave", &reply) == BK_OK, "refused");
    int count = qm_leave(model, bk_reply_integer(bk_reply_at(reply, 0), 0), worker);
    expect_number("handed back", bk_reply_integer(bk_reply_at(reply, 1), -1), count);
}

/* --- take ----------------------------------------------------------------------------------------------------------------------------- */

static void expect_fields(const struct bk_reply *fields, int job)
{
    const struct qm_job *j = &model->jobs[job];
    if (j->gate == QM_NONE) {
        EXPECT(bk_reply_field(fields, "raw"), "%s lacks its raw form", j->ticket);
        return;
    }
    for (size_t i = 0; i < j->field_count; i += 2) {
        const struct bk_reply *value = bk_reply_field(fields, j->fields[i].at);
        EXPECT(value && bk_span_equal(bk_reply_text(value), j->fields[i + 1]), "%s has another %s", j->ticket,
               j->fields[i].at);
    }
}

static void note_take(int worker, const struct qm_take *wanted, const struct qm_taken *taken)
{
    for (int i = 0; i < taken->count && take_count < TAKES_MOST; i += 8) {
        struct taken_turn *t = &takes[take_count++];
        *t = (struct taken_turn){worker, wanted->lane, wanted->turn, BK_MIN(taken->count - i, 8), {0}};
        memcpy(t->jobs, taken->jobs + i, (size_t)t->count * sizeof(int));
    }
}

static void do_take(void)
{
    static const int wants[] = {1, 2, 3, 8, 8, 64, 0, 200};
    int worker = any_worker();
    if (worker == QM_NONE)
        return;
    struct qm_take t = {(unsigned)pick(2), pick(12) ? ++turns : turns - (uint64_t)pick((int)BK_MIN(turns, UINT64_C(6))),
                        wants[pick(BK_COUNT(wants))], pick(8) == 0, pick(3)};
    (void)snprintf(what, sizeof(what), "take %s lane %u turn %" PRIu64 " want %d resume %d careful %d",
                   model->workers[worker].text, t.lane, t.turn, t.want, t.resume, t.careful);
    begin_words();
    word("%s", model->workers[worker].text);
    word("%u", t.lane);
    word("%" PRIu64, t.turn);
    word("%d", t.want);
    word("%d", t.resume);
    if (t.careful > 0 || pick(2))
        word("%d", t.careful);
    BK_AUTO(bk_reply) *reply = NULL;
    enum bk_status status = call("booking_take", &reply);
    struct qm_taken taken;
    bk_ms now = status == BK_OK ? bk_reply_integer(bk_reply_at(reply, 0), 0) : redis_now();
    enum qm_verdict verdict = qm_take(model, now, worker, &t, &taken);
    expect_number("verdict", status, verdict == QM_OK ? BK_OK : verdict == QM_FENCED ? BK_FENCED : BK_INVALID);
    if (status != BK_OK)
        return;
    expect_number("next due", bk_reply_integer(bk_reply_at(reply, 1), -1), taken.next_due);
    expect_number("paused", bk_reply_integer(bk_reply_at(reply, 2), -1), taken.paused);
    expect_number("recovered", bk_reply_integer(bk_reply_at(reply, 3), -1), taken.recovered);
    expect_number("more", bk_reply_integer(bk_reply_at(reply, 4), -1), taken.more);
    expect_ticket("the last seen", bk_reply_text(bk_reply_at(reply, 5)), taken.last);
    const struct bk_reply *jobs = bk_reply_at(reply, 6);
    expect_number("jobs", (int64_t)bk_reply_count(jobs), taken.count);
    for (int i = 0; i < taken.count; i++) {
        expect_ticket("a job", bk_reply_text(bk_reply_at(bk_reply_at(jobs, (size_t)i), 0)), taken.jobs[i]);
        expect_fields(bk_reply_at(bk_reply_at(jobs, (size_t)i), 1), taken.jobs[i]);
    }
    note_take(worker, &t, &taken);
}

/* --- settle ------------------------------------------------------------------------------------------------------------------------- */

static void write_record(const struct qm_record *r)
{
    static const char *const verbs[] = {"done", "reply", "retry", "requeue", "free", "dead"};
    word("%s", verbs[r->verb]);
    word("%s", model->jobs[r->job].ticket);
    if (r->verb == QM_DO_REPLY) {
        word("%s", r->reply_id);
        word("{}");
    }
    if (r->verb == QM_DO_RETRY)
        word("%lld", (long long)r->delay);
    if (r->verb == QM_DO_RETRY || r->verb == QM_DO_REQUEUE) {
        word("%d", r->unsure);
        word("%s", r->error);
    }
    if (r->verb == QM_DO_DEAD) {
        word("%s", r->reason);
        word("%s", r->sqlstate);
        word("%s", r->error);
        word("%s", r->reply_id);
        word("{}");
        word("%lld", (long long)r->attempts);
    }
}

static struct qm_record any_record(int job)
{
    static const enum qm_verb verbs[] = {QM_DO_DONE,    QM_DO_DONE,    QM_DO_REPLY, QM_DO_RETRY,
                                         QM_DO_REQUEUE, QM_DO_REQUEUE, QM_DO_FREE,  QM_DO_DEAD};
    static const char *const errors[] = {"", "the database is away", "odd\nlines"};
    static const char *const replies[] = {"", "an-id", "another"};
    return (struct qm_record){.verb = verbs[pick(BK_COUNT(verbs))],
                              .job = job,
                              .delay = pick(3) * INT64_C(400),
                              .unsure = pick(2),
                              .error = errors[pick(BK_COUNT(errors) - 1)],
                              .reason = pick(2) ? "poison" : "database_refused",
                              .sqlstate = pick(2) ? "22003" : "",
                              .reply_id = replies[pick(BK_COUNT(replies))],
                              .attempts = pick(4)};
}

static void do_settle(void)
{
    if (take_count == 0)
        return;
    struct taken_turn t = takes[take_count - 1 - pick(BK_MIN(take_count, 12))];
    struct qm_record records[10];
    int count = 0;
    for (int i = 0; i < t.count; i++) {
        if (pick(8))
            records[count++] = any_record(t.jobs[i]);
    }
    int stranger = pick(model->job_count);
    bool strange = pick(6) == 0;
    for (int i = 0; i < t.count; i++)
        strange = strange && t.jobs[i] != stranger;
    if (strange)
        records[count++] = any_record(stranger);
    int luck = pick(12);
    t.lane = luck == 0 ? 1 - t.lane : t.lane;
    t.turn = luck == 1 ? ++turns : luck == 2 ? t.turn - 1 : t.turn;
    t.worker = luck == 3 ? any_worker() : t.worker;
    (void)snprintf(what, sizeof(what), "settle %s lane %u turn %" PRIu64 ", %d records", model->workers[t.worker].text,
                   t.lane, t.turn, count);
    begin_words();
    word("%s", model->workers[t.worker].text);
    word("%u", t.lane);
    word("%" PRIu64, t.turn);
    for (int i = 0; i < count; i++)
        write_record(&records[i]);
    BK_AUTO(bk_reply) *reply = NULL;
    EXPECT(call("booking_settle", &reply) == BK_OK, "refused");
    struct qm_settled settled;
    qm_settle(model, bk_reply_integer(bk_reply_at(reply, 0), 0), t.worker, t.lane, t.turn, records, count, &settled);
    model->foul = NULL; /* whoever settles here is nobody's lane */
    expect_number("freed", bk_reply_integer(bk_reply_at(reply, 1), -1), settled.freed);
    const struct bk_reply *lost = bk_reply_at(reply, 2);
    expect_number("lost", (int64_t)bk_reply_count(lost), settled.lost_count);
    for (int i = 0; i < settled.lost_count; i++)
        expect_ticket("a lost one", bk_reply_text(bk_reply_at(lost, (size_t)i)), settled.lost[i]);
}

/* --- admins, and time ------------------------------------------------------------------------------------------------------------- */

/* When a call happened whose answer does not tell: some field that it wrote does. */
static bk_ms time_of(int job, const char *field, bk_ms before)
{
    begin_words();
    word("HGET");
    word("%sjob:%s", prefix, model->jobs[job].ticket);
    word("%s", field);
    BK_AUTO(bk_reply) *reply = command(words.count, words.at);
    bk_ms at = bk_reply_integer(reply, before);
    EXPECT(at >= before && at <= redis_now(), "%s is %lld", field, (long long)at);
    return at;
}

static void do_dead_act(void)
{
    int jobs[6];
    int count = 0;
    bool drop = pick(3) == 0;
    struct bk_span tickets[BK_COUNT(jobs)];
    for (int i = 0; i < 1 + pick((int)BK_COUNT(jobs)) && model->job_count; i++) {
        jobs[count] =
            model->dead.count && pick(4) ? model->dead.at[pick(model->dead.count)].job : pick(model->job_count);
        tickets[count] = bk_span_of(model->jobs[jobs[count]].ticket);
        count++;
    }
    (void)snprintf(what, sizeof(what), "%s of %d letters", drop ? "drop" : "retry", count);
    bk_ms before = redis_now();
    struct bk_error error = {0};
    BK_AUTO(bk_reply) *acted = NULL;
    enum bk_status status =
        bk_queue_dead_act(queue, drop ? "drop" : "retry", "unix:me", "why", (size_t)count, tickets, &acted, &error);
    EXPECT(status == BK_OK, "%s", error.text);
    bk_ms now = before;
    for (int i = 0; i < count && !drop; i++) {
        if (bk_reply_count(acted) > 0 && bk_span_is(bk_reply_text(bk_reply_at(acted, 0)), model->jobs[jobs[i]].ticket))
            now = time_of(jobs[i], "retried_at", before);
    }
    count = qm_dead_act(model, now, drop, "unix:me", jobs, count);
    expect_number("acted on", (int64_t)bk_reply_count(acted), count);
    for (int i = 0; i < count; i++)
        expect_ticket("a letter", bk_reply_text(bk_reply_at(acted, (size_t)i)), jobs[i]);
}

static void do_configure(void)
{
    static const char *const values[] = {"open", "closed", "auto"};
    bool pause = pick(2);
    const char *value = pause ? (pick(4) ? "0" : "1") : values[pick(BK_COUNT(values))];
    (void)snprintf(what, sizeof(what), "configure %s", value);
    struct bk_error error = {0};
    enum bk_status status = bk_queue_configure(queue, "unix:me", "set", pause ? "paused" : "breaker", value, &error);
    EXPECT(status == BK_OK, "%s", error.text);
    qm_configure(model, pause ? "paused" : "breaker", value);
}

static void set_score(const char *place, const char *member, bk_ms score)
{
    begin_words();
    word("ZADD");
    word("%s%s", prefix, place);
    word("%lld", (long long)score);
    word("%s", member);
    (void)bk_reply_free(command(words.count, words.at));
}

static void hurry(const char *place, struct qm_zset *set, bk_ms now)
{
    for (int i = 0; i < set->count; i++) {
        int job = set->at[i].job;
        bk_ms score = now - 1 - job % 7;
        set_score(place, model->jobs[job].ticket, score);
        set->at[i].score = score;
    }
    /* in the order that these scores make */
    for (int i = 1; i < set->count; i++) {
        for (int k = i;
             k > 0 && (set->at[k - 1].score > set->at[k].score ||
                       (set->at[k - 1].score == set->at[k].score &&
                        strcmp(model->jobs[set->at[k - 1].job].ticket, model->jobs[set->at[k].job].ticket) > 0));
             k--) {
            __typeof__(set->at[0]) other = set->at[k];
            set->at[k] = set->at[k - 1];
            set->at[k - 1] = other;
        }
    }
}

static void let_time_pass(void)
{
    bk_ms now = redis_now();
    int luck = pick(4);
    (void)snprintf(what, sizeof(what), "time passes for %s",
                   luck == 0   ? "scheduled"
                   : luck == 1 ? "retry"
                               : "a worker");
    if (luck == 0)
        hurry("scheduled", &model->scheduled, now);
    if (luck == 1)
        hurry("retry", &model->retry, now);
    int worker = any_worker();
    if (luck < 2 || worker == QM_NONE || !model->workers[worker].member)
        return;
    model->workers[worker].lease = now - pick(3);
    set_score("workers", model->workers[worker].text, model->workers[worker].lease);
}

/* --- sequences ------------------------------------------------------------------------------------------------------------------------ */

static void random_step(void)
{
    static void (*const steps[])(void) = {do_take,   do_take,       do_take,   do_settle,    do_settle,
                                          do_settle, let_time_pass, do_join,   do_dead_act,  let_time_pass,
                                          do_beat,   do_take,       do_settle, do_configure, do_leave};
    int luck = pick((int)BK_COUNT(steps) + 8);
    (void)snprintf(what, sizeof(what), "add");
    if (luck < (int)BK_COUNT(steps))
        steps[luck]();
    else
        add(false);
}

static void live(uint64_t of)
{
    seed = of;
    dice = of * UINT64_C(0x9e3779b97f4a7c15) | 1;
    begin_queue();
    step = 0;
    do_join();
    /* now and then more than one take may move at once */
    for (int i = 0; i < (of % 16 == 0 ? BIG : 3); i++)
        add(of % 32 == 0);
    for (step = 1; step <= STEPS; step++) {
        random_step();
        expect_equal_contents();
    }
    forget_queue();
}

/* The seed of a failure is told; TEST_SEED=N runs one sequence again. */
Test(model, does_what_redis_does, .timeout = 240)
{
    const char *given = getenv("TEST_SEED");
    uint64_t base = bk_random() >> 24;
    if (given)
        live(strtoull(given, NULL, 10));
    for (int i = 0; !given && i < SEQUENCES; i++)
        live(base + (uint64_t)i);
}
