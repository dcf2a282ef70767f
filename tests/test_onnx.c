/* The ONNX loader: models, nodes and attributes, and what it says of those it cannot read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "onnx_world.h"

/* ---- a model as it should be ---- */

static void a_model_becomes_a_finished_graph(void **state)
{
    make_model m;
    begin_relu(&m);
    qdbg_graph *graph = must_load(ctx_of(state), make_end(&m));
    assert_int_equal(qdbg_graph_node_count(graph), 1);
    assert_int_equal(qdbg_graph_input_count(graph), 1);
    assert_int_equal(qdbg_graph_output_count(graph), 1);
    assert_int_equal(qdbg_graph_output(graph, 0), qdbg_graph_find_value(graph, "y"));
    qdbg_value_info x = value_named(graph, "x");
    assert_int_equal(x.dtype, QDBG_F32);
    assert_int_equal(x.rank, 2);
    assert_int_equal(x.dims[0], QDBG_DIM_UNKNOWN);
    assert_int_equal(x.dims[1], 4);
    assert_int_equal(qdbg_graph_add_value(graph, "z", QDBG_F32, 0, NULL, NULL), QDBG_E_STATE);
    qdbg_graph_destroy(graph);
}

static void null_arguments_are_refused(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    qdbg_graph *graph = NULL;
    assert_int_equal(qdbg_onnx_load_memory(NULL, "", 0, NULL, &graph), QDBG_E_INVALID);
    assert_int_equal(qdbg_onnx_load_memory(ctx, NULL, 1, NULL, &graph), QDBG_E_INVALID);
    assert_int_equal(qdbg_onnx_load_memory(ctx, "", 0, NULL, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_onnx_load_file(NULL, "x", &graph), QDBG_E_INVALID);
    assert_int_equal(qdbg_onnx_load_file(ctx, NULL, &graph), QDBG_E_INVALID);
    assert_int_equal(qdbg_onnx_load_file(ctx, "x", NULL), QDBG_E_INVALID);
    assert_null(graph);
}

static void an_initializer_repeated_as_input_is_a_parameter(void **state)
{
    make_model m;
    float w[4] = {1, 2, 3, 4};
    make_begin(&m, 9);
    make_add_input(&m, make_value("w", QDBG_F32, "4"));
    make_add_input(&m, make_value("x", QDBG_F32, "1,4"));
    make_add_node(&m, make_node("Add", NULL, "x,w", "y"));
    make_add_output(&m, make_value("y", QDBG_F32, "1,4"));
    make_add_initializer(&m, make_tensor_raw("w", QDBG_F32, "4", w, sizeof w));
    qdbg_graph *graph = must_load(ctx_of(state), make_end(&m));
    assert_int_equal(qdbg_graph_input_count(graph), 1);
    assert_int_equal(qdbg_graph_input(graph, 0), qdbg_graph_find_value(graph, "x"));
    must_hold(graph, "w", QDBG_F32, w, sizeof w);
    qdbg_graph_destroy(graph);
}

static void an_unnamed_node_is_called_after_its_output(void **state)
{
    make_model m;
    make_begin(&m, 13);
    make_add_input(&m, make_value("x", QDBG_F32, "1"));
    make_add_node(&m, make_node("Relu", NULL, "x", "y"));
    make_add_output(&m, make_value("y", QDBG_F32, "1"));
    qdbg_graph *graph = must_load(ctx_of(state), make_end(&m));
    assert_string_equal(node_named(graph, "y")->op_type, "Relu");
    qdbg_graph_destroy(graph);
}

static void nodes_may_come_in_any_order(void **state)
{
    make_model m;
    make_buf constant = make_node("Constant", NULL, NULL, "c");
    make_buf value = make_attribute("value_float", 1);
    make_float(&value, 2, 2.5f);
    make_part(&constant, 5, &value);
    make_begin(&m, 13);
    make_add_input(&m, make_value("x", QDBG_F32, "3"));
    make_add_node(&m, make_node("Relu", "last", "b", "y"));
    make_add_node(&m, make_node("Add", "first", "x,c", "b"));
    make_add_node(&m, constant);
    make_add_output(&m, make_value("y", QDBG_F32, "3"));
    qdbg_graph *graph = must_load(ctx_of(state), make_end(&m));
    assert_int_equal(qdbg_graph_node_count(graph), 2);
    assert_string_equal(graph->nodes[0].name, "first");
    qdbg_graph_destroy(graph);
}

static void an_empty_name_is_an_input_left_out(void **state)
{
    make_model m;
    float high = 6;
    make_begin(&m, 13);
    make_add_input(&m, make_value("x", QDBG_F32, "3"));
    make_add_initializer(&m, make_tensor_raw("high", QDBG_F32, "", &high, sizeof high));
    make_add_node(&m, make_node("Clip", "clip", "x,,high", "y"));
    make_add_node(&m, make_node("Clip", "open", "y,,", "z"));
    make_add_output(&m, make_value("z", QDBG_F32, "3"));
    qdbg_graph *graph = must_load(ctx_of(state), make_end(&m));
    const qdbg__node *clip = node_named(graph, "clip");
    assert_int_equal(clip->n_in, 3);
    assert_int_equal(clip->in[1], QDBG_NONE);
    assert_int_equal(node_named(graph, "open")->n_in, 1); /* empty names at the end say nothing */
    qdbg_graph_destroy(graph);
}

static void a_dimension_that_is_not_positive_is_unknown(void **state)
{
    make_model m;
    make_begin(&m, 13);
    make_add_input(&m, make_value("x", QDBG_F32, "batch,0,-1,7"));
    make_add_input(&m, make_value("any", QDBG_F32, NULL));
    make_add_input(&m, make_value("scalar", QDBG_I64, ""));
    make_buf untyped = {0};
    make_text(&untyped, 1, "untyped");
    make_add_input(&m, untyped);
    make_add_output(&m, make_value("x", QDBG_F32, NULL));
    qdbg_graph *graph = must_load(ctx_of(state), make_end(&m));
    qdbg_value_info x = value_named(graph, "x");
    assert_int_equal(x.dims[0], QDBG_DIM_UNKNOWN);
    assert_int_equal(x.dims[1], QDBG_DIM_UNKNOWN);
    assert_int_equal(x.dims[2], QDBG_DIM_UNKNOWN);
    assert_int_equal(x.dims[3], 7);
    assert_int_equal(value_named(graph, "any").rank, QDBG_RANK_UNKNOWN);
    assert_int_equal(value_named(graph, "scalar").rank, 0);
    assert_int_equal(value_named(graph, "untyped").dtype, QDBG_DTYPE_NONE);
    qdbg_graph_destroy(graph);
}

static void unknown_fields_are_skipped(void **state)
{
    make_model m;
    float w[1] = {1};
    make_begin(&m, 13);
    make_buf tensor = make_tensor_raw("w", QDBG_F32, "1", w, sizeof w);
    make_buf node = make_node("Add", "add", "x,w", "y");
    make_buf attribute = make_attribute("axis", 2);
    make_buf value = make_value("x", QDBG_F32, "1");
    make_int(&attribute, 3, 5);
    add_unknown(&tensor);
    add_unknown(&attribute);
    add_unknown(&node);
    add_unknown(&value);
    add_unknown(&m.graph);
    add_unknown(&m.rest);
    make_part(&node, 5, &attribute);
    make_add_initializer(&m, tensor);
    make_add_node(&m, node);
    make_add_input(&m, value);
    make_add_output(&m, make_value("y", QDBG_F32, NULL));
    make_text(&m.graph, 2, "name");
    make_text(&m.graph, 10, "words");
    make_buf stale = make_value("y", QDBG_I8, "5,5,5"); /* value_info may be out of date */
    make_part(&m.graph, 13, &stale);
    make_text(&m.rest, 2, "producer");
    qdbg_graph *graph = must_load(ctx_of(state), make_end(&m));
    assert_int_equal(qdbg__attr_int(node_named(graph, "add"), "axis", 0), 5);
    qdbg_graph_destroy(graph);
}

static void a_graph_in_two_pieces_is_one_graph(void **state)
{
    make_model m;
    make_begin(&m, 13);
    make_add_input(&m, make_value("x", QDBG_F32, "1"));
    make_add_node(&m, make_node("Relu", "a", "x", "b"));
    make_part(&m.rest, 7, &m.graph);
    make_add_node(&m, make_node("Relu", "c", "b", "d"));
    make_add_output(&m, make_value("d", QDBG_F32, "1"));
    qdbg_graph *graph = must_load(ctx_of(state), make_end(&m));
    assert_int_equal(qdbg_graph_node_count(graph), 2);
    qdbg_graph_destroy(graph);
}

/* ---- Constant ---- */

/* A model with a Constant 'c' that holds the attribute. */
static make_buf constant_model(make_buf attribute)
{
    make_model m;
    make_buf node = make_node("Constant", "const", NULL, "c");
    begin_relu(&m);
    make_part(&node, 5, &attribute);
    make_add_node(&m, node);
    return make_end(&m);
}

static void constants_become_parameters(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    int64_t ints[3] = {1, -2, 3};
    float floats[2] = {0.5f, 4};
    make_buf a[5] = {make_attribute("value", 4), make_attribute("value_float", 1),
                     make_attribute("value_floats", 6), make_attribute("value_int", 2),
                     make_attribute("value_ints", 7)};
    make_buf tensor = make_tensor_raw("inner", QDBG_F32, "2", floats, sizeof floats);
    make_part(&a[0], 5, &tensor);
    make_float(&a[1], 2, floats[0]);
    make_float(&a[2], 7, floats[0]);
    make_float(&a[2], 7, floats[1]);
    make_int(&a[3], 3, ints[1]);
    make_packed(&a[4], 8, ints, 3);
    static const struct {
        int32_t dtype;
        uint32_t rank;
    } want[5] = {{QDBG_F32, 1}, {QDBG_F32, 0}, {QDBG_F32, 1}, {QDBG_I64, 0}, {QDBG_I64, 1}};
    const void *data[5] = {floats, floats, floats, &ints[1], ints};
    size_t sizes[5] = {8, 4, 8, 8, 24};
    for (int i = 0; i < 5; i++) {
        qdbg_graph *graph = must_load(ctx, constant_model(a[i]));
        assert_int_equal(qdbg_graph_node_count(graph), 1);
        assert_int_equal(value_named(graph, "c").rank, want[i].rank);
        must_hold(graph, "c", want[i].dtype, data[i], sizes[i]);
        qdbg_graph_destroy(graph);
    }
}

static void constants_of_other_kinds_are_named(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    must_fail(ctx, constant_model(make_attribute("sparse_value", 11)), QDBG_E_UNSUPPORTED,
              "Constant 'const' holds strings, a sparse tensor or no tensor ('sparse_value')");
    must_name(ctx, "const", "c");
    must_fail(ctx, constant_model(make_attribute("value_strings", 8)), QDBG_E_UNSUPPORTED,
              "'value_strings'");
    must_fail(ctx, constant_model(make_attribute("other", 2)), QDBG_E_FORMAT,
              "Constant 'const' has no value");
    must_fail(ctx, constant_model(make_attribute("value", 4)), QDBG_E_FORMAT,
              "Constant 'const' has a tensor without content");
    make_buf a = make_attribute("value", 4);
    make_buf tensor = make_tensor_raw("", QDBG_F32, "3", "abc", 3);
    make_part(&a, 5, &tensor);
    must_fail(ctx, constant_model(a), QDBG_E_FORMAT, "tensor 'c': raw_data has 3 bytes");
    a = make_attribute("value_int", 2);
    make_text(&a, 21, "outer");
    must_fail(ctx, constant_model(a), QDBG_E_FORMAT, "refers to a function's attribute");
}

/* ---- attributes ---- */

/* x -> test::Op 'op' with the attribute -> y. */
static make_buf attribute_model(make_buf attribute)
{
    make_model m;
    make_buf node = make_node("Op", "op", "x", "y");
    make_text(&node, 7, "test");
    make_part(&node, 5, &attribute);
    make_begin(&m, 13);
    make_add_input(&m, make_value("x", QDBG_F32, "1"));
    make_add_node(&m, node);
    make_add_output(&m, make_value("y", QDBG_F32, "1"));
    return make_end(&m);
}

/* How a file tells an attribute's kind; old ones do not. */
enum { KIND_SAID, KIND_LEFT_OUT, KIND_ZERO };

/* test::Op 'op' with one attribute of each kind. */
static make_buf node_with_attributes(int form, const float floats[2])
{
    static const char *const names[6] = {"f", "i", "s", "t", "fs", "is"};
    static const int32_t kinds[6] = {1, 2, 3, 4, 6, 7};
    make_buf node = make_node("Op", "op", "x", "y");
    make_buf tensor = make_tensor_raw("", QDBG_F32, "2", floats, 2 * sizeof *floats);
    make_buf a[6];
    for (int i = 0; i < 6; i++) {
        a[i] = make_attribute(names[i], form == KIND_SAID ? kinds[i] : 0);
        if (form == KIND_ZERO)
            make_int(&a[i], 20, 0);
    }
    make_float(&a[0], 2, 1.5f);
    make_int(&a[1], 3, -7);
    make_text(&a[2], 4, "SAME_UPPER");
    make_part(&a[3], 5, &tensor);
    make_bytes(&a[4], 7, floats, 2 * sizeof *floats);
    make_int(&a[5], 8, 3);
    make_int(&a[5], 8, -4);
    for (int i = 0; i < 6; i++)
        make_part(&node, 5, &a[i]);
    make_text(&node, 7, "test");
    return node;
}

static void attributes_of_every_kind_are_kept(void **state)
{
    float floats[2] = {0.5f, 4};
    for (int form = KIND_SAID; form <= KIND_ZERO; form++) {
        make_model m;
        make_begin(&m, 13);
        make_add_input(&m, make_value("x", QDBG_F32, "1"));
        make_add_node(&m, node_with_attributes(form, floats));
        make_add_output(&m, make_value("y", QDBG_F32, "1"));
        qdbg_graph *graph = must_load(ctx_of(state), make_end(&m));
        const qdbg__node *op = node_named(graph, "op");
        assert_true(qdbg__attr_float(op, "f", 0) == 1.5f);
        assert_int_equal(qdbg__attr_int(op, "i", 0), -7);
        assert_string_equal(qdbg__attr_string(op, "s", ""), "SAME_UPPER");
        const int64_t *ints;
        assert_int_equal(qdbg__attr_ints(op, "is", &ints), 2);
        assert_int_equal(ints[1], -4);
        const qdbg__attr *list = qdbg__node_attr(op, "fs");
        assert_int_equal(list->n, 2);
        assert_memory_equal(list->floats, floats, sizeof floats);
        const qdbg__attr *t = qdbg__node_attr(op, "t");
        assert_int_equal(t->kind, QDBG__ATTR_TENSOR);
        assert_memory_equal(t->tensor.data, floats, sizeof floats);
        qdbg_graph_destroy(graph);
    }
}

static void a_kind_without_value_means_zero_or_empty(void **state)
{
    static const qdbg__attr_kind kinds[8] = {
        0, QDBG__ATTR_FLOAT,  QDBG__ATTR_INT, QDBG__ATTR_STRING, 0,
        0, QDBG__ATTR_FLOATS, QDBG__ATTR_INTS};
    for (int kind = 1; kind < 8; kind++) {
        if (kind == 4 || kind == 5)
            continue;
        qdbg_graph *graph = must_load(ctx_of(state), attribute_model(make_attribute("a", kind)));
        const qdbg__attr *a = qdbg__node_attr(node_named(graph, "op"), "a");
        assert_non_null(a);
        assert_int_equal(a->kind, kinds[kind]);
        assert_int_equal(a->n, 0);
        qdbg_graph_destroy(graph);
    }
}

static void attributes_that_a_graph_has_no_form_for_are_left_out(void **state)
{
    static const int32_t kinds[] = {0, 8, 9, 11, 12, 13, 14, 99};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        make_buf a = make_attribute("a", kinds[i]);
        make_text(&a, 9, "text");
        qdbg_graph *graph = must_load(ctx_of(state), attribute_model(a));
        assert_int_equal(node_named(graph, "op")->n_attrs, 0);
        qdbg_graph_destroy(graph);
    }
}

static void of_a_repeated_tensor_the_last_counts(void **state)
{
    make_buf a = make_attribute("t", 4);
    make_buf first = make_tensor_raw("", QDBG_U8, "2", "ab", 2);
    make_buf last = make_tensor_raw("", QDBG_U8, "1", "c", 1);
    make_part(&a, 5, &first);
    make_part(&a, 5, &last);
    qdbg_graph *graph = must_load(ctx_of(state), attribute_model(a));
    const qdbg__attr *t = qdbg__node_attr(node_named(graph, "op"), "t");
    assert_int_equal(qdbg_view_count(&t->tensor), 1);
    assert_memory_equal(t->tensor.data, "c", 1);
    qdbg_graph_destroy(graph);
}

static void bad_attributes_are_named(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    must_fail(ctx, attribute_model(make_attribute("", 2)), QDBG_E_FORMAT,
              "node 'op' has an attribute without a name");
    must_fail(ctx, attribute_model(make_attribute("t", 4)), QDBG_E_FORMAT,
              "node 'op': attribute 't' is a tensor without content");
    make_buf a = make_attribute("t", 4);
    make_buf tensor = make_tensor_raw("", QDBG_F32, "3", "abc", 3);
    make_part(&a, 5, &tensor);
    must_fail(ctx, attribute_model(a), QDBG_E_FORMAT, "tensor 'op.t': raw_data has 3 bytes");
    a = make_attribute("a", 2);
    make_text(&a, 21, "outer");
    must_fail(ctx, attribute_model(a), QDBG_E_FORMAT, "refers to a function's attribute");
    make_model m;
    make_buf node = make_node("Op", "op", "x", "y");
    make_attribute_int(&node, "axis", 1);
    make_attribute_int(&node, "axis", 2);
    make_begin(&m, 13);
    make_add_input(&m, make_value("x", QDBG_F32, "1"));
    make_add_node(&m, node);
    make_add_output(&m, make_value("y", QDBG_F32, "1"));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "attribute 'axis' is set twice");
    begin_relu(&m);
    node = make_node("Op", "crowded", "x", "z");
    for (int i = 0; i < 1025; i++)
        make_attribute_int(&node, "axis", 1);
    make_add_node(&m, node);
    must_fail(ctx, make_end(&m), QDBG_E_UNSUPPORTED, "node 'crowded' has 1025 attributes");
}

/* ---- operators, operator sets, domains ---- */

static make_buf opset_model(int64_t opset)
{
    make_model m;
    make_begin(&m, opset);
    make_add_input(&m, make_value("x", QDBG_F32, "1"));
    make_add_output(&m, make_value("x", QDBG_F32, "1"));
    return make_end(&m);
}

static void add_opset(make_buf *file, const char *domain, int64_t version)
{
    make_buf set = {0};
    make_text(&set, 1, domain);
    make_int(&set, 2, version);
    make_part(file, 8, &set);
}

static void opsets_outside_the_range_are_refused(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    for (int64_t opset = QDBG_OPSET_MIN; opset <= QDBG_OPSET_MAX; opset++) {
        qdbg_graph *graph = must_load(ctx, opset_model(opset));
        assert_int_equal(graph->opset, opset);
        qdbg_graph_destroy(graph);
    }
    must_fail(ctx, opset_model(6), QDBG_E_UNSUPPORTED,
              "the model uses opset 6; opsets 7 to 21 are supported");
    must_fail(ctx, opset_model(22), QDBG_E_UNSUPPORTED, "opset 22");
    must_fail(ctx, opset_model(-3), QDBG_E_UNSUPPORTED, "opset -3");
    must_fail(ctx, opset_model((1LL << 32) + 13), QDBG_E_UNSUPPORTED, "opset 4294967309");
    must_fail(ctx, opset_model(0), QDBG_E_UNSUPPORTED, "names no opset of ONNX's default domain");
}

static void only_the_default_domain_sets_the_opset(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    make_buf file = opset_model(0);
    add_opset(&file, "com.microsoft", 1);
    add_opset(&file, "ai.onnx", 11);
    add_opset(&file, "", 11);
    qdbg_graph *graph = must_load(ctx, file);
    assert_int_equal(graph->opset, 11);
    qdbg_graph_destroy(graph);
    file = opset_model(0);
    add_opset(&file, "ai.onnx.ml", 3);
    must_fail(ctx, file, QDBG_E_UNSUPPORTED, "names no opset");
    file = opset_model(11);
    add_opset(&file, "ai.onnx", 12);
    must_fail(ctx, file, QDBG_E_FORMAT, "asks for opset 11 and for opset 12");
}

static void an_operator_of_another_domain_keeps_its_domain(void **state)
{
    make_model m;
    make_begin(&m, 13);
    make_buf foreign = make_node("Relu", "foreign", "x", "y");
    make_buf own = make_node("Relu", "own", "y", "z");
    make_text(&foreign, 7, "com.acme");
    make_text(&own, 7, "ai.onnx");
    make_add_input(&m, make_value("x", QDBG_F32, "1"));
    make_add_node(&m, foreign);
    make_add_node(&m, own);
    make_add_output(&m, make_value("z", QDBG_F32, "1"));
    qdbg_graph *graph = must_load(ctx_of(state), make_end(&m));
    assert_string_equal(node_named(graph, "foreign")->op_type, "com.acme::Relu");
    assert_null(node_named(graph, "foreign")->op);
    assert_string_equal(node_named(graph, "own")->op_type, "Relu");
    qdbg_graph_destroy(graph);
}

/* An If with two sub-graphs. */
static make_buf make_if(const char *name, const char *output, int32_t kind)
{
    make_buf node = make_node("If", name, "x", output);
    make_buf a = make_attribute("then_branch", kind);
    make_text(&a, 6, "");
    make_part(&node, 5, &a);
    return node;
}

static void nodes_with_subgraphs_are_listed(void **state)
{
    make_model m;
    begin_relu(&m);
    make_add_node(&m, make_if("first", "a", 5));
    make_add_node(&m, make_if(NULL, "second", 0));
    make_buf graphs = make_node("Multi", "third", "x", "c");
    make_buf a = make_attribute("bodies", 10);
    make_part(&graphs, 5, &a);
    make_add_node(&m, graphs);
    must_fail(ctx_of(state), make_end(&m), QDBG_E_UNSUPPORTED,
              "unsupported: If 'first' has a sub-graph, If 'second' has a sub-graph, "
              "Multi 'third' has a sub-graph");
    begin_relu(&m);
    for (int i = 0; i < 100; i++) {
        char name[40];
        snprintf(name, sizeof name, "conditional_branch_number_%d", i);
        make_add_node(&m, make_if(name, name, 5));
    }
    must_fail(ctx_of(state), make_end(&m), QDBG_E_UNSUPPORTED, " and 92 more nodes");
}

static void calls_of_the_models_own_functions_are_listed(void **state)
{
    make_model m;
    for (int used = 0; used < 2; used++) {
        begin_relu(&m);
        for (int i = 0; i < 20; i++) {
            make_buf function = {0};
            char name[16];
            snprintf(name, sizeof name, "fn%d", i);
            make_text(&function, 1, name);
            make_text(&function, 10, "pkg");
            make_part(&m.rest, 25, &function);
        }
        make_buf node = make_node(used ? "fn7" : "fn20", "call", "x", "z");
        make_text(&node, 7, "pkg");
        make_add_node(&m, node);
        if (used)
            must_fail(ctx_of(state), make_end(&m), QDBG_E_UNSUPPORTED,
                      "unsupported: fn7 'call' calls a function of the model");
        else
            qdbg_graph_destroy(must_load(ctx_of(state), make_end(&m)));
    }
}

/* ---- graphs that cannot be ---- */

static void values_with_two_sources_are_named(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    make_model m;
    begin_relu(&m);
    make_add_initializer(&m, make_tensor_raw("w", QDBG_U8, "1", "a", 1));
    make_add_initializer(&m, make_tensor_raw("w", QDBG_U8, "1", "a", 1));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "initializer 'w' is there twice");
    begin_relu(&m);
    make_add_input(&m, make_value("x", QDBG_F32, "1"));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "input 'x' is there twice");
    begin_relu(&m);
    make_add_node(&m, make_node("Relu", "again", "x", "y"));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT,
              "node 'again' computes 'y', which is already computed by another node");
    must_name(ctx, "again", "y");
    begin_relu(&m);
    make_add_node(&m, make_node("Relu", "back", "y", "x"));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT,
              "node 'back' computes 'x', which is already an input of the model");
    begin_relu(&m);
    make_add_initializer(&m, make_tensor_raw("y", QDBG_U8, "1", "a", 1));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT,
              "node 'relu' computes 'y', which is already an initializer or a Constant");
    begin_relu(&m);
    make_add_node(&m, make_node("Split", "split", "x", "a,a"));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "node 'split' computes 'a', which is already");
    begin_relu(&m);
    make_add_output(&m, make_value("y", QDBG_F32, NULL));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "'y' is named twice");
}

static void values_without_a_source_are_named(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    make_model m;
    begin_relu(&m);
    make_add_node(&m, make_node("Add", "sum", "x,ghost", "z"));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT,
              "node 'sum' (Add) reads 'ghost', which nothing computes");
    must_name(ctx, "sum", "ghost");
    begin_relu(&m);
    make_add_output(&m, make_value("ghost", QDBG_F32, NULL));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "nothing computes the model's output 'ghost'");
    must_name(ctx, NULL, "ghost");
}

static void cycles_are_named(void **state)
{
    make_model m;
    begin_relu(&m);
    make_add_node(&m, make_node("Relu", "p", "b", "a"));
    make_add_node(&m, make_node("Relu", "q", "a", "b"));
    must_fail(ctx_of(state), make_end(&m), QDBG_E_FORMAT, "cycle");
}

static void missing_names_are_told_by_number(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    make_model m;
    begin_relu(&m);
    make_add_initializer(&m, make_tensor("", QDBG_F32, "1"));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "initializer 0 has no name");
    begin_relu(&m);
    make_add_input(&m, make_value("", QDBG_F32, "1"));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "input 1 has no name");
    begin_relu(&m);
    make_add_output(&m, make_value("", QDBG_F32, "1"));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "output 1 has no name");
    begin_relu(&m);
    make_add_node(&m, make_node("", "nameless", "x", "z"));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "node 1 ('nameless') has no operator type");
    begin_relu(&m);
    make_add_node(&m, make_node("Relu", "mute", "x", ""));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "node 1 (Relu 'mute') has no output");
}

static void a_model_needs_a_graph_and_an_output(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    make_buf file = {0};
    make_int(&file, 1, 8);
    must_fail(ctx, file, QDBG_E_FORMAT, "not an ONNX model: there is no graph in its 2 bytes");
    make_model m;
    make_begin(&m, 13);
    make_add_input(&m, make_value("x", QDBG_F32, "1"));
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "no output");
}

static void inputs_without_support_are_named(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    make_model m;
    begin_relu(&m);
    make_add_input(&m, make_value("words", 8, "1"));
    must_fail(ctx, make_end(&m), QDBG_E_UNSUPPORTED, "input 'words' has element type string (8)");
    begin_relu(&m);
    make_add_input(&m, make_value("deep", QDBG_F32, "1,1,1,1,1,1,1,1,1"));
    must_fail(ctx, make_end(&m), QDBG_E_UNSUPPORTED, "input 'deep' has 9 dimensions");
    begin_relu(&m);
    make_buf sequence = {0}, type = {0};
    make_text(&sequence, 1, "list");
    make_text(&type, 4, "");
    make_part(&sequence, 2, &type);
    make_add_input(&m, sequence);
    must_fail(ctx, make_end(&m), QDBG_E_UNSUPPORTED, "input 'list' is not a tensor");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FACT(a_model_becomes_a_finished_graph),
        FACT(null_arguments_are_refused),
        FACT(an_initializer_repeated_as_input_is_a_parameter),
        FACT(an_unnamed_node_is_called_after_its_output),
        FACT(nodes_may_come_in_any_order),
        FACT(an_empty_name_is_an_input_left_out),
        FACT(a_dimension_that_is_not_positive_is_unknown),
        FACT(unknown_fields_are_skipped),
        FACT(a_graph_in_two_pieces_is_one_graph),
        FACT(constants_become_parameters),
        FACT(constants_of_other_kinds_are_named),
        FACT(attributes_of_every_kind_are_kept),
        FACT(a_kind_without_value_means_zero_or_empty),
        FACT(attributes_that_a_graph_has_no_form_for_are_left_out),
        FACT(of_a_repeated_tensor_the_last_counts),
        FACT(bad_attributes_are_named),
        FACT(opsets_outside_the_range_are_refused),
        FACT(only_the_default_domain_sets_the_opset),
        FACT(an_operator_of_another_domain_keeps_its_domain),
        FACT(nodes_with_subgraphs_are_listed),
        FACT(calls_of_the_models_own_functions_are_listed),
        FACT(values_with_two_sources_are_named),
        FACT(values_without_a_source_are_named),
        FACT(cycles_are_named),
        FACT(missing_names_are_told_by_number),
        FACT(a_model_needs_a_graph_and_an_output),
        FACT(inputs_without_support_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
