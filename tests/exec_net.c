#include "exec_net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const qdbg__grid fine_grid = {0.05f, 0, -20, 20, QDBG__ROUND_EVEN};
const qdbg__grid two_grids[2] = {{0.05f, 0, -20, 20, QDBG__ROUND_EVEN},
                                 {0.2f, 0, -20, 20, QDBG__ROUND_EVEN}};
const qdbg__fakequant fine = {&fine_grid, 1, 0, 0}, twin = {&fine_grid, 1, 0, 0};
const qdbg__fakequant channels = {two_grids, 2, 1, 0};

qdbg_graph *build_net(qdbg_ctx *ctx, net *n)
{
    uint64_t seed = 77;
    uint32_t node;
    n->ctx = ctx;
    n->g = make_graph(ctx, 13);
    n->x = make_input(n->g, "x", X_DIMS);
    n->w = make_random(n->g, "w", DIMS(2, 2, 3, 3), &seed);
    n->conv = make_node(n->g, "Conv", "conv", VALUES(n->x, n->w), &node);
    make_ints(n->g, node, "pads", DIMS(1, 1, 1, 1));
    n->relu = make_node(n->g, "Relu", "relu", &n->conv, 1, NULL);
    n->side = make_node(n->g, "Sigmoid", "side", &n->x, 1, NULL);
    n->add = make_node(n->g, "Add", "add", VALUES(n->relu, n->side), NULL);
    n->pool = make_node(n->g, "GlobalAveragePool", "pool", &n->add, 1, NULL);
    uint32_t flat = make_node(n->g, "Flatten", "flat", &n->pool, 1, NULL);
    n->gemm_w = make_random(n->g, "gw", DIMS(2, Y_COUNT), &seed);
    n->y = make_node(n->g, "Gemm", "y", VALUES(flat, n->gemm_w), NULL);
    make_finish(n->g, n->y);
    n->n_values = qdbg_graph_value_count(n->g);
    assert_true(n->n_values <= MAX_SEEN);
    return n->g;
}

net make_net(qdbg_ctx *ctx)
{
    net n;
    qdbg_view shape = make_view(X_DIMS, NULL);
    assert_int_equal(qdbg__exec_create(build_net(ctx, &n), &shape, &n.exec), QDBG_OK);
    return n;
}

void free_net(net *n)
{
    qdbg__exec_destroy(n->exec);
    qdbg_graph_destroy(n->g);
}
