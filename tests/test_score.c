/* Datasets and metrics (model.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

/* A model x [1, classes] -> Log: -1 becomes NaN, 0 -infinity. */
typedef struct logs {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    qdbg_model *m;
    samples s;
} logs;

static logs logs_make(uint32_t threads, int64_t classes, uint64_t n, uint64_t batch_size)
{
    logs l = {.ctx = make_ctx(threads)};
    uint64_t seed = 11;
    l.g = make_graph(l.ctx, 13);
    uint32_t x = make_input(l.g, "x", DIMS(1, classes));
    make_finish(l.g, make_node(l.g, "Log", "y", &x, 1, NULL));
    l.m = builtin_model(l.g);
    l.s = samples_make(l.ctx, l.g, n, batch_size, classes);
    for (uint64_t i = 0; i < n * (uint64_t)classes; i++)
        l.s.x[i] = (float)make_int(&seed, -1, 4);
    return l;
}

static void logs_free(logs *l)
{
    samples_free(&l->s);
    qdbg_model_destroy(l->m);
    qdbg_graph_destroy(l->g);
    qdbg_ctx_destroy(l->ctx);
}

static double score_of(qdbg_model *m, const qdbg_dataset *set, int32_t kind)
{
    qdbg_metric metric = metric_of(kind);
    double score = -7;
    assert_ok(qdbg_model_evaluate(m, set, &metric, &score));
    return score;
}

/* ---- arrays ---- */

static void arrays_are_cut_into_batches(void **state)
{
    static const uint64_t sizes[] = {1, 2, 3, 7, 10, 11, UINT64_MAX};
    qdbg_ctx *ctx = make_ctx(1);
    float a[20];
    int64_t b[10], labels[10];
    (void)state;
    for (int i = 0; i < 20; i++)
        a[i] = (float)i;
    for (int i = 0; i < 10; i++)
        b[i] = labels[i] = i;
    qdbg_view views[2] = {make_view(DIMS(10, 2), a), QDBG_VIEW_INIT};
    const int64_t ten = 10;
    assert_ok(qdbg_view_init(&views[1], QDBG_I64, 1, &ten, b));
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        qdbg_arrays *arrays;
        qdbg_dataset set;
        uint64_t next = 0;
        assert_ok(qdbg_arrays_create(ctx, views, 2, labels, sizes[k], &arrays));
        assert_ok(qdbg_arrays_dataset(arrays, &set));
        for (uint64_t i = 0; i < set.n_batches; i++) {
            qdbg_batch batch = {.struct_size = sizeof batch};
            assert_int_equal(set.batch(set.user, i, &batch), 0);
            assert_true(batch.n_samples >= 1 && batch.n_samples <= sizes[k]);
            assert_int_equal(batch.n_inputs, 2);
            assert_int_equal(batch.inputs[0].dims[0], batch.n_samples);
            assert_int_equal(batch.inputs[1].dims[0], batch.n_samples);
            assert_ptr_equal(batch.inputs[0].data, a + 2 * next); /* by reference */
            assert_ptr_equal(batch.inputs[1].data, b + next);
            assert_ptr_equal(batch.labels, labels + next);
            next += batch.n_samples;
        }
        assert_int_equal(next, 10);
        qdbg_batch beyond = {.struct_size = sizeof beyond};
        assert_int_not_equal(set.batch(set.user, set.n_batches, &beyond), 0);
        assert_int_not_equal(set.batch(set.user, UINT64_MAX, &beyond), 0);
        qdbg_arrays_destroy(arrays);
    }
    qdbg_arrays_destroy(NULL);
    qdbg_ctx_destroy(ctx);
}

static void bad_arrays_are_refused(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_arrays *out = NULL;
    qdbg_dataset set;
    float a[4] = {0};
    qdbg_view v[2] = {make_view(DIMS(2, 2), a), make_view(DIMS(3), a)}, bad = v[0];
    (void)state;
    assert_int_equal(qdbg_arrays_create(NULL, v, 1, NULL, 1, &out), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_arrays_create(ctx, NULL, 1, NULL, 1, &out), QDBG_E_INVALID, "");
    assert_fails(ctx, qdbg_arrays_create(ctx, v, 0, NULL, 1, &out), QDBG_E_INVALID, "");
    assert_fails(ctx, qdbg_arrays_create(ctx, v, 1, NULL, 0, &out), QDBG_E_INVALID, "");
    assert_fails(ctx, qdbg_arrays_create(ctx, v, 1, NULL, 1, NULL), QDBG_E_INVALID, "");
    assert_fails(ctx, qdbg_arrays_create(ctx, v, 2, NULL, 1, &out), QDBG_E_SHAPE, "3 samples");
    bad.dims[0] = 0;
    assert_fails(ctx, qdbg_arrays_create(ctx, &bad, 1, NULL, 1, &out), QDBG_E_SHAPE, "no samples");
    bad.rank = 0;
    assert_fails(ctx, qdbg_arrays_create(ctx, &bad, 1, NULL, 1, &out), QDBG_E_SHAPE, "no samples");
    bad = v[0];
    bad.dtype = 8;
    assert_fails(ctx, qdbg_arrays_create(ctx, &bad, 1, NULL, 1, &out), QDBG_E_TYPE, "");
    assert_null(out);
    assert_int_equal(qdbg_arrays_dataset(NULL, &set), QDBG_E_INVALID);
    assert_ok(qdbg_arrays_create(ctx, v, 1, NULL, 1, &out));
    assert_int_equal(qdbg_arrays_dataset(out, NULL), QDBG_E_INVALID);
    qdbg_arrays_destroy(out);
    qdbg_ctx_destroy(ctx);
}

/* ---- datasets ---- */

/* Passes on another dataset's batches, spoiled. */
typedef struct spoiler {
    const samples *s;
    uint64_t at; /* batch that is spoiled */
    int32_t code;
    void (*spoil)(qdbg_batch *batch, qdbg_view *view);
    qdbg_view view; /* the batch's first input, to be changed */
} spoiler;

static int32_t give_spoiled(void *user, uint64_t index, qdbg_batch *batch)
{
    spoiler *p = user;
    int32_t code = p->s->set.batch(p->s->set.user, index, batch);
    if (code != 0 || index != p->at)
        return code;
    p->view = batch->inputs[0];
    if (p->spoil) {
        p->spoil(batch, &p->view);
        if (batch->inputs)
            batch->inputs = &p->view;
    }
    return p->code;
}

static void no_samples(qdbg_batch *b, qdbg_view *v)
{
    (void)v;
    b->n_samples = 0;
}

static void other_count(qdbg_batch *b, qdbg_view *v)
{
    (void)v;
    b->n_samples--;
}

static void no_inputs(qdbg_batch *b, qdbg_view *v)
{
    (void)v;
    b->inputs = NULL;
}

static void too_many_inputs(qdbg_batch *b, qdbg_view *v)
{
    (void)v;
    b->n_inputs = 2;
}

static void wider(qdbg_batch *b, qdbg_view *v)
{
    (void)b;
    v->dims[1]--;
}

static void integers(qdbg_batch *b, qdbg_view *v)
{
    (void)b;
    v->dtype = QDBG_I32;
}

static void without_labels(qdbg_batch *b, qdbg_view *v)
{
    (void)v;
    b->labels = NULL;
}

static void spoiled_batches_are_named(void **state)
{
    static const struct {
        void (*spoil)(qdbg_batch *, qdbg_view *);
        int32_t code;
        qdbg_status status;
        const char *text;
    } rows[] = {
        {NULL, 42, QDBG_E_CALLBACK, "batch function returned 42"},
        {NULL, -1, QDBG_E_CALLBACK, "batch function returned -1"},
        {no_samples, 0, QDBG_E_INVALID, "batch 2 has no samples"},
        {other_count, 0, QDBG_E_SHAPE, "'x'"},
        {no_inputs, 0, QDBG_E_INVALID, "inputs"},
        {too_many_inputs, 0, QDBG_E_INVALID, "2 inputs"},
        {wider, 0, QDBG_E_SHAPE, "'x'"},
        {integers, 0, QDBG_E_TYPE, "'x'"},
        {without_labels, 0, QDBG_E_INVALID, "'top-1' needs labels"},
    };
    logs l = logs_make(2, 5, 12, 3);
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        spoiler p = {.s = &l.s, .at = 2, .code = rows[i].code, .spoil = rows[i].spoil};
        qdbg_dataset set = l.s.set;
        qdbg_metric metric = metric_of(QDBG_METRIC_TOP1);
        double score = -7;
        set.user = &p;
        set.batch = give_spoiled;
        assert_fails(l.ctx, qdbg_model_evaluate(l.m, &set, &metric, &score), rows[i].status,
                     rows[i].text);
        assert_int_equal(error_of(l.ctx).callback_code, rows[i].code);
        assert_true(score == -7);
        score_of(l.m, &l.s.set, QDBG_METRIC_TOP1); /* and nothing is broken */
    }
    logs_free(&l);
}

static void bad_calls_are_refused(void **state)
{
    logs l = logs_make(1, 5, 4, 2);
    const qdbg_metric good = metric_of(QDBG_METRIC_TOP1);
    qdbg_metric metric = good;
    qdbg_dataset set = l.s.set;
    double score = -7;
    (void)state;
    assert_int_equal(qdbg_model_evaluate(NULL, &set, &metric, &score), QDBG_E_INVALID);
    assert_fails(l.ctx, qdbg_model_evaluate(l.m, NULL, &metric, &score), QDBG_E_INVALID, "dataset");
    assert_fails(l.ctx, qdbg_model_evaluate(l.m, &set, NULL, &score), QDBG_E_INVALID, "metric");
    assert_fails(l.ctx, qdbg_model_evaluate(l.m, &set, &metric, NULL), QDBG_E_INVALID, "score");
    set.n_batches = 0;
    assert_fails(l.ctx, qdbg_model_evaluate(l.m, &set, &metric, &score), QDBG_E_INVALID, "empty");
    set = l.s.set;
    set.batch = NULL;
    assert_fails(l.ctx, qdbg_model_evaluate(l.m, &set, &metric, &score), QDBG_E_INVALID, "batch");
    set = l.s.set;
    set.struct_size = 3;
    assert_fails(l.ctx, qdbg_model_evaluate(l.m, &set, &metric, &score), QDBG_E_INVALID, "size");
    metric.struct_size = 3;
    assert_fails(l.ctx, qdbg_model_evaluate(l.m, &l.s.set, &metric, &score), QDBG_E_INVALID,
                 "size");
    for (int32_t kind = -1; kind <= 5; kind += 6) {
        metric = metric_of(kind);
        assert_fails(l.ctx, qdbg_model_evaluate(l.m, &l.s.set, &metric, &score), QDBG_E_INVALID,
                     "kind");
    }
    metric = metric_of(QDBG_METRIC_CUSTOM);
    assert_fails(l.ctx, qdbg_model_evaluate(l.m, &l.s.set, &metric, &score), QDBG_E_INVALID,
                 "set kind");
    assert_true(score == -7);
    logs_free(&l);
}

static void labels_out_of_range_name_the_sample(void **state)
{
    static const int64_t bad[] = {-1, 5, INT64_MIN, INT64_MAX};
    logs l = logs_make(2, 5, 12, 5);
    (void)state;
    for (int i = 0; i < 4; i++)
        for (int32_t kind = QDBG_METRIC_TOP1; kind <= QDBG_METRIC_TOP5; kind++) {
            qdbg_metric metric = metric_of(kind);
            double score;
            int64_t was = l.s.labels[7];
            l.s.labels[7] = bad[i];
            assert_fails(l.ctx, qdbg_model_evaluate(l.m, &l.s.set, &metric, &score), QDBG_E_INVALID,
                         "sample 7: label");
            l.s.labels[7] = was;
        }
    logs_free(&l);
}

static void nonfinite_input_names_input_and_sample(void **state)
{
    static const float bad[] = {(float)NAN, (float)INFINITY, -(float)INFINITY};
    logs l = logs_make(2, 5, 12, 5);
    (void)state;
    for (int i = 0; i < 3; i++)
        for (uint64_t sample = 0; sample < 12; sample += 11) {
            qdbg_metric metric = metric_of(QDBG_METRIC_TOP1);
            double score;
            char text[32];
            float was = l.s.x[sample * 5 + 4];
            l.s.x[sample * 5 + 4] = bad[i];
            snprintf(text, sizeof text, "sample %llu", (unsigned long long)sample);
            assert_fails(l.ctx, qdbg_model_evaluate(l.m, &l.s.set, &metric, &score), QDBG_E_NUMERIC,
                         text);
            assert_string_equal(error_of(l.ctx).value, "x");
            l.s.x[sample * 5 + 4] = was;
        }
    logs_free(&l);
}

/* ---- built-in metrics against brute force ---- */

/* Place of `label` when the classes are sorted: larger first, equal ones by number, NaN nowhere. */
static int place_of(const float *y, int64_t classes, int64_t label)
{
    int place = 0;
    if (isnan(y[label]))
        return INT32_MAX;
    for (int64_t i = 0; i < classes; i++)
        if (i < label ? y[i] >= y[label] : y[i] > y[label])
            place++;
    return place;
}

static void top_k_equals_brute_force(void **state)
{
    static const int64_t widths[] = {1, 2, 3, 5, 6, 12};
    (void)state;
    for (size_t k = 0; k < sizeof widths / sizeof *widths; k++) {
        logs l = logs_make(2, widths[k], 400, 64);
        uint64_t top1 = 0, top5 = 0;
        for (uint64_t i = 0; i < 400; i++) {
            float y[12];
            for (int64_t c = 0; c < widths[k]; c++)
                y[c] = logf(l.s.x[(int64_t)i * widths[k] + c]);
            top1 += place_of(y, widths[k], l.s.labels[i]) < 1;
            top5 += place_of(y, widths[k], l.s.labels[i]) < 5;
        }
        assert_true(score_of(l.m, &l.s.set, QDBG_METRIC_TOP1) == (double)top1 / 400);
        assert_true(score_of(l.m, &l.s.set, QDBG_METRIC_TOP5) == (double)top5 / 400);
        assert_true(top5 >= top1 && (widths[k] > 5 || top5 < 400)); /* NaN is never a hit */
        logs_free(&l);
    }
}

/* In float32 the model agrees with itself, NaN and infinities or not. */
static void float_model_agrees_with_itself(void **state)
{
    logs l = logs_make(2, 4, 100, 7);
    (void)state;
    assert_true(score_of(l.m, &l.s.set, QDBG_METRIC_AGREEMENT) == 1);
    assert_true(score_of(l.m, &l.s.set, QDBG_METRIC_SQNR) == (double)INFINITY);
    logs_free(&l);
}

/* Agreement and SQNR by hand, from what a custom metric sees. */
typedef struct by_hand {
    uint64_t agree, n;
    double signal, noise;
} by_hand;

static int64_t largest(const float *y, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        best = y[i] > y[best] ? i : best;
    return best;
}

static int32_t compare_by_hand(void *user, void *state, const qdbg_metric_input *in)
{
    by_hand *h = state;
    (void)user;
    for (uint64_t i = 0; i < in->n_samples; i++) {
        const float *y = (float *)in->outputs[0].data + i * 3;
        const float *f = (float *)in->float_outputs[0].data + i * 3;
        h->agree += largest(y, 3) == largest(f, 3);
    }
    h->n += in->n_samples;
    for (uint32_t o = 0; o < in->n_outputs; o++)
        for (uint64_t i = 0; i < qdbg_view_count(&in->outputs[o]); i++) {
            double f = (double)((float *)in->float_outputs[o].data)[i];
            double d = (double)((float *)in->outputs[o].data)[i] - f;
            h->signal += f * f;
            h->noise += d * d;
        }
    return 0;
}

static int32_t copy_state(void *user, const void *state, double *score)
{
    memcpy(user, state, sizeof(by_hand));
    *score = 0;
    return 0;
}

static void agreement_and_sqnr_equal_brute_force(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_graph *g = net_of_gemms(ctx, false);
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 200, 30, 0);
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_sim *sim;
    by_hand hand = {0};
    qdbg_metric metric = metric_of(QDBG_METRIC_CUSTOM);
    double agreement = 0, sqnr = 0, none;
    (void)state;
    o.weight_bits = o.activation_bits = 3;
    assert_ok(qdbg_sim_create(m, &o, &sim));
    assert_ok(qdbg_sim_calibrate(sim, &s.set));
    metric.flags = QDBG_METRIC_NEEDS_FLOAT;
    metric.user = &hand;
    metric.state_size = sizeof hand;
    metric.update = compare_by_hand;
    metric.result = copy_state;
    assert_ok(qdbg_sim_evaluate(sim, &s.set, &metric, &none));
    metric = metric_of(QDBG_METRIC_AGREEMENT);
    assert_ok(qdbg_sim_evaluate(sim, &s.set, &metric, &agreement));
    metric = metric_of(QDBG_METRIC_SQNR);
    assert_ok(qdbg_sim_evaluate(sim, &s.set, &metric, &sqnr));
    assert_int_equal(hand.n, 200);
    assert_in_range(hand.agree, 1, 199);
    assert_true(agreement == (double)hand.agree / 200);
    assert_true(fabs(sqnr - 10 * log10(hand.signal / hand.noise)) < 1e-9);
    qdbg_sim_destroy(sim);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void metrics_have_names(void **state)
{
    qdbg_metric m = metric_of(QDBG_METRIC_CUSTOM);
    (void)state;
    assert_string_equal(qdbg_metric_name(&m), "score");
    m.name = "mAP";
    assert_string_equal(qdbg_metric_name(&m), "mAP");
    m.kind = QDBG_METRIC_TOP1;
    assert_string_equal(qdbg_metric_name(&m), "top-1");
    m.kind = QDBG_METRIC_TOP5;
    assert_string_equal(qdbg_metric_name(&m), "top-5");
    m.kind = QDBG_METRIC_AGREEMENT;
    assert_non_null(strstr(qdbg_metric_name(&m), "agreement"));
    m.kind = QDBG_METRIC_SQNR;
    assert_non_null(strstr(qdbg_metric_name(&m), "SQNR"));
    assert_string_equal(qdbg_metric_name(NULL), "");
    m.kind = 99;
    assert_string_equal(qdbg_metric_name(&m), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_are_cut_into_batches),
        cmocka_unit_test(bad_arrays_are_refused),
        cmocka_unit_test(spoiled_batches_are_named),
        cmocka_unit_test(bad_calls_are_refused),
        cmocka_unit_test(labels_out_of_range_name_the_sample),
        cmocka_unit_test(nonfinite_input_names_input_and_sample),
        cmocka_unit_test(top_k_equals_brute_force),
        cmocka_unit_test(float_model_agrees_with_itself),
        cmocka_unit_test(agreement_and_sqnr_equal_brute_force),
        cmocka_unit_test(metrics_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
