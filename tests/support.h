/* What the tests of the library share: an allocator that counts and fails, an engine outside the
 * library that plays host, small networks and data. Helpers assert that they succeed. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <qdebug/qdebug.h>

/* ---- memory ---- */

/* An allocator that checks what it is given back and fails when it is told to. */
typedef struct heap {
    pthread_mutex_t mutex;
    uint64_t n_calls;  /* of alloc since heap_arm */
    uint64_t fail_at;  /* the call that fails, from 1; 0: none */
    bool persistent;   /* all later ones fail too */
    uint64_t n_failed; /* calls that failed since heap_arm */
    uint64_t n_live;   /* blocks */
    uint64_t live_bytes;
} heap;

void heap_init(heap *h);
qdbg_allocator heap_allocator(heap *h);
void heap_arm(heap *h, uint64_t fail_at, bool persistent);
/* A context on the heap. */
qdbg_ctx *heap_ctx(heap *h, uint32_t threads);
/* Destroy the context and see that nothing is left. */
void heap_end(heap *h, qdbg_ctx *ctx);

/* ---- errors ---- */

/* The call fails with `status`, and the context's message holds `text`. */
#define assert_fails(ctx, call, status, text) \
    check_failure(ctx, call, status, text, __FILE__, __LINE__)
void check_failure(const qdbg_ctx *ctx, qdbg_status got, qdbg_status want, const char *text,
                   const char *file, int line);

#define assert_ok(call) assert_int_equal(call, QDBG_OK)

qdbg_error_info error_of(const qdbg_ctx *ctx);

/* ---- networks ---- */

/* The value called `name`, which exists. */
uint32_t value_of(const qdbg_graph *g, const char *name);

/* x[1,4] -> Gemm "h" [1,6] -> Relu "r" -> Gemm "y" [1,3]; weights "w1" [4,6], "w2" [6,3], biases
 * "b1", "b2". `symbolic`: the batch is unknown. Small whole numbers: every order of summing gives
 * the same floats, also behind quantizers whose scale is a power of two. */
qdbg_graph *net_of_gemms(qdbg_ctx *ctx, bool symbolic);

/* x[1,2,4,4] -> Conv "c" -> BatchNormalization "n" -> Relu "r" -> GlobalAveragePool "p" -> Flatten
 * "f" -> Gemm "y" [1,3]. */
qdbg_graph *net_of_convs(qdbg_ctx *ctx);

/* ---- data ---- */

/* Samples in memory: one input [n, ...], labels, and the dataset over them. */
typedef struct samples {
    uint64_t n;
    float *x;
    int64_t *labels;
    qdbg_arrays *arrays;
    qdbg_dataset set;
} samples;

/* `n` samples of the graph's first input, whole numbers from -8 to 8, labels below `classes` (0: no
 * labels). The same for the same arguments. */
samples samples_make(qdbg_ctx *ctx, const qdbg_graph *g, uint64_t n, uint64_t batch_size,
                     int64_t classes);
void samples_free(samples *s);
/* The view of all of them. */
qdbg_view samples_view(const qdbg_graph *g, const samples *s);

qdbg_metric metric_of(int32_t kind);

/* ---- a host ---- */

/* How the engine breaks the rules of qdbg_host_run_fn. */
enum fault {
    FAULT_NONE,
    FAULT_NO_TAP,     /* rule 1: does not tap fault_value */
    FAULT_TAP_TWICE,  /* rule 1 */
    FAULT_IGNORE,     /* rule 2: goes on with its own copy */
    FAULT_SHAPE,      /* rule 3: the last dimension is too small */
    FAULT_BATCH,      /* rule 3: only the first of several samples */
    FAULT_DTYPE,      /* rule 3 */
    FAULT_NOT_A_VIEW, /* rule 3: rank 100 */
    FAULT_NO_VALUE,   /* rule 1: taps a value that does not exist */
    FAULT_GO_ON,      /* rule 5: as FAULT_SHAPE, and does not stop */
    FAULT_INPUT,      /* rule 6: taps the library's input itself */
    FAULT_HALF,       /* set_parameter keeps bfloat16 */
    FAULT_DEAF,       /* set_parameter does nothing to fault_value */
};

#define ENGINE_VALUES 64

/* Plain loops over Gemm, Conv (1x1), BatchNormalization, Relu, Add, Flatten and GlobalAveragePool,
 * in the graph's order. */
typedef struct engine {
    const qdbg_graph *graph;
    float *params[ENGINE_VALUES]; /* NULL where no parameter */
    uint64_t counts[ENGINE_VALUES];
    float *values[ENGINE_VALUES]; /* during a pass */
    qdbg_view views[ENGINE_VALUES];
    enum fault fault;
    uint32_t fault_value; /* QDBG_NONE: every value */
    /* The call that returns `code`, from 1; 0: none. */
    uint64_t fail_run, fail_get, fail_set;
    int32_t code;
    uint64_t n_runs, n_gets, n_sets;
    pthread_t thread; /* that all calls came on */
    bool wrong_thread;
    qdbg_status tap_status; /* what the last failed tap returned */
} engine;

void engine_init(engine *e, const qdbg_graph *g);
void engine_free(engine *e);
qdbg_host engine_host(engine *e);
qdbg_model *engine_model(engine *e, qdbg_graph *g);

qdbg_model *builtin_model(qdbg_graph *g);

#endif
