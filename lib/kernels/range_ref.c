/* Minimum and maximum: the specification. */
#include "ref.h"

#include <math.h>

void qdbg__range_init(qdbg__range *range)
{
    *range = (qdbg__range){.min = INFINITY, .max = -INFINITY};
}

void qdbg__range_merge(qdbg__range *into, const qdbg__range *from)
{
    if (from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
    into->n += from->n;
    into->n_nan += from->n_nan;
    into->n_inf += from->n_inf;
}

void qdbg__range_ref(const float *src, size_t n, qdbg__range *range)
{
    for (size_t i = 0; i < n; i++) {
        float x = src[i] + 0.0f; /* a zero end is +0, whichever zero came first */
        if (isnan(x)) {
            range->n_nan++;
        } else if (isinf(x)) {
            range->n_inf++;
        } else {
            range->min = x < range->min ? x : range->min;
            range->max = x > range->max ? x : range->max;
        }
    }
    range->n += n;
}

void qdbg__range_channels_ref(const float *src, size_t outer, size_t channels, size_t inner,
                              qdbg__range *ranges)
{
    for (size_t o = 0; o < outer; o++) {
        for (size_t c = 0; c < channels; c++)
            qdbg__range_ref(src + (o * channels + c) * inner, inner, &ranges[c]);
    }
}
