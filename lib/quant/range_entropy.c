/* KL divergence over the histogram's bins, each candidate in one look at every level. */
#include "range.h"

#include <math.h>
#include <string.h>

#include "encoding.h"

#define BINS QDBG__HISTOGRAM_BINS

/* Fewer values a level are no distribution. */
#define FEWEST_PER_LEVEL 16

/* Bins that are looked at: finer ones see more of a peak than any grid could keep, and draw the
 * range together around it until nothing else is left. */
#define MOST_BINS(levels) ((levels) < 63 ? 128 : 2 * ((levels) + 1))

/* Differences below this are rounding. */
#define TIE 1e-9

/* Bins from the lowest range that is considered to the highest, zero being the edge `zero`. */
typedef struct line {
    double width;   /* of a bin */
    int32_t n;      /* bins, at most 2048 */
    int32_t zero;   /* edge number: 0..n */
    double *count;  /* [n] */
    double *sum;    /* [n + 1] of counts below each edge */
    double *filled; /* [n + 1] bins that are not empty, below each edge */
    double *plogp;  /* [n + 1] of count * log(count), below each edge */
    int32_t levels; /* of the grid between a range's ends */
    bool folded;    /* magnitudes of both signs: the range's lower end is zero */
} line;

static double xlogx(double x)
{
    return x > 0 ? x * log(x) : 0;
}

/* Zeros, which are half of what a Relu gives, are exact on every grid; but their bin would draw the
 * range together until a cell holds nothing else. It is made level with its neighbour, as Migacz
 * does. */
static void flatten_zero(line *l)
{
    int32_t i = l->zero;
    if (i < l->n)
        l->count[i] = fmin(l->count[i], i + 1 < l->n ? l->count[i + 1] : 0);
}

static void fill(line *l, const qdbg__histogram *g, int32_t shift)
{
    memset(l->count, 0, (size_t)l->n * sizeof *l->count);
    for (int32_t i = g->first; i <= g->last; i++) {
        int32_t bin = i >> shift;
        int32_t at = l->folded ? (bin < 0 ? -1 - bin : bin) : bin + l->zero;
        if (at < l->n)
            l->count[at] += (double)g->count[(uint32_t)i % BINS];
    }
    flatten_zero(l);
    for (int32_t i = 0; i < l->n; i++) {
        l->sum[i + 1] = l->sum[i] + l->count[i];
        l->filled[i + 1] = l->filled[i] + (l->count[i] > 0);
        l->plogp[i + 1] = l->plogp[i] + xlogx(l->count[i]);
    }
}

/* Lay the line; bins are summed in pairs until zero is among 2048 of them. */
static void lay(line *l, const qdbg__histogram *g, const qdbg_quant_spec *spec, double *scratch)
{
    int32_t qmin, qmax, shift = 0, below, above;
    qdbg__spec_integers(spec, &qmin, &qmax);
    l->folded = spec->symmetry != QDBG_ASYMMETRIC;
    l->levels = l->folded ? qmax : qmax - qmin;
    for (;; shift++) {
        int32_t first = g->first >> shift, last = g->last >> shift;
        below = first < 0 ? -first : 0;
        above = last < 0 ? 0 : last + 1;
        if (l->folded && spec->is_signed)
            above = above > below ? above : below;
        if (l->folded)
            below = 0;
        if (above + below <= MOST_BINS(l->levels) && above + below <= BINS)
            break;
    }
    l->width = ldexp(1, g->exponent + shift);
    l->n = above + below;
    l->zero = below;
    l->count = scratch;
    l->sum = l->count + BINS + 1;
    l->filled = l->sum + BINS + 1;
    l->plogp = l->filled + BINS + 1;
    l->sum[0] = l->filled[0] = l->plogp[0] = 0;
    fill(l, g, shift);
}

/* The histogram against what is left of it when a value is only known by its code: each cell of the
 * grid spread evenly over its non-empty bins. The outermost cells reach to the ends of the data. */
static double divergence(const line *l, int32_t a, int32_t b)
{
    double all = l->sum[l->n], q = 0, step = (double)(b - a) / l->levels;
    int32_t from = 0;
    for (int32_t k = 0; k <= l->levels; k++) {
        int32_t to = k == l->levels ? l->n : a + (int32_t)((k + 0.5) * step + 0.5);
        double there = l->sum[to] - l->sum[from], filled = l->filled[to] - l->filled[from];
        if (there > 0)
            q += there * log(there / filled);
        from = to;
    }
    return (l->plogp[l->n] - q) / all;
}

typedef struct ends {
    int32_t a, b;
    double cost;
} ends;

static void try_ends(const line *l, int32_t a, int32_t b, ends *best)
{
    if (a < 0 || b > l->n || a > l->zero || b < l->zero || b - a < 2 || b - a <= l->levels ||
        !(l->sum[b] - l->sum[a] > 0))
        return;
    double cost = divergence(l, a, b);
    if (cost < best->cost - TIE)
        *best = (ends){a, b, cost};
}

/* Move one end through all of its side, then bin by bin around the best. */
static void move_end(const line *l, bool upper, ends *best)
{
    int32_t span = upper ? l->n - l->zero : l->zero, stride = span / 128 + 1;
    ends from = *best;
    for (int32_t k = 0; k <= span; k += stride)
        try_ends(l, upper ? from.a : k, upper ? l->n - k : from.b, best);
    int32_t centre = upper ? best->b : best->a;
    for (int32_t k = 1 - stride; k < stride; k++)
        try_ends(l, upper ? from.a : centre + k, upper ? centre + k : from.b, best);
}

qdbg__span qdbg__range_entropy(const qdbg__histogram *g, const qdbg_quant_spec *spec,
                               double *scratch)
{
    line l;
    lay(&l, g, spec, scratch);
    double n = (double)(g->range.n - g->range.n_nan - g->range.n_inf);
    if (l.n <= l.levels || n < FEWEST_PER_LEVEL * (double)l.levels || !(l.sum[l.n] > 0))
        return (qdbg__span){g->range.min, g->range.max};
    ends best = {0, l.n, (double)INFINITY};
    try_ends(&l, 0, l.n, &best);
    for (int round = 0; round < (l.folded ? 1 : 2); round++) {
        move_end(&l, true, &best);
        if (!l.folded)
            move_end(&l, false, &best);
    }
    double max = (best.b - l.zero) * l.width, min = (best.a - l.zero) * l.width;
    if (l.folded && spec->is_signed)
        min = -max;
    /* The data's ends lie inside the outermost bins. */
    return (qdbg__span){fmaxf((float)min, fminf(g->range.min, 0)),
                        fminf((float)max, fmaxf(g->range.max, 0))};
}
