#include "fills.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "../../lib/base/cpu.h"

uint64_t rng_next(rng *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

size_t rng_below(rng *r, size_t n)
{
    return (size_t)(rng_next(r) >> 33) % n;
}

float rng_uniform(rng *r, float lo, float hi)
{
    return lo + (hi - lo) * (float)(rng_next(r) >> 40) * 0x1p-24f;
}

float rng_normal(rng *r)
{
    float sum = -6.0f;
    for (int i = 0; i < 12; i++)
        sum += rng_uniform(r, 0.0f, 1.0f);
    return sum;
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x or a float up to two away. */
static float near(float x, rng *r)
{
    for (size_t k = rng_below(r, 3); k > 0; k--)
        x = nextafterf(x, rng_below(r, 2) ? INFINITY : -INFINITY);
    return x;
}

static float tie(const qdbg__grid *grid, rng *r)
{
    int32_t span = grid->qmax - grid->qmin + 4;
    int32_t k = grid->qmin - grid->zero_point - 2 + (int32_t)rng_below(r, (size_t)span);
    if (rng_below(r, 8) == 0)
        return (rng_below(r, 2) ? 0.49999997f : -0.49999997f) * grid->scale;
    if (rng_below(r, 4) == 0)
        return (float)k * grid->scale;
    return near(((float)k + 0.5f) * grid->scale, r);
}

static float end(const qdbg__grid *grid, rng *r)
{
    int32_t q = rng_below(r, 2) ? grid->qmin : grid->qmax;
    float halves = (float)rng_below(r, 5) * 0.5f - 1.0f;
    return near(((float)(q - grid->zero_point) + halves) * grid->scale, r);
}

static float special(rng *r)
{
    static const uint32_t bits[] = {
        0x00000000, 0x80000000, /* zeros */
        0x7f800000, 0xff800000, /* infinities */
        0x7fc00000, 0xffc00000, /* quiet NaNs */
        0x7fc12345, 0xffedcba9, 0x7fffffff, 0xffffffff, 0x7f800001,
        0xff800001,                                                 /* signalling NaNs */
        0x7fa54321, 0xffbfffff, 0x7f923456, 0x00000001, 0x80000001, /* denormals */
        0x007fffff, 0x807fffff, 0x00012345, 0x80400000, 0x00800000,
        0x80800000, 0x00800001,             /* smallest normals */
        0x7f7fffff, 0xff7fffff, 0x7f7ffffe, /* largest */
        0x3f800000, 0xbf800000, 0x3effffff, 0x3f000000, 0xbf000000,
        0x4b000000, 0xcb000001, 0x4f000000, 0xcf000000, 0x4effffff,
        0x5f000000, 0xdf000000, /* 2^31 and 2^63 */
    };
    return from_bits(bits[rng_below(r, sizeof bits / sizeof *bits)]);
}

static float one(int kind, const qdbg__grid *grid, rng *r)
{
    float range = (float)(grid->qmax - grid->qmin) * grid->scale;
    switch (kind) {
    case FILL_TIES:
        return tie(grid, r);
    case FILL_ENDS:
        return end(grid, r);
    case FILL_SPECIAL:
        return special(r);
    case FILL_BITS:
        return from_bits((uint32_t)rng_next(r));
    case FILL_NORMAL:
        return rng_normal(r) * range * 0.3f;
    default:
        return one((int)rng_below(r, FILL_MIXED), grid, r);
    }
}

void fill(float *x, size_t n, int kind, const qdbg__grid *grid, rng *r)
{
    for (size_t i = 0; i < n; i++) {
        do {
            x[i] = one(kind, grid, r);
        } while (kind == FILL_FINITE && !isfinite(x[i]));
    }
}

static const float scales[] = {
    1.0f,          1.0f / 128.0f,  1.0f / 255.0f,  0.1f,        0x1.fffffep-4f,   0x1.fffffcp+3f,
    0x1.000002p0f, 0x1.6a09e6p-9f, 0x1.123456p+7f, FLT_MIN,     0x1.fffffep-126f, 0x1p-101f,
    0x1p-100f,     0x1.8p-100f,    0x1p+100f,      0x1.8p+100f, 0x1p+126f,        0x1.7p+127f,
    FLT_MAX,
};

/* qmin, qmax, zero point: at the lower end, inside, at the upper end. */
static const int32_t ends[][3] = {
    {0, 255, 0},       {0, 255, 97},       {0, 255, 255},
    {-128, 127, 0},    {-128, 127, -128},  {-127, 127, 0},
    {0, 15, 7},        {-8, 7, 0},         {0, 3, 3},
    {-2, 1, 0},        {0, 65535, 0},      {0, 65535, 34492},
    {0, 65535, 65535}, {-32768, 32767, 0}, {-32768, 32767, -32768},
    {-1, 1, 0},
};

#define N_SCALES (sizeof scales / sizeof *scales)
#define N_ENDS (sizeof ends / sizeof *ends)

size_t grid_count(void)
{
    return N_SCALES * N_ENDS * 3;
}

qdbg__grid grid_at(size_t at)
{
    const int32_t *e = ends[at / 3 % N_ENDS];
    return (qdbg__grid){scales[at / 3 / N_ENDS], e[2], e[0], e[1], (int32_t)(at % 3)};
}

size_t levels(int32_t out[4])
{
    static const int32_t all[] = {QDBG_CPU_AVX2, QDBG_CPU_AVX512, QDBG_CPU_NEON};
    size_t n = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int built = qdbg__kernels_level(all[i]) != qdbg__kernels_level(QDBG_CPU_REFERENCE);
        if (built && qdbg__cpu_allows(all[i]))
            out[n++] = all[i];
    }
    return n;
}
