/* Conv and ConvTranspose against plain loops in double precision, over random shapes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "windows.h"

typedef struct channels {
    int64_t batch, groups, in, out; /* in and out of a group */
} channels;

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
    static const geometry plane = {2,      {150, 140}, {3, 3}, {1, 1},
                                   {1, 1}, {1, 1},     {1, 1}, {150, 140}};
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
        float *x = make_floats(&seed, dims_count(x_dims)),
              *w = make_floats(&seed, dims_count(w_dims));
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
        float *x = make_floats(&seed, dims_count(x_dims)),
              *w = make_floats(&seed, dims_count(w_dims));
        float *bias = make_floats(&seed, (size_t)(c.groups * c.out));
        uint32_t node,
            values[3] = {make_input(graph, "x", x_dims), make_param(graph, "w", w_dims, w),
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_random),
        cmocka_unit_test(test_conv_tiles),
        cmocka_unit_test(test_conv_auto_pad),
        cmocka_unit_test(test_conv_transpose_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
