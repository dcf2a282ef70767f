/* Linear layers seen from their channels: which weights make an output channel, which read an input
 * channel, where the bias is. Layer 4. */
#ifndef QDBG_GRAPH_LAYER_H
#define QDBG_GRAPH_LAYER_H

#include "graph.h"

/* Parameters of BatchNormalization, by input number. */
enum { QDBG__BN_GAMMA = 1, QDBG__BN_BETA = 2, QDBG__BN_MEAN = 3, QDBG__BN_VAR = 4 };

/* Conv, ConvTranspose, Gemm, or MatMul with the constant on the right. */
typedef struct qdbg__layer {
    uint32_t node, weight, input, output;
    uint32_t bias;   /* input 2, or QDBG_NONE; its elements may not be one for each channel */
    uint32_t norm;   /* BatchNormalization that alone reads the output; node or QDBG_NONE */
    uint32_t result; /* the value behind `norm`, else the output */
    bool own_weight; /* nothing else reads the weight */
    bool own_bias;   /* there is a bias, one for each channel, and nothing else reads it */
    size_t outs, ins, groups, taps; /* channels of all groups; taps of a window */
    size_t second;                  /* channels of a group along the weight's second axis */
    bool out_first;                 /* its first axis is the output's */
    size_t n_weights;
} qdbg__layer;

/* False where the node is no such layer, or its weight is not a constant of float32. */
bool qdbg__layer_read(const qdbg_graph *graph, uint32_t node, qdbg__layer *out);

/* Channel that weight element `i` belongs to. */
size_t qdbg__layer_out(const qdbg__layer *layer, size_t i);
size_t qdbg__layer_in(const qdbg__layer *layer, size_t i);

bool qdbg__layer_is_depthwise(const qdbg__layer *layer); /* one input channel to each output's */

/* Do some of its outputs miss a part of the sum, as at padded borders? Then adding a number to an
 * input channel is not the same as adding one to the outputs. */
bool qdbg__layer_has_borders(const qdbg_graph *graph, const qdbg__layer *layer);

/* The parameter by which a number can be added to each channel of the output: the layer's bias, the
 * shift of the BatchNormalization or the constant Add behind it; QDBG_NONE where there is none.
 * Adding *unit to it adds 1 to the output, times the normalization's scale where *by_norm. */
uint32_t qdbg__layer_bias_site(const qdbg_graph *graph, const qdbg__layer *layer, double *unit,
                               bool *by_norm);

/* Input number `input` is a float32 parameter that only this use reads. */
bool qdbg__own_param(const qdbg_graph *graph, const qdbg__node *node, uint32_t input);

/* Is `value` a float32 parameter with one element for each of `channels`, which lie along axis 1 of
 * a tensor of that rank that it is broadcast to? */
bool qdbg__is_channel_param(const qdbg_graph *graph, uint32_t value, uint32_t rank,
                            size_t channels);

/* Number of channels of a value [N, C, ...]; 0 where it is not known. */
size_t qdbg__channels_of(const qdbg_graph *graph, uint32_t value);

/* May BatchNormalization `node` be seen as one multiply and add a channel? */
bool qdbg__norm_is_constant(const qdbg_graph *graph, const qdbg__node *node, size_t channels);

#endif
