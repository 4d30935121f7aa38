/* queue.c - see queue.h. */
#include "common/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crash.h"
#include "common/embedded.h"

extern const struct bk_embedded bk_queue_library[];

struct bk_queue {
    struct bk_queue_options options;
    char *prefix; /* "{booking}:" */
    char *inbox;  /* KEYS[1] of every function */
    struct bk_redis *redis;
    char node[300]; /* of a cluster, "host:port" where our keys are; "": ask the URL's */
};

enum { HOPS_MOST = 5 };

/* --- building commands -------------------------------------------------------------------------------------------- */

struct words {
    struct bk_span *at;
    size_t count;
    size_t room;
};

static void push(struct words *words, struct bk_span word)
{
    if (words->count == words->room) {
        words->room = words->room ? words->room * 2 : 32;
        words->at = bk_realloc(words->at, words->room * sizeof(*words->at));
    }
    words->at[words->count++] = word;
}

static void push_text(struct words *words, const char *text)
{
    push(words, bk_span_of(text ? text : ""));
}

static void words_cleanup_(struct words *words)
{
    free(words->at);
}
#define AUTO_WORDS __attribute__((cleanup(words_cleanup_))) struct words

/* A number as a word must live until the command is appended: the caller gives the room. */
static const char *decimal(char room[24], int64_t number)
{
    (void)snprintf(room, 24, "%lld", (long long)number);
    return room;
}

static void begin_function(const struct bk_queue *queue, struct words *words, const char *function)
{
    push_text(words, "FCALL");
    push_text(words, function);
    push_text(words, "1");
    push_text(words, queue->inbox);
}

/* --- the connection ----------------------------------------------------------------------------------------------- */

struct bk_queue *bk_queue_open(const struct bk_queue_options *options)
{
    struct bk_queue *queue = bk_zalloc(sizeof(*queue));
    queue->options = *options;
    BK_AUTO_TEXT text = {0};
    bk_text_printf(&text, "{%s}:", options->name);
    queue->prefix = bk_strdup(text.data);
    bk_text_puts(&text, "inbox");
    queue->inbox = BK_STEAL(text.data);
    return queue;
}

struct bk_queue *bk_queue_close(struct bk_queue *queue)
{
    if (queue) {
        (void)bk_redis_close(queue->redis);
        free(queue->prefix);
        free(queue->inbox);
        free(queue);
    }
    return NULL;
}

/* Closes; where the server sent us, if it did, is where the next connection goes. */
static void drop_connection(struct bk_queue *queue)
{
    if (queue->redis && *bk_redis_moved_to(queue->redis))
        (void)snprintf(queue->node, sizeof(queue->node), "%s", bk_redis_moved_to(queue->redis));
    queue->redis = bk_redis_close(queue->redis);
}

static enum bk_status hello(struct bk_queue *queue, bk_ms deadline, int64_t *version, struct bk_error *error)
{
    AUTO_WORDS words = {0};
    begin_function(queue, &words, "booking_hello");
    BK_AUTO(bk_reply) *reply = NULL;
    enum bk_status status = bk_redis_call(queue->redis, words.count, words.at, deadline, &reply, error);
    if (status == BK_MISSING) {
        *version = 0;
        return BK_OK;
    }
    if (status == BK_OK)
        *version = bk_reply_integer(reply, 0);
    return status;
}

/* Loads our functions where there are none or older ones. Newer ones stay: whoever brought them can speak to us. */
static enum bk_status see_to_functions(struct bk_queue *queue, bk_ms deadline, struct bk_error *error)
{
    int64_t version = 0;
    enum bk_status status = hello(queue, deadline, &version, error);
    if (status != BK_OK || version >= BK_QUEUE_VERSION)
        return status;
    const struct bk_span words[] = {bk_span_of("FUNCTION"),
                                    bk_span_of("LOAD"),
                                    bk_span_of("REPLACE"),
                                    {(const char *)bk_queue_library[0].data, bk_queue_library[0].size}};
    BK_AUTO(bk_reply) *reply = NULL;
    status = bk_redis_call(queue->redis, BK_COUNT(words), words, deadline, &reply, error);
    if (status != BK_OK) {
        bk_error_prefix(error, "the queue's functions (version %d) cannot be loaded; run bookingctl migrate",
                        BK_QUEUE_VERSION);
        return status;
    }
    status = hello(queue, deadline, &version, error);
    if (status == BK_OK && version < BK_QUEUE_VERSION)
        return bk_fail(error, BK_OUTAGE, "somebody else keeps loading older queue functions (version %lld)",
                       (long long)version);
    return status;
}

/* A copy of the URL that leads to one node of a cluster; the caller frees the host. */
static bool url_of_node(const struct bk_redis_url *url, const char *node, struct bk_redis_url *out)
{
    const char *colon = strrchr(node, ':');
    int64_t port = 0;
    if (!colon || !bk_parse_integer(bk_span_of(colon + 1), &port) || port < 1 || port > 65535)
        return false;
    *out = *url;
    out->unix_path = NULL;
    out->host_count = 1;
    out->hosts[0] = bk_strndup(node, (size_t)(colon - node));
    out->ports[0] = (int)port;
    return true;
}

static enum bk_status open_connection(struct bk_queue *queue, bk_ms deadline, struct bk_error *error)
{
    struct bk_redis_url node;
    if (!queue->node[0] || !url_of_node(queue->options.url, queue->node, &node))
        return bk_redis_open(&queue->redis, queue->options.url, deadline, error);
    enum bk_status status = bk_redis_open(&queue->redis, &node, deadline, error);
    free(node.hosts[0]);
    return status;
}

/* In a cluster, the node that was asked may send us to the one that has our keys, and after a failover or a move of
 * slots to another. A node that does not answer is forgotten: the next try begins at the URL. */
enum bk_status bk_queue_connect(struct bk_queue *queue, struct bk_error *error)
{
    if (queue->redis && !bk_redis_broken(queue->redis))
        return BK_OK;
    bk_ms deadline = bk_clock_now() + queue->options.connect_timeout_ms;
    enum bk_status status = BK_OUTAGE;
    for (int hops = 0; hops < HOPS_MOST; hops++) {
        drop_connection(queue);
        status = open_connection(queue, deadline, error);
        if (status != BK_OK)
            queue->node[0] = '\0';
        else
            status = see_to_functions(queue, deadline, error);
        if (status == BK_OK || !queue->redis || !*bk_redis_moved_to(queue->redis))
            break;
    }
    if (status != BK_OK)
        drop_connection(queue);
    /* whatever was lost on the way, nothing of the caller's was sent */
    if (status == BK_UNKNOWN && error)
        error->status = BK_OUTAGE;
    return status == BK_UNKNOWN ? BK_OUTAGE : status;
}

/* After these the connection leads to a server that cannot serve us: look for the right one next time. */
static void judge_connection(struct bk_queue *queue, enum bk_status status)
{
    bool useless = status == BK_OUTAGE || status == BK_UNKNOWN || status == BK_MISSING || status == BK_OPERATOR;
    if (queue->redis && (useless || bk_redis_broken(queue->redis)))
        drop_connection(queue);
}

static enum bk_status call_within(struct bk_queue *queue, const struct words *words, bk_ms timeout_ms,
                                  struct bk_reply **reply, struct bk_error *error)
{
    enum bk_status status = bk_queue_connect(queue, error);
    if (status != BK_OK)
        return status;
    status = bk_redis_call(queue->redis, words->count, words->at, bk_clock_now() + timeout_ms, reply, error);
    judge_connection(queue, status);
    return status;
}

static enum bk_status call(struct bk_queue *queue, const struct words *words, struct bk_reply **reply,
                           struct bk_error *error)
{
    return call_within(queue, words, queue->options.call_timeout_ms, reply, error);
}

/* --- a worker's life ---------------------------------------------------------------------------------------------- */

static void push_life(struct bk_queue *queue, struct words *words, const char *function, const char *worker,
                      const char *lease, const struct bk_queue_fact *facts, size_t count)
{
    begin_function(queue, words, function);
    push_text(words, worker);
    push_text(words, lease);
    for (size_t i = 0; i < count; i++) {
        push_text(words, facts[i].name);
        push_text(words, facts[i].value);
    }
}

enum bk_status bk_queue_join(struct bk_queue *queue, const char *worker, bk_ms lease_ms,
                             const struct bk_queue_fact *facts, size_t count, int64_t *recovered,
                             struct bk_error *error)
{
    AUTO_WORDS words = {0};
    char lease[24];
    push_life(queue, &words, "booking_join", worker, decimal(lease, lease_ms), facts, count);
    BK_AUTO(bk_reply) *reply = NULL;
    enum bk_status status = call(queue, &words, &reply, error);
    if (status == BK_OK)
        *recovered = bk_reply_integer(bk_reply_at(reply, 1), 0);
    if (status != BK_OK)
        bk_error_prefix(error, "join");
    return status;
}

enum bk_status bk_queue_beat(struct bk_queue *queue, const char *worker, bk_ms lease_ms,
                             const struct bk_queue_fact *facts, size_t count, struct bk_pulse *pulse,
                             struct bk_error *error)
{
    AUTO_WORDS words = {0};
    char lease[24];
    push_life(queue, &words, "booking_beat", worker, decimal(lease, lease_ms), facts, count);
    BK_AUTO(bk_reply) *reply = NULL;
    enum bk_status status = call(queue, &words, &reply, error);
    if (status != BK_OK) {
        bk_error_prefix(error, "beat");
        return status;
    }
    struct bk_span current = bk_reply_text(bk_reply_at(reply, 2));
    struct bk_span breaker = bk_reply_text(bk_reply_at(reply, 3));
    pulse->alive = bk_reply_integer(bk_reply_at(reply, 1), 0) == 1;
    pulse->fenced = !pulse->alive && current.size > 0 && !bk_span_is(current, worker);
    pulse->number = bk_reply_integer(bk_reply_at(reply, 4), 0);
    (void)snprintf(pulse->breaker, sizeof(pulse->breaker), "%.*s", (int)breaker.size, breaker.at ? breaker.at : "");
    return BK_OK;
}

enum bk_status bk_queue_leave(struct bk_queue *queue, const char *worker, int64_t *handed_back, struct bk_error *error)
{
    AUTO_WORDS words = {0};
    begin_function(queue, &words, "booking_leave");
    push_text(&words, worker);
    BK_AUTO(bk_reply) *reply = NULL;
    enum bk_status status = call(queue, &words, &reply, error);
    if (status == BK_OK)
        *handed_back = bk_reply_integer(bk_reply_at(reply, 1), 0);
    if (status != BK_OK)
        bk_error_prefix(error, "leave");
    return status;
}

/* --- a lane's turn ------------------------------------------------------------------------------------------------ */

struct settlement_numbers {
    char delay[24];
    char attempts[24];
};

static void push_settlement(struct words *words, const struct bk_settlement *s, struct settlement_numbers *numbers)
{
    const char *unsure = s->unsure ? "1" : "0";
    switch (s->fate) {
    case BK_FATE_DONE:
        push_text(words, s->reply_id.size ? "reply" : "done");
        push(words, s->ticket);
        if (s->reply_id.size) {
            push(words, s->reply_id);
            push_text(words, s->reply_json);
        }
        return;
    case BK_FATE_RETRY:
        push_text(words, "retry");
        push(words, s->ticket);
        push_text(words, decimal(numbers->delay, s->delay_ms));
        push_text(words, unsure);
        push_text(words, s->error);
        return;
    case BK_FATE_REQUEUE:
        push_text(words, "requeue");
        push(words, s->ticket);
        push_text(words, unsure);
        push_text(words, s->error);
        return;
    case BK_FATE_FREE:
        push_text(words, "free");
        push(words, s->ticket);
        return;
    case BK_FATE_DEAD:
        push_text(words, "dead");
        push(words, s->ticket);
        push_text(words, s->reason);
        push_text(words, s->sqlstate);
        push_text(words, s->error);
        push(words, s->reply_id);
        push_text(words, s->reply_json);
        push_text(words, decimal(numbers->attempts, s->attempts));
        return;
    }
}

static void append_settle(struct bk_queue *queue, const struct bk_turn_name *name,
                          const struct bk_settlement *settlements, size_t count)
{
    AUTO_WORDS words = {0};
    char lane[24];
    char number[24];
    struct settlement_numbers *numbers = bk_alloc(count * sizeof(*numbers));
    begin_function(queue, &words, "booking_settle");
    push_text(&words, name->worker);
    push_text(&words, decimal(lane, name->lane));
    push_text(&words, decimal(number, (int64_t)name->settles));
    for (size_t i = 0; i < count; i++)
        push_settlement(&words, &settlements[i], &numbers[i]);
    bk_redis_append(queue->redis, words.count, words.at);
    free(numbers);
}

static void append_take(struct bk_queue *queue, const struct bk_turn_name *name, const struct bk_take *take)
{
    AUTO_WORDS words = {0};
    char lane[24];
    char number[24];
    char want[24];
    char careful[24];
    begin_function(queue, &words, "booking_take");
    push_text(&words, take->worker);
    push_text(&words, decimal(lane, name->lane));
    push_text(&words, decimal(number, (int64_t)name->number));
    push_text(&words, decimal(want, take->want));
    push_text(&words, take->resume ? "1" : "0");
    push_text(&words, decimal(careful, take->careful));
    bk_redis_append(queue->redis, words.count, words.at);
}

void bk_taken_read(struct bk_reply *reply, struct bk_taken *taken)
{
    const struct bk_reply *jobs = bk_reply_at(reply, 6);
    *taken = (struct bk_taken){
        .now = bk_reply_integer(bk_reply_at(reply, 0), 0),
        .next_due = bk_reply_integer(bk_reply_at(reply, 1), 0),
        .paused = bk_reply_integer(bk_reply_at(reply, 2), 0) == 1,
        .recovered = bk_reply_integer(bk_reply_at(reply, 3), 0),
        .more = bk_reply_integer(bk_reply_at(reply, 4), 0) == 1,
        .count = bk_reply_count(jobs),
        .reply = reply,
    };
    struct bk_span last = bk_reply_text(bk_reply_at(reply, 5));
    (void)snprintf(taken->last_id, sizeof(taken->last_id), "%.*s", (int)last.size, last.at ? last.at : "");
    taken->jobs = bk_alloc(taken->count * sizeof(*taken->jobs));
    for (size_t i = 0; i < taken->count; i++) {
        const struct bk_reply *job = bk_reply_at(jobs, i);
        taken->jobs[i] = (struct bk_queue_job){bk_reply_text(bk_reply_at(job, 0)), bk_reply_at(job, 1)};
    }
}

void bk_taken_deinit(struct bk_taken *taken)
{
    free(taken->jobs);
    (void)bk_reply_free(taken->reply);
    *taken = (struct bk_taken){0};
}

enum bk_status bk_queue_turn(struct bk_queue *queue, const struct bk_turn_name *name,
                             const struct bk_settlement *settlements, size_t count, const struct bk_take *take,
                             struct bk_turn *turn, struct bk_taken *taken, struct bk_error *error)
{
    *turn = (struct bk_turn){.settled = count == 0};
    enum bk_status status = bk_queue_connect(queue, error);
    if (status != BK_OK)
        return status;
    bk_ms deadline = bk_clock_now() + queue->options.call_timeout_ms;
    if (count)
        append_settle(queue, name, settlements, count);
    if (take)
        append_take(queue, name, take);
    if (count) {
        BK_AUTO(bk_reply) *reply = NULL;
        bk_crash_name_request("settle_sent");
        status = bk_redis_receive(queue->redis, deadline, &reply, error);
        if (status == BK_OK) {
            turn->settled = true;
            turn->freed = bk_reply_integer(bk_reply_at(reply, 1), 0);
            turn->lost = bk_reply_count(bk_reply_at(reply, 2));
        } else {
            bk_error_prefix(error, "settle");
            /* the take behind it must not be believed to have happened: its answer is thrown away with the
             * connection, and the next one resumes */
            drop_connection(queue);
            return status;
        }
    }
    if (take) {
        struct bk_reply *reply = NULL;
        status = bk_redis_receive(queue->redis, deadline, &reply, error);
        if (status == BK_OK)
            bk_taken_read(reply, taken);
        else
            bk_error_prefix(error, "take");
    }
    judge_connection(queue, status);
    return status;
}

enum bk_status bk_queue_watch(struct bk_queue *queue, const char *last_id, bk_ms block_ms, bool *arrived,
                              struct bk_error *error)
{
    AUTO_WORDS words = {0};
    char block[24];
    push_text(&words, "XREAD");
    push_text(&words, "COUNT");
    push_text(&words, "1");
    push_text(&words, "BLOCK");
    push_text(&words, decimal(block, block_ms));
    push_text(&words, "STREAMS");
    push_text(&words, queue->inbox);
    push_text(&words, *last_id ? last_id : "0-0");
    BK_AUTO(bk_reply) *reply = NULL;
    enum bk_status status = call_within(queue, &words, block_ms + queue->options.call_timeout_ms, &reply, error);
    if (status == BK_OK)
        *arrived = bk_reply_type(reply) == BK_REPLY_ARRAY;
    if (status != BK_OK)
        bk_error_prefix(error, "watch");
    return status;
}

/* --- producers ---------------------------------------------------------------------------------------------------- */

void bk_queue_add(struct bk_queue *queue, size_t count, const struct bk_span *words)
{
    AUTO_WORDS all = {0};
    push_text(&all, "XADD");
    push_text(&all, queue->inbox);
    push_text(&all, "*");
    for (size_t i = 0; i < count; i++)
        push(&all, words[i]);
    bk_redis_append(queue->redis, all.count, all.at);
}

enum bk_status bk_queue_added(struct bk_queue *queue, char ticket[48], struct bk_error *error)
{
    BK_AUTO(bk_reply) *reply = NULL;
    bk_ms deadline = bk_clock_now() + queue->options.call_timeout_ms;
    enum bk_status status = bk_redis_receive(queue->redis, deadline, &reply, error);
    struct bk_span text = bk_reply_text(reply);
    if (status == BK_OK)
        (void)snprintf(ticket, 48, "%.*s", (int)text.size, text.at ? text.at : "");
    return status;
}

bool bk_queue_lost(const struct bk_queue *queue)
{
    return !queue->redis || bk_redis_broken(queue->redis);
}

/* --- the dead ----------------------------------------------------------------------------------------------------- */

enum bk_status bk_queue_dead_act(struct bk_queue *queue, const char *verb, const char *who, const char *why,
                                 size_t count, const struct bk_span *tickets, struct bk_reply **out,
                                 struct bk_error *error)
{
    AUTO_WORDS words = {0};
    begin_function(queue, &words, "booking_dead_act");
    push_text(&words, verb);
    push_text(&words, who);
    push_text(&words, why);
    for (size_t i = 0; i < count; i++)
        push(&words, tickets[i]);
    return call(queue, &words, out, error);
}

/* --- looking at it ------------------------------------------------------------------------------------------------ */

const struct bk_reply *bk_reply_field(const struct bk_reply *pairs, const char *name)
{
    for (size_t i = 0; i + 1 < bk_reply_count(pairs); i += 2) {
        if (bk_span_is(bk_reply_text(bk_reply_at(pairs, i)), name))
            return bk_reply_at(pairs, i + 1);
    }
    return NULL;
}

enum bk_status bk_queue_read_status(struct bk_queue *queue, struct bk_queue_status *status, struct bk_error *error)
{
    AUTO_WORDS words = {0};
    begin_function(queue, &words, "booking_status");
    BK_AUTO(bk_reply) *reply = NULL;
    enum bk_status result = call(queue, &words, &reply, error);
    if (result != BK_OK) {
        bk_error_prefix(error, "status");
        return result;
    }
#define BK_QUEUE_COUNT(name) status->name = bk_reply_integer(bk_reply_field(reply, #name), 0);
    BK_QUEUE_COUNTS(BK_QUEUE_COUNT)
#undef BK_QUEUE_COUNT
    return BK_OK;
}

enum bk_status bk_queue_configure(struct bk_queue *queue, const char *who, const char *verb, const char *name,
                                  const char *value, struct bk_error *error)
{
    AUTO_WORDS words = {0};
    begin_function(queue, &words, "booking_configure");
    push_text(&words, who);
    push_text(&words, verb);
    push_text(&words, name);
    push_text(&words, value);
    BK_AUTO(bk_reply) *reply = NULL;
    return call(queue, &words, &reply, error);
}

enum bk_status bk_queue_function(struct bk_queue *queue, const char *function, size_t count,
                                 const struct bk_span *arguments, struct bk_reply **out, struct bk_error *error)
{
    AUTO_WORDS words = {0};
    begin_function(queue, &words, function);
    for (size_t i = 0; i < count; i++)
        push(&words, arguments[i]);
    return call(queue, &words, out, error);
}

enum bk_status bk_queue_command(struct bk_queue *queue, size_t count, const struct bk_span *words, size_t key_at,
                                struct bk_reply **out, struct bk_error *error)
{
    AUTO_WORDS all = {0};
    BK_AUTO_TEXT key = {0};
    bk_text_puts(&key, queue->prefix);
    bk_text_add(&key, words[key_at].at, words[key_at].size);
    for (size_t i = 0; i < count; i++)
        push(&all, i == key_at ? (struct bk_span){key.data, key.size} : words[i]);
    return call(queue, &all, out, error);
}

enum bk_status bk_queue_raw(struct bk_queue *queue, size_t count, const struct bk_span *words, struct bk_reply **out,
                            struct bk_error *error)
{
    AUTO_WORDS all = {0};
    for (size_t i = 0; i < count; i++)
        push(&all, words[i]);
    return call(queue, &all, out, error);
}
