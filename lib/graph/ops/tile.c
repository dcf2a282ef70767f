/* Expand and Tile. */
#include <string.h>

#include "ops.h"
#include "walk.h"

/* ---- Expand ---- */

_Static_assert(sizeof(qdbg__walk) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_expand(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    int64_t wanted[QDBG_MAX_RANK];
    qdbg_view out = QDBG_VIEW_INIT;
    char from[128], to[128];
    int32_t n = qdbg__infer_ints(x, "shape", 1, wanted, QDBG_MAX_RANK);
    if (n == -2)
        return x->ctx->error_status;
    if (!qdbg__broadcast(in->rank, in->dims, (uint32_t)n, wanted, &out.rank, out.dims))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "cannot expand %s to %s",
                                qdbg__shape_text(in->rank, in->dims, from, sizeof from),
                                qdbg__shape_text((uint32_t)n, wanted, to, sizeof to));
    uint64_t count; /* a negative dimension, found later, must not reach the strides */
    if (qdbg__shape_count(out.rank, out.dims, &count))
        qdbg__walk_broadcast(x->params, &out, 1, &in);
    qdbg__infer_out(x, 0, in->dtype, out.rank, out.dims);
    return QDBG_OK;
}

static qdbg_status run_expand(const qdbg__run *r)
{
    qdbg__walk_copy(r->params, qdbg_dtype_size(r->in[0]->dtype), r->out[0]->data, r->in[0]->data);
    return QDBG_OK;
}

/* ---- Tile ---- */

typedef struct tile_params {
    uint32_t rank; /* dimensions up to the last that is repeated; the rest is one block */
    int64_t repeats[QDBG_MAX_RANK];
} tile_params;
_Static_assert(sizeof(tile_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_tile(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    tile_params *p = x->params;
    int64_t dims[QDBG_MAX_RANK];
    int32_t n = qdbg__infer_ints(x, "repeats", 1, p->repeats, QDBG_MAX_RANK);
    if (n == -2)
        return x->ctx->error_status;
    if (n != (int32_t)in->rank)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "%d repeats for rank %u", n, in->rank);
    for (uint32_t d = 0; d < in->rank; d++) {
        int64_t r = p->repeats[d];
        if (r < 0 || (in->dims[d] > 0 && r > INT64_MAX / in->dims[d]))
            return qdbg__infer_fail(x, QDBG_E_INVALID, "repeat %lld is out of range", (long long)r);
        dims[d] = in->dims[d] * r;
        if (r != 1)
            p->rank = d + 1;
    }
    qdbg__infer_out(x, 0, in->dtype, in->rank, dims);
    return QDBG_OK;
}

/* A tile is written once and then copied: `part` elements of the input from dimension d on. */
static char *tile(const tile_params *p, const qdbg_view *in, size_t size, uint32_t d, char *out,
                  const char *src, int64_t part)
{
    if (d == p->rank) {
        memcpy(out, src, (size_t)part * size);
        return out + (size_t)part * size;
    }
    char *end = out;
    int64_t sub = part / in->dims[d];
    for (int64_t i = 0; i < in->dims[d]; i++)
        end = tile(p, in, size, d + 1, end, src + (size_t)(i * sub) * size, sub);
    size_t bytes = (size_t)(end - out);
    for (int64_t i = 1; i < p->repeats[d]; i++, end += bytes)
        memcpy(end, out, bytes);
    return end;
}

static qdbg_status run_tile(const qdbg__run *r)
{
    const qdbg_view *in = r->in[0];
    if (qdbg_view_count(r->out[0]) > 0)
        tile(r->params, in, qdbg_dtype_size(in->dtype), 0, r->out[0]->data, in->data,
             (int64_t)qdbg_view_count(in));
    return QDBG_OK;
}

static const qdbg__op table[] = {
    {"Expand", 2, 2, 1, QDBG__OP_PASSES_ENCODING, infer_expand, run_expand},
    {"Tile", 2, 2, 1, QDBG__OP_PASSES_ENCODING, infer_tile, run_tile},
};

const qdbg__op_table qdbg__ops_tile = {table, sizeof table / sizeof *table};
