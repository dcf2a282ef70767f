/* Conv with one input channel a group: a filter's taps are added up directly. */
#include "conv.h"

/* Narrow planes are computed as one long row, the gaps between rows included: quicker than short
 * loops, though a few results are thrown away. */
#define FLAT_WIDTH_MAX 48

typedef struct depthwise {
    const qdbg__conv *c;
    int64_t *offsets; /* of the taps */
    qdbg__patch *patches;
    float *flat;  /* results with the band's pitch */
    float *bands; /* [kernel depth] */
} depthwise;

static int64_t flat_bytes(const qdbg__conv *c)
{
    return qdbg__align64(c->tile_rows * c->band.pitch * 4);
}

int64_t qdbg__conv_depthwise_scratch(const qdbg__conv *c)
{
    return qdbg__conv_offset_bytes(c) + qdbg__conv_patch_bytes(c) + flat_bytes(c) +
           c->window.kernel[0] * c->band.floats * 4;
}

/* dst[0..n) = start + nine taps, one after the other. */
static void first_9(float *restrict dst, int64_t n, const float *src, const int64_t *at,
                    const float *w, float start)
{
    const float *s0 = src + at[0], *s1 = src + at[1], *s2 = src + at[2], *s3 = src + at[3],
                *s4 = src + at[4], *s5 = src + at[5], *s6 = src + at[6], *s7 = src + at[7],
                *s8 = src + at[8];
    float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], w4 = w[4], w5 = w[5], w6 = w[6], w7 = w[7],
          w8 = w[8];
    for (int64_t i = 0; i < n; i++)
        dst[i] = start + w0 * s0[i] + w1 * s1[i] + w2 * s2[i] + w3 * s3[i] + w4 * s4[i] +
                 w5 * s5[i] + w6 * s6[i] + w7 * s7[i] + w8 * s8[i];
}

static void add_3(float *restrict dst, int64_t n, const float *src, const int64_t *at,
                  const float *w)
{
    const float *s0 = src + at[0], *s1 = src + at[1], *s2 = src + at[2];
    float w0 = w[0], w1 = w[1], w2 = w[2];
    for (int64_t i = 0; i < n; i++)
        dst[i] = dst[i] + w0 * s0[i] + w1 * s1[i] + w2 * s2[i];
}

static void add_1(float *restrict dst, int64_t n, const float *src, const int64_t *at,
                  const float *w)
{
    const float *s0 = src + at[0];
    float w0 = w[0];
    for (int64_t i = 0; i < n; i++)
        dst[i] = dst[i] + w0 * s0[i];
}

/* dst[0..n) = start + the sum of all taps, in the filter's order. */
static void sum_taps(const depthwise *d, int64_t first, int64_t n, const float *w, float start,
                     float *dst)
{
    const qdbg__window *win = &d->c->window;
    const float *band = d->bands + first;
    int64_t taps = win->kernel[1] * win->kernel[2], k = 0;
    if (taps >= 9) {
        first_9(dst, n, band, d->offsets, w, start);
        k = 9;
    } else {
        for (int64_t i = 0; i < n; i++)
            dst[i] = start;
    }
    for (int64_t kz = 0; kz < win->kernel[0]; kz++) {
        for (; k + 3 <= taps; k += 3)
            add_3(dst, n, band, d->offsets + k, w + k);
        for (; k < taps; k++)
            add_1(dst, n, band, d->offsets + k, w + k);
        band += d->c->band.floats;
        w += taps;
        k = 0;
    }
}

/* One filter over the bands of a tile. */
static void filter_tile(const depthwise *d, const qdbg__tile *t, const float *w, float start,
                        float *y)
{
    int64_t pitch = d->c->band.pitch, width = t->width;
    if (width > FLAT_WIDTH_MAX || pitch == width || t->rows == 1) {
        int64_t rows = t->rows, n = width;
        if (pitch == width) {
            n = rows * width;
            rows = 1;
        }
        for (int64_t r = 0; r < rows; r++)
            sum_taps(d, r * pitch, n, w, start, y + r * width);
        return;
    }
    sum_taps(d, 0, (t->rows - 1) * pitch + width, w, start, d->flat);
    for (int64_t r = 0; r < t->rows; r++)
        qdbg__copy_row(y + r * width, d->flat + r * pitch, width);
}

static void fill_bands(const depthwise *d, const qdbg__tile *t, const float *x)
{
    const qdbg__window *w = &d->c->window;
    for (int64_t kz = 0; kz < w->kernel[0]; kz++) {
        int64_t z = qdbg__conv_depth(d->c, t, kz);
        if (z >= 0)
            qdbg__conv_fill_band(d->c, d->patches, x + z * w->in[1] * w->in[2],
                                 d->bands + kz * d->c->band.floats);
    }
}

/* All channels of a tile. The bands' padding is the same for all and cleared once. */
static void tile(const depthwise *d, const qdbg__tile *t, const float *x, const float *w,
                 const float *bias, float *y)
{
    const qdbg__conv *c = d->c;
    size_t floats = (size_t)(c->window.kernel[0] * c->band.floats);
    y += (t->z * c->window.out[1] + t->y) * c->window.out[2] + t->x;
    qdbg__conv_patches(c, t, d->patches);
    memset(d->bands, 0, floats * sizeof *d->bands);
    for (int64_t g = 0; g < c->groups; g++) {
        fill_bands(d, t, x);
        for (int64_t m = 0; m < c->out_channels; m++) {
            filter_tile(d, t, w, bias ? *bias++ : 0.0f, y);
            w += c->taps;
            y += c->out_area;
        }
        x += c->in_area;
    }
}

void qdbg__conv_depthwise(const qdbg__conv *c, const float *x, const float *w, const float *bias,
                          float *y, void *scratch)
{
    const int64_t *out = c->window.out;
    char *patches = (char *)scratch + qdbg__conv_offset_bytes(c);
    char *flat = patches + qdbg__conv_patch_bytes(c);
    depthwise d = {c, scratch, (qdbg__patch *)patches, (float *)flat,
                   (float *)(flat + flat_bytes(c))};
    qdbg__conv_taps(c, d.offsets);
    for (int64_t n = 0; n < c->batch; n++) {
        for (int64_t z = 0; z < out[0]; z++) {
            for (int64_t oy = 0; oy < out[1]; oy += c->tile_rows) {
                for (int64_t ox = 0; ox < out[2]; ox += c->tile_width) {
                    qdbg__tile t = qdbg__conv_tile(c, z, oy, ox);
                    tile(&d, &t, x, w, bias, y);
                }
            }
        }
        x += c->groups * c->in_area;
        y += c->groups * c->out_channels * c->out_area;
    }
}
