#include "wire.h"

qdbg__onnx_cursor qdbg__onnx_cursor_over(const void *data, size_t size)
{
    qdbg__onnx_cursor c = {data, data, NULL, NULL};
    if (size > 0)
        c.end += size;
    return c;
}

/* Base-128 number, low group first, at most ten bytes. */
static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    uint64_t v = 0;
    const uint8_t *p = *at;
    for (unsigned shift = 0; shift < 70 && p < end; shift += 7) {
        uint8_t byte = *p++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *at = p;
            *value = v;
            return true;
        }
    }
    return false;
}

static const char *read_field(const uint8_t **at, const uint8_t *end, qdbg__onnx_field *f)
{
    uint64_t key, n;
    if (!read_varint(at, end, &key))
        return "a field's key is cut off or too long";
    if (key >> 3 == 0 || key > UINT32_MAX)
        return "a field's number is out of range";
    f->number = (uint32_t)(key >> 3);
    f->wire = (uint32_t)(key & 7);
    f->data = *at;
    switch (f->wire) {
    case QDBG__ONNX_VARINT:
        if (!read_varint(at, end, &n))
            return "a number is cut off or too long";
        f->size = (size_t)(*at - f->data);
        return NULL;
    case QDBG__ONNX_BYTES:
        if (!read_varint(at, end, &n))
            return "a field's length is cut off or too long";
        f->data = *at;
        break;
    case QDBG__ONNX_FIXED64:
        n = 8;
        break;
    case QDBG__ONNX_FIXED32:
        n = 4;
        break;
    default:
        return "a field has a wire type that ONNX does not use";
    }
    if (n > (uint64_t)(end - *at))
        return "a field is longer than what is left (a truncated file?)";
    f->size = (size_t)n;
    *at += f->size;
    return NULL;
}

bool qdbg__onnx_next(qdbg__onnx_cursor *c, qdbg__onnx_field *field)
{
    if (c->problem || c->at == c->end)
        return false;
    const uint8_t *start = c->at;
    c->problem = read_field(&c->at, c->end, field);
    if (c->problem)
        c->problem_at = start;
    return !c->problem;
}

bool qdbg__onnx_next_of(qdbg__onnx_cursor *c, uint32_t number, qdbg__onnx_field *field)
{
    while (qdbg__onnx_next(c, field))
        if (field->number == number && field->wire == QDBG__ONNX_BYTES)
            return true;
    return false;
}
