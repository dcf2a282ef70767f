/* Fake-quantization to narrow floating-point formats: the specification. */
#include "ref.h"

#include <math.h>

const qdbg__format qdbg__formats[QDBG__FORMATS] = {
    [QDBG__FORMAT_F16] = {10, -14, 65504.0f, INFINITY},
    [QDBG__FORMAT_BF16] = {7, -126, 0x1.FEp127f, INFINITY},
    [QDBG__FORMAT_E4M3] = {3, -6, 448.0f, NAN},
    [QDBG__FORMAT_E5M2] = {2, -14, 57344.0f, INFINITY},
};

/* |t| rounded to the format's mantissa. In double nothing below overflows or is rounded twice. */
static double narrow(double t, const qdbg__format *format)
{
    if (t == 0.0)
        return 0.0;
    int exponent = ilogb(t);
    if (exponent < format->min_exponent)
        exponent = format->min_exponent;
    double step = ldexp(1.0, exponent - format->mantissa_bits);
    return rint(t / step) * step;
}

static float one(float x, const qdbg__float_grid *grid)
{
    const qdbg__format *format = &qdbg__formats[grid->format];
    if (isnan(x))
        return qdbg__quiet_nan(x);
    float t = x / grid->scale;
    float size = format->beyond;
    if (!isinf(t)) {
        double rounded = narrow(fabs((double)t), format);
        size = rounded > format->max ? format->beyond : (float)rounded;
    }
    if (grid->saturate && !(size <= format->max))
        size = format->max;
    return copysignf(size, x) * grid->scale;
}

void qdbg__fakequant_float_ref(const float *src, float *dst, size_t n, const qdbg__float_grid *grid)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = one(src[i], grid);
}
