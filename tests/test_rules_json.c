/* Rule sets as AIMET's configuration files (rules.h): read, written, refused. */
#define _POSIX_C_SOURCE 200809L /* mkstemp */
#include "rules_make.h"

#include <stdlib.h>
#include <unistd.h>

static const char *const presets[] = {"default", "per_channel", "onnxruntime", "tflite", "empty"};

/* Everything that the format and our section can say. */
static const char everything[] =
    "{\"defaults\": {\"ops\": {\"is_output_quantized\": \"True\", \"is_symmetric\": \"False\"},"
    " \"params\": {\"is_quantized\": \"True\", \"is_symmetric\": \"True\"},"
    " \"strict_symmetric\": \"False\", \"unsigned_symmetric\": \"True\","
    " \"per_channel_quantization\": \"True\", \"hw_version\": \"V\\\"7\\u00e9\\n3\","
    " \"supported_kernels\": [{\"activation\": {\"bitwidth\": 16, \"dtype\": \"int\"},"
    " \"param\": {\"bitwidth\": 8, \"dtype\": \"int\"}}, {\"activation\": {\"bitwidth\": 16,"
    " \"dtype\": \"float\"}}, {}]},"
    " \"params\": {\"bias\": {\"is_quantized\": \"False\"}, \"odd\": {}},"
    " \"op_type\": {\"Softmax\": {\"encoding_constraints\": {\"min\": 0.0, \"max\": 1.0}},"
    " \"Relu\": {\"encoding_constraints\": {\"min\": 0.5}},"
    " \"Foo\": {}, \"Gemm\": {\"is_input_quantized\": \"True\", \"is_output_quantized\": \"True\","
    " \"is_symmetric\": \"True\", \"per_channel_quantization\": \"False\", \"supported_kernels\":"
    " [], \"params\": {\"weight\": {\"is_symmetric\": \"False\"}}}},"
    " \"supergroup_pass_list\": [\"LayerNormalization\", \"MatmulAdd\"], \"supergroups\": "
    "[{\"op_list\": [\"Conv\", \"Relu\"]}, {\"op_list\": [\"A\", \"B\", \"C\"]}],"
    " \"model_input\": {\"is_input_quantized\": \"True\"},"
    " \"model_output\": {\"is_output_quantized\": \"False\"},"
    " \"qdebug\": {\"rounding\": \"nearest_up\", \"activation_signed\": \"True\","
    " \"weight_signed\": \"False\", \"op_type\": {\"Foo\": {\"sharing\": \"none\"},"
    " \"Max\": {\"sharing\": \"all\"}, \"Gemm\": {\"sharing\": \"input\"}}}}";

/* The rules as text, freed with free(). */
static char *written(const qdbg_rules *rules)
{
    size_t length = 0, again;
    assert_ok(qdbg_rules_write(rules, 0, NULL, 0, &length));
    char *text = malloc(length + 1);
    assert_int_equal(qdbg_rules_write(rules, 0, text, length, &again), QDBG_E_LIMIT);
    assert_int_equal(again, length);
    assert_ok(qdbg_rules_write(rules, 0, text, length + 1, &again));
    assert_int_equal(again, length);
    assert_int_equal(strlen(text), length);
    return text;
}

static void goes_round(rules_world *w)
{
    char *text = written(w->rules);
    qdbg_rules *read = NULL;
    assert_ok(qdbg_rules_load_memory(w->ctx, text, strlen(text), &read));
    assert_int_equal(qdbg_rules_equal(read, w->rules), 1);
    char *again = written(read);
    assert_string_equal(text, again);
    qdbg_rules_destroy(read);
    free(again);
    free(text);
}

static void presets_go_round(void **state)
{
    rules_world *w = *state;
    for (int i = 0; i < 5; i++) {
        rules_preset(w, presets[i]);
        goes_round(w);
    }
}

static void everything_goes_round(void **state)
{
    rules_world *w = *state;
    rules_json(w, everything);
    goes_round(w);
    qdbg_rules *copy;
    assert_ok(qdbg_rules_copy(w->rules, &copy));
    assert_int_equal(qdbg_rules_equal(copy, w->rules), 1);
    qdbg_rules_destroy(copy);
}

static void everything_is_understood(void **state)
{
    rules_world *w = *state;
    qdbg_rule_defaults d = QDBG_RULE_DEFAULTS_INIT;
    qdbg_op_rule o = QDBG_OP_RULE_INIT;
    qdbg_param_rule p = QDBG_PARAM_RULE_INIT;
    rules_json(w, everything);
    assert_ok(qdbg_rules_get_defaults(w->rules, &d));
    assert_int_equal(d.output_quantized, QDBG_RULE_YES);
    assert_int_equal(d.output_symmetric, QDBG_RULE_NO);
    assert_int_equal(d.strict_symmetric, QDBG_RULE_NO);
    assert_int_equal(d.model_output, QDBG_RULE_NO);
    assert_int_equal(d.rounding, QDBG_ROUND_NEAREST_UP);
    assert_int_equal(d.weight_signed, QDBG_RULE_NO);
    assert_ok(qdbg_rules_get_op(w->rules, "Gemm", &o));
    assert_int_equal(o.input_quantized, QDBG_RULE_YES);
    assert_int_equal(o.per_channel, QDBG_RULE_NO);
    assert_int_equal(o.sharing, QDBG_SHARE_INPUT);
    assert_ok(qdbg_rules_get_op(w->rules, "Softmax", &o));
    assert_true(o.has_range == 1 && o.min == 0 && o.max == 1);
    assert_ok(qdbg_rules_get_op(w->rules, "Relu", &o));
    assert_true(o.has_range == QDBG_RULE_MIN && o.min == 0.5 && o.max == 0);
    assert_ok(qdbg_rules_get_param(w->rules, "Gemm", "weight", &p));
    assert_int_equal(p.symmetric, QDBG_RULE_NO);
    assert_string_equal(qdbg_rules_supergroup_op(w->rules, 1, 2), "C");
}

static void aimet_gets_what_it_reads_or_nothing(void **state)
{
    rules_world *w = *state;
    static const bool plain[] = {true, true, false, false, true};
    char text[8192];
    size_t length;
    for (int i = 0; i < 5; i++) {
        rules_preset(w, presets[i]);
        qdbg_status status =
            qdbg_rules_write(w->rules, QDBG_RULES_AIMET, text, sizeof text, &length);
        assert_int_equal(status, plain[i] ? QDBG_OK : QDBG_E_UNSUPPORTED);
        assert_ok(qdbg_rules_write(w->rules, 0, text, sizeof text, &length));
        assert_int_equal(strstr(text, "\"qdebug\"") == NULL, plain[i]);
    }
    assert_fails(w->ctx, qdbg_rules_write(w->rules, 2, text, sizeof text, &length), QDBG_E_INVALID,
                 "flags");
    assert_fails(w->ctx, qdbg_rules_write(w->rules, 0, NULL, 1, &length), QDBG_E_INVALID, "text");
    assert_fails(w->ctx, qdbg_rules_write(w->rules, 0, text, 1, NULL), QDBG_E_INVALID, "length");
    assert_int_equal(qdbg_rules_write(NULL, 0, text, 1, &length), QDBG_E_INVALID);
}

static void aimet_refuses(rules_world *w, const char *json, const char *why)
{
    char text[4096];
    size_t length;
    rules_json(w, json);
    assert_ok(qdbg_rules_write(w->rules, 0, text, sizeof text, &length));
    assert_fails(w->ctx, qdbg_rules_write(w->rules, QDBG_RULES_AIMET, text, sizeof text, &length),
                 QDBG_E_UNSUPPORTED, why);
}

static void what_aimet_refuses_is_not_written_for_it(void **state)
{
    rules_world *w = *state;
    aimet_refuses(w, "{\"defaults\": {\"ops\": {\"is_output_quantized\": \"False\"}}}", "outputs");
    aimet_refuses(w, "{\"model_input\": {\"is_input_quantized\": \"False\"}}", "graph inputs");
    aimet_refuses(w, "{\"model_output\": {\"is_output_quantized\": \"False\"}}", "graph outputs");
    aimet_refuses(w, "{\"defaults\": {\"supported_kernels\": []}}", "supported_kernels");
    aimet_refuses(w, "{\"op_type\": {\"A\": {\"supported_kernels\": [{}]}}}", "supported_kernels");
    aimet_refuses(w,
                  "{\"defaults\": {\"supported_kernels\": [{\"activation\":"
                  " {\"bitwidth\": 8, \"dtype\": \"int\"}}]}}",
                  "supported_kernels");
}

/* They could not be written so that they are read again. */
static void names_that_are_no_utf8_are_refused(void **state)
{
    rules_world *w = *state;
    qdbg_op_rule o = QDBG_OP_RULE_INIT;
    qdbg_param_rule p = QDBG_PARAM_RULE_INIT;
    static const char *const group[] = {"Conv", "\xc3"};
    assert_fails(w->ctx, qdbg_rules_set_op(w->rules, "\xff", &o), QDBG_E_INVALID, "UTF-8");
    assert_fails(w->ctx, qdbg_rules_set_param(w->rules, NULL, "a\xc0\x80", &p), QDBG_E_INVALID,
                 "UTF-8");
    assert_fails(w->ctx, qdbg_rules_set_param(w->rules, "\x80", "a", &p), QDBG_E_INVALID, "UTF-8");
    assert_fails(w->ctx, qdbg_rules_add_supergroup(w->rules, group, 2), QDBG_E_INVALID, "UTF-8");
    assert_ok(qdbg_rules_set_op(w->rules, "\xc3\xa9", &o));
    assert_ok(qdbg_rules_set_param(w->rules, NULL, "\xf0\x9f\x98\x80", &p));
    goes_round(w);
}

static void missing_sections_say_nothing(void **state)
{
    rules_world *w = *state;
    qdbg_rules *empty;
    rules_json(w, "{}");
    assert_ok(qdbg_rules_create(w->ctx, "empty", &empty));
    assert_int_equal(qdbg_rules_equal(w->rules, empty), 1);
    qdbg_rules_destroy(empty);
}

/* ---- refusals ---- */

static void refused(rules_world *w, const char *json, const char *text)
{
    qdbg_rules *rules = NULL;
    assert_fails(w->ctx, qdbg_rules_load_memory(w->ctx, json, strlen(json), &rules), QDBG_E_FORMAT,
                 text);
    assert_null(rules);
}

static void unknown_keys_are_refused_by_their_path(void **state)
{
    rules_world *w = *state;
    refused(w, "{\"foo\": {}}", ": foo: unknown key");
    refused(w, "{\"defaults\": {\"foo\": 1}}", "defaults.foo: unknown key");
    refused(w, "{\"defaults\": {\"ops\": {\"foo\": 1}}}", "defaults.ops.foo: unknown");
    refused(w, "{\"defaults\": {\"params\": {\"foo\": 1}}}", "defaults.params.foo: unknown");
    refused(w, "{\"params\": {\"bias\": {\"foo\": 1}}}", "params.bias.foo: unknown");
    refused(w, "{\"op_type\": {\"Conv\": {\"foo\": 1}}}", "op_type.Conv.foo: unknown");
    refused(w, "{\"op_type\": {\"Conv\": {\"params\": {\"weight\": {\"foo\": 1}}}}}",
            "op_type.Conv.params.weight.foo: unknown");
    refused(w, "{\"op_type\": {\"Conv\": {\"encoding_constraints\": {\"mid\": 1}}}}",
            "op_type.Conv.encoding_constraints.mid: unknown");
    refused(w, "{\"supergroups\": [{\"op_list\": [\"A\", \"B\"]}, {\"foo\": 1}]}",
            "supergroups[1].foo: unknown");
    refused(w, "{\"model_input\": {\"foo\": 1}}", "model_input.foo: unknown");
    refused(w, "{\"model_output\": {\"foo\": 1}}", "model_output.foo: unknown");
    refused(w, "{\"qdebug\": {\"foo\": 1}}", "qdebug.foo: unknown");
    refused(w, "{\"qdebug\": {\"op_type\": {\"Max\": {\"foo\": 1}}}}",
            "qdebug.op_type.Max.foo: unknown");
    refused(w, "{\"defaults\": {\"supported_kernels\": [{\"foo\": 1}]}}",
            "defaults.supported_kernels[0].foo: unknown");
    refused(w, "{\"defaults\": {\"supported_kernels\": [{\"param\": {\"foo\": 1}}]}}",
            "defaults.supported_kernels[0].param.foo: unknown");
}

static void wrong_kinds_are_refused_by_their_path(void **state)
{
    rules_world *w = *state;
    refused(w, "[]", "the file: wants an object");
    refused(w, "{\"defaults\": []}", "defaults: wants an object");
    refused(w, "{\"defaults\": {\"ops\": {\"is_output_quantized\": true}}}",
            "defaults.ops.is_output_quantized: wants \"True\" or \"False\"");
    refused(w, "{\"defaults\": {\"strict_symmetric\": \"true\"}}", "strict_symmetric: wants");
    refused(w, "{\"defaults\": {\"hw_version\": 73}}", "hw_version: wants a string");
    refused(w, "{\"supergroups\": {}}", "supergroups: wants an array");
    refused(w, "{\"supergroups\": [3]}", "supergroups[0]: wants an object");
    refused(w, "{\"supergroups\": [{}]}", "supergroups[0]: wants an op_list");
    refused(w, "{\"supergroups\": [{\"op_list\": [\"Conv\"]}]}", "op_list: wants an array");
    refused(w, "{\"supergroups\": [{\"op_list\": [\"Conv\", 3]}]}",
            "supergroups[0].op_list[1]: wants an operator type");
    refused(w, "{\"op_type\": {\"Conv\": {\"is_input_quantized\": \"False\"}}}",
            "op_type.Conv.is_input_quantized: can only be \"True\"");
    refused(w, "{\"op_type\": {\"\": {}}}", "no name");
    refused(w, "{\"params\": {\"\": {}}}", "no name");
    refused(w, "{\"qdebug\": {\"op_type\": {\"\": {}}}}", "no name");
    refused(w, "{\"op_type\": {\"S\": {\"encoding_constraints\": {\"min\": \"0\"}}}}",
            "op_type.S.encoding_constraints.min: wants a number");
    refused(w, "{\"op_type\": {\"S\": {\"encoding_constraints\": {\"min\": 1e39}}}}", "a number");
    refused(w, "{\"op_type\": {\"S\": {\"encoding_constraints\": {\"max\": 0}}}}", "min and max");
    refused(w, "{\"supergroup_pass_list\": {}}", "supergroup_pass_list: wants an array");
    refused(w, "{\"supergroup_pass_list\": [\"A\", 1]}", "supergroup_pass_list[1]: wants the name");
    refused(w, "{\"op_type\": {\"S\": {\"encoding_constraints\": {\"min\": 1, \"max\": 0}}}}",
            "min and max");
    refused(w, "{\"qdebug\": {\"rounding\": \"down\"}}", "qdebug.rounding: wants \"nearest_even\"");
    refused(w, "{\"qdebug\": {\"op_type\": {\"A\": {\"sharing\": 1}}}}", "sharing: wants \"none\"");
    refused(w, "{\"defaults\": {\"supported_kernels\": [{\"param\": {\"bitwidth\": 0}}]}}",
            "bitwidth: wants a whole number");
    refused(w, "{\"defaults\": {\"supported_kernels\": [{\"param\": {\"bitwidth\": 8}}]}}",
            "param: wants a bitwidth and a dtype");
    refused(w, "{\"defaults\": {\"supported_kernels\": [{\"param\": {\"dtype\": \"int\"}}]}}",
            "param: wants a bitwidth and a dtype");
    refused(w, "{\"defaults\": {\"supported_kernels\": [{\"param\": {\"dtype\": \"x\"}}]}}",
            "dtype: wants \"int\" or \"float\"");
}

static void malformed_json_tells_line_and_column(void **state)
{
    rules_world *w = *state;
    refused(w, "", "line 1, column 0");
    refused(w, "{\n  \"defaults\": {\n  },\n  oops\n}", "line 4, column 6");
    refused(w, "{\"params\": {}, \"params\": {}}", "duplicate");
    refused(w, "{} trailing", "line 1");
    refused(w, "{\"a\": \"\xff\"}", "line 1");
}

static void arguments_are_checked(void **state)
{
    rules_world *w = *state;
    qdbg_rules *rules = NULL;
    assert_int_equal(qdbg_rules_load_memory(NULL, "{}", 2, &rules), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_rules_load_memory(w->ctx, NULL, 2, &rules), QDBG_E_INVALID, "data");
    assert_fails(w->ctx, qdbg_rules_load_memory(w->ctx, NULL, 0, &rules), QDBG_E_FORMAT, "line");
    assert_fails(w->ctx, qdbg_rules_load_memory(w->ctx, "{}", 2, NULL), QDBG_E_INVALID, "out");
    assert_int_equal(qdbg_rules_load_file(NULL, "x", &rules), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_rules_load_file(w->ctx, NULL, &rules), QDBG_E_INVALID, "path");
    assert_fails(w->ctx, qdbg_rules_load_file(w->ctx, "/no/such/file", &rules), QDBG_E_IO,
                 "/no/such/file");
    assert_fails(w->ctx, qdbg_rules_load_file(w->ctx, "/", &rules), QDBG_E_IO, "'/'");
    assert_null(rules);
}

static void files_are_read(void **state)
{
    rules_world *w = *state;
    char path[] = "/tmp/test_rules_XXXXXX";
    qdbg_rules *rules = NULL;
    char *text = written(w->rules);
    FILE *file = fdopen(mkstemp(path), "wb");
    for (int i = 0; i < 3000; i++) /* more than one read's worth */
        fputs("    ", file);
    fputs(text, file);
    fclose(file);
    assert_ok(qdbg_rules_load_file(w->ctx, path, &rules));
    assert_int_equal(qdbg_rules_equal(rules, w->rules), 1);
    qdbg_rules_destroy(rules);
    unlink(path);
    free(text);
}

/* ---- random bytes ---- */

/* Either rules that go round, or an error with words. */
static void survives(rules_world *w, const char *data, size_t size)
{
    qdbg_rules *rules = NULL;
    qdbg_status status = qdbg_rules_load_memory(w->ctx, data, size, &rules);
    assert_int_equal(status == QDBG_OK, rules != NULL);
    assert_true(status == QDBG_OK || status == QDBG_E_FORMAT);
    if (status != QDBG_OK) {
        assert_true(error_of(w->ctx).message[0] != 0);
        return;
    }
    qdbg_rules_destroy(w->rules);
    w->rules = rules;
    goes_round(w);
}

static void every_truncation_is_refused(void **state)
{
    rules_world *w = *state;
    for (size_t size = 0; size + 1 < sizeof everything - 1; size++) {
        qdbg_rules *rules = NULL;
        char *cut = malloc(size + 1);
        memcpy(cut, everything, size);
        assert_fails(w->ctx, qdbg_rules_load_memory(w->ctx, cut, size, &rules), QDBG_E_FORMAT,
                     "line");
        free(cut);
    }
}

static void changed_bytes_are_survived(void **state)
{
    rules_world *w = *state;
    for (int i = 0; i < 4000; i++) {
        char text[sizeof everything];
        memcpy(text, everything, sizeof everything);
        for (int64_t n = make_int(&w->seed, 1, 3); n > 0; n--)
            text[make_int(&w->seed, 0, sizeof everything - 2)] =
                (char)make_int(&w->seed, i % 2 ? 32 : -128, 127);
        survives(w, text, sizeof everything - 1);
    }
}

static void deep_nesting_is_refused(void **state)
{
    rules_world *w = *state;
    size_t n = 200000;
    char *deep = malloc(n);
    memset(deep, '[', n);
    survives(w, deep, n);
    free(deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(presets_go_round),
        TEST(everything_goes_round),
        TEST(everything_is_understood),
        TEST(aimet_gets_what_it_reads_or_nothing),
        TEST(what_aimet_refuses_is_not_written_for_it),
        TEST(names_that_are_no_utf8_are_refused),
        TEST(missing_sections_say_nothing),
        TEST(unknown_keys_are_refused_by_their_path),
        TEST(wrong_kinds_are_refused_by_their_path),
        TEST(malformed_json_tells_line_and_column),
        TEST(arguments_are_checked),
        TEST(files_are_read),
        TEST(every_truncation_is_refused),
        TEST(changed_bytes_are_survived),
        TEST(deep_nesting_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
