/* Ranges without data: what batch-normalization says of its outputs. */
#include <math.h>

#include "encode.h"

/* Inputs of BatchNormalization. */
enum { GAMMA = 1, BETA = 2, MEAN = 3, VAR = 4 };

/* What lies between batch-normalization and the quantizer, as bounds. */
typedef struct bounds {
    double low, high;
} bounds;

static double bound_of(const qdbg_graph *g, const qdbg__node *clip, uint32_t input,
                       const char *name, double fallback)
{
    if (input < clip->n_in && clip->in[input] != QDBG_NONE) {
        const qdbg__value *v = &g->values[clip->in[input]];
        if (v->dtype == QDBG_F32 && v->data && v->bytes == sizeof(float))
            return (double)*(const float *)v->data;
        return fallback;
    }
    return (double)qdbg__attr_float(clip, name, (float)fallback);
}

/* The BatchNormalization before `value`, or NULL; `b` receives what limits its outputs on the way.
 */
static const qdbg__node *find(const qdbg_graph *g, uint32_t value, bounds *b)
{
    *b = (bounds){-(double)INFINITY, (double)INFINITY};
    while (value != QDBG_NONE && g->values[value].producer != QDBG_NONE) {
        const qdbg__node *n = &g->nodes[g->values[value].producer];
        double low = -(double)INFINITY, high = (double)INFINITY;
        if (qdbg__node_is(n, "BatchNormalization"))
            return n->n_in >= 5 ? n : NULL;
        if (qdbg__node_is(n, "Relu")) {
            low = 0;
        } else if (qdbg__node_is(n, "Clip")) {
            low = bound_of(g, n, 1, "min", low);
            high = bound_of(g, n, 2, "max", high);
        } else {
            return NULL;
        }
        b->low = fmax(b->low, low);
        b->high = fmin(b->high, high);
        value = n->in[0];
    }
    return NULL;
}

/* The channels' scale and shift, as the model has them now. */
typedef struct norm {
    uint64_t n;
    float *data[5]; /* [n] by input */
} norm;

static void drop(qdbg_ctx *ctx, norm *x)
{
    for (uint32_t i = GAMMA; i <= VAR; i++)
        qdbg__free(ctx, x->data[i], x->n, sizeof(float));
}

static qdbg_status load(qdbg_sim *sim, const qdbg__node *bn, norm *x)
{
    for (uint32_t i = GAMMA; i <= VAR; i++) {
        x->data[i] = qdbg__alloc(sim->ctx, x->n, sizeof(float));
        if (!x->data[i])
            return sim->ctx->error_status;
        qdbg_status status = sim->model->backend->get(sim->model, bn->in[i], x->data[i], x->n);
        if (status != QDBG_OK)
            return status;
    }
    return QDBG_OK;
}

/* Scale 1, mean 0, variance 1 - epsilon: what fold.h leaves behind. */
static bool is_folded(const norm *x, float epsilon)
{
    for (uint64_t c = 0; c < x->n; c++)
        if (x->data[GAMMA][c] != 1 || x->data[MEAN][c] != 0 || x->data[VAR][c] != 1 - epsilon)
            return false;
    return true;
}

static bool all_params(const qdbg_graph *g, const qdbg__node *bn)
{
    for (uint32_t i = GAMMA; i <= VAR; i++) {
        const qdbg__value *v = bn->in[i] == QDBG_NONE ? NULL : &g->values[bn->in[i]];
        if (!v || !v->is_param || v->dtype != QDBG_F32 || v->bytes == 0 ||
            v->bytes != g->values[bn->in[GAMMA]].bytes)
            return false;
    }
    return true;
}

static void widen(qdbg__span *span, double low, double high, const bounds *b)
{
    span->min = fminf(span->min, (float)fmin(fmax(low, b->low), b->high));
    span->max = fmaxf(span->max, (float)fmin(fmax(high, b->low), b->high));
}

qdbg_status qdbg__sim_batch_norm_range(qdbg_sim *sim, uint32_t value, double sigmas, bool *found,
                                       qdbg__span *out)
{
    const qdbg_graph *g = sim->model->graph;
    bounds b;
    const qdbg__node *bn = find(g, value, &b);
    *found = false;
    if (!bn || !all_params(g, bn))
        return QDBG_OK;
    norm x = {.n = g->values[bn->in[GAMMA]].bytes / sizeof(float)};
    qdbg_status status = load(sim, bn, &x);
    const float *gamma = x.data[GAMMA], *beta = x.data[BETA];
    if (status == QDBG_OK && is_folded(&x, qdbg__attr_float(bn, "epsilon", 1e-5f))) {
        gamma = g->values[bn->in[GAMMA]].data; /* as the network was before */
        beta = g->values[bn->in[BETA]].data;
    }
    qdbg__span span = {INFINITY, -INFINITY};
    for (uint64_t c = 0; c < x.n && status == QDBG_OK && gamma && beta; c++) {
        double reach = sigmas * fabs((double)gamma[c]);
        widen(&span, (double)beta[c] - reach, (double)beta[c] + reach, &b);
    }
    drop(sim->ctx, &x);
    if (status == QDBG_OK && isfinite(span.min) && isfinite(span.max)) {
        *found = true;
        *out = span;
    }
    return status;
}
