#include "program.h"

#include <string.h>

#include "../base/pool.h"

/* ---- planning ---- */

static qdbg_status check_plan_input(const qdbg_graph *graph, uint32_t v, const qdbg_view *view)
{
    const qdbg__value *value = &graph->values[v];
    char shape[128];
    uint64_t count;
    if (view->rank > QDBG_MAX_RANK || !qdbg__shape_count(view->rank, view->dims, &count))
        return qdbg__fail_at(graph->ctx, QDBG_E_SHAPE, NULL, value->name,
                             "input '%s' cannot have rank %u with these dimensions", value->name,
                             view->rank);
    if (qdbg_dtype_size(view->dtype) == 0 ||
        (value->dtype != QDBG_DTYPE_NONE && value->dtype != view->dtype))
        return qdbg__fail_at(graph->ctx, QDBG_E_TYPE, NULL, value->name,
                             "input '%s' is %s in the graph and cannot be %s", value->name,
                             qdbg_dtype_name(value->dtype), qdbg_dtype_name(view->dtype));
    if (value->rank != QDBG_RANK_UNKNOWN && value->rank != view->rank)
        return qdbg__fail_at(graph->ctx, QDBG_E_SHAPE, NULL, value->name,
                             "input '%s' has %u dimensions in the graph and cannot be %s",
                             value->name, value->rank,
                             qdbg__shape_text(view->rank, view->dims, shape, sizeof shape));
    return QDBG_OK;
}

static qdbg_status infer_facts(qdbg__exec *exec, const qdbg_view *inputs,
                               const float *const *params)
{
    const qdbg_graph *g = exec->graph;
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < g->n_inputs && status == QDBG_OK; i++)
        status = check_plan_input(g, g->inputs[i], &inputs[i]);
    return status == QDBG_OK ? qdbg__facts_infer_with(g, inputs, params, true, &exec->facts)
                             : status;
}

/* Strict inference reaches everything; should it leave a hole, say where. */
static qdbg_status check_reached(const qdbg__exec *exec)
{
    const qdbg_graph *g = exec->graph;
    for (size_t n = 0; n < g->n_nodes; n++) {
        const qdbg__node *node = &g->nodes[n];
        if (!exec->facts.nodes[n].inferred)
            return qdbg__fail_at(exec->ctx, QDBG_E_UNSUPPORTED, node->name, NULL,
                                 "%s '%s': the shape of an input is not known", node->op_type,
                                 node->name);
    }
    for (size_t o = 0; o < g->n_outputs; o++) {
        const qdbg__value *value = &g->values[g->outputs[o]];
        if (!exec->facts.values[g->outputs[o]].known)
            return qdbg__fail_at(exec->ctx, QDBG_E_UNSUPPORTED, NULL, value->name,
                                 "the shape of output '%s' is not known", value->name);
    }
    return QDBG_OK;
}

static qdbg_status measure_values(qdbg__exec *exec)
{
    const qdbg_graph *g = exec->graph;
    exec->lives = qdbg__alloc(exec->ctx, g->n_values, sizeof *exec->lives);
    if (!exec->lives)
        return exec->ctx->error_status;
    for (size_t v = 0; v < g->n_values; v++) {
        const qdbg_view *view = &exec->facts.values[v].view;
        uint64_t count = 0, size = qdbg_dtype_size(view->dtype);
        exec->lives[v] = (qdbg__life){.first = QDBG_NONE};
        if (!exec->facts.values[v].known)
            continue;
        if (!qdbg__shape_count(view->rank, view->dims, &count) || count > SIZE_MAX / 8 / size)
            return qdbg__fail_at(exec->ctx, QDBG_E_SHAPE, NULL, g->values[v].name,
                                 "value '%s' is too large", g->values[v].name);
        exec->lives[v].bytes = (size_t)(count * size);
        exec->lives[v].reached = true;
    }
    return QDBG_OK;
}

/* Two different inputs that are not constant. */
static bool is_join(const qdbg__exec *exec, const qdbg__node *node)
{
    uint32_t found = QDBG_NONE;
    for (uint32_t i = 0; i < node->n_in; i++) {
        uint32_t v = node->in[i];
        if (v == QDBG_NONE || v == found ||
            (exec->lives[v].first == QDBG_NONE && !exec->graph->values[v].is_input))
            continue;
        if (found != QDBG_NONE)
            return true;
        found = v;
    }
    return false;
}

static void add_step(qdbg__exec *exec, uint32_t n)
{
    const qdbg__node *node = &exec->graph->nodes[n];
    uint32_t s = (uint32_t)exec->n_steps;
    for (uint32_t i = 0; i < node->n_in; i++) {
        if (node->in[i] != QDBG_NONE)
            exec->lives[node->in[i]].last = s;
    }
    exec->steps[s] = (qdbg__step){n, is_join(exec, node)};
    for (uint32_t i = 0; i < node->n_out; i++) {
        if (node->out[i] != QDBG_NONE)
            exec->lives[node->out[i]].first = exec->lives[node->out[i]].last = s;
    }
    exec->n_links += (size_t)node->n_in + node->n_out;
    exec->n_steps++;
    size_t scratch = exec->facts.nodes[n].scratch;
    if (scratch > exec->scratch)
        exec->scratch = scratch;
}

static qdbg_status make_steps(qdbg__exec *exec)
{
    const qdbg_graph *g = exec->graph;
    exec->steps = qdbg__alloc(exec->ctx, g->n_nodes, sizeof *exec->steps);
    exec->base_at = qdbg__alloc(exec->ctx, g->n_values, sizeof *exec->base_at);
    exec->overlay_at = qdbg__alloc(exec->ctx, g->n_values, sizeof *exec->overlay_at);
    exec->holes = qdbg__alloc(exec->ctx, g->n_values + 1, sizeof *exec->holes);
    exec->seats = qdbg__alloc(exec->ctx, exec->ctx->n_threads, sizeof *exec->seats);
    if (!exec->steps || !exec->base_at || !exec->overlay_at || !exec->holes || !exec->seats)
        return exec->ctx->error_status;
    for (uint32_t n = 0; n < g->n_nodes; n++) {
        if (!exec->facts.nodes[n].folded)
            add_step(exec, n);
    }
    for (size_t o = 0; o < g->n_outputs; o++)
        exec->lives[g->outputs[o]].last = (uint32_t)exec->n_steps;
    return QDBG_OK;
}

static qdbg_status fail_size(const qdbg__exec *exec)
{
    return qdbg__fail(exec->ctx, QDBG_E_LIMIT, "the values of a run pass the address space");
}

/* The two estimates: as little as a job can take, and as much. */
static qdbg_status estimate(qdbg__exec *exec)
{
    size_t transient, all;
    uint8_t *flags = exec->reach.base_flags;
    for (size_t v = 0; v < exec->graph->n_values; v++)
        flags[v] = exec->lives[v].first != QDBG_NONE ? QDBG__PLACE : 0;
    qdbg_status status = qdbg__layout_make(exec, flags, exec->base_at, &transient);
    if (status != QDBG_OK)
        return status;
    exec->bytes_least = transient + exec->scratch;
    for (size_t v = 0; v < exec->graph->n_values; v++)
        flags[v] = exec->lives[v].reached ? QDBG__PLACE | QDBG__KEEP : 0;
    status = qdbg__layout_make(exec, flags, exec->base_at, &all);
    if (status != QDBG_OK)
        return status;
    for (size_t v = 0; v < exec->graph->n_values; v++)
        flags[v] = exec->lives[v].reached ? QDBG__PLACE : 0;
    status = qdbg__layout_make(exec, flags, exec->overlay_at, &transient);
    exec->bytes_most = all + transient + exec->scratch;
    return status;
}

qdbg_status qdbg__exec_create(const qdbg_graph *graph, const qdbg_view *inputs, qdbg__exec **out)
{
    return qdbg__exec_create_with(graph, inputs, NULL, out);
}

qdbg_status qdbg__exec_create_with(const qdbg_graph *graph, const qdbg_view *inputs,
                                   const float *const *params, qdbg__exec **out)
{
    qdbg__exec *exec = qdbg__alloc(graph->ctx, 1, sizeof *exec);
    if (!exec)
        return graph->ctx->error_status;
    exec->ctx = graph->ctx;
    exec->graph = graph;
    qdbg_status status = infer_facts(exec, inputs, params);
    if (status == QDBG_OK)
        status = check_reached(exec);
    if (status == QDBG_OK)
        status = measure_values(exec);
    if (status == QDBG_OK)
        status = make_steps(exec);
    if (status == QDBG_OK)
        status = qdbg__reach_init(exec);
    if (status == QDBG_OK && exec->scratch > SIZE_MAX / 8)
        status = fail_size(exec);
    if (status == QDBG_OK)
        status = estimate(exec);
    if (status != QDBG_OK) {
        qdbg__exec_destroy(exec);
        return status;
    }
    *out = exec;
    return QDBG_OK;
}

void qdbg__exec_destroy(qdbg__exec *exec)
{
    if (!exec)
        return;
    const qdbg_graph *g = exec->graph;
    qdbg_ctx *ctx = exec->ctx;
    qdbg__workers_free(exec);
    qdbg__reach_free(exec);
    qdbg__free(ctx, exec->lives, g->n_values, sizeof *exec->lives);
    qdbg__free(ctx, exec->steps, g->n_nodes, sizeof *exec->steps);
    qdbg__free(ctx, exec->base_at, g->n_values, sizeof *exec->base_at);
    qdbg__free(ctx, exec->overlay_at, g->n_values, sizeof *exec->overlay_at);
    qdbg__free(ctx, exec->holes, g->n_values + 1, sizeof *exec->holes);
    qdbg__free(ctx, exec->seats, ctx->n_threads, sizeof *exec->seats);
    qdbg__facts_free(&exec->facts);
    qdbg__free(ctx, exec, 1, sizeof *exec);
}

bool qdbg__exec_fits(const qdbg__exec *exec, const qdbg_view *inputs)
{
    for (size_t i = 0; i < exec->graph->n_inputs; i++) {
        const qdbg_view *planned = &exec->facts.values[exec->graph->inputs[i]].view;
        if (inputs[i].dtype != planned->dtype ||
            !qdbg__shape_equal(inputs[i].rank, inputs[i].dims, planned->rank, planned->dims))
            return false;
    }
    return true;
}

bool qdbg__exec_is_baked(const qdbg__exec *exec, uint32_t value)
{
    return exec->facts.values[value].baked;
}

const qdbg_view *qdbg__exec_value(const qdbg__exec *exec, uint32_t value)
{
    return &exec->facts.values[value].view;
}

size_t qdbg__exec_worker_bytes(const qdbg__exec *exec)
{
    return exec->bytes_least;
}

size_t qdbg__exec_worker_bytes_max(const qdbg__exec *exec)
{
    return exec->bytes_most;
}

/* ---- a job ---- */

static qdbg_status check_job_input(const qdbg__exec *exec, const qdbg__exec_job *job, size_t i)
{
    uint32_t v = exec->graph->inputs[i];
    const char *name = exec->graph->values[v].name;
    const qdbg_view *planned = &exec->facts.values[v].view, *given = &job->inputs[i];
    char have[128], want[128];
    bool fits = given->rank == planned->rank;
    for (uint32_t d = 1; d < planned->rank && fits; d++)
        fits = given->dims[d] == planned->dims[d];
    if (fits && planned->rank > 0 && given->dims[0] != planned->dims[0])
        fits = planned->dims[0] > 0 && given->dims[0] % planned->dims[0] == 0 &&
               (uint64_t)(given->dims[0] / planned->dims[0]) == job->n_runs;
    if (!fits)
        return qdbg__fail_at(exec->ctx, QDBG_E_SHAPE, NULL, name,
                             "input '%s' is %s; %llu runs take %s each", name,
                             qdbg__shape_text(given->rank, given->dims, have, sizeof have),
                             (unsigned long long)job->n_runs,
                             qdbg__shape_text(planned->rank, planned->dims, want, sizeof want));
    if (given->dtype != planned->dtype)
        return qdbg__fail_at(exec->ctx, QDBG_E_TYPE, NULL, name, "input '%s' is %s instead of %s",
                             name, qdbg_dtype_name(given->dtype), qdbg_dtype_name(planned->dtype));
    if (!given->data && exec->lives[v].bytes > 0)
        return qdbg__fail_at(exec->ctx, QDBG_E_INVALID, NULL, name, "input '%s' has no data", name);
    return QDBG_OK;
}

static bool act_fits(const qdbg_view *view, const qdbg__fakequant *act)
{
    int64_t axis = act->axis < 0 ? act->axis + (int64_t)view->rank : act->axis;
    if (act->n_grids == 1)
        return true;
    return axis >= 0 && axis < (int64_t)view->rank && view->dims[axis] == (int64_t)act->n_grids;
}

static qdbg_status check_acts(const qdbg__exec *exec, const qdbg__exec_job *job, uint32_t variant)
{
    const qdbg_graph *g = exec->graph;
    const qdbg__fakequant *const *acts = job->variants[variant].acts;
    for (size_t v = 0; v < g->n_values && acts; v++) {
        const qdbg_view *view = &exec->facts.values[v].view;
        if (!acts[v])
            continue;
        if (!exec->lives[v].reached || view->dtype != QDBG_F32)
            return qdbg__fail_at(exec->ctx, QDBG_E_TYPE, NULL, g->values[v].name,
                                 "a quantizer on '%s', which is %s", g->values[v].name,
                                 qdbg_dtype_name(view->dtype));
        if (!act_fits(view, acts[v]))
            return qdbg__fail_at(exec->ctx, QDBG_E_SHAPE, NULL, g->values[v].name,
                                 "a quantizer with %u scales on axis %d does not fit '%s'",
                                 acts[v]->n_grids, acts[v]->axis, g->values[v].name);
    }
    return QDBG_OK;
}

static qdbg_status check_job(const qdbg__exec *exec, const qdbg__exec_job *job)
{
    qdbg_status status = QDBG_OK;
    if (job->n_variants == 0 || !job->variants)
        return qdbg__fail(exec->ctx, QDBG_E_INVALID, "a job without variants");
    for (size_t i = 0; i < exec->graph->n_inputs && status == QDBG_OK; i++)
        status = check_job_input(exec, job, i);
    for (uint32_t k = 0; k < job->n_variants && status == QDBG_OK; k++)
        status = check_acts(exec, job, k);
    return status;
}

static uint32_t end_step(const qdbg__exec *exec, const qdbg__exec_job *job)
{
    uint32_t end = 0;
    if (job->outputs || !job->observe || !job->wanted)
        return (uint32_t)exec->n_steps;
    for (size_t v = 0; v < exec->graph->n_values; v++) {
        uint32_t first = exec->lives[v].first;
        if (job->wanted[v] && first != QDBG_NONE && first >= end)
            end = first + 1;
    }
    return end;
}

static qdbg_status lay_out(qdbg__exec *exec, const qdbg__exec_job *job)
{
    exec->end_step = end_step(exec, job);
    qdbg_status status = qdbg__reach_find(exec, job);
    if (status == QDBG_OK)
        status = qdbg__layout_make(exec, exec->reach.base_flags, exec->base_at, &exec->base_bytes);
    if (status == QDBG_OK)
        status = qdbg__layout_make(exec, exec->reach.overlay_flags, exec->overlay_at,
                                   &exec->overlay_bytes);
    return status;
}

typedef struct task {
    qdbg__exec *exec;
    const qdbg__exec_job *job;
    atomic_uint next_seat;
} task;

/* A thread takes its seat (buffers) with its first item: no more than there are runs are needed,
 * whichever threads of the pool wake in time. */
static qdbg_status run_item(void *arg, uint64_t item, uint32_t thread)
{
    task *t = arg;
    uint32_t *seat = &t->exec->seats[thread];
    if (*seat == QDBG_NONE)
        *seat = atomic_fetch_add(&t->next_seat, 1);
    return qdbg__worker_run(t->exec, t->job, item, &t->exec->workers[*seat], thread);
}

/* Put the failure of the lowest run into words; workers must not. */
static qdbg_status report(const qdbg__exec *exec, size_t n_workers, qdbg_status status)
{
    const qdbg__mishap *f = NULL;
    for (size_t i = 0; i < n_workers; i++) {
        const qdbg__mishap *candidate = &exec->workers[i].failure;
        if (candidate->kind != QDBG__MISHAP_NONE && (!f || candidate->run < f->run))
            f = candidate;
    }
    if (!f) /* the pool's own failure, recorded there */
        return status;
    if (f->kind == QDBG__MISHAP_CANCEL)
        return qdbg__fail(exec->ctx, f->status, "cancelled");
    unsigned long long run = f->run;
    if (f->kind == QDBG__MISHAP_OBSERVER) {
        const char *name = exec->graph->values[f->culprit].name;
        return qdbg__fail_at(exec->ctx, f->status, NULL, name,
                             "'%s' could not be observed (run %llu, variant %u)", name, run,
                             f->variant);
    }
    const qdbg__node *node = &exec->graph->nodes[f->culprit];
    return qdbg__fail_at(exec->ctx, f->status, node->name, NULL,
                         "%s '%s' failed (run %llu, variant %u): an input holds a value out of "
                         "range",
                         node->op_type, node->name, run, f->variant);
}

qdbg_status qdbg__exec_run(qdbg__exec *exec, const qdbg__exec_job *job)
{
    task t = {exec, job, 0};
    qdbg_status status = check_job(exec, job);
    if (status != QDBG_OK || job->n_runs == 0)
        return status;
    size_t n_workers = exec->ctx->n_threads;
    if (n_workers > job->n_runs)
        n_workers = (size_t)job->n_runs;
    status = lay_out(exec, job);
    if (status == QDBG_OK)
        status = qdbg__workers_prepare(exec, job, n_workers);
    if (status != QDBG_OK)
        return status;
    for (uint32_t i = 0; i < exec->ctx->n_threads; i++)
        exec->seats[i] = QDBG_NONE;
    status = qdbg__parallel_for(exec->ctx, job->n_runs, run_item, &t);
    return status == QDBG_OK ? QDBG_OK : report(exec, n_workers, status);
}
