#include "metric.h"

#include <math.h>

#include "../tensor/tensor.h"

/* State of every built-in metric. */
typedef struct tally {
    uint64_t hits, n;
    double signal, noise;
} tally;

void qdbg_metric_init(qdbg_metric *metric)
{
    if (metric)
        *metric = (qdbg_metric)QDBG_METRIC_INIT;
}

const char *qdbg_metric_name(const qdbg_metric *metric)
{
    static const char *const names[] = {
        [QDBG_METRIC_TOP1] = "top-1",
        [QDBG_METRIC_TOP5] = "top-5",
        [QDBG_METRIC_AGREEMENT] = "top-1 agreement with float32",
        [QDBG_METRIC_SQNR] = "output SQNR (dB)",
    };
    if (!metric || metric->kind < 0 || metric->kind > QDBG_METRIC_SQNR)
        return "";
    if (metric->kind == QDBG_METRIC_CUSTOM)
        return metric->name ? metric->name : "score";
    return names[metric->kind];
}

qdbg_status qdbg__metric_check(qdbg_ctx *ctx, const qdbg_metric *metric)
{
    if (!metric || metric->struct_size != sizeof *metric)
        return qdbg__fail(ctx, QDBG_E_INVALID, "metric is NULL or its struct_size is wrong");
    if (metric->kind < QDBG_METRIC_CUSTOM || metric->kind > QDBG_METRIC_SQNR)
        return qdbg__fail(ctx, QDBG_E_INVALID, "metric: kind %d is unknown", metric->kind);
    if (metric->kind == QDBG_METRIC_CUSTOM && (!metric->update || !metric->result))
        return qdbg__fail(ctx, QDBG_E_INVALID,
                          "metric '%s' does not say what to score: set kind, or update and result",
                          qdbg_metric_name(metric));
    return QDBG_OK;
}

bool qdbg__metric_needs_float(const qdbg_metric *metric)
{
    if (metric->kind == QDBG_METRIC_CUSTOM)
        return (metric->flags & QDBG_METRIC_NEEDS_FLOAT) != 0;
    return metric->kind == QDBG_METRIC_AGREEMENT || metric->kind == QDBG_METRIC_SQNR;
}

size_t qdbg__metric_state_size(const qdbg_metric *metric)
{
    return metric->kind == QDBG_METRIC_CUSTOM ? (size_t)metric->state_size : sizeof(tally);
}

/* Lowest index of the largest element; -1 when all are NaN. */
static int64_t argmax(const float *y, int64_t n)
{
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(y[i]) && (best < 0 || y[i] > y[best]))
            best = i;
    return best;
}

/* Whether `label` is among the k largest; ties go to the lower index. */
static bool among_top(const float *y, int64_t n, int64_t label, int64_t k)
{
    int64_t ahead = 0;
    if (isnan(y[label]))
        return false;
    for (int64_t i = 0; i < n; i++)
        ahead += y[i] > y[label] || (y[i] == y[label] && i < label);
    return ahead < k;
}

/* The first output seen as [n_samples, classes]. */
static qdbg_status classes_of(qdbg_ctx *ctx, const qdbg_metric_input *in, int64_t *classes)
{
    const qdbg_view *y = &in->outputs[0];
    uint64_t count = qdbg_view_count(y);
    if (y->dtype != QDBG_F32)
        return qdbg__fail(ctx, QDBG_E_TYPE, "the metric needs a float32 output, not %s",
                          qdbg_dtype_name(y->dtype));
    if (count == 0 || count % in->n_samples != 0)
        return qdbg__fail(ctx, QDBG_E_SHAPE,
                          "%llu output elements cannot be shared among %llu samples",
                          (unsigned long long)count, (unsigned long long)in->n_samples);
    *classes = (int64_t)(count / in->n_samples);
    return QDBG_OK;
}

static qdbg_status update_top(qdbg_ctx *ctx, const qdbg_metric *metric, tally *t,
                              const qdbg_metric_input *in, int64_t classes)
{
    const float *y = in->outputs[0].data;
    int64_t k = metric->kind == QDBG_METRIC_TOP5 ? 5 : 1;
    if (!in->labels)
        return qdbg__fail(ctx, QDBG_E_INVALID, "metric '%s' needs labels",
                          qdbg_metric_name(metric));
    for (uint64_t i = 0; i < in->n_samples; i++) {
        int64_t label = in->labels[i];
        if (label < 0 || label >= classes)
            return qdbg__fail(ctx, QDBG_E_INVALID, "sample %llu: label %lld is outside 0..%lld",
                              (unsigned long long)(in->first_sample + i), (long long)label,
                              (long long)classes - 1);
        t->hits += among_top(y + (int64_t)i * classes, classes, label, k);
    }
    t->n += in->n_samples;
    return QDBG_OK;
}

static void update_agreement(tally *t, const qdbg_metric_input *in, int64_t classes)
{
    const float *y = in->outputs[0].data, *f = in->float_outputs[0].data;
    for (uint64_t i = 0; i < in->n_samples; i++, y += classes, f += classes)
        t->hits += argmax(y, classes) == argmax(f, classes);
    t->n += in->n_samples;
}

/* The noise of a pair. A difference that is not finite has drowned the signal: it counts as
 * infinite noise; NaN or an infinity that is the same on both sides is no difference. */
static double noise_of(const qdbg__error *e, const float *f, const float *y, uint64_t n)
{
    for (uint64_t i = 0; e->n_nonfinite > 0 && i < n; i++)
        if (!(f[i] == y[i]) && !(isnan(f[i]) && isnan(y[i])) && !isfinite(y[i] - f[i]))
            return (double)INFINITY;
    return e->sum_ee;
}

/* Sample by sample, so that sums do not depend on how samples are batched. */
static void update_sqnr(qdbg_ctx *ctx, tally *t, const qdbg_metric_input *in)
{
    const qdbg__kernels *kernels = qdbg__kernels_of(ctx);
    for (uint64_t s = 0; s < in->n_samples; s++)
        for (uint32_t o = 0; o < in->n_outputs; o++) {
            uint64_t count = qdbg_view_count(&in->outputs[o]), n = count / in->n_samples;
            bool whole = count % in->n_samples != 0; /* not made of samples */
            if (in->outputs[o].dtype != QDBG_F32 || (whole && s > 0))
                continue;
            const float *f = (const float *)in->float_outputs[o].data + s * n;
            const float *y = (const float *)in->outputs[o].data + s * n;
            qdbg__error e = {0};
            kernels->error(f, y, whole ? count : n, &e);
            t->signal += e.sum_aa;
            t->noise += noise_of(&e, f, y, whole ? count : n);
        }
    t->n += in->n_samples;
}

static qdbg_status update_builtin(qdbg_ctx *ctx, const qdbg_metric *metric, tally *t,
                                  const qdbg_metric_input *in)
{
    int64_t classes = 0;
    if (metric->kind == QDBG_METRIC_SQNR) {
        update_sqnr(ctx, t, in);
        return QDBG_OK;
    }
    qdbg_status status = classes_of(ctx, in, &classes);
    if (status != QDBG_OK)
        return status;
    if (metric->kind != QDBG_METRIC_AGREEMENT)
        return update_top(ctx, metric, t, in, classes);
    update_agreement(t, in, classes);
    return QDBG_OK;
}

qdbg_status qdbg__metric_update(qdbg_ctx *ctx, const qdbg_metric *metric, void *state,
                                const qdbg_metric_input *input)
{
    if (metric->kind != QDBG_METRIC_CUSTOM)
        return update_builtin(ctx, metric, state, input);
    int32_t code = metric->update(metric->user, state, input);
    return code ? qdbg__fail_callback(ctx, "the metric's update", code) : QDBG_OK;
}

double qdbg__sqnr_db(double signal, double noise)
{
    if (noise == 0)
        return (double)INFINITY;
    if (signal == 0 || isinf(noise))
        return -(double)INFINITY;
    return 10.0 * log10(signal / noise);
}

qdbg_status qdbg__metric_result(qdbg_ctx *ctx, const qdbg_metric *metric, const void *state,
                                double *score)
{
    const tally *t = state;
    double result = 0;
    if (metric->kind == QDBG_METRIC_CUSTOM) {
        int32_t code = metric->result(metric->user, state, &result);
        if (code)
            return qdbg__fail_callback(ctx, "the metric's result", code);
        if (isnan(result))
            return qdbg__fail(ctx, QDBG_E_NUMERIC, "metric '%s' gave NaN",
                              qdbg_metric_name(metric));
    } else if (metric->kind == QDBG_METRIC_SQNR) {
        result = qdbg__sqnr_db(t->signal, t->noise);
    } else {
        result = (double)t->hits / (double)t->n;
    }
    *score = result;
    return QDBG_OK;
}
