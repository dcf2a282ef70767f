#include "checks.h"

#include <stdlib.h>
#include <string.h>

#include "../../lib/base/cpu.h"

#define MANY 10 /* differences after which a check gives up */

static const qdbg__kernels *reference(void)
{
    return qdbg__kernels_level(QDBG_CPU_REFERENCE);
}

typedef void (*element_fn)(const float *src, float *dst, size_t n, const qdbg__grid *grid);

/* One length at one alignment, out of place and in place. */
static int element_case(element_fn fn, const qdbg__kernels *k, const qdbg__grid *grid, int kind,
                        size_t n, rng *r)
{
    static arena got;
    float src[128], want[128];
    size_t at = rng_below(r, 16), from = rng_below(r, 16);
    fill(src, 128, kind, grid, r);
    reference()->fakequant(src + from, want, n, grid);
    arena_reset(&got, at, n);
    fn(src + from, got.data + at, n, grid);
    int bad = differs("out of place", k, grid, n, got.data + at, want, n * sizeof *want);
    bad += arena_spoilt(&got, at, n, k);
    memcpy(got.data + at, src + from, n * sizeof *src);
    fn(got.data + at, got.data + at, n, grid);
    bad += differs("in place", k, grid, n, got.data + at, want, n * sizeof *want);
    return bad + arena_spoilt(&got, at, n, k);
}

int check_fakequant(const qdbg__kernels *kernels)
{
    rng r = {1};
    int bad = 0;
    for (size_t g = 0; g < grid_count(); g++) {
        qdbg__grid grid = grid_at(g);
        for (size_t n = 0; n <= 67 && bad < MANY; n++) {
            int kind = (int)rng_below(&r, FILLS);
            bad += element_case(kernels->fakequant, kernels, &grid, kind, n, &r);
            bad += element_case(kernels->fakequant_stream, kernels, &grid, kind, n, &r);
        }
    }
    return bad;
}

/* Every half of an 8-bit and a 16-bit grid, and both neighbours. */
static int every_tie(const qdbg__kernels *kernels, const qdbg__grid *grid)
{
    static float src[3 * 256], got[3 * 256], want[3 * 256];
    int bad = 0;
    for (int32_t q = grid->qmin - 1; q <= grid->qmax && bad < MANY; q += 256) {
        for (int32_t k = 0; k < 256; k++) {
            float x = ((float)(q + k - grid->zero_point) + 0.5f) * grid->scale;
            uint32_t bits;
            memcpy(&bits, &x, sizeof bits);
            for (uint32_t d = 0; d < 3; d++) {
                uint32_t beside = bits + d - 1;
                memcpy(&src[3 * (size_t)k + d], &beside, sizeof beside);
            }
        }
        kernels->fakequant(src, got, 3 * 256, grid);
        reference()->fakequant(src, want, 3 * 256, grid);
        bad += differs("tie", kernels, grid, 3 * 256, got, want, sizeof want);
    }
    return bad;
}

int check_fakequant_ties(const qdbg__kernels *kernels)
{
    int bad = 0;
    for (size_t g = 0; g < grid_count() && bad < MANY; g++) {
        qdbg__grid grid = grid_at(g);
        bad += every_tie(kernels, &grid);
    }
    return bad;
}

/* Larger than the last-level cache where that is affordable, so that streaming stores run. */
int check_fakequant_large(const qdbg__kernels *kernels)
{
    size_t n = (size_t)(qdbg__cpu_last_level_cache() / sizeof(float)) + 1000003;
    if (n > 64u << 20)
        n = 64u << 20;
    float *buffer = malloc(3 * n * sizeof *buffer);
    if (!buffer)
        return 1;
    float *src = buffer, *got = buffer + n, *want = got + n;
    qdbg__grid grid = {0.1f, 97, 0, 255, QDBG__ROUND_EVEN};
    rng r = {2};
    fill(src, 4099, FILL_MIXED, &grid, &r);
    for (size_t i = 4099; i < n; i++)
        src[i] = src[i - 4099];
    reference()->fakequant(src, want, n, &grid);
    kernels->fakequant(src, got, n, &grid);
    int bad = differs("large", kernels, &grid, n, got, want, n * sizeof *want);
    memset(got, 0, n * sizeof *got);
    kernels->fakequant(src, got + 1, n - 1, &grid);
    bad += differs("large, misaligned", kernels, &grid, n, got + 1, want, (n - 1) * sizeof *want);
    memset(got, 0, n * sizeof *got);
    qdbg__grid grids[2] = {grid, grid};
    kernels->fakequant_channels(src, got, 1, 2, n / 2, grids);
    bad += differs("large channels", kernels, &grid, n, got, want, n / 2 * 2 * sizeof *want);
    free(buffer);
    return bad;
}

/* Grids for channels: mostly of one rounding and plain, so that the fast paths run, at times not.
 */
static void channel_grids(qdbg__grid *grids, size_t n, rng *r)
{
    int rough = rng_below(r, 4) == 0;
    int32_t rounding = (int32_t)rng_below(r, 3);
    for (size_t c = 0; c < n; c++) {
        grids[c] = grid_at(rng_below(r, grid_count()));
        if (!rough) {
            grids[c].rounding = rounding;
            grids[c].scale = rng_uniform(r, 0.001f, 2.0f);
        }
    }
}

static void channel_fill(float *x, size_t outer, size_t channels, size_t inner,
                         const qdbg__grid *grids, rng *r)
{
    for (size_t run = 0; run < outer * channels; run++)
        fill(x + run * inner, inner, FILL_MIXED, &grids[run % channels], r);
}

/* A shape of at most ROOM - 16 elements and 1200 channels. */
static void channel_shape(size_t *outer, size_t *channels, size_t *inner, rng *r)
{
    static const size_t inners[] = {1, 1, 1, 2, 3, 4, 7, 9, 15, 16, 17, 25, 49, 100, 0};
    *inner = inners[rng_below(r, sizeof inners / sizeof *inners)];
    *channels = rng_below(r, 5) == 0 ? 1 + rng_below(r, 1200) : 1 + rng_below(r, 67);
    size_t rows = (ROOM - 16) / (*channels * (*inner ? *inner : 1));
    *outer = rng_below(r, (rows < 20 ? rows : 20) + 1);
}

int check_channels(const qdbg__kernels *kernels)
{
    static arena got;
    static float src[ROOM], want[ROOM];
    static qdbg__grid grids[1200];
    rng r = {3};
    int bad = 0;
    for (int round = 0; round < 3000 && bad < MANY; round++) {
        size_t outer, channels, inner, at = rng_below(&r, 16);
        channel_shape(&outer, &channels, &inner, &r);
        size_t n = outer * channels * inner;
        channel_grids(grids, channels, &r);
        channel_fill(src, outer, channels, inner, grids, &r);
        reference()->fakequant_channels(src, want, outer, channels, inner, grids);
        arena_reset(&got, at, n);
        kernels->fakequant_channels(src, got.data + at, outer, channels, inner, grids);
        bad += differs("channels", kernels, grids, n, got.data + at, want, n * sizeof *want);
        memcpy(got.data + at, src, n * sizeof *src);
        kernels->fakequant_channels(got.data + at, got.data + at, outer, channels, inner, grids);
        bad += differs("in place", kernels, grids, n, got.data + at, want, n * sizeof *want);
        bad += arena_spoilt(&got, at, n, kernels);
    }
    return bad;
}

static void blocks_expected(const float *src, float *want, const size_t shape[3], size_t block,
                            const qdbg__grid *grids)
{
    size_t blocks = (shape[1] + block - 1) / block;
    for (size_t i = 0; i < shape[0] * shape[1] * shape[2]; i++) {
        size_t k = i % shape[2], l = i / shape[2] % shape[1], o = i / shape[2] / shape[1];
        reference()->fakequant(&src[i], &want[i], 1,
                               &grids[(o * blocks + l / block) * shape[2] + k]);
    }
}

int check_blocks(const qdbg__kernels *kernels)
{
    static arena got;
    static float src[ROOM], want[ROOM];
    static qdbg__grid grids[ROOM];
    rng r = {4};
    int bad = 0;
    for (int round = 0; round < 1000 && bad < MANY; round++) {
        size_t inner = rng_below(&r, 2) ? 1 : 1 + rng_below(&r, 40);
        size_t length = 1 + rng_below(&r, 100), block = 1 + rng_below(&r, 40);
        size_t shape[3] = {rng_below(&r, ROOM / inner / length < 9 ? 2 : 9), length, inner};
        size_t n = shape[0] * length * inner;
        channel_grids(grids, n, &r);
        fill(src, n, FILL_MIXED, &grids[0], &r);
        blocks_expected(src, want, shape, block, grids);
        arena_reset(&got, 0, n);
        qdbg__fakequant_blocks(kernels, src, got.data, shape[0], length, inner, block, grids);
        bad += differs("blocks", kernels, grids, n, got.data, want, n * sizeof *want);
        bad += arena_spoilt(&got, 0, n, kernels);
    }
    return bad;
}

static float format_scale(rng *r)
{
    static const float scales[] = {1.0f, 1.0f, 0.1f, 0x1p-126f, 0x1.fffffep0f, 0x1.7p+127f};
    return scales[rng_below(r, sizeof scales / sizeof *scales)];
}

int check_float_formats(const qdbg__kernels *kernels)
{
    static arena got;
    static float src[512], want[512];
    rng r = {5};
    int bad = 0;
    for (int round = 0; round < 20000 && bad < MANY; round++) {
        qdbg__float_grid grid = {format_scale(&r), (int32_t)rng_below(&r, QDBG__FORMATS),
                                 (int32_t)rng_below(&r, 2)};
        /* Ties of a float format lie on the integer grids that are as fine as its mantissa. */
        qdbg__grid around = {grid.scale * 0x1p-12f, 0, -4096, 4096, 0};
        around.scale *= (float)(1 << 2 * rng_below(&r, 16));
        size_t n = rng_below(&r, 68), at = rng_below(&r, 16);
        fill(src, n, (int)rng_below(&r, FILLS), &around, &r);
        reference()->fakequant_float(src, want, n, &grid);
        arena_reset(&got, at, n);
        kernels->fakequant_float(src, got.data + at, n, &grid);
        bad += differs("format", kernels, &around, n, got.data + at, want, n * sizeof *want);
        memcpy(got.data + at, src, n * sizeof *src);
        kernels->fakequant_float(got.data + at, got.data + at, n, &grid);
        bad +=
            differs("format in place", kernels, &around, n, got.data + at, want, n * sizeof *want);
        bad += arena_spoilt(&got, at, n, kernels);
    }
    return bad;
}

/* The layout that holds a grid's integers, at times a roomier one than needed. */
static int32_t store_for(const qdbg__grid *grid, rng *r)
{
    int32_t negative = grid->qmin < 0, span = grid->qmax - grid->qmin;
    int32_t size = span > 255 ? QDBG__STORE_I16 : span > 15 ? QDBG__STORE_I8 : QDBG__STORE_I4;
    if (size != QDBG__STORE_I16 && rng_below(r, 4) == 0)
        size = QDBG__STORE_I16;
    return size + !negative;
}

static size_t store_size(size_t n, int32_t store)
{
    if (store == QDBG__STORE_I16 || store == QDBG__STORE_U16)
        return 2 * n;
    return store == QDBG__STORE_I4 || store == QDBG__STORE_U4 ? (n + 1) / 2 : n;
}

int check_integers(const qdbg__kernels *kernels)
{
    static arena got;
    float src[128], back[128], want_back[128];
    unsigned char want[256];
    rng r = {6};
    int bad = 0;
    for (size_t g = 0; g < grid_count(); g++) {
        qdbg__grid grid = grid_at(g);
        for (size_t n = 0; n <= 67 && bad < MANY; n++) {
            int32_t store = store_for(&grid, &r);
            size_t bytes = store_size(n, store), from = rng_below(&r, 16);
            fill(src, 128, (int)rng_below(&r, FILLS), &grid, &r);
            reference()->quantize(src + from, want, n, &grid, store);
            arena_reset(&got, 0, (bytes + 3) / 4);
            kernels->quantize(src + from, got.data, n, &grid, store);
            bad += differs("quantize", kernels, &grid, n, got.data, want, bytes);
            bad += arena_spoilt(&got, 0, (bytes + 3) / 4, kernels);
            bad += bytes % 4 && ((unsigned char *)got.data)[bytes] != 0xa5;
            reference()->dequantize(want, want_back, n, &grid, store);
            kernels->dequantize(want, back, n, &grid, store);
            bad += differs("dequantize", kernels, &grid, n, back, want_back, n * sizeof *back);
        }
    }
    return bad;
}

static void integers_expected(const float *src, void *want, size_t n, size_t channels, size_t inner,
                              const qdbg__grid *grids, int32_t store)
{
    unsigned char *bytes = want;
    for (size_t i = 0; i < n; i++) {
        int16_t q;
        reference()->quantize(&src[i], &q, 1, &grids[i / inner % channels], QDBG__STORE_I16);
        if (store == QDBG__STORE_I16 || store == QDBG__STORE_U16)
            memcpy(bytes + 2 * i, &q, 2);
        else if (store == QDBG__STORE_I8 || store == QDBG__STORE_U8)
            bytes[i] = (unsigned char)q;
        else
            bytes[i / 2] = (unsigned char)(i % 2 ? bytes[i / 2] | (q & 15) << 4 : q & 15);
    }
}

int check_integer_channels(const qdbg__kernels *kernels)
{
    static float src[ROOM], back[ROOM], want_back[ROOM];
    static unsigned char got[2 * ROOM], want[2 * ROOM];
    static qdbg__grid grids[1200];
    rng r = {7};
    int bad = 0;
    for (int round = 0; round < 500 && bad < MANY; round++) {
        size_t outer, channels, inner;
        channel_shape(&outer, &channels, &inner, &r);
        size_t n = outer * channels * inner;
        qdbg__grid kind = grid_at(rng_below(&r, grid_count()));
        int32_t store = store_for(&kind, &r);
        for (size_t c = 0; c < channels; c++) {
            grids[c] = kind;
            grids[c].scale = rng_uniform(&r, 0.01f, 1.0f);
        }
        channel_fill(src, outer, channels, inner, grids, &r);
        integers_expected(src, want, n, channels, inner, grids, store);
        qdbg__quantize_channels(kernels, src, got, outer, channels, inner, grids, store);
        bad += differs("quantize channels", kernels, &kind, n, got, want, store_size(n, store));
        qdbg__dequantize_channels(kernels, want, back, outer, channels, inner, grids, store);
        reference()->fakequant_channels(src, want_back, outer, channels, inner, grids);
        for (size_t i = 0; i < n; i++) /* NaN has no integer: it became zero */
            want_back[i] = want_back[i] == want_back[i] ? want_back[i] : 0.0f;
        bad += differs("dequantize channels", kernels, &kind, n, back, want_back, n * sizeof *back);
    }
    return bad;
}
