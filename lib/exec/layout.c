/* Where values lie in a buffer: places are handed out in the order of the steps and given back when
 * a value has been read for the last time, so that later values find memory that is still warm. */
#include "program.h"

#define ALIGN ((size_t)64)

typedef struct arena {
    qdbg__hole *holes; /* free stretches below `end`, by address, none touching another */
    size_t n;
    size_t end;
} arena;

static void remove_hole(arena *a, size_t i)
{
    a->n--;
    for (; i < a->n; i++)
        a->holes[i] = a->holes[i + 1];
}

/* The smallest hole that holds `size`; else at the end. SIZE_MAX when that overflows. */
static size_t take(arena *a, size_t size)
{
    size_t best = a->n;
    for (size_t i = 0; i < a->n; i++) {
        if (a->holes[i].size >= size && (best == a->n || a->holes[i].size < a->holes[best].size))
            best = i;
    }
    if (best == a->n) {
        if (a->n > 0 && a->holes[a->n - 1].at + a->holes[a->n - 1].size == a->end)
            a->end = a->holes[--a->n].at;
        if (size > SIZE_MAX / 4 - a->end)
            return SIZE_MAX;
        a->end += size;
        return a->end - size;
    }
    size_t at = a->holes[best].at;
    a->holes[best].at += size;
    a->holes[best].size -= size;
    if (a->holes[best].size == 0)
        remove_hole(a, best);
    return at;
}

static void give(arena *a, size_t at, size_t size)
{
    size_t i = 0;
    while (i < a->n && a->holes[i].at < at)
        i++;
    bool joins_left = i > 0 && a->holes[i - 1].at + a->holes[i - 1].size == at;
    bool joins_right = i < a->n && at + size == a->holes[i].at;
    if (joins_left && joins_right) {
        a->holes[i - 1].size += size + a->holes[i].size;
        remove_hole(a, i);
    } else if (joins_left) {
        a->holes[i - 1].size += size;
    } else if (joins_right) {
        a->holes[i].at = at;
        a->holes[i].size += size;
    } else {
        for (size_t j = a->n++; j > i; j--)
            a->holes[j] = a->holes[j - 1];
        a->holes[i] = (qdbg__hole){at, size};
    }
}

typedef struct layout {
    const qdbg__exec *exec;
    const uint8_t *flags;
    size_t *at;
    arena arena;
} layout;

static size_t room(const layout *l, uint32_t v)
{
    size_t bytes = l->exec->lives[v].bytes;
    if (bytes > SIZE_MAX / 4)
        return SIZE_MAX;
    return bytes > 0 ? (bytes + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
}

static bool listed(const uint32_t *values, uint32_t n, uint32_t v)
{
    for (uint32_t i = 0; i < n; i++) {
        if (values[i] == v)
            return true;
    }
    return false;
}

/* Whether value `v`, read or written by step `s`, gives its place back after it. */
static bool dies(const layout *l, uint32_t v, uint32_t s)
{
    return v != QDBG_NONE && l->flags[v] == QDBG__PLACE && l->exec->lives[v].last == s;
}

/* Whether a step's first output can take over the place of its first input. */
static bool takes_over(const layout *l, const qdbg__node *node, uint32_t s)
{
    if (!(node->op->flags & QDBG__OP_IN_PLACE) || node->n_in == 0 || node->out[0] == QDBG_NONE)
        return false;
    uint32_t in = node->in[0], out = node->out[0];
    const qdbg__fact *facts = l->exec->facts.values;
    return dies(l, in, s) && l->flags[out] &&
           l->exec->lives[in].bytes == l->exec->lives[out].bytes &&
           facts[in].view.dtype == facts[out].view.dtype &&
           !listed(node->in + 1, node->n_in - 1, in);
}

static bool place(layout *l, uint32_t v)
{
    if (v == QDBG_NONE || !l->flags[v])
        return true;
    l->at[v] = take(&l->arena, room(l, v));
    return l->at[v] != SIZE_MAX;
}

static bool place_step(layout *l, uint32_t s)
{
    const qdbg__node *node = &l->exec->graph->nodes[l->exec->steps[s].node];
    bool taken = takes_over(l, node, s);
    if (taken)
        l->at[node->out[0]] = l->at[node->in[0]];
    for (uint32_t i = taken ? 1 : 0; i < node->n_out; i++) {
        if (!place(l, node->out[i]))
            return false;
    }
    for (uint32_t i = taken ? 1 : 0; i < node->n_in; i++) {
        uint32_t v = node->in[i];
        if (dies(l, v, s) && !listed(node->in, i, v))
            give(&l->arena, l->at[v], room(l, v));
    }
    for (uint32_t i = 0; i < node->n_out; i++) { /* results that nothing reads */
        if (dies(l, node->out[i], s))
            give(&l->arena, l->at[node->out[i]], room(l, node->out[i]));
    }
    return true;
}

qdbg_status qdbg__layout_make(qdbg__exec *exec, const uint8_t *flags, size_t *at, size_t *total)
{
    layout l = {exec, flags, at, {exec->holes, 0, 0}};
    bool fits = true;
    for (size_t v = 0; v < exec->graph->n_values && fits; v++) {
        if (exec->lives[v].first == QDBG_NONE)
            fits = place(&l, (uint32_t)v);
    }
    for (size_t s = 0; s < exec->n_steps && fits; s++)
        fits = place_step(&l, (uint32_t)s);
    if (!fits)
        return qdbg__fail(exec->ctx, QDBG_E_LIMIT, "the values of a run pass the address space");
    *total = l.arena.end;
    return QDBG_OK;
}
