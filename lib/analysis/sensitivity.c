#include "sensitivity.h"

#include <math.h>

#include "../base/sort.h"

void qdbg_sensitivity_row_init(qdbg_sensitivity_row *row)
{
    if (row)
        *row = (qdbg_sensitivity_row)QDBG_SENSITIVITY_ROW_INIT;
}

void qdbg_sensitivity_destroy(qdbg_sensitivity *s)
{
    if (!s)
        return;
    qdbg__free(s->ctx, s->rows, s->n, sizeof *s->rows);
    qdbg__free(s->ctx, s, 1, sizeof *s);
}

double qdbg_sensitivity_float_score(const qdbg_sensitivity *s)
{
    return s ? s->float_score : 0;
}

uint32_t qdbg_sensitivity_count(const qdbg_sensitivity *s)
{
    return s ? (uint32_t)s->n : 0;
}

qdbg_status qdbg_sensitivity_get(const qdbg_sensitivity *s, uint32_t rank,
                                 qdbg_sensitivity_row *row)
{
    if (!s || !row || row->struct_size != sizeof *row)
        return QDBG_E_INVALID;
    if (rank >= s->n)
        return QDBG_E_NOT_FOUND;
    *row = s->rows[rank];
    return QDBG_OK;
}

static int by_harm(const void *a, const void *b)
{
    const qdbg_sensitivity_row *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    if (x->sqnr_db != y->sqnr_db)
        return x->sqnr_db < y->sqnr_db ? -1 : 1;
    return x->quantizer < y->quantizer ? -1 : x->quantizer > y->quantizer;
}

/* Noise over signal: 0 for unchanged outputs, infinite where noise drowned all. */
static double noise_ratio(double sqnr_db)
{
    return pow(10.0, -sqnr_db / 10.0);
}

/* Quantizers that drown the outputs share all the noise among them. */
static void share_noise(qdbg_sensitivity *s)
{
    double sum = 0;
    size_t drowned = 0;
    for (size_t i = 0; i < s->n; i++) {
        double r = noise_ratio(s->rows[i].sqnr_db);
        drowned += isinf(r) != 0;
        sum += r;
    }
    for (size_t i = 0; i < s->n; i++) {
        double r = noise_ratio(s->rows[i].sqnr_db);
        if (drowned > 0)
            s->rows[i].noise_share = isinf(r) ? 1.0 / (double)drowned : 0;
        else
            s->rows[i].noise_share = sum > 0 ? r / sum : 0;
    }
}

/* The variants of a sweep: float32 first, then each quantizer alone. */
typedef struct sweep {
    qdbg_sim *sim;
    uint32_t *chosen;        /* [n] quantizers */
    qdbg__sim_variant *made; /* [n] */
    qdbg__variant *variants; /* [n + 1] */
    double *scores;          /* [(n + 1) * 2] the metric's, then SQNR */
    size_t n;
} sweep;

static qdbg_status make_variants(sweep *w, uint8_t *mask)
{
    qdbg_sim *sim = w->sim;
    size_t k = 0;
    for (size_t i = 0; i < sim->n; i++) {
        if (!sim->quantizers[i].enabled)
            continue;
        mask[i] = 1;
        qdbg_status status = qdbg__sim_variant_make(sim, mask, &w->made[k]);
        mask[i] = 0;
        if (status != QDBG_OK)
            return status;
        w->chosen[k] = (uint32_t)i;
        w->variants[k + 1] = qdbg__sim_variant_view(&w->made[k]);
        k++;
    }
    return QDBG_OK;
}

static qdbg_status begin(sweep *w, uint8_t **mask)
{
    qdbg_sim *sim = w->sim;
    for (size_t i = 0; i < sim->n; i++)
        w->n += sim->quantizers[i].enabled;
    *mask = qdbg__alloc(sim->ctx, sim->n, 1);
    w->chosen = *mask ? qdbg__alloc(sim->ctx, w->n, sizeof *w->chosen) : NULL;
    w->made = w->chosen ? qdbg__alloc(sim->ctx, w->n, sizeof *w->made) : NULL;
    w->variants = w->made ? qdbg__alloc(sim->ctx, w->n + 1, sizeof *w->variants) : NULL;
    w->scores = w->variants ? qdbg__alloc(sim->ctx, 2 * (w->n + 1), sizeof *w->scores) : NULL;
    return w->scores ? make_variants(w, *mask) : sim->ctx->error_status;
}

static void end(sweep *w, uint8_t *mask)
{
    qdbg_sim *sim = w->sim;
    for (size_t i = 0; w->made && i < w->n; i++)
        qdbg__sim_variant_free(sim, &w->made[i]);
    qdbg__free(sim->ctx, w->scores, 2 * (w->n + 1), sizeof *w->scores);
    qdbg__free(sim->ctx, w->variants, w->n + 1, sizeof *w->variants);
    qdbg__free(sim->ctx, w->made, w->n, sizeof *w->made);
    qdbg__free(sim->ctx, w->chosen, w->n, sizeof *w->chosen);
    qdbg__free(sim->ctx, mask, sim->n, 1);
}

static qdbg_status take_rows(const sweep *w, qdbg_sensitivity **out)
{
    qdbg_ctx *ctx = w->sim->ctx;
    qdbg_sensitivity *s = qdbg__alloc(ctx, 1, sizeof *s);
    if (!s)
        return ctx->error_status;
    *s = (qdbg_sensitivity){.ctx = ctx, .float_score = w->scores[0], .n = w->n};
    s->rows = qdbg__alloc(ctx, w->n, sizeof *s->rows);
    if (!s->rows) {
        qdbg__free(ctx, s, 1, sizeof *s);
        return ctx->error_status;
    }
    for (size_t i = 0; i < w->n; i++) {
        s->rows[i] = (qdbg_sensitivity_row)QDBG_SENSITIVITY_ROW_INIT;
        s->rows[i].quantizer = w->chosen[i];
        s->rows[i].score = w->scores[2 * (i + 1)];
        s->rows[i].sqnr_db = w->scores[2 * (i + 1) + 1];
    }
    share_noise(s);
    if (s->n > 1)
        qdbg__sort(s->rows, s->n, sizeof *s->rows, by_harm);
    *out = s;
    return QDBG_OK;
}

static qdbg_status run(sweep *w, const qdbg_dataset *dataset, const qdbg_metric *metric)
{
    qdbg_metric both[2] = {*metric, QDBG_METRIC_INIT};
    both[1].kind = QDBG_METRIC_SQNR;
    qdbg__score_job job = {.dataset = dataset,
                           .stage = "quantizers",
                           .metrics = both,
                           .n_metrics = 2,
                           .variants = w->variants,
                           .n_variants = (uint32_t)w->n + 1,
                           .has_float = true,
                           .scores = w->scores};
    return qdbg__model_score(w->sim->model, &job);
}

qdbg_status qdbg_sensitivity_run(qdbg_sim *sim, const qdbg_dataset *dataset,
                                 const qdbg_metric *metric, qdbg_sensitivity **out)
{
    if (!sim)
        return QDBG_E_INVALID;
    qdbg__clear_error(sim->ctx);
    if (!out)
        return qdbg__fail(sim->ctx, QDBG_E_INVALID, "out is NULL");
    qdbg_status status = qdbg__metric_check(sim->ctx, metric);
    if (status != QDBG_OK)
        return status;
    sweep w = {.sim = sim};
    uint8_t *mask = NULL;
    status = begin(&w, &mask);
    if (status == QDBG_OK)
        status = run(&w, dataset, metric);
    if (status == QDBG_OK)
        status = take_rows(&w, out);
    end(&w, mask);
    return status;
}
