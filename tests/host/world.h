/* A network on real samples, run by the library's executor and by the test engine. */
#ifndef TESTS_HOST_WORLD_H
#define TESTS_HOST_WORLD_H

#include <qdebug/qdebug.h>

#include "engine.h"
#include "samples.h"

typedef struct network {
    const char *name;
    size_t n_samples;
    uint64_t batch_size;
    /* Both false, with *why, when it is not there. */
    bool (*load)(size_t n, samples *out, const char **why);
    bool (*graph)(qdbg_ctx *ctx, qdbg_graph **out, const char **why);
} network;

extern const network network_demo;  /* world_demo_path must be set */
extern const network network_kws;   /* where QDBG_ZOO names the zoo's folder */
extern const network network_small; /* small.h: always there */
extern const char *world_demo_path; /* doc/examples/fashion_mnist.onnx */

typedef struct world {
    qdbg_ctx *ctx;
    qdbg_graph *graph; /* of both models */
    engine *engine;
    qdbg_model *built_in, *host;
    samples samples;
    qdbg_arrays *arrays;
    qdbg_dataset data;
    qdbg_progress_fn progress; /* may be set by a test; NULL: none */
    void *progress_user;
} world;

/* NULL, after a message, when the network or its samples are not there. */
world *world_open(const network *net);
void world_close(world *w);

/* Fail the test with the context's message unless `status` is QDBG_OK. */
#define ASSERT_OK(w, status) world_assert_ok(w, status, __FILE__, __LINE__)
void world_assert_ok(const world *w, qdbg_status status, const char *file, int line);

/* Outputs of a model for all samples; freed with free(). */
float *world_run(world *w, qdbg_model *model, size_t *count);

#endif
