#include "onnx_make.h"

#include <stdlib.h>
#include <string.h>

void make_append(make_buf *b, const void *data, size_t size)
{
    if (size == 0)
        return;
    if (b->size + size > b->capacity) {
        b->capacity = 2 * (b->size + size);
        b->data = realloc(b->data, b->capacity);
        if (!b->data)
            abort();
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

void make_free(make_buf *b)
{
    free(b->data);
    *b = (make_buf){0};
}

static void varint(make_buf *b, uint64_t v)
{
    do {
        uint8_t byte = (uint8_t)(v & 0x7f);
        v >>= 7;
        if (v)
            byte |= 0x80;
        make_append(b, &byte, 1);
    } while (v);
}

static void little_endian(make_buf *b, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)(v >> (8 * i));
        make_append(b, &byte, 1);
    }
}

void make_int(make_buf *b, uint32_t field, int64_t value)
{
    varint(b, (uint64_t)field << 3);
    varint(b, (uint64_t)value);
}

void make_float(make_buf *b, uint32_t field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    varint(b, (uint64_t)field << 3 | 5);
    little_endian(b, bits, 4);
}

void make_double(make_buf *b, uint32_t field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    varint(b, (uint64_t)field << 3 | 1);
    little_endian(b, bits, 8);
}

void make_bytes(make_buf *b, uint32_t field, const void *data, size_t size)
{
    varint(b, (uint64_t)field << 3 | 2);
    varint(b, size);
    make_append(b, data, size);
}

void make_text(make_buf *b, uint32_t field, const char *text)
{
    make_bytes(b, field, text, strlen(text));
}

void make_packed(make_buf *b, uint32_t field, const int64_t *values, size_t n)
{
    make_buf list = {0};
    for (size_t i = 0; i < n; i++)
        varint(&list, (uint64_t)values[i]);
    make_part(b, field, &list);
}

void make_part(make_buf *b, uint32_t field, make_buf *part)
{
    make_bytes(b, field, part->data, part->size);
    make_free(part);
}

/* The next item of a list as "a,b"; false after the last. */
static int next_item(const char **list, char *item, size_t size)
{
    if (!*list)
        return 0;
    const char *comma = strchr(*list, ',');
    size_t n = comma ? (size_t)(comma - *list) : strlen(*list);
    if (n >= size)
        abort();
    memcpy(item, *list, n);
    item[n] = 0;
    *list = comma ? comma + 1 : NULL;
    return 1;
}

make_buf make_tensor(const char *name, int32_t dtype, const char *shape)
{
    make_buf t = {0};
    char item[32];
    const char *rest = *shape ? shape : NULL;
    while (next_item(&rest, item, sizeof item))
        make_int(&t, 1, strtoll(item, NULL, 10));
    make_int(&t, 2, dtype);
    make_text(&t, 8, name);
    return t;
}

make_buf make_tensor_raw(const char *name, int32_t dtype, const char *shape, const void *data,
                         size_t size)
{
    make_buf t = make_tensor(name, dtype, shape);
    make_bytes(&t, 9, data, size);
    return t;
}

static void external_pair(make_buf *tensor, const char *key, const char *value)
{
    make_buf pair = {0};
    if (!value)
        return;
    make_text(&pair, 1, key);
    make_text(&pair, 2, value);
    make_part(tensor, 13, &pair);
}

void make_external(make_buf *tensor, const char *location, const char *offset, const char *length)
{
    external_pair(tensor, "location", location);
    external_pair(tensor, "offset", offset);
    external_pair(tensor, "length", length);
    make_int(tensor, 14, 1);
}

make_buf make_value(const char *name, int32_t dtype, const char *shape)
{
    make_buf value = {0}, type = {0}, tensor = {0}, dims = {0};
    char item[32];
    const char *rest = shape && *shape ? shape : NULL;
    make_int(&tensor, 1, dtype);
    while (next_item(&rest, item, sizeof item)) {
        make_buf dim = {0};
        char *end;
        long long n = strtoll(item, &end, 10);
        if (*end)
            make_text(&dim, 2, item);
        else
            make_int(&dim, 1, n);
        make_part(&dims, 1, &dim);
    }
    if (shape)
        make_part(&tensor, 2, &dims);
    make_part(&type, 1, &tensor);
    make_text(&value, 1, name);
    make_part(&value, 2, &type);
    return value;
}

make_buf make_node(const char *op_type, const char *name, const char *inputs, const char *outputs)
{
    make_buf node = {0};
    char item[64];
    while (next_item(&inputs, item, sizeof item))
        make_text(&node, 1, item);
    while (next_item(&outputs, item, sizeof item))
        make_text(&node, 2, item);
    if (name)
        make_text(&node, 3, name);
    if (*op_type)
        make_text(&node, 4, op_type);
    return node;
}

make_buf make_attribute(const char *name, int32_t kind)
{
    make_buf a = {0};
    make_text(&a, 1, name);
    if (kind)
        make_int(&a, 20, kind);
    return a;
}

void make_attribute_int(make_buf *node, const char *name, int64_t value)
{
    make_buf a = make_attribute(name, 2);
    make_int(&a, 3, value);
    make_part(node, 5, &a);
}

void make_begin(make_model *m, int64_t opset)
{
    make_buf set = {0};
    *m = (make_model){0};
    make_int(&m->rest, 1, 8);
    if (opset == 0)
        return;
    make_text(&set, 1, "");
    make_int(&set, 2, opset);
    make_part(&m->rest, 8, &set);
}

void make_add_node(make_model *m, make_buf node)
{
    make_part(&m->graph, 1, &node);
}

void make_add_initializer(make_model *m, make_buf tensor)
{
    make_part(&m->graph, 5, &tensor);
}

void make_add_input(make_model *m, make_buf value)
{
    make_part(&m->graph, 11, &value);
}

void make_add_output(make_model *m, make_buf value)
{
    make_part(&m->graph, 12, &value);
}

make_buf make_end(make_model *m)
{
    make_buf file = m->rest;
    make_part(&file, 7, &m->graph);
    *m = (make_model){0};
    return file;
}
