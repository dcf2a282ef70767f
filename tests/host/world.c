#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <qdebug/onnx.h>

#include "small.h"

const char *world_demo_path;

static bool load_file(qdbg_ctx *ctx, const char *path, qdbg_graph **out, const char **why)
{
    *why = "no path to the model is given";
    if (!path)
        return false;
    qdbg_status status = qdbg_onnx_load_file(ctx, path, out);
    if (status != QDBG_OK) /* there, but broken: no reason to skip */
        fail_msg("%s: %s", path, qdbg_ctx_error_message(ctx));
    return true;
}

static bool demo_graph(qdbg_ctx *ctx, qdbg_graph **out, const char **why)
{
    return load_file(ctx, world_demo_path, out, why);
}

static bool kws_graph(qdbg_ctx *ctx, qdbg_graph **out, const char **why)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/kws_ds_cnn.onnx", getenv("QDBG_ZOO"));
    return load_file(ctx, path, out, why);
}

static bool kws_samples(size_t n, samples *out, const char **why)
{
    return samples_kws(getenv("QDBG_ZOO"), n, out, why);
}

const network network_demo = {"demo", 64, 24, samples_fashion, demo_graph};
const network network_kws = {"kws", 64, 30, kws_samples, kws_graph};
const network network_small = {"small", 10, 4, small_samples, small_graph};

void world_assert_ok(const world *w, qdbg_status status, const char *file, int line)
{
    if (status == QDBG_OK)
        return;
    print_error("%s: %s\n", qdbg_status_name(status), qdbg_ctx_error_message(w->ctx));
    _fail(file, line);
}

static int32_t pass_progress(void *user, const qdbg_progress *progress)
{
    const world *w = user;
    return w->progress ? w->progress(w->progress_user, progress) : 0;
}

static void open_context(world *w)
{
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    options.threads = 2;
    options.progress = pass_progress;
    options.progress_user = w;
    assert_int_equal(qdbg_ctx_create(&options, &w->ctx), QDBG_OK);
}

static void open_models(world *w, uint64_t batch_size)
{
    w->engine = engine_new(w->graph);
    assert_non_null(w->engine);
    qdbg_host host = engine_host(w->engine);
    ASSERT_OK(w, qdbg_model_create(w->graph, &w->built_in));
    ASSERT_OK(w, qdbg_model_create_host(w->graph, &host, &w->host));
    ASSERT_OK(w, qdbg_arrays_create(w->ctx, &w->samples.inputs, 1, w->samples.labels, batch_size,
                                    &w->arrays));
    ASSERT_OK(w, qdbg_arrays_dataset(w->arrays, &w->data));
}

world *world_open(const network *net)
{
    const char *why = "";
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    open_context(w);
    if (net->load(net->n_samples, &w->samples, &why) && net->graph(w->ctx, &w->graph, &why)) {
        open_models(w, net->batch_size);
        return w;
    }
    print_message("%s is skipped: %s\n", net->name, why);
    world_close(w);
    return NULL;
}

void world_close(world *w)
{
    qdbg_arrays_destroy(w->arrays);
    qdbg_model_destroy(w->host);
    qdbg_model_destroy(w->built_in);
    engine_free(w->engine);
    qdbg_graph_destroy(w->graph);
    qdbg_ctx_destroy(w->ctx);
    samples_free(&w->samples);
    free(w);
}

float *world_run(world *w, qdbg_model *model, size_t *count)
{
    qdbg_view out = QDBG_VIEW_INIT;
    ASSERT_OK(w, qdbg_model_run(model, &w->samples.inputs, 1, &out, 1));
    *count = (size_t)qdbg_view_count(&out);
    out.data = malloc(*count * sizeof(float));
    assert_non_null(out.data);
    ASSERT_OK(w, qdbg_model_run(model, &w->samples.inputs, 1, &out, 1));
    return out.data;
}
