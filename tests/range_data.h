/* Data for the tests of ranges: the distributions that the library's promises name, and the data
 * sets of the golden facts. */
#ifndef TESTS_RANGE_DATA_H
#define TESTS_RANGE_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <qdebug/range.h>

enum shape { GAUSS, LAPLACE, CUBED, RELU, OUTLIERS, SHAPES };

extern const char *const shape_names[SHAPES];

/* The same for the same arguments. */
void fill_shape(enum shape shape, float *x, size_t n);

/* Golden data sets A [1001], C [10002], D [4096]; returns their size. */
#define GOLDEN_MAX 10002
size_t fill_golden(char name, float *x);

/* Sum of squared errors after quantizing x to the grid of a range; `clip_weight` times for what
 * lies beyond the grid's ends. */
double cost_of_range(qdbg_ctx *ctx, const qdbg_quant_spec *spec, float min, float max,
                     double clip_weight, const float *x, size_t n);

/* The least cost that a search by brute force finds over `n_scales` scales in even ratios from
 * `most` (a share of the covering scale) down to `least`, and over every zero point at which the
 * grid touches the data. */
double brute_force(qdbg_ctx *ctx, const qdbg_quant_spec *spec, double most, double least,
                   int n_scales, double clip_weight, const float *x, size_t n);

qdbg_quant_spec spec_of(uint32_t bits, int32_t symmetry);
qdbg_range_options method_of(int32_t method);

#endif
