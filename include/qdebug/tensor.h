/**
 * @file tensor.h
 * Element types and dense tensor views.
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_TENSOR_H
#define QDEBUG_TENSOR_H

#include <qdebug/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Element types. The numbers are those of ONNX's TensorProto.DataType. */
#define QDBG_DTYPE_NONE 0
#define QDBG_F32 1
#define QDBG_U8 2
#define QDBG_I8 3
#define QDBG_U16 4
#define QDBG_I16 5
#define QDBG_I32 6
#define QDBG_I64 7
#define QDBG_BOOL 9 /**< one byte, 0 or 1 */
#define QDBG_F16 10
#define QDBG_F64 11
#define QDBG_U32 12
#define QDBG_U64 13
#define QDBG_BF16 16

/** The most dimensions that a tensor may have. */
#define QDBG_MAX_RANK 8

/** @return bytes of one element, or 0 for an unknown type */
QDBG_API size_t qdbg_dtype_size(int32_t dtype);

/** @return the type's name, such as "float32"; "unknown" for others; static storage */
QDBG_API const char *qdbg_dtype_name(int32_t dtype);

/**
 * A dense, row-major (C order) tensor in the caller's memory. The library never frees `data` and
 * writes to it only where a function says so.
 */
typedef struct qdbg_view {
    uint32_t struct_size; /**< sizeof(qdbg_view) */
    int32_t dtype;        /**< QDBG_F32 ... */
    uint32_t rank;        /**< 0 (a scalar) to QDBG_MAX_RANK */
    uint32_t reserved;
    int64_t dims[QDBG_MAX_RANK]; /**< [rank], each >= 0 */
    void *data;                  /**< NULL only when a dimension is 0 */
} qdbg_view;

#define QDBG_VIEW_INIT                                                    \
    {                                                                     \
        (uint32_t)sizeof(qdbg_view), 0, 0, 0, {0, 0, 0, 0, 0, 0, 0, 0}, 0 \
    }

/**
 * Fill a view.
 * @param view   receives the view
 * @param dtype  QDBG_F32 ...
 * @param rank   0 to QDBG_MAX_RANK
 * @param dims   [rank], each >= 0; may be NULL when rank is 0
 * @param data   the elements; kept, not copied
 * @return QDBG_OK; QDBG_E_INVALID (NULL, rank too large, negative dimension, the byte count does
 *         not fit size_t, data is NULL where there are elements); QDBG_E_TYPE (unknown dtype)
 */
QDBG_API qdbg_status qdbg_view_init(qdbg_view *view, int32_t dtype, uint32_t rank,
                                    const int64_t *dims, void *data);

/** @return number of elements of a well-formed view (1 for a scalar), or 0 for NULL */
QDBG_API uint64_t qdbg_view_count(const qdbg_view *view);

#ifdef __cplusplus
}
#endif

#endif
