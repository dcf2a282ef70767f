/* Models that the library runs, and what both kinds share (model.h); hosts are in
 * test_model_host.c, data and scores in test_score.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

static void init_functions_do_what_the_macros_do(void **state)
{
    qdbg_host h, want_h = QDBG_HOST_INIT;
    qdbg_dataset d, want_d = QDBG_DATASET_INIT;
    qdbg_metric m, want_m = QDBG_METRIC_INIT;
    (void)state;
    memset(&h, 0xff, sizeof h);
    memset(&d, 0xff, sizeof d);
    memset(&m, 0xff, sizeof m);
    qdbg_host_init(&h);
    qdbg_dataset_init(&d);
    qdbg_metric_init(&m);
    assert_memory_equal(&h, &want_h, sizeof h);
    assert_memory_equal(&d, &want_d, sizeof d);
    assert_memory_equal(&m, &want_m, sizeof m);
    assert_true(h.struct_size == sizeof h && d.struct_size == sizeof d &&
                m.struct_size == sizeof m);
    qdbg_host_init(NULL);
    qdbg_dataset_init(NULL);
    qdbg_metric_init(NULL);
}

/* ---- create ---- */

static void bad_graphs_make_no_model(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    qdbg_model *m = NULL;
    (void)state;
    assert_int_equal(qdbg_model_create(NULL, &m), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_model_create(g, &m), QDBG_E_STATE, "not finished");
    uint32_t x = make_input(g, "x", DIMS(1, 4));
    uint32_t a = make_node(g, "FooBar", "a", &x, 1, NULL);
    uint32_t b = make_node(g, "Relu", "b", &a, 1, NULL);
    make_finish(g, make_node(g, "Quux", "c", &b, 1, NULL));
    assert_fails(ctx, qdbg_model_create(g, NULL), QDBG_E_INVALID, "out");
    assert_fails(ctx, qdbg_model_create(g, &m), QDBG_E_UNSUPPORTED, "FooBar");
    assert_non_null(strstr(qdbg_ctx_error_message(ctx), "Quux")); /* all at once */
    assert_null(m);
    qdbg_graph_destroy(g);
    qdbg_model_destroy(NULL);
    assert_null(qdbg_model_graph(NULL));
    qdbg_ctx_destroy(ctx);
}

/* An unknown operator is refused although the input's shape is not known yet. */
static void unknown_operators_are_refused_before_shapes_are_known(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    qdbg_model *m = NULL;
    uint32_t x;
    (void)state;
    assert_ok(qdbg_graph_add_value(g, "x", QDBG_F32, QDBG_RANK_UNKNOWN, NULL, &x));
    assert_ok(qdbg_graph_add_input(g, x));
    make_finish(g, make_node(g, "FooBar", "a", &x, 1, NULL));
    assert_fails(ctx, qdbg_model_create(g, &m), QDBG_E_UNSUPPORTED, "FooBar");
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- parameters ---- */

static void parameters_are_the_models_own(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = net_of_gemms(ctx, false);
    qdbg_model *a = builtin_model(g), *b = builtin_model(g);
    uint32_t bias = value_of(g, "b2");
    qdbg_view graphs_own = QDBG_VIEW_INIT;
    float was[3], now[3] = {5, 6, 7}, got[3];
    (void)state;
    assert_ptr_equal(qdbg_model_graph(a), g);
    assert_ok(qdbg_model_get_parameter(a, bias, was, 3));
    assert_ok(qdbg_graph_parameter(g, bias, &graphs_own));
    assert_memory_equal(was, graphs_own.data, sizeof was);
    for (int i = 0; i < 2; i++) { /* the second time into the memory that the first one made */
        assert_ok(qdbg_model_set_parameter(a, bias, now, 3));
        assert_ok(qdbg_model_get_parameter(a, bias, got, 3));
        assert_memory_equal(got, now, sizeof now);
        now[0] += 1;
    }
    assert_memory_equal(was, graphs_own.data, sizeof was);
    assert_ok(qdbg_model_get_parameter(b, bias, got, 3));
    assert_memory_equal(got, was, sizeof was);
    qdbg_model_destroy(b);
    qdbg_model_destroy(a);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void bad_parameter_calls_are_refused(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    qdbg_view ints = QDBG_VIEW_INIT;
    static const float one = 1;
    static const int64_t shape[] = {1, 4};
    const int64_t two = 2;
    float data[4] = {9, 9, 9, 9};
    uint32_t s;
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 4)), w = make_param(g, "w", DIMS(1), &one);
    assert_ok(qdbg_view_init(&ints, QDBG_I64, 1, &two, (void *)(uintptr_t)shape));
    assert_ok(qdbg_graph_add_parameter(g, "s", &ints, &s));
    uint32_t y = make_node(g, "Mul", "y", VALUES(x, w), NULL);
    make_finish(g, make_node(g, "Reshape", "z", VALUES(y, s), NULL));
    qdbg_model *m = builtin_model(g);
    assert_int_equal(qdbg_model_get_parameter(NULL, w, data, 1), QDBG_E_INVALID);
    assert_int_equal(qdbg_model_set_parameter(NULL, w, data, 1), QDBG_E_INVALID);
    for (int set = 0; set < 2; set++) {
#define CALL(v, p, n) \
    (set ? qdbg_model_set_parameter(m, v, p, n) : qdbg_model_get_parameter(m, v, p, n))
        assert_fails(ctx, CALL(x, data, 4), QDBG_E_INVALID, "not a parameter");
        assert_fails(ctx, CALL(1000, data, 4), QDBG_E_INVALID, "1000");
        assert_fails(ctx, CALL(w, NULL, 1), QDBG_E_INVALID, "'w'");
        assert_fails(ctx, CALL(w, data, 2), QDBG_E_INVALID, "'w'");
        assert_fails(ctx, CALL(s, data, 2), QDBG_E_TYPE, "'s' is int64");
        assert_string_equal(error_of(ctx).value, "s");
#undef CALL
    }
    assert_true(data[0] == 9);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- run ---- */

static qdbg_view run_one(qdbg_model *m, const qdbg_view *x)
{
    qdbg_view y = QDBG_VIEW_INIT;
    assert_ok(qdbg_model_run(m, x, 1, &y, 1));
    y.data = malloc((size_t)qdbg_view_count(&y) * sizeof(float));
    assert_non_null(y.data);
    assert_ok(qdbg_model_run(m, x, 1, &y, 1));
    return y;
}

/* y = relu(x w1 + b1) w2 + b2, by hand. */
static void gemms_by_hand(const qdbg_graph *g, const float *x, float *y)
{
    qdbg_view w1 = QDBG_VIEW_INIT, b1 = w1, w2 = w1, b2 = w1;
    assert_ok(qdbg_graph_parameter(g, value_of(g, "w1"), &w1));
    assert_ok(qdbg_graph_parameter(g, value_of(g, "b1"), &b1));
    assert_ok(qdbg_graph_parameter(g, value_of(g, "w2"), &w2));
    assert_ok(qdbg_graph_parameter(g, value_of(g, "b2"), &b2));
    float h[6];
    for (int i = 0; i < 6; i++) {
        h[i] = ((float *)b1.data)[i];
        for (int k = 0; k < 4; k++)
            h[i] += x[k] * ((float *)w1.data)[k * 6 + i];
        h[i] = h[i] > 0 ? h[i] : 0;
    }
    for (int i = 0; i < 3; i++) {
        y[i] = ((float *)b2.data)[i];
        for (int k = 0; k < 6; k++)
            y[i] += h[k] * ((float *)w2.data)[k * 3 + i];
    }
}

static void run_computes_every_sample_of_a_batch(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    (void)state;
    for (int symbolic = 0; symbolic < 2; symbolic++) {
        qdbg_graph *g = net_of_gemms(ctx, symbolic);
        qdbg_model *m = builtin_model(g);
        for (uint64_t n = 1; n <= 9; n += 4) {
            samples s = samples_make(ctx, g, n, 1, 0);
            qdbg_view x = samples_view(g, &s), y = run_one(m, &x);
            assert_int_equal(y.rank, 2);
            assert_int_equal(y.dims[0], n);
            assert_int_equal(y.dims[1], 3);
            for (uint64_t i = 0; i < n; i++) {
                float want[3];
                gemms_by_hand(g, s.x + i * 4, want);
                assert_memory_equal((float *)y.data + i * 3, want, sizeof want);
            }
            free(y.data);
            samples_free(&s);
        }
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

static void set_parameter_changes_the_result(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = net_of_gemms(ctx, false);
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 1, 1, 0);
    qdbg_view x = samples_view(g, &s), before = run_one(m, &x);
    float bias[3];
    (void)state;
    assert_ok(qdbg_model_get_parameter(m, value_of(g, "b2"), bias, 3));
    for (int i = 0; i < 3; i++)
        bias[i] += (float)(i + 1);
    assert_ok(qdbg_model_set_parameter(m, value_of(g, "b2"), bias, 3));
    qdbg_view after = run_one(m, &x);
    for (int i = 0; i < 3; i++)
        assert_true(((float *)after.data)[i] == ((float *)before.data)[i] + (float)(i + 1));
    free(after.data);
    free(before.data);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* y = x + p expanded to x's shape: folded with the shape, but p is a parameter all the same. */
static void parameters_beside_shape_arithmetic_can_be_set(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    static const float one[] = {1}, three[] = {3}, in[] = {10, 20, 30, 40, 50, 60};
    uint32_t x = make_input(g, "x", DIMS(1, 3)), p = make_param(g, "p", DIMS(1), one);
    uint32_t s = make_node(g, "Shape", "s", &x, 1, NULL);
    uint32_t e = make_node(g, "Expand", "e", VALUES(p, s), NULL);
    make_finish(g, make_node(g, "Add", "y", VALUES(x, e), NULL));
    qdbg_model *m = builtin_model(g), *untouched = builtin_model(g);
    qdbg_view a = make_view(DIMS(2, 3), in), before = run_one(m, &a);
    (void)state;
    assert_ok(qdbg_model_set_parameter(m, p, three, 1));
    qdbg_view after = run_one(m, &a), other = run_one(untouched, &a);
    for (int i = 0; i < 6; i++) {
        assert_true(((float *)before.data)[i] == in[i] + 1);
        assert_true(((float *)after.data)[i] == in[i] + 3);
        assert_true(((float *)other.data)[i] == in[i] + 1);
    }
    free(before.data);
    free(after.data);
    free(other.data);
    qdbg_model_destroy(untouched);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* Resize's scales are a parameter that shapes are worked out from. */
static void scales_can_be_set(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    static const float twice[] = {1, 1, 2, 2}, thrice[] = {1, 1, 3, 3}, bad[] = {1, 1, -1, 3};
    float in[4] = {1, 2, 3, 4};
    uint32_t x = make_input(g, "x", DIMS(1, 1, 2, 2));
    uint32_t p = make_param(g, "p", DIMS(4), twice), list[] = {x, QDBG_NONE, p};
    make_finish(g, make_node(g, "Resize", "y", list, 3, NULL));
    qdbg_model *m = builtin_model(g);
    qdbg_view a = make_view(DIMS(1, 1, 2, 2), in), y = QDBG_VIEW_INIT;
    (void)state;
    assert_ok(qdbg_model_run(m, &a, 1, &y, 1));
    assert_int_equal(y.dims[3], 4);
    assert_ok(qdbg_model_set_parameter(m, p, bad, 4));
    assert_fails(ctx, qdbg_model_run(m, &a, 1, &y, 1), QDBG_E_INVALID, "Resize 'y'");
    assert_ok(qdbg_model_set_parameter(m, p, thrice, 4));
    assert_ok(qdbg_model_run(m, &a, 1, &y, 1));
    assert_int_equal(y.dims[3], 6);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void bad_runs_are_refused(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = net_of_gemms(ctx, false);
    qdbg_model *m = builtin_model(g);
    float in[8] = {0}, out[6] = {7};
    const qdbg_view good_x = make_view(DIMS(2, 4), in), good_y = make_view(DIMS(2, 3), out);
    qdbg_view x = good_x, y = good_y;
    (void)state;
    assert_int_equal(qdbg_model_run(NULL, &x, 1, &y, 1), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_model_run(m, &x, 2, &y, 1), QDBG_E_INVALID, "2 inputs");
    assert_fails(ctx, qdbg_model_run(m, NULL, 1, &y, 1), QDBG_E_INVALID, "inputs");
    assert_fails(ctx, qdbg_model_run(m, &x, 1, &y, 0), QDBG_E_INVALID, "0 outputs");
    assert_fails(ctx, qdbg_model_run(m, &x, 1, NULL, 1), QDBG_E_INVALID, "outputs");
    x.dtype = QDBG_I32;
    assert_fails(ctx, qdbg_model_run(m, &x, 1, &y, 1), QDBG_E_TYPE, "'x' is int32");
    x = make_view(DIMS(2, 2, 2), in);
    assert_fails(ctx, qdbg_model_run(m, &x, 1, &y, 1), QDBG_E_SHAPE, "'x' is [2,2,2]");
    assert_string_equal(error_of(ctx).value, "x");
    x = make_view(DIMS(1, 5), in);
    assert_fails(ctx, qdbg_model_run(m, &x, 1, &y, 1), QDBG_E_SHAPE, "[1,5]");
    x = make_view(DIMS(0, 4), in);
    assert_fails(ctx, qdbg_model_run(m, &x, 1, &y, 1), QDBG_E_SHAPE, "[0,4]");
    x = make_view(SCALAR, in);
    assert_fails(ctx, qdbg_model_run(m, &x, 1, &y, 1), QDBG_E_SHAPE, "[]");
    x = good_x;
    x.data = NULL;
    assert_fails(ctx, qdbg_model_run(m, &x, 1, &y, 1), QDBG_E_INVALID, "NULL");
    x = good_x;
    x.struct_size = 1;
    assert_fails(ctx, qdbg_model_run(m, &x, 1, &y, 1), QDBG_E_INVALID, "struct_size");
    y.dtype = QDBG_I32;
    assert_fails(ctx, qdbg_model_run(m, &good_x, 1, &y, 1), QDBG_E_TYPE, "'y' is given as int32");
    y = make_view(DIMS(3, 2), out);
    assert_fails(ctx, qdbg_model_run(m, &good_x, 1, &y, 1), QDBG_E_SHAPE, "'y' is given as [3,2]");
    y = good_y;
    y.struct_size = 1;
    assert_fails(ctx, qdbg_model_run(m, &good_x, 1, &y, 1), QDBG_E_INVALID, "struct_size");
    y.data = NULL; /* asking for shapes */
    assert_fails(ctx, qdbg_model_run(m, &good_x, 1, &y, 1), QDBG_E_INVALID, "'y': struct_size");
    assert_int_equal(y.struct_size, 1);
    assert_true(out[0] == 7);
    y = good_y;
    qdbg_cancel(ctx);
    assert_fails(ctx, qdbg_model_run(m, &good_x, 1, &y, 1), QDBG_E_CANCELLED, "cancel");
    assert_ok(qdbg_model_run(m, &good_x, 1, &y, 1));
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* x [1,4] -> r = relu(x), s = sum of all (a scalar), i = argmax (int64); x is an output too. */
static qdbg_graph *net_of_many_outputs(qdbg_ctx *ctx)
{
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 4)), node;
    uint32_t r = make_node(g, "Relu", "r", &x, 1, NULL);
    uint32_t i = make_node(g, "ArgMax", "i", &x, 1, &node);
    assert_ok(qdbg_graph_set_int(g, node, "axis", 1));
    assert_ok(qdbg_graph_add_output(g, i));
    assert_ok(qdbg_graph_add_output(g, x));
    make_finish(g, r);
    return g;
}

static void all_outputs_come_and_a_missing_buffer_asks_for_shapes(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_graph *g = net_of_many_outputs(ctx);
    qdbg_model *m = builtin_model(g);
    const float in[] = {1, -2, 3, 0, -1, -5, -2, -3};
    const float relu[] = {1, 0, 3, 0, 0, 0, 0, 0};
    const int64_t top[] = {2, 0};
    float x_out[8] = {0}, r_out[8] = {0};
    int64_t i_out[2] = {0};
    qdbg_view x = make_view(DIMS(2, 4), in),
              out[3] = {QDBG_VIEW_INIT, QDBG_VIEW_INIT, QDBG_VIEW_INIT};
    (void)state;
    out[2].data = r_out; /* one buffer is not enough: nothing is computed */
    assert_ok(qdbg_model_run(m, &x, 1, out, 3));
    assert_int_equal(out[0].dtype, QDBG_I64);
    assert_int_equal(out[0].rank, 2);
    assert_int_equal(out[0].dims[0], 2);
    assert_int_equal(out[0].dims[1], 1);
    assert_null(out[0].data);
    assert_int_equal(out[1].dims[1], 4);
    assert_ptr_equal(out[2].data, r_out);
    for (int k = 0; k < 8; k++)
        assert_true(r_out[k] == 0);
    out[0].data = i_out;
    out[1].data = x_out;
    assert_ok(qdbg_model_run(m, &x, 1, out, 3));
    assert_memory_equal(i_out, top, sizeof top);
    assert_memory_equal(x_out, in, sizeof in);
    assert_memory_equal(r_out, relu, sizeof relu);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- shapes ---- */

/* Softmax over the batch axis: each block of `batch` samples is one run. */
static void fixed_batch_runs_block_by_block(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t node;
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(2, 1));
    uint32_t y = make_node(g, "Softmax", "y", &x, 1, &node);
    assert_ok(qdbg_graph_set_int(g, node, "axis", 0));
    make_finish(g, y);
    qdbg_model *m = builtin_model(g);
    const float in[] = {1, 1, 100, 0, 0, 100};
    const float want[] = {0.5f, 0.5f, 1, 0, 0, 1};
    qdbg_view v = make_view(DIMS(6, 1), in), out = run_one(m, &v);
    assert_int_equal(out.dims[0], 6);
    for (int i = 0; i < 6; i++)
        assert_true(fabsf(((float *)out.data)[i] - want[i]) < 1e-6f);
    free(out.data);
    v.dims[0] = 5;
    out = (qdbg_view)QDBG_VIEW_INIT;
    assert_fails(ctx, qdbg_model_run(m, &v, 1, &out, 1), QDBG_E_SHAPE, "[5,1]");
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void scalar_input_is_shared_by_all_samples(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_graph *g = make_graph(ctx, 13);
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 1)), k = make_input(g, "k", SCALAR);
    make_finish(g, make_node(g, "Mul", "y", VALUES(x, k), NULL));
    qdbg_model *m = builtin_model(g);
    const float in[] = {1, 2, 3, 4, 5}, factor = 10;
    float out[5];
    qdbg_view inputs[] = {make_view(DIMS(5, 1), in), make_view(SCALAR, &factor)};
    qdbg_view y = make_view(DIMS(5, 1), out);
    assert_ok(qdbg_model_run(m, inputs, 2, &y, 1));
    for (int i = 0; i < 5; i++)
        assert_true(out[i] == 10 * in[i]);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void inputs_must_hold_as_many_samples(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    (void)state;
    uint32_t a = make_input(g, "a", DIMS(1, 2)), b = make_input(g, "b", DIMS(1, 2));
    make_finish(g, make_node(g, "Add", "y", VALUES(a, b), NULL));
    qdbg_model *m = builtin_model(g);
    float data[8] = {0};
    qdbg_view in[] = {make_view(DIMS(4, 2), data), make_view(DIMS(2, 2), data)};
    qdbg_view y = QDBG_VIEW_INIT;
    assert_fails(ctx, qdbg_model_run(m, in, 2, &y, 1), QDBG_E_SHAPE, "'b' holds 2 samples");
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void scalar_output_holds_one_run_only(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_graph *g = make_graph(ctx, 11);
    uint32_t node;
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 4));
    uint32_t y = make_node(g, "ReduceSum", "y", &x, 1, &node);
    assert_ok(qdbg_graph_set_int(g, node, "keepdims", 0));
    make_finish(g, y);
    qdbg_model *m = builtin_model(g);
    const float in[] = {1, 2, 3, 4, 5, 6, 7, 8};
    float *out = malloc(sizeof *out); /* one float: more would be written beside it */
    assert_non_null(out);
    qdbg_view v = make_view(DIMS(1, 4), in), scalar = make_view(SCALAR, out);
    assert_ok(qdbg_model_run(m, &v, 1, &scalar, 1));
    assert_true(*out == 10);
    v.dims[0] = 2;
    assert_fails(ctx, qdbg_model_run(m, &v, 1, &scalar, 1), QDBG_E_SHAPE, "scalar");
    free(out);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* A symbolic dimension beside the batch: shapes may change from call to call. */
static void shapes_may_change_between_calls(void **state)
{
    const int64_t dims[] = {QDBG_DIM_UNKNOWN, QDBG_DIM_UNKNOWN};
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x;
    (void)state;
    assert_ok(qdbg_graph_add_value(g, "x", QDBG_F32, 2, dims, &x));
    assert_ok(qdbg_graph_add_input(g, x));
    make_finish(g, make_node(g, "Relu", "y", &x, 1, NULL));
    qdbg_model *m = builtin_model(g);
    const float in[] = {-1, 2, -3, 4, -5, 6};
    for (int64_t width = 1; width <= 3; width++) {
        qdbg_view v = make_view(DIMS(2, width), in), y = run_one(m, &v);
        assert_int_equal(y.dims[0], 2);
        assert_int_equal(y.dims[1], width);
        for (int64_t i = 0; i < 2 * width; i++)
            assert_true(((float *)y.data)[i] == (in[i] > 0 ? in[i] : 0));
        free(y.data);
    }
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_functions_do_what_the_macros_do),
        cmocka_unit_test(bad_graphs_make_no_model),
        cmocka_unit_test(unknown_operators_are_refused_before_shapes_are_known),
        cmocka_unit_test(parameters_are_the_models_own),
        cmocka_unit_test(bad_parameter_calls_are_refused),
        cmocka_unit_test(run_computes_every_sample_of_a_batch),
        cmocka_unit_test(set_parameter_changes_the_result),
        cmocka_unit_test(parameters_beside_shape_arithmetic_can_be_set),
        cmocka_unit_test(scales_can_be_set),
        cmocka_unit_test(bad_runs_are_refused),
        cmocka_unit_test(all_outputs_come_and_a_missing_buffer_asks_for_shapes),
        cmocka_unit_test(fixed_batch_runs_block_by_block),
        cmocka_unit_test(scalar_input_is_shared_by_all_samples),
        cmocka_unit_test(inputs_must_hold_as_many_samples),
        cmocka_unit_test(scalar_output_holds_one_run_only),
        cmocka_unit_test(shapes_may_change_between_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
