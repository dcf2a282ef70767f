/* The verdict and the key figures. */
#include <math.h>
#include <string.h>

#include "report_html.h"

/* The last box speaks for the whole; without one the scores do. */
static int32_t overall(qdbg__report *r, qdbg_step *last)
{
    double drop = qdbg__report_drop(r);
    qdbg_step_init(last);
    if (r->summary.n_steps > 0 && qdbg__report_step(r, r->summary.n_steps - 1, last) &&
        last->outcome != QDBG_OUTCOME_SKIPPED)
        return last->outcome;
    if (isnan(drop))
        return QDBG_OUTCOME_SKIPPED;
    return qdbg__report_drops_too_far(r) ? QDBG_OUTCOME_FAILED : QDBG_OUTCOME_PASSED;
}

static const char *headline(const qdbg__report *r, int32_t outcome)
{
    if (outcome == QDBG_OUTCOME_PASSED)
        return "The quantized model is good enough";
    if (outcome == QDBG_OUTCOME_SKIPPED)
        return "No verdict";
    if (qdbg__report_drops_too_far(r))
        return "Quantization costs more accuracy than is allowed";
    return "The diagnosis found something to mend";
}

void qdbg__html_verdict(qdbg__report *r)
{
    qdbg__text *t = &r->text;
    qdbg_step last;
    int32_t outcome = overall(r, &last);
    qdbg__text_addf(t, "<section class=\"verdict %s\" aria-labelledby=\"h-verdict\">\n",
                    qdbg__report_outcome(outcome));
    qdbg__html_icon(t, outcome);
    qdbg__text_addf(t, "\n<div>\n<h2 id=\"h-verdict\">%s</h2>\n", headline(r, outcome));
    if (r->summary.conclusion[0]) {
        qdbg__text_add(t, "<p>");
        qdbg__html_text(t, r->summary.conclusion);
        qdbg__text_add(t, "</p>\n");
    }
    if (last.recommendation && last.recommendation[0]) {
        qdbg__text_add(t, "<p class=\"advice\"><b>What to do:</b> ");
        qdbg__html_text(t, last.recommendation);
        qdbg__text_add(t, "</p>\n");
    }
    qdbg__text_add(t, "</div>\n</section>\n");
}

static void begin_card(qdbg__text *t, const char *title, const char *state)
{
    qdbg__text_addf(t, "<div class=\"card\"><dt>%s</dt><dd class=\"big %s\">", title, state);
}

static void end_card(qdbg__text *t)
{
    qdbg__text_add(t, "</dd></div>\n");
}

/* The drop as a bar beside a line at what is allowed. */
static void put_meter(qdbg__text *t, double drop, double allowed)
{
    double full = fmax(drop, allowed) * 1.15;
    if (!(full > 0) || !isfinite(full))
        return;
    qdbg__text_add(t, "<span class=\"meter\" aria-hidden=\"true\">"
                      "<i class=\"fill\" style=\"");
    qdbg__html_style_percent(t, "width", drop / full * 100);
    qdbg__text_add(t, "\"></i><i class=\"mark\" style=\"");
    qdbg__html_style_percent(t, "left", allowed / full * 100);
    qdbg__text_add(t, "\"></i></span>");
}

static void put_drop_card(qdbg__report *r)
{
    qdbg__text *t = &r->text;
    double drop = qdbg__report_drop(r), allowed = r->summary.max_drop;
    bool bad = qdbg__report_drops_too_far(r);
    begin_card(t, "Score lost", isnan(drop) ? "" : bad ? "bad" : "ok");
    qdbg__html_score(t, drop);
    qdbg__text_addf(t, "</dd><dd class=\"note %s\">", bad ? "bad" : "ok");
    put_meter(t, drop, allowed);
    qdbg__text_add(t, "</dd><dd class=\"note\">");
    qdbg__html_digits(t, allowed, 4);
    qdbg__text_add(t, " is allowed");
    if (bad && isfinite(drop) && allowed > 0) {
        qdbg__text_add(t, "; this is ");
        qdbg__html_digits(t, drop / allowed, 2);
        qdbg__text_add(t, " times that");
    }
    end_card(t);
}

static void put_culprit_card(qdbg__report *r)
{
    qdbg__text *t = &r->text;
    qdbg_finding f;
    uint32_t culprits = 0;
    for (uint32_t i = 0; qdbg__report_finding(r, i, &f); i++)
        culprits += f.culprit != 0;
    begin_card(t, "Culprits", culprits ? "bad" : "");
    if (!qdbg__html_were_run(r)) {
        qdbg__text_add(t, "\u2013</dd><dd class=\"note\">the quantizers were not run one by one");
    } else {
        qdbg__text_addf(t, "%u</dd><dd class=\"note\">of ", culprits);
        qdbg__html_count(t, r->summary.n_findings, "quantizer");
        qdbg__text_add(t, " alone lose more than is allowed");
    }
    end_card(t);
}

static double half_width_of(qdbg__report *r, const char *name)
{
    qdbg_step step;
    for (uint32_t i = 0; qdbg__report_step(r, i, &step); i++)
        if (strcmp(step.name, name) == 0)
            return step.half_width;
    return (double)NAN;
}

void qdbg__html_cards(qdbg__report *r)
{
    qdbg__text *t = &r->text;
    double half_width = half_width_of(r, "quantized");
    qdbg__text_add(t, "<dl class=\"cards\" aria-label=\"Key figures\">\n");
    begin_card(t, "Float32 model", "");
    qdbg__html_score(t, r->summary.float_score);
    qdbg__text_add(t, "</dd><dd class=\"note\">the reference, by ");
    qdbg__html_text(t, r->summary.metric);
    end_card(t);
    begin_card(t, "Quantized model", "");
    qdbg__html_score(t, r->summary.quantized_score);
    qdbg__text_add(t, "</dd><dd class=\"note\">");
    if (isfinite(half_width)) {
        qdbg__text_add(t, "\u00b1");
        qdbg__html_score(t, half_width);
        qdbg__text_add(t, " at 95\u00a0% confidence, ");
    }
    qdbg__text_add(t, "all quantizers at work");
    end_card(t);
    put_drop_card(r);
    put_culprit_card(r);
    qdbg__text_add(t, "</dl>\n");
}
