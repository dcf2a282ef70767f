/* Rule sets from inside. Layer 7. */
#ifndef QDBG_SIM_RULES_H
#define QDBG_SIM_RULES_H

#include <qdebug/rules.h>

#include "../graph/graph.h"

/* Where entries are by their names, which are their first members. */
typedef struct qdbg__names {
    uint32_t *slots; /* [capacity] entry + 1, or 0; NULL: there are few */
    size_t capacity; /* a power of two */
    size_t stride;   /* bytes of an entry */
} qdbg__names;

/* Number of the entry of this name among the `n` that begin at `at`, or SIZE_MAX. */
size_t qdbg__names_find(const qdbg__names *names, const void *at, size_t n, const char *name);

/* Make room for entry `n`; then tell its name, which cannot fail. */
qdbg_status qdbg__names_reserve(qdbg_ctx *ctx, qdbg__names *names, const void *at, size_t n);
void qdbg__names_add(qdbg__names *names, const char *name, size_t i);

/* Forget where entries are; they are found all the same. */
void qdbg__names_drop(qdbg_ctx *ctx, qdbg__names *names);

/* What is said of a parameter. */
typedef struct qdbg__param_entry {
    char *name;
    int32_t quantized, symmetric; /* QDBG_RULE_ */
} qdbg__param_entry;

typedef struct qdbg__param_entries {
    qdbg__param_entry *at; /* [n] */
    size_t n, capacity;
    qdbg__names names;
} qdbg__param_entries;

/* A number format that the target computes in. Kept for the file's sake. */
typedef struct qdbg__bits {
    uint32_t bits; /* 0: nothing is said */
    bool is_float;
} qdbg__bits;

typedef struct qdbg__compute {
    qdbg__bits activation, param;
} qdbg__compute;

typedef struct qdbg__computes {
    qdbg__compute *at; /* [n] */
    size_t n, capacity;
    bool said; /* an empty list is not the same as none */
} qdbg__computes;

/* What is said of an operator type. */
typedef struct qdbg__op_entry {
    char *type;
    qdbg_op_rule said;
    int32_t
        lone_end; /* QDBG__END_: the one end of the range that a file gives, kept for its sake */
    double lone;
    qdbg__param_entries params;
    qdbg__computes computes;
} qdbg__op_entry;

typedef struct qdbg__supergroup {
    char **ops; /* [n] */
    size_t n;
} qdbg__supergroup;

struct qdbg_rules {
    qdbg_ctx *ctx;
    qdbg_rule_defaults defaults;
    char *hw_version; /* or NULL */
    qdbg__computes computes;
    qdbg__param_entries params;
    qdbg__op_entry *ops; /* [n_ops] */
    size_t n_ops, ops_capacity;
    qdbg__names op_names;
    qdbg__supergroup *groups; /* [n_groups] */
    size_t n_groups, groups_capacity;
    qdbg__supergroup passes; /* names; kept for the file's sake */
};

qdbg_status qdbg__rules_new(qdbg_ctx *ctx, qdbg_rules **out);

/* What is said of an operator type, or NULL; or made where it is not there, NULL with the failure
 * recorded. */
const qdbg__op_entry *qdbg__rules_find_op(const qdbg_rules *rules, const char *op_type);
qdbg__op_entry *qdbg__rules_op(qdbg_rules *rules, const char *op_type);

const qdbg__param_entry *qdbg__rules_find_param(const qdbg__param_entries *entries,
                                                const char *name);
qdbg__param_entry *qdbg__rules_param(qdbg_ctx *ctx, qdbg__param_entries *entries, const char *name);

/* Replace the names of passes. */
qdbg_status qdbg__rules_set_passes(qdbg_rules *rules, const char *const *names, size_t n);

bool qdbg__op_says_nothing(const qdbg__op_entry *op);

/* Forget the operator types that `is_lost`, which may change them, tells of. */
void qdbg__rules_sift(qdbg_rules *rules, bool (*is_lost)(qdbg__op_entry *op));

/* The first bad field of a rule, or NULL. */
const char *qdbg__rule_defaults_fault(const qdbg_rule_defaults *defaults);
const char *qdbg__op_rule_fault(const qdbg_op_rule *rule);
const char *qdbg__param_rule_fault(const qdbg_param_rule *rule);

/* Log a warning for each operator type and parameter that neither the library nor the graph has. */
void qdbg__rules_warn(const qdbg_rules *rules, const qdbg_graph *graph);

qdbg_status qdbg__rules_add_compute(qdbg_ctx *ctx, qdbg__computes *computes, qdbg__compute compute);

/* Say what a preset says; `rules` are new. QDBG_E_NOT_FOUND for an unknown one. */
qdbg_status qdbg__rules_fill(qdbg_rules *rules, const char *preset);

/* The preset that `rules` are equal to (NULL: "default"), or "custom": constants. */
qdbg_status qdbg__rules_name(qdbg_ctx *ctx, const qdbg_rules *rules, const char **name);

#endif
