/* JSON, written here rather than by jansson: jansson takes memory from malloc, or from functions
 * that are global to the process, and an embedding program may have set those for itself. */
#include <math.h>
#include <string.h>

#include "report.h"

typedef struct json {
    qdbg__text *text;
    size_t depth;
    bool empty; /* nothing stands in the innermost object or array yet */
} json;

static void new_line(json *j)
{
    qdbg__text_add(j->text, "\n");
    qdbg__text_repeat(j->text, ' ', 2 * j->depth);
}

static void next(json *j)
{
    if (!j->empty)
        qdbg__text_add(j->text, ",");
    if (j->depth > 0)
        new_line(j);
    j->empty = false;
}

static void begin(json *j, const char *bracket)
{
    qdbg__text_add(j->text, bracket);
    j->depth++;
    j->empty = true;
}

static void end(json *j, const char *bracket)
{
    j->depth--;
    if (!j->empty)
        new_line(j);
    qdbg__text_add(j->text, bracket);
    j->empty = false;
}

static void quoted(json *j, const char *string)
{
    uint32_t c;
    qdbg__text_add(j->text, "\"");
    while ((c = qdbg__utf8_next(&string)) != 0) {
        if (c == '"' || c == '\\')
            qdbg__text_addf(j->text, "\\%c", (int)c);
        else if (c < 0x20 || (c >= 0x7f && c < 0xa0))
            qdbg__text_addf(j->text, "\\u%04x", (unsigned)c);
        else
            qdbg__text_code_point(j->text, c == QDBG__UTF8_BAD ? QDBG__REPLACEMENT : c);
    }
    qdbg__text_add(j->text, "\"");
}

/* Keys are ours and need no escapes. */
static void key(json *j, const char *name)
{
    next(j);
    qdbg__text_addf(j->text, "\"%s\": ", name);
}

static void put_text(json *j, const char *name, const char *value)
{
    key(j, name);
    if (value)
        quoted(j, value);
    else
        qdbg__text_add(j->text, "null");
}

static void put_integer(json *j, const char *name, int64_t value)
{
    key(j, name);
    qdbg__text_addf(j->text, "%lld", (long long)value);
}

static void put_bool(json *j, const char *name, bool value)
{
    key(j, name);
    qdbg__text_add(j->text, value ? "true" : "false");
}

/* A real number always looks like one ("1.0"), so that readers with typed numbers see one type. */
static void put_number(json *j, const char *name, const char *number, bool finite)
{
    key(j, name);
    qdbg__text_add(j->text, finite ? number : "null");
    if (finite && !strpbrk(number, ".e"))
        qdbg__text_add(j->text, ".0");
}

static void put_real(json *j, const char *name, double value)
{
    char number[QDBG__NUMBER_SIZE];
    qdbg__format_double(number, value);
    put_number(j, name, number, isfinite(value));
}

static void put_float(json *j, const char *name, float value)
{
    char number[QDBG__NUMBER_SIZE];
    qdbg__format_float(number, value);
    put_number(j, name, number, isfinite(value));
}

static void put_summary(json *j, const qdbg__report *r)
{
    const qdbg_summary *s = &r->summary;
    put_integer(j, "schema_version", QDBG_REPORT_SCHEMA_VERSION);
    put_text(j, "library_version", qdbg_version_string());
    put_text(j, "model", r->model);
    put_integer(j, "samples", (int64_t)s->samples);
    put_integer(j, "calibration_samples", (int64_t)s->calibration_samples);
    put_text(j, "metric", s->metric);
    put_real(j, "float_score", s->float_score);
    put_real(j, "quantized_score", s->quantized_score);
    put_real(j, "max_drop", s->max_drop);
    put_integer(j, "weight_bits", s->weight_bits);
    put_integer(j, "activation_bits", s->activation_bits);
    put_bool(j, "per_channel", s->weight_granularity == QDBG_PER_CHANNEL);
    put_text(j, "rounding", qdbg__report_rounding(s->rounding));
    put_text(j, "weight_range", qdbg_range_method_name(s->weight_range));
    put_text(j, "activation_range", qdbg_range_method_name(s->activation_range));
    put_text(j, "rules", s->rules);
    put_integer(j, "int32_biases", s->n_biases);
    put_integer(j, "batch_norms_folded", s->n_folded);
    put_text(j, "conclusion", s->conclusion);
}

static void put_step(json *j, const qdbg_step *s, double seconds)
{
    next(j);
    begin(j, "{");
    put_text(j, "name", s->name);
    put_text(j, "title", s->title);
    put_text(j, "outcome", qdbg__report_outcome(s->outcome));
    put_text(j, "verdict", s->verdict);
    put_text(j, "recommendation", s->recommendation);
    put_real(j, "score", s->score);
    put_real(j, "drop", s->drop);
    put_real(j, "half_width", s->half_width);
    put_real(j, "output_sqnr_db", s->sqnr_db);
    put_real(j, "seconds", seconds);
    end(j, "}");
}

static void put_finding(json *j, const qdbg_finding *f)
{
    next(j);
    begin(j, "{");
    put_text(j, "name", f->name);
    put_text(j, "kind", qdbg__report_kind(f));
    put_text(j, "node", f->node);
    put_text(j, "op_type", f->op_type);
    put_integer(j, "bits", f->bits);
    put_integer(j, "channels", f->n_channels);
    put_float(j, "scale", f->scale);
    put_integer(j, "zero_point", f->zero_point);
    put_float(j, "min", f->min);
    put_float(j, "max", f->max);
    put_real(j, "score_alone", f->score_alone);
    put_real(j, "drop_alone", f->drop_alone);
    put_real(j, "output_sqnr_db", f->output_sqnr_db);
    put_real(j, "noise_share", f->noise_share);
    put_real(j, "local_sqnr_db", f->local_sqnr_db);
    put_real(j, "channel_spread", f->channel_spread);
    put_bool(j, "culprit", f->culprit != 0);
    put_text(j, "reason", f->reason);
    end(j, "}");
}

void qdbg__report_json(qdbg__report *r)
{
    json j = {&r->text, 0, true};
    qdbg_step step;
    qdbg_finding finding;
    begin(&j, "{");
    put_summary(&j, r);
    key(&j, "steps");
    begin(&j, "[");
    for (uint32_t i = 0; qdbg__report_step(r, i, &step); i++)
        put_step(&j, &step, qdbg__report_seconds(r, i));
    end(&j, "]");
    key(&j, "quantizers");
    begin(&j, "[");
    for (uint32_t i = 0; qdbg__report_finding(r, i, &finding); i++)
        put_finding(&j, &finding);
    end(&j, "]");
    end(&j, "}");
    qdbg__text_add(&r->text, "\n");
}
