#define _XOPEN_SOURCE 700 /* mkdtemp */
#include "onnx_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a context whose every byte is counted ---- */

#define GUARD 64

static void *counted_alloc(void *user, size_t size, size_t align)
{
    counter *c = user;
    long call = c->calls++;
    if (c->fail_at >= 0 && (call == c->fail_at || (c->for_good && call > c->fail_at)))
        return NULL;
    char *block = aligned_alloc(GUARD, (size + GUARD + align - 1) / align * align);
    assert_non_null(block);
    memcpy(block, &size, sizeof size);
    c->blocks++;
    return block + GUARD;
}

static void counted_free(void *user, void *ptr, size_t size, size_t align)
{
    counter *c = user;
    size_t asked;
    (void)align;
    memcpy(&asked, (char *)ptr - GUARD, sizeof asked);
    assert_int_equal(asked, size);
    c->blocks--;
    free((char *)ptr - GUARD);
}

int start_limited(void **state, uint64_t memory_limit)
{
    world *w = calloc(1, sizeof *w);
    w->memory.fail_at = -1;
    qdbg_allocator allocator = {sizeof allocator, 0, &w->memory, counted_alloc, counted_free};
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    options.allocator = &allocator;
    options.threads = 1;
    options.memory_limit = memory_limit;
    *state = w;
    return qdbg_ctx_create(&options, &w->ctx) == QDBG_OK ? 0 : -1;
}

int start(void **state)
{
    return start_limited(state, 0);
}

int stop(void **state)
{
    world *w = *state;
    qdbg_ctx_destroy(w->ctx);
    bool leaked = w->memory.blocks != 0;
    free(w);
    return leaked ? -1 : 0;
}

qdbg_ctx *ctx_of(void **state)
{
    return ((world *)*state)->ctx;
}

/* ---- loads ---- */

qdbg_graph *must_load(qdbg_ctx *ctx, make_buf file)
{
    qdbg_graph *graph = NULL;
    qdbg_status status = qdbg_onnx_load_memory(ctx, file.data, file.size, NULL, &graph);
    if (status != QDBG_OK)
        fail_msg("%s: %s", qdbg_status_name(status), qdbg_ctx_error_message(ctx));
    make_free(&file);
    return graph;
}

void must_say(qdbg_ctx *ctx, const char *text)
{
    if (!strstr(qdbg_ctx_error_message(ctx), text))
        fail_msg("expected '%s' in '%s'", text, qdbg_ctx_error_message(ctx));
}

void must_fail_in(qdbg_ctx *ctx, make_buf file, const char *folder, qdbg_status status,
                  const char *text)
{
    qdbg_graph *untouched = (qdbg_graph *)&file, *graph = untouched;
    uint64_t before, after;
    qdbg_ctx_memory(ctx, &before, NULL);
    qdbg_status got = qdbg_onnx_load_memory(ctx, file.data, file.size, folder, &graph);
    qdbg_ctx_memory(ctx, &after, NULL);
    if (got != status)
        fail_msg("expected %s, got %s: %s", qdbg_status_name(status), qdbg_status_name(got),
                 qdbg_ctx_error_message(ctx));
    must_say(ctx, text);
    assert_ptr_equal(graph, untouched);
    assert_int_equal(before, after);
    make_free(&file);
}

void must_fail(qdbg_ctx *ctx, make_buf file, qdbg_status status, const char *text)
{
    must_fail_in(ctx, file, NULL, status, text);
}

void must_name(qdbg_ctx *ctx, const char *node, const char *value)
{
    qdbg_error_info info = QDBG_ERROR_INFO_INIT;
    assert_int_equal(qdbg_ctx_error(ctx, &info), QDBG_OK);
    if (node)
        assert_string_equal(info.node, node);
    if (value)
        assert_string_equal(info.value, value);
}

void begin_relu(make_model *m)
{
    make_begin(m, 13);
    make_add_input(m, make_value("x", QDBG_F32, "N,4"));
    make_add_node(m, make_node("Relu", "relu", "x", "y"));
    make_add_output(m, make_value("y", QDBG_F32, NULL));
}

qdbg_value_info value_named(const qdbg_graph *graph, const char *name)
{
    qdbg_value_info info = QDBG_VALUE_INFO_INIT;
    uint32_t id = qdbg_graph_find_value(graph, name);
    assert_int_not_equal(id, QDBG_NONE);
    assert_int_equal(qdbg_graph_value(graph, id, &info), QDBG_OK);
    return info;
}

void must_hold(const qdbg_graph *graph, const char *name, int32_t dtype, const void *data,
               size_t size)
{
    qdbg_view view = QDBG_VIEW_INIT;
    uint32_t id = qdbg_graph_find_value(graph, name);
    assert_int_equal(qdbg_graph_parameter(graph, id, &view), QDBG_OK);
    assert_int_equal(view.dtype, dtype);
    assert_int_equal(qdbg_view_count(&view) * qdbg_dtype_size(dtype), size);
    if (size > 0)
        assert_memory_equal(view.data, data, size);
}

const qdbg__node *node_named(const qdbg_graph *graph, const char *name)
{
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (strcmp(graph->nodes[i].name, name) == 0)
            return &graph->nodes[i];
    fail_msg("no node '%s'", name);
    return NULL;
}

make_buf model_of(make_buf tensor)
{
    make_model m;
    begin_relu(&m);
    make_add_initializer(&m, tensor);
    return make_end(&m);
}

void add_unknown(make_buf *b)
{
    make_int(b, 900, -1);
    make_double(b, 901, 1.5);
    make_bytes(b, 902, "\xff\xff\xff", 3);
    make_float(b, 903, 1.5f);
}

make_buf rich_model(void)
{
    make_model m;
    float w[4] = {1, 2, 3, 4};
    make_begin(&m, 13);
    make_add_input(&m, make_value("x", QDBG_F32, "N,4"));
    make_add_input(&m, make_value("w", QDBG_F32, "4"));
    make_add_initializer(&m, make_tensor_raw("w", QDBG_F32, "4", w, sizeof w));
    make_buf typed = make_tensor("typed", QDBG_U8, "3");
    make_packed(&typed, 5, (int64_t[]){1, 200, 3}, 3);
    make_add_initializer(&m, typed);
    make_buf constant = make_node("Constant", NULL, NULL, "c");
    make_buf a = make_attribute("value", 4);
    make_buf t = make_tensor("", QDBG_F32, "");
    make_float(&t, 4, 6);
    make_part(&a, 5, &t);
    make_part(&constant, 5, &a);
    make_add_node(&m, constant);
    make_add_node(&m, make_node("Add", "add", "x,w", "s"));
    make_add_node(&m, make_node("Clip", "clip", "s,,c", "t"));
    make_buf foreign = make_node("Op", "op", "t,typed", "u,v");
    make_attribute_int(&foreign, "axis", -1);
    a = make_attribute("ints", 7);
    make_packed(&a, 8, (int64_t[]){1, 2}, 2);
    make_part(&foreign, 5, &a);
    a = make_attribute("mode", 3);
    make_text(&a, 4, "linear");
    make_part(&foreign, 5, &a);
    a = make_attribute("floats", 6);
    make_float(&a, 7, 0.5f);
    make_part(&foreign, 5, &a);
    make_text(&foreign, 7, "acme");
    make_add_node(&m, foreign);
    make_add_output(&m, make_value("u", QDBG_F32, "N,4"));
    add_unknown(&m.graph);
    make_buf function = {0};
    make_text(&function, 1, "fn");
    make_text(&function, 10, "pkg");
    make_part(&m.rest, 25, &function);
    return make_end(&m);
}

temp_folder make_folder(void)
{
    temp_folder f;
    strcpy(f.path, "/tmp/test_onnx.XXXXXX");
    assert_non_null(mkdtemp(f.path));
    return f;
}

const char *inside(temp_folder *f, const char *name)
{
    snprintf(f->file, sizeof f->file, "%s/%s", f->path, name);
    return f->file;
}

void write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}
