/* A worker: its buffers, and one run of all variants in them. */
#include "program.h"

#include <string.h>

#define ALIGN ((size_t)64)

/* ---- buffers ---- */

static void free_worker(qdbg__exec *exec, qdbg__worker *w)
{
    size_t n_values = exec->graph->n_values;
    qdbg__free(exec->ctx, w->views, n_values, sizeof *w->views);
    qdbg__free(exec->ctx, (void *)w->base, n_values, sizeof *w->base);
    qdbg__free(exec->ctx, (void *)w->links, exec->n_links, sizeof *w->links);
    qdbg__free(exec->ctx, w->runs, exec->n_steps, sizeof *w->runs);
    qdbg__free(exec->ctx, w->buffer, w->buffer_bytes, 1);
    *w = (qdbg__worker){0};
}

void qdbg__workers_free(qdbg__exec *exec)
{
    for (size_t i = 0; i < exec->n_workers; i++)
        free_worker(exec, &exec->workers[i]);
    qdbg__free(exec->ctx, exec->workers, exec->workers_capacity, sizeof *exec->workers);
    exec->workers = NULL;
    exec->n_workers = exec->workers_capacity = 0;
}

static const qdbg_view **link_values(const qdbg__worker *w, const uint32_t *values, uint32_t n,
                                     const qdbg_view **links)
{
    for (uint32_t i = 0; i < n; i++)
        *links++ = values[i] == QDBG_NONE ? NULL : &w->views[values[i]];
    return links;
}

/* All that stays the same from job to job: views and what each step is called with. */
static qdbg_status init_worker(qdbg__exec *exec, qdbg__worker *w)
{
    const qdbg_graph *g = exec->graph;
    *w = (qdbg__worker){0};
    w->views = qdbg__alloc(exec->ctx, g->n_values, sizeof *w->views);
    w->base = w->views ? qdbg__alloc(exec->ctx, g->n_values, sizeof *w->base) : NULL;
    w->links = w->base ? qdbg__alloc(exec->ctx, exec->n_links, sizeof *w->links) : NULL;
    w->runs = w->links ? qdbg__alloc(exec->ctx, exec->n_steps, sizeof *w->runs) : NULL;
    if (!w->runs) {
        qdbg_status status = exec->ctx->error_status;
        free_worker(exec, w);
        return status;
    }
    for (size_t v = 0; v < g->n_values; v++) {
        w->views[v] = exec->facts.values[v].view;
        w->views[v].data = NULL;
    }
    const qdbg_view **links = w->links;
    for (size_t s = 0; s < exec->n_steps; s++) {
        uint32_t n = exec->steps[s].node;
        const qdbg__node *node = &g->nodes[n];
        const qdbg_view **outs = link_values(w, node->in, node->n_in, links);
        w->runs[s] = (qdbg__run){.node = node,
                                 .in = links,
                                 .out = outs,
                                 .params = exec->facts.nodes[n].params,
                                 .kernels = qdbg__kernels_of(exec->ctx)};
        links = link_values(w, node->out, node->n_out, outs);
    }
    return QDBG_OK;
}

static qdbg_status grow_buffer(qdbg__exec *exec, qdbg__worker *w, size_t bytes)
{
    if (w->buffer && w->buffer_bytes >= bytes)
        return QDBG_OK;
    qdbg__free(exec->ctx, w->buffer, w->buffer_bytes, 1);
    w->buffer_bytes = 0;
    w->buffer = qdbg__alloc(exec->ctx, bytes, 1);
    if (!w->buffer)
        return exec->ctx->error_status;
    w->buffer_bytes = bytes;
    return QDBG_OK;
}

/* Where the base's values lie in this job. A fed value's place is known run by run. */
static void place_base(qdbg__exec *exec, const qdbg__exec_job *job, qdbg__worker *w)
{
    for (uint32_t v = 0; v < exec->graph->n_values; v++) {
        const qdbg__life *life = &exec->lives[v];
        if (!life->reached)
            continue;
        if (life->first != QDBG_NONE)
            w->base[v] = w->buffer + exec->base_at[v];
        else if (!exec->graph->values[v].is_input)
            w->base[v] = (void *)(uintptr_t)qdbg__variant_constant(exec, job, 0, v);
        w->views[v].data = w->base[v];
    }
}

qdbg_status qdbg__workers_prepare(qdbg__exec *exec, const qdbg__exec_job *job, size_t n)
{
    size_t bytes = exec->base_bytes + exec->overlay_bytes + exec->scratch; /* each checked */
    qdbg_status status =
        qdbg__reserve(exec->ctx, &exec->workers, &exec->workers_capacity, n, sizeof *exec->workers);
    for (size_t i = exec->n_workers; i < n && status == QDBG_OK; i++) {
        status = init_worker(exec, &exec->workers[i]);
        if (status == QDBG_OK)
            exec->n_workers++;
    }
    for (size_t i = 0; i < n && status == QDBG_OK; i++) {
        qdbg__worker *w = &exec->workers[i];
        status = grow_buffer(exec, w, bytes);
        if (status != QDBG_OK)
            break;
        w->failure = (qdbg__mishap){0};
        w->overlay = w->buffer + exec->base_bytes;
        for (size_t s = 0; s < exec->n_steps; s++)
            w->runs[s].scratch = w->overlay + exec->overlay_bytes;
        place_base(exec, job, w);
    }
    return status;
}

/* ---- running ---- */

/* One variant of one run on one worker. */
typedef struct pass {
    const qdbg__exec *exec;
    const qdbg__exec_job *job;
    qdbg__worker *w;
    uint64_t run;
    uint32_t thread;
    uint32_t variant;
} pass;

static qdbg_status fail(const pass *p, int32_t kind, qdbg_status status, uint32_t culprit)
{
    p->w->failure = (qdbg__mishap){kind, status, p->run, p->variant, culprit};
    return status;
}

static qdbg_status show(const pass *p, uint32_t v)
{
    if (!p->job->observe || (p->job->wanted && !p->job->wanted[v]))
        return QDBG_OK;
    qdbg_status status =
        p->job->observe(p->job->observe_user, p->thread, p->variant, p->run, v, &p->w->views[v]);
    return status == QDBG_OK ? QDBG_OK : fail(p, QDBG__MISHAP_OBSERVER, status, v);
}

static void *place_of(const pass *p, uint32_t v)
{
    return p->variant == 0 ? p->w->buffer + p->exec->base_at[v]
                           : p->w->overlay + p->exec->overlay_at[v];
}

static void quantize(const pass *p, const qdbg__fakequant *act, uint32_t v, const void *src,
                     void *dst)
{
    const qdbg_view *view = &p->exec->facts.values[v].view;
    /* It fits: check_acts in exec.c saw to that. */
    (void)qdbg__fakequant_apply(qdbg__kernels_of(p->exec->ctx), act, view->rank, view->dims, src,
                                dst);
    p->w->views[v].data = dst;
}

/* Where a variant's value came out as the base's, let it be the base's: what reads it need not be
 * computed then. memcmp mostly ends at the first element. */
static void settle(const pass *p, uint32_t v)
{
    uint8_t flags = p->exec->reach.base_flags[v];
    void **data = &p->w->views[v].data;
    if (p->variant > 0 && (flags == 0 || flags & QDBG__KEEP) && *data != p->w->base[v] &&
        memcmp(*data, p->w->base[v], p->exec->lives[v].bytes) == 0)
        *data = p->w->base[v];
}

static const void *fed(const pass *p, uint32_t v)
{
    const qdbg_graph *g = p->exec->graph;
    const qdbg_view *planned = &p->exec->facts.values[v].view;
    size_t i = 0;
    while (g->inputs[i] != v)
        i++;
    const qdbg_view *given = &p->job->inputs[i];
    bool shared = planned->rank == 0 || given->dims[0] == planned->dims[0];
    return (const char *)given->data + (shared ? 0 : p->run * p->exec->lives[v].bytes);
}

static qdbg_status take_source(const pass *p, uint32_t v)
{
    const qdbg__fakequant *act = qdbg__variant_act(p->job, p->variant, v);
    bool input = p->exec->graph->values[v].is_input;
    const void *raw = input ? fed(p, v) : qdbg__variant_constant(p->exec, p->job, p->variant, v);
    qdbg_view *view = &p->w->views[v];
    view->data = (void *)(uintptr_t)raw;
    if (act)
        quantize(p, act, v, raw, place_of(p, v));
    if (p->variant == 0)
        p->w->base[v] = view->data;
    qdbg_status status = input ? show(p, v) : QDBG_OK;
    settle(p, v);
    return status;
}

static qdbg_status finish_value(const pass *p, uint32_t v)
{
    qdbg_status status = show(p, v);
    settle(p, v);
    return status;
}

static qdbg_status compute(const pass *p, uint32_t s)
{
    const qdbg__run *run = &p->w->runs[s];
    const qdbg__node *node = run->node;
    for (uint32_t i = 0; i < node->n_out && p->variant > 0; i++) {
        if (node->out[i] != QDBG_NONE)
            p->w->views[node->out[i]].data = place_of(p, node->out[i]);
    }
    qdbg_status status = node->op->run(run);
    if (status != QDBG_OK)
        return fail(p, QDBG__MISHAP_NODE, status, p->exec->steps[s].node);
    for (uint32_t i = 0; i < node->n_out && status == QDBG_OK; i++) {
        uint32_t v = node->out[i];
        if (v == QDBG_NONE)
            continue;
        const qdbg__fakequant *act = qdbg__variant_act(p->job, p->variant, v);
        if (act)
            quantize(p, act, v, p->w->views[v].data, p->w->views[v].data);
        status = finish_value(p, v);
    }
    return status;
}

/* Quantize what the base has without quantizer, instead of computing it again. */
static qdbg_status requantize(const pass *p, const qdbg__node *node)
{
    qdbg_status status = QDBG_OK;
    for (uint32_t i = 0; i < node->n_out && status == QDBG_OK; i++) {
        uint32_t v = node->out[i];
        const qdbg__fakequant *act =
            v == QDBG_NONE ? NULL : qdbg__variant_act(p->job, p->variant, v);
        if (!act || act == qdbg__variant_act(p->job, 0, v))
            continue;
        quantize(p, act, v, p->w->base[v], place_of(p, v));
        status = finish_value(p, v);
    }
    return status;
}

static bool reads_changed(const pass *p, const qdbg__node *node)
{
    for (uint32_t i = 0; i < node->n_in; i++) {
        uint32_t v = node->in[i];
        if (v != QDBG_NONE && p->w->views[v].data != p->w->base[v])
            return true;
    }
    return false;
}

/* Whether an output's quantizer takes the place of one that the base has applied already. */
static bool replaces_act(const pass *p, const qdbg__node *node)
{
    for (uint32_t i = 0; i < node->n_out; i++) {
        uint32_t v = node->out[i];
        const qdbg__fakequant *act = v == QDBG_NONE ? NULL : qdbg__variant_act(p->job, 0, v);
        if (act && act != qdbg__variant_act(p->job, p->variant, v))
            return true;
    }
    return false;
}

static qdbg_status vary_step(const pass *p, uint32_t entry)
{
    uint32_t s = entry & ~QDBG__SEED;
    const qdbg__node *node = p->w->runs[s].node;
    if (reads_changed(p, node))
        return compute(p, s);
    if (!(entry & QDBG__SEED))
        return QDBG_OK; /* the change has died out before it came here */
    return replaces_act(p, node) ? compute(p, s) : requantize(p, node);
}

static void copy_outputs(const pass *p)
{
    const qdbg_graph *g = p->exec->graph;
    for (size_t o = 0; o < g->n_outputs && p->job->outputs; o++) {
        uint32_t v = g->outputs[o];
        size_t bytes = p->exec->lives[v].bytes;
        char *dst = p->job->outputs[p->variant * g->n_outputs + o];
        if (dst && bytes > 0)
            memcpy(dst + p->run * bytes, p->w->views[v].data, bytes);
    }
}

static qdbg_status take_sources(const pass *p)
{
    const qdbg__reach *r = &p->exec->reach;
    qdbg_status status = QDBG_OK;
    size_t end = r->source_start[p->variant + 1];
    for (size_t i = r->source_start[p->variant]; i < end && status == QDBG_OK; i++)
        status = take_source(p, r->sources[i]);
    return status;
}

static qdbg_status run_base(const pass *p)
{
    qdbg_status status = take_sources(p);
    for (uint32_t s = 0; s < p->exec->end_step && status == QDBG_OK; s++)
        status = compute(p, s);
    if (status == QDBG_OK)
        copy_outputs(p);
    return status;
}

/* Back to the base's view of things. */
static void restore(const pass *p)
{
    const qdbg__reach *r = &p->exec->reach;
    qdbg__worker *w = p->w;
    for (size_t i = r->source_start[p->variant]; i < r->source_start[p->variant + 1]; i++)
        w->views[r->sources[i]].data = w->base[r->sources[i]];
    for (size_t i = r->step_start[p->variant]; i < r->step_start[p->variant + 1]; i++) {
        const qdbg__node *node = w->runs[r->steps[i] & ~QDBG__SEED].node;
        for (uint32_t o = 0; o < node->n_out; o++) {
            if (node->out[o] != QDBG_NONE)
                w->views[node->out[o]].data = w->base[node->out[o]];
        }
    }
}

static qdbg_status run_variant(const pass *p)
{
    const qdbg__reach *r = &p->exec->reach;
    qdbg_status status = take_sources(p);
    size_t end = r->step_start[p->variant + 1];
    for (size_t i = r->step_start[p->variant]; i < end && status == QDBG_OK; i++)
        if ((r->steps[i] & ~QDBG__SEED) < p->exec->end_step)
            status = vary_step(p, r->steps[i]);
    if (status == QDBG_OK)
        copy_outputs(p);
    restore(p);
    return status;
}

qdbg_status qdbg__worker_run(qdbg__exec *exec, const qdbg__exec_job *job, uint64_t run,
                             qdbg__worker *worker, uint32_t thread)
{
    pass p = {exec, job, worker, run, thread, 0};
    qdbg_status status = QDBG_OK;
    for (; p.variant < job->n_variants && status == QDBG_OK; p.variant++) {
        if (qdbg__cancel_wanted(exec->ctx))
            return fail(&p, QDBG__MISHAP_CANCEL, QDBG_E_CANCELLED, 0);
        status = p.variant == 0 ? run_base(&p) : run_variant(&p);
    }
    return status;
}
