#include "npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX 65536

static bool skip(const char **at, const char *text)
{
    while (**at == ' ')
        (*at)++;
    size_t n = strlen(text);
    if (strncmp(*at, text, n) != 0)
        return false;
    *at += n;
    return true;
}

/* '<f4' */
static bool parse_type(const char **at, npy *a)
{
    if (!skip(at, "'") || !strchr("<|", **at) || !strchr("fiu", (*at)[1]))
        return false;
    a->kind = (*at)[1];
    a->size = (*at)[2] - '0';
    *at += 3;
    bool sized = a->size == 4 || a->size == 8 || (a->kind != 'f' && (a->size == 1 || a->size == 2));
    return sized && skip(at, "'");
}

/* (1000, 3) */
static bool parse_shape(const char **at, npy *a)
{
    a->count = 1;
    if (!skip(at, "("))
        return false;
    while (!skip(at, ")")) {
        char *end;
        while (**at == ' ')
            (*at)++;
        long long dim = strtoll(*at, &end, 10);
        if (end == *at || dim < 0 || a->rank == NPY_MAX_RANK)
            return false;
        if (dim > 0 && a->count > SIZE_MAX / 16 / (size_t)dim)
            return false;
        a->dims[a->rank++] = dim;
        a->count *= (size_t)dim;
        *at = end;
        while (**at == ' ')
            (*at)++;
        if (**at != ')' && !skip(at, ","))
            return false;
    }
    return true;
}

static bool parse_header(const char *at, npy *a)
{
    return skip(&at, "{") && skip(&at, "'descr':") && parse_type(&at, a) && skip(&at, ",") &&
           skip(&at, "'fortran_order':") && skip(&at, "False") && skip(&at, ",") &&
           skip(&at, "'shape':") && parse_shape(&at, a) && skip(&at, ",") && skip(&at, "}");
}

static const char *read_header(FILE *f, npy *a)
{
    unsigned char head[12];
    if (fread(head, 1, 10, f) != 10 || memcmp(head, "\x93NUMPY", 6) != 0)
        return "not an npy file";
    size_t length = head[8] | (size_t)head[9] << 8;
    if (head[6] != 1) {
        if (head[6] > 3 || fread(head + 10, 1, 2, f) != 2)
            return "unknown npy version";
        length |= (size_t)head[10] << 16 | (size_t)head[11] << 24;
    }
    if (length > HEADER_MAX)
        return "header too long";
    char *text = malloc(length + 1);
    if (!text)
        return "out of memory";
    const char *why = NULL;
    if (fread(text, 1, length, f) != length)
        why = "truncated header";
    text[length] = 0;
    if (!why && !parse_header(text, a))
        why = "unexpected header";
    free(text);
    return why;
}

static const char *read_all(FILE *f, npy *a)
{
    const char *why = read_header(f, a);
    if (why)
        return why;
    a->data = malloc(a->count * (size_t)a->size + 1);
    if (!a->data)
        return "out of memory";
    if (fread(a->data, (size_t)a->size, a->count, f) != a->count)
        return "truncated data";
    return fgetc(f) == EOF ? NULL : "data beyond the array";
}

bool npy_load(const char *path, npy *out, const char **why)
{
    npy a = {0};
    FILE *f = fopen(path, "rb");
    *why = f ? read_all(f, &a) : "cannot be opened";
    if (f)
        fclose(f);
    if (*why) {
        free(a.data);
        return false;
    }
    *out = a;
    return true;
}

void npy_free(npy *array)
{
    free(array->data);
    *array = (npy){0};
}

static double read_float(const npy *a, size_t i)
{
    if (a->size == 8)
        return ((const double *)a->data)[i];
    return (double)((const float *)a->data)[i];
}

static double read_signed(const npy *a, size_t i)
{
    switch (a->size) {
    case 1:
        return ((const int8_t *)a->data)[i];
    case 2:
        return ((const int16_t *)a->data)[i];
    case 4:
        return ((const int32_t *)a->data)[i];
    default:
        return (double)((const int64_t *)a->data)[i];
    }
}

static double read_unsigned(const npy *a, size_t i)
{
    switch (a->size) {
    case 1:
        return ((const uint8_t *)a->data)[i];
    case 2:
        return ((const uint16_t *)a->data)[i];
    case 4:
        return ((const uint32_t *)a->data)[i];
    default:
        return (double)((const uint64_t *)a->data)[i];
    }
}

double npy_at(const npy *a, size_t i)
{
    if (a->kind == 'f')
        return read_float(a, i);
    return a->kind == 'i' ? read_signed(a, i) : read_unsigned(a, i);
}
