/* Contexts and graphs without memory. */
#include "oom.h"

/* ---- contexts ---- */

static void context_needs_memory(void **state)
{
    heap h;
    qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
    (void)state;
    heap_init(&h);
    qdbg_allocator a = heap_allocator(&h);
    o.allocator = &a;
    qdbg_ctx *ctx = UNTOUCHED;
    for (uint64_t at = 1;; at++) {
        heap_arm(&h, at, false);
        qdbg_status status = qdbg_ctx_create(&o, &ctx);
        if (h.n_failed == 0)
            break;
        assert_int_equal(status, QDBG_E_NOMEM);
        assert_ptr_equal(ctx, UNTOUCHED);
        assert_int_equal(h.n_live, 0);
    }
    heap_end(&h, ctx);
}

/* ---- graphs ---- */

static void open_graph(world *w)
{
    w->g = make_graph(w->ctx, 13);
    uint32_t x = make_input(w->g, "x", DIMS(1, 4));
    uint32_t v;
    make_node(w->g, "Relu", "y", &x, 1, NULL);
    for (int i = 0; i < 4; i++) { /* to where lists grow: 8 values, 64 names come later */
        char name[16];
        snprintf(name, sizeof name, "v%d", i);
        assert_ok(qdbg_graph_add_value(w->g, name, QDBG_F32, 0, NULL, &v));
    }
}

/* All lists are full: the next of everything needs more room. */
static void full_graph(world *w)
{
    open_graph(w);
    for (uint32_t i = qdbg_graph_value_count(w->g); i < 64; i++) {
        char name[16];
        snprintf(name, sizeof name, "u%u", i);
        assert_ok(qdbg_graph_add_value(w->g, name, QDBG_F32, 0, NULL, NULL));
    }
    for (uint32_t i = 1; i < 8; i++)
        assert_ok(qdbg_graph_add_input(w->g, i + 10));
    for (uint32_t i = 0; i < 8; i++)
        assert_ok(qdbg_graph_add_output(w->g, i));
    for (uint32_t i = 1; i < 8; i++) {
        uint32_t in = 0, out = i + 30;
        assert_ok(qdbg_graph_add_node(w->g, "Relu", NULL, &in, 1, &out, 1, NULL));
    }
    for (int i = 0; i < 8; i++) {
        char name[16];
        snprintf(name, sizeof name, "a%d", i);
        assert_ok(qdbg_graph_set_int(w->g, 0, name, i));
    }
}

static void graph_is_open(world *w)
{
    assert_int_equal(qdbg_graph_value_count(w->g), 64);
    assert_int_equal(qdbg_graph_node_count(w->g), 8);
    assert_int_equal(qdbg_graph_input_count(w->g), 8);
    assert_int_equal(qdbg_graph_output_count(w->g), 8);
    assert_int_equal(qdbg_graph_find_value(w->g, "new"), QDBG_NONE);
    for (uint32_t i = 20; i < 64; i++) {
        char name[16];
        snprintf(name, sizeof name, "u%u", i);
        assert_int_equal(qdbg_graph_find_value(w->g, name), i);
    }
}

static const float two[] = {2, 2};

static qdbg_status graph_create(world *w)
{
    return qdbg_graph_create(w->ctx, 13, (qdbg_graph **)&w->out);
}

static void graph_drop(world *w)
{
    qdbg_graph_destroy(w->out);
}

static qdbg_status add_value(world *w)
{
    return qdbg_graph_add_value(w->g, "new", QDBG_F32, 0, NULL, &w->id);
}

static qdbg_status add_parameter(world *w)
{
    qdbg_view v = make_view(DIMS(2), two);
    return qdbg_graph_add_parameter(w->g, "new", &v, &w->id);
}

static qdbg_status add_node(world *w)
{
    uint32_t in = 0, out = 50;
    return qdbg_graph_add_node(w->g, "Relu", "some name", &in, 1, &out, 1, &w->id);
}

static qdbg_status add_input(world *w)
{
    return qdbg_graph_add_input(w->g, 60);
}

static qdbg_status add_output(world *w)
{
    return qdbg_graph_add_output(w->g, 61);
}

static qdbg_status set_int(world *w)
{
    return qdbg_graph_set_int(w->g, 0, "new", 1);
}

static qdbg_status set_ints(world *w)
{
    const int64_t list[] = {1, 2};
    return qdbg_graph_set_ints(w->g, 0, "new", list, 2);
}

static qdbg_status set_float(world *w)
{
    return qdbg_graph_set_float(w->g, 0, "new", 1);
}

static qdbg_status set_floats(world *w)
{
    return qdbg_graph_set_floats(w->g, 0, "new", two, 2);
}

static qdbg_status set_string(world *w)
{
    return qdbg_graph_set_string(w->g, 0, "new", "text");
}

static qdbg_status set_tensor(world *w)
{
    qdbg_view v = make_view(DIMS(2), two);
    return qdbg_graph_set_tensor(w->g, 0, "new", &v);
}

/* With shape arithmetic to fold: Reshape(x, Concat(Shape(x), [-1])). */
static void unfinished_net(world *w)
{
    static const int64_t minus_one = -1, one = 1;
    qdbg_view v = QDBG_VIEW_INIT;
    uint32_t end, node;
    w->g = make_graph(w->ctx, 13);
    uint32_t x = make_input(w->g, "x", DIMS(2, 4)), s = make_node(w->g, "Shape", "s", &x, 1, NULL);
    assert_ok(qdbg_view_init(&v, QDBG_I64, 1, &one, (void *)(uintptr_t)&minus_one));
    assert_ok(qdbg_graph_add_parameter(w->g, "end", &v, &end));
    uint32_t shape = make_node(w->g, "Concat", "shape", VALUES(s, end), &node);
    assert_ok(qdbg_graph_set_int(w->g, node, "axis", 0));
    assert_ok(qdbg_graph_add_output(w->g, make_node(w->g, "Reshape", "y", VALUES(x, shape), NULL)));
}

static qdbg_status finish(world *w)
{
    return qdbg_graph_finish(w->g);
}

static void graphs(void **state)
{
    static const scenario all[] = {
        {"graph_create", with_nothing, graph_create, graph_drop, NULL, false},
        {"add_value", full_graph, add_value, NULL, graph_is_open, false},
        {"add_parameter", full_graph, add_parameter, NULL, graph_is_open, false},
        {"add_node", full_graph, add_node, NULL, graph_is_open, false},
        {"add_input", full_graph, add_input, NULL, graph_is_open, false},
        {"add_output", full_graph, add_output, NULL, graph_is_open, false},
        {"set_int", full_graph, set_int, NULL, graph_is_open, false},
        {"set_ints", full_graph, set_ints, NULL, graph_is_open, false},
        {"set_float", full_graph, set_float, NULL, graph_is_open, false},
        {"set_floats", full_graph, set_floats, NULL, graph_is_open, false},
        {"set_string", full_graph, set_string, NULL, graph_is_open, false},
        {"set_tensor", full_graph, set_tensor, NULL, graph_is_open, false},
        {"finish", unfinished_net, finish, NULL, NULL, true},
    };
    (void)state;
    RUN_ALL(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(context_needs_memory),
        cmocka_unit_test(graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
