/* All kernels of one instruction set; included once by each, which defines TABLE and TABLE_NAME. */
#include "fakequant_channels.h"
#include "floats.h"
#include "histogram.h"
#include "integers.h"
#include "moments.h"
#include "range.h"
#include "sums.h"

#include "../tables.h"

const qdbg__kernels TABLE = {
    .name = TABLE_NAME,
    .fakequant = fakequant,
    .fakequant_channels = fakequant_channels,
    .range = range,
    .error = error_sums,
    .fakequant_stream = fakequant_stream,
    .fakequant_stats = fakequant_stats,
    .fakequant_float = fakequant_float,
    .quantize = quantize,
    .dequantize = dequantize,
    .divide = divide,
    .range_channels = range_channels,
    .moments = moments,
    .histogram = histogram,
};
