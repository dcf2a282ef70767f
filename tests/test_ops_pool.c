/* The pools and BatchNormalization against plain loops, over random shapes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "windows.h"

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
        make_finish(graph, make_node(graph, max ? "GlobalMaxPool" : "GlobalAveragePool", "y", &in,
                                     1, NULL));
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

/* ---- BatchNormalization ---- */

static void test_batch_norm(void **state)
{
    static const int64_t shapes[][6] = {
        {2, 3, 4, 5, -1}, {4, 7, -1}, {1, 1, 9, -1}, {2, 4, 3, 2, 2, -1}, {6, -1}};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_random),
        cmocka_unit_test(test_pool_global),
        cmocka_unit_test(test_max_pool_nan),
        cmocka_unit_test(test_batch_norm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
