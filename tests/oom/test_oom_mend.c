/* Repairs of weights and biases without memory: the model is as it was. */
#include "oom.h"

static void params_are_the_graphs(world *w)
{
    for (uint32_t v = 0; v < qdbg_graph_value_count(w->g); v++) {
        qdbg_view was = QDBG_VIEW_INIT;
        float now[64];
        if (qdbg_graph_parameter(w->g, v, &was) != QDBG_OK)
            continue;
        assert_true(qdbg_view_count(&was) <= 64);
        assert_ok(qdbg_model_get_parameter(w->m, v, now, qdbg_view_count(&was)));
        assert_memory_equal(now, was.data, (size_t)qdbg_view_count(&was) * sizeof *now);
    }
}

static void with_gemms(world *w)
{
    with_unplanned(w);
    assert_ok(qdbg_sim_create(w->m, NULL, &w->sim));
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
}

/* Two branches joined and split again, with bounds by channel and a sum: what equalization keeps
 * notes of. */
static void with_branches(world *w)
{
    uint64_t seed = 8;
    uint32_t node, parts[2], in[2];
    float low[5] = {0}, high[5] = {1, 2, 3, 4, 5};
    w->g = make_graph(w->ctx, 11);
    uint32_t x = make_input(w->g, "x", DIMS(1, 2, 3, 3));
    in[0] = make_node(w->g, "Conv", "a",
                      VALUES(x, make_random(w->g, "a.w", DIMS(3, 2, 1, 1), &seed),
                             make_random(w->g, "a.b", DIMS(3), &seed)),
                      NULL);
    in[1] = make_node(w->g, "Conv", "b",
                      VALUES(x, make_random(w->g, "b.w", DIMS(2, 2, 1, 1), &seed)), NULL);
    in[0] = make_node(w->g, "Concat", "cat", in, 2, &node);
    assert_ok(qdbg_graph_set_int(w->g, node, "axis", 1));
    in[0] = make_node(w->g, "Clip", "r",
                      VALUES(in[0], make_param(w->g, "low", DIMS(5, 1, 1), low),
                             make_param(w->g, "high", DIMS(5, 1, 1), high)),
                      NULL);
    for (int i = 0; i < 2; i++)
        assert_ok(qdbg_graph_add_value(w->g, i ? "right" : "left", QDBG_F32, QDBG_RANK_UNKNOWN,
                                       NULL, &parts[i]));
    assert_ok(qdbg_graph_add_node(w->g, "Split", "split", in, 1, parts, 2, &node));
    assert_ok(qdbg_graph_set_int(w->g, node, "axis", 1));
    make_ints(w->g, node, "split", DIMS(3, 2));
    uint32_t k = make_random(w->g, "k", DIMS(3, 1, 1), &seed);
    parts[0] = make_node(w->g, "Add", "shifted", VALUES(parts[0], k), NULL);
    in[0] = make_node(w->g, "Conv", "c",
                      VALUES(parts[0], make_random(w->g, "c.w", DIMS(2, 3, 1, 1), &seed)), NULL);
    in[1] = make_node(w->g, "Conv", "d",
                      VALUES(parts[1], make_random(w->g, "d.w", DIMS(2, 2, 1, 1), &seed)), NULL);
    make_finish(w->g, make_node(w->g, "Add", "sum", in, 2, NULL));
    w->m = builtin_model(w->g);
    w->s = samples_make(w->ctx, w->g, 6, 3, 0);
}

static qdbg_status fold(world *w)
{
    qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
    qdbg_fold *f = UNTOUCHED;
    o.flags = QDBG_FOLD_NEUTRALIZE;
    o.data = &w->s.set;
    qdbg_status status = qdbg_fold_run(w->m, &o, &f);
    w->out = f;
    return status;
}

static void fold_drop(world *w)
{
    assert_ok(qdbg_fold_undo(w->out));
    qdbg_fold_destroy(w->out);
}

static qdbg_status equalize(world *w)
{
    qdbg_equalize_options o = QDBG_EQUALIZE_OPTIONS_INIT;
    qdbg_equalize *e = UNTOUCHED;
    o.formula = QDBG_EQUALIZE_ACTIVATIONS;
    o.calibration = &w->s.set;
    qdbg_status status = qdbg_equalize_run(w->m, &o, &e);
    w->out = e;
    return status;
}

static qdbg_status absorb(world *w)
{
    qdbg_absorb_options o = QDBG_ABSORB_OPTIONS_INIT;
    qdbg_equalize *e = UNTOUCHED;
    o.calibration = &w->s.set;
    qdbg_status status = qdbg_absorb_biases(w->m, &o, &e);
    w->out = e;
    return status;
}

static void equalize_drop(world *w)
{
    assert_ok(qdbg_equalize_undo(w->out));
    qdbg_equalize_destroy(w->out);
}

static qdbg_status correct(world *w)
{
    qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
    qdbg_bias_correction *b = UNTOUCHED;
    o.flags = QDBG_BIAS_SEQUENTIAL;
    qdbg_status status = qdbg_bias_correct(w->sim, &w->s.set, &o, &b);
    w->out = b;
    return status;
}

static void correction_drop(world *w)
{
    assert_ok(qdbg_bias_correction_undo(w->out));
    qdbg_bias_correction_destroy(w->out);
}

static qdbg_status expose(world *w)
{
    qdbg_graph *g = UNTOUCHED;
    qdbg_status status = qdbg_graph_expose_clips(w->g, &g);
    w->out = g;
    return status;
}

static void graph_drop(world *w)
{
    qdbg_graph_destroy(w->out);
}

static void repairs(void **state)
{
    static const scenario all[] = {
        {"fold_run", with_builtin, fold, fold_drop, params_are_the_graphs, false},
        {"fold_run, host", with_host, fold, fold_drop, params_are_the_graphs, false},
        {"equalize", with_gemms, equalize, equalize_drop, params_are_the_graphs, false},
        {"equalize, branches", with_branches, equalize, equalize_drop, params_are_the_graphs,
         false},
        {"absorb, branches", with_branches, absorb, equalize_drop, params_are_the_graphs, false},
        {"absorb", with_gemms, absorb, equalize_drop, params_are_the_graphs, false},
        {"bias_correct", with_gemms, correct, correction_drop, params_are_the_graphs, false},
        {"bias_correct, host", with_host_sim, correct, correction_drop, params_are_the_graphs,
         false},
        {"expose_clips", with_graph, expose, graph_drop, NULL, false},
    };
    (void)state;
    RUN_ALL(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(repairs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
