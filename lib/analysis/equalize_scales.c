/* Factors from ranges, and what they make of the parameters. */
#include <math.h>

#include "equalize.h"

/* ---- ranges of layers, of which factors already worked out are part ---- */

/* |W|, the largest over the taps of each pair of channels, as the model has it. */
typedef struct table {
    float *of; /* [n_weights / taps] in the weight's order */
    size_t n;
} table;

typedef struct work {
    qdbg__joints *j;
    table *tables;                        /* [n_layers] */
    double *r1, *r2;                      /* [most] channels of a joint */
    double *gain_in, *gain_out, *most_of; /* [widest] channels of a layer */
    size_t most, widest;
    double balance;
    double moved; /* largest change of a factor's logarithm in this sweep */
} work;

static qdbg_status read_table(work *w, size_t i)
{
    const qdbg__layer *l = &w->j->layers[i];
    qdbg_ctx *ctx = w->j->model->ctx;
    float *weight;
    size_t n;
    table *t = &w->tables[i];
    qdbg_status status = qdbg__model_fetch(w->j->model, l->weight, &weight, &n);
    if (status != QDBG_OK)
        return status;
    t->of = qdbg__alloc(ctx, n / l->taps, sizeof *t->of);
    t->n = t->of ? n / l->taps : 0;
    for (size_t k = 0; k < t->n * l->taps; k++)
        t->of[k / l->taps] = fmaxf(t->of[k / l->taps], fabsf(weight[k]));
    qdbg__free(ctx, weight, n, sizeof *weight);
    return t->of ? QDBG_OK : ctx->error_status;
}

/* Factor of channel `i` of the value that the port is of. */
static double factor_of(const qdbg__port *p, size_t i)
{
    if (!p->joint || p->joint->outcome != QDBG_EQUALIZE_DONE)
        return 1;
    return p->joint->factor[qdbg__port_channel(p, i)];
}

/* What the factors multiply the weights of each channel by. */
static void read_gains(work *w, const qdbg__layer *l, const qdbg__port *in, const qdbg__port *out)
{
    for (size_t c = 0; c < l->ins; c++)
        w->gain_in[c] = factor_of(in, c);
    for (size_t c = 0; c < l->outs; c++)
        w->gain_out[c] = 1 / factor_of(out, c);
}

/* The largest product along rows and columns of the table; `of_rows` [rows] or `of_columns`. */
static void largest_products(const qdbg__layer *l, const float *cells, const double *rows,
                             const double *columns, double *of_rows, double *of_columns)
{
    size_t n = l->out_first ? l->outs : l->ins, per_group = n / l->groups;
    for (size_t i = 0; i < n; i++, cells += l->second) {
        size_t first = i / per_group * l->second; /* groups have columns of their own */
        double most = 0;
        for (size_t k = 0; k < l->second && of_rows; k++) {
            double x = (double)cells[k] * columns[first + k];
            most = x > most ? x : most;
        }
        if (of_rows)
            of_rows[i] = most * rows[i];
        for (size_t k = 0; k < l->second && of_columns; k++) {
            double x = (double)cells[k] * rows[i], *r = &of_columns[first + k];
            *r = x > *r ? x : *r;
        }
    }
}

/* Largest weight of each channel of the joint behind (or before) the layer with the present
 * factors, 0 for channels that the layer does not have; returns the largest of all. */
static double layer_ranges(work *w, size_t i, bool outputs, double *r)
{
    const qdbg__layer *l = &w->j->layers[i];
    qdbg__port in = qdbg__joints_port(w->j, l->input), out = qdbg__joints_port(w->j, l->output);
    const qdbg__port *port = outputs ? &out : &in;
    const double *gain = outputs ? w->gain_out : w->gain_in;
    bool by_rows = outputs == l->out_first;
    size_t n = outputs ? l->outs : l->ins;
    double largest = 0;
    read_gains(w, l, &in, &out);
    for (size_t c = 0; c < n; c++)
        w->most_of[c] = 0;
    largest_products(l, w->tables[i].of, l->out_first ? w->gain_out : w->gain_in,
                     l->out_first ? w->gain_in : w->gain_out, by_rows ? w->most_of : NULL,
                     by_rows ? NULL : w->most_of);
    for (size_t c = 0; c < port->joint->channels; c++)
        r[c] = 0;
    for (size_t c = 0; c < n; c++) {
        double x = by_rows ? w->most_of[c] : w->most_of[c] * gain[c];
        double *at = &r[qdbg__port_channel(port, c)];
        *at = fmax(*at, x);
        largest = fmax(largest, x);
    }
    return largest;
}

/* Ranges of all producers (consumers) of a joint; several are put on one scale first. */
static qdbg_status joint_ranges(work *w, uint32_t index, bool producers, double *r)
{
    const qdbg__joints *j = w->j;
    const qdbg__joint *x = &j->at[index];
    uint32_t n = producers ? x->n_producers : x->n_consumers;
    if (n == 1) {
        layer_ranges(w, producers ? x->first_producer : x->first_consumer, producers, r);
        return QDBG_OK;
    }
    double *one = qdbg__alloc(j->model->ctx, x->channels, sizeof *one);
    if (!one)
        return j->model->ctx->error_status;
    for (size_t c = 0; c < x->channels; c++)
        r[c] = 0;
    for (size_t i = 0; i < j->n_layers; i++) {
        const qdbg__layer *l = &j->layers[i];
        if (qdbg__joints_of(j, producers ? l->output : l->input) != x)
            continue;
        double largest = layer_ranges(w, i, producers, one);
        for (size_t c = 0; c < x->channels && largest > 0; c++)
            r[c] = fmax(r[c], one[c] / largest);
    }
    qdbg__free(j->model->ctx, one, x->channels, sizeof *one);
    return QDBG_OK;
}

/* ---- one joint ---- */

#define LARGEST_FACTOR 1e6

static void multiply_factor(work *w, qdbg__joint *x, size_t c, double s)
{
    double next = x->factor[c] * s;
    if (!qdbg__joint_is_free(x, c) || !(s > 0) || !isfinite(s) || next > LARGEST_FACTOR ||
        next < 1 / LARGEST_FACTOR)
        return;
    w->moved = fmax(w->moved, fabs(log(s)));
    x->factor[c] = next;
}

static qdbg_status scale_pair(work *w, uint32_t index)
{
    qdbg__joint *x = &w->j->at[index];
    qdbg_status status = joint_ranges(w, index, true, w->r1);
    if (status == QDBG_OK)
        status = joint_ranges(w, index, false, w->r2);
    for (size_t c = 0; c < x->channels && status == QDBG_OK; c++) {
        double r1 = w->r1[c], a = x->peak ? x->peak[c] / x->factor[c] : 0;
        if (w->balance > 0 && a > 0)
            r1 = pow(r1, 1 - w->balance) * pow(a, w->balance);
        if (r1 > 0 && w->r2[c] > 0)
            multiply_factor(w, x, c, sqrt(r1 / w->r2[c]));
    }
    return status;
}

/* ---- chains through depthwise layers ---- */

static bool is_single(const qdbg__joint *x)
{
    return x && x->outcome == QDBG_EQUALIZE_DONE && x->n_producers == 1 && x->n_consumers == 1;
}

/* Are the value's `n` channels those of the joint? */
static bool has_all(const qdbg__port *p, size_t n)
{
    return p->repeat == 1 && p->n == n && p->joint->channels == n;
}

/* The joint behind `x` where a depthwise layer keeps its channels, or QDBG_NONE. */
static uint32_t next_in_chain(const work *w, const qdbg__joint *x)
{
    const qdbg__layer *l = &w->j->layers[x->first_consumer];
    qdbg__port in = qdbg__joints_port(w->j, l->input), out = qdbg__joints_port(w->j, l->output);
    const qdbg__joint *next = out.joint;
    if (!is_single(x) || !qdbg__layer_is_depthwise(l) || !is_single(next) || next == x ||
        !has_all(&in, l->ins) || !has_all(&out, l->outs))
        return QDBG_NONE;
    return (uint32_t)(next - w->j->at);
}

static bool begins_chain(const work *w, uint32_t index)
{
    const qdbg__joint *x = &w->j->at[index];
    const qdbg__layer *l = &w->j->layers[x->first_producer];
    const qdbg__joint *before = qdbg__joints_of(w->j, l->input);
    return !is_single(x) || !before || next_in_chain(w, before) != index;
}

/* All ranges along the chain become their geometric mean m: with r_0 .. r_n, joint k gets what is
 * r_0 ... r_k / m^(k + 1). The ranges of a channel at joint k are those of its producer. */
static qdbg_status scale_chain(work *w, uint32_t first, size_t length)
{
    qdbg_ctx *ctx = w->j->model->ctx;
    size_t channels = w->j->at[first].channels, n = (length + 1) * channels;
    double *r = qdbg__alloc(ctx, n, sizeof *r);
    qdbg_status status = r ? QDBG_OK : ctx->error_status;
    uint32_t at = first;
    for (size_t k = 0; k <= length && status == QDBG_OK; k++) {
        status = joint_ranges(w, at, k < length, r + k * channels);
        if (k + 1 < length)
            at = next_in_chain(w, &w->j->at[at]);
    }
    for (size_t c = 0; c < channels && status == QDBG_OK; c++) {
        double sum = 0, part = 0;
        for (size_t k = 0; k <= length; k++)
            sum += log(r[k * channels + c]);
        if (!isfinite(sum)) /* a range is zero */
            continue;
        at = first;
        for (size_t k = 0; k < length; k++) {
            part += log(r[k * channels + c]) - sum / (double)(length + 1);
            multiply_factor(w, &w->j->at[at], c, exp(part));
            if (k + 1 < length)
                at = next_in_chain(w, &w->j->at[at]);
        }
    }
    qdbg__free(ctx, r, n, sizeof *r);
    return status;
}

static qdbg_status sweep(work *w)
{
    qdbg_status status = QDBG_OK;
    w->moved = 0;
    for (uint32_t i = 0; i < w->j->n && status == QDBG_OK; i++) {
        size_t length = 1;
        if (w->j->at[i].outcome != QDBG_EQUALIZE_DONE)
            continue;
        if (w->balance > 0) {
            status = scale_pair(w, i);
            continue;
        }
        if (!begins_chain(w, i))
            continue;
        for (uint32_t k = i; (k = next_in_chain(w, &w->j->at[k])) != QDBG_NONE;)
            length++;
        status = length == 1 ? scale_pair(w, i) : scale_chain(w, i, length);
    }
    return status;
}

/* ---- rows ---- */

static qdbg_status precision(work *w, uint32_t index, double *out)
{
    const qdbg__joint *x = &w->j->at[index];
    qdbg_status status = joint_ranges(w, index, true, w->r1);
    if (status == QDBG_OK)
        status = joint_ranges(w, index, false, w->r2);
    double sum = 0, m1 = 0, m2 = 0;
    for (size_t c = 0; c < x->channels && status == QDBG_OK; c++) {
        sum += w->r1[c] * w->r2[c];
        m1 = fmax(m1, w->r1[c]);
        m2 = fmax(m2, w->r2[c]);
    }
    *out = m1 > 0 && m2 > 0 ? sum / (m1 * m2) / (double)x->channels : 0;
    return status;
}

static qdbg_status judge(work *w, bool after)
{
    qdbg_status status = QDBG_OK;
    for (uint32_t i = 0; i < w->j->n && status == QDBG_OK; i++) {
        qdbg__joint *x = &w->j->at[i];
        qdbg_equalize_row *row = &x->row;
        if (x->outcome != QDBG_EQUALIZE_DONE)
            continue;
        status = precision(w, i, after ? &row->after : &row->before);
        if (!after)
            continue;
        row->gain_db = row->before > 0 && row->after > 0 ? 10 * log10(row->after / row->before) : 0;
        row->smallest = row->largest = x->factor[0];
        row->n_scaled = 0;
        for (size_t c = 0; c < x->channels; c++) {
            row->n_scaled += x->factor[c] != 1;
            row->smallest = fmin(row->smallest, x->factor[c]);
            row->largest = fmax(row->largest, x->factor[c]);
        }
    }
    return status;
}

/* ---- all ---- */

static qdbg_status open_work(work *w)
{
    qdbg_ctx *ctx = w->j->model->ctx;
    w->most = 1;
    w->widest = 1;
    for (size_t i = 0; i < w->j->n_layers; i++) {
        const qdbg__layer *l = &w->j->layers[i];
        size_t wider = l->outs > l->ins ? l->outs : l->ins;
        w->widest = wider > w->widest ? wider : w->widest;
    }
    for (size_t i = 0; i < w->j->n; i++)
        w->most = w->j->at[i].channels > w->most ? w->j->at[i].channels : w->most;
    w->r1 = qdbg__alloc(ctx, w->most, sizeof *w->r1);
    w->r2 = w->r1 ? qdbg__alloc(ctx, w->most, sizeof *w->r2) : NULL;
    w->gain_in = w->r2 ? qdbg__alloc(ctx, w->widest, sizeof *w->gain_in) : NULL;
    w->gain_out = w->gain_in ? qdbg__alloc(ctx, w->widest, sizeof *w->gain_out) : NULL;
    w->most_of = w->gain_out ? qdbg__alloc(ctx, w->widest, sizeof *w->most_of) : NULL;
    w->tables = w->most_of ? qdbg__alloc(ctx, w->j->n_layers, sizeof *w->tables) : NULL;
    qdbg_status status = w->tables ? QDBG_OK : ctx->error_status;
    for (size_t i = 0; i < w->j->n_layers && status == QDBG_OK; i++)
        status = read_table(w, i);
    return status;
}

static void close_work(work *w)
{
    qdbg_ctx *ctx = w->j->model->ctx;
    for (size_t i = 0; w->tables && i < w->j->n_layers; i++)
        qdbg__free(ctx, w->tables[i].of, w->tables[i].n, sizeof(float));
    qdbg__free(ctx, w->tables, w->j->n_layers, sizeof *w->tables);
    qdbg__free(ctx, w->most_of, w->widest, sizeof *w->most_of);
    qdbg__free(ctx, w->gain_out, w->widest, sizeof *w->gain_out);
    qdbg__free(ctx, w->gain_in, w->widest, sizeof *w->gain_in);
    qdbg__free(ctx, w->r2, w->most, sizeof *w->r2);
    qdbg__free(ctx, w->r1, w->most, sizeof *w->r1);
}

#define CONVERGED 1e-4

qdbg_status qdbg__equalize_factors(qdbg__joints *j, double balance, uint32_t max_sweeps)
{
    work w = {.j = j, .balance = balance};
    for (size_t i = 0; i < j->n; i++)
        for (size_t c = 0; c < j->at[i].channels; c++)
            j->at[i].factor[c] = 1;
    qdbg_status status = open_work(&w);
    if (status == QDBG_OK)
        status = judge(&w, false);
    for (uint32_t k = 0; k < max_sweeps && status == QDBG_OK; k++) {
        status = sweep(&w);
        if (w.moved < CONVERGED)
            break;
    }
    if (status == QDBG_OK)
        status = judge(&w, true);
    close_work(&w);
    return status;
}

/* ---- parameters ---- */

static bool is_scaled(const qdbg__joint *x)
{
    return x && x->outcome == QDBG_EQUALIZE_DONE && x->row.n_scaled > 0;
}

static qdbg_status apply_weight(const qdbg__joints *j, const qdbg__layer *l, qdbg__journal *journal)
{
    qdbg_model *m = j->model;
    qdbg__port in = qdbg__joints_port(j, l->input), out = qdbg__joints_port(j, l->output);
    float *weight;
    size_t n;
    if (!is_scaled(in.joint) && !is_scaled(out.joint))
        return QDBG_OK;
    qdbg_status status = qdbg__model_fetch(m, l->weight, &weight, &n);
    if (status != QDBG_OK)
        return status;
    for (size_t i = 0; i < n; i++)
        weight[i] = (float)((double)weight[i] * factor_of(&in, qdbg__layer_in(l, i)) /
                            factor_of(&out, qdbg__layer_out(l, i)));
    status = qdbg__journal_set(m, journal, l->weight, weight);
    qdbg__free(m->ctx, weight, n, sizeof *weight);
    return status;
}

/* Numbers by channel of `value`. */
static qdbg_status divide(const qdbg__joints *j, uint32_t value, uint32_t param,
                          qdbg__journal *journal)
{
    qdbg_model *m = j->model;
    qdbg__port port = qdbg__joints_port(j, value);
    if (!is_scaled(port.joint))
        return QDBG_OK;
    size_t n = m->graph->values[param].bytes / sizeof(float);
    float *data = qdbg__alloc(m->ctx, n, sizeof *data);
    qdbg_status status = data ? m->backend->get(m, param, data, n) : m->ctx->error_status;
    for (size_t c = 0; c < n && status == QDBG_OK; c++)
        data[c] = (float)((double)data[c] / factor_of(&port, c));
    if (status == QDBG_OK)
        status = qdbg__journal_set(m, journal, param, data);
    qdbg__free(m->ctx, data, n, sizeof *data);
    return status;
}

qdbg_status qdbg__joints_apply(const qdbg__joints *j, qdbg__journal *journal)
{
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < j->n_layers && status == QDBG_OK; i++) {
        const qdbg__layer *l = &j->layers[i];
        status = apply_weight(j, l, journal);
        if (status == QDBG_OK && l->bias != QDBG_NONE)
            status = divide(j, l->output, l->bias, journal);
    }
    for (size_t i = 0; i < j->n_riders && status == QDBG_OK; i++)
        status = divide(j, j->riders[i].value, j->riders[i].param, journal);
    return status;
}
