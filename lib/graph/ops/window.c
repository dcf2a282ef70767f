#include "window.h"

#include <string.h>

#define AXIS_MAX ((int64_t)INT32_MAX)

static qdbg_status read_auto_pad(qdbg__infer *x, qdbg__window *w)
{
    static const char *const names[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
    const char *text = qdbg__attr_string(x->node, "auto_pad", "NOTSET");
    for (int32_t i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            w->auto_pad = i;
            return QDBG_OK;
        }
    }
    return qdbg__infer_fail(x, QDBG_E_INVALID, "auto_pad '%.40s' is unknown", text);
}

static qdbg_status check_range(qdbg__infer *x, const char *name, const int64_t *values, uint32_t n,
                               int64_t min)
{
    for (uint32_t i = 0; i < n; i++) {
        if (values[i] < min || values[i] > AXIS_MAX)
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "%s: %lld is not in %lld..%lld", name,
                                    (long long)values[i], (long long)min, (long long)AXIS_MAX);
    }
    return QDBG_OK;
}

/* A list of `n` numbers; *found tells whether it is there at all. */
static qdbg_status read_list(qdbg__infer *x, const char *name, uint32_t n, int64_t min,
                             int64_t *values, bool *found)
{
    int32_t count = qdbg__infer_ints(x, name, QDBG_NONE, values, 2 * 3);
    *found = count >= 0;
    if (count == -2)
        return x->ctx->error_status;
    if (count < 0)
        return QDBG_OK;
    if ((uint32_t)count != n)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "%s has %d entries instead of %u", name, count, n);
    return check_range(x, name, values, n, min);
}

qdbg_status qdbg__window_ints(qdbg__infer *x, const char *name, const qdbg__window *w, int64_t min,
                              int64_t *values)
{
    int64_t list[6];
    bool found;
    qdbg_status status = read_list(x, name, w->n_axes, min, list, &found);
    if (status == QDBG_OK && found)
        memcpy(values + 3 - w->n_axes, list, w->n_axes * sizeof *list);
    return status;
}

static qdbg_status read_pads(qdbg__infer *x, qdbg__window *w)
{
    int64_t list[6];
    bool found;
    if (w->auto_pad != QDBG__PAD_NOTSET)
        return QDBG_OK;
    qdbg_status status = read_list(x, "pads", 2 * w->n_axes, 0, list, &found);
    if (status == QDBG_OK && found) {
        memcpy(w->pad + 3 - w->n_axes, list, w->n_axes * sizeof *list);
        memcpy(w->pad_end + 3 - w->n_axes, list + w->n_axes, w->n_axes * sizeof *list);
    }
    return status;
}

static qdbg_status read_kernel(qdbg__infer *x, const int64_t *kernel, qdbg__window *w)
{
    int64_t list[6];
    bool found;
    int64_t *dst = w->kernel + 3 - w->n_axes;
    qdbg_status status = read_list(x, "kernel_shape", w->n_axes, 1, list, &found);
    if (status != QDBG_OK)
        return status;
    if (!kernel && !found)
        return qdbg__infer_fail(x, QDBG_E_INVALID, "kernel_shape is missing");
    memcpy(dst, kernel ? kernel : list, w->n_axes * sizeof *dst);
    if (kernel && found && memcmp(kernel, list, w->n_axes * sizeof *dst) != 0)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "kernel_shape differs from the weight's shape");
    return check_range(x, "kernel_shape", dst, w->n_axes, 1);
}

static qdbg_status set_extent(qdbg__infer *x, qdbg__window *w)
{
    for (uint32_t i = 0; i < 3; i++) {
        w->extent[i] = (w->kernel[i] - 1) * w->dilation[i] + 1;
        if (w->extent[i] > AXIS_MAX)
            return qdbg__infer_fail(x, QDBG_E_SHAPE,
                                    "a window of %lld taps with dilation %lld is "
                                    "too long",
                                    (long long)w->kernel[i], (long long)w->dilation[i]);
    }
    return QDBG_OK;
}

qdbg_status qdbg__window_read(qdbg__infer *x, const qdbg_view *input, const int64_t *kernel,
                              qdbg__window *w)
{
    if (input->rank < 3 || input->rank > 5)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED,
                                "input has rank %u: 1 to 3 spatial axes are supported",
                                input->rank);
    *w = (qdbg__window){.n_axes = input->rank - 2};
    for (uint32_t i = 0; i < 3; i++)
        w->in[i] = w->kernel[i] = w->stride[i] = w->dilation[i] = 1;
    memcpy(w->in + 3 - w->n_axes, input->dims + 2, w->n_axes * sizeof *w->in);
    qdbg_status status = check_range(x, "spatial size", w->in, 3, 1);
    if (status == QDBG_OK)
        status = read_auto_pad(x, w);
    if (status == QDBG_OK)
        status = read_kernel(x, kernel, w);
    if (status == QDBG_OK)
        status = qdbg__window_ints(x, "strides", w, 1, w->stride);
    if (status == QDBG_OK)
        status = qdbg__window_ints(x, "dilations", w, 1, w->dilation);
    if (status == QDBG_OK)
        status = read_pads(x, w);
    return status == QDBG_OK ? set_extent(x, w) : status;
}

void qdbg__window_split_pad(qdbg__window *w, uint32_t axis, int64_t total, bool upper)
{
    int64_t small = total / 2, large = total - total / 2;
    w->pad[axis] = upper ? small : large;
    w->pad_end[axis] = upper ? large : small;
}

static int64_t same_padding(qdbg__window *w, uint32_t i)
{
    int64_t out = (w->in[i] + w->stride[i] - 1) / w->stride[i];
    int64_t total = (out - 1) * w->stride[i] + w->extent[i] - w->in[i];
    qdbg__window_split_pad(w, i, total > 0 ? total : 0, w->auto_pad == QDBG__PAD_SAME_UPPER);
    return out;
}

static int64_t slide_axis(qdbg__window *w, uint32_t i, bool ceil_mode)
{
    if (w->auto_pad == QDBG__PAD_SAME_UPPER || w->auto_pad == QDBG__PAD_SAME_LOWER)
        return same_padding(w, i);
    int64_t room = w->in[i] + w->pad[i] + w->pad_end[i] - w->extent[i];
    if (room < 0)
        return 0;
    int64_t out = room / w->stride[i] + 1;
    if (ceil_mode && room % w->stride[i] != 0 && out * w->stride[i] < w->in[i] + w->pad[i])
        out++;
    return out;
}

qdbg_status qdbg__window_slide(qdbg__infer *x, bool ceil_mode, qdbg__window *w)
{
    for (uint32_t i = 0; i < 3; i++) {
        w->out[i] = slide_axis(w, i, ceil_mode && w->auto_pad == QDBG__PAD_NOTSET);
        if (w->out[i] < 1 || w->out[i] > AXIS_MAX)
            return qdbg__infer_fail(x, QDBG_E_SHAPE,
                                    "a window that spans %lld does not fit an input of %lld with "
                                    "padding %lld and %lld",
                                    (long long)w->extent[i], (long long)w->in[i],
                                    (long long)w->pad[i], (long long)w->pad_end[i]);
    }
    return QDBG_OK;
}

void qdbg__window_valid(int64_t offset, int64_t stride, int64_t length, int64_t n, int64_t *lo,
                        int64_t *hi)
{
    int64_t first = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
    int64_t end = length > offset ? (length - offset + stride - 1) / stride : 0;
    *lo = first < n ? first : n;
    *hi = end < n ? end : n;
    if (*hi < *lo)
        *hi = *lo;
}

qdbg_status qdbg__window_out(qdbg__infer *x, const qdbg__window *w, int64_t batch, int64_t channels)
{
    char shape[128];
    uint64_t count;
    int64_t dims[5] = {batch, channels};
    memcpy(dims + 2, w->out + 3 - w->n_axes, w->n_axes * sizeof *dims);
    if (!qdbg__shape_count(w->n_axes + 2, dims, &count))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "an output of %s is too large",
                                qdbg__shape_text(w->n_axes + 2, dims, shape, sizeof shape));
    qdbg__infer_out(x, 0, QDBG_F32, w->n_axes + 2, dims);
    return QDBG_OK;
}

qdbg_status qdbg__infer_float32_only(qdbg__infer *x)
{
    for (uint32_t i = 0; i < x->node->n_in; i++) {
        if (x->in[i] && x->in[i]->dtype != QDBG_F32)
            return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED,
                                    "input %u is %s; only float32 is "
                                    "computed",
                                    i, qdbg_dtype_name(x->in[i]->dtype));
    }
    return QDBG_OK;
}
