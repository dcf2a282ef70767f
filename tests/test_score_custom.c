/* What a caller's metric sees, and that scores do not depend on batches and threads (model.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

/* ---- what it sees ---- */

typedef struct ledger {
    uint64_t next;     /* sample that comes next */
    uint64_t checksum; /* of all outputs in order */
    uint64_t labels;
} ledger;

typedef struct auditor {
    const samples *s;
    bool bad, wants_float;
    int updates, results;
    int fail_update, fail_result; /* the call that fails, from 1 */
    int32_t code;
    double score;
    ledger last;
} auditor;

static uint64_t add_bytes(uint64_t hash, const void *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 1099511628211u;
    return hash;
}

static int32_t audit(void *user, void *state, const qdbg_metric_input *in)
{
    auditor *a = user;
    ledger *l = state;
    uint64_t each = qdbg_view_count(&in->outputs[0]) / in->n_samples;
    a->bad = a->bad || in->struct_size != sizeof *in || in->n_samples == 0 ||
             in->first_sample != l->next || (l->next == 0 && (l->checksum || l->labels)) ||
             in->n_outputs != 1;
    a->bad =
        a->bad || (a->wants_float && !in->float_outputs) || in->labels != (a->s->labels + l->next);
    for (uint64_t i = 0; i < in->n_samples; i++)
        l->labels += (uint64_t)in->labels[i];
    l->checksum =
        add_bytes(l->checksum, in->outputs[0].data, (size_t)(each * in->n_samples) * sizeof(float));
    l->next += in->n_samples;
    return ++a->updates == a->fail_update ? a->code : 0;
}

static int32_t conclude(void *user, const void *state, double *score)
{
    auditor *a = user;
    memcpy(&a->last, state, sizeof a->last);
    *score = a->score;
    return ++a->results == a->fail_result ? a->code : 0;
}

static qdbg_metric metric_with(auditor *a)
{
    qdbg_metric m = metric_of(QDBG_METRIC_CUSTOM);
    m.user = a;
    m.state_size = sizeof(ledger);
    m.flags = a->wants_float ? QDBG_METRIC_NEEDS_FLOAT : 0;
    m.update = audit;
    m.result = conclude;
    return m;
}

/* A calibrated simulation of 4-bit weights and activations on net_of_gemms. */
typedef struct bench {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    qdbg_model *m;
    samples s;
    qdbg_sim *sim;
} bench;

static bench bench_make(uint32_t threads, uint64_t n, uint64_t batch_size)
{
    bench b = {.ctx = make_ctx(threads)};
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    o.weight_bits = o.activation_bits = 4;
    b.g = net_of_gemms(b.ctx, false);
    b.m = builtin_model(b.g);
    b.s = samples_make(b.ctx, b.g, n, batch_size, 3);
    assert_ok(qdbg_sim_create(b.m, &o, &b.sim));
    assert_ok(qdbg_sim_calibrate(b.sim, &b.s.set));
    return b;
}

static void bench_free(bench *b)
{
    qdbg_sim_destroy(b->sim);
    samples_free(&b->s);
    qdbg_model_destroy(b->m);
    qdbg_graph_destroy(b->g);
    qdbg_ctx_destroy(b->ctx);
}

static void metric_sees_every_sample_once_and_in_order(void **state)
{
    (void)state;
    for (int wants_float = 0; wants_float < 2; wants_float++)
        for (int quantized = 0; quantized < 2; quantized++) {
            bench b = bench_make(3, 700, quantized ? 8 : 600); /* large batches are cut, too */
            auditor a = {.s = &b.s, .wants_float = wants_float, .score = 0.25};
            qdbg_metric m = metric_with(&a);
            double score = 0;
            if (quantized)
                assert_ok(qdbg_sim_evaluate(b.sim, &b.s.set, &m, &score));
            else
                assert_ok(qdbg_model_evaluate(b.m, &b.s.set, &m, &score));
            assert_true(score == 0.25);
            assert_false(a.bad);
            assert_int_equal(a.last.next, 700);
            uint64_t sum = 0;
            for (int i = 0; i < 700; i++)
                sum += (uint64_t)b.s.labels[i];
            assert_int_equal(a.last.labels, sum);
            bench_free(&b);
        }
}

static void state_starts_at_zero_each_time(void **state)
{
    bench b = bench_make(2, 20, 8);
    auditor a = {.s = &b.s};
    qdbg_metric m = metric_with(&a);
    double score;
    (void)state;
    assert_ok(qdbg_model_evaluate(b.m, &b.s.set, &m, &score));
    ledger first = a.last;
    assert_ok(qdbg_model_evaluate(b.m, &b.s.set, &m, &score));
    assert_memory_equal(&a.last, &first, sizeof first);
    assert_false(a.bad);
    bench_free(&b);
}

static int32_t do_nothing(void *user, void *state, const qdbg_metric_input *in)
{
    (void)state;
    *(uint64_t *)user += in->n_samples;
    return 0;
}

static int32_t give_one(void *user, const void *state, double *score)
{
    (void)user;
    (void)state;
    *score = 1;
    return 0;
}

static void metric_needs_no_state(void **state)
{
    bench b = bench_make(1, 20, 8);
    uint64_t seen = 0;
    qdbg_metric m = metric_of(QDBG_METRIC_CUSTOM);
    double score;
    (void)state;
    m.user = &seen;
    m.update = do_nothing;
    m.result = give_one;
    assert_ok(qdbg_model_evaluate(b.m, &b.s.set, &m, &score));
    assert_true(score == 1 && seen == 20);
    bench_free(&b);
}

static void its_failures_come_back_with_their_code(void **state)
{
    bench b = bench_make(2, 20, 5);
    double score = -7;
    (void)state;
    for (int at = 1; at <= 4; at++) {
        auditor a = {.s = &b.s, .fail_update = at, .code = 1000 + at};
        qdbg_metric m = metric_with(&a);
        assert_fails(b.ctx, qdbg_model_evaluate(b.m, &b.s.set, &m, &score), QDBG_E_CALLBACK,
                     "metric's update");
        assert_int_equal(error_of(b.ctx).callback_code, 1000 + at);
        assert_int_equal(a.updates, at); /* not called again */
        assert_int_equal(a.results, 0);
    }
    auditor a = {.s = &b.s, .fail_result = 1, .code = -5};
    qdbg_metric m = metric_with(&a);
    assert_fails(b.ctx, qdbg_model_evaluate(b.m, &b.s.set, &m, &score), QDBG_E_CALLBACK,
                 "metric's result");
    assert_int_equal(error_of(b.ctx).callback_code, -5);
    a = (auditor){.s = &b.s, .score = (double)NAN};
    m.name = "mine";
    assert_fails(b.ctx, qdbg_model_evaluate(b.m, &b.s.set, &m, &score), QDBG_E_NUMERIC, "'mine'");
    assert_true(score == -7);
    bench_free(&b);
}

/* ---- batches and threads ---- */

/* All that comes out of a bench, as bits. */
typedef struct bits {
    double top1, agreement, sqnr;
    uint64_t plain, quantized; /* checksums of the outputs */
} bits;

static bits measure(uint32_t threads, uint64_t batch_size)
{
    bench b = bench_make(threads, 60, batch_size);
    auditor a = {.s = &b.s};
    bits r;
    double none;
    qdbg_metric m = metric_of(QDBG_METRIC_TOP1);
    memset(&r, 0, sizeof r);
    assert_ok(qdbg_sim_evaluate(b.sim, &b.s.set, &m, &r.top1));
    m = metric_of(QDBG_METRIC_AGREEMENT);
    assert_ok(qdbg_sim_evaluate(b.sim, &b.s.set, &m, &r.agreement));
    m = metric_of(QDBG_METRIC_SQNR);
    assert_ok(qdbg_sim_evaluate(b.sim, &b.s.set, &m, &r.sqnr));
    m = metric_with(&a);
    assert_ok(qdbg_model_evaluate(b.m, &b.s.set, &m, &none));
    r.plain = a.last.checksum;
    assert_ok(qdbg_sim_evaluate(b.sim, &b.s.set, &m, &none));
    r.quantized = a.last.checksum;
    bench_free(&b);
    return r;
}

static void scores_do_not_depend_on_batches_and_threads(void **state)
{
    static const uint64_t sizes[] = {1, 2, 7, 59, 60, 1000};
    bits want = measure(1, 13);
    (void)state;
    assert_true(isfinite(want.sqnr) && want.plain != want.quantized);
    for (uint32_t threads = 1; threads <= 4; threads++)
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            bits got = measure(threads, sizes[k]);
            assert_memory_equal(&got, &want, sizeof want);
        }
}

/* ---- shapes out of the ordinary ---- */

/* The batch of the graph is fixed at 4: labels and samples are still counted one by one. */
static void fixed_batch_is_scored_by_sample(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_graph *g = make_graph(ctx, 13);
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(4, 3));
    make_finish(g, make_node(g, "Relu", "y", &x, 1, NULL));
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 24, 8, 3);
    auditor a = {.s = &s};
    qdbg_metric metric = metric_with(&a);
    double score;
    assert_ok(qdbg_model_evaluate(m, &s.set, &metric, &score));
    assert_false(a.bad);
    assert_int_equal(a.last.next, 24);
    metric = metric_of(QDBG_METRIC_TOP1);
    assert_ok(qdbg_model_evaluate(m, &s.set, &metric, &score));
    uint64_t hits = 0;
    for (int i = 0; i < 24; i++) {
        int best = 0;
        for (int c = 1; c < 3; c++)
            if (fmaxf(s.x[i * 3 + c], 0) > fmaxf(s.x[i * 3 + best], 0))
                best = c;
        hits += best == s.labels[i];
    }
    assert_true(score == (double)hits / 24);
    samples_free(&s);
    s = samples_make(ctx, g, 10, 10, 3); /* 4 + 4 + 2 */
    assert_fails(ctx, qdbg_model_evaluate(m, &s.set, &metric, &score), QDBG_E_SHAPE, "'x'");
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* The sum of a sample's elements, as a scalar. */
static void scalar_outputs_are_scored_one_by_one(void **state)
{
    qdbg_ctx *ctx = make_ctx(3);
    qdbg_graph *g = make_graph(ctx, 11);
    uint32_t node;
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 4));
    uint32_t y = make_node(g, "ReduceSum", "y", &x, 1, &node);
    assert_ok(qdbg_graph_set_int(g, node, "keepdims", 0));
    make_finish(g, y);
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 20, 6, 3);
    auditor a = {.s = &s};
    qdbg_metric metric = metric_with(&a);
    double score;
    assert_ok(qdbg_model_evaluate(m, &s.set, &metric, &score));
    uint64_t want = 0;
    for (int i = 0; i < 20; i++) {
        float sum = s.x[i * 4] + s.x[i * 4 + 1] + s.x[i * 4 + 2] + s.x[i * 4 + 3];
        want = add_bytes(want, &sum, sizeof sum);
    }
    assert_false(a.bad);
    assert_int_equal(a.last.checksum, want);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

typedef struct pair {
    qdbg_view views[2];
    float x[8], k;
} pair;

static int32_t give_pair(void *user, uint64_t index, qdbg_batch *batch)
{
    pair *p = user;
    (void)index;
    batch->inputs = p->views;
    batch->n_inputs = 2;
    batch->n_samples = 8;
    return 0;
}

static void scalar_input_goes_with_every_sample(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_graph *g = make_graph(ctx, 13);
    pair p = {.k = 2};
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 1)), k = make_input(g, "k", SCALAR);
    make_finish(g, make_node(g, "Mul", "y", VALUES(x, k), NULL));
    qdbg_model *m = builtin_model(g);
    p.views[0] = make_view(DIMS(8, 1), p.x);
    p.views[1] = make_view(SCALAR, &p.k);
    qdbg_dataset set = QDBG_DATASET_INIT;
    set.n_batches = 2;
    set.user = &p;
    set.batch = give_pair;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    double score = 0;
    assert_ok(qdbg_model_evaluate(m, &set, &metric, &score));
    p.k = (float)NAN;
    assert_fails(ctx, qdbg_model_evaluate(m, &set, &metric, &score), QDBG_E_NUMERIC, "'k'");
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* The graph's first dimension is not known, and neither is its second: batches may differ. */
static int32_t give_other_widths(void *user, uint64_t index, qdbg_batch *batch)
{
    pair *p = user;
    p->views[0] = make_view(DIMS(2, (int64_t)index + 1), p->x);
    batch->inputs = p->views;
    batch->n_inputs = 1;
    batch->n_samples = 2;
    return 0;
}

static int32_t count_elements(void *user, void *state, const qdbg_metric_input *in)
{
    (void)user;
    *(double *)state += (double)qdbg_view_count(&in->outputs[0]);
    return 0;
}

static int32_t give_double(void *user, const void *state, double *score)
{
    (void)user;
    memcpy(score, state, sizeof *score);
    return 0;
}

static void shapes_may_change_from_batch_to_batch(void **state)
{
    const int64_t dims[] = {QDBG_DIM_UNKNOWN, QDBG_DIM_UNKNOWN};
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_graph *g = make_graph(ctx, 13);
    pair p = {.k = 0};
    uint32_t x;
    (void)state;
    assert_ok(qdbg_graph_add_value(g, "x", QDBG_F32, 2, dims, &x));
    assert_ok(qdbg_graph_add_input(g, x));
    make_finish(g, make_node(g, "Relu", "y", &x, 1, NULL));
    qdbg_model *m = builtin_model(g);
    qdbg_dataset set = QDBG_DATASET_INIT;
    set.n_batches = 4;
    set.user = &p;
    set.batch = give_other_widths;
    qdbg_metric metric = metric_of(QDBG_METRIC_CUSTOM);
    metric.state_size = sizeof(double);
    metric.update = count_elements;
    metric.result = give_double;
    double score = 0;
    assert_ok(qdbg_model_evaluate(m, &set, &metric, &score));
    assert_true(score == 2 * (1 + 2 + 3 + 4));
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- how samples are dealt out ---- */

#define STRETCHES 32

typedef struct deal {
    uint64_t sizes[STRETCHES];
    int n;
} deal;

static int32_t note_stretch(void *user, void *state, const qdbg_metric_input *in)
{
    deal *d = user;
    (void)state;
    if (d->n == STRETCHES)
        return 1;
    d->sizes[d->n++] = in->n_samples;
    return 0;
}

static int32_t agree(void *user, const void *state, double *score)
{
    (void)user, (void)state;
    *score = 1;
    return 0;
}

/* y of 8 MiB a sample: few samples fit into a stretch, which the number of threads must not
 * change. (A metric may add floats, and then cuts show.) */
static deal deal_on(uint32_t threads)
{
    static float zeros[12];
    static const int64_t shape[] = {1, 1 << 21};
    deal d = {.n = 0};
    qdbg_ctx *ctx = make_ctx(threads);
    qdbg_graph *g = make_graph(ctx, 13);
    qdbg_view list, x = make_view(DIMS(12, 1), zeros);
    uint32_t in[2] = {make_input(g, "x", DIMS(1, 1))};
    qdbg_metric metric = metric_of(QDBG_METRIC_CUSTOM);
    qdbg_arrays *arrays;
    qdbg_dataset set;
    double score;
    assert_ok(qdbg_view_init(&list, QDBG_I64, 1, DIMS(2), (void *)(uintptr_t)shape));
    assert_ok(qdbg_graph_add_parameter(g, "shape", &list, &in[1]));
    make_finish(g, make_node(g, "Expand", "y", in, 2, NULL));
    qdbg_model *m = builtin_model(g);
    assert_ok(qdbg_arrays_create(ctx, &x, 1, NULL, 12, &arrays));
    assert_ok(qdbg_arrays_dataset(arrays, &set));
    metric.user = &d;
    metric.update = note_stretch;
    metric.result = agree;
    assert_ok(qdbg_model_evaluate(m, &set, &metric, &score));
    qdbg_arrays_destroy(arrays);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
    return d;
}

static void stretches_do_not_depend_on_threads(void **state)
{
    deal one = deal_on(1);
    (void)state;
    assert_true(one.n > 1);
    for (uint32_t threads = 2; threads <= 8; threads += 3) {
        deal more = deal_on(threads);
        assert_int_equal(more.n, one.n);
        assert_memory_equal(more.sizes, one.sizes, sizeof one.sizes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metric_sees_every_sample_once_and_in_order),
        cmocka_unit_test(state_starts_at_zero_each_time),
        cmocka_unit_test(metric_needs_no_state),
        cmocka_unit_test(its_failures_come_back_with_their_code),
        cmocka_unit_test(scores_do_not_depend_on_batches_and_threads),
        cmocka_unit_test(fixed_batch_is_scored_by_sample),
        cmocka_unit_test(scalar_outputs_are_scored_one_by_one),
        cmocka_unit_test(scalar_input_goes_with_every_sample),
        cmocka_unit_test(shapes_may_change_from_batch_to_batch),
        cmocka_unit_test(stretches_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
