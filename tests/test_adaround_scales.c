/* What becomes of scales and biases in qdbg_adaround_run: ranges and refits for every kind of grid,
 * and where corrections of the mean go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <qdebug/adaround.h>
#include <qdebug/bias_correction.h>

#include "graph_make.h"
#include "support.h"

#define SAMPLES 64
#define DEPTH 24
#define ROWS 8
#define MAX_GRIDS 192

/* ---- a layer: Gemm "y" with weights "w" [DEPTH, ROWS] and biases "b" ---- */

typedef struct scene {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    qdbg_model *m;
    qdbg_sim *sim;
    samples s;
} scene;

static void open_model(scene *w, qdbg_ctx *ctx, qdbg_graph *g, const qdbg_quant_spec *spec)
{
    w->ctx = ctx;
    w->g = g;
    w->m = builtin_model(g);
    assert_ok(qdbg_sim_create(w->m, NULL, &w->sim));
    assert_ok(qdbg_sim_set_spec(w->sim, qdbg_sim_find_quantizer(w->sim, "w"), spec));
}

static void open_scene(scene *w, const qdbg_quant_spec *spec)
{
    uint64_t seed = 103;
    float weights[DEPTH * ROWS]; /* few are large */
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, DEPTH));
    for (size_t i = 0; i < DEPTH * ROWS; i++) {
        float r = make_float(&seed, -1, 1);
        weights[i] = r * r * r * r * r;
    }
    make_finish(g, make_node(g, "Gemm", "y",
                             VALUES(x, make_param(g, "w", DIMS(DEPTH, ROWS), weights),
                                    make_random(g, "b", DIMS(ROWS), &seed)),
                             NULL));
    open_model(w, ctx, g, spec);
    w->s = samples_make(ctx, g, SAMPLES, 16, 3);
    for (size_t i = 0; i < SAMPLES; i++) { /* elements of a sample go together */
        float all = make_float(&seed, -2, 2);
        for (size_t k = 0; k < DEPTH; k++)
            w->s.x[i * DEPTH + k] = all + make_float(&seed, -1, 1);
    }
}

static void close_scene(scene *w)
{
    qdbg_ctx *ctx = w->ctx;
    qdbg_sim_destroy(w->sim);
    samples_free(&w->s);
    qdbg_model_destroy(w->m);
    qdbg_graph_destroy(w->g);
    qdbg_ctx_destroy(ctx);
}

/* What a run leaves: the first row, and the weight's grids. */
typedef struct found {
    qdbg_adaround_row row;
    uint32_t n;
    qdbg_encoding grids[MAX_GRIDS];
} found;

/* Quantizing the weights once more changes nothing. */
static void assert_on_grids(const scene *w)
{
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    double score;
    assert_ok(qdbg_sim_set_all_enabled(w->sim, QDBG_ACTIVATION, 0));
    assert_ok(qdbg_sim_evaluate(w->sim, &w->s.set, &metric, &score));
    assert_true(score > 120); /* against the model as it is now */
    assert_ok(qdbg_sim_set_all_enabled(w->sim, QDBG_ACTIVATION, 1));
}

static void run(const qdbg_quant_spec *spec, int32_t solver, uint32_t flags, uint32_t candidates,
                found *out)
{
    scene w;
    qdbg_adaround *a;
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    open_scene(&w, spec);
    uint32_t q = qdbg_sim_find_quantizer(w.sim, "w");
    o.solver = solver;
    o.flags = flags | QDBG_ADAROUND_NO_REVERT;
    o.range_candidates = candidates;
    o.iterations = 300;
    o.learning_rate = 0.01;
    o.holdout = 1;
    o.damping = 1e-6; /* what is looked at is what rows tell */
    assert_ok(qdbg_adaround_run(w.sim, &w.s.set, &o, &a));
    out->row = (qdbg_adaround_row)QDBG_ADAROUND_ROW_INIT;
    assert_ok(qdbg_adaround_get(a, 0, &out->row));
    assert_int_equal(out->row.outcome, QDBG_ADAROUND_DONE);
    qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
    assert_ok(qdbg_sim_quantizer(w.sim, q, &info));
    assert_true(info.n_encodings <= MAX_GRIDS);
    out->n = info.n_encodings;
    for (uint32_t i = 0; i < out->n; i++) {
        out->grids[i] = (qdbg_encoding)QDBG_ENCODING_INIT;
        assert_ok(qdbg_sim_encoding(w.sim, q, i, &out->grids[i]));
    }
    if (solver != QDBG_ADAROUND_NEAREST)
        assert_on_grids(&w);
    qdbg_adaround_destroy(a);
    close_scene(&w);
}

static qdbg_quant_spec spec_of(int32_t granularity, int32_t axis, uint32_t flags)
{
    qdbg_quant_spec s = QDBG_QUANT_SPEC_INIT;
    s.bits = 3;
    s.symmetry = QDBG_SYMMETRIC;
    s.is_signed = QDBG_SIGNED;
    s.granularity = granularity;
    s.axis = axis;
    s.flags = flags;
    s.block_size = granularity == QDBG_PER_BLOCK ? 5 : 0; /* the last one is shorter */
    return s;
}

static const struct {
    const char *name;
    int32_t granularity, axis;
    uint32_t grids;
} layouts[] = {
    {"per tensor", QDBG_PER_TENSOR, 0, 1},
    {"output channels", QDBG_PER_CHANNEL, 1, ROWS},
    {"input channels", QDBG_PER_CHANNEL, 0, DEPTH},
    {"blocks of inputs", QDBG_PER_BLOCK, 0, 5 * ROWS},
    {"blocks of outputs", QDBG_PER_BLOCK, 1, 2 * DEPTH},
};
#define LAYOUTS (sizeof layouts / sizeof *layouts)

static void assert_less(const char *name, const char *what, double got, double than)
{
    if (!(got < than))
        fail_msg("%s, %s: %g, not below %g", name, what, got, than);
}

static bool all_powers(const found *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        int exponent;
        if (frexpf(f->grids[i].scale, &exponent) != 0.5f)
            return false;
    }
    return true;
}

/* A narrower range, a refitted scale: each makes the loss less, whatever the grids. */
static void scales_of_every_layout_get_better(void **state)
{
    static found plain, ranged, solved, refitted;
    size_t narrower = 0;
    (void)state;
    for (uint32_t flags = 0; flags <= QDBG_SPEC_POWER_OF_TWO; flags++)
        for (size_t i = 0; i < LAYOUTS; i++) {
            qdbg_quant_spec s = spec_of(layouts[i].granularity, layouts[i].axis, flags);
            const char *name = layouts[i].name;
            run(&s, QDBG_ADAROUND_NEAREST, QDBG_ADAROUND_KEEP_BIAS, 0, &plain);
            run(&s, QDBG_ADAROUND_NEAREST, QDBG_ADAROUND_KEEP_BIAS, 20, &ranged);
            run(&s, QDBG_ADAROUND_SEQUENTIAL, QDBG_ADAROUND_KEEP_BIAS, 20, &solved);
            run(&s, QDBG_ADAROUND_SEQUENTIAL, QDBG_ADAROUND_KEEP_BIAS | QDBG_ADAROUND_REFIT_SCALE,
                20, &refitted);
            assert_int_equal(plain.n, layouts[i].grids);
            assert_int_equal(plain.row.scales, 0);
            assert_int_equal(ranged.row.scales, QDBG_ADAROUND_SCALES_SEARCHED);
            assert_int_equal(refitted.row.scales,
                             QDBG_ADAROUND_SCALES_SEARCHED | QDBG_ADAROUND_SCALES_REFITTED);
            assert_true(ranged.row.loss <= plain.row.loss * (1 + 1e-9));
            narrower += ranged.row.loss < plain.row.loss;
            assert_less(name, "rounding", solved.row.loss, ranged.row.loss);
            if (flags) {
                assert_true(all_powers(&ranged) && all_powers(&refitted));
                assert_true(refitted.row.loss <= solved.row.loss * (1 + 1e-9));
            } else {
                assert_less(name, "refit", refitted.row.loss, solved.row.loss);
            }
            for (uint32_t k = 0; k < plain.n; k++)
                assert_true(ranged.grids[k].scale <= plain.grids[k].scale);
        }
    assert_true(narrower >= 8); /* of ten */
}

static void refits_follow_relaxed_rounding(void **state)
{
    static found solved, refitted;
    (void)state;
    for (size_t i = 0; i < LAYOUTS; i++) {
        qdbg_quant_spec s = spec_of(layouts[i].granularity, layouts[i].axis, 0);
        run(&s, QDBG_ADAROUND_RELAXED, 0, 0, &solved);
        run(&s, QDBG_ADAROUND_RELAXED, QDBG_ADAROUND_REFIT_SCALE, 0, &refitted);
        assert_less(layouts[i].name, "refit", refitted.row.loss, solved.row.loss);
    }
}

/* Their scales hang together: rounding is all that is done, and the row says so. */
static void low_power_blocks_keep_their_scales(void **state)
{
    static found plain, asked;
    qdbg_quant_spec s = spec_of(QDBG_PER_BLOCK, 0, 0);
    (void)state;
    s.block_scale_bits = 4;
    run(&s, QDBG_ADAROUND_SEQUENTIAL, 0, 0, &plain);
    run(&s, QDBG_ADAROUND_SEQUENTIAL, QDBG_ADAROUND_REFIT_SCALE, 20, &asked);
    assert_int_equal(plain.row.scales, 0);
    assert_int_equal(asked.row.scales, QDBG_ADAROUND_SCALES_LEFT);
    assert_memory_equal(plain.grids, asked.grids, sizeof plain.grids);
    assert_true(plain.grids[0].block_scale > 0);
    assert_less("low power", "rounding", asked.row.loss, asked.row.loss_nearest);
}

static void searching_by_grid_fails_cleanly(void **state)
{
    heap h;
    (void)state;
    heap_init(&h);
    for (uint64_t at = 1, status = QDBG_E_NOMEM; status != QDBG_OK; at++) {
        uint64_t seed = 107;
        scene w;
        float before[DEPTH * ROWS], after[DEPTH * ROWS];
        qdbg_adaround *a = NULL;
        qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
        qdbg_quant_spec s = spec_of(QDBG_PER_BLOCK, 0, 0);
        qdbg_ctx *ctx = heap_ctx(&h, 1);
        qdbg_graph *g = make_graph(ctx, 13);
        uint32_t x = make_input(g, "x", DIMS(1, DEPTH));
        uint32_t v = make_random(g, "w", DIMS(DEPTH, ROWS), &seed);
        make_finish(g, make_node(g, "MatMul", "y", VALUES(x, v), NULL));
        open_model(&w, ctx, g, &s);
        w.s = samples_make(ctx, g, 8, 8, 3);
        o.range_candidates = 3;
        o.flags = QDBG_ADAROUND_REFIT_SCALE | QDBG_ADAROUND_NO_REVERT;
        assert_ok(qdbg_model_get_parameter(w.m, v, before, DEPTH * ROWS));
        heap_arm(&h, at, true);
        status = qdbg_adaround_run(w.sim, &w.s.set, &o, &a);
        heap_arm(&h, 0, false);
        if (status != QDBG_OK) {
            assert_int_equal(status, QDBG_E_NOMEM);
            assert_ok(qdbg_model_get_parameter(w.m, v, after, DEPTH * ROWS));
            assert_memory_equal(before, after, sizeof before);
        } else {
            assert_true(at > 40);
        }
        qdbg_adaround_destroy(a);
        qdbg_sim_destroy(w.sim);
        samples_free(&w.s);
        qdbg_model_destroy(w.m);
        qdbg_graph_destroy(w.g);
        qdbg_ctx_destroy(ctx);
    }
    assert_int_equal(h.n_live, 0);
}

/* ---- where corrections go ---- */

/* Run on a graph whose weight is "w"; the row of it. */
static qdbg_adaround_row round_graph(qdbg_ctx *ctx, qdbg_graph *g)
{
    qdbg_quant_spec s = spec_of(QDBG_PER_TENSOR, 0, 0);
    qdbg_adaround_row row = QDBG_ADAROUND_ROW_INIT;
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    qdbg_adaround *a;
    scene w;
    open_model(&w, ctx, g, &s);
    w.s = samples_make(ctx, g, SAMPLES, 16, 3);
    o.flags = QDBG_ADAROUND_NO_REVERT;
    assert_ok(qdbg_adaround_run(w.sim, &w.s.set, &o, &a));
    assert_int_equal(qdbg_adaround_count(a), 1);
    assert_ok(qdbg_adaround_get(a, 0, &row));
    qdbg_adaround_destroy(a);
    qdbg_sim_destroy(w.sim);
    samples_free(&w.s);
    qdbg_model_destroy(w.m);
    return row;
}

typedef struct add_case {
    const char *name, *op;
    int64_t x[5], w[5], c[6]; /* ended by -1; `c`: of the constant behind */
    bool taken;
} add_case;

static const add_case adds[] = {
    {"[1,C,1,1]", "Conv", {1, 2, 5, 5, -1}, {4, 2, 3, 3, -1}, {1, 4, 1, 1, -1}, true},
    {"[C,1,1]", "Conv", {1, 2, 5, 5, -1}, {4, 2, 3, 3, -1}, {4, 1, 1, -1}, true},
    {"1-D [1,C,1]", "Conv", {1, 2, 5, -1}, {4, 2, 3, -1}, {1, 4, 1, -1}, true},
    {"transposed", "ConvTranspose", {1, 2, 5, 5, -1}, {2, 4, 3, 3, -1}, {1, 4, 1, 1, -1}, true},
    {"along the width", "Conv", {1, 2, 5, 6, -1}, {4, 2, 3, 3, -1}, {4, -1}, false},
    {"a rank more", "Conv", {1, 2, 5, 5, -1}, {4, 2, 3, 3, -1}, {1, 1, 4, 1, 1, -1}, false},
    {"every position", "Conv", {1, 2, 5, 5, -1}, {4, 2, 3, 3, -1}, {1, 4, 3, 3, -1}, false},
    {"Gemm [1,N]", "Gemm", {1, 6, -1}, {6, 4, -1}, {1, 4, -1}, true},
    {"MatMul [N]", "MatMul", {1, 3, 6, -1}, {6, 4, -1}, {4, -1}, true},
    {"MatMul [1,M,1]", "MatMul", {1, 4, 6, -1}, {6, 4, -1}, {1, 4, 1, -1}, false},
};

static void constants_behind_take_the_correction(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof adds / sizeof *adds; i++)
        for (int swapped = 0; swapped < 2; swapped++) {
            uint64_t seed = 109;
            qdbg_ctx *ctx = make_ctx(1);
            qdbg_graph *g = make_graph(ctx, 13);
            uint32_t x = make_input(g, "x", adds[i].x);
            uint32_t v = make_node(g, adds[i].op, "c",
                                   VALUES(x, make_random(g, "w", adds[i].w, &seed)), NULL);
            uint32_t c = make_random(g, "s", adds[i].c, &seed);
            make_finish(g,
                        make_node(g, "Add", "y", VALUES(swapped ? c : v, swapped ? v : c), NULL));
            qdbg_adaround_row row = round_graph(ctx, g);
            if (row.outcome != QDBG_ADAROUND_DONE || row.bias != (adds[i].taken ? c : QDBG_NONE))
                fail_msg("%s: outcome %d, bias %u", adds[i].name, row.outcome, row.bias);
            qdbg_graph_destroy(g);
            qdbg_ctx_destroy(ctx);
        }
}

/* MatMul with matrices along one axis is rounded; along two it is left, and told. */
static void matrices_along_two_axes_are_left(void **state)
{
    (void)state;
    for (int two = 0; two < 2; two++) {
        uint64_t seed = 113;
        qdbg_ctx *ctx = make_ctx(1);
        qdbg_graph *g = make_graph(ctx, 13);
        uint32_t x = make_input(g, "x", DIMS(1, 2, 3, 4, 5));
        uint32_t w = two ? make_random(g, "w", DIMS(2, 3, 5, 2), &seed)
                         : make_random(g, "w", DIMS(3, 5, 2), &seed);
        make_finish(g, make_node(g, "MatMul", "y", VALUES(x, w), NULL));
        qdbg_adaround_row row = round_graph(ctx, g);
        assert_int_equal(row.outcome, two ? QDBG_ADAROUND_UNSUPPORTED : QDBG_ADAROUND_DONE);
        if (!two)
            assert_true(row.n_positions + row.n_held_out == SAMPLES * 8 &&
                        row.loss <= row.loss_nearest * 1.05);
        qdbg_graph_destroy(g);
        qdbg_ctx_destroy(ctx);
    }
}

/* ---- fact G19 ---- */

/* Empirical bias correction, AIMET's test with seed 1: outputs [2,3,2,2] of both networks, a bias,
 * and what it becomes. */
static const float g19_float[24] = {
    1.624345364f,  -0.611756414f, -0.528171752f, -1.072968622f, 0.865407629f,  -2.301538697f,
    1.744811764f,  -0.761206901f, 0.319039096f,  -0.249370375f, 1.462107937f,  -2.060140709f,
    -0.322417204f, -0.384054355f, 1.133769442f,  -1.099891267f, -0.172428208f, -0.877858418f,
    0.042213747f,  0.582815214f,  -1.100619177f, 1.144723710f,  0.901590721f,  0.502494339f};
static const float g19_quantized[24] = {
    0.900855949f,  -0.683727859f, -0.122890226f, -0.935769434f, -0.267888080f, 0.530355467f,
    -0.691660752f, -0.396753527f, -0.687172700f, -0.845205641f, -0.671246131f, -0.012664599f,
    -1.117310349f, 0.234415698f,  1.659802177f,  0.742044161f,  -0.191835552f, -0.887628964f,
    -0.747158294f, 1.692454601f,  0.050807755f,  -0.636995647f, 0.190915485f,  2.100255136f};
static const float g19_bias[3] = {0.120158952f, 0.617203110f, 0.300170320f};
static const float g19_corrected[3] = {-0.122161663f, 0.627494514f, 0.479061805f};

/* A layer that has these outputs: one weight of a row is 14, on the grid of step 2, and carries the
 * quantized output; one is 0.5, which rounds to 0, and carries the rest. */
static void open_g19(scene *w)
{
    float weights[18] = {0};
    qdbg_quant_spec spec = spec_of(QDBG_PER_TENSOR, 0, 0);
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    for (int c = 0; c < 3; c++) {
        weights[c * 6 + c] = 14;
        weights[c * 6 + 3 + c] = 0.5f;
    }
    uint32_t x = make_input(g, "x", DIMS(1, 6, 2, 2));
    make_finish(g, make_node(g, "Conv", "y",
                             VALUES(x, make_param(g, "w", DIMS(3, 6, 1, 1), weights),
                                    make_param(g, "b", DIMS(3), g19_bias)),
                             NULL));
    spec.bits = 4;
    open_model(w, ctx, g, &spec);
    w->s = samples_make(ctx, g, 2, 1, 0);
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < 12; i++) {
            float is = g19_float[n * 12 + i], was = g19_quantized[n * 12 + i];
            w->s.x[n * 24 + i] = was / 14;
            w->s.x[n * 24 + 12 + i] = (is - was) * 2;
        }
}

static void assert_g19(const scene *w)
{
    float bias[3];
    assert_ok(qdbg_model_get_parameter(w->m, value_of(w->g, "b"), bias, 3));
    for (int c = 0; c < 3; c++)
        if (fabsf(bias[c] - g19_corrected[c]) > 1e-5f * fabsf(g19_corrected[c]))
            fail_msg("bias %d: %.9g instead of %.9g", c, (double)bias[c], (double)g19_corrected[c]);
}

static void corrected_biases_are_those_of_the_fact(void **state)
{
    scene w;
    float y[24];
    qdbg_adaround *a;
    qdbg_bias_correction *c;
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    (void)state;
    open_g19(&w);
    qdbg_view x = samples_view(w.g, &w.s), out = make_view(DIMS(2, 3, 2, 2), y);
    assert_ok(qdbg_model_run(w.m, &x, 1, &out, 1));
    for (int i = 0; i < 24; i++) /* the layer is the fact's */
        assert_true(fabsf(y[i] - g19_bias[i / 4 % 3] - g19_float[i]) < 1e-5f);
    o.solver = QDBG_ADAROUND_NEAREST; /* biases alone */
    o.flags = QDBG_ADAROUND_NO_REVERT;
    o.holdout = 1;
    assert_ok(qdbg_adaround_run(w.sim, &w.s.set, &o, &a));
    assert_g19(&w);
    assert_ok(qdbg_adaround_undo(a));
    qdbg_adaround_destroy(a);
    assert_ok(qdbg_bias_correct(w.sim, &w.s.set, NULL, &c));
    assert_g19(&w);
    qdbg_bias_correction_destroy(c);
    close_scene(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_of_every_layout_get_better),
        cmocka_unit_test(refits_follow_relaxed_rounding),
        cmocka_unit_test(low_power_blocks_keep_their_scales),
        cmocka_unit_test(searching_by_grid_fails_cleanly),
        cmocka_unit_test(constants_behind_take_the_correction),
        cmocka_unit_test(matrices_along_two_axes_are_left),
        cmocka_unit_test(corrected_biases_are_those_of_the_fact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
