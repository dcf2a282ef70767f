/* The first samples' outputs and a fingerprint of every value, to tell whether two ways of running
 * a model are the same, and if not, where they part. Layer 8. */
#ifndef QDBG_ANALYSIS_PROBE_H
#define QDBG_ANALYSIS_PROBE_H

#include "../model/dataset.h"

typedef struct qdbg__probe {
    void **outputs;  /* [n_outputs] the elements for all runs */
    size_t *bytes;   /* [n_outputs] of them */
    uint64_t *marks; /* [n_runs * n_values] fingerprint, 0 where not observed */
    uint64_t n_runs;
} qdbg__probe;

/* Run `variant` on the first samples (at most 8 runs) of the dataset. `wanted` [n_values] says
 * which values to fingerprint. Free with qdbg__probe_free. */
qdbg_status qdbg__probe_take(qdbg_model *model, const qdbg_dataset *dataset,
                             const qdbg__variant *variant, const uint8_t *wanted, qdbg__probe *out);
/* The outputs in float32 for other inputs than the first samples: zeros, and where an input is not
 * float32 its elements in reverse order, each of which the model may be given. */
qdbg_status qdbg__probe_take_others(qdbg_model *model, const qdbg_dataset *dataset,
                                    qdbg__probe *out);
void qdbg__probe_free(qdbg_model *model, qdbg__probe *probe);

/* Are all outputs the same to the bit? */
bool qdbg__probe_same(const qdbg_model *model, const qdbg__probe *a, const qdbg__probe *b);

/* Largest |a - b| over largest |a|, of all float32 outputs; infinite where one that differs is not
 * finite. */
double qdbg__probe_difference(const qdbg_model *model, const qdbg__probe *a, const qdbg__probe *b);

/* The first value in topological order whose fingerprints differ, or QDBG_NONE. */
uint32_t qdbg__probe_first_difference(const qdbg_model *model, const qdbg__probe *a,
                                      const qdbg__probe *b);

#endif
