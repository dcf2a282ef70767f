/* Does a host keep the rules that no single call can see broken? */
#include <string.h>

#include "../analysis/probe.h"
#include "walk.h"

/* ---- the tap ---- */

/* Values to turn into zeros: the inputs, where all of them can be tapped; else every value with a
 * quantizer. An output does not count: the library itself takes it from the tap. */
static void choose_zeroed(const qdbg__chart *c, const qdbg__fakequant *to_zero,
                          const qdbg__fakequant **acts)
{
    const qdbg_graph *g = c->model->graph;
    bool whole = true;
    for (size_t i = 0; i < g->n_inputs; i++) {
        const qdbg__value *v = &g->values[g->inputs[i]];
        bool is_float = v->dtype == QDBG_F32 || v->dtype == QDBG_DTYPE_NONE;
        if (v->n_consumers == 0)
            continue;
        if (is_float && !v->is_output)
            acts[g->inputs[i]] = to_zero;
        else
            whole = false;
    }
    for (size_t i = 0; !whole && i < c->sim->n; i++) {
        const qdbg__place *place = &c->sim->quantizers[i].place;
        if (place->kind == QDBG_ACTIVATION && !g->values[place->value].is_output)
            acts[place->value] = to_zero;
    }
}

/* A host that taps copies and goes on with its own data (rule 2) would show every inner quantizer
 * as harmless. Its outputs stay as they are where the tap turns the inputs into zeros, though zeros
 * as inputs would change them: only that second look tells it from a network whose outputs do not
 * depend on its inputs. */
static qdbg_status check_obedience(qdbg__chart *c, const qdbg__probe *before)
{
    size_t n = c->model->graph->n_values;
    const qdbg__grid zero = {1, 0, 0, 0, QDBG__ROUND_EVEN};
    const qdbg__fakequant to_zero = {&zero, 1, 0, 0};
    const qdbg__fakequant **acts = qdbg__alloc(c->ctx, n, sizeof *acts);
    uint8_t *nothing = acts ? qdbg__alloc(c->ctx, n, 1) : NULL;
    qdbg__probe zeroed = {0}, others = {0};
    qdbg_status status = nothing ? QDBG_OK : c->ctx->error_status;
    if (status == QDBG_OK) {
        qdbg__variant variant = {acts, NULL};
        choose_zeroed(c, &to_zero, acts);
        status = qdbg__probe_take(c->model, c->options.evaluation, &variant, nothing, &zeroed);
    }
    if (status == QDBG_OK && qdbg__probe_same(c->model, before, &zeroed)) {
        status = qdbg__probe_take_others(c->model, c->options.evaluation, &others);
        if (status == QDBG_OK)
            c->tap_obeyed = qdbg__probe_same(c->model, before, &others);
    }
    qdbg__probe_free(c->model, &others);
    qdbg__probe_free(c->model, &zeroed);
    qdbg__free(c->ctx, nothing, n, 1);
    qdbg__free(c->ctx, acts, n, sizeof *acts);
    return status;
}

/* ---- set_parameter ---- */

/* Give one parameter other elements, read them back, and give it its own again: whatever happens in
 * between, a set that failed may be asked for once more. `data` is [2 * count]. */
static qdbg_status try_parameter(qdbg__chart *c, uint32_t value, float *data, uint64_t count)
{
    qdbg_model *m = c->model;
    float *other = data + count;
    qdbg_status status = m->backend->get(m, value, data, count);
    if (status != QDBG_OK || count == 0)
        return status;
    memcpy(other, data, count * sizeof *data);
    other[0] = data[0] == 0 ? 1 : -data[0]; /* which few bits can hold */
    status = m->backend->set(m, value, other, count);
    if (status == QDBG_OK)
        status = m->backend->get(m, value, other, count);
    bool same = status == QDBG_OK && memcmp(&other[0], &data[0], sizeof *data) == 0;
    if (status == QDBG_OK)
        status = m->backend->set(m, value, data, count);
    if (status != QDBG_OK) { /* once more, which does not cover up what went wrong */
        qdbg__failure failure;
        qdbg__failure_save(c->ctx, &failure);
        m->backend->set(m, value, data, count);
        qdbg__failure_restore(c->ctx, &failure);
    }
    if (same && c->lost_parameter == QDBG_NONE)
        c->lost_parameter = value;
    return status;
}

static qdbg_status check_parameters(qdbg__chart *c)
{
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < c->sim->n && status == QDBG_OK; i++) {
        const qdbg__place *place = &c->sim->quantizers[i].place;
        uint64_t count = c->model->graph->values[place->value].bytes / sizeof(float);
        if (place->kind == QDBG_ACTIVATION)
            continue;
        float *data = qdbg__alloc(c->ctx, 2 * count, sizeof *data);
        if (!data)
            return c->ctx->error_status;
        status = try_parameter(c, place->value, data, count);
        qdbg__free(c->ctx, data, 2 * count, sizeof *data);
    }
    return status;
}

qdbg_status qdbg__check_host(qdbg__chart *c, const qdbg__probe *before)
{
    qdbg_status status = check_obedience(c, before);
    return status == QDBG_OK ? check_parameters(c) : status;
}
