/* Attributes of nodes. */
#ifndef QDBG_ONNX_ATTRIBUTE_H
#define QDBG_ONNX_ATTRIBUTE_H

#include "load.h"
#include "onnx.pb-c.h"

/* The format's kinds of attributes; others exist. */
enum {
    QDBG__ONNX_ATTR_NONE = 0,
    QDBG__ONNX_ATTR_FLOAT = 1,
    QDBG__ONNX_ATTR_INT = 2,
    QDBG__ONNX_ATTR_STRING = 3,
    QDBG__ONNX_ATTR_TENSOR = 4,
    QDBG__ONNX_ATTR_GRAPH = 5,
    QDBG__ONNX_ATTR_FLOATS = 6,
    QDBG__ONNX_ATTR_INTS = 7,
    QDBG__ONNX_ATTR_GRAPHS = 10,
};

/* An attribute's kind; old files leave it to be seen from what is there. */
int32_t qdbg__onnx_attribute_kind(const Qdbg__Onnx__Attribute *attribute);

/* Fails with QDBG_E_FORMAT when it has no name or borrows its value from a function's call. `label`
 * names the node. */
qdbg_status qdbg__onnx_check_attribute(qdbg__onnx_load *load,
                                       const Qdbg__Onnx__Attribute *attribute, const char *label);

/* Give node `id` a checked attribute. A kind that a graph has no form for is left out. */
qdbg_status qdbg__onnx_set_attribute(qdbg__onnx_load *load, uint32_t id,
                                     const Qdbg__Onnx__Attribute *attribute, const char *label);

#endif
