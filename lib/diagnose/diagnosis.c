#include "diagnosis.h"

#include <math.h>

void qdbg_diagnose_options_init(qdbg_diagnose_options *options)
{
    if (options)
        *options = (qdbg_diagnose_options)QDBG_DIAGNOSE_OPTIONS_INIT;
}

void qdbg_step_init(qdbg_step *step)
{
    if (step)
        *step = (qdbg_step)QDBG_STEP_INIT;
}

void qdbg_finding_init(qdbg_finding *finding)
{
    if (finding)
        *finding = (qdbg_finding)QDBG_FINDING_INIT;
}

void qdbg_summary_init(qdbg_summary *summary)
{
    if (summary)
        *summary = (qdbg_summary)QDBG_SUMMARY_INIT;
}

bool qdbg__drops_too_far(double float_score, double score, double max_drop)
{
    return !(float_score - score <= max_drop + 1e-12 * fmax(1, fabs(float_score)));
}

static void free_text(qdbg_ctx *ctx, const char *text)
{
    qdbg__strfree(ctx, (char *)text);
}

static void free_step(qdbg_ctx *ctx, const qdbg_step *s)
{
    free_text(ctx, s->title);
    free_text(ctx, s->verdict);
    free_text(ctx, s->recommendation);
}

void qdbg_diagnosis_destroy(qdbg_diagnosis *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n_steps; i++)
        free_step(d->ctx, &d->steps[i]);
    for (size_t i = 0; i < d->n_findings; i++) {
        free_text(d->ctx, d->findings[i].name);
        free_text(d->ctx, d->findings[i].node);
        free_text(d->ctx, d->findings[i].op_type);
        free_text(d->ctx, d->findings[i].reason);
    }
    qdbg__free(d->ctx, d->steps, d->steps_capacity, sizeof *d->steps);
    qdbg__free(d->ctx, d->findings, d->n_findings, sizeof *d->findings);
    qdbg__strfree(d->ctx, d->metric_name);
    qdbg__free(d->ctx, d, 1, sizeof *d);
}

static const char *copy(qdbg_ctx *ctx, const char *text)
{
    return qdbg__strdup(ctx, text ? text : "");
}

qdbg_status qdbg__diagnosis_add_step(qdbg_diagnosis *d, const qdbg_step *step)
{
    qdbg_status status =
        qdbg__reserve(d->ctx, &d->steps, &d->steps_capacity, d->n_steps + 1, sizeof *d->steps);
    if (status != QDBG_OK)
        return status;
    qdbg_step s = *step;
    s.title = copy(d->ctx, step->title);
    s.verdict = s.title ? copy(d->ctx, step->verdict) : NULL;
    s.recommendation = s.verdict ? copy(d->ctx, step->recommendation) : NULL;
    if (!s.recommendation) {
        free_step(d->ctx, &s);
        return d->ctx->error_status;
    }
    d->steps[d->n_steps++] = s;
    d->summary.n_steps = (uint32_t)d->n_steps;
    d->summary.conclusion = s.verdict;
    return QDBG_OK;
}

qdbg_status qdbg__diagnosis_reserve_findings(qdbg_diagnosis *d, size_t n)
{
    d->findings = qdbg__alloc(d->ctx, n, sizeof *d->findings);
    if (!d->findings)
        return d->ctx->error_status;
    d->n_findings = n;
    d->summary.n_findings = (uint32_t)n;
    for (size_t i = 0; i < n; i++)
        d->findings[i] = (qdbg_finding)QDBG_FINDING_INIT;
    return QDBG_OK;
}

qdbg_status qdbg_diagnosis_summary(const qdbg_diagnosis *d, qdbg_summary *summary)
{
    if (!d || !summary || summary->struct_size != sizeof *summary)
        return QDBG_E_INVALID;
    *summary = d->summary;
    return QDBG_OK;
}

qdbg_status qdbg_diagnosis_step(const qdbg_diagnosis *d, uint32_t index, qdbg_step *step)
{
    if (!d || !step || step->struct_size != sizeof *step)
        return QDBG_E_INVALID;
    if (index >= d->n_steps)
        return QDBG_E_NOT_FOUND;
    *step = d->steps[index];
    return QDBG_OK;
}

qdbg_status qdbg_diagnosis_finding(const qdbg_diagnosis *d, uint32_t rank, qdbg_finding *finding)
{
    if (!d || !finding || finding->struct_size != sizeof *finding)
        return QDBG_E_INVALID;
    if (rank >= d->n_findings)
        return QDBG_E_NOT_FOUND;
    *finding = d->findings[rank];
    return QDBG_OK;
}
