/* How long range searches take, and how good they are beside a coarse grid of candidates that is
 * tried on the histogram bin by bin, as other tools do. Best of many trials; the ratios are of one
 * run.
 *
 * usage: bench_range [TRIALS]     default 50 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <qdebug/base.h>

#include "quant/encoding.h"
#include "quant/range.h"

#define N 65536
#define STEPS 100

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double uniform(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(state >> 33) + 0.5) / 0x1p31;
}

static void fill(float *x, int shape)
{
    for (int i = 0; i < N; i++) {
        double g = sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
        double shapes[] = {g, uniform() < 0.5 ? log(uniform()) : -log(uniform()), g * g * g,
                           fmax(g, 0), uniform() < 0.001 ? 30 * g : g};
        x[i] = (float)shapes[shape];
    }
}

/* Cost of a grid, every bin at its centre. */
static double bin_cost(const qdbg__histogram *g, double s, int32_t below, int32_t above)
{
    double width = ldexp(1, g->exponent), sum = 0;
    for (int32_t i = g->first; i <= g->last; i++) {
        double x = (i + 0.5) * width;
        double q = fmin(fmax(rint(x / s), -below), above);
        sum += (double)g->count[(uint32_t)i % QDBG__HISTOGRAM_BINS] * (x - q * s) * (x - q * s);
    }
    return sum;
}

/* 100 scales, symmetric; or 16 scales with 21 zero points each. */
static qdbg__span coarse(const qdbg__histogram *g, const qdbg_quant_spec *spec)
{
    int32_t qmin, qmax;
    qdbg__spec_integers(spec, &qmin, &qmax);
    double lo = (double)fminf(g->range.min, 0), hi = (double)fmaxf(g->range.max, 0);
    double best = (double)INFINITY;
    qdbg__span span = {0, 0};
    bool symmetric = spec->symmetry != QDBG_ASYMMETRIC;
    double widest = symmetric ? fmax(-lo, hi) / qmax : (hi - lo) / (qmax - qmin);
    for (int k = 1; k <= (symmetric ? STEPS : 16); k++) {
        double s = widest * k / (symmetric ? STEPS : 16);
        for (int z = 0; z <= (symmetric ? 0 : 20); z++) {
            int32_t below = symmetric ? -qmin : (qmax - qmin) * z / 20;
            int32_t above = symmetric ? qmax : qmax - qmin - below;
            double cost = bin_cost(g, s, below, above);
            if (cost < best) {
                best = cost;
                span = (qdbg__span){(float)(-(symmetric ? qmax : below) * s), (float)(above * s)};
            }
        }
    }
    return span;
}

/* True cost of a range over the values. */
static double cost_of_span(const qdbg__kernels *k, const float *x, float *y,
                           const qdbg_quant_spec *spec, qdbg__span span)
{
    qdbg_encoding e = qdbg__encoding_of_range(spec, span.min, span.max);
    qdbg__grid grid = {e.scale, e.zero_point, e.qmin, e.qmax, 0};
    qdbg__quant_stats stats = {0};
    k->fakequant_stats(x, y, N, &grid, &stats);
    return stats.sum_ee;
}

/* The same of a brute force over the values: 200 scales, symmetric only. */
static double brute(const qdbg__kernels *k, const float *x, float *y, const qdbg_quant_spec *spec,
                    float end)
{
    double best = (double)INFINITY;
    for (int i = 0; i < 200; i++) {
        float e = end * powf(0.98f, (float)i);
        best = fmin(best, cost_of_span(k, x, y, spec, (qdbg__span){-e, e}));
    }
    return best;
}

typedef struct world {
    qdbg_ctx *ctx;
    const qdbg__kernels *kernels;
    qdbg__range_work *work;
    qdbg__histogram *histogram;
    float *x, *y;
    int trials;
} world;

static double time_method(world *w, int32_t method, const qdbg_quant_spec *spec, qdbg__span *span)
{
    qdbg_range_options o = QDBG_RANGE_OPTIONS_INIT;
    double best = (double)INFINITY;
    o.method = method;
    for (int t = 0; t < w->trials; t++) {
        double start = now();
        *span = qdbg__range_choose(w->work, w->histogram, NULL, NULL, 0, &o, spec);
        best = fmin(best, now() - start);
    }
    return best * 1e6;
}

/* The same over the largest number of values that a search looks at one by one. */
static double time_values(world *w, const qdbg_quant_spec *spec)
{
    qdbg_range_options o = QDBG_RANGE_OPTIONS_INIT;
    double best = (double)INFINITY;
    o.method = QDBG_RANGE_MSE;
    for (int t = 0; t < w->trials; t++) {
        double start = now();
        qdbg__range_of_values(w->kernels, w->work, w->x, QDBG__PROFILE_VALUES, &o, spec);
        best = fmin(best, now() - start);
    }
    return best * 1e6;
}

static void run_row(world *w, const char *shape, uint32_t bits, bool symmetric)
{
    qdbg_quant_spec spec = QDBG_QUANT_SPEC_INIT;
    spec.bits = bits;
    spec.symmetry = symmetric ? QDBG_SYMMETRIC : QDBG_ASYMMETRIC;
    spec.is_signed = symmetric;
    qdbg__span mse, span;
    double times[3], start;
    times[0] = time_method(w, QDBG_RANGE_MSE, &spec, &mse);
    times[1] = time_method(w, QDBG_RANGE_SQNR, &spec, &span);
    times[2] = time_method(w, QDBG_RANGE_ENTROPY, &spec, &span);
    start = now();
    span = coarse(w->histogram, &spec);
    double coarse_time = (now() - start) * 1e6;
    double ours = cost_of_span(w->kernels, w->x, w->y, &spec, mse);
    printf("%-12s %4u %-10s %8.1f %8.1f %8.1f %8.1f %10.1f %7.1f %9.4f", shape, bits,
           symmetric ? "symmetric" : "asymmetric", times[0], times[1], times[2],
           time_values(w, &spec), coarse_time, coarse_time / times[0],
           ours / cost_of_span(w->kernels, w->x, w->y, &spec, span));
    if (symmetric)
        printf(" %8.4f\n", ours / brute(w->kernels, w->x, w->y, &spec,
                                        fmaxf(-w->histogram->range.min, w->histogram->range.max)));
    else
        printf("        -\n");
}

int main(int argc, char **argv)
{
    static const char *const shapes[] = {"gauss", "laplace", "cubed gauss", "relu", "outliers"};
    static const uint32_t bits[] = {2, 3, 4, 6, 8, 16};
    world w = {.trials = argc > 1 ? atoi(argv[1]) : 50};
    if (qdbg_ctx_create(NULL, &w.ctx) != QDBG_OK)
        return 1;
    w.kernels = qdbg__kernels_of(w.ctx);
    w.work = malloc(sizeof *w.work);
    w.histogram = malloc(sizeof *w.histogram);
    w.x = malloc(N * sizeof *w.x);
    w.y = malloc(N * sizeof *w.y);
    printf(
        "Microseconds of one search over a histogram of %d values; \"values\": MSE over %d values, "
        "sorting\nincluded. \"coarse\": 100 (symmetric) or "
        "336\ncandidates over all bins; \"time\": its time over ours; \"error\": our MSE over its, "
        "measured on the\nvalues; \"brute\": our MSE over the best of 200 scales tried on the "
        "values.\n\n%-12s %4s %-10s %8s %8s %8s %8s %10s %7s %9s %8s\n",
        N, QDBG__PROFILE_VALUES, "data", "bits", "grid", "MSE", "SQNR", "entropy", "values",
        "coarse", "time", "error", "brute");
    for (int s = 0; s < 5 && w.y; s++) {
        fill(w.x, s);
        qdbg__histogram_init(w.histogram);
        w.kernels->histogram(w.x, N, w.histogram);
        for (int b = 0; b < 6; b++)
            for (int symmetric = 1; symmetric >= 0; symmetric--)
                run_row(&w, shapes[s], bits[b], symmetric);
    }
    free(w.y);
    free(w.x);
    free(w.histogram);
    free(w.work);
    qdbg_ctx_destroy(w.ctx);
    return 0;
}
