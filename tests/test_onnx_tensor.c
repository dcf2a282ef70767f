/* The ONNX loader: tensors in every form that the format has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "onnx_world.h"

/* ---- tensors ---- */

static void raw_data_of_every_type_is_kept(void **state)
{
    static const int32_t types[] = {QDBG_F32, QDBG_U8,  QDBG_I8,  QDBG_U16, QDBG_I16, QDBG_I32,
                                    QDBG_I64, QDBG_F16, QDBG_F64, QDBG_U32, QDBG_U64, QDBG_BF16};
    uint8_t bytes[48];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(37 * i + 11);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        size_t size = 6 * qdbg_dtype_size(types[i]);
        make_buf t = make_tensor_raw("w", types[i], "2,3", bytes, size);
        qdbg_graph *graph = must_load(ctx_of(state), model_of(t));
        must_hold(graph, "w", types[i], bytes, size);
        qdbg_value_info info = value_named(graph, "w");
        assert_int_equal(info.rank, 2);
        assert_int_equal(info.dims[1], 3);
        assert_int_equal(info.is_parameter, 1);
        qdbg_graph_destroy(graph);
    }
}

static void typed_lists_become_arrays_of_the_type(void **state)
{
    static const struct {
        int32_t type;
        uint32_t field;
        int64_t values[3];
        uint8_t bytes[24];
    } rows[] = {
        {QDBG_U8, 5, {0, 255, 7}, {0, 255, 7}},
        {QDBG_I8, 5, {-128, 127, -1}, {0x80, 0x7f, 0xff}},
        {QDBG_BOOL, 5, {0, 1, 2}, {0, 1, 1}},
        {QDBG_U16, 5, {0, 65535, 258}, {0, 0, 255, 255, 2, 1}},
        {QDBG_I16, 5, {-32768, 32767, -2}, {0, 0x80, 0xff, 0x7f, 0xfe, 0xff}},
        {QDBG_F16, 5, {0x3c00, 0xbc00, 0}, {0, 0x3c, 0, 0xbc, 0, 0}},
        {QDBG_BF16, 5, {0x3f80, 0xbf80, 0}, {0x80, 0x3f, 0x80, 0xbf, 0, 0}},
        {QDBG_I32, 5, {1, -1, 256}, {1, 0, 0, 0, 255, 255, 255, 255, 0, 1, 0, 0}},
        {QDBG_U32, 11, {1, 4294967295, 256}, {1, 0, 0, 0, 255, 255, 255, 255, 0, 1, 0, 0}},
        {QDBG_I64,
         7,
         {1, -1, 256},
         {1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 1}},
        {QDBG_U64,
         11,
         {1, -1, 256},
         {1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int packed = 0; packed < 2; packed++) {
            make_buf t = make_tensor("w", rows[i].type, "3");
            if (packed)
                make_packed(&t, rows[i].field, rows[i].values, 3);
            for (int k = 0; k < 3 && !packed; k++)
                make_int(&t, rows[i].field, rows[i].values[k]);
            qdbg_graph *graph = must_load(ctx_of(state), model_of(t));
            must_hold(graph, "w", rows[i].type, rows[i].bytes, 3 * qdbg_dtype_size(rows[i].type));
            qdbg_graph_destroy(graph);
        }
    }
}

static void float_lists_are_read_packed_or_not(void **state)
{
    float f[2] = {1.5f, -2.0f};
    double d[2] = {0.1, -3.0};
    make_buf packed = make_tensor("w", QDBG_F32, "2");
    make_bytes(&packed, 4, f, sizeof f);
    make_buf single = make_tensor("w", QDBG_F32, "2");
    make_float(&single, 4, f[0]);
    make_float(&single, 4, f[1]);
    make_buf doubles = make_tensor("w", QDBG_F64, "2");
    make_double(&doubles, 10, d[0]);
    make_double(&doubles, 10, d[1]);
    make_buf files[3] = {model_of(packed), model_of(single), model_of(doubles)};
    for (int i = 0; i < 3; i++) {
        qdbg_graph *graph = must_load(ctx_of(state), files[i]);
        must_hold(graph, "w", i < 2 ? QDBG_F32 : QDBG_F64, i < 2 ? (void *)f : (void *)d,
                  i < 2 ? sizeof f : sizeof d);
        qdbg_graph_destroy(graph);
    }
}

static void packed_dims_are_read(void **state)
{
    make_buf t = {0};
    make_packed(&t, 1, (int64_t[]){2, 1, 2}, 3);
    make_int(&t, 2, QDBG_U8);
    make_text(&t, 8, "w");
    make_bytes(&t, 9, "abcd", 4);
    qdbg_graph *graph = must_load(ctx_of(state), model_of(t));
    assert_int_equal(value_named(graph, "w").rank, 3);
    qdbg_graph_destroy(graph);
}

static void booleans_become_0_or_1(void **state)
{
    make_buf t = make_tensor_raw("w", QDBG_BOOL, "4", "\0\1\2\xff", 4);
    qdbg_graph *graph = must_load(ctx_of(state), model_of(t));
    must_hold(graph, "w", QDBG_BOOL, "\0\1\1\1", 4);
    qdbg_graph_destroy(graph);
}

static void a_tensor_may_have_no_elements(void **state)
{
    qdbg_graph *graph = must_load(ctx_of(state), model_of(make_tensor("w", QDBG_I64, "0")));
    must_hold(graph, "w", QDBG_I64, NULL, 0);
    qdbg_graph_destroy(graph);
    graph = must_load(ctx_of(state), model_of(make_tensor_raw("w", QDBG_I64, "2,0", "", 0)));
    must_hold(graph, "w", QDBG_I64, NULL, 0);
    qdbg_graph_destroy(graph);
}

static void data_that_do_not_fit_the_shape_are_named(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    must_fail(ctx, model_of(make_tensor_raw("conv.w", QDBG_F32, "2,2", "0123456789ab", 12)),
              QDBG_E_FORMAT,
              "tensor 'conv.w': raw_data has 12 bytes where its shape [2,2] float32 needs 16");
    must_name(ctx, NULL, "conv.w");
    make_buf t = make_tensor("w", QDBG_F32, "2,2");
    make_bytes(&t, 4, "0123456789ab", 12);
    must_fail(ctx, model_of(t), QDBG_E_FORMAT,
              "tensor 'w': float_data has 3 elements where its shape [2,2] needs 4");
    must_fail(ctx, model_of(make_tensor("w", QDBG_F32, "2,2")), QDBG_E_FORMAT,
              "tensor 'w' has no data where its shape [2,2] float32 needs 4 elements");
    must_fail(ctx, model_of(make_tensor_raw("w", QDBG_U8, "0", "a", 1)), QDBG_E_FORMAT,
              "raw_data has 1 bytes");
    t = make_tensor("w", QDBG_U8, "2");
    make_packed(&t, 5, (int64_t[]){1, 300}, 2);
    must_fail(ctx, model_of(t), QDBG_E_FORMAT,
              "tensor 'w': element 1 of int32_data is out of range for uint8");
    t = make_tensor("w", QDBG_U32, "1");
    make_packed(&t, 11, (int64_t[]){1LL << 32}, 1);
    must_fail(ctx, model_of(t), QDBG_E_FORMAT, "element 0 of uint64_data is out of range");
}

static void an_impossible_shape_is_refused_before_memory_is_asked_for(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    uint64_t peak;
    must_fail(ctx, model_of(make_tensor("w", QDBG_F32, "2,-3")), QDBG_E_FORMAT,
              "tensor 'w' has the impossible shape [2,-3]");
    must_fail(ctx, model_of(make_tensor("w", QDBG_F32, "4611686018427387904,4")), QDBG_E_FORMAT,
              "impossible shape");
    must_fail(ctx, model_of(make_tensor("w", QDBG_F32, "1099511627776,64")), QDBG_E_FORMAT,
              "has no data");
    must_fail(ctx, model_of(make_tensor("w", QDBG_F32, "1,1,1,1,1,1,1,1,1")), QDBG_E_UNSUPPORTED,
              "tensor 'w' has 9 dimensions; 8 are supported");
    qdbg_ctx_memory(ctx, NULL, &peak);
    assert_true(peak < 100000);
}

static void element_types_without_support_are_named(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    must_fail(ctx, model_of(make_tensor("labels", 8, "1")), QDBG_E_UNSUPPORTED,
              "tensor 'labels' has element type string (8)");
    must_name(ctx, NULL, "labels");
    must_fail(ctx, model_of(make_tensor("w", 22, "1")), QDBG_E_UNSUPPORTED, "int4 (22)");
    must_fail(ctx, model_of(make_tensor("w", 17, "1")), QDBG_E_UNSUPPORTED, "float8e4m3fn (17)");
    must_fail(ctx, model_of(make_tensor("w", 14, "1")), QDBG_E_UNSUPPORTED, "complex64 (14)");
    must_fail(ctx, model_of(make_tensor("w", 99, "1")), QDBG_E_UNSUPPORTED, "unknown (99)");
    must_fail(ctx, model_of(make_tensor("w", -1, "1")), QDBG_E_UNSUPPORTED, "unknown (-1)");
    must_fail(ctx, model_of(make_tensor("w", 0, "1")), QDBG_E_FORMAT, "has no element type");
    make_buf t = make_tensor_raw("w", QDBG_U8, "1", "a", 1);
    make_int(&t, 14, 7);
    must_fail(ctx, model_of(t), QDBG_E_FORMAT, "unknown data location 7");
    t = make_tensor_raw("w", QDBG_U8, "1", "a", 1);
    make_text(&t, 3, "");
    must_fail(ctx, model_of(t), QDBG_E_UNSUPPORTED, "tensor 'w' is stored in segments");
}

static void sparse_initializers_are_refused(void **state)
{
    make_model m;
    begin_relu(&m);
    make_text(&m.graph, 15, "");
    must_fail(ctx_of(state), make_end(&m), QDBG_E_UNSUPPORTED, "sparse initializers");
}

/* ---- external data ---- */

/* An initializer 'w' of 4 bytes that lies elsewhere. */
static make_buf external_model(const char *location, const char *offset, const char *length)
{
    make_buf t = make_tensor("w", QDBG_U8, "4");
    make_external(&t, location, offset, length);
    return model_of(t);
}

static void external_data_are_read(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    temp_folder f = make_folder();
    write_file(inside(&f, "weights.bin"), "0123456789", 10);
    static const struct {
        const char *location, *offset, *length, *want;
    } rows[] = {
        {"weights.bin", NULL, NULL, "0123"},
        {"weights.bin", "2", NULL, "2345"},
        {"weights.bin", "6", "4", "6789"},
        {"./weights.bin", "1", "4", "1234"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qdbg_graph *graph = NULL;
        make_buf file = external_model(rows[i].location, rows[i].offset, rows[i].length);
        assert_int_equal(qdbg_onnx_load_memory(ctx, file.data, file.size, f.path, &graph), QDBG_OK);
        must_hold(graph, "w", QDBG_U8, rows[i].want, 4);
        qdbg_graph_destroy(graph);
        write_file(inside(&f, "model.onnx"), file.data, file.size);
        assert_int_equal(qdbg_onnx_load_file(ctx, f.file, &graph), QDBG_OK);
        must_hold(graph, "w", QDBG_U8, rows[i].want, 4);
        qdbg_graph_destroy(graph);
        make_free(&file);
    }
    remove(inside(&f, "model.onnx"));
    remove(inside(&f, "weights.bin"));
    rmdir(f.path);
}

static void a_model_named_without_a_folder_finds_its_external_data(void **state)
{
    qdbg_graph *graph = NULL;
    temp_folder f = make_folder();
    make_buf file = external_model("weights.bin", NULL, NULL);
    char before[1024];
    assert_non_null(getcwd(before, sizeof before));
    write_file(inside(&f, "weights.bin"), "0123", 4);
    write_file(inside(&f, "model.onnx"), file.data, file.size);
    assert_int_equal(chdir(f.path), 0);
    assert_int_equal(qdbg_onnx_load_file(ctx_of(state), "model.onnx", &graph), QDBG_OK);
    qdbg_graph_destroy(graph);
    graph = NULL; /* "" is what dirname() makes of the same */
    assert_int_equal(qdbg_onnx_load_memory(ctx_of(state), file.data, file.size, "", &graph),
                     QDBG_OK);
    assert_int_equal(chdir(before), 0);
    qdbg_graph_destroy(graph);
    remove(inside(&f, "model.onnx"));
    remove(inside(&f, "weights.bin"));
    rmdir(f.path);
    make_free(&file);
}

static void external_data_outside_the_folder_are_refused(void **state)
{
    static const char *const places[] = {"/etc/passwd", "../up.bin", "a/../../up.bin",
                                         "..",          "a/..",      "",
                                         "C:\\w.bin",   "a\\..\\b",  "c:w"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        must_fail_in(ctx_of(state), external_model(places[i], NULL, NULL), "/tmp", QDBG_E_FORMAT,
                     "is not below the model's folder");
}

static void bad_external_data_name_tensor_and_file(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    temp_folder f = make_folder();
    write_file(inside(&f, "w.bin"), "0123456789", 10);
    must_fail_in(ctx, external_model("gone.bin", NULL, NULL), f.path, QDBG_E_IO,
                 "tensor 'w': cannot open external file '");
    must_say(ctx, "/gone.bin': no such file");
    must_name(ctx, NULL, "w");
    must_fail_in(ctx, external_model("w.bin/x", NULL, NULL), f.path, QDBG_E_IO, "no such file");
    must_fail_in(ctx, external_model(".", NULL, NULL), f.path, QDBG_E_IO, "not a regular file");
    must_fail_in(
        ctx, external_model("w.bin", "7", NULL), f.path, QDBG_E_FORMAT,
        "tensor 'w': 4 bytes from byte 7 on pass the end of external file 'w.bin' (10 bytes)");
    must_fail_in(ctx, external_model("w.bin", "9000000000000000000", NULL), f.path, QDBG_E_FORMAT,
                 "pass the end");
    must_fail_in(ctx, external_model("w.bin", NULL, "5"), f.path, QDBG_E_FORMAT,
                 "external length is 5 bytes where its shape needs 4");
    must_fail_in(ctx, external_model("w.bin", "-1", NULL), f.path, QDBG_E_FORMAT,
                 "external offset '-1' is not a number");
    must_fail_in(ctx, external_model("w.bin", NULL, "99999999999999999999"), f.path, QDBG_E_FORMAT,
                 "external length '99999999999999999999' is not a number");
    must_fail_in(ctx, external_model(NULL, "0", NULL), f.path, QDBG_E_FORMAT,
                 "external data without a location");
    must_fail_in(ctx, external_model("w.bin", NULL, NULL), NULL, QDBG_E_INVALID,
                 "tensor 'w' lies in external file 'w.bin', but no folder is given");
    remove(f.file);
    rmdir(f.path);
}

static void external_data_survive_failing_allocations(void **state)
{
    world *w = *state;
    temp_folder f = make_folder();
    make_buf file = external_model("w.bin", NULL, NULL);
    write_file(inside(&f, "w.bin"), "0123", 4);
    write_file(inside(&f, "m.onnx"), file.data, file.size);
    qdbg_status status = QDBG_E_NOMEM;
    for (long n = 0; status != QDBG_OK; n++) {
        qdbg_graph *graph = NULL;
        size_t blocks = w->memory.blocks;
        w->memory.calls = 0;
        w->memory.fail_at = n;
        status = qdbg_onnx_load_file(w->ctx, f.file, &graph);
        w->memory.fail_at = -1;
        if (status == QDBG_OK)
            qdbg_graph_destroy(graph);
        else
            assert_int_equal(status, QDBG_E_NOMEM);
        assert_int_equal(w->memory.blocks, blocks);
    }
    remove(f.file);
    remove(inside(&f, "w.bin"));
    rmdir(f.path);
    make_free(&file);
}

/* ---- tensors on their own ---- */

static void a_serialized_tensor_is_read(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    qdbg_view view = QDBG_VIEW_INIT;
    make_buf t = make_tensor("t", QDBG_I16, "2,1");
    make_packed(&t, 5, (int64_t[]){-2, 3}, 2);
    assert_int_equal(qdbg__onnx_read_tensor(ctx, t.data, t.size, &view), QDBG_OK);
    make_free(&t);
    assert_int_equal(view.dtype, QDBG_I16);
    assert_int_equal(view.rank, 2);
    assert_memory_equal(view.data, ((int16_t[]){-2, 3}), 4);
    qdbg_ctx_free(ctx, view.data, 4);
    t = make_tensor("t", QDBG_F32, "0,3");
    assert_int_equal(qdbg__onnx_read_tensor(ctx, t.data, t.size, &view), QDBG_OK);
    assert_null(view.data);
    make_free(&t);
    assert_int_equal(qdbg__onnx_read_tensor(ctx, "\x0a\x50", 2, &view), QDBG_E_FORMAT);
    must_say(ctx, "malformed: tensor 0 (2 bytes from byte 0 on)");
    assert_int_equal(qdbg__onnx_read_tensor(ctx, "", 0, &view), QDBG_E_FORMAT);
    must_say(ctx, "no element type");
}

static void bytes_are_swapped_by_element(void **state)
{
    uint8_t b[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    qdbg__onnx_swap_bytes(b, 8, 1);
    assert_memory_equal(b, "\1\2\3\4\5\6\7\10", 8);
    qdbg__onnx_swap_bytes(b, 4, 2);
    assert_memory_equal(b, "\2\1\4\3\6\5\10\7", 8);
    qdbg__onnx_swap_bytes(b, 1, 8);
    assert_memory_equal(b, "\7\10\5\6\3\4\1\2", 8);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FACT(raw_data_of_every_type_is_kept),
        FACT(typed_lists_become_arrays_of_the_type),
        FACT(float_lists_are_read_packed_or_not),
        FACT(packed_dims_are_read),
        FACT(booleans_become_0_or_1),
        FACT(a_tensor_may_have_no_elements),
        FACT(data_that_do_not_fit_the_shape_are_named),
        FACT(an_impossible_shape_is_refused_before_memory_is_asked_for),
        FACT(element_types_without_support_are_named),
        FACT(sparse_initializers_are_refused),
        FACT(external_data_are_read),
        FACT(a_model_named_without_a_folder_finds_its_external_data),
        FACT(external_data_outside_the_folder_are_refused),
        FACT(bad_external_data_name_tensor_and_file),
        FACT(external_data_survive_failing_allocations),
        FACT(a_serialized_tensor_is_read),
        FACT(bytes_are_swapped_by_element),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
