/* ConvTranspose: a matrix product gives each input position's contribution to each tap, which is
 * then added to the output where it belongs. */
#include "conv.h"
#include "sgemm.h"

#define COLUMN_FLOATS 65536
#define POSITIONS_MIN 16

typedef struct conv_transpose {
    qdbg__window window; /* windows lie on the output */
    int64_t batch, groups;
    int64_t in_channels, out_channels; /* of a group */
    int64_t in_area, out_area, taps;
    int64_t positions; /* input positions of a tile */
} conv_transpose;

/* ---- inference ---- */

/* The output_shape attribute, for spatial axes (some exporters write all axes). */
static qdbg_status read_output_shape(qdbg__infer *x, const qdbg__window *w, int64_t *shape,
                                     bool *found)
{
    int64_t list[5];
    int32_t n = qdbg__infer_ints(x, "output_shape", QDBG_NONE, list, w->n_axes + 2);
    *found = n >= 0;
    if (n == -2)
        return x->ctx->error_status;
    if (n < 0)
        return QDBG_OK;
    if ((uint32_t)n != w->n_axes && (uint32_t)n != w->n_axes + 2)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "output_shape has %d entries instead of %u", n,
                                w->n_axes);
    for (uint32_t i = 0; i < w->n_axes; i++)
        shape[3 - w->n_axes + i] = list[(uint32_t)n - w->n_axes + i];
    return QDBG_OK;
}

static qdbg_status place(qdbg__infer *x, qdbg__window *w)
{
    int64_t extra[3] = {0, 0, 0}, shape[3] = {1, 1, 1};
    bool given;
    qdbg_status status = qdbg__window_ints(x, "output_padding", w, 0, extra);
    if (status == QDBG_OK)
        status = read_output_shape(x, w, shape, &given);
    if (status != QDBG_OK)
        return status;
    bool same = w->auto_pad == QDBG__PAD_SAME_UPPER || w->auto_pad == QDBG__PAD_SAME_LOWER;
    for (uint32_t i = 0; i < 3; i++) {
        int64_t full = w->stride[i] * (w->in[i] - 1) + extra[i] + w->extent[i];
        w->out[i] = full - w->pad[i] - w->pad_end[i];
        if (given || same) {
            w->out[i] = given ? shape[i] : w->in[i] * w->stride[i];
            int64_t total = full > w->out[i] ? full - w->out[i] : 0;
            qdbg__window_split_pad(w, i, total, w->auto_pad == QDBG__PAD_SAME_UPPER);
        }
        if (w->out[i] < 1 || w->out[i] > INT32_MAX)
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "an output length of %lld is not possible",
                                    (long long)w->out[i]);
    }
    return QDBG_OK;
}

static qdbg_status check_weight(qdbg__infer *x, const qdbg_view *in, const qdbg_view *w,
                                conv_transpose *c)
{
    uint64_t count;
    char weight[128], input[128];
    const qdbg_view *bias = qdbg__infer_in(x, 2);
    c->groups = qdbg__attr_int(x->node, "group", 1);
    if (!qdbg__shape_count(in->rank, in->dims, &count) ||
        !qdbg__shape_count(w->rank, w->dims, &count) || count == 0)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "the weight %s is empty or too large",
                                qdbg__shape_text(w->rank, w->dims, weight, sizeof weight));
    if (c->groups < 1 || w->dims[0] != in->dims[1] || w->dims[0] % c->groups != 0 ||
        w->dims[1] > INT64_MAX / c->groups)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "weight %s does not fit input %s in %lld groups",
                                qdbg__shape_text(w->rank, w->dims, weight, sizeof weight),
                                qdbg__shape_text(in->rank, in->dims, input, sizeof input),
                                (long long)c->groups);
    c->batch = in->dims[0];
    c->in_channels = w->dims[0] / c->groups;
    c->out_channels = w->dims[1];
    if (bias && (bias->rank != 1 || bias->dims[0] != c->out_channels * c->groups))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "the bias does not fit %lld output channels",
                                (long long)(c->out_channels * c->groups));
    return QDBG_OK;
}

static qdbg_status measure(qdbg__infer *x, conv_transpose *c)
{
    const qdbg__window *w = &c->window;
    c->taps = w->kernel[0] * w->kernel[1] * w->kernel[2];
    c->in_area = w->in[0] * w->in[1] * w->in[2];
    c->out_area = w->out[0] * w->out[1] * w->out[2];
    int64_t rows = c->out_channels * c->taps;
    if (rows > QDBG__SGEMM_MAX || c->in_channels > QDBG__SGEMM_MAX || c->in_area > QDBG__SGEMM_MAX)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "a plane has more than 2^31 elements");
    c->positions = COLUMN_FLOATS / rows;
    if (c->positions < POSITIONS_MIN)
        c->positions = POSITIONS_MIN;
    if (c->positions > c->in_area)
        c->positions = c->in_area;
    x->scratch = (size_t)(rows * c->positions) * sizeof(float);
    return QDBG_OK;
}

qdbg_status qdbg__conv_transpose_infer(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0], *w = x->in[1];
    conv_transpose *c = x->params;
    qdbg_status status = qdbg__infer_float32_only(x);
    if (status != QDBG_OK)
        return status;
    if (w->rank != in->rank || w->rank < 3)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "input has rank %u, weight %u", in->rank, w->rank);
    status = check_weight(x, in, w, c);
    if (status == QDBG_OK)
        status = qdbg__window_read(x, in, w->dims + 2, &c->window);
    if (status == QDBG_OK)
        status = place(x, &c->window);
    if (status == QDBG_OK)
        status = qdbg__window_out(x, &c->window, c->batch, c->out_channels * c->groups);
    return status == QDBG_OK ? measure(x, c) : status;
}

/* ---- running ---- */

/* Input positions first..first+n-1, of which `column` holds the contributions to one tap, counted
 * along rows. */
typedef struct stretch {
    int64_t first, n;
    const float *column;
} stretch;

/* Add one tap's contributions to an output plane. */
static void scatter_tap(const qdbg__window *w, const stretch *s, const int64_t k[3], float *plane)
{
    int64_t offset[3], left, right;
    for (uint32_t i = 0; i < 3; i++)
        offset[i] = k[i] * w->dilation[i] - w->pad[i];
    qdbg__window_valid(offset[2], w->stride[2], w->out[2], w->in[2], &left, &right);
    int64_t row = s->first / w->in[2], x = s->first % w->in[2], done = 0;
    while (done < s->n) {
        int64_t n = s->n - done < w->in[2] - x ? s->n - done : w->in[2] - x;
        int64_t z = row / w->in[1] * w->stride[0] + offset[0];
        int64_t y = row % w->in[1] * w->stride[1] + offset[1];
        if (z >= 0 && z < w->out[0] && y >= 0 && y < w->out[1]) {
            int64_t from = x > left ? x : left, to = x + n < right ? x + n : right;
            float *line = plane + (z * w->out[1] + y) * w->out[2];
            const float *src = s->column + done - x;
            for (int64_t i = from; i < to; i++)
                line[i * w->stride[2] + offset[2]] += src[i];
        }
        done += n;
        x = 0;
        row++;
    }
}

static void scatter(const conv_transpose *c, stretch s, float *y)
{
    const qdbg__window *w = &c->window;
    int64_t k[3];
    for (int64_t m = 0; m < c->out_channels; m++) {
        for (k[0] = 0; k[0] < w->kernel[0]; k[0]++) {
            for (k[1] = 0; k[1] < w->kernel[1]; k[1]++) {
                for (k[2] = 0; k[2] < w->kernel[2]; k[2]++) {
                    scatter_tap(w, &s, k, y + m * c->out_area);
                    s.column += s.n;
                }
            }
        }
    }
}

static void fill(const conv_transpose *c, const float *bias, float *y)
{
    for (int64_t m = 0; m < c->out_channels; m++) {
        for (int64_t i = 0; i < c->out_area; i++)
            y[m * c->out_area + i] = bias ? bias[m] : 0.0f;
    }
}

qdbg_status qdbg__conv_transpose_run(const qdbg__run *r)
{
    const conv_transpose *c = r->params;
    const float *x = r->in[0]->data, *bias = NULL;
    float *y = r->out[0]->data;
    int64_t rows = c->out_channels * c->taps;
    if (r->node->n_in > 2 && r->in[2])
        bias = r->in[2]->data;
    for (int64_t i = 0; i < c->batch * c->groups; i++) {
        int64_t g = i % c->groups;
        const float *w = (const float *)r->in[1]->data + g * c->in_channels * rows;
        fill(c, bias ? bias + g * c->out_channels : NULL, y);
        for (int64_t p = 0; p < c->in_area; p += c->positions) {
            int64_t n = c->in_area - p < c->positions ? c->in_area - p : c->positions;
            qdbg__sgemm(rows, n, c->in_channels, 1.0f, (qdbg__matrix){w, rows, true},
                        (qdbg__matrix){x + p, c->in_area, false}, 0.0f, r->scratch, n);
            scatter(c, (stretch){p, n, r->scratch}, y);
        }
        x += c->in_channels * c->in_area;
        y += c->out_channels * c->out_area;
    }
    return QDBG_OK;
}
