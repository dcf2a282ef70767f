/* AdaRound over a network: which layers, in which passes, and back again. */
#include <math.h>
#include <string.h>

#include "../sim/guard.h"
#include "adaround_result.h"

/* ---- options ---- */

void qdbg_adaround_options_init(qdbg_adaround_options *options)
{
    if (options)
        *options = (qdbg_adaround_options)QDBG_ADAROUND_OPTIONS_INIT;
}

static bool positive(double x)
{
    return isfinite(x) && x >= 0;
}

static const char *options_fault(const qdbg_adaround_options *o)
{
    if (o->struct_size != sizeof *o)
        return "struct_size is wrong";
    if (o->solver < QDBG_ADAROUND_SEQUENTIAL || o->solver > QDBG_ADAROUND_SAMPLED)
        return "solver is unknown";
    if (o->flags > 127)
        return "flags are unknown";
    if (o->range_candidates > 1000)
        return "range_candidates passes 1000";
    if (!positive(o->damping) || !positive(o->learning_rate) || !positive(o->regularizer))
        return "damping, learning_rate or regularizer is negative or not finite";
    if (!o->guard_dataset != !o->guard_metric)
        return "the guard needs guard_dataset and guard_metric";
    return NULL;
}

static qdbg_status check_options(qdbg_ctx *ctx, const qdbg_adaround_options *o)
{
    const char *fault = options_fault(o);
    if (fault)
        return qdbg__fail(ctx, QDBG_E_INVALID, "adaround options: %s", fault);
    if (!o->guard_dataset)
        return QDBG_OK;
    qdbg_status status = qdbg__dataset_check(ctx, o->guard_dataset);
    return status == QDBG_OK ? qdbg__guard_metric_check(ctx, o->guard_metric, true) : status;
}

/* ---- a run ---- */

typedef struct run {
    qdbg_sim *sim;
    qdbg_model *model;
    const qdbg_dataset *data;
    qdbg_adaround_options o;
    qdbg__ada_layer *layers; /* [n] in topological order */
    size_t n, n_done;
    uint8_t *chosen;        /* [sim->n] for qdbg__sim_variant_make */
    const float **params;   /* [n_values] of the rounded network */
    qdbg__sim_variant made; /* what the rounded network has beside rounded layers */
    bool differs;           /* the rounded network is not the float32 one */
    uint64_t n_runs;        /* of the data, if all batches are like the first */
    /* The pass at hand. */
    qdbg__gatherer *gatherers; /* [n], of `members` */
    float **matrices;          /* [n] of members */
    uint8_t *member;           /* [n] */
    uint8_t *wanted;           /* [n_values] */
    uint8_t *tainted;          /* [n_values] depends on a layer that is not done */
    qdbg_view *slice;          /* [n_inputs] */
} run;

static const qdbg_graph *graph_of(const run *r)
{
    return r->model->graph;
}

static bool takes_part(const run *r, size_t i)
{
    const qdbg__quantizer *q = &r->sim->quantizers[i];
    return q->place.kind == QDBG_WEIGHT && q->enabled && !qdbg__sim_is_bypassed(r->sim, i);
}

static void describe(run *r, size_t quantizer, qdbg__ada_layer *layer)
{
    const qdbg_graph *g = graph_of(r);
    const qdbg__quantizer *q = &r->sim->quantizers[quantizer];
    const qdbg__value *v = &g->values[q->place.value];
    qdbg_adaround_row_init(&layer->row);
    layer->row.node = q->place.node;
    layer->row.weight = q->place.value;
    layer->row.quantizer = (uint32_t)quantizer;
    layer->row.solver = r->o.solver;
    layer->row.bits = q->spec.bits;
    layer->row.bias = layer->row.activation = QDBG_NONE;
    layer->n_weights = v->bytes / sizeof(float);
    layer->row.n_weights = layer->n_weights;
    bool shared = v->n_consumers != 1 || v->is_output;
    bool known = !shared && qdbg__linear_read(g, q->place.node, q->place.value, &layer->linear);
    if (known)
        layer->site = qdbg__bias_find(g, &layer->linear);
    else
        layer->row.outcome = shared ? QDBG_ADAROUND_SHARED : QDBG_ADAROUND_UNSUPPORTED;
    layer->done = !known;
}

static void *take(run *r, bool *good, size_t n, size_t size)
{
    void *p = *good ? qdbg__alloc(r->sim->ctx, n, size) : NULL;
    *good = p != NULL;
    return p;
}

static qdbg_status open_run(run *r)
{
    const qdbg_graph *g = graph_of(r);
    bool good = true;
    size_t n = 0;
    for (size_t i = 0; i < r->sim->n; i++)
        n += takes_part(r, i);
    r->layers = take(r, &good, n, sizeof *r->layers);
    r->gatherers = take(r, &good, n, sizeof *r->gatherers);
    r->matrices = take(r, &good, n, sizeof *r->matrices);
    r->member = take(r, &good, n, 1);
    r->chosen = take(r, &good, r->sim->n, 1);
    r->params = take(r, &good, g->n_values, sizeof *r->params);
    r->wanted = take(r, &good, g->n_values, 1);
    r->tainted = take(r, &good, g->n_values, 1);
    r->slice = take(r, &good, g->n_inputs, sizeof *r->slice);
    r->n = n;
    if (!good)
        return r->sim->ctx->error_status;
    n = 0;
    for (size_t i = 0; i < r->sim->n; i++)
        if (takes_part(r, i))
            describe(r, i, &r->layers[n++]);
    return QDBG_OK;
}

static void end_pass(run *r)
{
    for (size_t i = 0; i < r->n && r->gatherers && r->matrices; i++) {
        qdbg__gatherer_free(&r->gatherers[i]);
        qdbg__free(r->sim->ctx, r->matrices[i], r->layers[i].n_weights, sizeof(float));
        r->matrices[i] = NULL;
    }
}

static void close_run(run *r)
{
    qdbg_ctx *ctx = r->sim->ctx;
    const qdbg_graph *g = graph_of(r);
    end_pass(r);
    for (size_t i = 0; r->layers && i < r->n; i++)
        qdbg__ada_layer_free(ctx, &r->layers[i]);
    qdbg__sim_variant_free(r->sim, &r->made);
    qdbg__free(ctx, r->slice, g->n_inputs, sizeof *r->slice);
    qdbg__free(ctx, r->tainted, g->n_values, 1);
    qdbg__free(ctx, r->wanted, g->n_values, 1);
    qdbg__free(ctx, r->params, g->n_values, sizeof *r->params);
    qdbg__free(ctx, r->chosen, r->sim->n, 1);
    qdbg__free(ctx, r->member, r->n, 1);
    qdbg__free(ctx, r->matrices, r->n, sizeof *r->matrices);
    qdbg__free(ctx, r->gatherers, r->n, sizeof *r->gatherers);
    qdbg__free(ctx, r->layers, r->n, sizeof *r->layers);
}

/* ---- the rounded network ---- */

/* What it is before any layer is rounded: layers that are left, and activations if asked for. */
static qdbg_status begin_rounded(run *r)
{
    bool acts = (r->o.flags & QDBG_ADAROUND_ACTIVATIONS) != 0;
    for (size_t i = 0; i < r->sim->n; i++) {
        const qdbg__quantizer *q = &r->sim->quantizers[i];
        r->chosen[i] = acts && q->place.kind == QDBG_ACTIVATION && q->enabled;
        r->differs = r->differs || (r->chosen[i] && !qdbg__sim_is_bypassed(r->sim, i));
    }
    qdbg_status status = qdbg__sim_variant_make(r->sim, r->chosen, &r->made);
    return status;
}

/* A layer that is left as it is will be rounded to nearest. */
static qdbg_status adopt_layer(run *r, qdbg__ada_layer *layer)
{
    uint32_t weight = layer->row.weight;
    layer->done = true;
    r->n_done++;
    if (r->o.flags & QDBG_ADAROUND_ONE_PASS)
        return QDBG_OK;
    r->differs = true;
    if (!layer->rounded)
        return qdbg__sim_quantized_weight(r->sim, layer->row.quantizer, &r->params[weight]);
    r->params[weight] = layer->rounded;
    if (layer->bias)
        r->params[layer->site.value] = layer->bias;
    return QDBG_OK;
}

/* ---- a pass over the data ---- */

static const qdbg_view *input_shape(const run *r, const qdbg__ada_layer *layer)
{
    const qdbg_view *v = r->model->exec ? qdbg__exec_value(r->model->exec, layer->linear.input)
                                        : &r->model->run_values[layer->linear.input];
    return v->dtype == QDBG_F32 ? v : NULL;
}

static qdbg_status observe(void *user, uint32_t worker, uint32_t variant, uint64_t at,
                           uint32_t value, const qdbg_view *view)
{
    run *r = user;
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < r->n && status == QDBG_OK; i++)
        if (r->member[i] && r->layers[i].linear.input == value)
            status = qdbg__gatherer_show(&r->gatherers[i], worker, variant, at, view);
    return status;
}

static qdbg_status run_some(run *r, const qdbg_view *inputs, uint32_t n)
{
    qdbg__variant variants[2] = {{NULL, NULL}, {r->made.acts, r->params}};
    qdbg__model_job job = {.inputs = inputs,
                           .n_runs = n,
                           .variants = variants,
                           .n_variants = r->differs ? 2 : 1,
                           .observe = observe,
                           .observe_values = r->wanted,
                           .observe_user = r};
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < r->n && status == QDBG_OK; i++) {
        const qdbg_view *shape = r->member[i] ? input_shape(r, &r->layers[i]) : NULL;
        if (r->member[i])
            status = shape ? qdbg__gatherer_begin(&r->gatherers[i], shape, n) : QDBG_E_SHAPE;
    }
    if (status == QDBG_OK)
        status = r->model->backend->run(r->model, &job);
    for (size_t i = 0; i < r->n && status == QDBG_OK; i++)
        if (r->member[i])
            status = qdbg__gatherer_end(&r->gatherers[i], n);
    return status;
}

/* Jobs end where buffers are full, wherever batches end. */
static qdbg_status take_stretch(void *user, const qdbg__stretch *s)
{
    run *r = user;
    uint32_t held = 0;
    for (size_t i = 0; i < r->n; i++)
        if (r->member[i])
            held = r->gatherers[i].n_fit + r->gatherers[i].n_held;
    for (uint64_t at = 0; at < s->n_runs;) {
        uint64_t left = s->n_runs - at, room = QDBG__GRAM_RUNS - held;
        uint32_t n = (uint32_t)(left < room ? left : room);
        qdbg__model_slice(r->model, s->inputs, at, n, r->slice);
        qdbg_status status = run_some(r, r->slice, n);
        if (status != QDBG_OK)
            return status;
        at += n;
        held = (held + n) % QDBG__GRAM_RUNS;
    }
    return QDBG_OK;
}

static qdbg_status look(void *user, const qdbg__stretch *s)
{
    run *r = user;
    uint64_t most = ((uint64_t)1 << 40) / r->data->n_batches; /* it is a guess only */
    r->n_runs = (s->n_runs < most ? s->n_runs : most) * r->data->n_batches;
    return QDBG_OK;
}

/* Make shapes known. */
static qdbg_status look_at_data(run *r)
{
    return qdbg__dataset_first(r->model, r->data, UINT64_MAX, look, r);
}

/* ---- which layers come next ---- */

static void taint(run *r)
{
    const qdbg_graph *g = graph_of(r);
    memset(r->tainted, 0, g->n_values);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const qdbg__node *node = &g->nodes[i];
        bool bad = false;
        for (uint32_t k = 0; k < node->n_in; k++)
            bad = bad || (node->in[k] != QDBG_NONE && r->tainted[node->in[k]]);
        for (size_t l = 0; l < r->n; l++)
            bad = bad || (r->layers[l].row.node == i && !r->layers[l].done);
        for (uint32_t k = 0; k < node->n_out; k++)
            if (node->out[k] != QDBG_NONE)
                r->tainted[node->out[k]] = bad;
    }
}

/* Bytes that gatherers may take together; at least one is always let in. */
#define ROOM_WITHOUT_CEILING ((uint64_t)1 << 29)

static uint64_t room_left(const run *r)
{
    uint64_t limit = r->sim->ctx->memory_limit, used = 0;
    if (limit == 0)
        return ROOM_WITHOUT_CEILING;
    qdbg_ctx_memory(r->sim->ctx, &used, NULL);
    return limit > used ? (limit - used) / 2 : 0;
}

/* For columns that are kept, the same whatever else is in memory. */
#define KEPT_WITHOUT_CEILING ((uint64_t)1 << 28)

static uint64_t room_for_kept(const run *r)
{
    uint64_t limit = r->sim->ctx->memory_limit;
    if (!qdbg__ada_keeps(&r->o))
        return 0;
    return limit == 0 ? KEPT_WITHOUT_CEILING : limit / 4 + 1;
}

static qdbg__gram_options gram_options(const run *r)
{
    return (qdbg__gram_options){.positions = r->o.positions ? r->o.positions : 64,
                                .holdout = r->o.holdout ? r->o.holdout : 8,
                                .paired = r->differs,
                                .keep_bytes = room_for_kept(r),
                                .runs = r->n_runs};
}

/* Leave a layer that cannot be examined. */
static qdbg_status leave(run *r, qdbg__ada_layer *layer)
{
    layer->row.outcome = QDBG_ADAROUND_UNSUPPORTED;
    qdbg__clear_error(r->sim->ctx);
    return adopt_layer(r, layer);
}

static qdbg_status admit(run *r, size_t i, const qdbg__columns *columns)
{
    qdbg_ctx *ctx = r->sim->ctx;
    qdbg__ada_layer *layer = &r->layers[i];
    size_t n = layer->n_weights;
    qdbg__gram_options options = gram_options(r);
    r->matrices[i] = qdbg__alloc(ctx, n, sizeof(float));
    float *weight = r->matrices[i] ? qdbg__alloc(ctx, n, sizeof *weight) : NULL;
    if (!weight)
        return ctx->error_status;
    qdbg_status status = r->model->backend->get(r->model, layer->row.weight, weight, n);
    if (status == QDBG_OK)
        qdbg__linear_gather(&layer->linear, weight, r->matrices[i]);
    qdbg__free(ctx, weight, n, sizeof *weight);
    if (status == QDBG_OK)
        status = qdbg__gatherer_init(&r->gatherers[i], graph_of(r), &layer->linear, &options,
                                     columns, r->matrices[i]);
    r->member[i] = 1;
    r->wanted[layer->linear.input] = 1;
    return status;
}

/* Layers whose input is final, as many as there is room for. */
static qdbg_status begin_pass(run *r, size_t *n_members)
{
    bool one_pass = (r->o.flags & QDBG_ADAROUND_ONE_PASS) != 0;
    qdbg__gram_options options = gram_options(r);
    uint64_t room = room_left(r), taken = 0;
    memset(r->member, 0, r->n);
    memset(r->wanted, 0, graph_of(r)->n_values);
    *n_members = 0;
    taint(r);
    for (size_t i = 0; i < r->n; i++) {
        qdbg__ada_layer *layer = &r->layers[i];
        if (layer->done || (r->tainted[layer->linear.input] && !one_pass))
            continue;
        qdbg__columns columns;
        const qdbg_view *shape = input_shape(r, layer);
        qdbg_status status = QDBG_E_SHAPE;
        if (shape)
            status = qdbg__columns_plan(graph_of(r), &layer->linear, shape, &columns);
        if (status != QDBG_OK) { /* what was tainted stays so for this pass: no harm */
            status = leave(r, layer);
            if (status != QDBG_OK)
                return status;
            continue;
        }
        uint64_t bytes = qdbg__gatherer_bytes(graph_of(r), &layer->linear, &options, &columns);
        if (*n_members > 0 && taken + bytes > room)
            continue;
        taken += bytes;
        *n_members += 1;
        status = admit(r, i, &columns);
        if (status != QDBG_OK)
            return status;
    }
    return QDBG_OK;
}

static qdbg_status round_members(run *r)
{
    for (size_t i = 0; i < r->n; i++) {
        qdbg__gatherer *t = &r->gatherers[i];
        if (!r->member[i])
            continue;
        qdbg_status status = qdbg__gatherer_finish(t);
        if (status == QDBG_OK)
            status = qdbg__ada_round(r->sim, &r->o, &r->layers[i], r->matrices[i], t);
        if (status == QDBG_OK)
            status = adopt_layer(r, &r->layers[i]);
        if (status == QDBG_OK)
            status = qdbg__progress(r->sim->ctx, "adaround", r->n_done, r->n);
        if (status != QDBG_OK)
            return status;
        qdbg__gatherer_free(t);
    }
    return QDBG_OK;
}

static qdbg_status round_all(run *r)
{
    qdbg_status status = qdbg__progress(r->sim->ctx, "adaround", 0, r->n);
    if (status == QDBG_OK)
        status = look_at_data(r);
    if (status == QDBG_OK)
        status = begin_rounded(r);
    for (size_t i = 0; i < r->n && status == QDBG_OK; i++)
        if (r->layers[i].done)
            status = adopt_layer(r, &r->layers[i]);
    while (r->n_done < r->n && status == QDBG_OK) {
        size_t members = 0;
        status = begin_pass(r, &members);
        if (status == QDBG_OK && members > 0)
            status =
                qdbg__dataset_walk(r->model, r->data, "layer inputs", 0, take_stretch, r, NULL);
        if (status == QDBG_OK)
            status = round_members(r);
        end_pass(r);
    }
    return status;
}

/* ---- into the model ---- */

static qdbg_status score(run *r, double *value)
{
    for (size_t i = 0; i < r->sim->n; i++)
        r->chosen[i] = r->sim->quantizers[i].enabled;
    return qdbg__sim_score(r->sim, r->chosen, r->o.guard_dataset, "adaround: score",
                           r->o.guard_metric, 1, value);
}

/* Score again, and undo everything where that is worse than before. */
static qdbg_status guard(run *r, qdbg_adaround *a)
{
    qdbg_status status = score(r, &a->score_after);
    if (status != QDBG_OK || a->score_after >= a->score_before)
        return status;
    a->undone_by_guard = 1;
    qdbg__ada_result_mark_reverted(a);
    return qdbg__ada_result_undo(a);
}

static qdbg_status apply(run *r, double score_before, qdbg_adaround **out)
{
    qdbg_adaround *a = NULL;
    qdbg_status status = qdbg__ada_result_new(r->sim, r->layers, r->n, &a);
    if (status != QDBG_OK)
        return status;
    a->score_before = score_before;
    for (size_t i = 0; i < r->n && status == QDBG_OK; i++)
        status = qdbg__ada_result_apply(a, i, &r->layers[i]);
    if (status == QDBG_OK)
        status = qdbg__sim_refresh(r->sim);
    if (status == QDBG_OK && r->o.guard_dataset)
        status = guard(r, a);
    if (status != QDBG_OK) {
        qdbg__ada_result_undo(a);
        qdbg_adaround_destroy(a);
        return status;
    }
    *out = a;
    return QDBG_OK;
}

qdbg_status qdbg_adaround_run(qdbg_sim *sim, const qdbg_dataset *calibration,
                              const qdbg_adaround_options *options, qdbg_adaround **result)
{
    if (!sim)
        return QDBG_E_INVALID;
    qdbg__clear_error(sim->ctx);
    run r = {.sim = sim, .model = sim->model, .data = calibration, .o = QDBG_ADAROUND_OPTIONS_INIT};
    if (options)
        r.o = *options;
    if (!result)
        return qdbg__fail(sim->ctx, QDBG_E_INVALID, "result is NULL");
    qdbg_status status = check_options(sim->ctx, &r.o);
    if (status == QDBG_OK)
        status = qdbg__dataset_check(sim->ctx, calibration);
    if (status == QDBG_OK)
        status = qdbg__sim_refresh(sim);
    if (status != QDBG_OK)
        return status;
    double before = 0;
    status = open_run(&r);
    if (status == QDBG_OK && r.o.guard_dataset)
        status = score(&r, &before);
    if (status == QDBG_OK)
        status = round_all(&r);
    if (status == QDBG_OK)
        status = apply(&r, before, result);
    close_run(&r);
    return status;
}
