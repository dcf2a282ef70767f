/* What the tests of convolution and pooling share: windows over up to three axes, looked up one
 * element at a time, in any order of thinking but the library's. */
#ifndef TESTS_WINDOWS_H
#define TESTS_WINDOWS_H

#include <stdbool.h>
#include <stdint.h>

#include "graph_make.h"

typedef struct geometry {
    uint32_t n_axes;
    int64_t in[3], kernel[3], stride[3], dilation[3], pad[3], pad_end[3], out[3];
} geometry;

int64_t product(const int64_t *list, uint32_t n);

/* Input element under tap `k` of output position `o`; -1 in the padding. */
int64_t under(const geometry *g, int64_t o, int64_t k);

/* Whether a tap lies in the input or its declared padding (not beyond, as in ceil mode). */
bool within_padding(const geometry *g, int64_t o, int64_t k);

/* `bound` is the sum of the absolute terms that make up `want`. */
void assert_close(double want, double bound, float got);

/* A geometry that fits, with inputs up to `max_in` long (shorter with three axes). */
void random_geometry(uint64_t *seed, geometry *g, int64_t max_in);

/* Strides, dilations and pads; kernel_shape. */
void set_window(qdbg_graph *graph, uint32_t node, const geometry *g);
void set_kernel(qdbg_graph *graph, uint32_t node, const geometry *g);

/* dims = [a, b, rest ..., -1] */
void shape_of(int64_t a, int64_t b, const int64_t *rest, uint32_t n, int64_t *dims);
void assert_shape(const qdbg_view *view, int64_t a, int64_t b, const geometry *g);

#endif
