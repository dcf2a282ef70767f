/* Quantizers that share one encoding: that of the union of their ranges. */
#include <math.h>
#include <string.h>

#include "encode.h"

/* The range of one of them; min > max where it never was finite. */
static qdbg_status range_of(qdbg_sim *sim, const qdbg__quantizer *q, const qdbg_observer *o,
                            qdbg__range_work **work, bool *known, qdbg__span *span)
{
    qdbg_status status = qdbg__sim_given_range(sim, q, known, span);
    if (status != QDBG_OK || *known)
        return status;
    *known = qdbg__sim_observed_enough(q, o);
    *span = (qdbg__span){1, 0};
    if (!*known || !(o->ranges[0].min <= o->ranges[0].max))
        return QDBG_OK;
    if (!*work && (qdbg__range_needs(q->range.method) & QDBG_OBSERVE_HISTOGRAM)) {
        *work = qdbg__alloc(sim->ctx, 1, sizeof **work);
        if (!*work)
            return sim->ctx->error_status;
    }
    status = qdbg__observer_choose(o, *work, 0, &q->range, &q->spec, span);
    if (status == QDBG_OK)
        qdbg__sim_fix_min(q, span);
    return status;
}

static void unite(qdbg__span *all, qdbg__span one)
{
    if (one.min > one.max)
        return;
    bool first = all->min > all->max;
    all->min = first ? one.min : fminf(all->min, one.min);
    all->max = first ? one.max : fmaxf(all->max, one.max);
}

qdbg_status qdbg__sim_shared_range(qdbg_sim *sim, size_t i, const qdbg_observer *observers,
                                   bool *known, qdbg__span *span)
{
    qdbg__range_work *work = NULL;
    qdbg__span all = {1, 0};
    qdbg_status status = QDBG_OK;
    *known = true;
    for (uint32_t k = sim->quantizers[i].place.group; k != QDBG_NONE && status == QDBG_OK && *known;
         k = sim->quantizers[k].place.next) {
        const qdbg__quantizer *q = &sim->quantizers[k];
        qdbg__span one;
        status = range_of(sim, q, observers ? &observers[k] : &q->observer, &work, known, &one);
        if (status == QDBG_OK && *known)
            unite(&all, one);
    }
    qdbg__free(sim->ctx, work, 1, sizeof *work);
    *span = all;
    return status;
}

/* ---- many at once ---- */

/* Whoever is chosen chooses the first of the group, and that one all. */
static void choose_groups(const qdbg_sim *sim, uint8_t *chosen)
{
    for (size_t i = 0; i < sim->n; i++)
        if (chosen[i] && !chosen[sim->quantizers[i].place.group])
            chosen[sim->quantizers[i].place.group] = 1;
    for (size_t i = 0; i < sim->n; i++)
        if (!chosen[i] && chosen[sim->quantizers[i].place.group])
            chosen[i] = 1;
}

static qdbg_status copy(qdbg_ctx *ctx, const qdbg__encodings *from, qdbg__encodings *to)
{
    if (from->n == 0)
        return QDBG_OK;
    qdbg_status status = qdbg__encodings_make_room(ctx, from->n, to);
    if (status != QDBG_OK)
        return status;
    memcpy(to->at, from->at, from->n * sizeof *to->at);
    memcpy(to->grids, from->grids, from->n * sizeof *to->grids);
    return QDBG_OK;
}

qdbg_status qdbg__sim_make_many(qdbg_sim *sim, uint8_t *chosen, const qdbg_observer *observers,
                                qdbg__encodings *made)
{
    qdbg_status status = QDBG_OK;
    choose_groups(sim, chosen);
    for (size_t i = 0; i < sim->n && status == QDBG_OK; i++) {
        const qdbg__place *place = &sim->quantizers[i].place;
        if (!chosen[i])
            continue;
        if (place->shared && place->group != i) /* the first of them is made already */
            status = copy(sim->ctx, &made[place->group], &made[i]);
        else
            status = qdbg__sim_make_encodings(sim, i, observers, NULL, &made[i]);
    }
    for (size_t i = 0; i < sim->n && status != QDBG_OK; i++)
        qdbg__encodings_free(sim->ctx, &made[i]);
    return status;
}

qdbg_status qdbg__sim_encode_group(qdbg_sim *sim, size_t i)
{
    uint32_t first = sim->quantizers[i].place.group;
    qdbg__encodings made, *copies = NULL;
    size_t n = 0, done = 0;
    for (uint32_t k = first; k != QDBG_NONE; k = sim->quantizers[k].place.next)
        n++;
    qdbg_status status = qdbg__sim_make_encodings(sim, first, NULL, NULL, &made);
    if (status != QDBG_OK)
        return status;
    copies = qdbg__alloc(sim->ctx, n, sizeof *copies);
    status = copies ? QDBG_OK : sim->ctx->error_status;
    for (size_t k = 0; k < n && status == QDBG_OK; k++)
        status = copy(sim->ctx, &made, &copies[k]);
    for (uint32_t k = first; k != QDBG_NONE && status == QDBG_OK; k = sim->quantizers[k].place.next)
        qdbg__sim_adopt_encodings(sim, k, &copies[done++]);
    for (size_t k = 0; copies && k < n; k++)
        qdbg__encodings_free(sim->ctx, &copies[k]);
    qdbg__free(sim->ctx, copies, n, sizeof *copies);
    qdbg__encodings_free(sim->ctx, &made);
    return status;
}
