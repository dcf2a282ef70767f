/* Memory runs out: every public function that allocates is called with its 1st, 2nd, 3rd ...
 * allocation failing, until it succeeds; once with that one alone failing and once with all later
 * ones, too. Each time it says QDBG_E_NOMEM, leaves its out-parameters, leaks nothing, and works
 * when it is called again. The same under ceilings of the context's own: QDBG_E_LIMIT. */
#ifndef TESTS_OOM_OOM_H
#define TESTS_OOM_OOM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "../graph_make.h"
#include "../support.h"

#define UNTOUCHED ((void *)&untouched)
extern const char untouched;

/* What calls work on and write to. Whatever is NULL is not there. */
typedef struct world {
    heap h;
    qdbg_ctx *ctx;
    qdbg_graph *g;
    engine e;
    bool has_engine;
    qdbg_model *m;
    samples s;
    qdbg_sim *sim;
    qdbg_diagnosis *d;
    qdbg_metric metric;
    qdbg_rules *rules;
    /* outs */
    void *out; /* an object made by the call */
    double score;
    uint32_t id;
    uint64_t hash; /* of what else came out */
} world;

typedef struct scenario {
    const char *name;
    void (*prepare)(world *w);
    qdbg_status (*call)(world *w);
    void (*drop)(world *w);   /* w->out, when the call made one; may be NULL */
    void (*intact)(world *w); /* what must hold after a failure; may be NULL */
    bool once;                /* cannot be called again after a failure */
} scenario;

void reset_outs(world *w);

/* Call with every allocation failing in turn. */
void run_out_of_memory(const scenario *all, size_t n);
#define RUN_ALL(all) run_out_of_memory(all, sizeof(all) / sizeof *(all))

uint64_t hash_of(const void *data, size_t n);

/* Worlds to prepare. */
void with_nothing(world *w);
void with_graph(world *w);
void with_builtin(world *w);
void with_host(world *w);
void with_unplanned(world *w); /* the input's shape is not known before the first run */
void with_sim(world *w);
void with_host_sim(world *w);
void with_calibrated(world *w);
void with_calibrated_host(world *w);

#endif
