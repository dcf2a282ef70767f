/* Every operator with random inputs, types, shapes and hostile attributes: whatever is refused is
 * refused with words, whatever is accepted runs within its memory. Sanitizers are the judge. A
 * number as argument starts other random numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../lib/graph/ops/ops.h"
#include "conformance/one_node.h"

#define ROUNDS 400          /* for each operator */
#define MAX_BYTES (1 << 20) /* larger results are inferred, but not computed */

static int64_t random_int(void)
{
    static const int64_t hostile[] = {INT64_MIN, INT64_MAX,        INT32_MAX,
                                      INT32_MIN, (int64_t)1 << 40, -((int64_t)1 << 40)};
    return pick(0, 9) ? pick(-3, 5) : hostile[pick(0, 5)];
}

static float random_float(void)
{
    static const float hostile[] = {NAN, INFINITY, -INFINITY, 1e30f, -1e30f, 1e-40f};
    return pick(0, 9) ? (float)pick(-8, 8) / 4.0f : hostile[pick(0, 5)];
}

static void fill_random(void *data, int32_t dtype, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double real = (double)random_float();
        int64_t whole = random_int();
        switch (dtype) {
        case QDBG_F32:
            ((float *)data)[i] = (float)real;
            break;
        case QDBG_F64:
            ((double *)data)[i] = real;
            break;
        case QDBG_BOOL:
            ((uint8_t *)data)[i] = whole & 1;
            break;
        default:
            memcpy((char *)data + (size_t)i * qdbg_dtype_size(dtype), &whole,
                   qdbg_dtype_size(dtype));
        }
    }
}

static void random_input(one_node *o, bool list)
{
    static const int32_t types[] = {QDBG_F32, QDBG_F32,  QDBG_F32, QDBG_F32, QDBG_I64, QDBG_I64,
                                    QDBG_I32, QDBG_BOOL, QDBG_F64, QDBG_U8,  QDBG_I8,  QDBG_F16};
    shape s = list ? random_shape(1, 1, 0, 4) : random_shape(0, 5, pick(0, 4) ? 1 : 0, 4);
    int32_t dtype = list ? (pick(0, 5) ? QDBG_I64 : QDBG_F32) : types[pick(0, 11)];
    if (pick(0, 19) == 0) {
        one_absent(o);
        return;
    }
    void *data = malloc((size_t)(count(&s) + 1) * 8);
    fill_random(data, dtype, count(&s));
    if (list || pick(0, 3) == 0)
        one_param(o, dtype, s.dims, data);
    else
        one_input(o, dtype, s.dims, data);
    free(data);
}

static void random_attributes(one_node *o)
{
    static const char *const ints[] = {"axis",
                                       "keepdims",
                                       "to",
                                       "group",
                                       "blocksize",
                                       "num_groups",
                                       "batch_dims",
                                       "k",
                                       "p",
                                       "size",
                                       "start",
                                       "end",
                                       "largest",
                                       "exclusive",
                                       "reverse",
                                       "allowzero",
                                       "fmod",
                                       "num_outputs",
                                       "upper",
                                       "ceil_mode",
                                       "transA",
                                       "transB",
                                       "dtype",
                                       "value_int",
                                       "antialias",
                                       "noop_with_empty_axes",
                                       "exclude_outside",
                                       "count_include_pad"};
    static const char *const lists[] = {
        "axes",   "perm", "pads",  "strides", "dilations", "split",      "kernel_shape",
        "starts", "ends", "steps", "shape",   "repeats",   "value_ints", "output_padding"};
    static const char *const floats[] = {"alpha", "beta",  "epsilon", "min",   "max",
                                         "bias",  "value", "lambd",   "gamma", "cubic_coeff_a"};
    static const char *const words[][2] = {
        {"mode", "linear"},       {"mode", "cubic"},
        {"mode", "reflect"},      {"mode", "wrap"},
        {"mode", "edge"},         {"mode", "CRD"},
        {"reduction", "add"},     {"reduction", "max"},
        {"equation", "ij,jk"},    {"equation", "...i->...i"},
        {"equation", "ii->i"},    {"equation", "bij,bjk->bik"},
        {"auto_pad", "VALID"},    {"auto_pad", "SAME_UPPER"},
        {"approximate", "tanh"},  {"coordinate_transformation_mode", "tf_crop_and_resize"},
        {"nearest_mode", "ceil"}, {"coordinate_transformation_mode", "align_corners"}};
    int64_t values[8];
    qdbg_graph *g = o->graph;
    uint32_t n = o->node;
    for (int64_t i = pick(0, 12); i > 0; i--) { /* a name that is there already is refused: fine */
        for (int v = 0; v < 8; v++)
            values[v] = random_int();
        switch (pick(0, 5)) {
        case 0:
            qdbg_graph_set_ints(g, n, lists[pick(0, 13)], values, (uint32_t)pick(0, 8));
            break;
        case 1:
            qdbg_graph_set_float(g, n, floats[pick(0, 9)], random_float());
            break;
        case 2: {
            const char *const *word = words[pick(0, 17)];
            qdbg_graph_set_string(g, n, word[0], word[1]);
            break;
        }
        default:
            qdbg_graph_set_int(g, n, ints[pick(0, 27)], values[0]);
        }
    }
}

/* Like inputs for operators that need operands alike: repeat the first input's type and shape. */
static void repeat_input(one_node *o)
{
    if (o->n_feeds == 0) {
        random_input(o, false);
        return;
    }
    const qdbg_view *first = &o->feeds[0];
    int64_t dims[QDBG_MAX_RANK + 1];
    memcpy(dims, first->dims, first->rank * sizeof *dims);
    dims[first->rank] = -1;
    if (pick(0, 3) == 0) { /* the very same value */
        o->in[o->n_in++] = o->in[0];
        return;
    }
    if (pick(0, 3) == 0 && first->rank > 0)
        dims[pick(0, first->rank - 1)] = 1;
    int64_t n = 1;
    for (uint32_t d = 0; d < first->rank; d++)
        n *= dims[d];
    void *data = malloc((size_t)(n + 1) * 8);
    fill_random(data, first->dtype, n);
    one_input(o, first->dtype, dims, data);
    free(data);
}

/* What operators with several kinds of inputs want, so that many of the tries get past the checks:
 * x floats of any shape, q the same of rank 4, s like the first, c one number a channel, i indices,
 * l a list of integers (one a dimension), p the same for both ends, r floats (one a dimension),
 * n an integer, f a number, b bools like the first. */
static const struct {
    const char *op, *inputs, *attribute;
} likely[] = {
    {"TopK", "xn", "axis"},
    {"BatchNormalization", "qcccc", "epsilon"},
    {"And", "bs", "axis"},
    {"Cast", "x", "to"},
    {"CumSum", "xn", "reverse"},
    {"ConstantOfShape", "l", "value"},
    {"Range", "fff", "value"},
    {"OneHot", "inx", "axis"},
    {"GatherElements", "xi", "axis"},
    {"GatherND", "xi", "batch_dims"},
    {"Gather", "xi", "axis"},
    {"DepthToSpace", "q", "blocksize"},
    {"SpaceToDepth", "q", "blocksize"},
    {"Pad", "xpf", "mode"},
    {"LayerNormalization", "xff", "axis"},
    {"InstanceNormalization", "qcc", "epsilon"},
    {"GroupNormalization", "qcc", "num_groups"},
    {"LRN", "q", "size"},
    {"MaxPool", "q", "kernel_shape"},
    {"AveragePool", "q", "kernel_shape"},
    {"Resize", "x_r", "mode"},
    {"Resize", "xr_l", "mode"},
    {"Resize", "x__l", "coordinate_transformation_mode"},
    {"Upsample", "xr", "mode"},
    {"ScatterElements", "xis", "axis"},
    {"ScatterND", "xix", "reduction"},
    {"Slice", "xllll", "axis"},
    {"Slice", "xll", "axis"},
    {"Reshape", "xl", "allowzero"},
    {"Unsqueeze", "xl", "axes"},
    {"Tile", "xl", "axis"},
    {"Expand", "xl", "axis"},
    {"Where", "bss", "axis"},
    {"Split", "xl", "split"},
    {"Transpose", "x", "perm"},
};

static int64_t first_dim(const one_node *o, uint32_t d, int64_t fallback)
{
    return o->n_feeds > 0 && d < o->feeds[0].rank ? o->feeds[0].dims[d] : fallback;
}

static void likely_input(one_node *o, char kind)
{
    int64_t rank = o->n_feeds > 0 ? o->feeds[0].rank : pick(0, 4);
    shape s = {0, {-1}};
    int32_t dtype = strchr("xqcrf", kind) ? QDBG_F32 : kind == 'b' ? QDBG_BOOL : QDBG_I64;
    bool constant = strchr("lprnf", kind) != NULL;
    if (kind == '_') {
        one_absent(o);
        return;
    }
    if (kind == 's' && o->n_feeds > 0) {
        repeat_input(o);
        return;
    }
    if (strchr("xbi", kind))
        s = random_shape(0, 4, pick(0, 5) ? 1 : 0, 4);
    else if (kind == 'q')
        s = random_shape(4, 4, 1, 4);
    else if (kind == 'c')
        s = (shape){1, {first_dim(o, 1, 2), -1}};
    else if (kind == 'l' || kind == 'r')
        s = (shape){1, {rank, -1}};
    else if (kind == 'p')
        s = (shape){1, {2 * rank, -1}};
    int64_t n = count(&s), *ints = malloc((size_t)(n + 1) * sizeof *ints);
    float *reals = malloc((size_t)(n + 1) * sizeof *reals);
    uint8_t *bools = malloc((size_t)n + 1);
    for (int64_t i = 0; i < n; i++) {
        ints[i] = pick(0, 30) ? pick(kind == 'i' ? -1 : -2, kind == 'i' ? 1 : 4) : random_int();
        reals[i] = kind == 'r' && pick(0, 30) ? (float)pick(1, 10) / 4.0f : random_float();
        bools[i] = ints[i] & 1;
    }
    const void *data = dtype == QDBG_F32 ? (void *)reals : dtype == QDBG_I64 ? (void *)ints : bools;
    if (constant)
        one_param(o, dtype, s.dims, data);
    else
        one_input(o, dtype, s.dims, data);
    free(ints);
    free(reals);
    free(bools);
}

/* Inputs as in the table, and a sane value for the attribute that matters most. */
static const char *likely_inputs(one_node *o, const char *type)
{
    size_t n = sizeof likely / sizeof *likely, from = (size_t)pick(0, (int64_t)n - 1);
    for (size_t i = 0; i < n; i++) {
        size_t k = (from + i) % n;
        if (strcmp(likely[k].op, type) != 0)
            continue;
        for (const char *c = likely[k].inputs; *c; c++)
            likely_input(o, *c);
        return likely[k].attribute;
    }
    return NULL;
}

static bool small_enough(const qdbg_graph *g, const qdbg_view *feeds)
{
    qdbg__facts facts;
    if (qdbg__facts_infer(g, feeds, true, &facts) != QDBG_OK)
        return false;
    double bytes = 0;
    for (size_t v = 0; v < g->n_values; v++)
        bytes += (double)qdbg_view_count(&facts.values[v].view) * 8.0;
    for (size_t n = 0; n < g->n_nodes; n++)
        bytes += (double)facts.nodes[n].scratch;
    qdbg__facts_free(&facts);
    return bytes < MAX_BYTES;
}

/* Operators that may overwrite their input must give the same when they do. */
static void check_in_place(const one_node *o, const qdbg__op *op, const qdbg_view *want)
{
    qdbg_view out[ONE_MAX];
    if (!(op->flags & QDBG__OP_IN_PLACE))
        return;
    assert_int_equal(interp_run_in_place(o->graph, o->feeds, out), QDBG_OK);
    for (uint32_t i = 0; i < o->n_out; i++) {
        size_t bytes = (size_t)qdbg_view_count(&out[i]) * qdbg_dtype_size(out[i].dtype);
        if (bytes > 0 && memcmp(out[i].data, want[i].data, bytes) != 0)
            fail_msg("%s gives another result in place", op->type);
        free(out[i].data);
    }
}

/* Returns whether the operator ran. */
static bool try_once(const qdbg__op *op)
{
    static const uint32_t opsets[] = {7, 9, 10, 11, 12, 13, 15, 16, 18, 19, 21};
    qdbg_view out[ONE_MAX];
    bool ran = false;
    one_node o;
    one_begin(&o, opsets[pick(0, 10)]);
    uint32_t most = op->max_in < 5 ? op->max_in : 5;
    const char *attribute = pick(0, 1) ? likely_inputs(&o, op->type) : NULL;
    for (int64_t n = pick(op->min_in, most); n > 0 && !attribute; n--) {
        int64_t kind = pick(0, 5);
        if (kind < 3 && o.n_in > 0)
            repeat_input(&o);
        else
            random_input(&o, o.n_in > 0 && kind < 5);
    }
    one_op(&o, op->type, (uint32_t)pick(1, op->max_out < 3 ? op->max_out : 3));
    if (attribute && strcmp(attribute, "kernel_shape") == 0)
        one_set_ints(&o, attribute, INTS(pick(1, 3), pick(1, 3)), 2);
    else if (attribute && strchr("abnrs", attribute[0]) && strcmp(attribute, "axes") != 0)
        one_set_int(&o, attribute, pick(0, 3));
    if (!attribute || pick(0, 1))
        random_attributes(&o);
    qdbg_status status = qdbg_graph_finish(o.graph);
    if (status == QDBG_OK && small_enough(o.graph, o.feeds)) {
        status = interp_run(o.graph, o.feeds, out);
        ran = status == QDBG_OK;
        if (ran)
            check_in_place(&o, op, out);
        for (uint32_t i = 0; ran && i < o.n_out; i++)
            free(out[i].data);
        if (!ran && status != QDBG_E_INVALID)
            fail_msg("%s: status %d", op->type, status);
    } else if (!*qdbg_ctx_error_message(o.ctx) && status != QDBG_OK) {
        fail_msg("%s: refused without a word", op->type);
    }
    one_end(&o);
    return ran;
}

static void operators_survive_anything(void **state)
{
    (void)state;
    for (size_t t = 0; t < qdbg__n_op_tables; t++) {
        for (size_t i = 0; i < qdbg__op_tables[t]->n; i++) {
            const qdbg__op *op = &qdbg__op_tables[t]->ops[i];
            int ran = 0;
            assert_ptr_equal(qdbg__op_find(op->type), op); /* no type is listed twice */
            for (int round = 0; round < ROUNDS; round++)
                ran += try_once(op);
            print_message("%-24s ran %d of %d\n", op->type, ran, ROUNDS);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        pick_from(strtoull(argv[1], NULL, 10));
    const struct CMUnitTest tests[] = {cmocka_unit_test(operators_survive_anything)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
