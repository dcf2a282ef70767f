/* Inference over whole graphs: what is known, what is folded, what is refused and in which words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../lib/graph/op.h"

#define FLOATS(...) ((float[]){__VA_ARGS__})
#define INTS(...) ((int64_t[]){__VA_ARGS__})
#define IDS(...) ((const uint32_t[]){__VA_ARGS__}), sizeof((const uint32_t[]){__VA_ARGS__}) / 4

/* A graph under construction, with one input 'x'. */
typedef struct world {
    qdbg_ctx *ctx;
    qdbg_graph *graph;
    uint32_t x;
    qdbg_view feed;
    qdbg__facts facts;
    int logged;
} world;

static void count_log(void *user, int32_t level, const char *message)
{
    (void)level;
    (void)message;
    ++*(int *)user;
}

static void begin(world *w, uint32_t opset, int32_t dtype, uint32_t rank, const int64_t *dims)
{
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    *w = (world){0};
    options.threads = 1;
    options.log = count_log;
    options.log_user = &w->logged;
    assert_int_equal(qdbg_ctx_create(&options, &w->ctx), QDBG_OK);
    assert_int_equal(qdbg_graph_create(w->ctx, opset, &w->graph), QDBG_OK);
    assert_int_equal(qdbg_graph_add_value(w->graph, "x", dtype, rank, dims, &w->x), QDBG_OK);
    assert_int_equal(qdbg_graph_add_input(w->graph, w->x), QDBG_OK);
    w->feed = (qdbg_view)QDBG_VIEW_INIT;
    w->feed.dtype = dtype;
    w->feed.rank = rank;
    if (rank != QDBG_RANK_UNKNOWN)
        memcpy(w->feed.dims, dims, rank * sizeof *dims);
}

static void end(world *w)
{
    qdbg__facts_free(&w->facts);
    qdbg_graph_destroy(w->graph);
    qdbg_ctx_destroy(w->ctx);
}

static uint32_t param(world *w, int32_t dtype, int64_t n, const void *data)
{
    char name[24];
    qdbg_view view;
    uint32_t id;
    snprintf(name, sizeof name, "p%u", qdbg_graph_value_count(w->graph));
    assert_int_equal(qdbg_view_init(&view, dtype, n < 0 ? 0 : 1, &n, (void *)(uintptr_t)data),
                     QDBG_OK);
    assert_int_equal(qdbg_graph_add_parameter(w->graph, name, &view, &id), QDBG_OK);
    return id;
}

/* A node whose one output has the node's name. */
static uint32_t node(world *w, const char *op, const char *name, const uint32_t *in, size_t n_in)
{
    uint32_t out;
    assert_int_equal(
        qdbg_graph_add_value(w->graph, name, QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, NULL, &out),
        QDBG_OK);
    assert_int_equal(qdbg_graph_add_node(w->graph, op, name, in, (uint32_t)n_in, &out, 1, NULL),
                     QDBG_OK);
    return out;
}

static void set_int(world *w, const char *name, int64_t value)
{
    assert_int_equal(qdbg_graph_set_int(w->graph, qdbg_graph_node_count(w->graph) - 1, name, value),
                     QDBG_OK);
}

static qdbg_status infer(world *w, uint32_t output, bool strict)
{
    if (!w->graph->finished) {
        assert_int_equal(qdbg_graph_add_output(w->graph, output), QDBG_OK);
        qdbg_status status = qdbg_graph_finish(w->graph);
        if (status != QDBG_OK)
            return status;
    }
    return qdbg__facts_infer(w->graph, &w->feed, strict, &w->facts);
}

static bool folded(const world *w, uint32_t value)
{
    return w->facts.nodes[w->graph->values[value].producer].folded;
}

static void assert_refused(world *w, uint32_t output, bool strict, qdbg_status want,
                           const char *text)
{
    qdbg_status status = infer(w, output, strict);
    if (status != want || !strstr(qdbg_ctx_error_message(w->ctx), text))
        fail_msg("%s: '%s', not %s with '%s'", qdbg_status_name(status),
                 qdbg_ctx_error_message(w->ctx), qdbg_status_name(want), text);
}

/* ---- helpers ---- */

static void broadcasting_is_numpys(void **state)
{
    static const struct {
        uint32_t rank_a, rank_b, rank;
        int64_t a[3], b[3], want[3];
    } rows[] = {
        {2, 1, 2, {2, 3}, {3}, {2, 3}},
        {0, 2, 2, {0}, {4, 5}, {4, 5}},
        {3, 2, 3, {4, 1, 3}, {2, 1}, {4, 2, 3}},
        {1, 1, 1, {0}, {1}, {0}},
        {2, 1, 0, {2, 3}, {2}, {0}},
        {1, 1, 0, {0}, {2}, {0}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t rank;
        int64_t dims[QDBG_MAX_RANK];
        bool fits =
            qdbg__broadcast(rows[i].rank_a, rows[i].a, rows[i].rank_b, rows[i].b, &rank, dims);
        assert_int_equal(fits, rows[i].rank > 0);
        if (fits) {
            assert_int_equal(rank, rows[i].rank);
            assert_memory_equal(dims, rows[i].want, rank * sizeof *dims);
        }
    }
}

static void negative_axes_count_from_the_end(void **state)
{
    uint32_t axis = 9;
    (void)state;
    assert_true(qdbg__axis(-1, 3, &axis));
    assert_int_equal(axis, 2);
    assert_true(qdbg__axis(0, 1, &axis));
    assert_int_equal(axis, 0);
    assert_false(qdbg__axis(3, 3, &axis));
    assert_false(qdbg__axis(-4, 3, &axis));
    assert_false(qdbg__axis(0, 0, &axis));
    assert_false(qdbg__axis(INT64_MIN, 3, &axis));
    assert_false(qdbg__axis(INT64_MAX, 3, &axis));
}

/* ---- what is refused ---- */

static void all_unknown_operators_are_named_at_once(void **state)
{
    world w;
    (void)state;
    begin(&w, 13, QDBG_F32, 1, INTS(3));
    uint32_t a = node(&w, "Frob", "f1", IDS(w.x)), b = node(&w, "Frob", "f2", IDS(a));
    uint32_t c = node(&w, "Relu", "r", IDS(b)), d = node(&w, "Twiddle", "t", IDS(c));
    assert_refused(&w, d, true, QDBG_E_UNSUPPORTED,
                   "2 operators are not supported: Frob (2 nodes, first 'f1'), Twiddle (1 node, "
                   "'t')");
    qdbg_error_info info = QDBG_ERROR_INFO_INIT;
    assert_int_equal(qdbg_ctx_error(w.ctx, &info), QDBG_OK);
    assert_string_equal(info.node, "f1");
    end(&w);
}

static void behind_an_unknown_operator_all_is_unknown(void **state)
{
    world w;
    (void)state;
    begin(&w, 13, QDBG_F32, 1, INTS(3));
    uint32_t a = node(&w, "Relu", "a", IDS(w.x)), b = node(&w, "Frob", "b", IDS(a));
    uint32_t c = node(&w, "Relu", "c", IDS(b));
    assert_int_equal(infer(&w, c, false), QDBG_OK);
    assert_true(w.facts.values[a].known);
    assert_false(w.facts.values[b].known);
    assert_false(w.facts.values[c].known);
    assert_int_equal(w.logged, 0);
    assert_string_equal(qdbg_ctx_error_message(w.ctx), "");
    end(&w);
}

static void contradictions_fail_even_when_not_strict(void **state)
{
    world w;
    (void)state;
    begin(&w, 13, QDBG_F32, 2, INTS(2, 3));
    uint32_t p = param(&w, QDBG_F32, 2, FLOATS(1, 2)), a = node(&w, "Add", "a", IDS(w.x, p));
    assert_refused(&w, a, false, QDBG_E_SHAPE, "Add 'a': cannot broadcast [2,3] with [2]");
    assert_int_equal(w.logged, 1);
    end(&w);
}

static void what_the_library_lacks_fails_only_when_strict(void **state)
{
    world w;
    (void)state;
    begin(&w, 13, QDBG_F16, 1, INTS(3));
    uint32_t a = node(&w, "Exp", "a", IDS(w.x));
    assert_int_equal(infer(&w, a, false), QDBG_OK);
    assert_false(w.facts.values[a].known);
    assert_int_equal(w.logged, 0);
    qdbg__facts_free(&w.facts);
    assert_refused(&w, a, true, QDBG_E_UNSUPPORTED,
                   "Exp 'a': element type float16 is not supported");
    end(&w);
}

static void shapes_that_are_computed_from_data_are_refused(void **state)
{
    world w;
    (void)state;
    begin(&w, 13, QDBG_I64, 1, INTS(2));
    uint32_t p = param(&w, QDBG_F32, 4, FLOATS(1, 2, 3, 4));
    uint32_t a = node(&w, "Reshape", "a", IDS(p, w.x));
    assert_int_equal(infer(&w, a, false), QDBG_OK);
    assert_false(w.facts.values[a].known);
    qdbg__facts_free(&w.facts);
    assert_refused(&w, a, true, QDBG_E_UNSUPPORTED, "Reshape 'a': 'shape' is not constant");
    end(&w);
}

static void inputs_of_unknown_shape_are_named_when_strict(void **state)
{
    world w;
    (void)state;
    begin(&w, 13, QDBG_F32, 2, INTS(-1, 3));
    uint32_t a = node(&w, "Relu", "a", IDS(w.x));
    assert_int_equal(infer(&w, a, false), QDBG_OK);
    assert_false(w.facts.values[a].known);
    qdbg__facts_free(&w.facts);
    assert_refused(&w, a, true, QDBG_E_SHAPE, "the shape of input 'x' is not known");
    end(&w);
}

static void numbers_of_inputs_and_outputs_are_checked(void **state)
{
    static const struct {
        const char *op;
        size_t n_in;
        const char *text;
    } rows[] = {{"Add", 1, "Add 'a': has 1 inputs"},
                {"Relu", 2, "Relu 'a': has 2 inputs"},
                {"Where", 2, "Where 'a': has 2 inputs"}};
    world w;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        begin(&w, 13, QDBG_F32, 1, INTS(3));
        const uint32_t in[2] = {w.x, w.x};
        uint32_t a = node(&w, rows[i].op, "a", in, rows[i].n_in);
        assert_refused(&w, a, false, QDBG_E_INVALID, rows[i].text);
        end(&w);
    }
    begin(&w, 13, QDBG_F32, 1, INTS(3));
    uint32_t a = node(&w, "Concat", "a", IDS(w.x, QDBG_NONE));
    assert_refused(&w, a, false, QDBG_E_INVALID, "Concat 'a': input 1 is left out");
    end(&w);
}

static void results_too_large_to_count_are_refused(void **state)
{
    world w;
    (void)state;
    begin(&w, 13, QDBG_F32, 1, INTS(1));
    uint32_t shape = param(&w, QDBG_I64, 3, INTS(INT32_MAX, INT32_MAX, INT32_MAX));
    uint32_t a = node(&w, "Expand", "a", IDS(w.x, shape));
    assert_refused(&w, a, false, QDBG_E_SHAPE, "Expand 'a': output 0 would have the shape");
    end(&w);
    begin(&w, 13, QDBG_F32, 1, INTS(1));
    shape = param(&w, QDBG_I64, 9, INTS(1, 1, 1, 1, 1, 1, 1, 1, 1));
    a = node(&w, "Expand", "a", IDS(w.x, shape));
    assert_refused(&w, a, false, QDBG_E_SHAPE, "'shape' has 9 entries, at most 8 can be");
    end(&w);
    begin(&w, 13, QDBG_F32, 3, INTS(4, (int64_t)1 << 62, (int64_t)1 << 62));
    a = node(&w, "Relu", "a", IDS(w.x));
    assert_refused(&w, a, false, QDBG_E_SHAPE, "input 'x' would have more elements");
    end(&w);
}

/* ---- folding ---- */

/* x.reshape(x.shape[0], -1) as PyTorch exports it. */
static void shape_arithmetic_folds(void **state)
{
    world w;
    (void)state;
    begin(&w, 13, QDBG_F32, 3, INTS(2, 3, 4));
    uint32_t zero = param(&w, QDBG_I64, -1, INTS(0)), first = param(&w, QDBG_I64, 1, INTS(0));
    uint32_t rest = param(&w, QDBG_I64, 1, INTS(-1));
    uint32_t shape = node(&w, "Shape", "shape", IDS(w.x));
    uint32_t batch = node(&w, "Gather", "batch", IDS(shape, zero));
    uint32_t row = node(&w, "Unsqueeze", "row", IDS(batch, first));
    uint32_t wanted = node(&w, "Concat", "wanted", IDS(row, rest));
    set_int(&w, "axis", 0);
    uint32_t y = node(&w, "Reshape", "y", IDS(w.x, wanted));
    assert_int_equal(infer(&w, y, true), QDBG_OK);
    assert_true(folded(&w, shape) && folded(&w, batch) && folded(&w, row) && folded(&w, wanted));
    assert_memory_equal(w.facts.values[wanted].view.data, INTS(2, -1), 2 * sizeof(int64_t));
    assert_true(w.facts.values[wanted].owned);
    assert_false(folded(&w, y));
    assert_int_equal(w.facts.values[y].view.rank, 2);
    assert_int_equal(w.facts.values[y].view.dims[1], 12);
    end(&w);
}

/* The size of an Upsample as old exports compute it: by way of floats. */
static void shape_arithmetic_folds_through_floats(void **state)
{
    world w;
    (void)state;
    begin(&w, 11, QDBG_F32, 2, INTS(4, 6));
    uint32_t scale = param(&w, QDBG_F32, -1, FLOATS(1.5f));
    uint32_t shape = node(&w, "Shape", "shape", IDS(w.x));
    uint32_t real = node(&w, "Cast", "real", IDS(shape));
    set_int(&w, "to", QDBG_F32);
    uint32_t scaled = node(&w, "Mul", "scaled", IDS(real, scale));
    uint32_t whole = node(&w, "Floor", "whole", IDS(scaled));
    uint32_t size = node(&w, "Cast", "size", IDS(whole));
    set_int(&w, "to", QDBG_I64);
    uint32_t y = node(&w, "Resize", "y", IDS(w.x, QDBG_NONE, QDBG_NONE, size));
    assert_int_equal(infer(&w, y, true), QDBG_OK);
    assert_true(folded(&w, real) && folded(&w, scaled) && folded(&w, whole) && folded(&w, size));
    assert_int_equal(w.facts.values[y].view.dims[0], 6);
    assert_int_equal(w.facts.values[y].view.dims[1], 9);
    end(&w);
}

static void weights_do_not_fold(void **state)
{
    world w;
    (void)state;
    begin(&w, 13, QDBG_F32, 1, INTS(2));
    uint32_t p = param(&w, QDBG_F32, 2, FLOATS(1, 2)), q = param(&w, QDBG_F32, 2, FLOATS(3, 4));
    uint32_t index = param(&w, QDBG_I64, 1, INTS(0));
    uint32_t minus = node(&w, "Neg", "minus", IDS(p));
    uint32_t sum = node(&w, "Add", "sum", IDS(p, q));
    uint32_t picked = node(&w, "Gather", "picked", IDS(p, index));
    uint32_t a = node(&w, "Sum", "y", IDS(w.x, minus, sum, picked));
    assert_int_equal(infer(&w, a, true), QDBG_OK);
    assert_false(folded(&w, minus) || folded(&w, sum) || folded(&w, picked) || folded(&w, a));
    end(&w);
}

/* A small float constant beside shape arithmetic belongs to it; a large one is a weight. */
static void large_weights_do_not_fold_beside_shapes(void **state)
{
    static float weight[4097];
    (void)state;
    for (int64_t n = 4096; n <= 4097; n++) {
        world w;
        begin(&w, 13, QDBG_F32, 1, INTS(1));
        uint32_t p = param(&w, QDBG_F32, n, weight);
        uint32_t shape = node(&w, "Shape", "shape", IDS(w.x));
        uint32_t part = node(&w, "Expand", "part", IDS(p, shape));
        uint32_t y = node(&w, "Add", "y", IDS(w.x, part));
        assert_int_equal(infer(&w, y, true), QDBG_OK);
        assert_int_equal(folded(&w, part), n == 4096);
        end(&w);
    }
}

static void literals_fold_but_stay_weights(void **state)
{
    qdbg_view literal;
    world w;
    (void)state;
    begin(&w, 13, QDBG_F32, 1, INTS(2));
    qdbg_view_init(&literal, QDBG_F32, 1, INTS(2), FLOATS(5, 6));
    uint32_t value = node(&w, "Constant", "value", NULL, 0);
    qdbg_graph_set_tensor(w.graph, qdbg_graph_node_count(w.graph) - 1, "value", &literal);
    uint32_t ints = node(&w, "Constant", "ints", NULL, 0);
    qdbg_graph_set_ints(w.graph, qdbg_graph_node_count(w.graph) - 1, "value_ints", INTS(1, 2), 2);
    uint32_t sum = node(&w, "Add", "sum", IDS(value, value));
    uint32_t twice = node(&w, "Add", "twice", IDS(ints, ints));
    uint32_t y = node(&w, "Expand", "y", IDS(w.x, twice));
    assert_int_equal(infer(&w, y, false), QDBG_E_SHAPE); /* [2] to [2,4]: the values are known */
    end(&w);
    begin(&w, 13, QDBG_F32, 1, INTS(2));
    value = node(&w, "Constant", "value", NULL, 0);
    qdbg_graph_set_tensor(w.graph, qdbg_graph_node_count(w.graph) - 1, "value", &literal);
    sum = node(&w, "Add", "sum", IDS(value, value));
    y = node(&w, "Add", "y", IDS(sum, w.x));
    assert_int_equal(infer(&w, y, true), QDBG_OK);
    assert_true(folded(&w, value));
    assert_false(folded(&w, sum));
    assert_memory_equal(w.facts.values[value].view.data, FLOATS(5, 6), 2 * sizeof(float));
    end(&w);
}

static void large_results_are_left_to_the_executor(void **state)
{
    world w;
    (void)state;
    begin(&w, 13, QDBG_F32, 1, INTS(2));
    uint32_t shape = param(&w, QDBG_I64, 1, INTS((1 << 20) + 1));
    uint32_t big = node(&w, "ConstantOfShape", "big", IDS(shape));
    uint32_t one = param(&w, QDBG_I64, 1, INTS(1));
    uint32_t small = node(&w, "ConstantOfShape", "small", IDS(one));
    uint32_t y = node(&w, "Sum", "y", IDS(big, small));
    assert_int_equal(infer(&w, y, true), QDBG_OK);
    assert_false(folded(&w, big));
    assert_true(folded(&w, small));
    assert_false(folded(&w, y));
    end(&w);
}

static void folding_reports_what_cannot_be_computed(void **state)
{
    world w;
    (void)state;
    begin(&w, 13, QDBG_F32, 1, INTS(2));
    uint32_t zero = param(&w, QDBG_I64, 1, INTS(0)), far = param(&w, QDBG_I64, 1, INTS(7));
    uint32_t shape = node(&w, "Shape", "shape", IDS(w.x));
    uint32_t quotient = node(&w, "Div", "quotient", IDS(shape, zero));
    assert_refused(&w, quotient, false, QDBG_E_INVALID, "Div 'quotient': its constant inputs");
    end(&w);
    begin(&w, 13, QDBG_F32, 1, INTS(2));
    far = param(&w, QDBG_I64, 1, INTS(7));
    shape = node(&w, "Shape", "shape", IDS(w.x));
    uint32_t picked = node(&w, "Gather", "picked", IDS(shape, far));
    assert_refused(&w, picked, true, QDBG_E_INVALID, "Gather 'picked': its constant inputs");
    end(&w);
}

static void constants_may_be_empty(void **state)
{
    world w;
    (void)state;
    begin(&w, 13, QDBG_F32, 2, INTS(1, 1));
    uint32_t none = param(&w, QDBG_I64, 0, "");
    uint32_t y = node(&w, "Reshape", "y", IDS(w.x, none));
    assert_int_equal(infer(&w, y, true), QDBG_OK);
    assert_int_equal(w.facts.values[y].view.rank, 0);
    end(&w);
}

/* ---- memory ---- */

typedef struct purse {
    long left; /* allocations until one fails */
    long live;
} purse;

static void *purse_alloc(void *user, size_t size, size_t align)
{
    purse *p = user;
    if (p->left-- <= 0)
        return NULL;
    p->live++;
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void purse_free(void *user, void *ptr, size_t size, size_t align)
{
    (void)size;
    (void)align;
    ((purse *)user)->live--;
    free(ptr);
}

static void running_out_of_memory_leaves_nothing_behind(void **state)
{
    purse p = {1 << 20, 0};
    qdbg_allocator allocator = {sizeof allocator, 0, &p, purse_alloc, purse_free};
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    world w = {0};
    qdbg_status status = QDBG_E_NOMEM;
    (void)state;
    options.allocator = &allocator;
    assert_int_equal(qdbg_ctx_create(&options, &w.ctx), QDBG_OK);
    assert_int_equal(qdbg_graph_create(w.ctx, 13, &w.graph), QDBG_OK);
    assert_int_equal(qdbg_graph_add_value(w.graph, "x", QDBG_F32, 2, INTS(2, 3), &w.x), QDBG_OK);
    assert_int_equal(qdbg_graph_add_input(w.graph, w.x), QDBG_OK);
    uint32_t shape = node(&w, "Shape", "shape", IDS(w.x));
    uint32_t k = param(&w, QDBG_I64, 1, INTS(1));
    uint32_t top = node(&w, "TopK", "top", IDS(shape, k)); /* folds, with scratch memory */
    uint32_t y = node(&w, "Expand", "y", IDS(w.x, top));
    w.feed = (qdbg_view)QDBG_VIEW_INIT;
    w.feed.dtype = QDBG_F32;
    w.feed.rank = 2;
    w.feed.dims[0] = 2;
    w.feed.dims[1] = 3;
    assert_int_equal(qdbg_graph_add_output(w.graph, y), QDBG_OK);
    assert_int_equal(qdbg_graph_finish(w.graph), QDBG_OK);
    long before = p.live, n = 0;
    for (; status != QDBG_OK; n++) {
        p.left = n;
        status = qdbg__facts_infer(w.graph, &w.feed, true, &w.facts);
        if (status != QDBG_OK) {
            assert_int_equal(status, QDBG_E_NOMEM);
            assert_int_equal(p.live, before);
        }
    }
    assert_true(n > 8);
    end(&w);
    assert_int_equal(p.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broadcasting_is_numpys),
        cmocka_unit_test(negative_axes_count_from_the_end),
        cmocka_unit_test(all_unknown_operators_are_named_at_once),
        cmocka_unit_test(behind_an_unknown_operator_all_is_unknown),
        cmocka_unit_test(contradictions_fail_even_when_not_strict),
        cmocka_unit_test(what_the_library_lacks_fails_only_when_strict),
        cmocka_unit_test(shapes_that_are_computed_from_data_are_refused),
        cmocka_unit_test(inputs_of_unknown_shape_are_named_when_strict),
        cmocka_unit_test(numbers_of_inputs_and_outputs_are_checked),
        cmocka_unit_test(results_too_large_to_count_are_refused),
        cmocka_unit_test(shape_arithmetic_folds),
        cmocka_unit_test(shape_arithmetic_folds_through_floats),
        cmocka_unit_test(weights_do_not_fold),
        cmocka_unit_test(large_weights_do_not_fold_beside_shapes),
        cmocka_unit_test(literals_fold_but_stay_weights),
        cmocka_unit_test(large_results_are_left_to_the_executor),
        cmocka_unit_test(folding_reports_what_cannot_be_computed),
        cmocka_unit_test(constants_may_be_empty),
        cmocka_unit_test(running_out_of_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
