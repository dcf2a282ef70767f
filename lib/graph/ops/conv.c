/* Conv: what is to be computed, and the dense ways of computing it. */
#include "conv.h"

#include "ops.h"
#include "sgemm.h"

enum { PATH_POINTWISE, PATH_DENSE, PATH_DEPTHWISE };

/* With more filters a channel than this the matrix product is quicker than direct loops. */
#define DEPTHWISE_FILTERS_MAX 4

/* Aim for a column matrix that stays in the second-level cache, and a band in the first. */
#define COLUMN_FLOATS 65536
#define COLUMNS_MIN 64
#define DEPTHWISE_POSITIONS 8192
#define SCRATCH_MAX ((uint64_t)1 << 28)

/* ---- inference ---- */

static void choose_tile(qdbg__conv *c, int64_t positions)
{
    int64_t height = c->window.out[1], width = c->window.out[2];
    if (width > 2 * positions) {
        c->tile_rows = 1;
        c->tile_width = positions;
        return;
    }
    int64_t rows = positions > width ? positions / width : 1;
    int64_t tiles = (height + rows - 1) / rows;
    c->tile_rows = (height + tiles - 1) / tiles;
    c->tile_width = width;
}

static void choose_band(qdbg__conv *c)
{
    const qdbg__window *w = &c->window;
    qdbg__band *b = &c->band;
    b->phases_y = w->stride[1] < w->extent[1] ? w->stride[1] : w->extent[1];
    b->phases_x = w->stride[2] < w->extent[2] ? w->stride[2] : w->extent[2];
    b->rows = c->tile_rows + (w->extent[1] - 1) / w->stride[1];
    b->pitch = c->tile_width + (w->extent[2] - 1) / w->stride[2];
}

/* Columns and bands are read or written up to 3 floats too far. */
static int64_t column_bytes(const qdbg__conv *c)
{
    return qdbg__align64((c->depth * c->tile_rows * c->tile_width + 3) * 4);
}

static int64_t dense_scratch(const qdbg__conv *c)
{
    int64_t bands = c->in_channels * c->window.kernel[0] * c->band.floats + 3;
    return qdbg__conv_offset_bytes(c) + qdbg__conv_patch_bytes(c) + column_bytes(c) + bands * 4;
}

/* False when the product of four numbers passes `max`. */
static bool bounded(int64_t a, int64_t b, int64_t c, int64_t d, uint64_t max)
{
    const int64_t dims[] = {a, b, c, d};
    uint64_t count;
    return qdbg__shape_count(4, dims, &count) && count <= max;
}

static qdbg_status plan_scratch(qdbg__infer *x, qdbg__conv *c)
{
    qdbg__band *b = &c->band;
    const uint64_t max = SCRATCH_MAX / sizeof(float);
    bool fits = bounded(b->phases_y, b->rows, b->phases_x, b->pitch, max);
    b->floats = fits ? b->phases_y * b->rows * b->phases_x * b->pitch : 0;
    fits = fits && bounded(b->floats, c->in_channels, c->window.kernel[0], 1, max) &&
           bounded(c->depth, c->tile_rows, c->tile_width, 1, max) &&
           bounded(b->phases_y, b->phases_x, (int64_t)sizeof(qdbg__patch), 1, SCRATCH_MAX);
    if (!fits)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "its windows are too large to compute");
    x->scratch =
        (size_t)(c->path == PATH_DEPTHWISE ? qdbg__conv_depthwise_scratch(c) : dense_scratch(c));
    return QDBG_OK;
}

static bool is_pointwise(const qdbg__conv *c)
{
    const qdbg__window *w = &c->window;
    bool plain = c->taps == 1;
    for (uint32_t i = 0; i < 3; i++)
        plain = plain && w->stride[i] == 1 && w->pad[i] == 0 && w->pad_end[i] == 0;
    return plain;
}

static qdbg_status choose_path(qdbg__infer *x, qdbg__conv *c)
{
    int64_t positions = DEPTHWISE_POSITIONS;
    if (is_pointwise(c)) {
        c->path = PATH_POINTWISE;
        return QDBG_OK;
    }
    c->path = PATH_DENSE;
    if (c->in_channels == 1 && c->out_channels <= DEPTHWISE_FILTERS_MAX)
        c->path = PATH_DEPTHWISE;
    else
        positions = COLUMN_FLOATS / c->depth;
    choose_tile(c, positions > COLUMNS_MIN ? positions : COLUMNS_MIN);
    choose_band(c);
    return plan_scratch(x, c);
}

static qdbg_status check_weight(qdbg__infer *x, const qdbg_view *in, const qdbg_view *w,
                                qdbg__conv *c)
{
    uint64_t count;
    char weight[128], input[128];
    c->groups = qdbg__attr_int(x->node, "group", 1);
    c->in_channels = w->dims[1];
    if (!qdbg__shape_count(in->rank, in->dims, &count) ||
        !qdbg__shape_count(w->rank, w->dims, &count) || count == 0)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "the weight %s is empty or too large",
                                qdbg__shape_text(w->rank, w->dims, weight, sizeof weight));
    if (c->groups < 1 || in->dims[1] % c->groups != 0 ||
        in->dims[1] / c->groups != c->in_channels || w->dims[0] % c->groups != 0)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "weight %s does not fit input %s in %lld groups",
                                qdbg__shape_text(w->rank, w->dims, weight, sizeof weight),
                                qdbg__shape_text(in->rank, in->dims, input, sizeof input),
                                (long long)c->groups);
    c->batch = in->dims[0];
    c->out_channels = w->dims[0] / c->groups;
    return QDBG_OK;
}

static qdbg_status check_bias(qdbg__infer *x, int64_t channels)
{
    char text[128];
    const qdbg_view *bias = qdbg__infer_in(x, 2);
    if (bias && (bias->rank != 1 || bias->dims[0] != channels))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "bias %s does not fit %lld output channels",
                                qdbg__shape_text(bias->rank, bias->dims, text, sizeof text),
                                (long long)channels);
    return QDBG_OK;
}

static qdbg_status measure(qdbg__infer *x, qdbg__conv *c)
{
    const qdbg__window *w = &c->window;
    c->taps = w->kernel[0] * w->kernel[1] * w->kernel[2];
    c->depth = c->taps * c->in_channels;
    c->in_area = w->in[0] * w->in[1] * w->in[2];
    c->out_area = w->out[0] * w->out[1] * w->out[2];
    if (c->depth > QDBG__SGEMM_MAX || c->in_area > QDBG__SGEMM_MAX ||
        c->out_area > QDBG__SGEMM_MAX || c->out_channels > QDBG__SGEMM_MAX)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "a plane has more than 2^31 elements");
    return QDBG_OK;
}

static qdbg_status conv_infer(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0], *w = x->in[1];
    qdbg__conv *c = x->params;
    qdbg_status status = qdbg__infer_float32_only(x);
    if (status != QDBG_OK)
        return status;
    if (w->rank != in->rank || w->rank < 3)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "input has rank %u, weight %u", in->rank, w->rank);
    status = check_weight(x, in, w, c);
    if (status == QDBG_OK)
        status = qdbg__window_read(x, in, w->dims + 2, &c->window);
    if (status == QDBG_OK)
        status = check_bias(x, w->dims[0]);
    if (status == QDBG_OK)
        status = qdbg__window_slide(x, false, &c->window);
    if (status == QDBG_OK)
        status = qdbg__window_out(x, &c->window, c->batch, w->dims[0]);
    if (status == QDBG_OK)
        status = measure(x, c);
    return status == QDBG_OK ? choose_path(x, c) : status;
}

/* ---- tiles and bands ---- */

qdbg__tile qdbg__conv_tile(const qdbg__conv *c, int64_t z, int64_t y, int64_t x)
{
    int64_t rows = c->window.out[1] - y, width = c->window.out[2] - x;
    return (qdbg__tile){z, y, x, rows < c->tile_rows ? rows : c->tile_rows,
                        width < c->tile_width ? width : c->tile_width};
}

void qdbg__conv_taps(const qdbg__conv *c, int64_t *offsets)
{
    const qdbg__window *w = &c->window;
    const qdbg__band *b = &c->band;
    for (int64_t ky = 0; ky < w->kernel[1]; ky++) {
        int64_t dy = ky * w->dilation[1];
        for (int64_t kx = 0; kx < w->kernel[2]; kx++) {
            int64_t dx = kx * w->dilation[2];
            int64_t phase = dy % w->stride[1] * b->phases_x + dx % w->stride[2];
            *offsets++ = (phase * b->rows + dy / w->stride[1]) * b->pitch + dx / w->stride[2];
        }
    }
}

static void copy_strided(float *dst, const float *src, int64_t n, int64_t stride)
{
    if (stride == 1) {
        qdbg__copy_row(dst, src, n);
    } else if (stride == 2) {
        for (int64_t i = 0; i < n; i++)
            dst[i] = src[2 * i];
    } else {
        for (int64_t i = 0; i < n; i++)
            dst[i] = src[i * stride];
    }
}

static qdbg__patch patch_of(const qdbg__conv *c, const qdbg__tile *t, int64_t phase_y,
                            int64_t phase_x)
{
    const qdbg__window *w = &c->window;
    const qdbg__band *b = &c->band;
    int64_t y = t->y * w->stride[1] + phase_y - w->pad[1];
    int64_t x = t->x * w->stride[2] + phase_x - w->pad[2];
    int64_t top, bottom, left, right;
    qdbg__window_valid(y, w->stride[1], w->in[1], t->rows + (w->extent[1] - 1) / w->stride[1], &top,
                       &bottom);
    qdbg__window_valid(x, w->stride[2], w->in[2], t->width + (w->extent[2] - 1) / w->stride[2],
                       &left, &right);
    if (left == right)
        top = bottom = left = right = 0; /* rows of nothing: their address may lie outside */
    return (qdbg__patch){(y + top * w->stride[1]) * w->in[2] + x + left * w->stride[2],
                         ((phase_y * b->phases_x + phase_x) * b->rows + top) * b->pitch + left,
                         bottom - top, right - left};
}

void qdbg__conv_patches(const qdbg__conv *c, const qdbg__tile *t, qdbg__patch *patches)
{
    for (int64_t py = 0; py < c->band.phases_y; py++) {
        for (int64_t px = 0; px < c->band.phases_x; px++)
            *patches++ = patch_of(c, t, py, px);
    }
}

void qdbg__conv_fill_band(const qdbg__conv *c, const qdbg__patch *patches, const float *plane,
                          float *band)
{
    const qdbg__window *w = &c->window;
    int64_t n = c->band.phases_y * c->band.phases_x, step = w->stride[1] * w->in[2];
    for (const qdbg__patch *p = patches; p < patches + n; p++) {
        for (int64_t r = 0; r < p->rows; r++)
            copy_strided(band + p->to + r * c->band.pitch, plane + p->from + r * step, p->columns,
                         w->stride[2]);
    }
}

int64_t qdbg__conv_depth(const qdbg__conv *c, const qdbg__tile *t, int64_t kz)
{
    const qdbg__window *w = &c->window;
    int64_t z = t->z * w->stride[0] + kz * w->dilation[0] - w->pad[0];
    return z >= 0 && z < w->in[0] ? z : -1;
}

/* ---- dense ---- */

typedef struct dense {
    const qdbg__conv *c;
    float *bands;     /* [in_channels][kernel depth] */
    float *columns;   /* [depth][positions of a tile] */
    int64_t *offsets; /* of the taps */
    qdbg__patch *patches;
} dense;

static dense dense_of(const qdbg__conv *c, void *scratch)
{
    char *patches = (char *)scratch + qdbg__conv_offset_bytes(c);
    char *columns = patches + qdbg__conv_patch_bytes(c);
    dense d = {c, (float *)(columns + column_bytes(c)), (float *)columns, scratch,
               (qdbg__patch *)patches};
    qdbg__conv_taps(c, d.offsets);
    return d;
}

/* The columns of a tile from its bands. Rows of the matrix are written in order, so what one copy
 * writes too much the next overwrites. */
static void make_columns(const dense *d, const qdbg__tile *t)
{
    const qdbg__conv *c = d->c;
    int64_t planes = c->in_channels * c->window.kernel[0];
    int64_t taps = c->window.kernel[1] * c->window.kernel[2];
    float *dst = d->columns;
    for (int64_t p = 0; p < planes; p++) {
        const float *band = d->bands + p * c->band.floats;
        for (int64_t k = 0; k < taps; k++) {
            const float *src = band + d->offsets[k];
            for (int64_t r = 0; r < t->rows; r++) {
                qdbg__copy_loosely(dst, src + r * c->band.pitch, t->width);
                dst += t->width;
            }
        }
    }
}

/* `x` is the group's input. */
static void fill_bands(const dense *d, const qdbg__tile *t, const float *x)
{
    const qdbg__conv *c = d->c;
    const qdbg__window *w = &c->window;
    float *band = d->bands;
    qdbg__conv_patches(c, t, d->patches);
    memset(band, 0, (size_t)(c->in_channels * w->kernel[0] * c->band.floats) * sizeof *band);
    for (int64_t i = 0; i < c->in_channels; i++) {
        for (int64_t kz = 0; kz < w->kernel[0]; kz++) {
            int64_t z = qdbg__conv_depth(c, t, kz);
            if (z >= 0)
                qdbg__conv_fill_band(c, d->patches, x + i * c->in_area + z * w->in[1] * w->in[2],
                                     band);
            band += c->band.floats;
        }
    }
}

static void dense_tile(const dense *d, const qdbg__tile *t, const float *x, const float *w,
                       float beta, float *y)
{
    const qdbg__conv *c = d->c;
    int64_t n = t->rows * t->width;
    int64_t first = (t->z * c->window.out[1] + t->y) * c->window.out[2] + t->x;
    qdbg__matrix columns = {d->columns, n, false};
    fill_bands(d, t, x);
    if (c->taps == 1) /* the bands are the columns already */
        columns = (qdbg__matrix){d->bands, c->band.floats, false};
    else
        make_columns(d, t);
    qdbg__sgemm(c->out_channels, n, c->depth, 1.0f, (qdbg__matrix){w, c->depth, false}, columns,
                beta, y + first, c->out_area);
}

static void dense_group(const qdbg__conv *c, const float *x, const float *w, float beta, float *y,
                        void *scratch)
{
    const int64_t *out = c->window.out;
    dense d = dense_of(c, scratch);
    for (int64_t z = 0; z < out[0]; z++) {
        for (int64_t oy = 0; oy < out[1]; oy += c->tile_rows) {
            for (int64_t ox = 0; ox < out[2]; ox += c->tile_width) {
                qdbg__tile t = qdbg__conv_tile(c, z, oy, ox);
                dense_tile(&d, &t, x, w, beta, y);
            }
        }
    }
}

static void pointwise_group(const qdbg__conv *c, const float *x, const float *w, float beta,
                            float *y)
{
    qdbg__sgemm(c->out_channels, c->out_area, c->depth, 1.0f, (qdbg__matrix){w, c->depth, false},
                (qdbg__matrix){x, c->in_area, false}, beta, y, c->out_area);
}

static void spread_bias(const qdbg__conv *c, const float *bias, float *y)
{
    for (int64_t m = 0; m < c->out_channels; m++) {
        for (int64_t i = 0; i < c->out_area; i++)
            y[m * c->out_area + i] = bias[m];
    }
}

static qdbg_status conv_run(const qdbg__run *r)
{
    const qdbg__conv *c = r->params;
    const float *x = r->in[0]->data, *w = r->in[1]->data, *bias = NULL;
    float *y = r->out[0]->data;
    if (r->node->n_in > 2 && r->in[2])
        bias = r->in[2]->data;
    if (c->path == PATH_DEPTHWISE) {
        qdbg__conv_depthwise(c, x, w, bias, y, r->scratch);
        return QDBG_OK;
    }
    float beta = bias ? 1.0f : 0.0f;
    for (int64_t n = 0; n < c->batch; n++) {
        for (int64_t g = 0; g < c->groups; g++) {
            const float *weight = w + g * c->out_channels * c->depth;
            if (bias)
                spread_bias(c, bias + g * c->out_channels, y);
            if (c->path == PATH_POINTWISE)
                pointwise_group(c, x, weight, beta, y);
            else
                dense_group(c, x, weight, beta, y, r->scratch);
            x += c->in_channels * c->in_area;
            y += c->out_channels * c->out_area;
        }
    }
    return QDBG_OK;
}

static const qdbg__op ops[] = {
    {"Conv", 2, 3, 1, 0, conv_infer, conv_run},
    {"ConvTranspose", 2, 3, 1, 0, qdbg__conv_transpose_infer, qdbg__conv_transpose_run},
};

const qdbg__op_table qdbg__ops_conv = {ops, sizeof ops / sizeof *ops};
