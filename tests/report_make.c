#include "report_make.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "support.h"

#define NAME_SIZE 40

/* ---- a diagnosis ---- */

const char *const hostile[N_HOSTILE] = {
    "</script><img src=x onerror=alert(1)>",
    "a \"quoted\", name\r\nof two lines",
    "=SUM(A1:A9)",
    "bad \xff\xc3( \xe2\x82 \xed\xa0\x80 utf-8",
    "\x1b[31mred\x07\x7f \xc2\x9b",
    "\xe2\x80\xaeright to left\xe2\x80\xac",
    "na\xc3\xafve/\xd1\x82\xd0\xb5\xd1\x81\xd1\x82/\xf0\x9f\x98\x80",
    "a/very/long/name/of/a/tensor/deep/inside/of/some/network/block_17/conv2d_3/weight",
    "back\\slash & 'single' <b>",
};

static const char *name_of(size_t i, char text[NAME_SIZE])
{
    if (i < N_HOSTILE)
        return hostile[i];
    snprintf(text, NAME_SIZE, "block.%zu.weight", i);
    return text;
}

static void fill_finding(qdbg_ctx *ctx, qdbg_finding *f, size_t i)
{
    char text[NAME_SIZE];
    f->kind = i % 2 ? QDBG_ACTIVATION : QDBG_WEIGHT;
    f->name = qdbg__strdup(ctx, name_of(i, text));
    f->node = qdbg__strdup(ctx, i == 1 ? "" : name_of(i + 1, text));
    f->op_type = qdbg__strdup(ctx, i == 1 ? "" : "Conv");
    f->reason = qdbg__strdup(ctx, i < 12 ? "channel 3 sets the scale of all 32" : "");
    f->bits = 8;
    f->n_channels = i % 2 ? 1 : 32;
    f->scale = 0.1f / (float)(i + 1);
    f->zero_point = i % 2 ? 128 : 0;
    f->min = -1.0f / 3.0f;
    f->max = i == 4 ? INFINITY : 16777216.0f;
    f->score_alone = i == 2 ? (double)NAN : 0.1 + (double)i / 3000;
    f->drop_alone = 0.9 - f->score_alone;
    f->output_sqnr_db = i == 2 ? (double)NAN : i == 3 ? (double)INFINITY : (double)i * 0.7 - 3.1;
    f->noise_share = i == 2 ? (double)NAN : 1.0 / (double)(i + 1);
    f->local_sqnr_db = i % 2 ? (double)NAN : 31.4;
    f->channel_spread = i % 2 ? (double)NAN : 1e-300;
    f->order = (uint32_t)i;
    f->culprit = i < 9;
}

/* `n` findings; `metric` may be hostile as well. */
static qdbg_diagnosis *make_diagnosis(qdbg_ctx *ctx, size_t n, const char *metric)
{
    static const char *const names[N_STEPS] = {"float32",     "quantized",  "weights",
                                               "activations", "quantizers", "conclusion"};
    qdbg_diagnosis *d = qdbg__alloc(ctx, 1, sizeof *d);
    d->ctx = ctx;
    d->metric_name = qdbg__strdup(ctx, metric);
    d->summary = (qdbg_summary)QDBG_SUMMARY_INIT;
    d->summary.n_folded = 2;
    d->summary.samples = 10000;
    d->summary.calibration_samples = 512;
    d->summary.float_score = 0.9;
    d->summary.quantized_score = 0.1;
    d->summary.max_drop = 0.01;
    d->summary.weight_bits = 8;
    d->summary.activation_bits = QDBG_BITS_BYPASS;
    d->summary.weight_granularity = QDBG_PER_CHANNEL;
    d->summary.rounding = QDBG_ROUND_NEAREST_AWAY;
    d->summary.weight_range = QDBG_RANGE_MSE;
    d->summary.activation_range = QDBG_RANGE_PERCENTILE;
    d->summary.rules = "tflite";
    d->summary.n_biases = 7;
    d->summary.metric = d->metric_name;
    assert_ok(qdbg__diagnosis_reserve_findings(d, n));
    for (size_t i = 0; i < n; i++)
        fill_finding(ctx, &d->findings[i], i);
    for (int i = 0; i < N_STEPS; i++) {
        qdbg_step s = {sizeof s,
                       1 + i % 3,
                       names[i],
                       "Is it <good>?",
                       "No \"it\" is\tnot.\nReally.",
                       i == 2 ? "Mend it & <b>go on</b>." : "",
                       i == 2 ? (double)NAN : 0.9 - 0.1 * i,
                       0.1 * i,
                       i == 3 ? (double)NAN : 0.005,
                       i == 0 ? (double)INFINITY : 12.3};
        assert_ok(qdbg__diagnosis_add_step(d, &s));
    }
    return d;
}

/* ---- a receiver ---- */

int32_t receive(void *user, const void *data, size_t size)
{
    sink *s = user;
    if (++s->n_calls == s->fail_at)
        return -77;
    s->largest = size > s->largest ? size : s->largest;
    s->data = realloc(s->data, s->size + size + 1);
    memcpy(s->data + s->size, data, size);
    s->size += size;
    s->data[s->size] = 0;
    return 0;
}

world world_make(size_t n)
{
    world w = {.options = QDBG_REPORT_OPTIONS_INIT};
    assert_ok(qdbg_ctx_create(NULL, &w.ctx));
    w.diagnosis = make_diagnosis(w.ctx, n, "top-1 <&>");
    for (int i = 0; i < N_STEPS; i++)
        w.seconds[i] = i == 4 ? (double)NAN : 1.25 * i;
    w.options.model = "m\"odel </title>\xff.onnx";
    return w;
}

void world_end(world *w)
{
    qdbg_diagnosis_destroy(w->diagnosis);
    qdbg_ctx_destroy(w->ctx);
}

char *world_report(world *w, int32_t format, size_t *size)
{
    sink s = {0};
    w->options.seconds = w->seconds;
    w->options.n_seconds = N_STEPS;
    assert_ok(qdbg_report_write(w->ctx, w->diagnosis, format, &w->options, receive, &s));
    assert_int_equal(strlen(s.data), s.size);
    if (size)
        *size = s.size;
    return s.data;
}
