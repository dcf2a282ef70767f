/* What channels pass through between the layers that equalize.h scales: where the channels of one
 * value are others of the next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "mend_make.h"

/* x [1,4,6,6] -> Conv "c" [6,4,1,1] -> Relu "r" -> the path -> Conv or Gemm "d" -> y. */
typedef struct path {
    qdbg_graph *g;
    uint64_t seed;
    uint32_t x, r;
} path;

static uint32_t ints_param(qdbg_graph *g, const char *name, int64_t n, const int64_t *ints)
{
    qdbg_view v = QDBG_VIEW_INIT;
    uint32_t id;
    assert_ok(qdbg_view_init(&v, QDBG_I64, 1, &n, (void *)(uintptr_t)ints));
    assert_ok(qdbg_graph_add_parameter(g, name, &v, &id));
    return id;
}

#define INTS(g, name, ...) \
    ints_param(g, name, (int64_t)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__})

/* Rows of very different size. */
static uint32_t weight(path *p, const char *name, const int64_t *dims)
{
    float *data = make_floats(&p->seed, dims_count(dims));
    size_t row = dims_count(dims) / (size_t)dims[0];
    for (size_t i = 0; i < dims_count(dims); i++)
        data[i] *= powf(3, (float)(i / row % 5) - 2);
    uint32_t id = make_param(p->g, name, dims, data);
    free(data);
    return id;
}

static uint32_t layer(path *p, const char *name, uint32_t x, int64_t outs, int64_t ins)
{
    char text[32];
    snprintf(text, sizeof text, "%s.w", name);
    uint32_t w = weight(p, text, DIMS(outs, ins, 1, 1));
    snprintf(text, sizeof text, "%s.b", name);
    return make_node(p->g, "Conv", name,
                     VALUES(x, w, make_random(p->g, text, DIMS(outs), &p->seed)), NULL);
}

static uint32_t relu(path *p, const char *name, uint32_t x)
{
    return make_node(p->g, "Relu", name, &x, 1, NULL);
}

static uint32_t matrix(path *p, uint32_t x, int64_t ins)
{
    return make_node(p->g, "Gemm", "d", VALUES(x, make_random(p->g, "d.w", DIMS(ins, 3), &p->seed)),
                     NULL);
}

static uint32_t concat(path *p, const char *name, uint32_t a, uint32_t b, int64_t axis)
{
    uint32_t node, y = make_node(p->g, "Concat", name, VALUES(a, b), &node);
    assert_ok(qdbg_graph_set_int(p->g, node, "axis", axis));
    return y;
}

static uint32_t reshape(path *p, const char *name, uint32_t x, uint32_t shape)
{
    return make_node(p->g, "Reshape", name, VALUES(x, shape), NULL);
}

/* ---- paths ---- */

static uint32_t scalar_product(path *p)
{
    float k = -2.5f;
    uint32_t y = make_node(p->g, "Mul", "m", VALUES(make_param(p->g, "k", SCALAR, &k), p->r), NULL);
    return layer(p, "d", y, 3, 6);
}

static uint32_t channel_product(path *p)
{
    uint32_t k = make_random(p->g, "k", DIMS(6, 1, 1), &p->seed);
    uint32_t y = make_node(p->g, "Mul", "m", VALUES(p->r, k), NULL);
    y = make_node(p->g, "Div", "q", VALUES(y, make_random(p->g, "l", DIMS(1, 6, 1, 1), &p->seed)),
                  NULL);
    return layer(p, "d", y, 3, 6);
}

static uint32_t difference(path *p)
{
    uint32_t k = make_random(p->g, "k", DIMS(6, 1, 1), &p->seed);
    uint32_t y = make_node(p->g, "Sub", "m", VALUES(k, p->r), NULL);
    y = make_node(p->g, "Abs", "a", &y, 1, NULL);
    return layer(p, "d", make_node(p->g, "Neg", "n", &y, 1, NULL), 3, 6);
}

static uint32_t two_branches(path *p)
{
    uint32_t b = relu(p, "q", layer(p, "b", p->x, 5, 4));
    return layer(p, "d", concat(p, "cat", p->r, b, 1), 3, 11);
}

/* As in DenseNet: each layer reads all before it. */
static uint32_t dense(path *p)
{
    uint32_t b = relu(p, "q", layer(p, "b", p->r, 5, 6));
    uint32_t first = concat(p, "cat1", p->r, b, -3);
    uint32_t e = relu(p, "s", layer(p, "e", first, 2, 11));
    return layer(p, "d", concat(p, "cat2", first, e, 1), 3, 13);
}

static uint32_t positions_joined(path *p)
{
    return layer(p, "d", concat(p, "cat", p->r, p->r, 2), 3, 6);
}

static uint32_t split(path *p)
{
    uint32_t out[2], in[2] = {p->r, INTS(p->g, "sizes", 4, 2)}, node;
    assert_ok(qdbg_graph_add_value(p->g, "left", QDBG_F32, QDBG_RANK_UNKNOWN, NULL, &out[0]));
    assert_ok(qdbg_graph_add_value(p->g, "right", QDBG_F32, QDBG_RANK_UNKNOWN, NULL, &out[1]));
    assert_ok(qdbg_graph_add_node(p->g, "Split", "split", in, 2, out, 2, &node));
    assert_ok(qdbg_graph_set_int(p->g, node, "axis", 1));
    uint32_t a = layer(p, "d", out[0], 3, 4), b = layer(p, "e", out[1], 3, 2);
    return make_node(p->g, "Add", "sum", VALUES(a, b), NULL);
}

/* Swapped halves: a channel shuffle that can be followed. */
static uint32_t slices(path *p)
{
    uint32_t axes = INTS(p->g, "axes", 1, 3), one = INTS(p->g, "one", 1, 1);
    uint32_t a = make_node(
        p->g, "Slice", "a",
        VALUES(p->r, INTS(p->g, "from", -2, 0), INTS(p->g, "to", 99, 5), axes, one), NULL);
    uint32_t b =
        make_node(p->g, "Slice", "b",
                  VALUES(p->r, INTS(p->g, "from2", 1, 1), INTS(p->g, "to2", 4, 6), axes), NULL);
    a = layer(p, "d", a, 3, 2);
    return make_node(p->g, "Add", "sum", VALUES(a, layer(p, "e", b, 3, 3)), NULL);
}

static uint32_t flattened(path *p)
{
    return matrix(p, reshape(p, "f", p->r, INTS(p->g, "shape", 0, -1)), 216);
}

/* Flattened, with numbers for each position, and back. */
static uint32_t flattened_and_back(path *p)
{
    uint32_t f = reshape(p, "f", p->r, INTS(p->g, "shape", 1, 216));
    uint32_t k = make_random(p->g, "k", DIMS(216), &p->seed);
    uint32_t s = relu(p, "s", make_node(p->g, "Add", "a", VALUES(f, k), NULL));
    return layer(p, "d", reshape(p, "back", s, INTS(p->g, "image", 1, 6, 6, 6)), 3, 6);
}

static uint32_t means(path *p)
{
    uint32_t node, y = make_node(p->g, "ReduceMean", "mean", &p->r, 1, &node);
    make_ints(p->g, node, "axes", DIMS(2, 3));
    y = make_node(p->g, "Squeeze", "s", VALUES(y, INTS(p->g, "axes", 2, 3)), NULL);
    return matrix(p, y, 6);
}

static uint32_t turned(path *p)
{
    uint32_t node, y = make_node(p->g, "Transpose", "t", &p->r, 1, &node);
    make_ints(p->g, node, "perm", DIMS(0, 1, 3, 2));
    return layer(p, "d", y, 3, 6);
}

static uint32_t resized(path *p)
{
    float scales[] = {1, 1, 2, 2};
    uint32_t in[] = {p->r, QDBG_NONE, make_param(p->g, "scales", DIMS(4), scales)}, node;
    uint32_t y = make_node(p->g, "Resize", "up", in, 3, &node);
    assert_ok(qdbg_graph_set_string(p->g, node, "mode", "linear"));
    return layer(p, "d", y, 3, 6);
}

/* As many channels as before, each between two of those. */
static uint32_t resized_channels(path *p)
{
    float scales[] = {1, 1.1f, 1, 1};
    uint32_t in[] = {p->r, QDBG_NONE, make_param(p->g, "scales", DIMS(4), scales)}, node;
    uint32_t y = make_node(p->g, "Resize", "up", in, 3, &node);
    assert_ok(qdbg_graph_set_string(p->g, node, "mode", "linear"));
    return layer(p, "d", y, 3, 6);
}

static uint32_t cropped_channels(path *p)
{
    float roi[] = {0, 0.2f, 0, 0, 1, 0.8f, 1, 1}, scales[] = {1, 1, 1, 1};
    uint32_t in[] = {p->r, make_param(p->g, "roi", DIMS(8), roi),
                     make_param(p->g, "scales", DIMS(4), scales)},
             node;
    uint32_t y = make_node(p->g, "Resize", "up", in, 3, &node);
    assert_ok(qdbg_graph_set_string(p->g, node, "mode", "linear"));
    assert_ok(
        qdbg_graph_set_string(p->g, node, "coordinate_transformation_mode", "tf_crop_and_resize"));
    return layer(p, "d", y, 3, 6);
}

/* Bounds by position behind a flattening. */
static uint32_t clipped_positions(path *p)
{
    float low[216], high[216];
    for (int i = 0; i < 216; i++) {
        low[i] = -0.01f * (float)(i % 7);
        high[i] = 0.5f + 0.01f * (float)i;
    }
    uint32_t f = reshape(p, "f", p->r, INTS(p->g, "shape", 1, 216));
    f = make_node(p->g, "Clip", "clip",
                  VALUES(f, make_param(p->g, "low", DIMS(216), low),
                         make_param(p->g, "high", DIMS(216), high)),
                  NULL);
    return matrix(p, f, 216);
}

/* One half has to stay as it is: it is an output, too. */
static uint32_t half_held(path *p)
{
    uint32_t b = relu(p, "q", layer(p, "b", p->x, 5, 4));
    assert_ok(qdbg_graph_add_output(p->g, b));
    return layer(p, "d", concat(p, "cat", p->r, b, 1), 3, 11);
}

/* Positions and channels side by side are counted in neither; a part of them may be. */
static uint32_t positions_then_channels(path *p, bool first)
{
    uint32_t node, f, k, y;
    f = reshape(p, "f", p->r, INTS(p->g, "shape", 1, -1));
    k = make_node(p->g, "GlobalAveragePool", "k", &p->x, 1, NULL);
    k = make_node(p->g, "Flatten", "k2", &k, 1, NULL);
    k = make_node(p->g, "Gemm", "k3", VALUES(k, make_random(p->g, "k.w", DIMS(4, 35), &p->seed)),
                  NULL);
    y = make_node(p->g, "Concat", "cat", VALUES(f, k), &node);
    assert_ok(qdbg_graph_set_int(p->g, node, "axis", 1));
    k = make_node(p->g, "Slice", "a",
                  VALUES(y, INTS(p->g, "from", 0), INTS(p->g, "to", 216), INTS(p->g, "axes", 1)),
                  NULL);
    f = reshape(p, "g", relu(p, "q", layer(p, "b", p->x, 6, 4)), INTS(p->g, "shape2", 1, -1));
    k = first ? concat(p, "sum", f, k, 1) : concat(p, "sum", k, f, 1);
    k = make_node(p->g, "Gemm", "e", VALUES(k, make_random(p->g, "e.w", DIMS(432, 3), &p->seed)),
                  NULL);
    return make_node(p->g, "Add", "y", VALUES(matrix(p, y, 251), k), NULL);
}

static uint32_t positions_and_channels(path *p)
{
    return positions_then_channels(p, true);
}

static uint32_t positions_and_channels_last(path *p)
{
    return positions_then_channels(p, false);
}

/* One half is no layer's. */
static uint32_t half_foreign(path *p)
{
    uint32_t s = make_node(p->g, "Sigmoid", "gate", &p->x, 1, NULL);
    return layer(p, "d", concat(p, "cat", s, p->r, 1), 3, 10);
}

static uint32_t unread_half(path *p)
{
    uint32_t y = make_node(
        p->g, "Slice", "a",
        VALUES(p->r, INTS(p->g, "from", 2), INTS(p->g, "to", 5), INTS(p->g, "axes", 1)), NULL);
    return layer(p, "d", y, 3, 3);
}

static uint32_t twice(path *p)
{
    return layer(p, "d", concat(p, "cat", p->r, p->r, 1), 3, 12);
}

static uint32_t shuffled(path *p)
{
    uint32_t node, y = reshape(p, "s", p->r, INTS(p->g, "groups", 1, 2, 3, 6, 6));
    y = make_node(p->g, "Transpose", "t", &y, 1, &node);
    make_ints(p->g, node, "perm", DIMS(0, 2, 1, 3, 4));
    return layer(p, "d", reshape(p, "u", y, INTS(p->g, "image", 1, 6, 6, 6)), 3, 6);
}

static uint32_t channels_last(path *p)
{
    uint32_t node, y = make_node(p->g, "Transpose", "t", &p->r, 1, &node);
    make_ints(p->g, node, "perm", DIMS(0, 2, 3, 1));
    return layer(p, "d", y, 3, 6);
}

static uint32_t every_other(path *p)
{
    uint32_t one = INTS(p->g, "axes", 1);
    uint32_t y = make_node(
        p->g, "Slice", "a",
        VALUES(p->r, INTS(p->g, "from", 0), INTS(p->g, "to", 6), one, INTS(p->g, "step", 2)), NULL);
    return layer(p, "d", y, 3, 3);
}

static uint32_t gated(path *p)
{
    uint32_t s = make_node(p->g, "Sigmoid", "gate", &p->r, 1, NULL);
    return layer(p, "d", make_node(p->g, "Mul", "m", VALUES(p->r, s), NULL), 3, 6);
}

static uint32_t shifted_channels(path *p)
{
    uint32_t pads = INTS(p->g, "pads", 0, 1, 0, 0, 0, -1, 0, 0);
    return layer(p, "d", make_node(p->g, "Pad", "pad", VALUES(p->r, pads), NULL), 3, 6);
}

static uint32_t over_channels(path *p)
{
    uint32_t node, y = make_node(p->g, "ReduceMax", "m", &p->r, 1, &node);
    make_ints(p->g, node, "axes", DIMS(1, 2));
    return layer(p, "d", y, 3, 1);
}

static uint32_t scalar_sum(path *p)
{
    float k = 1.5f;
    uint32_t y = make_node(p->g, "Add", "a", VALUES(p->r, make_param(p->g, "k", SCALAR, &k)), NULL);
    return layer(p, "d", y, 3, 6);
}

static const struct path_case {
    const char *name;
    uint32_t (*make)(path *p);
    int32_t outcome;     /* of the first row */
    uint32_t n_channels; /* of its joint */
    uint32_t n_scaled;
    const char *node; /* in the way */
} paths[] = {
    {"product with one number", scalar_product, QDBG_EQUALIZE_DONE, 6, 6, NULL},
    {"product and quotient by channel", channel_product, QDBG_EQUALIZE_DONE, 6, 6, NULL},
    {"constant less value", difference, QDBG_EQUALIZE_DONE, 6, 6, NULL},
    {"two branches joined", two_branches, QDBG_EQUALIZE_DONE, 11, 11, NULL},
    {"dense", dense, QDBG_EQUALIZE_DONE, 13, 13, NULL},
    {"positions joined", positions_joined, QDBG_EQUALIZE_DONE, 6, 6, NULL},
    {"split", split, QDBG_EQUALIZE_DONE, 6, 6, NULL},
    {"slices", slices, QDBG_EQUALIZE_DONE, 6, 5, NULL},
    {"flattened", flattened, QDBG_EQUALIZE_DONE, 6, 6, NULL},
    {"flattened and back", flattened_and_back, QDBG_EQUALIZE_DONE, 6, 6, NULL},
    {"means of positions", means, QDBG_EQUALIZE_DONE, 6, 6, NULL},
    {"height and width exchanged", turned, QDBG_EQUALIZE_DONE, 6, 6, NULL},
    {"resized", resized, QDBG_EQUALIZE_DONE, 6, 6, NULL},
    {"bounds by position", clipped_positions, QDBG_EQUALIZE_DONE, 6, 6, NULL},
    {"one half held", half_held, QDBG_EQUALIZE_DONE, 11, 6, NULL},
    {"one half of no layer", half_foreign, QDBG_EQUALIZE_DONE, 10, 6, "gate"},
    {"positions and channels", positions_and_channels, QDBG_EQUALIZE_SHAPE, 6, 0, "cat"},
    {"the same, last", positions_and_channels_last, QDBG_EQUALIZE_SHAPE, 6, 0, "cat"},
    {"one half not read", unread_half, QDBG_EQUALIZE_DONE, 6, 3, NULL},
    {"the same value twice", twice, QDBG_EQUALIZE_SHAPE, 12, 0, "cat"},
    {"channel shuffle", shuffled, QDBG_EQUALIZE_SHAPE, 6, 0, "s"},
    {"channels last", channels_last, QDBG_EQUALIZE_OPERATOR, 6, 0, "t"},
    {"every other channel", every_other, QDBG_EQUALIZE_OPERATOR, 6, 0, "a"},
    {"gate", gated, QDBG_EQUALIZE_OPERATOR, 6, 0, "gate"},
    {"channels shifted", shifted_channels, QDBG_EQUALIZE_OPERATOR, 6, 0, "pad"},
    {"resized channels", resized_channels, QDBG_EQUALIZE_OPERATOR, 6, 0, "up"},
    {"cropped channels", cropped_channels, QDBG_EQUALIZE_OPERATOR, 6, 0, "up"},
    {"over channels", over_channels, QDBG_EQUALIZE_OPERATOR, 6, 0, "m"},
    {"sum with one number", scalar_sum, QDBG_EQUALIZE_SHAPE, 6, 0, "a"},
};
#define N_PATHS (sizeof paths / sizeof *paths)

static qdbg_graph *path_net(qdbg_ctx *ctx, const struct path_case *k)
{
    path p = {.g = make_graph(ctx, 13), .seed = 41};
    p.x = make_input(p.g, "x", DIMS(1, 4, 6, 6));
    p.r = relu(&p, "r", layer(&p, "c", p.x, 6, 4));
    make_finish(p.g, k->make(&p));
    return p.g;
}

static bool find_row(const qdbg_equalize *e, uint32_t producer, qdbg_equalize_row *row)
{
    qdbg_equalize_row_init(row);
    for (uint32_t i = 0; i < qdbg_equalize_count(e); i++) {
        assert_ok(qdbg_equalize_get(e, i, row));
        if (row->producer == producer)
            return true;
    }
    return false;
}

static void check_row(const qdbg_graph *g, const qdbg_equalize *e, const struct path_case *k)
{
    qdbg_equalize_row row;
    qdbg_value_info c = QDBG_VALUE_INFO_INIT;
    qdbg_node_info node = QDBG_NODE_INFO_INIT;
    assert_ok(qdbg_graph_value(g, value_of(g, "c"), &c));
    if (!find_row(e, c.producer, &row)) { /* no layer reads what comes out of the path */
        assert_true(k->outcome != QDBG_EQUALIZE_DONE);
        return;
    }
    if (row.outcome != k->outcome || row.n_channels != k->n_channels || row.n_scaled != k->n_scaled)
        fail_msg("%s: outcome %d, %u of %u channels scaled", k->name, row.outcome, row.n_scaled,
                 row.n_channels);
    if (!k->node) {
        assert_int_equal(row.node, QDBG_NONE);
        return;
    }
    assert_true(row.node != QDBG_NONE);
    assert_ok(qdbg_graph_node(g, row.node, &node));
    assert_string_equal(node.name, k->node);
}

/* Both formulas: the function stays, undo brings every bit back, and rows tell what was done. */
static void function_stays_on_every_path(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    (void)state;
    for (size_t i = 0; i < 2 * N_PATHS; i++) {
        const struct path_case *k = &paths[i / 2];
        qdbg_equalize_options o = QDBG_EQUALIZE_OPTIONS_INIT;
        qdbg_equalize *e;
        qdbg_graph *g = path_net(ctx, k);
        qdbg_model *m = builtin_model(g);
        samples s = samples_make(ctx, g, 5, 2, 0);
        outputs before = outputs_take(m, &s), after;
        saved was = params_save(m);
        o.formula = i % 2 ? QDBG_EQUALIZE_ACTIVATIONS : QDBG_EQUALIZE_RANGES;
        o.calibration = &s.set;
        assert_ok(qdbg_equalize_run(m, &o, &e));
        check_row(g, e, k);
        after = outputs_take(m, &s);
        double moved = outputs_difference(&before, &after);
        if (moved > 1e-5)
            fail_msg("%s: outputs moved by %g", k->name, moved);
        assert_int_equal(params_same(m, &was), k->outcome != QDBG_EQUALIZE_DONE);
        assert_ok(qdbg_equalize_undo(e));
        assert_true(params_same(m, &was));
        params_free(&was);
        outputs_free(&before);
        outputs_free(&after);
        qdbg_equalize_destroy(e);
        samples_free(&s);
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

/* Ranges converge: what 100 sweeps give, the default, ten times as many do not change. */
static void sweeps_converge(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (size_t i = 0; i < 2 * N_PATHS; i++) {
        qdbg_equalize_options o = QDBG_EQUALIZE_OPTIONS_INIT;
        float factors[2][6];
        qdbg_graph *g = path_net(ctx, &paths[i / 2]);
        qdbg_model *m = builtin_model(g);
        samples s = samples_make(ctx, g, 5, 2, 0);
        o.formula = i % 2 ? QDBG_EQUALIZE_ACTIVATIONS : QDBG_EQUALIZE_RANGES;
        o.calibration = &s.set;
        for (int k = 0; k < 2; k++) {
            qdbg_equalize *e;
            o.max_sweeps = k ? 1000 : 0;
            assert_ok(qdbg_equalize_run(m, &o, &e));
            assert_ok(qdbg_equalize_factors(e, value_of(g, "r"), factors[k], 6));
            assert_ok(qdbg_equalize_undo(e));
            qdbg_equalize_destroy(e);
        }
        for (int c = 0; c < 6; c++)
            if (fabsf(factors[0][c] - factors[1][c]) > 1e-3f * factors[1][c])
                fail_msg("%s: %g and %g", paths[i / 2].name, (double)factors[0][c],
                         (double)factors[1][c]);
        samples_free(&s);
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

/* Parts of a value have the factors of the whole. */
static void parts_have_the_factors_of_the_whole(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_equalize *e;
    float all[11], left[6], right[5];
    (void)state;
    qdbg_graph *g = path_net(ctx, &paths[3]);
    qdbg_model *m = builtin_model(g);
    assert_ok(qdbg_equalize_run(m, NULL, &e));
    assert_ok(qdbg_equalize_factors(e, value_of(g, "cat"), all, 11));
    assert_ok(qdbg_equalize_factors(e, value_of(g, "r"), left, 6));
    assert_ok(qdbg_equalize_factors(e, value_of(g, "b"), right, 5));
    assert_memory_equal(all, left, sizeof left);
    assert_memory_equal(all + 6, right, sizeof right);
    assert_int_equal(qdbg_equalize_factors(e, value_of(g, "r"), all, 11), QDBG_E_INVALID);
    qdbg_equalize_destroy(e);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* Two producers, one consumer: both are part of the gain. */
static void joined_ranges_even_out(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_equalize *e;
    qdbg_equalize_row row;
    (void)state;
    qdbg_graph *g = path_net(ctx, &paths[3]);
    qdbg_model *m = builtin_model(g);
    assert_ok(qdbg_equalize_run(m, NULL, &e));
    assert_int_equal(qdbg_equalize_count(e), 1);
    assert_true(find_row(e, 0, &row));
    assert_int_equal(row.n_producers, 2);
    assert_int_equal(row.n_consumers, 1);
    assert_true(row.after > 1.4 * row.before && row.gain_db > 1.4);
    qdbg_equalize_destroy(e);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- graphs of a host that tell shapes as they like ---- */

static uint32_t declared(path *p, int k)
{
    char text[16];
    int64_t dims[4] = {make_int(&p->seed, -1, 2)};
    uint32_t id, rank = (uint32_t)make_int(&p->seed, 1, 4);
    for (uint32_t i = 1; i < rank; i++)
        dims[i] = make_int(&p->seed, 0, 9) == 0 ? QDBG_DIM_UNKNOWN : make_int(&p->seed, 1, 3) * 2;
    snprintf(text, sizeof text, "v%d", k);
    if (make_int(&p->seed, 0, 9) > 0)
        rank = QDBG_RANK_UNKNOWN; /* to be inferred, if it can be */
    assert_ok(qdbg_graph_add_value(p->g, text, QDBG_F32, rank, dims, &id));
    return id;
}

/* A host's values have an unknown number of samples, and Reshape makes another one of it. */
static void samples_of_a_host_stay_apart(void **state)
{
    static const int64_t positions[] = {6, 3, 2}, unknown = QDBG_DIM_UNKNOWN;
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (int i = 0; i < 3; i++) {
        path p = {.g = make_graph(ctx, 13), .seed = 5};
        uint32_t v[5], in[2];
        for (int k = 0; k < 5; k++) {
            int64_t dims[] = {unknown, 4, k < 3 ? 6 : positions[i]};
            char text[8];
            snprintf(text, sizeof text, "v%d", k);
            assert_ok(qdbg_graph_add_value(p.g, text, QDBG_F32, 3, dims, &v[k]));
        }
        assert_ok(qdbg_graph_add_input(p.g, v[0]));
        assert_ok(qdbg_graph_add_node(p.g, "Foreign", "n0", &v[0], 1, &v[1], 1, NULL));
        in[0] = v[1], in[1] = weight(&p, "c.w", DIMS(4, 4, 1));
        assert_ok(qdbg_graph_add_node(p.g, "Conv", "n1", in, 2, &v[2], 1, NULL));
        in[0] = v[2], in[1] = INTS(p.g, "shape", -1, 4, positions[i]);
        assert_ok(qdbg_graph_add_node(p.g, "Reshape", "n2", in, 2, &v[3], 1, NULL));
        in[0] = v[3], in[1] = weight(&p, "d.w", DIMS(4, 4, 1));
        assert_ok(qdbg_graph_add_node(p.g, "Conv", "n3", in, 2, &v[4], 1, NULL));
        make_finish(p.g, v[4]);
        engine host;
        qdbg_equalize *e;
        qdbg_equalize_row row;
        qdbg_model *m = engine_model(&host, p.g);
        assert_ok(qdbg_equalize_run(m, NULL, &e));
        assert_int_equal(find_row(e, 1, &row), i == 0);
        assert_true(i > 0 || row.n_scaled == 4);
        qdbg_equalize_destroy(e);
        qdbg_model_destroy(m);
        engine_free(&host);
        qdbg_graph_destroy(p.g);
    }
    qdbg_ctx_destroy(ctx);
}

static void random_node(path *p, int k, uint32_t *values, uint32_t *n)
{
    static const char *const ops[] = {"Conv",    "Conv",    "Conv",    "Concat", "Split",
                                      "Slice",   "Reshape", "Flatten", "Add",    "Transpose",
                                      "Squeeze", "Relu",    "Mul",     "Foreign"};
    char text[16];
    uint32_t in[3] = {values[make_int(&p->seed, 0, *n - 1)], values[make_int(&p->seed, 0, *n - 1)],
                      QDBG_NONE};
    uint32_t out[2] = {declared(p, 2 * k), declared(p, 2 * k + 1)}, node, n_in = 2, n_out = 1;
    const char *op = ops[make_int(&p->seed, 0, sizeof ops / sizeof *ops - 1)];
    snprintf(text, sizeof text, "p%d", k);
    if (strcmp(op, "Conv") == 0)
        in[1] = make_random(p->g, text, DIMS(4, 4, 1, 1), &p->seed);
    else if (strcmp(op, "Slice") == 0)
        in[1] = in[2] = INTS(p->g, text, make_int(&p->seed, -3, 3)), n_in = 3;
    else if (strcmp(op, "Mul") == 0 || (strcmp(op, "Add") == 0 && k % 2))
        in[1] = make_random(p->g, text, DIMS(4, 1, 1), &p->seed);
    else if (strcmp(op, "Add") != 0 && strcmp(op, "Concat") != 0)
        n_in = 1;
    n_out = strcmp(op, "Split") == 0 ? 2 : 1;
    assert_ok(qdbg_graph_add_node(p->g, op, text, in, n_in, out, n_out, &node));
    if (strcmp(op, "Concat") == 0 || strcmp(op, "Split") == 0)
        assert_ok(qdbg_graph_set_int(p->g, node, "axis", make_int(&p->seed, -3, 2)));
    if (strcmp(op, "Transpose") == 0)
        make_ints(p->g, node, "perm", DIMS(0, 1, 3, 2));
    for (uint32_t i = 0; i < n_out; i++)
        values[(*n)++] = out[i];
}

/* Whatever a host says of its tensors, its parameters come to no harm. */
static void odd_shapes_do_no_harm(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    uint32_t n_finished = 0, n_scaled = 0;
    (void)state;
    for (uint64_t i = 0; i < 4000; i++) {
        path p = {.g = make_graph(ctx, 11), .seed = i};
        uint32_t values[32] = {make_input(p.g, "x", DIMS(1, 4, 2, 2))}, n = 1;
        for (int k = 0; k < 9; k++)
            random_node(&p, k, values, &n);
        assert_ok(qdbg_graph_add_output(p.g, values[n - 1]));
        if (qdbg_graph_finish(p.g) == QDBG_OK) {
            engine host;
            qdbg_equalize *e;
            qdbg_model *m = engine_model(&host, p.g);
            saved was = params_save(m);
            n_finished++;
            assert_ok(qdbg_equalize_run(m, NULL, &e));
            for (uint32_t k = 0; k < qdbg_equalize_count(e); k++) {
                qdbg_equalize_row row = QDBG_EQUALIZE_ROW_INIT;
                assert_ok(qdbg_equalize_get(e, k, &row));
                n_scaled += row.n_scaled > 0;
            }
            assert_ok(qdbg_equalize_undo(e));
            assert_true(params_same(m, &was));
            params_free(&was);
            qdbg_equalize_destroy(e);
            qdbg_model_destroy(m);
            engine_free(&host);
        }
        qdbg_graph_destroy(p.g);
    }
    if (n_finished < 100 || n_scaled < 10)
        fail_msg("only %u graphs, %u joints scaled", n_finished, n_scaled);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(function_stays_on_every_path),
        cmocka_unit_test(sweeps_converge),
        cmocka_unit_test(parts_have_the_factors_of_the_whole),
        cmocka_unit_test(joined_ranges_even_out),
        cmocka_unit_test(samples_of_a_host_stay_apart),
        cmocka_unit_test(odd_shapes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
