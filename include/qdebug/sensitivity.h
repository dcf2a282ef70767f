/**
 * @file sensitivity.h
 * Per-quantizer analysis: each quantizer alone at its target bits, all others bypassed.
 * (Nagel et al., "A White Paper on Neural Network Quantization", arXiv 2106.08295, section 3.7.)
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_SENSITIVITY_H
#define QDEBUG_SENSITIVITY_H

#include <qdebug/simulation.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qdbg_sensitivity qdbg_sensitivity;

/** What one quantizer does alone. */
typedef struct qdbg_sensitivity_row {
    uint32_t struct_size; /**< sizeof(qdbg_sensitivity_row), set by the caller */
    uint32_t quantizer;   /**< its number in the simulation */
    double score;         /**< the metric with only this quantizer at work */
    double sqnr_db;       /**< output SQNR (QDBG_METRIC_SQNR) against the model as it is, whatever
                               the metric's reference; +infinity: outputs are unchanged */
    double noise_share;   /**< its output noise power over the sum of all rows', 0..1 */
} qdbg_sensitivity_row;

#define QDBG_SENSITIVITY_ROW_INIT                          \
    {                                                      \
        (uint32_t)sizeof(qdbg_sensitivity_row), 0, 0, 0, 0 \
    }

/** Set `*row` to QDBG_SENSITIVITY_ROW_INIT. NULL is ignored. */
QDBG_API void qdbg_sensitivity_row_init(qdbg_sensitivity_row *row);

/**
 * Run the analysis over all enabled quantizers of `sim`, in one pass over the data. A built-in
 * model computes only what each quantizer reaches. The simulation is left as it was.
 * @param sim      calibrated
 * @param dataset  samples, with labels where the metric needs them
 * @param metric   score; the output SQNR comes with it in the same pass
 * @param out      receives the rows; destroy with qdbg_sensitivity_destroy()
 * @return as qdbg_sim_evaluate()
 */
QDBG_API qdbg_status qdbg_sensitivity_run(qdbg_sim *sim, const qdbg_dataset *dataset,
                                          const qdbg_metric *metric, qdbg_sensitivity **out);

/** Free the rows. NULL is ignored. */
QDBG_API void qdbg_sensitivity_destroy(qdbg_sensitivity *sensitivity);

/** @return the score with every quantizer bypassed, in the same pass; 0 for NULL */
QDBG_API double qdbg_sensitivity_float_score(const qdbg_sensitivity *sensitivity);

/** @return the number of rows; 0 for NULL */
QDBG_API uint32_t qdbg_sensitivity_count(const qdbg_sensitivity *sensitivity);

/**
 * Read a row, in order of harm: lowest score first, among equal scores lowest SQNR first, then by
 * number.
 * @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size); QDBG_E_NOT_FOUND
 */
QDBG_API qdbg_status qdbg_sensitivity_get(const qdbg_sensitivity *sensitivity, uint32_t rank,
                                          qdbg_sensitivity_row *row);

#ifdef __cplusplus
}
#endif

#endif
