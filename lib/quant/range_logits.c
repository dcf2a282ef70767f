/* The range of logits that changes their softmax least. */
#include "range.h"

#include <float.h>
#include <math.h>

#include "encoding.h"
#include "fakequant.h"

typedef struct logits {
    const qdbg__kernels *kernels;
    const float *rows;
    float *shares; /* softmax of the rows */
    float *quantized;
    size_t n_rows, length;
    const qdbg_quant_spec *spec;
} logits;

/* log of the sum of exp(x - top). */
static double log_sum_exp(const float *x, size_t n, double top)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - top);
    return log(sum);
}

static double largest(const float *x, size_t n)
{
    float top = x[0];
    for (size_t i = 1; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return (double)top;
}

static void take_softmax(logits *z)
{
    for (size_t r = 0; r < z->n_rows; r++) {
        const float *x = z->rows + r * z->length;
        double top = largest(x, z->length), scale = log_sum_exp(x, z->length, top);
        for (size_t i = 0; i < z->length; i++)
            z->shares[r * z->length + i] = (float)exp((double)x[i] - top - scale);
    }
}

static double cross_entropy(const logits *z, qdbg__span span)
{
    qdbg_encoding e = qdbg__encoding_of_range(z->spec, span.min, span.max);
    qdbg__grid grid = qdbg__grid_of(&e, z->spec->rounding);
    double sum = 0;
    z->kernels->fakequant(z->rows, z->quantized, z->n_rows * z->length, &grid);
    for (size_t r = 0; r < z->n_rows; r++) {
        const float *y = z->quantized + r * z->length, *p = z->shares + r * z->length;
        double top = largest(y, z->length), norm = top + log_sum_exp(y, z->length, top);
        for (size_t i = 0; i < z->length; i++)
            sum += (double)p[i] * (norm - (double)y[i]);
    }
    return sum;
}

static void try_span(const logits *z, qdbg__span span, qdbg__span *best, double *cost)
{
    span = (qdbg__span){fmaxf(span.min, -FLT_MAX), fminf(span.max, FLT_MAX)};
    double c = cross_entropy(z, span);
    if (c < *cost) {
        *cost = c;
        *best = span;
    }
}

qdbg__span qdbg__range_cross_entropy(const qdbg__kernels *kernels, const float *rows, size_t n_rows,
                                     size_t length, qdbg__span observed,
                                     const qdbg_quant_spec *spec, float *scratch)
{
    logits z = {kernels, rows, scratch, scratch + n_rows * length, n_rows, length, spec};
    qdbg__span all = {fminf(observed.min, 0), fmaxf(observed.max, 0)}, best = all;
    double cost = (double)INFINITY;
    take_softmax(&z);
    for (int i = 0; i < 48; i++) { /* both ends together, down to a twentieth */
        float f = powf(0.94f, (float)i);
        try_span(&z, (qdbg__span){all.min * f, all.max * f}, &best, &cost);
    }
    for (int round = 0; round < 3; round++) { /* each on its own, finer and finer */
        float step = 0.2f / (float)(1 << 2 * round);
        qdbg__span centre = best;
        for (int k = -5; k <= 5; k++)
            try_span(&z, (qdbg__span){centre.min, centre.max * (1 + step * (float)k)}, &best,
                     &cost);
        centre = best;
        for (int k = -5; k <= 5; k++)
            try_span(&z, (qdbg__span){centre.min * (1 + step * (float)k), centre.max}, &best,
                     &cost);
    }
    return best;
}
