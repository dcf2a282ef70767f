/**
 * @file fold.h
 * Batch-normalization folding.
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_FOLD_H
#define QDEBUG_FOLD_H

#include <qdebug/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Fold batch-normalization into the layer before it, as inference engines do before they quantize.
 *
 * For every Conv, ConvTranspose or Gemm whose only reader is a BatchNormalization, with constant
 * parameters that nothing else reads: W[o] *= s[o] and b[o] *= s[o] with s = gamma / sqrt(var +
 * eps). The graph stays as it is: the BatchNormalization is left with scale 1, mean 0, variance 1 -
 * eps and the folded bias, so that the function is the same up to rounding and host models need
 * nothing but get and set parameter. Undo by setting the parameters back.
 *
 * @param model     built-in or host
 * @param n_folded  receives the number of folded pairs; may be NULL
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NUMERIC (a parameter is not finite, or var + eps <= 0:
 *         names it); QDBG_E_CALLBACK; QDBG_E_NOMEM; QDBG_E_LIMIT. After a failure the pairs before
 *         the failed one are folded and the rest are as they were; each is whole.
 */
QDBG_API qdbg_status qdbg_fold_batch_norms(qdbg_model *model, uint32_t *n_folded);

#ifdef __cplusplus
}
#endif

#endif
