#include "layers.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

void window_slide(window *w)
{
    for (int i = 0; i < 2; i++) {
        int64_t extent = (w->kernel[i] - 1) * w->dilation[i] + 1;
        int64_t room = w->in[i] + w->pad[i] + w->pad_end[i] - extent;
        w->out[i] = room < 0 ? 0 : room / w->stride[i] + 1;
    }
}

static int64_t area(const int64_t size[2])
{
    return size[0] * size[1];
}

static int64_t padded_width(const window *w)
{
    return w->pad[1] + w->in[1] + w->pad_end[1];
}

static int64_t padded_area(const window *w)
{
    return (w->pad[0] + w->in[0] + w->pad_end[0]) * padded_width(w);
}

/* The plane with zeros around it. */
static void pad_plane(const window *w, const float *plane, float *padded)
{
    int64_t width = padded_width(w);
    memset(padded, 0, (size_t)padded_area(w) * sizeof *padded);
    for (int64_t y = 0; y < w->in[0]; y++)
        memcpy(padded + (y + w->pad[0]) * width + w->pad[1], plane + y * w->in[1],
               (size_t)w->in[1] * sizeof *padded);
}

/* Where in a padded plane tap (ky, kx) of the output row oy begins. */
static int64_t tap_start(const window *w, int64_t oy, int64_t ky, int64_t kx)
{
    return (oy * w->stride[0] + ky * w->dilation[0]) * padded_width(w) + kx * w->dilation[1];
}

/* ---- convolution ---- */

int64_t conv_scratch(const conv_layer *c)
{
    return padded_area(&c->window) + c->in_channels * area(c->window.kernel) * area(c->window.out);
}

/* What one tap sees along a row of outputs. Unit stride apart, for the compiler's sake. */
static void copy_row(const window *w, const float *src, float *dst)
{
    int64_t n = w->out[1], stride = w->stride[1];
    if (stride == 1)
        memcpy(dst, src, (size_t)n * sizeof *dst);
    else
        for (int64_t i = 0; i < n; i++)
            dst[i] = src[i * stride];
}

static void add_row(const window *w, float factor, const float *src, float *restrict dst)
{
    int64_t n = w->out[1], stride = w->stride[1];
    if (stride == 1)
        for (int64_t i = 0; i < n; i++)
            dst[i] += factor * src[i];
    else
        for (int64_t i = 0; i < n; i++)
            dst[i] += factor * src[i * stride];
}

/* columns: [C * kH * kW, oH * oW] */
static void make_columns(const conv_layer *c, const float *x, float *padded, float *columns)
{
    const window *w = &c->window;
    for (int64_t i = 0; i < c->in_channels; i++, x += area(w->in)) {
        pad_plane(w, x, padded);
        for (int64_t ky = 0; ky < w->kernel[0]; ky++)
            for (int64_t kx = 0; kx < w->kernel[1]; kx++)
                for (int64_t oy = 0; oy < w->out[0]; oy++, columns += w->out[1])
                    copy_row(w, padded + tap_start(w, oy, ky, kx), columns);
    }
}

static void conv_dense(const conv_layer *c, const float *x, const float *weight, const float *bias,
                       float *scratch, float *y)
{
    int64_t n = area(c->window.out), depth = c->in_channels * area(c->window.kernel);
    float *columns = scratch + padded_area(&c->window);
    for (int64_t m = 0; m < c->out_channels && bias; m++)
        for (int64_t i = 0; i < n; i++)
            y[m * n + i] = bias[m];
    make_columns(c, x, scratch, columns);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)c->out_channels, (int)n, (int)depth,
                1.0f, weight, (int)depth, columns, (int)n, bias ? 1.0f : 0.0f, y, (int)n);
}

/* One filter over one plane: to each output its taps are added in the filter's order. */
static void conv_plane(const window *w, const float *padded, const float *weight, float start,
                       float *y)
{
    for (int64_t oy = 0; oy < w->out[0]; oy++, y += w->out[1]) {
        for (int64_t ox = 0; ox < w->out[1]; ox++)
            y[ox] = start;
        for (int64_t ky = 0; ky < w->kernel[0]; ky++)
            for (int64_t kx = 0; kx < w->kernel[1]; kx++)
                add_row(w, weight[ky * w->kernel[1] + kx], padded + tap_start(w, oy, ky, kx), y);
    }
}

static void conv_depthwise(const conv_layer *c, const float *x, const float *weight,
                           const float *bias, float *padded, float *y)
{
    const window *w = &c->window;
    int64_t filters = c->out_channels / c->groups;
    for (int64_t m = 0; m < c->out_channels; m++) {
        pad_plane(w, x + m / filters * area(w->in), padded);
        conv_plane(w, padded, weight + m * area(w->kernel), bias ? bias[m] : 0.0f,
                   y + m * area(w->out));
    }
}

void layer_conv(const conv_layer *c, const float *x, const float *w, const float *bias,
                float *scratch, float *y)
{
    for (int64_t n = 0; n < c->batch; n++) {
        if (c->groups > 1)
            conv_depthwise(c, x, w, bias, scratch, y);
        else
            conv_dense(c, x, w, bias, scratch, y);
        x += c->in_channels * area(c->window.in);
        y += c->out_channels * area(c->window.out);
    }
}

/* ---- element by element ---- */

void layer_batch_norm(int64_t batch, int64_t channels, int64_t n, const float *const params[4],
                      float epsilon, const float *x, float *y)
{
    for (int64_t b = 0; b < batch; b++)
        for (int64_t c = 0; c < channels; c++) {
            float s = params[0][c] / sqrtf(params[3][c] + epsilon);
            float t = params[1][c] - params[2][c] * s;
            for (int64_t i = 0; i < n; i++)
                *y++ = *x++ * s + t;
        }
}

void layer_relu(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] < 0.0f ? 0.0f : x[i];
}

void layer_clip(int64_t n, float min, float max, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        float low = x[i] < min ? min : x[i];
        y[i] = low > max ? max : low;
    }
}

/* ---- pools and the rest ---- */

/* Columns first, then along the row. */
static float mean_at(const window *w, const float *plane, int64_t oy, int64_t ox)
{
    float sum = 0.0f;
    for (int64_t kx = 0; kx < w->kernel[1]; kx++) {
        float column = 0.0f;
        for (int64_t ky = 0; ky < w->kernel[0]; ky++)
            column += plane[tap_start(w, oy, ky, kx) + ox * w->stride[1]];
        sum += column;
    }
    return sum / (float)area(w->kernel);
}

void layer_average_pool(const window *w, int64_t planes, const float *x, float *y)
{
    for (int64_t p = 0; p < planes; p++, x += area(w->in))
        for (int64_t oy = 0; oy < w->out[0]; oy++)
            for (int64_t ox = 0; ox < w->out[1]; ox++)
                *y++ = mean_at(w, x, oy, ox);
}

/* Eight interleaved sums, then those. */
void layer_global_average_pool(int64_t planes, int64_t n, const float *x, float *y)
{
    for (int64_t p = 0; p < planes; p++, x += n) {
        float lane[8] = {0};
        for (int64_t i = 0; i < n; i++)
            lane[i % 8] += x[i];
        for (int i = 1; i < 8; i++)
            lane[0] += lane[i];
        y[p] = lane[0] / (float)n;
    }
}

void layer_gemm(int64_t batch, int64_t ins, int64_t outs, float alpha, float beta, const float *w,
                const float *bias, const float *x, float *y)
{
    for (int64_t b = 0; b < batch; b++, x += ins, y += outs) {
        if (bias)
            memcpy(y, bias, (size_t)outs * sizeof *y);
        cblas_sgemv(CblasRowMajor, CblasNoTrans, (int)outs, (int)ins, alpha, w, (int)ins, x, 1,
                    bias ? beta : 0.0f, y, 1);
    }
}
