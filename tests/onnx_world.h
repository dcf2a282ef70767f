/* What the tests of the ONNX loader share: a context whose every byte is counted, loads that must
 * work or must fail, and models to start from. */
#ifndef QDBG_TESTS_ONNX_WORLD_H
#define QDBG_TESTS_ONNX_WORLD_H

#include <qdebug/onnx.h>
#include <stdbool.h>

#include "../lib/graph/graph.h"
#include "../lib/onnx/tensor.h"
#include "onnx_make.h"

/* ---- a context ---- */

typedef struct counter {
    size_t blocks; /* held now */
    long calls;    /* since it was last zeroed */
    long fail_at;  /* this call fails; -1 none */
    bool for_good; /* and all after it */
} counter;

typedef struct world {
    counter memory;
    qdbg_ctx *ctx;
} world;

/* cmocka's setup and teardown; stop fails when memory is still held. */
int start(void **state);
int start_limited(void **state, uint64_t memory_limit);
int stop(void **state);
qdbg_ctx *ctx_of(void **state);

/* A test by its name, in a world of its own. */
#define FACT(f) cmocka_unit_test_setup_teardown(f, start, stop)

/* ---- loads; all free the file ---- */

qdbg_graph *must_load(qdbg_ctx *ctx, make_buf file);

/* The load fails so, with `text` in its message; neither its out-parameter nor the memory held
 * changes. */
void must_fail(qdbg_ctx *ctx, make_buf file, qdbg_status status, const char *text);
void must_fail_in(qdbg_ctx *ctx, make_buf file, const char *folder, qdbg_status status,
                  const char *text);

/* The last error has `text` in its message; names this node and value (NULL: any). */
void must_say(qdbg_ctx *ctx, const char *text);
void must_name(qdbg_ctx *ctx, const char *node, const char *value);

/* ---- graphs ---- */

qdbg_value_info value_named(const qdbg_graph *graph, const char *name);
const qdbg__node *node_named(const qdbg_graph *graph, const char *name);

/* The parameter has this type and these elements. */
void must_hold(const qdbg_graph *graph, const char *name, int32_t dtype, const void *data,
               size_t size);

/* ---- models ---- */

/* x [N,4] -> Relu 'relu' -> y, without the end. */
void begin_relu(make_model *m);

/* ... with the tensor as initializer. */
make_buf model_of(make_buf tensor);

/* One of everything, small enough to be broken at each byte. */
make_buf rich_model(void);

/* Fields of each wire type under numbers that ONNX does not use. */
void add_unknown(make_buf *b);

/* ---- files ---- */

typedef struct temp_folder {
    char path[64];
    char file[160]; /* the path last made by inside() */
} temp_folder;

temp_folder make_folder(void);
const char *inside(temp_folder *f, const char *name);
void write_file(const char *path, const void *data, size_t size);

#endif
