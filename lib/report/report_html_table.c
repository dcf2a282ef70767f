/* What is said about single quantizers: advice for the harmful ones, and the table of all. */
#include <math.h>

#include "report_html.h"

#define N_ADVISED 8 /* shown at once; the rest opens on a click */

/* ---- advice ---- */

static void put_advice(qdbg__text *t, const qdbg_finding *f, uint32_t rank)
{
    qdbg__text_add(t, "<li><div class=\"line\">");
    qdbg__html_chip(t, f);
    qdbg__html_link(t, f, rank);
    qdbg__text_add(t, "<span class=\"value\">");
    if (!isnan(f->drop_alone)) {
        qdbg__text_add(t, "drop ");
        qdbg__html_score(t, f->drop_alone);
    }
    if (!isnan(f->output_sqnr_db)) {
        qdbg__text_add(t, isnan(f->drop_alone) ? "" : ", ");
        qdbg__html_fixed(t, f->output_sqnr_db, 1);
        qdbg__text_add(t, "\u00a0dB");
    }
    qdbg__text_add(t, "</span></div>\n<p>");
    qdbg__html_text(t, f->reason);
    qdbg__text_add(t, "</p></li>\n");
}

void qdbg__html_culprits(qdbg__report *r)
{
    qdbg__text *t = &r->text;
    qdbg_finding f;
    uint32_t n = 0, total = 0;
    for (uint32_t i = 0; qdbg__report_finding(r, i, &f); i++)
        total += f.reason[0] != 0;
    if (total == 0)
        return;
    qdbg__text_add(t,
                   "<section aria-labelledby=\"h-advice\">\n<h2 id=\"h-advice\">Why they do harm, "
                   "and what to do</h2>\n<ol class=\"culprits\">\n");
    for (uint32_t i = 0; qdbg__report_finding(r, i, &f); i++) {
        if (!f.reason[0])
            continue;
        if (n++ == N_ADVISED) {
            qdbg__text_addf(t,
                            "</ol>\n<details class=\"more\"><summary>%u more</summary>\n"
                            "<ol class=\"culprits\">\n",
                            total - N_ADVISED);
        }
        put_advice(t, &f, i);
    }
    qdbg__text_add(t, n > N_ADVISED ? "</ol>\n</details>\n</section>\n" : "</ol>\n</section>\n");
}

/* ---- the table ---- */

/* Which way a first click sorts: the interesting end first. */
typedef struct column {
    const char *title, *explanation;
    const char *number; /* "up", "down"; NULL for texts */
} column;

static const column columns[] = {
    {"#", "Rank, the most harmful first", "up"},
    {"Quantizer", "Tensor, and the node that computes or reads it", NULL},
    {"Kind", "Weight or activation", NULL},
    {"Operator", "Operator of the node", NULL},
    {"Drop alone", "Score lost with only this quantizer at work", "down"},
    {"Score alone", "Score with only this quantizer at work", "up"},
    {"Output SQNR, dB", "Signal over noise at the model's output", "up"},
    {"Noise share", "Part of the output noise of all quantizers", "down"},
    {"Bits", "Width of the integers", "up"},
    {"Scale", "Distance of neighbours on the grid", "down"},
    {"Zero point", "Integer that stands for zero", "down"},
    {"Min", "Smallest value on the grid", "up"},
    {"Max", "Largest value on the grid", "down"},
    {"Channels", "Number of scales", "down"},
    {"Own SQNR, dB", "Weights: likeness of the rounded tensor itself", "up"},
    {"Channel spread", "Weights: widest over median channel range", "down"},
    {"Order", "Position in the order of computation", "up"},
};

static void put_columns(qdbg__text *t)
{
    qdbg__text_add(t, "<thead><tr>");
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        const column *c = &columns[i];
        qdbg__text_add(t, i == 1 ? "<th scope=\"col\" class=\"name l\"" : "<th scope=\"col\"");
        if (c->number)
            qdbg__text_addf(t, " data-number=\"%s\"", c->number);
        else if (i != 1)
            qdbg__text_add(t, " class=\"l\"");
        qdbg__text_add(t, " title=\"");
        qdbg__html_text(t, c->explanation);
        qdbg__text_addf(t, "\">%s</th>", c->title);
    }
    qdbg__text_add(t, "</tr></thead>\n");
}

/* A cell that sorts by `v`; what it shows comes next. */
static void begin_number(qdbg__text *t, double v)
{
    qdbg__text_add(t, "<td data-v=\"");
    if (isinf(v))
        qdbg__text_add(t, v > 0 ? "Infinity" : "-Infinity");
    else if (!isnan(v))
        qdbg__text_double(t, v);
    qdbg__text_add(t, "\">");
}

static void put_integer(qdbg__text *t, int64_t v)
{
    qdbg__text_addf(t, "<td data-v=\"%lld\">", (long long)v);
    qdbg__html_fixed(t, (double)v, 0);
    qdbg__text_add(t, "</td>");
}

static void put_score(qdbg__text *t, double v)
{
    begin_number(t, v);
    qdbg__html_score(t, v);
    qdbg__text_add(t, "</td>");
}

static void put_decibel(qdbg__text *t, double v)
{
    begin_number(t, v);
    qdbg__html_fixed(t, v, 1);
    qdbg__text_add(t, "</td>");
}

static void put_percent(qdbg__text *t, double v)
{
    begin_number(t, v);
    qdbg__html_percent(t, v);
    qdbg__text_add(t, "</td>");
}

static void put_digits(qdbg__text *t, double v)
{
    begin_number(t, v);
    qdbg__html_digits(t, v, 4);
    qdbg__text_add(t, "</td>");
}

static void put_name(qdbg__text *t, const qdbg_finding *f)
{
    qdbg__text_add(t, "<th scope=\"row\"><code>");
    qdbg__html_name(t, f->name);
    qdbg__text_add(t, "</code>");
    if (f->culprit)
        qdbg__text_add(t, "<span class=\"flag\">culprit</span>");
    if (f->node[0]) {
        qdbg__text_add(t, "<small>");
        qdbg__html_name(t, f->node);
        qdbg__text_add(t, "</small>");
    }
    qdbg__text_add(t, "</th>");
}

static void put_row(qdbg__text *t, const qdbg_finding *f, uint32_t rank)
{
    const char *kind = qdbg__report_kind(f);
    qdbg__text_addf(t, "<tr id=\"q%u\" class=\"%s%s\">", rank + 1, kind,
                    f->culprit ? " culprit" : "");
    put_integer(t, (int64_t)rank + 1);
    put_name(t, f);
    qdbg__text_addf(t, "<td class=\"l\">%s</td><td class=\"l\">", kind);
    qdbg__html_text(t, f->op_type);
    qdbg__text_add(t, "</td>");
    put_score(t, f->drop_alone);
    put_score(t, f->score_alone);
    put_decibel(t, f->output_sqnr_db);
    put_percent(t, f->noise_share);
    put_integer(t, f->bits);
    put_digits(t, (double)f->scale);
    put_integer(t, f->zero_point);
    put_digits(t, (double)f->min);
    put_digits(t, (double)f->max);
    put_integer(t, f->n_channels);
    put_decibel(t, f->local_sqnr_db);
    put_digits(t, f->channel_spread);
    put_integer(t, f->order);
    qdbg__text_add(t, "</tr>\n");
}

static void put_tools(qdbg__text *t)
{
    qdbg__text_add(t, "<div class=\"tools\" id=\"tools\" hidden>\n"
                      "<label>Find a name, node or operator"
                      "<input id=\"search\" type=\"search\" autocomplete=\"off\"></label>\n"
                      "<label>Show<select id=\"which\"><option value=\"\">all quantizers</option>"
                      "<option value=\"weight\">weights</option>"
                      "<option value=\"activation\">activations</option>"
                      "<option value=\"culprit\">culprits</option></select></label>\n"
                      "<output id=\"shown\" aria-live=\"polite\"></output>\n</div>\n");
}

void qdbg__html_table(qdbg__report *r)
{
    qdbg__text *t = &r->text;
    qdbg_finding f;
    qdbg__text_add(t, "<section class=\"wide\" aria-labelledby=\"h-table\">\n"
                      "<h2 id=\"h-table\">All quantizers</h2>\n");
    if (r->summary.n_findings == 0) {
        qdbg__text_add(t, "<p class=\"lead\">The model has no quantizers to look at.</p>\n"
                          "</section>\n");
        return;
    }
    put_tools(t);
    qdbg__text_add(t, "<div class=\"scroll\" role=\"region\" aria-labelledby=\"h-table\" "
                      "tabindex=\"0\">\n<table id=\"quantizers\">\n<caption><span>");
    qdbg__html_count(t, r->summary.n_findings, "quantizer");
    qdbg__text_add(t, qdbg__html_were_run(r) ? ", the most harmful first." : "");
    qdbg__text_add(t, " A dash: not measured.</span></caption>\n");
    put_columns(t);
    qdbg__text_add(t, "<tbody>\n");
    for (uint32_t i = 0; qdbg__report_finding(r, i, &f); i++)
        put_row(t, &f, i);
    qdbg__text_add(t, "</tbody>\n</table>\n</div>\n</section>\n");
}
