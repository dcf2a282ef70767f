/* MSE and SQNR ranges against brute force over the very values (range.h promises the optimum; the
 * project's bound is 1 %). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "graph_make.h"
#include "quant/range.h"
#include "range_data.h"

static qdbg_ctx *ctx;

static int group_begin(void **state)
{
    (void)state;
    ctx = make_ctx(1);
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    qdbg_ctx_destroy(ctx);
    return 0;
}

/* Where the optimum can lie, as a share of the covering scale. */
static double least_share(enum shape shape, uint32_t bits)
{
    return shape == OUTLIERS || shape == CUBED ? 0.02 * bits : bits <= 3 ? 0.2 : 0.4;
}

static void check(enum shape shape, uint32_t bits, int32_t symmetry, double clip_weight, size_t n,
                  int n_scales)
{
    float *x = malloc(n * sizeof *x), min, max;
    qdbg_quant_spec spec = spec_of(bits, symmetry);
    qdbg_range_options o = method_of(clip_weight > 1 ? QDBG_RANGE_SQNR : QDBG_RANGE_MSE);
    fill_shape(shape, x, n);
    assert_int_equal(qdbg_range_of_values(ctx, x, n, &o, &spec, &min, &max), QDBG_OK);
    double ours = cost_of_range(ctx, &spec, min, max, clip_weight, x, n);
    double best = brute_force(ctx, &spec, bits <= 4 ? 1.6 : 1.02, least_share(shape, bits),
                              n_scales, clip_weight, x, n);
    if (ours > 1.01 * best)
        fail_msg("%s, %u bits, symmetry %d, weight %g, %zu values: %g times the optimum",
                 shape_names[shape], bits, symmetry, clip_weight, n, ours / best);
    if (getenv("QDBG_PRINT"))
        printf("%-12s %u bits symmetry %d weight %g n %5zu: %.5f of brute force\n",
               shape_names[shape], bits, symmetry, clip_weight, n, ours / best);
    free(x);
}

static void check_all(int32_t symmetry, double clip_weight, size_t n, int n_scales)
{
    static const uint32_t bits[] = {2, 3, 4, 6, 8};
    for (int shape = 0; shape < SHAPES; shape++)
        for (int b = 0; b < 5; b++)
            check((enum shape)shape, bits[b], symmetry, clip_weight, n,
                  symmetry == QDBG_ASYMMETRIC && bits[b] > 4 ? n_scales / 4 : n_scales);
}

static void symmetric_is_optimal_over_values(void **state)
{
    (void)state;
    check_all(QDBG_SYMMETRIC, 1, 3000, 400);
    check_all(QDBG_STRICT_SYMMETRIC, 3, 3000, 200);
}

static void symmetric_is_optimal_over_the_histogram(void **state)
{
    (void)state;
    check_all(QDBG_SYMMETRIC, 1, 20000, 200);
    check_all(QDBG_SYMMETRIC, 3, 20000, 100);
}

static void asymmetric_is_optimal_over_values(void **state)
{
    (void)state;
    check_all(QDBG_ASYMMETRIC, 1, 2000, 120);
    check_all(QDBG_ASYMMETRIC, 3, 2000, 60);
}

static void asymmetric_is_optimal_over_the_histogram(void **state)
{
    (void)state;
    check_all(QDBG_ASYMMETRIC, 1, 10000, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(symmetric_is_optimal_over_values),
        cmocka_unit_test(symmetric_is_optimal_over_the_histogram),
        cmocka_unit_test(asymmetric_is_optimal_over_values),
        cmocka_unit_test(asymmetric_is_optimal_over_the_histogram),
    };
    return cmocka_run_group_tests(tests, group_begin, group_end);
}
