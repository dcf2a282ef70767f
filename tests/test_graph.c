/* Building and reading a graph (graph.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

typedef struct fixture {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    uint32_t x, w, y; /* input, parameter, plain value */
} fixture;

static const float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};

static int begin(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->ctx = make_ctx(1);
    f->g = make_graph(f->ctx, 13);
    f->x = make_input(f->g, "x", DIMS(1, 4));
    f->w = make_param(f->g, "w", DIMS(4), ones);
    assert_ok(qdbg_graph_add_value(f->g, "y", QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, NULL, &f->y));
    *state = f;
    return 0;
}

static int end(void **state)
{
    fixture *f = *state;
    qdbg_graph_destroy(f->g);
    qdbg_ctx_destroy(f->ctx);
    free(f);
    return 0;
}

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

/* ---- create ---- */

static void only_known_opsets_are_taken(void **state)
{
    qdbg_ctx *ctx = ((fixture *)*state)->ctx;
    qdbg_graph *g = NULL;
    assert_int_equal(qdbg_graph_create(NULL, 13, &g), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_graph_create(ctx, 13, NULL), QDBG_E_INVALID, "out");
    assert_fails(ctx, qdbg_graph_create(ctx, QDBG_OPSET_MIN - 1, &g), QDBG_E_UNSUPPORTED, "6");
    assert_fails(ctx, qdbg_graph_create(ctx, QDBG_OPSET_MAX + 1, &g), QDBG_E_UNSUPPORTED, "22");
    assert_null(g);
    for (uint32_t opset = QDBG_OPSET_MIN; opset <= QDBG_OPSET_MAX; opset++) {
        assert_ok(qdbg_graph_create(ctx, opset, &g));
        assert_int_equal(qdbg_graph_opset(g), opset);
        qdbg_graph_destroy(g);
    }
    assert_int_equal(qdbg_graph_opset(NULL), 0);
    qdbg_graph_destroy(NULL);
}

static void init_functions_set_the_size(void **state)
{
    qdbg_value_info v, want_v = QDBG_VALUE_INFO_INIT;
    qdbg_node_info n, want_n = QDBG_NODE_INFO_INIT;
    (void)state;
    memset(&v, 0xff, sizeof v);
    memset(&n, 0xff, sizeof n);
    qdbg_value_info_init(&v);
    qdbg_node_info_init(&n);
    assert_memory_equal(&v, &want_v, sizeof v);
    assert_memory_equal(&n, &want_n, sizeof n);
    assert_int_equal(v.struct_size, sizeof v);
    assert_int_equal(n.struct_size, sizeof n);
    qdbg_value_info_init(NULL);
    qdbg_node_info_init(NULL);
}

/* ---- values and parameters ---- */

static void values_are_numbered_and_told(void **state)
{
    fixture *f = *state;
    const int64_t dims[] = {QDBG_DIM_UNKNOWN, 3, 0};
    uint32_t a = 0;
    assert_int_equal(f->x, 0);
    assert_int_equal(f->w, 1);
    assert_int_equal(f->y, 2);
    assert_ok(qdbg_graph_add_value(f->g, "a", QDBG_I64, 3, dims, &a));
    assert_int_equal(a, 3);
    assert_ok(qdbg_graph_add_value(f->g, "s", QDBG_F32, 0, NULL, NULL));
    assert_int_equal(qdbg_graph_value_count(f->g), 5);
    qdbg_value_info info = value_info(f->g, a);
    assert_string_equal(info.name, "a");
    assert_int_equal(info.dtype, QDBG_I64);
    assert_int_equal(info.rank, 3);
    assert_memory_equal(info.dims, dims, sizeof dims);
    assert_int_equal(info.is_parameter, 0);
    assert_int_equal(info.producer, QDBG_NONE);
    assert_int_equal(value_info(f->g, f->y).rank, QDBG_RANK_UNKNOWN);
    assert_int_equal(value_info(f->g, 4).rank, 0);
}

static void bad_values_are_refused(void **state)
{
    fixture *f = *state;
    const int64_t dims[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, bad[] = {1, -2};
    uint32_t id = 7;
    qdbg_graph *g = f->g;
    assert_int_equal(qdbg_graph_add_value(NULL, "a", QDBG_F32, 1, dims, &id), QDBG_E_INVALID);
    assert_fails(f->ctx, qdbg_graph_add_value(g, NULL, QDBG_F32, 1, dims, &id), QDBG_E_INVALID, "");
    assert_fails(f->ctx, qdbg_graph_add_value(g, "", QDBG_F32, 1, dims, &id), QDBG_E_INVALID, "");
    assert_fails(f->ctx, qdbg_graph_add_value(g, "y", QDBG_F32, 1, dims, &id), QDBG_E_INVALID,
                 "'y'");
    assert_fails(f->ctx, qdbg_graph_add_value(g, "w", QDBG_F32, 1, dims, &id), QDBG_E_INVALID,
                 "'w'");
    assert_fails(f->ctx, qdbg_graph_add_value(g, "a", QDBG_F32, 9, dims, &id), QDBG_E_INVALID,
                 "rank 9");
    assert_fails(f->ctx, qdbg_graph_add_value(g, "a", QDBG_F32, 1, NULL, &id), QDBG_E_INVALID, "");
    assert_fails(f->ctx, qdbg_graph_add_value(g, "a", QDBG_F32, 2, bad, &id), QDBG_E_INVALID, "-2");
    assert_fails(f->ctx, qdbg_graph_add_value(g, "a", 8, 1, dims, &id), QDBG_E_TYPE, "8");
    assert_string_equal(error_of(f->ctx).value, "a");
    assert_int_equal(id, 7);
    assert_int_equal(qdbg_graph_value_count(g), 3);
    assert_int_equal(qdbg_graph_find_value(g, "a"), QDBG_NONE);
}

static void parameters_are_copied(void **state)
{
    fixture *f = *state;
    float data[6] = {1, 2, 3, 4, 5, 6};
    int64_t shape[2] = {-1, 4};
    qdbg_view v = make_view(DIMS(2, 3), data), ints = QDBG_VIEW_INIT, got = QDBG_VIEW_INIT;
    uint32_t a, b, scalar, empty;
    const int64_t two = 2, none = 0;
    assert_ok(qdbg_graph_add_parameter(f->g, "a", &v, &a));
    memset(data, 0, sizeof data);
    assert_ok(qdbg_graph_parameter(f->g, a, &got));
    assert_int_equal(got.dtype, QDBG_F32);
    assert_int_equal(got.rank, 2);
    assert_int_equal(got.dims[1], 3);
    for (int i = 0; i < 6; i++)
        assert_true(((float *)got.data)[i] == (float)(i + 1));
    assert_ok(qdbg_view_init(&ints, QDBG_I64, 1, &two, shape));
    assert_ok(qdbg_graph_add_parameter(f->g, "b", &ints, &b));
    assert_ok(qdbg_graph_parameter(f->g, b, &got));
    assert_memory_equal(got.data, shape, sizeof shape);
    v.rank = 0;
    assert_ok(qdbg_graph_add_parameter(f->g, "scalar", &v, &scalar));
    assert_ok(qdbg_graph_parameter(f->g, scalar, &got));
    assert_int_equal(qdbg_view_count(&got), 1);
    assert_ok(qdbg_view_init(&ints, QDBG_I64, 1, &none, NULL));
    assert_ok(qdbg_graph_add_parameter(f->g, "empty", &ints, &empty));
    assert_ok(qdbg_graph_parameter(f->g, empty, &got));
    assert_int_equal(qdbg_view_count(&got), 0);
    assert_int_equal(value_info(f->g, a).is_parameter, 1);
}

static void bad_parameters_are_refused(void **state)
{
    fixture *f = *state;
    float data[2] = {0};
    qdbg_view v = make_view(DIMS(2), data), bad = v;
    uint32_t id = 7;
    assert_int_equal(qdbg_graph_add_parameter(NULL, "a", &v, &id), QDBG_E_INVALID);
    assert_fails(f->ctx, qdbg_graph_add_parameter(f->g, NULL, &v, &id), QDBG_E_INVALID, "name");
    assert_fails(f->ctx, qdbg_graph_add_parameter(f->g, "x", &v, &id), QDBG_E_INVALID, "'x'");
    assert_fails(f->ctx, qdbg_graph_add_parameter(f->g, "a", NULL, &id), QDBG_E_INVALID, "NULL");
    bad.rank = 9;
    assert_fails(f->ctx, qdbg_graph_add_parameter(f->g, "a", &bad, &id), QDBG_E_INVALID, "rank");
    bad = v;
    bad.dims[0] = -1;
    assert_fails(f->ctx, qdbg_graph_add_parameter(f->g, "a", &bad, &id), QDBG_E_INVALID, "shape");
    bad = v;
    bad.dtype = 8;
    assert_fails(f->ctx, qdbg_graph_add_parameter(f->g, "a", &bad, &id), QDBG_E_TYPE, "a");
    bad = v;
    bad.data = NULL;
    assert_fails(f->ctx, qdbg_graph_add_parameter(f->g, "a", &bad, &id), QDBG_E_INVALID, "NULL");
    bad = v;
    bad.struct_size = 0;
    assert_fails(f->ctx, qdbg_graph_add_parameter(f->g, "a", &bad, &id), QDBG_E_INVALID, "size");
    assert_int_equal(id, 7);
    assert_int_equal(qdbg_graph_value_count(f->g), 3);
}

static void ten_thousand_names_are_found(void **state)
{
    fixture *f = *state;
    char name[32];
    for (uint32_t i = 0; i < 10000; i++) {
        uint32_t id;
        snprintf(name, sizeof name, "layer%u/out", i * 7919 % 10000);
        assert_ok(qdbg_graph_add_value(f->g, name, QDBG_F32, QDBG_RANK_UNKNOWN, NULL, &id));
        assert_int_equal(id, 3 + i);
    }
    for (uint32_t i = 0; i < 10000; i++) {
        snprintf(name, sizeof name, "layer%u/out", i);
        uint32_t id = qdbg_graph_find_value(f->g, name);
        assert_string_equal(value_info(f->g, id).name, name);
        assert_int_equal(qdbg_graph_add_value(f->g, name, QDBG_F32, QDBG_RANK_UNKNOWN, NULL, NULL),
                         QDBG_E_INVALID);
    }
    assert_int_equal(qdbg_graph_find_value(f->g, "layer10000/out"), QDBG_NONE);
    assert_int_equal(qdbg_graph_find_value(f->g, ""), QDBG_NONE);
    assert_int_equal(qdbg_graph_find_value(f->g, NULL), QDBG_NONE);
    assert_int_equal(qdbg_graph_find_value(NULL, "x"), QDBG_NONE);
}

/* ---- nodes ---- */

static void nodes_are_numbered_and_told(void **state)
{
    fixture *f = *state;
    const uint32_t in[] = {f->x, QDBG_NONE, f->w}, out[] = {QDBG_NONE, f->y};
    uint32_t n = 9;
    assert_ok(qdbg_graph_add_node(f->g, "Custom", NULL, in, 3, out, 2, &n));
    assert_int_equal(n, 0);
    assert_int_equal(qdbg_graph_node_count(f->g), 1);
    qdbg_node_info info = node_info(f->g, 0);
    assert_string_equal(info.name, "y"); /* of the first output that is there */
    assert_string_equal(info.op_type, "Custom");
    assert_int_equal(info.is_known, 0);
    assert_int_equal(info.n_inputs, 3);
    assert_memory_equal(info.inputs, in, sizeof in);
    assert_int_equal(info.n_outputs, 2);
    assert_memory_equal(info.outputs, out, sizeof out);
    assert_int_equal(value_info(f->g, f->y).producer, 0);
    uint32_t z = make_node(f->g, "Relu", "z", &f->y, 1, &n);
    assert_int_equal(n, 1);
    assert_int_equal(node_info(f->g, 1).is_known, 1);
    uint32_t q;
    assert_ok(qdbg_graph_add_value(f->g, "q", QDBG_F32, QDBG_RANK_UNKNOWN, NULL, &q));
    assert_ok(qdbg_graph_add_node(f->g, "Source", "", NULL, 0, &q, 1, NULL));
    assert_string_equal(node_info(f->g, 2).name, "q");
    assert_int_not_equal(z, q);
}

static void bad_nodes_are_refused(void **state)
{
    fixture *f = *state;
    qdbg_ctx *ctx = f->ctx;
    qdbg_graph *g = f->g;
    const uint32_t none = QDBG_NONE, far = 100, twice[] = {f->y, f->y};
    uint32_t n = 9;
    assert_int_equal(qdbg_graph_add_node(NULL, "Relu", "n", &f->x, 1, &f->y, 1, &n),
                     QDBG_E_INVALID);
    assert_fails(ctx, qdbg_graph_add_node(g, NULL, "n", &f->x, 1, &f->y, 1, &n), QDBG_E_INVALID,
                 "operator");
    assert_fails(ctx, qdbg_graph_add_node(g, "", "n", &f->x, 1, &f->y, 1, &n), QDBG_E_INVALID,
                 "operator");
    assert_fails(ctx, qdbg_graph_add_node(g, "Relu", "n", NULL, 1, &f->y, 1, &n), QDBG_E_INVALID,
                 "inputs");
    assert_fails(ctx, qdbg_graph_add_node(g, "Relu", "n", &f->x, 1, NULL, 1, &n), QDBG_E_INVALID,
                 "outputs");
    assert_fails(ctx, qdbg_graph_add_node(g, "Relu", "n", &f->x, 1, &f->y, 0, &n), QDBG_E_INVALID,
                 "no output");
    assert_fails(ctx, qdbg_graph_add_node(g, "Relu", "n", &f->x, 1, &none, 1, &n), QDBG_E_INVALID,
                 "no output");
    assert_string_equal(error_of(ctx).node, "n");
    assert_fails(ctx, qdbg_graph_add_node(g, "Relu", "n", &far, 1, &f->y, 1, &n), QDBG_E_INVALID,
                 "100");
    assert_fails(ctx, qdbg_graph_add_node(g, "Relu", "n", &f->x, 1, &far, 1, &n), QDBG_E_INVALID,
                 "100");
    assert_fails(ctx, qdbg_graph_add_node(g, "Relu", "n", &f->x, 1, &f->w, 1, &n), QDBG_E_INVALID,
                 "'w' is a parameter");
    assert_fails(ctx, qdbg_graph_add_node(g, "Relu", "n", &f->w, 1, &f->x, 1, &n), QDBG_E_INVALID,
                 "'x' is a graph input");
    assert_fails(ctx, qdbg_graph_add_node(g, "Split", "n", &f->x, 1, twice, 2, &n), QDBG_E_INVALID,
                 "'y'");
    assert_int_equal(n, 9);
    assert_int_equal(qdbg_graph_node_count(g), 0);
    assert_int_equal(value_info(g, f->y).producer, QDBG_NONE);
    assert_ok(qdbg_graph_add_node(g, "Relu", "n", &f->x, 1, &f->y, 1, &n));
    assert_fails(ctx, qdbg_graph_add_node(g, "Relu", "m", &f->x, 1, &f->y, 1, NULL), QDBG_E_INVALID,
                 "computed by a node");
}

/* ---- attributes ---- */

static void attributes_are_copied_and_read_back(void **state)
{
    fixture *f = *state;
    int64_t ints[] = {1, -2, INT64_MAX};
    float floats[] = {0.5f, -1.0f};
    char text[] = "SAME_UPPER";
    const int64_t *got = NULL;
    const float *got_floats = NULL;
    const char *got_text = NULL;
    qdbg_view got_tensor = QDBG_VIEW_INIT;
    uint32_t n, count;
    make_node(f->g, "Custom", "c", &f->x, 1, &n);
    qdbg_view t = make_view(DIMS(2), floats);
    assert_ok(qdbg_graph_set_int(f->g, n, "i", INT64_MIN));
    assert_ok(qdbg_graph_set_ints(f->g, n, "is", ints, 3));
    assert_ok(qdbg_graph_set_ints(f->g, n, "none", NULL, 0));
    assert_ok(qdbg_graph_set_float(f->g, n, "f", 0.1f));
    assert_ok(qdbg_graph_set_floats(f->g, n, "fs", floats, 2));
    assert_ok(qdbg_graph_set_floats(f->g, n, "no floats", NULL, 0));
    assert_ok(qdbg_graph_set_string(f->g, n, "s", text));
    assert_ok(qdbg_graph_set_string(f->g, n, "empty", ""));
    assert_ok(qdbg_graph_set_tensor(f->g, n, "t", &t));
    memset(ints, 0, sizeof ints);
    memset(text, 0, sizeof text);
    memset(floats, 0, sizeof floats);
    assert_ok(qdbg_graph_get_ints(f->g, n, "i", &got, &count));
    assert_true(count == 1 && got[0] == INT64_MIN); /* a number is a list of one */
    assert_ok(qdbg_graph_get_ints(f->g, n, "is", &got, &count));
    assert_true(count == 3 && got[1] == -2 && got[2] == INT64_MAX);
    assert_ok(qdbg_graph_get_ints(f->g, n, "none", &got, &count));
    assert_int_equal(count, 0);
    assert_ok(qdbg_graph_get_floats(f->g, n, "f", &got_floats, &count));
    assert_true(count == 1 && got_floats[0] == 0.1f);
    assert_ok(qdbg_graph_get_floats(f->g, n, "fs", &got_floats, &count));
    assert_true(count == 2 && got_floats[0] == 0.5f && got_floats[1] == -1.0f);
    assert_ok(qdbg_graph_get_string(f->g, n, "s", &got_text));
    assert_string_equal(got_text, "SAME_UPPER");
    assert_ok(qdbg_graph_get_string(f->g, n, "empty", &got_text));
    assert_string_equal(got_text, "");
    assert_ok(qdbg_graph_get_tensor(f->g, n, "t", &got_tensor));
    assert_int_equal(qdbg_view_count(&got_tensor), 2);
    assert_true(((float *)got_tensor.data)[1] == -1.0f);
}

static void reading_attributes_checks_its_arguments(void **state)
{
    fixture *f = *state;
    const int64_t *ints = NULL;
    const float *floats = NULL;
    const char *text = NULL;
    uint32_t n, count = 9;
    qdbg_view view = QDBG_VIEW_INIT, bad = {0};
    make_node(f->g, "Custom", "c", &f->x, 1, &n);
    assert_ok(qdbg_graph_set_int(f->g, n, "i", 1));
    assert_ok(qdbg_graph_set_string(f->g, n, "s", "x"));
    assert_int_equal(qdbg_graph_get_ints(NULL, n, "i", &ints, &count), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_get_ints(f->g, n, NULL, &ints, &count), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_get_ints(f->g, n, "i", NULL, &count), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_get_ints(f->g, n, "i", &ints, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_get_floats(f->g, n, "i", NULL, &count), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_get_string(f->g, n, "s", NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_get_tensor(f->g, n, "i", NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_get_tensor(f->g, n, "i", &bad), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_get_ints(f->g, n + 1, "i", &ints, &count), QDBG_E_NOT_FOUND);
    assert_int_equal(qdbg_graph_get_ints(f->g, n, "absent", &ints, &count), QDBG_E_NOT_FOUND);
    assert_int_equal(qdbg_graph_get_ints(f->g, n, "s", &ints, &count), QDBG_E_TYPE);
    assert_int_equal(qdbg_graph_get_floats(f->g, n, "i", &floats, &count), QDBG_E_TYPE);
    assert_int_equal(qdbg_graph_get_string(f->g, n, "i", &text), QDBG_E_TYPE);
    assert_int_equal(qdbg_graph_get_tensor(f->g, n, "i", &view), QDBG_E_TYPE);
    assert_true(!ints && !floats && !text && !view.data && count == 9);
}

static void bad_attributes_are_refused(void **state)
{
    fixture *f = *state;
    qdbg_ctx *ctx = f->ctx;
    qdbg_view t = make_view(DIMS(1), ones), bad = t;
    const int64_t *ints;
    uint32_t n, count;
    bad.dtype = 8;
    make_node(f->g, "Custom", "c", &f->x, 1, &n);
    assert_ok(qdbg_graph_set_int(f->g, n, "a", 1));
    assert_int_equal(qdbg_graph_set_int(NULL, n, "b", 1), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_set_tensor(NULL, n, "b", &t), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_set_string(NULL, n, "b", NULL), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_graph_set_int(f->g, n + 1, "b", 1), QDBG_E_INVALID, "node 1");
    assert_fails(ctx, qdbg_graph_set_int(f->g, n, NULL, 1), QDBG_E_INVALID, "");
    assert_fails(ctx, qdbg_graph_set_int(f->g, n, "", 1), QDBG_E_INVALID, "");
    assert_fails(ctx, qdbg_graph_set_ints(f->g, n, "b", NULL, 1), QDBG_E_INVALID, "NULL");
    assert_fails(ctx, qdbg_graph_set_floats(f->g, n, "b", NULL, 1), QDBG_E_INVALID, "NULL");
    assert_fails(ctx, qdbg_graph_set_string(f->g, n, "b", NULL), QDBG_E_INVALID, "NULL");
    assert_fails(ctx, qdbg_graph_set_tensor(f->g, n, "b", NULL), QDBG_E_INVALID, "NULL");
    assert_fails(ctx, qdbg_graph_set_tensor(f->g, n, "b", &bad), QDBG_E_TYPE, "b");
    /* twice, whatever the kind */
    assert_fails(ctx, qdbg_graph_set_int(f->g, n, "a", 1), QDBG_E_INVALID, "twice");
    assert_fails(ctx, qdbg_graph_set_float(f->g, n, "a", 1), QDBG_E_INVALID, "twice");
    assert_fails(ctx, qdbg_graph_set_string(f->g, n, "a", "x"), QDBG_E_INVALID, "twice");
    assert_fails(ctx, qdbg_graph_set_tensor(f->g, n, "a", &t), QDBG_E_INVALID, "twice");
    assert_int_equal(qdbg_graph_get_ints(f->g, n, "b", &ints, &count), QDBG_E_NOT_FOUND);
    assert_ok(qdbg_graph_get_ints(f->g, n, "a", &ints, &count));
    assert_true(count == 1 && ints[0] == 1);
}

/* ---- inputs and outputs ---- */

static void ends_are_kept_in_order(void **state)
{
    fixture *f = *state;
    uint32_t x2 = make_input(f->g, "x2", DIMS(1, 4));
    assert_ok(qdbg_graph_add_output(f->g, x2)); /* may be both */
    assert_ok(qdbg_graph_add_output(f->g, f->w));
    assert_int_equal(qdbg_graph_input_count(f->g), 2);
    assert_int_equal(qdbg_graph_input(f->g, 0), f->x);
    assert_int_equal(qdbg_graph_input(f->g, 1), x2);
    assert_int_equal(qdbg_graph_input(f->g, 2), QDBG_NONE);
    assert_int_equal(qdbg_graph_output_count(f->g), 2);
    assert_int_equal(qdbg_graph_output(f->g, 0), x2);
    assert_int_equal(qdbg_graph_output(f->g, 1), f->w);
    assert_int_equal(qdbg_graph_output(f->g, 2), QDBG_NONE);
    assert_ok(qdbg_graph_finish(f->g)); /* a graph without nodes */
}

static void bad_ends_are_refused(void **state)
{
    fixture *f = *state;
    qdbg_ctx *ctx = f->ctx;
    assert_int_equal(qdbg_graph_add_input(NULL, 0), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_add_output(NULL, 0), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_graph_add_input(f->g, 100), QDBG_E_INVALID, "100");
    assert_fails(ctx, qdbg_graph_add_output(f->g, QDBG_NONE), QDBG_E_INVALID, "not exist");
    assert_fails(ctx, qdbg_graph_add_input(f->g, f->w), QDBG_E_INVALID, "'w'");
    assert_fails(ctx, qdbg_graph_add_input(f->g, f->x), QDBG_E_INVALID, "twice");
    uint32_t z = make_node(f->g, "Relu", "z", &f->x, 1, NULL);
    assert_fails(ctx, qdbg_graph_add_input(f->g, z), QDBG_E_INVALID, "'z'");
    assert_ok(qdbg_graph_add_output(f->g, z));
    assert_fails(ctx, qdbg_graph_add_output(f->g, z), QDBG_E_INVALID, "twice");
    assert_int_equal(qdbg_graph_input_count(f->g), 1);
    assert_int_equal(qdbg_graph_output_count(f->g), 1);
}

/* ---- reading ---- */

static void reading_checks_its_arguments(void **state)
{
    fixture *f = *state;
    qdbg_value_info v = QDBG_VALUE_INFO_INIT, bad_v = {0};
    qdbg_node_info n = QDBG_NODE_INFO_INIT, bad_n = {0};
    qdbg_view p = QDBG_VIEW_INIT, bad_p = {0};
    assert_int_equal(qdbg_graph_value(NULL, 0, &v), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_value(f->g, 0, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_value(f->g, 0, &bad_v), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_value(f->g, 3, &v), QDBG_E_NOT_FOUND);
    assert_int_equal(qdbg_graph_node(NULL, 0, &n), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_node(f->g, 0, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_node(f->g, 0, &bad_n), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_node(f->g, 0, &n), QDBG_E_NOT_FOUND);
    assert_int_equal(qdbg_graph_parameter(NULL, f->w, &p), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_parameter(f->g, f->w, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_parameter(f->g, f->w, &bad_p), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_parameter(f->g, f->x, &p), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_parameter(f->g, 3, &p), QDBG_E_NOT_FOUND);
    assert_null(p.data);
    assert_int_equal(qdbg_graph_value_count(NULL), 0);
    assert_int_equal(qdbg_graph_node_count(NULL), 0);
    assert_int_equal(qdbg_graph_input_count(NULL), 0);
    assert_int_equal(qdbg_graph_output_count(NULL), 0);
    assert_int_equal(qdbg_graph_input(NULL, 0), QDBG_NONE);
    assert_int_equal(qdbg_graph_output(NULL, 0), QDBG_NONE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_known_opsets_are_taken),
        TEST(init_functions_set_the_size),
        TEST(values_are_numbered_and_told),
        TEST(bad_values_are_refused),
        TEST(parameters_are_copied),
        TEST(bad_parameters_are_refused),
        TEST(ten_thousand_names_are_found),
        TEST(nodes_are_numbered_and_told),
        TEST(bad_nodes_are_refused),
        TEST(attributes_are_copied_and_read_back),
        TEST(reading_attributes_checks_its_arguments),
        TEST(bad_attributes_are_refused),
        TEST(ends_are_kept_in_order),
        TEST(bad_ends_are_refused),
        TEST(reading_checks_its_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
