/* Sliding windows over one to three spatial axes: the geometry that Conv, ConvTranspose and the
 * pools share. */
#ifndef QDBG_GRAPH_OPS_WINDOW_H
#define QDBG_GRAPH_OPS_WINDOW_H

#include "../op.h"

enum { QDBG__PAD_NOTSET, QDBG__PAD_VALID, QDBG__PAD_SAME_UPPER, QDBG__PAD_SAME_LOWER };

/* Axes are right-aligned in three (depth, height, width); a missing leading axis has length 1 and a
 * window of 1. Every number is checked to lie in 0..INT32_MAX, so that a product of two of them
 * fits int64_t. */
typedef struct qdbg__window {
    uint32_t n_axes; /* of the model: 1 to 3 */
    int32_t auto_pad;
    int64_t in[3], out[3];
    int64_t kernel[3], stride[3], dilation[3];
    int64_t extent[3]; /* (kernel - 1) * dilation + 1: what a window spans */
    int64_t pad[3], pad_end[3];
} qdbg__window;

/* Fill in all but `out` from the attributes strides, dilations, pads, auto_pad and kernel_shape.
 * `input` is [N, C, spatial ...]. `kernel` is the weight's spatial shape, with which kernel_shape
 * must agree; NULL where only the attribute tells it. */
qdbg_status qdbg__window_read(qdbg__infer *x, const qdbg_view *input, const int64_t *kernel,
                              qdbg__window *w);

/* Read [n_axes] non-negative numbers into the axes of a window; untouched when absent. */
qdbg_status qdbg__window_ints(qdbg__infer *x, const char *name, const qdbg__window *w, int64_t min,
                              int64_t *values);

/* Place windows that slide over the input (Conv, pools): resolves auto_pad and sets `out`. With
 * `ceil_mode` a last window may hang over the end, unless it would begin in the end padding. */
qdbg_status qdbg__window_slide(qdbg__infer *x, bool ceil_mode, qdbg__window *w);

/* Split the padding of an axis by auto_pad: SAME_UPPER puts an odd one at the end. */
void qdbg__window_split_pad(qdbg__window *w, uint32_t axis, int64_t total, bool upper);

/* Positions o in [0, n) of which o * stride + offset lies in [0, length): *lo <= o < *hi. */
void qdbg__window_valid(int64_t offset, int64_t stride, int64_t length, int64_t n, int64_t *lo,
                        int64_t *hi);

/* Set output 0 to [batch, channels, out ...], float32; fails when it is too large. */
qdbg_status qdbg__window_out(qdbg__infer *x, const qdbg__window *w, int64_t batch,
                             int64_t channels);

/* Fails unless all inputs that are there are float32: QDBG_E_UNSUPPORTED. */
qdbg_status qdbg__infer_float32_only(qdbg__infer *x);

#endif
