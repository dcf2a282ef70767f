/* The executor from inside: what exec.c, layout.c, reach.c and worker.c share. */
#ifndef QDBG_EXEC_PROGRAM_H
#define QDBG_EXEC_PROGRAM_H

#include "exec.h"

/* A step is a node that has to be run; steps are numbered in topological order. */
typedef struct qdbg__step {
    uint32_t node;
    bool join; /* reads two or more different values that steps compute or that are fed */
} qdbg__step;

/* A value's life. Sources (fed values, parameters and folded constants) have no first step. */
typedef struct qdbg__life {
    size_t bytes;
    uint32_t first; /* step that computes it, QDBG_NONE for a source */
    uint32_t last;  /* last step that reads it; n_steps when it must last to the end */
    bool reached;   /* type and shape are known: it can be computed */
} qdbg__life;

/* What a value needs of a buffer in a job. */
#define QDBG__PLACE 1u /* room from its first step to its last */
#define QDBG__KEEP 2u  /* room to the end of the run */

typedef struct qdbg__hole {
    size_t at, size;
} qdbg__hole;

/* Which steps each variant of a job has to run: found once for all runs. */
typedef struct qdbg__reach {
    uint32_t *steps;   /* all variants' steps, one after the other, QDBG__SEED marked */
    uint32_t *sources; /* likewise the sources that a variant sees changed */
    size_t n_steps, steps_capacity, n_sources, sources_capacity;
    size_t *step_start, *source_start; /* [n_variants + 1]; variant 0's are those of the base */
    size_t step_start_capacity, source_start_capacity;
    uint8_t *base_flags, *overlay_flags; /* [n_values]: QDBG__PLACE, QDBG__KEEP */
    uint8_t *changed;                    /* [n_values]: of the variant at hand */
} qdbg__reach;

/* The step changes a quantizer at one of its outputs. */
#define QDBG__SEED 0x80000000u

enum { QDBG__MISHAP_NONE, QDBG__MISHAP_CANCEL, QDBG__MISHAP_NODE, QDBG__MISHAP_OBSERVER };

typedef struct qdbg__mishap {
    int32_t kind; /* QDBG__MISHAP_ */
    qdbg_status status;
    uint64_t run;
    uint32_t variant;
    uint32_t culprit; /* node or value */
} qdbg__mishap;

typedef struct qdbg__worker {
    qdbg_view *views;        /* [n_values]: as the variant at hand sees them */
    void **base;             /* [n_values]: the base's elements */
    const qdbg_view **links; /* backing of the runs' in and out */
    qdbg__run *runs;         /* [n_steps] */
    char *buffer;            /* base values, overlay, scratch */
    size_t buffer_bytes;
    char *overlay;
    qdbg__mishap failure;
} qdbg__worker;

struct qdbg__exec {
    qdbg_ctx *ctx;
    const qdbg_graph *graph;
    qdbg__facts facts;
    qdbg__step *steps; /* [n_steps] */
    size_t n_steps;
    size_t n_links;    /* inputs and outputs of all steps */
    qdbg__life *lives; /* [n_values] */
    size_t scratch;    /* bytes, the most that any step asks */
    size_t bytes_least, bytes_most;
    /* What the job at hand needs. */
    qdbg__reach reach;
    size_t *base_at, *overlay_at; /* [n_values]: offsets in the buffer */
    size_t base_bytes, overlay_bytes;
    uint32_t end_step; /* steps from here on make nothing that is wanted */
    qdbg__hole *holes;     /* [n_values + 1] room for layout.c to work in */
    qdbg__worker *workers; /* [n_workers] */
    size_t n_workers, workers_capacity;
    uint32_t *seats; /* [threads]: the worker that a thread of the pool is in this job */
};

/* layout.c: give every value that flags mark a place; *total is the end of the last. Fails when
 * the sum passes what size_t holds. */
qdbg_status qdbg__layout_make(qdbg__exec *exec, const uint8_t *flags, size_t *at, size_t *total);

/* reach.c */
qdbg_status qdbg__reach_init(qdbg__exec *exec);
void qdbg__reach_free(qdbg__exec *exec);
qdbg_status qdbg__reach_find(qdbg__exec *exec, const qdbg__exec_job *job);

/* worker.c: bring workers up to `n` with buffers for the laid out job; then run items on them.
 * `thread` is the number that observers are told. */
qdbg_status qdbg__workers_prepare(qdbg__exec *exec, const qdbg__exec_job *job, size_t n);
void qdbg__workers_free(qdbg__exec *exec);
qdbg_status qdbg__worker_run(qdbg__exec *exec, const qdbg__exec_job *job, uint64_t run,
                             qdbg__worker *worker, uint32_t thread);

/* The quantizer that a variant has at a value. */
static inline const qdbg__fakequant *qdbg__variant_act(const qdbg__exec_job *job, uint32_t variant,
                                                       uint32_t value)
{
    const qdbg__fakequant *const *acts = job->variants[variant].acts;
    return acts ? acts[value] : NULL;
}

/* The elements of a parameter or folded constant in a variant. */
static inline const void *qdbg__variant_constant(const qdbg__exec *exec, const qdbg__exec_job *job,
                                                 uint32_t variant, uint32_t value)
{
    const float *const *own = job->variants[variant].params;
    if (own && own[value])
        return own[value];
    if (job->params && job->params[value])
        return job->params[value];
    return exec->facts.values[value].view.data;
}

#endif
