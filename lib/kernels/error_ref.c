/* Difference of two tensors: the specification. */
#include "ref.h"

#include <math.h>

/* Sums of one call, lane i % 16 for element i. */
typedef struct error_lanes {
    double aa[QDBG__LANES], bb[QDBG__LANES], ab[QDBG__LANES], ee[QDBG__LANES];
} error_lanes;

double qdbg__lanes_sum(const double lanes[QDBG__LANES])
{
    double sum[QDBG__LANES];
    for (size_t j = 0; j < QDBG__LANES; j++)
        sum[j] = lanes[j];
    for (size_t step = QDBG__LANES / 2; step > 0; step /= 2) {
        for (size_t j = 0; j < step; j++)
            sum[j] += sum[j + step];
    }
    return sum[0];
}

void qdbg__error_ref(const float *a, const float *b, size_t n, qdbg__error *error)
{
    error_lanes lanes = {0};
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i])) {
            error->n_nonfinite++;
            continue;
        }
        size_t j = i % QDBG__LANES;
        double x = a[i], y = b[i], e = y - x;
        lanes.aa[j] += x * x;
        lanes.bb[j] += y * y;
        lanes.ab[j] += x * y;
        lanes.ee[j] += e * e;
        if (fabs(e) > error->max_abs)
            error->max_abs = fabs(e);
    }
    error->sum_aa += qdbg__lanes_sum(lanes.aa);
    error->sum_bb += qdbg__lanes_sum(lanes.bb);
    error->sum_ab += qdbg__lanes_sum(lanes.ab);
    error->sum_ee += qdbg__lanes_sum(lanes.ee);
    error->n += n;
}

void qdbg__error_merge(qdbg__error *into, const qdbg__error *from)
{
    into->sum_aa += from->sum_aa;
    into->sum_bb += from->sum_bb;
    into->sum_ab += from->sum_ab;
    into->sum_ee += from->sum_ee;
    if (from->max_abs > into->max_abs)
        into->max_abs = from->max_abs;
    into->n += from->n;
    into->n_nonfinite += from->n_nonfinite;
}

double qdbg__error_mse(const qdbg__error *error)
{
    return error->sum_ee / (double)(error->n - error->n_nonfinite);
}

double qdbg__error_sqnr_db(const qdbg__error *error)
{
    if (error->n == error->n_nonfinite)
        return NAN;
    if (error->sum_ee == 0.0)
        return INFINITY;
    return 10.0 * log10(error->sum_aa / error->sum_ee);
}

double qdbg__error_cosine(const qdbg__error *error)
{
    if (error->n == error->n_nonfinite)
        return NAN;
    if (error->sum_aa == 0.0 || error->sum_bb == 0.0)
        return error->sum_aa == error->sum_bb ? 1.0 : 0.0;
    double cosine = error->sum_ab / (sqrt(error->sum_aa) * sqrt(error->sum_bb));
    return cosine > 1.0 ? 1.0 : cosine < -1.0 ? -1.0 : cosine;
}
