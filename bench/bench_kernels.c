/* How fast the kernels are, beside plain loops over the same memory that do nothing but move it: a
 * vector copy, an in-place scale, a read. Variants that are compared take turns in many short
 * trials; the best trial of each counts, since other work on the machine can only slow one down.
 *
 * usage: bench_kernels [TRIALS [TEXT]]
 * TRIALS: default 40; more for a noisy machine. TEXT: only rows that contain it. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <qdebug/base.h>

#include "base/cpu.h"
#include "base/pool.h"
#include "kernels/kernels.h"

#define K64 (64u << 10)
#define M1 (1u << 20)
#define M16 (16u << 20)

/* Buffers that start on the same offset of a page disturb each other's loads and stores. */
#define STAGGER (17472 / sizeof(float))

#define MAX_CHANNELS (1u << 16)

/* ---- plain loops, at the width of each instruction set ---- */

typedef struct plain {
    void (*copy)(const float *src, float *dst, size_t n);
    void (*scale)(float *data, size_t n);
    void (*read)(const float *src, size_t n);
} plain;

#if defined(__x86_64__)
#define KEEP(v) __asm__ volatile("" : "+x"(v))
#else
#define KEEP(v) __asm__ volatile("" : "+w"(v))
#endif

/* n is a multiple of 64 floats. KEEP holds the compiler off from calling memcpy or skipping. */
#define PLAIN(isa, attribute, bytes)                                                     \
    typedef float vf_##isa __attribute__((vector_size(bytes), aligned(4), may_alias));   \
    typedef int32_t vi_##isa __attribute__((vector_size(bytes), aligned(4), may_alias)); \
    attribute static void copy_##isa(const float *src, float *dst, size_t n)             \
    {                                                                                    \
        for (size_t i = 0; i < n; i += (bytes) / 4) {                                    \
            vf_##isa v = *(const vf_##isa *)(src + i);                                   \
            KEEP(v);                                                                     \
            *(vf_##isa *)(dst + i) = v;                                                  \
        }                                                                                \
    }                                                                                    \
    attribute static void scale_##isa(float *data, size_t n)                             \
    {                                                                                    \
        for (size_t i = 0; i < n; i += (bytes) / 4)                                      \
            *(vf_##isa *)(data + i) *= 0.9999f;                                          \
    }                                                                                    \
    attribute static void read_##isa(const float *src, size_t n)                         \
    {                                                                                    \
        vi_##isa a = {0}, b = a, c = a, d = a;                                           \
        for (size_t i = 0; i < n; i += (bytes)) {                                        \
            const vi_##isa *p = (const vi_##isa *)(src + i);                             \
            a |= p[0];                                                                   \
            b |= p[1];                                                                   \
            c |= p[2];                                                                   \
            d |= p[3];                                                                   \
        }                                                                                \
        a |= b | c | d;                                                                  \
        KEEP(a);                                                                         \
    }                                                                                    \
    static const plain plain_##isa = {copy_##isa, scale_##isa, read_##isa}

PLAIN(base, , 16);
#if defined(__x86_64__)
PLAIN(avx2, __attribute__((target("avx2"))), 32);
PLAIN(avx512, __attribute__((target("avx512f"))), 64);
#endif

static const plain *plain_of(int32_t level)
{
#if defined(__x86_64__)
    if (level == QDBG_CPU_AVX512)
        return &plain_avx512;
    if (level == QDBG_CPU_AVX2)
        return &plain_avx2;
#endif
    (void)level;
    return &plain_base;
}

/* ---- what is measured ---- */

typedef struct work {
    const qdbg__kernels *kernels;
    const plain *plain;
    const float *src;
    float *dst;
    size_t n;
    size_t channels, inner;
    qdbg__grid *grids;
    size_t tensors; /* of n values each in one call; 1 unless said otherwise */
    qdbg_ctx *ctx;  /* with two threads */
} work;

typedef void (*work_fn)(work *w);

static void run_copy(work *w)
{
    w->plain->copy(w->src, w->dst, w->n);
}

static void run_scale(work *w)
{
    w->plain->scale(w->dst, w->n);
}

static void run_read(work *w)
{
    w->plain->read(w->src, w->n);
}

static void run_fakequant(work *w)
{
    w->kernels->fakequant(w->src, w->dst, w->n, w->grids);
}

static void run_in_place(work *w)
{
    w->kernels->fakequant(w->dst, w->dst, w->n, w->grids);
}

static void run_channels(work *w)
{
    size_t outer = w->n / w->channels / w->inner;
    w->kernels->fakequant_channels(w->src, w->dst, outer, w->channels, w->inner, w->grids);
}

static void run_blocks(work *w)
{
    qdbg__fakequant_blocks(w->kernels, w->src, w->dst, 1, w->n, 1, w->inner, w->grids);
}

static void run_stats(work *w)
{
    qdbg__quant_stats stats = {0};
    w->kernels->fakequant_stats(w->src, w->dst, w->n, w->grids, &stats);
}

static void run_float(work *w)
{
    qdbg__float_grid grid = {1.0f, (int32_t)w->inner, 1};
    w->kernels->fakequant_float(w->src, w->dst, w->n, &grid);
}

static void run_quantize(work *w)
{
    w->kernels->quantize(w->src, w->dst, w->n, w->grids, (int32_t)w->inner);
}

static void run_dequantize(work *w)
{
    w->kernels->dequantize(w->src, w->dst, w->n, w->grids, (int32_t)w->inner);
}

static void run_range(work *w)
{
    qdbg__range range;
    qdbg__range_init(&range);
    w->kernels->range(w->src, w->n, &range);
}

static void run_range_channels(work *w)
{
    static qdbg__range ranges[1024];
    for (size_t c = 0; c < w->channels; c++)
        qdbg__range_init(&ranges[c]);
    size_t outer = w->n / w->channels / w->inner;
    w->kernels->range_channels(w->src, outer, w->channels, w->inner, ranges);
}

static void run_error(work *w)
{
    qdbg__error error = {0};
    w->kernels->error(w->src, w->dst, w->n, &error);
}

static void run_moments(work *w)
{
    qdbg__moments moments = {0};
    w->kernels->moments(w->src, w->n, &moments);
}

static void run_histogram(work *w)
{
    static qdbg__histogram histogram;
    qdbg__histogram_init(&histogram);
    w->kernels->histogram(w->src, w->n, &histogram);
}

/* What one would write: the range is known, a value finds its bin and is clamped to the ends. */
static void run_plain_histogram(work *w)
{
    static uint64_t count[2048];
    memset(count, 0, sizeof count);
    for (size_t i = 0; i < w->n; i++) {
        int32_t bin = (int32_t)((w->src[i] + 8.0f) * 128.0f);
        bin = bin < 0 ? 0 : bin > 2047 ? 2047 : bin;
        count[bin]++;
    }
    __asm__ volatile("" : : "r"(count) : "memory");
}

/* Give each of two threads a processor of its own: beside other work the scheduler may leave both
 * on one. Each waits for the other, so that neither does this twice. */
static qdbg_status pin(void *arg, uint64_t index, uint32_t worker)
{
    static atomic_int pinned;
    const cpu_set_t *allowed = arg;
    cpu_set_t mine;
    int cpu = 0;
    for (uint32_t left = worker + 1; left > 0; cpu++)
        left -= CPU_ISSET(cpu, allowed) ? 1 : 0;
    CPU_ZERO(&mine);
    CPU_SET(cpu - 1, &mine);
    (void)index;
    (void)sched_setaffinity(0, sizeof mine, &mine);
    int round = atomic_fetch_add(&pinned, 1) / 2;
    while (atomic_load(&pinned) < 2 * round + 2)
        sched_yield();
    return QDBG_OK;
}

/* Two threads, each at work on tensors of its own, as when every thread runs an image. */
static qdbg_status one_tensor(void *arg, uint64_t index, uint32_t worker)
{
    (void)index;
    const work *w = arg;
    size_t at = worker * w->n;
    w->kernels->fakequant(w->src + at, w->dst + at, w->n, w->grids);
    return QDBG_OK;
}

static void run_tensors_one_thread(work *w)
{
    for (uint64_t k = 0; k < w->tensors; k++)
        (void)one_tensor(w, k, 0);
}

static void run_tensors(work *w)
{
    (void)qdbg__parallel_for(w->ctx, w->tensors, one_tensor, w);
}

/* Two threads that share one tensor. */
#define PIECE (256u << 10)

static qdbg_status one_piece(void *arg, uint64_t index, uint32_t worker)
{
    (void)worker;
    const work *w = arg;
    size_t at = index * PIECE, n = w->n - at < PIECE ? w->n - at : PIECE;
    if (w->src == w->dst || w->n * sizeof(float) <= qdbg__cpu_last_level_cache())
        w->kernels->fakequant(w->src + at, w->dst + at, n, w->grids);
    else
        w->kernels->fakequant_stream(w->src + at, w->dst + at, n, w->grids);
    return QDBG_OK;
}

static void run_pieces(work *w)
{
    (void)qdbg__parallel_for(w->ctx, (w->n + PIECE - 1) / PIECE, one_piece, w);
}

static void run_pieces_in_place(work *w)
{
    work in_place = *w;
    in_place.src = w->dst;
    run_pieces(&in_place);
}

static qdbg_status one_piece_scale(void *arg, uint64_t index, uint32_t worker)
{
    (void)worker;
    const work *w = arg;
    w->plain->scale(w->dst + index * PIECE, PIECE);
    return QDBG_OK;
}

static void run_scale_pieces(work *w)
{
    (void)qdbg__parallel_for(w->ctx, w->n / PIECE, one_piece_scale, w);
}

/* ---- measuring ---- */

static int trials = 40;
static const char *wanted = "";

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds(work_fn fn, work *w, int times)
{
    double start = now();
    for (int k = 0; k < times; k++)
        fn(w);
    return (now() - start) / times;
}

typedef struct result {
    double best[2], median[2]; /* seconds a call */
} result;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Let two variants take turns. A trial takes about a millisecond, or one call. */
static result compare(work_fn first, work_fn second, work *w)
{
    work_fn fns[2] = {first, second};
    double *times[2], once[2];
    result r;
    for (int v = 0; v < 2; v++) {
        times[v] = malloc((size_t)trials * sizeof(double));
        seconds(fns[v], w, 2); /* warm up */
        once[v] = seconds(fns[v], w, 1);
    }
    for (int t = 0; t < trials; t++) {
        for (int v = 0; v < 2; v++) {
            int calls = once[v] < 1e-3 ? (int)(1e-3 / once[v]) + 1 : 1;
            times[v][t] = seconds(fns[v], w, calls);
        }
    }
    for (int v = 0; v < 2; v++) {
        qsort(times[v], (size_t)trials, sizeof(double), ascending);
        r.best[v] = times[v][0];
        r.median[v] = times[v][trials / 2];
        free(times[v]);
    }
    return r;
}

/* `bytes` a value are read and written by the kernel, `plain_bytes` by the plain loop. */
static void row(const char *what, work_fn kernel, double bytes, const char *beside,
                work_fn plain_fn, double plain_bytes, work *w)
{
    if (!strstr(what, wanted))
        return;
    result r = compare(plain_fn, kernel, w);
    double n = (double)w->n * (double)w->tensors * 1e-9;
    double rate = bytes * n / r.best[1], plain_rate = plain_bytes * n / r.best[0];
    double median = bytes * r.median[0] / (plain_bytes * r.median[1]);
    printf("%-9s %-34s %6zu K %8.1f %6.2f   %-9s %7.1f %7.2f %7.2f\n", w->kernels->name, what,
           w->n / 1024, rate, n / r.best[1], beside, plain_rate, rate / plain_rate, median);
    fflush(stdout);
}

/* Times faster than `slow_fn`, which does the same work. */
static void row_times(const char *what, work_fn fast, double bytes, const char *beside,
                      work_fn slow_fn, work *w)
{
    row(what, fast, bytes, beside, slow_fn, bytes, w);
}

/* ---- the table ---- */

static void make_grids(qdbg__grid *grids, int32_t rounding)
{
    for (size_t c = 0; c < MAX_CHANNELS; c++)
        grids[c] = (qdbg__grid){8.0f / 255.0f + 1e-6f * (float)(c % 1000), 128, 0, 255, rounding};
}

static void elementwise(work *w)
{
    static const size_t sizes[] = {K64, M1};
    static const char *const names[] = {"fakequant, ties to even", "fakequant, ties up",
                                        "fakequant, ties away"};
    static const size_t shapes[][2] = {{512, 1}, {64, 49}, {64, 1024}, {3, 1}};
    static const char *const shape_names[] = {"per channel [N,512]", "per channel [N,64,7,7]",
                                              "per channel [N,64,32,32]", "per channel [N,3]"};
    for (size_t s = 0; s < 2; s++) {
        w->n = sizes[s];
        for (int32_t rounding = 0; rounding < 3; rounding++) {
            make_grids(w->grids, rounding);
            row(names[rounding], run_fakequant, 8, "copy", run_copy, 8, w);
        }
        make_grids(w->grids, QDBG__ROUND_EVEN);
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
            size_t row_size = shapes[k][0] * shapes[k][1], all = w->n;
            w->channels = shapes[k][0];
            w->inner = shapes[k][1];
            w->n = all / row_size / 64 * row_size * 64; /* whole rows, whole vectors */
            if (w->n == 0)
                w->n = all / row_size * row_size;
            row(shape_names[k], run_channels, 8, "copy", run_copy, 8, w);
            w->n = all;
        }
        w->inner = 32;
        row("blocks of 32", run_blocks, 8, "copy", run_copy, 8, w);
    }
}

static void large(work *w)
{
    make_grids(w->grids, QDBG__ROUND_EVEN);
    w->n = M16;
    row("fakequant in place", run_in_place, 8, "scale", run_scale, 8, w);
    row("fakequant, streaming", run_fakequant, 8, "copy", run_copy, 8, w);
}

static void two_threads(work *w)
{
    cpu_set_t allowed;
    if (!w->ctx || sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    (void)qdbg__parallel_for(w->ctx, 2, pin, &allowed);
    make_grids(w->grids, QDBG__ROUND_EVEN);
    w->n = M16;
    row("two threads, in place", run_pieces_in_place, 8, "scale x 2", run_scale_pieces, 8, w);
    row_times("two threads, in place", run_pieces_in_place, 8, "1 thread", run_in_place, w);
    row_times("two threads", run_pieces, 8, "1 thread", run_fakequant, w);
    w->tensors = 32;
    w->n = M1;
    row_times("two threads, a tensor each", run_tensors, 8, "1 thread", run_tensors_one_thread, w);
    w->n = K64;
    w->tensors = 512;
    row_times("two threads, a tensor each", run_tensors, 8, "1 thread", run_tensors_one_thread, w);
    w->tensors = 1;
    (void)sched_setaffinity(0, sizeof allowed, &allowed);
}

static void statistics(work *w)
{
    w->n = M1;
    w->channels = 512;
    w->inner = 1;
    row("range", run_range, 4, "read", run_read, 4, w);
    row("range per channel [N,512]", run_range_channels, 4, "read", run_read, 4, w);
    row("moments", run_moments, 4, "read", run_read, 4, w);
    row("error of a pair", run_error, 8, "copy", run_copy, 8, w);
    row("fakequant with stats", run_stats, 8, "copy", run_copy, 8, w);
    row_times("histogram, Gaussian", run_histogram, 4, "scalar", run_plain_histogram, w);
    work relu = *w;
    for (size_t i = 0; i < w->n; i++)
        w->dst[i] = w->src[i] > 0.0f ? w->src[i] : 0.0f;
    relu.src = w->dst;
    row_times("histogram, ReLU", run_histogram, 4, "scalar", run_plain_histogram, &relu);
}

static void conversions(work *w)
{
    static const char *const formats[] = {"fp16", "bf16", "fp8 e4m3", "fp8 e5m2"};
    w->n = M1;
    for (w->inner = 0; w->inner < QDBG__FORMATS; w->inner++)
        row(formats[w->inner], run_float, 8, "copy", run_copy, 8, w);
    make_grids(w->grids, QDBG__ROUND_EVEN);
    w->inner = QDBG__STORE_U8;
    row("quantize to uint8", run_quantize, 5, "copy", run_copy, 8, w);
    row("dequantize uint8", run_dequantize, 5, "copy", run_copy, 8, w);
    w->inner = QDBG__STORE_I16;
    row("quantize to int16", run_quantize, 6, "copy", run_copy, 8, w);
    w->grids[0] = (qdbg__grid){0.5f, 0, -8, 7, QDBG__ROUND_EVEN};
    w->inner = QDBG__STORE_I4;
    row("quantize to int4, packed", run_quantize, 4.5, "copy", run_copy, 8, w);
    row("dequantize int4, packed", run_dequantize, 4.5, "copy", run_copy, 8, w);
}

static float gaussian(uint32_t *s)
{
    float sum = -6.0f;
    for (int k = 0; k < 12; k++) {
        *s = *s * 1664525u + 1013904223u;
        sum += (float)(*s >> 8) * 0x1p-24f;
    }
    return sum;
}

static void bench_level(int32_t level, work *w)
{
    w->kernels = qdbg__kernels_level(level);
    w->plain = plain_of(level);
    elementwise(w);
    large(w);
    two_threads(w);
    statistics(w);
    conversions(w);
}

int main(int argc, char **argv)
{
    static const int32_t all[] = {QDBG_CPU_REFERENCE, QDBG_CPU_AVX2, QDBG_CPU_AVX512,
                                  QDBG_CPU_NEON};
    static qdbg__grid grids[MAX_CHANNELS];
    work w = {.grids = grids, .tensors = 1};
    if (argc > 1)
        trials = atoi(argv[1]) > 0 ? atoi(argv[1]) : trials;
    if (argc > 2)
        wanted = argv[2];
    float *src = aligned_alloc(64, M16 * sizeof(float));
    float *room = aligned_alloc(64, (M16 + STAGGER) * sizeof(float));
    if (!src || !room)
        return 1;
    uint32_t seed = 1;
    for (size_t i = 0; i < M16; i++)
        src[i] = i < M1 ? gaussian(&seed) : src[i - M1];
    w.src = src;
    w.dst = room + STAGGER;
    memcpy(w.dst, src, M16 * sizeof(float));
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    options.threads = 2;
    if (qdbg__cpu_cores() < 2 || qdbg_ctx_create(&options, &w.ctx) != QDBG_OK)
        w.ctx = NULL;
    printf("%-9s %-34s %8s %8s %6s   %-9s %7s %7s %7s\n", "kernels", "what", "values", "GB/s",
           "G/s", "beside", "GB/s", "share", "median");
    for (size_t l = 0; l < sizeof all / sizeof *all; l++) {
        int built = all[l] == QDBG_CPU_REFERENCE ||
                    qdbg__kernels_level(all[l]) != qdbg__kernels_level(QDBG_CPU_REFERENCE);
        if (built && qdbg__cpu_allows(all[l]))
            bench_level(all[l], &w);
    }
    qdbg_ctx_destroy(w.ctx);
    free(room);
    free(src);
    return 0;
}
