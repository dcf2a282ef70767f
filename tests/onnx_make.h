/* Writes ONNX models for tests, byte by byte and independent of the reader's code, so that broken
 * ones can be written as well. Memory is malloc's; a failure to get it ends the test program. */
#ifndef QDBG_TESTS_ONNX_MAKE_H
#define QDBG_TESTS_ONNX_MAKE_H

#include <stddef.h>
#include <stdint.h>

/* A message under construction. Zero is empty. */
typedef struct make_buf {
    uint8_t *data;
    size_t size, capacity;
} make_buf;

void make_append(make_buf *b, const void *data, size_t size);
void make_free(make_buf *b);

/* One field. */
void make_int(make_buf *b, uint32_t field, int64_t value);
void make_float(make_buf *b, uint32_t field, float value);
void make_double(make_buf *b, uint32_t field, double value);
void make_bytes(make_buf *b, uint32_t field, const void *data, size_t size);
void make_text(make_buf *b, uint32_t field, const char *text);
/* A packed list of varints. */
void make_packed(make_buf *b, uint32_t field, const int64_t *values, size_t n);
/* `part` becomes a field of `b` and is emptied. */
void make_part(make_buf *b, uint32_t field, make_buf *part);

/* A tensor without elements yet: fields 1, 2, 8. `shape` as "2,3"; "" is a scalar. */
make_buf make_tensor(const char *name, int32_t dtype, const char *shape);
/* ... with elements in raw_data (9). */
make_buf make_tensor_raw(const char *name, int32_t dtype, const char *shape, const void *data,
                         size_t size);
/* Add external data; offset and length may be NULL. */
void make_external(make_buf *tensor, const char *location, const char *offset, const char *length);

/* An input or output. `shape` as "N,3,8"; a word is symbolic; NULL leaves the shape out. */
make_buf make_value(const char *name, int32_t dtype, const char *shape);

/* A node; inputs and outputs as "x,,b", NULL for none. An empty op_type and a NULL name are left
 * out. */
make_buf make_node(const char *op_type, const char *name, const char *inputs, const char *outputs);
/* An attribute of a kind, as the empty start of one; kind 0 leaves it out. */
make_buf make_attribute(const char *name, int32_t kind);
void make_attribute_int(make_buf *node, const char *name, int64_t value);

/* A model's graph and what else it has. */
typedef struct make_model {
    make_buf graph;
    make_buf rest;
} make_model;

/* Sets IR version 8 and the opset (0: none). */
void make_begin(make_model *m, int64_t opset);
void make_add_node(make_model *m, make_buf node);
void make_add_initializer(make_model *m, make_buf tensor);
void make_add_input(make_model *m, make_buf value);
void make_add_output(make_model *m, make_buf value);
/* The finished file. */
make_buf make_end(make_model *m);

#endif
