/* Cross-layer equalization (equalize.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "mend_make.h"

/* ---- networks: x [1,4,8,8] -> Conv "c" -> something -> Conv "d" ---- */

enum {
    RELU,
    LEAKY,
    PRELU,
    NOTHING,
    CLIP,
    CLIP_OPEN,
    MAXPOOL,
    AVGPOOL,
    PAD,
    GROUPS,
    DEPTHWISE,
    TRANSPOSED,
    RESIDUAL,
    NORM,
    GEMM,
    FLAT,
    ADD,
    N_NETS
};

static uint32_t conv(qdbg_graph *g, const char *name, uint32_t x, const int64_t *dims,
                     int64_t group, uint64_t *seed)
{
    char text[32];
    uint32_t in[3] = {x}, node;
    bool turned = name[0] == 't';
    snprintf(text, sizeof text, "%s.w", name);
    float *data = make_floats(seed, dims_count(dims));
    size_t row = dims_count(dims) / (size_t)dims[0];
    for (size_t i = 0; i < dims_count(dims); i++) /* rows of very different size */
        data[i] *= powf(3, (float)(i / row % 5) - 2);
    in[1] = make_param(g, text, dims, data);
    free(data);
    snprintf(text, sizeof text, "%s.b", name);
    in[2] = make_random(g, text, DIMS(turned ? dims[1] * group : dims[0]), seed);
    uint32_t y = make_node(g, turned ? "ConvTranspose" : "Conv", name, in, 3, &node);
    assert_ok(qdbg_graph_set_int(g, node, "group", group));
    if (dims[2] == 3)
        make_ints(g, node, "pads", DIMS(1, 1, 1, 1));
    return y;
}

static uint32_t middle(qdbg_graph *g, int what, uint32_t c, uint64_t *seed)
{
    float low = 0, high = 3;
    uint32_t node, y, in[3] = {c, QDBG_NONE, QDBG_NONE};
    switch (what) {
    case LEAKY:
        return make_node(g, "LeakyRelu", "r", &c, 1, NULL);
    case PRELU:
        in[1] = make_random(g, "slope", DIMS(6, 1, 1), seed);
        return make_node(g, "PRelu", "r", in, 2, NULL);
    case NOTHING:
        return make_node(g, "Identity", "r", &c, 1, NULL);
    case CLIP:
    case CLIP_OPEN:
        in[1] = make_param(g, "low", SCALAR, &low);
        if (what == CLIP)
            in[2] = make_param(g, "high", SCALAR, &high);
        return make_node(g, "Clip", "r", in, 3, NULL);
    case MAXPOOL:
    case AVGPOOL:
        y = make_node(g, what == MAXPOOL ? "MaxPool" : "AveragePool", "p", &c, 1, &node);
        make_ints(g, node, "kernel_shape", DIMS(2, 2));
        make_ints(g, node, "pads", DIMS(1, 1, 0, 0));
        return make_node(g, "Relu", "r", &y, 1, NULL);
    case FLAT:
        y = make_node(g, "Relu", "r", &c, 1, NULL);
        return make_node(g, "Flatten", "f", &y, 1, NULL);
    case GEMM:
        y = make_node(g, "Relu", "r", &c, 1, NULL);
        y = make_node(g, "GlobalAveragePool", "p", &y, 1, NULL);
        return make_node(g, "Flatten", "f", &y, 1, NULL);
    default:
        return make_node(g, "Relu", "r", &c, 1, NULL);
    }
}

static uint32_t padded(qdbg_graph *g, uint32_t r)
{
    static const int64_t pads[] = {0, 0, 1, 1, 0, 0, 1, 1};
    qdbg_view v = QDBG_VIEW_INIT;
    uint32_t in[2] = {r};
    assert_ok(qdbg_view_init(&v, QDBG_I64, 1, DIMS(8), (void *)(uintptr_t)pads));
    assert_ok(qdbg_graph_add_parameter(g, "pads", &v, &in[1]));
    return make_node(g, "Pad", "padded", in, 2, NULL);
}

static qdbg_graph *net(qdbg_ctx *ctx, int what)
{
    uint64_t seed = 31;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 4, 8, 8)), y;
    uint32_t c = conv(g, "c", x, DIMS(6, 4, 3, 3), 1, &seed);
    if (what == NORM) {
        c = make_norm(g, "n", c, 6, NULL, &seed);
    } else if (what == ADD) {
        c = make_node(g, "Add", "shifted", VALUES(c, make_random(g, "k", DIMS(6, 1, 1), &seed)),
                      NULL);
    }
    uint32_t r = middle(g, what, c, &seed);
    if (what == PAD)
        r = padded(g, r);
    if (what == GEMM || what == FLAT) {
        uint32_t w = make_random(g, "d.w", DIMS(what == FLAT ? 384 : 6, 3), &seed);
        y = make_node(g, "Gemm", "d", VALUES(r, w), NULL);
    } else if (what == TRANSPOSED) {
        y = conv(g, "t", r, DIMS(6, 2, 2, 2), 2, &seed);
        y = conv(g, "d", make_node(g, "Relu", "q", &y, 1, NULL), DIMS(3, 4, 1, 1), 1, &seed);
    } else if (what == DEPTHWISE) {
        y = conv(g, "e", r, DIMS(6, 1, 3, 3), 6, &seed);
        y = conv(g, "d", make_node(g, "Relu", "q", &y, 1, NULL), DIMS(3, 6, 1, 1), 1, &seed);
    } else if (what == RESIDUAL) {
        uint32_t side = conv(g, "s", r, DIMS(6, 6, 3, 3), 1, &seed);
        uint32_t sum = make_node(g, "Add", "sum", VALUES(side, r), NULL);
        y = conv(g, "d", make_node(g, "Relu", "q", &sum, 1, NULL), DIMS(3, 6, 1, 1), 1, &seed);
    } else {
        y = conv(g, "d", r, what == GROUPS ? DIMS(4, 3, 3, 3) : DIMS(3, 6, 3, 3),
                 what == GROUPS ? 2 : 1, &seed);
    }
    make_finish(g, y);
    return g;
}

static qdbg_equalize_row row_of(const qdbg_equalize *e, uint32_t i)
{
    qdbg_equalize_row row = QDBG_EQUALIZE_ROW_INIT;
    assert_ok(qdbg_equalize_get(e, i, &row));
    return row;
}

/* ---- what stays ---- */

static void function_stays_and_ranges_even_out(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    (void)state;
    for (int what = 0; what < N_NETS; what++)
        for (int formula = 0; formula < 2; formula++) {
            qdbg_equalize_options o = QDBG_EQUALIZE_OPTIONS_INIT;
            qdbg_equalize *e;
            qdbg_graph *read = net(ctx, what), *g;
            assert_ok(qdbg_graph_expose_clips(read, &g));
            qdbg_model *m = builtin_model(g);
            samples s = samples_make(ctx, g, 5, 2, 0);
            assert_ok(qdbg_fold_batch_norms(m, NULL));
            outputs before = outputs_take(m, &s), after;
            saved was = params_save(m);
            o.formula = formula;
            o.calibration = &s.set;
            assert_ok(qdbg_equalize_run(m, &o, &e));
            assert_true(qdbg_equalize_count(e) >= 1);
            for (uint32_t i = 0; i < qdbg_equalize_count(e); i++) {
                qdbg_equalize_row row = row_of(e, i);
                if (row.outcome != QDBG_EQUALIZE_DONE || row.n_scaled < 2)
                    fail_msg("net %d: outcome %d, %u scaled", what, row.outcome, row.n_scaled);
                if (formula == 0 && row.n_consumers == 1 && row.n_producers == 1)
                    assert_true(row.after >= row.before && row.gain_db >= 0);
            }
            after = outputs_take(m, &s);
            double moved = outputs_difference(&before, &after);
            if (moved > 1e-5)
                fail_msg("net %d, formula %d: outputs moved by %g", what, formula, moved);
            assert_false(params_same(m, &was));
            assert_ok(qdbg_equalize_undo(e));
            assert_true(params_same(m, &was));
            assert_int_equal(row_of(e, 0).outcome, QDBG_EQUALIZE_REVERTED);
            params_free(&was);
            outputs_free(&before);
            outputs_free(&after);
            qdbg_equalize_destroy(e);
            samples_free(&s);
            qdbg_model_destroy(m);
            qdbg_graph_destroy(g);
            qdbg_graph_destroy(read);
        }
    qdbg_ctx_destroy(ctx);
}

static double range_of(qdbg_model *m, const char *name, size_t first, size_t stride, size_t n,
                       size_t inner)
{
    float data[512];
    qdbg_view v = QDBG_VIEW_INIT;
    uint32_t id = value_of(qdbg_model_graph(m), name);
    double largest = 0;
    assert_ok(qdbg_graph_parameter(qdbg_model_graph(m), id, &v));
    assert_ok(qdbg_model_get_parameter(m, id, data, qdbg_view_count(&v)));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < inner; k++)
            largest = fmax(largest, fabs((double)data[first + i * stride + k]));
    return largest;
}

/* Along conv, depthwise, conv all three ranges of a channel become one. */
static void a_chain_is_level(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_equalize *e;
    (void)state;
    qdbg_graph *g = net(ctx, DEPTHWISE);
    qdbg_model *m = builtin_model(g);
    assert_ok(qdbg_equalize_run(m, NULL, &e));
    for (size_t c = 0; c < 6; c++) {
        double a = range_of(m, "c.w", c * 36, 36, 1, 36), b = range_of(m, "e.w", c * 9, 9, 1, 9);
        double d = range_of(m, "d.w", c, 6, 3, 1);
        assert_true(fabs(a - b) < 1e-3 * a && fabs(a - d) < 1e-3 * a);
    }
    qdbg_equalize_destroy(e);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- bounds of Clip ---- */

static void exposed_clip_is_the_same_function(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    qdbg_graph *read = net(ctx, CLIP), *g;
    assert_ok(qdbg_graph_expose_clips(read, &g));
    assert_int_equal(value_of(g, "r"), value_of(read, "r"));
    qdbg_model *a = builtin_model(read), *b = builtin_model(g);
    samples s = samples_make(ctx, g, 4, 4, 0);
    outputs x = outputs_take(a, &s), y = outputs_take(b, &s);
    assert_true(outputs_difference(&x, &y) == 0);
    float bounds[6];
    assert_ok(qdbg_model_get_parameter(b, value_of(g, "r.max_by_channel"), bounds, 6));
    for (int c = 0; c < 6; c++)
        assert_true(bounds[c] == 3);
    qdbg_equalize *e;
    float factors[6], scaled[6];
    assert_ok(qdbg_equalize_run(b, NULL, &e));
    assert_ok(qdbg_equalize_factors(e, value_of(g, "r"), factors, 6));
    assert_ok(qdbg_model_get_parameter(b, value_of(g, "r.max_by_channel"), scaled, 6));
    for (int c = 0; c < 6; c++)
        assert_true(fabsf(scaled[c] * factors[c] - 3) < 1e-5f);
    assert_int_equal(qdbg_graph_expose_clips(NULL, &g), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_graph_expose_clips(read, NULL), QDBG_E_INVALID, "out");
    qdbg_equalize_destroy(e);
    outputs_free(&x);
    outputs_free(&y);
    samples_free(&s);
    qdbg_model_destroy(a);
    qdbg_model_destroy(b);
    qdbg_graph_destroy(g);
    qdbg_graph_destroy(read);
    qdbg_ctx_destroy(ctx);
}

/* A simulation has the same quantizers with and without bounds by channel. */
static void placement_sees_the_same_clamp(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    qdbg_graph *read = net(ctx, CLIP), *g;
    assert_ok(qdbg_graph_expose_clips(read, &g));
    qdbg_model *a = builtin_model(read), *b = builtin_model(g);
    qdbg_sim *x, *y;
    assert_ok(qdbg_sim_create(a, NULL, &x));
    assert_ok(qdbg_sim_create(b, NULL, &y));
    assert_int_equal(qdbg_sim_quantizer_count(x), qdbg_sim_quantizer_count(y));
    assert_int_equal(qdbg_sim_find_quantizer(y, "c"), QDBG_NONE);
    assert_int_equal(qdbg_sim_find_quantizer(x, "r"), qdbg_sim_find_quantizer(y, "r"));
    qdbg_sim_destroy(x);
    qdbg_sim_destroy(y);
    qdbg_model_destroy(a);
    qdbg_model_destroy(b);
    qdbg_graph_destroy(g);
    qdbg_graph_destroy(read);
    qdbg_ctx_destroy(ctx);
}

/* ---- what is left alone ---- */

static void obstacles_are_told(void **state)
{
    enum { SCALAR_CLIP, UNFOLDED, OUTPUT, SIGMOID, SHARED, N };
    static const int32_t want[N] = {QDBG_EQUALIZE_CLIP, QDBG_EQUALIZE_NORM, QDBG_EQUALIZE_OUTPUT,
                                    QDBG_EQUALIZE_OPERATOR, QDBG_EQUALIZE_SHARED};
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (int what = 0; what < N; what++) {
        uint64_t seed = 5;
        float zero = 0, six = 6;
        qdbg_equalize *e;
        qdbg_graph *g = make_graph(ctx, 13);
        uint32_t x = make_input(g, "x", DIMS(1, 4, 4, 4));
        uint32_t w = make_random(g, "w", DIMS(4, 4, 1, 1), &seed);
        uint32_t v = make_random(g, "v", DIMS(4, 4, 1, 1), &seed);
        uint32_t c = make_node(g, "Conv", "c", VALUES(x, w), NULL), r = c;
        if (what == SCALAR_CLIP)
            r = make_node(
                g, "Clip", "r",
                VALUES(c, make_param(g, "lo", SCALAR, &zero), make_param(g, "hi", SCALAR, &six)),
                NULL);
        if (what == UNFOLDED)
            r = make_norm(g, "n", c, 4, NULL, &seed);
        if (what == OUTPUT)
            assert_ok(qdbg_graph_add_output(g, c));
        if (what == SIGMOID) /* reads it, too */
            assert_ok(qdbg_graph_add_output(g, make_node(g, "Sigmoid", "r", &c, 1, NULL)));
        make_finish(g, make_node(g, "Conv", "d", VALUES(r, what == SHARED ? w : v), NULL));
        qdbg_model *m = builtin_model(g);
        saved was = params_save(m);
        assert_ok(qdbg_equalize_run(m, NULL, &e));
        assert_int_equal(qdbg_equalize_count(e), 1);
        if (row_of(e, 0).outcome != want[what])
            fail_msg("obstacle %d: outcome %d", what, row_of(e, 0).outcome);
        assert_true(params_same(m, &was));
        params_free(&was);
        qdbg_equalize_destroy(e);
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

static void advice_changes_nothing(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_equalize_options o = QDBG_EQUALIZE_OPTIONS_INIT;
    qdbg_equalize *e;
    (void)state;
    qdbg_graph *g = net(ctx, DEPTHWISE);
    qdbg_model *m = builtin_model(g);
    saved was = params_save(m);
    o.flags = QDBG_EQUALIZE_ADVISE;
    assert_ok(qdbg_equalize_run(m, &o, &e));
    assert_int_equal(qdbg_equalize_count(e), 2);
    assert_true(row_of(e, 0).gain_db > 0 && row_of(e, 1).gain_db > 0);
    assert_true(params_same(m, &was));
    params_free(&was);
    qdbg_equalize_destroy(e);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- odd numbers ---- */

static void set_row(qdbg_model *m, const char *name, size_t first, size_t n, float x)
{
    float data[512];
    qdbg_view v = QDBG_VIEW_INIT;
    uint32_t id = value_of(qdbg_model_graph(m), name);
    assert_ok(qdbg_graph_parameter(qdbg_model_graph(m), id, &v));
    assert_ok(qdbg_model_get_parameter(m, id, data, qdbg_view_count(&v)));
    for (size_t i = 0; i < n; i++)
        data[first + i] = x;
    assert_ok(qdbg_model_set_parameter(m, id, data, qdbg_view_count(&v)));
}

static void channels_of_zero_range_keep_their_factor(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_equalize *e;
    float factors[6];
    (void)state;
    for (int where = 0; where < 2; where++) {
        qdbg_graph *g = net(ctx, DEPTHWISE);
        qdbg_model *m = builtin_model(g);
        set_row(m, where ? "e.w" : "c.w", where ? 18 : 72, where ? 9 : 36, 0);
        assert_ok(qdbg_equalize_run(m, NULL, &e));
        assert_ok(qdbg_equalize_factors(e, value_of(g, "r"), factors, 6));
        for (int c = 0; c < 6; c++)
            assert_true((factors[c] == 1) == (c == 2));
        assert_int_equal(qdbg_equalize_factors(e, value_of(g, "r"), factors, 5), QDBG_E_INVALID);
        assert_int_equal(qdbg_equalize_factors(e, 9999, factors, 5), QDBG_E_NOT_FOUND);
        qdbg_equalize_destroy(e);
        set_row(m, "d.w", 3, 1, (float)NAN);
        assert_fails(ctx, qdbg_equalize_run(m, NULL, &e), QDBG_E_NUMERIC, "'d.w'");
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

/* ---- guard, host, arguments ---- */

static void best_is_what_scores_best(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_equalize_options o = QDBG_EQUALIZE_OPTIONS_INIT;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    qdbg_sim *sim;
    double before, after, again;
    (void)state;
    qdbg_graph *g = net(ctx, DEPTHWISE);
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 6, 3, 0);
    assert_ok(qdbg_sim_create(m, NULL, &sim));
    o.calibration = o.guard_dataset = &s.set;
    o.guard_sim = sim;
    o.guard_metric = &metric;
    double best = -1e9;
    for (int formula = QDBG_EQUALIZE_RANGES; formula <= QDBG_EQUALIZE_BEST; formula++) {
        qdbg_equalize *e;
        o.formula = formula;
        saved was = params_save(m);
        assert_ok(qdbg_equalize_run(m, &o, &e));
        int32_t undone = qdbg_equalize_guard(e, &before, &after);
        assert_int_equal(undone, after < before);
        assert_int_equal(undone, params_same(m, &was));
        assert_ok(qdbg_sim_evaluate(sim, &s.set, &metric, &again));
        assert_true(again == (undone ? before : after));
        if (formula == QDBG_EQUALIZE_BEST)
            assert_true(after >= best && qdbg_equalize_balance(e) <= 0.75);
        best = fmax(best, after);
        assert_ok(qdbg_equalize_undo(e));
        qdbg_equalize_destroy(e);
        params_free(&was);
    }
    qdbg_equalize *none = NULL;
    o.guard_sim = NULL;
    assert_fails(ctx, qdbg_equalize_run(m, &o, &none), QDBG_E_INVALID, "guard");
    o.formula = QDBG_EQUALIZE_ACTIVATIONS;
    o.calibration = NULL;
    assert_fails(ctx, qdbg_equalize_run(m, &o, &none), QDBG_E_INVALID, "calibration");
    o.balance = 2;
    assert_fails(ctx, qdbg_equalize_run(m, &o, &none), QDBG_E_INVALID, "balance");
    assert_null(none);
    assert_int_equal(qdbg_equalize_run(NULL, NULL, &none), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_equalize_run(m, NULL, NULL), QDBG_E_INVALID, "result");
    assert_int_equal(qdbg_equalize_undo(NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_equalize_count(NULL), 0);
    qdbg_sim_destroy(sim);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void failed_host_has_its_parameters_back(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (int set = 0; set < 2; set++) {
        uint64_t k = 1;
        for (bool done = false; !done; k++) {
            qdbg_equalize *e = NULL;
            engine host;
            qdbg_graph *g = net_of_gemms(ctx, false);
            qdbg_model *m = engine_model(&host, g);
            saved was = params_save(m);
            *(set ? &host.fail_set : &host.fail_get) = k + (set ? host.n_sets : host.n_gets);
            host.code = 9;
            qdbg_status status = qdbg_equalize_run(m, NULL, &e);
            *(set ? &host.fail_set : &host.fail_get) = 0;
            done = status == QDBG_OK;
            assert_true(done || (status == QDBG_E_CALLBACK && !e && params_same(m, &was)));
            params_free(&was);
            qdbg_equalize_destroy(e);
            qdbg_model_destroy(m);
            engine_free(&host);
            qdbg_graph_destroy(g);
        }
        assert_true(k > 3);
    }
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(function_stays_and_ranges_even_out),
        cmocka_unit_test(a_chain_is_level),
        cmocka_unit_test(exposed_clip_is_the_same_function),
        cmocka_unit_test(placement_sees_the_same_clamp),
        cmocka_unit_test(obstacles_are_told),
        cmocka_unit_test(advice_changes_nothing),
        cmocka_unit_test(channels_of_zero_range_keep_their_factor),
        cmocka_unit_test(best_is_what_scores_best),
        cmocka_unit_test(failed_host_has_its_parameters_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
