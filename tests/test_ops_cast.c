/* Cast where ONNX's test data say nothing: what does not fit, and the 16-bit floats. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "conformance/one_node.h"

static void casts_of_what_does_not_fit_are_defined(void **state)
{
    float x[6] = {NAN, INFINITY, -INFINITY, 1e20f, -1.9f, 300};
    qdbg_view out;
    one_node o;
    (void)state;
    static const struct {
        int32_t to;
        int64_t want[6];
    } rows[] = {{QDBG_I64, {0, INT64_MAX, INT64_MIN, INT64_MAX, -1, 300}},
                {QDBG_I32, {0, INT32_MAX, INT32_MIN, INT32_MAX, -1, 300}},
                {QDBG_U8, {0, 255, 0, 255, 0, 255}},
                {QDBG_I8, {0, 127, -128, 127, -1, 127}},
                {QDBG_BOOL, {1, 1, 1, 1, 1, 1}}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        one_begin(&o, 13);
        one_input(&o, QDBG_F32, DIMS(6), x);
        one_op(&o, "Cast", 1);
        one_set_int(&o, "to", rows[r].to);
        assert_int_equal(one_run(&o, &out), QDBG_OK);
        for (int i = 0; i < 6; i++) {
            int64_t got = rows[r].to == QDBG_I64   ? ((int64_t *)out.data)[i]
                          : rows[r].to == QDBG_I32 ? ((int32_t *)out.data)[i]
                          : rows[r].to == QDBG_I8  ? ((int8_t *)out.data)[i]
                                                   : ((uint8_t *)out.data)[i];
            assert_int_equal(got, rows[r].want[i]);
        }
        free(out.data);
        one_end(&o);
    }
    one_begin(&o, 13);
    one_input(&o, QDBG_F32, DIMS(6), x);
    one_op(&o, "Cast", 1);
    one_set_int(&o, "to", 8); /* string */
    assert_fails(&o, QDBG_E_UNSUPPORTED, "Cast 'n': element type 8");
}

static void half_floats_survive_a_round_trip(void **state)
{
    /* All finite halves, subnormals included, through float32 and back. */
    enum { N = 0x7c00 };
    uint16_t *bits = malloc(2 * N * sizeof *bits);
    qdbg_view floats, out;
    one_node o;
    (void)state;
    for (int i = 0; i < N; i++) {
        bits[i] = (uint16_t)i;
        bits[N + i] = (uint16_t)(0x8000 | i);
    }
    one_begin(&o, 13);
    one_input(&o, QDBG_F16, DIMS(2 * N), bits);
    one_op(&o, "Cast", 1);
    one_set_int(&o, "to", QDBG_F32);
    assert_int_equal(one_run(&o, &floats), QDBG_OK);
    one_end(&o);
    assert_true(((float *)floats.data)[1] == 0x1p-24f);
    assert_true(((float *)floats.data)[0x3c00] == 1.0f);
    assert_true(((float *)floats.data)[0x7bff] == 65504.0f);
    one_begin(&o, 13);
    one_input(&o, QDBG_F32, DIMS(2 * N), floats.data);
    one_op(&o, "Cast", 1);
    one_set_int(&o, "to", QDBG_F16);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_memory_equal(out.data, bits, 2 * N * sizeof *bits);
    free(out.data);
    free(floats.data);
    free(bits);
    one_end(&o);
}

static void halves_are_rounded_to_nearest_even(void **state)
{
    static const struct {
        float x;
        uint16_t f16, bf16;
    } rows[] = {
        {1.0f + 0x1p-11f, 0x3c00, 0x3f80},     /* a tie of float16: down to even */
        {1.0f + 3 * 0x1p-11f, 0x3c02, 0x3f80}, /* a tie: up to even */
        {1.0f + 0x1p-8f, 0x3c04, 0x3f80},      /* a tie of bfloat16 */
        {1.0f + 3 * 0x1p-8f, 0x3c0c, 0x3f82},  /* another */
        {65519.996f, 0x7bff, 0x4780},          /* the last that does not overflow */
        {65520.0f, 0x7c00, 0x4780},            /* the first that does */
        {-0x1p-25f, 0x8000, 0xb300},           /* half of the smallest: to zero */
        {3.4e38f, 0x7c00, 0x7f80},             /* and of bfloat16 */
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int brain = 0; brain < 2; brain++) {
            qdbg_view out;
            one_node o;
            one_begin(&o, 13);
            one_input(&o, QDBG_F32, DIMS(1), &rows[i].x);
            one_op(&o, "Cast", 1);
            one_set_int(&o, "to", brain ? QDBG_BF16 : QDBG_F16);
            assert_int_equal(one_run(&o, &out), QDBG_OK);
            assert_int_equal(*(uint16_t *)out.data, brain ? rows[i].bf16 : rows[i].f16);
            free(out.data);
            one_end(&o);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(casts_of_what_does_not_fit_are_defined),
        cmocka_unit_test(half_floats_survive_a_round_trip),
        cmocka_unit_test(halves_are_rounded_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
