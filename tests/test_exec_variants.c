/* The executor's shortcuts change nothing: on random graphs with random quantizers and parameters,
 * every variant computed by reuse has the bits of the same variant computed in full, whatever the
 * number of threads and the way runs are grouped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"

#define CHANNELS 4
#define SIDE 6
#define AREA (SIDE * SIDE)
#define COUNT (CHANNELS * AREA) /* floats of every value */
#define MAX_VALUES 128
#define MAX_NODES 14
#define N_ACTS 6
#define MAX_VARIANTS 9
#define MAX_RUNS 7

/* ---- random graphs: all values [1, CHANNELS, SIDE, SIDE], so that anything goes with anything
 * ---- */

typedef struct net {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    uint32_t floating[MAX_VALUES]; /* values a node may read */
    size_t n_floating;
    uint32_t params[MAX_VALUES];
    size_t n_params;
    size_t param_count[MAX_VALUES];
} net;

static uint32_t pick(net *n, uint64_t *seed)
{
    /* mostly a recent value, so that graphs are deep */
    int64_t last = (int64_t)n->n_floating - 1;
    int64_t lo = make_int(seed, 0, 2) ? (last > 2 ? last - 2 : 0) : 0;
    return n->floating[make_int(seed, lo, last)];
}

static uint32_t add_param(net *n, const char *name, const int64_t *dims, uint64_t *seed)
{
    n->param_count[n->n_params] = dims_count(dims);
    return n->params[n->n_params++] = make_random(n->g, name, dims, seed);
}

static void add_conv(net *n, const char *name, uint64_t *seed)
{
    char weight[32];
    uint32_t node;
    snprintf(weight, sizeof weight, "%s.w", name);
    bool depthwise = make_int(seed, 0, 1);
    uint32_t w = add_param(n, weight, DIMS(CHANNELS, depthwise ? 1 : CHANNELS, 3, 3), seed);
    uint32_t x = pick(n, seed), y = make_node(n->g, "Conv", name, VALUES(x, w), &node);
    make_ints(n->g, node, "pads", DIMS(1, 1, 1, 1));
    qdbg_graph_set_int(n->g, node, "group", depthwise ? CHANNELS : 1);
    n->floating[n->n_floating++] = y;
}

static void add_pool(net *n, const char *name, uint64_t *seed)
{
    uint32_t x = pick(n, seed), node, y = make_node(n->g, "MaxPool", name, &x, 1, &node);
    make_ints(n->g, node, "kernel_shape", DIMS(3, 3));
    make_ints(n->g, node, "pads", DIMS(1, 1, 1, 1));
    n->floating[n->n_floating++] = y;
}

static void add_scale(net *n, const char *name, uint64_t *seed)
{
    char factor[32];
    snprintf(factor, sizeof factor, "%s.c", name);
    uint32_t x = pick(n, seed), c = add_param(n, factor, DIMS(CHANNELS, 1, 1), seed);
    n->floating[n->n_floating++] = make_node(n->g, "Mul", name, VALUES(x, c), NULL);
}

/* Split, then Concat in the other order: a node with several outputs. */
static void add_swap(net *n, const char *name, uint64_t *seed)
{
    char part[2][32];
    uint32_t out[2], node, x = pick(n, seed);
    for (int i = 0; i < 2; i++) {
        snprintf(part[i], sizeof part[i], "%s.%d", name, i);
        qdbg_graph_add_value(n->g, part[i], QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, NULL, &out[i]);
    }
    assert_int_equal(qdbg_graph_add_node(n->g, "Split", part[0], &x, 1, out, 2, &node), QDBG_OK);
    qdbg_graph_set_int(n->g, node, "axis", 1);
    uint32_t y = make_node(n->g, "Concat", name, VALUES(out[1], out[0]), &node);
    qdbg_graph_set_int(n->g, node, "axis", 1);
    n->floating[n->n_floating++] = y;
}

static void add_one(net *n, int i, uint64_t *seed)
{
    char name[16];
    snprintf(name, sizeof name, "n%d", i);
    switch (make_int(seed, 0, 7)) {
    case 0:
    case 1:
        add_conv(n, name, seed);
        return;
    case 2:
        add_pool(n, name, seed);
        return;
    case 3:
        add_scale(n, name, seed);
        return;
    case 4:
        add_swap(n, name, seed);
        return;
    case 5:
    case 6: {
        uint32_t a = pick(n, seed), b = pick(n, seed);
        n->floating[n->n_floating++] = make_node(n->g, "Add", name, VALUES(a, b), NULL);
        return;
    }
    default: {
        uint32_t x = pick(n, seed);
        n->floating[n->n_floating++] = make_node(n->g, "Relu", name, &x, 1, NULL);
    }
    }
}

static net random_net(qdbg_ctx *ctx, uint64_t *seed)
{
    net n = {.ctx = ctx, .g = make_graph(ctx, 11)};
    int nodes = (int)make_int(seed, 1, MAX_NODES);
    n.floating[n.n_floating++] = make_input(n.g, "x", DIMS(1, CHANNELS, SIDE, SIDE));
    if (make_int(seed, 0, 1))
        n.floating[n.n_floating++] = make_input(n.g, "z", DIMS(1, CHANNELS, SIDE, SIDE));
    for (int i = 0; i < nodes; i++)
        add_one(&n, i, seed);
    assert_int_equal(qdbg_graph_add_output(n.g, n.floating[n.n_floating - 1]), QDBG_OK);
    for (size_t i = 0; i + 1 < n.n_floating; i++) {
        if (make_int(seed, 0, 5) == 0) /* now and then an input, too */
            assert_int_equal(qdbg_graph_add_output(n.g, n.floating[i]), QDBG_OK);
    }
    assert_int_equal(qdbg_graph_finish(n.g), QDBG_OK);
    assert_true(qdbg_graph_value_count(n.g) <= MAX_VALUES);
    return n;
}

/* ---- random variants ---- */

typedef struct choice {
    qdbg__grid grids[N_ACTS][CHANNELS];
    qdbg__fakequant acts[N_ACTS];
    const qdbg__fakequant *act_table[MAX_VARIANTS][MAX_VALUES];
    const float *param_table[MAX_VARIANTS][MAX_VALUES];
    float *param_data[MAX_VALUES][2]; /* two replacements for each parameter */
    qdbg__variant variants[MAX_VARIANTS];
    uint32_t n_variants;
} choice;

/* Two quantizers are alike, and one is so coarse that its results are often the same. */
static void make_acts(choice *c)
{
    for (int i = 0; i < N_ACTS; i++) {
        for (int ch = 0; ch < CHANNELS; ch++) {
            float scale =
                i == 5 ? 4.0f : 0.02f * (float)(i / 2 + 1) + (i == 4 ? 0.01f * (float)ch : 0);
            c->grids[i][ch] = (qdbg__grid){scale, 3, -20, 20, QDBG__ROUND_EVEN};
        }
        c->acts[i] = (qdbg__fakequant){c->grids[i], i == 4 ? CHANNELS : 1, 1, 0};
    }
}

static bool quantizable(const net *n, uint32_t v)
{
    qdbg_value_info info = QDBG_VALUE_INFO_INIT;
    assert_int_equal(qdbg_graph_value(n->g, v, &info), QDBG_OK);
    return info.dtype == QDBG_F32 && info.rank == 4 && info.dims[1] == CHANNELS &&
           !info.is_parameter;
}

static void random_variant(const net *n, choice *c, uint32_t k, uint64_t *seed)
{
    uint32_t n_values = qdbg_graph_value_count(n->g);
    int64_t change = make_int(seed, 1, 8); /* of ten values, how many are changed */
    bool sparse = make_int(seed, 0, 1);    /* or just one or two */
    for (uint32_t v = 0; v < n_values; v++) {
        c->act_table[k][v] = c->act_table[0][v];
        c->param_table[k][v] = NULL;
        bool hit =
            sparse ? make_int(seed, 0, (int64_t)n_values) < 2 : make_int(seed, 0, 9) < change;
        if (hit && quantizable(n, v)) {
            int64_t act = make_int(seed, -1, N_ACTS - 1);
            c->act_table[k][v] = act < 0 ? NULL : &c->acts[act];
        }
        if (hit && c->param_data[v][0])
            c->param_table[k][v] = c->param_data[v][make_int(seed, 0, 1)];
    }
    c->variants[k] = (qdbg__variant){c->act_table[k], c->param_table[k]};
}

static void random_choice(const net *n, choice *c, uint64_t *seed)
{
    memset(c, 0, sizeof *c);
    make_acts(c);
    for (size_t i = 0; i < n->n_params; i++) {
        qdbg_view view = QDBG_VIEW_INIT;
        assert_int_equal(qdbg_graph_parameter(n->g, n->params[i], &view), QDBG_OK);
        for (int j = 0; j < 2; j++)
            c->param_data[n->params[i]][j] = make_floats(seed, n->param_count[i]);
        /* the second one only bears another address */
        memcpy(c->param_data[n->params[i]][1], view.data, n->param_count[i] * sizeof(float));
    }
    c->n_variants = (uint32_t)make_int(seed, 1, MAX_VARIANTS);
    if (make_int(seed, 0, 1))
        random_variant(n, c, 0, seed); /* a base with quantizers of its own */
    else
        c->variants[0] = (qdbg__variant){NULL, NULL};
    for (uint32_t k = 1; k < c->n_variants; k++)
        random_variant(n, c, k, seed);
}

static void free_choice(choice *c)
{
    for (size_t v = 0; v < MAX_VALUES; v++) {
        free(c->param_data[v][0]);
        free(c->param_data[v][1]);
    }
}

/* ---- what a job showed and gave ---- */

typedef struct record {
    uint32_t n_values, n_outputs;
    float *seen; /* [MAX_RUNS][MAX_VARIANTS][MAX_VALUES][COUNT] */
    bool was_seen[MAX_RUNS][MAX_VARIANTS][MAX_VALUES];
    uint32_t last[MAX_RUNS][MAX_VARIANTS]; /* producer of the last value seen, for the order */
    float *outputs[MAX_VARIANTS][MAX_VALUES];
    const qdbg_graph *g;
    uint64_t first_run; /* of the job at hand */
} record;

static float *seen_at(const record *r, uint64_t run, uint32_t variant, uint32_t value)
{
    return r->seen + ((run * MAX_VARIANTS + variant) * MAX_VALUES + value) * COUNT;
}

static qdbg_status note(void *user, uint32_t worker, uint32_t variant, uint64_t run, uint32_t value,
                        const qdbg_view *view)
{
    record *r = user;
    const qdbg__value *v = &r->g->values[value];
    uint32_t place = v->producer == QDBG_NONE ? 0 : v->producer + 1;
    run += r->first_run;
    if (r->was_seen[run][variant][value] || place < r->last[run][variant] || worker >= 3)
        return QDBG_E_STATE; /* twice, or out of order */
    r->last[run][variant] = place;
    r->was_seen[run][variant][value] = true;
    memcpy(seen_at(r, run, variant, value), view->data, qdbg_view_count(view) * sizeof(float));
    return QDBG_OK;
}

static record *new_record(const net *n)
{
    record *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->g = n->g;
    r->n_values = qdbg_graph_value_count(n->g);
    r->n_outputs = qdbg_graph_output_count(n->g);
    r->seen = calloc((size_t)MAX_RUNS * MAX_VARIANTS * MAX_VALUES * COUNT, sizeof(float));
    assert_non_null(r->seen);
    for (uint32_t k = 0; k < MAX_VARIANTS; k++) {
        for (uint32_t o = 0; o < r->n_outputs; o++)
            r->outputs[k][o] = calloc((size_t)MAX_RUNS * COUNT, sizeof(float));
    }
    return r;
}

static void free_record(record *r)
{
    for (uint32_t k = 0; k < MAX_VARIANTS; k++) {
        for (uint32_t o = 0; o < r->n_outputs; o++)
            free(r->outputs[k][o]);
    }
    free(r->seen);
    free(r);
}

/* Runs first..first+n-1 of the inputs, as variants `variants`. */
static void run_some(const net *n, qdbg__exec *exec, record *r, const qdbg__variant *variants,
                     uint32_t n_variants, float *const *x, uint64_t first, uint64_t count)
{
    qdbg_view inputs[2];
    void *outputs[MAX_VARIANTS * MAX_VALUES];
    for (uint32_t i = 0; i < qdbg_graph_input_count(n->g); i++) {
        inputs[i] = make_view(DIMS(1, CHANNELS, SIDE, SIDE), x[i] + first * COUNT);
        inputs[i].dims[0] = (int64_t)count;
    }
    for (uint32_t k = 0; k < n_variants; k++) {
        for (uint32_t o = 0; o < r->n_outputs; o++)
            outputs[k * r->n_outputs + o] = r->outputs[k][o] + first * COUNT;
    }
    qdbg__exec_job job = {.inputs = inputs,
                          .n_runs = count,
                          .variants = variants,
                          .n_variants = n_variants,
                          .outputs = outputs,
                          .observe = note,
                          .observe_user = r};
    r->first_run = first;
    if (qdbg__exec_run(exec, &job) != QDBG_OK)
        fail_msg("%s", qdbg_ctx_error_message(n->ctx));
}

static void assert_same_outputs(const record *a, uint32_t ka, const record *b, uint32_t kb)
{
    for (uint32_t o = 0; o < a->n_outputs; o++)
        assert_memory_equal(a->outputs[ka][o], b->outputs[kb][o], MAX_RUNS * COUNT * sizeof(float));
}

/* `whole` is variant k computed in full: what r shows of it must be the same, and what r does not
 * show must be the base's. */
static void assert_reused(const record *r, const record *base, uint32_t k, const record *whole,
                          uint64_t runs)
{
    for (uint64_t run = 0; run < runs; run++) {
        for (uint32_t v = 0; v < r->n_values; v++) {
            const float *want = seen_at(whole, run, 0, v);
            bool fresh = r->was_seen[run][k][v];
            assert_true(!fresh || whole->was_seen[run][0][v]);
            const float *have = fresh ? seen_at(r, run, k, v) : seen_at(base, run, 0, v);
            assert_memory_equal(have, want, COUNT * sizeof(float));
        }
    }
    assert_same_outputs(r, k, whole, 0);
}

static void check_net(qdbg_ctx *const *ctxs, uint64_t seed, size_t *skipped)
{
    static choice c;
    uint64_t runs = (uint64_t)make_int(&seed, 1, MAX_RUNS), s = seed;
    record *first = NULL;
    for (int t = 0; t < 3; t++) { /* one, two, three threads */
        seed = s;
        net n = random_net(ctxs[t], &seed);
        float *x[2] = {make_floats(&seed, MAX_RUNS * COUNT), make_floats(&seed, MAX_RUNS * COUNT)};
        qdbg_view shapes[2] = {make_view(DIMS(1, CHANNELS, SIDE, SIDE), NULL),
                               make_view(DIMS(1, CHANNELS, SIDE, SIDE), NULL)};
        qdbg__exec *exec = NULL;
        random_choice(&n, &c, &seed);
        assert_int_equal(qdbg__exec_create(n.g, shapes, &exec), QDBG_OK);
        record *r = new_record(&n);
        uint64_t step = t == 1 ? 2 : runs; /* in pairs, or all at once */
        for (uint64_t at = 0; at < runs; at += step)
            run_some(&n, exec, r, c.variants, c.n_variants, x, at,
                     runs - at < step ? runs - at : step);
        for (uint32_t k = 0; k < c.n_variants && t == 0; k++) {
            record *whole = new_record(&n);
            run_some(&n, exec, whole, &c.variants[k], 1, x, 0, runs);
            assert_reused(r, r, k, whole, runs);
            for (uint32_t v = 0; v < r->n_values; v++)
                *skipped += k > 0 && whole->was_seen[0][0][v] && !r->was_seen[0][k][v];
            free_record(whole);
        }
        for (uint32_t k = 0; k < c.n_variants && first; k++)
            assert_same_outputs(r, k, first, k);
        qdbg__exec_destroy(exec);
        qdbg_graph_destroy(n.g);
        free_choice(&c);
        free(x[0]);
        free(x[1]);
        if (first)
            free_record(r);
        else
            first = r;
    }
    free_record(first);
}

static void test_random_graphs(void **state)
{
    qdbg_ctx *ctxs[3] = {make_ctx(1), make_ctx(2), make_ctx(3)};
    size_t skipped = 0;
    (void)state;
    for (uint64_t i = 0; i < 150; i++)
        check_net(ctxs, 1000 + i * 7919, &skipped);
    assert_true(skipped > 1000); /* else nothing was reused and nothing shown */
    for (int t = 0; t < 3; t++)
        qdbg_ctx_destroy(ctxs[t]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_graphs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
