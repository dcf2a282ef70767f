/* Which operators keep factors by channel, whatever the factors are. */
#include <string.h>

#include "equalize.h"

int32_t qdbg__read_ints(const qdbg_graph *g, const qdbg__node *n, const char *name, uint32_t input,
                        int64_t *to)
{
    const int64_t *ints;
    if (qdbg__node_attr(n, name)) {
        uint32_t count = qdbg__attr_ints(n, name, &ints);
        for (uint32_t i = 0; i < count && i < QDBG__MOST_INTS; i++)
            to[i] = ints[i];
        return count <= QDBG__MOST_INTS ? (int32_t)count : -2;
    }
    if (input >= n->n_in || n->in[input] == QDBG_NONE)
        return -1;
    const qdbg__value *v = &g->values[n->in[input]];
    size_t size = v->dtype == QDBG_I64 ? sizeof(int64_t) : sizeof(int32_t);
    if (!v->is_param || (v->dtype != QDBG_I64 && v->dtype != QDBG_I32) ||
        v->bytes > QDBG__MOST_INTS * size)
        return -2;
    for (size_t i = 0; i < v->bytes / size; i++) {
        int32_t narrow = 0;
        if (v->dtype == QDBG_I64)
            memcpy(&to[i], (const char *)v->data + i * size, size);
        else
            memcpy(&narrow, (const char *)v->data + i * size, size);
        to[i] = v->dtype == QDBG_I64 ? to[i] : (int64_t)narrow;
    }
    return (int32_t)(v->bytes / size);
}

int64_t qdbg__axis_of(const qdbg_graph *g, uint32_t value, int64_t axis)
{
    return axis < 0 ? axis + (int64_t)g->values[value].rank : axis;
}

/* Zeros only, and none as new channels. */
static bool pad_keeps_factors(const qdbg_graph *g, const qdbg__node *n)
{
    int64_t pads[QDBG__MOST_INTS];
    uint32_t rank = g->values[n->in[0]].rank;
    int32_t count = qdbg__read_ints(g, n, "pads", 1, pads);
    if (rank < 2 || count != 2 * (int32_t)rank || pads[1] != 0 || pads[1 + rank] != 0 ||
        (n->n_in > 3 && n->in[3] != QDBG_NONE) || qdbg__attr_float(n, "value", 0) != 0)
        return false;
    if (strcmp(qdbg__attr_string(n, "mode", "constant"), "constant") != 0)
        return true;
    if (n->n_in < 3 || n->in[2] == QDBG_NONE)
        return true;
    const qdbg__value *v = &g->values[n->in[2]];
    float zero = 1;
    if (!v->is_param || v->dtype != QDBG_F32 || v->bytes != sizeof zero)
        return false;
    memcpy(&zero, v->data, sizeof zero);
    return zero == 0;
}

/* Over positions only. */
static bool reduces_positions(const qdbg_graph *g, const qdbg__node *n)
{
    int64_t axes[QDBG__MOST_INTS];
    int32_t count = qdbg__read_ints(g, n, "axes", 1, axes);
    if (count < 1 || g->values[n->in[0]].rank == QDBG_RANK_UNKNOWN)
        return false;
    for (int32_t i = 0; i < count; i++)
        if (qdbg__axis_of(g, n->in[0], axes[i]) < 2)
            return false;
    return true;
}

/* Channels neither become more nor lie between others: their scale is 1, and no crop moves them.
 * What is resized to sizes has as many of them as before (or is not looked at). */
static bool resizes_positions(const qdbg_graph *g, const qdbg__node *n)
{
    const char *mode = qdbg__attr_string(n, "coordinate_transformation_mode", "half_pixel");
    const qdbg__attr *old = qdbg__node_attr(n, "scales");
    uint32_t input = qdbg__node_is(n, "Upsample") || g->opset < 11 ? 1 : 2;
    int64_t axes[QDBG__MOST_INTS];
    int32_t n_axes = qdbg__read_ints(g, n, "axes", QDBG_NONE, axes);
    bool by_axes = n_axes >= 0;
    float scale = 1;
    for (int32_t i = 0; i < n_axes; i++)
        by_axes = by_axes && qdbg__axis_of(g, n->in[0], axes[i]) >= 2;
    if (n_axes != -1 || strcmp(mode, "tf_crop_and_resize") == 0)
        return by_axes;
    if (old)
        return old->kind == QDBG__ATTR_FLOATS && old->n > 1 && old->floats[1] == 1;
    if (input >= n->n_in || n->in[input] == QDBG_NONE)
        return true;
    const qdbg__value *v = &g->values[n->in[input]];
    if (!v->is_param || v->dtype != QDBG_F32)
        return false;
    if (v->bytes >= 2 * sizeof scale)
        memcpy(&scale, (const char *)v->data + sizeof scale, sizeof scale);
    return scale == 1;
}

bool qdbg__node_is_in(const qdbg__node *n, const char *const *types)
{
    for (; *types; types++)
        if (qdbg__node_is(n, *types))
            return true;
    return false;
}

bool qdbg__keeps_factors(const qdbg_graph *g, const qdbg__node *n)
{
    static const char *const plain[] = {
        "Relu",    "LeakyRelu",   "Identity",          "Dropout",       "Neg", "Abs",
        "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", NULL};
    static const char *const reductions[] = {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum",
                                             NULL};
    const int64_t *perm;
    if (qdbg__node_is(n, "Pad"))
        return pad_keeps_factors(g, n);
    if (qdbg__node_is(n, "PRelu"))
        return n->n_in > 1 && n->in[1] != QDBG_NONE && g->values[n->in[1]].is_param;
    if (qdbg__node_is(n, "Transpose"))
        return qdbg__attr_ints(n, "perm", &perm) > 1 && perm[0] == 0 && perm[1] == 1;
    if (qdbg__node_is(n, "Resize") || qdbg__node_is(n, "Upsample"))
        return resizes_positions(g, n);
    return qdbg__node_is_in(n, plain) ||
           (qdbg__node_is_in(n, reductions) && reduces_positions(g, n));
}
