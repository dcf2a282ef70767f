/* The ONNX loader: files good and broken, memory that runs out, real models. */
#define _GNU_SOURCE /* F_SETPIPE_SZ */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

#include "onnx_world.h"

/* ---- bytes that are no model ---- */

static make_buf bytes_of(const char *text, size_t size)
{
    make_buf b = {0};
    make_append(&b, text, size);
    return b;
}

static void what_is_not_a_model_is_told_with_its_place(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    must_fail(ctx, (make_buf){0}, QDBG_E_FORMAT, "the model is empty");
    must_fail(ctx, bytes_of("PK\3\4 a zip file", 15), QDBG_E_FORMAT, "byte 2 of 15, in the model");
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
    must_fail(ctx, bytes_of(lfs, sizeof lfs - 1), QDBG_E_FORMAT, "Git LFS pointer");
    must_fail(ctx, bytes_of("\x08\x07\x3a\x64\x0a\x02", 6), QDBG_E_FORMAT,
              "byte 2 of 6, in the model: a field is longer than what is left");
    must_fail(ctx, bytes_of("\x08\x07\x3a\x01", 4), QDBG_E_FORMAT, "longer than what is left");
    must_fail(ctx, bytes_of("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 13),
              QDBG_E_FORMAT, "byte 0 of 13, in the model: a number is cut off or too long");
    must_fail(ctx, bytes_of("\x08\x07\x3b", 3), QDBG_E_FORMAT, "wire type");
    must_fail(ctx, bytes_of("\x08\x07\x38\x01", 4), QDBG_E_FORMAT, "the graph is a number");
    must_fail(ctx, bytes_of("\x3a\x02\x08\x01", 4), QDBG_E_FORMAT, "input or output is a number");
    must_fail(ctx, bytes_of("\x3a\x03\x0a\x09\x0a", 5), QDBG_E_FORMAT, "byte 2 of 5, in the graph");
    make_model m;
    begin_relu(&m);
    make_text(&m.graph, 1, "\x0a\x50node");
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "malformed: node 1 (6 bytes from byte");
    begin_relu(&m);
    make_text(&m.graph, 5, "\x0a\x50tensor");
    must_fail(ctx, make_end(&m), QDBG_E_FORMAT, "malformed: initializer 0 (8 bytes");
}

/* A broken model gives a graph or an error with words, and holds no memory after. */
static void must_survive(world *w, const uint8_t *data, size_t size)
{
    qdbg_graph *graph = NULL;
    size_t blocks = w->memory.blocks;
    /* a block of exactly this size lets the address sanitizer see every read beyond it */
    uint8_t *exact = malloc(size ? size : 1);
    memcpy(exact, data, size);
    qdbg_status status = qdbg_onnx_load_memory(w->ctx, exact, size, NULL, &graph);
    free(exact);
    if (status == QDBG_OK)
        qdbg_graph_destroy(graph);
    else
        assert_true(qdbg_ctx_error_message(w->ctx)[0] && !graph);
    assert_int_equal(w->memory.blocks, blocks);
}

static void a_model_cut_at_any_byte_does_no_harm(void **state)
{
    make_buf file = rich_model();
    for (size_t n = 0; n <= file.size; n++)
        must_survive(*state, file.data, n);
    make_free(&file);
}

static void flipped_bytes_do_no_harm(void **state)
{
    make_buf file = rich_model();
    uint8_t *copy = malloc(file.size);
    uint64_t seed = 20240607;
    for (int round = 0; round < 20000; round++) {
        memcpy(copy, file.data, file.size);
        for (int k = 0; k < 1 + round % 4; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            copy[(seed >> 33) % file.size] ^= (uint8_t)(1u << (seed >> 29 & 7));
        }
        must_survive(*state, copy, file.size);
    }
    free(copy);
    make_free(&file);
}

static void every_allocation_may_fail(void **state)
{
    world *w = *state;
    make_buf file = rich_model();
    for (int for_good = 0; for_good < 2; for_good++) {
        qdbg_status status = QDBG_E_NOMEM;
        long n = 0;
        for (; status != QDBG_OK; n++) {
            qdbg_graph *graph = NULL;
            size_t blocks = w->memory.blocks;
            w->memory.calls = 0;
            w->memory.fail_at = n;
            w->memory.for_good = for_good;
            status = qdbg_onnx_load_memory(w->ctx, file.data, file.size, NULL, &graph);
            w->memory.fail_at = -1;
            if (status == QDBG_OK)
                qdbg_graph_destroy(graph);
            else
                assert_int_equal(status, QDBG_E_NOMEM);
            assert_int_equal(w->memory.blocks, blocks);
        }
        assert_true(n > 100);
    }
    make_free(&file);
}

/* ---- memory ---- */

static void initializers_are_unpacked_one_at_a_time(void **state)
{
    make_model m;
    size_t size = 1 << 20;
    void *zeros = calloc(1, size);
    uint64_t peak;
    begin_relu(&m);
    for (int i = 0; i < 8; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        make_add_initializer(&m, make_tensor_raw(name, QDBG_U8, "1048576", zeros, size));
    }
    free(zeros);
    qdbg_graph *graph = must_load(ctx_of(state), make_end(&m));
    qdbg_ctx_memory(ctx_of(state), NULL, &peak);
    assert_true(peak < 8 * size + 2 * size); /* the graph's own, one in flight, and change */
    qdbg_graph_destroy(graph);
}

static void the_memory_ceiling_is_kept(void **state)
{
    void *limited;
    qdbg_graph *graph = NULL;
    assert_int_equal(start_limited(&limited, 65536), 0);
    make_buf t = make_tensor("w", QDBG_U8, "100000");
    make_buf zeros = {0};
    for (int i = 0; i < 100000; i++)
        make_append(&zeros, "", 1);
    make_part(&t, 9, &zeros);
    must_fail(ctx_of(&limited), model_of(t), QDBG_E_LIMIT, "ceiling");
    make_model m;
    begin_relu(&m);
    graph = must_load(ctx_of(&limited), make_end(&m)); /* the context is as good as new */
    qdbg_graph_destroy(graph);
    assert_int_equal(stop(&limited), 0);
    (void)state;
}

/* ---- files ---- */

static void a_model_is_read_from_a_file(void **state)
{
    qdbg_ctx *ctx = ctx_of(state);
    qdbg_graph *graph = NULL;
    make_buf model = rich_model();
    temp_folder f = make_folder();
    write_file(inside(&f, "model.onnx"), model.data, model.size);
    assert_int_equal(qdbg_onnx_load_file(ctx, f.file, &graph), QDBG_OK);
    qdbg_graph_destroy(graph);
    graph = NULL;
    write_file(f.file, "", 0);
    assert_int_equal(qdbg_onnx_load_file(ctx, f.file, &graph), QDBG_E_FORMAT);
    must_say(ctx, "empty");
    assert_int_equal(truncate(f.file, 1LL << 31), 0); /* sparse: no disk is used */
    assert_int_equal(qdbg_onnx_load_file(ctx, f.file, &graph), QDBG_E_FORMAT);
    must_say(ctx, "larger than 2147483647 bytes");
    remove(f.file);
    assert_int_equal(qdbg_onnx_load_file(ctx, f.file, &graph), QDBG_E_IO);
    must_say(ctx, "model.onnx': no such file");
    assert_int_equal(qdbg_onnx_load_file(ctx, f.path, &graph), QDBG_E_IO);
    must_say(ctx, "is a directory");
    assert_int_equal(qdbg_onnx_load_file(ctx, "", &graph), QDBG_E_IO);
    assert_null(graph);
    rmdir(f.path);
    make_free(&model);
}

static void a_model_is_read_from_a_pipe(void **state)
{
    make_model m;
    char zeros[100000] = {0}, path[32];
    int ends[2];
    qdbg_graph *graph = NULL;
    begin_relu(&m);
    make_add_initializer(&m, make_tensor_raw("w", QDBG_U8, "100000", zeros, sizeof zeros));
    make_buf file = make_end(&m);
    assert_int_equal(pipe(ends), 0);
    if (fcntl(ends[1], F_SETPIPE_SZ, 1 << 18) >= 1 << 18) {
        assert_int_equal(write(ends[1], file.data, file.size), file.size);
        close(ends[1]);
        snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
        assert_int_equal(qdbg_onnx_load_file(ctx_of(state), path, &graph), QDBG_OK);
        qdbg_graph_destroy(graph);
    } else {
        close(ends[1]);
    }
    close(ends[0]);
    make_free(&file);
}

/* ---- real models ---- */

static uint32_t count_ops(const qdbg_graph *graph, const char *op_type)
{
    uint32_t n = 0;
    for (size_t i = 0; i < graph->n_nodes; i++)
        n += strcmp(graph->nodes[i].op_type, op_type) == 0;
    return n;
}

static void the_zoo_loads_with_its_nodes(void **state)
{
    static const struct {
        const char *file;
        uint32_t nodes;
        const char *op;
        uint32_t ops;
    } rows[] = {
        {"mobilenet_v1_0.25_128.onnx", 89, "Conv", 28},
        {"mobilenet_v1_0.25_128.onnx", 89, "BatchNormalization", 27},
        {"mobilenet_v1_0.25_128.onnx", 89, "Clip", 27},
        {"resnet20_cifar10.onnx", 73, "Conv", 19},
        {"kws_ds_cnn.onnx", 30, "BatchNormalization", 9},
        {"kwt1_speech_commands_12.onnx", 799, "Softmax", 12},
    };
    const char *zoo = getenv("QDBG_ZOO");
    char path[512];
    if (!zoo || access(zoo, R_OK) != 0) {
        print_message("skipped: QDBG_ZOO does not name the folder of the zoo\n");
        skip();
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qdbg_graph *graph = NULL;
        snprintf(path, sizeof path, "%s/%s", zoo, rows[i].file);
        qdbg_status status = qdbg_onnx_load_file(ctx_of(state), path, &graph);
        if (status != QDBG_OK)
            fail_msg("%s: %s", rows[i].file, qdbg_ctx_error_message(ctx_of(state)));
        assert_int_equal(qdbg_graph_node_count(graph), rows[i].nodes);
        assert_int_equal(count_ops(graph, rows[i].op), rows[i].ops);
        assert_int_equal(qdbg_graph_input_count(graph), 1);
        qdbg_graph_destroy(graph);
    }
}

typedef struct tally {
    uint32_t models, models_read, tensors, tensors_read;
} tally;

static void try_file(qdbg_ctx *ctx, const char *path, tally *t)
{
    qdbg_status status;
    size_t n = strlen(path);
    if (n > 5 && strcmp(path + n - 5, ".onnx") == 0) {
        qdbg_graph *graph = NULL;
        status = qdbg_onnx_load_file(ctx, path, &graph);
        qdbg_graph_destroy(graph);
        t->models++;
        t->models_read += status == QDBG_OK;
    } else if (n > 3 && strcmp(path + n - 3, ".pb") == 0) {
        char *bytes = malloc(1 << 24);
        FILE *file = fopen(path, "rb");
        size_t size = fread(bytes, 1, 1 << 24, file);
        qdbg_view view = QDBG_VIEW_INIT;
        fclose(file);
        status = qdbg__onnx_read_tensor(ctx, bytes, size, &view);
        if (status == QDBG_OK)
            qdbg_ctx_free(ctx, view.data,
                          (size_t)qdbg_view_count(&view) * qdbg_dtype_size(view.dtype));
        free(bytes);
        t->tensors++;
        t->tensors_read += status == QDBG_OK;
        return; /* some hold another message: a sequence or an optional */
    } else {
        return;
    }
    if (status != QDBG_OK && status != QDBG_E_UNSUPPORTED)
        fail_msg("%s: %s", path, qdbg_ctx_error_message(ctx));
}

static void try_folder(qdbg_ctx *ctx, const char *path, tally *t)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    if (!dir) {
        try_file(ctx, path, t);
        return;
    }
    while ((entry = readdir(dir))) {
        char below[1024];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        try_folder(ctx, below, t);
    }
    closedir(dir);
}

static void the_formats_own_test_data_are_read_or_unsupported(void **state)
{
    static const char data[] = "/usr/share/libonnx-testdata/data";
    tally t = {0};
    if (access(data, R_OK) != 0) {
        print_message("skipped: %s is not installed\n", data);
        skip();
    }
    try_folder(ctx_of(state), data, &t);
    print_message("models: %u of %u, tensors: %u of %u\n", t.models_read, t.models, t.tensors_read,
                  t.tensors);
    assert_true(t.models_read > 850 && t.tensors_read > 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FACT(what_is_not_a_model_is_told_with_its_place),
        FACT(a_model_cut_at_any_byte_does_no_harm),
        FACT(flipped_bytes_do_no_harm),
        FACT(every_allocation_may_fail),
        FACT(initializers_are_unpacked_one_at_a_time),
        FACT(the_memory_ceiling_is_kept),
        FACT(a_model_is_read_from_a_file),
        FACT(a_model_is_read_from_a_pipe),
        FACT(the_zoo_loads_with_its_nodes),
        FACT(the_formats_own_test_data_are_read_or_unsupported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
