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
    qdbg__text_add(t, "a drop of ");
    qdbg__text_fixed(t, c->float_score - score, 4);
    qdbg__text_add(t, qdbg__within(c, score) ? ", within the " : ", more than the ");
    qdbg__text_fixed(t, c->options.max_drop, 4);
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

qdbg_status qdbg__tell_float32(qdbg__chart *c)
{
    words w = words_make(c);
    bool good = c->bypass_same && c->tap_obeyed && c->fold_difference <= QDBG__FOLD_TOLERANCE;
    qdbg__outcome outcome = {c->float_score, (double)NAN};
    say_bypass(c, &w);
    if (!c->tap_obeyed)
        say_disobedience(&w);
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
                                   "ranges first; then look at the weights named below.");
    else
        qdbg__text_add(&w->advice,
                       "Give the weights named below more bits, or round them with regard to the "
                       "layers' outputs.");
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

static size_t count_culprits(const qdbg_diagnosis *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n_findings; i++)
        n += d->findings[i].culprit;
    return n;
}

/* "weight 'a' (drop 0.0881), activation 'b' (drop 0.0200)": the first `n` findings. */
static void list_findings(const qdbg_diagnosis *d, qdbg__text *t, size_t n, bool drops)
{
    for (size_t i = 0; i < n; i++) {
        const qdbg_finding *f = &d->findings[i];
        qdbg__text_addf(t, "%s%s '%s' (", i ? ", " : "",
                        f->kind == QDBG_WEIGHT ? "weight"
                        : f->kind == QDBG_BIAS ? "bias"
                                               : "activation",
                        f->name);
        if (drops) {
            qdbg__text_add(t, "drop ");
            qdbg__text_fixed(t, f->drop_alone, 4);
        } else {
            qdbg__text_fixed(t, 100 * f->noise_share, 0);
            qdbg__text_add(t, " % of the noise");
        }
        qdbg__text_add(t, ")");
    }
}

#define NAMED 5

qdbg_status qdbg__tell_quantizers(qdbg__chart *c)
{
    const qdbg_diagnosis *d = c->diagnosis;
    words w = words_make(c);
    size_t guilty = count_culprits(d), named = guilty < NAMED ? guilty : NAMED;
    if (guilty == 0) {
        qdbg__text_addf(&w.verdict, "None of %zu quantizers alone loses more than allowed.",
                        d->n_findings);
    } else {
        qdbg__text_addf(&w.verdict,
                        "%zu of %zu quantizers alone lose%s more than allowed: ", guilty,
                        d->n_findings, guilty == 1 ? "s" : "");
        list_findings(d, &w.verdict, named, true);
        qdbg__text_addf(&w.verdict, guilty > named ? ", and %zu more." : ".", guilty - named);
        const qdbg_finding *worst = &d->findings[0];
        qdbg__text_addf(&w.advice, "'%s': %s.", worst->name, worst->reason);
    }
    return finish(c, &w, guilty ? QDBG_OUTCOME_FAILED : QDBG_OUTCOME_PASSED, "quantizers",
                  "Which quantizers are to blame?", NULL);
}

/* ---- the end ---- */

/* Findings by noise share: they come sorted by score, so the largest shares are looked for. */
static const qdbg_finding *noisiest(const qdbg_diagnosis *d)
{
    const qdbg_finding *best = NULL;
    for (size_t i = 0; i < d->n_findings; i++)
        if (!best || d->findings[i].noise_share > best->noise_share)
            best = &d->findings[i];
    return best;
}

static void conclude_failed(qdbg__chart *c, words *w)
{
    const qdbg_diagnosis *d = c->diagnosis;
    bool weights_bad = !qdbg__within(c, c->weights.score);
    bool activations_bad = !qdbg__within(c, c->activations.score);
    const char *who = weights_bad && activations_bad ? "Weights and activations each lose"
                      : weights_bad                  ? "The weights lose"
                      : activations_bad              ? "The activations lose"
                                                     : "Weights and activations together lose";
    size_t guilty = count_culprits(d);
    qdbg__text_addf(&w->verdict, "%s more than allowed. ", who);
    if (guilty > 0) {
        qdbg__text_add(&w->verdict,
                       guilty == 1 ? "One quantizer is to blame: " : "Most to blame: ");
        list_findings(d, &w->verdict, guilty < 3 ? guilty : 3, true);
        qdbg__text_add(&w->verdict, ".");
        qdbg__text_addf(&w->advice, "Mend '%s' first: %s.", d->findings[0].name,
                        d->findings[0].reason);
        return;
    }
    const qdbg_finding *f = noisiest(d);
    qdbg__text_add(&w->verdict, "No quantizer alone is to blame: many small errors add up");
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
