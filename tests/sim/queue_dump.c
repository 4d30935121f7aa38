/* queue_dump.c - see queue_dump.h. A line for each key: its name, then what is in it. */
#include "tests/sim/queue_dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- of Redis, in one call ------------------------------------------------------------------------------------------------------ */

static const char script[] =
    "local p, out = ARGV[1], {}\n"
    "local ignored = { lease_ms = true, beat_at = true }\n"
    "local function pairs_of(key, sorted)\n"
    "  local flat, rows = redis.call('HGETALL', key), {}\n"
    "  for i = 1, #flat, 2 do\n"
    "    if flat[i + 1] ~= '' and flat[i + 1] ~= '0' and not ignored[flat[i]] then\n"
    "      rows[#rows + 1] = flat[i] .. '=' .. flat[i + 1]\n"
    "    end\n"
    "  end\n"
    "  if sorted then table.sort(rows) end\n"
    "  return table.concat(rows, '|')\n"
    "end\n"
    "local keys = redis.call('KEYS', p .. '*')\n"
    "table.sort(keys)\n"
    "for _, key in ipairs(keys) do\n"
    "  local name, text = string.sub(key, #p + 1)\n"
    "  local kind = string.match(name, '^[^:]+')\n"
    "  if kind == 'inbox' then\n"
    "    local rows = {}\n"
    "    for i, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do rows[i] = entry[1] end\n"
    "    text = table.concat(rows, '|')\n"
    "  elseif kind == 'audit' then text = redis.call('XLEN', key)\n"
    "  elseif kind == 'reply' then text = redis.call('LLEN', key)\n"
    "  elseif kind == 'ready' or kind == 'line' then text = table.concat(redis.call('LRANGE', key, 0, -1), '|')\n"
    "  elseif kind == 'job' or kind == 'gate' or kind == 'config' or kind == 'worker' or kind == 'charged' then\n"
    "    text = pairs_of(key, true)\n"
    "  elseif kind == 'active' then text = pairs_of(key, false)\n"
    "  else text = table.concat(redis.call('ZRANGE', key, 0, -1, 'WITHSCORES'), '|') end\n"
    "  if text ~= '' then out[#out + 1] = name .. ' ' .. text .. '\\n' end\n"
    "end\n"
    "return table.concat(out)\n";

enum bk_status redis_dump(struct bk_redis *redis, const char *prefix, struct bk_text *out, struct bk_error *error)
{
    const struct bk_span words[] = {bk_span_of("EVAL"), bk_span_of(script), bk_span_of("0"), bk_span_of(prefix)};
    BK_AUTO(bk_reply) *reply = NULL;
    enum bk_status status = bk_redis_call(redis, BK_COUNT(words), words, bk_clock_now() + 5000, &reply, error);
    struct bk_span text = bk_reply_text(reply);
    if (status == BK_OK)
        bk_text_add(out, text.at ? text.at : "", text.size);
    return status;
}

/* --- of the model ------------------------------------------------------------------------------------------------------------------ */

enum { LINES_MOST = 2048, PAIRS_MOST = 600 };

struct lines {
    size_t count;
    char *at[LINES_MOST];
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* As Lua sorts the keys: "a b" stands behind "a", whatever follows it. */
static int by_name(const void *a, const void *b)
{
    const char *x = *(char *const *)a;
    const char *y = *(char *const *)b;
    size_t n = strcspn(x, " ");
    size_t m = strcspn(y, " ");
    int order = memcmp(x, y, BK_MIN(n, m));
    return order ? order : (n > m) - (n < m);
}

static void add_line(struct lines *lines, struct bk_text *text)
{
    size_t space = strcspn(bk_text_string(text), " ");
    if (text->size <= space + 1) {
        bk_text_deinit(text);
        return;
    }
    BK_ASSERT(lines->count < LINES_MOST);
    lines->at[lines->count++] = BK_STEAL(text->data);
    *text = (struct bk_text){0};
}

static void separate(struct bk_text *text)
{
    if (text->data[text->size - 1] != ' ')
        bk_text_putc(text, '|');
}

static void add_jobs(const struct queue_model *q, struct lines *lines, const char *name, const int *jobs, int count)
{
    struct bk_text text = {0};
    bk_text_printf(&text, "%s ", name);
    for (int i = 0; i < count; i++) {
        separate(&text);
        bk_text_puts(&text, q->jobs[jobs[i]].ticket);
    }
    add_line(lines, &text);
}

static void add_zset(const struct queue_model *q, struct lines *lines, const char *name, const struct qm_zset *set)
{
    struct bk_text text = {0};
    bk_text_printf(&text, "%s ", name);
    for (int i = 0; i < set->count; i++) {
        separate(&text);
        bk_text_printf(&text, "%s|%lld", q->jobs[set->at[i].job].ticket, (long long)set->at[i].score);
    }
    add_line(lines, &text);
}

/* Pairs of a hash, to be sorted. */
struct pairs {
    size_t count;
    char *at[PAIRS_MOST];
};

static void add_pair(struct pairs *pairs, const char *name, struct bk_span value)
{
    if (value.size == 0 || bk_span_is(value, "0"))
        return;
    BK_AUTO_TEXT text = {0};
    bk_text_printf(&text, "%s=", name);
    bk_text_add(&text, value.at, value.size);
    BK_ASSERT(pairs->count < PAIRS_MOST);
    pairs->at[pairs->count++] = BK_STEAL(text.data);
}

static void add_number(struct pairs *pairs, const char *name, int64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%lld", (long long)number);
    add_pair(pairs, name, bk_span_of(text));
}

static void end_pairs(struct lines *lines, struct pairs *pairs, struct bk_text *text)
{
    qsort(pairs->at, pairs->count, sizeof(pairs->at[0]), by_text);
    for (size_t i = 0; i < pairs->count; i++) {
        separate(text);
        bk_text_puts(text, pairs->at[i]);
        free(pairs->at[i]);
    }
    pairs->count = 0;
    add_line(lines, text);
}

/* queue.lua's raw_fields. */
static void add_raw(struct pairs *pairs, const struct qm_job *job)
{
    static const char *const shown[] = {"id", "kind", "key", "traceparent"};
    BK_AUTO_TEXT raw = {0};
    unsigned seen = 0;
    for (size_t i = 0; i < job->field_count; i++) {
        struct bk_span value = job->fields[i];
        bk_text_printf(&raw, "%zu:", value.size);
        bk_text_add(&raw, value.at, value.size);
        bk_text_putc(&raw, ',');
        for (size_t k = 0; i % 2 == 1 && k < BK_COUNT(shown); k++) {
            if (!bk_span_is(job->fields[i - 1], shown[k]) || seen >> k & 1U || value.size > 128)
                continue;
            seen |= 1U << k;
            add_pair(pairs, shown[k], value);
        }
    }
    add_pair(pairs, "raw", (struct bk_span){raw.data, raw.size});
}

static void add_hash(const struct queue_model *q, struct lines *lines, const struct qm_job *job)
{
    static const char *const states[] = {"", "scheduled", "waiting", "ready", "retry", "dead"};
    struct pairs pairs = {0};
    struct bk_text text = {0};
    bk_text_printf(&text, "job:%s ", job->ticket);
    if (job->gate == QM_NONE)
        add_raw(&pairs, job);
    for (size_t i = 0; job->gate != QM_NONE && i < job->field_count; i += 2) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%.*s", (int)job->fields[i].size, job->fields[i].at);
        add_pair(&pairs, name, job->fields[i + 1]);
    }
    add_pair(&pairs, "state", bk_span_of(states[job->state]));
    add_number(&pairs, "attempts", job->attempts);
    add_number(&pairs, "requeues", job->requeues);
    add_number(&pairs, "deliveries", job->deliveries);
    add_number(&pairs, "unsure", job->unsure);
    add_number(&pairs, "died_at", job->died_at);
    add_number(&pairs, "retried_at", job->retried_at);
    add_pair(&pairs, "error", bk_span_of(job->error));
    add_pair(&pairs, "reason", bk_span_of(job->reason ? job->reason : ""));
    add_pair(&pairs, "sqlstate", bk_span_of(job->sqlstate));
    if (job->died_at_worker != QM_NONE)
        add_pair(&pairs, "worker", bk_span_of(q->workers[job->died_at_worker].text));
    add_pair(&pairs, "history", (struct bk_span){job->history.data, job->history.size});
    end_pairs(lines, &pairs, &text);
}

static void add_charge(struct pairs *pairs, const struct qm_job *job, int k)
{
    char text[64];
    int size = snprintf(text, sizeof(text), "%u/%llu:", job->charged[k].lane, (unsigned long long)job->charged[k].turn);
    if (job->charged[k].since)
        (void)snprintf(text + size, sizeof(text) - (size_t)size, "%lld", (long long)job->charged[k].since);
    add_pair(pairs, job->ticket, bk_span_of(text));
}

static void add_worker(const struct queue_model *q, struct lines *lines, int number)
{
    const struct qm_worker *worker = &q->workers[number];
    struct bk_text text = {0};
    bk_text_printf(&text, "active:%s ", worker->text);
    for (int i = 0; i < worker->active_count; i++) {
        const struct qm_held *held = &worker->active[i];
        int gate = q->jobs[held->job].gate;
        separate(&text);
        bk_text_printf(&text, "%s=%u/%llu:%s", q->jobs[held->job].ticket, held->lane, (unsigned long long)held->turn,
                       gate == QM_NONE ? "" : q->gates[gate].name);
    }
    add_line(lines, &text);
    struct pairs pairs = {0};
    bk_text_printf(&text, "charged:%s ", worker->text);
    for (int i = 0; i < q->job_count; i++) {
        for (int k = 0; k < q->jobs[i].charges; k++) {
            if (q->jobs[i].charged[k].worker == number)
                add_charge(&pairs, &q->jobs[i], k);
        }
    }
    end_pairs(lines, &pairs, &text);
}

static void add_name(const struct queue_model *q, struct lines *lines, const struct qm_name *name)
{
    struct pairs pairs = {0};
    struct bk_text text = {0};
    char field[16];
    bk_text_printf(&text, "worker:%s ", name->text);
    if (name->incarnation != QM_NONE)
        add_pair(&pairs, "incarnation", bk_span_of(q->workers[name->incarnation].text));
    if (name->number != QM_NONE)
        add_number(&pairs, "number", name->number);
    for (unsigned lane = 0; lane < QM_LANES; lane++) {
        (void)snprintf(field, sizeof(field), "take:%u", lane);
        add_number(&pairs, field, (int64_t)name->taken[lane]);
        (void)snprintf(field, sizeof(field), "settle:%u", lane);
        add_number(&pairs, field, (int64_t)name->settled[lane]);
    }
    end_pairs(lines, &pairs, &text);
}

static int by_lease(const struct qm_worker *a, const struct qm_worker *b)
{
    return a->lease != b->lease ? (a->lease > b->lease) - (a->lease < b->lease) : strcmp(a->text, b->text);
}

static void add_members(const struct queue_model *q, struct lines *lines)
{
    const struct qm_worker *members[BK_COUNT(q->workers)];
    int count = 0;
    for (int i = 0; i < q->worker_count; i++) {
        if (!q->workers[i].member)
            continue;
        int k = count++;
        for (; k > 0 && by_lease(&q->workers[i], members[k - 1]) < 0; k--)
            members[k] = members[k - 1];
        members[k] = &q->workers[i];
    }
    struct bk_text text = {0};
    bk_text_puts(&text, "workers ");
    for (int i = 0; i < count; i++) {
        separate(&text);
        bk_text_printf(&text, "%s|%lld", members[i]->text, (long long)members[i]->lease);
    }
    add_line(lines, &text);
}

static void add_gates(const struct queue_model *q, struct lines *lines)
{
    static struct {
        char *at[BK_COUNT(q->gates)];
    } sorted;
    size_t count = 0;
    struct bk_text text = {0};
    for (int i = 0; i < q->gate_count; i++) {
        const struct qm_gate *gate = &q->gates[i];
        bk_text_clear(&text);
        char name[140];
        (void)snprintf(name, sizeof(name), "line:%s", gate->name);
        add_jobs(q, lines, name, gate->line.at, gate->line.count);
        if (gate->count == 0)
            continue;
        bk_text_printf(&text, "%s=%d", gate->name, gate->count);
        sorted.at[count++] = bk_strdup(text.data);
    }
    qsort(sorted.at, count, sizeof(sorted.at[0]), by_text);
    bk_text_clear(&text);
    bk_text_puts(&text, "gate ");
    for (size_t i = 0; i < count; i++) {
        separate(&text);
        bk_text_puts(&text, sorted.at[i]);
        free(sorted.at[i]);
    }
    add_line(lines, &text);
}

static void add_switches(const struct queue_model *q, struct lines *lines)
{
    struct pairs pairs = {0};
    struct bk_text text = {0};
    bk_text_puts(&text, "config ");
    add_number(&pairs, "paused", q->paused);
    add_pair(&pairs, "breaker", bk_span_of(q->breaker));
    add_number(&pairs, "incarnations", q->incarnations);
    end_pairs(lines, &pairs, &text);
    for (int i = 0; i < q->reply_count; i++) {
        bk_text_printf(&text, "reply:%s %d", q->replies[i].id, q->replies[i].count);
        add_line(lines, &text);
    }
    if (q->audit > 0) {
        bk_text_printf(&text, "audit %d", q->audit);
        add_line(lines, &text);
    }
}

void qm_dump(const struct queue_model *q, struct bk_text *out)
{
    static struct lines lines;
    lines.count = 0;
    add_jobs(q, &lines, "inbox", q->inbox.at, q->inbox.count);
    add_jobs(q, &lines, "ready", q->ready.at, q->ready.count);
    add_zset(q, &lines, "scheduled", &q->scheduled);
    add_zset(q, &lines, "retry", &q->retry);
    add_zset(q, &lines, "dead", &q->dead);
    for (int i = 0; i < q->job_count; i++) {
        if (q->jobs[i].kept)
            add_hash(q, &lines, &q->jobs[i]);
    }
    for (int i = 0; i < q->worker_count; i++)
        add_worker(q, &lines, i);
    for (int i = 0; i < q->name_count; i++)
        add_name(q, &lines, &q->names[i]);
    add_members(q, &lines);
    add_gates(q, &lines);
    add_switches(q, &lines);
    qsort(lines.at, lines.count, sizeof(lines.at[0]), by_name);
    for (size_t i = 0; i < lines.count; i++) {
        bk_text_puts(out, lines.at[i]);
        bk_text_putc(out, '\n');
        free(lines.at[i]);
    }
}
