/* The models and data in the folder that QDBG_ZOO names, prepared as its README says. */
#ifndef TESTS_ZOO_H
#define TESTS_ZOO_H

#include <qdebug/graph.h>

#include "../doc/examples/npy.h"

/* A whole array, as it lies in its file. */
typedef struct npy {
    npy_array array;
    size_t count;
    void *raw; /* freed by npy_free */
} npy;

/* False when the file cannot be read; *why then says why, and nothing is left to free. */
bool npy_load(const char *path, npy *out, const char **why);
void npy_free(npy *array);

/* Element `i` as a number. */
double npy_at(const npy *array, size_t i);

typedef struct zoo_model {
    const char *name;   /* of the file, without .onnx */
    const char *inputs; /* of the arrays, without .npy */
    const char *labels;
    int64_t dims[5]; /* of one sample as the model takes it, ended by -1 */
    size_t correct;  /* top-1 hits in float32 over all samples */
    bool nhwc;
    double divisor, mean[3], std[3]; /* (x / divisor - mean) / std, by channel */
} zoo_model;

#define ZOO_MODELS 4
extern const zoo_model zoo_models[ZOO_MODELS];

typedef struct zoo_data {
    size_t n, sample; /* samples; floats in one */
    float *x;         /* [n, dims ...] */
    npy labels;
} zoo_data;

/* False when a file is missing or odd; *why says why. */
bool zoo_load_data(const char *folder, const zoo_model *model, size_t max_samples, zoo_data *out,
                   const char **why);
void zoo_free_data(zoo_data *data);

/* "folder/name" + suffix, cut to `size`; returns `text`. */
char *zoo_path(const char *folder, const char *name, const char *suffix, char *text, size_t size);

#endif
