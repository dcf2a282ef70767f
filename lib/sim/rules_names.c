/* Entries found by name: lists of a file may be long. */
#include <string.h>

#include "rules.h"

#define MANY 32 /* fewer are looked through one by one */

static const char *name_at(const qdbg__names *names, const void *at, size_t i)
{
    const char *name;
    memcpy(&name, (const char *)at + i * names->stride, sizeof name);
    return name;
}

/* FNV-1a */
static size_t hash(const char *name)
{
    uint32_t h = 2166136261u;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return h;
}

static void put(qdbg__names *names, const char *name, size_t i)
{
    size_t slot = hash(name) & (names->capacity - 1);
    while (names->slots[slot] != 0)
        slot = (slot + 1) & (names->capacity - 1);
    names->slots[slot] = (uint32_t)i + 1;
}

size_t qdbg__names_find(const qdbg__names *names, const void *at, size_t n, const char *name)
{
    if (names->capacity == 0) {
        for (size_t i = 0; i < n; i++)
            if (strcmp(name_at(names, at, i), name) == 0)
                return i;
        return SIZE_MAX;
    }
    size_t slot = hash(name) & (names->capacity - 1);
    for (; names->slots[slot] != 0; slot = (slot + 1) & (names->capacity - 1))
        if (strcmp(name_at(names, at, names->slots[slot] - 1), name) == 0)
            return names->slots[slot] - 1;
    return SIZE_MAX;
}

qdbg_status qdbg__names_reserve(qdbg_ctx *ctx, qdbg__names *names, const void *at, size_t n)
{
    size_t capacity = 2 * MANY;
    if (n + 1 < MANY || 2 * (n + 1) <= names->capacity)
        return QDBG_OK;
    if (n >= UINT32_MAX / 4)
        return qdbg__fail(ctx, QDBG_E_LIMIT, "too many rules");
    while (capacity < 4 * (n + 1))
        capacity *= 2;
    uint32_t *slots = qdbg__alloc(ctx, capacity, sizeof *slots);
    if (!slots)
        return ctx->error_status;
    qdbg__names_drop(ctx, names);
    names->slots = slots;
    names->capacity = capacity;
    for (size_t i = 0; i < n; i++)
        put(names, name_at(names, at, i), i);
    return QDBG_OK;
}

void qdbg__names_add(qdbg__names *names, const char *name, size_t i)
{
    if (names->capacity > 0)
        put(names, name, i);
}

void qdbg__names_drop(qdbg_ctx *ctx, qdbg__names *names)
{
    qdbg__free(ctx, names->slots, names->capacity, sizeof *names->slots);
    names->slots = NULL;
    names->capacity = 0;
}
