/* Reads NumPy's .npy files, versions 1 to 3: one array of plain numbers in C order.
 *
 * Strict: whatever is not exactly such a file is refused with a line that says why. Elements are
 * read where they lie, so that an array never has to fit into memory. */
#ifndef NPY_H
#define NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NPY_MAX_RANK 8

typedef enum npy_type {
    NPY_BOOL,
    NPY_U8,
    NPY_I8,
    NPY_U16,
    NPY_I16,
    NPY_U32,
    NPY_I32,
    NPY_U64,
    NPY_I64,
    NPY_F16,
    NPY_F32,
    NPY_F64
} npy_type;

typedef struct npy_array {
    int fd;
    npy_type type;
    uint32_t rank;
    uint64_t dims[NPY_MAX_RANK]; /* [rank] */
    uint64_t count;              /* elements; 1 for rank 0 */
    uint64_t data_offset;        /* of the first element in the file */
} npy_array;

typedef struct npy_error {
    char text[256]; /* one line, without the file's name */
} npy_error;

/* Open `path` and read its header. On failure nothing is left to close. */
bool npy_open(const char *path, npy_array *array, npy_error *error);

void npy_close(npy_array *array);

size_t npy_element_size(npy_type type);
const char *npy_type_name(npy_type type);
bool npy_is_float(npy_type type);

/* Read elements [first, first + n) into `raw`, n * npy_element_size bytes. */
bool npy_read(const npy_array *array, uint64_t first, uint64_t n, void *raw, npy_error *error);

/* Convert what npy_read gave. To float32: rounded to nearest. To int64: integers and bools only;
 * returns `n`, or the index of the first uint64 that int64 cannot hold, where it stops. */
void npy_to_float(npy_type type, const void *raw, uint64_t n, float *out);
uint64_t npy_to_int64(npy_type type, const void *raw, uint64_t n, int64_t *out);

#endif
