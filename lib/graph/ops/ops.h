/* The operator families. Each file of this folder defines one table; registry.c lists them. */
#ifndef QDBG_GRAPH_OPS_OPS_H
#define QDBG_GRAPH_OPS_OPS_H

#include "../op.h"

extern const qdbg__op_table qdbg__ops_arg;           /* ArgMax, ArgMin, TopK */
extern const qdbg__op_table qdbg__ops_batch_norm;    /* BatchNormalization */
extern const qdbg__op_table qdbg__ops_binary;        /* Add, Mul, PRelu, Equal, Less, And, ... */
extern const qdbg__op_table qdbg__ops_cast;          /* Cast, CastLike */
extern const qdbg__op_table qdbg__ops_clip;          /* Clip */
extern const qdbg__op_table qdbg__ops_concat;        /* Concat, Split */
extern const qdbg__op_table qdbg__ops_conv;          /* Conv, ConvTranspose */
extern const qdbg__op_table qdbg__ops_cumsum;        /* CumSum */
extern const qdbg__op_table qdbg__ops_einsum;        /* Einsum */
extern const qdbg__op_table qdbg__ops_fill;          /* Constant, Range, OneHot, Trilu, ... */
extern const qdbg__op_table qdbg__ops_gather;        /* Gather, GatherElements, GatherND */
extern const qdbg__op_table qdbg__ops_gemm;          /* Gemm, MatMul */
extern const qdbg__op_table qdbg__ops_layout;        /* Transpose, DepthToSpace, SpaceToDepth */
extern const qdbg__op_table qdbg__ops_normalization; /* LayerNormalization, LRN, ... */
extern const qdbg__op_table qdbg__ops_pad;           /* Pad */
extern const qdbg__op_table qdbg__ops_pool;          /* MaxPool, AveragePool, Global... */
extern const qdbg__op_table qdbg__ops_pow;           /* Pow */
extern const qdbg__op_table qdbg__ops_reduce;        /* ReduceMean, ReduceSum, ... */
extern const qdbg__op_table qdbg__ops_resize;        /* Resize, Upsample */
extern const qdbg__op_table qdbg__ops_scatter;       /* ScatterElements, ScatterND */
extern const qdbg__op_table qdbg__ops_shape_ops;     /* Shape, Size, Reshape, Squeeze, ... */
extern const qdbg__op_table qdbg__ops_slice;         /* Slice */
extern const qdbg__op_table qdbg__ops_softmax;       /* Softmax, LogSoftmax, Hardmax */
extern const qdbg__op_table qdbg__ops_tile;          /* Expand, Tile */
extern const qdbg__op_table qdbg__ops_unary;         /* Relu, Gelu, Exp, Sqrt, IsNaN, Not, ... */
extern const qdbg__op_table qdbg__ops_variadic;      /* Sum, Mean, Max, Min */
extern const qdbg__op_table qdbg__ops_where;         /* Where */

/* All of them. */
extern const qdbg__op_table *const qdbg__op_tables[];
extern const size_t qdbg__n_op_tables;

#endif
