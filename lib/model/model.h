/* The model interface from inside: what runs a graph. Layer 6. Everything above talks to this and
 * never to the executor. */
#ifndef QDBG_MODEL_MODEL_H
#define QDBG_MODEL_MODEL_H

#include <qdebug/model.h>

#include "../exec/exec.h"

/* Some runs of the network, in one or many variants. */
typedef struct qdbg__model_job {
    const qdbg_view *inputs; /* [graph->n_inputs], checked by qdbg__model_prepare */
    uint64_t n_runs;
    const qdbg__variant *variants; /* [n_variants]; variant 0 is the base */
    uint32_t n_variants;
    void *const
        *outputs; /* [n_variants * graph->n_outputs], see qdbg__exec_job; NULL: none wanted */
    qdbg__observe_fn observe;      /* or NULL */
    const uint8_t *observe_values; /* [n_values] 1 where observe wants the value */
    void *observe_user;
} qdbg__model_job;

/* What differs between built-in and host. */
typedef struct qdbg__backend {
    /* Get ready for runs with inputs of these shapes (of one run). */
    qdbg_status (*prepare)(qdbg_model *model, const qdbg_view *inputs);
    qdbg_status (*run)(qdbg_model *model, const qdbg__model_job *job);
    qdbg_status (*get)(qdbg_model *model, uint32_t value, float *data, uint64_t count);
    qdbg_status (*set)(qdbg_model *model, uint32_t value, const float *data, uint64_t count);
    void (*destroy)(qdbg_model *model); /* what the backend owns */
} qdbg__backend;

struct qdbg_model {
    qdbg_ctx *ctx;
    qdbg_graph *graph;
    const qdbg__backend *backend;
    uint64_t version;       /* grows with every changed parameter */
    uint64_t n_changes;     /* the number of journals so far, which they are known by */
    uint64_t *changed_by;   /* [n_values] the journal that changed a parameter last; 0: none */
    qdbg_view *run_inputs;  /* [n_inputs] shapes of one run, as last prepared */
    qdbg_view *run_outputs; /* [n_outputs] */
    bool prepared;

    qdbg__exec *exec;     /* built-in: the plan, or NULL */
    bool stale;           /* built-in: a parameter that the plan was made from has changed */
    const float **params; /* built-in: [n_values] current elements of float32 parameters */
    float **own_params;   /* built-in: [n_values] those that were set, owned */

    qdbg_host host;        /* host */
    qdbg_view *run_values; /* host: [n_values] shapes of one run, dtype NONE where not known */
};

extern const qdbg__backend qdbg__builtin_backend;
extern const qdbg__backend qdbg__host_backend;

/* A model with everything that both kinds have; the backend's own fields are zero. */
qdbg_status qdbg__model_new(qdbg_graph *graph, const qdbg__backend *backend, qdbg_model **out);

/* Check inputs against the graph, make ready and tell how many runs they hold. */
qdbg_status qdbg__model_prepare(qdbg_model *model, const qdbg_view *inputs, uint32_t n_inputs,
                                uint64_t *n_runs);

/* Bytes of output number `i` for one run; after qdbg__model_prepare. */
size_t qdbg__model_output_bytes(const qdbg_model *model, uint32_t i);

/* Views of runs start .. start + n - 1 of `inputs`. */
void qdbg__model_slice(const qdbg_model *model, const qdbg_view *inputs, uint64_t start, uint64_t n,
                       qdbg_view *slice);

#endif
