/* What rules log, forget, leave out and name (rules.h): of a graph, of AIMET's format, of fields.
 */
#include "rules_make.h"

#include <stdlib.h>

static char log_text[8192];
static int n_warnings, n_errors;

static void on_log(void *user, int32_t level, const char *message)
{
    size_t used = strlen(log_text);
    (void)user;
    snprintf(log_text + used, sizeof log_text - used, "%s\n", message);
    n_warnings += level == QDBG_LOG_WARNING;
    n_errors += level == QDBG_LOG_ERROR;
}

static void clear_log(void)
{
    log_text[0] = 0;
    n_warnings = n_errors = 0;
}

static int begin(void **state)
{
    rules_world *w = calloc(1, sizeof *w);
    qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
    o.threads = 1;
    o.log = on_log;
    assert_ok(qdbg_ctx_create(&o, &w->ctx));
    w->g = make_graph(w->ctx, 13);
    w->seed = 1;
    assert_ok(qdbg_rules_create(w->ctx, NULL, &w->rules));
    *state = w;
    clear_log();
    return 0;
}

static void sim_again(rules_world *w)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    o.rules = w->rules;
    qdbg_sim_destroy(w->sim);
    w->sim = NULL;
    clear_log();
    assert_ok(qdbg_sim_create(w->m, &o, &w->sim));
}

#define assert_logged(text) assert_non_null(strstr(log_text, text))

/* ---- of a graph ---- */

static void rules_that_match_nothing_are_told(void **state)
{
    rules_world *w = *state;
    static const char *const odd[] = {"Conv", "Reluu"};
    uint32_t c = rules_conv(w, "c", rules_image(w, "x"), true);
    rules_host_sim(w, rules_one(w, "Foo", "f", c)); /* no operator of the library's */
    assert_int_equal(n_warnings, 0);

    rules_output(w, "Convv", QDBG_RULE_YES);
    rules_output(w, "conv", QDBG_RULE_YES);
    rules_output(w, "Foo", QDBG_RULE_YES);  /* the graph has it */
    rules_output(w, "Tanh", QDBG_RULE_YES); /* the library has it */
    rules_param(w, NULL, "c.wieght", QDBG_RULE_NO);
    rules_param(w, NULL, "c.w", QDBG_RULE_NO);
    rules_param(w, NULL, "x", QDBG_RULE_NO); /* a value, but no parameter */
    rules_param(w, "Conv", "wight", QDBG_RULE_NO);
    rules_param(w, "Conv", "bias", QDBG_RULE_YES);
    assert_ok(qdbg_rules_add_supergroup(w->rules, odd, 2));
    assert_ok(qdbg_rules_add_supergroup(w->rules, odd, 2)); /* told once */
    sim_again(w);
    assert_int_equal(n_warnings, 6);
    assert_logged("op_type: no operator of the library or the graph is a 'Convv'");
    assert_logged("'conv'");
    assert_logged("rules: params: 'c.wieght'");
    assert_logged("rules: params: 'x'");
    assert_logged("rules: op_type.Conv.params: 'wight'");
    assert_logged("supergroups: no operator of the library or the graph is a 'Reluu'");
}

static void a_flood_of_warnings_is_cut(void **state)
{
    rules_world *w = *state;
    rules_host_sim(w, rules_conv(w, "c", rules_image(w, "x"), true));
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "odd%d", i);
        rules_output(w, name, QDBG_RULE_YES);
    }
    sim_again(w);
    assert_int_equal(n_warnings, 21);
    assert_logged("maybe more");
}

static void presets_are_silent(void **state)
{
    static const char *const presets[] = {"default", "per_channel", "onnxruntime", "tflite",
                                          "empty"};
    rules_world *w = *state;
    rules_sim(w, rules_conv(w, "c", rules_image(w, "x"), true));
    for (int i = 0; i < 5; i++) {
        rules_preset(w, presets[i]);
        sim_again(w);
        assert_int_equal(n_warnings, 0);
    }
}

/* ---- what is forgotten ---- */

static char *written(const qdbg_rules *rules, uint32_t flags)
{
    size_t length = 0;
    assert_ok(qdbg_rules_write(rules, flags, NULL, 0, &length));
    char *text = malloc(length + 1);
    assert_ok(qdbg_rules_write(rules, flags, text, length + 1, &length));
    return text;
}

static void rules_that_say_nothing_leave_nothing(void **state)
{
    rules_world *w = *state;
    qdbg_op_rule nothing = QDBG_OP_RULE_INIT;
    qdbg_param_rule no_param = QDBG_PARAM_RULE_INIT;
    rules_preset(w, "empty");
    char *before = written(w->rules, 0);
    assert_ok(qdbg_rules_set_op(w->rules, "Conv", &nothing));
    assert_ok(qdbg_rules_set_param(w->rules, "Gemm", "bias", &no_param));
    assert_ok(qdbg_rules_set_param(w->rules, NULL, "weight", &no_param));
    assert_int_equal(qdbg_rules_op_count(w->rules), 0);
    rules_output(w, "A", QDBG_RULE_YES);
    rules_output(w, "B", QDBG_RULE_YES);
    rules_param(w, "B", "bias", QDBG_RULE_YES);
    rules_output(w, "C", QDBG_RULE_YES);
    assert_ok(qdbg_rules_set_op(w->rules, "A", &nothing));
    assert_ok(qdbg_rules_set_op(w->rules, "B", &nothing)); /* its parameter's rule stays */
    assert_int_equal(qdbg_rules_op_count(w->rules), 2);
    assert_string_equal(qdbg_rules_op_type(w->rules, 0), "B");
    assert_string_equal(qdbg_rules_op_type(w->rules, 1), "C");
    assert_ok(qdbg_rules_set_param(w->rules, "B", "bias", &no_param));
    assert_ok(qdbg_rules_set_op(w->rules, "C", &nothing));
    char *after = written(w->rules, 0);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

/* ---- AIMET's format ---- */

static void passes_are_kept_and_told(void **state)
{
    rules_world *w = *state;
    qdbg_rules *copy = NULL;
    rules_json(w, "{\"supergroup_pass_list\": [\"MatmulAdd\"]}");
    assert_int_equal(n_warnings, 0);
    rules_json(w, "{\"supergroup_pass_list\": [\"MatmulAdd\", \"RMSNormalization\"]}");
    assert_int_equal(n_warnings, 1);
    assert_logged("'RMSNormalization'");
    char *text = written(w->rules, QDBG_RULES_AIMET);
    assert_non_null(
        strstr(text, "\"supergroup_pass_list\": [\"MatmulAdd\", \"RMSNormalization\"]"));
    assert_ok(qdbg_rules_copy(w->rules, &copy));
    assert_int_equal(qdbg_rules_equal(copy, w->rules), 1);
    rules_json(w, text);
    assert_int_equal(qdbg_rules_equal(copy, w->rules), 1);
    rules_json(w, "{\"supergroup_pass_list\": [\"MatmulAdd\"]}");
    assert_int_equal(qdbg_rules_equal(copy, w->rules), 0);
    qdbg_rules_destroy(copy);
    free(text);
    copy = NULL;
    const char *bad[] = {"{\"supergroup_pass_list\": \"MatmulAdd\"}",
                         "{\"supergroup_pass_list\": [\"MatmulAdd\", 1]}"};
    assert_fails(w->ctx, qdbg_rules_load_memory(w->ctx, bad[0], strlen(bad[0]), &copy),
                 QDBG_E_FORMAT, "supergroup_pass_list: wants an array");
    assert_fails(w->ctx, qdbg_rules_load_memory(w->ctx, bad[1], strlen(bad[1]), &copy),
                 QDBG_E_FORMAT, "supergroup_pass_list[1]: wants");
}

/* Without what AIMET's format cannot say. */
static void strip(rules_world *w)
{
    qdbg_rule_defaults d = QDBG_RULE_DEFAULTS_INIT;
    assert_ok(qdbg_rules_get_defaults(w->rules, &d));
    d.rounding = QDBG_ROUND_NEAREST_EVEN;
    d.activation_signed = d.weight_signed = QDBG_RULE_UNSET;
    d.output_quantized = d.output_quantized == QDBG_RULE_NO ? QDBG_RULE_UNSET : d.output_quantized;
    assert_ok(qdbg_rules_set_defaults(w->rules, &d));
    for (uint32_t i = qdbg_rules_op_count(w->rules); i-- > 0;) {
        qdbg_op_rule rule = QDBG_OP_RULE_INIT;
        char type[64];
        snprintf(type, sizeof type, "%s", qdbg_rules_op_type(w->rules, i));
        assert_ok(qdbg_rules_get_op(w->rules, type, &rule));
        rule.sharing = QDBG_SHARE_UNSET;
        assert_ok(qdbg_rules_set_op(w->rules, type, &rule));
    }
}

static void every_preset_can_be_written_with_loss(void **state)
{
    static const struct {
        const char *preset;
        int n_lost;
    } all[] = {{"default", 0}, {"per_channel", 0}, {"onnxruntime", 4}, {"tflite", 7}, {"empty", 0}};
    const uint32_t lossy = QDBG_RULES_AIMET | QDBG_RULES_LOSSY;
    rules_world *w = *state;
    for (int i = 0; i < 5; i++) {
        qdbg_rules *read = NULL;
        rules_preset(w, all[i].preset);
        clear_log();
        char *text = written(w->rules, lossy); /* twice, once for the length: told once */
        assert_int_equal(n_warnings, all[i].n_lost);
        assert_null(strstr(text, "qdebug"));
        assert_ok(qdbg_rules_load_memory(w->ctx, text, strlen(text), &read));
        assert_int_equal(qdbg_rules_equal(read, w->rules), all[i].n_lost == 0);
        strip(w);
        assert_int_equal(qdbg_rules_equal(read, w->rules), 1);
        char *again = written(w->rules, QDBG_RULES_AIMET); /* nothing is left to lose */
        assert_string_equal(text, again);
        qdbg_rules_destroy(read);
        free(again);
        free(text);
    }
}

/* AIMET refuses these: they are lost, too, and the rest stays. */
static void kernels_that_aimet_refuses_are_lost(void **state)
{
    static const char json[] =
        "{\"defaults\": {\"supported_kernels\": []}, \"op_type\": {\"A\": {\"supported_kernels\":"
        " [{}]}, \"B\": {\"is_symmetric\": \"True\", \"supported_kernels\": [{}]}, \"C\": {}},"
        " \"model_input\": {\"is_input_quantized\": \"False\"},"
        " \"model_output\": {\"is_output_quantized\": \"False\"}}";
    rules_world *w = *state;
    rules_json(w, json);
    clear_log();
    char *text = written(w->rules, QDBG_RULES_AIMET | QDBG_RULES_LOSSY);
    assert_int_equal(n_warnings, 5);
    assert_logged("such supported_kernels of B");
    assert_logged("that graph inputs are not quantized");
    rules_json(w, text);
    free(text);
    assert_int_equal(qdbg_rules_op_count(w->rules), 2);
    assert_string_equal(qdbg_rules_op_type(w->rules, 0), "B");
    assert_string_equal(qdbg_rules_op_type(w->rules, 1), "C");
    free(written(w->rules, QDBG_RULES_AIMET));
}

static void all_obstacles_are_named_at_once(void **state)
{
    rules_world *w = *state;
    char text[16];
    size_t length;
    rules_preset(w, "tflite");
    assert_fails(w->ctx, qdbg_rules_write(w->rules, QDBG_RULES_AIMET, text, 0, &length),
                 QDBG_E_UNSUPPORTED,
                 "cannot say a rounding, the sign of activations, how AveragePool shares "
                 "encodings, how Resize shares encodings, ");
    clear_log();
    assert_int_equal(
        qdbg_rules_write(w->rules, QDBG_RULES_AIMET | QDBG_RULES_LOSSY, text, sizeof text, &length),
        QDBG_E_LIMIT);
    assert_int_equal(n_warnings, 0); /* nothing was written */
    assert_fails(w->ctx, qdbg_rules_write(w->rules, QDBG_RULES_LOSSY, text, 0, &length),
                 QDBG_E_INVALID, "QDBG_RULES_LOSSY");
}

/* ---- messages ---- */

static void asking_for_the_length_is_no_error(void **state)
{
    rules_world *w = *state;
    size_t length = 0;
    assert_ok(qdbg_rules_write(w->rules, 0, NULL, 0, &length));
    assert_true(length > 100);
    assert_int_equal(n_errors, 0);
    assert_string_equal(log_text, "");
}

static void bad_fields_are_named(void **state)
{
    static const char *const of_defaults[] = {
        "struct_size",     "output_quantized", "output_symmetric",   "param_quantized",
        "param_symmetric", "strict_symmetric", "unsigned_symmetric", "per_channel",
        "model_input",     "model_output",     "activation_signed",  "weight_signed",
        "rounding",        "reserved"};
    static const char *const of_ops[] = {"struct_size", "input_quantized", "output_quantized",
                                         "symmetric",   "per_channel",     "sharing",
                                         "has_range",   "reserved"};
    static const char *const of_params[] = {"struct_size", "quantized", "symmetric", "reserved"};
    rules_world *w = *state;
    const int32_t bad = 7;
    for (size_t i = 0; i < 14; i++) {
        qdbg_rule_defaults d = QDBG_RULE_DEFAULTS_INIT;
        memcpy((char *)&d + 4 * i, &bad, 4);
        assert_fails(w->ctx, qdbg_rules_set_defaults(w->rules, &d), QDBG_E_INVALID, of_defaults[i]);
    }
    for (size_t i = 0; i < 8; i++) {
        qdbg_op_rule o = QDBG_OP_RULE_INIT;
        memcpy((char *)&o + 4 * i, &bad, 4);
        assert_fails(w->ctx, qdbg_rules_set_op(w->rules, "Conv", &o), QDBG_E_INVALID, of_ops[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        qdbg_param_rule p = QDBG_PARAM_RULE_INIT;
        memcpy((char *)&p + 4 * i, &bad, 4);
        assert_fails(w->ctx, qdbg_rules_set_param(w->rules, NULL, "bias", &p), QDBG_E_INVALID,
                     of_params[i]);
    }
    qdbg_op_rule o = QDBG_OP_RULE_INIT;
    o.has_range = 1;
    o.min = 1;
    assert_fails(w->ctx, qdbg_rules_set_op(w->rules, "Conv", &o), QDBG_E_INVALID, "'max'");
    o.min = 1e39;
    assert_fails(w->ctx, qdbg_rules_set_op(w->rules, "Conv", &o), QDBG_E_INVALID, "'min'");
    assert_fails(w->ctx, qdbg_rules_set_op(w->rules, "Conv", NULL), QDBG_E_INVALID, "rule is NULL");
    assert_fails(w->ctx, qdbg_rules_set_op(w->rules, "", &o), QDBG_E_INVALID, "op_type");
    assert_fails(w->ctx, qdbg_rules_set_param(w->rules, NULL, "bias", NULL), QDBG_E_INVALID,
                 "rule is NULL");
}

static void files_that_cannot_be_read_tell_why(void **state)
{
    rules_world *w = *state;
    qdbg_rules *rules = NULL;
    assert_fails(w->ctx, qdbg_rules_load_file(w->ctx, "nofile.json", &rules), QDBG_E_IO,
                 "cannot open 'nofile.json': no such file");
    assert_fails(w->ctx, qdbg_rules_load_file(w->ctx, "/", &rules), QDBG_E_IO, "'/': is a folder");
    assert_null(rules);
}

#undef TEST
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, rules_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rules_that_match_nothing_are_told),
        TEST(a_flood_of_warnings_is_cut),
        TEST(presets_are_silent),
        TEST(rules_that_say_nothing_leave_nothing),
        TEST(passes_are_kept_and_told),
        TEST(every_preset_can_be_written_with_loss),
        TEST(kernels_that_aimet_refuses_are_lost),
        TEST(all_obstacles_are_named_at_once),
        TEST(asking_for_the_length_is_no_error),
        TEST(bad_fields_are_named),
        TEST(files_that_cannot_be_read_tell_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
