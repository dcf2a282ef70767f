/* Quantizers on a model: changed and read (simulation.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

typedef struct world {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    qdbg_model *m;
    samples s;
    qdbg_sim *sim; /* of default options */
} world;

static int begin(void **state)
{
    world *w = calloc(1, sizeof *w);
    w->ctx = make_ctx(2);
    w->g = net_of_gemms(w->ctx, true);
    w->m = builtin_model(w->g);
    w->s = samples_make(w->ctx, w->g, 30, 8, 3);
    assert_ok(qdbg_sim_create(w->m, NULL, &w->sim));
    *state = w;
    return 0;
}

static int end(void **state)
{
    world *w = *state;
    qdbg_sim_destroy(w->sim);
    samples_free(&w->s);
    qdbg_model_destroy(w->m);
    qdbg_graph_destroy(w->g);
    qdbg_ctx_destroy(w->ctx);
    free(w);
    return 0;
}

static qdbg_quantizer_info info_of(const qdbg_sim *sim, const char *name)
{
    qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
    assert_ok(qdbg_sim_quantizer(sim, qdbg_sim_find_quantizer(sim, name), &info));
    return info;
}

static qdbg_encoding encoding_of(qdbg_sim *sim, const char *name, uint32_t channel)
{
    qdbg_encoding e = QDBG_ENCODING_INIT;
    assert_ok(qdbg_sim_encoding(sim, qdbg_sim_find_quantizer(sim, name), channel, &e));
    return e;
}

static bool same_encoding(const qdbg_encoding *a, const qdbg_encoding *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static qdbg_encoding encoding_from(world *w, const qdbg_quant_spec *spec, float min, float max)
{
    qdbg_encoding e = QDBG_ENCODING_INIT;
    assert_ok(qdbg_encoding_from_range(w->ctx, spec, min, max, &e));
    return e;
}

static void bits_change_and_the_range_stays(void **state)
{
    world *w = *state;
    uint32_t r = qdbg_sim_find_quantizer(w->sim, "r");
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    qdbg_quantizer_info q = info_of(w->sim, "r");
    for (uint32_t bits = 2; bits <= 16; bits++) {
        assert_ok(qdbg_sim_set_bits(w->sim, r, bits));
        q.spec.bits = bits;
        qdbg_encoding got = encoding_of(w->sim, "r", 0);
        qdbg_encoding want = encoding_from(w, &q.spec, q.observed_min, q.observed_max);
        assert_true(same_encoding(&got, &want));
    }
    qdbg_encoding e = QDBG_ENCODING_INIT;
    assert_ok(qdbg_sim_set_bits(w->sim, r, QDBG_BITS_BYPASS));
    assert_fails(w->ctx, qdbg_sim_encoding(w->sim, r, 0, &e), QDBG_E_STATE, "'r'");
    assert_int_equal(info_of(w->sim, "r").n_encodings, 0);
    static const uint32_t bad[] = {0, 1, 17, 33};
    for (int i = 0; i < 4; i++)
        assert_fails(w->ctx, qdbg_sim_set_bits(w->sim, r, bad[i]), QDBG_E_INVALID, "bits");
    assert_ok(qdbg_sim_set_bits(w->sim, r, 8)); /* and back */
    assert_int_equal(encoding_of(w->sim, "r", 0).qmax, 255);
}

static void whole_specification_changes(void **state)
{
    world *w = *state;
    uint32_t y = qdbg_sim_find_quantizer(w->sim, "y");
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    qdbg_quantizer_info q = info_of(w->sim, "y");
    q.spec.bits = 5;
    q.spec.symmetry = QDBG_STRICT_SYMMETRIC;
    q.spec.is_signed = QDBG_SIGNED;
    q.spec.rounding = QDBG_ROUND_NEAREST_UP;
    assert_ok(qdbg_sim_set_spec(w->sim, y, &q.spec));
    qdbg_encoding got = encoding_of(w->sim, "y", 0);
    qdbg_encoding want = encoding_from(w, &q.spec, q.observed_min, q.observed_max);
    assert_true(same_encoding(&got, &want));
    assert_int_equal(got.qmin, -15);
    assert_int_equal(info_of(w->sim, "y").spec.rounding, QDBG_ROUND_NEAREST_UP);
}

static void bad_specifications_are_refused(void **state)
{
    world *w = *state;
    qdbg_quant_spec good = info_of(w->sim, "w1").spec, spec = good;
    uint32_t w1 = qdbg_sim_find_quantizer(w->sim, "w1"), x = qdbg_sim_find_quantizer(w->sim, "x");
    assert_int_equal(qdbg_sim_set_spec(NULL, w1, &spec), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_sim_set_spec(w->sim, w1, NULL), QDBG_E_INVALID, "NULL");
    assert_fails(w->ctx, qdbg_sim_set_spec(w->sim, 5, &spec), QDBG_E_NOT_FOUND, "5");
    spec.struct_size = 1;
    assert_fails(w->ctx, qdbg_sim_set_spec(w->sim, w1, &spec), QDBG_E_INVALID, "struct_size");
    spec = good;
    spec.symmetry = 9;
    assert_fails(w->ctx, qdbg_sim_set_spec(w->sim, w1, &spec), QDBG_E_INVALID, "symmetry");
    spec = good;
    spec.granularity = QDBG_PER_CHANNEL;
    for (int32_t axis = -3; axis <= 2; axis += 5) {
        spec.axis = axis;
        assert_fails(w->ctx, qdbg_sim_set_spec(w->sim, w1, &spec), QDBG_E_INVALID, "no axis");
    }
    spec.axis = 0; /* the samples of a batch */
    assert_fails(w->ctx, qdbg_sim_set_spec(w->sim, x, &spec), QDBG_E_UNSUPPORTED, "'x'");
    spec = info_of(w->sim, "w1").spec;
    assert_memory_equal(&good, &spec, sizeof good);
}

static void custom_range_outlives_calibration(void **state)
{
    world *w = *state;
    uint32_t x = qdbg_sim_find_quantizer(w->sim, "x");
    qdbg_quantizer_info q = info_of(w->sim, "x");
    qdbg_encoding e = QDBG_ENCODING_INIT;
    assert_ok(qdbg_sim_set_range(w->sim, x, -1, 2)); /* before calibration, too */
    qdbg_encoding want = encoding_from(w, &q.spec, -1, 2), got = encoding_of(w->sim, "x", 0);
    assert_true(same_encoding(&got, &want));
    assert_ok(qdbg_sim_clear_range(w->sim, x));
    assert_fails(w->ctx, qdbg_sim_encoding(w->sim, x, 0, &e), QDBG_E_STATE, "'x'");
    assert_ok(qdbg_sim_set_range(w->sim, x, -1, 2));
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    got = encoding_of(w->sim, "x", 0);
    assert_true(same_encoding(&got, &want));
    assert_true(info_of(w->sim, "x").observed_max == 8);
    assert_ok(qdbg_sim_set_bits(w->sim, x, 4));
    assert_true(fabsf(encoding_of(w->sim, "x", 0).scale - 0.2f) < 1e-6f);
    assert_ok(qdbg_sim_clear_range(w->sim, x));
    assert_true(encoding_of(w->sim, "x", 0).scale == 16.0f / 15);
}

static void custom_range_holds_for_all_channels_of_a_weight(void **state)
{
    world *w = *state;
    uint32_t w1 = qdbg_sim_find_quantizer(w->sim, "w1");
    qdbg_quant_spec spec = info_of(w->sim, "w1").spec;
    float data[24] = {0};
    spec.granularity = QDBG_PER_CHANNEL;
    assert_ok(qdbg_sim_set_spec(w->sim, w1, &spec));
    assert_ok(qdbg_sim_set_range(w->sim, w1, -254, 1));
    for (int again = 0; again < 2; again++) {
        for (uint32_t c = 0; c < 6; c++)
            assert_true(encoding_of(w->sim, "w1", c).scale == 2);
        assert_ok(qdbg_model_set_parameter(w->m, value_of(w->g, "w1"), data, 24));
    }
    assert_ok(qdbg_sim_clear_range(w->sim, w1));
    assert_true(encoding_of(w->sim, "w1", 3).scale == FLT_MIN); /* all zero now */
}

/* Encodings made after qdbg_model_set_parameter() are those of the new elements, as in a simulation
 * that was made after it. */
static void new_encodings_are_of_the_weights_of_today(void **state)
{
    (void)state;
    for (int call = 0; call < 3; call++) {
        void *fixture = NULL;
        float elements[24];
        qdbg_sim *after = NULL;
        begin(&fixture);
        world *w = fixture;
        uint32_t v = value_of(w->g, "w1"), q = qdbg_sim_find_quantizer(w->sim, "w1");
        qdbg_quant_spec spec = info_of(w->sim, "w1").spec;
        spec.bits = 5;
        assert_ok(qdbg_sim_set_range(w->sim, q, -1, 1));
        if (call < 2)
            assert_ok(qdbg_sim_clear_range(w->sim, q));
        assert_ok(qdbg_model_get_parameter(w->m, v, elements, 24));
        for (int i = 0; i < 24; i++)
            elements[i] *= 3;
        assert_ok(qdbg_model_set_parameter(w->m, v, elements, 24));
        assert_ok(qdbg_sim_create(w->m, NULL, &after));
        if (call == 0) {
            assert_ok(qdbg_sim_set_spec(w->sim, q, &spec));
            assert_ok(qdbg_sim_set_spec(after, q, &spec));
        } else if (call == 1) {
            assert_ok(qdbg_sim_set_bits(w->sim, q, 5));
            assert_ok(qdbg_sim_set_bits(after, q, 5));
        } else {
            assert_ok(qdbg_sim_clear_range(w->sim, q));
        }
        qdbg_encoding got = encoding_of(w->sim, "w1", 0), want = encoding_of(after, "w1", 0);
        assert_true(same_encoding(&got, &want));
        qdbg_sim_destroy(after);
        end(&fixture);
    }
}

static void bad_ranges_are_refused(void **state)
{
    world *w = *state;
    assert_int_equal(qdbg_sim_set_range(NULL, 0, 0, 1), QDBG_E_INVALID);
    assert_int_equal(qdbg_sim_clear_range(NULL, 0), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_sim_set_range(w->sim, 5, 0, 1), QDBG_E_NOT_FOUND, "5");
    assert_fails(w->ctx, qdbg_sim_clear_range(w->sim, 5), QDBG_E_NOT_FOUND, "5");
    assert_fails(w->ctx, qdbg_sim_set_range(w->sim, 0, 1, 0), QDBG_E_INVALID, "'x'");
    assert_fails(w->ctx, qdbg_sim_set_range(w->sim, 0, (float)NAN, 0), QDBG_E_NUMERIC, "'x'");
    assert_fails(w->ctx, qdbg_sim_set_range(w->sim, 0, 0, (float)INFINITY), QDBG_E_NUMERIC, "'x'");
    assert_int_equal(info_of(w->sim, "x").n_encodings, 0);
}

static void quantizers_are_switched_alone_or_by_kind(void **state)
{
    static const struct {
        int32_t kind, enabled;
        uint32_t want[5]; /* x w1 r w2 y */
    } steps[] = {
        {0, 0, {0, 0, 0, 0, 0}},
        {QDBG_WEIGHT, 5, {0, 1, 0, 1, 0}},
        {QDBG_ACTIVATION, 1, {1, 1, 1, 1, 1}},
        {QDBG_WEIGHT, 0, {1, 0, 1, 0, 1}},
        {QDBG_ACTIVATION, 0, {0, 0, 0, 0, 0}},
        {0, 1, {1, 1, 1, 1, 1}},
    };
    world *w = *state;
    qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
        assert_ok(qdbg_sim_set_all_enabled(w->sim, steps[k].kind, steps[k].enabled));
        for (uint32_t i = 0; i < 5; i++) {
            assert_ok(qdbg_sim_quantizer(w->sim, i, &q));
            assert_int_equal(q.enabled, steps[k].want[i]);
        }
    }
    assert_ok(qdbg_sim_set_enabled(w->sim, 2, 0));
    assert_int_equal(info_of(w->sim, "r").enabled, 0);
    assert_int_equal(info_of(w->sim, "w2").enabled, 1);
    assert_int_equal(qdbg_sim_set_enabled(NULL, 0, 0), QDBG_E_INVALID);
    assert_int_equal(qdbg_sim_set_all_enabled(NULL, 0, 0), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_sim_set_enabled(w->sim, 5, 0), QDBG_E_NOT_FOUND, "5");
    assert_fails(w->ctx, qdbg_sim_set_all_enabled(w->sim, 4, 0), QDBG_E_INVALID, "kind");
}

static void reading_checks_its_arguments(void **state)
{
    world *w = *state;
    qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT, bad_q = {0};
    qdbg_encoding e = QDBG_ENCODING_INIT, bad_e = {0};
    assert_int_equal(qdbg_sim_quantizer(NULL, 0, &q), QDBG_E_INVALID);
    assert_int_equal(qdbg_sim_quantizer(w->sim, 0, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_sim_quantizer(w->sim, 0, &bad_q), QDBG_E_INVALID);
    assert_int_equal(qdbg_sim_quantizer(w->sim, 5, &q), QDBG_E_NOT_FOUND);
    assert_int_equal(qdbg_sim_encoding(NULL, 1, 0, &e), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_sim_encoding(w->sim, 1, 0, NULL), QDBG_E_INVALID, "NULL");
    assert_fails(w->ctx, qdbg_sim_encoding(w->sim, 1, 0, &bad_e), QDBG_E_INVALID, "struct_size");
    assert_fails(w->ctx, qdbg_sim_encoding(w->sim, 5, 0, &e), QDBG_E_NOT_FOUND, "5");
    assert_fails(w->ctx, qdbg_sim_encoding(w->sim, 1, 1, &e), QDBG_E_NOT_FOUND, "channel 1");
    assert_int_equal(qdbg_sim_find_quantizer(w->sim, "b1"), QDBG_NONE);
    assert_int_equal(qdbg_sim_find_quantizer(w->sim, "nobody"), QDBG_NONE);
    assert_int_equal(qdbg_sim_find_quantizer(w->sim, NULL), QDBG_NONE);
    assert_int_equal(qdbg_sim_find_quantizer(NULL, "x"), QDBG_NONE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bits_change_and_the_range_stays),
        TEST(whole_specification_changes),
        TEST(bad_specifications_are_refused),
        TEST(custom_range_outlives_calibration),
        TEST(custom_range_holds_for_all_channels_of_a_weight),
        TEST(bad_ranges_are_refused),
        TEST(quantizers_are_switched_alone_or_by_kind),
        TEST(reading_checks_its_arguments),
        cmocka_unit_test(new_encodings_are_of_the_weights_of_today),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
