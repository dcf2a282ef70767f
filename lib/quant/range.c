/* Range methods: options, quantiles, and which method is whose. */
#include "range.h"

#include <math.h>
#include <string.h>

#include "encoding.h"

#define METHODS 8

void qdbg_range_options_init(qdbg_range_options *options)
{
    if (options)
        *options = (qdbg_range_options)QDBG_RANGE_OPTIONS_INIT;
}

const char *qdbg_range_method_name(int32_t method)
{
    static const char *const names[METHODS] = {
        "min-max",       "percentile",     "MSE",        "SQNR", "entropy",
        "cross entropy", "moving average", "batch-norm",
    };
    return method >= 0 && method < METHODS ? names[method] : "unknown";
}

static const char *options_fault(const qdbg_range_options *o)
{
    if (o->struct_size != sizeof *o)
        return "struct_size is wrong";
    if (o->method < 0 || o->method >= METHODS)
        return "method is unknown";
    if (o->percentile != 0 && !(o->percentile > 50 && o->percentile <= 100))
        return "percentile must be above 50, up to 100";
    if (o->clip_weight != 0 && !(o->clip_weight >= 1 && o->clip_weight <= 1e6))
        return "clip_weight must be 1 to 1e6";
    if (o->momentum != 0 && !(o->momentum > 0 && o->momentum <= 1))
        return "momentum must be above 0, up to 1";
    if (o->sigmas != 0 && !(o->sigmas > 0 && isfinite(o->sigmas)))
        return "sigmas must be above 0 and finite";
    return NULL;
}

qdbg_status qdbg__range_check(qdbg_ctx *ctx, const qdbg_range_options *options, const char *what)
{
    const char *fault = options_fault(options);
    if (!fault)
        return QDBG_OK;
    return qdbg__fail(ctx, QDBG_E_INVALID, "%s: bad range options: %s", what, fault);
}

qdbg_range_options qdbg__range_defaults(const qdbg_range_options *options)
{
    qdbg_range_options o = *options;
    o.percentile = o.percentile != 0 ? o.percentile : 99.99;
    o.clip_weight = o.clip_weight != 0 ? o.clip_weight : 3;
    o.momentum = o.momentum != 0 ? o.momentum : 0.1;
    o.sigmas = o.sigmas != 0 ? o.sigmas : 6;
    return o;
}

uint32_t qdbg__range_needs(int32_t method)
{
    static const uint32_t needs[METHODS] = {
        [QDBG_RANGE_PERCENTILE] = QDBG_OBSERVE_HISTOGRAM,
        [QDBG_RANGE_MSE] = QDBG_OBSERVE_HISTOGRAM,
        [QDBG_RANGE_SQNR] = QDBG_OBSERVE_HISTOGRAM,
        [QDBG_RANGE_ENTROPY] = QDBG_OBSERVE_HISTOGRAM,
        [QDBG_RANGE_CROSS_ENTROPY] = QDBG_OBSERVE_ROWS,
        [QDBG_RANGE_MOVING_AVERAGE] = QDBG_OBSERVE_AVERAGE,
    };
    return needs[method];
}

/* ---- quantiles ---- */

static uint32_t top_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 20;
}

void qdbg__octaves_add(qdbg__octaves *octaves, const float *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bin = top_bits(data[i]);
        if ((bin & 0x7f8) != 0x7f8) /* NaN and infinity */
            octaves->count[bin]++;
    }
}

/* Part of a histogram, in rising order: `at` values lie before [lo, hi), `n` in it. */
typedef struct bin {
    double lo, hi, at, n;
} bin;

/* Bin of the value that `rank` others lie below. */
static bin bin_of_rank(const qdbg__histogram *g, double rank)
{
    double width = ldexp(1, g->exponent), at = 0;
    for (int32_t i = g->first; i <= g->last; i++) {
        double n = (double)g->count[(uint32_t)i % QDBG__HISTOGRAM_BINS];
        if (at + n > rank || i == g->last)
            return (bin){i * width, (i + 1) * width, at, n};
        at += n;
    }
    return (bin){0, 0, 0, 0};
}

static double octave_edge(uint32_t octave)
{
    uint32_t bits = (octave & 0x7ff) << 20;
    float x;
    if (octave == 0x7f8) /* where infinity would be */
        return 0x1p128;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

static bin octave_of_rank(const qdbg__octaves *o, double rank)
{
    double at = 0;
    for (uint32_t k = 0; k < QDBG__OCTAVE_BINS; k++) {
        bool negative = k < QDBG__OCTAVE_BINS / 2;
        uint32_t i = negative ? QDBG__OCTAVE_BINS - 1 - k : k - QDBG__OCTAVE_BINS / 2;
        double n = (double)o->count[i], near = octave_edge(i & 0x7ff);
        double far = octave_edge((i & 0x7ff) + 1);
        if (at + n > rank)
            return negative ? (bin){-far, -near, at, n} : (bin){near, far, at, n};
        at += n;
    }
    return (bin){-(double)INFINITY, (double)INFINITY, 0, 1};
}

float qdbg__quantile(const qdbg__histogram *g, const qdbg__octaves *octaves, double rank)
{
    double n = (double)(g->range.n - g->range.n_nan - g->range.n_inf);
    if (rank < 1)
        return g->range.min;
    if (rank >= n - 1)
        return g->range.max;
    bin b = bin_of_rank(g, rank);
    if (octaves) {
        bin o = octave_of_rank(octaves, rank);
        b = o.hi - o.lo < b.hi - b.lo ? o : b;
    }
    b.lo = fmax(b.lo, (double)g->range.min);
    b.hi = fmin(b.hi, (double)g->range.max);
    return (float)(b.lo + (b.hi - b.lo) * ((rank + 0.5 - b.at) / b.n));
}

/* ---- dispatch ---- */

/* The same number of values is cut at either end. */
static qdbg__span percentile(const qdbg__histogram *g, const qdbg__octaves *octaves, double p)
{
    double n = (double)(g->range.n - g->range.n_nan - g->range.n_inf);
    double cut = floor((100 - p) / 100 * n + 1e-6); /* 100 - 99.9 is not quite 0.1 */
    return (qdbg__span){qdbg__quantile(g, octaves, cut), qdbg__quantile(g, octaves, n - 1 - cut)};
}

qdbg__span qdbg__range_choose(qdbg__range_work *work, const qdbg__histogram *g,
                              const qdbg__octaves *octaves, const float *data, size_t n,
                              const qdbg_range_options *options, const qdbg_quant_spec *spec)
{
    qdbg_range_options o = qdbg__range_defaults(options);
    if (o.method == QDBG_RANGE_PERCENTILE)
        return percentile(g, octaves, o.percentile);
    if (o.method == QDBG_RANGE_ENTROPY)
        return qdbg__range_entropy(g, spec, work->scratch);
    if (o.method != QDBG_RANGE_MSE && o.method != QDBG_RANGE_SQNR)
        return (qdbg__span){g->range.min, g->range.max};
    if (data && n <= QDBG__PROFILE_VALUES)
        qdbg__profile_of_values(&work->profile, g, data, n);
    else
        qdbg__profile_of_histogram(&work->profile, g);
    return qdbg__range_search(&work->profile, spec,
                              o.method == QDBG_RANGE_SQNR ? o.clip_weight : 1);
}

qdbg__span qdbg__range_of_values(const qdbg__kernels *kernels, qdbg__range_work *work,
                                 const float *data, size_t n, const qdbg_range_options *options,
                                 const qdbg_quant_spec *spec)
{
    qdbg__range range;
    if (!(qdbg__range_needs(options->method) & QDBG_OBSERVE_HISTOGRAM)) {
        qdbg__range_init(&range);
        kernels->range(data, n, &range);
        return (qdbg__span){range.min, range.max};
    }
    qdbg__histogram_init(&work->histogram);
    kernels->histogram(data, n, &work->histogram);
    range = work->histogram.range;
    if (range.min > range.max)
        return (qdbg__span){range.min, range.max};
    qdbg__octaves *octaves = NULL;
    if (options->method == QDBG_RANGE_PERCENTILE) {
        octaves = &work->octaves;
        memset(octaves, 0, sizeof *octaves);
        qdbg__octaves_add(octaves, data, n);
    }
    return qdbg__range_choose(work, &work->histogram, octaves, data, n, options, spec);
}
