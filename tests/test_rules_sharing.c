/* Quantizers that share one encoding: which do, and that they go on doing so (simulation.h). */
#include <math.h>
#include <stdlib.h>

#include "rules_make.h"

#define EACH (4 * 6 * 6) /* elements of an image */

static uint32_t find(rules_world *w, const char *name)
{
    uint32_t i = qdbg_sim_find_quantizer(w->sim, name);
    assert_int_not_equal(i, QDBG_NONE);
    return i;
}

static uint32_t resize(rules_world *w, const char *name, uint32_t x, const char *mode)
{
    static const float scales[4] = {1, 1, 2, 2};
    char text[32];
    uint32_t node;
    snprintf(text, sizeof text, "%s.scales", name);
    uint32_t in[3] = {x, QDBG_NONE, make_param(w->g, text, DIMS(4), scales)};
    uint32_t y = make_node(w->g, "Resize", name, in, 3, &node);
    assert_ok(qdbg_graph_set_string(w->g, node, "mode", mode));
    return y;
}

/* x in [-8, 8]; "a" = Relu in [0, 8]; "b" = Tanh in [-1, 1]; "k" = both. */
static void two_branches(rules_world *w)
{
    uint32_t x = rules_image(w, "x"), a = rules_one(w, "Relu", "a", x);
    uint32_t b = rules_one(w, "Tanh", "b", x);
    rules_sim(w, rules_concat(w, "k", (const uint32_t[]){a, b}, 2));
    rules_expect(w, "x a b=a");
}

static void check_same(qdbg_encoding a, qdbg_encoding b)
{
    assert_memory_equal(&a, &b, sizeof a);
}

/* "a" and "b" have the encoding that covers [min, max] under the spec of both. */
static void check_covers(rules_world *w, float min, float max)
{
    qdbg_encoding want = QDBG_ENCODING_INIT;
    qdbg_quant_spec spec = rules_info(w, "a").spec, other = rules_info(w, "b").spec;
    assert_memory_equal(&spec, &other, sizeof spec);
    assert_ok(qdbg_encoding_from_range(w->ctx, &spec, min, max, &want));
    check_same(rules_encoding(w, "a", 0), want);
    check_same(rules_encoding(w, "b", 0), want);
}

/* What both were seen to cover. */
static void check_union(rules_world *w)
{
    qdbg_quantizer_info a = rules_info(w, "a"), b = rules_info(w, "b");
    assert_true(a.observed_min == 0 && a.observed_max == 8);
    assert_true(b.observed_min < -0.99f && b.observed_max > 0.99f);
    check_covers(w, b.observed_min, a.observed_max);
}

/* ---- which ---- */

static void chains_that_pick_elements_keep_the_first_encoding(void **state)
{
    rules_world *w = *state;
    uint32_t m = rules_pool(w, "MaxPool", "m", rules_image(w, "x"));
    uint32_t t = rules_one(w, "Transpose", "t", m), f = rules_one(w, "Flatten", "f", t);
    uint32_t i = rules_one(w, "Identity", "i", f);
    uint32_t g = rules_one(w, "Tanh", "g", i);
    rules_sim(w, g);
    rules_expect(w, "x g");
    rules_expect_absent(w, "m", QDBG_ABSENT_SHARED, "shares the encoding of 'x'");
    rules_expect_absent(w, "t", QDBG_ABSENT_SHARED, "shares the encoding of 'x'");
    rules_expect_absent(w, "f", QDBG_ABSENT_SHARED, "shares the encoding of 'x'");
    rules_expect_absent(w, "i", QDBG_ABSENT_SHARED, "shares the encoding of 'x'");
}

static void chains_behind_nothing_have_nothing(void **state)
{
    rules_world *w = *state;
    rules_output(w, "Tanh", QDBG_RULE_NO);
    uint32_t t = rules_one(w, "Tanh", "t", rules_image(w, "x"));
    rules_sim(w, rules_one(w, "Flatten", "f", rules_pool(w, "MaxPool", "m", t)));
    rules_expect(w, "x");
    rules_expect_absent(w, "m", QDBG_ABSENT_SOURCE, "keeps the encoding of 't', which has none");
    rules_expect_absent(w, "f", QDBG_ABSENT_SOURCE, "keeps the encoding of 'm', which has none");
}

/* Said of its own type, an operator gets its quantizer where the input has none. */
static void chains_can_be_asked_to_begin(void **state)
{
    rules_world *w = *state;
    rules_output(w, "Tanh", QDBG_RULE_NO);
    rules_output(w, "MaxPool", QDBG_RULE_YES);
    uint32_t t = rules_one(w, "Tanh", "t", rules_image(w, "x"));
    rules_sim(w, rules_one(w, "Flatten", "f", rules_pool(w, "MaxPool", "m", t)));
    rules_expect(w, "x m");
    rules_expect_absent(w, "f", QDBG_ABSENT_SHARED, "shares the encoding of 'm'");
}

static void resize_shares_where_it_picks(void **state)
{
    rules_world *w = *state;
    uint32_t n = resize(w, "n", rules_image(w, "x"), "nearest");
    rules_sim(w, resize(w, "l", n, "linear"));
    rules_expect(w, "x l");
    rules_expect_absent(w, "n", QDBG_ABSENT_SHARED, "shares the encoding of 'x'");
}

static void resize_shares_where_it_is_told_to(void **state)
{
    rules_world *w = *state;
    rules_sharing(w, "Resize", QDBG_SHARE_INPUT);
    rules_sim(w, resize(w, "l", rules_image(w, "x"), "linear"));
    rules_expect(w, "x l=x"); /* in between elements: it rounds */
}

static void concat_has_no_quantizer_but_its_inputs_share(void **state)
{
    rules_world *w = *state;
    two_branches(w);
    rules_expect_absent(w, "k", QDBG_ABSENT_SHARED, "shares the encoding of 'a'");
}

static void concats_in_a_row_are_one_group(void **state)
{
    rules_world *w = *state;
    uint32_t x = rules_image(w, "x"), v[4];
    static const char *const names[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++)
        v[i] = rules_one(w, i % 2 ? "Tanh" : "Sigmoid", names[i], x);
    uint32_t j = rules_concat(w, "j", (const uint32_t[]){v[3], v[1]}, 2);
    uint32_t p =
        rules_pool(w, "MaxPool", "p", rules_concat(w, "k", (const uint32_t[]){j, v[2]}, 2));
    rules_sim(w, rules_one(w, "Tanh", "y", p));
    rules_expect(w, "x a b c=b d=b y");
    rules_expect_absent(w, "k", QDBG_ABSENT_SHARED, "shares the encoding of 'd'");
}

static void a_value_in_two_concats_joins_them(void **state)
{
    rules_world *w = *state;
    uint32_t x = rules_image(w, "x"), a = rules_one(w, "Relu", "a", x);
    uint32_t b = rules_one(w, "Tanh", "b", x), c = rules_one(w, "Sigmoid", "c", x);
    uint32_t j = rules_concat(w, "j", (const uint32_t[]){c, b}, 2);
    uint32_t k = rules_concat(w, "k", (const uint32_t[]){a, b}, 2);
    rules_sim(w, rules_two(w, "Add", "y", j, k));
    rules_expect(w, "x a b=a c=a y");
    rules_calibrate(w);
    check_same(rules_encoding(w, "c", 0), rules_encoding(w, "a", 0));
    check_union(w);
}

static void the_same_value_twice_is_no_group(void **state)
{
    rules_world *w = *state;
    uint32_t x = rules_image(w, "x");
    rules_sim(w, rules_concat(w, "k", (const uint32_t[]){x, x}, 2));
    rules_expect(w, "x");
}

/* A constant comes onto the grid at the output. */
static void concat_with_a_constant_has_a_quantizer_of_the_group(void **state)
{
    rules_world *w = *state;
    uint32_t x = rules_image(w, "x"), c = make_random(w->g, "c", DIMS(1, 4, 6, 6), &w->seed);
    rules_sim(w, rules_concat(w, "k", (const uint32_t[]){x, c}, 2));
    rules_expect(w, "x k=x");
}

static void concat_can_be_told_not_to(void **state)
{
    rules_world *w = *state;
    rules_sharing(w, "Concat", QDBG_SHARE_NONE);
    uint32_t x = rules_image(w, "x"), a = rules_one(w, "Relu", "a", x);
    rules_sim(w, rules_concat(w, "k", (const uint32_t[]){x, a}, 2));
    rules_expect(w, "x a k");
}

static void all_inputs_and_outputs_share_where_told_to(void **state)
{
    rules_world *w = *state;
    rules_preset(w, "tflite");
    uint32_t x = rules_image(w, "x"), a = rules_one(w, "Tanh", "a", x);
    rules_sim(w, rules_two(w, "Max", "m", a, x));
    rules_expect(w, "x a=x m=x");
    rules_calibrate(w);
    check_same(rules_encoding(w, "a", 0), rules_encoding(w, "x", 0));
    check_same(rules_encoding(w, "m", 0), rules_encoding(w, "x", 0));
    assert_true(rules_encoding(w, "x", 0).scale > 15.9f / 255);
}

/* Grids are of one kind: the first one's. */
static void a_group_has_one_sign_and_symmetry(void **state)
{
    rules_world *w = *state;
    rules_json(w, "{\"defaults\": {\"ops\": {\"is_output_quantized\": \"True\","
                  " \"is_symmetric\": \"True\"}, \"unsigned_symmetric\": \"True\"}}");
    uint32_t x = rules_image(w, "x"), b = rules_one(w, "Tanh", "b", x);
    uint32_t a = rules_one(w, "Relu", "a", x); /* alone it would be unsigned */
    rules_sim(w, rules_concat(w, "k", (const uint32_t[]){a, b}, 2));
    rules_expect(w, "b a=b");
    assert_int_equal(rules_info(w, "a").spec.is_signed, QDBG_SIGNED);
    rules_calibrate(w);
    check_union(w);
}

/* ---- that they go on ---- */

static void calibration_gives_the_union(void **state)
{
    rules_world *w = *state;
    qdbg_encoding e = QDBG_ENCODING_INIT;
    two_branches(w);
    assert_fails(w->ctx, qdbg_sim_encoding(w->sim, find(w, "a"), 0, &e), QDBG_E_STATE, "'a'");
    rules_calibrate(w);
    check_union(w);
}

static void bits_are_given_to_all(void **state)
{
    rules_world *w = *state;
    two_branches(w);
    rules_calibrate(w);
    assert_ok(qdbg_sim_set_bits(w->sim, find(w, "b"), 4));
    assert_int_equal(rules_info(w, "a").spec.bits, 4);
    check_union(w);
    assert_ok(qdbg_sim_set_bits(w->sim, find(w, "a"), QDBG_BITS_BYPASS));
    assert_int_equal(rules_info(w, "b").spec.bits, QDBG_BITS_BYPASS);
    assert_int_equal(rules_info(w, "b").n_encodings, 0);
    assert_ok(qdbg_sim_set_bits(w->sim, find(w, "b"), 8));
    check_union(w);
}

static void specs_are_given_to_all(void **state)
{
    rules_world *w = *state;
    two_branches(w);
    rules_calibrate(w);
    qdbg_quant_spec spec = rules_info(w, "b").spec;
    spec.symmetry = QDBG_STRICT_SYMMETRIC;
    spec.is_signed = QDBG_SIGNED;
    spec.flags = QDBG_SPEC_POWER_OF_TWO;
    assert_ok(qdbg_sim_set_spec(w->sim, find(w, "b"), &spec));
    check_union(w);
    assert_true(rules_encoding(w, "a", 0).scale == 0.125f);
    spec.granularity = QDBG_PER_CHANNEL;
    spec.axis = 1;
    assert_fails(w->ctx, qdbg_sim_set_spec(w->sim, find(w, "a"), &spec), QDBG_E_UNSUPPORTED,
                 "'a' shares its encoding");
    check_union(w);
}

static void ranges_are_given_to_all_and_taken_back(void **state)
{
    rules_world *w = *state;
    two_branches(w);
    assert_ok(qdbg_sim_set_range(w->sim, find(w, "b"), -2, 5)); /* before calibration, too */
    check_covers(w, -2, 5);
    rules_calibrate(w);
    check_covers(w, -2, 5);
    assert_ok(qdbg_sim_clear_range(w->sim, find(w, "a")));
    check_union(w);
}

static void methods_are_each_ones_own_and_ranges_united(void **state)
{
    rules_world *w = *state;
    qdbg_range_options r = QDBG_RANGE_OPTIONS_INIT;
    two_branches(w);
    r.method = QDBG_RANGE_PERCENTILE;
    r.percentile = 90;
    assert_ok(qdbg_sim_set_quantizer_range_method(w->sim, find(w, "a"), &r));
    rules_calibrate(w);
    qdbg_encoding e = rules_encoding(w, "a", 0);
    check_same(rules_encoding(w, "b", 0), e);
    assert_int_equal(rules_info(w, "b").range.method, QDBG_RANGE_MIN_MAX);
    assert_true(e.max > 5 && e.max < 7.5f && e.min < -0.97f);
    r.percentile = 60;
    assert_ok(qdbg_sim_set_quantizer_range_method(w->sim, find(w, "a"), &r));
    check_same(rules_encoding(w, "b", 0), rules_encoding(w, "a", 0));
    assert_true(rules_encoding(w, "b", 0).max < e.max);
    assert_ok(qdbg_sim_set_range_method(w->sim, QDBG_ACTIVATION, NULL));
    check_union(w);
}

/* One that was not observed enough leaves all without encoding until the next calibration. */
static void a_method_that_lacks_data_takes_the_encoding_from_all(void **state)
{
    rules_world *w = *state;
    qdbg_range_options r = QDBG_RANGE_OPTIONS_INIT;
    two_branches(w);
    rules_calibrate(w);
    r.method = QDBG_RANGE_MSE;
    assert_ok(qdbg_sim_set_quantizer_range_method(w->sim, find(w, "b"), &r));
    assert_int_equal(rules_info(w, "a").n_encodings, 0);
    rules_calibrate(w);
    assert_int_equal(rules_info(w, "a").n_encodings, 1);
    check_same(rules_encoding(w, "a", 0), rules_encoding(w, "b", 0));
}

static void fixed_ranges_join_observed_ones(void **state)
{
    rules_world *w = *state;
    rules_range(w, "Tanh", -4, 4);
    two_branches(w);
    assert_int_equal(rules_info(w, "b").n_encodings, 0); /* the other is not known yet */
    rules_calibrate(w);
    check_covers(w, -4, 8);
}

static void encodings_of(rules_world *w, const samples *s, int32_t method, qdbg_encoding out[2])
{
    qdbg_range_options r = QDBG_RANGE_OPTIONS_INIT;
    r.method = method;
    assert_ok(qdbg_sim_set_range_method(w->sim, QDBG_ACTIVATION, &r));
    assert_ok(qdbg_sim_calibrate(w->sim, &s->set));
    out[0] = rules_encoding(w, "a", 0);
    out[1] = rules_encoding(w, "b", 0);
}

static void order_and_size_of_batches_do_not_matter(void **state)
{
    static const int32_t methods[] = {QDBG_RANGE_MIN_MAX, QDBG_RANGE_PERCENTILE, QDBG_RANGE_MSE,
                                      QDBG_RANGE_ENTROPY};
    rules_world *w = *state;
    two_branches(w);
    samples s = samples_make(w->ctx, w->g, 12, 4, 0), t = samples_make(w->ctx, w->g, 12, 5, 0);
    for (int i = 0; i < 12 * EACH; i++)
        s.x[i] = make_float(&w->seed, -3, 8);
    for (int i = 0; i < 12; i++)
        memcpy(t.x + i * EACH, s.x + (11 - i) * EACH, EACH * sizeof *t.x);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        qdbg_encoding one[2], other[2];
        encodings_of(w, &s, methods[i], one);
        encodings_of(w, &t, methods[i], other);
        check_same(one[0], one[1]);
        check_same(one[0], other[0]);
        check_same(one[1], other[1]);
    }
    samples_free(&s);
    samples_free(&t);
}

/* ---- switches ---- */

static float quantized(float x, const qdbg_encoding *e)
{
    float q = nearbyintf(x / e->scale) + (float)e->zero_point;
    return (fminf(fmaxf(q, (float)e->qmin), (float)e->qmax) - (float)e->zero_point) * e->scale;
}

/* Elements of `y` that are not what `x` becomes on the grid (NULL: x itself); y = [12, 8, 6, 6] has
 * the channels of "a", then those of "b". */
static int differing(const float *y, const float *x, const qdbg_encoding *e, int half)
{
    int n = 0;
    for (int i = 0; i < 12; i++)
        for (int k = 0; k < EACH; k++) {
            int at = (2 * i + half) * EACH + k;
            n += y[at] != (e ? quantized(x[at], e) : x[at]);
        }
    return n;
}

/* Each quantizer has a switch of its own: off, it leaves its value alone and goes on counting for
 * the encoding. */
static void switches_are_each_ones_own(void **state)
{
    rules_world *w = *state;
    two_branches(w);
    rules_calibrate(w);
    qdbg_encoding e = rules_encoding(w, "a", 0);
    assert_ok(qdbg_sim_set_all_enabled(w->sim, 0, 0));
    float *plain = rules_run(w, 24 * EACH);
    assert_ok(qdbg_sim_set_enabled(w->sim, find(w, "a"), 1));
    float *with_a = rules_run(w, 24 * EACH);
    assert_ok(qdbg_sim_set_enabled(w->sim, find(w, "b"), 1));
    float *with_both = rules_run(w, 24 * EACH);
    assert_int_equal(rules_info(w, "x").enabled, 0);
    assert_int_equal(differing(with_a, plain, &e, 0), 0);
    assert_int_equal(differing(with_a, plain, NULL, 1), 0);
    assert_true(differing(with_a, plain, NULL, 0) > 0);
    assert_int_equal(differing(with_both, plain, &e, 0), 0);
    assert_int_equal(differing(with_both, plain, &e, 1), 0);
    assert_true(differing(with_both, plain, NULL, 1) > 0);
    assert_ok(qdbg_sim_set_enabled(w->sim, find(w, "a"), 0));
    rules_calibrate(w);
    check_union(w); /* off as it is */
    free(plain);
    free(with_a);
    free(with_both);
}

/* Relu cannot be negative, Tanh can: the grid of both has to hold what either has. */
static void a_grid_without_negatives_is_not_shared_with_what_has_them(void **state)
{
    rules_world *w = *state;
    qdbg_rule_defaults d = QDBG_RULE_DEFAULTS_INIT;
    assert_ok(qdbg_rules_get_defaults(w->rules, &d));
    d.output_symmetric = QDBG_RULE_YES;
    assert_ok(qdbg_rules_set_defaults(w->rules, &d));
    two_branches(w);
    rules_calibrate(w);
    check_union(w);
    assert_int_equal(rules_info(w, "a").spec.is_signed, QDBG_SIGNED);
    assert_true(rules_encoding(w, "b", 0).min < -1);
}

static void a_grid_without_negatives_is_shared_by_those_that_have_none(void **state)
{
    rules_world *w = *state;
    qdbg_rule_defaults d = QDBG_RULE_DEFAULTS_INIT;
    assert_ok(qdbg_rules_get_defaults(w->rules, &d));
    d.output_symmetric = QDBG_RULE_YES;
    assert_ok(qdbg_rules_set_defaults(w->rules, &d));
    uint32_t x = rules_image(w, "x"), a = rules_one(w, "Relu", "a", x);
    uint32_t b = rules_one(w, "Sigmoid", "b", x);
    rules_sim(w, rules_concat(w, "k", (const uint32_t[]){a, b}, 2));
    rules_expect(w, "x a b=a");
    assert_int_equal(rules_info(w, "a").spec.is_signed, QDBG_UNSIGNED);
    assert_int_equal(rules_info(w, "b").spec.is_signed, QDBG_UNSIGNED);
}

/* Time that grows with the cube of the group was minutes here. */
static void a_large_group_takes_no_time(void **state)
{
    rules_world *w = *state;
    uint32_t x = rules_image(w, "x");
    rules_preset(w, "tflite");
    for (int i = 0; i < 1500; i++) {
        char name[32];
        snprintf(name, sizeof name, "t%d", i);
        uint32_t t = rules_one(w, "Tanh", name, x);
        snprintf(name, sizeof name, "m%d", i);
        x = rules_two(w, "Max", name, x, t);
    }
    rules_sim(w, x);
    uint32_t n = qdbg_sim_quantizer_count(w->sim);
    assert_int_equal(n, 3001);
    assert_int_equal(rules_info(w, "m1499").group, 0);
    for (uint32_t i = 0; i < n; i += 100)
        assert_ok(qdbg_sim_set_range(w->sim, i, -1, (float)i));
    assert_true(rules_encoding(w, "x", 0).max > 2800);
    assert_true(rules_encoding(w, "m1499", 0).max > 2800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(chains_that_pick_elements_keep_the_first_encoding),
        TEST(chains_behind_nothing_have_nothing),
        TEST(chains_can_be_asked_to_begin),
        TEST(a_grid_without_negatives_is_not_shared_with_what_has_them),
        TEST(a_grid_without_negatives_is_shared_by_those_that_have_none),
        TEST(a_large_group_takes_no_time),
        TEST(resize_shares_where_it_picks),
        TEST(resize_shares_where_it_is_told_to),
        TEST(concat_has_no_quantizer_but_its_inputs_share),
        TEST(concats_in_a_row_are_one_group),
        TEST(a_value_in_two_concats_joins_them),
        TEST(the_same_value_twice_is_no_group),
        TEST(concat_with_a_constant_has_a_quantizer_of_the_group),
        TEST(concat_can_be_told_not_to),
        TEST(all_inputs_and_outputs_share_where_told_to),
        TEST(a_group_has_one_sign_and_symmetry),
        TEST(calibration_gives_the_union),
        TEST(bits_are_given_to_all),
        TEST(specs_are_given_to_all),
        TEST(ranges_are_given_to_all_and_taken_back),
        TEST(methods_are_each_ones_own_and_ranges_united),
        TEST(a_method_that_lacks_data_takes_the_encoding_from_all),
        TEST(fixed_ranges_join_observed_ones),
        TEST(order_and_size_of_batches_do_not_matter),
        TEST(switches_are_each_ones_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
