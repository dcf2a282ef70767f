/* What qdbg_graph_finish() checks, sorts and infers (graph.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../lib/graph/graph.h"

#include "graph_make.h"
#include "support.h"

static qdbg_value_info value_info(const qdbg_graph *g, uint32_t value)
{
    qdbg_value_info info = QDBG_VALUE_INFO_INIT;
    assert_ok(qdbg_graph_value(g, value, &info));
    return info;
}

static qdbg_node_info node_info(const qdbg_graph *g, uint32_t node)
{
    qdbg_node_info info = QDBG_NODE_INFO_INIT;
    assert_ok(qdbg_graph_node(g, node, &info));
    return info;
}

static uint32_t plain_value(qdbg_graph *g, const char *name)
{
    uint32_t v = QDBG_NONE;
    assert_ok(qdbg_graph_add_value(g, name, QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, NULL, &v));
    return v;
}

static void add_node(qdbg_graph *g, const char *op, const char *name, uint32_t in, uint32_t out)
{
    assert_ok(qdbg_graph_add_node(g, op, name, &in, 1, &out, 1, NULL));
}

/* ---- what makes it fail ---- */

static void graph_without_output_is_refused(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    (void)state;
    make_input(g, "x", DIMS(1, 4));
    assert_fails(ctx, qdbg_graph_finish(g), QDBG_E_INVALID, "no output");
    qdbg_graph_destroy(g);
    assert_int_equal(qdbg_graph_finish(NULL), QDBG_E_INVALID);
    qdbg_ctx_destroy(ctx);
}

static void value_from_nowhere_is_named(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (int as_output = 0; as_output < 2; as_output++) {
        qdbg_graph *g = make_graph(ctx, 13);
        uint32_t lost = plain_value(g, "lost");
        uint32_t y = make_node(g, "Relu", "reader", &lost, 1, NULL);
        assert_ok(qdbg_graph_add_output(g, as_output ? lost : y));
        assert_fails(ctx, qdbg_graph_finish(g), QDBG_E_INVALID, "'lost'");
        assert_string_equal(error_of(ctx).value, "lost");
        assert_string_equal(error_of(ctx).node, as_output ? "" : "reader");
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

static void value_that_nobody_reads_needs_no_source(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 4));
    plain_value(g, "idle");
    make_finish(g, make_node(g, "Relu", "y", &x, 1, NULL));
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void cycles_are_refused(void **state)
{
    static const struct {
        int n;
        uint32_t in[4];
        const char *culprit;
    } rows[] = {
        {1, {0}, "'n0'"},          /* reads itself */
        {2, {1, 0}, "'n0'"},       /* two that read each other */
        {4, {2, 0, 1, 0}, "'n0'"}, /* three, and one behind them */
    };
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        qdbg_graph *g = make_graph(ctx, 13);
        uint32_t v[4];
        char name[16];
        for (int i = 0; i < rows[k].n; i++) {
            snprintf(name, sizeof name, "n%d", i);
            v[i] = plain_value(g, name);
        }
        for (int i = 0; i < rows[k].n; i++)
            add_node(g, "Relu", NULL, v[rows[k].in[i]], v[i]);
        assert_ok(qdbg_graph_add_output(g, v[0]));
        assert_fails(ctx, qdbg_graph_finish(g), QDBG_E_INVALID, "cycle");
        assert_non_null(strstr(qdbg_ctx_error_message(ctx), rows[k].culprit));
        assert_string_equal(error_of(ctx).node, "n0");
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

static void misfits_name_the_node(void **state)
{
    static const int64_t zero = 0;
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_view i64 = QDBG_VIEW_INIT;
    (void)state;
    assert_ok(qdbg_view_init(&i64, QDBG_I64, 0, NULL, (void *)(uintptr_t)&zero));
    for (int k = 0; k < 2; k++) {
        static const float ones[3] = {1, 1, 1};
        uint32_t other;
        qdbg_graph *g = make_graph(ctx, 13);
        uint32_t x = make_input(g, "x", DIMS(1, 4));
        if (k == 0)
            other = make_param(g, "p", DIMS(3), ones);
        else
            assert_ok(qdbg_graph_add_parameter(g, "p", &i64, &other));
        uint32_t y = make_node(g, "Add", "sum", VALUES(x, other), NULL);
        assert_ok(qdbg_graph_add_output(g, y));
        assert_fails(ctx, qdbg_graph_finish(g), k == 0 ? QDBG_E_SHAPE : QDBG_E_TYPE, "Add 'sum'");
        assert_string_equal(error_of(ctx).node, "sum");
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

/* A graph x -> Relu -> y whose y is declared so. */
static qdbg_graph *declared(qdbg_ctx *ctx, int64_t batch, int32_t dtype, uint32_t rank,
                            const int64_t *dims)
{
    const int64_t in[] = {batch, 4};
    uint32_t x, y;
    qdbg_graph *g = make_graph(ctx, 13);
    assert_ok(qdbg_graph_add_value(g, "x", QDBG_F32, 2, in, &x));
    assert_ok(qdbg_graph_add_input(g, x));
    assert_ok(qdbg_graph_add_value(g, "y", dtype, rank, dims, &y));
    add_node(g, "Relu", "n", x, y);
    assert_ok(qdbg_graph_add_output(g, y));
    return g;
}

static void declared_shapes_must_agree(void **state)
{
    static const struct {
        int64_t batch;
        int32_t dtype;
        uint32_t rank;
        int64_t dims[2];
        qdbg_status status;
    } rows[] = {
        {1, QDBG_F32, 2, {1, 4}, QDBG_OK},
        {1, QDBG_F32, 2, {-1, -1}, QDBG_OK},
        {1, QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, {0, 0}, QDBG_OK},
        {1, QDBG_I64, QDBG_RANK_UNKNOWN, {0, 0}, QDBG_E_TYPE},
        {1, QDBG_F32, 1, {4, 0}, QDBG_E_SHAPE},
        {1, QDBG_F32, 2, {1, 5}, QDBG_E_SHAPE},
        {1, QDBG_F32, 2, {2, 4}, QDBG_E_SHAPE},
        {-1, QDBG_F32, 2, {-1, 4}, QDBG_OK},
        {-1, QDBG_F32, 2, {32, 4}, QDBG_OK}, /* says nothing against one sample */
        {-1, QDBG_F32, 2, {-1, 5}, QDBG_E_SHAPE},
    };
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qdbg_graph *g = declared(ctx, rows[i].batch, rows[i].dtype, rows[i].rank, rows[i].dims);
        assert_int_equal(qdbg_graph_finish(g), rows[i].status);
        if (rows[i].status != QDBG_OK)
            assert_string_equal(error_of(ctx).value, "y");
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

/* ---- what is allowed before and after ---- */

static void expect_closed(qdbg_ctx *ctx, qdbg_graph *g)
{
    static const float one = 1;
    qdbg_view v = make_view(DIMS(1), &one);
    uint32_t x = 0, y = 1, id = 77;
    const int64_t i = 1;
    assert_fails(ctx, qdbg_graph_finish(g), QDBG_E_STATE, "");
    assert_fails(ctx, qdbg_graph_add_value(g, "new", QDBG_F32, 0, NULL, &id), QDBG_E_STATE, "");
    assert_fails(ctx, qdbg_graph_add_parameter(g, "new", &v, &id), QDBG_E_STATE, "");
    assert_fails(ctx, qdbg_graph_add_node(g, "Relu", "n", &x, 1, &y, 1, &id), QDBG_E_STATE, "");
    assert_fails(ctx, qdbg_graph_add_input(g, y), QDBG_E_STATE, "");
    assert_fails(ctx, qdbg_graph_add_output(g, x), QDBG_E_STATE, "");
    assert_fails(ctx, qdbg_graph_set_int(g, 0, "a", 1), QDBG_E_STATE, "");
    assert_fails(ctx, qdbg_graph_set_ints(g, 0, "a", &i, 1), QDBG_E_STATE, "");
    assert_fails(ctx, qdbg_graph_set_float(g, 0, "a", 1), QDBG_E_STATE, "");
    assert_fails(ctx, qdbg_graph_set_floats(g, 0, "a", &one, 1), QDBG_E_STATE, "");
    assert_fails(ctx, qdbg_graph_set_string(g, 0, "a", "b"), QDBG_E_STATE, "");
    assert_fails(ctx, qdbg_graph_set_tensor(g, 0, "a", &v), QDBG_E_STATE, "");
    assert_int_equal(id, 77);
}

static void finished_graph_does_not_change(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = declared(ctx, 1, QDBG_F32, QDBG_RANK_UNKNOWN, NULL);
    (void)state;
    assert_ok(qdbg_graph_finish(g));
    expect_closed(ctx, g);
    assert_int_equal(qdbg_graph_value_count(g), 2);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void graph_that_failed_can_only_be_destroyed(void **state)
{
    const int64_t wrong[] = {1, 5};
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = declared(ctx, 1, QDBG_F32, 2, wrong);
    qdbg_model *m = NULL;
    (void)state;
    assert_int_equal(qdbg_graph_finish(g), QDBG_E_SHAPE);
    expect_closed(ctx, g);
    assert_fails(ctx, qdbg_model_create(g, &m), QDBG_E_STATE, "finished");
    assert_null(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- order ---- */

/* A random graph without cycles whose nodes are added in random order. inputs[i] are nodes' outputs
 * below `i` in some hidden order, or the graph's input. */
#define N_NODES 1500

typedef struct dag {
    uint32_t out[N_NODES];   /* value of hidden node i */
    uint32_t in[N_NODES][3]; /* values */
    uint32_t n_in[N_NODES];
    uint32_t added_as[N_NODES];  /* hidden node -> number when added */
    uint32_t hidden_of[N_NODES]; /* the reverse */
} dag;

static void shuffle(uint32_t *list, uint32_t n, uint64_t *seed)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)make_int(seed, 0, i - 1), swap = list[i - 1];
        list[i - 1] = list[j];
        list[j] = swap;
    }
}

static qdbg_graph *random_dag(qdbg_ctx *ctx, uint32_t n, uint64_t seed, dag *d)
{
    char name[16];
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 4));
    for (uint32_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "v%u", i);
        d->out[i] = plain_value(g, name);
        d->n_in[i] = (uint32_t)make_int(&seed, 1, 3);
        for (uint32_t k = 0; k < d->n_in[i]; k++) {
            uint32_t from = (uint32_t)make_int(&seed, 0, i); /* i: the graph's input */
            d->in[i][k] = from == i ? x : d->out[from];
        }
        d->hidden_of[i] = i;
    }
    shuffle(d->hidden_of, n, &seed);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t hidden = d->hidden_of[i];
        d->added_as[hidden] = i;
        assert_ok(qdbg_graph_add_node(g, "Custom", NULL, d->in[hidden], d->n_in[hidden],
                                      &d->out[hidden], 1, NULL));
        assert_ok(qdbg_graph_set_int(g, i, "hidden", hidden));
    }
    assert_ok(qdbg_graph_add_output(g, d->out[n - 1]));
    assert_ok(qdbg_graph_finish(g));
    return g;
}

static uint32_t hidden_at(const qdbg_graph *g, uint32_t node)
{
    const int64_t *value;
    uint32_t n;
    assert_ok(qdbg_graph_get_ints(g, node, "hidden", &value, &n));
    return (uint32_t)value[0];
}

/* Whether hidden node `i` has all it reads when those with done[] have run. */
static bool ready(const dag *d, uint32_t i, const qdbg_graph *g, const bool *done)
{
    for (uint32_t k = 0; k < d->n_in[i]; k++) {
        uint32_t producer = value_info(g, d->in[i][k]).producer;
        if (producer != QDBG_NONE && !done[producer])
            return false;
    }
    return true;
}

/* At each place stands, of the nodes that could stand there, the one that was added first: the
 * order of adding is kept where it may be. */
static void check_order(const qdbg_graph *g, const dag *d, uint32_t n)
{
    bool *done = calloc(n, sizeof *done); /* by place */
    assert_non_null(done);
    for (uint32_t place = 0; place < n; place++) {
        uint32_t hidden = hidden_at(g, place);
        assert_int_equal(value_info(g, d->out[hidden]).producer, place);
        assert_true(ready(d, hidden, g, done));
        for (uint32_t i = 0; i < d->added_as[hidden]; i++) {
            uint32_t other = d->hidden_of[i];
            uint32_t at = value_info(g, d->out[other]).producer;
            assert_true(at < place || !ready(d, other, g, done));
        }
        done[place] = true;
    }
    free(done);
}

static void check_consumers(const qdbg_graph *g, uint32_t n)
{
    uint32_t n_values = qdbg_graph_value_count(g);
    uint32_t *seen = calloc(n_values, sizeof *seen);
    assert_non_null(seen);
    for (uint32_t i = 0; i < n; i++) {
        qdbg_node_info node = node_info(g, i);
        for (uint32_t k = 0; k < node.n_inputs; k++) {
            const qdbg__value *v = &g->values[node.inputs[k]];
            assert_true(seen[node.inputs[k]] < v->n_consumers);
            assert_int_equal(v->consumers[seen[node.inputs[k]]++], i); /* in order, once a use */
        }
    }
    for (uint32_t v = 0; v < n_values; v++)
        assert_int_equal(value_info(g, v).n_consumers, seen[v]);
    free(seen);
}

static void random_graphs_are_sorted_and_keep_their_order(void **state)
{
    static const uint32_t sizes[] = {1, 2, 3, 7, 30, 200};
    dag *d = calloc(1, sizeof *d);
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    assert_non_null(d);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (uint64_t seed = 1; seed <= 5; seed++) {
            qdbg_graph *g = random_dag(ctx, sizes[k], seed, d);
            check_order(g, d, sizes[k]);
            check_consumers(g, sizes[k]);
            qdbg_graph_destroy(g);
        }
    qdbg_graph *g = random_dag(ctx, N_NODES, 9, d);
    check_consumers(g, N_NODES);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
    free(d);
}

static void sorted_graph_keeps_the_order_of_adding(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    char name[16];
    (void)state;
    uint32_t v[50];
    v[0] = make_input(g, "x", DIMS(1, 4));
    for (uint32_t i = 1; i < 50; i++) {
        snprintf(name, sizeof name, "n%u", i);
        v[i] = make_node(g, "Relu", name, &v[(i - 1) / 3], 1, NULL); /* a tree */
    }
    make_finish(g, v[49]);
    for (uint32_t i = 1; i < 50; i++)
        assert_int_equal(value_info(g, v[i]).producer, i - 1);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- inference ---- */

static void shapes_are_inferred_up_to_what_is_unknown(void **state)
{
    const int64_t batch[] = {QDBG_DIM_UNKNOWN, 4};
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x, q;
    (void)state;
    assert_ok(qdbg_graph_add_value(g, "x", QDBG_F32, 2, batch, &x));
    assert_ok(qdbg_graph_add_input(g, x));
    uint32_t r = make_node(g, "Relu", "r", &x, 1, NULL);
    const int64_t told[] = {QDBG_DIM_UNKNOWN, 9};
    assert_ok(qdbg_graph_add_value(g, "q", QDBG_F32, 2, told, &q));
    add_node(g, "MyOwnThing", "mine", r, q);
    uint32_t behind = make_node(g, "Relu", "behind", &q, 1, NULL);
    make_finish(g, behind);
    qdbg_value_info info = value_info(g, r);
    assert_int_equal(info.dtype, QDBG_F32);
    assert_int_equal(info.rank, 2);
    assert_int_equal(info.dims[0], 1); /* one sample */
    assert_int_equal(info.dims[1], 4);
    info = value_info(g, x);
    assert_int_equal(info.dims[0], QDBG_DIM_UNKNOWN); /* as it was declared */
    info = value_info(g, q);
    assert_int_equal(info.rank, 2);
    assert_int_equal(info.dims[1], 9);
    info = value_info(g, behind);
    assert_int_equal(info.rank, QDBG_RANK_UNKNOWN);
    assert_int_equal(info.dtype, QDBG_DTYPE_NONE);
    assert_int_equal(node_info(g, 0).is_known, 1);
    assert_int_equal(node_info(g, 1).is_known, 0);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void ends_may_coincide(void **state)
{
    static const float two = 2;
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 4)), p = make_param(g, "p", DIMS(1), &two);
    assert_ok(qdbg_graph_add_output(g, x));
    assert_ok(qdbg_graph_add_output(g, p));
    uint32_t y = make_node(g, "Mul", "y", VALUES(x, p), NULL);
    make_finish(g, y);
    assert_int_equal(value_info(g, x).n_consumers, 1);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* x -> MatMul with a copy of a copy of w -> y; `told`: the first copy is an output. Nodes are added
 * in reverse. */
static qdbg_graph *net_of_copies(qdbg_ctx *ctx, bool told)
{
    static const float w[] = {1, 2, 3, 4};
    uint32_t a, b, y;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 2)), p = make_param(g, "w", DIMS(2, 2), w);
    assert_ok(qdbg_graph_add_value(g, "a", QDBG_F32, QDBG_RANK_UNKNOWN, NULL, &a));
    assert_ok(qdbg_graph_add_value(g, "b", QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, NULL, &b));
    assert_ok(qdbg_graph_add_value(g, "y", QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, NULL, &y));
    const uint32_t in[] = {x, b};
    assert_ok(qdbg_graph_add_node(g, "MatMul", "m", in, 2, &y, 1, NULL));
    assert_ok(qdbg_graph_add_node(g, "Identity", "second", &a, 1, &b, 1, NULL));
    assert_ok(qdbg_graph_add_node(g, "Identity", "first", &p, 1, &a, 1, NULL));
    assert_ok(qdbg_graph_add_output(g, y));
    if (told)
        assert_ok(qdbg_graph_add_output(g, a));
    assert_ok(qdbg_graph_finish(g));
    return g;
}

/* Behind Identity a weight is a weight: quantized, and set by its own name. */
static void copies_of_parameters_are_the_parameters(void **state)
{
    (void)state;
    for (int told = 0; told < 2; told++) {
        static const float doubled[] = {2, 4, 6, 8}, want[] = {20, 28};
        float one[] = {1, 3}, result[2], copy[4];
        qdbg_ctx *ctx = make_ctx(1);
        qdbg_graph *g = net_of_copies(ctx, told);
        uint32_t w = value_of(g, "w");
        assert_int_equal(g->n_nodes, 1 + told); /* the output is still computed */
        const qdbg__node *m = &g->nodes[g->values[value_of(g, "y")].producer];
        assert_string_equal(m->name, "m");
        assert_int_equal(m->in[1], w);
        assert_int_equal(g->values[w].n_consumers, 1 + told);
        assert_int_equal(g->values[value_of(g, "b")].n_consumers, 0);
        assert_int_equal(g->values[value_of(g, "b")].producer, QDBG_NONE);
        qdbg_model *model = builtin_model(g);
        qdbg_sim *sim;
        assert_ok(qdbg_sim_create(model, NULL, &sim));
        assert_int_not_equal(qdbg_sim_find_quantizer(sim, "w"), QDBG_NONE);
        qdbg_sim_destroy(sim);
        assert_ok(qdbg_model_set_parameter(model, w, doubled, 4));
        qdbg_view x = make_view(DIMS(1, 2), one);
        qdbg_view out[] = {make_view(DIMS(1, 2), result), make_view(DIMS(2, 2), copy)};
        assert_ok(qdbg_model_run(model, &x, 1, out, 1 + (uint32_t)told));
        assert_memory_equal(result, want, sizeof want);
        if (told)
            assert_memory_equal(copy, doubled, sizeof copy);
        qdbg_model_destroy(model);
        qdbg_graph_destroy(g);
        qdbg_ctx_destroy(ctx);
    }
}

/* An Identity of itself, or of an input, is no copy of a parameter. */
static void other_identities_stay(void **state)
{
    uint32_t loop, y;
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 2)), i = make_node(g, "Identity", "i", &x, 1, NULL);
    make_finish(g, make_node(g, "Relu", "y", &i, 1, NULL));
    assert_int_equal(g->n_nodes, 2);
    qdbg_graph_destroy(g);
    g = make_graph(ctx, 13);
    assert_ok(qdbg_graph_add_value(g, "loop", QDBG_F32, QDBG_RANK_UNKNOWN, NULL, &loop));
    assert_ok(qdbg_graph_add_value(g, "y", QDBG_F32, QDBG_RANK_UNKNOWN, NULL, &y));
    assert_ok(qdbg_graph_add_node(g, "Identity", "turn", &loop, 1, &loop, 1, NULL));
    assert_ok(qdbg_graph_add_node(g, "Relu", "r", &loop, 1, &y, 1, NULL));
    assert_ok(qdbg_graph_add_output(g, y));
    assert_fails(ctx, qdbg_graph_finish(g), QDBG_E_INVALID, "cycle");
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void ask_back(void *user, int32_t level, const char *message)
{
    qdbg_quant_spec spec = QDBG_QUANT_SPEC_INIT;
    qdbg_encoding e = QDBG_ENCODING_INIT;
    (void)level, (void)message;
    qdbg_encoding_from_range(*(qdbg_ctx **)user, &spec, 0, 1, &e);
}

/* A misfit is told in full although the log's own call has cleared the record meanwhile. */
static void misfits_are_told_after_a_log_that_calls_the_library(void **state)
{
    qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx = NULL;
    (void)state;
    o.log = ask_back;
    o.log_user = &ctx;
    assert_ok(qdbg_ctx_create(&o, &ctx));
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x[2] = {make_input(g, "x", DIMS(1, 2)), make_input(g, "z", DIMS(1, 3))};
    assert_ok(qdbg_graph_add_output(g, make_node(g, "Add", "sum", x, 2, NULL)));
    assert_fails(ctx, qdbg_graph_finish(g), QDBG_E_SHAPE, "Add 'sum'");
    assert_string_equal(error_of(ctx).node, "sum");
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* Long chains of them, of an input and of a parameter, the latter added from the end: time does not
 * grow with the square of their length. */
static void long_chains_of_identities_are_followed(void **state)
{
    enum { LENGTH = 100000 };
    static uint32_t copy[LENGTH + 1];
    static const float two[] = {1, 2};
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 2));
    char name[16];
    (void)state;
    copy[0] = make_param(g, "p", DIMS(2), two);
    for (int i = 1; i <= LENGTH; i++) {
        snprintf(name, sizeof name, "c%d", i);
        copy[i] = plain_value(g, name);
        snprintf(name, sizeof name, "x%d", i);
        x = make_node(g, "Identity", name, &x, 1, NULL);
    }
    for (int i = LENGTH; i > 0; i--) {
        snprintf(name, sizeof name, "n%d", i);
        assert_ok(qdbg_graph_add_node(g, "Identity", name, &copy[i - 1], 1, &copy[i], 1, NULL));
    }
    uint32_t node;
    make_finish(g, make_node(g, "Add", "y", VALUES(x, copy[LENGTH]), &node));
    assert_int_equal(qdbg_graph_node_count(g), LENGTH + 1);
    assert_int_equal(node_info(g, LENGTH).inputs[1], copy[0]);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(graph_without_output_is_refused),
        cmocka_unit_test(value_from_nowhere_is_named),
        cmocka_unit_test(value_that_nobody_reads_needs_no_source),
        cmocka_unit_test(cycles_are_refused),
        cmocka_unit_test(misfits_name_the_node),
        cmocka_unit_test(declared_shapes_must_agree),
        cmocka_unit_test(finished_graph_does_not_change),
        cmocka_unit_test(graph_that_failed_can_only_be_destroyed),
        cmocka_unit_test(random_graphs_are_sorted_and_keep_their_order),
        cmocka_unit_test(sorted_graph_keeps_the_order_of_adding),
        cmocka_unit_test(shapes_are_inferred_up_to_what_is_unknown),
        cmocka_unit_test(ends_may_coincide),
        cmocka_unit_test(copies_of_parameters_are_the_parameters),
        cmocka_unit_test(other_identities_stay),
        cmocka_unit_test(misfits_are_told_after_a_log_that_calls_the_library),
        cmocka_unit_test(long_chains_of_identities_are_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
