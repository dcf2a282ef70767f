/* Operators over windows and matrices refuse what cannot be, and never crash on it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"

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
    static const refusal plain[] = {{"GlobalMaxPool", NULL, {-9}, 0},
                                    {"MaxPool", NULL, {-9}, 0},
                                    {"Conv", NULL, {-9}, 0},
                                    {"MatMul", NULL, {-9}, 0}};
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(finish_one(ctx, &plain[i], QDBG_F64), QDBG_E_UNSUPPORTED);
        assert_non_null(strstr(qdbg_ctx_error_message(ctx), "float64"));
    }
    qdbg_ctx_destroy(ctx);
}

/* A small output under windows that span half a gigabyte of padding. */
static void test_windows_too_large(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    uint64_t seed = 1;
    uint32_t node, x = make_input(g, "x", DIMS(1, 1, 1, 5));
    uint32_t w = make_random(g, "w", DIMS(1, 1, 1, 3), &seed);
    qdbg_view in = make_view(DIMS(1, 1, 1, 5), NULL);
    qdbg__exec *exec = NULL;
    (void)state;
    uint32_t y = make_node(g, "Conv", "wide", VALUES(x, w), &node);
    make_ints(g, node, "dilations", DIMS(1, 1 << 27));
    make_ints(g, node, "strides", DIMS(1, 1 << 27));
    make_ints(g, node, "pads", DIMS(0, 1 << 28, 0, 1 << 28));
    make_finish(g, y);
    assert_int_equal(qdbg__exec_create(g, &in, &exec), QDBG_E_UNSUPPORTED);
    assert_non_null(strstr(qdbg_ctx_error_message(ctx), "Conv 'wide'"));
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* Tiny tensors with random attributes: an answer or an error, never a crash or a huge allocation.
 */
static void test_random_attributes(void **state)
{
    static const char *const ops[] = {"Conv", "ConvTranspose", "MaxPool", "AveragePool"};
    static const char *const names[] = {"strides",      "dilations",      "pads",
                                        "kernel_shape", "output_padding", "output_shape"};
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
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_other_types),
        cmocka_unit_test(test_windows_too_large),
        cmocka_unit_test(test_random_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
