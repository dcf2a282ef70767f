/* Exact sums of values and squares: the accumulator and the specification. */
#include "ref.h"

#include <math.h>

#define LIMB_MASK INT64_C(0xffffffff)
#define SUM_EXPONENT (-149)
#define SUM2_EXPONENT (-298)

/* Between two carries each limb may take this many additions of at most 2^34. */
#define ADDITIONS 0x100000

static void carry(int64_t *limbs, size_t n)
{
    for (size_t k = 0; k + 1 < n; k++) {
        limbs[k + 1] += limbs[k] >> 32;
        limbs[k] &= LIMB_MASK;
    }
}

/* Add `value`, a multiple of 2^exponent, to limbs that count from 2^exponent; carries wait. */
static void add(int64_t *limbs, int exponent, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    int biased = (int)(bits >> 52 & 0x7ff);
    if (biased == 0)
        return; /* zero: a multiple of 2^-298 is never a denormal double */
    uint64_t mantissa = (bits & 0xfffffffffffff) | UINT64_C(1) << 52;
    int position = biased - 1075 - exponent;
    if (position < 0) {
        mantissa >>= -position;
        position = 0;
    }
    int64_t *limb = limbs + position / 32;
    uint64_t low = (mantissa & 0xffffffff) << position % 32;
    uint64_t high = (mantissa >> 32) << position % 32;
    int64_t sign = bits >> 63 ? -1 : 1;
    limb[0] += sign * (int64_t)(low & 0xffffffff);
    limb[1] += sign * (int64_t)((low >> 32) + (high & 0xffffffff));
    limb[2] += sign * (int64_t)(high >> 32);
}

void qdbg__moments_add(qdbg__moments *moments, double sum, double sum2)
{
    add(moments->sum, SUM_EXPONENT, sum);
    add(moments->sum2, SUM2_EXPONENT, sum2);
    carry(moments->sum, QDBG__SUM_LIMBS);
    carry(moments->sum2, QDBG__SUM2_LIMBS);
}

void qdbg__moments_ref(const float *src, size_t n, qdbg__moments *moments)
{
    for (size_t i = 0; i < n; i++) {
        double x = src[i];
        if (isnan(x)) {
            moments->n_nan++;
        } else if (isinf(x)) {
            moments->n_inf++;
        } else {
            add(moments->sum, SUM_EXPONENT, x);
            add(moments->sum2, SUM2_EXPONENT, x * x);
        }
        if (i % ADDITIONS == ADDITIONS - 1)
            qdbg__moments_add(moments, 0.0, 0.0);
    }
    qdbg__moments_add(moments, 0.0, 0.0);
    moments->n += n;
}

void qdbg__moments_merge(qdbg__moments *into, const qdbg__moments *from)
{
    for (size_t k = 0; k < QDBG__SUM_LIMBS; k++)
        into->sum[k] += from->sum[k];
    for (size_t k = 0; k < QDBG__SUM2_LIMBS; k++)
        into->sum2[k] += from->sum2[k];
    qdbg__moments_add(into, 0.0, 0.0);
    into->n += from->n;
    into->n_nan += from->n_nan;
    into->n_inf += from->n_inf;
}

/* The nearest double of limbs that hold no negative number. */
static double magnitude(const int64_t *limbs, size_t n, int exponent)
{
    size_t top = n - 1;
    while (top > 0 && limbs[top] == 0)
        top--;
    if (top < 2)
        return ldexp((double)((uint64_t)limbs[1] << 32 | (uint64_t)limbs[0]), exponent);
    /* The top 64 bits with a sticky last bit round as the whole does. */
    int lead = __builtin_clzll((uint64_t)limbs[top]) - 32;
    uint64_t window = (uint64_t)limbs[top] << 32 | (uint64_t)limbs[top - 1];
    uint64_t below = (uint64_t)limbs[top - 2];
    window = window << lead | below >> (32 - lead);
    int sticky = (below & ((UINT64_C(1) << (32 - lead)) - 1)) != 0;
    for (size_t k = 0; k + 2 < top; k++)
        sticky |= limbs[k] != 0;
    return ldexp((double)(window | (uint64_t)sticky), exponent + 32 * (int)(top - 1) - lead);
}

/* The nearest double of the sum, and of what is left after it. */
static void to_double(const int64_t *limbs, size_t n, int exponent, double *hi, double *lo)
{
    int64_t rest[QDBG__SUM2_LIMBS];
    double parts[2];
    memcpy(rest, limbs, n * sizeof *rest);
    for (int part = 0; part < 2; part++) {
        int negative = rest[n - 1] < 0;
        for (size_t k = 0; negative && k < n; k++)
            rest[k] = -rest[k];
        carry(rest, n);
        double value = magnitude(rest, n, exponent);
        parts[part] = negative ? -value : value;
        add(rest, exponent, -value);
        for (size_t k = 0; negative && k < n; k++)
            rest[k] = -rest[k];
        carry(rest, n);
    }
    *hi = parts[0];
    *lo = parts[1];
}

static double finite_count(const qdbg__moments *moments)
{
    return (double)(moments->n - moments->n_nan - moments->n_inf);
}

double qdbg__moments_mean(const qdbg__moments *moments)
{
    double hi, lo;
    to_double(moments->sum, QDBG__SUM_LIMBS, SUM_EXPONENT, &hi, &lo);
    return hi / finite_count(moments);
}

double qdbg__moments_mean_square(const qdbg__moments *moments)
{
    double hi, lo;
    to_double(moments->sum2, QDBG__SUM2_LIMBS, SUM2_EXPONENT, &hi, &lo);
    return hi / finite_count(moments);
}

/* (n * sum2 - sum^2) / n^2 in twice double's precision, because the difference may cancel. */
double qdbg__moments_variance(const qdbg__moments *moments)
{
    double s, s_lo, s2, s2_lo, n = finite_count(moments);
    to_double(moments->sum, QDBG__SUM_LIMBS, SUM_EXPONENT, &s, &s_lo);
    to_double(moments->sum2, QDBG__SUM2_LIMBS, SUM2_EXPONENT, &s2, &s2_lo);
    double a = s2 * n, a_lo = fma(s2, n, -a) + s2_lo * n;
    double b = s * s, b_lo = fma(s, s, -b) + 2.0 * s * s_lo;
    double variance = ((a - b) + (a_lo - b_lo)) / n / n;
    return variance < 0.0 ? 0.0 : variance;
}
