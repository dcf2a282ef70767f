/* Every report format read back by a reader that is not ours, or by a strict one of this file. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <jansson.h>

#include "report_make.h"
#include "support.h"

/* ---- JSON ---- */

/* "s" text, "i" integer, "r" real or null, "b" boolean, "a" array: one letter for each key. */
static void check_keys(json_t *object, const char *keys, const char *types)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        size_t n = strcspn(keys, " ");
        assert_int_equal(strlen(key), n);
        assert_memory_equal(key, keys, n);
        char type = json_is_string(value)    ? 's'
                    : json_is_integer(value) ? 'i'
                    : json_is_real(value)    ? 'r'
                    : json_is_null(value)    ? 'r'
                    : json_is_boolean(value) ? 'b'
                                             : 'a';
        assert_int_equal(type, *types++);
        keys += n + (keys[n] == ' ');
    }
    assert_int_equal(*keys, 0);
}

static double real_of(json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? (double)NAN : json_real_value(value);
}

/* Equal, or null in the place of what is not finite. */
static void check_real(json_t *object, const char *key, double want)
{
    double got = real_of(object, key);
    assert_true(isfinite(want) ? got == want : isnan(got));
}

static void check_float(json_t *object, const char *key, float want)
{
    double got = real_of(object, key);
    assert_true(isfinite(want) ? (float)got == want : isnan(got));
}

static void check_quantizer(json_t *object, const qdbg_finding *f)
{
    check_keys(object,
               "name kind node op_type bits channels scale zero_point min max score_alone "
               "drop_alone output_sqnr_db noise_share local_sqnr_db channel_spread culprit reason",
               "ssssiirirrrrrrrrbs");
    check_float(object, "scale", f->scale);
    check_float(object, "min", f->min);
    check_float(object, "max", f->max);
    check_real(object, "score_alone", f->score_alone);
    check_real(object, "drop_alone", f->drop_alone);
    check_real(object, "output_sqnr_db", f->output_sqnr_db);
    check_real(object, "noise_share", f->noise_share);
    check_real(object, "channel_spread", f->channel_spread);
    assert_int_equal(json_integer_value(json_object_get(object, "channels")), f->n_channels);
    assert_int_equal(json_is_true(json_object_get(object, "culprit")), f->culprit);
    assert_string_equal(json_string_value(json_object_get(object, "kind")),
                        f->kind == QDBG_WEIGHT ? "weight" : "activation");
}

static const char *name_in(json_t *quantizers, size_t i)
{
    return json_string_value(json_object_get(json_array_get(quantizers, i), "name"));
}

static void test_json(void **state)
{
    world w = world_make(40);
    char *text = world_report(&w, QDBG_REPORT_JSON, NULL);
    json_error_t error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    (void)state;
    if (!root)
        fail_msg("line %d: %s", error.line, error.text);
    check_keys(
        root,
        "schema_version library_version model samples calibration_samples metric float_score "
        "quantized_score max_drop weight_bits activation_bits per_channel rounding "
        "weight_range activation_range rules int32_biases batch_norms_folded conclusion steps "
        "quantizers",
        "issiisrrriibssssiisaa");
    assert_int_equal(json_integer_value(json_object_get(root, "schema_version")), 1);
    assert_string_equal(json_string_value(json_object_get(root, "model")),
                        "m\"odel </title>\xef\xbf\xbd.onnx");
    assert_string_equal(json_string_value(json_object_get(root, "rounding")), "nearest-away");
    assert_string_equal(json_string_value(json_object_get(root, "weight_range")), "MSE");
    assert_string_equal(json_string_value(json_object_get(root, "activation_range")), "percentile");
    assert_string_equal(json_string_value(json_object_get(root, "rules")), "tflite");
    assert_int_equal(json_integer_value(json_object_get(root, "int32_biases")), 7);
    json_t *steps = json_object_get(root, "steps"), *all = json_object_get(root, "quantizers");
    assert_int_equal(json_array_size(steps), N_STEPS);
    for (size_t i = 0; i < N_STEPS; i++) {
        json_t *step = json_array_get(steps, i);
        check_keys(step,
                   "name title outcome verdict recommendation score drop half_width "
                   "output_sqnr_db seconds",
                   "sssssrrrrr");
        check_real(step, "score", w.diagnosis->steps[i].score);
        check_real(step, "seconds", w.seconds[i]);
        assert_string_equal(json_string_value(json_object_get(step, "verdict")),
                            w.diagnosis->steps[i].verdict);
    }
    assert_int_equal(json_array_size(all), 40);
    for (size_t i = 0; i < 40; i++)
        check_quantizer(json_array_get(all, i), &w.diagnosis->findings[i]);
    assert_string_equal(name_in(all, 0), hostile[0]);
    assert_string_equal(name_in(all, 1), hostile[1]);
    assert_string_equal(name_in(all, 3), "bad \xef\xbf\xbd\xef\xbf\xbd( \xef\xbf\xbd "
                                         "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd utf-8");
    assert_string_equal(name_in(all, 4), hostile[4]);
    assert_string_equal(name_in(all, 6), hostile[6]);
    assert_string_equal(name_in(all, 8), hostile[8]);
    json_decref(root);
    free(text);
    world_end(&w);
}

static void test_json_of_nothing(void **state)
{
    world w = world_make(0);
    sink s = {0};
    (void)state;
    assert_ok(qdbg_report_write(w.ctx, w.diagnosis, QDBG_REPORT_JSON, NULL, receive, &s));
    json_t *root = json_loads(s.data, 0, NULL);
    assert_non_null(root);
    assert_true(json_is_null(json_object_get(root, "model")));
    assert_int_equal(json_array_size(json_object_get(root, "quantizers")), 0);
    check_real(json_array_get(json_object_get(root, "steps"), 1), "seconds", (double)NAN);
    json_decref(root);
    free(s.data);
    world_end(&w);
}

/* ---- CSV ---- */

/* The next field of RFC 4180 text, unquoted into `out`; the separator behind it is returned. */
static char next_field(const char **p, char *out)
{
    bool quoted = **p == '"';
    *p += quoted;
    for (; quoted ? **p != '"' || (*p)[1] == '"' : !strchr(",\r", **p); ++*p) {
        assert_int_not_equal(**p, 0);
        assert_true(quoted || !strchr("\"\n", **p));
        *p += quoted && **p == '"';
        *out++ = **p;
    }
    *out = 0;
    *p += quoted;
    char separator = **p;
    *p += separator == '\r' ? 2 : 1;
    assert_true(separator == ',' || (separator == '\r' && (*p)[-1] == '\n'));
    return separator;
}

static void test_csv(void **state)
{
    world w = world_make(40);
    char *text = world_report(&w, QDBG_REPORT_CSV, NULL), field[512];
    const char *p = strstr(text, "\r\n") + 2;
    (void)state;
    assert_memory_equal(text, "name,kind,node,", 15);
    assert_non_null(strstr(text, "\"=SUM(A1:A9)\","));
    for (size_t i = 0; i < 40; i++) {
        const qdbg_finding *f = &w.diagnosis->findings[i];
        for (int column = 0; column < 18; column++) {
            char separator = next_field(&p, field), *end;
            double value = strtod(field, &end);
            assert_int_equal(separator, column == 17 ? '\r' : ',');
            if (column == 0 && i != 3)
                assert_string_equal(field, f->name);
            if (column == 6)
                assert_true((float)value == f->scale);
            if (column == 12)
                assert_true(isfinite(f->output_sqnr_db) ? value == f->output_sqnr_db : !field[0]);
            if (column == 17)
                assert_string_equal(field, f->reason);
        }
    }
    assert_int_equal(*p, 0);
    free(text);
    world_end(&w);
}

/* ---- text ---- */

static void test_text(void **state)
{
    world w = world_make(40);
    w.options.text_rows = 12;
    char *text = world_report(&w, QDBG_REPORT_TEXT, NULL), *line = text;
    (void)state;
    assert_non_null(
        strstr(text, "\nfloat 0.9000 -> quantized 0.1000, drop 0.8000, allowed 0.01\n"));
    assert_non_null(strstr(text, "\nrules: tflite, biases int32\n"));
    assert_non_null(strstr(text, "\n[ok]   1. Is it <good>?\n"));
    assert_non_null(strstr(text, "\n[FAIL] 2. "));
    assert_non_null(strstr(text, "\n[--]   3. "));
    assert_non_null(strstr(text, "\n          -> Mend it & <b>go on</b>.\n"));
    assert_non_null(strstr(text, "score 0.9000 +-0.0050, drop 0.0000, output SQNR inf dB, 0.0 s"));
    assert_non_null(strstr(text, "\nThe 12 most harmful of 40 quantizers"));
    assert_non_null(
        strstr(text, "*  8 a/very/l.../conv2d_3/weight activation    8  0.1023  0.7977"));
    for (; *line; line += strcspn(line, "\n") + 1) {
        size_t columns = 0, name = strcspn(line, "\n");
        for (size_t i = 0; i < name; i++) {
            assert_true((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
            columns += (line[i] & 0xc0) != 0x80;
        }
        assert_true(columns <= 80 || strstr(line, "/block_17/") != NULL);
    }
    free(text);
    world_end(&w);
}

/* Names that a shortening in the usual place would make one are told apart, without more columns
 * where that can be. */
static void test_shortened_names_differ(void **state)
{
    static const char *const pairs[][3] = {
        {"/block1/dw_relu6/Clip_output_0", "/block1/pw_relu6/Clip_output_0", "/block1/d...6/"},
        {"/a/quite/deep/place/1/of/some/network/out", "/a/quite/deep/place/2/of/some/network/out",
         "/a/quite/deep/place/1..."},
        {"1/and/then/a/name/that/is/long/on/both/sides/of/x/and/does/not/end/just/there/2",
         "1/and/then/a/name/that/is/long/on/both/sides/of/y/and/does/not/end/just/there/2", ""},
    };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        world w = world_make(12);
        char *shown[2];
        for (size_t k = 0; k < 2; k++) {
            qdbg_finding *f = &w.diagnosis->findings[k];
            qdbg__strfree(w.ctx, (char *)f->name);
            f->name = qdbg__strdup(w.ctx, pairs[i][k]);
        }
        w.options.text_rows = 2;
        char *text = world_report(&w, QDBG_REPORT_TEXT, NULL);
        char *rows = strstr(text, "\n*  1 ");
        assert_non_null(rows);
        for (size_t k = 0; k < 2; k++) {
            shown[k] = rows + 6;
            rows = strchr(rows + 1, '\n');
        }
        size_t width = strcspn(shown[0], " ");
        assert_int_equal(strcspn(shown[1], " "), width);
        assert_memory_not_equal(shown[0], shown[1], width);
        assert_memory_equal(shown[0], pairs[i][2], strlen(pairs[i][2]));
        assert_int_equal(width == 27, i < 2);
        free(text);
        world_end(&w);
    }
}

/* ---- all formats ---- */

static void test_same_bytes(void **state)
{
    (void)state;
    for (int32_t format = 1; format <= N_FORMATS; format++) {
        size_t size, again;
        world a = world_make(300), b = world_make(300);
        char *first = world_report(&a, format, &size), *second = world_report(&b, format, &again);
        assert_int_equal(size, again);
        assert_memory_equal(first, second, size);
        free(first);
        free(second);
        world_end(&a);
        world_end(&b);
    }
}

static void test_write_fails(void **state)
{
    world w = world_make(700);
    w.options.n_seconds = 0;
    w.options.text_rows = 700;
    (void)state;
    for (int32_t format = 1; format <= N_FORMATS; format++) {
        sink whole = {0};
        assert_ok(qdbg_report_write(w.ctx, w.diagnosis, format, &w.options, receive, &whole));
        assert_true(whole.largest <= 65536 && (format == QDBG_REPORT_TEXT || whole.n_calls > 1));
        for (uint32_t k = 1; k <= whole.n_calls; k++) {
            sink s = {.fail_at = k};
            assert_fails(w.ctx,
                         qdbg_report_write(w.ctx, w.diagnosis, format, &w.options, receive, &s),
                         QDBG_E_CALLBACK, "write callback returned -77");
            assert_int_equal(error_of(w.ctx).callback_code, -77);
            assert_int_equal(s.n_calls, k);
            free(s.data);
        }
        free(whole.data);
    }
    world_end(&w);
}

static void test_no_memory(void **state)
{
    world w = world_make(30);
    heap h;
    heap_init(&h);
    qdbg_ctx *ctx = heap_ctx(&h, 1);
    (void)state;
    for (int32_t format = 1; format <= N_FORMATS; format++) {
        qdbg_status status = QDBG_E_NOMEM;
        for (uint64_t k = 1; status != QDBG_OK; k++) {
            sink s = {0};
            heap_arm(&h, k, false);
            status = qdbg_report_write(ctx, w.diagnosis, format, &w.options, receive, &s);
            assert_int_equal(status, h.n_failed ? QDBG_E_NOMEM : QDBG_OK);
            assert_int_equal(h.n_live, 1);
            free(s.data);
        }
    }
    heap_arm(&h, 0, false);
    heap_end(&h, ctx);
    world_end(&w);
}

static void test_arguments(void **state)
{
    world w = world_make(1);
    sink s = {0};
    qdbg_report_options o = QDBG_REPORT_OPTIONS_INIT;
    (void)state;
    qdbg_report_options_init(NULL);
    assert_int_equal(qdbg_report_write(NULL, w.diagnosis, 1, NULL, receive, &s), QDBG_E_INVALID);
    assert_int_equal(qdbg_report_save(NULL, w.diagnosis, 1, NULL, "x"), QDBG_E_INVALID);
    assert_fails(w.ctx, qdbg_report_write(w.ctx, NULL, 1, NULL, receive, &s), QDBG_E_INVALID,
                 "diagnosis");
    assert_fails(w.ctx, qdbg_report_write(w.ctx, w.diagnosis, 1, NULL, NULL, NULL), QDBG_E_INVALID,
                 "callback");
    assert_fails(w.ctx, qdbg_report_write(w.ctx, w.diagnosis, 5, NULL, receive, &s), QDBG_E_INVALID,
                 "format 5");
    assert_fails(w.ctx, qdbg_report_save(w.ctx, w.diagnosis, 1, NULL, NULL), QDBG_E_INVALID,
                 "path");
    o.n_seconds = N_STEPS - 1;
    o.seconds = w.seconds;
    assert_fails(w.ctx, qdbg_report_write(w.ctx, w.diagnosis, 1, &o, receive, &s), QDBG_E_INVALID,
                 "5 steps");
    o.n_seconds = N_STEPS;
    o.seconds = NULL;
    assert_fails(w.ctx, qdbg_report_write(w.ctx, w.diagnosis, 1, &o, receive, &s), QDBG_E_INVALID,
                 "seconds");
    o.struct_size = 3;
    assert_fails(w.ctx, qdbg_report_write(w.ctx, w.diagnosis, 1, &o, receive, &s), QDBG_E_INVALID,
                 "struct_size");
    assert_int_equal(s.n_calls, 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_of_nothing),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_shortened_names_differ),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_write_fails),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
