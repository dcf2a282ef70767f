/* Models that the caller's engine runs, and the tap through which the library sees them. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "model.h"

/* What is known of a value in a pass. */
enum { TAPPED = 1, READ = 2 }; /* READ: a tapped value was computed from it */

struct qdbg_tap {
    qdbg_model *model;
    const qdbg__model_job *job;
    const qdbg__variant *variant;
    uint32_t variant_index;
    uint8_t *marks;     /* [n_values] */
    uint32_t *pending;  /* [n_values] for mark_read */
    pthread_t thread;   /* that `run` was called on */
    qdbg_status status; /* the first failure */
    qdbg__failure told; /* its words, which the host's own calls may clear */
    atomic_int foreign; /* tapped on another thread */
};

void qdbg_host_init(qdbg_host *host)
{
    if (host)
        *host = (qdbg_host)QDBG_HOST_INIT;
}

/* ---- tap ---- */

static const qdbg__fakequant *quantizer_at(const qdbg_tap *t, uint32_t value)
{
    return t->variant->acts ? t->variant->acts[value] : NULL;
}

/* Position among the graph's outputs whose result is wanted, or QDBG_NONE. */
static uint32_t output_at(const qdbg_tap *t, uint32_t value)
{
    const qdbg_graph *g = t->model->graph;
    if (!t->job->outputs || !g->values[value].is_output)
        return QDBG_NONE;
    for (uint32_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i] == value && t->job->outputs[t->variant_index * g->n_outputs + i])
            return i;
    return QDBG_NONE;
}

static bool observed(const qdbg_tap *t, uint32_t value)
{
    return t->job->observe && (!t->job->observe_values || t->job->observe_values[value]);
}

static bool wants(const qdbg_tap *t, uint32_t value)
{
    if (output_at(t, value) != QDBG_NONE)
        return true;
    return !t->model->graph->values[value].is_param &&
           (quantizer_at(t, value) || observed(t, value));
}

int32_t qdbg_tap_wants(const qdbg_tap *tap, uint32_t value)
{
    return tap && value < tap->model->graph->n_values && wants(tap, value);
}

static qdbg_status broken_rule(qdbg_tap *t, uint32_t value, int rule, const char *what)
{
    const char *name = t->model->graph->values[value].name;
    return qdbg__fail_at(t->model->ctx, QDBG_E_HOST, NULL, name,
                         "host rule %d is broken at value '%s': %s", rule, name, what);
}

/* Does the tapped buffer lie in the batch that the library owns? */
static bool in_inputs(const qdbg_tap *t, const qdbg_view *tensor)
{
    uintptr_t at = (uintptr_t)tensor->data;
    for (size_t i = 0; i < t->model->graph->n_inputs; i++) {
        const qdbg_view *in = &t->job->inputs[i];
        uintptr_t start = (uintptr_t)in->data;
        if (at >= start && at < start + qdbg_view_count(in) * qdbg_dtype_size(in->dtype))
            return true;
    }
    return false;
}

/* All that can be said where the graph does not tell the whole shape. */
static qdbg_status check_batch(qdbg_tap *t, uint32_t value, const qdbg_view *tensor)
{
    const qdbg__value *v = &t->model->graph->values[value];
    bool fits = v->rank == QDBG_RANK_UNKNOWN || v->rank == tensor->rank;
    for (uint32_t i = 1; fits && v->rank != QDBG_RANK_UNKNOWN && i < v->rank; i++)
        fits = v->dims[i] < 0 || v->dims[i] == tensor->dims[i];
    if (!fits)
        return broken_rule(t, value, 3, "the tensor does not fit what the graph declares");
    if (tensor->rank == 0 && t->job->n_runs > 1)
        return broken_rule(t, value, 3, "a scalar in a batch of several runs");
    if (tensor->rank > 0 && tensor->dims[0] % (int64_t)t->job->n_runs != 0)
        return broken_rule(t, value, 3,
                           "the first dimension is not a multiple of the runs in the batch");
    return QDBG_OK;
}

static qdbg_status check_shape(qdbg_tap *t, uint32_t value, const qdbg_view *tensor)
{
    char text[384], have[128], want[128];
    qdbg_view expect = t->model->run_values[value];
    if (tensor->dtype != QDBG_F32)
        return broken_rule(t, value, 3, "the tensor is not float32");
    if (expect.dtype == QDBG_DTYPE_NONE)
        return check_batch(t, value, tensor);
    if (expect.rank > 0)
        expect.dims[0] *= (int64_t)t->job->n_runs;
    if (qdbg__shape_equal(expect.rank, expect.dims, tensor->rank, tensor->dims))
        return QDBG_OK;
    snprintf(text, sizeof text, "the tensor is %s, expected %s",
             qdbg__shape_text(tensor->rank, tensor->dims, have, sizeof have),
             qdbg__shape_text(expect.rank, expect.dims, want, sizeof want));
    return broken_rule(t, value, 3, text);
}

static qdbg_status check_rules(qdbg_tap *t, uint32_t value, const qdbg_view *tensor)
{
    if (t->marks[value] & TAPPED)
        return broken_rule(t, value, 1, "the value was tapped twice in one pass");
    if (t->marks[value] & READ)
        return broken_rule(t, value, 1, "the value was tapped after one that is computed from it");
    if (in_inputs(t, tensor))
        return broken_rule(t, value, 6, "the tensor is the library's input itself, not a copy");
    return check_shape(t, value, tensor);
}

/* All that `value` was computed from has been read: it is too late to tap it. */
static void mark_read(qdbg_tap *t, uint32_t value)
{
    const qdbg_graph *g = t->model->graph;
    size_t n = 0;
    t->pending[n++] = value;
    while (n > 0) {
        uint32_t producer = g->values[t->pending[--n]].producer;
        const qdbg__node *node = producer == QDBG_NONE ? NULL : &g->nodes[producer];
        for (uint32_t i = 0; node && i < node->n_in; i++) {
            uint32_t v = node->in[i];
            if (v == QDBG_NONE || t->marks[v] & READ)
                continue;
            t->marks[v] |= READ;
            t->pending[n++] = v;
        }
    }
}

static qdbg_status check_view(qdbg_tap *t, uint32_t value, const qdbg_view *tensor)
{
    char fault[QDBG__MESSAGE_SIZE];
    if (!tensor)
        return qdbg__fail(t->model->ctx, QDBG_E_INVALID, "the tapped tensor is NULL");
    if (qdbg__view_check(t->model->ctx, tensor, "the tensor") == QDBG_OK)
        return QDBG_OK;
    snprintf(fault, sizeof fault, "%s", t->model->ctx->error_message);
    return broken_rule(t, value, 3, fault);
}

/* Show each run's part of the tensor. */
static qdbg_status observe_runs(qdbg_tap *t, uint32_t value, const qdbg_view *tensor)
{
    qdbg_view one = *tensor;
    uint64_t n = t->job->n_runs;
    if (one.rank > 0)
        one.dims[0] /= (int64_t)n;
    size_t bytes = qdbg_view_count(&one) * sizeof(float);
    for (uint64_t run = 0; run < n; run++) {
        qdbg_status status =
            t->job->observe(t->job->observe_user, 0, t->variant_index, run, value, &one);
        if (status != QDBG_OK)
            return status;
        if (one.rank > 0) /* all runs share a scalar */
            one.data = (char *)one.data + bytes;
    }
    return QDBG_OK;
}

static qdbg_status serve(qdbg_tap *t, uint32_t value, const qdbg_view *tensor)
{
    const qdbg__fakequant *fq = quantizer_at(t, value);
    if (fq && !qdbg__fakequant_apply(qdbg__kernels_of(t->model->ctx), fq, tensor->rank,
                                     tensor->dims, tensor->data, tensor->data))
        return broken_rule(t, value, 3, "the quantizer's channel axis does not fit the tensor");
    uint32_t output = output_at(t, value);
    if (output != QDBG_NONE) {
        size_t bytes = qdbg_view_count(tensor) * sizeof(float);
        size_t slot = t->variant_index * t->model->graph->n_outputs + output;
        if (bytes > 0)
            memcpy(t->job->outputs[slot], tensor->data, bytes);
    }
    return observed(t, value) ? observe_runs(t, value, tensor) : QDBG_OK;
}

static qdbg_status keep_words(qdbg_tap *t)
{
    if (t->status != QDBG_OK)
        qdbg__failure_save(t->model->ctx, &t->told);
    return t->status;
}

qdbg_status qdbg_tap_value(qdbg_tap *tap, uint32_t value, const qdbg_view *tensor)
{
    if (!tap)
        return QDBG_E_INVALID;
    if (!pthread_equal(pthread_self(), tap->thread)) {
        atomic_store(&tap->foreign, 1); /* all that another thread may touch */
        return QDBG_E_HOST;
    }
    if (tap->status != QDBG_OK)
        return tap->status;
    qdbg_ctx *ctx = tap->model->ctx;
    if (value >= tap->model->graph->n_values) {
        tap->status =
            qdbg__fail(ctx, QDBG_E_HOST, "host rule 1 is broken: value %u does not exist", value);
        return keep_words(tap);
    }
    tap->status = check_view(tap, value, tensor);
    if (tap->status != QDBG_OK || !wants(tap, value))
        return keep_words(tap);
    tap->status = check_rules(tap, value, tensor);
    if (tap->status == QDBG_OK)
        tap->status = serve(tap, value, tensor);
    tap->marks[value] |= TAPPED;
    mark_read(tap, value);
    return keep_words(tap);
}

/* ---- run ---- */

static qdbg_status check_all_tapped(qdbg_tap *t)
{
    for (uint32_t v = 0; v < t->model->graph->n_values; v++)
        if (!(t->marks[v] & TAPPED) && wants(t, v))
            return broken_rule(t, v, 1, "the value was never tapped");
    return QDBG_OK;
}

/* One forward pass of the host. */
static qdbg_status run_pass(qdbg_model *m, const qdbg__model_job *job, uint32_t variant,
                            uint8_t *marks, uint32_t *pending)
{
    memset(marks, 0, m->graph->n_values);
    qdbg_tap tap = {.model = m,
                    .job = job,
                    .variant = &job->variants[variant],
                    .variant_index = variant,
                    .marks = marks,
                    .pending = pending,
                    .thread = pthread_self()};
    int32_t code = m->host.run(m->host.user, &tap, job->inputs, (uint32_t)m->graph->n_inputs);
    if (tap.status != QDBG_OK) {
        qdbg__failure_restore(m->ctx, &tap.told);
        return tap.status;
    }
    if (atomic_load(&tap.foreign))
        return qdbg__fail(
            m->ctx, QDBG_E_HOST,
            "host rule 4 is broken: tapped on another thread than the one that called "
            "run");
    if (code != 0)
        return qdbg__fail_callback(m->ctx, "the host's run", code);
    return check_all_tapped(&tap);
}

/* The host's own elements of the parameters that variants replace. */
typedef struct originals {
    float **of; /* [n_values], NULL where no variant replaces the parameter */
} originals;

static void free_originals(qdbg_model *m, originals *o)
{
    for (size_t v = 0; o->of && v < m->graph->n_values; v++)
        qdbg__free(m->ctx, o->of[v], m->graph->values[v].bytes / sizeof(float), sizeof(float));
    qdbg__free(m->ctx, o->of, m->graph->n_values, sizeof *o->of);
}

static qdbg_status fetch_original(qdbg_model *m, originals *o, uint32_t v)
{
    uint64_t count = m->graph->values[v].bytes / sizeof(float);
    o->of[v] = qdbg__alloc(m->ctx, count, sizeof(float));
    if (!o->of[v])
        return m->ctx->error_status;
    return m->backend->get(m, v, o->of[v], count);
}

static qdbg_status fetch_originals(qdbg_model *m, const qdbg__model_job *job, originals *o)
{
    o->of = qdbg__alloc(m->ctx, m->graph->n_values, sizeof *o->of);
    if (!o->of)
        return m->ctx->error_status;
    for (uint32_t k = 0; k < job->n_variants; k++) {
        const float *const *params = job->variants[k].params;
        for (uint32_t v = 0; params && v < m->graph->n_values; v++) {
            if (!params[v] || o->of[v])
                continue;
            qdbg_status status = fetch_original(m, o, v);
            if (status != QDBG_OK)
                return status;
        }
    }
    return QDBG_OK;
}

/* Make the host hold what `params` says (NULL: its originals). `held` says what it holds now. */
static qdbg_status load_params(qdbg_model *m, const float *const *params, const originals *o,
                               const float **held)
{
    for (uint32_t v = 0; v < m->graph->n_values; v++) {
        if (!o->of[v])
            continue;
        const float *want = params && params[v] ? params[v] : o->of[v];
        if (held[v] == want)
            continue;
        held[v] = NULL; /* unknown while the host copies */
        qdbg_status status = m->backend->set(m, v, want, m->graph->values[v].bytes / sizeof(float));
        if (status != QDBG_OK)
            return status;
        held[v] = want;
    }
    return QDBG_OK;
}

/* Put the originals back after a failure, which stays the one told. */
static void restore_quietly(qdbg_model *m, const originals *o, const float **held)
{
    qdbg__failure told;
    qdbg__failure_save(m->ctx, &told);
    for (uint32_t v = 0; v < m->graph->n_values; v++)
        if (o->of[v] && held[v] != o->of[v])
            m->backend->set(m, v, o->of[v], m->graph->values[v].bytes / sizeof(float));
    qdbg__failure_restore(m->ctx, &told);
}

static qdbg_status host_run(qdbg_model *m, const qdbg__model_job *job)
{
    qdbg_ctx *ctx = m->ctx;
    size_t n = m->graph->n_values;
    originals o = {NULL};
    const float **held = NULL;
    uint8_t *marks = qdbg__alloc(ctx, n, 1);
    uint32_t *pending = marks ? qdbg__alloc(ctx, n, sizeof *pending) : NULL;
    qdbg_status status = pending ? fetch_originals(m, job, &o) : ctx->error_status;
    if (status != QDBG_OK)
        goto out;
    held = qdbg__alloc(ctx, n, sizeof *held);
    if (!held) {
        status = ctx->error_status;
        goto out;
    }
    memcpy(held, o.of, n * sizeof *held);
    for (uint32_t k = 0; k < job->n_variants && status == QDBG_OK; k++) {
        status = load_params(m, job->variants[k].params, &o, held);
        if (status == QDBG_OK)
            status = run_pass(m, job, k, marks, pending);
        if (status == QDBG_OK)
            status = qdbg__answer_cancel(ctx, "run");
    }
    if (status == QDBG_OK)
        status = load_params(m, NULL, &o, held);
    if (status != QDBG_OK)
        restore_quietly(m, &o, held);
out:
    qdbg__free(ctx, held, n, sizeof *held);
    free_originals(m, &o);
    qdbg__free(ctx, pending, n, sizeof *pending);
    qdbg__free(ctx, marks, n, 1);
    return status;
}

/* ---- the rest of the backend ---- */

static qdbg_status host_get(qdbg_model *m, uint32_t value, float *data, uint64_t count)
{
    int32_t code = m->host.get_parameter(m->host.user, value, data, count);
    return code ? qdbg__fail_callback(m->ctx, "the host's get_parameter", code) : QDBG_OK;
}

static qdbg_status host_set(qdbg_model *m, uint32_t value, const float *data, uint64_t count)
{
    int32_t code = m->host.set_parameter(m->host.user, value, data, count);
    return code ? qdbg__fail_callback(m->ctx, "the host's set_parameter", code) : QDBG_OK;
}

/* Shape of a value in one run: inferred, else as the graph declares it. */
static qdbg_view value_shape(const qdbg_graph *g, const qdbg__facts *facts, uint32_t value)
{
    const qdbg__value *v = &g->values[value];
    qdbg_view shape = QDBG_VIEW_INIT;
    if (facts->values[value].known) {
        shape = facts->values[value].view;
        shape.data = NULL;
        return shape;
    }
    if (v->rank == QDBG_RANK_UNKNOWN)
        return shape;
    shape.rank = v->rank;
    memcpy(shape.dims, v->dims, sizeof v->dims);
    if (v->rank > 0 && shape.dims[0] < 0)
        shape.dims[0] = 1;
    for (uint32_t i = 1; i < v->rank; i++)
        if (shape.dims[i] < 0)
            return shape;
    uint64_t count;
    if (qdbg__shape_count(shape.rank, shape.dims, &count))
        shape.dtype = v->dtype == QDBG_DTYPE_NONE ? QDBG_F32 : v->dtype;
    return shape;
}

static qdbg_status host_prepare(qdbg_model *m, const qdbg_view *inputs)
{
    const qdbg_graph *g = m->graph;
    qdbg__facts facts;
    qdbg_status status = qdbg__facts_infer(g, inputs, false, &facts);
    if (status != QDBG_OK)
        return status;
    for (uint32_t v = 0; v < g->n_values; v++)
        m->run_values[v] = value_shape(g, &facts, v);
    qdbg__facts_free(&facts);
    for (size_t i = 0; i < g->n_outputs; i++) {
        m->run_outputs[i] = m->run_values[g->outputs[i]];
        const char *name = g->values[g->outputs[i]].name;
        if (m->run_outputs[i].dtype == QDBG_DTYPE_NONE)
            return qdbg__fail_at(m->ctx, QDBG_E_STATE, NULL, name,
                                 "the shape of output '%s' is not known: declare it in the graph",
                                 name);
        if (m->run_outputs[i].dtype != QDBG_F32)
            return qdbg__fail_at(m->ctx, QDBG_E_TYPE, NULL, name,
                                 "output '%s' is %s: a host model's outputs are float32", name,
                                 qdbg_dtype_name(m->run_outputs[i].dtype));
    }
    return QDBG_OK;
}

static void host_destroy(qdbg_model *m)
{
    qdbg__free(m->ctx, m->run_values, m->graph->n_values, sizeof *m->run_values);
}

const qdbg__backend qdbg__host_backend = {host_prepare, host_run, host_get, host_set, host_destroy};

qdbg_status qdbg_model_create_host(qdbg_graph *graph, const qdbg_host *host, qdbg_model **out)
{
    if (!graph)
        return QDBG_E_INVALID;
    qdbg_ctx *ctx = graph->ctx;
    qdbg__clear_error(ctx);
    if (!out || !host || host->struct_size != sizeof *host)
        return qdbg__fail(ctx, QDBG_E_INVALID, "host or out is NULL, or struct_size is wrong");
    if (!host->run || !host->get_parameter || !host->set_parameter)
        return qdbg__fail(ctx, QDBG_E_INVALID,
                          "host: run, get_parameter and set_parameter are required");
    qdbg_model *m;
    qdbg_status status = qdbg__model_new(graph, &qdbg__host_backend, &m);
    if (status != QDBG_OK)
        return status;
    m->host = *host;
    m->run_values = qdbg__alloc(ctx, graph->n_values, sizeof *m->run_values);
    if (!m->run_values) {
        status = ctx->error_status;
        qdbg_model_destroy(m);
        return status;
    }
    *out = m;
    return QDBG_OK;
}
