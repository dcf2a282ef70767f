/* Hosts whose graph says little: operators that the library does not know, shapes that are not
 * declared, an input that is an output too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <pthread.h>
#include <string.h>
#include <cmocka.h>

#include <qdebug/qdebug.h>

#define WIDTH 3
#define SAMPLES 4

/* x [batch,3] -> Double -> h -> Total -> y [batch,1]: h = 2 x, y = the sum of h. */
typedef struct tiny {
    qdbg_ctx *ctx;
    qdbg_graph *graph;
    qdbg_model *model;
    uint32_t x, h, y;
    qdbg_view h_as; /* how h is tapped; rank QDBG_RANK_UNKNOWN: as [batch,3] */
    float h_data[64];
    float samples[SAMPLES * WIDTH];
    qdbg_view inputs;
    bool elsewhere; /* taps on a thread of its own */
    bool asks;      /* calls the library after a failed tap */
    pthread_t home; /* where the library was called */
    int strays;     /* log lines that came on another thread */
} tiny;

static int32_t tap(qdbg_tap *to, uint32_t value, uint32_t rank, const int64_t *dims, float *data)
{
    qdbg_view view;
    if (!qdbg_tap_wants(to, value))
        return 0;
    if (qdbg_view_init(&view, QDBG_F32, rank, dims, data) != QDBG_OK)
        return 1;
    return qdbg_tap_value(to, value, &view) != QDBG_OK;
}

static int32_t pass(tiny *m, qdbg_tap *to, const qdbg_view *inputs)
{
    int64_t n = inputs[0].dims[0];
    const int64_t wide[] = {n, WIDTH}, narrow[] = {n, 1};
    float x[SAMPLES * WIDTH], y[SAMPLES] = {0};
    memcpy(x, inputs[0].data, (size_t)n * WIDTH * sizeof *x);
    if (tap(to, m->x, 2, wide, x))
        return 1;
    for (int64_t i = 0; i < n * WIDTH; i++)
        m->h_data[i] = 2.0f * x[i];
    bool as_it_is = m->h_as.rank == QDBG_RANK_UNKNOWN;
    if (tap(to, m->h, as_it_is ? 2 : m->h_as.rank, as_it_is ? wide : m->h_as.dims, m->h_data))
        return 1;
    for (int64_t i = 0; i < n * WIDTH; i++)
        y[i / WIDTH] += m->h_data[i];
    return tap(to, m->y, 2, narrow, y);
}

typedef struct errand {
    tiny *m;
    qdbg_tap *tap;
    const qdbg_view *inputs;
    int32_t code;
} errand;

static void *pass_there(void *user)
{
    errand *e = user;
    e->code = pass(e->m, e->tap, e->inputs);
    return NULL;
}

static int32_t run(void *user, qdbg_tap *to, const qdbg_view *inputs, uint32_t n_inputs)
{
    tiny *m = user;
    errand e = {m, to, inputs, 0};
    pthread_t thread;
    (void)n_inputs;
    if (!m->elsewhere)
        pass_there(&e);
    else if (pthread_create(&thread, NULL, pass_there, &e) == 0)
        pthread_join(thread, NULL);
    if (e.code && m->asks) { /* clears the record of failures */
        qdbg_value_info info = QDBG_VALUE_INFO_INIT;
        qdbg_graph_value(m->graph, m->x, &info);
        qdbg_encoding encoding = QDBG_ENCODING_INIT;
        qdbg_quant_spec spec = QDBG_QUANT_SPEC_INIT;
        qdbg_encoding_from_range(m->ctx, &spec, 0, 1, &encoding);
    }
    return e.code;
}

static int32_t no_parameter(void *user, uint32_t value, float *data, uint64_t count)
{
    (void)user, (void)value, (void)data, (void)count;
    return 1;
}

static int32_t no_set(void *user, uint32_t value, const float *data, uint64_t count)
{
    (void)user, (void)value, (void)data, (void)count;
    return 1;
}

#define assert_ok(call) assert_int_equal(call, QDBG_OK)

static void add_model(tiny *m)
{
    qdbg_host host = QDBG_HOST_INIT;
    host.user = m;
    host.run = run;
    host.get_parameter = no_parameter;
    host.set_parameter = no_set;
    assert_ok(qdbg_model_create_host(m->graph, &host, &m->model));
}

static void keep_thread(void *user, int32_t level, const char *message)
{
    tiny *m = user;
    (void)level, (void)message;
    m->strays += !pthread_equal(pthread_self(), m->home);
}

/* h as the graph declares it; `declare_y`: the graph tells y's shape. `x_too`: x is an output as
 * well. */
static void open_declared(tiny *m, uint32_t h_rank, const int64_t *h_dims, bool declare_y,
                          bool x_too)
{
    static const int64_t wide[] = {QDBG_DIM_UNKNOWN, WIDTH}, narrow[] = {QDBG_DIM_UNKNOWN, 1};
    const int64_t samples[] = {SAMPLES, WIDTH};
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    *m = (tiny){.h_as = {.rank = QDBG_RANK_UNKNOWN}, .home = pthread_self()};
    options.log = keep_thread;
    options.log_user = m;
    assert_ok(qdbg_ctx_create(&options, &m->ctx));
    assert_ok(qdbg_graph_create(m->ctx, 13, &m->graph));
    assert_ok(qdbg_graph_add_value(m->graph, "x", QDBG_F32, 2, wide, &m->x));
    assert_ok(qdbg_graph_add_value(m->graph, "h", QDBG_F32, h_rank, h_dims, &m->h));
    assert_ok(qdbg_graph_add_value(m->graph, "y", QDBG_F32, declare_y ? 2 : QDBG_RANK_UNKNOWN,
                                   declare_y ? narrow : NULL, &m->y));
    assert_ok(qdbg_graph_add_node(m->graph, "Double", "d", &m->x, 1, &m->h, 1, NULL));
    assert_ok(qdbg_graph_add_node(m->graph, "Total", "t", &m->h, 1, &m->y, 1, NULL));
    assert_ok(qdbg_graph_add_input(m->graph, m->x));
    assert_ok(qdbg_graph_add_output(m->graph, m->y));
    if (x_too)
        assert_ok(qdbg_graph_add_output(m->graph, m->x));
    assert_ok(qdbg_graph_finish(m->graph));
    add_model(m);
    for (int i = 0; i < SAMPLES * WIDTH; i++)
        m->samples[i] = (float)i - 4.0f;
    assert_ok(qdbg_view_init(&m->inputs, QDBG_F32, 2, samples, m->samples));
}

static void open_tiny(tiny *m, bool declare_y, bool x_too)
{
    open_declared(m, QDBG_RANK_UNKNOWN, NULL, declare_y, x_too);
}

static void close_tiny(tiny *m)
{
    qdbg_model_destroy(m->model);
    qdbg_graph_destroy(m->graph);
    qdbg_ctx_destroy(m->ctx);
}

static void test_unknown_operators_run(void **state)
{
    (void)state;
    tiny m;
    float y[SAMPLES], x[SAMPLES * WIDTH];
    qdbg_view out[2] = {QDBG_VIEW_INIT, QDBG_VIEW_INIT};
    open_tiny(&m, true, true);
    assert_ok(qdbg_model_run(m.model, &m.inputs, 1, out, 2)); /* shapes */
    assert_true(out[0].rank == 2 && out[0].dims[0] == SAMPLES && out[0].dims[1] == 1);
    out[0].data = y;
    out[1].data = x;
    assert_ok(qdbg_model_run(m.model, &m.inputs, 1, out, 2));
    for (int i = 0; i < SAMPLES; i++)
        assert_true(y[i] == 18.0f * (float)i - 18.0f);
    assert_memory_equal(x, m.samples, sizeof x);
    close_tiny(&m);
}

static void test_output_without_shape_is_refused(void **state)
{
    (void)state;
    tiny m;
    qdbg_view out = QDBG_VIEW_INIT;
    open_tiny(&m, false, false);
    assert_int_equal(qdbg_model_run(m.model, &m.inputs, 1, &out, 1), QDBG_E_STATE);
    assert_non_null(strstr(qdbg_ctx_error_message(m.ctx), "'y'"));
    close_tiny(&m);
}

/* Calibrate on `n` samples with h tapped as a tensor of these dimensions. */
static qdbg_status calibrate(tiny *m, qdbg_sim **sim, int64_t n, uint32_t rank, int64_t first)
{
    qdbg_arrays *arrays;
    qdbg_dataset data;
    qdbg_view some = m->inputs;
    some.dims[0] = n;
    m->h_as = (qdbg_view){.rank = rank, .dims = {first, WIDTH}};
    assert_ok(qdbg_arrays_create(m->ctx, &some, 1, NULL, SAMPLES, &arrays));
    assert_ok(qdbg_arrays_dataset(arrays, &data));
    if (!*sim)
        assert_ok(qdbg_sim_create(m->model, NULL, sim));
    qdbg_status status = qdbg_sim_calibrate(*sim, &data);
    qdbg_arrays_destroy(arrays);
    return status;
}

static void test_values_of_unknown_shape_are_calibrated(void **state)
{
    (void)state;
    tiny m;
    qdbg_sim *sim = NULL;
    qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
    open_tiny(&m, true, false);
    assert_ok(calibrate(&m, &sim, SAMPLES, QDBG_RANK_UNKNOWN, 0));
    uint32_t h = qdbg_sim_find_quantizer(sim, "h");
    assert_int_not_equal(h, QDBG_NONE);
    assert_ok(qdbg_sim_quantizer(sim, h, &info));
    assert_true(info.observed_min == -8.0f && info.observed_max == 14.0f);
    assert_string_equal(info.op_type, "Double");
    qdbg_sim_destroy(sim);
    close_tiny(&m);
}

static void assert_rule_3(tiny *m, qdbg_status status)
{
    assert_int_equal(status, QDBG_E_HOST);
    assert_non_null(strstr(qdbg_ctx_error_message(m->ctx), "host rule 3 is broken at value 'h'"));
}

static void test_batch_is_checked_where_the_shape_is_not_known(void **state)
{
    (void)state;
    tiny m;
    qdbg_sim *sim = NULL;
    open_tiny(&m, true, false);
    assert_rule_3(&m, calibrate(&m, &sim, SAMPLES, 2, SAMPLES - 1));
    assert_rule_3(&m, calibrate(&m, &sim, SAMPLES, 0, 0));   /* a scalar for four samples */
    assert_ok(calibrate(&m, &sim, 1, 0, 0));                 /* for one it may be */
    assert_ok(calibrate(&m, &sim, SAMPLES, 2, 2 * SAMPLES)); /* two rows a sample: why not */
    qdbg_sim_destroy(sim);
    close_tiny(&m);
}

/* Where the graph knows a part of the shape, the tensor has to fit that part. */
static void test_declared_dimensions_are_checked_one_by_one(void **state)
{
    (void)state;
    static const struct {
        uint32_t rank;
        int64_t dims[4];
        bool fits;
    } taps[] = {
        {3, {SAMPLES, 1, WIDTH}, true},     {3, {SAMPLES, 2, WIDTH}, true},
        {2, {SAMPLES, WIDTH}, false},       {3, {SAMPLES, 1, WIDTH + 1}, false},
        {4, {SAMPLES, 1, WIDTH, 1}, false}, {3, {SAMPLES, 1, 1}, false},
    };
    static const int64_t partly[] = {QDBG_DIM_UNKNOWN, QDBG_DIM_UNKNOWN, WIDTH};
    tiny m;
    qdbg_sim *sim = NULL;
    qdbg_arrays *arrays;
    qdbg_dataset data;
    open_declared(&m, 3, partly, true, false);
    assert_ok(qdbg_arrays_create(m.ctx, &m.inputs, 1, NULL, SAMPLES, &arrays));
    assert_ok(qdbg_arrays_dataset(arrays, &data));
    assert_ok(qdbg_sim_create(m.model, NULL, &sim));
    for (size_t i = 0; i < sizeof taps / sizeof *taps; i++) {
        m.h_as.rank = taps[i].rank;
        memcpy(m.h_as.dims, taps[i].dims, sizeof taps[i].dims);
        if (taps[i].fits)
            assert_ok(qdbg_sim_calibrate(sim, &data));
        else
            assert_rule_3(&m, qdbg_sim_calibrate(sim, &data));
    }
    qdbg_sim_destroy(sim);
    qdbg_arrays_destroy(arrays);
    close_tiny(&m);
}

/* The log is called on the caller's thread only, so another thread's tap cannot even log. */
static void test_another_threads_tap_touches_nothing(void **state)
{
    (void)state;
    tiny m;
    float y[SAMPLES];
    const int64_t narrow[] = {SAMPLES, 1};
    qdbg_view out;
    open_tiny(&m, true, false);
    assert_ok(qdbg_view_init(&out, QDBG_F32, 2, narrow, y));
    m.elsewhere = true;
    assert_int_equal(qdbg_model_run(m.model, &m.inputs, 1, &out, 1), QDBG_E_HOST);
    assert_non_null(strstr(qdbg_ctx_error_message(m.ctx), "rule 4"));
    assert_int_equal(m.strays, 0);
    m.elsewhere = false;
    assert_ok(qdbg_model_run(m.model, &m.inputs, 1, &out, 1));
    close_tiny(&m);
}

/* What a failed tap said is told although the host has called the library since. */
static void test_words_of_a_failed_tap_outlive_the_hosts_calls(void **state)
{
    (void)state;
    tiny m;
    qdbg_sim *sim = NULL;
    open_tiny(&m, true, false);
    m.asks = true;
    assert_rule_3(&m, calibrate(&m, &sim, SAMPLES, 2, SAMPLES - 1));
    qdbg_sim_destroy(sim);
    close_tiny(&m);
}

static int32_t never_run(void *user, qdbg_tap *to, const qdbg_view *inputs, uint32_t n_inputs)
{
    (void)user, (void)to, (void)inputs, (void)n_inputs;
    return 1;
}

/* Eight outputs of 2^61 bytes each: their sum is 0 when it wraps round. */
static void test_outputs_too_large_to_count_are_refused(void **state)
{
    (void)state;
    static const int64_t narrow[] = {QDBG_DIM_UNKNOWN, WIDTH},
                         huge[] = {QDBG_DIM_UNKNOWN, (int64_t)1 << 59};
    tiny m = {.h_as = {.rank = QDBG_RANK_UNKNOWN}};
    qdbg_host host = QDBG_HOST_INIT;
    qdbg_metric metric = QDBG_METRIC_INIT;
    qdbg_arrays *arrays;
    qdbg_dataset data;
    qdbg_view x;
    double score;
    assert_ok(qdbg_ctx_create(NULL, &m.ctx));
    assert_ok(qdbg_graph_create(m.ctx, 13, &m.graph));
    assert_ok(qdbg_graph_add_value(m.graph, "x", QDBG_F32, 2, narrow, &m.x));
    assert_ok(qdbg_graph_add_input(m.graph, m.x));
    for (char i = 0; i < 8; i++) {
        const char name[] = {(char)('a' + i), 0};
        assert_ok(qdbg_graph_add_value(m.graph, name, QDBG_F32, 2, huge, &m.y));
        assert_ok(qdbg_graph_add_node(m.graph, "Huge", NULL, &m.x, 1, &m.y, 1, NULL));
        assert_ok(qdbg_graph_add_output(m.graph, m.y));
    }
    assert_ok(qdbg_graph_finish(m.graph));
    host.run = never_run;
    host.get_parameter = no_parameter;
    host.set_parameter = no_set;
    assert_ok(qdbg_model_create_host(m.graph, &host, &m.model));
    assert_ok(qdbg_view_init(&x, QDBG_F32, 2, (const int64_t[]){SAMPLES, WIDTH}, m.samples));
    assert_ok(qdbg_arrays_create(m.ctx, &x, 1, NULL, SAMPLES, &arrays));
    assert_ok(qdbg_arrays_dataset(arrays, &data));
    metric.kind = QDBG_METRIC_AGREEMENT;
    assert_int_equal(qdbg_model_evaluate(m.model, &data, &metric, &score), QDBG_E_LIMIT);
    assert_non_null(strstr(qdbg_ctx_error_message(m.ctx), "more than can be addressed"));
    qdbg_arrays_destroy(arrays);
    close_tiny(&m);
}

static void test_diagnosis_of_unknown_operators(void **state)
{
    (void)state;
    tiny m;
    qdbg_arrays *arrays;
    qdbg_dataset data;
    qdbg_metric metric = QDBG_METRIC_INIT;
    qdbg_diagnose_options options = QDBG_DIAGNOSE_OPTIONS_INIT;
    qdbg_diagnosis *diagnosis;
    qdbg_summary summary = QDBG_SUMMARY_INIT;
    open_tiny(&m, true, false);
    assert_ok(qdbg_arrays_create(m.ctx, &m.inputs, 1, NULL, 2, &arrays));
    assert_ok(qdbg_arrays_dataset(arrays, &data));
    metric.kind = QDBG_METRIC_AGREEMENT;
    options.calibration = options.evaluation = &data;
    options.metric = &metric;
    assert_ok(qdbg_diagnose(m.model, &options, &diagnosis));
    assert_ok(qdbg_diagnosis_summary(diagnosis, &summary));
    assert_int_equal(summary.n_findings, 3); /* x, h, y */
    qdbg_diagnosis_destroy(diagnosis);
    qdbg_arrays_destroy(arrays);
    close_tiny(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_operators_run),
        cmocka_unit_test(test_output_without_shape_is_refused),
        cmocka_unit_test(test_values_of_unknown_shape_are_calibrated),
        cmocka_unit_test(test_batch_is_checked_where_the_shape_is_not_known),
        cmocka_unit_test(test_declared_dimensions_are_checked_one_by_one),
        cmocka_unit_test(test_another_threads_tap_touches_nothing),
        cmocka_unit_test(test_words_of_a_failed_tap_outlive_the_hosts_calls),
        cmocka_unit_test(test_outputs_too_large_to_count_are_refused),
        cmocka_unit_test(test_diagnosis_of_unknown_operators),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
