#include "fold.h"

#include <math.h>

#include "../sim/guard.h"

void qdbg_fold_options_init(qdbg_fold_options *options)
{
    if (options)
        *options = (qdbg_fold_options)QDBG_FOLD_OPTIONS_INIT;
}

void qdbg_fold_row_init(qdbg_fold_row *row)
{
    if (row)
        *row = (qdbg_fold_row)QDBG_FOLD_ROW_INIT;
}

/* ---- the plain form ---- */

qdbg_status qdbg__fold_batch_norms(qdbg_model *m, uint32_t *n_folded, qdbg__journal *journal)
{
    uint32_t n = 0;
    qdbg__fold_seen nothing = {0};
    for (uint32_t i = 0; i < m->graph->n_nodes; i++) {
        qdbg__fold_site site;
        if (!qdbg__node_is(&m->graph->nodes[i], "BatchNormalization"))
            continue;
        qdbg__fold_plan(m->graph, i, QDBG_FOLD_NO_FORWARD | QDBG_FOLD_NO_STANDALONE, &site);
        qdbg_status status = qdbg__fold_do(m, &site, 0, 0, &nothing, journal);
        n += site.row.outcome == QDBG_FOLD_BACKWARD;
        qdbg__fold_site_free(m->ctx, &site);
        if (status != QDBG_OK)
            return status;
    }
    if (n_folded)
        *n_folded = n;
    return QDBG_OK;
}

qdbg_status qdbg_fold_batch_norms(qdbg_model *m, uint32_t *n_folded)
{
    if (!m)
        return QDBG_E_INVALID;
    qdbg__clear_error(m->ctx);
    qdbg__journal journal = {0};
    qdbg_status status = qdbg__fold_batch_norms(m, n_folded, &journal);
    qdbg__journal_free(m, &journal);
    return status;
}

/* ---- what channels show on data ---- */

struct qdbg_fold {
    qdbg_model *model;
    qdbg__journal journal;
    qdbg__fold_site *sites; /* [n] */
    size_t n;
    qdbg__guard guard;
};

typedef struct looking {
    qdbg_model *model;
    const qdbg_fold *fold;
    size_t *first;       /* [n_values] where a value's channels begin in `ranges`; SIZE_MAX */
    uint8_t *wanted;     /* [n_values] */
    qdbg__range *ranges; /* [n_workers * n_channels] */
    size_t n_channels, n_workers;
} looking;

static uint32_t output_of(const looking *l, size_t site)
{
    return l->model->graph->nodes[l->fold->sites[site].bn].out[0];
}

static qdbg_status look(void *user, uint32_t worker, uint32_t variant, uint64_t run, uint32_t value,
                        const qdbg_view *view)
{
    looking *l = user;
    size_t first = l->first[value], channels = (size_t)view->dims[1], inner = 1;
    (void)variant;
    (void)run;
    for (uint32_t i = 2; i < view->rank; i++)
        inner *= (size_t)view->dims[i];
    qdbg__kernels_of(l->model->ctx)
        ->range_channels(view->data, (size_t)view->dims[0], channels, inner,
                         l->ranges + worker * l->n_channels + first);
    return QDBG_OK;
}

static qdbg_status look_at_stretch(void *user, const qdbg__stretch *s)
{
    looking *l = user;
    qdbg__variant plain = {NULL, NULL};
    qdbg__model_job job = {.inputs = s->inputs,
                           .n_runs = s->n_runs,
                           .variants = &plain,
                           .n_variants = 1,
                           .observe = look,
                           .observe_values = l->wanted,
                           .observe_user = l};
    return l->model->backend->run(l->model, &job);
}

static bool is_looked_at(const looking *l, size_t i)
{
    const qdbg__fold_site *s = &l->fold->sites[i];
    return s->channels > 0 && s->row.outcome <= QDBG_FOLD_STANDALONE &&
           qdbg__channels_of(l->model->graph, output_of(l, i)) == s->channels;
}

static qdbg_status look_at_data(looking *l, const qdbg_dataset *data)
{
    qdbg_ctx *ctx = l->model->ctx;
    size_t n_values = l->model->graph->n_values;
    l->n_workers = ctx->n_threads;
    l->first = qdbg__alloc(ctx, n_values, sizeof *l->first);
    l->wanted = l->first ? qdbg__alloc(ctx, n_values, 1) : NULL;
    if (!l->wanted)
        return ctx->error_status;
    for (size_t i = 0; i < l->fold->n; i++) {
        if (!is_looked_at(l, i))
            continue;
        l->first[output_of(l, i)] = l->n_channels;
        l->wanted[output_of(l, i)] = 1;
        l->n_channels += l->fold->sites[i].channels;
    }
    l->ranges = qdbg__alloc(ctx, l->n_workers * l->n_channels, sizeof *l->ranges);
    if (!l->ranges)
        return ctx->error_status;
    for (size_t i = 0; i < l->n_workers * l->n_channels; i++)
        qdbg__range_init(&l->ranges[i]);
    if (l->n_channels == 0)
        return QDBG_OK;
    qdbg_status status =
        qdbg__dataset_walk(l->model, data, "fold: channels", 0, look_at_stretch, l, NULL);
    for (size_t w = 1; w < l->n_workers && status == QDBG_OK; w++)
        for (size_t i = 0; i < l->n_channels; i++)
            qdbg__range_merge(&l->ranges[i], &l->ranges[w * l->n_channels + i]);
    return status;
}

static void looking_free(looking *l)
{
    qdbg_ctx *ctx = l->model->ctx;
    size_t n_values = l->model->graph->n_values;
    qdbg__free(ctx, l->first, n_values, sizeof *l->first);
    qdbg__free(ctx, l->wanted, n_values, 1);
    qdbg__free(ctx, l->ranges, l->n_workers * l->n_channels, sizeof *l->ranges);
}

static qdbg__fold_seen what_was_seen(const looking *l, size_t i)
{
    qdbg__fold_seen seen = {0};
    if (!l->ranges || !is_looked_at(l, i))
        return seen;
    seen.channels = l->ranges + l->first[output_of(l, i)];
    for (size_t c = 0; c < l->fold->sites[i].channels; c++)
        seen.largest =
            fmaxf(seen.largest, fmaxf(fabsf(seen.channels[c].min), fabsf(seen.channels[c].max)));
    return seen;
}

/* ---- all of them ---- */

static qdbg_status plan(qdbg_fold *f, uint32_t flags)
{
    const qdbg_graph *g = f->model->graph;
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        n += qdbg__node_is(&g->nodes[i], "BatchNormalization");
    f->sites = qdbg__alloc(f->model->ctx, n, sizeof *f->sites);
    if (!f->sites)
        return f->model->ctx->error_status;
    f->n = n;
    n = 0;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        if (qdbg__node_is(&g->nodes[i], "BatchNormalization"))
            qdbg__fold_plan(g, i, flags, &f->sites[n++]);
    return QDBG_OK;
}

static void mark_reverted(qdbg_fold *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->sites[i].row.outcome <= QDBG_FOLD_STANDALONE)
            f->sites[i].row.outcome = QDBG_FOLD_REVERTED;
}

static qdbg_status judge(qdbg_fold *f)
{
    qdbg_status status = qdbg__guard_judge(&f->guard, &f->journal, "fold: score");
    if (f->guard.undone)
        mark_reverted(f);
    return status;
}

static qdbg_status fold_all(qdbg_fold *f, const qdbg_fold_options *o)
{
    looking l = {.model = f->model, .fold = f};
    qdbg_status status = plan(f, o->flags);
    if (status == QDBG_OK && f->guard.sim)
        status = qdbg__guard_score(&f->guard, "fold: score", &f->guard.before);
    if (status == QDBG_OK && o->data)
        status = look_at_data(&l, o->data);
    for (size_t i = 0; i < f->n && status == QDBG_OK; i++) {
        qdbg__fold_seen seen = what_was_seen(&l, i);
        seen.asked = o->data != NULL;
        double threshold = o->dead_threshold > 0 ? o->dead_threshold : QDBG__DEAD_THRESHOLD;
        status = qdbg__fold_do(f->model, &f->sites[i], threshold, o->flags, &seen, &f->journal);
    }
    looking_free(&l);
    return status == QDBG_OK ? judge(f) : status;
}

static qdbg_status check(qdbg_model *m, const qdbg_fold_options *o, const qdbg__guard *g)
{
    const uint32_t known = QDBG_FOLD_NEUTRALIZE | QDBG_FOLD_NO_FORWARD | QDBG_FOLD_NO_STANDALONE;
    if (o->struct_size != sizeof *o || (o->flags & ~known) != 0 || !(o->dead_threshold >= 0) ||
        isinf(o->dead_threshold))
        return qdbg__fail(m->ctx, QDBG_E_INVALID,
                          "fold options: struct_size, flags or dead_threshold is wrong");
    qdbg_status status = o->data ? qdbg__dataset_check(m->ctx, o->data) : QDBG_OK;
    return status == QDBG_OK ? qdbg__guard_check(m, g) : status;
}

qdbg_status qdbg_fold_run(qdbg_model *m, const qdbg_fold_options *options, qdbg_fold **result)
{
    if (!m)
        return QDBG_E_INVALID;
    qdbg__clear_error(m->ctx);
    qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
    if (options)
        o = *options;
    if (!result)
        return qdbg__fail(m->ctx, QDBG_E_INVALID, "result is NULL");
    qdbg__guard g = {.sim = o.guard_sim,
                     .calibration = o.guard_calibration,
                     .dataset = o.guard_dataset,
                     .metric = o.guard_metric};
    qdbg_status status = check(m, &o, &g);
    if (status != QDBG_OK)
        return status;
    qdbg_fold *f = qdbg__alloc(m->ctx, 1, sizeof *f);
    if (!f)
        return m->ctx->error_status;
    f->model = m;
    f->guard = g;
    status = fold_all(f, &o);
    if (status != QDBG_OK) {
        qdbg__journal_undo(m, &f->journal, 0);
        qdbg_fold_destroy(f);
        return status;
    }
    *result = f;
    return QDBG_OK;
}

/* ---- the result ---- */

void qdbg_fold_destroy(qdbg_fold *f)
{
    if (!f)
        return;
    qdbg_ctx *ctx = f->model->ctx;
    for (size_t i = 0; i < f->n; i++)
        qdbg__fold_site_free(ctx, &f->sites[i]);
    qdbg__journal_free(f->model, &f->journal);
    qdbg__free(ctx, f->sites, f->n, sizeof *f->sites);
    qdbg__free(ctx, f, 1, sizeof *f);
}

qdbg_status qdbg_fold_undo(qdbg_fold *f)
{
    if (!f)
        return QDBG_E_INVALID;
    qdbg__clear_error(f->model->ctx);
    qdbg_status status = qdbg__journal_check_undo(f->model, &f->journal);
    if (status != QDBG_OK)
        return status;
    mark_reverted(f);
    return qdbg__journal_undo(f->model, &f->journal, 0);
}

uint32_t qdbg_fold_count(const qdbg_fold *f)
{
    return f ? (uint32_t)f->n : 0;
}

qdbg_status qdbg_fold_get(const qdbg_fold *f, uint32_t index, qdbg_fold_row *row)
{
    if (!f || !row || row->struct_size != sizeof *row)
        return QDBG_E_INVALID;
    if (index >= f->n)
        return QDBG_E_NOT_FOUND;
    *row = f->sites[index].row;
    return QDBG_OK;
}

qdbg_status qdbg_fold_stats(const qdbg_fold *f, uint32_t index, qdbg_channel_stats *stats)
{
    if (!f || !stats || stats->struct_size != sizeof *stats)
        return QDBG_E_INVALID;
    if (index >= f->n || !f->sites[index].mean)
        return QDBG_E_NOT_FOUND;
    const qdbg__fold_site *s = &f->sites[index];
    stats->value = f->model->graph->nodes[s->bn].out[0];
    stats->n = s->channels;
    stats->mean = s->mean;
    stats->deviation = s->deviation;
    return QDBG_OK;
}

int32_t qdbg_fold_guard(const qdbg_fold *f, double *before, double *after)
{
    return qdbg__guard_tell(f ? &f->guard : NULL, before, after);
}
