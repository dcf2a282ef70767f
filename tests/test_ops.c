/* Operators against plain loops over random shapes, and the facts that ONNX's test data (see
 * conformance/) leave open: old and new opsets, types, NaN, empty tensors, indices out of range. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "conformance/one_node.h"

#define ROUNDS 200

/* ---- elementwise with broadcasting ---- */

static float combine(const char *op, float x, float y)
{
    return strcmp(op, "Add") == 0   ? x + y
           : strcmp(op, "Sub") == 0 ? x - y
           : strcmp(op, "Mul") == 0 ? x * y
           : strcmp(op, "Div") == 0 ? x / y
           : strcmp(op, "Max") == 0 ? fmaxf(x, y)
                                    : powf(x, y);
}

static void check_binary(const char *op, const shape *a, const shape *b, const shape *full)
{
    float *x = random_floats(count(a)), *y = random_floats(count(b));
    qdbg_view out;
    one_node o;
    one_begin(&o, 13);
    one_input(&o, QDBG_F32, a->dims, x);
    one_input(&o, QDBG_F32, b->dims, y);
    one_op(&o, op, 1);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_shape(&out, QDBG_F32, full->dims);
    for (int64_t i = 0; i < count(full); i++) {
        int64_t at[QDBG_MAX_RANK];
        unravel(i, full, at);
        float want = combine(op, x[broadcast_index(a, at, full->rank)],
                             y[broadcast_index(b, at, full->rank)]);
        float got = ((float *)out.data)[i];
        if (isnan(want) ? !isnan(got) : got != want)
            fail_msg("%s: %.9g, not %.9g", op, (double)got, (double)want);
    }
    free(out.data);
    free(x);
    free(y);
    one_end(&o);
}

static void binary_operators_broadcast_as_numpy_does(void **state)
{
    static const char *const ops[] = {"Add", "Sub", "Mul", "Div", "Max", "Pow"};
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        shape full = random_shape(0, 6, round % 5 ? 1 : 0, 4), part = part_of(&full);
        const char *op = ops[round % 6];
        if (round % 2)
            check_binary(op, &full, &part, &full);
        else
            check_binary(op, &part, &full, &full);
    }
}

static void where_broadcasts_all_three(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        shape full = random_shape(0, 5, 1, 4), c = part_of(&full), b = part_of(&full);
        float *x = random_floats(count(&full)), *y = random_floats(count(&b));
        uint8_t *cond = malloc((size_t)count(&c) + 1);
        for (int64_t i = 0; i < count(&c); i++)
            cond[i] = (uint8_t)pick(0, 1);
        qdbg_view out;
        one_node o;
        one_begin(&o, 9);
        one_input(&o, QDBG_BOOL, c.dims, cond);
        one_input(&o, QDBG_F32, full.dims, x);
        one_input(&o, QDBG_F32, b.dims, y);
        one_op(&o, "Where", 1);
        assert_int_equal(one_run(&o, &out), QDBG_OK);
        for (int64_t i = 0; i < count(&full); i++) {
            int64_t at[QDBG_MAX_RANK];
            unravel(i, &full, at);
            float want = cond[broadcast_index(&c, at, full.rank)]
                             ? x[i]
                             : y[broadcast_index(&b, at, full.rank)];
            assert_true(((float *)out.data)[i] == want);
        }
        free(out.data);
        free(cond);
        free(x);
        free(y);
        one_end(&o);
    }
}

static void integer_arithmetic_wraps_and_refuses_to_divide_by_zero(void **state)
{
    static const struct {
        const char *op;
        int64_t a, b, want;
    } rows[] = {{"Add", INT64_MAX, 1, INT64_MIN},
                {"Sub", INT64_MIN, 1, INT64_MAX},
                {"Mul", INT64_MAX, 2, -2},
                {"Div", -7, 2, -3},
                {"Mod", -7, 3, 2},
                {"Mod", INT64_MIN, -1, 0},
                {"Max", -3, 2, 2},
                {"Pow", -3, 3, -27},
                {"Pow", 2, -1, 0}};
    qdbg_view out;
    one_node o;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        one_begin(&o, 13);
        one_input(&o, QDBG_I64, DIMS(1), INTS(rows[i].a));
        one_input(&o, QDBG_I64, DIMS(1), INTS(rows[i].b));
        one_op(&o, rows[i].op, 1);
        assert_int_equal(one_run(&o, &out), QDBG_OK);
        assert_ints(&out, &rows[i].want, 1);
        free(out.data);
        one_end(&o);
    }
    static const int64_t bad[][2] = {{1, 0}, {INT64_MIN, -1}};
    for (size_t i = 0; i < 2; i++) {
        one_begin(&o, 13);
        one_input(&o, QDBG_I64, DIMS(1), INTS(bad[i][0]));
        one_input(&o, QDBG_I64, DIMS(1), INTS(bad[i][1]));
        one_op(&o, "Div", 1);
        assert_fails(&o, QDBG_E_INVALID, "Div 'n'");
    }
}

static void mixed_types_and_shapes_that_do_not_broadcast_are_named(void **state)
{
    one_node o;
    (void)state;
    one_begin(&o, 13);
    one_input(&o, QDBG_F32, DIMS(2, 3), FLOATS(1, 2, 3, 4, 5, 6));
    one_input(&o, QDBG_F32, DIMS(2), FLOATS(1, 2));
    one_op(&o, "Add", 1);
    assert_fails(&o, QDBG_E_SHAPE, "Add 'n': cannot broadcast [2,3] with [2]");
    one_begin(&o, 13);
    one_input(&o, QDBG_F32, DIMS(1), FLOATS(1));
    one_input(&o, QDBG_I64, DIMS(1), INTS(1));
    one_op(&o, "Add", 1);
    assert_fails(&o, QDBG_E_TYPE, "Add 'n': operands are float32 and int64");
}

static void greater_is_not_less_or_equal_for_nan(void **state)
{
    static const char *const ops[] = {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"};
    static const uint8_t want[][3] = {{0, 1, 0}, {0, 1, 1}, {0, 0, 0}, {0, 0, 1}, {0, 0, 1}};
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        qdbg_view out;
        one_node o;
        one_begin(&o, 16);
        one_input(&o, QDBG_F32, DIMS(3), FLOATS(NAN, 2, 1));
        one_input(&o, QDBG_F32, DIMS(3), FLOATS(1, 1, 1));
        one_op(&o, ops[i], 1);
        assert_int_equal(one_run(&o, &out), QDBG_OK);
        assert_shape(&out, QDBG_BOOL, DIMS(3));
        assert_memory_equal(out.data, want[i], 3);
        free(out.data);
        one_end(&o);
    }
}

static void variadic_operators_combine_any_number(void **state)
{
    static const struct {
        const char *op;
        float want[2];
    } rows[] = {{"Sum", {12, 13}}, {"Mean", {4, 13.0f / 3}}, {"Max", {7, 7}}, {"Min", {1, 2}}};
    (void)state;
    for (size_t i = 0; i < 4 * 3; i++) { /* in every order: which operand is broadcast differs */
        qdbg_view out;
        one_node o;
        one_begin(&o, 8);
        for (size_t k = 0; k < 3; k++) {
            switch ((i + k) % 3) {
            case 0:
                one_input(&o, QDBG_F32, DIMS(2), FLOATS(1, 2));
                break;
            case 1:
                one_input(&o, QDBG_F32, DIMS(1), FLOATS(7));
                break;
            default:
                one_input(&o, QDBG_F32, DIMS(1, 1), FLOATS(4));
            }
        }
        one_op(&o, rows[i / 3].op, 1);
        assert_int_equal(one_run(&o, &out), QDBG_OK);
        assert_shape(&out, QDBG_F32, DIMS(1, 2));
        assert_floats(&out, rows[i / 3].want, 2);
        free(out.data);
        one_end(&o);
    }
}

static void nan_stays_nan(void **state)
{
    static const char *const ops[] = {
        "Relu",      "LeakyRelu",  "Clip",    "HardSwish", "HardSigmoid", "Sigmoid",
        "Elu",       "Selu",       "Celu",    "Mish",      "Softplus",    "Softsign",
        "Gelu",      "Sign",       "Shrink",  "Round",     "Abs",         "ReduceMax",
        "ReduceMin", "ReduceMean", "Softmax", "Max",       "Min",         "ThresholdedRelu"};
    (void)state;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        qdbg_view out;
        one_node o;
        one_begin(&o, 20);
        one_input(&o, QDBG_F32, DIMS(1, 1), FLOATS(NAN));
        if (strcmp(ops[i], "Max") == 0 || strcmp(ops[i], "Min") == 0)
            one_input(&o, QDBG_F32, DIMS(1, 1), FLOATS(1));
        one_op(&o, ops[i], 1);
        assert_int_equal(one_run(&o, &out), QDBG_OK);
        if (!isnan(*(float *)out.data))
            fail_msg("%s(NaN) is %g", ops[i], (double)*(float *)out.data);
        free(out.data);
        one_end(&o);
    }
}

/* Values by the definitions, in double. */
static void activations_follow_their_definitions(void **state)
{
    float x[5] = {-3.0f, -0.4f, 0.0f, 0.7f, 5.0f}, want[5];
    qdbg_view out;
    one_node o;
    (void)state;
    for (int form = 0; form < 3; form++) {
        one_begin(&o, 20);
        one_input(&o, QDBG_F32, DIMS(5), x);
        one_op(&o, form == 2 ? "Mish" : "Gelu", 1);
        if (form == 1)
            one_set_string(&o, "approximate", "tanh");
        assert_int_equal(one_run(&o, &out), QDBG_OK);
        for (int i = 0; i < 5; i++) {
            double v = x[i];
            double y =
                form == 0 ? 0.5 * v * (1.0 + erf(v / sqrt(2.0)))
                : form == 1
                    ? 0.5 * v * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (v + 0.044715 * v * v * v)))
                    : v * tanh(log1p(exp(v)));
            want[i] = (float)y;
        }
        assert_floats(&out, want, 5);
        free(out.data);
        one_end(&o);
    }
    one_begin(&o, 20);
    one_input(&o, QDBG_F32, DIMS(5), x);
    one_op(&o, "Gelu", 1);
    one_set_string(&o, "approximate", "cubic");
    assert_fails(&o, QDBG_E_INVALID, "Gelu 'n': unknown approximation 'cubic'");
}

static void clip_takes_bounds_from_attributes_and_inputs(void **state)
{
    float x[4] = {-9, -1, 2, 9};
    qdbg_view out;
    one_node o;
    (void)state;
    one_begin(&o, 6 + 1);
    one_input(&o, QDBG_F32, DIMS(4), x);
    one_op(&o, "Clip", 1);
    one_set_float(&o, "min", -2);
    one_set_float(&o, "max", 6);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_floats(&out, FLOATS(-2, -1, 2, 6), 4);
    free(out.data);
    one_end(&o);
    one_begin(&o, 12); /* the upper bound is not even a constant */
    one_input(&o, QDBG_F32, DIMS(4), x);
    one_absent(&o);
    one_input(&o, QDBG_F32, SCALAR, FLOATS(6));
    one_op(&o, "Clip", 1);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_floats(&out, FLOATS(-9, -1, 2, 6), 4);
    free(out.data);
    one_end(&o);
}

/* ---- reductions ---- */

static double reduce_naive(const char *op, const float *x, const shape *s, const bool *reduced,
                           const int64_t *at, int64_t *n)
{
    double sum = 0, product = 1, max = -INFINITY;
    *n = 0;
    for (int64_t i = 0; i < count(s); i++) {
        int64_t own[QDBG_MAX_RANK];
        bool mine = true;
        unravel(i, s, own);
        for (uint32_t d = 0; d < s->rank; d++)
            mine = mine && (reduced[d] || own[d] == at[d]);
        if (!mine)
            continue;
        double v = x[i];
        max = fmax(max, v);
        product *= v;
        sum += strcmp(op, "ReduceL1") == 0          ? fabs(v)
               : strcmp(op, "ReduceL2") == 0        ? v * v
               : strcmp(op, "ReduceLogSumExp") == 0 ? exp(v)
                                                    : v;
        ++*n;
    }
    return strcmp(op, "ReduceMax") == 0         ? max
           : strcmp(op, "ReduceProd") == 0      ? product
           : strcmp(op, "ReduceMean") == 0      ? sum / (double)*n
           : strcmp(op, "ReduceL2") == 0        ? sqrt(sum)
           : strcmp(op, "ReduceLogSumExp") == 0 ? log(sum)
                                                : sum;
}

static void check_reduce(const char *op, uint32_t opset, const shape *s, const bool *reduced)
{
    float *x = random_floats(count(s));
    int64_t axes[QDBG_MAX_RANK], terms;
    uint32_t n_axes = 0;
    shape kept = *s;
    qdbg_view out;
    one_node o;
    for (uint32_t d = 0; d < s->rank; d++) {
        if (reduced[d]) {
            axes[n_axes++] = pick(0, 1) ? (int64_t)d : (int64_t)d - s->rank;
            kept.dims[d] = 1;
        }
    }
    bool input = opset >= 18 || (opset >= 13 && strcmp(op, "ReduceSum") == 0);
    one_begin(&o, opset);
    one_input(&o, QDBG_F32, s->dims, x);
    if (input)
        one_ints(&o, axes, n_axes);
    one_op(&o, op, 1);
    if (!input)
        one_set_ints(&o, "axes", axes, n_axes);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_shape(&out, QDBG_F32, kept.dims);
    for (int64_t i = 0; i < count(&kept); i++) {
        int64_t at[QDBG_MAX_RANK];
        unravel(i, &kept, at);
        double want = reduce_naive(op, x, s, reduced, at, &terms);
        double got = (double)((float *)out.data)[i];
        if (fabs(got - want) > 1e-6 * (fabs(want) + 1))
            fail_msg("%s: %.9g, not %.9g", op, got, want);
    }
    free(out.data);
    free(x);
    one_end(&o);
}

static void reductions_over_any_axes(void **state)
{
    static const char *const ops[] = {"ReduceSum", "ReduceMean", "ReduceMax",      "ReduceProd",
                                      "ReduceL1",  "ReduceL2",   "ReduceLogSumExp"};
    static const uint32_t opsets[] = {11, 13, 18};
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        shape s = round % 10 ? random_shape(1, 5, 1, 4) : random_shape(2, 2, 60, 90);
        bool reduced[QDBG_MAX_RANK] = {false}, any = false;
        for (uint32_t d = 0; d < s.rank; d++)
            any |= reduced[d] = pick(0, 1) != 0;
        reduced[0] = reduced[0] || !any; /* an empty list means all of them */
        const char *op = ops[round % 7];
        if (strcmp(op, "ReduceProd") == 0 && count(&s) > 200)
            op = "ReduceSum";
        check_reduce(op, opsets[round % 3], &s, reduced);
    }
}

static void reductions_of_nothing_and_of_integers(void **state)
{
    qdbg_view out;
    one_node o;
    (void)state;
    one_begin(&o, 13);
    one_input(&o, QDBG_F32, DIMS(2, 0), NULL);
    one_ints(&o, INTS(1), 1);
    one_op(&o, "ReduceSum", 1);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_floats(&out, FLOATS(0, 0), 2);
    free(out.data);
    one_end(&o);
    one_begin(&o, 13); /* "no axes" as "nothing to do" */
    one_input(&o, QDBG_F32, DIMS(2), FLOATS(3, 4));
    one_op(&o, "ReduceSum", 1);
    one_set_int(&o, "noop_with_empty_axes", 1);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_floats(&out, FLOATS(3, 4), 2);
    free(out.data);
    one_end(&o);
    one_begin(&o, 11);
    one_input(&o, QDBG_I64, DIMS(3), INTS(INT64_MIN, -5, 7));
    one_op(&o, "ReduceMax", 1);
    one_set_int(&o, "keepdims", 0);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_shape(&out, QDBG_I64, SCALAR);
    assert_ints(&out, INTS(7), 1);
    free(out.data);
    one_end(&o);
    one_begin(&o, 13);
    one_input(&o, QDBG_F32, DIMS(2, 3), NULL);
    one_ints(&o, INTS(2), 1);
    one_op(&o, "ReduceSum", 1);
    assert_fails(&o, QDBG_E_INVALID, "ReduceSum 'n': axis 2 is out of range for rank 2");
}

static void softmax_changed_its_axis_at_opset_13(void **state)
{
    float x[8] = {0, 1, 2, 3, 0, 0, 0, 0}, want[8];
    (void)state;
    for (uint32_t opset = 12; opset <= 13; opset++) {
        qdbg_view out;
        one_node o;
        one_begin(&o, opset);
        one_input(&o, QDBG_F32, DIMS(2, 2, 2), x);
        one_op(&o, "Softmax", 1);
        one_set_int(&o, "axis", 1);
        assert_int_equal(one_run(&o, &out), QDBG_OK);
        double sum = exp(0) + exp(1) + exp(2) + exp(3);
        for (int i = 0; i < 8; i++) {
            double pair = i < 4 ? exp(i % 2) + exp(i % 2 + 2) : 2.0;
            want[i] = (float)(opset < 13 ? exp(x[i]) / (i < 4 ? sum : 4.0) : exp(x[i]) / pair);
        }
        assert_floats(&out, want, 8);
        free(out.data);
        one_end(&o);
    }
}

static void top_k_breaks_ties_by_position(void **state)
{
    float x[6] = {2, 5, NAN, 5, 1, 2};
    qdbg_view out[2];
    one_node o;
    (void)state;
    for (int largest = 0; largest < 2; largest++) {
        one_begin(&o, 11);
        one_input(&o, QDBG_F32, DIMS(6), x);
        one_ints(&o, INTS(4), 1);
        one_op(&o, "TopK", 2);
        one_set_int(&o, "largest", largest);
        assert_int_equal(one_run(&o, out), QDBG_OK);
        assert_floats(&out[0], largest ? FLOATS(NAN, 5, 5, 2) : FLOATS(1, 2, 2, 5), 4);
        assert_ints(&out[1], largest ? INTS(2, 1, 3, 0) : INTS(4, 0, 5, 1), 4);
        free(out[0].data);
        free(out[1].data);
        one_end(&o);
    }
    one_begin(&o, 11);
    one_input(&o, QDBG_F32, DIMS(6), x);
    one_ints(&o, INTS(7), 1);
    one_op(&o, "TopK", 2);
    assert_fails(&o, QDBG_E_INVALID, "TopK 'n': k is 7, but axis 0 has 6 elements");
}

static void normalizations_follow_their_definitions(void **state)
{
    enum { C = 4, N = 6 };
    float x[2 * C * N], scale[C], bias[C], two[2] = {2, 3}, want[2 * C * N];
    (void)state;
    for (int i = 0; i < 2 * C * N; i++)
        x[i] = (float)pick(-100, 100) / 16.0f;
    for (int i = 0; i < C; i++) {
        scale[i] = (float)pick(-8, 8) / 4.0f;
        bias[i] = (float)pick(-8, 8) / 4.0f;
    }
    for (uint32_t opset = 18; opset <= 21; opset += 3) { /* scale for groups, then for channels */
        qdbg_view out;
        one_node o;
        one_begin(&o, opset);
        one_input(&o, QDBG_F32, DIMS(2, C, N), x);
        one_param(&o, QDBG_F32, opset < 21 ? DIMS(2) : DIMS(C), opset < 21 ? two : scale);
        one_param(&o, QDBG_F32, opset < 21 ? DIMS(2) : DIMS(C), opset < 21 ? two : bias);
        one_op(&o, "GroupNormalization", 1);
        one_set_int(&o, "num_groups", 2);
        assert_int_equal(one_run(&o, &out), QDBG_OK);
        for (int g = 0; g < 4; g++) {
            const float *group = x + g * (C / 2) * N;
            double mean = 0, variance = 0;
            for (int i = 0; i < C / 2 * N; i++)
                mean += (double)group[i] / (C / 2 * N);
            for (int i = 0; i < C / 2 * N; i++)
                variance += (group[i] - mean) * (group[i] - mean) / (C / 2 * N);
            for (int i = 0; i < C / 2 * N; i++) {
                int channel = g % 2 * (C / 2) + i / N;
                double s = opset < 21 ? two[g % 2] : scale[channel];
                double b = opset < 21 ? two[g % 2] : bias[channel];
                want[g * (C / 2) * N + i] =
                    (float)((group[i] - mean) / sqrt(variance + 1e-5) * s + b);
            }
        }
        assert_floats(&out, want, 2 * C * N);
        free(out.data);
        one_end(&o);
    }
    qdbg_view out;
    one_node o;
    one_begin(&o, 9);
    one_input(&o, QDBG_F32, DIMS(2, 2), FLOATS(3, 4, 0, 0));
    one_op(&o, "LpNormalization", 1);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_floats(&out, FLOATS(0.6f, 0.8f, 0, 0), 4);
    free(out.data);
    one_end(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binary_operators_broadcast_as_numpy_does),
        cmocka_unit_test(where_broadcasts_all_three),
        cmocka_unit_test(integer_arithmetic_wraps_and_refuses_to_divide_by_zero),
        cmocka_unit_test(mixed_types_and_shapes_that_do_not_broadcast_are_named),
        cmocka_unit_test(greater_is_not_less_or_equal_for_nan),
        cmocka_unit_test(variadic_operators_combine_any_number),
        cmocka_unit_test(nan_stays_nan),
        cmocka_unit_test(activations_follow_their_definitions),
        cmocka_unit_test(clip_takes_bounds_from_attributes_and_inputs),
        cmocka_unit_test(reductions_over_any_axes),
        cmocka_unit_test(reductions_of_nothing_and_of_integers),
        cmocka_unit_test(softmax_changed_its_axis_at_opset_13),
        cmocka_unit_test(top_k_breaks_ties_by_position),
        cmocka_unit_test(normalizations_follow_their_definitions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
