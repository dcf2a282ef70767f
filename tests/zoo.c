#include "zoo.h"

#include <stdio.h>
#include <stdlib.h>

const zoo_model zoo_models[ZOO_MODELS] = {
    {"mobilenet_v1_0.25_128",
     "imagenet1000_128_nhwc_u8",
     "imagenet1000_labels_i64",
     {1, 3, 128, 128, -1},
     480,
     true,
     127.5,
     {1, 1, 1},
     {1, 1, 1}},
    {"resnet20_cifar10",
     "cifar10_test1000_nhwc_u8",
     "cifar10_test1000_labels_u8",
     {1, 3, 32, 32, -1},
     915,
     true,
     255,
     {.485, .456, .406},
     {.229, .224, .225}},
    {"kws_ds_cnn",
     "kws01_1000_mfcc_i8",
     "kws01_1000_labels_u8",
     {1, 1, 49, 10, -1},
     915,
     false,
     1,
     {83},
     {1 / 0.5847029}},
    {"kwt1_speech_commands_12",
     "speech300_i16",
     "speech300_labels_u8",
     {1, 16000, -1},
     294,
     false,
     32768,
     {0},
     {1}},
};

bool npy_load(const char *path, npy *out, const char **why)
{
    static npy_error error; /* *why outlives the call */
    npy n = {.raw = NULL};
    if (!npy_open(path, &n.array, &error)) {
        *why = error.text;
        return false;
    }
    n.count = (size_t)n.array.count;
    n.raw = malloc(n.count * npy_element_size(n.array.type) + 1);
    bool ok = n.raw && npy_read(&n.array, 0, n.array.count, n.raw, &error);
    *why = ok ? NULL : n.raw ? error.text : "out of memory";
    npy_close(&n.array);
    if (ok)
        *out = n;
    else
        free(n.raw);
    return ok;
}

void npy_free(npy *array)
{
    free(array->raw);
    *array = (npy){.raw = NULL};
}

double npy_at(const npy *n, size_t i)
{
    const char *raw = (const char *)n->raw + i * npy_element_size(n->array.type);
    float real = 0;
    int64_t whole = 0;
    if (npy_is_float(n->array.type))
        npy_to_float(n->array.type, raw, 1, &real);
    else
        npy_to_int64(n->array.type, raw, 1, &whole);
    return npy_is_float(n->array.type) ? (double)real : (double)whole;
}

char *zoo_path(const char *folder, const char *name, const char *suffix, char *text, size_t size)
{
    snprintf(text, size, "%s/%s%s", folder, name, suffix);
    return text;
}

static void prepare(const zoo_model *m, const npy *raw, zoo_data *d)
{
    size_t channels = m->nhwc ? 3 : 1, area = d->sample / channels;
    for (size_t i = 0; i < d->n; i++) {
        for (size_t c = 0; c < channels; c++) {
            for (size_t p = 0; p < area; p++) {
                double x = npy_at(raw, i * d->sample + p * channels + c) / m->divisor;
                d->x[i * d->sample + c * area + p] = (float)((x - m->mean[c]) / m->std[c]);
            }
        }
    }
}

bool zoo_load_data(const char *folder, const zoo_model *model, size_t max_samples, zoo_data *out,
                   const char **why)
{
    char path[1024];
    npy raw;
    zoo_data d = {.sample = 1};
    for (int i = 0; model->dims[i] >= 0; i++)
        d.sample *= (size_t)model->dims[i];
    if (!npy_load(zoo_path(folder, model->inputs, ".npy", path, sizeof path), &raw, why))
        return false;
    if (!npy_load(zoo_path(folder, model->labels, ".npy", path, sizeof path), &d.labels, why)) {
        npy_free(&raw);
        return false;
    }
    d.n = raw.count / d.sample < max_samples ? raw.count / d.sample : max_samples;
    d.x = malloc(d.n * d.sample * sizeof *d.x + 1);
    *why = raw.count % d.sample != 0 || d.labels.count * d.sample != raw.count ? "unexpected shape"
           : !d.x                                                              ? "out of memory"
                                                                               : NULL;
    if (!*why)
        prepare(model, &raw, &d);
    npy_free(&raw);
    if (*why) {
        zoo_free_data(&d);
        return false;
    }
    *out = d;
    return true;
}

void zoo_free_data(zoo_data *data)
{
    free(data->x);
    npy_free(&data->labels);
    *data = (zoo_data){0};
}
