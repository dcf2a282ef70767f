/* The arithmetic of the test engine: plain loops and CBLAS on float arrays.
 *
 * Every sum is made in the order in which the library's executor makes it (lib/graph/ops), so that
 * both give the same bits. Where the executor would cut a matrix product or a plane into pieces,
 * above a million multiplications, this does not. */
#ifndef TESTS_HOST_LAYERS_H
#define TESTS_HOST_LAYERS_H

#include <stdint.h>

/* Windows that slide over planes of an [N,C,H,W] tensor. */
typedef struct window {
    int64_t in[2], out[2]; /* height, width */
    int64_t kernel[2], stride[2], dilation[2], pad[2], pad_end[2];
} window;

/* Set `out`; 0 where the window does not fit. */
void window_slide(window *w);

typedef struct conv_layer {
    window window;
    int64_t batch, groups, in_channels, out_channels; /* channels of all groups */
} conv_layer;

/* Floats that layer_conv needs as scratch. */
int64_t conv_scratch(const conv_layer *c);

/* One group (a matrix product), or one input channel a group (direct loops). x: [N,C,H,W], w:
 * [M,C/groups,kH,kW], bias: [M] or NULL, y: [N,M,oH,oW]. */
void layer_conv(const conv_layer *c, const float *x, const float *w, const float *bias,
                float *scratch, float *y);

/* y = x * s + (beta - mean * s) with s = gamma / sqrt(var + epsilon), for each of `channels`.
 * params: gamma, beta, mean, var, [channels] each. */
void layer_batch_norm(int64_t batch, int64_t channels, int64_t area, const float *const params[4],
                      float epsilon, const float *x, float *y);

void layer_relu(int64_t n, const float *x, float *y);
void layer_clip(int64_t n, float min, float max, const float *x, float *y);

/* Means of windows without padding, in `planes` planes. */
void layer_average_pool(const window *w, int64_t planes, const float *x, float *y);
void layer_global_average_pool(int64_t planes, int64_t area, const float *x, float *y);

/* y[b] = alpha * W x[b] + beta * bias, sample by sample. W: [outs,ins], bias: [outs] or NULL. */
void layer_gemm(int64_t batch, int64_t ins, int64_t outs, float alpha, float beta, const float *w,
                const float *bias, const float *x, float *y);

#endif
