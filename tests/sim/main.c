/* main.c - sim: lives many simulated worlds (world.h) and tells of the first one in which something did not hold. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/shrink.h"

enum { USUAL_COUNT = 20000, ENOUGH_FOR_ALL_FAULTS = 2000, EXIT_USAGE = 64 };

struct options {
    uint64_t first;
    uint64_t count;
    enum sim_sabotage sabotage;
    bool verbose;
    bool shrink;
    bool self_test;
    struct sim_off off;
};

struct totals {
    uint64_t worlds;
    uint64_t steps;
    uint64_t decided;
    bk_ms virtual_ms;
    int64_t began_us;
    uint64_t fired[SIM_FAULT_COUNT];
};

static void print_help(void)
{
    (void)fputs(
        "usage: sim [--seeds A..B | --seed N [--count N] | --count N] [--sabotage NAME] [--shrink]\n"
        "           [--off LIST] [--verbose]\n"
        "       sim --self-test | --help\n"
        "\n"
        "Lives a simulated world for each seed: workers, Redis, PostgreSQL, producers and admins, with whatever can "
        "go\n"
        "wrong, in virtual time. Without --seeds: 1..20000. A failure is told with its seed, made as short as "
        "possible\n"
        "and printed step by step.\n"
        "\n"
        "  --seeds A..B      these worlds\n"
        "  --seed N          this one; with --count, as many from there on\n"
        "  --count N         how many\n"
        "  --verbose         prints every step\n"
        "  --sabotage NAME   breaks the protocol on purpose; exit 0 when that is found out\n"
        "  --shrink          makes the failure that --sabotage leads to short, too\n"
        "  --off LIST        takes something out: kinds of fault, cN for a command, KIND@ACTOR.NTH for one fault\n"
        "  --self-test       every sabotage must be found out within 20000 worlds\n"
        "\n"
        "Exit 0 if all is well, 1 if not, 64 for a wrong option.\n"
        "\n"
        "sabotages:\n",
        stdout);
#define PRINT_SABOTAGE(name, queue, ledger, meaning) (void)printf("  %-17s %s\n", #name, meaning);
    SIM_SABOTAGES(PRINT_SABOTAGE)
#undef PRINT_SABOTAGE
    (void)puts("\nfaults:");
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++)
        (void)printf("  %-17s %s\n", sim_fault_names[i], sim_fault_meanings[i]);
}

/* --- running ------------------------------------------------------------------------------------------------------------------ */

static bool live(struct sim_world *world, const struct options *options, uint64_t seed, struct totals *totals)
{
    bool good = sim_world_run(world, seed, options->sabotage, &options->off, options->verbose);
    totals->worlds++;
    totals->steps += world->steps;
    totals->decided += (uint64_t)world->ledger.history_count;
    totals->virtual_ms += world->now - world->setup.begin;
    for (size_t i = 0; i < world->chance.fired_count; i++)
        totals->fired[world->chance.fired[i].fault]++;
    return good;
}

static void tell_short(struct sim_world *world, const struct options *options, uint64_t seed)
{
    struct sim_off *off = bk_zalloc(sizeof(*off));
    *off = options->off;
    sim_shrink(world, seed, options->sabotage, off);
    (void)printf("\nthe shortest history that breaks the same:\n");
    (void)sim_world_run(world, seed, options->sabotage, off, true);
    BK_AUTO_TEXT word = {0};
    sim_write_off(&word, off);
    (void)printf("\nagain: sim --seed %" PRIu64 " --verbose", seed);
    if (options->sabotage)
        (void)printf(" --sabotage %s", sim_sabotage_names[options->sabotage]);
    (void)printf("%s%s\n", word.size ? " --off " : "", bk_text_string(&word));
    free(off);
}

/* Returns whether every kind of fault has happened at all. */
static bool tell_totals(const struct options *options, const struct totals *t)
{
    double seconds = (double)(bk_clock_now_us() - t->began_us) / 1e6;
    (void)printf("%" PRIu64 " worlds in %.1f s (%.0f a second), %.0f steps and %.1f s of their time each, %" PRIu64
                 " commands decided\n",
                 t->worlds, seconds, (double)t->worlds / seconds, (double)t->steps / (double)t->worlds,
                 (double)t->virtual_ms / 1e3 / (double)t->worlds, t->decided);
    bool complete = true;
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        (void)printf("%s%-12s %9" PRIu64, i % 4 ? "   " : "  ", sim_fault_names[i], t->fired[i]);
        (void)fputs(i % 4 == 3 || i + 1 == SIM_FAULT_COUNT ? "\n" : "", stdout);
        complete = complete && (t->fired[i] > 0 || options->off.kinds[i]);
    }
    if (!complete && t->worlds >= ENOUGH_FOR_ALL_FAULTS)
        (void)puts("some kind of fault has never happened");
    return complete || t->worlds < ENOUGH_FOR_ALL_FAULTS;
}

static int run(struct sim_world *world, const struct options *options)
{
    struct totals totals = {.began_us = bk_clock_now_us()};
    for (uint64_t i = 0; i < options->count; i++) {
        uint64_t seed = options->first + i;
        if (live(world, options, seed, &totals))
            continue;
        (void)printf("seed %" PRIu64 ", world %" PRIu64 ": BROKEN: %s (%s)\n", seed, totals.worlds, world->failure,
                     world->failure_text);
        if (options->shrink || !options->sabotage)
            tell_short(world, options, seed);
        return options->sabotage ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (options->sabotage) {
        (void)printf("%s was not found out in %" PRIu64 " worlds\n", sim_sabotage_names[options->sabotage],
                     totals.worlds);
        return EXIT_FAILURE;
    }
    return tell_totals(options, &totals) ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* What cannot fail proves nothing. */
static int self_test(struct sim_world *world)
{
    struct options options = {.first = 1, .count = USUAL_COUNT};
    int missed = 0;
    for (int i = 1; i < SIM_SABOTAGE_COUNT; i++) {
        struct totals totals = {0};
        options.sabotage = (enum sim_sabotage)i;
        bool good = true;
        while (good && totals.worlds < options.count)
            good = live(world, &options, options.first + totals.worlds, &totals);
        (void)printf("%-15s %s after %5" PRIu64 " worlds: %s\n", sim_sabotage_names[i], good ? "MISSED" : "found out",
                     totals.worlds, good ? "" : world->failure);
        missed += good;
    }
    return missed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* --- options -------------------------------------------------------------------------------------------------------------------- */

static bool read_number(const char *text, uint64_t *number)
{
    char *rest = NULL;
    *number = strtoull(text, &rest, 10);
    return *text >= '0' && *text <= '9' && *rest == '\0';
}

static bool read_seeds(char *text, struct options *options)
{
    char *dots = strstr(text, "..");
    uint64_t last = 0;
    if (!dots)
        return false;
    *dots = '\0';
    bool good = read_number(text, &options->first) && read_number(dots + 2, &last) && last >= options->first;
    options->count = last - options->first + 1;
    return good;
}

static bool read_sabotage(const char *name, struct options *options)
{
    for (int i = 1; i < SIM_SABOTAGE_COUNT; i++) {
        if (strcmp(name, sim_sabotage_names[i]) == 0) {
            options->sabotage = (enum sim_sabotage)i;
            return true;
        }
    }
    return false;
}

static bool read_options(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"seeds", required_argument, NULL, 'S'}, {"seed", required_argument, NULL, 's'},
        {"count", required_argument, NULL, 'c'}, {"sabotage", required_argument, NULL, 'x'},
        {"off", required_argument, NULL, 'o'},   {"shrink", no_argument, NULL, 'k'},
        {"verbose", no_argument, NULL, 'v'},     {"self-test", no_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};
    bool counted = false;
    bool good = true;
    for (int c = 0; good && (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == 'S')
            good = read_seeds(optarg, options);
        else if (c == 's')
            good = read_number(optarg, &options->first) && (counted || (options->count = 1));
        else if (c == 'c')
            good = counted = read_number(optarg, &options->count);
        else if (c == 'x')
            good = read_sabotage(optarg, options);
        else if (c == 'o')
            good = sim_read_off(&options->off, optarg);
        else if (c == 'h')
            print_help();
        else if (c == '?')
            good = false;
        options->shrink = options->shrink || c == 'k';
        options->verbose = options->verbose || c == 'v';
        options->self_test = options->self_test || c == 't';
        if (c == 'h')
            exit(EXIT_SUCCESS);
    }
    return good && optind == argc;
}

int main(int argc, char **argv)
{
    struct options options = {.first = 1, .count = USUAL_COUNT};
    if (!read_options(argc, argv, &options)) {
        (void)fputs("sim: wrong option; see --help\n", stderr);
        return EXIT_USAGE;
    }
    struct sim_world *world = sim_world_open();
    int code = options.self_test ? self_test(world) : run(world, &options);
    (void)sim_world_close(world);
    return code;
}
