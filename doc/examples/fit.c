#include "fit.h"

#include <stdio.h>
#include <string.h>

#include "console.h"

_Static_assert(NPY_MAX_RANK <= QDBG_MAX_RANK, "an array's shape fits a view");

/* Dimensions of one sample: those of the array without the first. */
typedef struct shape {
    uint32_t rank;
    int64_t dims[NPY_MAX_RANK];
} shape;

static shape sample_shape(const npy_array *array, bool nhwc)
{
    shape s = {.rank = array->rank - 1};
    for (uint32_t i = 0; i < s.rank; i++)
        s.dims[i] = (int64_t)array->dims[i + 1];
    if (nhwc && s.rank == 3)
        s = (shape){3, {s.dims[2], s.dims[0], s.dims[1]}};
    return s;
}

/* The products of the first 1, 2, ... dimensions: where a row-major walk completes a dimension.
 * Returns the last, or 0 when it is beyond what any array has. */
static int64_t products(const shape *s, int64_t out[NPY_MAX_RANK])
{
    int64_t p = 1;
    for (uint32_t i = 0; i < s->rank; i++) {
        if (s->dims[i] < 1 || p > INT64_MAX / s->dims[i])
            return 0;
        out[i] = p *= s->dims[i];
    }
    return p;
}

static bool contains(const int64_t *set, uint32_t n, int64_t v)
{
    if (v == 1)
        return true;
    for (uint32_t i = 0; i < n; i++) {
        if (set[i] == v)
            return true;
    }
    return false;
}

/* Can one of two shapes be had from the other by merging neighbours and dropping ones? */
static bool regroups(const shape *a, const shape *b)
{
    int64_t pa[NPY_MAX_RANK], pb[NPY_MAX_RANK];
    bool a_in_b = true, b_in_a = true;
    if (products(a, pa) != products(b, pb))
        return false;
    for (uint32_t i = 0; i < a->rank; i++)
        a_in_b = a_in_b && contains(pb, b->rank, pa[i]);
    for (uint32_t i = 0; i < b->rank; i++)
        b_in_a = b_in_a && contains(pa, a->rank, pb[i]);
    return a_in_b || b_in_a;
}

/* The shape that samples of shape `have` take for an input that wants `want` (unknown: < 0). */
static bool match(const shape *have, const shape *want, shape *out)
{
    bool same = have->rank == want->rank;
    bool known = true, fits_known = same;
    for (uint32_t i = 0; i < want->rank; i++) {
        known = known && want->dims[i] >= 0;
        if (same && want->dims[i] >= 0 && want->dims[i] != have->dims[i])
            fits_known = false;
    }
    if (fits_known) {
        *out = *have;
        return true;
    }
    *out = *want;
    return known && regroups(have, want);
}

static bool try_fit(const npy_array *array, bool nhwc, const qdbg_value_info *info, shape *out)
{
    const shape have = sample_shape(array, nhwc);
    if (info->rank == QDBG_RANK_UNKNOWN) {
        *out = have;
        return true;
    }
    if (info->rank == 0)
        return false;
    shape want = {.rank = info->rank - 1};
    memcpy(want.dims, info->dims + 1, want.rank * sizeof want.dims[0]);
    return match(&have, &want, out);
}

static void append(char *text, size_t size, const char *piece)
{
    const size_t n = strlen(text);
    snprintf(text + n, size - n, "%s", piece);
}

/* "[N,3,?,?]"; the first dimension is the batch. */
static void print_shape(uint32_t rank, const int64_t *dims, char *text, size_t size)
{
    *text = 0;
    for (uint32_t i = 0; i < rank; i++) {
        char number[24];
        snprintf(number, sizeof number, "%lld", (long long)dims[i]);
        append(text, size, i ? "," : "[");
        append(text, size, dims[i] >= 0 ? number : i ? "?" : "N");
    }
    append(text, size, rank ? "]" : "[]");
}

static void explain(const char *path, const npy_array *array, bool nhwc,
                    const qdbg_value_info *info)
{
    int64_t dims[NPY_MAX_RANK];
    char have[200], want[200];
    shape other;
    const char *hint = "";
    for (uint32_t i = 0; i < array->rank; i++)
        dims[i] = (int64_t)array->dims[i];
    print_shape(array->rank, dims, have, sizeof have);
    print_shape(info->rank, info->dims, want, sizeof want);
    if (array->rank == 4 && try_fit(array, !nhwc, info, &other))
        hint = nhwc ? " (it would without --nhwc)" : " (it would with --nhwc)";
    console_error("%s: an array %s%s does not fit the model's input '%s' %s%s", path, have,
                  nhwc && array->rank == 4 ? " in NHWC order" : "", info->name, want, hint);
}

bool fit_array(const char *path, const npy_array *array, bool nhwc, const qdbg_value_info *info,
               fitting *fit)
{
    shape sample;
    if (!try_fit(array, nhwc, info, &sample)) {
        explain(path, array, nhwc, info);
        return false;
    }
    memset(fit, 0, sizeof *fit);
    fit->rank = sample.rank + 1;
    memcpy(fit->dims + 1, sample.dims, sample.rank * sizeof sample.dims[0]);
    fit->size = array->count / array->dims[0];
    if (nhwc && array->rank == 4 && array->dims[3] > 1)
        fit->nhwc = array->dims[3];
    return true;
}
