#include "probe.h"

#include <math.h>
#include <string.h>

#define MAX_RUNS 8

void qdbg__probe_free(qdbg_model *m, qdbg__probe *p)
{
    size_t n = m->graph->n_outputs;
    for (size_t i = 0; p->outputs && i < n; i++)
        qdbg__free(m->ctx, p->outputs[i], p->bytes[i], 1);
    qdbg__free(m->ctx, p->outputs, n, sizeof *p->outputs);
    qdbg__free(m->ctx, p->bytes, n, sizeof *p->bytes);
    qdbg__free(m->ctx, p->marks, p->n_runs * m->graph->n_values, sizeof *p->marks);
    *p = (qdbg__probe){0};
}

typedef struct taking {
    qdbg_model *model;
    const qdbg__variant *variant;
    const uint8_t *wanted;
    qdbg__probe *probe;
    qdbg_view *others; /* [n_inputs] to run instead of the samples, or NULL */
} taking;

/* Each run's fingerprints have slots of their own: workers do not meet. */
static qdbg_status mark(void *user, uint32_t worker, uint32_t variant, uint64_t run, uint32_t value,
                        const qdbg_view *view)
{
    taking *t = user;
    uint64_t hash = 14695981039346656037u; /* FNV-1a over 32-bit words */
    const float *x = view->data;
    uint64_t n = view->dtype == QDBG_F32 ? qdbg_view_count(view) : 0;
    (void)worker;
    (void)variant;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        hash = (hash ^ bits) * 1099511628211u;
    }
    t->probe->marks[run * t->model->graph->n_values + value] = hash | 1;
    return QDBG_OK;
}

static qdbg_status make_room(qdbg_model *m, uint64_t n_runs, qdbg__probe *p)
{
    size_t n = m->graph->n_outputs;
    p->n_runs = n_runs;
    p->marks = qdbg__alloc(m->ctx, n_runs * m->graph->n_values, sizeof *p->marks);
    p->bytes = p->marks ? qdbg__alloc(m->ctx, n, sizeof *p->bytes) : NULL;
    p->outputs = p->bytes ? qdbg__alloc(m->ctx, n, sizeof *p->outputs) : NULL;
    if (!p->outputs)
        return m->ctx->error_status;
    for (uint32_t i = 0; i < n; i++) {
        p->bytes[i] = qdbg__model_output_bytes(m, i) * n_runs;
        p->outputs[i] = qdbg__alloc(m->ctx, p->bytes[i], 1);
        if (!p->outputs[i])
            return m->ctx->error_status;
    }
    return QDBG_OK;
}

static size_t view_bytes(const qdbg_view *v)
{
    return qdbg_view_count(v) * qdbg_dtype_size(v->dtype);
}

static void free_others(taking *t)
{
    for (size_t i = 0; t->others && i < t->model->graph->n_inputs; i++)
        qdbg__free(t->model->ctx, t->others[i].data, view_bytes(&t->others[i]), 1);
    qdbg__free(t->model->ctx, t->others, t->model->graph->n_inputs, sizeof *t->others);
    t->others = NULL;
}

static qdbg_status make_others(taking *t, const qdbg__stretch *s)
{
    qdbg_ctx *ctx = t->model->ctx;
    size_t n = t->model->graph->n_inputs;
    t->others = qdbg__alloc(ctx, n, sizeof *t->others);
    if (!t->others)
        return ctx->error_status;
    for (size_t i = 0; i < n; i++) {
        qdbg_view *v = &t->others[i];
        size_t bytes = view_bytes(&s->inputs[i]), size = qdbg_dtype_size(s->inputs[i].dtype);
        char *data = qdbg__alloc(ctx, bytes, 1); /* zeros */
        if (!data)
            return ctx->error_status;
        *v = s->inputs[i];
        v->data = data;
        for (size_t at = 0; v->dtype != QDBG_F32 && at < bytes; at += size)
            memcpy(data + at, (const char *)s->inputs[i].data + (bytes - size - at), size);
    }
    return QDBG_OK;
}

static qdbg_status take_stretch(void *user, const qdbg__stretch *s)
{
    taking *t = user;
    qdbg_status status = make_room(t->model, s->n_runs, t->probe);
    if (status != QDBG_OK)
        return status;
    qdbg__model_job job = {.inputs = t->others ? t->others : s->inputs,
                           .n_runs = s->n_runs,
                           .variants = t->variant,
                           .n_variants = 1,
                           .outputs = t->probe->outputs,
                           .observe = mark,
                           .observe_values = t->wanted,
                           .observe_user = t};
    return t->model->backend->run(t->model, &job);
}

static qdbg_status take_others(void *user, const qdbg__stretch *s)
{
    taking *t = user;
    qdbg_status status = make_others(t, s);
    if (status == QDBG_OK)
        status = take_stretch(t, s);
    free_others(t);
    return status;
}

static qdbg_status take(taking *t, const qdbg_dataset *dataset, qdbg__stretch_fn fn,
                        qdbg__probe *out)
{
    qdbg__probe p = {0};
    t->probe = &p;
    qdbg_status status = qdbg__dataset_first(t->model, dataset, MAX_RUNS, fn, t);
    if (status != QDBG_OK) {
        qdbg__probe_free(t->model, &p);
        return status;
    }
    *out = p;
    return QDBG_OK;
}

qdbg_status qdbg__probe_take(qdbg_model *m, const qdbg_dataset *dataset,
                             const qdbg__variant *variant, const uint8_t *wanted, qdbg__probe *out)
{
    taking t = {.model = m, .variant = variant, .wanted = wanted};
    return take(&t, dataset, take_stretch, out);
}

qdbg_status qdbg__probe_take_others(qdbg_model *m, const qdbg_dataset *dataset, qdbg__probe *out)
{
    qdbg__variant plain = {NULL, NULL};
    uint8_t *nothing = qdbg__alloc(m->ctx, m->graph->n_values, 1);
    if (!nothing)
        return m->ctx->error_status;
    taking t = {.model = m, .variant = &plain, .wanted = nothing};
    qdbg_status status = take(&t, dataset, take_others, out);
    qdbg__free(m->ctx, nothing, m->graph->n_values, 1);
    return status;
}

bool qdbg__probe_same(const qdbg_model *m, const qdbg__probe *a, const qdbg__probe *b)
{
    for (size_t i = 0; i < m->graph->n_outputs; i++)
        if (a->bytes[i] != b->bytes[i] || memcmp(a->outputs[i], b->outputs[i], a->bytes[i]) != 0)
            return false;
    return true;
}

double qdbg__probe_difference(const qdbg_model *m, const qdbg__probe *a, const qdbg__probe *b)
{
    const qdbg__kernels *kernels = qdbg__kernels_of(m->ctx);
    double difference = 0, largest = 0;
    for (size_t i = 0; i < m->graph->n_outputs; i++) {
        size_t n = a->bytes[i] / sizeof(float);
        qdbg__error e = {0};
        qdbg__range r;
        if (m->run_outputs[i].dtype != QDBG_F32 || n == 0)
            continue;
        qdbg__range_init(&r);
        kernels->range(a->outputs[i], n, &r);
        if (memcmp(a->outputs[i], b->outputs[i], a->bytes[i]) != 0) /* NaN may be the same, too */
            kernels->error(a->outputs[i], b->outputs[i], n, &e);
        if (e.n_nonfinite > 0)
            return (double)INFINITY;
        difference = fmax(difference, e.max_abs);
        largest = fmax(largest, fmax(fabs((double)r.min), fabs((double)r.max)));
    }
    if (difference == 0)
        return 0;
    return largest > 0 ? difference / largest : (double)INFINITY;
}

static bool differs(const qdbg_model *m, const qdbg__probe *a, const qdbg__probe *b, uint32_t value)
{
    for (uint64_t run = 0; run < a->n_runs; run++) {
        size_t at = run * m->graph->n_values + value;
        if (a->marks[at] != b->marks[at])
            return true;
    }
    return false;
}

uint32_t qdbg__probe_first_difference(const qdbg_model *m, const qdbg__probe *a,
                                      const qdbg__probe *b)
{
    const qdbg_graph *g = m->graph;
    for (size_t i = 0; i < g->n_inputs; i++)
        if (differs(m, a, b, g->inputs[i]))
            return g->inputs[i];
    for (size_t i = 0; i < g->n_nodes; i++)
        for (uint32_t k = 0; k < g->nodes[i].n_out; k++)
            if (g->nodes[i].out[k] != QDBG_NONE && differs(m, a, b, g->nodes[i].out[k]))
                return g->nodes[i].out[k];
    return QDBG_NONE;
}
