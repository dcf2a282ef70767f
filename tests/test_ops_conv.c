/* Conv, ConvTranspose, Gemm, MatMul, the pools and BatchNormalization against plain loops in double
 * precision, over random shapes. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <stddef.h>
#include <cmocka.h>

#include "graph_make.h"

/* ---- the reference: N-dimensional, one output element at a time ---- */

typedef struct geometry {
    uint32_t n_axes;
    int64_t in[3], kernel[3], stride[3], dilation[3], pad[3], pad_end[3], out[3];
} geometry;

static int64_t product(const int64_t *list, uint32_t n)
{
    int64_t p = 1;
    for (uint32_t i = 0; i < n; i++)
        p *= list[i];
    return p;
}

static void unravel(int64_t index, const int64_t *dims, uint32_t n, int64_t *at)
{
    for (uint32_t i = n; i-- > 0;) {
        at[i] = index % dims[i];
        index /= dims[i];
    }
}

/* Input element under tap `k` of output position `o`; -1 in the padding. */
static int64_t under(const geometry *g, int64_t o, int64_t k)
{
    int64_t oi[3], ki[3], at = 0;
    unravel(o, g->out, g->n_axes, oi);
    unravel(k, g->kernel, g->n_axes, ki);
    for (uint32_t i = 0; i < g->n_axes; i++) {
        int64_t p = oi[i] * g->stride[i] + ki[i] * g->dilation[i] - g->pad[i];
        if (p < 0 || p >= g->in[i])
            return -1;
        at = at * g->in[i] + p;
    }
    return at;
}

/* Whether a tap lies in the input or its declared padding (not beyond, as in ceil mode). */
static bool within_padding(const geometry *g, int64_t o, int64_t k)
{
    int64_t oi[3], ki[3];
    unravel(o, g->out, g->n_axes, oi);
    unravel(k, g->kernel, g->n_axes, ki);
    for (uint32_t i = 0; i < g->n_axes; i++) {
        int64_t p = oi[i] * g->stride[i] + ki[i] * g->dilation[i];
        if (p >= g->in[i] + g->pad[i] + g->pad_end[i])
            return false;
    }
    return true;
}

typedef struct channels {
    int64_t batch, groups, in, out; /* in and out of a group */
} channels;

static void assert_close(double want, double bound, float got)
{
    if (fabs(want - (double)got) > bound * 4e-6 + 1e-30)
        fail_msg("%.9g instead of %.9g (terms sum to %.3g)", (double)got, want, bound);
}

static void check_conv(const geometry *g, const channels *c, const float *x, const float *w,
                       const float *bias, const float *y)
{
    int64_t in = product(g->in, g->n_axes), out = product(g->out, g->n_axes);
    int64_t taps = product(g->kernel, g->n_axes);
    for (int64_t n = 0; n < c->batch; n++) {
        for (int64_t m = 0; m < c->groups * c->out; m++) {
            const float *group = x + (n * c->groups + m / c->out) * c->in * in;
            for (int64_t o = 0; o < out; o++) {
                double sum = bias ? (double)bias[m] : 0.0, bound = fabs(sum);
                for (int64_t i = 0; i < c->in * taps; i++) {
                    int64_t at = under(g, o, i % taps);
                    double term = at < 0 ? 0.0
                                         : (double)group[i / taps * in + at] *
                                               (double)w[m * c->in * taps + i];
                    sum += term;
                    bound += fabs(term);
                }
                assert_close(sum, bound, *y++);
            }
        }
    }
}

/* ---- Conv ---- */

static void random_geometry(uint64_t *seed, geometry *g, int64_t max_in)
{
    g->n_axes = (uint32_t)make_int(seed, 1, 3);
    for (uint32_t i = 0; i < g->n_axes; i++) {
        g->kernel[i] = make_int(seed, 1, g->n_axes == 3 ? 3 : 5);
        g->dilation[i] = make_int(seed, 0, 2) == 0 ? make_int(seed, 2, 3) : 1;
        g->stride[i] = make_int(seed, 1, 3);
        int64_t extent = (g->kernel[i] - 1) * g->dilation[i] + 1;
        g->pad[i] = make_int(seed, 0, 1) ? make_int(seed, 0, extent - 1) : 0;
        g->pad_end[i] = make_int(seed, 0, 1) ? make_int(seed, 0, extent - 1) : 0;
        g->in[i] = make_int(seed, 1, g->n_axes == 3 ? 7 : max_in);
        if (g->in[i] + g->pad[i] + g->pad_end[i] < extent)
            g->in[i] = extent;
        g->out[i] = (g->in[i] + g->pad[i] + g->pad_end[i] - extent) / g->stride[i] + 1;
    }
}

static void set_window(qdbg_graph *graph, uint32_t node, const geometry *g)
{
    int64_t list[7];
    struct {
        const char *name;
        const int64_t *values;
    } attributes[] = {{"strides", g->stride}, {"dilations", g->dilation}};
    for (size_t a = 0; a < 2; a++) {
        memcpy(list, attributes[a].values, g->n_axes * sizeof *list);
        list[g->n_axes] = -1;
        make_ints(graph, node, attributes[a].name, list);
    }
    memcpy(list, g->pad, g->n_axes * sizeof *list);
    memcpy(list + g->n_axes, g->pad_end, g->n_axes * sizeof *list);
    list[2 * g->n_axes] = -1;
    make_ints(graph, node, "pads", list);
}

static void set_kernel(qdbg_graph *graph, uint32_t node, const geometry *g)
{
    int64_t list[4];
    memcpy(list, g->kernel, g->n_axes * sizeof *list);
    list[g->n_axes] = -1;
    make_ints(graph, node, "kernel_shape", list);
}

static void shape_of(int64_t a, int64_t b, const int64_t *rest, uint32_t n, int64_t *dims)
{
    dims[0] = a;
    dims[1] = b;
    memcpy(dims + 2, rest, n * sizeof *dims);
    dims[2 + n] = -1;
}

static void assert_shape(const qdbg_view *view, int64_t a, int64_t b, const geometry *g)
{
    assert_int_equal(view->rank, g->n_axes + 2);
    assert_int_equal(view->dims[0], a);
    assert_int_equal(view->dims[1], b);
    for (uint32_t i = 0; i < g->n_axes; i++)
        assert_int_equal(view->dims[i + 2], g->out[i]);
}

static void one_conv(qdbg_ctx *ctx, uint64_t *seed, const geometry *g, const channels *c)
{
    int64_t x_dims[6], w_dims[6];
    qdbg_view shape;
    qdbg_graph *graph = make_graph(ctx, 13);
    shape_of(c->batch, c->groups * c->in, g->in, g->n_axes, x_dims);
    shape_of(c->groups * c->out, c->in, g->kernel, g->n_axes, w_dims);
    bool biased = make_int(seed, 0, 1);
    float *x = make_floats(seed, dims_count(x_dims)), *w = make_floats(seed, dims_count(w_dims));
    float *bias = make_floats(seed, (size_t)w_dims[0]);
    uint32_t node, values[3] = {make_input(graph, "x", x_dims), make_param(graph, "w", w_dims, w)};
    values[2] = make_param(graph, "b", DIMS(w_dims[0]), bias);
    uint32_t y = make_node(graph, "Conv", "y", values, biased ? 3 : 2, &node);
    assert_int_equal(qdbg_graph_set_int(graph, node, "group", c->groups), QDBG_OK);
    set_window(graph, node, g);
    make_finish(graph, y);
    float *result = make_run(graph, x_dims, x, &shape);
    assert_shape(&shape, c->batch, c->groups * c->out, g);
    check_conv(g, c, x, w, biased ? bias : NULL, result);
    free(result);
    free(x);
    free(w);
    free(bias);
    qdbg_graph_destroy(graph);
}

static void test_conv_random(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 1;
    (void)state;
    for (int i = 0; i < 600; i++) {
        geometry g;
        random_geometry(&seed, &g, 20);
        channels c = {make_int(&seed, 1, 2), 1, make_int(&seed, 1, 9), make_int(&seed, 1, 20)};
        if (i % 3 == 1)
            c = (channels){1, make_int(&seed, 2, 3), make_int(&seed, 2, 4), make_int(&seed, 1, 5)};
        if (i % 3 == 2) /* depthwise, with a multiplier now and then */
            c = (channels){1, make_int(&seed, 1, 9), 1, make_int(&seed, 1, 5)};
        one_conv(ctx, &seed, &g, &c);
    }
    qdbg_ctx_destroy(ctx);
}

/* Long rows are cut into tiles, many rows into bands. */
static void test_conv_tiles(void **state)
{
    static const geometry wide = {1, {9000}, {5}, {2}, {3}, {6}, {5}, {4500}};
    static const geometry plane = {2, {150, 140}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {150, 140}};
    static const geometry half = {2, {150, 90}, {5, 3}, {2, 2}, {1, 1}, {2, 0}, {2, 1}, {75, 45}};
    static const geometry row = {1, {20000}, {3}, {1}, {1}, {1}, {1}, {20000}};
    static const channels dense = {1, 1, 16, 8}, deep = {1, 1, 40, 3}, depthwise = {2, 3, 1, 1};
    const geometry *all[] = {&wide, &plane, &half, &row};
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 5;
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        one_conv(ctx, &seed, all[i], &dense);
        one_conv(ctx, &seed, all[i], &deep);
        one_conv(ctx, &seed, all[i], &depthwise);
    }
    qdbg_ctx_destroy(ctx);
}

/* auto_pad gives the output ceil(in / stride); SAME_UPPER has the odd padding at the end. */
static void test_conv_auto_pad(void **state)
{
    static const char *const modes[] = {"SAME_UPPER", "SAME_LOWER", "VALID"};
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 2;
    (void)state;
    for (int i = 0; i < 60; i++) {
        geometry g = {.n_axes = 2};
        qdbg_view shape;
        for (uint32_t a = 0; a < 2; a++) {
            g.in[a] = make_int(&seed, 9, 12);
            g.kernel[a] = make_int(&seed, 1, 4);
            g.stride[a] = make_int(&seed, 1, 3);
            g.dilation[a] = make_int(&seed, 1, 2);
            int64_t extent = (g.kernel[a] - 1) * g.dilation[a] + 1;
            g.out[a] = (g.in[a] + g.stride[a] - 1) / g.stride[a];
            int64_t total = (g.out[a] - 1) * g.stride[a] + extent - g.in[a];
            total = total < 0 ? 0 : total;
            g.pad[a] = i % 3 == 0 ? total / 2 : total - total / 2;
            if (i % 3 == 2) {
                g.pad[a] = 0;
                g.out[a] = (g.in[a] - extent) / g.stride[a] + 1;
            }
        }
        channels c = {1, 1, 2, 3};
        int64_t x_dims[6], w_dims[6];
        shape_of(1, 2, g.in, 2, x_dims);
        shape_of(3, 2, g.kernel, 2, w_dims);
        qdbg_graph *graph = make_graph(ctx, 11);
        float *x = make_floats(&seed, dims_count(x_dims)), *w = make_floats(&seed, dims_count(w_dims));
        uint32_t node, in = make_input(graph, "x", x_dims), wv = make_param(graph, "w", w_dims, w);
        uint32_t y = make_node(graph, "Conv", "y", VALUES(in, wv), &node);
        make_ints(graph, node, "strides", DIMS(g.stride[0], g.stride[1]));
        make_ints(graph, node, "dilations", DIMS(g.dilation[0], g.dilation[1]));
        qdbg_graph_set_string(graph, node, "auto_pad", modes[i % 3]);
        make_finish(graph, y);
        float *result = make_run(graph, x_dims, x, &shape);
        assert_shape(&shape, 1, 3, &g);
        check_conv(&g, &c, x, w, NULL, result);
        free(result);
        free(x);
        free(w);
        qdbg_graph_destroy(graph);
    }
    qdbg_ctx_destroy(ctx);
}

/* ---- ConvTranspose ---- */

static void check_transpose(const geometry *g, const channels *c, const float *x, const float *w,
                            const float *bias, const float *y)
{
    int64_t in = product(g->in, g->n_axes), out = product(g->out, g->n_axes);
    int64_t taps = product(g->kernel, g->n_axes), all = c->batch * c->groups * c->out * out;
    double *sum = calloc((size_t)all, sizeof *sum), *bound = calloc((size_t)all, sizeof *bound);
    /* As the gradient of a convolution whose input is y: its output positions are our input's. */
    geometry gradient = *g;
    memcpy(gradient.in, g->out, sizeof g->out);
    memcpy(gradient.out, g->in, sizeof g->in);
    for (int64_t n = 0; n < c->batch; n++) {
        for (int64_t i = 0; i < c->groups * c->in; i++) {
            for (int64_t m = 0; m < c->out; m++) {
                double *s = sum + ((n * c->groups + i / c->in) * c->out + m) * out;
                double *b = bound + (s - sum);
                for (int64_t p = 0; p < in * taps; p++) {
                    int64_t at = under(&gradient, p / taps, p % taps);
                    if (at < 0)
                        continue;
                    double term = (double)x[(n * c->groups * c->in + i) * in + p / taps] *
                                  (double)w[(i * c->out + m) * taps + p % taps];
                    s[at] += term;
                    b[at] += fabs(term);
                }
            }
        }
    }
    for (int64_t i = 0; i < all; i++) {
        double start = bias ? (double)bias[i / out % (c->groups * c->out)] : 0.0;
        assert_close(start + sum[i], fabs(start) + bound[i], y[i]);
    }
    free(sum);
    free(bound);
}

static void test_conv_transpose_random(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 3;
    (void)state;
    for (int i = 0; i < 300; i++) {
        geometry g;
        int64_t extra[4], x_dims[6], w_dims[6];
        qdbg_view shape;
        random_geometry(&seed, &g, 9);
        channels c = {make_int(&seed, 1, 2), make_int(&seed, 1, 2), make_int(&seed, 1, 4),
                      make_int(&seed, 1, 4)};
        for (uint32_t a = 0; a < g.n_axes; a++) {
            int64_t extent = (g.kernel[a] - 1) * g.dilation[a] + 1;
            extra[a] = make_int(&seed, 0, g.stride[a] - 1);
            int64_t full = g.stride[a] * (g.in[a] - 1) + extra[a] + extent;
            while (full <= g.pad[a] + g.pad_end[a])
                g.pad[a] = g.pad_end[a] = 0;
            g.out[a] = full - g.pad[a] - g.pad_end[a];
        }
        extra[g.n_axes] = -1;
        shape_of(c.batch, c.groups * c.in, g.in, g.n_axes, x_dims);
        shape_of(c.groups * c.in, c.out, g.kernel, g.n_axes, w_dims);
        bool biased = make_int(&seed, 0, 1);
        qdbg_graph *graph = make_graph(ctx, 11);
        float *x = make_floats(&seed, dims_count(x_dims)), *w = make_floats(&seed, dims_count(w_dims));
        float *bias = make_floats(&seed, (size_t)(c.groups * c.out));
        uint32_t node, values[3] = {make_input(graph, "x", x_dims),
                                    make_param(graph, "w", w_dims, w),
                                    make_param(graph, "b", DIMS(c.groups * c.out), bias)};
        uint32_t y = make_node(graph, "ConvTranspose", "y", values, biased ? 3 : 2, &node);
        set_window(graph, node, &g);
        make_ints(graph, node, "output_padding", extra);
        qdbg_graph_set_int(graph, node, "group", c.groups);
        make_finish(graph, y);
        float *result = make_run(graph, x_dims, x, &shape);
        assert_shape(&shape, c.batch, c.groups * c.out, &g);
        check_transpose(&g, &c, x, w, biased ? bias : NULL, result);
        free(result);
        free(x);
        free(w);
        free(bias);
        qdbg_graph_destroy(graph);
    }
    qdbg_ctx_destroy(ctx);
}

/* ---- pools ---- */

static void check_pool(const geometry *g, int64_t planes, bool max, bool count_padding,
                       const float *x, const float *y)
{
    int64_t in = product(g->in, g->n_axes), out = product(g->out, g->n_axes);
    int64_t taps = product(g->kernel, g->n_axes);
    for (int64_t p = 0; p < planes; p++) {
        for (int64_t o = 0; o < out; o++) {
            double best = -INFINITY, sum = 0.0, bound = 0.0;
            int64_t n = 0;
            for (int64_t k = 0; k < taps; k++) {
                int64_t at = under(g, o, k);
                n += count_padding ? within_padding(g, o, k) : at >= 0;
                if (at < 0)
                    continue;
                double v = (double)x[p * in + at];
                best = v > best ? v : best;
                sum += v;
                bound += fabs(v);
            }
            if (max)
                assert_true((double)*y++ == best);
            else
                assert_close(n ? sum / (double)n : 0.0, n ? bound / (double)n : 0.0, *y++);
        }
    }
}

static void ceil_output(geometry *g, bool ceil_mode)
{
    for (uint32_t a = 0; a < g->n_axes; a++) {
        int64_t extent = (g->kernel[a] - 1) * g->dilation[a] + 1;
        int64_t room = g->in[a] + g->pad[a] + g->pad_end[a] - extent;
        g->out[a] = room / g->stride[a] + 1;
        if (ceil_mode && room % g->stride[a] && g->out[a] * g->stride[a] < g->in[a] + g->pad[a])
            g->out[a]++;
    }
}

static void test_pool_random(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 4;
    (void)state;
    for (int i = 0; i < 600; i++) {
        geometry g;
        int64_t dims[6];
        qdbg_view shape;
        bool max = i % 2, ceil_mode = make_int(&seed, 0, 1), count = make_int(&seed, 0, 1);
        random_geometry(&seed, &g, 20);
        ceil_output(&g, ceil_mode);
        shape_of(2, 3, g.in, g.n_axes, dims);
        qdbg_graph *graph = make_graph(ctx, 19);
        float *x = make_floats(&seed, dims_count(dims));
        uint32_t node, in = make_input(graph, "x", dims);
        uint32_t y = make_node(graph, max ? "MaxPool" : "AveragePool", "y", &in, 1, &node);
        set_window(graph, node, &g);
        set_kernel(graph, node, &g);
        qdbg_graph_set_int(graph, node, "ceil_mode", ceil_mode);
        if (!max)
            qdbg_graph_set_int(graph, node, "count_include_pad", count);
        make_finish(graph, y);
        float *result = make_run(graph, dims, x, &shape);
        assert_shape(&shape, 2, 3, &g);
        check_pool(&g, 6, max, count, x, result);
        free(result);
        free(x);
        qdbg_graph_destroy(graph);
    }
    qdbg_ctx_destroy(ctx);
}

static void test_pool_global(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 6;
    (void)state;
    for (int i = 0; i < 100; i++) {
        geometry g = {.n_axes = (uint32_t)make_int(&seed, 1, 3)};
        int64_t dims[6];
        qdbg_view shape;
        bool max = i % 2;
        for (uint32_t a = 0; a < g.n_axes; a++) {
            g.in[a] = g.kernel[a] = make_int(&seed, 1, 9);
            g.stride[a] = g.dilation[a] = g.out[a] = 1;
        }
        shape_of(2, 5, g.in, g.n_axes, dims);
        qdbg_graph *graph = make_graph(ctx, 13);
        float *x = make_floats(&seed, dims_count(dims));
        uint32_t in = make_input(graph, "x", dims);
        make_finish(graph, make_node(graph, max ? "GlobalMaxPool" : "GlobalAveragePool", "y", &in, 1,
                                     NULL));
        float *result = make_run(graph, dims, x, &shape);
        assert_shape(&shape, 2, 5, &g);
        check_pool(&g, 10, max, false, x, result);
        free(result);
        free(x);
        qdbg_graph_destroy(graph);
    }
    qdbg_ctx_destroy(ctx);
}

/* A NaN anywhere in a window shows in its maximum. */
static void test_max_pool_nan(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    float x[16];
    qdbg_view shape;
    (void)state;
    for (int at = 0; at < 16; at++) {
        for (int i = 0; i < 16; i++)
            x[i] = (float)i;
        x[at] = NAN;
        qdbg_graph *graph = make_graph(ctx, 12);
        uint32_t node, in = make_input(graph, "x", DIMS(1, 1, 4, 4));
        uint32_t y = make_node(graph, "MaxPool", "y", &in, 1, &node);
        make_ints(graph, node, "kernel_shape", DIMS(2, 2));
        make_ints(graph, node, "strides", DIMS(2, 2));
        make_finish(graph, make_node(graph, "GlobalMaxPool", "z", &y, 1, NULL));
        float *result = make_run(graph, DIMS(1, 1, 4, 4), x, &shape);
        assert_true(isnan(result[0]));
        free(result);
        qdbg_graph_destroy(graph);
    }
    qdbg_ctx_destroy(ctx);
}

/* ---- Gemm and MatMul ---- */

static void check_product(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                          int64_t a_column, const float *b, int64_t b_row, int64_t b_column,
                          double alpha, const double *start, const float *y)
{
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0.0, bound = 0.0, from = start ? start[i * n + j] : 0.0;
            for (int64_t l = 0; l < k; l++) {
                double term = (double)a[i * a_row + l * a_column] * (double)b[l * b_row + j * b_column];
                sum += alpha * term;
                bound += fabs(alpha * term);
            }
            assert_close(from + sum, fabs(from) + bound, y[i * n + j]);
        }
    }
}

static void test_gemm_random(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 7;
    (void)state;
    for (int i = 0; i < 400; i++) {
        int64_t m = make_int(&seed, 0, 3) ? make_int(&seed, 1, 40) : 1;
        int64_t n = make_int(&seed, 0, 3) ? make_int(&seed, 1, 150) : 1, k = make_int(&seed, 1, 300);
        bool ta = make_int(&seed, 0, 1), tb = make_int(&seed, 0, 1);
        float alpha = i % 2 ? 1.0f : make_float(&seed, -2, 2), beta = i % 2 ? 1.0f : make_float(&seed, -2, 2);
        const int64_t *a_dims = ta ? DIMS(k, m) : DIMS(m, k), *b_dims = tb ? DIMS(n, k) : DIMS(k, n);
        const int64_t *shapes[] = {SCALAR, DIMS(n), DIMS(1, n), DIMS(m, 1), DIMS(m, n), DIMS(1, 1), NULL};
        const int64_t *c_dims = shapes[make_int(&seed, 0, 6)];
        float *a = make_floats(&seed, (size_t)(m * k)), *b = make_floats(&seed, (size_t)(k * n));
        float *c = make_floats(&seed, (size_t)(m * n));
        qdbg_graph *graph = make_graph(ctx, 13);
        uint32_t node, values[3] = {make_input(graph, "a", a_dims), make_param(graph, "b", b_dims, b)};
        if (c_dims)
            values[2] = make_param(graph, "c", c_dims, c);
        uint32_t y = make_node(graph, "Gemm", "y", values, c_dims ? 3 : 2, &node);
        qdbg_graph_set_int(graph, node, "transA", ta);
        qdbg_graph_set_int(graph, node, "transB", tb);
        qdbg_graph_set_float(graph, node, "alpha", alpha);
        qdbg_graph_set_float(graph, node, "beta", beta);
        make_finish(graph, y);
        qdbg_view shape;
        float *result = make_run(graph, a_dims, a, &shape);
        double *start = calloc((size_t)(m * n), sizeof *start);
        for (int64_t e = 0; e < m * n && c_dims; e++) {
            int64_t count = (int64_t)dims_count(c_dims);
            int64_t at = count == 1 ? 0 : count == m * n ? e : c_dims[0] == m && c_dims[1] == 1 ? e / n : e % n;
            start[e] = (double)beta * (double)c[at];
        }
        check_product(m, n, k, a, ta ? 1 : k, ta ? m : 1, b, tb ? 1 : n, tb ? k : 1, (double)alpha,
                      start, result);
        free(start);
        free(result);
        free(a);
        free(b);
        free(c);
        qdbg_graph_destroy(graph);
    }
    qdbg_ctx_destroy(ctx);
}

/* One case of MatMul: both operands' shapes, and the batch positions that pair up. */
static void one_matmul(qdbg_ctx *ctx, uint64_t *seed, const int64_t *a_dims, const int64_t *b_dims,
                       const int64_t *y_dims, int64_t m, int64_t n, int64_t k, size_t batch,
                       const int *a_at, const int *b_at)
{
    qdbg_view shape;
    float *a = make_floats(seed, dims_count(a_dims)), *b = make_floats(seed, dims_count(b_dims));
    qdbg_graph *graph = make_graph(ctx, 13);
    uint32_t values[2] = {make_input(graph, "a", a_dims), make_param(graph, "b", b_dims, b)};
    make_finish(graph, make_node(graph, "MatMul", "y", values, 2, NULL));
    float *result = make_run(graph, a_dims, a, &shape);
    for (uint32_t i = 0; y_dims[i] >= 0; i++)
        assert_int_equal(shape.dims[i], y_dims[i]);
    assert_int_equal(qdbg_view_count(&shape), dims_count(y_dims));
    for (size_t i = 0; i < batch; i++)
        check_product(m, n, k, a + a_at[i] * m * k, k, 1, b + b_at[i] * k * n, n, 1, 1.0, NULL,
                      result + (int64_t)i * m * n);
    free(result);
    free(a);
    free(b);
    qdbg_graph_destroy(graph);
}

static void test_matmul(void **state)
{
    static const int id[] = {0, 1, 2, 3, 4, 5}, zero[6] = {0};
    static const int rows[] = {0, 0, 0, 1, 1, 1}, columns[] = {0, 1, 2, 0, 1, 2};
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t s = 8;
    (void)state;
    one_matmul(ctx, &s, DIMS(4, 5), DIMS(5, 6), DIMS(4, 6), 4, 6, 5, 1, id, id);
    one_matmul(ctx, &s, DIMS(5), DIMS(5, 6), DIMS(6), 1, 6, 5, 1, id, id);
    one_matmul(ctx, &s, DIMS(4, 5), DIMS(5), DIMS(4), 4, 1, 5, 1, id, id);
    one_matmul(ctx, &s, DIMS(5), DIMS(5), SCALAR, 1, 1, 5, 1, id, id);
    one_matmul(ctx, &s, DIMS(2, 3, 4, 5), DIMS(5, 6), DIMS(2, 3, 4, 6), 4, 6, 5, 6, id, zero);
    one_matmul(ctx, &s, DIMS(2, 3, 4, 5), DIMS(1, 1, 5, 6), DIMS(2, 3, 4, 6), 4, 6, 5, 6, id, zero);
    one_matmul(ctx, &s, DIMS(2, 3, 4, 5), DIMS(2, 3, 5, 6), DIMS(2, 3, 4, 6), 4, 6, 5, 6, id, id);
    one_matmul(ctx, &s, DIMS(2, 1, 4, 5), DIMS(3, 5, 6), DIMS(2, 3, 4, 6), 4, 6, 5, 6, rows, columns);
    one_matmul(ctx, &s, DIMS(4, 5), DIMS(2, 3, 5, 6), DIMS(2, 3, 4, 6), 4, 6, 5, 6, zero, id);
    one_matmul(ctx, &s, DIMS(3, 4, 5), DIMS(2, 1, 5, 6), DIMS(2, 3, 4, 6), 4, 6, 5, 6, columns, rows);
    one_matmul(ctx, &s, DIMS(5), DIMS(2, 3, 5, 6), DIMS(2, 3, 6), 1, 6, 5, 6, zero, id);
    one_matmul(ctx, &s, DIMS(2, 3, 4, 5), DIMS(5), DIMS(2, 3, 4), 4, 1, 5, 6, id, zero);
    one_matmul(ctx, &s, DIMS(64, 300), DIMS(300, 200), DIMS(64, 200), 64, 200, 300, 1, id, id);
    one_matmul(ctx, &s, DIMS(300, 1200), DIMS(1200, 100), DIMS(300, 100), 300, 100, 1200, 1, id, id);
    one_matmul(ctx, &s, DIMS(3, 0), DIMS(0, 2), DIMS(3, 2), 3, 2, 0, 1, id, id);
    one_matmul(ctx, &s, DIMS(3, 2), DIMS(2, 0), DIMS(3, 0), 3, 0, 2, 1, id, id);
    qdbg_ctx_destroy(ctx);
}

/* ---- BatchNormalization ---- */

static void test_batch_norm(void **state)
{
    static const int64_t shapes[][6] = {{2, 3, 4, 5, -1}, {4, 7, -1}, {1, 1, 9, -1},
                                        {2, 4, 3, 2, 2, -1}, {6, -1}};
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 9;
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        const int64_t *dims = shapes[i];
        int64_t n_channels = dims[1] < 0 ? 1 : dims[1];
        size_t n = dims_count(dims), area = n / (size_t)(dims[0] * n_channels);
        float *p[4], *x = make_floats(&seed, n);
        qdbg_graph *graph = make_graph(ctx, 15);
        uint32_t node, values[5] = {make_input(graph, "x", dims)};
        for (uint32_t j = 0; j < 4; j++) {
            static const char *const names[] = {"scale", "bias", "mean", "var"};
            p[j] = make_floats(&seed, (size_t)n_channels);
            for (int64_t c = 0; c < n_channels; c++)
                p[j][c] = j == 3 ? fabsf(p[j][c]) : p[j][c];
            values[j + 1] = make_param(graph, names[j], DIMS(n_channels), p[j]);
        }
        uint32_t y = make_node(graph, "BatchNormalization", "y", values, 5, &node);
        qdbg_graph_set_float(graph, node, "epsilon", 1e-3f);
        make_finish(graph, y);
        qdbg_view shape;
        float *result = make_run(graph, dims, x, &shape);
        for (size_t e = 0; e < n; e++) {
            size_t c = e / area % (size_t)n_channels;
            float s = p[0][c] / sqrtf(p[3][c] + 1e-3f), t = p[1][c] - p[2][c] * s;
            assert_true(result[e] == x[e] * s + t); /* in exactly this order */
        }
        for (int j = 0; j < 4; j++)
            free(p[j]);
        free(result);
        free(x);
        qdbg_graph_destroy(graph);
    }
    qdbg_ctx_destroy(ctx);
}

/* ---- refusals ---- */

typedef struct refusal {
    const char *op;
    const char *attribute;
    int64_t list[7];
    qdbg_status status;
} refusal;

#define HUGE_INT INT64_MAX
#define SMALL_INT INT64_MIN

static const refusal refusals[] = {
    {"Conv", "strides", {0, 1, -9}, QDBG_E_SHAPE},
    {"Conv", "strides", {HUGE_INT, 1, -9}, QDBG_E_SHAPE},
    {"Conv", "strides", {1, -9}, QDBG_E_SHAPE},
    {"Conv", "dilations", {HUGE_INT, HUGE_INT, -9}, QDBG_E_SHAPE},
    {"Conv", "dilations", {INT32_MAX, INT32_MAX, -9}, QDBG_E_SHAPE},
    {"Conv", "pads", {HUGE_INT, 0, 0, 0, -9}, QDBG_E_SHAPE},
    {"Conv", "pads", {SMALL_INT, 0, 0, 0, -9}, QDBG_E_SHAPE},
    {"Conv", "pads", {INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX, -9}, QDBG_E_SHAPE},
    {"Conv", "pads", {1, 1, -9}, QDBG_E_SHAPE},
    {"Conv", "pads", {1, 1, 1, 1, 1, 1, -9}, QDBG_E_SHAPE},
    {"Conv", "kernel_shape", {5, 5, -9}, QDBG_E_SHAPE},
    {"Conv", "group", {0, -9}, QDBG_E_SHAPE},
    {"Conv", "group", {3, -9}, QDBG_E_SHAPE},
    {"Conv", "group", {SMALL_INT, -9}, QDBG_E_SHAPE},
    {"ConvTranspose", "output_padding", {HUGE_INT, 0, -9}, QDBG_E_SHAPE},
    {"ConvTranspose", "output_shape", {0, 0, -9}, QDBG_E_SHAPE},
    {"ConvTranspose", "output_shape", {HUGE_INT, HUGE_INT, -9}, QDBG_E_SHAPE},
    {"ConvTranspose", "strides", {INT32_MAX, INT32_MAX, -9}, QDBG_E_SHAPE},
    {"ConvTranspose", "pads", {9, 9, 9, 9, -9}, QDBG_E_SHAPE},
    {"ConvTranspose", "group", {HUGE_INT, -9}, QDBG_E_SHAPE},
    {"MaxPool", "kernel_shape", {9, 9, -9}, QDBG_E_SHAPE},
    {"MaxPool", "kernel_shape", {0, 0, -9}, QDBG_E_SHAPE},
    {"MaxPool", "kernel_shape", {HUGE_INT, HUGE_INT, -9}, QDBG_E_SHAPE},
    {"MaxPool", "pads", {2, 2, 2, 2, -9}, QDBG_E_SHAPE},
    {"AveragePool", "strides", {1, 1, -9}, QDBG_E_INVALID}, /* no kernel_shape */
    {"GlobalAveragePool", NULL, {-9}, QDBG_OK},
    {"MatMul", NULL, {-9}, QDBG_E_SHAPE},
    {"Gemm", NULL, {-9}, QDBG_E_SHAPE},
};

static void set_list(qdbg_graph *g, uint32_t node, const char *name, const int64_t *list)
{
    uint32_t n = 0;
    while (list[n] != -9)
        n++;
    if (n == 1 && strcmp(name, "group") == 0)
        qdbg_graph_set_int(g, node, name, list[0]);
    else
        qdbg_graph_set_ints(g, node, name, list, n);
}

static qdbg_status finish_one(qdbg_ctx *ctx, const refusal *r, int32_t dtype)
{
    qdbg_graph *g = make_graph(ctx, 13);
    uint64_t seed = 1;
    uint32_t x, node, values[2];
    bool two = strstr(r->op, "Conv") || strstr(r->op, "Mat") || strstr(r->op, "Gemm");
    bool pool = strstr(r->op, "MaxPool") != NULL;
    assert_int_equal(qdbg_graph_add_value(g, "x", dtype, 4, DIMS(1, 4, 5, 5), &x), QDBG_OK);
    assert_int_equal(qdbg_graph_add_input(g, x), QDBG_OK);
    values[0] = x;
    values[1] = make_random(g, "w", DIMS(4, 4, 3, 3), &seed);
    uint32_t y = make_node(g, r->op, "culprit", values, two ? 2 : 1, &node);
    if (r->attribute)
        set_list(g, node, r->attribute, r->list);
    if (pool && (!r->attribute || strcmp(r->attribute, "kernel_shape") != 0))
        make_ints(g, node, "kernel_shape", DIMS(2, 2));
    assert_int_equal(qdbg_graph_add_output(g, y), QDBG_OK);
    qdbg_status status = qdbg_graph_finish(g);
    qdbg__exec *exec = NULL;
    qdbg_view in = make_view(DIMS(1, 4, 5, 5), NULL);
    in.dtype = dtype;
    if (status == QDBG_OK) /* what is merely unsupported is refused by the executor */
        status = qdbg__exec_create(g, &in, &exec);
    if (status != QDBG_OK) {
        qdbg_error_info info = QDBG_ERROR_INFO_INIT;
        assert_int_equal(qdbg_ctx_error(ctx, &info), QDBG_OK);
        assert_string_equal(info.node, "culprit");
        assert_non_null(strstr(info.message, r->op));
    }
    qdbg__exec_destroy(exec);
    qdbg_graph_destroy(g);
    return status;
}

static void test_refusals(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        qdbg_status status = finish_one(ctx, &refusals[i], QDBG_F32);
        if (status != refusals[i].status)
            fail_msg("case %zu (%s, %s): %s", i, refusals[i].op, refusals[i].attribute,
                     qdbg_status_name(status));
    }
    qdbg_ctx_destroy(ctx);
}

static void test_other_types(void **state)
{
    static const refusal plain[] = {{"GlobalMaxPool", NULL, {-9}, 0}, {"MaxPool", NULL, {-9}, 0},
                                    {"Conv", NULL, {-9}, 0}, {"MatMul", NULL, {-9}, 0}};
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(finish_one(ctx, &plain[i], QDBG_F64), QDBG_E_UNSUPPORTED);
        assert_non_null(strstr(qdbg_ctx_error_message(ctx), "float64"));
    }
    qdbg_ctx_destroy(ctx);
}

/* Tiny tensors with random attributes: an answer or an error, never a crash or a huge allocation. */
static void test_random_attributes(void **state)
{
    static const char *const ops[] = {"Conv", "ConvTranspose", "MaxPool", "AveragePool"};
    static const char *const names[] = {"strides", "dilations", "pads", "kernel_shape",
                                        "output_padding", "output_shape"};
    static const int64_t odd[] = {0, 1, 2, 3, 7, -1, 1000, INT32_MAX, INT64_MAX, 1 << 20};
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx = NULL;
    uint64_t seed = 11;
    (void)state;
    options.threads = 1;
    options.memory_limit = 64 << 20;
    assert_int_equal(qdbg_ctx_create(&options, &ctx), QDBG_OK);
    uint64_t held, before;
    assert_int_equal(qdbg_ctx_memory(ctx, &before, NULL), QDBG_OK);
    for (int i = 0; i < 3000; i++) {
        qdbg_graph *g = make_graph(ctx, 13);
        uint32_t node, values[2] = {make_input(g, "x", DIMS(1, 2, 4, 4))};
        values[1] = make_random(g, "w", DIMS(2, 2, 2, 2), &seed);
        uint32_t y = make_node(g, ops[i % 4], "y", values, i % 4 < 2 ? 2 : 1, &node);
        for (int a = 0; a < 6; a++) {
            int64_t list[4];
            for (int j = 0; j < 4; j++)
                list[j] = odd[make_int(&seed, 0, make_int(&seed, 0, 1) ? 3 : 9)];
            if (make_int(&seed, 0, 1))
                qdbg_graph_set_ints(g, node, names[a], list, a == 2 ? 4 : 2);
        }
        assert_int_equal(qdbg_graph_add_output(g, y), QDBG_OK);
        float x[32] = {0};
        qdbg_view in = make_view(DIMS(1, 2, 4, 4), x);
        qdbg__exec *exec = NULL;
        qdbg__variant base = {0};
        qdbg__exec_job job = {.inputs = &in, .n_runs = 1, .variants = &base, .n_variants = 1};
        if (qdbg_graph_finish(g) == QDBG_OK && qdbg__exec_create(g, &in, &exec) == QDBG_OK)
            (void)qdbg__exec_run(exec, &job);
        qdbg__exec_destroy(exec);
        qdbg_graph_destroy(g);
    }
    assert_int_equal(qdbg_ctx_memory(ctx, &held, NULL), QDBG_OK);
    assert_int_equal(held, before);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_random),
        cmocka_unit_test(test_conv_tiles),
        cmocka_unit_test(test_conv_auto_pad),
        cmocka_unit_test(test_conv_transpose_random),
        cmocka_unit_test(test_pool_random),
        cmocka_unit_test(test_pool_global),
        cmocka_unit_test(test_max_pool_nan),
        cmocka_unit_test(test_gemm_random),
        cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_batch_norm),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_other_types),
        cmocka_unit_test(test_random_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
