/* Convolution from inside: what conv.c decides and its three ways of computing share. */
#ifndef QDBG_GRAPH_OPS_CONV_H
#define QDBG_GRAPH_OPS_CONV_H

#include <string.h>

#include "window.h"

/* A tile is a rectangle of output positions that lie together in memory: whole output rows, or a
 * stretch of one row where rows are long. */
typedef struct qdbg__tile {
    int64_t z, y, x;     /* first position; a tile has one z */
    int64_t rows, width; /* rows > 1 only when width is the whole output row */
} qdbg__tile;

/* A band is the piece of a padded input plane that a tile's windows see, rearranged so that one
 * filter tap reads consecutive floats for consecutive outputs whatever the stride: the plane is
 * split by row phase (row mod stride) and column phase, [phase_y][phase_x][rows][pitch]. */
typedef struct qdbg__band {
    int64_t phases_y, phases_x;
    int64_t rows, pitch; /* for a tile of the largest size */
    int64_t floats;
} qdbg__band;

typedef struct qdbg__conv {
    qdbg__window window;
    int32_t path;
    int64_t batch, groups;
    int64_t in_channels, out_channels; /* of a group */
    int64_t in_area, out_area, taps;   /* elements of an input plane, output plane, filter plane */
    int64_t depth;                     /* taps * in_channels: length of the sums */
    int64_t tile_rows, tile_width;
    qdbg__band band;
} qdbg__conv;

/* The tile at output position (z, y, x), cut at the end of the plane. */
qdbg__tile qdbg__conv_tile(const qdbg__conv *c, int64_t z, int64_t y, int64_t x);

/* The part of an input plane that one phase of a tile's band holds; the rest of the phase is
 * padding. */
typedef struct qdbg__patch {
    int64_t from, to; /* first element in the plane, in the band */
    int64_t rows, columns;
} qdbg__patch;

/* The patches of a tile: [phases_y * phases_x]. */
void qdbg__conv_patches(const qdbg__conv *c, const qdbg__tile *t, qdbg__patch *patches);

/* Copy the patches of `plane` ([H,W] of the input) into a band whose padding is zero already. */
void qdbg__conv_fill_band(const qdbg__conv *c, const qdbg__patch *patches, const float *plane,
                          float *band);

/* Depth in the input of the plane under a filter's depth kz; -1 in the padding. */
int64_t qdbg__conv_depth(const qdbg__conv *c, const qdbg__tile *t, int64_t kz);

/* Where in a band the taps (ky, kx) of a tile's first output lie: [kernel height * width]. */
void qdbg__conv_taps(const qdbg__conv *c, int64_t *offsets);

static inline int64_t qdbg__align64(int64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static inline int64_t qdbg__conv_offset_bytes(const qdbg__conv *c)
{
    return qdbg__align64(c->window.kernel[1] * c->window.kernel[2] * (int64_t)sizeof(int64_t));
}

static inline int64_t qdbg__conv_patch_bytes(const qdbg__conv *c)
{
    return qdbg__align64(c->band.phases_y * c->band.phases_x * (int64_t)sizeof(qdbg__patch));
}

/* dst[0..n) = src, for rows that are mostly too short for memcpy. */
static inline void qdbg__copy_row(float *dst, const float *src, int64_t n)
{
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        memcpy(dst + i, src + i, 16);
    for (; i < n; i++)
        dst[i] = src[i];
}

/* dst[0..n) = src, n > 0; may write (and read) up to 3 floats more. */
static inline void qdbg__copy_loosely(float *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i += 4)
        memcpy(dst + i, src + i, 16);
}

/* One input channel a group, few filters: direct loops. `scratch` holds
 * qdbg__conv_depthwise_scratch() bytes. */
void qdbg__conv_depthwise(const qdbg__conv *c, const float *x, const float *w, const float *bias,
                          float *y, void *scratch);
int64_t qdbg__conv_depthwise_scratch(const qdbg__conv *c);

qdbg_status qdbg__conv_transpose_infer(qdbg__infer *x);
qdbg_status qdbg__conv_transpose_run(const qdbg__run *r);

#endif
