/* Dead channels: what folding makes of them is told apart from weights that are large by nature.
 * Folding forgets the variances, so they are read before. */
#include "../analysis/fold.h"
#include "walk.h"

/* The BatchNormalization that is folded into the weight of a quantizer, or NULL. */
static const qdbg__node *norm_of(const qdbg__chart *c, const qdbg__quantizer *q, qdbg__layer *l)
{
    const qdbg_graph *g = c->model->graph;
    if (q->place.kind != QDBG_WEIGHT || !qdbg__layer_read(g, q->place.node, l) ||
        l->weight != q->place.value || l->norm == QDBG_NONE || l->outs != q->n_channels)
        return NULL;
    qdbg__fold_site site;
    qdbg__fold_plan(g, l->norm, QDBG_FOLD_NO_FORWARD | QDBG_FOLD_NO_STANDALONE, &site);
    bool folds = site.has_layer && site.layer.node == l->node && site.channels == l->outs;
    qdbg__fold_site_free(c->ctx, &site);
    return folds ? &g->nodes[l->norm] : NULL;
}

static qdbg_status note(qdbg__chart *c, const qdbg__node *norm, size_t n, uint8_t *dead)
{
    double epsilon = (double)qdbg__attr_float(norm, "epsilon", 1e-5f);
    float *variance = qdbg__alloc(c->ctx, n, sizeof *variance);
    if (!variance)
        return c->ctx->error_status;
    qdbg_status status = c->model->backend->get(c->model, norm->in[QDBG__BN_VAR], variance, n);
    for (size_t i = 0; i < n && status == QDBG_OK; i++)
        dead[i] = (double)variance[i] <= QDBG__DEAD_THRESHOLD * epsilon;
    qdbg__free(c->ctx, variance, n, sizeof *variance);
    return status;
}

qdbg_status qdbg__note_dead(qdbg__chart *c)
{
    qdbg_status status = QDBG_OK;
    c->dead = qdbg__alloc(c->ctx, c->sim->n, sizeof *c->dead);
    if (!c->dead)
        return c->ctx->error_status;
    for (size_t i = 0; i < c->sim->n && status == QDBG_OK; i++) {
        const qdbg__quantizer *q = &c->sim->quantizers[i];
        qdbg__layer layer;
        const qdbg__node *norm = norm_of(c, q, &layer);
        if (!norm)
            continue;
        c->dead[i] = qdbg__alloc(c->ctx, q->n_channels, 1);
        status = c->dead[i] ? note(c, norm, q->n_channels, c->dead[i]) : c->ctx->error_status;
    }
    return status;
}

bool qdbg__is_dead(const qdbg__chart *c, size_t quantizer, uint32_t channel)
{
    return c->dead && c->dead[quantizer] && c->dead[quantizer][channel];
}

void qdbg__forget_dead(qdbg__chart *c)
{
    for (size_t i = 0; c->dead && i < c->sim->n; i++)
        if (c->dead[i])
            qdbg__free(c->ctx, c->dead[i], c->sim->quantizers[i].n_channels, 1);
    if (c->dead)
        qdbg__free(c->ctx, c->dead, c->sim->n, sizeof *c->dead);
    c->dead = NULL;
}
