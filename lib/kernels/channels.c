/* Blocks and channels by way of the kernels for contiguous runs. */
#include "ref.h"

/* Channels with shorter runs are gathered first: a call for each run would cost more. */
#define SHORT_RUN 32
#define GATHER 512

void qdbg__fakequant_blocks(const qdbg__kernels *kernels, const float *src, float *dst,
                            size_t outer, size_t length, size_t inner, size_t block,
                            const qdbg__grid *grids)
{
    size_t whole = length / block, rest = length % block;
    for (size_t o = 0; o < outer; o++) {
        if (inner == 1) {
            kernels->fakequant_channels(src, dst, 1, whole, block, grids);
        } else {
            for (size_t b = 0; b < whole; b++) {
                size_t at = b * block * inner;
                kernels->fakequant_channels(src + at, dst + at, block, inner, 1, grids + b * inner);
            }
        }
        size_t done = whole * block * inner;
        kernels->fakequant_channels(src + done, dst + done, rest, inner, 1, grids + whole * inner);
        src += length * inner;
        dst += length * inner;
        grids += (whole + (rest > 0)) * inner;
    }
}

/* Walks the elements of one channel in the order in which they lie. */
typedef struct walk {
    size_t at;     /* index of the next element in the tensor */
    size_t run;    /* elements left in this run */
    size_t left;   /* elements left altogether */
    size_t inner;  /* length of a run */
    size_t stride; /* from the end of a run to the start of the next */
} walk;

static walk walk_channel(size_t c, size_t outer, size_t channels, size_t inner)
{
    return (walk){c * inner, inner, outer * inner, inner, (channels - 1) * inner};
}

static size_t step(walk *w)
{
    size_t at = w->at++;
    if (--w->run == 0) {
        w->run = w->inner;
        w->at += w->stride;
    }
    return at;
}

static size_t gather(walk *w, const float *src, float *out, size_t *at)
{
    size_t n = w->left < GATHER ? w->left : GATHER;
    for (size_t i = 0; i < n; i++) {
        at[i] = step(w);
        out[i] = src[at[i]];
    }
    w->left -= n;
    return n;
}

static size_t store_bytes(int32_t store)
{
    return store == QDBG__STORE_I16 || store == QDBG__STORE_U16 ? 2 : 1;
}

static int is_packed(int32_t store)
{
    return store == QDBG__STORE_I4 || store == QDBG__STORE_U4;
}

/* One channel by gathering; `dst` is already clear where it is packed. */
static void quantize_gathered(const qdbg__kernels *kernels, const float *src, void *dst, walk w,
                              const qdbg__grid *grid, int32_t store)
{
    float values[GATHER];
    int16_t integers[GATHER];
    size_t at[GATHER], n;
    uint8_t *bytes = dst;
    while ((n = gather(&w, src, values, at)) > 0) {
        kernels->quantize(values, integers, n, grid, QDBG__STORE_I16);
        for (size_t i = 0; i < n; i++) {
            if (is_packed(store))
                bytes[at[i] / 2] |= (uint8_t)((integers[i] & 15) << at[i] % 2 * 4);
            else
                qdbg__store_put(dst, at[i], integers[i], store);
        }
    }
}

void qdbg__quantize_channels(const qdbg__kernels *kernels, const float *src, void *dst,
                             size_t outer, size_t channels, size_t inner, const qdbg__grid *grids,
                             int32_t store)
{
    if (is_packed(store))
        memset(dst, 0, (outer * channels * inner + 1) / 2);
    if (inner < SHORT_RUN || (is_packed(store) && inner % 2 == 1)) {
        for (size_t c = 0; c < channels; c++)
            quantize_gathered(kernels, src, dst, walk_channel(c, outer, channels, inner), &grids[c],
                              store);
        return;
    }
    size_t bytes = is_packed(store) ? inner / 2 : inner * store_bytes(store);
    for (size_t r = 0; r < outer * channels; r++)
        kernels->quantize(src + r * inner, (char *)dst + r * bytes, inner, &grids[r % channels],
                          store);
}

static void dequantize_gathered(const void *src, float *dst, walk w, const qdbg__grid *grid,
                                int32_t store)
{
    for (; w.left > 0; w.left--) {
        size_t at = step(&w);
        dst[at] = (float)(qdbg__store_get(src, at, store) - grid->zero_point) * grid->scale;
    }
}

void qdbg__dequantize_channels(const qdbg__kernels *kernels, const void *src, float *dst,
                               size_t outer, size_t channels, size_t inner, const qdbg__grid *grids,
                               int32_t store)
{
    if (inner < SHORT_RUN || (is_packed(store) && inner % 2 == 1)) {
        for (size_t c = 0; c < channels; c++)
            dequantize_gathered(src, dst, walk_channel(c, outer, channels, inner), &grids[c],
                                store);
        return;
    }
    size_t bytes = is_packed(store) ? inner / 2 : inner * store_bytes(store);
    for (size_t r = 0; r < outer * channels; r++)
        kernels->dequantize((const char *)src + r * bytes, dst + r * inner, inner,
                            &grids[r % channels], store);
}

void qdbg__moments_channels(const qdbg__kernels *kernels, const float *src, size_t outer,
                            size_t channels, size_t inner, qdbg__moments *moments)
{
    if (inner >= SHORT_RUN) {
        for (size_t r = 0; r < outer * channels; r++)
            kernels->moments(src + r * inner, inner, &moments[r % channels]);
        return;
    }
    float values[GATHER];
    size_t at[GATHER], n;
    for (size_t c = 0; c < channels; c++) {
        walk w = walk_channel(c, outer, channels, inner);
        while ((n = gather(&w, src, values, at)) > 0)
            kernels->moments(values, n, &moments[c]);
    }
}

void qdbg__histogram_channels(const qdbg__kernels *kernels, const float *src, size_t outer,
                              size_t channels, size_t inner, qdbg__histogram *histograms)
{
    if (inner >= SHORT_RUN) {
        for (size_t r = 0; r < outer * channels; r++)
            kernels->histogram(src + r * inner, inner, &histograms[r % channels]);
        return;
    }
    float values[GATHER];
    size_t at[GATHER], n;
    for (size_t c = 0; c < channels; c++) {
        walk w = walk_channel(c, outer, channels, inner);
        while ((n = gather(&w, src, values, at)) > 0)
            kernels->histogram(values, n, &histograms[c]);
    }
}
