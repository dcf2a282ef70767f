/* The relaxation of "Up or Down?", section 3.2, on the quadratic form: the expectation of the
 * paper's mini-batches. Each block of rows goes its way alone. */
#include <cblas.h>

#include "adaround_soft.h"

typedef struct relax_arg {
    const qdbg__relax_options *options;
    float *h; /* [groups, depth, depth] without ridge */
    qdbg_ctx *ctx;
} relax_arg;

#define ARRAYS (QDBG__SOFT_KEPT + QDBG__SOFT_ROOM + 2) /* of [QDBG__BLOCK_ROWS, depth] floats */

/* 2 (e H - b) by alpha. */
static void find_gradient(const qdbg__soft *x, const float *h, const float *b, float *gradient)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)x->n, (int)x->d, (int)x->d, 1.0f,
                x->e, (int)x->d, h, (int)x->d, 0.0f, gradient, (int)x->d);
    for (size_t i = 0; i < x->n * x->d; i++)
        gradient[i] = 2.0f * (gradient[i] - b[i]) * x->g[i];
}

static void relax_block(const qdbg__block *b)
{
    const relax_arg *a = b->arg;
    const qdbg__rounding *p = b->p;
    const float *h = a->h + b->group * p->depth * p->depth;
    size_t n = b->n * p->depth;
    float *kept = (float *)(void *)b->scratch, *room = kept + QDBG__SOFT_KEPT * n;
    float *mixed = room + QDBG__SOFT_ROOM * n, *gradient = mixed + n;
    qdbg__soft x;
    qdbg__soft_open(&x, b, a->options, kept, room);
    qdbg__soft_start(&x);
    for (size_t i = 0; i < n; i++)
        mixed[i] = p->b ? (float)p->b[b->at * p->depth + i] : 0;
    for (uint32_t it = 0; it < a->options->iterations; it++) {
        qdbg__soft_weights(&x);
        find_gradient(&x, h, mixed, gradient);
        qdbg__soft_step(&x, gradient, it);
        if (it % 256 == 0 && qdbg__cancel_wanted(a->ctx))
            return;
    }
    qdbg__soft_decide(&x, b);
}

qdbg_status qdbg__solve_relaxed(qdbg_ctx *ctx, qdbg__rounding *p, const qdbg__relax_options *o)
{
    size_t d = p->depth, n = p->groups * d * d;
    relax_arg a = {o, qdbg__alloc(ctx, n, sizeof(float)), ctx};
    if (!a.h)
        return ctx->error_status;
    for (size_t i = 0; i < n; i++) {
        bool diagonal = i % (d * d) % (d + 1) == 0;
        a.h[i] = (float)(p->h[i] - (diagonal ? p->ridge[i / (d * d)] : 0));
    }
    qdbg_status status =
        qdbg__for_blocks(ctx, p, relax_block, &a, ARRAYS * QDBG__BLOCK_ROWS * d / 2 + 1);
    qdbg__free(ctx, a.h, n, sizeof(float));
    return status;
}
