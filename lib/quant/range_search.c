/* MSE and SQNR: the best grid, by way of what lies beyond each boundary.
 *
 * Seen from zero outwards, a value x > 0 that is rounded to 0 costs x^2. Each boundary (k + 1/2) s
 * that it passes moves it from level k to level k + 1 and saves 2 s (x - (k + 1/2) s). Let U(b) be
 * the sum of (x - b)+ over the values: a grid with m levels above zero and l below costs
 *
 *     sum x^2 - 2 s ( sum_{k < m} U((k + 1/2) s) + the same of the negative values, k < l ),
 *
 * exactly, for U is exact. Values beyond the last level M = m s that count w times add (w - 1)
 * times the sum of (x - M)+^2, which level by level is a saving too. Savings shrink with k, so the
 * best zero point for a scale gives each side levels as long as they save more than the other
 * side's: one bisection. What remains is a search over the scale alone. */
#include "range.h"

#include <float.h>
#include <math.h>

#include "encoding.h"

/* Above this number of steps the sum over boundaries becomes an integral: s^2 / 12 for each value
 * inside, which differs from the sum by terms of fourth order in s. */
#define MOST_BOUNDARIES 1023

typedef struct search {
    const qdbg__profile *profile;
    double extra;       /* clip_weight - 1 */
    int32_t up, down;   /* most levels above and below zero */
    int32_t steps;      /* both together; less than their sum where the zero point is free */
    double inside;      /* finite values */
    double all_clipped; /* cost of a grid with no level but zero */
} search;

/* What level k + 1 of a half saves. */
static double saving(const search *z, int side, int32_t k, double s)
{
    const qdbg__half *h = &z->profile->half[side];
    double save = 2 * s * qdbg__half_excess(h, (k + 0.5) * s);
    if (z->extra > 0)
        save += z->extra * (qdbg__half_excess2(h, k * s) - qdbg__half_excess2(h, (k + 1) * s));
    return save;
}

/* What the first m levels of a half save. */
static double savings(const search *z, int side, int32_t m, double s)
{
    const qdbg__half *h = &z->profile->half[side];
    double all = qdbg__half_excess2(h, 0), beyond = qdbg__half_excess2(h, m * s);
    double save = z->extra * (all - beyond);
    if (m > MOST_BOUNDARIES)
        return save + all - beyond -
               s * s / 12 * (qdbg__half_count(h, 0) - qdbg__half_count(h, m * s));
    for (int32_t k = 0; k < m; k++) {
        double excess = qdbg__half_excess(h, (k + 0.5) * s);
        if (!(excess > 0))
            break;
        save += 2 * s * excess;
    }
    return save;
}

/* Levels above zero that the best zero point leaves. */
static int32_t best_split(const search *z, double s)
{
    if (z->steps == z->up + z->down)
        return z->up;
    int32_t lo = 0, hi = z->steps; /* level lo of the positive half pays, level hi + 1 does not */
    while (lo < hi) {
        int32_t m = lo + (hi - lo + 1) / 2;
        if (saving(z, QDBG__POSITIVE, m - 1, s) >= saving(z, QDBG__NEGATIVE, z->steps - m, s))
            lo = m;
        else
            hi = m - 1;
    }
    return lo;
}

static double cost(const search *z, double s, int32_t *above)
{
    int32_t m = best_split(z, s);
    *above = m;
    return z->all_clipped - savings(z, QDBG__POSITIVE, m, s) -
           savings(z, QDBG__NEGATIVE, z->steps == z->up + z->down ? z->down : z->steps - m, s);
}

static search begin(const qdbg__profile *p, const qdbg_quant_spec *spec, double clip_weight)
{
    search z = {.profile = p, .extra = clip_weight - 1};
    int32_t qmin, qmax;
    qdbg__spec_integers(spec, &qmin, &qmax);
    z.steps = qmax - qmin;
    z.up = spec->symmetry == QDBG_ASYMMETRIC ? z.steps : qmax;
    z.down = spec->symmetry == QDBG_ASYMMETRIC ? z.steps : -qmin;
    for (int side = 0; side < 2; side++) {
        z.inside += p->half[side].above[0].n;
        z.all_clipped += clip_weight * qdbg__half_excess2(&p->half[side], 0);
    }
    return z;
}

double qdbg__range_cost(const qdbg__profile *profile, const qdbg_quant_spec *spec,
                        double clip_weight, double scale, int32_t *above)
{
    search z = begin(profile, spec, clip_weight);
    return cost(&z, scale, above);
}

/* ---- over scales ---- */

typedef struct best {
    double scale, cost;
    int32_t above;
} best;

static double try_scale(const search *z, double s, best *b)
{
    int32_t above;
    double c = cost(z, s, &above);
    if (c < b->cost)
        *b = (best){s, c, above};
    return c;
}

/* The scale that reaches both ends. */
static double covering_scale(const search *z)
{
    const qdbg__half *half = z->profile->half;
    double above = fmax(half[QDBG__POSITIVE].high, 0), below = fmax(half[QDBG__NEGATIVE].high, 0);
    if (z->steps < z->up + z->down)
        return (above + below) / z->steps;
    return fmax(above / z->up, z->down > 0 ? below / z->down : 0);
}

/* Rounding costs at most s^2 / 4 a value; the rest is clipping, which only grows as s shrinks. */
static bool smaller_is_worse(const search *z, double s, double c, const best *b)
{
    return c - s * s / 4 * z->inside > b->cost;
}

/* Walk in even ratios from a little above the covering scale down until nothing better can come. */
static void walk(const search *z, double covering, double ratio, best *b)
{
    double s = covering * (z->steps <= 15 ? 2.0 : z->steps <= 63 ? 1.25 : 1.06);
    for (; s >= (double)FLT_MIN; s *= ratio)
        if (smaller_is_worse(z, s, try_scale(z, s, b), b))
            return;
}

/* Finer and finer around the best. */
static void refine(const search *z, double ratio, best *b)
{
    double step = 1 / ratio - 1;
    for (int round = 0; round < (z->steps <= 63 ? 4 : 3); round++) {
        double centre = b->scale;
        step /= 4;
        for (int k = -4; k <= 4; k++)
            if (k != 0)
                (void)try_scale(z, centre * (1 + step * k), b);
    }
}

static void search_powers(const search *z, double covering, best *b)
{
    int exponent;
    (void)frexp(covering, &exponent);
    for (double s = ldexp(1, exponent + 1); s >= (double)FLT_MIN; s /= 2)
        if (smaller_is_worse(z, s, try_scale(z, s, b), b))
            return;
}

qdbg__span qdbg__range_search(const qdbg__profile *profile, const qdbg_quant_spec *spec,
                              double clip_weight)
{
    search z = begin(profile, spec, clip_weight);
    double covering = covering_scale(&z);
    best b = {0, (double)INFINITY, 0};
    if (!(covering > 0))
        return (qdbg__span){0, 0};
    if (spec->flags & QDBG_SPEC_POWER_OF_TWO) {
        search_powers(&z, covering, &b);
    } else {
        double ratio = z.steps <= 15 ? 0.99 : z.steps <= 63 ? 0.98 : 0.97;
        (void)try_scale(&z, covering, &b);
        walk(&z, covering, ratio, &b);
        refine(&z, ratio, &b);
    }
    double max = fmin(b.above * b.scale, (double)FLT_MAX), min = -max;
    if (spec->symmetry == QDBG_ASYMMETRIC)
        min = -fmin((z.steps - b.above) * b.scale, (double)FLT_MAX);
    return (qdbg__span){spec->symmetry != QDBG_ASYMMETRIC && !spec->is_signed ? 0 : (float)min,
                        (float)max};
}
