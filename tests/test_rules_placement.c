/* Where rules put quantizers, what grids these have, and why a value has none (rules.h,
 * simulation.h). The preset "default" is in test_placement.c, too; shared encodings are in
 * test_rules_sharing.c. */
#include "rules_make.h"

static uint32_t indices(rules_world *w, const char *name)
{
    static const int64_t two[2] = {0, 1};
    uint32_t id = QDBG_NONE;
    qdbg_view view = make_view(DIMS(2), NULL);
    view.dtype = QDBG_I64;
    view.data = (void *)(uintptr_t)two;
    assert_ok(qdbg_graph_add_parameter(w->g, name, &view, &id));
    return id;
}

static void add_output(rules_world *w, uint32_t value)
{
    assert_ok(qdbg_graph_add_output(w->g, value));
}

/* x [1, 4] -> Gemm with weight "<name>.w" [3, 4] where `transposed`, else [4, 3], and a bias. */
static uint32_t gemm(rules_world *w, const char *name, uint32_t x, bool transposed)
{
    char text[32];
    uint32_t node, in[3] = {x};
    snprintf(text, sizeof text, "%s.w", name);
    in[1] = make_random(w->g, text, transposed ? DIMS(3, 4) : DIMS(4, 3), &w->seed);
    snprintf(text, sizeof text, "%s.b", name);
    in[2] = make_random(w->g, text, DIMS(3), &w->seed);
    uint32_t y = make_node(w->g, "Gemm", name, in, 3, &node);
    assert_ok(qdbg_graph_set_int(w->g, node, "transB", transposed));
    return y;
}

static void check_spec(rules_world *w, const char *name, int32_t symmetry, int32_t is_signed,
                       int32_t granularity)
{
    qdbg_quantizer_info q = rules_info(w, name);
    assert_int_equal(q.spec.symmetry, symmetry);
    assert_int_equal(q.spec.is_signed, is_signed);
    assert_int_equal(q.spec.granularity, granularity);
}

/* ---- default, per_channel ---- */

static void default_runs_conv_norm_and_relu_as_one(void **state)
{
    rules_world *w = *state;
    uint32_t x = rules_image(w, "x"), c = rules_conv(w, "c", x, true);
    rules_host_sim(w, rules_one(w, "Relu", "r", rules_norm(w, "n", c)));
    rules_expect(w, "x c.w[0] r");
    check_spec(w, "x", QDBG_ASYMMETRIC, QDBG_UNSIGNED, QDBG_PER_TENSOR);
    check_spec(w, "c.w", QDBG_SYMMETRIC, QDBG_SIGNED, QDBG_PER_TENSOR);
    check_spec(w, "r", QDBG_ASYMMETRIC, QDBG_UNSIGNED, QDBG_PER_TENSOR);
    rules_expect_absent(w, "x", QDBG_ABSENT_NOT, "");
    rules_expect_absent(w, "c.w", QDBG_ABSENT_NOT, "");
    rules_expect_absent(w, "c", QDBG_ABSENT_FUSED,
                        "fused into 'r' (Conv, BatchNormalization, Relu)");
    rules_expect_absent(w, "n", QDBG_ABSENT_FUSED, "fused into 'r' (BatchNormalization, Relu)");
    rules_expect_absent(w, "c.b", QDBG_ABSENT_RULE, "rule: params.bias has is_quantized False");
    rules_expect_absent(w, "n.gamma", QDBG_ABSENT_PARAMETER, "a parameter that no rule speaks of");
    rules_expect_absent(w, "n.beta", QDBG_ABSENT_RULE, "rule: params.bias has is_quantized False");
}

static void default_quantizes_both_sides_of_a_residual_add(void **state)
{
    rules_world *w = *state;
    uint32_t x = rules_image(w, "x"), c = rules_conv(w, "c", x, false);
    rules_host_sim(w, rules_one(w, "Relu", "r", rules_two(w, "Add", "a", c, x)));
    rules_expect(w, "x c.w[0] c r");
    rules_expect_absent(w, "a", QDBG_ABSENT_FUSED, "fused into 'r' (Add, Relu)");
}

static void a_second_reader_keeps_the_quantizer(void **state)
{
    rules_world *w = *state;
    uint32_t c = rules_conv(w, "c", rules_image(w, "x"), false);
    uint32_t r = rules_one(w, "Relu", "r", c);
    rules_host_sim(w, rules_two(w, "Add", "a", r, c));
    rules_expect(w, "x c.w[0] c r a");
}

static void a_graph_output_keeps_the_quantizer(void **state)
{
    rules_world *w = *state;
    uint32_t c = rules_conv(w, "c", rules_image(w, "x"), false);
    add_output(w, c);
    rules_host_sim(w, rules_one(w, "Relu", "r", c));
    rules_expect(w, "x c.w[0] c r");
}

static void per_channel_leaves_matrices_whole(void **state)
{
    rules_world *w = *state;
    rules_preset(w, "per_channel");
    uint32_t c = rules_conv(w, "c", rules_image(w, "x"), false);
    uint32_t m = make_random(w->g, "m.w", DIMS(6, 6), &w->seed);
    rules_host_sim(w, rules_two(w, "MatMul", "m", c, m));
    rules_expect(w, "x c.w[0] c m.w[1] m");
    check_spec(w, "c.w", QDBG_SYMMETRIC, QDBG_SIGNED, QDBG_PER_CHANNEL);
    check_spec(w, "m.w", QDBG_SYMMETRIC, QDBG_SIGNED, QDBG_PER_TENSOR);
    assert_int_equal(rules_info(w, "c.w").n_encodings, 4);
}

/* ---- axes ---- */

static void each_operator_has_its_channel_axis(void **state)
{
    rules_world *w = *state;
    uint32_t in[] = {rules_image(w, "x"), make_random(w->g, "t.w", DIMS(4, 2, 3, 3), &w->seed)};
    make_node(w->g, "ConvTranspose", "t", in, 2, NULL);
    add_output(w, value_of(w->g, "t"));
    uint32_t flat = make_input(w->g, "f", DIMS(1, 4));
    add_output(w, gemm(w, "g", flat, false));
    add_output(w, gemm(w, "h", flat, true));
    uint32_t left = make_random(w->g, "l.w", DIMS(5, 1), &w->seed);
    rules_host_sim(w, rules_two(w, "MatMul", "l", left, flat));
    rules_expect(w, "x f t.w[1] t g.w[1] g h.w[0] h l.w[0] l");
}

/* A vector makes one output: a scale for each of its elements no engine could take out of the sum.
 */
static void a_vector_has_one_scale(void **state)
{
    rules_world *w = *state;
    rules_preset(w, "tflite");
    uint32_t x = make_input(w->g, "x", DIMS(1, 4));
    uint32_t v = make_random(w->g, "v.w", DIMS(4), &w->seed);
    rules_host_sim(w, rules_two(w, "MatMul", "v", x, v));
    assert_int_equal(rules_info(w, "v.w").spec.granularity, QDBG_PER_TENSOR);
    assert_int_equal(rules_info(w, "v.w").n_encodings, 1);
}

static void a_gather_table_is_quantized_when_asked_by_name(void **state)
{
    rules_world *w = *state;
    uint32_t table = make_random(w->g, "table", DIMS(3, 4), &w->seed), ids = QDBG_NONE;
    assert_ok(qdbg_graph_add_value(w->g, "ids", QDBG_I64, 1, DIMS(1), &ids));
    assert_ok(qdbg_graph_add_input(w->g, ids));
    rules_param(w, "Gather", "weight", QDBG_RULE_YES);
    rules_host_sim(w, rules_two(w, "Gather", "e", table, ids));
    rules_expect(w, "table[0] e");
    rules_expect_absent(w, "ids", QDBG_ABSENT_TYPE, "int64");
}

static void a_gather_table_is_left_otherwise(void **state)
{
    rules_world *w = *state;
    uint32_t table = make_random(w->g, "table", DIMS(3, 4), &w->seed), ids = QDBG_NONE;
    assert_ok(qdbg_graph_add_value(w->g, "ids", QDBG_I64, 1, DIMS(1), &ids));
    assert_ok(qdbg_graph_add_input(w->g, ids));
    rules_host_sim(w, rules_two(w, "Gather", "e", table, ids));
    rules_expect(w, "e");
    rules_expect_absent(w, "table", QDBG_ABSENT_PARAMETER, "a parameter that no rule speaks of");
}

static void scales_of_norms_are_quantized_when_asked_by_name(void **state)
{
    rules_world *w = *state;
    rules_param(w, "BatchNormalization", "weight", QDBG_RULE_YES);
    rules_host_sim(w, rules_norm(w, "n", rules_image(w, "x")));
    rules_expect(w, "x n.gamma[0] n");
}

/* ---- sections ---- */

static void later_sections_override_earlier_ones(void **state)
{
    rules_world *w = *state;
    rules_json(w, "{\"defaults\": {\"ops\": {\"is_output_quantized\": \"True\"},"
                  " \"params\": {\"is_quantized\": \"True\"}},"
                  " \"params\": {\"d.w\": {\"is_quantized\": \"False\"}},"
                  " \"op_type\": {\"Conv\": {\"is_output_quantized\": \"False\"},"
                  "  \"Gemm\": {\"params\": {\"weight\": {\"is_quantized\": \"False\"}}}},"
                  " \"model_input\": {\"is_input_quantized\": \"False\"},"
                  " \"model_output\": {\"is_output_quantized\": \"False\"}}");
    uint32_t c = rules_conv(w, "c", rules_image(w, "x"), false);
    uint32_t d = rules_conv(w, "d", rules_one(w, "Sigmoid", "s", c), false);
    uint32_t g = gemm(w, "g", make_input(w->g, "f", DIMS(1, 4)), false);
    add_output(w, g);
    rules_host_sim(w, rules_one(w, "Tanh", "t", d));
    rules_expect(w, "c.w[0] s");
    rules_expect_absent(w, "x", QDBG_ABSENT_RULE,
                        "rule: model_input does not have is_input_quantized True");
    rules_expect_absent(w, "c", QDBG_ABSENT_RULE,
                        "rule: op_type Conv has is_output_quantized False");
    rules_expect_absent(w, "d.w", QDBG_ABSENT_RULE, "rule: params.d.w has is_quantized False");
    rules_expect_absent(w, "g.w", QDBG_ABSENT_RULE,
                        "rule: op_type Gemm has params.weight.is_quantized False");
    rules_expect_absent(w, "t", QDBG_ABSENT_RULE,
                        "rule: model_output has is_output_quantized False");
}

static void nothing_said_is_nothing_placed(void **state)
{
    rules_world *w = *state;
    rules_preset(w, "empty");
    rules_host_sim(w, rules_conv(w, "c", rules_image(w, "x"), true));
    rules_expect(w, "");
    rules_expect_absent(w, "c", QDBG_ABSENT_RULE,
                        "rule: defaults.ops do not have is_output_quantized True");
    rules_expect_absent(w, "c.w", QDBG_ABSENT_RULE,
                        "rule: defaults.params do not have is_quantized True");
    rules_expect_absent(w, "c.b", QDBG_ABSENT_RULE,
                        "rule: defaults.params do not have is_quantized True");
}

static void model_output_is_asked_for(void **state)
{
    rules_world *w = *state;
    rules_json(w, "{\"model_output\": {\"is_output_quantized\": \"True\"}}");
    rules_host_sim(w, rules_conv(w, "c", rules_image(w, "x"), false));
    rules_expect(w, "c");
}

static void both_operands_of_a_matmul_are_asked_for(void **state)
{
    rules_world *w = *state;
    rules_preset(w, "empty");
    rules_input(w, "MatMul");
    uint32_t x = rules_image(w, "x"), a = rules_one(w, "Tanh", "a", x);
    uint32_t b = rules_one(w, "Erf", "b", x);
    rules_host_sim(w, rules_two(w, "MatMul", "m", a, b));
    rules_expect(w, "a b");
    rules_expect_absent(w, "m", QDBG_ABSENT_RULE,
                        "rule: defaults.ops do not have is_output_quantized True");
}

/* Asking does not reach into what is run as one. */
static void inputs_inside_a_supergroup_are_not_there_to_ask_for(void **state)
{
    rules_world *w = *state;
    rules_input(w, "Relu");
    rules_host_sim(w, rules_one(w, "Relu", "r", rules_conv(w, "c", rules_image(w, "x"), false)));
    rules_expect(w, "x c.w[0] r");
}

static void long_supergroups_go_through_the_norm(void **state)
{
    rules_world *w = *state;
    rules_json(w, "{\"defaults\": {\"ops\": {\"is_output_quantized\": \"True\"}},"
                  " \"supergroups\": [{\"op_list\": [\"Conv\", \"Add\", \"Relu\"]}]}");
    uint32_t x = rules_image(w, "x"), n = rules_norm(w, "n", rules_conv(w, "c", x, false));
    uint32_t r = rules_one(w, "Relu", "r", rules_two(w, "Add", "a", x, n));
    rules_host_sim(w, rules_one(w, "Relu", "s", r));
    rules_expect(w, "r s");
    rules_expect_absent(w, "c", QDBG_ABSENT_FUSED,
                        "fused into 'r' (Conv, BatchNormalization, Add, Relu)");
}

static void symmetric_outputs_are_unsigned_where_they_can_be(void **state)
{
    rules_world *w = *state;
    rules_json(w, "{\"defaults\": {\"ops\": {\"is_output_quantized\": \"True\","
                  " \"is_symmetric\": \"True\"}, \"unsigned_symmetric\": \"True\"},"
                  " \"op_type\": {\"Tanh\": {\"is_symmetric\": \"False\"}}}");
    uint32_t c = rules_conv(w, "c", rules_image(w, "x"), false);
    rules_host_sim(w, rules_one(w, "Tanh", "t", rules_one(w, "Relu", "r", c)));
    rules_expect(w, "c r t");
    check_spec(w, "c", QDBG_SYMMETRIC, QDBG_SIGNED, QDBG_PER_TENSOR);
    check_spec(w, "r", QDBG_SYMMETRIC, QDBG_UNSIGNED, QDBG_PER_TENSOR);
    check_spec(w, "t", QDBG_ASYMMETRIC, QDBG_UNSIGNED, QDBG_PER_TENSOR);
}

static void options_go_before_rules(void **state)
{
    rules_world *w = *state;
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_sim *sim;
    qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
    rules_preset(w, "tflite"); /* ties away */
    rules_host_sim(w, rules_conv(w, "c", rules_image(w, "x"), false));
    assert_int_equal(rules_info(w, "c.w").spec.rounding, QDBG_ROUND_NEAREST_AWAY);
    o.rules = w->rules;
    o.rounding = QDBG_ROUND_NEAREST_UP;
    assert_ok(qdbg_sim_create(w->m, &o, &sim));
    assert_ok(qdbg_sim_quantizer(sim, qdbg_sim_find_quantizer(sim, "c.w"), &q));
    assert_int_equal(q.spec.rounding, QDBG_ROUND_NEAREST_UP);
    qdbg_sim_destroy(sim);
}

/* ---- onnxruntime ---- */

static void onnxruntime_quantizes_around_listed_operators(void **state)
{
    rules_world *w = *state;
    rules_preset(w, "onnxruntime");
    uint32_t x = rules_image(w, "x");
    uint32_t r = rules_one(w, "Relu", "r", rules_conv(w, "c", x, true));
    uint32_t a = rules_two(w, "Add", "a", r, x);
    uint32_t p = rules_one(w, "GlobalAveragePool", "p", a);
    uint32_t e = rules_one(w, "Erf", "e", rules_one(w, "Flatten", "f", p)); /* not listed */
    rules_host_sim(w, rules_one(w, "Softmax", "s", rules_one(w, "Tanh", "t", e)));
    rules_expect(w, "x c.w[0] c.b{x,c.w} r a p t s");
    check_spec(w, "x", QDBG_ASYMMETRIC, QDBG_UNSIGNED, QDBG_PER_TENSOR);
    check_spec(w, "c.w", QDBG_STRICT_SYMMETRIC, QDBG_SIGNED, QDBG_PER_TENSOR);
    check_spec(w, "c.b", QDBG_SYMMETRIC, QDBG_SIGNED, QDBG_PER_TENSOR);
    assert_int_equal(rules_info(w, "c.b").spec.bits, 32);
    rules_expect_absent(w, "f", QDBG_ABSENT_SHARED, "shares the encoding of 'p'");
    rules_expect_absent(w, "e", QDBG_ABSENT_RULE,
                        "rule: defaults.ops do not have is_output_quantized True");
}

static void onnxruntime_hands_on_only_what_is_quantized(void **state)
{
    rules_world *w = *state;
    rules_preset(w, "onnxruntime");
    uint32_t x = rules_image(w, "x"), e = rules_one(w, "Erf", "e", x);
    uint32_t m = rules_pool(w, "MaxPool", "m", e), a = rules_pool(w, "AveragePool", "a", m);
    add_output(w, a);
    uint32_t c = rules_conv(w, "c", x, false);
    rules_host_sim(w, rules_pool(w, "AveragePool", "b", rules_pool(w, "MaxPool", "n", c)));
    rules_expect(w, "x c.w[0] c b=c");
    rules_expect_absent(w, "m", QDBG_ABSENT_SOURCE, "keeps the encoding of 'e', which has none");
    rules_expect_absent(w, "n", QDBG_ABSENT_SHARED, "shares the encoding of 'c'");
    rules_expect_absent(w, "a", QDBG_ABSENT_RULE,
                        "rule: defaults.ops do not have is_output_quantized True");
}

static void onnxruntime_gives_concat_a_grid_of_its_own(void **state)
{
    rules_world *w = *state;
    rules_preset(w, "onnxruntime");
    uint32_t x = rules_image(w, "x"), y = rules_image(w, "y");
    rules_host_sim(w, rules_concat(w, "k", (const uint32_t[]){x, y}, 2));
    rules_expect(w, "x y k");
}

static void softmax_has_the_range_of_probabilities(void **state)
{
    rules_world *w = *state;
    rules_preset(w, "onnxruntime");
    rules_host_sim(w, rules_one(w, "Softmax", "s", rules_image(w, "x")));
    qdbg_encoding e = rules_encoding(w, "s", 0); /* without calibration */
    assert_true(e.scale == 1 / 255.0f && e.zero_point == 0 && e.min == 0);
    assert_int_equal(rules_info(w, "s").has_fixed_range, 1);
    assert_int_equal(rules_info(w, "x").has_fixed_range, 0);
}

/* ---- tflite ---- */

static void tflite_is_int8_and_per_channel(void **state)
{
    rules_world *w = *state;
    rules_preset(w, "tflite");
    uint32_t c = rules_conv(w, "c", rules_image(w, "x"), true);
    uint32_t p = rules_pool(w, "AveragePool", "p", rules_one(w, "Relu", "r", c));
    rules_host_sim(w, p);
    rules_expect(w, "x c.w[0] c.b{x,c.w} r p=r");
    check_spec(w, "x", QDBG_ASYMMETRIC, QDBG_SIGNED, QDBG_PER_TENSOR);
    check_spec(w, "c.w", QDBG_STRICT_SYMMETRIC, QDBG_SIGNED, QDBG_PER_CHANNEL);
    assert_int_equal(rules_info(w, "x").spec.rounding, QDBG_ROUND_NEAREST_AWAY);
    assert_int_equal(rules_info(w, "c.b").spec.rounding, QDBG_ROUND_NEAREST_AWAY);
}

static void tflite_fixes_the_grids_of_its_specification(void **state)
{
    static const struct {
        const char *op;
        float scale;
        int32_t zero_point;
    } grids[] = {
        {"Softmax", 1 / 256.0f, -128},
        {"Sigmoid", 1 / 256.0f, -128},
        {"Tanh", 1 / 128.0f, 0},
        {"LogSoftmax", 16 / 256.0f, 127},
    };
    rules_world *w = *state;
    rules_preset(w, "tflite");
    uint32_t x = rules_image(w, "x"), y = QDBG_NONE;
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        y = rules_one(w, grids[i].op, grids[i].op, x);
        if (i > 0)
            add_output(w, y);
    }
    rules_host_sim(w, value_of(w->g, "Softmax"));
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        qdbg_encoding e = rules_encoding(w, grids[i].op, 0);
        assert_true(e.scale == grids[i].scale);
        assert_int_equal(e.zero_point, grids[i].zero_point);
    }
}

static void fixed_ranges_yield_to_the_callers(void **state)
{
    rules_world *w = *state;
    rules_range(w, "Sigmoid", 0, 1);
    rules_host_sim(w, rules_one(w, "Sigmoid", "s", rules_image(w, "x")));
    uint32_t s = qdbg_sim_find_quantizer(w->sim, "s");
    assert_true(rules_encoding(w, "s", 0).max == 1);
    assert_ok(qdbg_sim_set_range(w->sim, s, 0, 2));
    assert_true(rules_encoding(w, "s", 0).max == 2);
    assert_ok(qdbg_sim_clear_range(w->sim, s));
    assert_true(rules_encoding(w, "s", 0).max == 1);
}

/* ---- absences ---- */

static void what_does_not_depend_on_inputs_is_constant(void **state)
{
    rules_world *w = *state;
    uint32_t p = make_random(w->g, "p", DIMS(1, 4, 6, 6), &w->seed);
    uint32_t t = rules_one(w, "Tanh", "t", p);
    rules_host_sim(w, rules_two(w, "Mul", "y", rules_image(w, "x"), t));
    rules_expect(w, "x y");
    rules_expect_absent(w, "t", QDBG_ABSENT_CONSTANT, "constant: it does not depend on an input");
}

static void integers_have_no_quantizer(void **state)
{
    rules_world *w = *state;
    uint32_t x = rules_image(w, "x"), ids = indices(w, "ids");
    add_output(w, rules_one(w, "ArgMax", "am", x));
    rules_host_sim(w, rules_two(w, "Gather", "y", x, ids));
    rules_expect(w, "x");
    rules_expect_absent(w, "am", QDBG_ABSENT_TYPE, "int64");
    rules_expect_absent(w, "ids", QDBG_ABSENT_TYPE, "int64");
    rules_expect_absent(w, "y", QDBG_ABSENT_SHARED, "shares the encoding of 'x'");
}

static void biases_want_a_grid_of_input_and_weight(void **state)
{
    rules_world *w = *state;
    rules_json(w, "{\"defaults\": {\"ops\": {\"is_output_quantized\": \"True\"},"
                  " \"params\": {\"is_quantized\": \"True\"}}}"); /* no inputs of the model */
    rules_host_sim(w, rules_conv(w, "c", rules_image(w, "x"), true));
    rules_expect(w, "c.w[0] c");
    rules_expect_absent(w, "c.b", QDBG_ABSENT_SOURCE,
                        "'c' has no quantizer on its input or on a constant weight");
}

static void a_product_of_activations_has_no_grid_for_its_bias(void **state)
{
    rules_world *w = *state;
    uint32_t in[3] = {make_input(w->g, "f", DIMS(1, 4)), make_input(w->g, "h", DIMS(4, 3)),
                      make_random(w->g, "g.b", DIMS(3), &w->seed)};
    rules_preset(w, "onnxruntime");
    rules_host_sim(w, make_node(w->g, "Gemm", "g", in, 3, NULL));
    rules_expect(w, "f h g");
    rules_expect_absent(w, "g.b", QDBG_ABSENT_SOURCE,
                        "'g' has no quantizer on its input or on a constant weight");
}

static void biases_are_one_number_for_each_channel(void **state)
{
    rules_world *w = *state;
    uint32_t in[3] = {make_input(w->g, "f", DIMS(1, 4)),
                      make_random(w->g, "g.w", DIMS(4, 3), &w->seed),
                      make_random(w->g, "g.b", DIMS(1), &w->seed)};
    rules_preset(w, "onnxruntime");
    rules_host_sim(w, make_node(w->g, "Gemm", "g", in, 3, NULL));
    rules_expect(w, "f g.w[1] g");
    rules_expect_absent(w, "g.b", QDBG_ABSENT_SHAPE,
                        "a bias that is not one number for each channel, or not its own");
}

static void a_bias_that_two_read_is_left(void **state)
{
    rules_world *w = *state;
    uint32_t x = rules_image(w, "x"), c = rules_conv(w, "c", x, true);
    uint32_t in[3] = {c, value_of(w->g, "c.w"), value_of(w->g, "c.b")}, node;
    uint32_t d = make_node(w->g, "Conv", "d", in, 3, &node);
    make_ints(w->g, node, "pads", DIMS(1, 1, 1, 1));
    rules_preset(w, "onnxruntime");
    rules_host_sim(w, d);
    rules_expect(w, "x c.w[0] c d");
    rules_expect_absent(w, "c.b", QDBG_ABSENT_SHAPE,
                        "a bias that is not one number for each channel, or not its own");
}

static void absences_tell_numbers_too(void **state)
{
    rules_world *w = *state;
    qdbg_absence_info a = QDBG_ABSENCE_INFO_INIT;
    uint32_t c = rules_conv(w, "c", rules_image(w, "x"), false);
    uint32_t r = rules_one(w, "Relu", "r", c), m = rules_pool(w, "MaxPool", "m", r);
    rules_host_sim(w, m);
    assert_ok(qdbg_sim_absence(w->sim, c, &a));
    assert_int_equal(a.node, rules_info(w, "r").node);
    assert_int_equal(a.quantizer, QDBG_NONE);
    assert_ok(qdbg_sim_absence(w->sim, m, &a));
    assert_int_equal(a.quantizer, qdbg_sim_find_quantizer(w->sim, "r"));
    assert_ok(qdbg_sim_absence(w->sim, r, &a));
    assert_int_equal(a.quantizer, qdbg_sim_find_quantizer(w->sim, "r"));
    assert_int_equal(qdbg_sim_absence(NULL, 0, &a), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_sim_absence(w->sim, 0, NULL), QDBG_E_INVALID, "info");
    assert_fails(w->ctx, qdbg_sim_absence(w->sim, 99, &a), QDBG_E_NOT_FOUND, "99");
    a.struct_size--;
    assert_fails(w->ctx, qdbg_sim_absence(w->sim, 0, &a), QDBG_E_INVALID, "struct_size");
}

/* The simulation keeps nothing of the rules. */
static void rules_may_go_after_creation(void **state)
{
    rules_world *w = *state;
    rules_host_sim(w, rules_conv(w, "c", rules_image(w, "x"), false));
    qdbg_rules_destroy(w->rules);
    w->rules = NULL;
    rules_expect(w, "x c.w[0] c");
    rules_expect_absent(w, "c", QDBG_ABSENT_NOT, "");
}

static void a_rule_may_fix_the_lower_end_alone(void **state)
{
    rules_world *w = *state;
    qdbg_op_rule rule = QDBG_OP_RULE_INIT;
    rule.has_range = QDBG_RULE_MIN;
    rule.min = -4;
    assert_ok(qdbg_rules_set_op(w->rules, "Tanh", &rule));
    rules_sim(w, rules_one(w, "Tanh", "t", rules_image(w, "x")));
    assert_int_equal(rules_info(w, "t").has_fixed_range, QDBG_RULE_MIN);
    assert_int_equal(rules_info(w, "t").n_encodings, 0); /* the upper end is not known yet */
    rules_calibrate(w);
    qdbg_quantizer_info t = rules_info(w, "t");
    qdbg_encoding want = QDBG_ENCODING_INIT, got = rules_encoding(w, "t", 0);
    assert_ok(qdbg_encoding_from_range(w->ctx, &t.spec, -4, t.observed_max, &want));
    assert_memory_equal(&got, &want, sizeof got);
}

/* The last one's output keeps its quantizer also where it would keep its input's encoding. */
static void a_supergroup_may_end_in_picking(void **state)
{
    rules_world *w = *state;
    static const char *const ops[] = {"Conv", "Relu", "MaxPool"};
    assert_ok(qdbg_rules_add_supergroup(w->rules, ops, 3));
    uint32_t r = rules_one(w, "Relu", "r", rules_conv(w, "c", rules_image(w, "x"), false));
    rules_host_sim(w, rules_one(w, "Flatten", "f", rules_pool(w, "MaxPool", "m", r)));
    rules_expect(w, "x c.w[0] m");
    rules_expect_absent(w, "r", QDBG_ABSENT_FUSED, "fused into 'm' (Relu, MaxPool)");
    rules_expect_absent(w, "f", QDBG_ABSENT_SHARED, "shares the encoding of 'm'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(default_runs_conv_norm_and_relu_as_one),
        TEST(default_quantizes_both_sides_of_a_residual_add),
        TEST(a_second_reader_keeps_the_quantizer),
        TEST(a_graph_output_keeps_the_quantizer),
        TEST(per_channel_leaves_matrices_whole),
        TEST(each_operator_has_its_channel_axis),
        TEST(a_vector_has_one_scale),
        TEST(a_gather_table_is_quantized_when_asked_by_name),
        TEST(a_gather_table_is_left_otherwise),
        TEST(scales_of_norms_are_quantized_when_asked_by_name),
        TEST(later_sections_override_earlier_ones),
        TEST(nothing_said_is_nothing_placed),
        TEST(model_output_is_asked_for),
        TEST(both_operands_of_a_matmul_are_asked_for),
        TEST(inputs_inside_a_supergroup_are_not_there_to_ask_for),
        TEST(long_supergroups_go_through_the_norm),
        TEST(symmetric_outputs_are_unsigned_where_they_can_be),
        TEST(options_go_before_rules),
        TEST(onnxruntime_quantizes_around_listed_operators),
        TEST(onnxruntime_hands_on_only_what_is_quantized),
        TEST(onnxruntime_gives_concat_a_grid_of_its_own),
        TEST(softmax_has_the_range_of_probabilities),
        TEST(tflite_is_int8_and_per_channel),
        TEST(tflite_fixes_the_grids_of_its_specification),
        TEST(fixed_ranges_yield_to_the_callers),
        TEST(what_does_not_depend_on_inputs_is_constant),
        TEST(integers_have_no_quantizer),
        TEST(biases_want_a_grid_of_input_and_weight),
        TEST(a_product_of_activations_has_no_grid_for_its_bias),
        TEST(biases_are_one_number_for_each_channel),
        TEST(a_bias_that_two_read_is_left),
        TEST(absences_tell_numbers_too),
        TEST(rules_may_go_after_creation),
        TEST(a_supergroup_may_end_in_picking),
        TEST(a_rule_may_fix_the_lower_end_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
