/* The built-in executor: plan once for given input shapes, run many times, any number of variants
 * of the quantization in one pass. Layer 5. */
#ifndef QDBG_EXEC_EXEC_H
#define QDBG_EXEC_EXEC_H

#include "../graph/op.h"
#include "../quant/fakequant.h"

typedef struct qdbg__exec qdbg__exec;

/* One way to run the network. */
typedef struct qdbg__variant {
    /* [n_values]: the quantizer to apply to each value right after it is computed (or fed), NULL
     * where none; the array itself may be NULL: none at all. Only for float32 values. Where the
     * base has none at a value and another variant has one, the base's result is quantized anew
     * and not computed again: the cheapest difference. Two pointers that differ count as different
     * quantizers. (For a constant, `params` is the cheaper way: here it is quantized in each run.)
     */
    const qdbg__fakequant *const *acts;
    /* [n_values]: elements to use instead of the base table's for a parameter, NULL where the same;
     * the array itself may be NULL. */
    const float *const *params;
} qdbg__variant;

/* Sees a value after its quantizer, in public layout: the graph's inputs and what nodes compute,
 * not parameters and folded constants. Called on worker threads, for one run at a time in
 * topological order, only for values that this variant computes anew. (One that is not shown is
 * what the base has.) A non-OK result ends the run. */
typedef qdbg_status (*qdbg__observe_fn)(void *user, uint32_t worker, uint32_t variant, uint64_t run,
                                        uint32_t value, const qdbg_view *view);

typedef struct qdbg__exec_job {
    /* [graph->n_inputs]; dims[0] = n_runs * the plan's batch. An input of rank 0, or with dims[0]
     * as planned, is the same for all runs. */
    const qdbg_view *inputs;
    uint64_t n_runs;
    /* [n_values]: a parameter's current elements, NULL for values that are not float parameters or
     * unchanged: their elements come from the graph. The table itself may be NULL. */
    const float *const *params;
    const qdbg__variant *variants; /* [n_variants]; variant 0 is the base, computed in full; of the
                                      others only what differs from it is computed */
    uint32_t n_variants;
    /* [n_variants * graph->n_outputs] buffers for n_runs results each, variant-major; an entry may
     * be NULL when the result is not wanted, and so may the table. */
    void *const *outputs;
    qdbg__observe_fn observe; /* or NULL */
    /* [n_values]: 1 where observe wants the value; NULL: all. Where `outputs` is NULL too, nothing
     * behind the last such value is computed. */
    const uint8_t *wanted;
    void *observe_user;
} qdbg__exec_job;

/* Plan for inputs of these shapes (one run: dims[0] is the batch of a run); data is not read.
 * Unsupported operators are listed all at once. The graph must outlive the plan. */
qdbg_status qdbg__exec_create(const qdbg_graph *graph, const qdbg_view *inputs, qdbg__exec **out);
/* The same, with other elements than the graph's for float parameters: `params` [n_values], NULL
 * where the graph's hold. Jobs are then given the same ones. */
qdbg_status qdbg__exec_create_with(const qdbg_graph *graph, const qdbg_view *inputs,
                                   const float *const *params, qdbg__exec **out);
void qdbg__exec_destroy(qdbg__exec *exec);

/* True when the plan serves inputs of these shapes. */
bool qdbg__exec_fits(const qdbg__exec *exec, const qdbg_view *inputs);

/* True for a parameter that the plan was made from, beside shape arithmetic: it takes a new plan to
 * change its elements. */
bool qdbg__exec_is_baked(const qdbg__exec *exec, uint32_t value);

/* Type and shape of a value in one run (dtype NONE when the graph does not reach it). */
const qdbg_view *qdbg__exec_value(const qdbg__exec *exec, uint32_t value);

/* Bytes that one worker's buffers take: in a job of one variant without quantizers on inputs, and
 * at most in any job. */
size_t qdbg__exec_worker_bytes(const qdbg__exec *exec);
size_t qdbg__exec_worker_bytes_max(const qdbg__exec *exec);

/* Run on all threads of the context. A run's results depend neither on the thread count nor on the
 * other runs of the job, and a variant's not on the other variants. Buffers stay for the next job.
 * Checks cancel between runs and between variants and returns QDBG_E_CANCELLED then without
 * clearing the request; outputs hold nothing of use after a failure. When a node fails, or observe
 * does, the details name it. */
qdbg_status qdbg__exec_run(qdbg__exec *exec, const qdbg__exec_job *job);

#endif
