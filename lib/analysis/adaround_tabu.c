/* Tabu search over one row's integers: always the best single change that was not made lately, also
 * where it makes things worse, so that the search leaves the hollow that it is in. (Glover, "Tabu
 * Search - Part I", ORSA Journal on Computing 1, 1989; one-flip moves with incremental gains as in
 * Glover, Kochenberger and Alidaee, "Adaptive Memory Tabu Search for Binary Quadratic Programs",
 * Management Science 44, 1998.) */
#include "adaround_tabu.h"

#include <math.h>
#include <string.h>

#define LANES 8
#define MOVES_PER_WEIGHT 4
#define MOVES_MIN 256
#define MOVES_MAX 4096
#define TENURE_MIN 6

/* Arrays are [d] up to a multiple of LANES; what lies behind d is never chosen. */
typedef struct tabu {
    const qdbg__step *steps; /* of the row */
    const double *h;         /* [d, d] */
    int32_t *q, *best_q;
    double *g;           /* [d] e H - b */
    double *cost;        /* of the better change of each weight */
    double *rise, *fall; /* which is by so much where the gradient is negative, or not */
    double *curve;       /* diagonal of h */
    double *until;       /* a weight may change again behind this move */
    size_t d, padded;
} tabu;

/* A change by one grid point: against the gradient where the grid goes on there, else back. */
static void open_ways(const tabu *t, size_t k)
{
    double scale = (double)t->steps[k].scale;
    t->rise[k] = t->q[k] < t->steps[k].high ? scale : -scale;
    t->fall[k] = t->q[k] > t->steps[k].low ? -scale : scale;
    if (t->steps[k].low == t->steps[k].high)
        t->until[k] = (double)INFINITY;
}

/* Costs of the changes [at, at + LANES), and the least in each lane. */
static inline void price(const double *restrict g, const double *restrict rise,
                         const double *restrict fall, const double *restrict curve,
                         const double *restrict until, double move, double *restrict cost,
                         double *restrict least)
{
    for (size_t l = 0; l < LANES; l++) {
        double slope = g[l], up = rise[l], down = fall[l], bar = until[l], low = least[l];
        double step = slope < 0 ? up : down, c = step * (2 * slope + step * curve[l]);
        c = bar > move ? (double)INFINITY : c; /* loads first, or no compiler makes vectors of it */
        cost[l] = c;
        least[l] = c < low ? c : low;
    }
}

/* The weight whose change costs least, the first of equals; d where none may change. */
static size_t find_least(const tabu *t, double move)
{
    double least[LANES], all = (double)INFINITY;
    for (size_t l = 0; l < LANES; l++)
        least[l] = all;
    for (size_t k = 0; k < t->padded; k += LANES)
        price(t->g + k, t->rise + k, t->fall + k, t->curve + k, t->until + k, move, t->cost + k,
              least);
    for (size_t l = 0; l < LANES; l++)
        all = least[l] < all ? least[l] : all;
    if (!isfinite(all))
        return t->d;
    size_t k = 0;
    while (t->cost[k] != all)
        k++;
    return k;
}

static void make_move(const tabu *t, size_t k)
{
    const double *restrict line = t->h + k * t->d;
    double *restrict g = t->g;
    double step = t->g[k] < 0 ? t->rise[k] : t->fall[k];
    t->q[k] += step > 0 ? 1 : -1;
    open_ways(t, k);
    for (size_t i = 0; i < t->d; i++)
        g[i] += step * line[i];
}

/* A number below `n`, the same for the same move. */
static uint32_t draw(uint32_t move, uint32_t n)
{
    uint32_t x = move * 2654435761u;
    x ^= x >> 15;
    x *= 2246822519u;
    return (x >> 16) % n;
}

static void search(const tabu *t)
{
    uint32_t moves = MOVES_MIN + (uint32_t)t->d * MOVES_PER_WEIGHT,
             tenure = TENURE_MIN + (uint32_t)t->d / 24;
    double loss = 0, best = 0;
    if (moves > MOVES_MAX)
        moves = MOVES_MAX;
    for (uint32_t move = 1; move <= moves; move++) {
        size_t k = find_least(t, move);
        if (k == t->d)
            return;
        loss += t->cost[k];
        make_move(t, k);
        t->until[k] = move + tenure + draw(move, tenure);
        if (loss < best - 1e-9 * fabs(best)) {
            best = loss;
            memcpy(t->best_q, t->q, t->d * sizeof *t->q);
        }
    }
}

static size_t padded(size_t depth)
{
    return (depth + LANES - 1) / LANES * LANES;
}

size_t qdbg__tabu_scratch(size_t depth)
{
    return 7 * padded(depth);
}

void qdbg__tabu_row(const qdbg__step *steps, const double *h, size_t depth, int32_t *q,
                    const double *g, double *scratch)
{
    size_t n = padded(depth);
    tabu t = {.steps = steps, .h = h, .q = q, .d = depth, .padded = n};
    double **const arrays[] = {&t.g, &t.cost, &t.rise, &t.fall, &t.curve, &t.until};
    memset(scratch, 0, 7 * n * sizeof *scratch);
    for (size_t i = 0; i < 6; i++)
        *arrays[i] = scratch + i * n;
    t.best_q = (int32_t *)(void *)(scratch + 6 * n);
    memcpy(t.best_q, q, depth * sizeof *q);
    memcpy(t.g, g, depth * sizeof *g);
    for (size_t k = 0; k < n; k++) {
        if (k >= depth) {
            t.until[k] = (double)INFINITY;
            continue;
        }
        t.curve[k] = h[k * depth + k];
        open_ways(&t, k);
    }
    search(&t);
    memcpy(q, t.best_q, depth * sizeof *q);
}
