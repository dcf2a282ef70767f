/* A diagnosis as it is stored: the public rows with texts of its own. Layer 9. */
#ifndef QDBG_DIAGNOSE_DIAGNOSIS_H
#define QDBG_DIAGNOSE_DIAGNOSIS_H

#include <qdebug/diagnose.h>

#include "../base/ctx.h"

struct qdbg_diagnosis {
    qdbg_ctx *ctx;
    qdbg_summary summary; /* metric and conclusion are owned or point into steps */
    char *metric_name;    /* owned */
    qdbg_step *steps;     /* [steps_capacity]; title, verdict and recommendation are owned, name is
                             static */
    size_t n_steps, steps_capacity;
    qdbg_finding *findings; /* [n_findings]; name, node, op_type and reason are owned */
    size_t n_findings;
};

/* Is score lost beyond `max_drop`? Scores are quotients such as 925 / 1000, whose difference may be
 * off by an ulp of them: a drop of exactly max_drop is within. A score that is NaN is beyond. */
bool qdbg__drops_too_far(double float_score, double score, double max_drop);

/* Append a step with copies of its texts. NULL texts become "". */
qdbg_status qdbg__diagnosis_add_step(qdbg_diagnosis *diagnosis, const qdbg_step *step);

/* Room for `n` findings, whose texts are then set with qdbg__strdup. */
qdbg_status qdbg__diagnosis_reserve_findings(qdbg_diagnosis *diagnosis, size_t n);

#endif
