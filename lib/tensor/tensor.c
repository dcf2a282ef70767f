#include "tensor.h"

#include <stdio.h>
#include <string.h>

typedef struct dtype_row {
    uint8_t size;
    const char *name;
} dtype_row;

static const dtype_row dtypes[] = {
    [QDBG_F32] = {4, "float32"},   [QDBG_U8] = {1, "uint8"},   [QDBG_I8] = {1, "int8"},
    [QDBG_U16] = {2, "uint16"},    [QDBG_I16] = {2, "int16"},  [QDBG_I32] = {4, "int32"},
    [QDBG_I64] = {8, "int64"},     [QDBG_BOOL] = {1, "bool"},  [QDBG_F16] = {2, "float16"},
    [QDBG_F64] = {8, "float64"},   [QDBG_U32] = {4, "uint32"}, [QDBG_U64] = {8, "uint64"},
    [QDBG_BF16] = {2, "bfloat16"},
};

static const dtype_row *find(int32_t dtype)
{
    if (dtype < 0 || (size_t)dtype >= sizeof dtypes / sizeof *dtypes || !dtypes[dtype].name)
        return NULL;
    return &dtypes[dtype];
}

size_t qdbg_dtype_size(int32_t dtype)
{
    const dtype_row *row = find(dtype);
    return row ? row->size : 0;
}

const char *qdbg_dtype_name(int32_t dtype)
{
    const dtype_row *row = find(dtype);
    return row ? row->name : "unknown";
}

bool qdbg__shape_count(uint32_t rank, const int64_t *dims, uint64_t *count)
{
    uint64_t n = 1;
    bool empty = false;
    for (uint32_t i = 0; i < rank; i++) {
        if (dims[i] < 0)
            return false;
        if (dims[i] == 0) {
            empty = true;
            continue;
        }
        if (n > (uint64_t)(INT64_MAX / 8) / (uint64_t)dims[i])
            return false;
        n *= (uint64_t)dims[i];
    }
    *count = empty ? 0 : n;
    return true;
}

bool qdbg__shape_equal(uint32_t rank_a, const int64_t *a, uint32_t rank_b, const int64_t *b)
{
    return rank_a == rank_b && (rank_a == 0 || memcmp(a, b, rank_a * sizeof *a) == 0);
}

char *qdbg__shape_text(uint32_t rank, const int64_t *dims, char *text, size_t size)
{
    size_t n = (size_t)snprintf(text, size, "[");
    for (uint32_t i = 0; i < rank && n < size; i++) {
        const char *comma = i ? "," : "";
        if (dims[i] < 0)
            n += (size_t)snprintf(text + n, size - n, "%s?", comma);
        else
            n += (size_t)snprintf(text + n, size - n, "%s%lld", comma, (long long)dims[i]);
    }
    if (n < size)
        snprintf(text + n, size - n, "]");
    return text;
}

qdbg_status qdbg_view_init(qdbg_view *view, int32_t dtype, uint32_t rank, const int64_t *dims,
                           void *data)
{
    uint64_t count;
    if (!view || rank > QDBG_MAX_RANK || (rank > 0 && !dims))
        return QDBG_E_INVALID;
    if (!find(dtype))
        return QDBG_E_TYPE;
    if (!qdbg__shape_count(rank, dims, &count) || (count > 0 && !data))
        return QDBG_E_INVALID;
    qdbg_view v = QDBG_VIEW_INIT;
    v.dtype = dtype;
    v.rank = rank;
    if (rank > 0)
        memcpy(v.dims, dims, rank * sizeof *dims);
    v.data = data;
    *view = v;
    return QDBG_OK;
}

uint64_t qdbg_view_count(const qdbg_view *view)
{
    uint64_t count;
    if (!view || view->rank > QDBG_MAX_RANK || !qdbg__shape_count(view->rank, view->dims, &count))
        return 0;
    return count;
}

qdbg_status qdbg__view_check(qdbg_ctx *ctx, const qdbg_view *view, const char *what)
{
    uint64_t count;
    char shape[128];
    if (!view)
        return qdbg__fail(ctx, QDBG_E_INVALID, "%s is NULL", what);
    if (view->struct_size != sizeof *view)
        return qdbg__fail(ctx, QDBG_E_INVALID, "%s: struct_size is %u, expected %zu", what,
                          view->struct_size, sizeof *view);
    if (!find(view->dtype))
        return qdbg__fail(ctx, QDBG_E_TYPE, "%s: unknown element type %d", what, view->dtype);
    if (view->rank > QDBG_MAX_RANK)
        return qdbg__fail(ctx, QDBG_E_INVALID, "%s: rank %u is above %d", what, view->rank,
                          QDBG_MAX_RANK);
    if (!qdbg__shape_count(view->rank, view->dims, &count))
        return qdbg__fail(ctx, QDBG_E_INVALID, "%s: bad shape %s", what,
                          qdbg__shape_text(view->rank, view->dims, shape, sizeof shape));
    if (count > 0 && !view->data)
        return qdbg__fail(ctx, QDBG_E_INVALID, "%s: data is NULL", what);
    return QDBG_OK;
}
