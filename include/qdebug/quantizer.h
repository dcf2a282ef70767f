/**
 * @file quantizer.h
 * What a quantizer is: its specification and its grid.
 *
 * Integer grids follow ONNX QuantizeLinear and DequantizeLinear, in float32:
 *
 *     x_q = clamp(round(x / scale) + zero_point, qmin, qmax)
 *     x^  = (x_q - zero_point) * scale
 *
 * The division is exactly rounded; NaN stays NaN; an infinity becomes the end of the range.
 *
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_QUANTIZER_H
#define QDEBUG_QUANTIZER_H

#include <qdebug/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QDBG_ROUND_NEAREST_EVEN 0 /**< ties to even (ONNX, PyTorch); the default */
#define QDBG_ROUND_NEAREST_UP 1   /**< ties up on the grid (AIMET) */
#define QDBG_ROUND_NEAREST_AWAY 2 /**< ties away from zero (TFLite) */

#define QDBG_ASYMMETRIC 0       /**< zero_point anywhere in the grid; the default */
#define QDBG_SYMMETRIC 1        /**< zero_point 0 (signed), all 2^bits levels */
#define QDBG_STRICT_SYMMETRIC 2 /**< zero_point 0, qmin = -qmax: 2^bits - 1 levels */

#define QDBG_UNSIGNED 0 /**< integers 0 .. 2^bits - 1; the default */
#define QDBG_SIGNED 1   /**< integers -2^(bits-1) .. 2^(bits-1) - 1 */

#define QDBG_PER_TENSOR 0  /**< one scale; the default */
#define QDBG_PER_CHANNEL 1 /**< a scale for each index of `axis` */
#define QDBG_PER_BLOCK                                                         \
    2 /**< a scale for every `block_size` steps along `axis`, at each index of \
         the other axes: ONNX's blocked quantization */

/** The scale is a power of two: the smallest that covers the range, or the best of them where a
 * range method searches. */
#define QDBG_SPEC_POWER_OF_TWO 1u

/** Bits that mean "leave the tensor in float32". */
#define QDBG_BITS_BYPASS 32

/** How a tensor is quantized. */
typedef struct qdbg_quant_spec {
    uint32_t struct_size;      /**< sizeof(qdbg_quant_spec) */
    uint32_t bits;             /**< 2..16, or QDBG_BITS_BYPASS */
    int32_t symmetry;          /**< QDBG_ASYMMETRIC ... Symmetric unsigned is for data that has no
                                    negative values: zero_point 0, integers from 0 */
    int32_t is_signed;         /**< QDBG_UNSIGNED or QDBG_SIGNED */
    int32_t granularity;       /**< QDBG_PER_TENSOR ... */
    int32_t axis;              /**< of QDBG_PER_CHANNEL and QDBG_PER_BLOCK; negative counts from the
                                    end */
    int32_t rounding;          /**< QDBG_ROUND_ */
    uint32_t flags;            /**< QDBG_SPEC_ bits */
    uint32_t block_size;       /**< of QDBG_PER_BLOCK, at least 1; the last block of an axis may be
                                    smaller */
    uint32_t block_scale_bits; /**< 0: every block has a float scale. 1..15 makes QDBG_PER_BLOCK
                               low-power: see qdbg_encoding.block_scale. Symmetric specs only */
} qdbg_quant_spec;

#define QDBG_QUANT_SPEC_INIT                                         \
    {                                                                \
        (uint32_t)sizeof(qdbg_quant_spec), 8, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*spec` to QDBG_QUANT_SPEC_INIT: 8 bits, asymmetric, unsigned, per tensor. NULL is ignored.
 */
QDBG_API void qdbg_quant_spec_init(qdbg_quant_spec *spec);

/** One scale's worth of an encoding. */
typedef struct qdbg_encoding {
    uint32_t struct_size; /**< sizeof(qdbg_encoding) */
    int32_t zero_point;   /**< integer that stands for 0.0; qmin <= zero_point <= qmax */
    float scale;          /**< > 0, finite, normal */
    int32_t qmin;         /**< smallest integer */
    int32_t qmax;         /**< largest integer */
    float min;            /**< (qmin - zero_point) * scale */
    float max;            /**< (qmax - zero_point) * scale */
    uint32_t block_scale; /**< low-power blocks: the whole number that `scale` is of the channel's
                               scale, 1 .. 2^block_scale_bits. The channel's scale, that of its
                               coarsest block / 2^block_scale_bits, is shared by the blocks along
                               `axis`; an integer engine multiplies by whole numbers inside the sum
                               over them. Elsewhere 0 */
} qdbg_encoding;

#define QDBG_ENCODING_INIT                                   \
    {                                                        \
        (uint32_t)sizeof(qdbg_encoding), 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*encoding` to QDBG_ENCODING_INIT. NULL is ignored. */
QDBG_API void qdbg_encoding_init(qdbg_encoding *encoding);

/**
 * The grid that covers [min, max] under `spec` (bits, symmetry, sign are read).
 *
 * The range is first widened to contain 0. Asymmetric: scale = (max - min) / (qmax - qmin),
 * zero_point = round-half-even(qmin - min / scale) with the scale before it is rounded to float32,
 * so that 0 is exact and either end may move by half a step. Symmetric: scale = max(|min|, |max|) /
 * qmax (for unsigned: max / qmax; negative values are clipped). A range too small for a normal
 * float32 scale gets the smallest normal one; near FLT_MAX the scale is lowered so far that the
 * grid's ends stay finite. With QDBG_SPEC_POWER_OF_TWO the scale is then raised to the next power
 * of two (lowered, where it would pass float32).
 *
 * @param ctx       gets the error's details
 * @param spec      bits 2..16; bits, symmetry, sign and flags are read
 * @param min,max   finite, min <= max
 * @param encoding  receives the grid; struct_size must be set
 * @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size, a field of spec, min > max);
 *         QDBG_E_NUMERIC (min or max is not finite)
 */
QDBG_API qdbg_status qdbg_encoding_from_range(qdbg_ctx *ctx, const qdbg_quant_spec *spec, float min,
                                              float max, qdbg_encoding *encoding);

/**
 * Fake-quantize `n` floats on one grid: dst[i] = dequantize(quantize(src[i])).
 *
 * @param ctx       not used by another thread during the call
 * @param encoding  scale > 0, finite and normal; qmin < qmax; zero_point within them
 * @param rounding  QDBG_ROUND_
 * @param src       [n] float32, aligned as a float is; may equal dst, may not partly overlap it
 * @param dst       [n] float32, caller-owned; untouched on error
 * @param n         elements; 0 is allowed
 * @return QDBG_OK; QDBG_E_INVALID (NULL, a bad field, overlap)
 */
QDBG_API qdbg_status qdbg_fakequant_f32(qdbg_ctx *ctx, const qdbg_encoding *encoding,
                                        int32_t rounding, const float *src, float *dst, size_t n);

#ifdef __cplusplus
}
#endif

#endif
