/* High biases absorbed by the next layer (equalize.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "mend_make.h"

enum {
    PLAIN,
    PADDED,
    NO_BIAS,
    CLIPPED,
    LOW,
    GEMM,
    NORMS,
    POSITIONS,
    ADDED,
    UNFOLDED, /* what could take the shift has a scale */
    NEGATIVE, /* positive numbers are clipped away */
    N_NETS
};

/* BatchNormalization as folding leaves it. */
static uint32_t folded_norm(qdbg_graph *g, const char *name, uint32_t x, float shift)
{
    static const char *const parts[] = {"gamma", "beta", "mean", "var"};
    uint32_t in[5] = {x}, node;
    for (int i = 0; i < 4; i++) {
        float k = i == 0 ? 1 : i == 1 ? shift : i == 2 ? 0 : 1 - MEND_EPSILON;
        float data[4] = {k, k, k, k};
        char part[32];
        snprintf(part, sizeof part, "%s.%s", name, parts[i]);
        in[i + 1] = make_param(g, part, DIMS(4), data);
    }
    uint32_t y = make_node(g, "BatchNormalization", name, in, 5, &node);
    assert_ok(qdbg_graph_set_float(g, node, "epsilon", MEND_EPSILON));
    return y;
}

/* Behind it the values are 64 positions of 4 channels, each with a bound of its own. */
static uint32_t clipped_positions(qdbg_graph *g, uint32_t c)
{
    static const int64_t shape[] = {1, 64};
    float low[64], high[64];
    qdbg_view v = QDBG_VIEW_INIT;
    uint32_t id;
    for (int i = 0; i < 64; i++) {
        low[i] = -0.1f * (float)(i % 3);
        high[i] = 60 + (float)i / 16;
    }
    assert_ok(qdbg_view_init(&v, QDBG_I64, 1, DIMS(2), (void *)(uintptr_t)shape));
    assert_ok(qdbg_graph_add_parameter(g, "shape", &v, &id));
    uint32_t f = make_node(g, "Reshape", "f", VALUES(c, id), NULL);
    return make_node(
        g, "Clip", "r",
        VALUES(f, make_param(g, "lo", DIMS(64), low), make_param(g, "hi", DIMS(64), high)), NULL);
}

/* x -> Conv "c" with high biases -> Relu -> Conv "d". */
static qdbg_graph *net(qdbg_ctx *ctx, int what)
{
    uint64_t seed = 12;
    float b[4], zero = 0, six = 60;
    uint32_t node, in[3], y;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 2, 4, 4));
    for (int c = 0; c < 4; c++)
        b[c] = what == LOW ? -30 : c == 1 ? -1 : 30 + (float)c;
    uint32_t c = make_node(
        g, "Conv", "c",
        VALUES(x, make_random(g, "c.w", DIMS(4, 2, 1, 1), &seed), make_param(g, "c.b", DIMS(4), b)),
        NULL);
    if (what == NORMS) /* what Relu sees is not what the first of them puts out */
        c = folded_norm(g, "n2", folded_norm(g, "n", c, 0), -25);
    if (what == ADDED) {
        float k[4] = {-25, -25, -25, -25};
        c = make_node(g, "Add", "a", VALUES(c, make_param(g, "k", DIMS(4, 1, 1), k)), NULL);
    }
    if (what == POSITIONS) {
        uint32_t w = make_random(g, "d.w", DIMS(64, 3), &seed), e;
        e = make_random(g, "d.b", DIMS(3), &seed);
        make_finish(g, make_node(g, "Gemm", "d", VALUES(clipped_positions(g, c), w, e), NULL));
        return g;
    }
    uint32_t r = what == CLIPPED ? make_node(g, "Clip", "r",
                                             VALUES(c, make_param(g, "lo", SCALAR, &zero),
                                                    make_param(g, "hi", SCALAR, &six)),
                                             NULL)
                                 : make_node(g, "Relu", "r", &c, 1, NULL);
    if (what == NEGATIVE)
        r = make_node(g, "Clip", "m", VALUES(r, QDBG_NONE, make_param(g, "none", SCALAR, &zero)),
                      NULL);
    in[0] = r;
    if (what == GEMM) {
        y = make_node(g, "GlobalAveragePool", "p", &r, 1, NULL);
        in[0] = make_node(g, "Flatten", "f", &y, 1, NULL);
        in[1] = make_random(g, "d.w", DIMS(3, 4), &seed);
        in[2] = make_random(g, "d.b", DIMS(3), &seed);
        y = make_node(g, "Gemm", "d", in, 3, &node);
        assert_ok(qdbg_graph_set_int(g, node, "transB", 1));
        assert_ok(qdbg_graph_set_float(g, node, "alpha", 0.5f));
        assert_ok(qdbg_graph_set_float(g, node, "beta", -2));
    } else {
        in[1] = make_random(g, "d.w", DIMS(3, 4, 1, 1), &seed);
        in[2] = make_random(g, "d.b", DIMS(3), &seed);
        y = make_node(g, "Conv", "d", in, what == NO_BIAS || what == UNFOLDED ? 2 : 3, &node);
        if (what == PADDED)
            make_ints(g, node, "pads", DIMS(1, 0, 0, 0));
        if (what == UNFOLDED)
            y = make_norm(g, "m", y, 3, NULL, &seed);
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

static void what_data_never_falls_below_is_absorbed(void **state)
{
    static const int32_t want[N_NETS] = {
        QDBG_EQUALIZE_ABSORBED, QDBG_EQUALIZE_PADDED,   QDBG_EQUALIZE_SHARED,
        QDBG_EQUALIZE_ABSORBED, QDBG_EQUALIZE_LOW,      QDBG_EQUALIZE_ABSORBED,
        QDBG_EQUALIZE_OPERATOR, QDBG_EQUALIZE_ABSORBED, QDBG_EQUALIZE_OPERATOR,
        QDBG_EQUALIZE_NORM,     QDBG_EQUALIZE_CLIP};
    qdbg_ctx *ctx = make_ctx(2);
    (void)state;
    for (int what = 0; what < N_NETS; what++) {
        qdbg_absorb_options o = QDBG_ABSORB_OPTIONS_INIT;
        qdbg_equalize *e;
        qdbg_graph *read = net(ctx, what), *g;
        assert_ok(qdbg_graph_expose_clips(read, &g));
        qdbg_model *m = builtin_model(what == NEGATIVE ? read : g);
        samples s = samples_make(ctx, g, 6, 4, 0);
        outputs before = outputs_take(m, &s), after;
        saved was = params_save(m);
        o.calibration = &s.set;
        assert_ok(qdbg_absorb_biases(m, &o, &e));
        if (row_of(e, 0).outcome != want[what])
            fail_msg("net %d: outcome %d", what, row_of(e, 0).outcome);
        after = outputs_take(m, &s);
        assert_true(outputs_difference(&before, &after) <= 1e-5);
        assert_int_equal(params_same(m, &was), want[what] != QDBG_EQUALIZE_ABSORBED);
        if (want[what] == QDBG_EQUALIZE_ABSORBED) {
            float shift[4];
            assert_ok(qdbg_equalize_factors(e, value_of(g, "r"), shift, 4));
            assert_true(shift[0] > 0 && shift[1] == 0 && shift[3] > 0);
            assert_int_equal(row_of(e, 0).n_scaled, 3);
        }
        assert_ok(qdbg_equalize_undo(e));
        assert_true(params_same(m, &was));
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

/* c = max(0, mean - 3 deviations), equation 14. */
static void statistics_tell_how_much(void **state)
{
    static const float mean[] = {10, 1, 4, -5}, deviation[] = {1, 1, 0.5f, 1};
    static const float want[] = {7, 0, 2.5f, 0};
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_channel_stats stats = QDBG_CHANNEL_STATS_INIT;
    qdbg_absorb_options o = QDBG_ABSORB_OPTIONS_INIT;
    qdbg_equalize *e = NULL;
    float shift[4];
    (void)state;
    qdbg_graph *g = net(ctx, PLAIN);
    qdbg_model *m = builtin_model(g);
    assert_ok(qdbg_absorb_biases(m, NULL, &e));
    assert_int_equal(row_of(e, 0).outcome, QDBG_EQUALIZE_NO_DATA);
    qdbg_equalize_destroy(e);
    stats.value = value_of(g, "c");
    stats.n = 4;
    stats.mean = mean;
    stats.deviation = deviation;
    o.stats = &stats;
    o.n_stats = 1;
    assert_ok(qdbg_absorb_biases(m, &o, &e));
    assert_ok(qdbg_equalize_factors(e, value_of(g, "c"), shift, 4));
    for (int c = 0; c < 4; c++)
        assert_true(shift[c] == want[c]);
    qdbg_equalize_destroy(e);
    e = NULL;
    stats.mean = NULL;
    assert_fails(ctx, qdbg_absorb_biases(m, &o, &e), QDBG_E_INVALID, "stats 0");
    o.n_stats = 0;
    o.deviations = -1;
    assert_fails(ctx, qdbg_absorb_biases(m, &o, &e), QDBG_E_INVALID, "deviations");
    assert_null(e);
    assert_int_equal(qdbg_absorb_biases(NULL, NULL, &e), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_absorb_biases(m, NULL, NULL), QDBG_E_INVALID, "result");
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* What a layer puts out before its normalization says nothing of what is clamped. */
static void statistics_from_before_the_shift_are_not_taken(void **state)
{
    static const float mean[] = {10, 10, 10, 10}, deviation[] = {1, 1, 1, 1};
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_channel_stats stats = QDBG_CHANNEL_STATS_INIT;
    qdbg_absorb_options o = QDBG_ABSORB_OPTIONS_INIT;
    (void)state;
    for (int before = 0; before < 2; before++) {
        uint64_t seed = 2;
        qdbg_equalize *e;
        qdbg_graph *g = make_graph(ctx, 13);
        uint32_t x = make_input(g, "x", DIMS(1, 4, 3, 3));
        uint32_t w = make_random(g, "c.w", DIMS(4, 4, 1, 1), &seed);
        uint32_t c = make_node(g, "Conv", "c", VALUES(x, w), NULL);
        c = folded_norm(g, "n", c, -20);
        c = make_node(g, "Relu", "r", &c, 1, NULL);
        uint32_t v = make_random(g, "d.w", DIMS(4, 4, 1, 1), &seed);
        make_finish(g, make_node(g, "Conv", "d",
                                 VALUES(c, v, make_random(g, "d.b", DIMS(4), &seed)), NULL));
        qdbg_model *m = builtin_model(g);
        stats.value = value_of(g, before ? "c" : "n");
        stats.n = 4;
        stats.mean = mean;
        stats.deviation = deviation;
        o.stats = &stats;
        o.n_stats = 1;
        assert_ok(qdbg_absorb_biases(m, &o, &e));
        assert_int_equal(row_of(e, 0).outcome,
                         before ? QDBG_EQUALIZE_NO_DATA : QDBG_EQUALIZE_ABSORBED);
        qdbg_equalize_destroy(e);
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

static void guard_tells_scores(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_absorb_options o = QDBG_ABSORB_OPTIONS_INIT;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    qdbg_equalize *e;
    qdbg_sim *sim;
    double before, after;
    (void)state;
    qdbg_graph *g = net(ctx, PLAIN);
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 6, 4, 0);
    assert_ok(qdbg_sim_create(m, NULL, &sim));
    saved was = params_save(m);
    o.guard_sim = sim;
    o.calibration = o.guard_dataset = &s.set;
    o.guard_metric = &metric;
    qdbg_reference *r;
    assert_ok(qdbg_reference_create(m, &s.set, &r));
    metric.reference = r;
    assert_ok(qdbg_absorb_biases(m, &o, &e));
    int32_t undone = qdbg_equalize_guard(e, &before, &after);
    assert_int_equal(undone, after < before);
    assert_int_equal(undone, params_same(m, &was));
    assert_int_equal(row_of(e, 0).outcome,
                     undone ? QDBG_EQUALIZE_REVERTED : QDBG_EQUALIZE_ABSORBED);
    qdbg_reference_destroy(r);
    params_free(&was);
    qdbg_equalize_destroy(e);
    qdbg_sim_destroy(sim);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_data_never_falls_below_is_absorbed),
        cmocka_unit_test(statistics_tell_how_much),
        cmocka_unit_test(statistics_from_before_the_shift_are_not_taken),
        cmocka_unit_test(guard_tells_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
