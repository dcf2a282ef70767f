/* Resize and Upsample: one pass along each axis that changes, nearest, linear or cubic. Coordinates
 * are computed in float as ONNX Runtime does, so that ties fall the same way. */
#include <math.h>
#include <string.h>

#include "number.h"
#include "ops.h"
#include "walk.h"

#define MAX_TAPS 4
#define CROP_FRACTIONS (2 * QDBG_MAX_RANK)

typedef enum { NEAREST = 1, LINEAR = 2, CUBIC = 4 } resize_mode; /* the value: taps */

typedef enum {
    HALF_PIXEL,
    HALF_PIXEL_SYMMETRIC,
    PYTORCH_HALF_PIXEL,
    ALIGN_CORNERS,
    ASYMMETRIC,
    TF_HALF_PIXEL_FOR_NN,
    TF_CROP_AND_RESIZE,
} transform;

typedef enum { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, FLOOR, CEIL, BY_DIRECTION } nearest_rule;

typedef struct resize_params {
    resize_mode mode;
    transform transform;
    nearest_rule nearest;
    bool exclude_outside;
    float cubic_a, extrapolation;
    float scales[QDBG_MAX_RANK];
    float roi[CROP_FRACTIONS];                /* starts, then ends */
    uint32_t passes[QDBG_MAX_RANK], n_passes; /* axes in the order they are resized */
    size_t table_bytes, buffer_bytes; /* parts of the scratch memory: one table, two buffers */
} resize_params;
_Static_assert(sizeof(resize_params) <= QDBG__OP_PARAMS_SIZE, "params");

/* ---- infer: attributes ---- */

/* The position of the attribute's text in `names` (ended by NULL); -1 after a recorded failure. */
static int choose(qdbg__infer *x, const char *attr, const char *fallback, const char *const *names)
{
    const char *text = qdbg__attr_string(x->node, attr, fallback);
    for (int i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0)
            return i;
    }
    qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "%s '%s' is not known", attr, text);
    return -1;
}

static qdbg_status read_modes(qdbg__infer *x, resize_params *p)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", "bilinear", NULL};
    static const resize_mode mode_values[] = {NEAREST, LINEAR, CUBIC, LINEAR};
    static const char *const transforms[] = {
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
        "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize", NULL};
    static const char *const rules[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil",
                                        NULL};
    int mode = choose(x, "mode", "nearest", modes);
    if (mode < 0)
        return QDBG_E_UNSUPPORTED;
    p->mode = mode_values[mode];
    if (qdbg__node_is(x->node, "Upsample") || x->opset < 11) {
        p->transform = ASYMMETRIC;
        p->nearest = qdbg__node_is(x->node, "Upsample") ? FLOOR : BY_DIRECTION;
        return QDBG_OK;
    }
    int t = choose(x, "coordinate_transformation_mode", "half_pixel", transforms);
    int rule = t < 0 ? -1 : choose(x, "nearest_mode", "round_prefer_floor", rules);
    if (rule < 0)
        return QDBG_E_UNSUPPORTED;
    p->transform = (transform)t;
    p->nearest = (nearest_rule)rule;
    p->exclude_outside = qdbg__attr_int(x->node, "exclude_outside", 0) != 0;
    p->cubic_a = qdbg__attr_float(x->node, "cubic_coeff_a", -0.75f);
    p->extrapolation = qdbg__attr_float(x->node, "extrapolation_value", 0.0f);
    if (qdbg__attr_int(x->node, "antialias", 0) != 0)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "antialias is not supported");
    return QDBG_OK;
}

/* A constant list of floats from input `i`, or from the attribute. Count, -1 when absent, -2 after
 * a recorded failure. */
static int32_t read_floats(qdbg__infer *x, const char *name, uint32_t i, float *values,
                           uint32_t max)
{
    const qdbg_view *in = qdbg__infer_in(x, i);
    const qdbg__attr *attr = qdbg__node_attr(x->node, name);
    uint64_t n = in ? qdbg_view_count(in) : attr && attr->kind == QDBG__ATTR_FLOATS ? attr->n : 0;
    if (!in && (!attr || attr->kind != QDBG__ATTR_FLOATS))
        return -1;
    if (n > max || (in && in->rank > 1)) {
        qdbg__infer_fail(x, QDBG_E_SHAPE, "'%s' has %llu entries", name, (unsigned long long)n);
        return -2;
    }
    if (in && in->dtype != QDBG_F32 && in->dtype != QDBG_F64) {
        qdbg__infer_fail(x, QDBG_E_TYPE, "'%s' must be a list of float32", name);
        return -2;
    }
    if (in && !in->data) {
        qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "'%s' is not constant", name);
        return -2;
    }
    for (uint64_t k = 0; k < n; k++)
        values[k] =
            in ? (float)qdbg__load_double(in->data, in->dtype, (int64_t)k) : attr->floats[k];
    return (int32_t)n;
}

/* The axes that scales, sizes and roi talk of. */
static qdbg_status read_axes(qdbg__infer *x, uint32_t *axes, uint32_t *n)
{
    int64_t values[QDBG_MAX_RANK];
    bool used[QDBG_MAX_RANK] = {false};
    uint32_t rank = x->in[0]->rank;
    int32_t count = qdbg__infer_ints(x, "axes", QDBG_NONE, values, QDBG_MAX_RANK);
    if (count == -2)
        return x->ctx->error_status;
    *n = count < 0 ? rank : (uint32_t)count;
    for (uint32_t i = 0; i < *n; i++) {
        if (!qdbg__axis(count < 0 ? (int64_t)i : values[i], rank, &axes[i]) || used[axes[i]])
            return qdbg__infer_fail(x, QDBG_E_INVALID, "an axis is out of range or repeated");
        used[axes[i]] = true;
    }
    return QDBG_OK;
}

/* ---- infer: sizes ---- */

/* Make the wanted sizes keep the aspect ratio (opset 18). */
static qdbg_status keep_ratio(qdbg__infer *x, const uint32_t *axes, uint32_t n, int64_t *sizes)
{
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller", NULL};
    const qdbg_view *in = x->in[0];
    int policy = choose(x, "keep_aspect_ratio_policy", "stretch", policies);
    if (policy <= 0)
        return policy < 0 ? QDBG_E_UNSUPPORTED : QDBG_OK;
    double ratio = policy == 1 ? INFINITY : 0.0;
    for (uint32_t i = 0; i < n; i++) {
        double own = (double)sizes[i] / (double)in->dims[axes[i]];
        ratio = policy == 1 ? fmin(ratio, own) : fmax(ratio, own);
    }
    for (uint32_t i = 0; i < n; i++)
        sizes[i] = qdbg__double_to_i64(floor(ratio * (double)in->dims[axes[i]] + 0.5));
    return QDBG_OK;
}

static qdbg_status from_sizes(qdbg__infer *x, resize_params *p, const uint32_t *axes, uint32_t n,
                              int64_t *dims)
{
    int64_t sizes[QDBG_MAX_RANK];
    const qdbg_view *in = x->in[0];
    int32_t count = qdbg__infer_ints(x, "sizes", 3, sizes, QDBG_MAX_RANK);
    if (count == -2)
        return x->ctx->error_status;
    if (count != (int32_t)n)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "%d sizes for %u axes", count, n);
    qdbg_status status = keep_ratio(x, axes, n, sizes);
    if (status != QDBG_OK)
        return status;
    for (uint32_t i = 0; i < n; i++) {
        dims[axes[i]] = sizes[i];
        if (in->dims[axes[i]] > 0)
            p->scales[axes[i]] = (float)sizes[i] / (float)in->dims[axes[i]];
    }
    return QDBG_OK;
}

static qdbg_status from_scales(qdbg__infer *x, resize_params *p, const uint32_t *axes, uint32_t n,
                               uint32_t input, int64_t *dims)
{
    float scales[QDBG_MAX_RANK];
    int32_t count = read_floats(x, "scales", input, scales, QDBG_MAX_RANK);
    if (count == -2)
        return x->ctx->error_status;
    if (count != (int32_t)n)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "%d scales for %u axes", count, n);
    for (uint32_t i = 0; i < n; i++) {
        float size = (float)x->in[0]->dims[axes[i]] * scales[i];
        if (!(scales[i] > 0.0f) || !(size < 0x1p50f))
            return qdbg__infer_fail(x, QDBG_E_INVALID, "scale %g is out of range",
                                    (double)scales[i]);
        dims[axes[i]] = (int64_t)size;
        p->scales[axes[i]] = scales[i];
    }
    return QDBG_OK;
}

static qdbg_status read_roi(qdbg__infer *x, resize_params *p, const uint32_t *axes, uint32_t n)
{
    float roi[CROP_FRACTIONS];
    int32_t count = read_floats(x, "roi", 1, roi, CROP_FRACTIONS);
    if (count == -2)
        return x->ctx->error_status;
    if (count != (int32_t)(2 * n))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "'roi' has %d entries for %u axes", count, n);
    for (uint32_t i = 0; i < n; i++) {
        p->roi[axes[i]] = roi[i];
        p->roi[QDBG_MAX_RANK + axes[i]] = roi[n + i];
    }
    return QDBG_OK;
}

/* Output dimensions, scales and roi, from whichever of the inputs are there. */
static qdbg_status read_dims(qdbg__infer *x, resize_params *p, int64_t *dims)
{
    uint32_t axes[QDBG_MAX_RANK], n = 0;
    bool modern = !qdbg__node_is(x->node, "Upsample") && x->opset >= 11;
    const qdbg_view *sizes = modern ? qdbg__infer_in(x, 3) : NULL;
    const qdbg_view *scales = modern ? qdbg__infer_in(x, 2) : NULL;
    qdbg_status status = read_axes(x, axes, &n);
    if (status != QDBG_OK)
        return status;
    memcpy(dims, x->in[0]->dims, QDBG_MAX_RANK * sizeof *dims);
    for (uint32_t d = 0; d < QDBG_MAX_RANK; d++) {
        p->scales[d] = 1.0f;
        p->roi[QDBG_MAX_RANK + d] = 1.0f;
    }
    if (sizes && qdbg_view_count(sizes) > 0)
        status = from_sizes(x, p, axes, n, dims);
    else if (modern && (!scales || qdbg_view_count(scales) == 0))
        status = qdbg__infer_fail(x, QDBG_E_INVALID, "neither scales nor sizes are given");
    else
        status = from_scales(x, p, axes, n, modern ? 2 : 1, dims);
    if (status == QDBG_OK && p->transform == TF_CROP_AND_RESIZE)
        status = read_roi(x, p, axes, n);
    return status;
}

/* ---- infer: passes ---- */

/* Shrinking passes first and growing ones last, so that what is in between stays small. */
static void order_passes(resize_params *p, const qdbg_view *in, const int64_t *dims)
{
    for (uint32_t d = in->rank; d-- > 0;) {
        bool same = dims[d] == in->dims[d] && p->scales[d] == 1.0f;
        if (same && p->transform != TF_CROP_AND_RESIZE)
            continue;
        uint32_t i = p->n_passes++;
        double growth = (double)dims[d] / (double)in->dims[d];
        for (; i > 0; i--) {
            uint32_t before = p->passes[i - 1];
            if (growth >= (double)dims[before] / (double)in->dims[before])
                break;
            p->passes[i] = before;
        }
        p->passes[i] = d;
    }
}

static qdbg_status plan_scratch(qdbg__infer *x, resize_params *p, const int64_t *out_dims)
{
    const qdbg_view *in = x->in[0];
    int64_t dims[QDBG_MAX_RANK], longest = 0;
    uint64_t count, largest = 0;
    memcpy(dims, in->dims, sizeof dims);
    for (uint32_t i = 0; i < p->n_passes; i++) {
        uint32_t axis = p->passes[i];
        dims[axis] = out_dims[axis];
        longest = dims[axis] > longest ? dims[axis] : longest;
        if (!qdbg__shape_count(in->rank, dims, &count) || longest > (int64_t)1 << 50)
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "the result is too large");
        if (i + 1 < p->n_passes && count > largest)
            largest = count;
    }
    p->table_bytes = (size_t)longest * MAX_TAPS * (sizeof(int64_t) + sizeof(float));
    p->buffer_bytes = ((size_t)largest * qdbg_dtype_size(in->dtype) + 63) / 64 * 64;
    p->table_bytes = (p->table_bytes + 63) / 64 * 64;
    if (p->buffer_bytes > SIZE_MAX / 4)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "the result is too large");
    x->scratch = p->table_bytes + 2 * p->buffer_bytes;
    return QDBG_OK;
}

static qdbg_status infer_resize(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    resize_params *p = x->params;
    int64_t dims[QDBG_MAX_RANK];
    uint64_t count;
    qdbg_status status = read_modes(x, p);
    if (status == QDBG_OK)
        status = read_dims(x, p, dims);
    if (status != QDBG_OK)
        return status;
    if (p->mode != NEAREST && in->dtype != QDBG_F32)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %s is not supported",
                                qdbg_dtype_name(in->dtype));
    if (!qdbg__shape_count(in->rank, dims, &count) || (count > 0 && qdbg_view_count(in) == 0))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "the sizes are out of range");
    qdbg__infer_out(x, 0, in->dtype, in->rank, dims);
    if (count == 0)
        return QDBG_OK;
    order_passes(p, in, dims);
    return plan_scratch(x, p, dims);
}

/* ---- run ---- */

/* An axis while it is resized: the tensor seen as [outer, n, inner] -> [outer, m, inner]. Output j
 * is the sum over t of weights[j * taps + t] * input[from[j * taps + t]]; from < 0 stands for the
 * extrapolation value. */
typedef struct axis_pass {
    int64_t outer, n, m, inner;
    int64_t *from;
    float *weights;
} axis_pass;

static float source_position(const resize_params *p, uint32_t axis, int64_t j, int64_t n, int64_t m)
{
    const float x = (float)j, scale = p->scales[axis], last = (float)(n - 1);
    const float start = p->roi[axis], end = p->roi[QDBG_MAX_RANK + axis];
    switch (p->transform) {
    case HALF_PIXEL:
        return (x + 0.5f) / scale - 0.5f;
    case HALF_PIXEL_SYMMETRIC: {
        float adjustment = (float)m / (scale * (float)n);
        return (float)n / 2.0f * (1.0f - adjustment) + (x + 0.5f) / scale - 0.5f;
    }
    case PYTORCH_HALF_PIXEL:
        return m > 1 ? (x + 0.5f) / scale - 0.5f : 0.0f;
    case ALIGN_CORNERS:
        return m > 1 ? x * last / (float)(m - 1) : 0.0f;
    case ASYMMETRIC:
        return x / scale;
    case TF_HALF_PIXEL_FOR_NN:
        return (x + 0.5f) / scale;
    default: /* TF_CROP_AND_RESIZE */
        return m > 1 ? start * last + x * (end - start) * last / (float)(m - 1)
                     : 0.5f * (start + end) * last;
    }
}

static int64_t clamp_index(float x, int64_t n)
{
    return !(x > 0.0f) ? 0 : x >= (float)(n - 1) ? n - 1 : (int64_t)x;
}

static int64_t nearest_index(const resize_params *p, float x, float scale, int64_t n)
{
    float low = floorf(x);
    switch (p->nearest) {
    case ROUND_PREFER_FLOOR:
        return clamp_index(x - low > 0.5f ? low + 1.0f : low, n);
    case ROUND_PREFER_CEIL:
        return clamp_index(x - low >= 0.5f ? low + 1.0f : low, n);
    case CEIL:
        return clamp_index(ceilf(x), n);
    case BY_DIRECTION: /* Resize of opset 10 */
        return clamp_index(scale < 1.0f ? ceilf(x) : low, n);
    default:
        return clamp_index(low, n);
    }
}

/* Keys' cubic convolution kernel at distances 1 + f, f, 1 - f, 2 - f. */
static void cubic_weights(float a, float f, float *w)
{
    float far = 1.0f + f, g = 1.0f - f, beyond = 2.0f - f;
    w[0] = ((a * far - 5.0f * a) * far + 8.0f * a) * far - 4.0f * a;
    w[1] = ((a + 2.0f) * f - (a + 3.0f)) * f * f + 1.0f;
    w[2] = ((a + 2.0f) * g - (a + 3.0f)) * g * g + 1.0f;
    w[3] = ((a * beyond - 5.0f * a) * beyond + 8.0f * a) * beyond - 4.0f * a;
}

static void cubic_taps(const resize_params *p, float x, int64_t n, int64_t *from, float *w)
{
    float low = floorf(x), total = 0.0f;
    cubic_weights(p->cubic_a, x - low, w);
    for (int t = 0; t < 4; t++) {
        float at = low + (float)(t - 1);
        if (p->exclude_outside && (at < 0.0f || at > (float)(n - 1)))
            w[t] = 0.0f;
        from[t] = clamp_index(at, n);
        total += w[t];
    }
    for (int t = 0; p->exclude_outside && t < 4; t++)
        w[t] /= total;
}

static void linear_taps(float x, int64_t n, int64_t *from, float *w)
{
    float inside = x < 0.0f ? 0.0f : x > (float)(n - 1) ? (float)(n - 1) : x;
    from[0] = clamp_index(inside, n);
    from[1] = from[0] + 1 < n ? from[0] + 1 : from[0];
    w[1] = inside - (float)from[0];
    w[0] = 1.0f - w[1];
}

static void fill_table(const resize_params *p, uint32_t axis, const axis_pass *a)
{
    const int taps = (int)p->mode;
    for (int64_t j = 0; j < a->m; j++) {
        float x = source_position(p, axis, j, a->n, a->m);
        int64_t *from = a->from + j * taps;
        float *w = a->weights + j * taps;
        if (p->mode == NEAREST)
            from[0] = nearest_index(p, x, p->scales[axis], a->n);
        else if (p->mode == LINEAR)
            linear_taps(x, a->n, from, w);
        else
            cubic_taps(p, x, a->n, from, w);
        if (p->transform == TF_CROP_AND_RESIZE && (x < 0.0f || x > (float)(a->n - 1)))
            from[0] = -1;
    }
}

static void pass_nearest(const resize_params *p, const axis_pass *a, int32_t dtype, char *out,
                         const char *in)
{
    size_t size = qdbg_dtype_size(dtype), block = (size_t)a->inner * size;
    uint64_t value = 0;
    qdbg__store_double(&value, dtype, 0, (double)p->extrapolation);
    for (int64_t o = 0; o < a->outer; o++) {
        const char *src = in + (size_t)(o * a->n) * block;
        for (int64_t j = 0; j < a->m; j++, out += block) {
            if (a->from[j] < 0)
                qdbg__fill(size, out, &value, a->inner);
            else if (block == sizeof(float))
                memcpy(out, src + (size_t)a->from[j] * sizeof(float), sizeof(float));
            else
                memcpy(out, src + (size_t)a->from[j] * block, block);
        }
    }
}

/* One output row (or element) from `taps` input rows. */
static void blend(const axis_pass *a, int taps, const int64_t *from, const float *w,
                  const float *in, float *out)
{
    const float *r0 = in + from[0] * a->inner, *r1 = in + from[1] * a->inner;
    if (taps == 2) {
        for (int64_t i = 0; i < a->inner; i++)
            out[i] = w[0] * r0[i] + w[1] * r1[i];
        return;
    }
    const float *r2 = in + from[2] * a->inner, *r3 = in + from[3] * a->inner;
    for (int64_t i = 0; i < a->inner; i++)
        out[i] = (w[0] * r0[i] + w[1] * r1[i]) + (w[2] * r2[i] + w[3] * r3[i]);
}

/* The last axis: one number for each output. */
static void blend_row(const axis_pass *a, int taps, float value, const float *in, float *out)
{
    for (int64_t j = 0; j < a->m; j++) {
        const int64_t *from = a->from + j * taps;
        const float *w = a->weights + j * taps;
        if (from[0] < 0) {
            out[j] = value;
            continue;
        }
        out[j] = w[0] * in[from[0]] + w[1] * in[from[1]];
        if (taps == 4)
            out[j] += w[2] * in[from[2]] + w[3] * in[from[3]];
    }
}

static void pass_weighted(const resize_params *p, const axis_pass *a, float *out, const float *in)
{
    const int taps = (int)p->mode;
    for (int64_t o = 0; o < a->outer; o++, in += a->n * a->inner) {
        if (a->inner == 1) {
            blend_row(a, taps, p->extrapolation, in, out);
            out += a->m;
            continue;
        }
        for (int64_t j = 0; j < a->m; j++, out += a->inner) {
            const int64_t *from = a->from + j * taps;
            if (from[0] < 0)
                qdbg__fill(sizeof *out, out, &p->extrapolation, a->inner);
            else
                blend(a, taps, from, a->weights + j * taps, in, out);
        }
    }
}

static qdbg_status run_resize(const qdbg__run *r)
{
    const resize_params *p = r->params;
    const qdbg_view *in = r->in[0], *out = r->out[0];
    int64_t dims[QDBG_MAX_RANK];
    char *scratch = r->scratch;
    const void *from = in->data;
    uint64_t count = qdbg_view_count(out);
    if (count == 0)
        return QDBG_OK;
    if (p->n_passes == 0)
        memcpy(out->data, in->data, (size_t)count * qdbg_dtype_size(in->dtype));
    memcpy(dims, in->dims, sizeof dims);
    for (uint32_t i = 0; i < p->n_passes; i++) {
        uint32_t axis = p->passes[i];
        axis_pass a = {qdbg__dims_product(dims, 0, axis),
                       dims[axis],
                       out->dims[axis],
                       qdbg__dims_product(dims, axis + 1, in->rank),
                       (int64_t *)(void *)scratch,
                       NULL};
        a.weights = (float *)(void *)(a.from + a.m * MAX_TAPS);
        char *buffer = scratch + p->table_bytes + (i % 2) * p->buffer_bytes;
        void *to = i + 1 == p->n_passes ? out->data : buffer;
        fill_table(p, axis, &a);
        if (p->mode == NEAREST)
            pass_nearest(p, &a, in->dtype, to, from);
        else
            pass_weighted(p, &a, to, from);
        dims[axis] = a.m;
        from = to;
    }
    return QDBG_OK;
}

static const qdbg__op table[] = {
    {"Resize", 1, 4, 1, 0, infer_resize, run_resize},
    {"Upsample", 1, 2, 1, 0, infer_resize, run_resize},
};

const qdbg__op_table qdbg__ops_resize = {table, sizeof table / sizeof *table};
