#include "rules_make.h"

#include <stdlib.h>

int rules_begin(void **state)
{
    rules_world *w = calloc(1, sizeof *w);
    w->ctx = make_ctx(2);
    w->g = make_graph(w->ctx, 13);
    w->seed = 1;
    assert_ok(qdbg_rules_create(w->ctx, NULL, &w->rules));
    *state = w;
    return 0;
}

int rules_end(void **state)
{
    rules_world *w = *state;
    qdbg_sim_destroy(w->sim);
    qdbg_model_destroy(w->m);
    if (w->e.graph)
        engine_free(&w->e);
    qdbg_rules_destroy(w->rules);
    qdbg_graph_destroy(w->g);
    qdbg_ctx_destroy(w->ctx);
    free(w);
    return 0;
}

/* ---- rules ---- */

void rules_preset(rules_world *w, const char *preset)
{
    qdbg_rules_destroy(w->rules);
    assert_ok(qdbg_rules_create(w->ctx, preset, &w->rules));
}

void rules_json(rules_world *w, const char *json)
{
    qdbg_rules_destroy(w->rules);
    w->rules = NULL;
    assert_ok(qdbg_rules_load_memory(w->ctx, json, strlen(json), &w->rules));
}

static qdbg_op_rule said_of(rules_world *w, const char *op)
{
    qdbg_op_rule rule = QDBG_OP_RULE_INIT;
    assert_ok(qdbg_rules_get_op(w->rules, op, &rule));
    return rule;
}

void rules_output(rules_world *w, const char *op, int32_t answer)
{
    qdbg_op_rule rule = said_of(w, op);
    rule.output_quantized = answer;
    assert_ok(qdbg_rules_set_op(w->rules, op, &rule));
}

void rules_input(rules_world *w, const char *op)
{
    qdbg_op_rule rule = said_of(w, op);
    rule.input_quantized = QDBG_RULE_YES;
    assert_ok(qdbg_rules_set_op(w->rules, op, &rule));
}

void rules_sharing(rules_world *w, const char *op, int32_t sharing)
{
    qdbg_op_rule rule = said_of(w, op);
    rule.sharing = sharing;
    assert_ok(qdbg_rules_set_op(w->rules, op, &rule));
}

void rules_range(rules_world *w, const char *op, double min, double max)
{
    qdbg_op_rule rule = said_of(w, op);
    rule.has_range = 1;
    rule.min = min;
    rule.max = max;
    assert_ok(qdbg_rules_set_op(w->rules, op, &rule));
}

void rules_param(rules_world *w, const char *op, const char *param, int32_t quantized)
{
    qdbg_param_rule rule = QDBG_PARAM_RULE_INIT;
    rule.quantized = quantized;
    assert_ok(qdbg_rules_set_param(w->rules, op, param, &rule));
}

/* ---- graphs ---- */

uint32_t rules_image(rules_world *w, const char *name)
{
    return make_input(w->g, name, DIMS(1, 4, 6, 6));
}

uint32_t rules_conv(rules_world *w, const char *name, uint32_t x, bool bias)
{
    char text[32];
    uint32_t node, in[3] = {x};
    snprintf(text, sizeof text, "%s.w", name);
    in[1] = make_random(w->g, text, DIMS(4, 4, 3, 3), &w->seed);
    snprintf(text, sizeof text, "%s.b", name);
    if (bias)
        in[2] = make_random(w->g, text, DIMS(4), &w->seed);
    uint32_t y = make_node(w->g, "Conv", name, in, bias ? 3 : 2, &node);
    make_ints(w->g, node, "pads", DIMS(1, 1, 1, 1));
    return y;
}

uint32_t rules_one(rules_world *w, const char *op, const char *name, uint32_t x)
{
    return make_node(w->g, op, name, &x, 1, NULL);
}

uint32_t rules_pool(rules_world *w, const char *op, const char *name, uint32_t x)
{
    uint32_t node, y = make_node(w->g, op, name, &x, 1, &node);
    make_ints(w->g, node, "kernel_shape", DIMS(2, 2));
    return y;
}

uint32_t rules_two(rules_world *w, const char *op, const char *name, uint32_t a, uint32_t b)
{
    return make_node(w->g, op, name, VALUES(a, b), NULL);
}

uint32_t rules_norm(rules_world *w, const char *name, uint32_t x)
{
    static const char *const parts[] = {"gamma", "beta", "mean", "var"};
    static const float ones[4] = {1, 1, 1, 1};
    uint32_t in[5] = {x};
    for (int i = 0; i < 4; i++) {
        char part[32];
        snprintf(part, sizeof part, "%s.%s", name, parts[i]);
        in[i + 1] = make_param(w->g, part, DIMS(4), ones);
    }
    return make_node(w->g, "BatchNormalization", name, in, 5, NULL);
}

uint32_t rules_concat(rules_world *w, const char *name, const uint32_t *values, uint32_t n)
{
    uint32_t node, y = make_node(w->g, "Concat", name, values, n, &node);
    assert_ok(qdbg_graph_set_int(w->g, node, "axis", 1));
    return y;
}

/* ---- simulations ---- */

static void make_sim(rules_world *w)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    o.rules = w->rules;
    assert_ok(qdbg_sim_create(w->m, &o, &w->sim));
}

void rules_host_sim(rules_world *w, uint32_t output)
{
    make_finish(w->g, output);
    w->m = engine_model(&w->e, w->g);
    make_sim(w);
}

void rules_sim(rules_world *w, uint32_t output)
{
    make_finish(w->g, output);
    w->m = builtin_model(w->g);
    make_sim(w);
}

void rules_calibrate(rules_world *w)
{
    samples s = samples_make(w->ctx, w->g, 12, 4, 0);
    assert_ok(qdbg_sim_calibrate(w->sim, &s.set));
    samples_free(&s);
}

typedef struct kept {
    float *at; /* [n] */
    size_t n;
} kept;

static int32_t keep(void *user, void *state, const qdbg_metric_input *in)
{
    kept *k = user;
    size_t count = (size_t)qdbg_view_count(&in->outputs[0]), each = k->n / 12;
    (void)state;
    assert_true(in->first_sample * each + count <= k->n);
    memcpy(k->at + in->first_sample * each, in->outputs[0].data, count * sizeof *k->at);
    return 0;
}

static int32_t no_score(void *user, const void *state, double *score)
{
    (void)user;
    (void)state;
    *score = 0;
    return 0;
}

float *rules_run(rules_world *w, size_t n)
{
    samples s = samples_make(w->ctx, w->g, 12, 4, 0);
    kept k = {calloc(n, sizeof(float)), n};
    qdbg_metric metric = metric_of(QDBG_METRIC_CUSTOM);
    double score;
    metric.user = &k;
    metric.update = keep;
    metric.result = no_score;
    assert_ok(qdbg_sim_evaluate(w->sim, &s.set, &metric, &score));
    samples_free(&s);
    return k.at;
}

static const char *name_of(rules_world *w, uint32_t index)
{
    qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
    assert_ok(qdbg_sim_quantizer(w->sim, index, &q));
    return q.name;
}

void rules_expect(rules_world *w, const char *want)
{
    char got[512] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < qdbg_sim_quantizer_count(w->sim); i++) {
        qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
        char more[80] = "";
        assert_ok(qdbg_sim_quantizer(w->sim, i, &q));
        if (q.kind == QDBG_WEIGHT)
            snprintf(more, sizeof more, "[%d]", q.spec.axis);
        else if (q.kind == QDBG_BIAS)
            snprintf(more, sizeof more, "{%s,%s}", name_of(w, q.from_input),
                     name_of(w, q.from_weight));
        else if (q.group != i)
            snprintf(more, sizeof more, "=%s", name_of(w, q.group));
        used +=
            (size_t)snprintf(got + used, sizeof got - used, "%s%s%s", i ? " " : "", q.name, more);
        assert_true(used < sizeof got);
    }
    assert_string_equal(got, want);
}

qdbg_quantizer_info rules_info(rules_world *w, const char *name)
{
    qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
    assert_ok(qdbg_sim_quantizer(w->sim, qdbg_sim_find_quantizer(w->sim, name), &q));
    return q;
}

qdbg_encoding rules_encoding(rules_world *w, const char *name, uint32_t channel)
{
    qdbg_encoding e = QDBG_ENCODING_INIT;
    assert_ok(qdbg_sim_encoding(w->sim, qdbg_sim_find_quantizer(w->sim, name), channel, &e));
    return e;
}

void rules_expect_absent(rules_world *w, const char *value, int32_t reason, const char *text)
{
    qdbg_absence_info a = QDBG_ABSENCE_INFO_INIT;
    assert_ok(qdbg_sim_absence(w->sim, value_of(w->g, value), &a));
    assert_string_equal(a.text, text);
    assert_int_equal(a.reason, reason);
}
