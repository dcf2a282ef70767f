/* Operators that move elements, against plain loops over random shapes, and what they refuse. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "conformance/one_node.h"

#define ROUNDS 200

/* Element types of all sizes; elements are numbered, so that one that went astray is seen. */
static const int32_t types[] = {QDBG_U8, QDBG_I16, QDBG_F32, QDBG_I64};

static void put(void *data, int32_t dtype, int64_t i, int64_t value)
{
    switch (qdbg_dtype_size(dtype)) {
    case 1:
        ((uint8_t *)data)[i] = (uint8_t)value;
        break;
    case 2:
        ((int16_t *)data)[i] = (int16_t)value;
        break;
    case 4:
        ((float *)data)[i] = (float)value;
        break;
    default:
        ((int64_t *)data)[i] = value;
    }
}

static void *numbered(int32_t dtype, int64_t n)
{
    void *data = malloc((size_t)(n + 1) * qdbg_dtype_size(dtype));
    for (int64_t i = 0; i < n; i++)
        put(data, dtype, i, i);
    return data;
}

/* Run and compare: result i must be element from[i] of the input. */
static void assert_moves(one_node *o, int32_t dtype, const shape *out_shape, const int64_t *from)
{
    qdbg_view out;
    if (one_run(o, &out) != QDBG_OK)
        fail_msg("%s", qdbg_ctx_error_message(o->ctx));
    assert_shape(&out, dtype, out_shape->dims);
    void *want = malloc((size_t)(count(out_shape) + 1) * qdbg_dtype_size(dtype));
    for (int64_t i = 0; i < count(out_shape); i++)
        put(want, dtype, i, from[i]);
    if (count(out_shape) > 0)
        assert_memory_equal(out.data, want, (size_t)count(out_shape) * qdbg_dtype_size(dtype));
    free(want);
    free(out.data);
    one_end(o);
}

static void transpose_permutes_any_axes(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        shape s = round % 4 ? random_shape(1, 6, round % 9 ? 1 : 0, 5) : random_shape(2, 3, 17, 40);
        shape t = {.rank = s.rank};
        int64_t perm[QDBG_MAX_RANK];
        int32_t dtype = types[round % 4];
        for (uint32_t d = 0; d < s.rank; d++) { /* shuffle */
            uint32_t to = (uint32_t)pick(0, d);
            perm[d] = perm[to];
            perm[to] = d;
        }
        for (uint32_t d = 0; d < s.rank; d++)
            t.dims[d] = s.dims[perm[d]];
        t.dims[t.rank] = -1;
        int64_t *from = calloc((size_t)count(&s) + 1, sizeof *from);
        for (int64_t i = 0; i < count(&t); i++) {
            int64_t at[QDBG_MAX_RANK], source[QDBG_MAX_RANK];
            unravel(i, &t, at);
            for (uint32_t d = 0; d < s.rank; d++)
                source[perm[d]] = at[d];
            from[i] = ravel(&s, source);
        }
        one_node o;
        void *data = numbered(dtype, count(&s));
        one_begin(&o, 13);
        one_input(&o, dtype, s.dims, data);
        one_op(&o, "Transpose", 1);
        one_set_ints(&o, "perm", perm, s.rank);
        assert_moves(&o, dtype, &t, from);
        free(data);
        free(from);
    }
}

/* Python's slice of one axis: the positions taken. */
static int64_t slice_axis(int64_t n, int64_t start, int64_t end, int64_t step, int64_t *taken)
{
    int64_t k = 0;
    start = start < 0 ? start + n : start;
    end = end < 0 ? end + n : end;
    if (step > 0) {
        for (int64_t i = start < 0 ? 0 : start; i < end && i < n; i += step)
            taken[k++] = i;
    } else {
        for (int64_t i = start > n - 1 ? n - 1 : start; i > end && i >= 0; i += step)
            taken[k++] = i;
    }
    return k;
}

static void slice_follows_python(void **state)
{
    (void)state;
    for (int round = 0; round < 3 * ROUNDS; round++) {
        shape s = random_shape(1, 4, 0, 6), t = s;
        int64_t starts[4], ends[4], steps[4], axes[4], taken[4][8];
        bool attributes = round % 3 == 0;
        int32_t dtype = types[round % 4];
        for (uint32_t d = 0; d < s.rank; d++) {
            starts[d] = pick(-8, 8);
            ends[d] = pick(-8, 8);
            steps[d] = attributes ? 1 : pick(0, 1) ? pick(1, 3) : pick(-3, -1);
            axes[d] = pick(0, 1) ? d : (int64_t)d - s.rank;
            t.dims[d] = slice_axis(s.dims[d], starts[d], ends[d], steps[d], taken[d]);
        }
        int64_t *from = calloc((size_t)count(&t) + 1, sizeof *from);
        for (int64_t i = 0; i < count(&t); i++) {
            int64_t at[QDBG_MAX_RANK];
            unravel(i, &t, at);
            for (uint32_t d = 0; d < s.rank; d++)
                at[d] = taken[d][at[d]];
            from[i] = ravel(&s, at);
        }
        one_node o;
        void *data = numbered(dtype, count(&s));
        one_begin(&o, attributes ? 9 : 13);
        one_input(&o, dtype, s.dims, data);
        if (!attributes) {
            one_ints(&o, starts, s.rank);
            one_ints(&o, ends, s.rank);
            one_ints(&o, axes, s.rank);
            one_ints(&o, steps, s.rank);
        }
        one_op(&o, "Slice", 1);
        if (attributes) {
            one_set_ints(&o, "starts", starts, s.rank);
            one_set_ints(&o, "ends", ends, s.rank);
            one_set_ints(&o, "axes", axes, s.rank);
        }
        assert_moves(&o, dtype, &t, from);
        free(data);
        free(from);
    }
}

static void slice_takes_extreme_bounds(void **state)
{
    static const struct {
        int64_t start, end, step, n, from[3];
    } rows[] = {{INT64_MIN, INT64_MAX, 1, 3, {0, 1, 2}},   {INT64_MAX, INT64_MIN, -1, 3, {2, 1, 0}},
                {INT64_MAX, INT64_MIN, INT64_MIN, 1, {2}}, {0, INT64_MAX, INT64_MAX, 1, {0}},
                {INT64_MIN, INT64_MAX, -1, 0, {0}},        {INT64_MAX, INT64_MAX, 1, 0, {0}}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        shape t = {1, {rows[i].n, -1}};
        int64_t data[3] = {0, 1, 2};
        one_node o;
        one_begin(&o, 13);
        one_input(&o, QDBG_I64, DIMS(3), data);
        one_ints(&o, &rows[i].start, 1);
        one_ints(&o, &rows[i].end, 1);
        one_ints(&o, INTS(0), 1);
        one_ints(&o, &rows[i].step, 1);
        one_op(&o, "Slice", 1);
        assert_moves(&o, QDBG_I64, &t, rows[i].from);
    }
}

static int64_t pad_source(const char *mode, int64_t i, int64_t n)
{
    if (i >= 0 && i < n)
        return i;
    if (strcmp(mode, "edge") == 0)
        return i < 0 ? 0 : n - 1;
    if (strcmp(mode, "wrap") == 0)
        return ((i % n) + n) % n;
    while (i < 0 || i >= n) /* reflect */
        i = n == 1 ? 0 : i < 0 ? -i : 2 * (n - 1) - i;
    return i;
}

static void pad_has_four_modes(void **state)
{
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    (void)state;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        const char *mode = modes[round % 4];
        bool constant = round % 4 == 0;
        shape s = random_shape(1, 4, constant ? 0 : 1, 5), t = s;
        int32_t dtype = types[round / 4 % 4];
        int64_t pads[8];
        for (uint32_t d = 0; d < s.rank; d++) {
            pads[d] = pick(-2, 4);
            pads[s.rank + d] = pick(-2, 4);
            if (s.dims[d] + pads[d] + pads[s.rank + d] < 0)
                pads[d] = pads[s.rank + d] = 0;
            t.dims[d] = s.dims[d] + pads[d] + pads[s.rank + d];
        }
        int64_t *from = calloc((size_t)count(&t) + 1, sizeof *from);
        for (int64_t i = 0; i < count(&t); i++) {
            int64_t at[QDBG_MAX_RANK];
            bool inside = true;
            unravel(i, &t, at);
            for (uint32_t d = 0; d < s.rank; d++) {
                at[d] -= pads[d];
                inside = inside && at[d] >= 0 && at[d] < s.dims[d];
                at[d] = constant ? at[d] : pad_source(mode, at[d], s.dims[d]);
            }
            from[i] = constant && !inside ? 77 : ravel(&s, at);
        }
        one_node o;
        void *data = numbered(dtype, count(&s));
        int64_t value = 0;
        put(&value, dtype, 0, 77);
        one_begin(&o, 19);
        one_input(&o, dtype, s.dims, data);
        one_ints(&o, pads, 2 * s.rank);
        one_param(&o, dtype, SCALAR, &value);
        one_op(&o, "Pad", 1);
        one_set_string(&o, "mode", mode);
        assert_moves(&o, dtype, &t, from);
        free(data);
        free(from);
    }
}

static void tile_and_expand_repeat(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        bool expand = round % 2;
        shape full = random_shape(1, 5, round % 7 ? 1 : 0, 4), s = full, t = full;
        int64_t repeats[QDBG_MAX_RANK];
        int32_t dtype = types[round / 2 % 4];
        if (expand)
            s = part_of(&full);
        for (uint32_t d = 0; d < full.rank && !expand; d++) {
            repeats[d] = pick(0, 9) ? pick(1, 3) : 0;
            t.dims[d] = s.dims[d] * repeats[d];
        }
        int64_t *from = calloc((size_t)count(&t) + 1, sizeof *from);
        for (int64_t i = 0; i < count(&t); i++) {
            int64_t at[QDBG_MAX_RANK];
            unravel(i, &t, at);
            for (uint32_t d = 0; d < t.rank && !expand; d++)
                at[d] %= s.dims[d];
            from[i] = broadcast_index(&s, at, t.rank);
        }
        one_node o;
        void *data = numbered(dtype, count(&s));
        one_begin(&o, 13);
        one_input(&o, dtype, s.dims, data);
        one_ints(&o, expand ? full.dims : repeats, full.rank);
        one_op(&o, expand ? "Expand" : "Tile", 1);
        assert_moves(&o, dtype, &t, from);
        free(data);
        free(from);
    }
}

static void split_undoes_concat(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        shape s = random_shape(1, 4, round % 6 ? 1 : 0, 4);
        uint32_t axis = (uint32_t)pick(0, s.rank - 1);
        int64_t parts[3], total = 0;
        qdbg_view joined, out[3];
        float *data[3];
        one_node o;
        one_begin(&o, 13);
        for (int k = 0; k < 3; k++) {
            s.dims[axis] = parts[k] = pick(0, 4);
            total += parts[k];
            data[k] = random_floats(count(&s));
            one_input(&o, QDBG_F32, s.dims, data[k]);
        }
        one_op(&o, "Concat", 1);
        one_set_int(&o, "axis", (int64_t)axis - s.rank);
        assert_int_equal(one_run(&o, &joined), QDBG_OK);
        one_end(&o);
        s.dims[axis] = total;
        assert_shape(&joined, QDBG_F32, s.dims);
        one_begin(&o, round % 2 ? 13 : 11);
        one_input(&o, QDBG_F32, s.dims, joined.data);
        if (round % 2)
            one_ints(&o, parts, 3);
        one_op(&o, "Split", 3);
        one_set_int(&o, "axis", axis);
        if (round % 2 == 0)
            one_set_ints(&o, "split", parts, 3);
        assert_int_equal(one_run(&o, out), QDBG_OK);
        one_end(&o);
        for (int k = 0; k < 3; k++) {
            s.dims[axis] = parts[k];
            assert_shape(&out[k], QDBG_F32, s.dims);
            assert_floats(&out[k], data[k], (size_t)count(&s));
            free(data[k]);
            free(out[k].data);
        }
        free(joined.data);
    }
}

static void split_in_equal_parts_depends_on_the_opset(void **state)
{
    float x[7] = {0, 1, 2, 3, 4, 5, 6};
    qdbg_view out[3];
    one_node o;
    (void)state;
    one_begin(&o, 18); /* the last part may be smaller */
    one_input(&o, QDBG_F32, DIMS(7), x);
    one_op(&o, "Split", 3);
    one_set_int(&o, "num_outputs", 3);
    assert_int_equal(one_run(&o, out), QDBG_OK);
    assert_floats(&out[0], x, 3);
    assert_floats(&out[1], x + 3, 3);
    assert_floats(&out[2], x + 6, 1);
    for (int k = 0; k < 3; k++)
        free(out[k].data);
    one_end(&o);
    one_begin(&o, 13);
    one_input(&o, QDBG_F32, DIMS(7), x);
    one_op(&o, "Split", 3);
    assert_fails(&o, QDBG_E_SHAPE, "Split 'n': cannot split 7 into 3 equal parts");
}

static void gather_picks_blocks(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        shape s = random_shape(1, 4, 1, 4), picks = random_shape(0, 2, 0, 3), t = {0};
        uint32_t axis = (uint32_t)pick(0, s.rank - 1);
        int32_t dtype = types[round % 4];
        int64_t indices[16];
        for (int64_t i = 0; i < count(&picks); i++)
            indices[i] = pick(-s.dims[axis], s.dims[axis] - 1);
        for (uint32_t d = 0; d < s.rank; d++) {
            if (d != axis)
                t.dims[t.rank++] = s.dims[d];
            for (uint32_t k = 0; d == axis && k < picks.rank; k++)
                t.dims[t.rank++] = picks.dims[k];
        }
        t.dims[t.rank] = -1;
        int64_t *from = calloc((size_t)count(&t) + 1, sizeof *from);
        for (int64_t i = 0; i < count(&t); i++) {
            int64_t at[QDBG_MAX_RANK], source[QDBG_MAX_RANK];
            unravel(i, &t, at);
            int64_t index = indices[ravel(&picks, at + axis)];
            for (uint32_t d = 0; d < s.rank; d++)
                source[d] = d < axis ? at[d] : d > axis ? at[d - 1 + picks.rank] : index;
            source[axis] += index < 0 ? s.dims[axis] : 0;
            from[i] = ravel(&s, source);
        }
        one_node o;
        void *data = numbered(dtype, count(&s));
        one_begin(&o, 13);
        one_input(&o, dtype, s.dims, data);
        one_input(&o, QDBG_I64, picks.dims, indices);
        one_op(&o, "Gather", 1);
        one_set_int(&o, "axis", axis);
        assert_moves(&o, dtype, &t, from);
        free(data);
        free(from);
    }
}

static void indices_out_of_range_end_the_run(void **state)
{
    static const char *const ops[] = {"Gather", "GatherElements", "GatherND", "ScatterElements",
                                      "ScatterND"};
    static const int64_t bad[] = {3, -4, INT64_MAX, INT64_MIN};
    (void)state;
    for (size_t i = 0; i < 5 * 4; i++) {
        one_node o;
        one_begin(&o, 16);
        one_input(&o, QDBG_F32, DIMS(3), FLOATS(1, 2, 3));
        one_input(&o, QDBG_I64, i / 4 == 4 ? DIMS(1, 1) : DIMS(1), &bad[i % 4]);
        if (i / 4 >= 3)
            one_input(&o, QDBG_F32, DIMS(1), FLOATS(9));
        one_op(&o, ops[i / 4], 1);
        assert_fails(&o, QDBG_E_INVALID, "failed to run");
    }
}

static void reshape_resolves_zero_and_minus_one(void **state)
{
    static const struct {
        int64_t in[4], shape[3], want[4];
        bool allowzero;
        const char *error;
    } rows[] = {
        {{2, 3, 4, -1}, {0, -1}, {2, 12, -1}, false, NULL},
        {{2, 3, 4, -1}, {4, 6}, {4, 6, -1}, false, NULL},
        {{1, 6, -1}, {4, -1}, {0}, false, "Reshape 'n': cannot reshape [1,6] to [4,-1]"},
        {{1, 6, -1}, {-1, -1}, {0}, false, "cannot reshape"},
        {{1, 6, -1}, {-2, -3}, {0}, false, "cannot reshape"},
        {{1, 6, -1}, {INT64_MAX, 2}, {0}, false, "cannot reshape"},
        {{0, 4, -1}, {4, 0}, {4, 0, -1}, true, NULL},
        {{0, 4, -1}, {4, 0}, {0}, false, "cannot reshape [0,4] to [4,0]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qdbg_view out;
        one_node o;
        one_begin(&o, 14);
        one_input(&o, QDBG_F32, rows[i].in, NULL);
        one_ints(&o, rows[i].shape, 2);
        one_op(&o, "Reshape", 1);
        one_set_int(&o, "allowzero", rows[i].allowzero);
        if (rows[i].error) {
            assert_fails(&o, QDBG_E_SHAPE, rows[i].error);
            continue;
        }
        assert_int_equal(one_run(&o, &out), QDBG_OK);
        assert_shape(&out, QDBG_F32, rows[i].want);
        free(out.data);
        one_end(&o);
    }
}

static void axes_move_from_attribute_to_input_at_opset_13(void **state)
{
    (void)state;
    for (uint32_t opset = 11; opset <= 13; opset += 2) {
        for (int squeeze = 0; squeeze < 2; squeeze++) {
            int64_t axes[2] = {0, squeeze ? 2 : -1};
            qdbg_view out;
            one_node o;
            one_begin(&o, opset);
            one_input(&o, QDBG_F32, squeeze ? DIMS(1, 3, 1) : DIMS(3), NULL);
            if (opset >= 13)
                one_ints(&o, axes, 2);
            one_op(&o, squeeze ? "Squeeze" : "Unsqueeze", 1);
            if (opset < 13)
                one_set_ints(&o, "axes", axes, 2);
            assert_int_equal(one_run(&o, &out), QDBG_OK);
            assert_shape(&out, QDBG_F32, squeeze ? DIMS(3) : DIMS(1, 3, 1));
            free(out.data);
            one_end(&o);
        }
    }
    one_node o;
    one_begin(&o, 13);
    one_input(&o, QDBG_F32, DIMS(2, 3), NULL);
    one_ints(&o, INTS(0), 1);
    one_op(&o, "Squeeze", 1);
    assert_fails(&o, QDBG_E_SHAPE, "Squeeze 'n': axis 0 has size 2, not 1");
}

static void depth_to_space_undoes_space_to_depth(void **state)
{
    float *x = random_floats(2 * 3 * 4 * 6);
    qdbg_view deep, out;
    one_node o;
    (void)state;
    one_begin(&o, 13);
    one_input(&o, QDBG_F32, DIMS(2, 3, 4, 6), x);
    one_op(&o, "SpaceToDepth", 1);
    one_set_int(&o, "blocksize", 2);
    assert_int_equal(one_run(&o, &deep), QDBG_OK);
    assert_shape(&deep, QDBG_F32, DIMS(2, 12, 2, 3));
    one_end(&o);
    one_begin(&o, 13);
    one_input(&o, QDBG_F32, DIMS(2, 12, 2, 3), deep.data);
    one_op(&o, "DepthToSpace", 1);
    one_set_int(&o, "blocksize", 2);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_floats(&out, x, 2 * 3 * 4 * 6);
    one_end(&o);
    free(deep.data);
    free(out.data);
    free(x);
}

static void resize_of_every_age(void **state)
{
    float x[4] = {1, 2, 3, 4};
    qdbg_view out;
    one_node o;
    (void)state;
    one_begin(&o, 7); /* scales as an attribute */
    one_input(&o, QDBG_F32, DIMS(1, 1, 1, 4), x);
    one_op(&o, "Upsample", 1);
    qdbg_graph_set_floats(o.graph, o.node, "scales", FLOATS(1, 1, 2, 1.5f), 4);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_shape(&out, QDBG_F32, DIMS(1, 1, 2, 6));
    assert_floats(&out, FLOATS(1, 1, 2, 3, 3, 4, 1, 1, 2, 3, 3, 4), 12);
    free(out.data);
    one_end(&o);
    one_begin(&o, 10); /* rounds up when it shrinks */
    one_input(&o, QDBG_F32, DIMS(1, 1, 1, 4), x);
    one_param(&o, QDBG_F32, DIMS(4), FLOATS(1, 1, 1, 0.6f));
    one_op(&o, "Resize", 1);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_floats(&out, FLOATS(1, 3), 2);
    free(out.data);
    one_end(&o);
    one_begin(&o, 18); /* only some axes, keeping the ratio */
    one_input(&o, QDBG_F32, DIMS(2, 2), x);
    one_absent(&o);
    one_absent(&o);
    one_ints(&o, INTS(4, 6), 2);
    one_op(&o, "Resize", 1);
    one_set_string(&o, "keep_aspect_ratio_policy", "not_larger");
    one_set_string(&o, "mode", "linear");
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_shape(&out, QDBG_F32, DIMS(4, 4));
    assert_floats(&out,
                  FLOATS(1, 1.25f, 1.75f, 2, 1.5f, 1.75f, 2.25f, 2.5f, 2.5f, 2.75f, 3.25f, 3.5f, 3,
                         3.25f, 3.75f, 4),
                  16);
    free(out.data);
    one_end(&o);
}

static void one_hot_and_eye_and_range(void **state)
{
    qdbg_view out;
    one_node o;
    (void)state;
    one_begin(&o, 11);
    one_input(&o, QDBG_I64, DIMS(3), INTS(1, -1, 9)); /* 9 is out of range: all off */
    one_ints(&o, INTS(3), 1);
    one_param(&o, QDBG_F32, DIMS(2), FLOATS(-1, 1));
    one_op(&o, "OneHot", 1);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_floats(&out, FLOATS(-1, 1, -1, -1, -1, 1, -1, -1, -1), 9);
    free(out.data);
    one_end(&o);
    one_begin(&o, 11);
    one_param(&o, QDBG_I64, SCALAR, INTS(INT64_MAX - 2));
    one_param(&o, QDBG_I64, SCALAR, INTS(INT64_MAX));
    one_param(&o, QDBG_I64, SCALAR, INTS(2));
    one_op(&o, "Range", 1);
    assert_int_equal(one_run(&o, &out), QDBG_OK);
    assert_ints(&out, INTS(INT64_MAX - 2), 1);
    free(out.data);
    one_end(&o);
    one_begin(&o, 11);
    one_param(&o, QDBG_F32, SCALAR, FLOATS(0));
    one_param(&o, QDBG_F32, SCALAR, FLOATS(1));
    one_param(&o, QDBG_F32, SCALAR, FLOATS(0));
    one_op(&o, "Range", 1);
    assert_fails(&o, QDBG_E_INVALID, "Range 'n': the range has no end");
}

static void dropout_lets_everything_pass(void **state)
{
    (void)state;
    for (uint32_t opset = 9; opset <= 13; opset++) { /* the mask became bool at 10 */
        qdbg_view out[2];
        one_node o;
        one_begin(&o, opset);
        one_input(&o, QDBG_F32, DIMS(2), FLOATS(3, -4));
        one_op(&o, "Dropout", 2);
        assert_int_equal(one_run(&o, out), QDBG_OK);
        assert_floats(&out[0], FLOATS(3, -4), 2);
        assert_shape(&out[1], opset < 10 ? QDBG_F32 : QDBG_BOOL, DIMS(2));
        if (opset >= 10)
            assert_memory_equal(out[1].data, "\1\1", 2);
        free(out[0].data);
        free(out[1].data);
        one_end(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transpose_permutes_any_axes),
        cmocka_unit_test(slice_follows_python),
        cmocka_unit_test(slice_takes_extreme_bounds),
        cmocka_unit_test(pad_has_four_modes),
        cmocka_unit_test(tile_and_expand_repeat),
        cmocka_unit_test(split_undoes_concat),
        cmocka_unit_test(split_in_equal_parts_depends_on_the_opset),
        cmocka_unit_test(gather_picks_blocks),
        cmocka_unit_test(indices_out_of_range_end_the_run),
        cmocka_unit_test(reshape_resolves_zero_and_minus_one),
        cmocka_unit_test(axes_move_from_attribute_to_input_at_opset_13),
        cmocka_unit_test(depth_to_space_undoes_space_to_depth),
        cmocka_unit_test(dropout_lets_everything_pass),
        cmocka_unit_test(resize_of_every_age),
        cmocka_unit_test(one_hot_and_eye_and_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
