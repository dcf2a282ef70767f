/* Batch-normalization folding (fold.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

/* ---- networks ---- */

#define EPSILON 0.01f

/* Batch-normalization with random numbers; parameters are called "<name>.gamma" and so on. */
static uint32_t batch_norm(qdbg_graph *g, const char *name, uint32_t x, int64_t channels,
                           uint64_t *seed)
{
    static const char *const parts[] = {"gamma", "beta", "mean", "var"};
    uint32_t in[5] = {x}, node;
    for (int i = 0; i < 4; i++) {
        float data[16];
        char part[32];
        snprintf(part, sizeof part, "%s.%s", name, parts[i]);
        for (int64_t c = 0; c < channels; c++)
            data[c] = i == 3 ? make_float(seed, 0.05f, 4) : make_float(seed, -2, 2);
        in[i + 1] = make_param(g, part, DIMS(channels), data);
    }
    uint32_t y = make_node(g, "BatchNormalization", name, in, 5, &node);
    assert_ok(qdbg_graph_set_float(g, node, "epsilon", EPSILON));
    return y;
}

typedef struct layer_case {
    const char *op;
    int64_t weight[5]; /* ends in -1 */
    int64_t group;     /* of convolutions; Gemm: transB */
    int64_t channels;
    bool image; /* x is [1,4,5,5], else [1,8] */
} layer_case;

static const layer_case cases[] = {
    {"Conv", {6, 4, 3, 3, -1}, 1, 6, true},
    {"Conv", {6, 2, 3, 3, -1}, 2, 6, true},
    {"Conv", {4, 1, 3, 3, -1}, 4, 4, true},
    {"ConvTranspose", {4, 5, 3, 3, -1}, 1, 5, true},
    {"ConvTranspose", {4, 3, 2, 2, -1}, 2, 6, true},
    {"ConvTranspose", {4, 1, 3, 3, -1}, 4, 4, true},
    {"Gemm", {8, 5, -1}, 0, 5, false},
    {"Gemm", {5, 8, -1}, 1, 5, false},
};
#define N_CASES (sizeof cases / sizeof *cases)

static qdbg_graph *layer_net(qdbg_ctx *ctx, const layer_case *k, bool bias)
{
    uint64_t seed = 21;
    uint32_t node;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t in[3] = {make_input(g, "x", k->image ? DIMS(1, 4, 5, 5) : DIMS(1, 8)),
                      make_random(g, "w", k->weight, &seed)};
    if (bias)
        in[2] = make_random(g, "b", DIMS(k->channels), &seed);
    uint32_t y = make_node(g, k->op, "layer", in, bias ? 3 : 2, &node);
    bool gemm = strcmp(k->op, "Gemm") == 0;
    assert_ok(qdbg_graph_set_int(g, node, gemm ? "transB" : "group", k->group));
    make_finish(g, batch_norm(g, "n", y, k->channels, &seed));
    return g;
}

static float *outputs_of(qdbg_model *m, const qdbg_graph *g, size_t *n)
{
    samples s = {.n = 3};
    uint64_t seed = 8;
    s.x = make_floats(&seed, 3 * 4 * 25);
    qdbg_view x = samples_view(g, &s), y = QDBG_VIEW_INIT;
    assert_ok(qdbg_model_run(m, &x, 1, &y, 1));
    *n = (size_t)qdbg_view_count(&y);
    y.data = malloc(*n * sizeof(float));
    assert_non_null(y.data);
    assert_ok(qdbg_model_run(m, &x, 1, &y, 1));
    free(s.x);
    return y.data;
}

static float *param_of(qdbg_model *m, const char *name, uint64_t *count)
{
    const qdbg_graph *g = qdbg_model_graph(m);
    qdbg_view v = QDBG_VIEW_INIT;
    assert_ok(qdbg_graph_parameter(g, value_of(g, name), &v));
    *count = qdbg_view_count(&v);
    float *data = malloc((size_t)*count * sizeof *data);
    assert_non_null(data);
    assert_ok(qdbg_model_get_parameter(m, value_of(g, name), data, *count));
    return data;
}

static float param_at(qdbg_model *m, const char *name, uint64_t i)
{
    uint64_t count;
    float *data = param_of(m, name, &count), x = data[i];
    assert_true(i < count);
    free(data);
    return x;
}

/* ---- what folding does ---- */

static void same_function(const float *a, const float *b, size_t n)
{
    float largest = 0, difference = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmaxf(largest, fabsf(a[i]));
        difference = fmaxf(difference, fabsf(a[i] - b[i]));
    }
    assert_true(largest > 0 && difference <= 1e-5f * largest);
}

static void folded_model_is_the_same_function(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    (void)state;
    for (size_t k = 0; k < N_CASES; k++)
        for (int bias = 0; bias < 2; bias++) {
            qdbg_graph *g = layer_net(ctx, &cases[k], bias);
            qdbg_model *m = builtin_model(g);
            size_t n;
            uint32_t folded = 77;
            float w0 = param_at(m, "w", 0);
            float *before = outputs_of(m, g, &n);
            assert_ok(qdbg_fold_batch_norms(m, &folded));
            assert_int_equal(folded, 1);
            float *after = outputs_of(m, g, &n);
            same_function(before, after, n);
            assert_true(param_at(m, "w", 0) != w0);
            for (int64_t c = 0; c < cases[k].channels; c++) {
                assert_true(param_at(m, "n.gamma", (uint64_t)c) == 1);
                assert_true(param_at(m, "n.mean", (uint64_t)c) == 0);
                assert_true(param_at(m, "n.var", (uint64_t)c) == 1.0f - EPSILON);
            }
            free(after);
            free(before);
            qdbg_model_destroy(m);
            qdbg_graph_destroy(g);
        }
    qdbg_ctx_destroy(ctx);
}

/* W[o] * gamma / sqrt(var + eps), channel by channel. */
static void weight_and_bias_are_scaled_by_channel(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    qdbg_graph *g = layer_net(ctx, &cases[4], true); /* ConvTranspose [4,3,2,2], 2 groups */
    qdbg_model *m = builtin_model(g);
    uint64_t nw, nb, nc;
    float *w = param_of(m, "w", &nw), *b = param_of(m, "b", &nb);
    float *gamma = param_of(m, "n.gamma", &nc), *var = param_of(m, "n.var", &nc);
    assert_ok(qdbg_fold_batch_norms(m, NULL));
    for (uint64_t i = 0; i < nw; i++) {
        uint64_t group = i / (2 * 3 * 4), o = group * 3 + i / 4 % 3;
        double want = (double)w[i] * (double)gamma[o] / sqrt((double)var[o] + (double)EPSILON);
        assert_true(fabs((double)param_at(m, "w", i) - want) <= 1e-6 * fabs(want));
    }
    for (uint64_t o = 0; o < nb; o++) {
        double want = (double)b[o] * (double)gamma[o] / sqrt((double)var[o] + (double)EPSILON);
        assert_true(fabs((double)param_at(m, "b", o) - want) <= 1e-6 * fabs(want));
    }
    free(w);
    free(b);
    free(gamma);
    free(var);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* alpha and beta of Gemm stay outside of what is folded. */
static void gemm_with_alpha_and_beta_folds_too(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 4;
    uint32_t node;
    size_t n;
    (void)state;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 8)), w = make_random(g, "w", DIMS(8, 5), &seed);
    uint32_t b = make_random(g, "b", DIMS(1, 5), &seed);
    uint32_t y = make_node(g, "Gemm", "layer", VALUES(x, w, b), &node);
    assert_ok(qdbg_graph_set_float(g, node, "alpha", 0.3f));
    assert_ok(qdbg_graph_set_float(g, node, "beta", -2));
    make_finish(g, batch_norm(g, "n", y, 5, &seed));
    qdbg_model *m = builtin_model(g);
    uint32_t folded = 0;
    float *before = outputs_of(m, g, &n);
    assert_ok(qdbg_fold_batch_norms(m, &folded));
    assert_int_equal(folded, 1);
    float *after = outputs_of(m, g, &n);
    same_function(before, after, n);
    free(after);
    free(before);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- what is left alone ---- */

enum {
    SHARED_WEIGHT,
    SHARED_GAMMA,
    OUTPUT,
    TWO_READERS,
    WEIGHT_OUTPUT,
    RELU_BETWEEN,
    COMPUTED_WEIGHT,
    TRAINING,
    NO_LAYER,
    N_OBSTACLES
};

static qdbg_graph *obstacle_net(qdbg_ctx *ctx, int what)
{
    uint64_t seed = 5;
    uint32_t node;
    qdbg_graph *g = make_graph(ctx, 14);
    uint32_t x = make_input(g, "x", DIMS(1, 4, 5, 5));
    uint32_t w = make_random(g, "w", DIMS(4, 4, 1, 1), &seed), real = w;
    if (what == COMPUTED_WEIGHT)
        w = make_node(g, "Neg", "-w", &real, 1, NULL);
    uint32_t in = what == SHARED_WEIGHT ? make_node(g, "Conv", "other", VALUES(x, w), &node) : x;
    uint32_t c = what == NO_LAYER ? in : make_node(g, "Conv", "layer", VALUES(in, w), &node);
    uint32_t before = what == RELU_BETWEEN ? make_node(g, "Relu", "r", &c, 1, NULL) : c;
    uint32_t y = batch_norm(g, "n", before, 4, &seed);
    if (what == TRAINING)
        assert_ok(qdbg_graph_set_int(g, what == TRAINING ? 1 : 0, "training_mode", 1));
    if (what == OUTPUT)
        assert_ok(qdbg_graph_add_output(g, c));
    if (what == TWO_READERS)
        y = make_node(g, "Add", "sum", VALUES(y, c), NULL);
    if (what == WEIGHT_OUTPUT)
        assert_ok(qdbg_graph_add_output(g, w));
    if (what == SHARED_GAMMA) {
        uint32_t gamma = value_of(g, "n.gamma"), flat = make_node(g, "Relu", "g", &gamma, 1, NULL);
        assert_ok(qdbg_graph_add_output(g, flat));
    }
    make_finish(g, y);
    return g;
}

static void obstacles_are_respected(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (int what = 0; what < N_OBSTACLES; what++) {
        qdbg_graph *g = obstacle_net(ctx, what);
        engine e;
        qdbg_model *m = engine_model(&e, g); /* only its parameters are asked for */
        uint32_t folded = 77;
        assert_ok(qdbg_fold_batch_norms(m, &folded));
        if (folded != 0)
            fail_msg("obstacle %d was not seen", what);
        assert_int_equal(e.n_sets, 0);
        qdbg_model_destroy(m);
        engine_free(&e);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

/* C of [M,1] is a number for each row, not for each channel. */
static void row_bias_of_gemm_is_no_channel_bias(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 6;
    uint32_t folded = 77;
    (void)state;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(5, 8)), w = make_random(g, "w", DIMS(8, 5), &seed);
    uint32_t b = make_random(g, "b", DIMS(5, 1), &seed);
    uint32_t y = make_node(g, "Gemm", "layer", VALUES(x, w, b), NULL);
    make_finish(g, batch_norm(g, "n", y, 5, &seed));
    qdbg_model *m = builtin_model(g);
    assert_ok(qdbg_fold_batch_norms(m, &folded));
    assert_int_equal(folded, 0);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* Where the input's shape is not known, nothing has checked the group yet. */
static void malformed_groups_are_left_alone(void **state)
{
    static const int64_t groups[] = {0, -1, 3, 100, INT64_MAX, INT64_MIN};
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        uint64_t seed = 6;
        uint32_t x, node, folded = 77;
        engine e;
        qdbg_graph *g = make_graph(ctx, 13);
        assert_ok(qdbg_graph_add_value(g, "x", QDBG_F32, QDBG_RANK_UNKNOWN, NULL, &x));
        assert_ok(qdbg_graph_add_input(g, x));
        uint32_t w = make_random(g, "w", DIMS(5, 2, 1, 1), &seed);
        uint32_t y = make_node(g, "ConvTranspose", "layer", VALUES(x, w), &node);
        assert_ok(qdbg_graph_set_int(g, node, "group", groups[i]));
        make_finish(g, batch_norm(g, "n", y, 6, &seed)); /* 3 groups of 2 channels, 5 inputs */
        qdbg_model *m = engine_model(&e, g);
        assert_ok(qdbg_fold_batch_norms(m, &folded));
        assert_int_equal(folded, 0);
        qdbg_model_destroy(m);
        engine_free(&e);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

/* ---- failures ---- */

/* Two pairs: "a" with "an", "b" with "bn". */
static qdbg_graph *two_pairs(qdbg_ctx *ctx)
{
    uint64_t seed = 9;
    uint32_t node;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 4, 5, 5));
    uint32_t wa = make_random(g, "wa", DIMS(4, 4, 1, 1), &seed);
    uint32_t ba = make_random(g, "ba", DIMS(4), &seed);
    uint32_t a = make_node(g, "Conv", "a", VALUES(x, wa, ba), &node);
    uint32_t an = batch_norm(g, "an", a, 4, &seed);
    uint32_t wb = make_random(g, "wb", DIMS(4, 4, 1, 1), &seed);
    uint32_t b = make_node(g, "Conv", "b", VALUES(an, wb), &node);
    make_finish(g, batch_norm(g, "bn", b, 4, &seed));
    return g;
}

static void bad_numbers_are_named(void **state)
{
    static const struct {
        const char *name;
        float value;
        const char *text;
    } rows[] = {
        {"wb", (float)NAN, "'wb'"},
        {"bn.gamma", (float)INFINITY, "'bn.gamma'"},
        {"bn.mean", (float)NAN, "'bn.mean'"},
        {"bn.var", -EPSILON, "'bn'"},
        {"bn.var", -1, "'bn'"},
    };
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qdbg_graph *g = two_pairs(ctx);
        qdbg_model *m = builtin_model(g);
        uint64_t n;
        uint32_t folded = 77;
        float *data = param_of(m, rows[i].name, &n), was = param_at(m, "bn.beta", 1);
        data[2] = rows[i].value;
        assert_ok(qdbg_model_set_parameter(m, value_of(g, rows[i].name), data, n));
        assert_fails(ctx, qdbg_fold_batch_norms(m, &folded), QDBG_E_NUMERIC, rows[i].text);
        assert_int_equal(folded, 77);
        assert_true(param_at(m, "an.gamma", 0) == 1);  /* the pair before is folded */
        assert_true(param_at(m, "bn.beta", 1) == was); /* this one is not */
        free(data);
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    assert_int_equal(qdbg_fold_batch_norms(NULL, NULL), QDBG_E_INVALID);
    qdbg_ctx_destroy(ctx);
}

/* Is the pair as it was at the start (0), folded (1) or something between (-1)? */
static int fold_state(const engine *e, const qdbg_graph *g, const char *const *names, size_t n)
{
    int state = -2;
    for (size_t i = 0; i < n; i++) {
        qdbg_view was = QDBG_VIEW_INIT;
        uint32_t v = value_of(g, names[i]);
        assert_ok(qdbg_graph_parameter(g, v, &was));
        int now = memcmp(was.data, e->params[v], (size_t)e->counts[v] * sizeof(float)) != 0;
        if (state != -2 && state != now)
            return -1;
        state = now;
    }
    return state;
}

static void each_pair_is_whole_after_a_host_failed(void **state)
{
    static const char *const first[] = {"wa", "ba", "an.gamma", "an.beta", "an.mean", "an.var"};
    static const char *const second[] = {"wb", "bn.gamma", "bn.beta", "bn.mean", "bn.var"};
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (int set = 0; set < 2; set++) {
        uint64_t k = 1;
        for (bool done = false; !done; k++) {
            qdbg_graph *g = two_pairs(ctx);
            engine e;
            qdbg_model *m = engine_model(&e, g);
            uint32_t folded = 77;
            *(set ? &e.fail_set : &e.fail_get) = k;
            e.code = 9;
            qdbg_status status = qdbg_fold_batch_norms(m, &folded);
            int a = fold_state(&e, g, first, 6), b = fold_state(&e, g, second, 5);
            assert_true(a >= 0 && b >= 0 && a >= b);
            done = status == QDBG_OK;
            if (!done) {
                assert_int_equal(status, QDBG_E_CALLBACK);
                assert_int_equal(error_of(ctx).callback_code, 9);
                assert_true(b == 0 && folded == 77);
            } else {
                assert_true(a == 1 && b == 1 && folded == 2);
            }
            qdbg_model_destroy(m);
            engine_free(&e);
            qdbg_graph_destroy(g);
        }
        assert_true(k > 11);
    }
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folded_model_is_the_same_function),
        cmocka_unit_test(weight_and_bias_are_scaled_by_channel),
        cmocka_unit_test(gemm_with_alpha_and_beta_folds_too),
        cmocka_unit_test(obstacles_are_respected),
        cmocka_unit_test(row_bias_of_gemm_is_no_channel_bias),
        cmocka_unit_test(malformed_groups_are_left_alone),
        cmocka_unit_test(bad_numbers_are_named),
        cmocka_unit_test(each_pair_is_whole_after_a_host_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
