#define _POSIX_C_SOURCE 200809L

#include "npy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* NumPy pads headers to a multiple of 64 and itself refuses ones beyond 10000 bytes. */
#define MAX_HEADER 10000

static const struct {
    const char *code; /* as in the header, without the byte order */
    const char *name;
    npy_type type;
    uint8_t size;
} TYPES[] = {
    {"b1", "bool", NPY_BOOL, 1},   {"u1", "uint8", NPY_U8, 1},    {"i1", "int8", NPY_I8, 1},
    {"u2", "uint16", NPY_U16, 2},  {"i2", "int16", NPY_I16, 2},   {"u4", "uint32", NPY_U32, 4},
    {"i4", "int32", NPY_I32, 4},   {"u8", "uint64", NPY_U64, 8},  {"i8", "int64", NPY_I64, 8},
    {"f2", "float16", NPY_F16, 2}, {"f4", "float32", NPY_F32, 4}, {"f8", "float64", NPY_F64, 8},
};
#define N_TYPES (sizeof TYPES / sizeof TYPES[0])

__attribute__((format(printf, 2, 3))) static bool fail(npy_error *error, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
    return false;
}

/* The table is in the order of the enumeration. */
size_t npy_element_size(npy_type type)
{
    return TYPES[type].size;
}

const char *npy_type_name(npy_type type)
{
    return TYPES[type].name;
}

bool npy_is_float(npy_type type)
{
    return type >= NPY_F16;
}

/* ---- the header: a Python dictionary with exactly the keys descr, fortran_order and shape ---- */

typedef struct cursor {
    const char *at;
    const char *end;
} cursor;

static void skip_blanks(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n'))
        c->at++;
}

/* Step over `ch` and blanks before it, if it comes next. */
static bool accept(cursor *c, char ch)
{
    skip_blanks(c);
    if (c->at == c->end || *c->at != ch)
        return false;
    c->at++;
    return true;
}

static bool accept_word(cursor *c, const char *word)
{
    size_t n = strlen(word);
    skip_blanks(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
        return false;
    c->at += n;
    return true;
}

/* A quoted string without escapes. */
static bool read_string(cursor *c, char *out, size_t size)
{
    skip_blanks(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"'))
        return false;
    const char quote = *c->at++;
    size_t n = 0;
    while (c->at < c->end && *c->at != quote) {
        if (*c->at < ' ' || *c->at > '~' || *c->at == '\\' || n + 1 >= size)
            return false;
        out[n++] = *c->at++;
    }
    if (c->at == c->end)
        return false;
    c->at++;
    out[n] = 0;
    return true;
}

static bool read_dim(cursor *c, uint64_t *dim)
{
    skip_blanks(c);
    const char *start = c->at;
    uint64_t v = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        if (v > (INT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (uint64_t)(*c->at - '0');
    }
    if (c->at == start)
        return false;
    accept(c, 'L'); /* NumPy on Python 2 wrote (3L, 4L) */
    *dim = v;
    return true;
}

static bool read_descr(cursor *c, npy_array *a, npy_error *error)
{
    char descr[32];
    skip_blanks(c);
    if (c->at < c->end && *c->at == '[')
        return fail(error, "holds records; only plain numbers can be read");
    if (!read_string(c, descr, sizeof descr))
        return fail(error, "malformed header: descr");
    if (descr[0] == '>')
        return fail(error, "holds big-endian numbers ('%s'); save it little-endian", descr);
    if (descr[0] != '<' && descr[0] != '|' && descr[0] != '=')
        return fail(error, "element type '%s' can not be read", descr);
    for (size_t i = 0; i < N_TYPES; i++) {
        if (strcmp(descr + 1, TYPES[i].code) == 0) {
            a->type = TYPES[i].type;
            return true;
        }
    }
    return fail(error, "element type '%s' can not be read", descr);
}

static bool read_order(cursor *c, npy_error *error)
{
    if (accept_word(c, "False"))
        return true;
    if (accept_word(c, "True"))
        return fail(error, "is in Fortran order; save numpy.ascontiguousarray(array)");
    return fail(error, "malformed header: fortran_order");
}

static bool read_shape(cursor *c, npy_array *a, npy_error *error)
{
    bool comma = false;
    a->rank = 0;
    if (!accept(c, '('))
        return fail(error, "malformed header: shape");
    while (!accept(c, ')')) {
        if (a->rank > 0 && !comma)
            return fail(error, "malformed header: shape");
        if (a->rank == NPY_MAX_RANK)
            return fail(error, "has more than %d dimensions", NPY_MAX_RANK);
        if (!read_dim(c, &a->dims[a->rank]))
            return fail(error, "malformed header: shape");
        a->rank++;
        comma = accept(c, ',');
    }
    /* (3) is a number in Python, not a tuple. */
    if (a->rank == 1 && !comma)
        return fail(error, "malformed header: shape");
    return true;
}

static bool read_entry(cursor *c, npy_array *a, unsigned *seen, npy_error *error)
{
    static const char *const KEYS[] = {"descr", "fortran_order", "shape"};
    char key[32];
    unsigned k = 0;
    if (!read_string(c, key, sizeof key) || !accept(c, ':'))
        return fail(error, "malformed header");
    while (k < 3 && strcmp(key, KEYS[k]) != 0)
        k++;
    if (k == 3 || *seen & 1u << k)
        return fail(error, "malformed header: key '%s'", key);
    *seen |= 1u << k;
    return k == 0   ? read_descr(c, a, error)
           : k == 1 ? read_order(c, error)
                    : read_shape(c, a, error);
}

static bool parse_header(const char *text, size_t size, npy_array *a, npy_error *error)
{
    cursor c = {text, text + size};
    unsigned seen = 0;
    bool comma = true;
    if (!accept(&c, '{'))
        return fail(error, "malformed header");
    while (!accept(&c, '}')) {
        if (!comma)
            return fail(error, "malformed header");
        if (!read_entry(&c, a, &seen, error))
            return false;
        comma = accept(&c, ',');
    }
    skip_blanks(&c);
    if (seen != 7 || c.at != c.end)
        return fail(error, "malformed header");
    return true;
}

/* ---- the file ---- */

static bool read_at(int fd, uint64_t offset, void *out, size_t size, npy_error *error)
{
    char *at = out;
    while (size > 0) {
        const ssize_t got = pread(fd, at, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(error, "cannot read: %s", strerror(errno));
        if (got == 0)
            return fail(error, "is truncated");
        at += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return true;
}

/* The element count, and whether the file ends exactly behind the last element. */
static bool check_size(npy_array *a, uint64_t file_size, npy_error *error)
{
    const uint64_t have = file_size - a->data_offset;
    const uint64_t limit = (uint64_t)INT64_MAX / npy_element_size(a->type);
    a->count = 1;
    for (uint32_t i = 0; i < a->rank; i++) {
        if (a->dims[i] > 0 && a->count > limit / a->dims[i])
            return fail(error, "is larger than any file");
        a->count *= a->dims[i];
    }
    const uint64_t want = a->count * npy_element_size(a->type);
    if (have < want)
        return fail(error, "is truncated: %llu bytes, not %llu", (unsigned long long)have,
                    (unsigned long long)want);
    if (have > want)
        return fail(error, "is too long: %llu bytes, not %llu", (unsigned long long)have,
                    (unsigned long long)want);
    return true;
}

static bool read_file(npy_array *a, npy_error *error)
{
    struct stat st;
    unsigned char start[12];
    char header[MAX_HEADER];
    if (fstat(a->fd, &st) != 0)
        return fail(error, "cannot read: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(error, "is not a regular file");
    if (st.st_size < (off_t)sizeof start)
        return fail(error, "is not a .npy file");
    if (!read_at(a->fd, 0, start, sizeof start, error))
        return false;
    if (memcmp(start, "PK\3\4", 4) == 0)
        return fail(error, "is an .npz archive; save its arrays as .npy files");
    if (memcmp(start, "\x93NUMPY", 6) != 0)
        return fail(error, "is not a .npy file");
    if (start[6] < 1 || start[6] > 3 || start[7] != 0)
        return fail(error, "has .npy version %d.%d; 1.0 to 3.0 can be read", start[6], start[7]);

    /* Version 1 has two bytes for the header's length, later ones have four. */
    const uint64_t at = start[6] == 1 ? 10 : 12;
    uint64_t size = start[8] | (uint64_t)start[9] << 8;
    if (start[6] > 1)
        size |= (uint64_t)start[10] << 16 | (uint64_t)start[11] << 24;
    if (size > MAX_HEADER)
        return fail(error, "malformed header: %llu bytes long", (unsigned long long)size);
    if ((uint64_t)st.st_size < at + size)
        return fail(error, "is truncated");
    if (!read_at(a->fd, at, header, (size_t)size, error))
        return false;
    a->data_offset = at + size;
    return parse_header(header, (size_t)size, a, error) &&
           check_size(a, (uint64_t)st.st_size, error);
}

bool npy_open(const char *path, npy_array *array, npy_error *error)
{
    npy_array a = {0};
    /* O_NONBLOCK: opening a FIFO must fail, not wait. */
    a.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (a.fd < 0)
        return fail(error, "%s", strerror(errno));
    if (!read_file(&a, error)) {
        close(a.fd);
        return false;
    }
    *array = a;
    return true;
}

void npy_close(npy_array *array)
{
    close(array->fd);
    array->fd = -1;
}

bool npy_read(const npy_array *array, uint64_t first, uint64_t n, void *raw, npy_error *error)
{
    const size_t size = npy_element_size(array->type);
    if (first > array->count || n > array->count - first)
        return fail(error, "has no elements %llu to %llu", (unsigned long long)first,
                    (unsigned long long)(first + n));
    return read_at(array->fd, array->data_offset + first * size, raw, (size_t)n * size, error);
}
