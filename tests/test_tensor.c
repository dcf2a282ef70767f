/* Element types, shapes and views (tensor.h, lib/tensor). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "../lib/tensor/tensor.h"

#include "graph_make.h"
#include "support.h"

static void dtypes_have_onnx_numbers_sizes_and_names(void **state)
{
    static const struct {
        int32_t dtype, number;
        size_t size;
        const char *name;
    } rows[] = {
        {QDBG_F32, 1, 4, "float32"},    {QDBG_U8, 2, 1, "uint8"},    {QDBG_I8, 3, 1, "int8"},
        {QDBG_U16, 4, 2, "uint16"},     {QDBG_I16, 5, 2, "int16"},   {QDBG_I32, 6, 4, "int32"},
        {QDBG_I64, 7, 8, "int64"},      {QDBG_BOOL, 9, 1, "bool"},   {QDBG_F16, 10, 2, "float16"},
        {QDBG_F64, 11, 8, "float64"},   {QDBG_U32, 12, 4, "uint32"}, {QDBG_U64, 13, 8, "uint64"},
        {QDBG_BF16, 16, 2, "bfloat16"},
    };
    size_t known = 0;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(rows[i].dtype, rows[i].number);
        assert_int_equal(qdbg_dtype_size(rows[i].dtype), rows[i].size);
        assert_string_equal(qdbg_dtype_name(rows[i].dtype), rows[i].name);
    }
    for (int32_t d = -100; d <= 100; d++)
        known += qdbg_dtype_size(d) != 0;
    assert_int_equal(known, sizeof rows / sizeof *rows);
    static const int32_t unknown[] = {QDBG_DTYPE_NONE, 8, 14, 17, -1, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_int_equal(qdbg_dtype_size(unknown[i]), 0);
        assert_string_equal(qdbg_dtype_name(unknown[i]), "unknown");
    }
}

static void view_is_filled(void **state)
{
    static float data[24];
    const int64_t dims[] = {2, 3, 4};
    qdbg_view v, want = QDBG_VIEW_INIT;
    (void)state;
    memset(&v, 0xff, sizeof v);
    assert_ok(qdbg_view_init(&v, QDBG_F32, 3, dims, data));
    want.dtype = QDBG_F32;
    want.rank = 3;
    memcpy(want.dims, dims, sizeof dims);
    want.data = data;
    assert_memory_equal(&v, &want, sizeof v); /* dimensions beyond the rank are zero */
    assert_int_equal(qdbg_view_count(&v), 24);
    assert_ok(qdbg_view_init(&v, QDBG_I64, 0, NULL, data));
    assert_int_equal(qdbg_view_count(&v), 1);
    assert_int_equal(qdbg_view_count(NULL), 0);
}

static void empty_view_needs_no_data(void **state)
{
    const int64_t dims[] = {3, 0, 7};
    qdbg_view v;
    (void)state;
    for (uint32_t rank = 2; rank <= 3; rank++) {
        assert_ok(qdbg_view_init(&v, QDBG_F32, rank, dims, NULL));
        assert_int_equal(qdbg_view_count(&v), 0);
    }
}

static void bad_views_are_refused(void **state)
{
    static float data[4];
    const int64_t good[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, negative[] = {2, -1};
    qdbg_view v, before;
    (void)state;
    memset(&v, 0x5a, sizeof v);
    before = v;
    assert_int_equal(qdbg_view_init(NULL, QDBG_F32, 1, good, data), QDBG_E_INVALID);
    assert_int_equal(qdbg_view_init(&v, QDBG_F32, 9, good, data), QDBG_E_INVALID);
    assert_int_equal(qdbg_view_init(&v, QDBG_F32, 1, NULL, data), QDBG_E_INVALID);
    assert_int_equal(qdbg_view_init(&v, QDBG_F32, 2, negative, data), QDBG_E_INVALID);
    assert_int_equal(qdbg_view_init(&v, QDBG_F32, 1, good, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_view_init(&v, QDBG_F32, 0, NULL, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_view_init(&v, 8, 1, good, data), QDBG_E_TYPE);
    assert_int_equal(qdbg_view_init(&v, QDBG_DTYPE_NONE, 1, good, data), QDBG_E_TYPE);
    assert_memory_equal(&v, &before, sizeof v);
    assert_ok(qdbg_view_init(&v, QDBG_F32, QDBG_MAX_RANK, good, data));
}

static void byte_counts_that_overflow_are_refused(void **state)
{
    static char data[8];
    const int64_t halves[] = {(int64_t)1 << 31, (int64_t)1 << 30};     /* 2^61 elements */
    const int64_t fits[] = {(int64_t)1 << 30, ((int64_t)1 << 29) - 1}; /* just below 2^59 */
    const int64_t wraps[] = {(int64_t)1 << 32, (int64_t)1 << 32};      /* 2^64: 0 when it wraps */
    const int64_t odd[] = {3037000500, 3037000500, 3037000500};
    qdbg_view v;
    (void)state;
    assert_int_equal(qdbg_view_init(&v, QDBG_F64, 2, halves, data), QDBG_E_INVALID);
    assert_int_equal(qdbg_view_init(&v, QDBG_U8, 2, wraps, data), QDBG_E_INVALID);
    assert_int_equal(qdbg_view_init(&v, QDBG_U8, 3, odd, data), QDBG_E_INVALID);
    assert_ok(qdbg_view_init(&v, QDBG_F64, 2, fits, data));
    assert_true(qdbg_view_count(&v) == (uint64_t)fits[0] * (uint64_t)fits[1]);
    v.dims[0] = INT64_MAX; /* malformed by hand */
    assert_int_equal(qdbg_view_count(&v), 0);
    v.rank = 9;
    assert_int_equal(qdbg_view_count(&v), 0);
}

static void shapes_compare_and_print(void **state)
{
    const int64_t a[] = {1, 3, -1, 224}, b[] = {1, 3, 224, 224};
    char text[64], cut[6];
    (void)state;
    assert_true(qdbg__shape_equal(0, NULL, 0, NULL));
    assert_true(qdbg__shape_equal(2, a, 2, b));
    assert_false(qdbg__shape_equal(3, a, 3, b));
    assert_false(qdbg__shape_equal(1, a, 2, b));
    assert_string_equal(qdbg__shape_text(4, a, text, sizeof text), "[1,3,?,224]");
    assert_string_equal(qdbg__shape_text(0, NULL, text, sizeof text), "[]");
    assert_string_equal(qdbg__shape_text(4, b, cut, sizeof cut), "[1,3,");
}

static void longest_shape_fits_the_usual_buffer(void **state)
{
    const int64_t huge = INT64_MAX, dims[] = {huge, huge, huge, huge, huge, huge, huge, huge};
    char text[200], usual[128];
    (void)state;
    qdbg__shape_text(8, dims, text, sizeof text);
    assert_int_equal(strlen(text), 8 * 19 + 7 + 2);
    qdbg__shape_text(8, dims, usual, sizeof usual); /* cut, terminated */
    assert_int_equal(strlen(usual), 127);
    assert_memory_equal(usual, text, 127);
}

static void checked_view_names_what_is_wrong(void **state)
{
    static float data[4];
    const int64_t dims[] = {2, 2};
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_view good = QDBG_VIEW_INIT, v;
    (void)state;
    assert_ok(qdbg_view_init(&good, QDBG_F32, 2, dims, data));
    assert_ok(qdbg__view_check(ctx, &good, "w"));
    assert_fails(ctx, qdbg__view_check(ctx, NULL, "w"), QDBG_E_INVALID, "w is NULL");
    v = good;
    v.struct_size = 8;
    assert_fails(ctx, qdbg__view_check(ctx, &v, "w"), QDBG_E_INVALID, "struct_size");
    v = good;
    v.dtype = 99;
    assert_fails(ctx, qdbg__view_check(ctx, &v, "w"), QDBG_E_TYPE, "99");
    v = good;
    v.rank = 9;
    assert_fails(ctx, qdbg__view_check(ctx, &v, "w"), QDBG_E_INVALID, "rank 9");
    v = good;
    v.dims[1] = -3;
    assert_fails(ctx, qdbg__view_check(ctx, &v, "w"), QDBG_E_INVALID, "[2,?]");
    v = good;
    v.data = NULL;
    assert_fails(ctx, qdbg__view_check(ctx, &v, "w"), QDBG_E_INVALID, "data is NULL");
    v.dims[0] = 0;
    assert_ok(qdbg__view_check(ctx, &v, "w"));
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtypes_have_onnx_numbers_sizes_and_names),
        cmocka_unit_test(view_is_filled),
        cmocka_unit_test(empty_view_needs_no_data),
        cmocka_unit_test(bad_views_are_refused),
        cmocka_unit_test(byte_counts_that_overflow_are_refused),
        cmocka_unit_test(shapes_compare_and_print),
        cmocka_unit_test(longest_shape_fits_the_usual_buffer),
        cmocka_unit_test(checked_view_names_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
