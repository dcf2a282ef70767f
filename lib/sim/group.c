/* Quantizers that share one encoding: that of the union of their ranges. */
#include <math.h>
#include <string.h>

#include "encode.h"

static bool in_group(const qdbg_sim *sim, size_t i, size_t k)
{
    return i == k || (sim->quantizers[i].place.kind == QDBG_ACTIVATION &&
                      sim->quantizers[k].place.kind == QDBG_ACTIVATION &&
                      sim->quantizers[i].place.group == sim->quantizers[k].place.group);
}

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
    return qdbg__observer_choose(o, *work, 0, &q->range, &q->spec, span);
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
    for (size_t k = 0; k < sim->n && status == QDBG_OK && *known; k++) {
        const qdbg__quantizer *q = &sim->quantizers[k];
        qdbg__span one;
        if (!in_group(sim, i, k))
            continue;
        status = range_of(sim, q, observers ? &observers[k] : &q->observer, &work, known, &one);
        if (status == QDBG_OK && *known)
            unite(&all, one);
    }
    qdbg__free(sim->ctx, work, 1, sizeof *work);
    *span = all;
    return status;
}

/* ---- many at once ---- */

static void choose_groups(const qdbg_sim *sim, uint8_t *chosen)
{
    for (size_t i = 0; i < sim->n; i++)
        for (size_t k = 0; chosen[i] && sim->quantizers[i].place.shared && k < sim->n; k++)
            if (!chosen[k] && in_group(sim, i, k))
                chosen[k] = 1;
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
    uint8_t *chosen = qdbg__alloc(sim->ctx, sim->n, 1);
    qdbg__encodings *made = chosen ? qdbg__alloc(sim->ctx, sim->n, sizeof *made) : NULL;
    qdbg_status status = made ? QDBG_OK : sim->ctx->error_status;
    if (status == QDBG_OK) {
        chosen[i] = 1;
        status = qdbg__sim_make_many(sim, chosen, NULL, made);
    }
    for (size_t k = 0; k < sim->n && status == QDBG_OK; k++)
        if (chosen[k])
            qdbg__sim_adopt_encodings(sim, k, &made[k]);
    qdbg__free(sim->ctx, made, sim->n, sizeof *made);
    qdbg__free(sim->ctx, chosen, sim->n, 1);
    return status;
}
