/* The graph's own lists of values: initializers, inputs, outputs. */
#ifndef QDBG_ONNX_VALUE_H
#define QDBG_ONNX_VALUE_H

#include "load.h"

/* First: an input that repeats an initializer is no input. */
qdbg_status qdbg__onnx_add_initializers(qdbg__onnx_load *load);

qdbg_status qdbg__onnx_add_inputs(qdbg__onnx_load *load);

/* Last, when every value is there. */
qdbg_status qdbg__onnx_add_outputs(qdbg__onnx_load *load);

#endif
