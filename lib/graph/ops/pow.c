/* Pow: base and exponent may have different types; the result has the base's. */
#include <math.h>
#include <string.h>

#include "number.h"
#include "ops.h"
#include "walk.h"

typedef struct pow_params {
    qdbg__walk walk;
} pow_params;
_Static_assert(sizeof(pow_params) <= QDBG__OP_PARAMS_SIZE, "params");

static bool supported(int32_t dtype)
{
    return dtype == QDBG_F32 || dtype == QDBG_F64 || qdbg__is_int(dtype);
}

static qdbg_status infer_pow(qdbg__infer *x)
{
    const qdbg_view *a = x->in[0], *b = x->in[1];
    pow_params *p = x->params;
    qdbg_view out = QDBG_VIEW_INIT;
    char ta[128], tb[128];
    if (!supported(a->dtype) || !supported(b->dtype))
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "%s to the power of %s is not supported",
                                qdbg_dtype_name(a->dtype), qdbg_dtype_name(b->dtype));
    if (!qdbg__broadcast(a->rank, a->dims, b->rank, b->dims, &out.rank, out.dims))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "cannot broadcast %s with %s",
                                qdbg__shape_text(a->rank, a->dims, ta, sizeof ta),
                                qdbg__shape_text(b->rank, b->dims, tb, sizeof tb));
    qdbg__walk_broadcast(&p->walk, &out, 2, x->in);
    qdbg__infer_out(x, 0, a->dtype, out.rank, out.dims);
    return QDBG_OK;
}

/* x^2 and x^3 stand in every exported LayerNormalization and Gelu. */
static void pow_scalar(const float *a, float exponent, float *out, int64_t n)
{
    if (exponent == 2.0f) {
        for (int64_t i = 0; i < n; i++)
            out[i] = a[i] * a[i];
    } else if (exponent == 3.0f) {
        for (int64_t i = 0; i < n; i++)
            out[i] = a[i] * a[i] * a[i];
    } else {
        for (int64_t i = 0; i < n; i++)
            out[i] = powf(a[i], exponent);
    }
}

static void pow_f32(const float *a, int64_t sa, const float *b, int64_t sb, float *out, int64_t n)
{
    if (sb == 0 && sa == 1) {
        pow_scalar(a, b[0], out, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        out[i] = powf(a[i * sa], b[i * sb]);
}

/* Wrapping power; a negative exponent gives the truncated fraction (0 to a negative power: 0). */
static int64_t pow_int(int64_t base, int64_t exponent)
{
    uint64_t result = 1, square = (uint64_t)base;
    if (exponent < 0)
        return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
    for (uint64_t e = (uint64_t)exponent; e > 0; e >>= 1) {
        if (e & 1)
            result *= square;
        square *= square;
    }
    return (int64_t)result;
}

static void pow_any(const qdbg_view *a, int64_t ia, const qdbg_view *b, int64_t ib,
                    const qdbg_view *out, int64_t io)
{
    if (qdbg__is_int(a->dtype) && qdbg__is_int(b->dtype))
        qdbg__store_int(
            out->data, out->dtype, io,
            pow_int(qdbg__load_int(a->data, a->dtype, ia), qdbg__load_int(b->data, b->dtype, ib)));
    else
        qdbg__store_double(out->data, out->dtype, io,
                           pow(qdbg__load_double(a->data, a->dtype, ia),
                               qdbg__load_double(b->data, b->dtype, ib)));
}

static qdbg_status run_pow(const qdbg__run *r)
{
    const qdbg__walk *w = &((const pow_params *)r->params)->walk;
    const qdbg_view *a = r->in[0], *b = r->in[1], *out = r->out[0];
    const int64_t *step = w->inner_stride;
    int64_t index[QDBG_MAX_RANK] = {0}, at[QDBG__WALK_OPERANDS] = {0};
    bool fast = a->dtype == QDBG_F32 && b->dtype == QDBG_F32;
    for (int64_t i = 0; i < w->outer; i++, qdbg__walk_next(w, index, at)) {
        if (fast) {
            pow_f32((const float *)a->data + at[1], step[1], (const float *)b->data + at[2],
                    step[2], (float *)out->data + at[0], w->inner);
            continue;
        }
        for (int64_t j = 0; j < w->inner; j++)
            pow_any(a, at[1] + j * step[1], b, at[2] + j * step[2], out, at[0] + j);
    }
    return QDBG_OK;
}

static const qdbg__op table[] = {{"Pow", 2, 2, 1, QDBG__OP_IN_PLACE, infer_pow, run_pow}};

const qdbg__op_table qdbg__ops_pow = {table, sizeof table / sizeof *table};
