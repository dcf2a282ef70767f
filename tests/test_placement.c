/* Where quantizers sit (the rules of simulation.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

/* ---- building ---- */

static qdbg_ctx *ctx;
static qdbg_graph *g;
static uint64_t seed;

static int begin(void **state)
{
    (void)state;
    ctx = make_ctx(1);
    g = make_graph(ctx, 13);
    seed = 1;
    return 0;
}

static int end(void **state)
{
    (void)state;
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
    return 0;
}

static uint32_t input(const char *name)
{
    return make_input(g, name, DIMS(1, 4, 6, 6));
}

/* A 3x3 convolution from 4 to 4 channels that keeps the size; its weight is called "<name>.w". */
static uint32_t conv(const char *name, uint32_t x)
{
    char weight[32];
    uint32_t node;
    snprintf(weight, sizeof weight, "%s.w", name);
    uint32_t w = make_random(g, weight, DIMS(4, 4, 3, 3), &seed);
    uint32_t y = make_node(g, "Conv", name, VALUES(x, w), &node);
    make_ints(g, node, "pads", DIMS(1, 1, 1, 1));
    return y;
}

static uint32_t one(const char *op, const char *name, uint32_t x)
{
    return make_node(g, op, name, &x, 1, NULL);
}

static uint32_t add(const char *name, uint32_t a, uint32_t b)
{
    return make_node(g, "Add", name, VALUES(a, b), NULL);
}

static uint32_t batch_norm(const char *name, uint32_t x)
{
    static const char *const parts[] = {"gamma", "beta", "mean", "var"};
    static const float ones[4] = {1, 1, 1, 1};
    uint32_t in[5] = {x};
    for (int i = 0; i < 4; i++) {
        char part[32];
        snprintf(part, sizeof part, "%s.%s", name, parts[i]);
        in[i + 1] = make_param(g, part, DIMS(4), ones);
    }
    return make_node(g, "BatchNormalization", name, in, 5, NULL);
}

/* ---- reading ---- */

/* All quantizers in order: "name" for an activation, "name[axis]" for a weight. */
static void describe(const qdbg_sim *sim, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < qdbg_sim_quantizer_count(sim); i++) {
        qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
        char axis[16] = "";
        assert_ok(qdbg_sim_quantizer(sim, i, &q));
        if (q.kind == QDBG_WEIGHT)
            snprintf(axis, sizeof axis, "[%d]", q.spec.axis);
        used += (size_t)snprintf(text + used, size - used, "%s%s%s", i ? " " : "", q.name, axis);
        assert_true(used < size);
    }
}

/* Finish the graph with outputs `y` and, if it is there, `other`. */
static void expect(uint32_t y, uint32_t other, const char *want)
{
    engine e;
    qdbg_sim *sim;
    char got[512];
    if (other != QDBG_NONE)
        assert_ok(qdbg_graph_add_output(g, other));
    make_finish(g, y);
    qdbg_model *m = engine_model(&e, g);
    assert_ok(qdbg_sim_create(m, NULL, &sim));
    describe(sim, got, sizeof got);
    assert_string_equal(got, want);
    qdbg_sim_destroy(sim);
    qdbg_model_destroy(m);
    engine_free(&e);
}

/* ---- supergroups ---- */

static void conv_bn_relu_is_one(void **state)
{
    (void)state;
    expect(one("Relu", "r", batch_norm("n", conv("c", input("x")))), QDBG_NONE, "x c.w[0] r");
}

static void conv_clip_is_one(void **state)
{
    (void)state;
    expect(one("Clip", "r", conv("c", input("x"))), QDBG_NONE, "x c.w[0] r");
}

static void conv_prelu_is_one(void **state)
{
    (void)state;
    uint32_t c = conv("c", input("x")), slope = make_random(g, "slope", DIMS(4, 1, 1), &seed);
    expect(make_node(g, "PRelu", "r", VALUES(c, slope), NULL), QDBG_NONE, "x c.w[0] r");
}

static void conv_alone_ends_its_group(void **state)
{
    (void)state;
    expect(one("Sigmoid", "s", conv("c", input("x"))), QDBG_NONE, "x c.w[0] c s");
}

static void add_relu_is_one_and_its_branches_are_quantized(void **state)
{
    (void)state;
    uint32_t x = input("x");
    uint32_t a = one("Relu", "ra", conv("a", x)), b = conv("b", a);
    expect(one("Relu", "r", add("sum", b, x)), QDBG_NONE, "x a.w[0] ra b.w[0] b r");
}

static void matmul_with_bias_is_one(void **state)
{
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 4)), w = make_random(g, "w", DIMS(4, 5), &seed);
    uint32_t b = make_random(g, "b", DIMS(5), &seed), c = make_random(g, "c", DIMS(5), &seed);
    uint32_t m = make_node(g, "MatMul", "m", VALUES(x, w), NULL);
    uint32_t y = one("Relu", "y", add("with b", b, m)); /* the bias may come first */
    uint32_t v = make_random(g, "v", DIMS(5, 5), &seed);
    uint32_t n = make_node(g, "MatMul", "n", VALUES(y, v), NULL);
    expect(add("with c", n, c), QDBG_NONE, "x w[1] y v[1] with c");
}

static void matmul_with_another_activation_is_not(void **state)
{
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 4)), w = make_random(g, "w", DIMS(4, 4), &seed);
    uint32_t m = make_node(g, "MatMul", "m", VALUES(x, w), NULL);
    expect(add("sum", m, x), QDBG_NONE, "x w[1] m sum");
}

static void second_reader_ends_the_group(void **state)
{
    (void)state;
    uint32_t c = conv("c", input("x"));
    expect(add("sum", one("Relu", "r", c), c), QDBG_NONE, "x c.w[0] c r sum");
}

static void output_in_the_middle_ends_the_group(void **state)
{
    (void)state;
    uint32_t c = conv("c", input("x"));
    expect(one("Relu", "r", c), c, "x c.w[0] c r");
}

static void relu_reading_a_slope_is_not_fused_to_it(void **state)
{
    (void)state;
    uint32_t x = input("x"), slope = conv("c", x); /* computed, and read as the slope */
    expect(make_node(g, "PRelu", "r", VALUES(x, slope), NULL), QDBG_NONE, "x c.w[0] c r");
}

/* ---- values that pass an encoding on ---- */

static void rearranged_values_keep_their_encoding(void **state)
{
    uint32_t node;
    (void)state;
    uint32_t r = one("Relu", "r", conv("c", input("x")));
    uint32_t p = make_node(g, "MaxPool", "p", &r, 1, &node);
    make_ints(g, node, "kernel_shape", DIMS(2, 2));
    uint32_t t = one("Transpose", "t", p), f = one("Flatten", "f", t);
    uint32_t w = make_random(g, "w", DIMS(20, 3), &seed);
    expect(make_node(g, "Gemm", "y", VALUES(f, w), NULL), QDBG_NONE, "x c.w[0] r w[1] y");
}

static void averages_and_sums_are_new_values(void **state)
{
    (void)state;
    uint32_t r = one("Relu", "r", conv("c", input("x")));
    uint32_t p = one("GlobalAveragePool", "p", r);
    expect(one("Softmax", "s", one("Flatten", "f", p)), QDBG_NONE, "x c.w[0] r p s");
}

/* ---- what is not quantized ---- */

static void integers_are_left_alone(void **state)
{
    uint32_t node;
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 4)), i = make_node(g, "ArgMax", "i", &x, 1, &node);
    uint32_t shape = one("Shape", "shape", x), c = make_node(g, "Cast", "c", &i, 1, &node);
    assert_ok(qdbg_graph_set_int(g, node, "to", QDBG_I32));
    (void)shape;
    expect(one("Relu", "r", x), c, "x r");
}

static void constant_branches_are_left_alone(void **state)
{
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 4));
    uint32_t a = make_random(g, "a", DIMS(4), &seed), b = make_random(g, "b", DIMS(4), &seed);
    uint32_t constant = add("constant", a, b);
    expect(make_node(g, "Mul", "y", VALUES(x, constant), NULL), QDBG_NONE, "x y");
}

static void biases_are_left_alone(void **state)
{
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 4)), w = make_random(g, "w", DIMS(4, 5), &seed);
    uint32_t b = make_random(g, "b", DIMS(5), &seed);
    expect(make_node(g, "Gemm", "y", VALUES(x, w, b), NULL), QDBG_NONE, "x w[1] y");
}

/* ---- weights ---- */

static void channels_lie_where_the_operator_has_them(void **state)
{
    uint32_t node;
    (void)state;
    uint32_t x = input("x"), t = make_random(g, "t", DIMS(4, 2, 3, 3), &seed);
    uint32_t up = make_node(g, "ConvTranspose", "up", VALUES(x, t), &node);
    assert_ok(qdbg_graph_set_int(g, node, "group", 2));
    uint32_t f = one("Flatten", "f", up); /* [1, 4 * 8 * 8] */
    uint32_t plain = make_random(g, "plain", DIMS(256, 3), &seed);
    uint32_t h = make_node(g, "Gemm", "h", VALUES(f, plain), NULL);
    uint32_t turned = make_random(g, "turned", DIMS(5, 3), &seed);
    uint32_t y = make_node(g, "Gemm", "y", VALUES(h, turned), &node);
    assert_ok(qdbg_graph_set_int(g, node, "transB", 1));
    uint32_t left = make_random(g, "left", DIMS(7, 1), &seed);
    uint32_t z = make_node(g, "MatMul", "z", VALUES(left, y), NULL);
    uint32_t vector = make_random(g, "vector", DIMS(5), &seed);
    expect(make_node(g, "MatMul", "q", VALUES(z, vector), NULL), QDBG_NONE,
           "x t[1] up plain[1] h turned[0] y left[0] z vector[0] q");
}

static void stacked_matrices_have_their_channels_last(void **state)
{
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 2, 3, 4));
    uint32_t w = make_random(g, "w", DIMS(2, 4, 5), &seed);
    expect(make_node(g, "MatMul", "y", VALUES(x, w), NULL), QDBG_NONE, "x w[2] y");
}

static void shared_weight_has_one_quantizer(void **state)
{
    uint32_t node;
    (void)state;
    uint32_t x = input("x"), w = make_random(g, "w", DIMS(4, 4, 1, 1), &seed);
    uint32_t a = make_node(g, "Conv", "a", VALUES(x, w), &node);
    expect(make_node(g, "Conv", "b", VALUES(a, w), &node), QDBG_NONE, "x w[0] a b");
}

static void product_of_activations_has_no_weight(void **state)
{
    (void)state;
    uint32_t a = make_input(g, "a", DIMS(1, 4)), b = make_input(g, "b", DIMS(4, 1));
    expect(make_node(g, "MatMul", "y", VALUES(a, b), NULL), QDBG_NONE, "a b y");
}

/* ---- the rest ---- */

static void unknown_operators_are_quantized(void **state)
{
    (void)state;
    uint32_t x = input("x"), u = one("MyOwnThing", "u", x);
    expect(one("Relu", "r", u), QDBG_NONE, "x u r");
}

static void inputs_come_first_and_only_once(void **state)
{
    (void)state;
    uint32_t x = input("x"), z = input("z");
    uint32_t y = one("Relu", "y", z);
    expect(add("sum", add("all", y, x), z), x, "x z y all sum");
}

static void order_is_topological_whatever_the_order_of_adding(void **state)
{
    uint32_t a, b, c;
    (void)state;
    uint32_t x = input("x");
    assert_ok(qdbg_graph_add_value(g, "a", QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, NULL, &a));
    assert_ok(qdbg_graph_add_value(g, "b", QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, NULL, &b));
    assert_ok(qdbg_graph_add_value(g, "c", QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, NULL, &c));
    assert_ok(qdbg_graph_add_node(g, "Sigmoid", NULL, &b, 1, &c, 1, NULL));
    assert_ok(qdbg_graph_add_node(g, "Sigmoid", NULL, &a, 1, &b, 1, NULL));
    assert_ok(qdbg_graph_add_node(g, "Sigmoid", NULL, &x, 1, &a, 1, NULL));
    expect(c, QDBG_NONE, "x a b c");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(conv_bn_relu_is_one),
        TEST(conv_clip_is_one),
        TEST(conv_prelu_is_one),
        TEST(conv_alone_ends_its_group),
        TEST(add_relu_is_one_and_its_branches_are_quantized),
        TEST(matmul_with_bias_is_one),
        TEST(matmul_with_another_activation_is_not),
        TEST(second_reader_ends_the_group),
        TEST(output_in_the_middle_ends_the_group),
        TEST(relu_reading_a_slope_is_not_fused_to_it),
        TEST(rearranged_values_keep_their_encoding),
        TEST(averages_and_sums_are_new_values),
        TEST(integers_are_left_alone),
        TEST(constant_branches_are_left_alone),
        TEST(biases_are_left_alone),
        TEST(channels_lie_where_the_operator_has_them),
        TEST(stacked_matrices_have_their_channels_last),
        TEST(shared_weight_has_one_quantizer),
        TEST(product_of_activations_has_no_weight),
        TEST(unknown_operators_are_quantized),
        TEST(inputs_come_first_and_only_once),
        TEST(order_is_topological_whatever_the_order_of_adding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
