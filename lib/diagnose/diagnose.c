/* The walk along the flow chart. */

#include <math.h>

#include "../analysis/fold.h"
#include "../analysis/probe.h"
#include "walk.h"

bool qdbg__within(const qdbg__chart *c, double score)
{
    return !qdbg__drops_too_far(c->float_score, score, c->options.max_drop);
}

/* ---- box 1: the float32 check ---- */

static qdbg_status score_float(qdbg__chart *c, uint64_t *n_samples)
{
    qdbg__variant plain = {NULL, NULL};
    qdbg__score_job job = {.dataset = c->options.evaluation,
                           .stage = "float32",
                           .metrics = &c->metric,
                           .n_metrics = 1,
                           .variants = &plain,
                           .n_variants = 1,
                           .has_float = true,
                           .scores = &c->float_score};
    qdbg_status status = qdbg__model_score(c->model, &job);
    if (status == QDBG_OK && !isfinite(c->float_score))
        status = qdbg__fail(c->ctx, QDBG_E_INVALID,
                            "metric '%s' has no finite float32 score to compare with",
                            qdbg_metric_name(&c->metric));
    *n_samples = job.n_samples;
    return status;
}

/* Every quantizer is there but bypassed: values pass through the tap unchanged, and weights and
 * biases are replaced by copies of themselves. */
typedef struct bypass {
    const qdbg__fakequant **acts; /* [n_values] all NULL */
    const float **params;         /* [n_values] */
    float **copies;               /* [n] of the simulation's parameters */
} bypass;

static void bypass_free(qdbg__chart *c, bypass *b)
{
    size_t n_values = c->model->graph->n_values;
    for (size_t i = 0; b->copies && i < c->sim->n; i++)
        qdbg__free(c->ctx, b->copies[i],
                   c->model->graph->values[c->sim->quantizers[i].place.value].bytes / sizeof(float),
                   sizeof(float));
    qdbg__free(c->ctx, b->copies, c->sim->n, sizeof *b->copies);
    qdbg__free(c->ctx, b->params, n_values, sizeof *b->params);
    qdbg__free(c->ctx, b->acts, n_values, sizeof *b->acts);
}

static qdbg_status bypass_make(qdbg__chart *c, bypass *b)
{
    size_t n_values = c->model->graph->n_values;
    b->acts = qdbg__alloc(c->ctx, n_values, sizeof *b->acts);
    b->params = b->acts ? qdbg__alloc(c->ctx, n_values, sizeof *b->params) : NULL;
    b->copies = b->params ? qdbg__alloc(c->ctx, c->sim->n, sizeof *b->copies) : NULL;
    if (!b->copies)
        return c->ctx->error_status;
    for (size_t i = 0; i < c->sim->n; i++) {
        const qdbg__place *place = &c->sim->quantizers[i].place;
        if (place->kind == QDBG_ACTIVATION)
            continue;
        uint64_t count = c->model->graph->values[place->value].bytes / sizeof(float);
        b->copies[i] = qdbg__alloc(c->ctx, count, sizeof(float));
        if (!b->copies[i])
            return c->ctx->error_status;
        qdbg_status status = c->model->backend->get(c->model, place->value, b->copies[i], count);
        if (status != QDBG_OK)
            return status;
        b->params[place->value] = b->copies[i];
    }
    return QDBG_OK;
}

static qdbg_status probe(qdbg__chart *c, const qdbg__variant *variant, const uint8_t *wanted,
                         qdbg__probe *out)
{
    return qdbg__probe_take(c->model, c->options.evaluation, variant, wanted, out);
}

/* The values that quantizers sit on. */
static void mark_wanted(const qdbg__chart *c, uint8_t *wanted)
{
    for (size_t i = 0; i < c->sim->n; i++)
        if (c->sim->quantizers[i].place.kind == QDBG_ACTIVATION)
            wanted[c->sim->quantizers[i].place.value] = 1;
}

/* Run the model as it came (`before`) again with every quantizer bypassed. This comes before
 * folding, which would have sent the parameters through a careless host already. */
static qdbg_status compare_bypassed(qdbg__chart *c, const uint8_t *wanted,
                                    const qdbg__probe *before)
{
    qdbg__probe passed = {0};
    bypass b = {0};
    qdbg_status status = bypass_make(c, &b);
    if (status == QDBG_OK) {
        qdbg__variant bypassed = {b.acts, b.params};
        status = probe(c, &bypassed, wanted, &passed);
    }
    if (status == QDBG_OK) {
        c->first_different = qdbg__probe_first_difference(c->model, before, &passed);
        c->bypass_same =
            c->first_different == QDBG_NONE && qdbg__probe_same(c->model, before, &passed);
    }
    bypass_free(c, &b);
    qdbg__probe_free(c->model, &passed);
    return status;
}

static qdbg_status fold(qdbg__chart *c, const uint8_t *wanted, const qdbg__probe *before,
                        qdbg__journal *journal)
{
    qdbg__variant plain = {NULL, NULL};
    qdbg__probe folded = {0};
    if (c->options.flags & QDBG_DIAGNOSE_NO_FOLD)
        return QDBG_OK;
    qdbg_status status = qdbg__note_dead(c);
    if (status == QDBG_OK)
        status = qdbg__fold_batch_norms(c->model, &c->n_folded, journal);
    if (status == QDBG_OK)
        status = probe(c, &plain, wanted, &folded);
    if (status == QDBG_OK)
        c->fold_difference = qdbg__probe_difference(c->model, before, &folded);
    c->diagnosis->summary.n_folded = c->n_folded;
    qdbg__probe_free(c->model, &folded);
    return status;
}

static qdbg_status check_float32(qdbg__chart *c, qdbg__journal *journal)
{
    qdbg__variant plain = {NULL, NULL};
    qdbg__probe before = {0};
    size_t n_values = c->model->graph->n_values;
    uint8_t *wanted = qdbg__alloc(c->ctx, n_values, 1);
    qdbg_status status = wanted ? QDBG_OK : c->ctx->error_status;
    if (status == QDBG_OK) {
        mark_wanted(c, wanted);
        status = probe(c, &plain, wanted, &before);
    }
    if (status == QDBG_OK)
        status = compare_bypassed(c, wanted, &before);
    c->tap_obeyed = true;
    c->lost_parameter = QDBG_NONE;
    if (status == QDBG_OK && c->model->backend == &qdbg__host_backend)
        status = qdbg__check_host(c, &before);
    if (status == QDBG_OK)
        status = fold(c, wanted, &before, journal);
    if (status == QDBG_OK)
        status = qdbg__tell_float32(c);
    qdbg__probe_free(c->model, &before);
    qdbg__free(c->ctx, wanted, n_values, 1);
    return status;
}

/* ---- the other boxes ---- */

/* Biases go with the weights: both are what the model brings, whatever the data. */
static int32_t side_of(const qdbg__quantizer *q)
{
    return q->place.kind == QDBG_BIAS ? QDBG_WEIGHT : q->place.kind;
}

/* Score with the quantizers of one kind (0: all) at work. */
static qdbg_status score_kind(qdbg__chart *c, int32_t kind, const char *stage, qdbg__outcome *out)
{
    double scores[2];
    qdbg_metric both[2] = {c->metric, QDBG_METRIC_INIT};
    both[1].kind = QDBG_METRIC_SQNR;
    uint8_t *chosen = qdbg__alloc(c->ctx, c->sim->n, 1);
    if (!chosen)
        return c->ctx->error_status;
    for (size_t i = 0; i < c->sim->n; i++)
        chosen[i] = kind == 0 || side_of(&c->sim->quantizers[i]) == kind;
    qdbg_status status =
        qdbg__sim_score(c->sim, chosen, c->options.evaluation, stage, both, 2, scores);
    qdbg__free(c->ctx, chosen, c->sim->n, 1);
    if (status == QDBG_OK)
        *out = (qdbg__outcome){scores[0], scores[1]};
    return status;
}

static qdbg_status score_quantized(qdbg__chart *c)
{
    qdbg_status status = qdbg__sim_calibrate(c->sim, c->options.calibration,
                                             &c->diagnosis->summary.calibration_samples);
    if (status == QDBG_OK)
        status = score_kind(c, 0, "quantized", &c->quantized);
    if (status != QDBG_OK)
        return status;
    c->diagnosis->summary.quantized_score = c->quantized.score;
    return qdbg__tell_quantized(c);
}

static qdbg_status separate_kinds(qdbg__chart *c)
{
    qdbg_status status = score_kind(c, QDBG_WEIGHT, "weights", &c->weights);
    if (status == QDBG_OK)
        status = qdbg__tell_kind(c, QDBG_WEIGHT);
    if (status == QDBG_OK)
        status = score_kind(c, QDBG_ACTIVATION, "activations", &c->activations);
    if (status == QDBG_OK)
        status = qdbg__tell_kind(c, QDBG_ACTIVATION);
    return status;
}

static qdbg_status sweep_quantizers(qdbg__chart *c)
{
    qdbg_sensitivity *sweep = NULL;
    qdbg_status status = qdbg_sensitivity_run(c->sim, c->options.evaluation, &c->metric, &sweep);
    if (status == QDBG_OK)
        status = qdbg__take_findings(c, sweep);
    if (status == QDBG_OK)
        status = qdbg__tell_quantizers(c);
    qdbg_sensitivity_destroy(sweep);
    return status;
}

static qdbg_status skip_rest(qdbg__chart *c)
{
    static const char *const names[] = {"weights", "activations", "quantizers"};
    qdbg_status status = qdbg__take_findings(c, NULL);
    for (size_t i = 0; i < 3 && status == QDBG_OK; i++)
        status = qdbg__tell_skipped(c, names[i]);
    return status;
}

/* What the rules add to the options. */
static qdbg_status tell_target(qdbg__chart *c)
{
    qdbg_summary *s = &c->diagnosis->summary;
    for (size_t i = 0; i < c->sim->n; i++) {
        const qdbg__quantizer *q = &c->sim->quantizers[i];
        if (q->place.kind == QDBG_WEIGHT && q->spec.granularity == QDBG_PER_CHANNEL)
            s->weight_granularity = QDBG_PER_CHANNEL;
        s->n_biases += q->place.kind == QDBG_BIAS;
        if (q->place.kind != QDBG_BIAS)
            s->rounding = q->spec.rounding;
    }
    if (c->sim->n == 0)
        return qdbg__fail(c->ctx, QDBG_E_INVALID, "the rules place no quantizer");
    return qdbg__rules_name(c->ctx, c->options.sim ? c->options.sim->rules : NULL, &s->rules);
}

static qdbg_status walk(qdbg__chart *c, qdbg__journal *journal)
{
    qdbg_summary *s = &c->diagnosis->summary;
    /* First, so that bad options fail before the data is walked. */
    qdbg_status status = qdbg_sim_create(c->model, c->options.sim, &c->sim);
    if (status == QDBG_OK)
        status = tell_target(c);
    if (status == QDBG_OK)
        status = score_float(c, &s->samples);
    if (status != QDBG_OK)
        return status;
    s->float_score = c->float_score;
    status = check_float32(c, journal);
    if (status == QDBG_OK)
        status = score_quantized(c);
    if (status != QDBG_OK)
        return status;
    if (c->options.flags & QDBG_DIAGNOSE_STOP_EARLY && qdbg__within(c, c->quantized.score)) {
        status = skip_rest(c);
    } else {
        status = separate_kinds(c);
        if (status == QDBG_OK)
            status = sweep_quantizers(c);
    }
    return status == QDBG_OK ? qdbg__tell_conclusion(c) : status;
}

/* ---- the call ---- */

static qdbg_status check_options(qdbg_ctx *ctx, const qdbg_diagnose_options *o, qdbg__chart *c)
{
    if (!o || o->struct_size != sizeof *o)
        return qdbg__fail(ctx, QDBG_E_INVALID, "options is NULL or its struct_size is wrong");
    if (o->flags & ~(QDBG_DIAGNOSE_NO_FOLD | QDBG_DIAGNOSE_STOP_EARLY))
        return qdbg__fail(ctx, QDBG_E_INVALID, "options: unknown flags %#x", o->flags);
    if (o->sim && o->sim->struct_size != sizeof *o->sim)
        return qdbg__fail(ctx, QDBG_E_INVALID, "options: sim has a wrong struct_size");
    if (!(o->max_drop >= 0) || !isfinite(o->max_drop))
        return qdbg__fail(ctx, QDBG_E_INVALID, "options: max_drop must be a number >= 0");
    qdbg_status status = qdbg__dataset_check(ctx, o->calibration);
    if (status == QDBG_OK)
        status = qdbg__dataset_check(ctx, o->evaluation);
    c->metric = (qdbg_metric)QDBG_METRIC_INIT;
    c->metric.kind = QDBG_METRIC_AGREEMENT;
    if (status == QDBG_OK && o->metric)
        status = qdbg__metric_check(ctx, o->metric);
    if (status != QDBG_OK)
        return status;
    if (o->metric)
        c->metric = *o->metric;
    c->options = *o;
    if (c->options.max_drop == 0)
        c->options.max_drop = 0.01;
    return QDBG_OK;
}

static qdbg_status new_diagnosis(qdbg__chart *c)
{
    qdbg_diagnosis *d = qdbg__alloc(c->ctx, 1, sizeof *d);
    if (!d)
        return c->ctx->error_status;
    const qdbg_sim_options by_default = QDBG_SIM_OPTIONS_INIT;
    const qdbg_sim_options *sim = c->options.sim ? c->options.sim : &by_default;
    c->diagnosis = d;
    d->ctx = c->ctx;
    d->summary = (qdbg_summary)QDBG_SUMMARY_INIT;
    d->summary.max_drop = c->options.max_drop;
    d->summary.weight_bits = sim->weight_bits ? sim->weight_bits : 8;
    d->summary.activation_bits = sim->activation_bits ? sim->activation_bits : 8;
    d->summary.weight_granularity = sim->weight_granularity;
    d->summary.rounding = sim->rounding;
    d->summary.weight_range = sim->weight_range ? sim->weight_range->method : 0;
    d->summary.activation_range = sim->activation_range ? sim->activation_range->method : 0;
    d->metric_name = qdbg__strdup(c->ctx, qdbg_metric_name(&c->metric));
    d->summary.metric = d->metric_name;
    return d->metric_name ? QDBG_OK : c->ctx->error_status;
}

qdbg_status qdbg_diagnose(qdbg_model *model, const qdbg_diagnose_options *options,
                          qdbg_diagnosis **out)
{
    if (!model)
        return QDBG_E_INVALID;
    qdbg_ctx *ctx = model->ctx;
    qdbg__clear_error(ctx);
    if (!out)
        return qdbg__fail(ctx, QDBG_E_INVALID, "out is NULL");
    qdbg__chart c = {.ctx = ctx, .model = model};
    qdbg__journal journal = {0};
    qdbg_status status = check_options(ctx, options, &c);
    if (status == QDBG_OK)
        status = new_diagnosis(&c);
    if (status == QDBG_OK)
        status = walk(&c, &journal);
    qdbg__forget_dead(&c);
    qdbg_sim_destroy(c.sim);
    qdbg_status undone = qdbg__journal_undo(model, &journal, 0);
    qdbg__journal_free(model, &journal);
    if (status == QDBG_OK)
        status = undone;
    if (status != QDBG_OK) {
        qdbg_diagnosis_destroy(c.diagnosis);
        return status;
    }
    *out = c.diagnosis;
    return QDBG_OK;
}
