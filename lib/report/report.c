#include "report.h"

#include <math.h>

#include "../diagnose/diagnosis.h"

void qdbg_report_options_init(qdbg_report_options *options)
{
    if (options)
        *options = (qdbg_report_options)QDBG_REPORT_OPTIONS_INIT;
}

bool qdbg__report_step(qdbg__report *r, uint32_t i, qdbg_step *step)
{
    if (r->text.status != QDBG_OK || i >= r->summary.n_steps)
        return false;
    qdbg_step_init(step);
    return qdbg_diagnosis_step(r->diagnosis, i, step) == QDBG_OK;
}

bool qdbg__report_finding(qdbg__report *r, uint32_t i, qdbg_finding *finding)
{
    if (r->text.status != QDBG_OK || i >= r->summary.n_findings)
        return false;
    qdbg_finding_init(finding);
    return qdbg_diagnosis_finding(r->diagnosis, i, finding) == QDBG_OK;
}

double qdbg__report_seconds(const qdbg__report *r, uint32_t i)
{
    return r->seconds ? r->seconds[i] : (double)NAN;
}

double qdbg__report_time_shown(const qdbg__report *r, uint32_t i, const qdbg_step *step)
{
    bool walked = step->outcome == QDBG_OUTCOME_PASSED || step->outcome == QDBG_OUTCOME_FAILED;
    return walked ? qdbg__report_seconds(r, i) : (double)NAN;
}

double qdbg__report_drop(const qdbg__report *r)
{
    return r->summary.float_score - r->summary.quantized_score;
}

bool qdbg__report_drops_too_far(const qdbg__report *r)
{
    return !isnan(qdbg__report_drop(r)) &&
           qdbg__drops_too_far(r->summary.float_score, r->summary.quantized_score,
                               r->summary.max_drop);
}

const char *qdbg__report_kind(const qdbg_finding *finding)
{
    if (finding->kind == QDBG_BIAS)
        return "bias";
    return finding->kind == QDBG_WEIGHT ? "weight" : "activation";
}

const char *qdbg__report_outcome(int32_t outcome)
{
    switch (outcome) {
    case QDBG_OUTCOME_PASSED:
        return "passed";
    case QDBG_OUTCOME_FAILED:
        return "failed";
    default:
        return "skipped";
    }
}

const char *qdbg__report_rounding(int32_t rounding)
{
    switch (rounding) {
    case QDBG_ROUND_NEAREST_UP:
        return "nearest-up";
    case QDBG_ROUND_NEAREST_AWAY:
        return "nearest-away";
    default:
        return "nearest-even";
    }
}

size_t qdbg__report_format_score(char out[QDBG__NUMBER_SIZE], double score)
{
    return qdbg__format_fixed(out, score, fabs(score) < 100 ? 4 : 2);
}

static bool turns_direction(uint32_t c)
{
    return c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

uint32_t qdbg__report_visible(const char **p)
{
    uint32_t c = qdbg__utf8_next(p);
    bool control = (c > 0 && c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0);
    /* QDBG__UTF8_BAD is among these. */
    bool noncharacter = (c & 0xfffe) == 0xfffe || (c >= 0xfdd0 && c <= 0xfdef);
    return control || noncharacter || turns_direction(c) ? QDBG__REPLACEMENT : c;
}

/* ---- the call ---- */

typedef struct destination {
    qdbg_ctx *ctx;
    qdbg_write_fn write;
    void *user;
} destination;

static qdbg_status send_piece(void *user, const char *data, size_t size)
{
    const destination *d = user;
    int32_t code = d->write(d->user, data, size);
    return code == 0 ? QDBG_OK : qdbg__fail_callback(d->ctx, "the report's write callback", code);
}

static qdbg_status check(qdbg_ctx *ctx, const qdbg_report_options *o, uint32_t n_steps)
{
    if (o->struct_size != sizeof *o)
        return qdbg__fail(ctx, QDBG_E_INVALID, "qdbg_report_options.struct_size is %u, not %zu",
                          o->struct_size, sizeof *o);
    if (o->n_seconds != 0 && !o->seconds)
        return qdbg__fail(ctx, QDBG_E_INVALID, "qdbg_report_options.seconds is NULL");
    if (o->n_seconds != 0 && o->n_seconds != n_steps)
        return qdbg__fail(ctx, QDBG_E_INVALID,
                          "qdbg_report_options has the times of %u steps, the diagnosis has %u",
                          o->n_seconds, n_steps);
    return QDBG_OK;
}

static void (*writer_of(int32_t format))(qdbg__report *)
{
    switch (format) {
    case QDBG_REPORT_TEXT:
        return qdbg__report_text;
    case QDBG_REPORT_JSON:
        return qdbg__report_json;
    case QDBG_REPORT_CSV:
        return qdbg__report_csv;
    case QDBG_REPORT_HTML:
        return qdbg__report_html;
    default:
        return NULL;
    }
}

qdbg_status qdbg__report_run(qdbg_ctx *ctx, const qdbg_diagnosis *diagnosis, int32_t format,
                             const qdbg_report_options *options, qdbg__text_sink sink, void *user)
{
    qdbg_report_options o = QDBG_REPORT_OPTIONS_INIT;
    qdbg__report r = {.diagnosis = diagnosis, .summary = QDBG_SUMMARY_INIT};
    if (!diagnosis)
        return qdbg__fail(ctx, QDBG_E_INVALID, "the diagnosis is NULL");
    void (*writer)(qdbg__report *) = writer_of(format);
    if (!writer)
        return qdbg__fail(ctx, QDBG_E_INVALID, "there is no report format %d", format);
    if (qdbg_diagnosis_summary(diagnosis, &r.summary) != QDBG_OK)
        return qdbg__fail(ctx, QDBG_E_INVALID, "the diagnosis cannot be read");
    if (options)
        o = *options;
    qdbg_status status = check(ctx, &o, r.summary.n_steps);
    if (status != QDBG_OK)
        return status;

    r.text = qdbg__text_stream(ctx, sink, user);
    r.model = o.model && o.model[0] ? o.model : NULL;
    r.seconds = o.n_seconds > 0 ? o.seconds : NULL;
    r.text_rows = o.text_rows ? o.text_rows : 10;
    writer(&r);
    return qdbg__text_finish(&r.text);
}

qdbg_status qdbg_report_write(qdbg_ctx *ctx, const qdbg_diagnosis *diagnosis, int32_t format,
                              const qdbg_report_options *options, qdbg_write_fn write, void *user)
{
    destination d = {ctx, write, user};
    if (!ctx)
        return QDBG_E_INVALID;
    qdbg__clear_error(ctx);
    if (!write)
        return qdbg__fail(ctx, QDBG_E_INVALID, "the write callback is NULL");
    return qdbg__report_run(ctx, diagnosis, format, options, send_piece, &d);
}
