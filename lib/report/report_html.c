/* The page around the sections, and what the sections share. */
#include <math.h>

#include "report_html.h"

#define MOST_TICKS 12
#define LINK_TAIL 20 /* code points of a long name that are never cut off */

/* ---- texts and numbers ---- */

static void put_char(qdbg__text *t, uint32_t c)
{
    switch (c) {
    case '&':
        qdbg__text_add(t, "&amp;");
        break;
    case '<':
        qdbg__text_add(t, "&lt;");
        break;
    case '>':
        qdbg__text_add(t, "&gt;");
        break;
    case '"':
        qdbg__text_add(t, "&quot;");
        break;
    case '\'':
        qdbg__text_add(t, "&#39;");
        break;
    default:
        qdbg__text_code_point(t, c);
    }
}

void qdbg__html_text(qdbg__text *t, const char *s)
{
    uint32_t c;
    while ((c = qdbg__report_visible(&s)) != 0)
        put_char(t, c);
}

void qdbg__html_name(qdbg__text *t, const char *s)
{
    uint32_t c;
    while ((c = qdbg__report_visible(&s)) != 0) {
        put_char(t, c);
        if (*s && (c == '/' || c == '.' || c == '_' || c == ':'))
            qdbg__text_add(t, "<wbr>");
    }
}

static void add_number(qdbg__text *t, double v, const char *number)
{
    if (isnan(v)) {
        qdbg__text_add(t, "\u2013");
        return;
    }
    if (number[0] == '-') {
        qdbg__text_add(t, "\u2212");
        number++;
    }
    qdbg__text_add(t, isinf(v) ? "\u221e" : number);
}

void qdbg__html_score(qdbg__text *t, double v)
{
    char number[QDBG__NUMBER_SIZE];
    qdbg__report_format_score(number, v);
    add_number(t, v, number);
}

void qdbg__html_fixed(qdbg__text *t, double v, int decimals)
{
    char number[QDBG__NUMBER_SIZE];
    qdbg__format_fixed(number, v, decimals);
    add_number(t, v, number);
}

void qdbg__html_digits(qdbg__text *t, double v, int digits)
{
    char number[QDBG__NUMBER_SIZE];
    qdbg__format_digits(number, v, digits);
    add_number(t, v, number);
}

void qdbg__html_percent(qdbg__text *t, double share)
{
    qdbg__html_fixed(t, share * 100, 1);
    if (!isnan(share))
        qdbg__text_add(t, "\u00a0%");
}

void qdbg__html_count(qdbg__text *t, uint64_t n, const char *noun)
{
    qdbg__text_addf(t, "%llu %s%s", (unsigned long long)n, noun, n == 1 ? "" : "s");
}

void qdbg__html_style_percent(qdbg__text *t, const char *name, double percent)
{
    double v = percent > 0 ? (percent < 100 ? percent : 100) : 0;
    qdbg__text_addf(t, "%s:", name);
    qdbg__text_fixed(t, v, 2);
    qdbg__text_add(t, "%;");
}

/* ---- marks ---- */

void qdbg__html_icon(qdbg__text *t, int32_t outcome)
{
    qdbg__text_addf(t, "<svg class=\"icon\" aria-hidden=\"true\"><use href=\"#i-%s\"></use></svg>",
                    qdbg__report_outcome(outcome));
}

void qdbg__html_chip(qdbg__text *t, const qdbg_finding *f)
{
    if (f->kind == QDBG_WEIGHT)
        qdbg__text_add(t, "<abbr class=\"chip w\" title=\"weight\">W</abbr>");
    else if (f->kind == QDBG_BIAS)
        qdbg__text_add(t, "<abbr class=\"chip w\" title=\"bias\">B</abbr>");
    else
        qdbg__text_add(t, "<abbr class=\"chip a\" title=\"activation\">A</abbr>");
}

/* Where the last `n` code points of `s` begin. */
static const char *tail_of(const char *s, size_t n)
{
    const char *tail = s;
    size_t length = 0;
    while (qdbg__utf8_next(&s) != 0)
        if (++length > n)
            qdbg__utf8_next(&tail);
    return tail;
}

void qdbg__html_link(qdbg__text *t, const qdbg_finding *f, uint32_t rank)
{
    const char *tail = tail_of(f->name, LINK_TAIL), *p = f->name;
    qdbg__text_addf(t, "<a class=\"name\" href=\"#q%u\" title=\"", rank + 1);
    qdbg__html_text(t, f->name);
    qdbg__text_add(t, "\"><code>");
    while (p < tail)
        put_char(t, qdbg__report_visible(&p));
    qdbg__text_add(t, tail > f->name ? "</code><code>" : "");
    qdbg__html_text(t, tail);
    qdbg__text_add(t, "</code></a>");
}

bool qdbg__html_were_run(qdbg__report *r)
{
    qdbg_finding f;
    for (uint32_t i = 0; qdbg__report_finding(r, i, &f); i++)
        if (!isnan(f.score_alone) || !isnan(f.output_sqnr_db))
            return true;
    return false;
}

/* ---- scales ---- */

qdbg__html_axis qdbg__html_axis_make(double low, double high, int n)
{
    double span = high - low, size = fmax(fabs(low), fabs(high));
    if (!isfinite(span)) /* too far apart to draw: a scale all the same */
        return (qdbg__html_axis){0, 1, 1, 0};
    if (span < 1e-9 * size || span <= 0) { /* nothing to spread */
        double pad = fmax(0.5, 0.5 * size);
        return (qdbg__html_axis){low - pad, low + pad, pad, pad < 10 ? 2 : 0};
    }
    double power = pow(10, floor(log10(span / n)));
    double first = span / n / power;
    double tick = power * (first <= 1 ? 1 : first <= 2 ? 2 : first <= 5 ? 5 : 10);
    int decimals = (int)fmin(9, fmax(0, -floor(log10(tick) + 1e-9)));
    return (qdbg__html_axis){low, high, tick, decimals};
}

bool qdbg__html_axis_tick(const qdbg__html_axis *axis, int i, double *v)
{
    *v = (ceil(axis->low / axis->tick) + i) * axis->tick;
    return i < MOST_TICKS && *v <= axis->high;
}

double qdbg__html_axis_percent(const qdbg__html_axis *axis, double v)
{
    double percent = (v - axis->low) / (axis->high - axis->low) * 100;
    return percent > 0 ? fmin(percent, 100) : 0;
}

/* ---- the page ---- */

static void put_lines(qdbg__text *t, const char *const *lines)
{
    for (; *lines; lines++) {
        qdbg__text_add(t, *lines);
        qdbg__text_add(t, "\n");
    }
}

static void put_head(qdbg__report *r)
{
    qdbg__text *t = &r->text;
    qdbg__text_add(t, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                      /* No name from a model file may ever load or run anything. */
                      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                      "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
                      "<meta name=\"generator\" content=\"libqdebug ");
    qdbg__html_text(t, qdbg_version_string());
    qdbg__text_add(t, "\">\n<title>Quantization diagnosis");
    if (r->model) {
        qdbg__text_add(t, ": ");
        qdbg__html_text(t, r->model);
    }
    qdbg__text_add(t, "</title>\n<style>\n");
    put_lines(t, qdbg__html_style);
    qdbg__text_add(t, "</style>\n</head>\n");
}

static void put_symbols(qdbg__text *t)
{
    qdbg__text_add(t, "<svg class=\"defs\" aria-hidden=\"true\">\n"
                      "<symbol id=\"i-passed\" viewBox=\"0 0 24 24\">"
                      "<circle cx=\"12\" cy=\"12\" r=\"10\"></circle>"
                      "<path d=\"M7.5 12.5l3 3 6-6.5\"></path></symbol>\n"
                      "<symbol id=\"i-failed\" viewBox=\"0 0 24 24\">"
                      "<path d=\"M8 2h8l6 6v8l-6 6H8l-6-6V8z\"></path>"
                      "<path d=\"M8.8 8.8l6.4 6.4M15.2 8.8l-6.4 6.4\"></path></symbol>\n"
                      "<symbol id=\"i-skipped\" viewBox=\"0 0 24 24\">"
                      "<circle cx=\"12\" cy=\"12\" r=\"10\" stroke-dasharray=\"4 3.85\"></circle>"
                      "<path d=\"M8 12h8\"></path></symbol>\n</svg>\n");
}

static void put_bits(qdbg__text *t, uint32_t bits, const char *what)
{
    if (bits == QDBG_BITS_BYPASS)
        qdbg__text_addf(t, "<li>%s left in float32</li>", what);
    else
        qdbg__text_addf(t, "<li>%u-bit %s</li>", bits, what);
}

static void put_setup(qdbg__report *r)
{
    const qdbg_summary *s = &r->summary;
    qdbg__text *t = &r->text;
    qdbg__text_add(t, "<ul class=\"setup\">");
    put_bits(t, s->weight_bits,
             s->weight_granularity == QDBG_PER_CHANNEL ? "weights, one scale per channel"
                                                       : "weights, one scale per tensor");
    put_bits(t, s->activation_bits, "activations");
    qdbg__text_addf(t, "<li>ranges: weights %s, activations %s</li>",
                    qdbg_range_method_name(s->weight_range),
                    qdbg_range_method_name(s->activation_range));
    qdbg__text_addf(t, "<li>rules %s, biases %s</li>", s->rules ? s->rules : "default",
                    s->n_biases ? "int32" : "float32");
    qdbg__text_addf(t, "<li>rounding %s</li><li>scored by ", qdbg__report_rounding(s->rounding));
    qdbg__html_text(t, s->metric);
    qdbg__text_add(t, " on ");
    qdbg__html_count(t, s->samples, "sample");
    qdbg__text_addf(t, "</li><li>calibrated on %llu</li>",
                    (unsigned long long)s->calibration_samples);
    if (s->n_folded) {
        qdbg__text_add(t, "<li>");
        qdbg__html_count(t, s->n_folded, "batch-normalization");
        qdbg__text_add(t, " folded</li>");
    }
    qdbg__text_add(t, "</ul>\n");
}

static void put_title(qdbg__report *r)
{
    qdbg__text *t = &r->text;
    qdbg__text_add(t, "<header>\n<p class=\"eyebrow\">Quantization diagnosis</p>\n<h1>");
    qdbg__html_name(t, r->model ? r->model : "Unnamed model");
    qdbg__text_add(t, "</h1>\n");
    put_setup(r);
    qdbg__text_add(t, "</header>\n");
}

/* ---- the last pages ---- */

typedef struct entry {
    const char *term, *meaning;
} entry;

static const entry glossary[] = {
    {"Quantizer",
     "A place where the network is rounded to few bits: a weight tensor (a parameter of "
     "the model) or an activation (a tensor that is computed from the input)."},
    {"Alone", "The score when only this quantizer is at work and everything else stays in float32. "
              "It tells what this one place costs."},
    {"Drop alone", "The float32 score minus the score alone. A small negative drop is chance."},
    {"Culprit", "A quantizer that alone loses more than is allowed."},
    {"Output SQNR",
     "Signal-to-quantization-noise ratio at the model's output, with this quantizer "
     "alone, in decibels: higher is better. 20\u00a0dB more is ten times less error; "
     "0\u00a0dB is as much error as signal; \u221e means that the output did not "
     "change. It shows harm long before the score does."},
    {"Noise share", "The quantizer's part of the output noise of all quantizers together. Mend the "
                    "largest share first: the small ones hardly count."},
    {"Scale and zero point",
     "The grid: real value = (integer \u2212 zero point) \u00d7 scale. With "
     "a scale per channel, the largest is shown."},
    {"Range",
     "The smallest and the largest value that the grid can express. A range much wider than "
     "the data wastes levels; a narrower one clips."},
    {"Own SQNR", "For weights: how well the rounded tensor resembles the original one, apart from "
                 "what the network makes of it."},
    {"Channel spread",
     "For weights: the widest channel's range over the median channel's. Far above "
     "1, one scale for the whole tensor cannot fit: use a scale per channel or "
     "equalize the layers."},
};

static void put_glossary(qdbg__text *t)
{
    qdbg__text_add(t, "<section aria-labelledby=\"h-words\">\n<h2 id=\"h-words\">What the words "
                      "mean</h2>\n<dl class=\"glossary\">\n");
    for (size_t i = 0; i < sizeof glossary / sizeof *glossary; i++)
        qdbg__text_addf(t, "<div><dt>%s</dt><dd>%s</dd></div>\n", glossary[i].term,
                        glossary[i].meaning);
    qdbg__text_add(t, "</dl>\n</section>\n");
}

static void put_footer(qdbg__text *t)
{
    qdbg__text_add(t, "<footer>\n<p>Made by libqdebug ");
    qdbg__html_text(t, qdbg_version_string());
    qdbg__text_add(t, ". The flow chart is that of Nagel et al., A White Paper on Neural Network "
                      "Quantization, arXiv 2106.08295, section 3.7.</p>\n</footer>\n");
}

void qdbg__report_html(qdbg__report *r)
{
    qdbg__text *t = &r->text;
    put_head(r);
    qdbg__text_add(t, "<body>\n");
    put_symbols(t);
    qdbg__text_add(t, "<div class=\"page\">\n");
    put_title(r);
    qdbg__text_add(t, "<main>\n");
    qdbg__html_verdict(r);
    qdbg__html_cards(r);
    qdbg__html_flow(r);
    qdbg__html_scores(r);
    qdbg__html_bars(r);
    qdbg__html_culprits(r);
    qdbg__html_depth(r);
    qdbg__html_table(r);
    put_glossary(t);
    qdbg__text_add(t, "</main>\n");
    put_footer(t);
    qdbg__text_add(t, "</div>\n<script>\n");
    put_lines(t, qdbg__html_script);
    qdbg__text_add(t, "</script>\n</body>\n</html>\n");
}
