/* A small residual network on the executor, for its tests. */
#ifndef TESTS_EXEC_NET_H
#define TESTS_EXEC_NET_H

#include "graph_make.h"

#define MAX_SEEN 64 /* the most values a graph has here */

typedef struct net {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    qdbg__exec *exec;
    uint32_t x, w, conv, relu, side, add, pool, gemm_w, y;
    uint32_t n_values;
} net;

#define X_DIMS DIMS(1, 2, 6, 6)
#define X_COUNT 72
#define Y_COUNT 3

/* The graph only; n->exec stays unset. */
qdbg_graph *build_net(qdbg_ctx *ctx, net *n);
net make_net(qdbg_ctx *ctx);
void free_net(net *n);

/* Two quantizers alike, and one per channel of two. */
extern const qdbg__grid two_grids[2];
extern const qdbg__fakequant fine, twin, channels;

#endif
