#include "ops.h"

#include <string.h>

const qdbg__op_table *const qdbg__op_tables[] = {
    &qdbg__ops_arg,    &qdbg__ops_batch_norm, &qdbg__ops_binary,        &qdbg__ops_cast,
    &qdbg__ops_clip,   &qdbg__ops_concat,     &qdbg__ops_conv,          &qdbg__ops_cumsum,
    &qdbg__ops_einsum, &qdbg__ops_fill,       &qdbg__ops_gather,        &qdbg__ops_gemm,
    &qdbg__ops_layout, &qdbg__ops_pad,        &qdbg__ops_normalization, &qdbg__ops_pool,
    &qdbg__ops_pow,    &qdbg__ops_reduce,     &qdbg__ops_resize,        &qdbg__ops_scatter,
    &qdbg__ops_slice,  &qdbg__ops_shape_ops,  &qdbg__ops_softmax,       &qdbg__ops_tile,
    &qdbg__ops_unary,  &qdbg__ops_variadic,   &qdbg__ops_where,
};
const size_t qdbg__n_op_tables = sizeof qdbg__op_tables / sizeof *qdbg__op_tables;

/* Asked once for each node that is added: a linear search is quick enough. */
const qdbg__op *qdbg__op_find(const char *type)
{
    for (size_t t = 0; t < qdbg__n_op_tables; t++) {
        for (size_t i = 0; i < qdbg__op_tables[t]->n; i++) {
            if (strcmp(qdbg__op_tables[t]->ops[i].type, type) == 0)
                return &qdbg__op_tables[t]->ops[i];
        }
    }
    return NULL;
}
