/* An inference engine as a user of the library might have one: it reads the network from the graph,
 * keeps its own copies of the parameters, and computes with its own loops (layers.h). It knows the
 * library's public headers only. */
#ifndef TESTS_HOST_ENGINE_H
#define TESTS_HOST_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <qdebug/model.h>

typedef struct engine engine;

/* Hands a computed tensor to the library; `qdbg_tap_wants` said yes. 0 to go on. The engine's own
 * is engine_tap; a test that breaks a rule puts its own in its place. */
typedef int32_t (*engine_tap_fn)(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor);

/* What engine_run returns. */
enum { ENGINE_DONE = 0, ENGINE_TAP_FAILED = 71, ENGINE_OUT_OF_MEMORY = 72, ENGINE_BAD_NODE = 73 };

/* A number for each value of the graph, and arrays of that length. */
struct engine {
    const qdbg_graph *graph;
    uint32_t n_values;
    float **parameters; /* [n_values] copies of float32 parameters, NULL elsewhere */
    size_t *counts;     /* [n_values] their elements */
    qdbg_view *values;  /* [n_values] computed tensors of the last run, owned */
    size_t *capacities; /* [n_values] floats that values[].data holds */
    float *scratch;     /* for convolutions */
    size_t n_scratch;
    const qdbg_view *inputs; /* those of the run in progress */
    engine_tap_fn tap;
    void *user;    /* of `tap` */
    uint64_t runs; /* so far */
    uint64_t taps; /* so far */
};

/* NULL when memory is short. Parameters are those of the graph. */
engine *engine_new(const qdbg_graph *graph);
void engine_free(engine *e);

/* The table that the library wants; `user` is the engine. */
qdbg_host engine_host(engine *e);

int32_t engine_run(void *user, qdbg_tap *tap, const qdbg_view *inputs, uint32_t n_inputs);
int32_t engine_get(void *user, uint32_t value, float *data, uint64_t count);
int32_t engine_set(void *user, uint32_t value, const float *data, uint64_t count);
int32_t engine_tap(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor);

/* Are all parameters, bit for bit, those of the graph? */
bool engine_is_original(const engine *e);

#endif
