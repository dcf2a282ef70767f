/* Every instruction set against the reference, bit for bit; and a canary: kernels that are wrong on
 * purpose, each in a way that only hostile data shows, must be found out by the same checks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "checks.h"

static void test_levels(void **state)
{
    (void)state;
    int32_t found[4];
    size_t n = levels(found);
    for (size_t l = 0; l < n; l++) {
        const qdbg__kernels *kernels = qdbg__kernels_level(found[l]);
        for (size_t c = 0; c < n_checks; c++) {
            int bad = checks[c].run(kernels);
            print_message("  %s, %s: %s\n", kernels->name, checks[c].name,
                          bad ? "FAILED" : "equal");
            assert_int_equal(bad, 0);
        }
    }
    print_message("  %zu instruction sets compared\n", n);
}

/* What the canaries spoil, each in the way that its name says. */
static const qdbg__kernels *right(void)
{
    return qdbg__kernels_level(QDBG_CPU_REFERENCE);
}

static void reciprocal(const float *src, float *dst, size_t n, const qdbg__grid *grid)
{
    qdbg__grid unit = *grid;
    unit.scale = 1.0f;
    for (size_t i = 0; i < n; i++) {
        float t = src[i] * (1.0f / grid->scale), q;
        right()->fakequant(&t, &q, 1, &unit);
        dst[i] = q * grid->scale;
    }
}

static void loses_payload(const float *src, float *dst, size_t n, const qdbg__grid *grid)
{
    right()->fakequant(src, dst, n, grid);
    for (size_t i = 0; i < n; i++)
        dst[i] = isnan(dst[i]) ? NAN : dst[i];
}

static void negative_zero(const float *src, float *dst, size_t n, const qdbg__grid *grid)
{
    for (size_t i = 0; i < n; i++) {
        float x = src[i];
        right()->fakequant(&x, &dst[i], 1, grid);
        if (dst[i] == 0.0f)
            dst[i] = copysignf(0.0f, x);
    }
}

static void writes_too_far(const float *src, float *dst, size_t n, const qdbg__grid *grid)
{
    right()->fakequant(src, dst, n, grid);
    if (n % 16)
        dst[n] = 0.0f;
}

static void forgets_last(const float *src, float *dst, size_t n, const qdbg__grid *grid)
{
    right()->fakequant(src, dst, n, grid);
    if (n == 67)
        dst[n - 1] = src[n - 1] + 1.0f;
}

static void reads_what_it_wrote(const float *src, float *dst, size_t n, const qdbg__grid *grid)
{
    float first = n > 0 ? src[0] : 0.0f;
    right()->fakequant(src, dst, n, grid);
    if (n > 16 && src[0] != first)
        dst[16] = first;
}

static void rough_division(const float *src, float *dst, size_t n, float divisor)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = src[i] * (1.0f / divisor);
}

static void other_order(const float *a, const float *b, size_t n, qdbg__error *error)
{
    right()->error(a, b, n / 2, error);
    right()->error(a + n / 2, b + n / 2, n - n / 2, error);
}

static void sums_in_double(const float *src, size_t n, qdbg__moments *moments)
{
    qdbg__moments all = {0};
    right()->moments(src, n, &all);
    for (size_t k = 0; k < 3; k++) /* what lies 96 bits below the largest square is lost */
        all.sum2[k] = 0;
    qdbg__moments_merge(moments, &all);
}

static void rounds_twice(const float *src, float *dst, size_t n, const qdbg__float_grid *grid)
{
    qdbg__float_grid finer = *grid;
    finer.format = grid->format == QDBG__FORMAT_E5M2 ? QDBG__FORMAT_F16 : grid->format;
    right()->fakequant_float(src, dst, n, &finer);
    right()->fakequant_float(dst, dst, n, grid);
}

static void wraps_around(const float *src, void *dst, size_t n, const qdbg__grid *grid,
                         int32_t store)
{
    qdbg__grid wide = *grid;
    wide.qmax += grid->qmax > 0;
    right()->quantize(src, dst, n, &wide, store);
}

static void swallows_nan(const float *src, size_t n, qdbg__range *range)
{
    right()->range(src, n, range);
    range->n_nan = 0;
}

static void drops_negative_bin(const float *src, size_t n, qdbg__histogram *histogram)
{
    right()->histogram(src, n, histogram);
    uint64_t *below = &histogram->count[QDBG__HISTOGRAM_BINS - 1], *zero = &histogram->count[0];
    *zero += *below;
    *below = 0;
}

static void found_out(const char *what, const qdbg__kernels *wrong,
                      int (*check_run)(const qdbg__kernels *))
{
    int bad = check_run(wrong);
    print_message("  canary, %s: %s\n", what, bad ? "found out" : "NOT FOUND");
    assert_true(bad > 0);
}

static void test_canary(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        void (*fakequant)(const float *, float *, size_t, const qdbg__grid *);
    } wrong[] = {
        {"multiplies by a reciprocal", reciprocal},
        {"loses NaN payloads", loses_payload},
        {"makes -0", negative_zero},
        {"writes too far", writes_too_far},
        {"forgets the last element", forgets_last},
        {"reads what it wrote", reads_what_it_wrote},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        qdbg__kernels k = *right();
        k.name = "canary";
        k.fakequant = wrong[i].fakequant;
        found_out(wrong[i].name, &k, check_fakequant);
    }
    qdbg__kernels k = *right();
    k.name = "canary";
    k.fakequant = reciprocal;
    found_out("ties", &k, check_fakequant_ties);
    k.divide = rough_division;
    found_out("divide", &k, check_divide_every_divisor);
    found_out("divide", &k, check_divide);
    k.fakequant_float = rounds_twice;
    found_out("float formats", &k, check_float_formats);
    k.quantize = wraps_around;
    found_out("integers", &k, check_integers);
    k.moments = sums_in_double;
    found_out("moments", &k, check_moments);
    k.error = other_order;
    found_out("error", &k, check_error);
    k.range = swallows_nan;
    found_out("range", &k, check_range);
    k.histogram = drops_negative_bin;
    found_out("histogram", &k, check_histogram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_canary),
    };
    return cmocka_run_group_tests_name("kernels, instruction sets", tests, NULL, NULL);
}
