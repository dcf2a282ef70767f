/* Clip: bounds are attributes before opset 11 and inputs since, which may also be computed. Beyond
 * ONNX, a float32 bound may hold a number for each channel (qdbg_graph_expose_clips). */
#include <float.h>
#include <math.h>
#include <string.h>

#include "ops.h"

typedef struct clip_params {
    float min, max; /* where the bounds are no inputs */
} clip_params;
_Static_assert(sizeof(clip_params) <= QDBG__OP_PARAMS_SIZE, "params");

/* out[i] = in[i] brought into [min, max]; a bound that is NULL does not bind. */
typedef void (*clip_fn)(const void *in, void *out, int64_t n, const void *min, const void *max);

#define CLIP(name, type, LOWEST, HIGHEST)                                                    \
    static void name(const void *in, void *out, int64_t n, const void *min, const void *max) \
    {                                                                                        \
        const type lo = min ? *(const type *)min : (LOWEST);                                 \
        const type hi = max ? *(const type *)max : (HIGHEST);                                \
        const type *a = in;                                                                  \
        type *b = out;                                                                       \
        for (int64_t i = 0; i < n; i++) {                                                    \
            type x = a[i] < lo ? lo : a[i];                                                  \
            b[i] = x > hi ? hi : x;                                                          \
        }                                                                                    \
    }

CLIP(clip_f32, float, -INFINITY, INFINITY)
CLIP(clip_f64, double, -INFINITY, INFINITY)
CLIP(clip_i8, int8_t, INT8_MIN, INT8_MAX)
CLIP(clip_i16, int16_t, INT16_MIN, INT16_MAX)
CLIP(clip_i32, int32_t, INT32_MIN, INT32_MAX)
CLIP(clip_i64, int64_t, INT64_MIN, INT64_MAX)
CLIP(clip_u8, uint8_t, 0, UINT8_MAX)
CLIP(clip_u16, uint16_t, 0, UINT16_MAX)
CLIP(clip_u32, uint32_t, 0, UINT32_MAX)
CLIP(clip_u64, uint64_t, 0, UINT64_MAX)

static const clip_fn clips[] = {
    [QDBG_F32] = clip_f32, [QDBG_F64] = clip_f64, [QDBG_I8] = clip_i8, [QDBG_I16] = clip_i16,
    [QDBG_I32] = clip_i32, [QDBG_I64] = clip_i64, [QDBG_U8] = clip_u8, [QDBG_U16] = clip_u16,
    [QDBG_U32] = clip_u32, [QDBG_U64] = clip_u64,
};

static clip_fn find_clip(int32_t dtype)
{
    return dtype >= 0 && (size_t)dtype < sizeof clips / sizeof *clips ? clips[dtype] : NULL;
}

/* One number for each channel of [N, C, ...], in the shape that broadcasting wants. */
static bool is_by_channel(const qdbg_view *in, const qdbg_view *bound)
{
    if (in->dtype != QDBG_F32 || in->rank < 2 || bound->rank + 1 < in->rank ||
        bound->rank > in->rank || qdbg_view_count(bound) != (uint64_t)in->dims[1])
        return false;
    return bound->dims[bound->rank - (in->rank - 1)] == in->dims[1];
}

static qdbg_status infer_clip(qdbg__infer *x)
{
    static const char *const names[] = {"", "min", "max"};
    const qdbg_view *in = x->in[0];
    clip_params *p = x->params;
    if (!find_clip(in->dtype))
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %s is not supported",
                                qdbg_dtype_name(in->dtype));
    for (uint32_t i = 1; i <= 2; i++) {
        const qdbg_view *bound = qdbg__infer_in(x, i);
        if (bound && (bound->dtype != in->dtype ||
                      (qdbg_view_count(bound) != 1 && !is_by_channel(in, bound))))
            return qdbg__infer_fail(x, QDBG_E_TYPE, "'%s' must be one %s number", names[i],
                                    qdbg_dtype_name(in->dtype));
    }
    p->min = qdbg__attr_float(x->node, "min", -INFINITY);
    p->max = qdbg__attr_float(x->node, "max", INFINITY);
    qdbg__infer_out(x, 0, in->dtype, in->rank, in->dims);
    return QDBG_OK;
}

static const void *channel_bound(const qdbg_view *bound, int64_t c)
{
    return (const float *)bound->data + (qdbg_view_count(bound) > 1 ? c : 0);
}

static void clip_channels(const qdbg__run *r, const void *min, const void *max)
{
    const qdbg_view *in = r->in[0];
    int64_t channels = in->dims[1], inner = 1;
    for (uint32_t i = 2; i < in->rank; i++)
        inner *= in->dims[i];
    for (int64_t row = 0; row < in->dims[0] * channels; row++) {
        const void *lo = r->in[1] ? channel_bound(r->in[1], row % channels) : min;
        const void *hi =
            r->node->n_in > 2 && r->in[2] ? channel_bound(r->in[2], row % channels) : max;
        clip_f32((const float *)in->data + row * inner, (float *)r->out[0]->data + row * inner,
                 inner, lo, hi);
    }
}

/* A number for each channel, of which there may be none. */
static bool is_wide(const qdbg__run *r, uint32_t i)
{
    return r->node->n_in > i && r->in[i] && qdbg_view_count(r->in[i]) != 1;
}

static qdbg_status run_clip(const qdbg__run *r)
{
    const clip_params *p = r->params;
    const qdbg_view *in = r->in[0];
    const void *min = r->node->n_in > 1 && r->in[1] ? r->in[1]->data : NULL;
    const void *max = r->node->n_in > 2 && r->in[2] ? r->in[2]->data : NULL;
    if (in->dtype == QDBG_F32) { /* attributes exist for floats only */
        min = min ? min : &p->min;
        max = max ? max : &p->max;
    }
    if (is_wide(r, 1) || is_wide(r, 2)) {
        clip_channels(r, min, max);
        return QDBG_OK;
    }
    find_clip(in->dtype)(in->data, r->out[0]->data, (int64_t)qdbg_view_count(in), min, max);
    return QDBG_OK;
}

static const qdbg__op table[] = {{"Clip", 1, 3, 1, QDBG__OP_IN_PLACE, infer_clip, run_clip}};

const qdbg__op_table qdbg__ops_clip = {table, sizeof table / sizeof *table};
