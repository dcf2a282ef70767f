/* A network of every operator that the test engine has, small enough to be run thousands of times.
 */
#ifndef TESTS_HOST_SMALL_H
#define TESTS_HOST_SMALL_H

#include <qdebug/graph.h>

#include "samples.h"

/* x [batch,1,9,9] -> Conv, BatchNormalization, Relu "a" -> depthwise Conv, BatchNormalization,
 * Clip "b" -> pointwise Conv, Relu "c" -> AveragePool -> GlobalAveragePool -> Flatten -> Gemm "y"
 * [batch,5]. */
bool small_graph(qdbg_ctx *ctx, qdbg_graph **out, const char **why);
bool small_samples(size_t n, samples *out, const char **why);

#endif
