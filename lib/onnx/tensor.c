#include "tensor.h"

#include <stdio.h>
#include <string.h>

#include "external.h"
#include "fail.h"

enum { IN_FILE = 0, EXTERNAL = 1 }; /* data_location */

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define HOST_IS_BIG_ENDIAN 1
#else
#define HOST_IS_BIG_ENDIAN 0
#endif

const char *qdbg__onnx_type_name(int32_t type)
{
    static const char *const foreign[] = {
        [8] = "string",          [14] = "complex64",      [15] = "complex128",
        [17] = "float8e4m3fn",   [18] = "float8e4m3fnuz", [19] = "float8e5m2",
        [20] = "float8e5m2fnuz", [21] = "uint4",          [22] = "int4",
        [23] = "float4e2m1",     [24] = "float8e8m0",
    };
    if (qdbg_dtype_size(type) > 0)
        return qdbg_dtype_name(type);
    if (type > 0 && (size_t)type < sizeof foreign / sizeof *foreign && foreign[type])
        return foreign[type];
    return "unknown";
}

char *qdbg__onnx_shape_text(const int64_t *dims, size_t rank, char *text, size_t size)
{
    size_t n = (size_t)snprintf(text, size, "[");
    for (size_t i = 0; i < rank && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%lld", i ? "," : "", (long long)dims[i]);
    if (n < size)
        snprintf(text + n, size - n, "]");
    return text;
}

void qdbg__onnx_swap_bytes(void *data, size_t n, size_t element_size)
{
    uint8_t *p = data;
    for (size_t i = 0; i < n; i++, p += element_size)
        for (size_t a = 0, b = element_size - 1; a < b; a++, b--) {
            uint8_t t = p[a];
            p[a] = p[b];
            p[b] = t;
        }
}

/* ---- type and shape ---- */

static qdbg_status check_type(qdbg_ctx *ctx, const Qdbg__Onnx__Tensor *t, const char *name)
{
    if (t->has_segment)
        return qdbg__onnx_fail(ctx, QDBG_E_UNSUPPORTED, NULL, name,
                               "tensor '%.*s' is stored in segments", QDBG__ONNX_SHOW(name));
    if (!t->has_data_type || t->data_type == QDBG_DTYPE_NONE)
        return qdbg__onnx_fail(ctx, QDBG_E_FORMAT, NULL, name, "tensor '%.*s' has no element type",
                               QDBG__ONNX_SHOW(name));
    if (qdbg_dtype_size(t->data_type) == 0)
        return qdbg__onnx_fail(ctx, QDBG_E_UNSUPPORTED, NULL, name,
                               "tensor '%.*s' has element type %s (%d)", QDBG__ONNX_SHOW(name),
                               qdbg__onnx_type_name(t->data_type), (int)t->data_type);
    return QDBG_OK;
}

static bool count_elements(const Qdbg__Onnx__Tensor *t, size_t *count)
{
    uint64_t limit = INT64_MAX / 8, n = 1;
    bool empty = false;
    if (limit > SIZE_MAX / 8)
        limit = SIZE_MAX / 8;
    for (size_t i = 0; i < t->n_dims; i++) {
        if (t->dims[i] < 0)
            return false;
        if (t->dims[i] == 0)
            empty = true;
        else if (n > limit / (uint64_t)t->dims[i])
            return false;
        else
            n *= (uint64_t)t->dims[i];
    }
    *count = empty ? 0 : (size_t)n;
    return true;
}

static qdbg_status check_shape(qdbg_ctx *ctx, const Qdbg__Onnx__Tensor *t, const char *name,
                               size_t *count)
{
    char shape[160];
    if (t->n_dims > QDBG_MAX_RANK)
        return qdbg__onnx_fail(ctx, QDBG_E_UNSUPPORTED, NULL, name,
                               "tensor '%.*s' has %zu dimensions; %d are supported",
                               QDBG__ONNX_SHOW(name), t->n_dims, QDBG_MAX_RANK);
    if (!count_elements(t, count))
        return qdbg__onnx_fail(ctx, QDBG_E_FORMAT, NULL, name,
                               "tensor '%.*s' has the impossible shape %s", QDBG__ONNX_SHOW(name),
                               qdbg__onnx_shape_text(t->dims, t->n_dims, shape, sizeof shape));
    return QDBG_OK;
}

/* ---- elements ---- */

/* The typed list that the format prescribes for a type. */
typedef struct typed_list {
    const char *field;
    void *data;
    size_t n;
    size_t element_size;
} typed_list;

static typed_list list_of(Qdbg__Onnx__Tensor *t)
{
    switch (t->data_type) {
    case QDBG_F32:
        return (typed_list){"float_data", t->float_data, t->n_float_data, sizeof(float)};
    case QDBG_F64:
        return (typed_list){"double_data", t->double_data, t->n_double_data, sizeof(double)};
    case QDBG_I64:
        return (typed_list){"int64_data", t->int64_data, t->n_int64_data, sizeof(int64_t)};
    case QDBG_U32:
    case QDBG_U64:
        return (typed_list){"uint64_data", t->uint64_data, t->n_uint64_data, sizeof(uint64_t)};
    default:
        return (typed_list){"int32_data", t->int32_data, t->n_int32_data, sizeof(int32_t)};
    }
}

static void value_range(int32_t dtype, int64_t *low, int64_t *high)
{
    *low = 0;
    *high = UINT16_MAX; /* uint16, and the bits of float16 and bfloat16 */
    if (dtype == QDBG_U8)
        *high = UINT8_MAX;
    else if (dtype == QDBG_I8)
        *low = INT8_MIN, *high = INT8_MAX;
    else if (dtype == QDBG_I16)
        *low = INT16_MIN, *high = INT16_MAX;
    else if (dtype == QDBG_BOOL)
        *low = INT32_MIN, *high = INT32_MAX;
}

/* int32_data also carries all narrower types: make the list an array of the type, in its memory. */
static bool narrow_int32(void *data, size_t n, int32_t dtype, size_t *bad)
{
    int64_t low, high;
    value_range(dtype, &low, &high);
    bool wide = qdbg_dtype_size(dtype) == 2;
    for (size_t i = 0; i < n; i++) {
        int32_t v;
        memcpy(&v, (char *)data + i * sizeof v, sizeof v);
        *bad = i;
        if (v < low || v > high)
            return false;
        uint16_t u16 = (uint16_t)v;
        uint8_t u8 = dtype == QDBG_BOOL ? v != 0 : (uint8_t)v;
        if (wide)
            memcpy((char *)data + i * sizeof u16, &u16, sizeof u16);
        else
            memcpy((char *)data + i, &u8, sizeof u8);
    }
    return true;
}

/* uint64_data also carries uint32. */
static bool narrow_uint64(void *data, size_t n, size_t *bad)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v;
        memcpy(&v, (char *)data + i * sizeof v, sizeof v);
        *bad = i;
        if (v > UINT32_MAX)
            return false;
        uint32_t u = (uint32_t)v;
        memcpy((char *)data + i * sizeof u, &u, sizeof u);
    }
    return true;
}

static qdbg_status view_typed(qdbg_ctx *ctx, Qdbg__Onnx__Tensor *t, const char *name, size_t count,
                              void **data)
{
    char shape[160];
    typed_list list = list_of(t);
    if (list.n == 0)
        return qdbg__onnx_fail(ctx, QDBG_E_FORMAT, NULL, name,
                               "tensor '%.*s' has no data where its shape %s %s needs %zu elements",
                               QDBG__ONNX_SHOW(name),
                               qdbg__onnx_shape_text(t->dims, t->n_dims, shape, sizeof shape),
                               qdbg_dtype_name(t->data_type), count);
    if (list.n != count)
        return qdbg__onnx_fail(ctx, QDBG_E_FORMAT, NULL, name,
                               "tensor '%.*s': %s has %zu elements where its shape %s needs %zu",
                               QDBG__ONNX_SHOW(name), list.field, list.n,
                               qdbg__onnx_shape_text(t->dims, t->n_dims, shape, sizeof shape),
                               count);
    bool fits = true;
    size_t bad = 0;
    if (t->data_type == QDBG_U32)
        fits = narrow_uint64(list.data, list.n, &bad);
    else if (list.element_size != qdbg_dtype_size(t->data_type))
        fits = narrow_int32(list.data, list.n, t->data_type, &bad);
    if (!fits)
        return qdbg__onnx_fail(ctx, QDBG_E_FORMAT, NULL, name,
                               "tensor '%.*s': element %zu of %s is out of range for %s",
                               QDBG__ONNX_SHOW(name), bad, list.field,
                               qdbg_dtype_name(t->data_type));
    *data = list.data;
    return QDBG_OK;
}

static qdbg_status view_raw(qdbg_ctx *ctx, Qdbg__Onnx__Tensor *t, const char *name, size_t count,
                            void **data)
{
    char shape[160];
    size_t element_size = qdbg_dtype_size(t->data_type);
    if (t->raw_data.len != count * element_size)
        return qdbg__onnx_fail(ctx, QDBG_E_FORMAT, NULL, name,
                               "tensor '%.*s': raw_data has %zu bytes where its shape %s %s needs "
                               "%zu",
                               QDBG__ONNX_SHOW(name), t->raw_data.len,
                               qdbg__onnx_shape_text(t->dims, t->n_dims, shape, sizeof shape),
                               qdbg_dtype_name(t->data_type), count * element_size);
    if (HOST_IS_BIG_ENDIAN)
        qdbg__onnx_swap_bytes(t->raw_data.data, count, element_size);
    if (t->data_type == QDBG_BOOL)
        for (size_t i = 0; i < count; i++)
            t->raw_data.data[i] = t->raw_data.data[i] != 0;
    *data = t->raw_data.data;
    return QDBG_OK;
}

static qdbg_status find_elements(qdbg__onnx_memory *memory, Qdbg__Onnx__Tensor *t,
                                 const char *folder, const char *name, size_t count, void **data)
{
    qdbg_ctx *ctx = memory->ctx;
    int32_t location = t->has_data_location ? t->data_location : IN_FILE;
    if (location != IN_FILE && location != EXTERNAL)
        return qdbg__onnx_fail(ctx, QDBG_E_FORMAT, NULL, name,
                               "tensor '%.*s' has the unknown data location %d",
                               QDBG__ONNX_SHOW(name), (int)location);
    size_t bytes = count * qdbg_dtype_size(t->data_type);
    if (location == EXTERNAL) {
        qdbg_status status = qdbg__onnx_external_read(memory, t, folder, name, bytes);
        if (status != QDBG_OK)
            return status;
    }
    /* Writers exist that leave an empty raw_data beside a typed list. */
    if (t->raw_data.len > 0)
        return view_raw(ctx, t, name, count, data);
    if (count > 0)
        return view_typed(ctx, t, name, count, data);
    *data = NULL;
    return QDBG_OK;
}

qdbg_status qdbg__onnx_tensor_view(qdbg__onnx_memory *memory, Qdbg__Onnx__Tensor *t,
                                   const char *folder, const char *name, qdbg_view *view)
{
    size_t count = 0;
    void *data = NULL;
    qdbg_status status = check_type(memory->ctx, t, name);
    if (status == QDBG_OK)
        status = check_shape(memory->ctx, t, name, &count);
    if (status == QDBG_OK)
        status = find_elements(memory, t, folder, name, count, &data);
    if (status != QDBG_OK)
        return status;
    *view = (qdbg_view)QDBG_VIEW_INIT;
    view->dtype = t->data_type;
    view->rank = (uint32_t)t->n_dims;
    if (t->n_dims > 0)
        memcpy(view->dims, t->dims, t->n_dims * sizeof *t->dims);
    view->data = data;
    return QDBG_OK;
}

qdbg_status qdbg__onnx_read_tensor(qdbg_ctx *ctx, const void *data, size_t size, qdbg_view *out)
{
    qdbg__onnx_memory memory;
    ProtobufCMessage *message = NULL;
    qdbg_view view;
    void *copy = NULL;
    qdbg__onnx_memory_init(&memory, ctx, data);
    qdbg_status status = qdbg__onnx_unpack(&memory, &qdbg__onnx__tensor__descriptor, data, size,
                                           "tensor", 0, &message);
    if (status != QDBG_OK)
        return status;
    Qdbg__Onnx__Tensor *t = (Qdbg__Onnx__Tensor *)message;
    status = qdbg__onnx_tensor_view(&memory, t, NULL, t->name ? t->name : "", &view);
    if (status != QDBG_OK)
        goto out;
    size_t bytes = (size_t)qdbg_view_count(&view) * qdbg_dtype_size(view.dtype);
    if (bytes > 0) {
        copy = qdbg_ctx_alloc(ctx, bytes);
        if (!copy) {
            status = qdbg__onnx_recorded(ctx);
            goto out;
        }
        memcpy(copy, view.data, bytes);
    }
    view.data = copy;
    *out = view;
out:
    protobuf_c_message_free_unpacked(message, &memory.protobuf);
    return status;
}
