#include "bias_correction.h"

#include <math.h>
#include <string.h>

void qdbg_bias_options_init(qdbg_bias_options *options)
{
    if (options)
        *options = (qdbg_bias_options)QDBG_BIAS_OPTIONS_INIT;
}

void qdbg_bias_row_init(qdbg_bias_row *row)
{
    if (row)
        *row = (qdbg_bias_row)QDBG_BIAS_ROW_INIT;
}

/* ---- which layers ---- */

static bool is_corrected(const qdbg_sim *sim, size_t i)
{
    const qdbg__quantizer *q = &sim->quantizers[i];
    return q->place.kind == QDBG_WEIGHT && q->enabled && !qdbg__sim_is_bypassed(sim, i);
}

/* What the normalization that takes the correction multiplies the layer's output by. */
static qdbg_status read_norm_scale(qdbg_bias_correction *b, qdbg__bias_layer *l)
{
    qdbg_model *m = b->sim->model;
    const qdbg__node *bn = &m->graph->nodes[l->layer.norm];
    double epsilon = (double)qdbg__attr_float(bn, "epsilon", 1e-5f);
    float *gamma = NULL, *var = NULL;
    size_t n_gamma = 0, n_var = 0;
    l->scale = qdbg__alloc(m->ctx, l->layer.outs, sizeof *l->scale);
    qdbg_status status = l->scale ? QDBG_OK : m->ctx->error_status;
    if (status == QDBG_OK)
        status = qdbg__model_fetch(m, bn->in[QDBG__BN_GAMMA], &gamma, &n_gamma);
    if (status == QDBG_OK)
        status = qdbg__model_fetch(m, bn->in[QDBG__BN_VAR], &var, &n_var);
    for (size_t o = 0; o < n_var && status == QDBG_OK; o++)
        l->scale[o] = (double)gamma[o] / sqrt((double)var[o] + epsilon);
    qdbg__free(m->ctx, gamma, n_gamma, sizeof *gamma);
    qdbg__free(m->ctx, var, n_var, sizeof *var);
    return status;
}

static qdbg_status open_layer(qdbg_bias_correction *b, size_t quantizer, qdbg__bias_layer *l)
{
    qdbg_ctx *ctx = b->sim->ctx;
    const qdbg_graph *g = b->sim->model->graph;
    l->row = (qdbg_bias_row)QDBG_BIAS_ROW_INIT;
    l->row.node = l->layer.node;
    l->row.weight = l->layer.weight;
    l->row.quantizer = (uint32_t)quantizer;
    l->row.bias = qdbg__layer_bias_site(g, &l->layer, &l->unit, &l->by_norm);
    if (l->row.bias == QDBG_NONE)
        l->row.outcome = QDBG_BIAS_NO_SITE;
    l->n_column = l->layer.ins * l->layer.taps;
    l->column = qdbg__alloc(ctx, l->n_column, sizeof *l->column);
    l->other = l->column ? qdbg__alloc(ctx, l->n_column, sizeof *l->other) : NULL;
    l->mean = l->other ? qdbg__alloc(ctx, l->layer.outs, sizeof *l->mean) : NULL;
    l->error = l->mean ? qdbg__alloc(ctx, l->layer.outs, sizeof *l->error) : NULL;
    l->changed = l->error ? qdbg__alloc(ctx, l->layer.outs, sizeof *l->changed) : NULL;
    if (!l->changed)
        return ctx->error_status;
    return l->by_norm ? read_norm_scale(b, l) : QDBG_OK;
}

static qdbg_status open_layers(qdbg_bias_correction *b)
{
    qdbg_sim *sim = b->sim;
    const qdbg_graph *g = sim->model->graph;
    size_t n = 0;
    for (size_t i = 0; i < sim->n; i++)
        n += is_corrected(sim, i);
    b->layers = qdbg__alloc(sim->ctx, n, sizeof *b->layers);
    if (!b->layers)
        return sim->ctx->error_status;
    b->n_allocated = n;
    for (size_t i = 0; i < sim->n; i++) {
        qdbg__bias_layer *l = &b->layers[b->n];
        if (!is_corrected(sim, i) ||
            !qdbg__layer_read(g, sim->quantizers[i].place.node, &l->layer) ||
            l->layer.weight != sim->quantizers[i].place.value || !l->layer.own_weight)
            continue;
        b->n++;
        qdbg_status status = open_layer(b, i, l);
        if (status != QDBG_OK)
            return status;
    }
    return QDBG_OK;
}

/* ---- means of outputs ---- */

/* out[o] = sum over the row of weight * column, in the layer's units. */
static void multiply(const qdbg_graph *g, const qdbg__layer *l, const float *weight,
                     const double *column, double *out)
{
    const qdbg__node *n = &g->nodes[l->node];
    double alpha = qdbg__node_is(n, "Gemm") ? (double)qdbg__attr_float(n, "alpha", 1) : 1;
    memset(out, 0, l->outs * sizeof *out);
    for (size_t i = 0; i < l->n_weights; i++)
        out[qdbg__layer_out(l, i)] +=
            (double)weight[i] * column[qdbg__layer_in(l, i) * l->taps + i % l->taps];
    for (size_t o = 0; o < l->outs; o++)
        out[o] *= alpha;
}

/* The layer's mean output in float32, or what quantizing its weight does to it. */
static qdbg_status multiply_column(qdbg_bias_correction *b, const qdbg__bias_layer *l, bool error,
                                   double *out)
{
    qdbg_model *m = b->sim->model;
    const float *quantized = NULL;
    float *weight;
    size_t n;
    qdbg_status status = qdbg__model_fetch(m, l->layer.weight, &weight, &n);
    if (status != QDBG_OK)
        return status;
    if (error)
        status = qdbg__sim_quantized_weight(b->sim, l->row.quantizer, &quantized);
    for (size_t i = 0; i < n && quantized; i++)
        weight[i] = quantized[i] - weight[i];
    if (status == QDBG_OK)
        multiply(m->graph, &l->layer, weight, l->column, out);
    qdbg__free(m->ctx, weight, n, sizeof *weight);
    return status;
}

/* error = mean output of the quantized network - that of float32. */
static qdbg_status total_error(qdbg_bias_correction *b, qdbg__bias_layer *l, double *rms)
{
    const float *quantized;
    qdbg_status status = qdbg__sim_quantized_weight(b->sim, l->row.quantizer, &quantized);
    double sum = 0;
    if (status != QDBG_OK)
        return status;
    multiply(b->sim->model->graph, &l->layer, quantized, l->other, l->error);
    for (size_t o = 0; o < l->layer.outs; o++) {
        l->error[o] += l->changed[o] - l->mean[o];
        sum += l->error[o] * l->error[o];
    }
    *rms = sqrt(sum / (double)l->layer.outs);
    return QDBG_OK;
}

/* ---- correcting ---- */

/* Take `l->error` off the outputs. */
static qdbg_status correct(qdbg_bias_correction *b, qdbg__bias_layer *l)
{
    qdbg_model *m = b->sim->model;
    float *bias;
    size_t n;
    qdbg_status status = qdbg__model_fetch(m, l->row.bias, &bias, &n);
    if (status != QDBG_OK)
        return status;
    for (size_t o = 0; o < n; o++) {
        double scale = l->by_norm ? l->scale[o] : 1;
        bias[o] = (float)((double)bias[o] - l->error[o] * l->unit * scale);
        l->changed[o] -= l->error[o];
        l->row.change = fmax(l->row.change, fabs(l->changed[o]));
    }
    status = qdbg__journal_set(m, &b->journal, l->row.bias, bias);
    if (status == QDBG_OK && l->entry == 0)
        l->entry = b->journal.n;
    qdbg__free(m->ctx, bias, n, sizeof *bias);
    return status;
}

static qdbg_status correct_all(qdbg_bias_correction *b)
{
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < b->n && status == QDBG_OK; i++) {
        qdbg__bias_layer *l = &b->layers[i];
        if (l->row.outcome != QDBG_BIAS_DONE || !l->has_column)
            continue;
        status = multiply_column(b, l, true, l->error);
        if (status == QDBG_OK)
            status = correct(b, l);
    }
    return status;
}

/* ---- the quantized network ---- */

/* Encodings of weights do not change with biases: the variant holds for the whole call. Quantized
 * biases are left out: they would be those of before. */
static qdbg_status make_variant(qdbg_bias_correction *b, qdbg__sim_variant *made)
{
    qdbg_sim *sim = b->sim;
    uint8_t *chosen = qdbg__alloc(sim->ctx, sim->n, 1);
    if (!chosen)
        return sim->ctx->error_status;
    bool acts = (b->options.flags & QDBG_BIAS_ACTIVATIONS) != 0;
    for (size_t i = 0; i < sim->n; i++) {
        const qdbg__quantizer *q = &sim->quantizers[i];
        bool wanted = q->place.kind == QDBG_WEIGHT || (acts && q->place.kind == QDBG_ACTIVATION);
        chosen[i] = q->enabled && wanted;
    }
    qdbg_status status = qdbg__sim_variant_make(sim, chosen, made);
    qdbg__free(sim->ctx, chosen, sim->n, 1);
    return status;
}

/* Errors of the means in the quantized network: of layer `only`, or of all (SIZE_MAX). */
static qdbg_status tell_errors(qdbg_bias_correction *b, const uint8_t *wanted, const bool *has,
                               bool after)
{
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < b->n && status == QDBG_OK; i++) {
        qdbg__bias_layer *l = &b->layers[i];
        double rms = (double)INFINITY;
        if (!wanted[i])
            continue;
        if (has[i])
            status = total_error(b, l, &rms);
        *(after ? &l->row.error_after : &l->row.error_before) = rms;
    }
    return status;
}

enum { IN_FLOAT, BEFORE, AFTER };

static bool is_wanted(const qdbg__bias_layer *l, int when)
{
    return l->row.outcome == QDBG_BIAS_DONE && (when == IN_FLOAT || l->has_mean);
}

static qdbg_status take_float(qdbg_bias_correction *b, const uint8_t *wanted, const bool *has)
{
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < b->n && status == QDBG_OK; i++) {
        qdbg__bias_layer *l = &b->layers[i];
        if (!wanted[i])
            continue;
        l->has_column = l->has_mean = has[i];
        if (!has[i])
            l->row.outcome = QDBG_BIAS_NO_DATA;
        else
            status = multiply_column(b, l, false, l->mean);
    }
    return status;
}

static qdbg_status measure(qdbg_bias_correction *b, size_t only, int when)
{
    qdbg_ctx *ctx = b->sim->ctx;
    qdbg__sim_variant made = {NULL, NULL};
    uint8_t *wanted = qdbg__alloc(ctx, b->n, 1);
    bool *has = wanted ? qdbg__alloc(ctx, b->n, sizeof *has) : NULL;
    double **columns = has ? qdbg__alloc(ctx, b->n, sizeof *columns) : NULL;
    qdbg_status status = columns ? QDBG_OK : ctx->error_status;
    for (size_t i = 0; i < b->n && status == QDBG_OK; i++) {
        wanted[i] = is_wanted(&b->layers[i], when) && (only == SIZE_MAX || only == i);
        columns[i] = when == IN_FLOAT ? b->layers[i].column : b->layers[i].other;
    }
    if (status == QDBG_OK && when != IN_FLOAT)
        status = make_variant(b, &made);
    qdbg__variant variant = qdbg__sim_variant_view(&made);
    if (status == QDBG_OK)
        status = qdbg__bias_columns(b, &variant, wanted, columns, has);
    qdbg__sim_variant_free(b->sim, &made);
    if (status == QDBG_OK && when == IN_FLOAT)
        status = take_float(b, wanted, has);
    else if (status == QDBG_OK)
        status = tell_errors(b, wanted, has, when == AFTER);
    qdbg__free(ctx, columns, b->n, sizeof *columns);
    qdbg__free(ctx, has, b->n, sizeof *has);
    qdbg__free(ctx, wanted, b->n, 1);
    return status;
}

/* ---- order of the whole ---- */

static qdbg_status refine(qdbg_bias_correction *b)
{
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < b->n && status == QDBG_OK; i++) {
        qdbg__bias_layer *l = &b->layers[i];
        if (!is_wanted(l, AFTER))
            continue;
        status = measure(b, i, AFTER);
        if (status == QDBG_OK && isfinite(l->row.error_after))
            status = correct(b, l);
    }
    return status;
}

/* Set a bias to what it was before anything; the journal keeps its entries. */
static qdbg_status put_back(qdbg_bias_correction *b, qdbg__bias_layer *l)
{
    qdbg_model *m = b->sim->model;
    const qdbg__journal_entry *e = &b->journal.entries[l->entry - 1];
    l->row.outcome = QDBG_BIAS_REVERTED;
    l->row.error_after = l->row.error_before;
    l->row.change = 0;
    m->version++;
    return m->backend->set(m, e->value, e->data, e->count);
}

static bool is_worse(const qdbg_bias_correction *b, const qdbg__bias_layer *l)
{
    return l->row.outcome == QDBG_BIAS_DONE && l->entry > 0 && l->has_mean &&
           !(b->options.flags & QDBG_BIAS_NO_REVERT) && l->row.error_after > l->row.error_before;
}

/* A layer may be worse for an earlier one only: they are put back one by one, in order. */
static qdbg_status revert_worse(qdbg_bias_correction *b)
{
    qdbg_status status = measure(b, SIZE_MAX, AFTER);
    for (size_t i = 0; i < b->n && status == QDBG_OK; i++) {
        if (!is_worse(b, &b->layers[i]))
            continue;
        status = put_back(b, &b->layers[i]);
        if (status == QDBG_OK)
            status = measure(b, SIZE_MAX, AFTER);
    }
    return status;
}

static qdbg_status correct_model(qdbg_bias_correction *b)
{
    qdbg_status status = QDBG_OK;
    if (b->data)
        status = measure(b, SIZE_MAX, IN_FLOAT);
    if (status == QDBG_OK && b->data)
        status = measure(b, SIZE_MAX, BEFORE);
    if (status == QDBG_OK && b->options.kind == QDBG_BIAS_ANALYTICAL)
        status = qdbg__bias_analytical(b);
    if (status == QDBG_OK)
        status = correct_all(b);
    if (status == QDBG_OK && (b->options.flags & QDBG_BIAS_SEQUENTIAL))
        status = refine(b);
    return status == QDBG_OK && b->data ? revert_worse(b) : status;
}

static void mark_reverted(qdbg_bias_correction *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->layers[i].row.outcome == QDBG_BIAS_DONE)
            b->layers[i].row.outcome = QDBG_BIAS_REVERTED;
}

static qdbg_status judge(qdbg_bias_correction *b)
{
    qdbg_status status = qdbg__guard_judge(&b->guard, &b->journal, "bias correction: score");
    if (b->guard.undone)
        mark_reverted(b);
    return status;
}

static qdbg_status run_all(qdbg_bias_correction *b)
{
    qdbg_status status = open_layers(b);
    if (status == QDBG_OK && b->guard.sim)
        status = qdbg__guard_score(&b->guard, "bias correction: score", &b->guard.before);
    if (status == QDBG_OK)
        status = correct_model(b);
    return status == QDBG_OK ? judge(b) : status;
}

static qdbg_status check(qdbg_ctx *ctx, const qdbg_bias_options *o, const qdbg_dataset *data)
{
    const uint32_t known = QDBG_BIAS_SEQUENTIAL | QDBG_BIAS_ACTIVATIONS | QDBG_BIAS_NO_REVERT;
    if (o->struct_size != sizeof *o || (o->flags & ~known) != 0 ||
        (o->kind != QDBG_BIAS_EMPIRICAL && o->kind != QDBG_BIAS_ANALYTICAL) ||
        (o->n_stats > 0 && !o->stats))
        return qdbg__fail(ctx, QDBG_E_INVALID,
                          "bias options: struct_size, kind, flags or stats is wrong");
    for (uint32_t i = 0; i < o->n_stats; i++)
        if (o->stats[i].struct_size != sizeof *o->stats || !o->stats[i].mean ||
            !o->stats[i].deviation)
            return qdbg__fail(ctx, QDBG_E_INVALID, "bias options: stats %u is wrong", i);
    if (!data && (o->kind == QDBG_BIAS_EMPIRICAL || (o->flags & QDBG_BIAS_SEQUENTIAL)))
        return qdbg__fail(ctx, QDBG_E_INVALID, "the correction needs calibration data");
    return data ? qdbg__dataset_check(ctx, data) : QDBG_OK;
}

qdbg_status qdbg_bias_correct(qdbg_sim *sim, const qdbg_dataset *calibration,
                              const qdbg_bias_options *options, qdbg_bias_correction **result)
{
    if (!sim)
        return QDBG_E_INVALID;
    qdbg__clear_error(sim->ctx);
    qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
    if (options)
        o = *options;
    if (!result)
        return qdbg__fail(sim->ctx, QDBG_E_INVALID, "result is NULL");
    qdbg__guard g = {.sim = o.guard_dataset || o.guard_metric ? sim : NULL,
                     .dataset = o.guard_dataset,
                     .metric = o.guard_metric,
                     .moves_function = true};
    qdbg_status status = check(sim->ctx, &o, calibration);
    if (status == QDBG_OK)
        status = qdbg__guard_check(sim->model, &g);
    if (status != QDBG_OK)
        return status;
    qdbg_bias_correction *b = qdbg__alloc(sim->ctx, 1, sizeof *b);
    if (!b)
        return sim->ctx->error_status;
    b->sim = sim;
    b->data = calibration;
    b->options = o;
    b->guard = g;
    status = run_all(b);
    b->options.stats = NULL; /* the caller's */
    if (status != QDBG_OK) {
        qdbg__journal_undo(sim->model, &b->journal, 0);
        qdbg_bias_correction_destroy(b);
        return status;
    }
    *result = b;
    return QDBG_OK;
}

/* ---- the result ---- */

void qdbg_bias_correction_destroy(qdbg_bias_correction *b)
{
    if (!b)
        return;
    qdbg_ctx *ctx = b->sim->ctx;
    for (size_t i = 0; i < b->n; i++) {
        qdbg__bias_layer *l = &b->layers[i];
        qdbg__free(ctx, l->changed, l->layer.outs, sizeof *l->changed);
        qdbg__free(ctx, l->error, l->layer.outs, sizeof *l->error);
        qdbg__free(ctx, l->mean, l->layer.outs, sizeof *l->mean);
        qdbg__free(ctx, l->scale, l->layer.outs, sizeof *l->scale);
        qdbg__free(ctx, l->other, l->n_column, sizeof *l->other);
        qdbg__free(ctx, l->column, l->n_column, sizeof *l->column);
    }
    qdbg__journal_free(b->sim->model, &b->journal);
    qdbg__free(ctx, b->layers, b->n_allocated, sizeof *b->layers);
    qdbg__free(ctx, b, 1, sizeof *b);
}

qdbg_status qdbg_bias_correction_undo(qdbg_bias_correction *b)
{
    if (!b)
        return QDBG_E_INVALID;
    qdbg__clear_error(b->sim->ctx);
    qdbg_status status = qdbg__journal_check_undo(b->sim->model, &b->journal);
    if (status != QDBG_OK)
        return status;
    mark_reverted(b);
    return qdbg__journal_undo(b->sim->model, &b->journal, 0);
}

uint32_t qdbg_bias_correction_count(const qdbg_bias_correction *b)
{
    return b ? (uint32_t)b->n : 0;
}

qdbg_status qdbg_bias_correction_get(const qdbg_bias_correction *b, uint32_t index,
                                     qdbg_bias_row *row)
{
    if (!b || !row || row->struct_size != sizeof *row)
        return QDBG_E_INVALID;
    if (index >= b->n)
        return QDBG_E_NOT_FOUND;
    *row = b->layers[index].row;
    return QDBG_OK;
}

int32_t qdbg_bias_correction_guard(const qdbg_bias_correction *b, double *before, double *after)
{
    return qdbg__guard_tell(b ? &b->guard : NULL, before, after);
}
