/* ledger_model.c - see ledger_model.h. */
#include "tests/sim/ledger_model.h"

#include <stdio.h>
#include <string.h>

const char *const lm_outcome_names[] = {"applied", "rejected", "dead"};

void lm_reset(struct ledger_model *l, const struct sim_command *commands, unsigned sabotage)
{
    memset(l, 0, sizeof(*l));
    l->commands = commands;
    l->sabotage = sabotage;
}

static void foul(struct ledger_model *l, const char *what, int command)
{
    if (l->foul)
        return;
    l->foul = what;
    l->foul_command = command;
}

/* --- what a command does -------------------------------------------------------------------------------------------------- */

static bool is_active(const struct lm_booking *b)
{
    return b->there && (b->status == LM_PENDING || b->status == LM_CONFIRMED);
}

static bool is_taken(const struct lm_booking *bookings, int self, int resource, int from, int to)
{
    for (int i = 0; i < SIM_BOOKINGS; i++) {
        const struct lm_booking *b = &bookings[i];
        if (i != self && is_active(b) && b->resource == resource && b->from < to && from < b->to)
            return true;
    }
    return false;
}

static struct lm_answer rejected(const char *code, int version)
{
    return (struct lm_answer){LM_REJECTED, code, version, false};
}

static struct lm_answer judge_create(const struct sim_command *c, struct lm_booking *bookings)
{
    struct lm_booking *b = &bookings[c->booking];
    if (b->there)
        return rejected("booking_exists", b->version);
    if (c->resource == SIM_RESOURCES)
        return rejected("unknown_resource", -1);
    if (is_taken(bookings, c->booking, c->resource, c->from, c->to))
        return rejected("slot_taken", -1);
    *b = (struct lm_booking){true, LM_PENDING, 1, c->resource, c->from, c->to};
    return (struct lm_answer){LM_APPLIED, NULL, 1, false};
}

static struct lm_answer judge_reschedule(const struct sim_command *c, struct lm_booking *bookings)
{
    struct lm_booking *b = &bookings[c->booking];
    int resource = c->resource < 0 ? b->resource : c->resource;
    if (!is_active(b))
        return rejected("not_active", b->version);
    if (c->expected && c->expected != b->version)
        return rejected("version_conflict", b->version);
    if (resource == SIM_RESOURCES)
        return rejected("unknown_resource", b->version);
    if (is_taken(bookings, c->booking, resource, c->from, c->to))
        return rejected("slot_taken", b->version);
    *b = (struct lm_booking){true, b->status, b->version + 1, resource, c->from, c->to};
    return (struct lm_answer){LM_APPLIED, NULL, b->version, false};
}

static struct lm_answer judge_transition(const struct sim_command *c, struct lm_booking *b)
{
    static const struct {
        bool from_pending;
        enum lm_status to;
        const char *refusal;
    } transitions[] = {[SIM_CONFIRM] = {true, LM_CONFIRMED, "not_pending"},
                       [SIM_CANCEL] = {true, LM_CANCELLED, "not_active"},
                       [SIM_COMPLETE] = {false, LM_COMPLETED, "not_confirmed"}};
    bool fits = (b->status == LM_PENDING && transitions[c->kind].from_pending) ||
                (b->status == LM_CONFIRMED && c->kind != SIM_CONFIRM);
    if (!fits)
        return rejected(transitions[c->kind].refusal, b->version);
    if (c->expected && c->expected != b->version)
        return rejected("version_conflict", b->version);
    b->status = transitions[c->kind].to;
    b->version++;
    return (struct lm_answer){LM_APPLIED, NULL, b->version, false};
}

struct lm_answer lm_judge(const struct sim_command *command, struct lm_booking *bookings)
{
    struct lm_booking *b = &bookings[command->booking];
    if (command->kind == SIM_CREATE)
        return judge_create(command, bookings);
    if (!b->there)
        return rejected("unknown_booking", -1);
    return command->kind == SIM_RESCHEDULE ? judge_reschedule(command, bookings) : judge_transition(command, b);
}

/* --- locks ------------------------------------------------------------------------------------------------------------------ */

static bool is_locked_id(const struct ledger_model *l, const struct lm_transaction *self, uint32_t ids)
{
    for (size_t i = 0; i < LM_TRANSACTIONS; i++) {
        const struct lm_transaction *t = &l->transactions[i];
        if (t != self && t->state != LM_FREE && t->ids & ids)
            return true;
    }
    return false;
}

static bool overlap(const struct lm_transaction *a, const struct lm_transaction *b)
{
    for (int i = 0; i < a->slot_count; i++) {
        for (int k = 0; k < b->slot_count; k++) {
            const struct lm_slot *x = &a->slots[i];
            const struct lm_slot *y = &b->slots[k];
            if (x->resource == y->resource && x->from < y->to && y->from < x->to)
                return true;
        }
    }
    return false;
}

static void want_slot(struct lm_transaction *t, int resource, int from, int to)
{
    t->slots[t->slot_count++] = (struct lm_slot){resource, from, to};
}

/* Takes the second step's locks, all or none: real ones come one by one, but in one order, so nobody waits in a circle. */
static bool lock_bookings(const struct ledger_model *l, struct lm_transaction *t)
{
    uint32_t bookings = 0;
    t->slot_count = 0;
    for (int i = 0; i < t->count; i++) {
        const struct sim_command *c = &l->commands[t->items[i].command];
        const struct lm_booking *b = &l->bookings[c->booking];
        if (t->known >> c->id & 1U || t->items[i].expired)
            continue;
        bookings |= 1U << c->booking;
        if (is_active(b)) /* its own slot: others must not see it go before the commit */
            want_slot(t, b->resource, b->from, b->to);
        if (c->kind == SIM_CREATE || c->kind == SIM_RESCHEDULE)
            want_slot(t, c->resource < 0 ? b->resource : c->resource, c->from, c->to);
    }
    for (size_t i = 0; i < LM_TRANSACTIONS; i++) {
        const struct lm_transaction *other = &l->transactions[i];
        bool holds = other != t && other->state != LM_FREE && other->bookings;
        if (holds && (other->bookings & bookings || overlap(other, t))) {
            t->slot_count = 0;
            return false;
        }
    }
    t->bookings = bookings;
    return true;
}

/* --- the steps of booking.apply --------------------------------------------------------------------------------------------- */

int lm_begin(struct ledger_model *l, const struct lm_item *items, int count)
{
    int i = 0;
    while (i < LM_TRANSACTIONS && l->transactions[i].state != LM_FREE)
        i++;
    BK_ASSERT(i < LM_TRANSACTIONS && count <= LM_BATCH);
    struct lm_transaction *t = &l->transactions[i];
    *t = (struct lm_transaction){.state = LM_WAITING, .step = 1, .arrival = ++l->arrivals, .count = count};
    memcpy(t->items, items, (size_t)count * sizeof(*items));
    for (int k = 0; k < count; k++) {
        int id = l->commands[items[k].command].id;
        t->known |= (uint32_t)l->rows[id].there << id;
    }
    return i;
}

void lm_fail(struct ledger_model *l, int transaction, const char *sqlstate)
{
    struct lm_transaction *t = &l->transactions[transaction];
    t->state = LM_FAILED;
    (void)snprintf(t->sqlstate, sizeof(t->sqlstate), "%s", sqlstate);
}

static int family(enum sim_kind kind)
{
    return kind == SIM_CREATE ? 2 : kind == SIM_RESCHEDULE ? 1 : 0;
}

/* Whether the first goes before the second in booking.apply: by family, then by slot. */
static bool goes_before(const struct sim_command *a, const struct sim_command *b)
{
    if (family(a->kind) != family(b->kind))
        return family(a->kind) < family(b->kind);
    unsigned x = (unsigned)a->resource; /* none comes last */
    unsigned y = (unsigned)b->resource;
    if (x != y)
        return x < y;
    if (a->from != b->from)
        return a->from < b->from;
    if (a->kind == SIM_RESCHEDULE && a->to != b->to)
        return a->to < b->to;
    return a->booking < b->booking;
}

static void put_in_order(const struct ledger_model *l, struct lm_transaction *t)
{
    for (int i = 0; i < t->count; i++) {
        int k = i;
        while (k > 0 &&
               goes_before(&l->commands[t->items[i].command], &l->commands[t->items[t->order[k - 1]].command])) {
            t->order[k] = t->order[k - 1];
            k--;
        }
        t->order[k] = i;
    }
}

static void execute(const struct ledger_model *l, struct lm_transaction *t, const char **sqlstate)
{
    memcpy(t->view, l->bookings, sizeof(t->view));
    put_in_order(l, t);
    for (int i = 0; i < t->count; i++) {
        struct lm_item *item = &t->items[t->order[i]];
        const struct sim_command *c = &l->commands[item->command];
        const struct lm_row *row = &l->rows[c->id];
        if (t->known >> c->id & 1U) {
            item->answer = row->answer;
            if (row->contents != c->contents)
                item->answer = (struct lm_answer){LM_DEAD, "id_reused", -1, true};
            item->answer.repeated = true;
            continue;
        }
        if (item->expired) {
            item->answer = (struct lm_answer){LM_DEAD, "expired", -1, false};
            continue;
        }
        if (c->flaw == SIM_REFUSED)
            *sqlstate = "22003";
        if (c->flaw == SIM_ODD && !l->mended)
            *sqlstate = "42804";
        item->answer = lm_judge(c, t->view);
    }
}

static uint32_t ids_of(const struct ledger_model *l, const struct lm_transaction *t, bool known)
{
    uint32_t ids = 0;
    for (int i = 0; i < t->count; i++)
        ids |= 1U << l->commands[t->items[i].command].id;
    return known ? ids & t->known : ids & ~t->known;
}

static void write_effects(struct ledger_model *l, struct lm_transaction *t);

enum lm_state lm_run(struct ledger_model *l, int transaction)
{
    struct lm_transaction *t = &l->transactions[transaction];
    BK_ASSERT(t->state == LM_WAITING);
    if (t->step == 1) {
        if (is_locked_id(l, t, ids_of(l, t, true)))
            return LM_WAITING;
        t->ids = ids_of(l, t, true);
        t->step = 2;
    }
    if (t->step == 2) {
        const char *sqlstate = NULL;
        if (!lock_bookings(l, t))
            return LM_WAITING;
        execute(l, t, &sqlstate);
        if (sqlstate) {
            lm_fail(l, transaction, sqlstate);
            return LM_FAILED;
        }
        t->step = 3;
        if (l->sabotage & LM_OUTSIDE)
            write_effects(l, t);
    }
    uint32_t fresh = ids_of(l, t, false);
    for (int id = 0; id < SIM_COMMANDS && !(l->sabotage & LM_NO_KEY); id++) {
        if (fresh >> id & 1U && l->rows[id].there) {
            lm_fail(l, transaction, "23505");
            return LM_FAILED;
        }
    }
    if (is_locked_id(l, t, fresh) && !(l->sabotage & LM_NO_KEY))
        return LM_WAITING;
    t->ids |= fresh;
    t->state = LM_EXECUTED;
    return LM_EXECUTED;
}

/* --- the end ---------------------------------------------------------------------------------------------------------------- */

static void check_overlaps(struct ledger_model *l, int command)
{
    for (int i = 0; i < SIM_BOOKINGS; i++) {
        const struct lm_booking *b = &l->bookings[i];
        if (is_active(b) && is_taken(l->bookings, i, b->resource, b->from, b->to))
            foul(l, "two active bookings overlap", command);
    }
}

static void write_effects(struct ledger_model *l, struct lm_transaction *t)
{
    for (int i = 0; i < t->count; i++) {
        const struct lm_item *item = &t->items[t->order[i]];
        const struct sim_command *c = &l->commands[item->command];
        if (item->answer.outcome != LM_APPLIED || item->answer.repeated)
            continue;
        if (++l->effects[c->id] > 1)
            foul(l, "an id has had two effects", item->command);
        int before = l->bookings[c->booking].there ? l->bookings[c->booking].version : 0;
        if (t->view[c->booking].version != before + 1)
            foul(l, "a booking's versions are not dense", item->command);
        l->bookings[c->booking] = t->view[c->booking];
        check_overlaps(l, item->command);
    }
}

void lm_commit(struct ledger_model *l, int transaction)
{
    struct lm_transaction *t = &l->transactions[transaction];
    BK_ASSERT(t->state == LM_EXECUTED);
    if (!(l->sabotage & LM_OUTSIDE))
        write_effects(l, t);
    for (int i = 0; i < t->count; i++) {
        const struct lm_item *item = &t->items[t->order[i]];
        const struct sim_command *c = &l->commands[item->command];
        if (item->answer.repeated)
            continue;
        l->rows[c->id] = (struct lm_row){true, c->contents, item->answer};
        if (l->history_count == (int)BK_COUNT(l->history))
            foul(l, "there are more first decisions than ids", item->command);
        else
            l->history[l->history_count++] = (struct lm_event){item->command, item->job, item->expired, item->answer};
    }
    t->state = LM_FREE;
}

void lm_abort(struct ledger_model *l, int transaction)
{
    l->transactions[transaction].state = LM_FREE;
}

int lm_next_waiting(const struct ledger_model *l, uint64_t behind)
{
    int first = -1;
    for (int i = 0; i < LM_TRANSACTIONS; i++) {
        const struct lm_transaction *t = &l->transactions[i];
        if (t->state == LM_WAITING && t->arrival > behind && (first < 0 || t->arrival < l->transactions[first].arrival))
            first = i;
    }
    return first;
}
