/* From ranges and specs to grids. Layer 3. */
#ifndef QDBG_QUANT_ENCODING_H
#define QDBG_QUANT_ENCODING_H

#include <qdebug/quantizer.h>

#include "../base/ctx.h"

/* Check a spec's own fields (not the axis); `what` names the quantizer in the message. */
qdbg_status qdbg__spec_check(qdbg_ctx *ctx, const qdbg_quant_spec *spec, const char *what);

/* qdbg_encoding_from_range for arguments known to be good. */
qdbg_encoding qdbg__encoding_of_range(const qdbg_quant_spec *spec, float min, float max);

/* The integers of a spec's grid; bits 2..16. */
void qdbg__spec_integers(const qdbg_quant_spec *spec, int32_t *qmin, int32_t *qmax);

/* Low-power blocks: make the scales of one channel's blocks (blocks[0], blocks[stride], ... n of
 * them) whole multiples, up to 2^bits, of a scale that they share. */
void qdbg__low_power_scales(qdbg_encoding *blocks, size_t n, size_t stride, uint32_t bits);

#endif
