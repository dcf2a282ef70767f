/* Walks the fields of a serialized message where it lies: the two outer messages of a model are
 * read so (onnx.proto says why), and every problem found has a place to be named. */
#ifndef QDBG_ONNX_WIRE_H
#define QDBG_ONNX_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Field numbers of the outer messages. */
enum {
    QDBG__ONNX_MODEL_GRAPH = 7,
    QDBG__ONNX_MODEL_OPERATOR_SET = 8,
    QDBG__ONNX_MODEL_FUNCTION = 25,
    QDBG__ONNX_GRAPH_NODE = 1,
    QDBG__ONNX_GRAPH_INITIALIZER = 5,
    QDBG__ONNX_GRAPH_INPUT = 11,
    QDBG__ONNX_GRAPH_OUTPUT = 12,
    QDBG__ONNX_GRAPH_SPARSE_INITIALIZER = 15,
    QDBG__ONNX_FUNCTION_NAME = 1,
    QDBG__ONNX_FUNCTION_DOMAIN = 10,
};

/* How a value is written. */
enum {
    QDBG__ONNX_VARINT = 0,
    QDBG__ONNX_FIXED64 = 1,
    QDBG__ONNX_BYTES = 2,
    QDBG__ONNX_FIXED32 = 5
};

typedef struct qdbg__onnx_field {
    uint32_t number;
    uint32_t wire;       /* QDBG__ONNX_VARINT ... */
    const uint8_t *data; /* the value; for QDBG__ONNX_BYTES what follows its length */
    size_t size;
} qdbg__onnx_field;

typedef struct qdbg__onnx_cursor {
    const uint8_t *at, *end;
    const char *problem;       /* static text once a field is malformed, else NULL */
    const uint8_t *problem_at; /* where that field begins */
} qdbg__onnx_cursor;

qdbg__onnx_cursor qdbg__onnx_cursor_over(const void *data, size_t size);

/* The next field; false at the end and at a malformed field (`problem` is set). */
bool qdbg__onnx_next(qdbg__onnx_cursor *c, qdbg__onnx_field *field);

/* The next field of that number that holds bytes. */
bool qdbg__onnx_next_of(qdbg__onnx_cursor *c, uint32_t number, qdbg__onnx_field *field);

#endif
