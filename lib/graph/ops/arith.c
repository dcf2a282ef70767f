#include "arith.h"

#include <math.h>

/* A row function whose three loops (both vectors, either a scalar) the compiler can vectorize. EXPR
 * combines x and y. The scalar is read first, so that out may be its memory. */
#define ROW(name, type, result, EXPR)                                                         \
    static qdbg_status name(const void *pa, int64_t sa, const void *pb, int64_t sb, void *po, \
                            int64_t n)                                                        \
    {                                                                                         \
        const type *a = pa, *b = pb;                                                          \
        result *out = po;                                                                     \
        if (sa == 1 && sb == 1) {                                                             \
            for (int64_t i = 0; i < n; i++) {                                                 \
                type x = a[i], y = b[i];                                                      \
                out[i] = (result)(EXPR);                                                      \
            }                                                                                 \
        } else if (sb == 0) {                                                                 \
            const type y = b[0];                                                              \
            for (int64_t i = 0; i < n; i++) {                                                 \
                type x = a[i];                                                                \
                out[i] = (result)(EXPR);                                                      \
            }                                                                                 \
        } else {                                                                              \
            const type x = a[0];                                                              \
            for (int64_t i = 0; i < n; i++) {                                                 \
                type y = b[i];                                                                \
                out[i] = (result)(EXPR);                                                      \
            }                                                                                 \
        }                                                                                     \
        return QDBG_OK;                                                                       \
    }

/* The same as one short loop, for types whose speed does not matter. CHECK may return. */
#define SMALL_ROW(name, type, result, CHECK, EXPR)                                            \
    static qdbg_status name(const void *pa, int64_t sa, const void *pb, int64_t sb, void *po, \
                            int64_t n)                                                        \
    {                                                                                         \
        const type *a = pa, *b = pb;                                                          \
        result *out = po;                                                                     \
        for (; n > 0; n--, a += sa, b += sb) {                                                \
            type x = *a, y = *b;                                                              \
            CHECK;                                                                            \
            *out++ = (result)(EXPR);                                                          \
        }                                                                                     \
        return QDBG_OK;                                                                       \
    }

#define NO_CHECK (void)0
#define NOT_ZERO \
    if (y == 0)  \
    return QDBG_E_INVALID
#define DIVISIBLE(min)                   \
    if (y == 0 || (y == -1 && x == min)) \
    return QDBG_E_INVALID

ROW(add_f32, float, float, x + y)
ROW(sub_f32, float, float, x - y)
ROW(mul_f32, float, float, (x * y))
ROW(div_f32, float, float, x / y)
ROW(max_f32, float, float, x > y || x != x ? x : y)
ROW(min_f32, float, float, x < y || x != x ? x : y)
ROW(prelu_f32, float, float, (x * (x < 0.0f ? y : 1.0f)))

SMALL_ROW(add_f64, double, double, NO_CHECK, x + y)
SMALL_ROW(sub_f64, double, double, NO_CHECK, x - y)
SMALL_ROW(mul_f64, double, double, NO_CHECK, (x * y))
SMALL_ROW(div_f64, double, double, NO_CHECK, x / y)
SMALL_ROW(max_f64, double, double, NO_CHECK, x > y || x != x ? x : y)
SMALL_ROW(min_f64, double, double, NO_CHECK, x < y || x != x ? x : y)
SMALL_ROW(prelu_f64, double, double, NO_CHECK, (x * (x < 0.0 ? y : 1.0)))
SMALL_ROW(fmod_f32, float, float, NO_CHECK, fmodf(x, y))
SMALL_ROW(fmod_f64, double, double, NO_CHECK, fmod(x, y))

/* Comparisons, and the arithmetic that is alike for all integers; `wide` is an unsigned type in
 * which nothing overflows in an undefined way. */
#define COMPARE_ROWS(suffix, type)                             \
    SMALL_ROW(equal_##suffix, type, uint8_t, NO_CHECK, x == y) \
    SMALL_ROW(less_##suffix, type, uint8_t, NO_CHECK, x < y)   \
    SMALL_ROW(less_equal_##suffix, type, uint8_t, NO_CHECK, x <= y)
#define INT_ROWS(suffix, type, wide)                                   \
    SMALL_ROW(add_##suffix, type, type, NO_CHECK, (wide)x + (wide)y)   \
    SMALL_ROW(sub_##suffix, type, type, NO_CHECK, (wide)x - (wide)y)   \
    SMALL_ROW(mul_##suffix, type, type, NO_CHECK, ((wide)x * (wide)y)) \
    SMALL_ROW(max_##suffix, type, type, NO_CHECK, x > y ? x : y)       \
    SMALL_ROW(min_##suffix, type, type, NO_CHECK, x < y ? x : y)       \
    COMPARE_ROWS(suffix, type)
#define SIGNED_ROWS(suffix, type, wide, min)                                    \
    INT_ROWS(suffix, type, wide)                                                \
    SMALL_ROW(div_##suffix, type, type, DIVISIBLE(min), x / y)                  \
    SMALL_ROW(fmod_##suffix, type, type, NOT_ZERO, y == -1 ? 0 : x % y)         \
    SMALL_ROW(mod_##suffix, type, type, NOT_ZERO,                               \
              y == -1 ? 0 : x % y + (x % y != 0 && (x < 0) != (y < 0) ? y : 0)) \
    SMALL_ROW(prelu_##suffix, type, type, NO_CHECK, x < 0 ? (wide)x * (wide)y : (wide)x)
#define UNSIGNED_ROWS(suffix, type, wide)                \
    INT_ROWS(suffix, type, wide)                         \
    SMALL_ROW(div_##suffix, type, type, NOT_ZERO, x / y) \
    SMALL_ROW(mod_##suffix, type, type, NOT_ZERO, x % y)

SIGNED_ROWS(i8, int8_t, uint32_t, INT8_MIN)
SIGNED_ROWS(i16, int16_t, uint32_t, INT16_MIN)
SIGNED_ROWS(i32, int32_t, uint32_t, INT32_MIN)
SIGNED_ROWS(i64, int64_t, uint64_t, INT64_MIN)
UNSIGNED_ROWS(u8, uint8_t, uint32_t)
UNSIGNED_ROWS(u16, uint16_t, uint32_t)
UNSIGNED_ROWS(u32, uint32_t, uint32_t)
UNSIGNED_ROWS(u64, uint64_t, uint64_t)
COMPARE_ROWS(f32, float)
COMPARE_ROWS(f64, double)

SMALL_ROW(and_bool, uint8_t, uint8_t, NO_CHECK, x &&y)
SMALL_ROW(or_bool, uint8_t, uint8_t, NO_CHECK, x || y)
SMALL_ROW(xor_bool, uint8_t, uint8_t, NO_CHECK, !x != !y)
SMALL_ROW(equal_bool, uint8_t, uint8_t, NO_CHECK, !x == !y)

#define FLOATS(op) [QDBG_F32] = op##_f32, [QDBG_F64] = op##_f64
#define SIGNED(op) \
    [QDBG_I8] = op##_i8, [QDBG_I16] = op##_i16, [QDBG_I32] = op##_i32, [QDBG_I64] = op##_i64
#define UNSIGNED(op) \
    [QDBG_U8] = op##_u8, [QDBG_U16] = op##_u16, [QDBG_U32] = op##_u32, [QDBG_U64] = op##_u64
#define ALL(op) FLOATS(op), SIGNED(op), UNSIGNED(op)

static const qdbg__arith_fn rows[QDBG__ARITH_XOR + 1][QDBG_U64 + 1] = {
    [QDBG__ARITH_ADD] = {ALL(add)},
    [QDBG__ARITH_SUB] = {ALL(sub)},
    [QDBG__ARITH_MUL] = {ALL(mul)},
    [QDBG__ARITH_DIV] = {ALL(div)},
    [QDBG__ARITH_MAX] = {ALL(max)},
    [QDBG__ARITH_MIN] = {ALL(min)},
    [QDBG__ARITH_MOD] = {SIGNED(mod), UNSIGNED(mod)},
    [QDBG__ARITH_FMOD] = {FLOATS(fmod), SIGNED(fmod), UNSIGNED(mod)},
    [QDBG__ARITH_PRELU] = {FLOATS(prelu), SIGNED(prelu)},
    [QDBG__ARITH_EQUAL] = {ALL(equal), [QDBG_BOOL] = equal_bool},
    [QDBG__ARITH_LESS] = {ALL(less)},
    [QDBG__ARITH_LESS_EQUAL] = {ALL(less_equal)},
    [QDBG__ARITH_AND] = {[QDBG_BOOL] = and_bool},
    [QDBG__ARITH_OR] = {[QDBG_BOOL] = or_bool},
    [QDBG__ARITH_XOR] = {[QDBG_BOOL] = xor_bool},
};

qdbg__arith_fn qdbg__arith_find(qdbg__arith op, int32_t dtype)
{
    return dtype >= 0 && dtype <= QDBG_U64 ? rows[op][dtype] : NULL;
}

qdbg_status qdbg__arith_run(const qdbg__walk *w, qdbg__arith_fn fn, size_t size_in, const void *a,
                            const void *b, size_t size_out, void *out)
{
    int64_t index[QDBG_MAX_RANK] = {0}, at[QDBG__WALK_OPERANDS] = {0};
    int64_t in_bytes = (int64_t)size_in, out_bytes = (int64_t)size_out;
    for (int64_t i = 0; i < w->outer; i++, qdbg__walk_next(w, index, at)) {
        qdbg_status status = fn((const char *)a + at[1] * in_bytes, w->inner_stride[1],
                                (const char *)b + at[2] * in_bytes, w->inner_stride[2],
                                (char *)out + at[0] * out_bytes, w->inner);
        if (status != QDBG_OK)
            return status;
    }
    return QDBG_OK;
}
