/* What each variant of a job has to compute. A change spreads from a source or a step to all that
 * read it; the rest is the base's. */
#include "program.h"

#include <string.h>

qdbg_status qdbg__reach_init(qdbg__exec *exec)
{
    size_t n = exec->graph->n_values;
    qdbg__reach *r = &exec->reach;
    r->base_flags = qdbg__alloc(exec->ctx, n, 1);
    r->overlay_flags = r->base_flags ? qdbg__alloc(exec->ctx, n, 1) : NULL;
    r->changed = r->overlay_flags ? qdbg__alloc(exec->ctx, n, 1) : NULL;
    return r->changed ? QDBG_OK : exec->ctx->error_status;
}

void qdbg__reach_free(qdbg__exec *exec)
{
    size_t n = exec->graph->n_values;
    qdbg__reach *r = &exec->reach;
    qdbg__free(exec->ctx, r->base_flags, n, 1);
    qdbg__free(exec->ctx, r->overlay_flags, n, 1);
    qdbg__free(exec->ctx, r->changed, n, 1);
    qdbg__free(exec->ctx, r->steps, r->steps_capacity, sizeof *r->steps);
    qdbg__free(exec->ctx, r->sources, r->sources_capacity, sizeof *r->sources);
    qdbg__free(exec->ctx, r->step_start, r->step_start_capacity, sizeof *r->step_start);
    qdbg__free(exec->ctx, r->source_start, r->source_start_capacity, sizeof *r->source_start);
    *r = (qdbg__reach){0};
}

static qdbg_status add_step(qdbg__exec *exec, uint32_t entry)
{
    qdbg__reach *r = &exec->reach;
    qdbg_status status =
        qdbg__reserve(exec->ctx, &r->steps, &r->steps_capacity, r->n_steps + 1, sizeof *r->steps);
    if (status == QDBG_OK)
        r->steps[r->n_steps++] = entry;
    return status;
}

static qdbg_status add_source(qdbg__exec *exec, uint32_t value)
{
    qdbg__reach *r = &exec->reach;
    qdbg_status status = qdbg__reserve(exec->ctx, &r->sources, &r->sources_capacity,
                                       r->n_sources + 1, sizeof *r->sources);
    if (status == QDBG_OK)
        r->sources[r->n_sources++] = value;
    return status;
}

static bool is_source(const qdbg__exec *exec, size_t v)
{
    return exec->lives[v].reached && exec->lives[v].first == QDBG_NONE;
}

static bool act_changes(const qdbg__exec_job *job, uint32_t variant, uint32_t v)
{
    return qdbg__variant_act(job, variant, v) != qdbg__variant_act(job, 0, v);
}

/* The base computes every step, takes in every input and quantizes what it is told to. */
static qdbg_status base_needs(qdbg__exec *exec, const qdbg__exec_job *job)
{
    qdbg__reach *r = &exec->reach;
    qdbg_status status = QDBG_OK;
    for (size_t v = 0; v < exec->graph->n_values && status == QDBG_OK; v++) {
        const qdbg__fakequant *act = qdbg__variant_act(job, 0, (uint32_t)v);
        r->overlay_flags[v] = 0;
        r->base_flags[v] = exec->lives[v].first != QDBG_NONE ? QDBG__PLACE : 0;
        if (!is_source(exec, v))
            continue;
        if (act)
            r->base_flags[v] = QDBG__PLACE;
        if (act || exec->graph->values[v].is_input)
            status = add_source(exec, (uint32_t)v);
    }
    return status;
}

static qdbg_status change_sources(qdbg__exec *exec, const qdbg__exec_job *job, uint32_t variant)
{
    qdbg__reach *r = &exec->reach;
    qdbg_status status = QDBG_OK;
    memset(r->changed, 0, exec->graph->n_values);
    for (uint32_t v = 0; v < exec->graph->n_values && status == QDBG_OK; v++) {
        if (!is_source(exec, v))
            continue;
        bool fed = exec->graph->values[v].is_input;
        if (!act_changes(job, variant, v) &&
            (fed || qdbg__variant_constant(exec, job, variant, v) ==
                        qdbg__variant_constant(exec, job, 0, v)))
            continue;
        r->changed[v] = 1;
        if (qdbg__variant_act(job, variant, v))
            r->overlay_flags[v] = QDBG__PLACE;
        status = add_source(exec, v);
    }
    return status;
}

static void keep(qdbg__exec *exec, uint32_t v)
{
    if (exec->reach.base_flags[v])
        exec->reach.base_flags[v] |= QDBG__KEEP;
}

/* How a variant differs at a step. */
typedef struct difference {
    bool input;     /* some input is changed */
    bool constant;  /* a changed parameter or folded constant is among them */
    bool act;       /* the quantizer of an output changes */
    bool recompute; /* ... and what is to be quantized cannot be had from the base */
} difference;

static difference compare_step(const qdbg__exec *exec, const qdbg__exec_job *job, uint32_t variant,
                               const qdbg__node *node)
{
    difference d = {0};
    for (uint32_t i = 0; i < node->n_in; i++) {
        uint32_t v = node->in[i];
        if (v == QDBG_NONE || !exec->reach.changed[v])
            continue;
        d.input = true;
        d.constant = d.constant || is_source(exec, v);
    }
    for (uint32_t i = 0; i < node->n_out; i++) {
        uint32_t v = node->out[i];
        if (v == QDBG_NONE || !act_changes(job, variant, v))
            continue;
        d.act = true;
        d.recompute = d.recompute || qdbg__variant_act(job, 0, v) != NULL;
    }
    return d;
}

/* See to it that whatever the step may read of the base lasts. A step whose only computed input is
 * changed never reads the base's, for it is skipped where the change has died out; one with
 * several inputs may, and one where a change begins does. */
static void keep_inputs(qdbg__exec *exec, const qdbg__step *step, difference d)
{
    const qdbg__node *node = &exec->graph->nodes[step->node];
    if (!step->join && !d.constant && !d.recompute)
        return;
    for (uint32_t i = 0; i < node->n_in; i++) {
        if (node->in[i] != QDBG_NONE)
            keep(exec, node->in[i]);
    }
}

static qdbg_status spread(qdbg__exec *exec, const qdbg__exec_job *job, uint32_t variant)
{
    qdbg__reach *r = &exec->reach;
    qdbg_status status = QDBG_OK;
    for (uint32_t s = 0; s < exec->n_steps && status == QDBG_OK; s++) {
        const qdbg__node *node = &exec->graph->nodes[exec->steps[s].node];
        difference d = compare_step(exec, job, variant, node);
        if (!d.input && !d.act)
            continue;
        keep_inputs(exec, &exec->steps[s], d);
        for (uint32_t i = 0; i < node->n_out; i++) {
            uint32_t v = node->out[i];
            if (v == QDBG_NONE)
                continue;
            bool act = act_changes(job, variant, v);
            if (act)
                keep(exec, v);
            r->changed[v] = d.input || act;
            r->overlay_flags[v] = QDBG__PLACE; /* a step that is run writes all its outputs */
        }
        status = add_step(exec, d.act ? s | QDBG__SEED : s);
    }
    return status;
}

qdbg_status qdbg__reach_find(qdbg__exec *exec, const qdbg__exec_job *job)
{
    qdbg__reach *r = &exec->reach;
    size_t n = (size_t)job->n_variants + 1;
    qdbg_status status =
        qdbg__reserve(exec->ctx, &r->step_start, &r->step_start_capacity, n, sizeof *r->step_start);
    if (status == QDBG_OK)
        status = qdbg__reserve(exec->ctx, &r->source_start, &r->source_start_capacity, n,
                               sizeof *r->source_start);
    if (status != QDBG_OK)
        return status;
    r->n_steps = r->n_sources = 0;
    r->step_start[0] = r->source_start[0] = 0;
    status = base_needs(exec, job);
    for (uint32_t k = 1; k < job->n_variants && status == QDBG_OK; k++) {
        r->step_start[k] = r->n_steps;
        r->source_start[k] = r->n_sources;
        status = change_sources(exec, job, k);
        if (status == QDBG_OK)
            status = spread(exec, job, k);
    }
    r->step_start[job->n_variants] = r->n_steps;
    r->source_start[job->n_variants] = r->n_sources;
    return status;
}
