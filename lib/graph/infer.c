#include "op.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ops/number.h"

/* Folding is for shape arithmetic: anything larger is left to the executor. */
#define FOLD_MAX_OUT ((uint64_t)1 << 20)
#define FOLD_MAX_FLOAT_PARAM 4096

/* Stands for the elements of an empty constant, which has an address though nothing is read. */
static const char no_elements[8] = {0};

/* ---- helpers for infer functions ---- */

void qdbg__infer_out(qdbg__infer *x, uint32_t i, int32_t dtype, uint32_t rank, const int64_t *dims)
{
    if (i >= x->node->n_out || x->node->out[i] == QDBG_NONE)
        return;
    qdbg_view *out = &x->out[i];
    *out = (qdbg_view)QDBG_VIEW_INIT;
    out->rank = rank;
    if (rank > QDBG_MAX_RANK)
        return; /* dtype stays NONE: reported by check_outputs */
    out->dtype = dtype;
    if (rank > 0)
        memcpy(out->dims, dims, rank * sizeof *dims);
}

qdbg_status qdbg__infer_fail(qdbg__infer *x, qdbg_status status, const char *fmt, ...)
{
    char text[QDBG__MESSAGE_SIZE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return qdbg__fail_at(x->ctx, status, x->node->name, NULL, "%s '%s': %s", x->node->op_type,
                         x->node->name, text);
}

const qdbg_view *qdbg__infer_in(const qdbg__infer *x, uint32_t i)
{
    return i < x->node->n_in ? x->in[i] : NULL;
}

static int32_t ints_from_input(qdbg__infer *x, const char *name, const qdbg_view *in,
                               int64_t *values, uint32_t max)
{
    if (in->rank > 1 || (in->dtype != QDBG_I32 && in->dtype != QDBG_I64)) {
        qdbg__infer_fail(x, QDBG_E_TYPE, "'%s' must be a list of int32 or int64", name);
        return -2;
    }
    if (!in->data) {
        qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "'%s' is not constant", name);
        return -2;
    }
    uint64_t n = qdbg_view_count(in);
    if (n > max) {
        qdbg__infer_fail(x, QDBG_E_SHAPE, "'%s' has %llu entries, at most %u can be", name,
                         (unsigned long long)n, max);
        return -2;
    }
    for (uint64_t i = 0; i < n; i++)
        values[i] =
            in->dtype == QDBG_I32 ? ((const int32_t *)in->data)[i] : ((const int64_t *)in->data)[i];
    return (int32_t)n;
}

int32_t qdbg__infer_ints(qdbg__infer *x, const char *name, uint32_t i, int64_t *values,
                         uint32_t max)
{
    const qdbg_view *in = qdbg__infer_in(x, i);
    if (in)
        return ints_from_input(x, name, in, values, max);
    const qdbg__attr *attr = qdbg__node_attr(x->node, name);
    if (!attr)
        return -1;
    if (attr->kind == QDBG__ATTR_INT && max >= 1) {
        values[0] = attr->i;
        return 1;
    }
    if (attr->kind != QDBG__ATTR_INTS) {
        qdbg__infer_fail(x, QDBG_E_TYPE, "attribute '%s' must be a list of integers", name);
        return -2;
    }
    if (attr->n > max) {
        qdbg__infer_fail(x, QDBG_E_SHAPE, "'%s' has %u entries, at most %u can be", name, attr->n,
                         max);
        return -2;
    }
    if (attr->n > 0)
        memcpy(values, attr->ints, attr->n * sizeof *values);
    return (int32_t)attr->n;
}

bool qdbg__infer_float(qdbg__infer *x, const char *name, uint32_t i, float *value)
{
    const qdbg_view *in = qdbg__infer_in(x, i);
    if (!in) {
        *value = qdbg__attr_float(x->node, name, *value);
        return true;
    }
    if (in->dtype != QDBG_F32 && in->dtype != QDBG_F64) {
        qdbg__infer_fail(x, QDBG_E_TYPE, "'%s' must be float32 or float64, not %s", name,
                         qdbg_dtype_name(in->dtype));
        return false;
    }
    if (qdbg_view_count(in) != 1) {
        qdbg__infer_fail(x, QDBG_E_SHAPE, "'%s' must be one number", name);
        return false;
    }
    if (!in->data) {
        qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "'%s' is not constant", name);
        return false;
    }
    *value = in->dtype == QDBG_F32 ? *(const float *)in->data : (float)*(const double *)in->data;
    return true;
}

bool qdbg__broadcast(uint32_t rank_a, const int64_t *a, uint32_t rank_b, const int64_t *b,
                     uint32_t *rank, int64_t *dims)
{
    uint32_t r = rank_a > rank_b ? rank_a : rank_b;
    int64_t merged[QDBG_MAX_RANK];
    for (uint32_t i = 0; i < r; i++) { /* i counts from the last dimension */
        int64_t da = i < rank_a ? a[rank_a - 1 - i] : 1;
        int64_t db = i < rank_b ? b[rank_b - 1 - i] : 1;
        if (da != db && da != 1 && db != 1)
            return false;
        merged[r - 1 - i] = da == 1 ? db : da;
    }
    if (r > 0)
        memcpy(dims, merged, r * sizeof *dims);
    *rank = r;
    return true;
}

bool qdbg__axis(int64_t axis, uint32_t rank, uint32_t *out)
{
    if (axis < -(int64_t)rank || axis >= (int64_t)rank)
        return false;
    *out = (uint32_t)(axis < 0 ? axis + (int64_t)rank : axis);
    return true;
}

/* ---- inference over a whole graph ---- */

typedef struct pass {
    qdbg_ctx *ctx;
    const qdbg_graph *graph;
    qdbg__facts *facts;
    const float *const *params; /* as in qdbg__facts_infer_with */
    bool strict;
    size_t max_in, max_out;
    const qdbg_view **in;        /* [max_in] of the node at hand */
    qdbg_view *out;              /* [max_out] */
    const qdbg_view **out_views; /* [max_out] */
    bool *folded; /* [n_values] computed here, so that what reads it may fold too; not set for float
                     literals, which like float parameters must stay quantizable */
} pass;

static bool view_known(const qdbg_view *view)
{
    if (qdbg_dtype_size(view->dtype) == 0 || view->rank > QDBG_MAX_RANK)
        return false;
    for (uint32_t i = 0; i < view->rank; i++) {
        if (view->dims[i] < 0)
            return false;
    }
    return true;
}

/* All unknown operators in one message: "Loop (2 nodes, first 'l1'), NonZero (1 node, 'n')". */
static qdbg_status fail_unknown(pass *p)
{
    const qdbg_graph *g = p->graph;
    char list[QDBG__MESSAGE_SIZE] = "";
    size_t used = 0, kinds = 0;
    const char *first_node = NULL;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const qdbg__node *node = &g->nodes[i];
        size_t count = 0, j = 0;
        if (node->op)
            continue;
        while (j < i && strcmp(g->nodes[j].op_type, node->op_type) != 0)
            j++;
        if (j < i)
            continue; /* listed already */
        for (; j < g->n_nodes; j++)
            count += strcmp(g->nodes[j].op_type, node->op_type) == 0;
        kinds++;
        first_node = first_node ? first_node : node->name;
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s (%zu node%s, %s'%s')",
                                     kinds > 1 ? ", " : "", node->op_type, count,
                                     count == 1 ? "" : "s", count == 1 ? "" : "first ", node->name);
    }
    if (kinds == 0)
        return QDBG_OK;
    return qdbg__fail_at(p->ctx, QDBG_E_UNSUPPORTED, first_node, NULL,
                         "%zu operator%s not supported: %s", kinds, kinds == 1 ? " is" : "s are",
                         list);
}

static qdbg_status seed_values(pass *p, const qdbg_view *inputs)
{
    const qdbg_graph *g = p->graph;
    for (size_t v = 0; v < g->n_values; v++) {
        const qdbg__value *value = &g->values[v];
        qdbg__fact *fact = &p->facts->values[v];
        fact->view = (qdbg_view)QDBG_VIEW_INIT;
        if (!value->is_param)
            continue;
        fact->view.dtype = value->dtype;
        fact->view.rank = value->rank;
        memcpy(fact->view.dims, value->dims, sizeof fact->view.dims);
        const void *data = p->params && p->params[v] ? p->params[v] : value->data;
        fact->view.data = (void *)(uintptr_t)(data ? data : no_elements);
        fact->known = true;
    }
    for (size_t i = 0; i < g->n_inputs; i++) {
        qdbg__fact *fact = &p->facts->values[g->inputs[i]];
        uint64_t count;
        fact->known = view_known(&inputs[i]);
        if (fact->known && !qdbg__shape_count(inputs[i].rank, inputs[i].dims, &count))
            return qdbg__fail_at(p->ctx, QDBG_E_SHAPE, NULL, g->values[g->inputs[i]].name,
                                 "input '%s' would have more elements than can be addressed",
                                 g->values[g->inputs[i]].name);
        if (fact->known) {
            fact->view = inputs[i];
            fact->view.data = NULL;
        } else if (p->strict) {
            return qdbg__fail_at(p->ctx, QDBG_E_SHAPE, NULL, g->values[g->inputs[i]].name,
                                 "the shape of input '%s' is not known",
                                 g->values[g->inputs[i]].name);
        }
    }
    return QDBG_OK;
}

/* Number of inputs and outputs against the operator's table row. */
static qdbg_status check_arity(qdbg__infer *x)
{
    const qdbg__node *node = x->node;
    const qdbg__op *op = node->op;
    if (node->n_in < op->min_in || node->n_in > op->max_in)
        return qdbg__infer_fail(x, QDBG_E_INVALID, "has %u inputs, which it cannot have",
                                node->n_in);
    if (node->n_out > op->max_out)
        return qdbg__infer_fail(x, QDBG_E_INVALID, "has %u outputs, at most %u can be", node->n_out,
                                op->max_out);
    uint32_t needed = op->max_in == UINT32_MAX ? node->n_in : op->min_in;
    for (uint32_t i = 0; i < needed; i++) {
        if (node->in[i] == QDBG_NONE)
            return qdbg__infer_fail(x, QDBG_E_INVALID, "input %u is left out", i);
    }
    return QDBG_OK;
}

static qdbg_status check_outputs(qdbg__infer *x)
{
    char shape[128];
    uint64_t count;
    for (uint32_t i = 0; i < x->node->n_out; i++) {
        const qdbg_view *out = &x->out[i];
        if (x->node->out[i] == QDBG_NONE)
            continue;
        if (out->dtype == QDBG_DTYPE_NONE)
            return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED,
                                    "output %u has more than %d dimensions or is not computed", i,
                                    QDBG_MAX_RANK);
        if (!qdbg__shape_count(out->rank, out->dims, &count))
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "output %u would have the shape %s", i,
                                    qdbg__shape_text(out->rank, out->dims, shape, sizeof shape));
    }
    return QDBG_OK;
}

/* Gather what is known of the inputs; false when something is missing. */
static bool collect_inputs(pass *p, const qdbg__node *node)
{
    for (uint32_t i = 0; i < node->n_in; i++) {
        p->in[i] = NULL;
        if (node->in[i] == QDBG_NONE)
            continue;
        const qdbg__fact *fact = &p->facts->values[node->in[i]];
        if (!fact->known)
            return false;
        p->in[i] = &fact->view;
    }
    return true;
}

/* Whether the node's outputs are constants worth computing now: shape arithmetic, also where it
 * goes through floats (the scales of Upsample in old exports), but never weights. */
static bool should_fold(const pass *p, const qdbg__node *node)
{
    uint64_t total = 0;
    bool any_folded = false, all_safe = node->n_in > 0;
    for (uint32_t i = 0; i < node->n_out; i++)
        total += node->out[i] == QDBG_NONE ? 0 : qdbg_view_count(&p->out[i]);
    if (total > FOLD_MAX_OUT)
        return false;
    if (qdbg__node_is(node, "Shape") || qdbg__node_is(node, "Size") ||
        qdbg__node_is(node, "Constant"))
        return true;
    for (uint32_t i = 0; i < node->n_in; i++) {
        if (!p->in[i])
            continue;
        if (!p->in[i]->data)
            return false;
        bool folded = p->folded[node->in[i]];
        bool safe = folded || !qdbg__is_float(p->in[i]->dtype);
        if (!safe && qdbg_view_count(p->in[i]) > FOLD_MAX_FLOAT_PARAM)
            return false;
        any_folded = any_folded || folded;
        all_safe = all_safe && safe;
    }
    return any_folded || all_safe;
}

static void free_outputs(pass *p, const qdbg__node *node)
{
    for (uint32_t i = 0; i < node->n_out; i++) {
        if (p->out[i].data)
            qdbg__free(p->ctx, p->out[i].data, qdbg_view_count(&p->out[i]),
                       qdbg_dtype_size(p->out[i].dtype));
        p->out[i].data = NULL;
    }
}

/* Run the node into fresh memory that p->out then points to. */
static qdbg_status fold(pass *p, qdbg__infer *x)
{
    const qdbg__node *node = x->node;
    qdbg_status status = QDBG_OK;
    char *scratch = NULL;
    for (uint32_t i = 0; i < node->n_out && status == QDBG_OK; i++) {
        p->out_views[i] = NULL;
        if (node->out[i] == QDBG_NONE)
            continue;
        p->out[i].data =
            qdbg__alloc(p->ctx, qdbg_view_count(&p->out[i]), qdbg_dtype_size(p->out[i].dtype));
        p->out_views[i] = &p->out[i];
        if (!p->out[i].data)
            status = QDBG_E_NOMEM;
    }
    if (status == QDBG_OK && x->scratch > 0) {
        scratch = qdbg__alloc(p->ctx, x->scratch, 1);
        if (!scratch)
            status = QDBG_E_NOMEM;
    }
    if (status != QDBG_OK) {
        status = p->ctx->error_status; /* NOMEM or LIMIT, as the allocator recorded */
    } else {
        qdbg__run run = {node,    (const qdbg_view *const *)p->in, p->out_views, x->params,
                         scratch, qdbg__kernels_of(p->ctx)};
        status = node->op->run(&run);
        if (status != QDBG_OK)
            qdbg__infer_fail(x, status, "its constant inputs hold a value out of range");
    }
    qdbg__free(p->ctx, scratch, x->scratch, 1);
    if (status != QDBG_OK)
        free_outputs(p, node);
    return status;
}

/* Inference may have read a constant (Resize its scales), and folding has read all. */
static void mark_baked(pass *p, const qdbg__node *node, bool folded)
{
    if (!folded && !qdbg__node_is(node, "Resize") && !qdbg__node_is(node, "Upsample"))
        return;
    for (uint32_t i = 0; i < node->n_in; i++)
        if (node->in[i] != QDBG_NONE && p->graph->values[node->in[i]].is_param)
            p->facts->values[node->in[i]].baked = true;
}

static void keep_outputs(pass *p, const qdbg__node *node, bool folded)
{
    bool literal = qdbg__node_is(node, "Constant");
    for (uint32_t i = 0; i < node->n_out; i++) {
        if (node->out[i] == QDBG_NONE)
            continue;
        qdbg__fact *fact = &p->facts->values[node->out[i]];
        fact->view = p->out[i];
        fact->known = true;
        fact->owned = folded;
        p->folded[node->out[i]] = folded && !(literal && qdbg__is_float(fact->view.dtype));
    }
}

static qdbg_status infer_and_fold(pass *p, qdbg__infer *x, qdbg__node_plan *plan)
{
    qdbg_status status = check_arity(x);
    if (status == QDBG_OK)
        status = x->node->op->infer(x);
    if (status == QDBG_OK)
        status = check_outputs(x);
    if (status == QDBG_OK && should_fold(p, x->node)) {
        status = fold(p, x);
        plan->folded = status == QDBG_OK;
    }
    return status;
}

/* Infer one node. Where the library lacks something and that is no error, its outputs stay unknown.
 */
static qdbg_status infer_node(pass *p, size_t n)
{
    const qdbg__node *node = &p->graph->nodes[n];
    qdbg__node_plan *plan = &p->facts->nodes[n];
    if (!node->op || !collect_inputs(p, node))
        return QDBG_OK;
    qdbg__infer x = {p->ctx,       node, p->graph->opset, (const qdbg_view *const *)p->in, p->out,
                     plan->params, 0};
    for (uint32_t i = 0; i < node->n_out; i++)
        p->out[i] = (qdbg_view)QDBG_VIEW_INIT;
    /* A failure is logged only once it is known to be one. */
    qdbg_log_fn log = p->ctx->log;
    p->ctx->log = NULL;
    qdbg_status status = infer_and_fold(p, &x, plan);
    p->ctx->log = log;
    if (status == QDBG_E_UNSUPPORTED && !p->strict) {
        qdbg__clear_error(p->ctx);
        return QDBG_OK;
    }
    if (status != QDBG_OK) {
        qdbg__failure told; /* the callback may call the library, which clears the record */
        qdbg__failure_save(p->ctx, &told);
        qdbg_ctx_log(p->ctx, QDBG_LOG_ERROR, told.message);
        qdbg__failure_restore(p->ctx, &told);
        return status;
    }
    plan->scratch = x.scratch;
    plan->inferred = true;
    mark_baked(p, node, plan->folded);
    keep_outputs(p, node, plan->folded);
    return QDBG_OK;
}

static qdbg_status infer_all(pass *p, const qdbg_view *inputs)
{
    qdbg_status status = p->strict ? fail_unknown(p) : QDBG_OK;
    if (status == QDBG_OK)
        status = seed_values(p, inputs);
    for (size_t n = 0; n < p->graph->n_nodes && status == QDBG_OK; n++)
        status = infer_node(p, n);
    return status;
}

static bool alloc_facts(pass *p)
{
    const qdbg_graph *g = p->graph;
    qdbg__facts *f = p->facts;
    f->graph = g;
    f->values = qdbg__alloc(p->ctx, g->n_values, sizeof *f->values);
    f->nodes = f->values ? qdbg__alloc(p->ctx, g->n_nodes, sizeof *f->nodes) : NULL;
    f->params = f->nodes ? qdbg__alloc(p->ctx, g->n_nodes, QDBG__OP_PARAMS_SIZE) : NULL;
    if (!f->params)
        return false;
    for (size_t n = 0; n < g->n_nodes; n++)
        f->nodes[n].params = f->params + n * QDBG__OP_PARAMS_SIZE;
    return true;
}

static bool alloc_pass(pass *p)
{
    const qdbg_graph *g = p->graph;
    for (size_t n = 0; n < g->n_nodes; n++) {
        if (g->nodes[n].n_in > p->max_in)
            p->max_in = g->nodes[n].n_in;
        if (g->nodes[n].n_out > p->max_out)
            p->max_out = g->nodes[n].n_out;
    }
    p->in = qdbg__alloc(p->ctx, p->max_in, sizeof *p->in);
    p->out = p->in ? qdbg__alloc(p->ctx, p->max_out, sizeof *p->out) : NULL;
    p->out_views = p->out ? qdbg__alloc(p->ctx, p->max_out, sizeof *p->out_views) : NULL;
    p->folded = p->out_views ? qdbg__alloc(p->ctx, g->n_values, sizeof *p->folded) : NULL;
    return p->folded != NULL;
}

static void free_pass(pass *p)
{
    qdbg__free(p->ctx, (void *)p->in, p->max_in, sizeof *p->in);
    qdbg__free(p->ctx, p->out, p->max_out, sizeof *p->out);
    qdbg__free(p->ctx, (void *)p->out_views, p->max_out, sizeof *p->out_views);
    qdbg__free(p->ctx, p->folded, p->graph->n_values, sizeof *p->folded);
}

qdbg_status qdbg__facts_infer(const qdbg_graph *graph, const qdbg_view *inputs, bool strict,
                              qdbg__facts *out)
{
    return qdbg__facts_infer_with(graph, inputs, NULL, strict, out);
}

qdbg_status qdbg__facts_infer_with(const qdbg_graph *graph, const qdbg_view *inputs,
                                   const float *const *params, bool strict, qdbg__facts *out)
{
    qdbg__facts facts = {0};
    pass p = {
        .ctx = graph->ctx, .graph = graph, .facts = &facts, .params = params, .strict = strict};
    qdbg_status status = QDBG_OK;
    facts.graph = graph;
    if (!alloc_facts(&p) || !alloc_pass(&p))
        status = graph->ctx->error_status;
    if (status == QDBG_OK)
        status = infer_all(&p, inputs);
    free_pass(&p);
    if (status != QDBG_OK) {
        qdbg__facts_free(&facts);
        return status;
    }
    *out = facts;
    return QDBG_OK;
}

void qdbg__facts_free(qdbg__facts *facts)
{
    if (!facts || !facts->graph)
        return;
    const qdbg_graph *g = facts->graph;
    for (size_t v = 0; facts->values && v < g->n_values; v++) {
        const qdbg_view *view = &facts->values[v].view;
        if (facts->values[v].owned)
            qdbg__free(g->ctx, view->data, qdbg_view_count(view), qdbg_dtype_size(view->dtype));
    }
    qdbg__free(g->ctx, facts->values, g->n_values, sizeof *facts->values);
    qdbg__free(g->ctx, facts->nodes, g->n_nodes, sizeof *facts->nodes);
    qdbg__free(g->ctx, facts->params, g->n_nodes, QDBG__OP_PARAMS_SIZE);
    *facts = (qdbg__facts){0};
}
