/* Which table a context uses. */
#include "ref.h"
#include "tables.h"

static const qdbg__kernels reference = {
    .name = "reference",
    .fakequant = qdbg__fakequant_ref,
    .fakequant_channels = qdbg__fakequant_channels_ref,
    .range = qdbg__range_ref,
    .error = qdbg__error_ref,
    .fakequant_stream = qdbg__fakequant_ref,
    .fakequant_stats = qdbg__fakequant_stats_ref,
    .fakequant_float = qdbg__fakequant_float_ref,
    .quantize = qdbg__quantize_ref,
    .dequantize = qdbg__dequantize_ref,
    .divide = qdbg__divide_ref,
    .range_channels = qdbg__range_channels_ref,
    .moments = qdbg__moments_ref,
    .histogram = qdbg__histogram_ref,
};

const qdbg__kernels *qdbg__kernels_level(int32_t level)
{
    switch (level) {
#ifdef QDBG_HAVE_X86
    case QDBG_CPU_AVX2:
        return &qdbg__kernels_avx2;
    case QDBG_CPU_AVX512:
        return &qdbg__kernels_avx512;
#endif
#ifdef QDBG_HAVE_NEON
    case QDBG_CPU_NEON:
        return &qdbg__kernels_neon;
#endif
    default:
        return &reference;
    }
}

const qdbg__kernels *qdbg__kernels_of(const qdbg_ctx *ctx)
{
    return qdbg__kernels_level(ctx->cpu_level);
}
