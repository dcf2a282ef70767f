/* Rule sets, their files and what they place, without memory. */
#include "../rules_make.h"
#include "oom.h"

static const char *const presets[] = {"default", "per_channel", "onnxruntime", "tflite"};

static const char json[] =
    "{\"defaults\": {\"hw_version\": \"V1\", \"supported_kernels\": [{\"param\": {\"bitwidth\": 8,"
    " \"dtype\": \"int\"}}]}, \"params\": {\"bias\": {\"is_quantized\": \"False\"}},"
    " \"op_type\": {\"Conv\": {\"params\": {\"weight\": {\"is_symmetric\": \"True\"}},"
    " \"supported_kernels\": []}}, \"supergroup_pass_list\": [\"A\", \"B\"], \"supergroups\": "
    "[{\"op_list\": [\"Conv\", \"Relu\"]}],"
    " \"qdebug\": {\"op_type\": {\"Max\": {\"sharing\": \"all\"}}}}";

static void drop_rules(world *w)
{
    qdbg_rules_destroy(w->out);
}

static void make_rules(world *w)
{
    qdbg_rules *rules = NULL;
    assert_ok(qdbg_rules_load_memory(w->ctx, json, sizeof json - 1, &rules));
    w->rules = rules;
}

static qdbg_status create(world *w)
{
    qdbg_rules *rules = NULL;
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < 4 && status == QDBG_OK; i++) {
        qdbg_rules_destroy(rules);
        rules = NULL;
        status = qdbg_rules_create(w->ctx, presets[i], &rules);
    }
    if (status == QDBG_OK)
        w->out = rules;
    return status;
}

static qdbg_status load(world *w)
{
    qdbg_rules *rules;
    qdbg_status status = qdbg_rules_load_memory(w->ctx, json, sizeof json - 1, &rules);
    if (status == QDBG_OK)
        w->out = rules;
    return status;
}

static qdbg_status copy(world *w)
{
    qdbg_rules *rules;
    qdbg_status status = qdbg_rules_copy(w->rules, &rules);
    if (status == QDBG_OK)
        w->out = rules;
    return status;
}

static qdbg_status write_rules(world *w)
{
    char text[4096];
    size_t length = 0;
    qdbg_status status = qdbg_rules_write(w->rules, 0, text, sizeof text, &length);
    if (status == QDBG_OK)
        w->hash = hash_of(text, length);
    return status;
}

static qdbg_status write_lossy(world *w)
{
    char text[4096];
    size_t length = 0;
    qdbg_status status = qdbg_rules_write(w->rules, QDBG_RULES_AIMET | QDBG_RULES_LOSSY, text,
                                          sizeof text, &length);
    if (status == QDBG_OK)
        w->hash = hash_of(text, length);
    return status;
}

/* The list of what AIMET's format cannot say takes memory, too. */
static qdbg_status write_refused(world *w)
{
    size_t length = 0;
    qdbg_status status = qdbg_rules_write(w->rules, QDBG_RULES_AIMET, NULL, 0, &length);
    return status == QDBG_E_UNSUPPORTED ? QDBG_OK : status;
}

/* What has failed has said nothing. */
static qdbg_status change(world *w)
{
    static const char *const pair[] = {"Add", "Relu"};
    qdbg_rules *copy_of = NULL;
    qdbg_op_rule op = QDBG_OP_RULE_INIT;
    qdbg_param_rule param = QDBG_PARAM_RULE_INIT;
    op.output_quantized = param.quantized = QDBG_RULE_YES;
    qdbg_status status = qdbg_rules_copy(w->rules, &copy_of);
    if (status == QDBG_OK)
        status = qdbg_rules_set_op(copy_of, "Pad", &op);
    if (status == QDBG_OK)
        status = qdbg_rules_set_param(copy_of, "Gemm", "weight", &param);
    if (status == QDBG_OK)
        status = qdbg_rules_set_param(copy_of, NULL, "w", &param);
    if (status == QDBG_OK)
        status = qdbg_rules_add_supergroup(copy_of, pair, 2);
    if (status == QDBG_OK)
        w->id = qdbg_rules_op_count(copy_of) + 100 * qdbg_rules_supergroup_count(copy_of);
    qdbg_rules_destroy(copy_of);
    return status;
}

/* So many that they are found by a table. */
static qdbg_status say_much(world *w)
{
    qdbg_rules *much = NULL;
    qdbg_param_rule param = QDBG_PARAM_RULE_INIT;
    qdbg_status status = qdbg_rules_create(w->ctx, "empty", &much);
    for (int i = 0; i < 70 && status == QDBG_OK; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        uint32_t before = qdbg_rules_op_count(much);
        param.quantized = i % 3;
        status = qdbg_rules_set_param(much, name, "weight", &param);
        if (status == QDBG_OK)
            status = qdbg_rules_set_param(much, "n0", name, &param);
        else
            assert_int_equal(qdbg_rules_op_count(much), before);
        assert_ok(qdbg_rules_get_param(much, i ? "n0" : "n1", "n1", &param));
    }
    if (status == QDBG_OK)
        w->id = qdbg_rules_op_count(much);
    qdbg_rules_destroy(much);
    return status;
}

/* Each call by itself leaves the rules as they were where it fails. */
static qdbg_status set_new_param(world *w)
{
    qdbg_param_rule param = QDBG_PARAM_RULE_INIT;
    param.quantized = QDBG_RULE_YES;
    qdbg_status status = qdbg_rules_set_param(w->rules, "Gemm", "weight", &param);
    if (status == QDBG_OK)
        w->id = qdbg_rules_op_count(w->rules);
    return status;
}

static void rules_are_intact(world *w)
{
    qdbg_rules *fresh = NULL;
    assert_ok(qdbg_rules_load_memory(w->ctx, json, sizeof json - 1, &fresh));
    assert_int_equal(qdbg_rules_equal(w->rules, fresh), 1);
    qdbg_rules_destroy(fresh);
}

static qdbg_status add_group(world *w)
{
    static const char *const three[] = {"Add", "Relu", "Clip"};
    qdbg_status status = qdbg_rules_add_supergroup(w->rules, three, 3);
    if (status == QDBG_OK)
        w->id = qdbg_rules_supergroup_count(w->rules);
    return status;
}

/* ---- simulations under rules ---- */

/* x -> Relu "a" and Tanh "b" -> Concat -> Conv with a bias. */
static void with_groups(world *w)
{
    uint64_t seed = 1;
    uint32_t node;
    w->g = make_graph(w->ctx, 13);
    uint32_t x = make_input(w->g, "x", DIMS(1, 2, 3, 3));
    uint32_t a = make_node(w->g, "Relu", "a", &x, 1, NULL);
    uint32_t b = make_node(w->g, "Tanh", "b", &x, 1, NULL);
    uint32_t k = make_node(w->g, "Concat", "k", VALUES(a, b), &node);
    assert_ok(qdbg_graph_set_int(w->g, node, "axis", 1));
    uint32_t in[3] = {k, make_random(w->g, "c.w", DIMS(3, 4, 1, 1), &seed),
                      make_random(w->g, "c.b", DIMS(3), &seed)};
    make_finish(w->g, make_node(w->g, "Conv", "c", in, 3, NULL));
    w->m = builtin_model(w->g);
    w->s = samples_make(w->ctx, w->g, 5, 2, 0);
    qdbg_rules *rules = NULL;
    assert_ok(qdbg_rules_create(w->ctx, "tflite", &rules));
    w->rules = rules;
}

static void with_sim_of_groups(world *w)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    with_groups(w);
    o.rules = w->rules;
    o.collect = QDBG_OBSERVE_HISTOGRAM;
    assert_ok(qdbg_sim_create(w->m, &o, &w->sim));
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
}

static uint64_t hash_of_sim(qdbg_sim *sim)
{
    uint64_t hash = qdbg_sim_quantizer_count(sim);
    for (uint32_t i = 0; i < qdbg_sim_quantizer_count(sim); i++) {
        qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
        assert_ok(qdbg_sim_quantizer(sim, i, &info));
        hash = hash * 31 + info.group;
        for (uint32_t c = 0; c < info.n_encodings; c++) {
            qdbg_encoding e = QDBG_ENCODING_INIT;
            assert_ok(qdbg_sim_encoding(sim, i, c, &e));
            hash = hash * 31 + hash_of(&e, sizeof e);
        }
    }
    return hash;
}

static void encodings_are_intact(world *w)
{
    world clean = {0};
    uint64_t got = hash_of_sim(w->sim);
    heap_init(&clean.h);
    clean.ctx = heap_ctx(&clean.h, 2);
    with_sim_of_groups(&clean);
    assert_true(got == hash_of_sim(clean.sim));
    qdbg_rules_destroy(clean.rules);
    qdbg_sim_destroy(clean.sim);
    samples_free(&clean.s);
    qdbg_model_destroy(clean.m);
    qdbg_graph_destroy(clean.g);
    heap_end(&clean.h, clean.ctx);
}

static qdbg_status create_sim(world *w)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    o.rules = w->rules;
    qdbg_sim *sim;
    qdbg_status status = qdbg_sim_create(w->m, &o, &sim);
    if (status != QDBG_OK)
        return status;
    w->out = sim;
    w->hash = hash_of_sim(sim);
    return QDBG_OK;
}

static void drop_sim(world *w)
{
    qdbg_sim_destroy(w->out);
}

static qdbg_status hashed(world *w, qdbg_status status)
{
    if (status == QDBG_OK)
        w->hash = hash_of_sim(w->sim);
    return status;
}

static qdbg_status set_bits(world *w)
{
    return hashed(w, qdbg_sim_set_bits(w->sim, qdbg_sim_find_quantizer(w->sim, "b"), 4));
}

static qdbg_status set_range(world *w)
{
    return hashed(w, qdbg_sim_set_range(w->sim, qdbg_sim_find_quantizer(w->sim, "a"), -2, 2));
}

static qdbg_status set_method(world *w)
{
    qdbg_range_options r = QDBG_RANGE_OPTIONS_INIT;
    r.method = QDBG_RANGE_MSE;
    return hashed(w, qdbg_sim_set_range_method(w->sim, QDBG_ACTIVATION, &r));
}

static qdbg_status calibrate(world *w)
{
    return hashed(w, qdbg_sim_calibrate(w->sim, &w->s.set));
}

static qdbg_status evaluate(world *w)
{
    w->metric = metric_of(QDBG_METRIC_SQNR);
    return qdbg_sim_evaluate(w->sim, &w->s.set, &w->metric, &w->score);
}

static qdbg_status tell_absence(world *w)
{
    qdbg_absence_info info = QDBG_ABSENCE_INFO_INIT;
    qdbg_status status = qdbg_sim_absence(w->sim, value_of(w->g, "k"), &info);
    if (status == QDBG_OK)
        w->hash = hash_of(info.text, strlen(info.text));
    return status;
}

static void run(void **state)
{
    static const scenario all[] = {
        {"rules_create", with_nothing, create, drop_rules, NULL, false},
        {"rules_load_memory", with_nothing, load, drop_rules, NULL, false},
        {"rules_copy", make_rules, copy, drop_rules, rules_are_intact, false},
        {"rules_write", make_rules, write_rules, NULL, rules_are_intact, false},
        {"rules_write_lossy", make_rules, write_lossy, NULL, rules_are_intact, false},
        {"rules_write_refused", make_rules, write_refused, NULL, rules_are_intact, false},
        {"rules_set", make_rules, change, NULL, rules_are_intact, false},
        {"rules_set_param, often", with_nothing, say_much, NULL, NULL, false},
        {"rules_set_param", make_rules, set_new_param, NULL, rules_are_intact, false},
        {"rules_add_supergroup", make_rules, add_group, NULL, rules_are_intact, false},
        {"sim_create", with_groups, create_sim, drop_sim, NULL, false},
        {"sim_set_bits", with_sim_of_groups, set_bits, NULL, encodings_are_intact, false},
        {"sim_set_range", with_sim_of_groups, set_range, NULL, encodings_are_intact, false},
        {"sim_set_range_method", with_sim_of_groups, set_method, NULL, encodings_are_intact, false},
        {"sim_calibrate", with_sim_of_groups, calibrate, NULL, encodings_are_intact, false},
        {"sim_evaluate", with_sim_of_groups, evaluate, NULL, NULL, false},
        {"sim_absence", with_sim_of_groups, tell_absence, NULL, encodings_are_intact, false},
    };
    (void)state;
    RUN_ALL(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
