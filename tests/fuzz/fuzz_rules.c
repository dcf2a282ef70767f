/* Any bytes as a configuration file: an error with words, or rules that go round and that a graph
 * can be quantized by; and no memory held after. Breaking a promise aborts. */
#include <qdebug/qdebug.h>
#include <stdbool.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool promise)
{
    if (!promise)
        abort();
}

static bool check_outcome(const qdbg_ctx *ctx, qdbg_status status)
{
    qdbg_error_info info = QDBG_ERROR_INFO_INIT;
    if (status == QDBG_OK)
        return true;
    check(qdbg_ctx_error(ctx, &info) == QDBG_OK);
    check(info.status == status && info.message[0]);
    check(status == QDBG_E_FORMAT || status == QDBG_E_NOMEM || status == QDBG_E_LIMIT);
    return false;
}

/* Written and read again they are the same. */
static void go_round(qdbg_ctx *ctx, const qdbg_rules *rules)
{
    size_t length = 0, again = 0;
    qdbg_rules *read = NULL;
    check(qdbg_rules_write(rules, 0, NULL, 0, &length) == QDBG_OK);
    char *text = malloc(length + 1);
    check(text && qdbg_rules_write(rules, 0, text, length + 1, &again) == QDBG_OK);
    check(again == length && text[length] == 0);
    check(qdbg_rules_load_memory(ctx, text, length, &read) == QDBG_OK);
    check(qdbg_rules_equal(rules, read) == 1);
    qdbg_rules_destroy(read);
    free(text);
}

static uint32_t add(qdbg_graph *g, const char *op, const char *name, const uint32_t *in, uint32_t n)
{
    uint32_t out = QDBG_NONE, node;
    check(qdbg_graph_add_value(g, name, QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, NULL, &out) == QDBG_OK);
    check(qdbg_graph_add_node(g, op, name, in, n, &out, 1, &node) == QDBG_OK);
    if (op[0] == 'C' && op[3] == 'c') /* Concat */
        check(qdbg_graph_set_int(g, node, "axis", 1) == QDBG_OK);
    return out;
}

/* x [1, 2, 2, 2] -> Conv -> Relu; both to Concat -> MaxPool -> Add with x. */
static qdbg_graph *make_graph(qdbg_ctx *ctx)
{
    static const float weights[8] = {1, -2, 3, -4, 5, -6, 7, -8};
    static const int64_t dims[4] = {1, 2, 2, 2};
    qdbg_view w = {sizeof w, QDBG_F32, 4, 0, {2, 2, 1, 1}, (void *)(uintptr_t)weights};
    qdbg_view b = {sizeof b, QDBG_F32, 1, 0, {2}, (void *)(uintptr_t)weights};
    qdbg_graph *g = NULL;
    uint32_t in[3], both[2], sum[2];
    check(qdbg_graph_create(ctx, 13, &g) == QDBG_OK);
    check(qdbg_graph_add_value(g, "x", QDBG_F32, 4, dims, &in[0]) == QDBG_OK);
    check(qdbg_graph_add_input(g, in[0]) == QDBG_OK);
    check(qdbg_graph_add_parameter(g, "w", &w, &in[1]) == QDBG_OK);
    check(qdbg_graph_add_parameter(g, "b", &b, &in[2]) == QDBG_OK);
    both[0] = add(g, "Conv", "c", in, 3);
    both[1] = add(g, "Relu", "r", both, 1);
    sum[0] = add(g, "Concat", "k", both, 2);
    sum[1] = add(g, "Sigmoid", "s", sum, 1);
    check(qdbg_graph_add_output(g, add(g, "Max", "y", sum, 2)) == QDBG_OK);
    check(qdbg_graph_finish(g) == QDBG_OK);
    return g;
}

/* Every value has a quantizer, or a reason for having none. */
static void place(qdbg_ctx *ctx, const qdbg_rules *rules)
{
    qdbg_graph *g = make_graph(ctx);
    qdbg_model *m = NULL;
    qdbg_sim *sim = NULL;
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    o.rules = rules;
    check(qdbg_model_create(g, &m) == QDBG_OK && qdbg_sim_create(m, &o, &sim) == QDBG_OK);
    for (uint32_t v = 0; v < qdbg_graph_value_count(g); v++) {
        qdbg_absence_info a = QDBG_ABSENCE_INFO_INIT;
        check(qdbg_sim_absence(sim, v, &a) == QDBG_OK);
        check((a.reason == QDBG_ABSENT_NOT) == (a.text[0] == 0));
        check(a.reason != QDBG_ABSENT_NOT || a.quantizer < qdbg_sim_quantizer_count(sim));
    }
    for (uint32_t i = 0; i < qdbg_sim_quantizer_count(sim); i++) {
        qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
        check(qdbg_sim_quantizer(sim, i, &q) == QDBG_OK && q.group <= i);
        if (q.kind == QDBG_ACTIVATION)
            check(qdbg_sim_set_range(sim, i, -1, 1) == QDBG_OK);
    }
    qdbg_sim_destroy(sim);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx;
    qdbg_rules *rules = NULL;
    uint64_t before, after;
    options.threads = 1;
    check(qdbg_ctx_create(&options, &ctx) == QDBG_OK);
    qdbg_ctx_memory(ctx, &before, NULL);
    qdbg_status status = qdbg_rules_load_memory(ctx, data, size, &rules);
    check((status == QDBG_OK) == (rules != NULL));
    if (check_outcome(ctx, status)) {
        go_round(ctx, rules);
        place(ctx, rules);
    }
    qdbg_rules_destroy(rules);
    qdbg_ctx_memory(ctx, &after, NULL);
    check(before == after);
    qdbg_ctx_destroy(ctx);
    return 0;
}
