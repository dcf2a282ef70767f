/* Models that the library's own executor runs. */
#include <string.h>

#include "model.h"

static qdbg_status builtin_prepare(qdbg_model *m, const qdbg_view *inputs)
{
    if (m->exec && !m->stale && qdbg__exec_fits(m->exec, inputs))
        return QDBG_OK;
    qdbg__exec *exec;
    qdbg_status status = qdbg__exec_create_with(m->graph, inputs, m->params, &exec);
    if (status != QDBG_OK)
        return status;
    qdbg__exec_destroy(m->exec);
    m->exec = exec;
    m->stale = false;
    for (size_t i = 0; i < m->graph->n_outputs; i++)
        m->run_outputs[i] = *qdbg__exec_value(exec, m->graph->outputs[i]);
    return QDBG_OK;
}

static qdbg_status builtin_run(qdbg_model *m, const qdbg__model_job *job)
{
    qdbg__exec_job e = {
        .inputs = job->inputs,
        .n_runs = job->n_runs,
        .params = m->params,
        .variants = job->variants,
        .n_variants = job->n_variants,
        .outputs = job->outputs,
        .observe = job->observe,
        .wanted = job->observe_values,
        .observe_user = job->observe_user,
    };
    qdbg_status status = qdbg__exec_run(m->exec, &e);
    if (status == QDBG_E_CANCELLED)
        qdbg_cancel_clear(m->ctx); /* answered, even if it was withdrawn meanwhile */
    return status;
}

static qdbg_status builtin_get(qdbg_model *m, uint32_t value, float *data, uint64_t count)
{
    if (count > 0)
        memcpy(data, m->params[value], count * sizeof *data);
    return QDBG_OK;
}

static qdbg_status builtin_set(qdbg_model *m, uint32_t value, const float *data, uint64_t count)
{
    if (!m->own_params[value]) {
        m->own_params[value] = qdbg__alloc(m->ctx, count, sizeof *data);
        if (!m->own_params[value])
            return m->ctx->error_status;
    }
    if (count > 0)
        memcpy(m->own_params[value], data, count * sizeof *data);
    m->params[value] = m->own_params[value];
    if (m->exec && qdbg__exec_is_baked(m->exec, value)) {
        m->prepared = false;
        m->stale = true;
    }
    return QDBG_OK;
}

static void builtin_destroy(qdbg_model *m)
{
    size_t n = m->graph->n_values;
    qdbg__exec_destroy(m->exec);
    for (size_t i = 0; m->own_params && i < n; i++)
        qdbg__free(m->ctx, m->own_params[i], m->graph->values[i].bytes / sizeof(float),
                   sizeof(float));
    qdbg__free(m->ctx, m->own_params, n, sizeof *m->own_params);
    qdbg__free(m->ctx, m->params, n, sizeof *m->params);
}

const qdbg__backend qdbg__builtin_backend = {builtin_prepare, builtin_run, builtin_get, builtin_set,
                                             builtin_destroy};

/* All that can be checked while input shapes are not known. */
static qdbg_status refuse_unknown_operators(qdbg_model *m)
{
    for (size_t i = 0; i < m->graph->n_nodes; i++) {
        qdbg__facts facts;
        if (!m->graph->nodes[i].op) /* strict inference fails on it and lists them all */
            return qdbg__facts_infer(m->graph, m->run_inputs, true, &facts);
    }
    return QDBG_OK;
}

/* Refuse early what the executor cannot run, where the graph tells its shapes without data. */
static qdbg_status plan_if_known(qdbg_model *m)
{
    const qdbg_graph *g = m->graph;
    bool known = true;
    for (size_t i = 0; i < g->n_inputs; i++) {
        const qdbg__value *v = &g->values[g->inputs[i]];
        qdbg_view *in = &m->run_inputs[i];
        *in = (qdbg_view)QDBG_VIEW_INIT;
        if (v->rank == QDBG_RANK_UNKNOWN) {
            known = false;
            continue;
        }
        in->dtype = v->dtype == QDBG_DTYPE_NONE ? QDBG_F32 : v->dtype;
        in->rank = v->rank;
        memcpy(in->dims, v->dims, sizeof v->dims);
        if (v->rank > 0 && in->dims[0] <= 0)
            in->dims[0] = 1;
        for (uint32_t k = 1; k < v->rank; k++)
            known = known && in->dims[k] >= 0;
    }
    if (!known)
        return refuse_unknown_operators(m);
    qdbg_status status = builtin_prepare(m, m->run_inputs);
    m->prepared = status == QDBG_OK;
    return status;
}

qdbg_status qdbg_model_create(qdbg_graph *graph, qdbg_model **out)
{
    if (!graph)
        return QDBG_E_INVALID;
    qdbg_ctx *ctx = graph->ctx;
    qdbg__clear_error(ctx);
    if (!out)
        return qdbg__fail(ctx, QDBG_E_INVALID, "out is NULL");
    qdbg_model *m;
    qdbg_status status = qdbg__model_new(graph, &qdbg__builtin_backend, &m);
    if (status != QDBG_OK)
        return status;
    size_t n = graph->n_values;
    m->params = qdbg__alloc(ctx, n, sizeof *m->params);
    m->own_params = m->params ? qdbg__alloc(ctx, n, sizeof *m->own_params) : NULL;
    status = m->own_params ? QDBG_OK : ctx->error_status;
    if (status == QDBG_OK) {
        for (size_t i = 0; i < n; i++)
            if (graph->values[i].is_param && graph->values[i].dtype == QDBG_F32)
                m->params[i] = graph->values[i].data;
        status = plan_if_known(m);
    }
    if (status != QDBG_OK) {
        qdbg_model_destroy(m);
        return status;
    }
    *out = m;
    return QDBG_OK;
}
