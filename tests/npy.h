/* A strict reader of NumPy's .npy files: little-endian, C order, integers and floats. */
#ifndef TESTS_NPY_H
#define TESTS_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NPY_MAX_RANK 8

typedef struct npy {
    char kind; /* 'f' float, 'i' signed, 'u' unsigned */
    int size;  /* bytes of an element: 1, 2, 4, 8 */
    uint32_t rank;
    int64_t dims[NPY_MAX_RANK];
    size_t count;
    void *data; /* freed by npy_free */
} npy;

/* False when the file cannot be read; *why then says why, and nothing is left to free. */
bool npy_load(const char *path, npy *out, const char **why);
void npy_free(npy *array);

/* Element `i` as a number. */
double npy_at(const npy *array, size_t i);

#endif
