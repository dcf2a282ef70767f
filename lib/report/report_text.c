/* The report as a terminal shows it: ASCII but for what names contain, 80 columns. A column is
 * counted for every code point, which is right for all but wide and combining characters. */
#include <math.h>
#include <string.h>

#include "../base/sort.h"
#include "report.h"

#define COLUMNS 80
#define NAME_MIN 9
#define NAME_MAX 27
#define INDENT 10 /* of what is said about a step */

/* ---- words ---- */

/* The next character of a line: a name's newlines and tabs count as spaces. */
static uint32_t next_char(const char **p)
{
    uint32_t c = qdbg__report_visible(p);
    return c == '\n' || c == '\t' ? ' ' : c;
}

static size_t width_of(const char *s)
{
    size_t n = 0;
    while (next_char(&s) != 0)
        n++;
    return n;
}

static void add_line(qdbg__text *t, const char *s)
{
    uint32_t c;
    while ((c = next_char(&s)) != 0)
        qdbg__text_code_point(t, c);
}

/* Move over a word: `*p` ends behind it, and its columns are returned. */
static size_t skip_word(const char **p)
{
    size_t n = 0;
    for (const char *q = *p; next_char(&q) > ' '; *p = q)
        n++;
    return n;
}

static void add_word(qdbg__text *t, const char *from, const char *to)
{
    while (from < to)
        qdbg__text_code_point(t, next_char(&from));
}

/* Fill lines from column `*at` on; new ones begin at `indent`, and a newline in the text begins
 * one. Ends without a newline. */
static void wrap(qdbg__text *t, const char *s, size_t at, size_t indent)
{
    bool first = true;
    while (*s) {
        const char *word = s;
        size_t n = skip_word(&s);
        if (n > 0) {
            if (!first && at + 1 + n > COLUMNS) {
                qdbg__text_add(t, "\n");
                qdbg__text_repeat(t, ' ', indent);
                at = indent;
            } else if (!first) {
                qdbg__text_add(t, " ");
                at++;
            }
            add_word(t, word, s);
            at += n;
            first = false;
        }
        if (*s)
            qdbg__utf8_next(&s);
    }
}

/* ---- numbers ---- */

static void add_score(qdbg__text *t, double v)
{
    char number[QDBG__NUMBER_SIZE];
    qdbg__report_format_score(number, v);
    qdbg__text_add(t, isnan(v) ? "-" : number);
}

static void add_digits(qdbg__text *t, double v)
{
    char number[QDBG__NUMBER_SIZE];
    qdbg__format_digits(number, v, 4);
    qdbg__text_add(t, isnan(v) ? "-" : number);
}

static void pad(qdbg__text *t, const char *number, int width)
{
    qdbg__text_addf(t, " %*s", width, number);
}

static void pad_score(qdbg__text *t, double v, int width)
{
    char number[QDBG__NUMBER_SIZE];
    qdbg__report_format_score(number, v);
    pad(t, isnan(v) ? "-" : number, width);
}

static void pad_fixed(qdbg__text *t, double v, int width)
{
    char number[QDBG__NUMBER_SIZE];
    qdbg__format_fixed(number, v, 1);
    pad(t, isnan(v) ? "-" : number, width);
}

/* ---- head ---- */

static void put_bits(qdbg__text *t, uint32_t bits, const char *what)
{
    if (bits == QDBG_BITS_BYPASS)
        qdbg__text_addf(t, "float %s", what);
    else
        qdbg__text_addf(t, "%u-bit %s", bits, what);
}

static void put_head(qdbg__report *r)
{
    const qdbg_summary *s = &r->summary;
    qdbg__text *t = &r->text;
    qdbg__text_add(t, "Quantization diagnosis");
    if (r->model) {
        qdbg__text_add(t, " of ");
        add_line(t, r->model);
    }
    qdbg__text_add(t, "\n");
    put_bits(t, s->weight_bits, "weights");
    qdbg__text_add(t,
                   s->weight_granularity == QDBG_PER_CHANNEL ? " per channel, " : " per tensor, ");
    put_bits(t, s->activation_bits, "activations");
    qdbg__text_addf(t, ", rounding %s\n", qdbg__report_rounding(s->rounding));
    qdbg__text_addf(t, "ranges: weights %s, activations %s\n",
                    qdbg_range_method_name(s->weight_range),
                    qdbg_range_method_name(s->activation_range));
    qdbg__text_add(t, "rules: ");
    add_line(t, s->rules ? s->rules : "default");
    qdbg__text_addf(t, ", biases %s\n", s->n_biases ? "int32" : "float32");
    add_line(t, s->metric);
    qdbg__text_addf(t, " on %llu samples, calibrated on %llu", (unsigned long long)s->samples,
                    (unsigned long long)s->calibration_samples);
    if (s->n_folded)
        qdbg__text_addf(t, ", %u batch-norms folded", s->n_folded);
    qdbg__text_add(t, "\n\nfloat ");
    add_score(t, s->float_score);
    qdbg__text_add(t, " -> quantized ");
    add_score(t, s->quantized_score);
    qdbg__text_add(t, ", drop ");
    add_score(t, qdbg__report_drop(r));
    qdbg__text_add(t, ", allowed ");
    add_digits(t, s->max_drop);
    qdbg__text_add(t, "\n");
}

/* ---- steps ---- */

static void put_measures(qdbg__text *t, const qdbg_step *s, double seconds)
{
    const char *comma = "";
    if (!isnan(s->score)) {
        qdbg__text_add(t, "score ");
        add_score(t, s->score);
        if (isfinite(s->half_width)) {
            qdbg__text_add(t, " +-");
            add_score(t, s->half_width);
        }
        comma = ", ";
    }
    if (!isnan(s->drop)) {
        qdbg__text_addf(t, "%sdrop ", comma);
        add_score(t, s->drop);
        comma = ", ";
    }
    if (!isnan(s->sqnr_db)) {
        qdbg__text_addf(t, "%soutput SQNR ", comma);
        qdbg__text_fixed(t, s->sqnr_db, 1);
        qdbg__text_add(t, " dB");
        comma = ", ";
    }
    if (isfinite(seconds)) {
        qdbg__text_add(t, comma);
        qdbg__text_fixed(t, seconds, 1);
        qdbg__text_add(t, " s");
    }
}

static const char *mark(int32_t outcome)
{
    switch (outcome) {
    case QDBG_OUTCOME_PASSED:
        return "[ok]  ";
    case QDBG_OUTCOME_FAILED:
        return "[FAIL]";
    default:
        return "[--]  ";
    }
}

static bool measured(const qdbg_step *s, double seconds)
{
    return !isnan(s->score) || !isnan(s->drop) || !isnan(s->sqnr_db) || isfinite(seconds);
}

static void put_step(qdbg__text *t, const qdbg_step *s, uint32_t number, double seconds)
{
    qdbg__text_addf(t, "\n%s %u. ", mark(s->outcome), number);
    wrap(t, s->title, INDENT, INDENT);
    if (measured(s, seconds)) {
        qdbg__text_addf(t, "\n%*s", INDENT, "");
        put_measures(t, s, seconds);
    }
    if (s->verdict[0]) {
        qdbg__text_addf(t, "\n%*s", INDENT, "");
        wrap(t, s->verdict, INDENT, INDENT);
    }
    if (s->recommendation[0]) {
        qdbg__text_addf(t, "\n%*s-> ", INDENT, "");
        wrap(t, s->recommendation, INDENT + 3, INDENT + 3);
    }
    qdbg__text_add(t, "\n");
}

/* ---- quantizers ---- */

/* The columns of names: a longer one loses its middle, but for `head` characters and its end. */
typedef struct columns {
    size_t width, head;
} columns;

/* Which characters of a name of `n` are shown: those before *head and from *tail on. */
static void cut(const columns *c, size_t n, size_t *head, size_t *tail)
{
    *head = n > c->width ? c->head : n;
    *tail = n > c->width ? n - (c->width - 3 - c->head) : n;
}

static void put_name(qdbg__text *t, const char *name, const columns *c)
{
    size_t n = width_of(name), head, tail;
    cut(c, n, &head, &tail);
    for (size_t i = 0; i < n; i++) {
        uint32_t point = next_char(&name);
        if (i == head)
            qdbg__text_add(t, "...");
        if (i < head || i >= tail)
            qdbg__text_code_point(t, point);
    }
    if (n < c->width)
        qdbg__text_repeat(t, ' ', c->width - n);
}

/* FNV-1a of what is shown of a name. */
static uint64_t hash_shown(const char *name, const columns *c)
{
    size_t n = width_of(name), head, tail;
    uint64_t hash = 14695981039346656037u;
    cut(c, n, &head, &tail);
    for (size_t i = 0; i < n; i++) {
        uint32_t point = next_char(&name);
        if (i < head || i >= tail)
            hash = (hash ^ point) * 1099511628211u;
    }
    return hash;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Do the first `rows` names look different from one another? */
static bool tells_apart(qdbg__report *r, uint32_t rows, const columns *c, uint64_t *hashes)
{
    qdbg_finding f;
    for (uint32_t i = 0; i < rows && qdbg__report_finding(r, i, &f); i++)
        hashes[i] = hash_shown(f.name, c);
    qdbg__sort(hashes, rows, sizeof *hashes, ascending);
    for (uint32_t i = 1; i < rows; i++)
        if (hashes[i] == hashes[i - 1])
            return false;
    return true;
}

/* A third of what is shown is the name's beginning, the rest its end, where names differ; where two
 * look the same so, some other share. */
static bool choose_head(qdbg__report *r, uint32_t rows, columns *c, uint64_t *hashes)
{
    size_t heads = c->width - 3, step = 1 + heads / 32;
    for (size_t i = 0; i < heads; i += step) {
        c->head = (heads / 3 + i) % heads;
        if (tells_apart(r, rows, c, hashes))
            return true;
    }
    return false;
}

/* As few columns as tell the names apart, NAME_MAX if they may have so many. */
static columns choose_columns(qdbg__report *r, uint32_t rows)
{
    qdbg_finding f;
    qdbg_ctx *ctx = r->text.ctx;
    size_t longest = NAME_MIN;
    for (uint32_t i = 0; i < rows && qdbg__report_finding(r, i, &f); i++) {
        size_t n = width_of(f.name);
        longest = n > longest ? n : longest;
    }
    columns c = {longest < NAME_MAX ? longest : NAME_MAX, 0};
    uint64_t *hashes = longest > NAME_MAX ? qdbg__alloc(ctx, rows, sizeof *hashes) : NULL;
    if (longest > NAME_MAX && !hashes)
        r->text.status = ctx->error_status;
    while (hashes && c.width < longest && !choose_head(r, rows, &c, hashes))
        c.width += 1 + c.width / 8;
    if (c.width > longest)
        c.width = longest;
    if (hashes)
        qdbg__free(ctx, hashes, rows, sizeof *hashes);
    return c;
}

static void put_row(qdbg__text *t, const qdbg_finding *f, uint32_t rank, const columns *c)
{
    qdbg__text_addf(t, "%c%3u ", f->culprit ? '*' : ' ', rank);
    put_name(t, f->name, c);
    qdbg__text_addf(t, " %-10s %4u", qdbg__report_kind(f), f->bits);
    pad_score(t, f->score_alone, 7);
    pad_score(t, f->drop_alone, 7);
    pad_fixed(t, f->output_sqnr_db, 7);
    pad_fixed(t, f->noise_share * 100, 6);
    qdbg__text_add(t, "\n");
}

/* Why the quantizers in the table do harm, and what to do. */
static void put_reasons(qdbg__report *r)
{
    qdbg_finding f;
    for (uint32_t i = 0; i < r->text_rows && qdbg__report_finding(r, i, &f); i++) {
        if (!f.reason[0])
            continue;
        qdbg__text_addf(&r->text, "\n%4u ", i + 1);
        add_line(&r->text, f.name);
        qdbg__text_add(&r->text, "\n     ");
        wrap(&r->text, f.reason, 5, 5);
        qdbg__text_add(&r->text, "\n");
    }
}

static void put_quantizers(qdbg__report *r)
{
    qdbg_finding f;
    qdbg__text *t = &r->text;
    uint32_t total = r->summary.n_findings;
    uint32_t rows = total < r->text_rows ? total : r->text_rows;
    if (rows == 0)
        return;
    columns names = choose_columns(r, rows);

    qdbg__text_addf(t, "\nThe %u most harmful of %u quantizers, each at work alone", rows, total);
    qdbg__text_add(t, "\n(* loses more than is allowed)\n\n  # ");
    qdbg__text_addf(t, " %-*s %-10s %4s %7s %7s %7s %6s\n", (int)names.width, "quantizer", "kind",
                    "bits", "alone", "drop", "SQNR dB", "noise%");
    for (uint32_t i = 0; i < rows && qdbg__report_finding(r, i, &f); i++)
        put_row(t, &f, i + 1, &names);
    put_reasons(r);
}

void qdbg__report_text(qdbg__report *r)
{
    qdbg_step step;
    put_head(r);
    for (uint32_t i = 0; qdbg__report_step(r, i, &step); i++)
        put_step(&r->text, &step, i + 1, qdbg__report_time_shown(r, i, &step));
    put_quantizers(r);
}
