/* Gemm and MatMul against plain loops in double precision, over random shapes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "windows.h"

static void check_product(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                          int64_t a_column, const float *b, int64_t b_row, int64_t b_column,
                          double alpha, const double *start, const float *y)
{
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0.0, bound = 0.0, from = start ? start[i * n + j] : 0.0;
            for (int64_t l = 0; l < k; l++) {
                double term =
                    (double)a[i * a_row + l * a_column] * (double)b[l * b_row + j * b_column];
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
        int64_t n = make_int(&seed, 0, 3) ? make_int(&seed, 1, 150) : 1,
                k = make_int(&seed, 1, 300);
        bool ta = make_int(&seed, 0, 1), tb = make_int(&seed, 0, 1);
        float alpha = i % 2 ? 1.0f : make_float(&seed, -2, 2),
              beta = i % 2 ? 1.0f : make_float(&seed, -2, 2);
        const int64_t *a_dims = ta ? DIMS(k, m) : DIMS(m, k),
                      *b_dims = tb ? DIMS(n, k) : DIMS(k, n);
        const int64_t *shapes[] = {SCALAR,     DIMS(n),    DIMS(1, n), DIMS(m, 1),
                                   DIMS(m, n), DIMS(1, 1), NULL};
        const int64_t *c_dims = shapes[make_int(&seed, 0, 6)];
        float *a = make_floats(&seed, (size_t)(m * k)), *b = make_floats(&seed, (size_t)(k * n));
        float *c = make_floats(&seed, (size_t)(m * n));
        qdbg_graph *graph = make_graph(ctx, 13);
        uint32_t node,
            values[3] = {make_input(graph, "a", a_dims), make_param(graph, "b", b_dims, b)};
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
            int64_t at = count == 1                         ? 0
                         : count == m * n                   ? e
                         : c_dims[0] == m && c_dims[1] == 1 ? e / n
                                                            : e % n;
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
    one_matmul(ctx, &s, DIMS(2, 1, 4, 5), DIMS(3, 5, 6), DIMS(2, 3, 4, 6), 4, 6, 5, 6, rows,
               columns);
    one_matmul(ctx, &s, DIMS(4, 5), DIMS(2, 3, 5, 6), DIMS(2, 3, 4, 6), 4, 6, 5, 6, zero, id);
    one_matmul(ctx, &s, DIMS(3, 4, 5), DIMS(2, 1, 5, 6), DIMS(2, 3, 4, 6), 4, 6, 5, 6, columns,
               rows);
    one_matmul(ctx, &s, DIMS(5), DIMS(2, 3, 5, 6), DIMS(2, 3, 6), 1, 6, 5, 6, zero, id);
    one_matmul(ctx, &s, DIMS(2, 3, 4, 5), DIMS(5), DIMS(2, 3, 4), 4, 1, 5, 6, id, zero);
    one_matmul(ctx, &s, DIMS(64, 300), DIMS(300, 200), DIMS(64, 200), 64, 200, 300, 1, id, id);
    one_matmul(ctx, &s, DIMS(300, 1200), DIMS(1200, 100), DIMS(300, 100), 300, 100, 1200, 1, id,
               id);
    one_matmul(ctx, &s, DIMS(3, 0), DIMS(0, 2), DIMS(3, 2), 3, 2, 0, 1, id, id);
    one_matmul(ctx, &s, DIMS(3, 2), DIMS(2, 0), DIMS(3, 0), 3, 0, 2, 1, id, id);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm_random),
        cmocka_unit_test(test_matmul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
