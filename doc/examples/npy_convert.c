#include "npy.h"

#include <math.h>
#include <string.h>

/* The file is little-endian, whatever the machine is. */
static uint64_t load(const unsigned char *p, size_t size)
{
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static float half_to_float(uint64_t h)
{
    const int exponent = (int)(h >> 10 & 31);
    const float fraction = (float)(h & 1023);
    float v = NAN;
    if (exponent < 31)
        v = exponent ? ldexpf(fraction + 1024, exponent - 25) : ldexpf(fraction, -24);
    else if (fraction == 0)
        v = INFINITY;
    return h >> 15 ? -v : v;
}

static float bits_to_float(uint64_t bits)
{
    const uint32_t u = (uint32_t)bits;
    float v;
    memcpy(&v, &u, sizeof v);
    return v;
}

static double bits_to_double(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* A macro gives each type a loop of its own, which the compiler turns into vector code. */
#define CONVERT(size, expression)                                             \
    for (uint64_t i = 0; i < n; i++) {                                        \
        const uint64_t v = load((const unsigned char *)raw + i * size, size); \
        out[i] = (expression);                                                \
    }                                                                         \
    break

void npy_to_float(npy_type type, const void *raw, uint64_t n, float *out)
{
    switch (type) {
    case NPY_BOOL:
        CONVERT(1, v ? 1.0f : 0.0f);
    case NPY_U8:
        CONVERT(1, (float)v);
    case NPY_I8:
        CONVERT(1, (float)(int8_t)v);
    case NPY_U16:
        CONVERT(2, (float)v);
    case NPY_I16:
        CONVERT(2, (float)(int16_t)v);
    case NPY_U32:
        CONVERT(4, (float)v);
    case NPY_I32:
        CONVERT(4, (float)(int32_t)v);
    case NPY_U64:
        CONVERT(8, (float)v);
    case NPY_I64:
        CONVERT(8, (float)(int64_t)v);
    case NPY_F16:
        CONVERT(2, half_to_float(v));
    case NPY_F32:
        CONVERT(4, bits_to_float(v));
    case NPY_F64:
        CONVERT(8, (float)bits_to_double(v));
    }
}

static uint64_t unsigned_to_int64(const unsigned char *raw, uint64_t n, int64_t *out)
{
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t v = load(raw + i * 8, 8);
        if (v > INT64_MAX)
            return i;
        out[i] = (int64_t)v;
    }
    return n;
}

uint64_t npy_to_int64(npy_type type, const void *raw, uint64_t n, int64_t *out)
{
    switch (type) {
    case NPY_BOOL:
        CONVERT(1, v != 0);
    case NPY_U8:
        CONVERT(1, (int64_t)v);
    case NPY_I8:
        CONVERT(1, (int8_t)v);
    case NPY_U16:
        CONVERT(2, (int64_t)v);
    case NPY_I16:
        CONVERT(2, (int16_t)v);
    case NPY_U32:
        CONVERT(4, (int64_t)v);
    case NPY_I32:
        CONVERT(4, (int32_t)v);
    case NPY_U64:
        return unsigned_to_int64(raw, n, out);
    case NPY_I64:
        CONVERT(8, (int64_t)v);
    case NPY_F16:
    case NPY_F32:
    case NPY_F64:
        break;
    }
    return n;
}
