#include "checks.h"

#include <string.h>

#define MANY 10 /* differences after which a check gives up */
#define N 20000 /* longer than the kernels' blocks and than what they count directly */

static const qdbg__kernels *reference(void)
{
    return qdbg__kernels_level(QDBG_CPU_REFERENCE);
}

/* Mostly short, at times several blocks long. */
static size_t any_length(rng *r)
{
    return rng_below(r, 20) == 0 ? rng_below(r, N) : rng_below(r, 68);
}

/* A fill of data that also comes in long runs without NaN, so that the fast paths run. */
static void any_fill(float *x, size_t n, rng *r)
{
    qdbg__grid grid = grid_at(rng_below(r, grid_count()));
    int kind = (int)rng_below(r, FILLS + 3);
    fill(x, n, kind < FILLS ? kind : FILL_NORMAL, &grid, r);
    if (kind == FILLS) /* one NaN or infinity far inside */
        fill(x + n / 2, n > 0, FILL_SPECIAL, &grid, r);
    if (kind == FILLS + 1) { /* behind a ReLU */
        for (size_t i = 0; i < n; i++)
            x[i] = x[i] > 0.0f ? x[i] : 0.0f;
    }
}

int check_stats(const qdbg__kernels *kernels)
{
    static float src[N], got[N], want[N];
    rng r = {11};
    int bad = 0;
    qdbg__quant_stats a = {0}, b = {0};
    for (int round = 0; round < 6000 && bad < MANY; round++) {
        qdbg__grid grid = grid_at(rng_below(&r, grid_count()));
        size_t n = any_length(&r), from = rng_below(&r, n < 16 ? n + 1 : 16);
        fill(src, n, (int)rng_below(&r, FILLS), &grid, &r);
        if (round % 10 == 0) /* totals so far go on for a while */
            a = b = (qdbg__quant_stats){0};
        reference()->fakequant_stats(src + from, want, n - from, &grid, &b);
        kernels->fakequant_stats(src + from, got, n - from, &grid, &a);
        bad += differs("stats", kernels, &grid, n, &a, &b, sizeof a);
        bad += differs("values", kernels, &grid, n, got, want, (n - from) * sizeof *want);
        kernels->fakequant_stats(src + from, src + from, n - from, &grid, &a);
        bad += differs("in place", kernels, &grid, n, src + from, want, (n - from) * sizeof *want);
        b = a;
    }
    return bad;
}

int check_error(const qdbg__kernels *kernels)
{
    static float x[N], y[N];
    rng r = {12};
    int bad = 0;
    for (int round = 0; round < 4000 && bad < MANY; round++) {
        size_t n = any_length(&r), from = rng_below(&r, n < 16 ? n + 1 : 16);
        any_fill(x, n, &r);
        any_fill(y, n, &r);
        if (rng_below(&r, 4) == 0)
            memcpy(y, x, n * sizeof *x);
        qdbg__error a = {0}, b = {0};
        for (int twice = 0; twice < 2; twice++) {
            kernels->error(x + from, y, n - from, &a);
            reference()->error(x + from, y, n - from, &b);
        }
        bad += differs("error", kernels, NULL, n, &a, &b, sizeof a);
    }
    return bad;
}

int check_range(const qdbg__kernels *kernels)
{
    static float x[N];
    rng r = {13};
    int bad = 0;
    for (int round = 0; round < 8000 && bad < MANY; round++) {
        size_t n = any_length(&r), from = rng_below(&r, n < 16 ? n + 1 : 16);
        any_fill(x, n, &r);
        qdbg__range a, b;
        qdbg__range_init(&a);
        qdbg__range_init(&b);
        for (int twice = 0; twice < 2; twice++) {
            kernels->range(x + from, n - from, &a);
            reference()->range(x + from, n - from, &b);
            any_fill(x, n, &r);
        }
        bad += differs("range", kernels, NULL, n, &a, &b, sizeof a);
    }
    return bad;
}

int check_range_channels(const qdbg__kernels *kernels)
{
    static float x[N];
    static qdbg__range a[1200], b[1200];
    rng r = {14};
    int bad = 0;
    for (int round = 0; round < 2000 && bad < MANY; round++) {
        size_t inner = rng_below(&r, 2) ? 1 : rng_below(&r, 70);
        size_t channels = 1 + rng_below(&r, rng_below(&r, 5) ? 67 : 1200);
        size_t rows = N / (channels * (inner ? inner : 1));
        size_t outer = rng_below(&r, rows < 40 ? rows + 1 : 40), n = outer * channels * inner;
        any_fill(x, n, &r);
        for (size_t c = 0; c < channels; c++) {
            qdbg__range_init(&a[c]);
            qdbg__range_init(&b[c]);
        }
        kernels->range_channels(x, outer, channels, inner, a);
        reference()->range_channels(x, outer, channels, inner, b);
        bad += differs("range channels", kernels, NULL, n, a, b, channels * sizeof *a);
    }
    return bad;
}

int check_moments(const qdbg__kernels *kernels)
{
    static float x[N];
    rng r = {15};
    int bad = 0;
    for (int round = 0; round < 4000 && bad < MANY; round++) {
        size_t n = any_length(&r), from = rng_below(&r, n < 16 ? n + 1 : 16);
        qdbg__moments a = {0}, b = {0};
        any_fill(x, n, &r);
        kernels->moments(x + from, n - from, &a);
        reference()->moments(x + from, n - from, &b);
        bad += differs("moments", kernels, NULL, n, &a, &b, sizeof a);
    }
    return bad;
}

int check_histogram(const qdbg__kernels *kernels)
{
    static float x[N];
    static qdbg__histogram a, b;
    rng r = {16};
    int bad = 0;
    for (int round = 0; round < 3000 && bad < MANY; round++) {
        size_t n = any_length(&r);
        qdbg__histogram_init(&a);
        qdbg__histogram_init(&b);
        for (int batch = 0; batch < 3; batch++) {
            any_fill(x, n, &r);
            kernels->histogram(x, n, &a);
            reference()->histogram(x, n, &b);
        }
        bad += differs("histogram", kernels, NULL, n, &a, &b, sizeof a);
    }
    return bad;
}
