/* Two operands with broadcasting: arithmetic, comparison, logic; and the sums, means and extremes
 * of any number of operands. */
#include <string.h>

#include "arith.h"
#include "ops.h"

/* ---- exactly two operands ---- */

typedef struct binary_params {
    qdbg__walk walk;
    qdbg__arith_fn row;
    bool swapped; /* a > b is computed as b < a */
} binary_params;
_Static_assert(sizeof(binary_params) <= QDBG__OP_PARAMS_SIZE, "params");

typedef struct binary_op {
    const char *type;
    qdbg__arith op;
    bool swapped;
} binary_op;

static const binary_op binary_ops[] = {
    {"Add", QDBG__ARITH_ADD, false},
    {"Sub", QDBG__ARITH_SUB, false},
    {"Mul", QDBG__ARITH_MUL, false},
    {"Div", QDBG__ARITH_DIV, false},
    {"Mod", QDBG__ARITH_MOD, false},
    {"PRelu", QDBG__ARITH_PRELU, false},
    {"Equal", QDBG__ARITH_EQUAL, false},
    {"Less", QDBG__ARITH_LESS, false},
    {"LessOrEqual", QDBG__ARITH_LESS_EQUAL, false},
    {"Greater", QDBG__ARITH_LESS, true},
    {"GreaterOrEqual", QDBG__ARITH_LESS_EQUAL, true},
    {"And", QDBG__ARITH_AND, false},
    {"Or", QDBG__ARITH_OR, false},
    {"Xor", QDBG__ARITH_XOR, false},
};

static const binary_op *find_binary(const qdbg__node *node)
{
    size_t i = 0;
    while (strcmp(binary_ops[i].type, node->op_type) != 0)
        i++;
    return &binary_ops[i];
}

static qdbg_status fail_broadcast(qdbg__infer *x, const qdbg_view *a, const qdbg_view *b)
{
    char ta[128], tb[128];
    return qdbg__infer_fail(x, QDBG_E_SHAPE, "cannot broadcast %s with %s",
                            qdbg__shape_text(a->rank, a->dims, ta, sizeof ta),
                            qdbg__shape_text(b->rank, b->dims, tb, sizeof tb));
}

static qdbg_status infer_binary(qdbg__infer *x)
{
    const qdbg_view *a = x->in[0], *b = x->in[1];
    const binary_op *op = find_binary(x->node);
    binary_params *p = x->params;
    qdbg__arith kind = op->op;
    uint32_t rank;
    int64_t dims[QDBG_MAX_RANK];
    if (kind == QDBG__ARITH_MOD && qdbg__attr_int(x->node, "fmod", 0) != 0)
        kind = QDBG__ARITH_FMOD;
    if (a->dtype != b->dtype)
        return qdbg__infer_fail(x, QDBG_E_TYPE, "operands are %s and %s", qdbg_dtype_name(a->dtype),
                                qdbg_dtype_name(b->dtype));
    p->row = qdbg__arith_find(kind, a->dtype);
    p->swapped = op->swapped;
    if (!p->row)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %s is not supported",
                                qdbg_dtype_name(a->dtype));
    if (!qdbg__broadcast(a->rank, a->dims, b->rank, b->dims, &rank, dims))
        return fail_broadcast(x, a, b);
    if (kind == QDBG__ARITH_PRELU && !qdbg__shape_equal(rank, dims, a->rank, a->dims))
        return fail_broadcast(x, a, b); /* the slope may not enlarge x */

    qdbg_view out = {.rank = rank};
    memcpy(out.dims, dims, sizeof dims);
    const qdbg_view *in[2] = {p->swapped ? b : a, p->swapped ? a : b};
    qdbg__walk_broadcast(&p->walk, &out, 2, in);
    qdbg__infer_out(x, 0, kind >= QDBG__ARITH_EQUAL ? QDBG_BOOL : a->dtype, rank, dims);
    return QDBG_OK;
}

static qdbg_status run_binary(const qdbg__run *r)
{
    const binary_params *p = r->params;
    const qdbg_view *a = r->in[p->swapped ? 1 : 0], *b = r->in[p->swapped ? 0 : 1];
    return qdbg__arith_run(&p->walk, p->row, qdbg_dtype_size(a->dtype), a->data, b->data,
                           qdbg_dtype_size(r->out[0]->dtype), r->out[0]->data);
}

#define BINARY(type, flags)                            \
    {                                                  \
        type, 2, 2, 1, flags, infer_binary, run_binary \
    }

static const qdbg__op table[] = {
    BINARY("Add", QDBG__OP_IN_PLACE),
    BINARY("Sub", QDBG__OP_IN_PLACE),
    BINARY("Mul", QDBG__OP_IN_PLACE),
    BINARY("Div", QDBG__OP_IN_PLACE),
    BINARY("Mod", QDBG__OP_IN_PLACE),
    BINARY("PRelu", QDBG__OP_IN_PLACE),
    BINARY("Equal", 0),
    BINARY("Less", 0),
    BINARY("LessOrEqual", 0),
    BINARY("Greater", 0),
    BINARY("GreaterOrEqual", 0),
    BINARY("And", QDBG__OP_IN_PLACE),
    BINARY("Or", QDBG__OP_IN_PLACE),
    BINARY("Xor", QDBG__OP_IN_PLACE),
};

const qdbg__op_table qdbg__ops_binary = {table, sizeof table / sizeof *table};
