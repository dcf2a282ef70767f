/* The flow chart as boxes and wires, and the score at each box as a plot. */
#include <math.h>
#include <string.h>

#include "report_html.h"

/* ---- boxes ---- */

static void put_measure(qdbg__text *t, const char *name)
{
    qdbg__text_addf(t, "<div><dt>%s</dt><dd>", name);
}

static void end_measure(qdbg__text *t)
{
    qdbg__text_add(t, "</dd></div>");
}

static void put_measures(qdbg__text *t, const qdbg_step *s, double seconds)
{
    if (isnan(s->score) && isnan(s->drop) && isnan(s->sqnr_db) && !isfinite(seconds))
        return;
    qdbg__text_add(t, "<dl class=\"measures\">");
    if (!isnan(s->score)) {
        put_measure(t, "Score");
        qdbg__html_score(t, s->score);
        if (isfinite(s->half_width)) {
            qdbg__text_add(t, " <small>\u00b1");
            qdbg__html_score(t, s->half_width);
            qdbg__text_add(t, "</small>");
        }
        end_measure(t);
    }
    if (!isnan(s->drop)) {
        put_measure(t, "Drop");
        qdbg__html_score(t, s->drop);
        end_measure(t);
    }
    if (!isnan(s->sqnr_db)) {
        put_measure(t, "Output SQNR");
        qdbg__html_fixed(t, s->sqnr_db, 1);
        qdbg__text_add(t, "\u00a0dB");
        end_measure(t);
    }
    if (isfinite(seconds)) {
        put_measure(t, "Time");
        qdbg__html_fixed(t, seconds, 1);
        qdbg__text_add(t, "\u00a0s");
        end_measure(t);
    }
    qdbg__text_add(t, "</dl>\n");
}

static const char *outcome_word(int32_t outcome)
{
    switch (outcome) {
    case QDBG_OUTCOME_PASSED:
        return "Passed";
    case QDBG_OUTCOME_FAILED:
        return "Failed";
    default:
        return "Not walked";
    }
}

static void put_paragraph(qdbg__text *t, const char *open, const char *words)
{
    if (!words[0])
        return;
    qdbg__text_add(t, open);
    qdbg__html_text(t, words);
    qdbg__text_add(t, "</p>\n");
}

/* `place` is "full", or "half left" and "half right" for boxes that stand side by side. */
static void put_box(qdbg__report *r, const qdbg_step *s, uint32_t i, const char *place)
{
    qdbg__text *t = &r->text;
    const char *outcome = qdbg__report_outcome(s->outcome);
    qdbg__text_addf(t, "<li class=\"box %s %s\">", place, outcome);
    if (i > 0)
        qdbg__text_add(t, "<i class=\"in\"></i>");
    if (i + 1 < r->summary.n_steps)
        qdbg__text_add(t, "<i class=\"out\"></i>");
    qdbg__text_addf(t, "\n<div class=\"head\"><span class=\"number\">%u</span><h3>", i + 1);
    qdbg__html_text(t, s->title);
    qdbg__text_addf(t, "</h3><span class=\"badge %s\">", outcome);
    qdbg__html_icon(t, s->outcome);
    qdbg__text_addf(t, "%s</span></div>\n", outcome_word(s->outcome));
    put_measures(t, s, qdbg__report_time_shown(r, i, s));
    put_paragraph(t, "<p>", s->verdict);
    put_paragraph(t, "<p class=\"advice\"><b>What to do:</b> ", s->recommendation);
    qdbg__text_add(t, "</li>\n");
}

/* The chart forks in one place: weights and activations are looked at apart. */
static bool forks_at(qdbg__report *r, uint32_t i)
{
    qdbg_step left, right;
    return qdbg__report_step(r, i, &left) && strcmp(left.name, "weights") == 0 &&
           qdbg__report_step(r, i + 1, &right) && strcmp(right.name, "activations") == 0;
}

void qdbg__html_flow(qdbg__report *r)
{
    qdbg__text *t = &r->text;
    qdbg_step step;
    if (r->summary.n_steps == 0)
        return;
    qdbg__text_add(t,
                   "<section aria-labelledby=\"h-flow\">\n<h2 id=\"h-flow\">The path through the "
                   "flow chart</h2>\n<p class=\"lead\">Each box asks one question about the "
                   "model. Solid lines are the path that was taken; dashed boxes were not "
                   "walked.</p>\n<ol class=\"flow\">\n");
    for (uint32_t i = 0; qdbg__report_step(r, i, &step); i++) {
        if (!forks_at(r, i)) {
            put_box(r, &step, i, "full");
            continue;
        }
        put_box(r, &step, i, "half left");
        i++;
        if (qdbg__report_step(r, i, &step))
            put_box(r, &step, i, "half right");
    }
    qdbg__text_add(t, "</ol>\n</section>\n");
}

/* ---- the score at each box ---- */

/* Steps that have a score of their own; the conclusion repeats an earlier one. */
static bool has_score(const qdbg_step *s)
{
    return isfinite(s->score) && strcmp(s->name, "conclusion") != 0;
}

static const char *short_name(const qdbg_step *s)
{
    static const char *const names[][2] = {
        {"float32", "Quantizers bypassed"}, {"quantized", "All quantizers"},
        {"weights", "Weights only"},        {"activations", "Activations only"},
        {"quantizers", "Worst one alone"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(s->name, names[i][0]) == 0)
            return names[i][1];
    return s->title;
}

/* Ends of the scale: all scores with their intervals, and what is allowed. */
static qdbg__html_axis score_axis(qdbg__report *r, uint32_t *n)
{
    double target = r->summary.float_score - r->summary.max_drop;
    double low = target, high = r->summary.float_score;
    qdbg_step s;
    *n = 0;
    for (uint32_t i = 0; qdbg__report_step(r, i, &s); i++) {
        if (!has_score(&s))
            continue;
        double half = isfinite(s.half_width) ? s.half_width : 0;
        low = fmin(low, s.score - half);
        high = fmax(high, s.score + half);
        ++*n;
    }
    double margin = (high - low) * 0.06;
    return qdbg__html_axis_make(low - margin, high + margin, 6);
}

static void put_score_row(qdbg__report *r, const qdbg_step *s, const qdbg__html_axis *axis)
{
    qdbg__text *t = &r->text;
    double from = qdbg__html_axis_percent(axis, r->summary.float_score - r->summary.max_drop);
    qdbg__text_add(t, "<div class=\"row\"><span>");
    qdbg__html_text(t, short_name(s));
    qdbg__text_add(t,
                   "</span><span class=\"plot\" aria-hidden=\"true\"><i class=\"band\" style=\"");
    qdbg__html_style_percent(t, "left", from);
    qdbg__text_add(t, "right:0\"></i>");
    if (isfinite(s->half_width)) {
        double low = qdbg__html_axis_percent(axis, s->score - s->half_width);
        double high = qdbg__html_axis_percent(axis, s->score + s->half_width);
        qdbg__text_add(t, "<i class=\"span\" style=\"");
        qdbg__html_style_percent(t, "left", low);
        qdbg__html_style_percent(t, "width", high - low);
        qdbg__text_add(t, "\"></i>");
    }
    qdbg__text_addf(t, "<i class=\"dot %s\" style=\"", qdbg__report_outcome(s->outcome));
    qdbg__html_style_percent(t, "left", qdbg__html_axis_percent(axis, s->score));
    qdbg__text_add(t, "\"></i></span><span class=\"value\">");
    qdbg__html_score(t, s->score);
    if (isfinite(s->half_width)) {
        qdbg__text_add(t, " <small>\u00b1");
        qdbg__html_score(t, s->half_width);
        qdbg__text_add(t, "</small>");
    }
    qdbg__text_add(t, "</span></div>\n");
}

static void put_score_axis(qdbg__text *t, const qdbg__html_axis *axis)
{
    qdbg__text_add(t, "<div class=\"row\" aria-hidden=\"true\"><span></span>"
                      "<span class=\"plot axis\">");
    double v;
    for (int i = 0; qdbg__html_axis_tick(axis, i, &v); i++) {
        qdbg__text_add(t, "<span style=\"");
        qdbg__html_style_percent(t, "left", qdbg__html_axis_percent(axis, v));
        qdbg__text_add(t, "\">");
        qdbg__html_fixed(t, v, axis->decimals);
        qdbg__text_add(t, "</span>");
    }
    qdbg__text_add(t, "</span><span></span></div>\n");
}

void qdbg__html_scores(qdbg__report *r)
{
    qdbg__text *t = &r->text;
    qdbg_step step;
    uint32_t n;
    qdbg__html_axis axis = score_axis(r, &n);
    if (n == 0 || !isfinite(r->summary.float_score))
        return;
    qdbg__text_add(t,
                   "<section aria-labelledby=\"h-scores\">\n<h2 id=\"h-scores\">Where the score "
                   "goes</h2>\n<ul class=\"key\"><li><span class=\"swatch band\"></span>allowed: "
                   "at most ");
    qdbg__html_digits(t, r->summary.max_drop, 4);
    qdbg__text_add(t, " below float32</li><li><span class=\"dot\"></span>passed</li>"
                      "<li><span class=\"dot failed\"></span>failed</li>"
                      "<li><span class=\"spankey\"></span>95\u00a0% confidence interval</li></ul>\n"
                      "<div class=\"scores panel\">\n");
    for (uint32_t i = 0; qdbg__report_step(r, i, &step); i++)
        if (has_score(&step))
            put_score_row(r, &step, &axis);
    put_score_axis(t, &axis);
    qdbg__text_add(t, "</div>\n</section>\n");
}
