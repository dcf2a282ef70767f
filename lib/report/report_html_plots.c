/* Pictures of the quantizers: ranked bars, and the way through the network. */
#include <math.h>

#include "report_html.h"

#define N_BARS 10
#define N_RANKED 5 /* points that carry a number */

/* ---- ranked bars ---- */

/* The `n` worst findings by one measure. */
typedef struct ranking {
    uint32_t n;
    uint32_t rank[N_BARS];
    double value[N_BARS];
} ranking;

typedef double (*measure_fn)(const qdbg_finding *f);

static double drop_of(const qdbg_finding *f)
{
    return f->drop_alone;
}

static double noise_of(const qdbg_finding *f)
{
    return f->noise_share;
}

/* Among equals the one of lower rank comes first. */
static void insert(ranking *best, uint32_t rank, double value)
{
    if (best->n == N_BARS && !(value > best->value[N_BARS - 1]))
        return;
    uint32_t i = best->n < N_BARS ? best->n++ : N_BARS - 1;
    for (; i > 0 && value > best->value[i - 1]; i--) {
        best->rank[i] = best->rank[i - 1];
        best->value[i] = best->value[i - 1];
    }
    best->rank[i] = rank;
    best->value[i] = value;
}

static ranking rank_by(qdbg__report *r, measure_fn measure)
{
    ranking best = {0};
    qdbg_finding f;
    for (uint32_t i = 0; qdbg__report_finding(r, i, &f); i++)
        if (isfinite(measure(&f)))
            insert(&best, i, measure(&f));
    return best;
}

static void put_bar(qdbg__text *t, const qdbg_finding *f, const qdbg__html_axis *axis, double value,
                    double mark)
{
    double zero = qdbg__html_axis_percent(axis, 0), end = qdbg__html_axis_percent(axis, value);
    qdbg__text_addf(t, "<div class=\"track\" aria-hidden=\"true\"><i class=\"fill %s\" style=\"",
                    f->kind == QDBG_ACTIVATION ? "a" : "w");
    qdbg__html_style_percent(t, "left", fmin(zero, end));
    qdbg__html_style_percent(t, "width", fabs(end - zero));
    qdbg__text_add(t, "\"></i>");
    if (isfinite(mark)) {
        qdbg__text_add(t, "<i class=\"mark\" style=\"");
        qdbg__html_style_percent(t, "left", qdbg__html_axis_percent(axis, mark));
        qdbg__text_add(t, "\"></i>");
    }
    qdbg__text_add(t, "</div>");
}

static void begin_bar(qdbg__text *t, const qdbg_finding *f, uint32_t rank)
{
    qdbg__text_add(t, "<li><div class=\"line\">");
    qdbg__html_chip(t, f);
    qdbg__html_link(t, f, rank);
    qdbg__text_add(t, "<span class=\"value\">");
}

static void put_drop_bars(qdbg__report *r, const ranking *best)
{
    qdbg__text *t = &r->text;
    double allowed = r->summary.max_drop;
    qdbg__html_axis axis = {0, allowed, 1, 0};
    qdbg_finding f;
    for (uint32_t i = 0; i < best->n; i++) {
        axis.low = fmin(axis.low, best->value[i]);
        axis.high = fmax(axis.high, best->value[i]);
    }
    axis.high += (axis.high - axis.low) * 0.02;
    qdbg__text_add(t,
                   "<div class=\"panel\"><h3>By score lost alone</h3>\n<p>The dashed line is the "
                   "drop that is allowed.</p>\n<ol class=\"bars\">\n");
    for (uint32_t i = 0; i < best->n && qdbg__report_finding(r, best->rank[i], &f); i++) {
        begin_bar(t, &f, best->rank[i]);
        qdbg__html_score(t, best->value[i]);
        qdbg__text_add(t, "</span></div>");
        put_bar(t, &f, &axis, best->value[i], allowed);
        qdbg__text_add(t, "</li>\n");
    }
    qdbg__text_add(t, "</ol></div>\n");
}

static void put_noise_bars(qdbg__report *r, const ranking *best)
{
    qdbg__text *t = &r->text;
    qdbg__html_axis axis = {0, best->value[0] > 0 ? best->value[0] : 1, 1, 0};
    double sum = 0;
    qdbg_finding f;
    for (uint32_t i = 0; i < best->n; i++)
        sum += best->value[i];
    qdbg__text_add(t, "<div class=\"panel\"><h3>By noise at the output</h3>\n<p>Share of all "
                      "quantizers\u2019 noise; together ");
    qdbg__html_percent(t, sum);
    qdbg__text_add(t, ".</p>\n<ol class=\"bars\">\n");
    for (uint32_t i = 0; i < best->n && qdbg__report_finding(r, best->rank[i], &f); i++) {
        begin_bar(t, &f, best->rank[i]);
        qdbg__html_percent(t, best->value[i]);
        qdbg__text_add(t, " <small>");
        qdbg__html_fixed(t, f.output_sqnr_db, 1);
        qdbg__text_add(t, "\u00a0dB</small></span></div>");
        put_bar(t, &f, &axis, best->value[i], (double)NAN);
        qdbg__text_add(t, "</li>\n");
    }
    qdbg__text_add(t, "</ol></div>\n");
}

void qdbg__html_bars(qdbg__report *r)
{
    qdbg__text *t = &r->text;
    ranking drops = rank_by(r, drop_of), noise = rank_by(r, noise_of);
    if (drops.n == 0 && noise.n == 0)
        return;
    qdbg__text_add(t, "<section aria-labelledby=\"h-bars\">\n<h2 id=\"h-bars\">The most harmful "
                      "quantizers</h2>\n<p class=\"lead\">Each quantizer was put to work alone, "
                      "with everything else in float32.</p>\n<ul class=\"key\">"
                      "<li><span class=\"swatch\"></span>W: a weight tensor</li>"
                      "<li><span class=\"swatch a\"></span>A: an activation</li></ul>\n"
                      "<div class=\"panels\">\n");
    if (drops.n > 0)
        put_drop_bars(r, &drops);
    if (noise.n > 0)
        put_noise_bars(r, &noise);
    qdbg__text_add(t, "</div>\n</section>\n");
}

/* ---- through the network ---- */

typedef struct extent {
    uint32_t n, last; /* points; the highest order */
    uint32_t worst;   /* rank of the lowest SQNR */
    bool unchanged;   /* an SQNR is infinite */
    double low, high;
} extent;

static extent measure_extent(qdbg__report *r)
{
    extent e = {.low = (double)INFINITY, .high = -(double)INFINITY};
    qdbg_finding f;
    for (uint32_t i = 0; qdbg__report_finding(r, i, &f); i++) {
        if (f.order > e.last)
            e.last = f.order;
        if (isnan(f.output_sqnr_db))
            continue;
        e.n++;
        if (isinf(f.output_sqnr_db)) {
            e.unchanged = e.unchanged || f.output_sqnr_db > 0;
            continue;
        }
        if (f.output_sqnr_db < e.low)
            e.worst = i;
        e.low = fmin(e.low, f.output_sqnr_db);
        e.high = fmax(e.high, f.output_sqnr_db);
    }
    return e;
}

/* SQNR grows upwards; outputs that did not change lie on the upper edge. */
static double height_of(const qdbg__html_axis *axis, double sqnr)
{
    return 100 - qdbg__html_axis_percent(axis, sqnr);
}

static void put_depth_scale(qdbg__text *t, const qdbg__html_axis *axis, bool unchanged)
{
    qdbg__text_add(t, "<div class=\"y\" aria-hidden=\"true\">");
    double v;
    for (int i = 0; qdbg__html_axis_tick(axis, i, &v); i++) {
        double height = height_of(axis, v);
        if (unchanged && height < 5)
            continue;
        qdbg__text_add(t, "<span style=\"");
        qdbg__html_style_percent(t, "top", height);
        qdbg__text_add(t, "\">");
        qdbg__html_fixed(t, v, axis->decimals);
        qdbg__text_add(t, "\u00a0dB</span>");
    }
    if (unchanged)
        qdbg__text_add(t, "<span style=\"top:0\">\u221e</span>");
    qdbg__text_add(t, "</div>\n");
}

static void put_depth_grid(qdbg__text *t, const qdbg__html_axis *axis)
{
    double v;
    for (int i = 0; qdbg__html_axis_tick(axis, i, &v); i++) {
        qdbg__text_add(t, "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"");
        qdbg__text_fixed(t, height_of(axis, v), 2);
        qdbg__text_add(t, "%\" y2=\"");
        qdbg__text_fixed(t, height_of(axis, v), 2);
        qdbg__text_add(t, "%\"></line>");
    }
    qdbg__text_add(t, "\n");
}

static void put_point(qdbg__text *t, const qdbg_finding *f, double x, double y)
{
    bool weight = f->kind != QDBG_ACTIVATION;
    qdbg__text_add(t, weight ? "<rect width=\"9\" height=\"9\" x=\"" : "<circle r=\"4\" cx=\"");
    qdbg__text_fixed(t, x, 2);
    qdbg__text_add(t, weight ? "%\" y=\"" : "%\" cy=\"");
    qdbg__text_fixed(t, y, 2);
    qdbg__text_addf(t, "%%\"%s><title>", f->culprit ? " class=\"culprit\"" : "");
    qdbg__html_text(t, f->name);
    qdbg__text_add(t, ": ");
    qdbg__html_fixed(t, f->output_sqnr_db, 1);
    qdbg__text_addf(t, " dB</title></%s>\n", weight ? "rect" : "circle");
}

/* The worst points carry their rank. */
static void put_rank(qdbg__text *t, uint32_t rank, double x, double y)
{
    qdbg__text_add(t, "<text dx=\"9\" dy=\"4\" x=\"");
    qdbg__text_fixed(t, x, 2);
    qdbg__text_add(t, "%\" y=\"");
    qdbg__text_fixed(t, y, 2);
    qdbg__text_addf(t, "%%\">%u</text>\n", rank + 1);
}

static void put_points(qdbg__report *r, const extent *e, const qdbg__html_axis *axis)
{
    qdbg_finding f;
    for (uint32_t i = 0; qdbg__report_finding(r, i, &f); i++) {
        if (isnan(f.output_sqnr_db))
            continue;
        double x = e->last > 0 ? 1 + 97.0 * f.order / e->last : 50;
        double y = height_of(axis, f.output_sqnr_db);
        put_point(&r->text, &f, x, y);
        if (i < N_RANKED)
            put_rank(&r->text, i, x, y);
    }
}

static void put_depth_picture(qdbg__report *r, const extent *e, const qdbg__html_axis *axis)
{
    qdbg__text *t = &r->text;
    qdbg_finding f;
    qdbg__text_add(t,
                   "<svg role=\"img\" aria-label=\"Output SQNR of each quantizer alone, from the "
                   "model&#39;s input to its output. The lowest is ");
    if (qdbg__report_finding(r, e->worst, &f)) {
        qdbg__html_text(t, f.name);
        qdbg__text_add(t, " at ");
        qdbg__html_fixed(t, f.output_sqnr_db, 1);
    }
    qdbg__text_add(t, " dB.\">\n");
    put_depth_grid(t, axis);
    put_points(r, e, axis);
    qdbg__text_add(t, "</svg>\n");
}

void qdbg__html_depth(qdbg__report *r)
{
    qdbg__text *t = &r->text;
    extent e = measure_extent(r);
    if (e.n < 2 || !isfinite(e.low))
        return;
    double margin = fmax((e.high - e.low) * 0.06, 0.5);
    qdbg__html_axis axis =
        qdbg__html_axis_make(e.low - margin, e.high + (e.unchanged ? 3 : 1) * margin, 6);
    qdbg__text_add(t,
                   "<section aria-labelledby=\"h-depth\">\n<h2 id=\"h-depth\">Through the "
                   "network</h2>\n<p class=\"lead\">How clean the model\u2019s output stays with "
                   "each quantizer alone, from the input on the left to the output on the "
                   "right. Low points do the harm; point at one to see its name.</p>\n"
                   "<ul class=\"key\"><li><span class=\"dotkey\"></span>weight</li>"
                   "<li><span class=\"dotkey a\"></span>activation</li>"
                   "<li><span class=\"dotkey ring\"></span>dark frame: culprit</li>"
                   "<li><span><b>1</b>, <b>2</b>\u2026</span>rank in the table</li>");
    if (e.unchanged)
        qdbg__text_add(t, "<li>\u221e: the output did not change</li>");
    qdbg__text_add(t, "</ul>\n<div class=\"panel\"><div class=\"depth\">\n");
    put_depth_scale(t, &axis, e.unchanged);
    put_depth_picture(r, &e, &axis);
    qdbg__text_add(t, "<div class=\"x\" aria-hidden=\"true\"><span>input</span>"
                      "<span>order of computation</span><span>output</span></div>\n"
                      "</div></div>\n</section>\n");
}
