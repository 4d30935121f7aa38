/* people.c - who is neither a worker nor a server (world.h): producers, admins, and whoever pulls the plugs. */
#include <stdio.h>
#include <string.h>

#include "tests/sim/world.h"

enum { TICK_MS = 400, DOWN_OVER = 1, PAUSE_OVER, FORCE_OVER };

/* --- producers ---------------------------------------------------------------------------------------------------------------- */

void sim_people_begin(struct sim_world *w)
{
    for (int i = 0; i < w->setup.commands; i++) {
        if (w->chance.off->commands >> i & 1U)
            continue;
        w->to_send++;
        sim_later(w, w->commands[i].sent_at - w->now, (struct sim_event){.type = SIM_AT_PRODUCER, .data = i});
    }
    sim_later(w, TICK_MS, (struct sim_event){.type = SIM_AT_ADMIN});
}

static void wake_watchers(struct sim_world *w)
{
    for (int i = 0; i < SIM_SLOTS; i++) {
        struct sim_process *p = &w->processes[i];
        if (p->alive)
            sim_later(
                w, sim_between(&w->chance, SIM_REDIS, 1, 4),
                (struct sim_event){.type = SIM_AT_WATCHER, .slot = i, .life = p->life, .token = p->watcher_token});
    }
}

void sim_produce(struct sim_world *w, const struct sim_event *event)
{
    struct sim_chance *c = &w->chance;
    if (w->now < w->redis_down_until || w->now < w->redis_stall_until ||
        w->queue->job_count == SIM_TICKETS) { /* no answer: try again */
        sim_later(w, sim_between(c, SIM_PRODUCER, 50, 500), *event);
        return;
    }
    const struct sim_command *command = &w->commands[event->data];
    char ticket[32];
    w->last_sequence = w->now == w->last_ms ? w->last_sequence + 1 : 0;
    w->last_ms = w->now;
    (void)snprintf(ticket, sizeof(ticket), "%lld-%d", (long long)w->now, w->last_sequence);
    int job = qm_add(w->queue, ticket, command->fields, command->field_count);
    w->tickets[job] = (struct sim_ticket){.command = event->data};
    w->to_send--;
    if (w->verbose) {
        char text[200];
        sim_describe_command(command, text, sizeof(text));
        sim_say(w, "producer: ticket %d is %s", job, text);
    }
    if (w->queue->job_count < SIM_TICKETS / 2 && sim_fault(c, SIM_resend, SIM_PRODUCER)) {
        w->to_send++;
        sim_later(w, sim_between(c, SIM_PRODUCER, 1, 3000), *event);
    }
    wake_watchers(w);
}

/* --- admins ------------------------------------------------------------------------------------------------------------------- */

static void act_on_dead(struct sim_world *w, bool drop)
{
    int jobs[SIM_TICKETS];
    int count = 0;
    for (int i = 0; i < w->queue->dead.count; i++) {
        if (sim_draw(&w->chance, SIM_ADMIN) % 2)
            jobs[count++] = w->queue->dead.at[i].job;
    }
    count = qm_dead_act(w->queue, w->now, drop, "admin", jobs, count);
    for (int i = 0; i < count; i++) {
        struct sim_ticket *ticket = &w->tickets[jobs[i]];
        *ticket = (struct sim_ticket){.command = ticket->command, .revived = true};
        SIM_SAY(w, "admin: %s ticket %d", drop ? "drops" : "retries", jobs[i]);
    }
}

static void pull_plugs(struct sim_world *w)
{
    struct sim_chance *c = &w->chance;
    bk_ms most = w->setup.faults_end - w->now;
    bk_ms for_ms = BK_MIN(sim_between(c, SIM_ADMIN, 50, 6000), most);
    if (sim_fault(c, SIM_redis_down, SIM_ADMIN)) {
        SIM_SAY(w, "redis goes down for %lld ms", (long long)for_ms);
        w->redis_down_until = w->now + for_ms;
    }
    if (sim_fault(c, SIM_redis_stall, SIM_ADMIN)) {
        SIM_SAY(w, "redis stands still for %lld ms", (long long)for_ms);
        w->redis_stall_until = w->now + for_ms;
    }
    if (sim_fault(c, SIM_pg_hang, SIM_ADMIN)) {
        SIM_SAY(w, "postgres stands still for %lld ms", (long long)for_ms);
        w->pg_hang_until = w->now + for_ms;
    }
    if (w->now >= w->pg_down_until && sim_fault(c, SIM_pg_down, SIM_ADMIN)) {
        SIM_SAY(w, "postgres crashes for %lld ms", (long long)for_ms);
        w->pg_down_until = w->now + for_ms;
        sim_pg_crash(w);
        sim_later(w, for_ms, (struct sim_event){.type = SIM_AT_ADMIN, .data = DOWN_OVER});
    }
}

static void turn_switches(struct sim_world *w)
{
    struct sim_chance *c = &w->chance;
    if (!w->queue->paused && sim_fault(c, SIM_pause, SIM_ADMIN)) {
        SIM_SAY(w, "admin: pause");
        qm_configure(w->queue, "paused", "1");
        sim_later(w, sim_between(c, SIM_ADMIN, 50, 4000), (struct sim_event){.type = SIM_AT_ADMIN, .data = PAUSE_OVER});
    }
    if (sim_fault(c, SIM_force, SIM_ADMIN)) {
        bool open = sim_draw(c, SIM_ADMIN) % 2;
        SIM_SAY(w, "admin: breaker %s", open ? "open" : "closed");
        qm_configure(w->queue, "breaker", open ? "open" : "closed");
        sim_later(w, sim_between(c, SIM_ADMIN, 50, 6000), (struct sim_event){.type = SIM_AT_ADMIN, .data = FORCE_OVER});
    }
    if (w->queue->dead.count > 0 && sim_fault(c, SIM_retry_dead, SIM_ADMIN))
        act_on_dead(w, false);
    if (w->queue->dead.count > 0 && sim_fault(c, SIM_drop_dead, SIM_ADMIN))
        act_on_dead(w, true);
}

void sim_administer(struct sim_world *w, const struct sim_event *event)
{
    if (event->data == DOWN_OVER) {
        w->pg_opened++;
    } else if (event->data == PAUSE_OVER) {
        SIM_SAY(w, "admin: resume");
        qm_configure(w->queue, "paused", "0");
    } else if (event->data == FORCE_OVER) {
        SIM_SAY(w, "admin: breaker auto");
        qm_configure(w->queue, "breaker", "auto");
    } else if (!w->healed) {
        pull_plugs(w);
        turn_switches(w);
        sim_later(w, TICK_MS, *event);
    }
}
