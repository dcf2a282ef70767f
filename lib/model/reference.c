#include "reference.h"

#include <string.h>

#include "score.h"

/* ---- what tells samples apart ---- */

static uint64_t mix(uint64_t sum, uint64_t word)
{
    sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return sum ^ sum >> 32;
}

static uint64_t sum_of_run(const qdbg_model *m, const qdbg_view *inputs, uint64_t run)
{
    uint64_t sum = 0, word;
    for (size_t i = 0; i < m->graph->n_inputs; i++) {
        const qdbg_view *one = &m->run_inputs[i];
        size_t bytes = qdbg_view_count(one) * qdbg_dtype_size(one->dtype), at = 0;
        const char *data = inputs[i].data;
        if (one->rank > 0) /* all runs share a scalar */
            data += run * bytes;
        for (; at + sizeof word <= bytes; at += sizeof word) {
            memcpy(&word, data + at, sizeof word);
            sum = mix(sum, word);
        }
        word = 0;
        if (at < bytes)
            memcpy(&word, data + at, bytes - at);
        sum = mix(sum, word);
    }
    return sum;
}

/* ---- keeping ---- */

static void drop(qdbg_reference *r, qdbg__kept *k)
{
    qdbg__free(r->ctx, k->data, k->size, 1);
    qdbg__free(r->ctx, k->sums, k->n_runs, sizeof *k->sums);
    qdbg__free(r->ctx, k->shapes, r->n_outputs, sizeof *k->shapes);
}

qdbg_status qdbg__reference_keep(qdbg_reference *r, const qdbg_model *m, const qdbg__stretch *s,
                                 const qdbg_view *outputs)
{
    qdbg_status status = qdbg__reserve(r->ctx, &r->kept, &r->capacity, r->n + 1, sizeof *r->kept);
    if (status != QDBG_OK)
        return status;
    qdbg__kept k = {
        .first_sample = s->first_sample, .n_samples = s->n_samples, .n_runs = s->n_runs};
    for (uint32_t o = 0; o < r->n_outputs; o++)
        k.size += qdbg__model_output_bytes(m, o) * s->n_runs;
    k.shapes = qdbg__alloc(r->ctx, r->n_outputs, sizeof *k.shapes);
    k.sums = k.shapes ? qdbg__alloc(r->ctx, s->n_runs, sizeof *k.sums) : NULL;
    k.data = k.sums ? qdbg__alloc(r->ctx, k.size, 1) : NULL;
    if (!k.data) {
        drop(r, &k);
        return r->ctx->error_status;
    }
    memcpy(k.shapes, m->run_outputs, r->n_outputs * sizeof *k.shapes);
    for (uint64_t i = 0; i < s->n_runs; i++)
        k.sums[i] = sum_of_run(m, s->inputs, i);
    char *next = k.data;
    for (uint32_t o = 0; o < r->n_outputs; o++) {
        size_t bytes = qdbg__model_output_bytes(m, o) * s->n_runs;
        if (bytes > 0)
            memcpy(next, outputs[o].data, bytes);
        next += bytes;
    }
    r->kept[r->n++] = k;
    r->n_samples = s->first_sample + s->n_samples;
    return QDBG_OK;
}

/* ---- fetching ---- */

qdbg_status qdbg__reference_check(qdbg_model *m, const qdbg_reference *r)
{
    if (!r || r->graph == m->graph)
        return QDBG_OK;
    return qdbg__fail(m->ctx, QDBG_E_INVALID,
                      "the metric's reference was made with a model of another graph");
}

/* The stretch that holds a sample; NULL: none does. */
static const qdbg__kept *find(const qdbg_reference *r, uint64_t sample)
{
    size_t low = 0, high = r->n;
    if (sample >= r->n_samples)
        return NULL;
    while (low + 1 < high) {
        size_t middle = low + (high - low) / 2;
        if (r->kept[middle].first_sample <= sample)
            low = middle;
        else
            high = middle;
    }
    return &r->kept[low];
}

static qdbg_status check_shapes(const qdbg_reference *r, const qdbg_model *m, const qdbg__kept *k,
                                uint64_t sample)
{
    char have[128], want[128];
    for (size_t o = 0; o < r->n_outputs; o++) {
        const qdbg_view *a = &k->shapes[o], *b = &m->run_outputs[o];
        const char *name = m->graph->values[m->graph->outputs[o]].name;
        if (a->dtype == b->dtype && qdbg__shape_equal(a->rank, a->dims, b->rank, b->dims))
            continue;
        return qdbg__fail_at(r->ctx, QDBG_E_SHAPE, NULL, name,
                             "sample %llu: output '%s' is %s, but the metric's reference has %s",
                             (unsigned long long)sample, name,
                             qdbg__shape_text(b->rank, b->dims, want, sizeof want),
                             qdbg__shape_text(a->rank, a->dims, have, sizeof have));
    }
    return QDBG_OK;
}

/* Are runs `run` .. run + n - 1 of the stretch those that were kept as number `at` and on? */
static qdbg_status check_samples(const qdbg_reference *r, const qdbg_model *m, const qdbg__kept *k,
                                 const qdbg__stretch *s, uint64_t at, uint64_t run, uint64_t n)
{
    uint64_t per_run = s->n_samples / s->n_runs;
    qdbg_status status = check_shapes(r, m, k, s->first_sample + run * per_run);
    if (status != QDBG_OK)
        return status;
    for (uint64_t i = 0; i < n; i++)
        if (sum_of_run(m, s->inputs, run + i) != k->sums[at + i])
            return qdbg__fail(r->ctx, QDBG_E_INVALID,
                              "sample %llu is not the one that the metric's reference was made "
                              "with: make one with the same dataset",
                              (unsigned long long)(s->first_sample + (run + i) * per_run));
    return QDBG_OK;
}

static void copy(const qdbg_model *m, const qdbg__kept *k, const qdbg_view *outputs, uint64_t at,
                 uint64_t run, uint64_t n)
{
    const char *from = k->data;
    for (uint32_t o = 0; o < m->graph->n_outputs; o++) {
        size_t bytes = qdbg__model_output_bytes(m, o);
        if (bytes > 0)
            memcpy((char *)outputs[o].data + run * bytes, from + at * bytes, n * bytes);
        from += k->n_runs * bytes;
    }
}

qdbg_status qdbg__reference_fetch(const qdbg_reference *r, const qdbg_model *m,
                                  const qdbg__stretch *s, const qdbg_view *outputs)
{
    uint64_t per_run = s->n_samples / s->n_runs;
    for (uint64_t run = 0; run < s->n_runs;) {
        uint64_t sample = s->first_sample + run * per_run;
        const qdbg__kept *k = find(r, sample);
        if (!k)
            return qdbg__fail(r->ctx, QDBG_E_INVALID,
                              "the metric's reference holds %llu samples, the dataset more",
                              (unsigned long long)r->n_samples);
        uint64_t at = (sample - k->first_sample) / per_run, left = s->n_runs - run;
        if (k->n_samples != k->n_runs * per_run) /* no input says how many samples there are */
            return qdbg__fail(r->ctx, QDBG_E_SHAPE,
                              "sample %llu: the metric's reference has batches of another size",
                              (unsigned long long)sample);
        uint64_t n = k->n_runs - at < left ? k->n_runs - at : left;
        qdbg_status status = check_samples(r, m, k, s, at, run, n);
        if (status != QDBG_OK)
            return status;
        copy(m, k, outputs, at, run, n);
        run += n;
    }
    return QDBG_OK;
}

/* ---- the calls ---- */

qdbg_status qdbg_reference_create(qdbg_model *m, const qdbg_dataset *dataset, qdbg_reference **out)
{
    if (!m)
        return QDBG_E_INVALID;
    qdbg_ctx *ctx = m->ctx;
    qdbg__clear_error(ctx);
    if (!out)
        return qdbg__fail(ctx, QDBG_E_INVALID, "out is NULL");
    qdbg_reference *r = qdbg__alloc(ctx, 1, sizeof *r);
    if (!r)
        return ctx->error_status;
    *r = (qdbg_reference){.ctx = ctx, .graph = m->graph, .n_outputs = m->graph->n_outputs};
    qdbg__variant plain = {NULL, NULL};
    qdbg__score_job job = {
        .dataset = dataset, .stage = "reference", .variants = &plain, .n_variants = 1, .keep = r};
    qdbg_status status = qdbg__model_score(m, &job);
    if (status != QDBG_OK) {
        qdbg_reference_destroy(r);
        return status;
    }
    *out = r;
    return QDBG_OK;
}

void qdbg_reference_destroy(qdbg_reference *r)
{
    if (!r)
        return;
    qdbg_ctx *ctx = r->ctx;
    for (size_t i = 0; i < r->n; i++)
        drop(r, &r->kept[i]);
    qdbg__free(ctx, r->kept, r->capacity, sizeof *r->kept);
    qdbg__free(ctx, r, 1, sizeof *r);
}
