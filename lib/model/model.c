#include "model.h"

#include <string.h>

qdbg_status qdbg__model_new(qdbg_graph *graph, const qdbg__backend *backend, qdbg_model **out)
{
    qdbg_ctx *ctx = graph->ctx;
    if (!graph->finished)
        return qdbg__fail(ctx, QDBG_E_STATE, "the graph is not finished");
    qdbg_model *m = qdbg__alloc(ctx, 1, sizeof *m);
    if (!m)
        return ctx->error_status;
    m->ctx = ctx;
    m->graph = graph;
    m->backend = backend;
    m->changed_by = qdbg__alloc(ctx, graph->n_values, sizeof *m->changed_by);
    m->run_inputs = m->changed_by ? qdbg__alloc(ctx, graph->n_inputs, sizeof *m->run_inputs) : NULL;
    m->run_outputs =
        m->run_inputs ? qdbg__alloc(ctx, graph->n_outputs, sizeof *m->run_outputs) : NULL;
    if (!m->run_outputs) {
        qdbg_status status = ctx->error_status;
        qdbg_model_destroy(m);
        return status;
    }
    *out = m;
    return QDBG_OK;
}

void qdbg_model_destroy(qdbg_model *m)
{
    if (!m)
        return;
    m->backend->destroy(m);
    qdbg__free(m->ctx, m->run_outputs, m->graph->n_outputs, sizeof *m->run_outputs);
    qdbg__free(m->ctx, m->run_inputs, m->graph->n_inputs, sizeof *m->run_inputs);
    qdbg__free(m->ctx, m->changed_by, m->graph->n_values, sizeof *m->changed_by);
    qdbg__free(m->ctx, m, 1, sizeof *m);
}

const qdbg_graph *qdbg_model_graph(const qdbg_model *m)
{
    return m ? m->graph : NULL;
}

/* ---- parameters ---- */

static qdbg_status check_parameter(qdbg_model *m, uint32_t value, const void *data, uint64_t count)
{
    if (!m)
        return QDBG_E_INVALID;
    qdbg__clear_error(m->ctx);
    if (value >= m->graph->n_values || !m->graph->values[value].is_param)
        return qdbg__fail(m->ctx, QDBG_E_INVALID, "value %u is not a parameter", value);
    const qdbg__value *v = &m->graph->values[value];
    if (v->dtype != QDBG_F32)
        return qdbg__fail_at(m->ctx, QDBG_E_TYPE, NULL, v->name,
                             "parameter '%s' is %s, not float32", v->name,
                             qdbg_dtype_name(v->dtype));
    if (!data || count != v->bytes / sizeof(float))
        return qdbg__fail_at(m->ctx, QDBG_E_INVALID, NULL, v->name,
                             "parameter '%s' has %zu elements, not %llu (or data is NULL)", v->name,
                             v->bytes / sizeof(float), (unsigned long long)count);
    return QDBG_OK;
}

qdbg_status qdbg_model_get_parameter(qdbg_model *m, uint32_t value, float *data, uint64_t count)
{
    qdbg_status status = check_parameter(m, value, data, count);
    return status == QDBG_OK ? m->backend->get(m, value, data, count) : status;
}

qdbg_status qdbg_model_set_parameter(qdbg_model *m, uint32_t value, const float *data,
                                     uint64_t count)
{
    qdbg_status status = check_parameter(m, value, data, count);
    if (status != QDBG_OK)
        return status;
    m->version++; /* also where it fails: a host may have copied half of it */
    return m->backend->set(m, value, data, count);
}

/* ---- inputs ---- */

/* The graph's first dimension for one run: fixed, or 1 where it is symbolic. */
static int64_t run_batch(const qdbg__value *v)
{
    return v->rank != QDBG_RANK_UNKNOWN && v->rank > 0 && v->dims[0] > 0 ? v->dims[0] : 1;
}

static qdbg_status shape_misfit(qdbg_model *m, const qdbg__value *v, const qdbg_view *in)
{
    char have[128], want[128];
    qdbg__shape_text(in->rank, in->dims, have, sizeof have);
    qdbg__shape_text(v->rank, v->dims, want, sizeof want);
    return qdbg__fail_at(m->ctx, QDBG_E_SHAPE, NULL, v->name,
                         "input '%s' is %s, but the graph wants %s", v->name, have, want);
}

/* Check one input and tell the shape and number of its runs. */
static qdbg_status check_input(qdbg_model *m, uint32_t index, const qdbg_view *in, qdbg_view *one,
                               uint64_t *n_runs)
{
    const qdbg__value *v = &m->graph->values[m->graph->inputs[index]];
    qdbg_status status = qdbg__view_check(m->ctx, in, v->name);
    if (status != QDBG_OK)
        return status;
    int32_t want = v->dtype == QDBG_DTYPE_NONE ? QDBG_F32 : v->dtype;
    if (in->dtype != want)
        return qdbg__fail_at(m->ctx, QDBG_E_TYPE, NULL, v->name, "input '%s' is %s, not %s",
                             v->name, qdbg_dtype_name(in->dtype), qdbg_dtype_name(want));
    *one = *in;
    one->data = NULL;
    if (in->rank == 0) /* shared by all runs */
        return v->rank == 0 || v->rank == QDBG_RANK_UNKNOWN ? QDBG_OK : shape_misfit(m, v, in);
    if (v->rank != QDBG_RANK_UNKNOWN && v->rank != in->rank)
        return shape_misfit(m, v, in);
    if (v->rank != QDBG_RANK_UNKNOWN)
        for (uint32_t i = 1; i < in->rank; i++)
            if (v->dims[i] >= 0 && v->dims[i] != in->dims[i])
                return shape_misfit(m, v, in);
    int64_t batch = run_batch(v);
    if (in->dims[0] < batch || in->dims[0] % batch != 0)
        return shape_misfit(m, v, in);
    uint64_t runs = (uint64_t)(in->dims[0] / batch);
    if (*n_runs != 0 && *n_runs != runs)
        return qdbg__fail_at(m->ctx, QDBG_E_SHAPE, NULL, v->name,
                             "input '%s' holds %llu samples, another input %llu", v->name,
                             (unsigned long long)runs, (unsigned long long)*n_runs);
    *n_runs = runs;
    one->dims[0] = batch;
    return QDBG_OK;
}

static bool same_shapes(const qdbg_view *a, const qdbg_view *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i].dtype != b[i].dtype ||
            !qdbg__shape_equal(a[i].rank, a[i].dims, b[i].rank, b[i].dims))
            return false;
    return true;
}

static qdbg_status adopt_inputs(qdbg_model *m, const qdbg_view *one)
{
    size_t n = m->graph->n_inputs;
    if (m->prepared && same_shapes(m->run_inputs, one, n))
        return QDBG_OK;
    m->prepared = false;
    qdbg_status status = m->backend->prepare(m, one);
    if (status != QDBG_OK)
        return status;
    memcpy(m->run_inputs, one, n * sizeof *one);
    m->prepared = true;
    return QDBG_OK;
}

qdbg_status qdbg__model_prepare(qdbg_model *m, const qdbg_view *inputs, uint32_t n_inputs,
                                uint64_t *n_runs)
{
    size_t n = m->graph->n_inputs;
    if (n_inputs != n || (n > 0 && !inputs))
        return qdbg__fail(m->ctx, QDBG_E_INVALID, "%u inputs are given, the graph has %zu",
                          n_inputs, n);
    qdbg_view *one = qdbg__alloc(m->ctx, n, sizeof *one);
    if (!one)
        return m->ctx->error_status;
    uint64_t runs = 0;
    qdbg_status status = QDBG_OK;
    for (uint32_t i = 0; i < n && status == QDBG_OK; i++)
        status = check_input(m, i, &inputs[i], &one[i], &runs);
    if (status == QDBG_OK)
        status = adopt_inputs(m, one);
    qdbg__free(m->ctx, one, n, sizeof *one);
    if (status == QDBG_OK)
        *n_runs = runs ? runs : 1;
    return status;
}

size_t qdbg__model_output_bytes(const qdbg_model *m, uint32_t i)
{
    const qdbg_view *v = &m->run_outputs[i];
    return qdbg_view_count(v) * qdbg_dtype_size(v->dtype);
}

void qdbg__model_slice(const qdbg_model *m, const qdbg_view *inputs, uint64_t start, uint64_t n,
                       qdbg_view *slice)
{
    for (size_t i = 0; i < m->graph->n_inputs; i++) {
        const qdbg_view *one = &m->run_inputs[i];
        slice[i] = inputs[i];
        if (one->rank == 0)
            continue;
        size_t bytes = qdbg_view_count(one) * qdbg_dtype_size(one->dtype);
        slice[i].data = (char *)inputs[i].data + start * bytes;
        slice[i].dims[0] = one->dims[0] * (int64_t)n;
    }
}

/* ---- run ---- */

/* The shape of output `i` for `n_runs` runs. */
static qdbg_view output_shape(const qdbg_model *m, uint32_t i, uint64_t n_runs)
{
    qdbg_view v = m->run_outputs[i];
    if (v.rank > 0)
        v.dims[0] *= (int64_t)n_runs;
    return v;
}

static qdbg_status check_output(qdbg_model *m, uint32_t i, uint64_t n_runs, const qdbg_view *out)
{
    const char *name = m->graph->values[m->graph->outputs[i]].name;
    qdbg_view want = output_shape(m, i, n_runs);
    char have[128], wanted[128];
    qdbg_status status = qdbg__view_check(m->ctx, out, name);
    if (status != QDBG_OK)
        return status;
    if (want.rank == 0 && n_runs > 1)
        return qdbg__fail_at(m->ctx, QDBG_E_SHAPE, NULL, name,
                             "output '%s' is a scalar, which cannot hold the results of %llu runs",
                             name, (unsigned long long)n_runs);
    if (out->dtype != want.dtype)
        return qdbg__fail_at(m->ctx, QDBG_E_TYPE, NULL, name, "output '%s' is given as %s, not %s",
                             name, qdbg_dtype_name(out->dtype), qdbg_dtype_name(want.dtype));
    if (qdbg__shape_equal(out->rank, out->dims, want.rank, want.dims))
        return QDBG_OK;
    qdbg__shape_text(out->rank, out->dims, have, sizeof have);
    qdbg__shape_text(want.rank, want.dims, wanted, sizeof wanted);
    return qdbg__fail_at(m->ctx, QDBG_E_SHAPE, NULL, name, "output '%s' is given as %s, not %s",
                         name, have, wanted);
}

/* Are only shapes asked for? */
static bool wants_shapes(const qdbg_view *outputs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!outputs[i].data)
            return true;
    return false;
}

/* A view of another size than ours is not written to. */
static qdbg_status fill_shapes(qdbg_model *m, uint64_t n_runs, qdbg_view *outputs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const char *name = m->graph->values[m->graph->outputs[i]].name;
        if (outputs[i].struct_size != sizeof *outputs)
            return qdbg__fail_at(m->ctx, QDBG_E_INVALID, NULL, name,
                                 "output '%s': struct_size is %u, expected %zu", name,
                                 outputs[i].struct_size, sizeof *outputs);
    }
    for (uint32_t i = 0; i < n; i++) {
        void *data = outputs[i].data;
        outputs[i] = output_shape(m, i, n_runs);
        outputs[i].data = data;
    }
    return QDBG_OK;
}

qdbg_status qdbg_model_run(qdbg_model *m, const qdbg_view *inputs, uint32_t n_inputs,
                           qdbg_view *outputs, uint32_t n_outputs)
{
    if (!m)
        return QDBG_E_INVALID;
    qdbg__clear_error(m->ctx);
    size_t n = m->graph->n_outputs;
    if (n_outputs != n || !outputs)
        return qdbg__fail(m->ctx, QDBG_E_INVALID, "%u outputs are given, the graph has %zu",
                          n_outputs, n);
    uint64_t n_runs;
    qdbg_status status = qdbg__model_prepare(m, inputs, n_inputs, &n_runs);
    if (status == QDBG_OK && wants_shapes(outputs, n_outputs))
        return fill_shapes(m, n_runs, outputs, n_outputs);
    if (status != QDBG_OK)
        return status;
    void **data = qdbg__alloc(m->ctx, n, sizeof *data);
    if (!data)
        return m->ctx->error_status;
    for (uint32_t i = 0; i < n && status == QDBG_OK; i++) {
        status = check_output(m, i, n_runs, &outputs[i]);
        data[i] = outputs[i].data;
    }
    qdbg__variant plain = {NULL, NULL};
    qdbg__model_job job = {
        .inputs = inputs, .n_runs = n_runs, .variants = &plain, .n_variants = 1, .outputs = data};
    if (status == QDBG_OK)
        status = qdbg__progress(m->ctx, "run", 0, 1);
    if (status == QDBG_OK)
        status = m->backend->run(m, &job);
    qdbg__free(m->ctx, data, n, sizeof *data);
    return status;
}

void qdbg_channel_stats_init(qdbg_channel_stats *stats)
{
    if (stats)
        *stats = (qdbg_channel_stats)QDBG_CHANNEL_STATS_INIT;
}
