/* The chart's answers in words. */
#include <math.h>
#include <string.h>

#include "walk.h"

typedef struct words {
    qdbg__text verdict, advice;
} words;

static words words_make(qdbg__chart *c)
{
    return (words){qdbg__text_make(c->ctx), qdbg__text_make(c->ctx)};
}

/* Half the width of the 95 % interval of a share of samples (Wilson, 1927); NaN for other metrics.
 */
static double half_width(const qdbg__chart *c, double score)
{
    int32_t kind = c->metric.kind;
    bool share =
        kind == QDBG_METRIC_TOP1 || kind == QDBG_METRIC_TOP5 || kind == QDBG_METRIC_AGREEMENT;
    double n = (double)c->diagnosis->summary.samples;
    const double z = 1.96;
    if (!share)
        return (double)NAN;
    return z / (1 + z * z / n) * sqrt(score * (1 - score) / n + z * z / (4 * n * n));
}

/* End the words and append the step. `outcome` NULL: no score here. */
static qdbg_status finish(qdbg__chart *c, words *w, int32_t result, const char *name,
                          const char *title, const qdbg__outcome *outcome)
{
    qdbg_step step = QDBG_STEP_INIT;
    step.outcome = result;
    step.name = name;
    step.title = title;
    step.score = outcome ? outcome->score : (double)NAN;
    step.drop = outcome ? c->float_score - outcome->score : (double)NAN;
    step.half_width = outcome ? half_width(c, outcome->score) : (double)NAN;
    step.sqnr_db = outcome ? outcome->sqnr_db : (double)NAN;
    char *verdict = qdbg__text_take(&w->verdict);
    char *advice = verdict ? qdbg__text_take(&w->advice) : NULL;
    step.verdict = verdict;
    step.recommendation = advice;
    qdbg_status status =
        advice ? qdbg__diagnosis_add_step(c->diagnosis, &step) : c->ctx->error_status;
    qdbg__text_drop(&w->advice);
    qdbg__strfree(c->ctx, advice);
    qdbg__strfree(c->ctx, verdict);
    return status;
}

static int32_t judged(const qdbg__chart *c, double score)
{
    return qdbg__within(c, score) ? QDBG_OUTCOME_PASSED : QDBG_OUTCOME_FAILED;
}

/* Decimals that show a drop: four, or as many as it takes to tell it from what is allowed. */
static int decimals_of(const qdbg__chart *c, double score)
{
    int decimals = 4;
    char drop[QDBG__NUMBER_SIZE], allowed[QDBG__NUMBER_SIZE];
    for (; decimals < 9 && !qdbg__within(c, score); decimals++) {
        qdbg__format_fixed(drop, c->float_score - score, decimals);
        qdbg__format_fixed(allowed, c->options.max_drop, decimals);
        if (strcmp(drop, allowed) != 0)
            break;
    }
    return decimals;
}

/* "0.8378 against 0.9259 in float32: a drop of 0.0881, more than the 0.0100 allowed." */
static void say_score(qdbg__chart *c, qdbg__text *t, double score)
{
    qdbg__text_fixed(t, score, 4);
    qdbg__text_add(t, " against ");
    qdbg__text_fixed(t, c->float_score, 4);
    qdbg__text_add(t, " in float32: ");
    if (score >= c->float_score) {
        qdbg__text_add(t, "nothing is lost.");
        return;
    }
    int decimals = decimals_of(c, score);
    qdbg__text_add(t, "a drop of ");
    qdbg__text_fixed(t, c->float_score - score, decimals);
    qdbg__text_add(t, qdbg__within(c, score) ? ", within the " : ", more than the ");
    qdbg__text_fixed(t, c->options.max_drop, decimals);
    qdbg__text_add(t, " allowed.");
}

/* ---- float32 ---- */

static void say_fold(qdbg__chart *c, words *w)
{
    qdbg__text_addf(&w->verdict, " %u batch-normalization%s folded, which moves the outputs by ",
                    c->n_folded, c->n_folded == 1 ? " is" : "s are");
    qdbg__text_digits(&w->verdict, c->fold_difference, 2);
    qdbg__text_add(&w->verdict, " of the largest");
    if (c->fold_difference <= QDBG__FOLD_TOLERANCE) {
        qdbg__text_add(&w->verdict, ": rounding.");
        return;
    }
    qdbg__text_add(&w->verdict, ": too much for rounding.");
    qdbg__text_add(&w->advice,
                   "Look for a variance or weight of extreme size in a folded layer, or "
                   "diagnose without folding. ");
}

static void say_bypass(qdbg__chart *c, words *w)
{
    if (c->bypass_same) {
        qdbg__text_add(&w->verdict,
                       "With every quantizer bypassed the outputs are those of the float model, "
                       "bit for bit.");
        return;
    }
    qdbg__text_add(&w->verdict,
                   "With every quantizer bypassed the model differs from the float model, first ");
    if (c->first_different == QDBG_NONE) {
        qdbg__text_add(&w->verdict, "behind the last quantizer.");
    } else {
        const qdbg_graph *g = c->model->graph;
        const qdbg__value *v = &g->values[c->first_different];
        qdbg__text_addf(&w->verdict, "at value '%s'", v->name);
        if (v->producer != QDBG_NONE)
            qdbg__text_addf(&w->verdict, " (%s '%s')", g->nodes[v->producer].op_type,
                            g->nodes[v->producer].name);
        qdbg__text_add(&w->verdict, ".");
    }
    qdbg__text_add(&w->advice,
                   "Mend this before trusting anything below: the host must give the same result "
                   "twice, and set_parameter must keep what get_parameter gave. ");
}

static void say_disobedience(words *w)
{
    qdbg__text_add(&w->verdict,
                   " Quantizers that turn tapped values into zeros leave the outputs as they are, "
                   "which other inputs change: the host does not go on with what the tap leaves.");
    qdbg__text_add(&w->advice, "Go on with the buffer that qdbg_tap_value was given (host rule 2): "
                               "nothing below counts before that. ");
}

static void say_lost_parameter(const qdbg__chart *c, words *w)
{
    qdbg__text_addf(&w->verdict,
                    " After set_parameter with other elements '%s' is what it was: the host does "
                    "not take them.",
                    c->model->graph->values[c->lost_parameter].name);
    qdbg__text_add(&w->advice, "set_parameter must keep what it is given, bit for bit: nothing "
                               "below that is said of weights counts before that. ");
}

qdbg_status qdbg__tell_float32(qdbg__chart *c)
{
    words w = words_make(c);
    bool good = c->bypass_same && c->tap_obeyed && c->lost_parameter == QDBG_NONE &&
                c->fold_difference <= QDBG__FOLD_TOLERANCE;
    qdbg__outcome outcome = {c->float_score, (double)NAN};
    say_bypass(c, &w);
    if (!c->tap_obeyed)
        say_disobedience(&w);
    if (c->lost_parameter != QDBG_NONE)
        say_lost_parameter(c, &w);
    if (c->n_folded > 0)
        say_fold(c, &w);
    return finish(c, &w, good ? QDBG_OUTCOME_PASSED : QDBG_OUTCOME_FAILED, "float32",
                  "Is the model the same with quantizers bypassed?", &outcome);
}

/* ---- the whole model, and each kind ---- */

qdbg_status qdbg__tell_quantized(qdbg__chart *c)
{
    words w = words_make(c);
    say_score(c, &w.verdict, c->quantized.score);
    return finish(c, &w, judged(c, c->quantized.score), "quantized",
                  "Is the whole quantized model good enough?", &c->quantized);
}

/* Is there a weight whose channels share one scale? */
static bool weights_share_scales(const qdbg__chart *c)
{
    for (size_t i = 0; i < c->sim->n; i++) {
        const qdbg__quantizer *q = &c->sim->quantizers[i];
        if (q->place.kind == QDBG_WEIGHT && q->spec.granularity == QDBG_PER_TENSOR &&
            q->n_channels > 1)
            return true;
    }
    return false;
}

static void advise_kind(qdbg__chart *c, words *w, int32_t kind)
{
    if (kind == QDBG_ACTIVATION)
        qdbg__text_add(&w->advice, "Look at the activations that the per-quantizer analysis names: "
                                   "narrow their range or give them more bits.");
    else if (weights_share_scales(c))
        qdbg__text_add(&w->advice, "Quantize the weights per channel, or equalize the channels' "
                                   "ranges first (qdbg_equalize_run()); then look at the weights "
                                   "named below.");
    else
        qdbg__text_add(&w->advice,
                       "Give the weights named below more bits, or round them with regard to the "
                       "layers' outputs (qdbg_adaround_run()).");
}

static bool has_biases(const qdbg__chart *c)
{
    for (size_t i = 0; i < c->sim->n; i++)
        if (c->sim->quantizers[i].place.kind == QDBG_BIAS)
            return true;
    return false;
}

qdbg_status qdbg__tell_kind(qdbg__chart *c, int32_t kind)
{
    bool weights = kind == QDBG_WEIGHT;
    const char *who = !weights        ? "Activations only: "
                      : has_biases(c) ? "Weights and biases only: "
                                      : "Weights only: ";
    const qdbg__outcome *o = weights ? &c->weights : &c->activations;
    words w = words_make(c);
    qdbg__text_add(&w.verdict, who);
    say_score(c, &w.verdict, o->score);
    if (!qdbg__within(c, o->score))
        advise_kind(c, &w, kind);
    return finish(c, &w, judged(c, o->score), weights ? "weights" : "activations",
                  weights ? "Do the weights lose it?" : "Do the activations lose it?", o);
}

/* ---- each quantizer ---- */

/* Whom a sentence is about: QDBG_WEIGHT (biases go with them), QDBG_ACTIVATION, or 0, all. */
static bool is_on_side(const qdbg_finding *f, int32_t side)
{
    return side == 0 || (side == QDBG_ACTIVATION) == (f->kind == QDBG_ACTIVATION);
}

static size_t count_culprits(const qdbg_diagnosis *d, int32_t side)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n_findings; i++)
        n += d->findings[i].culprit && is_on_side(&d->findings[i], side);
    return n;
}

/* The culprit of a side that loses most: findings come sorted. NULL where there is none. */
static const qdbg_finding *worst_of(const qdbg_diagnosis *d, int32_t side)
{
    for (size_t i = 0; i < d->n_findings; i++)
        if (d->findings[i].culprit && is_on_side(&d->findings[i], side))
            return &d->findings[i];
    return NULL;
}

/* "weight 'a' (drop 0.0881), activation 'b' (drop 0.0200)": the first `n` culprits of a side. */
static void list_culprits(const qdbg_diagnosis *d, qdbg__text *t, int32_t side, size_t n)
{
    size_t named = 0;
    for (size_t i = 0; i < d->n_findings && named < n; i++) {
        const qdbg_finding *f = &d->findings[i];
        if (!f->culprit || !is_on_side(f, side))
            continue;
        qdbg__text_addf(t, "%s%s '%s' (drop ", named++ ? ", " : "",
                        f->kind == QDBG_WEIGHT ? "weight"
                        : f->kind == QDBG_BIAS ? "bias"
                                               : "activation",
                        f->name);
        qdbg__text_fixed(t, f->drop_alone, 4);
        qdbg__text_add(t, ")");
    }
}

#define NAMED 5

qdbg_status qdbg__tell_quantizers(qdbg__chart *c)
{
    const qdbg_diagnosis *d = c->diagnosis;
    words w = words_make(c);
    size_t guilty = count_culprits(d, 0), named = guilty < NAMED ? guilty : NAMED;
    if (guilty == 0) {
        qdbg__text_addf(&w.verdict, "None of %zu quantizers alone loses more than allowed.",
                        d->n_findings);
    } else {
        qdbg__text_addf(&w.verdict,
                        "%zu of %zu quantizers alone lose%s more than allowed: ", guilty,
                        d->n_findings, guilty == 1 ? "s" : "");
        list_culprits(d, &w.verdict, 0, named);
        qdbg__text_addf(&w.verdict, guilty > named ? ", and %zu more." : ".", guilty - named);
        const qdbg_finding *worst = worst_of(d, 0);
        qdbg__text_addf(&w.advice, "'%s': %s.", worst->name, worst->reason);
    }
    return finish(c, &w, guilty ? QDBG_OUTCOME_FAILED : QDBG_OUTCOME_PASSED, "quantizers",
                  "Which quantizers are to blame?", NULL);
}

/* ---- the end ---- */

/* Findings by noise share: they come sorted by score, so the largest shares are looked for. */
static const qdbg_finding *noisiest(const qdbg_diagnosis *d, int32_t side)
{
    const qdbg_finding *best = NULL;
    for (size_t i = 0; i < d->n_findings; i++)
        if (is_on_side(&d->findings[i], side) &&
            (!best || d->findings[i].noise_share > best->noise_share))
            best = &d->findings[i];
    return best;
}

/* Those that the conclusion is about, in words. */
static const char *name_side(const qdbg__chart *c, bool weights_bad, bool activations_bad)
{
    bool biases = has_biases(c);
    if (weights_bad && activations_bad)
        return biases ? "Weights and biases, and activations, each lose"
                      : "Weights and activations each lose";
    if (weights_bad)
        return biases ? "Weights and biases lose" : "The weights lose";
    return activations_bad ? "The activations lose" : "Weights and activations together lose";
}

static void conclude_failed(qdbg__chart *c, words *w)
{
    const qdbg_diagnosis *d = c->diagnosis;
    bool weights_bad = !qdbg__within(c, c->weights.score);
    bool activations_bad = !qdbg__within(c, c->activations.score);
    int32_t side = weights_bad == activations_bad ? 0 : weights_bad ? QDBG_WEIGHT : QDBG_ACTIVATION;
    size_t guilty = count_culprits(d, side);
    qdbg__text_addf(&w->verdict, "%s more than allowed. ",
                    name_side(c, weights_bad, activations_bad));
    if (guilty > 0) {
        qdbg__text_add(&w->verdict,
                       guilty == 1 ? "One quantizer is to blame: " : "Most to blame: ");
        list_culprits(d, &w->verdict, side, guilty < 3 ? guilty : 3);
        qdbg__text_add(&w->verdict, ".");
        const qdbg_finding *worst = worst_of(d, side);
        qdbg__text_addf(&w->advice, "Mend '%s' first: %s.", worst->name, worst->reason);
        return;
    }
    const qdbg_finding *f = noisiest(d, side);
    qdbg__text_addf(&w->verdict, "%s alone is to blame: many small errors add up",
                    side == 0 ? "No quantizer" : "None of them");
    if (f && f->noise_share > 0) {
        qdbg__text_addf(&w->verdict, ", most of all that of '%s' (", f->name);
        qdbg__text_fixed(&w->verdict, 100 * f->noise_share, 0);
        qdbg__text_add(&w->verdict, " % of the noise)");
    }
    qdbg__text_add(&w->verdict, ".");
    qdbg__text_add(&w->advice, "Give the noisiest quantizers more bits, or the weights a scale for "
                               "each channel; if that is not enough, train with quantization.");
}

qdbg_status qdbg__tell_conclusion(qdbg__chart *c)
{
    const qdbg_summary *s = &c->diagnosis->summary;
    words w = words_make(c);
    bool good = qdbg__within(c, c->quantized.score);
    if (good) {
        qdbg__text_addf(&w.verdict,
                        "The model can be quantized to %u-bit weights%s and %u-bit "
                        "activations within the allowed drop.",
                        s->weight_bits,
                        s->weight_granularity == QDBG_PER_CHANNEL ? " (per channel)" : "",
                        s->activation_bits);
    } else {
        conclude_failed(c, &w);
    }
    return finish(c, &w, good ? QDBG_OUTCOME_PASSED : QDBG_OUTCOME_FAILED, "conclusion",
                  "What is to be done?", &c->quantized);
}

qdbg_status qdbg__tell_skipped(qdbg__chart *c, const char *name)
{
    words w = words_make(c);
    qdbg__text_add(&w.verdict, "Not needed: the whole quantized model is good enough.");
    const char *title = strcmp(name, "weights") == 0       ? "Do the weights lose it?"
                        : strcmp(name, "activations") == 0 ? "Do the activations lose it?"
                                                           : "Which quantizers are to blame?";
    return finish(c, &w, QDBG_OUTCOME_SKIPPED, name, title, NULL);
}
