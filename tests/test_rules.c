/* Rule sets as data (rules.h): presets, calls, copies. What they do is in test_rules_placement.c,
 * files are in test_rules_json.c. */
#include "rules_make.h"

static const char *const presets[] = {"default", "per_channel", "onnxruntime", "tflite", "empty"};

static void init_functions_do_what_the_macros_do(void **state)
{
    qdbg_rule_defaults d, want_d = QDBG_RULE_DEFAULTS_INIT;
    qdbg_op_rule o, want_o = QDBG_OP_RULE_INIT;
    qdbg_param_rule p, want_p = QDBG_PARAM_RULE_INIT;
    qdbg_absence_info a, want_a = QDBG_ABSENCE_INFO_INIT;
    (void)state;
    qdbg_rule_defaults_init(&d);
    qdbg_op_rule_init(&o);
    qdbg_param_rule_init(&p);
    qdbg_absence_info_init(&a);
    assert_memory_equal(&d, &want_d, sizeof d);
    assert_memory_equal(&o, &want_o, sizeof o);
    assert_memory_equal(&p, &want_p, sizeof p);
    assert_memory_equal(&a, &want_a, sizeof a);
    qdbg_rule_defaults_init(NULL);
    qdbg_op_rule_init(NULL);
    qdbg_param_rule_init(NULL);
    qdbg_absence_info_init(NULL);
}

static void presets_are_known_by_name_and_differ(void **state)
{
    rules_world *w = *state;
    qdbg_rules *all[5], *none = NULL;
    for (int i = 0; i < 5; i++)
        assert_ok(qdbg_rules_create(w->ctx, presets[i], &all[i]));
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 5; k++)
            assert_int_equal(qdbg_rules_equal(all[i], all[k]), i == k);
    assert_int_equal(qdbg_rules_equal(all[0], w->rules), 1); /* NULL is "default" */
    for (int i = 0; i < 5; i++)
        qdbg_rules_destroy(all[i]);
    assert_fails(w->ctx, qdbg_rules_create(w->ctx, "nonesuch", &none), QDBG_E_NOT_FOUND,
                 "'nonesuch'");
    assert_fails(w->ctx, qdbg_rules_create(w->ctx, "default", NULL), QDBG_E_INVALID, "out");
    assert_int_equal(qdbg_rules_create(NULL, NULL, &none), QDBG_E_INVALID);
    assert_null(none);
    qdbg_rules_destroy(NULL);
    assert_int_equal(qdbg_rules_equal(NULL, NULL), 0);
}

static void copy_is_equal_and_stands_alone(void **state)
{
    rules_world *w = *state;
    for (int i = 0; i < 5; i++) {
        qdbg_rules *copy = NULL;
        rules_preset(w, presets[i]);
        assert_ok(qdbg_rules_copy(w->rules, &copy));
        assert_int_equal(qdbg_rules_equal(copy, w->rules), 1);
        rules_output(w, "Foo", QDBG_RULE_NO);
        assert_int_equal(qdbg_rules_equal(copy, w->rules), 0);
        qdbg_rules_destroy(copy);
    }
    assert_int_equal(qdbg_rules_copy(NULL, NULL), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_rules_copy(w->rules, NULL), QDBG_E_INVALID, "out");
}

static void every_field_counts_for_equality(void **state)
{
    rules_world *w = *state;
    for (size_t field = 1; field < 13; field++) { /* all but struct_size and reserved */
        qdbg_rules *other;
        qdbg_rule_defaults d = QDBG_RULE_DEFAULTS_INIT;
        int32_t answer;
        assert_ok(qdbg_rules_copy(w->rules, &other));
        assert_ok(qdbg_rules_get_defaults(other, &d));
        memcpy(&answer, (char *)&d + 4 * field, 4);
        answer = answer == QDBG_RULE_NO ? QDBG_RULE_YES : QDBG_RULE_NO;
        memcpy((char *)&d + 4 * field, &answer, 4);
        assert_ok(qdbg_rules_set_defaults(other, &d));
        assert_int_equal(qdbg_rules_equal(other, w->rules), 0);
        qdbg_rules_destroy(other);
    }
}

static void operators_are_said_and_read(void **state)
{
    rules_world *w = *state;
    qdbg_op_rule said = QDBG_OP_RULE_INIT, got = QDBG_OP_RULE_INIT;
    rules_preset(w, "empty");
    assert_int_equal(qdbg_rules_op_count(w->rules), 0);
    assert_ok(qdbg_rules_get_op(w->rules, "Conv", &got)); /* nothing */
    assert_memory_equal(&got, &said, sizeof got);
    said.input_quantized = QDBG_RULE_YES;
    said.output_quantized = QDBG_RULE_NO;
    said.sharing = QDBG_SHARE_ALL;
    said.has_range = 1;
    said.min = -1;
    said.max = 2;
    assert_ok(qdbg_rules_set_op(w->rules, "Conv", &said));
    assert_ok(qdbg_rules_get_op(w->rules, "Conv", &got));
    assert_memory_equal(&got, &said, sizeof got);
    assert_int_equal(qdbg_rules_op_count(w->rules), 1);
    assert_string_equal(qdbg_rules_op_type(w->rules, 0), "Conv");
    assert_null(qdbg_rules_op_type(w->rules, 1));
    assert_int_equal(qdbg_rules_op_count(NULL), 0);
    assert_null(qdbg_rules_op_type(NULL, 0));
}

static void parameters_are_said_and_read(void **state)
{
    rules_world *w = *state;
    qdbg_param_rule said = QDBG_PARAM_RULE_INIT, got = QDBG_PARAM_RULE_INIT;
    assert_ok(qdbg_rules_get_param(w->rules, NULL, "bias", &got));
    assert_int_equal(got.quantized, QDBG_RULE_NO); /* of the preset */
    said.quantized = QDBG_RULE_YES;
    said.symmetric = QDBG_RULE_NO;
    assert_ok(qdbg_rules_set_param(w->rules, "Conv", "bias", &said));
    assert_ok(qdbg_rules_get_param(w->rules, "Conv", "bias", &got));
    assert_memory_equal(&got, &said, sizeof got);
    assert_ok(qdbg_rules_get_param(w->rules, "Gemm", "bias", &got));
    assert_int_equal(got.quantized, QDBG_RULE_UNSET);
    assert_ok(qdbg_rules_get_param(w->rules, "Conv", "weight", &got));
    assert_int_equal(got.quantized, QDBG_RULE_UNSET);
}

static void supergroups_are_added_read_and_removed(void **state)
{
    rules_world *w = *state;
    static const char *const three[] = {"Conv", "Add", "Relu"}, *const hole[] = {"Conv", NULL};
    rules_preset(w, "empty");
    assert_ok(qdbg_rules_add_supergroup(w->rules, three, 3));
    assert_ok(qdbg_rules_add_supergroup(w->rules, three, 2));
    assert_int_equal(qdbg_rules_supergroup_count(w->rules), 2);
    assert_string_equal(qdbg_rules_supergroup_op(w->rules, 0, 2), "Relu");
    assert_null(qdbg_rules_supergroup_op(w->rules, 1, 2));
    assert_null(qdbg_rules_supergroup_op(w->rules, 2, 0));
    assert_ok(qdbg_rules_remove_supergroup(w->rules, 0));
    assert_int_equal(qdbg_rules_supergroup_count(w->rules), 1);
    assert_null(qdbg_rules_supergroup_op(w->rules, 0, 2));
    assert_fails(w->ctx, qdbg_rules_remove_supergroup(w->rules, 1), QDBG_E_NOT_FOUND, "1");
    assert_fails(w->ctx, qdbg_rules_add_supergroup(w->rules, three, 1), QDBG_E_INVALID, "two");
    assert_fails(w->ctx, qdbg_rules_add_supergroup(w->rules, hole, 2), QDBG_E_INVALID, "1");
    assert_fails(w->ctx, qdbg_rules_add_supergroup(w->rules, NULL, 2), QDBG_E_INVALID, "two");
    assert_int_equal(qdbg_rules_add_supergroup(NULL, three, 2), QDBG_E_INVALID);
    assert_int_equal(qdbg_rules_remove_supergroup(NULL, 0), QDBG_E_INVALID);
    assert_int_equal(qdbg_rules_supergroup_count(NULL), 0);
    assert_null(qdbg_rules_supergroup_op(NULL, 0, 0));
}

static void bad_fields_are_refused_and_change_nothing(void **state)
{
    rules_world *w = *state;
    qdbg_rules *before;
    assert_ok(qdbg_rules_copy(w->rules, &before));
    for (size_t field = 0; field < 14; field++) {
        qdbg_rule_defaults d = QDBG_RULE_DEFAULTS_INIT;
        int32_t bad = 3;
        memcpy((char *)&d + 4 * field, &bad, 4);
        assert_fails(w->ctx, qdbg_rules_set_defaults(w->rules, &d), QDBG_E_INVALID, "defaults");
    }
    for (size_t field = 0; field < 8; field++) {
        qdbg_op_rule o = QDBG_OP_RULE_INIT;
        int32_t bad = 4;
        memcpy((char *)&o + 4 * field, &bad, 4);
        assert_fails(w->ctx, qdbg_rules_set_op(w->rules, "Foo", &o), QDBG_E_INVALID, "operator");
    }
    static const double bad_ranges[][2] = {{1, 0}, {0, 1e39}, {-1e300, 0}};
    for (int i = 0; i < 3; i++) {
        qdbg_op_rule o = QDBG_OP_RULE_INIT;
        o.has_range = 1;
        o.min = bad_ranges[i][0];
        o.max = bad_ranges[i][1];
        assert_fails(w->ctx, qdbg_rules_set_op(w->rules, "Foo", &o), QDBG_E_INVALID, "operator");
    }
    qdbg_op_rule no_input = QDBG_OP_RULE_INIT, good = QDBG_OP_RULE_INIT;
    no_input.input_quantized = QDBG_RULE_NO;
    assert_fails(w->ctx, qdbg_rules_set_op(w->rules, "Foo", &no_input), QDBG_E_INVALID, "");
    assert_fails(w->ctx, qdbg_rules_set_op(w->rules, "", &good), QDBG_E_INVALID, "");
    assert_fails(w->ctx, qdbg_rules_set_op(w->rules, NULL, &good), QDBG_E_INVALID, "");
    for (size_t field = 0; field < 4; field++) {
        qdbg_param_rule p = QDBG_PARAM_RULE_INIT;
        int32_t bad = 3;
        memcpy((char *)&p + 4 * field, &bad, 4);
        assert_fails(w->ctx, qdbg_rules_set_param(w->rules, "Foo", "bias", &p), QDBG_E_INVALID,
                     "parameter");
    }
    qdbg_param_rule p = QDBG_PARAM_RULE_INIT;
    assert_fails(w->ctx, qdbg_rules_set_param(w->rules, NULL, "", &p), QDBG_E_INVALID, "");
    assert_fails(w->ctx, qdbg_rules_set_param(w->rules, "", "bias", &p), QDBG_E_INVALID, "");
    assert_int_equal(qdbg_rules_equal(before, w->rules), 1);
    qdbg_rules_destroy(before);
}

static void null_is_refused(void **state)
{
    rules_world *w = *state;
    qdbg_rule_defaults d = QDBG_RULE_DEFAULTS_INIT;
    qdbg_op_rule o = QDBG_OP_RULE_INIT;
    qdbg_param_rule p = QDBG_PARAM_RULE_INIT;
    assert_int_equal(qdbg_rules_set_defaults(NULL, &d), QDBG_E_INVALID);
    assert_int_equal(qdbg_rules_set_op(NULL, "Conv", &o), QDBG_E_INVALID);
    assert_int_equal(qdbg_rules_set_param(NULL, NULL, "bias", &p), QDBG_E_INVALID);
    assert_int_equal(qdbg_rules_get_defaults(NULL, &d), QDBG_E_INVALID);
    assert_int_equal(qdbg_rules_get_defaults(w->rules, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_rules_get_op(NULL, "Conv", &o), QDBG_E_INVALID);
    assert_int_equal(qdbg_rules_get_op(w->rules, NULL, &o), QDBG_E_INVALID);
    assert_int_equal(qdbg_rules_get_op(w->rules, "Conv", NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_rules_get_param(NULL, NULL, "bias", &p), QDBG_E_INVALID);
    assert_int_equal(qdbg_rules_get_param(w->rules, NULL, NULL, &p), QDBG_E_INVALID);
    d.struct_size = o.struct_size = p.struct_size = 4;
    assert_int_equal(qdbg_rules_get_defaults(w->rules, &d), QDBG_E_INVALID);
    assert_int_equal(qdbg_rules_get_op(w->rules, "Conv", &o), QDBG_E_INVALID);
    assert_int_equal(qdbg_rules_get_param(w->rules, NULL, "bias", &p), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_rules_set_defaults(w->rules, NULL), QDBG_E_INVALID, "defaults");
}

/* As many as a large file may hold: each is found, and time does not grow with the square. */
static void many_entries_are_found(void **state)
{
    rules_world *w = *state;
    enum { N = 100000 };
    qdbg_op_rule o = QDBG_OP_RULE_INIT;
    qdbg_param_rule p = QDBG_PARAM_RULE_INIT;
    qdbg_rules *copy;
    char name[32];
    rules_preset(w, "empty");
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "n%d", i);
        o.output_quantized = 1 + i % 2;
        p.quantized = 1 + (i + 1) % 2;
        assert_ok(qdbg_rules_set_op(w->rules, name, &o));
        assert_ok(qdbg_rules_set_param(w->rules, NULL, name, &p));
        assert_ok(qdbg_rules_set_param(w->rules, "n0", name, &p));
    }
    assert_int_equal(qdbg_rules_op_count(w->rules), N);
    assert_ok(qdbg_rules_copy(w->rules, &copy));
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_ok(qdbg_rules_get_op(copy, name, &o));
        assert_int_equal(o.output_quantized, 1 + i % 2);
        assert_ok(qdbg_rules_get_param(copy, "n0", name, &p));
        assert_int_equal(p.quantized, 1 + (i + 1) % 2);
        p.quantized = 0;
        assert_ok(qdbg_rules_get_param(copy, NULL, name, &p));
        assert_int_equal(p.quantized, 1 + (i + 1) % 2);
    }
    assert_ok(qdbg_rules_get_op(copy, "n", &o));
    assert_int_equal(o.output_quantized, QDBG_RULE_UNSET);
    assert_int_equal(qdbg_rules_equal(copy, w->rules), 1);
    qdbg_rules_destroy(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(init_functions_do_what_the_macros_do),
        TEST(presets_are_known_by_name_and_differ),
        TEST(copy_is_equal_and_stands_alone),
        TEST(every_field_counts_for_equality),
        TEST(operators_are_said_and_read),
        TEST(parameters_are_said_and_read),
        TEST(supergroups_are_added_read_and_removed),
        TEST(bad_fields_are_refused_and_change_nothing),
        TEST(null_is_refused),
        TEST(many_entries_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
