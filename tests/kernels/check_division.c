/* That x * (1/d), corrected once by its remainder, is x / d correctly rounded for all mantissas.
 *
 * Let x = A * 2^i and d = B * 2^j with 24-bit integers A, B. The corrected quotient differs from
 * the exact one by less than 2^-22 of its last place before it is rounded (doc/numerics.md), so it
 * can round differently only if the exact one lies that close to a midpoint M / 2 of two floats, M
 * odd with 25 bits. In units of the last place it lies |A * 2^b - M * B| / 2B away, b = 24 when A
 * >= B and 25 when not, which must be below 2^-22: the integer c = A * 2^b - M * B is 1..7 in size.
 * So for every B only the few A with such a c can go wrong. check_divide_every_divisor solves for
 * them and tries them all: nothing remains to be believed. */
#include "checks.h"

#include <string.h>

#define MANTISSA (1u << 23) /* 24-bit mantissas lie in MANTISSA .. 2 * MANTISSA - 1 */

/* Inverse of an odd number modulo 2^32: each step doubles the right bits, of which b itself has 3.
 */
static uint32_t inverse(uint32_t odd)
{
    uint32_t x = odd;
    for (int i = 0; i < 4; i++)
        x *= 2 - odd * x;
    return x;
}

/* The numerator of the quotient that lies c / 2B past the midpoint M / 2, if it is one. */
static size_t hard_numerator(uint64_t m, uint64_t b, int64_t c, int bits, float *out)
{
    if (m % 2 == 0 || m < 2 * MANTISSA || m >= 4 * MANTISSA)
        return 0;
    uint64_t a = (m * b + (uint64_t)c) >> bits;
    int right = bits == 24 ? a >= b && a < 2 * MANTISSA : a >= MANTISSA && a < b;
    if (!right)
        return 0;
    *out = (float)a;
    return 1;
}

/* All hard numerators of divisor b, at most 16. c must be divisible by as high a power of two as b
 * is, and M * b = -c modulo 2^bits. */
static size_t hard_numerators(uint32_t b, float out[16])
{
    int twos = __builtin_ctz(b);
    size_t n = 0;
    if (twos > 2)
        return 0;
    for (int bits = 24; bits <= 25; bits++) {
        uint32_t modulus = 1u << (bits - twos), inv = inverse(b >> twos);
        for (int odd = -7; odd <= 7; odd += 2) {
            int64_t c = odd * (1 << twos);
            if (c < -7 || c > 7)
                continue;
            uint32_t m = (0u - (uint32_t)odd * inv) % modulus;
            for (uint64_t k = m; k < 4 * MANTISSA; k += modulus)
                n += hard_numerator(k, b, c, bits, out + n);
        }
    }
    return n;
}

/* The division instruction is the judge: IEEE 754 says that it rounds correctly. */
static int wrong(const qdbg__kernels *kernels, const float *x, size_t n, float d)
{
    float got[16], want[16];
    kernels->divide(x, got, 16, d);
    for (size_t i = 0; i < 16; i++)
        want[i] = x[i] / d;
    qdbg__grid told = {.scale = d};
    return differs("divide", kernels, &told, n, got, want, sizeof want);
}

int check_divide_every_divisor(const qdbg__kernels *kernels)
{
    int bad = 0;
    uint64_t cases = 0;
    for (uint32_t b = MANTISSA; b < 2 * MANTISSA && bad < 10; b++) {
        float x[16];
        size_t n = hard_numerators(b, x);
        if (n == 0)
            continue;
        cases += n;
        for (size_t i = n; i < 16; i++)
            x[i] = x[0];
        bad += wrong(kernels, x, n, (float)b);
    }
    return bad + (cases < 40000000); /* so many that an empty search cannot pass */
}

/* All numerators for a few divisors, as a check on the argument itself. */
int check_divide_every_numerator(const qdbg__kernels *kernels)
{
    static const float divisors[] = {1.0f,           0x1.fffffep0f, 0x1.000002p0f, 0x1.555556p-3f,
                                     0x1.99999ap-4f, 1.0f / 255.0f, 0x1.6a09e6p9f, 0x1.fffffcp-20f};
    int bad = 0;
    for (size_t k = 0; k < sizeof divisors / sizeof *divisors; k++) {
        for (uint32_t a = MANTISSA; a < 2 * MANTISSA && bad < 10; a += 16) {
            float x[16];
            for (uint32_t i = 0; i < 16; i++)
                x[i] = (float)(a + i);
            bad += wrong(kernels, x, 16, divisors[k]);
        }
    }
    return bad;
}

/* Any bits by any divisor: overflow, underflow, denormals, zeros, NaN; any length and place. */
int check_divide(const qdbg__kernels *kernels)
{
    static arena got;
    float src[128], want[128];
    const qdbg__kernels *reference = qdbg__kernels_level(QDBG_CPU_REFERENCE);
    rng r = {8};
    int bad = 0;
    for (int round = 0; round < 50000 && bad < 10; round++) {
        qdbg__grid grid = grid_at(rng_below(&r, grid_count()));
        size_t n = rng_below(&r, 68), at = rng_below(&r, 16);
        fill(src, n, (int)rng_below(&r, FILLS), &grid, &r);
        reference->divide(src, want, n, grid.scale);
        arena_reset(&got, at, n);
        kernels->divide(src, got.data + at, n, grid.scale);
        bad += differs("divide", kernels, &grid, n, got.data + at, want, n * sizeof *want);
        bad += arena_spoilt(&got, at, n, kernels);
        kernels->divide(src, src, n, grid.scale);
        bad += differs("divide in place", kernels, &grid, n, src, want, n * sizeof *want);
    }
    return bad;
}
