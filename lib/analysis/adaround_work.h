/* One layer at work: what adaround_layer.c and adaround_scales.c share. Layer 8. */
#ifndef QDBG_ANALYSIS_ADAROUND_WORK_H
#define QDBG_ANALYSIS_ADAROUND_WORK_H

#include <math.h>

#include "adaround_layer.h"
#include "adaround_sampled.h"

/* Arrays in the order [groups, rows, depth]. */
typedef struct qdbg__ada_work {
    qdbg_sim *sim;
    qdbg_ctx *ctx;
    const qdbg_adaround_options *o;
    qdbg__ada_layer *layer;
    const qdbg__quantizer *quantizer;
    const float *matrix;
    const qdbg__gram *fit, *held;
    const qdbg__samples *samples;
    size_t n, outputs;
    qdbg__rounding p;
    qdbg__step *steps;      /* [n] */
    qdbg_encoding *grids;   /* [n_grids] those being worked with */
    uint32_t *grid_of;      /* [outputs] grid of a row */
    bool by_row;            /* every row is on one grid */
    bool own_grids;         /* ... and no two rows share one */
    double *b;              /* [n] or NULL */
    double *nearest, *e;    /* [n] errors of weights */
    double *delta;          /* [outputs] change of the bias, in units of the product */
    double *losses, *least; /* [outputs] */
    qdbg__activation f;
    qdbg__sampled sampled; /* of QDBG_ADAROUND_SAMPLED */
} qdbg__ada_work;

/* Is the activation in the loss? Then the quadratic form is not what is looked at. */
static inline bool qdbg__ada_bends(const qdbg__ada_work *w)
{
    return w->o->solver == QDBG_ADAROUND_SAMPLED && w->f.node != QDBG_NONE;
}

/* Which grid each weight is on, and what steps that makes. */
void qdbg__ada_find_grids(qdbg__ada_work *w);
void qdbg__ada_lay_steps(qdbg__ada_work *w);
void qdbg__ada_round_nearest(qdbg__ada_work *w);

/* qdbg_adaround_options.range_candidates; rounds to nearest on what it finds. */
qdbg_status qdbg__ada_search_ranges(qdbg__ada_work *w);

/* QDBG_ADAROUND_REFIT_SCALE. */
qdbg_status qdbg__ada_refit(qdbg__ada_work *w);

/* The pieces of both. Grid of an element of the parameter: */
uint32_t qdbg__ada_grid_index(const qdbg__ada_work *w, size_t element);
void qdbg__ada_set_scale(qdbg_encoding *e, float scale);
/* The factor next to `factor` that takes a scale to one that the spec allows. */
double qdbg__ada_allowed(const qdbg__ada_work *w, double factor);
/* What becomes of e's scale where `scale` would fit best. */
float qdbg__ada_refitted(const qdbg__ada_work *w, const qdbg_encoding *e, double scale);

/* Where rows have several grids, or share one in part: the same for one grid after the other, each
 * judged with all others as they are by then. Grids change, and of steps and q only what follows
 * from them; lay steps anew. */
qdbg_status qdbg__ada_search_by_grid(qdbg__ada_work *w, uint32_t candidates);
qdbg_status qdbg__ada_refit_grids(qdbg__ada_work *w, bool *better);

static inline int32_t qdbg__ada_nearest_on(const qdbg__step *s, float x)
{
    return (int32_t)qdbg__clamp(rint((double)x / (double)s->scale), s->low, s->high);
}

#endif
