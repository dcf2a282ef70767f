#include "windows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

int64_t product(const int64_t *list, uint32_t n)
{
    int64_t p = 1;
    for (uint32_t i = 0; i < n; i++)
        p *= list[i];
    return p;
}

static void unravel(int64_t index, const int64_t *dims, uint32_t n, int64_t *at)
{
    for (uint32_t i = n; i-- > 0;) {
        at[i] = index % dims[i];
        index /= dims[i];
    }
}

int64_t under(const geometry *g, int64_t o, int64_t k)
{
    int64_t oi[3], ki[3], at = 0;
    unravel(o, g->out, g->n_axes, oi);
    unravel(k, g->kernel, g->n_axes, ki);
    for (uint32_t i = 0; i < g->n_axes; i++) {
        int64_t p = oi[i] * g->stride[i] + ki[i] * g->dilation[i] - g->pad[i];
        if (p < 0 || p >= g->in[i])
            return -1;
        at = at * g->in[i] + p;
    }
    return at;
}

bool within_padding(const geometry *g, int64_t o, int64_t k)
{
    int64_t oi[3], ki[3];
    unravel(o, g->out, g->n_axes, oi);
    unravel(k, g->kernel, g->n_axes, ki);
    for (uint32_t i = 0; i < g->n_axes; i++) {
        int64_t p = oi[i] * g->stride[i] + ki[i] * g->dilation[i];
        if (p >= g->in[i] + g->pad[i] + g->pad_end[i])
            return false;
    }
    return true;
}

void assert_close(double want, double bound, float got)
{
    if (fabs(want - (double)got) > bound * 4e-6 + 1e-30)
        fail_msg("%.9g instead of %.9g (terms sum to %.3g)", (double)got, want, bound);
}

void random_geometry(uint64_t *seed, geometry *g, int64_t max_in)
{
    g->n_axes = (uint32_t)make_int(seed, 1, 3);
    for (uint32_t i = 0; i < g->n_axes; i++) {
        g->kernel[i] = make_int(seed, 1, g->n_axes == 3 ? 3 : 5);
        g->dilation[i] = make_int(seed, 0, 2) == 0 ? make_int(seed, 2, 3) : 1;
        g->stride[i] = make_int(seed, 1, 3);
        int64_t extent = (g->kernel[i] - 1) * g->dilation[i] + 1;
        g->pad[i] = make_int(seed, 0, 1) ? make_int(seed, 0, extent - 1) : 0;
        g->pad_end[i] = make_int(seed, 0, 1) ? make_int(seed, 0, extent - 1) : 0;
        g->in[i] = make_int(seed, 1, g->n_axes == 3 ? 7 : max_in);
        if (g->in[i] + g->pad[i] + g->pad_end[i] < extent)
            g->in[i] = extent;
        g->out[i] = (g->in[i] + g->pad[i] + g->pad_end[i] - extent) / g->stride[i] + 1;
    }
}

void set_window(qdbg_graph *graph, uint32_t node, const geometry *g)
{
    int64_t list[7];
    struct {
        const char *name;
        const int64_t *values;
    } attributes[] = {{"strides", g->stride}, {"dilations", g->dilation}};
    for (size_t a = 0; a < 2; a++) {
        memcpy(list, attributes[a].values, g->n_axes * sizeof *list);
        list[g->n_axes] = -1;
        make_ints(graph, node, attributes[a].name, list);
    }
    memcpy(list, g->pad, g->n_axes * sizeof *list);
    memcpy(list + g->n_axes, g->pad_end, g->n_axes * sizeof *list);
    list[2 * g->n_axes] = -1;
    make_ints(graph, node, "pads", list);
}

void set_kernel(qdbg_graph *graph, uint32_t node, const geometry *g)
{
    int64_t list[4];
    memcpy(list, g->kernel, g->n_axes * sizeof *list);
    list[g->n_axes] = -1;
    make_ints(graph, node, "kernel_shape", list);
}

void shape_of(int64_t a, int64_t b, const int64_t *rest, uint32_t n, int64_t *dims)
{
    dims[0] = a;
    dims[1] = b;
    memcpy(dims + 2, rest, n * sizeof *dims);
    dims[2 + n] = -1;
}

void assert_shape(const qdbg_view *view, int64_t a, int64_t b, const geometry *g)
{
    assert_int_equal(view->rank, g->n_axes + 2);
    assert_int_equal(view->dims[0], a);
    assert_int_equal(view->dims[1], b);
    for (uint32_t i = 0; i < g->n_axes; i++)
        assert_int_equal(view->dims[i + 2], g->out[i]);
}
