/* Two-operand elementwise arithmetic and comparison for all element types, as rows for a walk. */
#ifndef QDBG_GRAPH_OPS_ARITH_H
#define QDBG_GRAPH_OPS_ARITH_H

#include "walk.h"

typedef enum {
    QDBG__ARITH_ADD,
    QDBG__ARITH_SUB,
    QDBG__ARITH_MUL,
    QDBG__ARITH_DIV,
    QDBG__ARITH_MAX, /* NaN when either is */
    QDBG__ARITH_MIN,
    QDBG__ARITH_MOD,   /* sign of the divisor; integers */
    QDBG__ARITH_FMOD,  /* sign of the dividend */
    QDBG__ARITH_PRELU, /* a < 0 ? a * b : a */
    QDBG__ARITH_EQUAL, /* from here on the result is bool */
    QDBG__ARITH_LESS,
    QDBG__ARITH_LESS_EQUAL,
    QDBG__ARITH_AND, /* bool operands */
    QDBG__ARITH_OR,
    QDBG__ARITH_XOR,
} qdbg__arith;

/* out[i] = op(a[i * a_step], b[i * b_step]) for i < n, steps 0 or 1 but not both 0 (unless
 * n is 1). `out` may be `a` or `b` when
 * that one's step is 1. Signed overflow wraps; QDBG_E_INVALID for an integer division by zero or
 * one that overflows. */
typedef qdbg_status (*qdbg__arith_fn)(const void *a, int64_t a_step, const void *b, int64_t b_step,
                                      void *out, int64_t n);

/* The row function, or NULL where the operation does not exist for the type. */
qdbg__arith_fn qdbg__arith_find(qdbg__arith op, int32_t dtype);

/* Apply it to whole tensors: operand 0 of the walk is out, 1 is a, 2 is b; `size_in` and `size_out`
 * are bytes of an element. */
qdbg_status qdbg__arith_run(const qdbg__walk *w, qdbg__arith_fn fn, size_t size_in, const void *a,
                            const void *b, size_t size_out, void *out);

#endif
