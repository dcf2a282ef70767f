/* The command line of qdebug-diagnose. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <qdebug/range.h>

#define MAX_INPUTS 16

/* Paths given for the model's inputs, in order. */
typedef struct path_list {
    const char *paths[MAX_INPUTS];
    uint32_t n;
} path_list;

/* One --mean or --std: a value, or one for each channel. */
typedef struct float_list {
    float *values; /* [n], owned */
    uint32_t n;
} float_list;

typedef struct options {
    const char *model;
    path_list inputs;
    path_list calibration;
    const char *labels; /* NULL: none, as for the outputs below */
    const char *html;
    const char *json;
    const char *csv;
    const char *rules;           /* a preset's name, or a file's, which ends in .json */
    float_list mean[MAX_INPUTS]; /* [n_mean], for the inputs in order */
    float_list std[MAX_INPUTS];
    uint32_t n_mean;
    uint32_t n_std;
    uint64_t limit; /* 0: all samples */
    double max_drop;
    uint32_t weight_bits;
    uint32_t activation_bits;
    qdbg_range_options weight_range;
    qdbg_range_options activation_range;
    uint32_t threads; /* 0: the machine's cores */
    bool nhwc;
    bool per_channel;
    bool list; /* the quantizers, instead of a diagnosis */
    bool quiet;
} options;

typedef enum options_result {
    OPTIONS_RUN,   /* a diagnosis is wanted */
    OPTIONS_DONE,  /* --help or --version was answered on stdout */
    OPTIONS_WRONG, /* one line on stderr has said why */
} options_result;

/* Parse the command line. `o` keeps pointers into argv; free it with options_free() always. */
options_result options_parse(int argc, char **argv, options *o);

void options_free(options *o);

#endif
