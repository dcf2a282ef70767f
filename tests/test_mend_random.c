/* Repairs of random networks: folding, equalization and absorption leave the function as it is, and
 * undone they leave every parameter as it was. Arguments: how many networks, and the first seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "mend_make.h"

#define MOST_VALUES 64
#define N_SAMPLES 5
#define TOLERANCE 2e-4

static uint64_t n_networks = 1000, first_seed;

typedef struct value {
    uint32_t id, rank;
    int64_t dims[QDBG_MAX_RANK];
} value;

typedef struct maker {
    qdbg_graph *g;
    uint64_t seed;
    value values[MOST_VALUES];
    uint32_t n;
    uint32_t n_names;
    bool high;       /* biases are, mostly: there is much to absorb */
    int64_t back;    /* how far nodes look for an input, 0: as it comes */
    uint32_t weight; /* one that may be read again; QDBG_NONE */
    int64_t weight_dims[4];
    bool is_read[1024];
    char name[24];
} maker;

static bool one_in(maker *k, int64_t n)
{
    return make_int(&k->seed, 1, n) == 1;
}

static const char *fresh(maker *k, const char *what)
{
    snprintf(k->name, sizeof k->name, "%s%u", what, k->n_names++);
    return k->name;
}

static uint32_t ints(maker *k, int64_t n, const int64_t *data)
{
    qdbg_view v = QDBG_VIEW_INIT;
    uint32_t id;
    assert_ok(qdbg_view_init(&v, QDBG_I64, 1, &n, (void *)(uintptr_t)data));
    assert_ok(qdbg_graph_add_parameter(k->g, fresh(k, "i"), &v, &id));
    return id;
}

#define INTS(k, ...) \
    ints(k, (int64_t)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__})

/* Rows of different size, so that there is something to equalize. */
static uint32_t numbers(maker *k, const int64_t *dims)
{
    float *data = make_floats(&k->seed, dims_count(dims) + 1);
    size_t row = dims_count(dims) / (size_t)(dims[0] > 0 ? dims[0] : 1);
    for (size_t i = 0; i < dims_count(dims); i++)
        data[i] *= powf(2, (float)(i / row % 5) - 2);
    uint32_t id = make_param(k->g, fresh(k, "p"), dims, data);
    free(data);
    return id;
}

static uint32_t one_number(maker *k, float x, bool scalar)
{
    return make_param(k->g, fresh(k, "s"), scalar ? SCALAR : DIMS(1), &x);
}

static uint32_t bias(maker *k, const int64_t *dims)
{
    float data[256];
    bool high = one_in(k, k->high ? 1 : 6);
    assert_true(dims_count(dims) <= 256);
    for (size_t i = 0; i < dims_count(dims); i++)
        data[i] = make_float(&k->seed, high ? 10 : -1, high ? 50 : 1);
    return make_param(k->g, fresh(k, "b"), dims, data);
}

/* What a node gives, with the shape that it has. */
static value *give(maker *k, uint32_t id, uint32_t rank, const int64_t *dims)
{
    value *v = &k->values[k->n++];
    *v = (value){.id = id, .rank = rank};
    memcpy(v->dims, dims, rank * sizeof *dims);
    return v;
}

static uint32_t node_of(maker *k, const char *op, const uint32_t *in, uint32_t n, uint32_t *node)
{
    for (uint32_t i = 0; i < n; i++)
        if (in[i] < sizeof k->is_read)
            k->is_read[in[i]] = true;
    return make_node(k->g, op, fresh(k, "v"), in, n, node);
}

/* ---- layers ---- */

static uint32_t conv_weight(maker *k, const int64_t *dims)
{
    if (k->weight != QDBG_NONE && memcmp(dims, k->weight_dims, sizeof k->weight_dims) == 0 &&
        one_in(k, 6))
        return k->weight;
    k->weight = numbers(k, dims);
    memcpy(k->weight_dims, dims, sizeof k->weight_dims);
    return k->weight;
}

static void norm(maker *k, const value *x)
{
    if (x->id < sizeof k->is_read)
        k->is_read[x->id] = true;
    uint32_t id = make_norm(k->g, fresh(k, "n"), x->id, x->dims[1], NULL, &k->seed);
    give(k, id, x->rank, x->dims);
}

static void conv(maker *k, const value *x)
{
    bool transposed = one_in(k, 6);
    int64_t window = x->dims[2] >= 3 && x->dims[3] >= 3 ? make_int(&k->seed, 0, 1) * 2 + 1 : 1;
    int64_t ins = x->dims[1], groups = one_in(k, 3) ? ins : one_in(k, 3) && ins % 2 == 0 ? 2 : 1;
    int64_t outs = groups == ins && one_in(k, 2) ? ins : groups * make_int(&k->seed, 1, 3);
    int64_t pad = window == 3 ? make_int(&k->seed, 0, 1) : 0;
    uint32_t node, in[3] = {x->id}, n_in = 2;
    if (groups < ins && outs < 2)
        outs = 4;
    in[1] = transposed ? conv_weight(k, DIMS(ins, outs / groups, window, window))
                       : conv_weight(k, DIMS(outs, ins / groups, window, window));
    bool bare = one_in(k, 3);
    if (!bare)
        in[n_in++] = bias(k, DIMS(outs));
    uint32_t y = node_of(k, transposed ? "ConvTranspose" : "Conv", in, n_in, &node);
    make_ints(k->g, node, "pads", DIMS(pad, pad, pad, pad));
    assert_ok(qdbg_graph_set_int(k->g, node, "group", groups));
    int64_t grown = transposed ? window - 1 - 2 * pad : 2 * pad - window + 1;
    x = give(k, y, 4, (int64_t[]){x->dims[0], outs, x->dims[2] + grown, x->dims[3] + grown});
    if (bare && outs <= 64 && one_in(k, 2))
        norm(k, x);
}

static void gemm(maker *k, const value *x)
{
    bool turned = one_in(k, 2);
    int64_t ins = x->dims[1], outs = make_int(&k->seed, 2, 6);
    uint32_t node, in[3] = {x->id, numbers(k, turned ? DIMS(outs, ins) : DIMS(ins, outs))},
                   n_in = 2;
    if (!one_in(k, 3))
        in[n_in++] = one_in(k, 4)   ? bias(k, DIMS(1))
                     : one_in(k, 3) ? bias(k, DIMS(1, outs))
                                    : bias(k, DIMS(outs));
    uint32_t y = node_of(k, "Gemm", in, n_in, &node);
    assert_ok(qdbg_graph_set_int(k->g, node, "transB", turned));
    if (one_in(k, 3))
        assert_ok(qdbg_graph_set_float(k->g, node, "alpha", make_float(&k->seed, 0.5f, 2)));
    if (one_in(k, 3))
        assert_ok(qdbg_graph_set_float(k->g, node, "beta", make_float(&k->seed, 0.5f, 2)));
    give(k, y, 2, (int64_t[]){x->dims[0], outs});
}

static void matmul(maker *k, const value *x)
{
    int64_t outs = make_int(&k->seed, 2, 5);
    value y = *x;
    uint32_t id =
        node_of(k, "MatMul", VALUES(x->id, numbers(k, DIMS(x->dims[x->rank - 1], outs))), NULL);
    y.dims[x->rank - 1] = outs;
    give(k, id, y.rank, y.dims);
    if (one_in(k, 2))
        give(k, node_of(k, "Add", VALUES(id, bias(k, DIMS(outs))), NULL), y.rank, y.dims);
}

static void layer(maker *k, const value *x)
{
    if (x->rank == 4 && !one_in(k, 12))
        conv(k, x);
    else if (x->rank == 2 && !one_in(k, 3))
        gemm(k, x);
    else
        matmul(k, x);
}

/* ---- one in, one out, the same shape ---- */

static void clip(maker *k, const value *x)
{
    static const float lows[] = {0, -1, 0, 0.25f}, highs[] = {6, 1, 0, 2};
    int64_t kind = make_int(&k->seed, 0, 3), bounds = make_int(&k->seed, 0, 2);
    uint32_t in[3] = {x->id, QDBG_NONE, QDBG_NONE}, n_in = 1;
    if (bounds != 1)
        in[1] = one_number(k, lows[kind], true), n_in = 2;
    if (bounds != 2)
        in[2] = one_number(k, highs[kind], true), n_in = 3;
    give(k, node_of(k, "Clip", in, n_in, NULL), x->rank, x->dims);
}

static void activation(maker *k, const value *x)
{
    static const char *const ops[] = {"Relu", "Relu",     "Relu",    "LeakyRelu",
                                      "Abs",  "Identity", "Sigmoid", "Neg"};
    uint32_t in[2] = {x->id};
    if (one_in(k, 4)) {
        clip(k, x);
        return;
    }
    if (one_in(k, 6)) {
        in[1] = one_in(k, 2)   ? one_number(k, 0.3f, false)
                : x->rank == 4 ? numbers(k, DIMS(x->dims[1], 1, 1))
                               : numbers(k, DIMS(x->dims[x->rank - 1]));
        give(k, node_of(k, "PRelu", in, 2, NULL), x->rank, x->dims);
        return;
    }
    give(k, node_of(k, ops[make_int(&k->seed, 0, 7)], in, 1, NULL), x->rank, x->dims);
}

/* A constant: one number, one a channel, or one for each element of a sample. */
static uint32_t constant(maker *k, const value *x)
{
    int64_t dims[QDBG_MAX_RANK + 1], kind = make_int(&k->seed, 0, 4);
    if (kind == 0)
        return one_number(k, make_float(&k->seed, 0.5f, 2), one_in(k, 2));
    for (uint32_t i = 0; i < x->rank; i++)
        dims[i] = i == 1 || (kind == 1 && i > 1) ? x->dims[i] : 1;
    dims[x->rank] = -1;
    return numbers(k, kind == 2 ? dims + 1 : dims);
}

static void with_constant(maker *k, const value *x)
{
    static const char *const ops[] = {"Add", "Add", "Sub", "Mul", "Mul"};
    uint32_t c = constant(k, x);
    const char *op = ops[make_int(&k->seed, 0, 4)];
    uint32_t id = one_in(k, 3) ? node_of(k, op, VALUES(c, x->id), NULL)
                               : node_of(k, op, VALUES(x->id, c), NULL);
    give(k, id, x->rank, x->dims);
}

/* ---- positions ---- */

static void pool(maker *k, const value *x)
{
    uint32_t node;
    int64_t kind = make_int(&k->seed, 0, 4);
    if (kind == 0) {
        give(k, node_of(k, one_in(k, 2) ? "GlobalAveragePool" : "GlobalMaxPool", &x->id, 1, NULL),
             4, (int64_t[]){x->dims[0], x->dims[1], 1, 1});
        return;
    }
    if (kind == 1) {
        static const char *const ops[] = {"ReduceMean", "ReduceMax", "ReduceMin"};
        bool keep = one_in(k, 2);
        uint32_t y = node_of(k, ops[make_int(&k->seed, 0, 2)], &x->id, 1, &node);
        make_ints(k->g, node, "axes", DIMS(2, 3));
        assert_ok(qdbg_graph_set_int(k->g, node, "keepdims", keep));
        give(k, y, keep ? 4 : 2, (int64_t[]){x->dims[0], x->dims[1], 1, 1});
        return;
    }
    if (kind == 2) {
        float to = one_in(k, 2) ? 0 : 0.5f;
        uint32_t in[3] = {x->id, INTS(k, 0, 0, 1, 1, 0, 0, 1, 1), one_number(k, to, true)};
        give(k, node_of(k, "Pad", in, 3, NULL), 4,
             (int64_t[]){x->dims[0], x->dims[1], x->dims[2] + 2, x->dims[3] + 2});
        return;
    }
    if (x->dims[2] < 2 || x->dims[3] < 2)
        return;
    bool average = one_in(k, 2), padded = one_in(k, 2);
    uint32_t y = node_of(k, average ? "AveragePool" : "MaxPool", &x->id, 1, &node);
    make_ints(k->g, node, "kernel_shape", DIMS(2, 2));
    if (padded)
        make_ints(k->g, node, "pads", DIMS(1, 1, 1, 1));
    if (average && one_in(k, 2))
        assert_ok(qdbg_graph_set_int(k->g, node, "count_include_pad", 1));
    int64_t grown = padded ? 1 : -1;
    give(k, y, 4, (int64_t[]){x->dims[0], x->dims[1], x->dims[2] + grown, x->dims[3] + grown});
}

/* ---- shapes ---- */

static int64_t elements(const value *x)
{
    int64_t n = 1;
    for (uint32_t i = 1; i < x->rank; i++)
        n *= x->dims[i];
    return n;
}

/* Samples stay apart or, rarely, do not. */
static void reshape(maker *k, const value *x)
{
    int64_t left = elements(x), dims[4] = {x->dims[0]};
    uint32_t rank = (uint32_t)make_int(&k->seed, 2, 4);
    if (one_in(k, 8) && left % 2 == 0 && x->dims[0] > 0) {
        dims[0] *= 2;
        left /= 2;
    }
    for (uint32_t i = 1; i < rank; i++) {
        int64_t d = i == 1 && one_in(k, 2) ? x->dims[1] : make_int(&k->seed, 1, 4);
        dims[i] = i + 1 == rank ? left : left % d == 0 ? d : 1;
        left /= dims[i];
    }
    int64_t asked[4];
    memcpy(asked, dims, sizeof asked);
    if (dims[0] == x->dims[0] && one_in(k, 2))
        asked[0] = 0;
    else if (one_in(k, 2))
        asked[0] = -1;
    uint32_t shape = ints(k, (int64_t)rank, asked);
    give(k, node_of(k, "Reshape", VALUES(x->id, shape), NULL), rank, dims);
}

static void transpose(maker *k, const value *x)
{
    uint32_t node, y, order[4] = {0, 1, 2, 3};
    int64_t perm[5] = {0, 1, 2, 3, -1};
    value v = *x;
    uint32_t from = one_in(k, 3) ? 1 : 2;
    if (x->rank < 3 || x->rank > 4)
        return;
    if (x->rank == 3)
        from = 1;
    order[from] = x->rank - 1;
    order[x->rank - 1] = from;
    for (uint32_t i = 0; i < x->rank; i++) {
        perm[i] = order[i];
        v.dims[i] = x->dims[order[i]];
    }
    perm[x->rank] = -1;
    y = node_of(k, "Transpose", &x->id, 1, &node);
    make_ints(k->g, node, "perm", perm);
    give(k, y, v.rank, v.dims);
}

static void slice(maker *k, const value *x)
{
    int64_t axis = one_in(k, 4) ? (int64_t)x->rank - 1 : 1, n = x->dims[axis];
    int64_t from = make_int(&k->seed, 0, n - 1), to = make_int(&k->seed, from + 1, n);
    value v = *x;
    v.dims[axis] = to - from;
    uint32_t in[4] = {x->id, INTS(k, one_in(k, 2) ? from : from - n),
                      INTS(k, to == n && one_in(k, 2) ? 99 : to),
                      INTS(k, one_in(k, 2) ? axis : axis - (int64_t)x->rank)};
    give(k, node_of(k, "Slice", in, 4, NULL), v.rank, v.dims);
}

static void split(maker *k, const value *x)
{
    uint32_t out[2], node;
    int64_t axis = 1, n = x->dims[axis], first = n / 2;
    value v = *x;
    if (n < 2)
        return;
    for (int i = 0; i < 2; i++)
        assert_ok(qdbg_graph_add_value(k->g, fresh(k, "v"), QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN,
                                       NULL, &out[i]));
    assert_ok(qdbg_graph_add_node(k->g, "Split", fresh(k, "split"), &x->id, 1, out, 2, &node));
    assert_ok(qdbg_graph_set_int(k->g, node, "axis", axis));
    make_ints(k->g, node, "split", DIMS(first, n - first));
    v.dims[axis] = first;
    give(k, out[0], v.rank, v.dims);
    v.dims[axis] = n - first;
    give(k, out[1], v.rank, v.dims);
}

static void other_shape(maker *k, const value *x)
{
    uint32_t node;
    switch (make_int(&k->seed, 0, 6)) {
    case 0:
        give(k, node_of(k, "Flatten", &x->id, 1, &node), 2, (int64_t[]){x->dims[0], elements(x)});
        break;
    case 1:
    case 2:
        reshape(k, x);
        break;
    case 3:
        transpose(k, x);
        break;
    case 4:
    case 5:
        slice(k, x);
        break;
    default:
        split(k, x);
    }
}

/* ---- several in ---- */

static bool same_but(const value *a, const value *b, uint32_t axis)
{
    bool same = a->rank == b->rank;
    for (uint32_t i = 0; i < a->rank && same; i++)
        same = i == axis || a->dims[i] == b->dims[i];
    return same;
}

static const value *partner(maker *k, const value *x, uint32_t but)
{
    uint32_t first = (uint32_t)make_int(&k->seed, 0, k->n - 1);
    for (uint32_t i = 0; i < k->n; i++) {
        const value *v = &k->values[(first + i) % k->n];
        if (same_but(x, v, but))
            return v;
    }
    return x;
}

static void concat(maker *k, const value *x)
{
    uint32_t node, axis = one_in(k, 4) ? x->rank - 1 : 1;
    const value *other = partner(k, x, axis);
    value v = *x;
    uint32_t y = node_of(k, "Concat", VALUES(x->id, other->id), &node);
    assert_ok(qdbg_graph_set_int(k->g, node, "axis", axis));
    v.dims[axis] += other->dims[axis];
    give(k, y, v.rank, v.dims);
}

static void sum(maker *k, const value *x)
{
    static const char *const ops[] = {"Add", "Add", "Add", "Sum", "Sub", "Mul"};
    const value *other = partner(k, x, QDBG_NONE);
    const char *op = ops[make_int(&k->seed, 0, 5)];
    if (other == x && strcmp(op, "Sub") == 0)
        return;
    give(k, node_of(k, op, VALUES(x->id, other->id), NULL), x->rank, x->dims);
}

/* ---- a network ---- */

static void grow(maker *k)
{
    int64_t back = k->back > 0 ? k->back : one_in(k, 2) ? 2 : k->n;
    const value x = k->values[make_int(&k->seed, k->n > back ? k->n - back : 0, k->n - 1)];
    int64_t what = make_int(&k->seed, 0, 19);
    if (elements(&x) > 2000 || x.rank < 2 || x.dims[1] > 64)
        return;
    if (what < 6)
        layer(k, &x);
    else if (what < 10)
        activation(k, &x);
    else if (what == 10)
        norm(k, &x);
    else if (what == 11)
        with_constant(k, &x);
    else if (what == 12 && x.rank == 4)
        pool(k, &x);
    else if (what < 15)
        other_shape(k, &x);
    else if (what < 17)
        concat(k, &x);
    else
        sum(k, &x);
}

/* What nothing reads yet goes to a layer. */
static void head(maker *k, value x)
{
    if (x.rank > 1 && x.dims[1] <= 64)
        layer(k, &x);
}

static qdbg_graph *random_net(qdbg_ctx *ctx, uint64_t seed)
{
    maker k = {.g = make_graph(ctx, 11), .seed = seed * 7919 + 1, .weight = QDBG_NONE};
    int64_t dims[] = {one_in(&k, 3) ? N_SAMPLES : 1, 4, 4, 4};
    int64_t open[] = {-1, 4, 4, 4};
    uint32_t x, n_nodes = (uint32_t)make_int(&k.seed, 5, 18);
    assert_ok(qdbg_graph_add_value(k.g, "x", QDBG_F32, 4, one_in(&k, 3) ? open : dims, &x));
    assert_ok(qdbg_graph_add_input(k.g, x));
    give(&k, x, 4, dims);
    k.back = one_in(&k, 3) ? 1 : one_in(&k, 3) ? 2 : 0;
    k.high = one_in(&k, 2);
    conv(&k, &k.values[0]);
    for (uint32_t i = 0; i < n_nodes && k.n + 3 < MOST_VALUES; i++)
        grow(&k);
    n_nodes = k.n;
    for (uint32_t i = 1; i < k.n; i++) {
        if (i < n_nodes && k.n + 3 < MOST_VALUES && !k.is_read[k.values[i].id] && !one_in(&k, 4))
            head(&k, k.values[i]);
        if (one_in(&k, 20) || !k.is_read[k.values[i].id])
            assert_ok(qdbg_graph_add_output(k.g, k.values[i].id));
    }
    if (qdbg_graph_finish(k.g) != QDBG_OK) {
        qdbg_graph_destroy(k.g);
        return NULL;
    }
    return k.g;
}

/* ---- what is done to it ---- */

typedef struct results {
    uint32_t n;
    float *y[MOST_VALUES];
    size_t counts[MOST_VALUES];
} results;

static bool run(qdbg_model *m, const samples *s, results *r)
{
    const qdbg_graph *g = qdbg_model_graph(m);
    qdbg_view x = samples_view(g, s), y[MOST_VALUES];
    r->n = qdbg_graph_output_count(g);
    for (uint32_t i = 0; i < r->n; i++)
        y[i] = (qdbg_view)QDBG_VIEW_INIT;
    if (qdbg_model_run(m, &x, 1, y, r->n) != QDBG_OK)
        return false;
    for (uint32_t i = 0; i < r->n; i++) {
        r->counts[i] = (size_t)qdbg_view_count(&y[i]);
        y[i].data = r->y[i] = malloc(r->counts[i] * sizeof(float) + 1);
    }
    assert_ok(qdbg_model_run(m, &x, 1, y, r->n));
    return true;
}

static void results_free(results *r)
{
    for (uint32_t i = 0; i < r->n; i++)
        free(r->y[i]);
}

/* The worst of the outputs, each over its largest element. */
static double difference(const results *a, const results *b)
{
    double worst = 0;
    for (uint32_t i = 0; i < a->n; i++) {
        double most = 0, largest = 1; /* what cancels out is rounding */
        for (size_t k = 0; k < a->counts[i]; k++) {
            double x = (double)a->y[i][k], y = (double)b->y[i][k];
            largest = fmax(largest, fabs(x));
            most = isfinite(x - y) ? fmax(most, fabs(x - y)) : isfinite(x) ? HUGE_VAL : most;
        }
        worst = fmax(worst, most / largest);
    }
    return worst;
}

typedef struct totals {
    uint64_t n_run, n_folded, n_scaled, n_absorbed;
} totals;

static totals all;

typedef struct trial {
    uint64_t seed;
    qdbg_model *m;
    samples s;
    results was;
} trial;

static void assert_same_function(trial *t, const char *after)
{
    results now;
    assert_true(run(t->m, &t->s, &now));
    double d = difference(&t->was, &now);
    results_free(&now);
    if (d > TOLERANCE)
        fail_msg("network %llu: %s changes an output by %g", (unsigned long long)t->seed, after, d);
}

static uint64_t count_scaled(const qdbg_equalize *e, int32_t outcome)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < qdbg_equalize_count(e); i++) {
        qdbg_equalize_row row = QDBG_EQUALIZE_ROW_INIT;
        assert_ok(qdbg_equalize_get(e, i, &row));
        n += row.outcome == outcome && row.n_scaled > 0;
    }
    return n;
}

static void mend(trial *t)
{
    uint64_t seed = t->seed;
    qdbg_fold *f = NULL;
    qdbg_equalize *e = NULL, *a = NULL;
    qdbg_equalize_options eo = QDBG_EQUALIZE_OPTIONS_INIT;
    qdbg_absorb_options ao = QDBG_ABSORB_OPTIONS_INIT;
    saved params = params_save(t->m);
    ao.calibration = eo.calibration = &t->s.set;
    if (make_int(&seed, 0, 3) > 0) {
        assert_ok(qdbg_fold_run(t->m, NULL, &f));
        all.n_folded += qdbg_fold_count(f);
        assert_same_function(t, "folding");
    }
    if (make_int(&seed, 0, 4) > 0) {
        eo.formula = make_int(&seed, 0, 2) ? QDBG_EQUALIZE_RANGES : QDBG_EQUALIZE_ACTIVATIONS;
        assert_ok(qdbg_equalize_run(t->m, &eo, &e));
        all.n_scaled += count_scaled(e, QDBG_EQUALIZE_DONE);
        assert_same_function(t, "equalization");
    }
    assert_ok(qdbg_absorb_biases(t->m, &ao, &a));
    all.n_absorbed += count_scaled(a, QDBG_EQUALIZE_ABSORBED);
    assert_same_function(t, "absorption");
    assert_ok(qdbg_equalize_undo(a));
    if (e)
        assert_ok(qdbg_equalize_undo(e));
    if (f)
        assert_ok(qdbg_fold_undo(f));
    assert_true(params_same(t->m, &params));
    params_free(&params);
    qdbg_equalize_destroy(a);
    qdbg_equalize_destroy(e);
    qdbg_fold_destroy(f);
}

static void try_network(qdbg_ctx *ctx, uint64_t seed)
{
    trial t = {.seed = seed};
    qdbg_graph *exposed, *g = random_net(ctx, seed);
    if (!g)
        return;
    assert_ok(qdbg_graph_expose_clips(g, &exposed));
    t.m = builtin_model(seed % 2 ? exposed : g);
    t.s = samples_make(ctx, g, N_SAMPLES, N_SAMPLES, 0);
    for (size_t i = 0; i < N_SAMPLES * 64; i++)
        t.s.x[i] = make_float(&seed, 0, 1);
    if (run(t.m, &t.s, &t.was)) {
        all.n_run++;
        mend(&t);
        results_free(&t.was);
    }
    samples_free(&t.s);
    qdbg_model_destroy(t.m);
    qdbg_graph_destroy(exposed);
    qdbg_graph_destroy(g);
}

static void functions_stay(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (uint64_t i = 0; i < n_networks; i++)
        try_network(ctx, first_seed + i);
    if (all.n_run < n_networks * 9 / 10 || all.n_folded < n_networks / 4 ||
        all.n_scaled < n_networks / 2 || all.n_absorbed < n_networks / 100)
        fail_msg("%llu run, %llu folded, %llu joints scaled, %llu absorbed",
                 (unsigned long long)all.n_run, (unsigned long long)all.n_folded,
                 (unsigned long long)all.n_scaled, (unsigned long long)all.n_absorbed);
    qdbg_ctx_destroy(ctx);
}

/* ---- what fails ---- */

typedef struct stopper {
    uint64_t n, stop_at;
} stopper;

static int32_t stop(void *user, const qdbg_progress *progress)
{
    stopper *s = user;
    (void)progress;
    return ++s->n == s->stop_at;
}

/* One of the repairs; it leaves nothing behind. */
static qdbg_status repair(qdbg_model *m, const qdbg_dataset *data, int which)
{
    qdbg_equalize *e = NULL;
    qdbg_fold *f = NULL;
    qdbg_fold_options fo = QDBG_FOLD_OPTIONS_INIT;
    qdbg_equalize_options eo = QDBG_EQUALIZE_OPTIONS_INIT;
    qdbg_absorb_options ao = QDBG_ABSORB_OPTIONS_INIT;
    qdbg_status status;
    eo.formula = QDBG_EQUALIZE_ACTIVATIONS;
    fo.flags = QDBG_FOLD_NEUTRALIZE;
    fo.data = ao.calibration = eo.calibration = data;
    if (which == 0)
        status = qdbg_fold_run(m, &fo, &f);
    else
        status = which == 1 ? qdbg_equalize_run(m, &eo, &e) : qdbg_absorb_biases(m, &ao, &e);
    if (status != QDBG_OK) {
        assert_true(!e && !f);
        return status;
    }
    if (f)
        assert_ok(qdbg_fold_undo(f));
    if (e)
        assert_ok(qdbg_equalize_undo(e));
    qdbg_fold_destroy(f);
    qdbg_equalize_destroy(e);
    return QDBG_OK;
}

/* Out of memory at every allocation, until it is done. */
static void run_out(trial *t, heap *h, int which, const saved *was)
{
    qdbg_status status = QDBG_E_NOMEM;
    for (uint64_t k = 1; status != QDBG_OK; k++) {
        heap_arm(h, k, k % 2);
        status = repair(t->m, &t->s.set, which);
        heap_arm(h, 0, false);
        assert_true(status == QDBG_OK || status == QDBG_E_NOMEM);
        assert_true(params_same(t->m, was));
    }
}

/* Cancelled at every report of progress, until there is none left. */
static void cancel(trial *t, stopper *s, int which, const saved *was)
{
    qdbg_status status = QDBG_E_CANCELLED;
    for (uint64_t k = 1; status != QDBG_OK; k++) {
        *s = (stopper){0, k};
        status = repair(t->m, &t->s.set, which);
        assert_true(status == QDBG_OK || status == QDBG_E_CANCELLED);
        assert_true(params_same(t->m, was));
    }
    *s = (stopper){0, 0};
}

static void fail_network(qdbg_ctx *ctx, heap *h, stopper *s, uint64_t seed)
{
    qdbg_graph *g = random_net(ctx, seed);
    if (!g)
        return;
    trial t = {.m = builtin_model(g), .s = samples_make(ctx, g, 2 * N_SAMPLES, N_SAMPLES, 0)};
    saved was = params_save(t.m);
    for (int which = 0; which < 3 && repair(t.m, &t.s.set, 0) == QDBG_OK; which++) {
        run_out(&t, h, which, &was);
        cancel(&t, s, which, &was);
    }
    params_free(&was);
    samples_free(&t.s);
    qdbg_model_destroy(t.m);
    qdbg_graph_destroy(g);
}

static void failures_leave_no_trace(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < n_networks / 50; seed++) {
        heap h;
        stopper s = {0, 0};
        qdbg_ctx *ctx;
        qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
        heap_init(&h);
        qdbg_allocator allocator = heap_allocator(&h);
        o.threads = 2;
        o.allocator = &allocator;
        o.progress = stop;
        o.progress_user = &s;
        assert_ok(qdbg_ctx_create(&o, &ctx));
        fail_network(ctx, &h, &s, first_seed + seed);
        heap_end(&h, ctx);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(functions_stay),
                                       cmocka_unit_test(failures_leave_no_trace)};
    if (argc > 1)
        n_networks = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        first_seed = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
