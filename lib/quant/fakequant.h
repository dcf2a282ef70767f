/* A quantizer made ready to run: grids and where they lie in the tensor. Layer 3. */
#ifndef QDBG_QUANT_FAKEQUANT_H
#define QDBG_QUANT_FAKEQUANT_H

#include <qdebug/quantizer.h>

#include "../kernels/kernels.h"
#include "../tensor/tensor.h"

typedef struct qdbg__fakequant {
    const qdbg__grid *grids; /* [n_grids] */
    uint32_t n_grids;        /* 1: per tensor */
    int32_t axis;            /* of the channels or blocks when n_grids > 1; may be negative */
    uint32_t block;          /* 0: a grid for each channel; else one for `block` steps of the axis,
                                [outer][ceil(length / block)][inner] */
} qdbg__fakequant;

/* Quantize a float32 tensor, in place when dst == src. False when the axis does not exist in the
 * shape or n_grids does not fit it. Any thread. */
bool qdbg__fakequant_apply(const qdbg__kernels *kernels, const qdbg__fakequant *fq, uint32_t rank,
                           const int64_t *dims, const float *src, float *dst);

/* The kernel's form of an encoding. */
qdbg__grid qdbg__grid_of(const qdbg_encoding *encoding, int32_t rounding);

#endif
