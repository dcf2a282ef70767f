/* Transpose, DepthToSpace, SpaceToDepth: the same elements in another order. */
#include <string.h>

#include "ops.h"
#include "walk.h"

#define TILE 16
#define MAX_BLOCK 4096

typedef struct layout_params {
    qdbg__walk walk;  /* over the output: operand 0 = out, 1 = in */
    int64_t run;      /* dimension whose input elements are adjacent, below `walk`'s row loop */
    int64_t run_step; /* its stride in the output; 0 when rows are copied as they are */
} layout_params;
_Static_assert(sizeof(layout_params) <= QDBG__OP_PARAMS_SIZE, "params");

/* Plan out = in with dimension d of the output being perm[d] of `dims`. When the rows of the output
 * are not adjacent in the input, the loop over what is adjacent there is pulled inwards, so that
 * small squares are transposed in cache. */
static void plan_transpose(layout_params *p, uint32_t rank, const int64_t *dims,
                           const uint32_t *perm)
{
    int64_t in_strides[QDBG_MAX_RANK], out_dims[QDBG_MAX_RANK];
    int64_t strides[QDBG__WALK_OPERANDS][QDBG_MAX_RANK];
    qdbg__walk *w = &p->walk;
    qdbg__strides(rank, dims, in_strides);
    for (uint32_t d = 0; d < rank; d++) {
        out_dims[d] = dims[perm[d]];
        strides[1][d] = in_strides[perm[d]];
    }
    qdbg__strides(rank, out_dims, strides[0]);
    qdbg__walk_init(w, rank, out_dims, 2, (const int64_t(*)[QDBG_MAX_RANK])strides);
    p->run = 1;
    p->run_step = 0;
    if (w->outer == 0 || w->inner_stride[1] <= 1)
        return;
    for (uint32_t d = 0; d < w->rank; d++) {
        if (w->strides[1][d] != 1)
            continue;
        p->run = w->dims[d];
        p->run_step = w->strides[0][d];
        w->outer /= w->dims[d];
        w->rank--;
        for (; d < w->rank; d++) {
            w->dims[d] = w->dims[d + 1];
            w->strides[0][d] = w->strides[0][d + 1];
            w->strides[1][d] = w->strides[1][d + 1];
        }
    }
}

#define SQUARE(bytes)                     \
    for (int64_t i = i0; i < i1; i++)     \
        for (int64_t j = j0; j < j1; j++) \
    memcpy(dst + (i * p->run_step + j) * (bytes), src + (i + j * in_step) * (bytes), bytes)

static void square(const layout_params *p, size_t size, char *dst, const char *src, int64_t i0,
                   int64_t j0)
{
    const int64_t in_step = p->walk.inner_stride[1];
    const int64_t i1 = i0 + TILE < p->run ? i0 + TILE : p->run;
    const int64_t j1 = j0 + TILE < p->walk.inner ? j0 + TILE : p->walk.inner;
    if (size == 1)
        SQUARE(1);
    else if (size == 2)
        SQUARE(2);
    else if (size == 4)
        SQUARE(4);
    else
        SQUARE(8);
}

static void transpose_plane(const layout_params *p, size_t size, char *dst, const char *src)
{
    for (int64_t i = 0; i < p->run; i += TILE) {
        for (int64_t j = 0; j < p->walk.inner; j += TILE)
            square(p, size, dst, src, i, j);
    }
}

static qdbg_status run_layout(const qdbg__run *r)
{
    const layout_params *p = r->params;
    const qdbg__walk *w = &p->walk;
    size_t size = qdbg_dtype_size(r->in[0]->dtype);
    int64_t index[QDBG_MAX_RANK] = {0}, at[QDBG__WALK_OPERANDS] = {0}, bytes = (int64_t)size;
    char *dst = r->out[0]->data;
    const char *src = r->in[0]->data;
    if (p->run_step == 0) {
        qdbg__walk_copy(w, size, dst, src);
        return QDBG_OK;
    }
    for (int64_t i = 0; i < w->outer; i++, qdbg__walk_next(w, index, at))
        transpose_plane(p, size, dst + at[0] * bytes, src + at[1] * bytes);
    return QDBG_OK;
}

static qdbg_status infer_transpose(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    uint32_t perm[QDBG_MAX_RANK], axis;
    int64_t wanted[QDBG_MAX_RANK], dims[QDBG_MAX_RANK];
    bool used[QDBG_MAX_RANK] = {false};
    int32_t n = qdbg__infer_ints(x, "perm", QDBG_NONE, wanted, QDBG_MAX_RANK);
    if (n == -2)
        return x->ctx->error_status;
    for (uint32_t d = 0; n == -1 && d < in->rank; d++)
        wanted[d] = (int64_t)in->rank - 1 - d;
    if (n != -1 && n != (int32_t)in->rank)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "'perm' has %d entries for rank %u", n, in->rank);
    for (uint32_t d = 0; d < in->rank; d++) {
        if (!qdbg__axis(wanted[d], in->rank, &axis) || used[axis])
            return qdbg__infer_fail(x, QDBG_E_INVALID, "'perm' is not a permutation");
        used[axis] = true;
        perm[d] = axis;
        dims[d] = in->dims[axis];
    }
    plan_transpose(x->params, in->rank, in->dims, perm);
    qdbg__infer_out(x, 0, in->dtype, in->rank, dims);
    return QDBG_OK;
}

static qdbg_status check_block(qdbg__infer *x, int64_t *block)
{
    *block = qdbg__attr_int(x->node, "blocksize", 0);
    if (x->in[0]->rank != 4)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "the input has rank %u, not 4", x->in[0]->rank);
    if (*block < 1 || *block > MAX_BLOCK)
        return qdbg__infer_fail(x, QDBG_E_INVALID, "blocksize %lld is out of range",
                                (long long)*block);
    for (uint32_t d = 0; d < 4; d++) { /* beside an empty dimension the others may be huge */
        if (x->in[0]->dims[d] > INT64_MAX / MAX_BLOCK / MAX_BLOCK)
            return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "dimension %u is too large", d);
    }
    return QDBG_OK;
}

static qdbg_status infer_depth_to_space(qdbg__infer *x)
{
    static const uint32_t dcr[6] = {0, 3, 4, 1, 5, 2}, crd[6] = {0, 1, 4, 2, 5, 3};
    const int64_t *in = x->in[0]->dims;
    const char *mode = qdbg__attr_string(x->node, "mode", "DCR");
    int64_t b;
    qdbg_status status = check_block(x, &b);
    if (status != QDBG_OK)
        return status;
    bool is_crd = strcmp(mode, "CRD") == 0;
    if (!is_crd && strcmp(mode, "DCR") != 0)
        return qdbg__infer_fail(x, QDBG_E_INVALID, "unknown mode '%s'", mode);
    if (in[1] % (b * b) != 0)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "%lld channels cannot be divided by %lld",
                                (long long)in[1], (long long)(b * b));
    int64_t c = in[1] / (b * b), dims[4] = {in[0], c, in[2] * b, in[3] * b};
    if (is_crd)
        plan_transpose(x->params, 6, (const int64_t[]){in[0], c, b, b, in[2], in[3]}, crd);
    else
        plan_transpose(x->params, 6, (const int64_t[]){in[0], b, b, c, in[2], in[3]}, dcr);
    qdbg__infer_out(x, 0, x->in[0]->dtype, 4, dims);
    return QDBG_OK;
}

static qdbg_status infer_space_to_depth(qdbg__infer *x)
{
    static const uint32_t perm[6] = {0, 3, 5, 1, 2, 4};
    const int64_t *in = x->in[0]->dims;
    int64_t b;
    qdbg_status status = check_block(x, &b);
    if (status != QDBG_OK)
        return status;
    if (in[2] % b != 0 || in[3] % b != 0)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "%lldx%lld cannot be divided by %lld",
                                (long long)in[2], (long long)in[3], (long long)b);
    int64_t h = in[2] / b, w = in[3] / b, dims[4] = {in[0], in[1] * b * b, h, w};
    plan_transpose(x->params, 6, (const int64_t[]){in[0], in[1], h, b, w, b}, perm);
    qdbg__infer_out(x, 0, x->in[0]->dtype, 4, dims);
    return QDBG_OK;
}

static const qdbg__op table[] = {
    {"Transpose", 1, 1, 1, QDBG__OP_PASSES_ENCODING, infer_transpose, run_layout},
    {"DepthToSpace", 1, 1, 1, QDBG__OP_PASSES_ENCODING, infer_depth_to_space, run_layout},
    {"SpaceToDepth", 1, 1, 1, QDBG__OP_PASSES_ENCODING, infer_space_to_depth, run_layout},
};

const qdbg__op_table qdbg__ops_layout = {table, sizeof table / sizeof *table};
