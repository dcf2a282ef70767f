/* One pass over the data: every activation is observed. */
#include <string.h>

#include "encode.h"

typedef struct calibration {
    qdbg_sim *sim;
    uint32_t *index_of;       /* [n_values] quantizer, or QDBG_NONE */
    uint8_t *wanted;          /* [n_values] */
    qdbg_observer *observers; /* [threads, n] */
    qdbg__encodings *made;    /* [n] */
    bool averages;            /* some quantizer wants the batches one by one */
} calibration;

/* Rows are what lies along the last axis. */
static qdbg_status add_whole(qdbg_observer *o, const qdbg_view *view)
{
    uint64_t count = qdbg_view_count(view);
    size_t row = view->rank > 0 ? (size_t)view->dims[view->rank - 1] : 1;
    return count == 0 ? QDBG_OK : qdbg__observer_add(o, view->data, count / row, 1, row);
}

static qdbg_status add_channels(qdbg_observer *o, const qdbg_view *view, const qdbg_quant_spec *s)
{
    int64_t axis = s->axis < 0 ? s->axis + (int64_t)view->rank : s->axis;
    if (axis < 1 || axis >= (int64_t)view->rank)
        return QDBG_E_SHAPE;
    qdbg__cut cut = qdbg__cut_of(view->rank, view->dims, s);
    if (qdbg_view_count(view) == 0)
        return QDBG_OK;
    return qdbg__observer_add(o, view->data, cut.outer, cut.length, cut.inner);
}

/* What is collected comes out the same whichever worker sees which sample. */
static qdbg_status observe(void *user, uint32_t worker, uint32_t variant, uint64_t run,
                           uint32_t value, const qdbg_view *view)
{
    calibration *c = user;
    (void)variant;
    (void)run;
    uint32_t i = c->index_of[value];
    qdbg_observer *o = &c->observers[worker * c->sim->n + i];
    const qdbg_quant_spec *spec = &c->sim->quantizers[i].spec;
    if (view->dtype != QDBG_F32)
        return QDBG_E_TYPE;
    return spec->granularity == QDBG_PER_CHANNEL ? add_channels(o, view, spec) : add_whole(o, view);
}

/* The moving averages take in what all workers saw of a batch. */
static qdbg_status end_batch(calibration *c)
{
    qdbg_sim *sim = c->sim;
    for (size_t i = 0; i < sim->n; i++) {
        qdbg_observer *first = &c->observers[i];
        for (uint32_t w = 1; w < sim->ctx->n_threads; w++) {
            qdbg_status status = qdbg__observer_take_batch(first, &c->observers[w * sim->n + i]);
            if (status != QDBG_OK)
                return qdbg__fail(sim->ctx, status, "no memory for the statistics of a batch");
        }
        qdbg__observer_end_batch(first);
    }
    return QDBG_OK;
}

static qdbg_status calibrate_stretch(void *user, const qdbg__stretch *s)
{
    calibration *c = user;
    qdbg_model *m = c->sim->model;
    qdbg__variant plain = {NULL, NULL};
    qdbg__model_job job = {.inputs = s->inputs,
                           .n_runs = s->n_runs,
                           .variants = &plain,
                           .n_variants = 1,
                           .observe = observe,
                           .observe_values = c->wanted,
                           .observe_user = c};
    qdbg_status status = m->backend->run(m, &job);
    return status == QDBG_OK && c->averages ? end_batch(c) : status;
}

/* Of all channels. */
static qdbg__range total_of(const qdbg_observer *o)
{
    qdbg__range total;
    qdbg__range_init(&total);
    for (uint32_t c = 0; o->ranges && c < o->n_channels; c++)
        qdbg__range_merge(&total, &o->ranges[c]);
    return total;
}

static qdbg_status check_seen(qdbg_sim *sim, const qdbg__quantizer *q, const qdbg__range *r)
{
    const char *name = qdbg__sim_value(sim, q)->name;
    if (r->n > 0 && r->min > r->max)
        return qdbg__fail_at(sim->ctx, QDBG_E_NUMERIC, NULL, name,
                             "value '%s' was NaN or infinite throughout calibration", name);
    if (r->n_nan + r->n_inf > 0)
        qdbg__log(sim->ctx, QDBG_LOG_WARNING,
                  "value '%s': %llu NaN and %llu infinite elements were left out", name,
                  (unsigned long long)r->n_nan, (unsigned long long)r->n_inf);
    return QDBG_OK;
}

/* All workers' observations into those of worker 0. */
static qdbg_status merge(calibration *c)
{
    qdbg_sim *sim = c->sim;
    for (size_t i = 0; i < sim->n; i++) {
        if (qdbg__is_parameter(&sim->quantizers[i]))
            continue;
        for (uint32_t w = 1; w < sim->ctx->n_threads; w++) {
            qdbg_observer *from = &c->observers[w * sim->n + i];
            qdbg_status status = qdbg__observer_merge(&c->observers[i], from);
            if (status != QDBG_OK)
                return qdbg__fail(sim->ctx, status, "statistics of '%s' do not merge",
                                  qdbg__sim_value(sim, &sim->quantizers[i])->name);
            qdbg__observer_free(from);
        }
        qdbg__range total = total_of(&c->observers[i]);
        qdbg_status status = check_seen(sim, &sim->quantizers[i], &total);
        if (status != QDBG_OK)
            return status;
    }
    return QDBG_OK;
}

static qdbg_status make(calibration *c)
{
    uint8_t *chosen = qdbg__alloc(c->sim->ctx, c->sim->n, 1);
    if (!chosen)
        return c->sim->ctx->error_status;
    for (size_t i = 0; i < c->sim->n; i++)
        chosen[i] = !qdbg__is_parameter(&c->sim->quantizers[i]);
    qdbg_status status = qdbg__sim_make_many(c->sim, chosen, c->observers, c->made);
    qdbg__free(c->sim->ctx, chosen, c->sim->n, 1);
    return status;
}

/* All at once, and nothing that could fail. */
static void adopt(calibration *c)
{
    for (size_t i = 0; i < c->sim->n; i++) {
        qdbg__quantizer *q = &c->sim->quantizers[i];
        if (qdbg__is_parameter(q))
            continue;
        qdbg__observer_free(&q->observer);
        q->observer = c->observers[i];
        qdbg__observer_init(&c->observers[i], c->sim->ctx, 0, 0, 1);
        q->seen = true;
        q->observed = total_of(&q->observer);
        qdbg__sim_adopt_encodings(c->sim, i, &c->made[i]);
    }
}

/* A dimension of a value, or 0 where the graph does not tell. */
static size_t known_dim(const qdbg__value *v, int32_t axis)
{
    int64_t rank = v->rank == QDBG_RANK_UNKNOWN ? 0 : v->rank, at = axis < 0 ? axis + rank : axis;
    return at >= 0 && at < rank && v->dims[at] > 0 ? (size_t)v->dims[at] : 0;
}

/* Memory is taken now, where sizes are known, and not by the worker that comes first. */
static qdbg_status set_up_observers(calibration *c, uint32_t i)
{
    const qdbg__quantizer *q = &c->sim->quantizers[i];
    const qdbg__value *v = qdbg__sim_value(c->sim, q);
    bool per_channel = q->spec.granularity == QDBG_PER_CHANNEL;
    size_t channels = per_channel ? known_dim(v, q->spec.axis) : 1, row = known_dim(v, -1);
    qdbg_status status = QDBG_OK;
    uint32_t needs = c->sim->collect | qdbg__range_needs(q->range.method);
    if (per_channel)
        needs &= ~QDBG_OBSERVE_ROWS; /* rows are of whole tensors */
    c->averages = c->averages || (needs & QDBG_OBSERVE_AVERAGE);
    for (uint32_t w = 0; w < c->sim->ctx->n_threads && status == QDBG_OK; w++) {
        qdbg_observer *o = &c->observers[w * c->sim->n + i];
        qdbg__observer_init(o, c->sim->ctx, QDBG_OBSERVE_MOMENTS | needs, 0,
                            qdbg__range_defaults(&q->range).momentum);
        o->axis = per_channel ? q->spec.axis : 0;
        if (channels > 0)
            status = qdbg__observer_prepare(o, channels, row);
    }
    return status;
}

static qdbg_status begin(calibration *c)
{
    qdbg_sim *sim = c->sim;
    size_t n_values = sim->model->graph->n_values, n = sim->ctx->n_threads * sim->n;
    c->index_of = qdbg__alloc(sim->ctx, n_values, sizeof *c->index_of);
    c->wanted = c->index_of ? qdbg__alloc(sim->ctx, n_values, 1) : NULL;
    c->observers = c->wanted ? qdbg__alloc(sim->ctx, n, sizeof *c->observers) : NULL;
    c->made = c->observers ? qdbg__alloc(sim->ctx, sim->n, sizeof *c->made) : NULL;
    if (!c->made)
        return sim->ctx->error_status;
    for (size_t i = 0; i < n; i++)
        qdbg__observer_init(&c->observers[i], sim->ctx, 0, 0, 1);
    qdbg_status status = QDBG_OK;
    for (uint32_t i = 0; i < sim->n && status == QDBG_OK; i++) {
        const qdbg__place *place = &sim->quantizers[i].place;
        if (place->kind != QDBG_ACTIVATION)
            continue;
        c->wanted[place->value] = 1;
        c->index_of[place->value] = i;
        status = set_up_observers(c, i);
    }
    return status;
}

static void end(calibration *c)
{
    qdbg_sim *sim = c->sim;
    size_t n_values = sim->model->graph->n_values, n = sim->ctx->n_threads * sim->n;
    for (size_t i = 0; c->made && i < n; i++)
        qdbg__observer_free(&c->observers[i]);
    for (size_t i = 0; c->made && i < sim->n; i++)
        qdbg__encodings_free(sim->ctx, &c->made[i]);
    qdbg__free(sim->ctx, c->made, sim->n, sizeof *c->made);
    qdbg__free(sim->ctx, c->observers, n, sizeof *c->observers);
    qdbg__free(sim->ctx, c->wanted, n_values, 1);
    qdbg__free(sim->ctx, c->index_of, n_values, sizeof *c->index_of);
}

qdbg_status qdbg__sim_calibrate(qdbg_sim *sim, const qdbg_dataset *dataset, uint64_t *n_samples)
{
    calibration c = {.sim = sim};
    uint64_t seen = 0;
    qdbg_status status = begin(&c);
    if (status == QDBG_OK) /* moving averages want whole batches */
        status = qdbg__dataset_walk(sim->model, dataset, "calibrate", c.averages ? 0 : 256,
                                    calibrate_stretch, &c, &seen);
    if (status == QDBG_OK)
        status = merge(&c);
    if (status == QDBG_OK)
        status = make(&c);
    if (status == QDBG_OK) {
        adopt(&c);
        if (n_samples)
            *n_samples = seen;
    }
    end(&c);
    return status;
}

qdbg_status qdbg_sim_calibrate(qdbg_sim *sim, const qdbg_dataset *dataset)
{
    if (!sim)
        return QDBG_E_INVALID;
    qdbg__clear_error(sim->ctx);
    return qdbg__sim_calibrate(sim, dataset, NULL);
}
