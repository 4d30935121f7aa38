/* queue.pml - the queue's protocol as a model that spin searches to the last state. See README.md beside this file for
 * what stands for what, the bounds, and what is left out.
 *
 * Sets of tickets are bit masks: ticket n, in inbox order, is bit n. A call of a function inside Redis is one d_step, as
 * Redis isolates it; what lies between the steps of a caller (sent, executed, answered) is where everything else, faults
 * included, may come in. After each step that moves something sound() looks at all of it.
 */

/* --- the bounds, each may be given by -D -------------------------------------------------------------------------------- */

#ifndef TICKETS
#define TICKETS 3
#endif
#ifndef KEY_A
#define KEY_A 3 /* the tickets of the first key; the others have the second */
#endif
#ifndef PROCS
#define PROCS 2 /* worker processes */
#endif
#ifndef LANES
#define LANES 1 /* of each process */
#endif
#ifndef WANT
#define WANT 1 /* BOOKING_BATCH */
#endif
#ifndef FAULTS
#define FAULTS 2 /* of all kinds together */
#endif
#ifndef GHOSTS
#define GHOSTS 1 /* requests that are on their way behind a lost connection, at once */
#endif
#ifndef REAP_MOST
#define REAP_MOST TICKETS /* BOUND of queue.lua: tickets that one take gives back of silent workers */
#endif
#ifndef INCARNATIONS /* each fault costs at most one; of namesakes, the other one may begin anew as well */
#ifdef NAMESAKES
#define INCARNATIONS (PROCS + 3 * FAULTS)
#else
#define INCARNATIONS (PROCS + FAULTS)
#endif
#endif

#define ALL ((1 << TICKETS) - 1)
#define KEY_B (ALL & ~KEY_A)
#define ALL_LANES (PROCS * LANES)
#define NOBODY 255
#ifdef JOIN_ANYHOW
#define FENCED_BY_ANY
#endif

#define lowest(set) ((set) & -(set))
#define several(set) (((set) & ((set) - 1)) != 0)
#define size_of(set) (((set) & 1) + ((set) >> 1 & 1) + ((set) >> 2 & 1) + ((set) >> 3 & 1) + ((set) >> 4 & 1))
#define lane_of(p, l) ((p) * LANES + (l))
#define place_of(i, l) ((i) * LANES + (l)) /* in active */
#ifdef NAMESAKES
#define NAMES 1
#define name_of(p) 0
#else
#define NAMES PROCS
#define name_of(p) (p)
#endif

/* --- Redis -------------------------------------------------------------------------------------------------------------- */

byte outside = ALL;                /* not yet sent by the producer */
byte inbox, ready, retry, due;     /* due: those of retry whose time has come */
byte gone, dead;
byte line_a, line_b, gate_a, gate_b;
byte held_by[INCARNATIONS * LANES]; /* active:<incarnation>, by lane */

#define NO_MEMBER 0
#define LEASED 1
#define EXPIRED 2
byte lease[INCARNATIONS]; /* the zset workers */
byte made_by[INCARNATIONS]; /* the process whose incarnation it is */
byte incarnations;        /* made so far */
byte current[NAMES];      /* worker:<name> incarnation */

/* --- PostgreSQL ----------------------------------------------------------------------------------------------------------- */

byte ledger;   /* the ids it knows: each had its effect */
byte twice;    /* ids that had it again */
byte late_txn; /* a transaction whose answer was given up and that may commit yet */
byte died;     /* tickets that were declared dead, whatever became of them then */

/* --- the workers ---------------------------------------------------------------------------------------------------------- */

#define DOWN 0
#define UP 1
#define ENDED 2 /* and nobody starts it again */
byte up[PROCS];
byte worker[PROCS];  /* service->worker, the incarnation lanes take for */
byte joining[PROCS]; /* keeper->joining */

#define IDLE 0    /* holds nothing, nothing sent */
#define HOLDS 1   /* has a batch */
#define APPLIED 2 /* knows its fates */
#define SENT 3    /* settle and take are on their way */
#define SETTLED 4 /* Redis has executed the settle (if there was any), the take is on its way */
byte at[ALL_LANES];
byte held[ALL_LANES];    /* the batch */
byte good[ALL_LANES];    /* of the batch: done. The rest has the one fate below */
byte fate[ALL_LANES];
byte by[ALL_LANES];      /* turn->worker: the incarnation it was taken by */
byte taker[ALL_LANES];   /* the incarnation that the take on its way names */
bit resume[ALL_LANES];
bit noted[ALL_LANES];    /* Redis has noted this batch's settle: is_stale for another one of it */
byte own[ALL_LANES];     /* not in the product: of the batch, what active holds by this very take */

#define REQUEUE 0 /* to ready: requeue, free */
#define REST 1    /* to retry: retry, requeue from the third time on */
#define DEAD 2

byte faults = FAULTS;

/* --- requests that their sender has given up and that may be executed yet ------------------------------------------------ */

#define NONE 0
#define TURN 1
#define JOIN 2
#define BEAT 3
typedef Ghost {
  byte kind;
  byte by;            /* whose settle; the incarnation of join and beat */
  byte lane;          /* of the process */
  byte held, good, fate, own;
  byte taker;         /* whose take; NOBODY: the take is lost, or executed already */
  bit resume;
  bit stale_settle;   /* turns as an order: a settle of this batch or a newer one has been noted */
  bit stale_take;     /* a newer take has been noted */
}
Ghost ghost[GHOSTS]; /* the oldest first */

/* --- working variables, nothing in them outlives a step ------------------------------------------------------------------- */

hidden byte t_moved, t_over, t_got, t_count, t_bit, t_old, t_reaped;
hidden int t_sum, t_i, t_g, t_l, t_k;
hidden byte t_refused;
hidden byte w_lane;

/* --- the properties that hold after every step ---------------------------------------------------------------------------- */

/* Their names; always 0. pan shows the condition that did not hold, and in it the name. */
hidden byte in_some_place, in_one_place, one_holder, gate_counts, held_by_member, one_incarnation, nothing_stranded, own_settle,
  line_in_order, one_effect, effects_in_order, fenced_by_newer, within_bounds;
#define must_at_last(property, condition) assert((condition) || property)
#ifdef EFFECTS_ONLY /* look only at what users are promised, so that a mutant may go on until it breaks that */
#define must(property, condition) skip
#else
#define must(property, condition) must_at_last(property, condition)
#endif

#define finished ((gone | dead) == ALL)
#define free_ghost (ghost[GHOSTS - 1].kind == NONE)

inline sound_key(key, gate, line) {
  t_moved = (ready | retry | t_got) & key; /* its holder */
  must(one_holder, !several(t_moved));
  must(gate_counts, gate == (t_moved != 0) + size_of(line) && (t_moved != 0 || line == 0))
}

inline sound() {
  t_got = 0;
  t_sum = 0;
  for (t_i : 0 .. INCARNATIONS * LANES - 1) {
    t_got = t_got | held_by[t_i];
    t_sum = t_sum + held_by[t_i];
    must(held_by_member, held_by[t_i] == 0 || lease[t_i / LANES] != NO_MEMBER)
  }
  t_sum = t_sum + outside + inbox + ready + retry + gone + dead + line_a + line_b;
  must_at_last(in_some_place, (outside | inbox | ready | retry | gone | dead | line_a | line_b | t_got) == ALL);
  must(in_one_place, t_sum == ALL); /* the sum that comes out if each, being somewhere, is there only */
  sound_key(KEY_A, gate_a, line_a);
  sound_key(KEY_B, gate_b, line_b);
  for (t_i : 0 .. INCARNATIONS - 1) {
    must(one_incarnation, lease[t_i] == NO_MEMBER || current[name_of(made_by[t_i])] == t_i)
  }
  for (t_i : 0 .. PROCS - 1) {
    if
    :: up[t_i] == UP && worker[t_i] != NOBODY ->
      for (t_l : 0 .. LANES - 1) {
        /* what a lane does not know it holds, it will hand back */
        must(nothing_stranded,
             (held_by[place_of(worker[t_i], t_l)] & ~own[lane_of(t_i, t_l)]) == 0 || resume[lane_of(t_i, t_l)])
      }
    :: else
    fi
  }
  skip /* no d_step may end in a loop */
}

/* --- pieces of queue.lua --------------------------------------------------------------------------------------------------- */

/* These tickets are no longer held by what held them. */
inline unhold(set) {
  for (t_k : 0 .. ALL_LANES - 1) { own[t_k] = own[t_k] & ~(set) }
  for (t_k : 0 .. GHOSTS - 1) { ghost[t_k].own = ghost[t_k].own & ~(set) }
}

inline hand_back(i, n, set) {
  must(in_one_place, (ready & (set)) == 0); /* ready is a list: the same ticket twice would not show in a set */
  ready = ready | (set);
  unhold(set);
  held_by[place_of(i, n)] = held_by[place_of(i, n)] & ~(set)
}

inline forget(i) {
  lease[i] = NO_MEMBER;
  for (t_k : 0 .. LANES - 1) {
    held_by[place_of(i, t_k)] = 0;
  }
  if
  :: current[name_of(made_by[i])] == i ->
    current[name_of(made_by[i])] = NOBODY; /* and the turns that were noted there */
    for (t_k : 0 .. LANES - 1) {
      if
      :: by[lane_of(made_by[i], t_k)] == i -> noted[lane_of(made_by[i], t_k)] = 0
      :: else
      fi
    }
    for (t_k : 0 .. GHOSTS - 1) {
      if
      :: ghost[t_k].kind == TURN ->
        if
        :: ghost[t_k].by == i -> ghost[t_k].stale_settle = 0
        :: else
        fi
        if
        :: ghost[t_k].taker == i -> ghost[t_k].stale_take = 0
        :: else
        fi
      :: else
      fi
    }
  :: else
  fi
}

/* All that an incarnation holds, as join and leave do. */
inline hand_back_all(i) {
  for (t_l : 0 .. LANES - 1) {
    hand_back(i, t_l, held_by[place_of(i, t_l)])
  }
}

inline reap() {
  t_reaped = 0;
  for (t_i : 0 .. INCARNATIONS - 1) {
    if
    :: lease[t_i] == EXPIRED && t_reaped < REAP_MOST ->
      for (t_l : 0 .. LANES - 1) {
        do
        :: held_by[place_of(t_i, t_l)] != 0 && t_reaped < REAP_MOST ->
          t_bit = lowest(held_by[place_of(t_i, t_l)]);
          hand_back(t_i, t_l, t_bit);
#ifdef REAP_KEEPS
          held_by[place_of(t_i, t_l)] = held_by[place_of(t_i, t_l)] | t_bit;
#endif
          t_reaped++
        :: else -> break
        od
      }
      t_count = 0;
      for (t_l : 0 .. LANES - 1) { t_count = t_count | held_by[place_of(t_i, t_l)] }
      if
      :: t_count == 0 -> forget(t_i)
      :: else
      fi
    :: else
    fi
  }
}

inline release(key, gate, line) {
  if
  :: (t_over & key) == 0
  :: else ->
    if
    :: gate > 1 && line != 0 ->
      gate--;
      t_bit = lowest(line);
      line = line & ~t_bit;
      must(in_one_place, (ready & t_bit) == 0);
      ready = ready | t_bit
    :: else -> gate = 0
    fi
  fi
}

/* settle(worker i, lane n, turn). `too_late`: is_stale, if i is a member. `mine`: own of who asks. */
inline settle(i, n, batch, done, ending, too_late, mine) {
  if
  :: lease[i] != NO_MEMBER && too_late /* it has happened */
  :: else ->
    t_moved = 0;
    for (t_l : 0 .. LANES - 1) { t_moved = t_moved | held_by[place_of(i, t_l)] }
#ifdef SETTLE_ANYBODYS
    t_moved = ALL;
#endif
    t_moved = t_moved & (batch);
    must(own_settle, (t_moved & ~(mine)) == 0);
    for (t_l : 0 .. LANES - 1) { held_by[place_of(i, t_l)] = held_by[place_of(i, t_l)] & ~t_moved }
    t_over = t_moved & (done);
    gone = gone | t_over;
    t_got = t_moved & ~(done);
    if
    :: ending == REQUEUE ->
      must(in_one_place, (ready & t_got) == 0);
      ready = ready | t_got
    :: ending == REST -> retry = retry | t_got
    :: ending == DEAD ->
      dead = dead | t_got;
      died = died | t_got;
      t_over = t_over | t_got
    fi;
#ifdef REQUEUE_LETS_GO
    t_over = t_moved;
#endif
    release(KEY_A, gate_a, line_a);
    release(KEY_B, gate_b, line_b);
    if
    :: lease[i] != NO_MEMBER -> /* note_turn */
      if
      :: by[lane_of(made_by[i], n)] == i && at[lane_of(made_by[i], n)] != HOLDS -> noted[lane_of(made_by[i], n)] = 1
      :: else
      fi
      for (t_k : 0 .. GHOSTS - 1) {
        if
        :: ghost[t_k].kind == TURN && ghost[t_k].by == i && ghost[t_k].lane == n -> ghost[t_k].stale_settle = 1
        :: else
        fi
      }
    :: else
    fi
    unhold(t_moved)
  fi;
  sound()
}

/* One entry of the inbox after the other, until there are as many jobs as wanted. */
inline take_entry(gate, line) {
  if
  :: gate > 0 ->
    must(line_in_order, line < t_bit); /* so its lowest bit is its head */
    line = line | t_bit
  :: else -> t_got = t_got | t_bit; t_count++
  fi;
  gate++
}

/* take(worker i, lane n, turn, want, resume). `highest`: ready's order is not kept, either end may come first.
 * In t_refused the answer, in t_got the jobs. */
inline take(i, n, back, too_late, before, highest) {
  t_got = 0;
  t_refused = 1;
  if
  :: lease[i] != LEASED /* FENCED */
#ifndef NO_TURNS
  :: lease[i] == LEASED && too_late /* INVALID */
#endif
  :: else ->
    t_refused = 0;
#ifndef NO_RESUME
    if
    :: back -> hand_back(i, n, held_by[place_of(i, n)])
    :: else
    fi;
#endif
    reap();
    ready = ready | due; /* promote */
    retry = retry & ~due;
    due = 0;
    t_count = 0;
    do
    :: t_count < WANT && ready != 0 ->
      if
      :: highest && (ready & ~lowest(ready)) != 0 -> t_bit = ready & ~lowest(ready); t_bit = lowest(t_bit)
      :: else -> t_bit = lowest(ready)
      fi;
      ready = ready & ~t_bit;
      t_got = t_got | t_bit;
      t_count++
    :: t_count < WANT && ready == 0 && inbox != 0 ->
      t_bit = lowest(inbox);
      inbox = inbox & ~t_bit;
      if
      :: (t_bit & KEY_A) != 0 -> take_entry(gate_a, line_a)
      :: else -> take_entry(gate_b, line_b)
      fi
    :: else -> break
    od;
    held_by[place_of(i, n)] = held_by[place_of(i, n)] | t_got;
    for (t_k : 0 .. before - 1) { /* note_turn */
      if
      :: ghost[t_k].kind == TURN && ghost[t_k].taker == i && ghost[t_k].lane == n -> ghost[t_k].stale_take = 1
      :: else
      fi
    }
  fi
}

/* join(incarnation i). Incarnations are numbered as they are made. In t_refused whether there is a newer one. */
inline join(i) {
  t_old = current[name_of(made_by[i])];
  t_refused = 0;
  if
  :: t_old == NOBODY || t_old == i
#ifndef JOIN_ANYHOW
  :: t_old != NOBODY && t_old != i && t_old > i -> t_refused = 1
#endif
  :: else ->
#ifndef NO_FENCE
    hand_back_all(t_old);
    forget(t_old);
#endif
    skip
  fi;
  if
  :: !t_refused ->
    lease[i] = LEASED;
    current[name_of(made_by[i])] = i
  :: else
  fi;
  sound()
}

/* --- booking.apply, one transaction ----------------------------------------------------------------------------------------- */

#ifdef ORDER_OF_THE_DEAD
#define DIED 0
#else
#define DIED died
#endif

/* An effect comes behind those of all earlier commands of its key and before those of all later ones. A command that was
 * declared dead has no place in this order any more. */
inline ordered(key) {
  if
  :: (t_bit & key) == 0 || (t_bit & DIED) != 0
  :: else ->
    must_at_last(effects_in_order, (key & (t_bit - 1) & ~ledger & ~died) == 0);
    must_at_last(effects_in_order, (key & ~(t_bit - 1) & ledger & ~t_bit) == 0)
  fi
}
inline apply(batch) {
  t_moved = (batch);
  do
  :: t_moved != 0 ->
    t_bit = lowest(t_moved);
    t_moved = t_moved & ~t_bit;
    if
    :: (ledger & t_bit) == 0 ->
      ordered(KEY_A);
      ordered(KEY_B);
      ledger = ledger | t_bit
    :: else ->
#ifdef NO_LEDGER
      twice = twice | t_bit;
#endif
      must_at_last(one_effect, (twice & t_bit) == 0)
    fi
  :: else -> break
  od;
  skip
}

#ifdef SETTLE_TWICE
#define happened(x) 0 /* each try has a number of its own */
#else
#define happened(x) noted[x]
#endif

/* --- a lane --------------------------------------------------------------------------------------------------------------- */

#if INCARNATIONS > 11
#error "name the incarnations here and in World"
#endif
#define expired(i) ((i) < INCARNATIONS && lease[(i) % INCARNATIONS] == EXPIRED)
#define some_expired (expired(0) || expired(1) || expired(2) || expired(3) || expired(4) || expired(5) || expired(6) || expired(7) || \
  expired(8) || expired(9) || expired(10))

#define something_to_find (inbox || ready || due || some_expired)
#define works(p) (up[p] == UP && worker[p] != NOBODY)

inline drop_held(x) { held[x] = 0; good[x] = 0; own[x] = 0; by[x] = NOBODY; fate[x] = REQUEUE; noted[x] = 0 }

inline clear_lane(x) { drop_held(x); at[x] = IDLE; taker[x] = NOBODY; resume[x] = 0 }

/* The answer of a take has come: t_refused, t_got. */
inline taken(x) {
  drop_held(x);
  if
  :: t_refused -> resume[x] = 1; at[x] = IDLE
  :: else ->
    resume[x] = 0;
    held[x] = t_got;
    own[x] = t_got;
    if
    :: t_got != 0 -> by[x] = taker[x]; at[x] = HOLDS
    :: else -> at[x] = IDLE
    fi
  fi;
  taker[x] = NOBODY;
  t_got = 0;
  sound()
}

/* A connection is cut. What the lane knows: the settle's answer (`read`) or not even that. */
inline cut(x, read) {
  faults--;
  if
  :: read -> drop_held(x)
  :: else
  fi;
  at[x] = (held[x] != 0 -> APPLIED : IDLE);
  resume[x] = 1;
  taker[x] = NOBODY
}

/* What it had sent is on its way yet: the settle, if it has not been executed, and the take, unless only the first. */
inline haunt(x, l, with_settle, with_take) {
  t_g = 0;
  do
  :: ghost[t_g].kind != NONE -> t_g++
  :: else -> break
  od;
  ghost[t_g].kind = TURN;
  ghost[t_g].lane = l;
  if
  :: with_settle ->
    ghost[t_g].by = by[x];
    ghost[t_g].held = held[x];
    ghost[t_g].good = good[x];
    ghost[t_g].fate = fate[x];
    ghost[t_g].own = own[x];
    ghost[t_g].stale_settle = happened(x)
  :: else -> ghost[t_g].by = NOBODY
  fi;
  if
  :: with_take -> ghost[t_g].taker = taker[x]; ghost[t_g].resume = resume[x]
  :: else -> ghost[t_g].taker = NOBODY
  fi
}

inline tried(x, fails) {
  faults--;
  good[x] = 0;
  fate[x] = fails;
  at[x] = APPLIED
}

proctype Lane(byte p; byte l; byte x) {
end_lane:
  do
  /* a turn begins: without a batch there is only the take to send */
  :: d_step { works(p) && at[x] == IDLE && (resume[x] || something_to_find) -> at[x] = SETTLED; taker[x] = worker[p] }
  :: d_step { at[x] == APPLIED -> at[x] = SENT; taker[x] = worker[p] }

  /* Redis executes it */
  :: d_step { at[x] == SENT ->
      at[x] = SETTLED;
      settle(by[x], l, held[x], good[x], fate[x], happened(x), own[x])
    }
  :: d_step { at[x] == SETTLED -> take(taker[x], l, resume[x], 0, GHOSTS, 0); taken(x) }
  :: d_step { at[x] == SETTLED && several(ready) -> take(taker[x], l, resume[x], 0, GHOSTS, 1); taken(x) }

  /* PostgreSQL */
  :: d_step { at[x] == HOLDS -> apply(held[x]); good[x] = held[x]; at[x] = APPLIED }
  :: d_step { at[x] == HOLDS && faults > 0 -> tried(x, REQUEUE) }
  :: d_step { at[x] == HOLDS && faults > 0 -> tried(x, REST) }
  :: d_step { at[x] == HOLDS && faults > 0 -> tried(x, DEAD) }
  :: d_step { at[x] == HOLDS && faults > 0 -> apply(held[x]); tried(x, REQUEUE) } /* unknown: it was */
  :: d_step { at[x] == HOLDS && faults > 0 -> apply(held[x]); tried(x, REST) }
  :: d_step { at[x] == HOLDS && faults > 0 && late_txn == 0 -> late_txn = held[x]; tried(x, REQUEUE) } /* it may be yet */
  :: d_step { at[x] == HOLDS && faults > 0 && late_txn == 0 -> late_txn = held[x]; tried(x, REST) }
#if WANT > 1
  /* a batch that was split: one did well, the other not */
  :: d_step { at[x] == HOLDS && faults > 0 && several(held[x]) ->
      apply(lowest(held[x])); tried(x, DEAD); good[x] = lowest(held[x]) }
  :: d_step { at[x] == HOLDS && faults > 0 && several(held[x]) ->
      apply(lowest(held[x])); tried(x, REST); good[x] = lowest(held[x]) }
#endif

  /* the connection is cut: what had been sent is lost ... */
  :: d_step { (at[x] == SENT || at[x] == SETTLED) && faults > 0 -> cut(x, 0) }
  :: d_step { at[x] == SETTLED && held[x] != 0 && faults > 0 -> cut(x, 1) }
  /* ... or on its way, all of it or the first of it ... */
  :: d_step { at[x] == SENT && faults > 0 && free_ghost -> haunt(x, l, 1, 1); cut(x, 0) }
  :: d_step { at[x] == SENT && faults > 0 && free_ghost -> haunt(x, l, 1, 0); cut(x, 0) }
  :: d_step { at[x] == SETTLED && faults > 0 && free_ghost -> haunt(x, l, 0, 1); cut(x, 0) }
  :: d_step { at[x] == SETTLED && held[x] != 0 && faults > 0 && free_ghost -> haunt(x, l, 0, 1); cut(x, 1) }
  /* ... or executed, and the answer is lost */
  :: d_step { at[x] == SETTLED && faults > 0 -> take(taker[x], l, resume[x], 0, GHOSTS, 0); cut(x, 0); sound() }
  :: d_step { at[x] == SETTLED && faults > 0 && several(ready) ->
      take(taker[x], l, resume[x], 0, GHOSTS, 1); cut(x, 0); sound() }
  :: d_step { at[x] == SETTLED && held[x] != 0 && faults > 0 ->
      take(taker[x], l, resume[x], 0, GHOSTS, 0); cut(x, 1); sound() }
  :: d_step { at[x] == SETTLED && held[x] != 0 && faults > 0 && several(ready) ->
      take(taker[x], l, resume[x], 0, GHOSTS, 1); cut(x, 1); sound() }
  od
}

/* --- a process and its housekeeper --------------------------------------------------------------------------------------------- */

inline new_incarnation(p) {
  must_at_last(within_bounds, incarnations < INCARNATIONS);
  joining[p] = incarnations;
  made_by[incarnations] = p;
  incarnations++
}

inline end_process(p, how) {
  up[p] = how;
  worker[p] = NOBODY;
  joining[p] = NOBODY;
  for (t_l : 0 .. LANES - 1) {
    w_lane = lane_of(p, t_l);
    clear_lane(w_lane)
  }
  skip
}

/* The answer of a join has come. Who was refused asks again: it is fenced off, or begins anew. */
inline joined(p) {
  if
  :: !t_refused -> worker[p] = joining[p]
  :: t_refused && worker[p] == NOBODY -> up[p] = DOWN
  :: else
  fi;
  joining[p] = NOBODY
}

inline haunt_life(what, p, i) {
  t_g = 0;
  do
  :: ghost[t_g].kind != NONE -> t_g++
  :: else -> break
  od;
  ghost[t_g].kind = what;
  ghost[t_g].by = i;
  ghost[t_g].taker = NOBODY
}

#ifdef FENCED_BY_ANY
#define fenced(p) (current[name_of(p)] != NOBODY)
#else
#define fenced(p) (current[name_of(p)] != NOBODY && current[name_of(p)] > worker[p])
#endif

proctype Keeper(byte p) {
end_keeper:
  do
  /* it begins, and asks for a number */
  :: d_step { up[p] == DOWN -> up[p] = UP; new_incarnation(p) }

  /* beat, where it matters */
#ifndef NO_REJOIN
  :: d_step { works(p) && joining[p] == NOBODY && lease[worker[p]] != LEASED ->
      if
      :: lease[worker[p]] == EXPIRED -> lease[worker[p]] = LEASED
      :: lease[worker[p]] == NO_MEMBER && fenced(p) ->
        must(fenced_by_newer, current[name_of(p)] > worker[p]);
        end_process(p, ENDED)
      :: else -> new_incarnation(p)
      fi
    }
#endif
  :: d_step { works(p) && joining[p] == NOBODY && lease[worker[p]] != LEASED && faults > 0 && free_ghost ->
      faults--; haunt_life(BEAT, p, worker[p]) }

  :: d_step { up[p] == UP && joining[p] != NOBODY -> join(joining[p]); joined(p) }
  :: d_step { up[p] == UP && joining[p] != NOBODY && faults > 0 -> faults--; join(joining[p]) } /* answer lost */
  :: d_step { up[p] == UP && joining[p] != NOBODY && faults > 0 && free_ghost -> faults--; haunt_life(JOIN, p, joining[p]) }
  od
}

/* --- everything else that happens --------------------------------------------------------------------------------------------- */

/* Whether a process lives that would renew this lease. */
#define renews(p, i) (up[p] == UP && (worker[p] == i || joining[p] == i))
#if PROCS == 1
#define some_process_renews(i) renews(0, i)
#elif PROCS == 2
#define some_process_renews(i) (renews(0, i) || renews(1, i))
#endif

inline lay_ghost(g) {
  for (t_k : g .. GHOSTS - 2) {
    ghost[t_k].kind = ghost[t_k + 1].kind;
    ghost[t_k].by = ghost[t_k + 1].by;
    ghost[t_k].lane = ghost[t_k + 1].lane;
    ghost[t_k].held = ghost[t_k + 1].held;
    ghost[t_k].good = ghost[t_k + 1].good;
    ghost[t_k].fate = ghost[t_k + 1].fate;
    ghost[t_k].own = ghost[t_k + 1].own;
    ghost[t_k].taker = ghost[t_k + 1].taker;
    ghost[t_k].resume = ghost[t_k + 1].resume;
    ghost[t_k].stale_settle = ghost[t_k + 1].stale_settle;
    ghost[t_k].stale_take = ghost[t_k + 1].stale_take
  }
  ghost[GHOSTS - 1].kind = NONE;
  clear_settle(GHOSTS - 1);
  ghost[GHOSTS - 1].by = 0;
  ghost[GHOSTS - 1].lane = 0;
  ghost[GHOSTS - 1].taker = 0;
  ghost[GHOSTS - 1].resume = 0;
  ghost[GHOSTS - 1].stale_take = 0
}

inline clear_settle(g) {
  ghost[g].by = NOBODY;
  ghost[g].held = 0;
  ghost[g].good = 0;
  ghost[g].fate = 0;
  ghost[g].own = 0;
  ghost[g].stale_settle = 0
}

/* What is on its way arrives. In order: a connection's second request is executed behind its first. */
proctype Late(byte g) {
end_late:
  do
  :: d_step { ghost[g].kind == TURN && ghost[g].by != NOBODY ->
      settle(ghost[g].by, ghost[g].lane, ghost[g].held, ghost[g].good, ghost[g].fate, ghost[g].stale_settle, ghost[g].own);
      clear_settle(g);
      if
      :: ghost[g].taker == NOBODY -> lay_ghost(g)
      :: else
      fi
    }
  :: d_step { ghost[g].kind == TURN && ghost[g].by == NOBODY ->
      take(ghost[g].taker, ghost[g].lane, ghost[g].resume, ghost[g].stale_take, g, 0);
      lay_ghost(g);
      sound()
    }
  :: d_step { ghost[g].kind == TURN && ghost[g].by == NOBODY && several(ready) ->
      take(ghost[g].taker, ghost[g].lane, ghost[g].resume, ghost[g].stale_take, g, 1);
      lay_ghost(g);
      sound()
    }
  :: d_step { ghost[g].kind == JOIN -> join(ghost[g].by); lay_ghost(g) }
  :: d_step { ghost[g].kind == BEAT ->
      if
      :: lease[ghost[g].by] == EXPIRED -> lease[ghost[g].by] = LEASED
      :: else
      fi;
      lay_ghost(g)
    }
  od
}

#define lease_ends(i) \
  :: d_step { lease[i] == LEASED && !some_process_renews(i) -> lease[i] = EXPIRED } \
  :: d_step { lease[i] == LEASED && some_process_renews(i) && faults > 0 -> faults--; lease[i] = EXPIRED }

/* A crash, a crash without anybody who starts it again, a stop that hands back. */
#define process_ends(p) \
  :: d_step { up[p] == UP && faults > 0 -> faults--; end_process(p, DOWN) } \
  :: d_step { up[p] == UP && faults > 0 && NAMES > 1 && up[PROCS - 1 - p] != ENDED -> faults--; end_process(p, ENDED) } \
  :: d_step { works(p) && faults > 0 -> \
      faults--; hand_back_all(worker[p]); forget(worker[p]); end_process(p, DOWN); sound() }

proctype World() {
end_world:
  do
  :: d_step { outside != 0 -> t_bit = lowest(outside); outside = outside & ~t_bit; inbox = inbox | t_bit } /* XADD */
  :: d_step { (retry & ~due) != 0 -> t_bit = retry & ~due; due = due | lowest(t_bit) }
  :: d_step { late_txn != 0 -> apply(late_txn); late_txn = 0 }
  :: d_step { late_txn != 0 -> late_txn = 0 }
  lease_ends(0)
  lease_ends(1)
#if INCARNATIONS > 2
  lease_ends(2)
#endif
#if INCARNATIONS > 3
  lease_ends(3)
#endif
#if INCARNATIONS > 4
  lease_ends(4)
#endif
#if INCARNATIONS > 5
  lease_ends(5)
#endif
#if INCARNATIONS > 6
  lease_ends(6)
#endif
#if INCARNATIONS > 7
  lease_ends(7)
#endif
#if INCARNATIONS > 8
  lease_ends(8)
#endif
#if INCARNATIONS > 9
  lease_ends(9)
#endif
#if INCARNATIONS > 10
  lease_ends(10)
#endif
  process_ends(0)
#if PROCS > 1
  process_ends(1)
#endif
  od
}

#ifndef LIVENESS
/* When nothing can happen any more, everything is finished: else spin finds this process at no valid end. */
proctype Monitor() { finished }
#endif

init {
  d_step {
    for (t_i : 0 .. NAMES - 1) { current[t_i] = NOBODY }
    for (t_i : 0 .. PROCS - 1) {
      worker[t_i] = NOBODY;
      joining[t_i] = NOBODY;
      if
      :: t_i == 0 || NAMES > 1 -> /* has joined; of namesakes the second comes at any time */
        up[t_i] = UP;
        worker[t_i] = incarnations;
        made_by[incarnations] = t_i;
        lease[incarnations] = LEASED;
        current[name_of(t_i)] = incarnations;
        incarnations++
      :: else
      fi
    }
    for (t_i : 0 .. ALL_LANES - 1) { by[t_i] = NOBODY; taker[t_i] = NOBODY }
#ifndef ARRIVE
    outside = 0;
    inbox = ALL;
#endif
  }
  atomic {
    for (t_i : 0 .. PROCS - 1) {
      run Keeper(t_i);
      for (t_l : 0 .. LANES - 1) { run Lane(t_i, t_l, lane_of(t_i, t_l)) }
    }
    for (t_i : 0 .. GHOSTS - 1) { run Late(t_i) }
    run World();
#ifndef LIVENESS
    run Monitor()
#endif
  }
}

#ifdef LIVENESS
ltl every_ticket_is_finished { <> finished }
#endif
