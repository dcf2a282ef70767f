/* Einsum of one or two operands, as nested loops. */
#include <ctype.h>
#include <string.h>

#include "ops.h"
#include "walk.h"

#define MAX_LABELS 12
#define ELLIPSIS_LABEL 128 /* the first of those that stand for the dimensions of "..." */

/* The loops: first over the output's labels, then over those that are summed. */
typedef struct einsum_params {
    uint32_t n_labels, n_out, n_in;
    int64_t dims[MAX_LABELS];
    int64_t strides[2][MAX_LABELS];
} einsum_params;
_Static_assert(sizeof(einsum_params) <= QDBG__OP_PARAMS_SIZE, "params");

/* A term of the equation: one label for each dimension. */
typedef struct term {
    uint32_t n;
    unsigned char labels[QDBG_MAX_RANK];
} term;

/* ---- infer: the equation ---- */

static uint32_t count_letters(const char *s)
{
    uint32_t n = 0;
    for (; *s && *s != ',' && *s != '-'; s++)
        n += isalpha((unsigned char)*s) != 0;
    return n;
}

/* Read letters and one "..." of `dots` dimensions up to ',' or '-' or the end. The dimensions of
 * "..." are aligned at the last, as in broadcasting. */
static bool read_term(const char **text, uint32_t dots, term *t)
{
    const char *s = *text;
    bool seen = false;
    t->n = 0;
    for (; *s && *s != ',' && *s != '-'; s++) {
        if (*s == ' ')
            continue;
        if (strncmp(s, "...", 3) == 0 && !seen && t->n + dots <= QDBG_MAX_RANK) {
            for (uint32_t i = 0; i < dots; i++)
                t->labels[t->n++] = (unsigned char)(ELLIPSIS_LABEL + QDBG_MAX_RANK - dots + i);
            seen = true;
            s += 2;
        } else if (isalpha((unsigned char)*s) && t->n < QDBG_MAX_RANK) {
            t->labels[t->n++] = (unsigned char)*s;
        } else {
            return false;
        }
    }
    *text = s;
    return true;
}

static uint32_t count_label(const term *t, unsigned char label)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n; i++)
        n += t->labels[i] == label;
    return n;
}

/* Without "->" the output has the dimensions of "..." and then, sorted, the letters used once. */
static void implicit_output(const term *in, uint32_t n_in, uint32_t dots, term *out)
{
    out->n = 0;
    for (uint32_t i = 0; i < dots; i++)
        out->labels[out->n++] = (unsigned char)(ELLIPSIS_LABEL + QDBG_MAX_RANK - dots + i);
    for (int letter = 'A'; letter <= 'z' && out->n < QDBG_MAX_RANK; letter++) {
        uint32_t used = 0;
        for (uint32_t k = 0; k < n_in; k++)
            used += count_label(&in[k], (unsigned char)letter);
        if (used == 1)
            out->labels[out->n++] = (unsigned char)letter;
    }
}

static bool parse(const qdbg__infer *x, const char *text, term *in, term *out)
{
    uint32_t n_in = x->node->n_in, most_dots = 0;
    for (uint32_t k = 0; k < n_in; k++) {
        uint32_t letters = count_letters(text), rank = x->in[k]->rank;
        uint32_t dots = letters <= rank ? rank - letters : 0;
        if (!read_term(&text, dots, &in[k]) || in[k].n != rank)
            return false;
        most_dots = dots > most_dots ? dots : most_dots;
        if (k + 1 < n_in && *text++ != ',')
            return false;
    }
    if (!*text) {
        implicit_output(in, n_in, most_dots, out);
        return true;
    }
    if (strncmp(text, "->", 2) != 0)
        return false;
    text += 2;
    return read_term(&text, most_dots, out) && !*text;
}

/* ---- infer: the loops ---- */

static uint32_t find_label(const unsigned char *labels, uint32_t n, unsigned char label)
{
    uint32_t i = 0;
    while (i < n && labels[i] != label)
        i++;
    return i;
}

/* Add one operand's dimensions to the loops; repeated labels walk its diagonal. */
static qdbg_status add_operand(qdbg__infer *x, einsum_params *p, uint32_t k, const term *t,
                               unsigned char *labels)
{
    int64_t own[QDBG_MAX_RANK];
    qdbg__strides(x->in[k]->rank, x->in[k]->dims, own);
    for (uint32_t d = 0; d < t->n; d++) {
        uint32_t i = find_label(labels, p->n_labels, t->labels[d]);
        int64_t dim = x->in[k]->dims[d];
        if (i == p->n_labels) {
            if (i == MAX_LABELS)
                return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "more than %d labels", MAX_LABELS);
            labels[p->n_labels++] = t->labels[d];
            p->dims[i] = 1;
        }
        if (p->dims[i] == 1)
            p->dims[i] = dim;
        else if (dim != 1 && dim != p->dims[i])
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "a label stands for both %lld and %lld",
                                    (long long)p->dims[i], (long long)dim);
        p->strides[k][i] += dim == 1 ? 0 : own[d];
    }
    return QDBG_OK;
}

static qdbg_status infer_einsum(qdbg__infer *x)
{
    einsum_params *p = x->params;
    const char *equation = qdbg__attr_string(x->node, "equation", "");
    unsigned char labels[MAX_LABELS];
    term in[2], out;
    uint64_t count;
    p->n_in = x->node->n_in;
    for (uint32_t k = 0; k < p->n_in; k++) {
        if (!x->in[k])
            return qdbg__infer_fail(x, QDBG_E_INVALID, "operand %u is left out", k);
        int32_t dtype = x->in[k]->dtype;
        if ((dtype != QDBG_F32 && dtype != QDBG_F64) || dtype != x->in[0]->dtype)
            return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %s is not supported",
                                    qdbg_dtype_name(dtype));
    }
    if (!parse(x, equation, in, &out))
        return qdbg__infer_fail(x, QDBG_E_INVALID, "equation '%s' does not fit the operands",
                                equation);
    for (uint32_t i = 0; i < out.n; i++) {
        bool there = count_label(&in[0], out.labels[i]) > 0 ||
                     (p->n_in > 1 && count_label(&in[1], out.labels[i]) > 0);
        if (!there || count_label(&out, out.labels[i]) != 1)
            return qdbg__infer_fail(x, QDBG_E_INVALID, "equation '%s' has a bad output", equation);
        labels[i] = out.labels[i];
        p->dims[i] = 1;
    }
    p->n_labels = p->n_out = out.n;
    for (uint32_t k = 0; k < p->n_in; k++) {
        qdbg_status status = add_operand(x, p, k, &in[k], labels);
        if (status != QDBG_OK)
            return status;
    }
    if (!qdbg__shape_count(p->n_labels, p->dims, &count))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "the sum is too large");
    qdbg__infer_out(x, 0, x->in[0]->dtype, p->n_out, p->dims);
    return QDBG_OK;
}

/* ---- run ---- */

/* Step through labels from..to-1; false after the last. */
static bool step(const einsum_params *p, uint32_t from, uint32_t to, int64_t *index, int64_t *at)
{
    for (uint32_t d = to; d-- > from;) {
        at[0] += p->strides[0][d];
        at[1] += p->strides[1][d];
        if (++index[d] < p->dims[d])
            return true;
        index[d] = 0;
        at[0] -= p->strides[0][d] * p->dims[d];
        at[1] -= p->strides[1][d] * p->dims[d];
    }
    return false;
}

/* One output element: sum of the products over the labels that it lacks. `index` is zero for those,
 * before and after. */
#define SUM_PRODUCTS(name, type)                                                             \
    static double name(const einsum_params *p, const type *a, const type *b, int64_t *index) \
    {                                                                                        \
        const bool summed = p->n_labels > p->n_out;                                          \
        const uint32_t last = summed ? p->n_labels - 1 : 0;                                  \
        const int64_t n = summed ? p->dims[last] : 1;                                        \
        const int64_t sa = summed ? p->strides[0][last] : 0;                                 \
        const int64_t sb = summed ? p->strides[1][last] : 0;                                 \
        int64_t at[2] = {0, 0};                                                              \
        double sum = 0.0;                                                                    \
        do {                                                                                 \
            const type *pa = a + at[0], *pb = b ? b + at[1] : NULL;                          \
            for (int64_t i = 0; i < n; i++)                                                  \
                sum += pb ? (double)pa[i * sa] * (double)pb[i * sb] : (double)pa[i * sa];    \
        } while (summed && step(p, p->n_out, last, index, at));                              \
        return sum;                                                                          \
    }

SUM_PRODUCTS(sum_f32, float)
SUM_PRODUCTS(sum_f64, double)

static qdbg_status run_einsum(const qdbg__run *r)
{
    const einsum_params *p = r->params;
    const qdbg_view *out = r->out[0];
    const char *a = r->in[0]->data, *b = p->n_in > 1 ? r->in[1]->data : NULL;
    int64_t index[MAX_LABELS] = {0}, at[2] = {0, 0};
    int64_t size = (int64_t)qdbg_dtype_size(out->dtype), count = (int64_t)qdbg_view_count(out);
    uint64_t terms;
    if (!qdbg__shape_count(p->n_labels, p->dims, &terms) || terms == 0) {
        qdbg__fill((size_t)size, out->data, NULL, count);
        return QDBG_OK;
    }
    for (int64_t i = 0; i < count; i++) {
        const void *pa = a + at[0] * size, *pb = b ? b + at[1] * size : NULL;
        if (out->dtype == QDBG_F32)
            ((float *)out->data)[i] = (float)sum_f32(p, pa, pb, index);
        else
            ((double *)out->data)[i] = sum_f64(p, pa, pb, index);
        step(p, 0, p->n_out, index, at);
    }
    return QDBG_OK;
}

static const qdbg__op table[] = {{"Einsum", 1, 2, 1, 0, infer_einsum, run_einsum}};

const qdbg__op_table qdbg__ops_einsum = {table, sizeof table / sizeof *table};
