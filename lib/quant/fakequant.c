#include "fakequant.h"

qdbg__grid qdbg__grid_of(const qdbg_encoding *e, int32_t rounding)
{
    return (qdbg__grid){e->scale, e->zero_point, e->qmin, e->qmax, rounding};
}

bool qdbg__fakequant_apply(const qdbg__kernels *kernels, const qdbg__fakequant *fq, uint32_t rank,
                           const int64_t *dims, const float *src, float *dst)
{
    uint64_t count;
    if (!qdbg__shape_count(rank, dims, &count))
        return false;
    if (fq->n_grids == 1) {
        kernels->fakequant(src, dst, count, fq->grids);
        return true;
    }
    int64_t axis = fq->axis < 0 ? fq->axis + (int64_t)rank : fq->axis;
    if (axis < 0 || axis >= (int64_t)rank)
        return false;
    size_t length = (size_t)dims[axis], inner = 1;
    size_t rows = fq->block ? (length + fq->block - 1) / fq->block : length;
    if (count == 0)
        return fq->block || length == fq->n_grids;
    for (uint32_t i = (uint32_t)axis + 1; i < rank; i++)
        inner *= (size_t)dims[i];
    size_t outer = count / inner / length;
    if (fq->n_grids != (fq->block ? outer * rows * inner : rows))
        return false;
    if (fq->block)
        qdbg__fakequant_blocks(kernels, src, dst, outer, length, inner, fq->block, fq->grids);
    else
        kernels->fakequant_channels(src, dst, outer, length, inner, fq->grids);
    return true;
}
