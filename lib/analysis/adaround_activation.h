/* What stands behind a layer, as far as it works on each channel by itself. Layer 8. */
#ifndef QDBG_ANALYSIS_ADAROUND_ACTIVATION_H
#define QDBG_ANALYSIS_ADAROUND_ACTIVATION_H

#include "../model/model.h"
#include "adaround_linear.h"

/* A product p of output channel o comes out as f(gain p + offset), where f(z) is z, times the slope
 * where it is negative, and then held between low and high. */
typedef struct qdbg__activation {
    uint32_t node; /* of f, or QDBG_NONE: f is the identity and only gain tells: the layer's own */
    size_t n;      /* output channels */
    float *gain, *offset, *slope, *low, *high; /* [n] in one block */
} qdbg__activation;

/* Read bias, constant Add and BatchNormalization up to the first Relu, Clip, LeakyRelu or PRelu, as
 * long as one node alone reads each value. Whatever else there is means that there is no f. Free
 * with qdbg__activation_free. */
qdbg_status qdbg__activation_read(qdbg_model *m, const qdbg__linear *l, qdbg__activation *out);
void qdbg__activation_free(qdbg_ctx *ctx, qdbg__activation *a);

/* Does the layer's output have its channels along axis 1, where BatchNormalization has them? */
bool qdbg__linear_channels_second(const qdbg_graph *g, const qdbg__linear *l);

/* Is `value` a float32 parameter with a number for each of the layer's output channels, in the
 * shape that broadcasting to the layer's output wants? */
bool qdbg__linear_is_channel_param(const qdbg_graph *g, const qdbg__linear *l, uint32_t value);

#endif
