/* Quantizers on a model as they are made and calibrated (simulation.h); changing them is in
 * test_simulation_change.c, scores are in test_simulation_score.c. */
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

/* ---- create ---- */

static void init_functions_do_what_the_macros_do(void **state)
{
    qdbg_sim_options o, want_o = QDBG_SIM_OPTIONS_INIT;
    qdbg_quantizer_info q, want_q = QDBG_QUANTIZER_INFO_INIT;
    (void)state;
    memset(&o, 0xff, sizeof o);
    memset(&q, 0xff, sizeof q);
    qdbg_sim_options_init(&o);
    qdbg_quantizer_info_init(&q);
    assert_memory_equal(&o, &want_o, sizeof o);
    assert_int_equal(q.struct_size, sizeof q);
    assert_memory_equal(&q.spec, &want_q.spec, sizeof q.spec);
    assert_int_equal(q.spec.struct_size, sizeof q.spec);
    qdbg_sim_options_init(NULL);
    qdbg_quantizer_info_init(NULL);
}

static void bad_options_are_refused(void **state)
{
    world *w = *state;
    const qdbg_sim_options good = QDBG_SIM_OPTIONS_INIT;
    qdbg_sim_options o = good;
    qdbg_sim *sim = NULL;
    assert_int_equal(qdbg_sim_create(NULL, &o, &sim), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_sim_create(w->m, &o, NULL), QDBG_E_INVALID, "out");
    o.struct_size--;
    assert_fails(w->ctx, qdbg_sim_create(w->m, &o, &sim), QDBG_E_INVALID, "struct_size");
    static const uint32_t bits[] = {1, 17, 31, 33};
    for (int i = 0; i < 4; i++) {
        o = good;
        o.weight_bits = bits[i];
        assert_fails(w->ctx, qdbg_sim_create(w->m, &o, &sim), QDBG_E_INVALID, "weights");
        o = good;
        o.activation_bits = bits[i];
        assert_fails(w->ctx, qdbg_sim_create(w->m, &o, &sim), QDBG_E_INVALID, "activations");
    }
    o = good;
    o.weight_granularity = 99;
    assert_fails(w->ctx, qdbg_sim_create(w->m, &o, &sim), QDBG_E_INVALID, "granularity");
    o = good;
    o.rounding = 3;
    assert_fails(w->ctx, qdbg_sim_create(w->m, &o, &sim), QDBG_E_INVALID, "rounding");
    assert_null(sim);
    qdbg_sim_destroy(NULL);
    assert_null(qdbg_sim_model(NULL));
    assert_int_equal(qdbg_sim_quantizer_count(NULL), 0);
}

static void new_simulation_is_as_the_header_says(void **state)
{
    world *w = *state;
    static const char *const names[] = {"x", "w1", "r", "w2", "y"};
    qdbg_encoding e = QDBG_ENCODING_INIT;
    assert_ptr_equal(qdbg_sim_model(w->sim), w->m);
    assert_int_equal(qdbg_sim_quantizer_count(w->sim), 5);
    for (uint32_t i = 0; i < 5; i++) {
        qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
        assert_ok(qdbg_sim_quantizer(w->sim, i, &q));
        bool weight = names[i][0] == 'w';
        assert_string_equal(q.name, names[i]);
        assert_int_equal(qdbg_sim_find_quantizer(w->sim, names[i]), i);
        assert_int_equal(q.value, value_of(w->g, names[i]));
        assert_int_equal(q.kind, weight ? QDBG_WEIGHT : QDBG_ACTIVATION);
        assert_int_equal(q.enabled, 1);
        assert_int_equal(q.n_encodings, weight ? 1 : 0);
        assert_int_equal(q.spec.bits, 8);
        assert_int_equal(q.spec.symmetry, weight ? QDBG_SYMMETRIC : QDBG_ASYMMETRIC);
        assert_int_equal(q.spec.is_signed, weight ? QDBG_SIGNED : QDBG_UNSIGNED);
        assert_int_equal(q.spec.granularity, QDBG_PER_TENSOR);
        assert_int_equal(q.spec.rounding, QDBG_ROUND_NEAREST_EVEN);
        if (!weight) {
            assert_true(q.observed_min == 0 && q.observed_max == 0);
            assert_fails(w->ctx, qdbg_sim_encoding(w->sim, i, 0, &e), QDBG_E_STATE, names[i]);
        }
    }
    assert_string_equal(info_of(w->sim, "x").op_type, "");
    assert_int_equal(info_of(w->sim, "x").node, QDBG_NONE);
    assert_string_equal(info_of(w->sim, "w2").op_type, "Gemm");
    assert_string_equal(info_of(w->sim, "r").op_type, "Relu");
}

static void options_reach_the_quantizers(void **state)
{
    world *w = *state;
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_sim *sim;
    o.weight_bits = 4;
    o.activation_bits = QDBG_BITS_BYPASS;
    o.weight_granularity = QDBG_PER_CHANNEL;
    o.rounding = QDBG_ROUND_NEAREST_AWAY;
    assert_ok(qdbg_sim_create(w->m, &o, &sim));
    qdbg_quantizer_info q = info_of(sim, "w1");
    assert_int_equal(q.spec.bits, 4);
    assert_int_equal(q.spec.granularity, QDBG_PER_CHANNEL);
    assert_int_equal(q.spec.axis, 1);
    assert_int_equal(q.n_encodings, 6);
    assert_int_equal(q.spec.rounding, QDBG_ROUND_NEAREST_AWAY);
    q = info_of(sim, "r");
    assert_int_equal(q.spec.bits, QDBG_BITS_BYPASS);
    assert_int_equal(q.spec.rounding, QDBG_ROUND_NEAREST_AWAY);
    qdbg_sim_destroy(sim);
}

static void bad_weight_is_named(void **state)
{
    world *w = *state;
    static const float bad[] = {(float)NAN, (float)INFINITY};
    uint32_t v = value_of(w->g, "w2");
    float data[18];
    qdbg_sim *sim = NULL;
    assert_ok(qdbg_model_get_parameter(w->m, v, data, 18));
    for (int i = 0; i < 2; i++) {
        float was = data[5];
        data[5] = bad[i];
        assert_ok(qdbg_model_set_parameter(w->m, v, data, 18));
        assert_fails(w->ctx, qdbg_sim_create(w->m, NULL, &sim), QDBG_E_NUMERIC, "'w2'");
        assert_string_equal(error_of(w->ctx).value, "w2");
        assert_null(sim);
        data[5] = was;
        assert_ok(qdbg_model_set_parameter(w->m, v, data, 18));
        assert_ok(qdbg_sim_create(w->m, NULL, &sim));
        qdbg_sim_destroy(sim);
        sim = NULL;
    }
}

/* ---- weights ---- */

static void weight_range(const float *data, size_t n, size_t step, float *min, float *max)
{
    *min = *max = data[0];
    for (size_t i = 0; i < n; i++) {
        *min = data[i * step] < *min ? data[i * step] : *min;
        *max = data[i * step] > *max ? data[i * step] : *max;
    }
}

/* w1 is [4,6], its output channels last. */
static void weights_have_min_max_encodings(void **state)
{
    world *w = *state;
    float data[24], min, max;
    assert_ok(qdbg_model_get_parameter(w->m, value_of(w->g, "w1"), data, 24));
    qdbg_quantizer_info q = info_of(w->sim, "w1");
    weight_range(data, 24, 1, &min, &max);
    assert_true(q.observed_min == min && q.observed_max == max && q.n_nonfinite == 0);
    qdbg_encoding got = encoding_of(w->sim, "w1", 0), want = encoding_from(w, &q.spec, min, max);
    assert_true(same_encoding(&got, &want));
    q.spec.granularity = QDBG_PER_CHANNEL;
    for (int32_t axis = -2; axis < 2; axis++) {
        uint32_t channels = axis == 1 || axis == -1 ? 6 : 4;
        q.spec.axis = axis;
        assert_ok(qdbg_sim_set_spec(w->sim, 1, &q.spec));
        assert_int_equal(info_of(w->sim, "w1").n_encodings, channels);
        for (uint32_t c = 0; c < channels; c++) {
            if (channels == 6)
                weight_range(data + c, 4, 6, &min, &max);
            else
                weight_range(data + c * 6, 6, 1, &min, &max);
            got = encoding_of(w->sim, "w1", c);
            want = encoding_from(w, &q.spec, min, max);
            assert_true(same_encoding(&got, &want));
        }
        qdbg_encoding e = QDBG_ENCODING_INIT;
        assert_fails(w->ctx, qdbg_sim_encoding(w->sim, 1, channels, &e), QDBG_E_NOT_FOUND, "'w1'");
    }
}

static void changed_parameters_are_noticed(void **state)
{
    world *w = *state;
    uint32_t v = value_of(w->g, "w1");
    float data[24];
    assert_ok(qdbg_model_get_parameter(w->m, v, data, 24));
    data[7] = 1270;
    assert_ok(qdbg_model_set_parameter(w->m, v, data, 24));
    qdbg_encoding e = encoding_of(w->sim, "w1", 0);
    assert_true(e.scale == 10);
    data[7] = (float)NAN;
    assert_ok(qdbg_model_set_parameter(w->m, v, data, 24));
    for (int i = 0; i < 2; i++) /* it stays wrong until it is mended */
        assert_fails(w->ctx, qdbg_sim_encoding(w->sim, 1, 0, &e), QDBG_E_NUMERIC, "'w1'");
    data[7] = 127;
    assert_ok(qdbg_model_set_parameter(w->m, v, data, 24));
    assert_true(encoding_of(w->sim, "w1", 0).scale == 1);
}

/* ---- calibrate ---- */

typedef struct extent {
    float min, max;
} extent;

/* What the values of net_of_gemms are, by hand. */
static void extents_by_hand(world *w, extent *x, extent *r)
{
    float w1[24], b1[6];
    assert_ok(qdbg_model_get_parameter(w->m, value_of(w->g, "w1"), w1, 24));
    assert_ok(qdbg_model_get_parameter(w->m, value_of(w->g, "b1"), b1, 6));
    *x = *r = (extent){FLT_MAX, -FLT_MAX};
    for (uint64_t s = 0; s < w->s.n; s++)
        for (int o = 0; o < 6; o++) {
            float sum = b1[o];
            for (int k = 0; k < 4; k++) {
                float in = w->s.x[s * 4 + (uint64_t)k];
                sum += in * w1[k * 6 + o];
                *x = (extent){fminf(x->min, in), fmaxf(x->max, in)};
            }
            sum = fmaxf(sum, 0);
            *r = (extent){fminf(r->min, sum), fmaxf(r->max, sum)};
        }
}

static void calibration_finds_minimum_and_maximum(void **state)
{
    world *w = *state;
    extent x, r;
    extents_by_hand(w, &x, &r);
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    qdbg_quantizer_info q = info_of(w->sim, "x");
    assert_true(q.observed_min == x.min && q.observed_max == x.max);
    assert_int_equal(q.n_encodings, 1);
    q = info_of(w->sim, "r");
    assert_true(q.observed_min == r.min && q.observed_max == r.max);
    qdbg_encoding got = encoding_of(w->sim, "r", 0);
    qdbg_encoding want = encoding_from(w, &q.spec, r.min, r.max);
    assert_true(same_encoding(&got, &want));
}

/* Batches in the order of a permutation. */
typedef struct shuffled {
    const samples *s;
    uint64_t step; /* prime to the number of batches */
} shuffled;

static int32_t give_shuffled(void *user, uint64_t index, qdbg_batch *batch)
{
    shuffled *p = user;
    return p->s->set.batch(p->s->set.user, index * p->step % p->s->set.n_batches, batch);
}

static void calibrated_encodings(uint32_t threads, uint64_t batch_size, uint64_t step,
                                 qdbg_quantizer_info *infos, qdbg_encoding *encodings)
{
    qdbg_ctx *ctx = make_ctx(threads);
    qdbg_graph *g = net_of_convs(ctx);
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 29, batch_size, 0);
    shuffled p = {&s, step};
    qdbg_dataset set = s.set;
    qdbg_sim *sim;
    set.user = &p;
    set.batch = give_shuffled;
    assert_ok(qdbg_sim_create(m, NULL, &sim));
    assert_ok(qdbg_sim_calibrate(sim, &set));
    assert_int_equal(qdbg_sim_quantizer_count(sim), 6);
    for (uint32_t i = 0; i < 6; i++) {
        encodings[i] = (qdbg_encoding)QDBG_ENCODING_INIT;
        infos[i] = (qdbg_quantizer_info)QDBG_QUANTIZER_INFO_INIT;
        assert_ok(qdbg_sim_encoding(sim, i, 0, &encodings[i]));
        assert_ok(qdbg_sim_quantizer(sim, i, &infos[i]));
        infos[i].name = infos[i].op_type = NULL;
    }
    qdbg_sim_destroy(sim);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void calibration_does_not_depend_on_order_batches_and_threads(void **state)
{
    static const uint64_t sizes[] = {1, 3, 29};
    qdbg_quantizer_info want_infos[6], infos[6];
    qdbg_encoding want[6], got[6];
    (void)state;
    calibrated_encodings(1, 29, 1, want_infos, want);
    for (uint32_t threads = 1; threads <= 4; threads++)
        for (int k = 0; k < 3; k++)
            for (uint64_t step = 1; step <= 3; step += 2) {
                calibrated_encodings(threads, sizes[k], step, infos, got);
                assert_memory_equal(got, want, sizeof want);
                for (int i = 0; i < 6; i++) {
                    assert_true(infos[i].observed_min == want_infos[i].observed_min);
                    assert_true(infos[i].observed_max == want_infos[i].observed_max);
                }
            }
}

static void calibration_forgets_what_it_saw_before(void **state)
{
    world *w = *state;
    samples other = samples_make(w->ctx, w->g, 1, 1, 0);
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    assert_true(encoding_of(w->sim, "x", 0).max > 1);
    for (int i = 0; i < 4; i++)
        other.x[i] = 0.5f;
    assert_ok(qdbg_sim_calibrate(w->sim, &other.set));
    assert_true(fabsf(encoding_of(w->sim, "x", 0).max - 0.5f) < 1e-6f);
    samples_free(&other);
}

static void failed_calibration_leaves_the_earlier_encodings(void **state)
{
    world *w = *state;
    qdbg_encoding before[5], after;
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    for (uint32_t i = 0; i < 5; i++) {
        before[i] = (qdbg_encoding)QDBG_ENCODING_INIT;
        assert_ok(qdbg_sim_encoding(w->sim, i, 0, &before[i]));
    }
    w->s.x[0] = 1000; /* another range, then a bad element in the last batch */
    w->s.x[29 * 4] = (float)NAN;
    assert_fails(w->ctx, qdbg_sim_calibrate(w->sim, &w->s.set), QDBG_E_NUMERIC, "sample 29");
    assert_fails(w->ctx, qdbg_sim_calibrate(w->sim, NULL), QDBG_E_INVALID, "dataset");
    assert_int_equal(qdbg_sim_calibrate(NULL, &w->s.set), QDBG_E_INVALID);
    for (uint32_t i = 0; i < 5; i++) {
        after = (qdbg_encoding)QDBG_ENCODING_INIT;
        assert_ok(qdbg_sim_encoding(w->sim, i, 0, &after));
        assert_true(same_encoding(&after, &before[i]));
    }
}

/* Log of -1 and 0: NaN and -infinity. */
static void nonfinite_values_are_counted_and_left_out(void **state)
{
    world *w = *state;
    qdbg_graph *g = make_graph(w->ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 4));
    make_finish(g, make_node(g, "Log", "y", &x, 1, NULL));
    qdbg_model *m = builtin_model(g);
    qdbg_sim *sim;
    samples s = samples_make(w->ctx, g, 2, 1, 0);
    const float some[] = {-1, 0, 1, 2, 1, 3, -1, 1}, bad[] = {0, 0, -1, -2, 0, 0, -1, -3};
    memcpy(s.x, some, sizeof some);
    assert_ok(qdbg_sim_create(m, NULL, &sim));
    assert_ok(qdbg_sim_calibrate(sim, &s.set));
    qdbg_quantizer_info q = info_of(sim, "y");
    assert_int_equal(q.n_nonfinite, 3);
    assert_true(q.observed_min == 0 && fabsf(q.observed_max - logf(3)) < 1e-6f);
    memcpy(s.x, bad, sizeof bad);
    assert_fails(w->ctx, qdbg_sim_calibrate(sim, &s.set), QDBG_E_NUMERIC, "'y'");
    assert_string_equal(error_of(w->ctx).value, "y");
    q = info_of(sim, "y");
    assert_true(q.n_nonfinite == 3 && q.observed_min == 0); /* the earlier ones stand */
    qdbg_sim_destroy(sim);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(init_functions_do_what_the_macros_do),
        TEST(bad_options_are_refused),
        TEST(new_simulation_is_as_the_header_says),
        TEST(options_reach_the_quantizers),
        TEST(bad_weight_is_named),
        TEST(weights_have_min_max_encodings),
        TEST(changed_parameters_are_noticed),
        TEST(calibration_finds_minimum_and_maximum),
        TEST(calibration_does_not_depend_on_order_batches_and_threads),
        TEST(calibration_forgets_what_it_saw_before),
        TEST(failed_calibration_leaves_the_earlier_encodings),
        TEST(nonfinite_values_are_counted_and_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
