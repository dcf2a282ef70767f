#include "samples.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "../zoo.h"

#define FASHION "/usr/share/datasets/fashion-mnist/t10k-"
#define PIXELS ((size_t)(28 * 28))

/* `count` bytes behind the header of a gzipped idx file. */
static bool read_idx(const char *path, unsigned header, unsigned char *data, size_t count)
{
    gzFile file = gzopen(path, "rb");
    if (!file)
        return false;
    bool good = gzseek(file, header, SEEK_SET) == header &&
                gzread(file, data, (unsigned)count) == (int)count;
    gzclose(file);
    return good;
}

static bool make_room(size_t n, size_t sample, samples *out)
{
    *out = (samples){.inputs = QDBG_VIEW_INIT};
    out->inputs.data = malloc(n * sample * sizeof(float));
    out->labels = malloc(n * sizeof *out->labels);
    if (out->inputs.data && out->labels)
        return true;
    samples_free(out);
    return false;
}

bool samples_fashion(size_t n, samples *out, const char **why)
{
    unsigned char *raw = malloc(n * (PIXELS + 1));
    *why = "the package dataset-fashion-mnist is not installed";
    if (!raw)
        return false;
    unsigned char *labels = raw + n * PIXELS;
    bool good = read_idx(FASHION "images-idx3-ubyte.gz", 16, raw, n * PIXELS) &&
                read_idx(FASHION "labels-idx1-ubyte.gz", 8, labels, n) && make_room(n, PIXELS, out);
    if (good) {
        const int64_t dims[] = {(int64_t)n, 1, 28, 28};
        float *x = out->inputs.data;
        for (size_t i = 0; i < n * PIXELS; i++)
            x[i] = ((float)raw[i] - 72.94f) / 90.02f;
        for (size_t i = 0; i < n; i++)
            out->labels[i] = labels[i];
        qdbg_view_init(&out->inputs, QDBG_F32, 4, dims, x);
    }
    free(raw);
    return good;
}

static const zoo_model *find_model(const char *name)
{
    for (size_t i = 0; i < ZOO_MODELS; i++)
        if (strcmp(zoo_models[i].name, name) == 0)
            return &zoo_models[i];
    return NULL;
}

bool samples_kws(const char *folder, size_t n, samples *out, const char **why)
{
    const zoo_model *model = find_model("kws_ds_cnn");
    zoo_data data;
    *why = "QDBG_ZOO does not name the zoo's folder";
    if (!folder || !model || !zoo_load_data(folder, model, n, &data, why))
        return false;
    bool good = data.n == n && make_room(n, data.sample, out);
    if (good) {
        const int64_t dims[] = {(int64_t)n, model->dims[1], model->dims[2], model->dims[3]};
        memcpy(out->inputs.data, data.x, n * data.sample * sizeof(float));
        for (size_t i = 0; i < n; i++)
            out->labels[i] = (int64_t)npy_at(&data.labels, i);
        qdbg_view_init(&out->inputs, QDBG_F32, 4, dims, out->inputs.data);
    }
    zoo_free_data(&data);
    return good;
}

void samples_free(samples *s)
{
    free(s->inputs.data);
    free(s->labels);
    *s = (samples){0};
}
