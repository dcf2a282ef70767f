/* Models and simulations without memory. */
#include "oom.h"

/* ---- models ---- */

static qdbg_status model_create(world *w)
{
    return qdbg_model_create(w->g, (qdbg_model **)&w->out);
}

static qdbg_status model_create_host(world *w)
{
    qdbg_host host;
    engine e = {.graph = w->g};
    host = engine_host(&e);
    return qdbg_model_create_host(w->g, &host, (qdbg_model **)&w->out);
}

static void model_drop(world *w)
{
    qdbg_model_destroy(w->out);
}

static qdbg_status set_parameter(world *w)
{
    const float bias[] = {1, 2, 3};
    return qdbg_model_set_parameter(w->m, value_of(w->g, "fb"), bias, 3);
}

static void bias_is_the_graphs(world *w)
{
    qdbg_view was = QDBG_VIEW_INIT;
    float now[3];
    assert_ok(qdbg_graph_parameter(w->g, value_of(w->g, "fb"), &was));
    assert_ok(qdbg_model_get_parameter(w->m, value_of(w->g, "fb"), now, 3));
    assert_memory_equal(now, was.data, sizeof now);
}

static qdbg_status model_run(world *w)
{
    float y[30];
    qdbg_view in = samples_view(w->g, &w->s), out = make_view(DIMS(10, 3), y);
    qdbg_status status = qdbg_model_run(w->m, &in, 1, &out, 1);
    if (status == QDBG_OK)
        w->hash = hash_of(y, sizeof y);
    return status;
}

static qdbg_status model_evaluate(world *w)
{
    return qdbg_model_evaluate(w->m, &w->s.set, &w->metric, &w->score);
}

static qdbg_status reference_create(world *w)
{
    return qdbg_reference_create(w->m, &w->s.set, (qdbg_reference **)&w->out);
}

static void reference_drop(world *w)
{
    qdbg_reference_destroy(w->out);
}

/* Two passes, the second of which compares with what the first kept. */
static qdbg_status evaluate_with_reference(world *w)
{
    qdbg_reference *r = NULL;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    qdbg_status status = qdbg_reference_create(w->m, &w->s.set, &r);
    metric.reference = r;
    if (status == QDBG_OK)
        status = qdbg_model_evaluate(w->m, &w->s.set, &metric, &w->score);
    qdbg_reference_destroy(r);
    return status;
}

static qdbg_status arrays_create(world *w)
{
    qdbg_view x = samples_view(w->g, &w->s);
    return qdbg_arrays_create(w->ctx, &x, 1, NULL, 2, (qdbg_arrays **)&w->out);
}

static void arrays_drop(world *w)
{
    qdbg_arrays_destroy(w->out);
}

static void models(void **state)
{
    static const scenario all[] = {
        {"model_create", with_graph, model_create, model_drop, NULL, false},
        {"model_create_host", with_graph, model_create_host, model_drop, NULL, false},
        {"set_parameter", with_builtin, set_parameter, NULL, bias_is_the_graphs, false},
        {"run", with_builtin, model_run, NULL, NULL, false},
        {"run, host", with_host, model_run, NULL, NULL, false},
        {"run, first", with_unplanned, model_run, NULL, NULL, false},
        {"evaluate", with_builtin, model_evaluate, NULL, NULL, false},
        {"evaluate, host", with_host, model_evaluate, NULL, NULL, false},
        {"reference_create", with_builtin, reference_create, reference_drop, NULL, false},
        {"reference_create, host", with_host, reference_create, reference_drop, NULL, false},
        {"evaluate with a reference", with_builtin, evaluate_with_reference, NULL, NULL, false},
        {"arrays_create", with_builtin, arrays_create, arrays_drop, NULL, false},
    };
    (void)state;
    RUN_ALL(all);
}

/* ---- simulations ---- */

static void with_changed_weight(world *w)
{
    with_calibrated(w);
    float data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    assert_ok(qdbg_model_set_parameter(w->m, value_of(w->g, "cw"), data, 8));
}

/* All encodings, or that there are none. */
static uint64_t encodings_of(world *w)
{
    qdbg_encoding all[64];
    size_t n = 0;
    memset(all, 0, sizeof all);
    for (uint32_t i = 0; i < qdbg_sim_quantizer_count(w->sim); i++)
        for (uint32_t c = 0; c < 8; c++, n++) {
            all[n].struct_size = sizeof all[n];
            qdbg_sim_encoding(w->sim, i, c, &all[n]);
        }
    return hash_of(all, sizeof all);
}

static qdbg_status sim_create(world *w)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    o.weight_granularity = QDBG_PER_CHANNEL;
    return qdbg_sim_create(w->m, &o, (qdbg_sim **)&w->out);
}

static void sim_drop(world *w)
{
    qdbg_sim_destroy(w->out);
}

static qdbg_status calibrate(world *w)
{
    qdbg_status status = qdbg_sim_calibrate(w->sim, &w->s.set);
    if (status == QDBG_OK)
        w->hash = encodings_of(w);
    return status;
}

static void no_activation_has_an_encoding(world *w)
{
    for (uint32_t i = 0; i < qdbg_sim_quantizer_count(w->sim); i++) {
        qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
        assert_ok(qdbg_sim_quantizer(w->sim, i, &q));
        assert_int_equal(q.n_encodings, q.kind == QDBG_WEIGHT);
        if (q.kind == QDBG_ACTIVATION)
            assert_true(q.observed_min == 0 && q.observed_max == 0);
    }
}

static qdbg_status encoding(world *w)
{
    qdbg_encoding e = QDBG_ENCODING_INIT;
    qdbg_status status = qdbg_sim_encoding(w->sim, qdbg_sim_find_quantizer(w->sim, "cw"), 0, &e);
    if (status == QDBG_OK)
        w->hash = hash_of(&e, sizeof e);
    return status;
}

static qdbg_status per_channel(world *w, int32_t axis)
{
    qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
    uint32_t cw = qdbg_sim_find_quantizer(w->sim, "cw");
    assert_ok(qdbg_sim_quantizer(w->sim, cw, &q));
    q.spec.granularity = QDBG_PER_CHANNEL;
    q.spec.axis = axis;
    qdbg_status status = qdbg_sim_set_spec(w->sim, cw, &q.spec);
    if (status == QDBG_OK)
        w->hash = encodings_of(w);
    return status;
}

static qdbg_status set_spec(world *w)
{
    return per_channel(w, 0);
}

static qdbg_status set_spec_of_another_axis(world *w)
{
    return per_channel(w, 1);
}

static void weight_is_per_tensor(world *w)
{
    qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
    uint32_t cw = qdbg_sim_find_quantizer(w->sim, "cw");
    assert_ok(qdbg_sim_quantizer(w->sim, cw, &q));
    assert_true(q.spec.granularity == QDBG_PER_TENSOR && q.spec.axis == 0 && q.n_encodings == 1);
    /* ... and can still become per channel along its own axis. */
    assert_ok(per_channel(w, 0));
    assert_ok(qdbg_sim_quantizer(w->sim, cw, &q));
    assert_int_equal(q.n_encodings, 4);
    q.spec.granularity = QDBG_PER_TENSOR;
    assert_ok(qdbg_sim_set_spec(w->sim, cw, &q.spec));
    reset_outs(w);
}

static qdbg_status set_bits(world *w)
{
    uint32_t cw = qdbg_sim_find_quantizer(w->sim, "cw");
    qdbg_status status = qdbg_sim_set_bits(w->sim, cw, QDBG_BITS_BYPASS);
    if (status == QDBG_OK)
        status = qdbg_sim_set_bits(w->sim, cw, 4);
    return status;
}

static qdbg_status set_range(world *w)
{
    return qdbg_sim_set_range(w->sim, 0, -1, 1);
}

static void calibration_would_hold(world *w)
{
    no_activation_has_an_encoding(w);
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    qdbg_encoding e = QDBG_ENCODING_INIT;
    assert_ok(qdbg_sim_encoding(w->sim, 0, 0, &e));
    assert_true(e.max > 2); /* what was observed, not the range that could not be set */
}

static qdbg_status clear_range(world *w)
{
    qdbg_status status = qdbg_sim_set_range(w->sim, 0, -1, 1);
    return status == QDBG_OK ? qdbg_sim_clear_range(w->sim, 0) : status;
}

static qdbg_status sim_evaluate(world *w)
{
    return qdbg_sim_evaluate(w->sim, &w->s.set, &w->metric, &w->score);
}

static void simulations(void **state)
{
    static const scenario all[] = {
        {"sim_create", with_builtin, sim_create, sim_drop, NULL, false},
        {"sim_create, host", with_host, sim_create, sim_drop, NULL, false},
        {"calibrate", with_sim, calibrate, NULL, no_activation_has_an_encoding, false},
        {"calibrate, host", with_host_sim, calibrate, NULL, no_activation_has_an_encoding, false},
        {"calibrate again", with_calibrated, calibrate, NULL, NULL, false},
        {"encoding", with_changed_weight, encoding, NULL, NULL, false},
        {"set_spec", with_sim, set_spec, NULL, weight_is_per_tensor, false},
        {"set_spec, axis", with_sim, set_spec_of_another_axis, NULL, weight_is_per_tensor, false},
        {"set_bits", with_sim, set_bits, NULL, NULL, false},
        {"set_range", with_sim, set_range, NULL, calibration_would_hold, false},
        {"clear_range", with_sim, clear_range, NULL, NULL, false},
        {"sim_evaluate", with_calibrated, sim_evaluate, NULL, NULL, false},
        {"sim_evaluate, host", with_calibrated_host, sim_evaluate, NULL, NULL, false},
        {"sim_evaluate, changed", with_changed_weight, sim_evaluate, NULL, NULL, false},
    };
    (void)state;
    RUN_ALL(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models),
        cmocka_unit_test(simulations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
