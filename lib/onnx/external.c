#include "external.h"

#include <string.h>

#include "fail.h"
#include "file.h"

typedef struct place {
    const char *location;
    uint64_t offset;
    uint64_t length;
    bool has_length;
} place;

static bool parse_number(const char *text, uint64_t *value)
{
    uint64_t v = 0;
    if (!text || !*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        unsigned digit = (unsigned)(*text - '0');
        if (v > (UINT64_MAX / 2 - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *value = v;
    return true;
}

/* The location may come from anyone: it must name something below the model's folder. */
static bool stays_inside(const char *location)
{
    if (!*location || *location == '/' || location[1] == ':' || strchr(location, '\\'))
        return false;
    for (const char *part = location; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (part[0] == '.' && part[1] == '.' && (part[2] == '/' || part[2] == 0))
            return false;
    }
    return true;
}

static qdbg_status find_place(qdbg_ctx *ctx, const Qdbg__Onnx__Tensor *t, const char *name,
                              place *p)
{
    *p = (place){0};
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = t->external_data[i]->key, *value = t->external_data[i]->value;
        bool good = true;
        if (!key || !value)
            continue;
        if (strcmp(key, "location") == 0)
            p->location = value;
        else if (strcmp(key, "offset") == 0)
            good = parse_number(value, &p->offset);
        else if (strcmp(key, "length") == 0)
            good = p->has_length = parse_number(value, &p->length);
        if (!good)
            return qdbg__onnx_fail(ctx, QDBG_E_FORMAT, NULL, name,
                                   "tensor '%.*s': external %s '%.*s' is not a number",
                                   QDBG__ONNX_SHOW(name), key, QDBG__ONNX_SHOW(value));
    }
    if (!p->location)
        return qdbg__onnx_fail(ctx, QDBG_E_FORMAT, NULL, name,
                               "tensor '%.*s' has external data without a location",
                               QDBG__ONNX_SHOW(name));
    if (!stays_inside(p->location))
        return qdbg__onnx_fail(
            ctx, QDBG_E_FORMAT, NULL, name,
            "tensor '%.*s': external file '%.*s' is not below the model's folder",
            QDBG__ONNX_SHOW(name), QDBG__ONNX_SHOW(p->location));
    return QDBG_OK;
}

static qdbg_status read_range(qdbg__onnx_memory *memory, const char *path, const place *p,
                              const char *name, size_t bytes, uint8_t **out)
{
    qdbg_ctx *ctx = memory->ctx;
    char text[QDBG__ONNX_REASON_SIZE];
    uint64_t size;
    int error;
    uint8_t *data = NULL;
    FILE *file = qdbg__onnx_open(path, &size, &error);
    if (!file)
        return qdbg__onnx_fail(ctx, QDBG_E_IO, NULL, name,
                               "tensor '%.*s': cannot open external file '%.*s': %s",
                               QDBG__ONNX_SHOW(name), QDBG__ONNX_SHOW(path),
                               error ? qdbg__onnx_reason(error, text) : "not a regular file");
    qdbg_status status = QDBG_OK;
    if (p->offset > size || bytes > size - p->offset)
        status = qdbg__onnx_fail(
            ctx, QDBG_E_FORMAT, NULL, name,
            "tensor '%.*s': %zu bytes from byte %llu on pass the end of external file '%.*s' "
            "(%llu bytes)",
            QDBG__ONNX_SHOW(name), bytes, (unsigned long long)p->offset,
            QDBG__ONNX_SHOW(p->location), (unsigned long long)size);
    if (status == QDBG_OK && bytes > 0) {
        data = qdbg__onnx_memory_take(memory, bytes);
        error = data ? qdbg__onnx_read_at(file, p->offset, data, bytes) : 0;
        if (!data)
            status = qdbg__onnx_recorded(ctx);
        else if (error)
            status = qdbg__onnx_fail(
                ctx, QDBG_E_IO, NULL, name, "tensor '%.*s': cannot read external file '%.*s': %s",
                QDBG__ONNX_SHOW(name), QDBG__ONNX_SHOW(path),
                error < 0 ? "it became shorter" : qdbg__onnx_reason(error, text));
    }
    fclose(file);
    if (status != QDBG_OK)
        qdbg__onnx_memory_give(memory, data);
    else
        *out = data;
    return status;
}

qdbg_status qdbg__onnx_external_read(qdbg__onnx_memory *memory, Qdbg__Onnx__Tensor *t,
                                     const char *folder, const char *name, size_t bytes)
{
    place p;
    qdbg_status status = find_place(memory->ctx, t, name, &p);
    if (status != QDBG_OK)
        return status;
    if (p.has_length && p.length != bytes)
        return qdbg__onnx_fail(memory->ctx, QDBG_E_FORMAT, NULL, name,
                               "tensor '%.*s': external length is %llu bytes where its shape needs "
                               "%zu",
                               QDBG__ONNX_SHOW(name), (unsigned long long)p.length, bytes);
    if (!folder)
        return qdbg__onnx_fail(memory->ctx, QDBG_E_INVALID, NULL, name,
                               "tensor '%.*s' lies in external file '%.*s', but no folder is given",
                               QDBG__ONNX_SHOW(name), QDBG__ONNX_SHOW(p.location));
    if (!folder[0]) /* what dirname() makes of a bare file name */
        folder = ".";
    size_t folder_size = strlen(folder), location_size = strlen(p.location) + 1;
    char *path = qdbg_ctx_alloc(memory->ctx, folder_size + 1 + location_size);
    if (!path)
        return qdbg__onnx_recorded(memory->ctx);
    memcpy(path, folder, folder_size);
    path[folder_size] = '/';
    memcpy(path + folder_size + 1, p.location, location_size);
    uint8_t *data = NULL;
    status = read_range(memory, path, &p, name, bytes, &data);
    qdbg_ctx_free(memory->ctx, path, folder_size + 1 + location_size);
    if (status != QDBG_OK)
        return status;
    qdbg__onnx_memory_give(memory, t->raw_data.data);
    t->has_raw_data = 1;
    t->raw_data.data = data;
    t->raw_data.len = bytes;
    return QDBG_OK;
}
