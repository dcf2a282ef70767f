#include "range_data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

const char *const shape_names[SHAPES] = {"gauss", "laplace", "cubed gauss", "relu", "outliers"};

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*state >> 33) + 0.5) / 0x1p31;
}

static double gauss(uint64_t *state)
{
    double r = sqrt(-2 * log(uniform(state)));
    return r * cos(6.283185307179586 * uniform(state));
}

void fill_shape(enum shape shape, float *x, size_t n)
{
    uint64_t state = 42 + (uint64_t)shape;
    for (size_t i = 0; i < n; i++) {
        double g = gauss(&state), u = uniform(&state);
        switch (shape) {
        case LAPLACE:
            g = u < 0.5 ? log(2 * u) : -log(2 - 2 * u);
            break;
        case CUBED:
            g = g * g * g;
            break;
        case RELU:
            g = g > 0 ? g : 0;
            break;
        case OUTLIERS:
            g = u < 0.001 ? g * 30 : g;
            break;
        default:
            break;
        }
        x[i] = (float)g;
    }
}

size_t fill_golden(char name, float *x)
{
    if (name == 'A') {
        for (int i = 0; i <= 1000; i++) {
            double t = (i - 500) / 500.0;
            x[i] = (float)(4 * t * t * t);
        }
        return 1001;
    }
    if (name == 'C') {
        for (int i = 0; i <= 10000; i++)
            x[i] = (float)((i - 5000) / 5000.0);
        x[10001] = 50;
        return 10002;
    }
    uint32_t s = 12345;
    for (int i = 0; i < 4096; i++) {
        double sum = -6;
        for (int k = 0; k < 12; k++) {
            s = s * 1664525u + 1013904223u;
            sum += (s >> 8) / 16777216.0;
        }
        x[i] = (float)sum;
    }
    return 4096;
}

static double cost_of_encoding(qdbg_ctx *ctx, const qdbg_encoding *e, double clip_weight,
                               const float *x, float *y, size_t n)
{
    double sum = 0;
    assert_int_equal(qdbg_fakequant_f32(ctx, e, 0, x, y, n), QDBG_OK);
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)y[i];
        sum += x[i] > e->max || x[i] < e->min ? clip_weight * d * d : d * d;
    }
    return sum;
}

double cost_of_range(qdbg_ctx *ctx, const qdbg_quant_spec *spec, float min, float max,
                     double clip_weight, const float *x, size_t n)
{
    float *y = malloc(n * sizeof *y);
    qdbg_encoding e = QDBG_ENCODING_INIT;
    assert_int_equal(qdbg_encoding_from_range(ctx, spec, min, max, &e), QDBG_OK);
    double cost = cost_of_encoding(ctx, &e, clip_weight, x, y, n);
    free(y);
    return cost;
}

double brute_force(qdbg_ctx *ctx, const qdbg_quant_spec *spec, double most, double least,
                   int n_scales, double clip_weight, const float *x, size_t n)
{
    float *y = malloc(n * sizeof *y), lo = 0, hi = 0;
    for (size_t i = 0; i < n; i++) {
        lo = fminf(lo, x[i]);
        hi = fmaxf(hi, x[i]);
    }
    qdbg_encoding full = QDBG_ENCODING_INIT;
    assert_int_equal(qdbg_encoding_from_range(ctx, spec, lo, hi, &full), QDBG_OK);
    double best = (double)INFINITY;
    for (int k = 0; k < n_scales; k++) {
        qdbg_encoding e = full;
        double share = most * pow(least / most, (double)k / (n_scales - 1));
        e.scale = (float)((double)full.scale * share);
        bool is_free = spec->symmetry == QDBG_ASYMMETRIC;
        /* Zero points at which the grid, cut to both ends of the data, lacks no more than a level.
         */
        for (int32_t z = is_free ? full.qmin : full.zero_point;
             z <= (is_free ? full.qmax : full.zero_point); z++) {
            e.zero_point = z;
            e.min = (float)(e.qmin - z) * e.scale;
            e.max = (float)(e.qmax - z) * e.scale;
            if (is_free && (e.min < lo - 2 * e.scale || e.max > hi + 2 * e.scale) && share <= 1)
                continue;
            best = fmin(best, cost_of_encoding(ctx, &e, clip_weight, x, y, n));
        }
    }
    free(y);
    return best;
}

qdbg_quant_spec spec_of(uint32_t bits, int32_t symmetry)
{
    qdbg_quant_spec spec = QDBG_QUANT_SPEC_INIT;
    spec.bits = bits;
    spec.symmetry = symmetry;
    spec.is_signed = symmetry != QDBG_ASYMMETRIC;
    return spec;
}

qdbg_range_options method_of(int32_t method)
{
    qdbg_range_options options = QDBG_RANGE_OPTIONS_INIT;
    options.method = method;
    return options;
}
