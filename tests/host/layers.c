#include "layers.h"

#include <cblas.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

void window_slide(window *w)
{
    for (int i = 0; i < 2; i++) {
        int64_t extent = (w->kernel[i] - 1) * w->dilation[i] + 1;
        int64_t room = w->in[i] + w->pad[i] + w->pad_end[i] - extent;
        w->out[i] = room < 0 ? 0 : room / w->stride[i] + 1;
    }
}

/* The element that tap (ky, kx) of the window at output (oy, ox) sees; 0 in the padding. */
static float seen(const window *w, const float *plane, int64_t oy, int64_t ox, int64_t ky,
                  int64_t kx)
{
    int64_t y = oy * w->stride[0] - w->pad[0] + ky * w->dilation[0];
    int64_t x = ox * w->stride[1] - w->pad[1] + kx * w->dilation[1];
    bool inside = y >= 0 && y < w->in[0] && x >= 0 && x < w->in[1];
    return inside ? plane[y * w->in[1] + x] : 0.0f;
}

static int64_t area(const int64_t size[2])
{
    return size[0] * size[1];
}

int64_t conv_columns(const conv_layer *c)
{
    return c->in_channels * area(c->window.kernel) * area(c->window.out);
}

/* columns: [C * kH * kW, oH * oW] */
static void make_columns(const conv_layer *c, const float *x, float *columns)
{
    const window *w = &c->window;
    for (int64_t i = 0; i < c->in_channels; i++, x += area(w->in))
        for (int64_t ky = 0; ky < w->kernel[0]; ky++)
            for (int64_t kx = 0; kx < w->kernel[1]; kx++)
                for (int64_t oy = 0; oy < w->out[0]; oy++)
                    for (int64_t ox = 0; ox < w->out[1]; ox++)
                        *columns++ = seen(w, x, oy, ox, ky, kx);
}

static void conv_dense(const conv_layer *c, const float *x, const float *weight, const float *bias,
                       float *columns, float *y)
{
    int64_t n = area(c->window.out), depth = c->in_channels * area(c->window.kernel);
    for (int64_t m = 0; m < c->out_channels && bias; m++)
        for (int64_t i = 0; i < n; i++)
            y[m * n + i] = bias[m];
    make_columns(c, x, columns);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)c->out_channels, (int)n, (int)depth,
                1.0f, weight, (int)depth, columns, (int)n, bias ? 1.0f : 0.0f, y, (int)n);
}

/* One filter over one plane. */
static void conv_plane(const window *w, const float *x, const float *weight, float start, float *y)
{
    for (int64_t oy = 0; oy < w->out[0]; oy++)
        for (int64_t ox = 0; ox < w->out[1]; ox++) {
            float sum = start;
            for (int64_t ky = 0; ky < w->kernel[0]; ky++)
                for (int64_t kx = 0; kx < w->kernel[1]; kx++)
                    sum = sum + weight[ky * w->kernel[1] + kx] * seen(w, x, oy, ox, ky, kx);
            *y++ = sum;
        }
}

static void conv_depthwise(const conv_layer *c, const float *x, const float *weight,
                           const float *bias, float *y)
{
    const window *w = &c->window;
    int64_t filters = c->out_channels / c->groups;
    for (int64_t m = 0; m < c->out_channels; m++)
        conv_plane(w, x + m / filters * area(w->in), weight + m * area(w->kernel),
                   bias ? bias[m] : 0.0f, y + m * area(w->out));
}

void layer_conv(const conv_layer *c, const float *x, const float *w, const float *bias,
                float *columns, float *y)
{
    for (int64_t n = 0; n < c->batch; n++) {
        if (c->groups > 1)
            conv_depthwise(c, x, w, bias, y);
        else
            conv_dense(c, x, w, bias, columns, y);
        x += c->in_channels * area(c->window.in);
        y += c->out_channels * area(c->window.out);
    }
}

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

/* Columns first, then along the row. */
static float mean_at(const window *w, const float *plane, int64_t oy, int64_t ox)
{
    float sum = 0.0f;
    for (int64_t kx = 0; kx < w->kernel[1]; kx++) {
        float column = 0.0f;
        for (int64_t ky = 0; ky < w->kernel[0]; ky++)
            column += seen(w, plane, oy, ox, ky, kx);
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
