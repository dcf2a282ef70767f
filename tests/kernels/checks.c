#include "checks.h"

#include <stdio.h>
#include <string.h>

const check checks[] = {
    {"fakequant", check_fakequant},
    {"fakequant ties", check_fakequant_ties},
    {"fakequant large", check_fakequant_large},
    {"fakequant channels", check_channels},
    {"fakequant blocks", check_blocks},
    {"fakequant float formats", check_float_formats},
    {"quantize and dequantize", check_integers},
    {"quantize and dequantize channels", check_integer_channels},
    {"divide", check_divide},
    {"divide, every divisor", check_divide_every_divisor},
    {"divide, every numerator", check_divide_every_numerator},
    {"fakequant stats", check_stats},
    {"error", check_error},
    {"range", check_range},
    {"range channels", check_range_channels},
    {"moments", check_moments},
    {"histogram", check_histogram},
};
const size_t n_checks = sizeof checks / sizeof *checks;

int differs(const char *what, const qdbg__kernels *kernels, const qdbg__grid *grid, size_t n,
            const void *got, const void *want, size_t bytes)
{
    if (memcmp(got, want, bytes) == 0)
        return 0;
    if (strcmp(kernels->name, "canary") == 0)
        return 1; /* meant to be found: not worth describing */
    size_t at = 0;
    const unsigned char *g = got, *w = want;
    while (g[at] == w[at])
        at++;
    uint32_t a, b;
    at -= at % sizeof a;
    memcpy(&a, g + at, bytes - at < sizeof a ? bytes - at : sizeof a);
    memcpy(&b, w + at, bytes - at < sizeof b ? bytes - at : sizeof b);
    fprintf(stderr, "%s %s: n %zu, byte %zu: %08x, reference %08x", kernels->name, what, n, at,
            (unsigned)a, (unsigned)b);
    if (grid)
        fprintf(stderr, "; scale %a, %d..%d, zero point %d, rounding %d", (double)grid->scale,
                (int)grid->qmin, (int)grid->qmax, (int)grid->zero_point, (int)grid->rounding);
    fprintf(stderr, "\n");
    return 1;
}

#define PATTERN 0xa5

void arena_reset(arena *a, size_t at, size_t n)
{
    memset((float *)a + at, PATTERN, (n + 2 * GUARD) * sizeof(float));
}

int arena_spoilt(const arena *a, size_t at, size_t n, const qdbg__kernels *kernels)
{
    const unsigned char *before = (const unsigned char *)((const float *)a + at);
    const unsigned char *after = before + (GUARD + n) * sizeof(float);
    for (size_t i = 0; i < GUARD * sizeof(float); i++) {
        if (before[i] == PATTERN && after[i] == PATTERN)
            continue;
        if (strcmp(kernels->name, "canary") != 0)
            fprintf(stderr, "%s: n %zu: wrote beside the destination\n", kernels->name, n);
        return 1;
    }
    return 0;
}
