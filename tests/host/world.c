#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <qdebug/onnx.h>

const char *world_demo_path;

static const char *demo_path(const char **why)
{
    *why = "no path to the demo model is given";
    return world_demo_path;
}

static const char *kws_path(const char **why)
{
    static char path[1024];
    const char *folder = getenv("QDBG_ZOO");
    *why = "QDBG_ZOO does not name the zoo's folder";
    if (!folder)
        return NULL;
    snprintf(path, sizeof path, "%s/kws_ds_cnn.onnx", folder);
    return path;
}

static bool load_kws(size_t n, samples *out, const char **why)
{
    return samples_kws(getenv("QDBG_ZOO"), n, out, why);
}

const network network_demo = {"demo", 160, 60, demo_path, samples_fashion};
const network network_kws = {"kws", 120, 50, kws_path, load_kws};

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

static void open_models(world *w, const char *path)
{
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    options.threads = 2;
    options.progress = pass_progress;
    options.progress_user = w;
    assert_int_equal(qdbg_ctx_create(&options, &w->ctx), QDBG_OK);
    ASSERT_OK(w, qdbg_onnx_load_file(w->ctx, path, &w->graph));
    w->engine = engine_new(w->graph);
    assert_non_null(w->engine);
    qdbg_host host = engine_host(w->engine);
    ASSERT_OK(w, qdbg_model_create(w->graph, &w->built_in));
    ASSERT_OK(w, qdbg_model_create_host(w->graph, &host, &w->host));
}

world *world_open(const network *network, size_t n)
{
    const char *why, *path = network->path(&why);
    samples s;
    if (!path || !network->load(n ? n : network->n_samples, &s, &why)) {
        print_message("skipped: %s\n", why);
        return NULL;
    }
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->samples = s;
    open_models(w, path);
    ASSERT_OK(w, qdbg_arrays_create(w->ctx, &w->samples.inputs, 1, w->samples.labels,
                                    network->batch_size, &w->arrays));
    ASSERT_OK(w, qdbg_arrays_dataset(w->arrays, &w->data));
    return w;
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
