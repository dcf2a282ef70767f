/* Small graphs and simulations of them under rules, for the tests of placement. Every helper
 * asserts that it succeeds. */
#ifndef TESTS_RULES_MAKE_H
#define TESTS_RULES_MAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

/* What every test has; made by rules_begin. */
typedef struct rules_world {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    qdbg_rules *rules; /* the preset "default" until rules_preset */
    uint64_t seed;
    engine e;
    qdbg_model *m;
    qdbg_sim *sim;
} rules_world;

int rules_begin(void **state);
int rules_end(void **state);

/* Replace the rules. */
void rules_preset(rules_world *w, const char *preset);
void rules_json(rules_world *w, const char *json);
/* Say one thing of an operator type, the rest staying as it is. */
void rules_output(rules_world *w, const char *op, int32_t answer);
void rules_input(rules_world *w, const char *op);
void rules_sharing(rules_world *w, const char *op, int32_t sharing);
void rules_range(rules_world *w, const char *op, double min, double max);
void rules_param(rules_world *w, const char *op, const char *param, int32_t quantized);

/* ---- graphs ---- */

uint32_t rules_image(rules_world *w, const char *name); /* input [1, 4, 6, 6] */
/* A 3x3 convolution from 4 to 4 channels that keeps the size; weight "<name>.w" and, with `bias`,
 * bias "<name>.b". */
uint32_t rules_conv(rules_world *w, const char *name, uint32_t x, bool bias);
uint32_t rules_one(rules_world *w, const char *op, const char *name, uint32_t x);
uint32_t rules_pool(rules_world *w, const char *op, const char *name, uint32_t x); /* 2x2 */
uint32_t rules_two(rules_world *w, const char *op, const char *name, uint32_t a, uint32_t b);
/* Parameters "<name>.gamma", ".beta", ".mean", ".var". */
uint32_t rules_norm(rules_world *w, const char *name, uint32_t x);
/* Along axis 1. */
uint32_t rules_concat(rules_world *w, const char *name, const uint32_t *values, uint32_t n);

/* ---- simulations ---- */

/* Finish the graph and make w->sim on a host model (which need not run) or a built-in one. */
void rules_host_sim(rules_world *w, uint32_t output);
void rules_sim(rules_world *w, uint32_t output);

/* 12 samples of the first input, calibrated on. The same each time. */
void rules_calibrate(rules_world *w);

/* What the first output is for these 12 samples with the enabled quantizers at work: `n` floats,
 * freed with free(). */
float *rules_run(rules_world *w, size_t n);

/* All quantizers in order: "name" of an activation, "name=first" where it shares the encoding of
 * `first`, "name[axis]" of a weight, "name{input,weight}" of a bias. */
void rules_expect(rules_world *w, const char *want);

qdbg_quantizer_info rules_info(rules_world *w, const char *name);
qdbg_encoding rules_encoding(rules_world *w, const char *name, uint32_t channel);
/* The value has no quantizer, for this reason, which reads so. */
void rules_expect_absent(rules_world *w, const char *value, int32_t reason, const char *text);

#define TEST(f) cmocka_unit_test_setup_teardown(f, rules_begin, rules_end)

#endif
