#include "encoding.h"

#include <float.h>
#include <math.h>

#include "fakequant.h"

void qdbg_quant_spec_init(qdbg_quant_spec *spec)
{
    if (spec)
        *spec = (qdbg_quant_spec)QDBG_QUANT_SPEC_INIT;
}

void qdbg_encoding_init(qdbg_encoding *encoding)
{
    if (encoding)
        *encoding = (qdbg_encoding)QDBG_ENCODING_INIT;
}

static const char *spec_fault(const qdbg_quant_spec *s)
{
    if (s->struct_size != sizeof *s)
        return "struct_size is wrong";
    if (s->bits != QDBG_BITS_BYPASS && (s->bits < 2 || s->bits > 16))
        return "bits must be 2..16, or 32 for bypass";
    if (s->symmetry < QDBG_ASYMMETRIC || s->symmetry > QDBG_STRICT_SYMMETRIC)
        return "symmetry is unknown";
    if (s->is_signed != QDBG_UNSIGNED && s->is_signed != QDBG_SIGNED)
        return "is_signed must be 0 or 1";
    if (s->granularity < QDBG_PER_TENSOR || s->granularity > QDBG_PER_BLOCK)
        return "granularity is unknown";
    if (s->rounding < QDBG_ROUND_NEAREST_EVEN || s->rounding > QDBG_ROUND_NEAREST_AWAY)
        return "rounding is unknown";
    if (s->flags & ~QDBG_SPEC_POWER_OF_TWO)
        return "flags are unknown";
    if (s->granularity == QDBG_PER_BLOCK && s->block_size == 0)
        return "blocks need a block_size";
    if (s->block_scale_bits > 15)
        return "block_scale_bits must be 0..15";
    if (s->block_scale_bits > 0 && s->symmetry == QDBG_ASYMMETRIC)
        return "block_scale_bits need a symmetric grid";
    return NULL;
}

qdbg_status qdbg__spec_check(qdbg_ctx *ctx, const qdbg_quant_spec *spec, const char *what)
{
    const char *fault = spec ? spec_fault(spec) : "it is NULL";
    if (!fault)
        return QDBG_OK;
    return qdbg__fail(ctx, QDBG_E_INVALID, "%s: bad specification: %s", what, fault);
}

void qdbg__spec_integers(const qdbg_quant_spec *spec, int32_t *qmin, int32_t *qmax)
{
    int32_t levels = (int32_t)1 << spec->bits;
    *qmin = spec->is_signed ? -(levels / 2) : 0;
    *qmax = *qmin + levels - 1;
    if (spec->is_signed && spec->symmetry == QDBG_STRICT_SYMMETRIC)
        *qmin = -*qmax;
}

static float normal_scale(double scale)
{
    return scale >= (double)FLT_MIN ? (float)scale : FLT_MIN;
}

/* The next power of two at or above a normal scale, or below where float32 ends. */
static float power_of_two(float scale)
{
    int exponent;
    float fraction = frexpf(scale, &exponent); /* 0.5 <= fraction < 1 */
    return ldexpf(1.0f, fraction == 0.5f || exponent == FLT_MAX_EXP ? exponent - 1 : exponent);
}

/* Near FLT_MAX the half step that rounding adds would make an end infinite. */
static float finite_scale(float scale, const qdbg_encoding *e)
{
    int32_t below = e->zero_point - e->qmin, above = e->qmax - e->zero_point;
    float reach = (float)(below > above ? below : above), largest = FLT_MAX / reach;
    if (isinf(largest * reach))
        largest = nextafterf(largest, 0.0f);
    return scale > largest ? largest : scale;
}

static float final_scale(float scale, const qdbg_quant_spec *spec, const qdbg_encoding *e)
{
    if (!(spec->flags & QDBG_SPEC_POWER_OF_TWO))
        return finite_scale(scale, e);
    float largest = finite_scale(FLT_MAX, e);
    scale = power_of_two(scale);
    while (scale > largest)
        scale /= 2;
    return scale;
}

/* qmin - lo / scale, from the range itself and not from the rounded scale: [-a, a] is a tie
 * whatever a is. */
static int32_t zero_point_of(const qdbg_quant_spec *spec, const qdbg_encoding *e, double lo,
                             double hi)
{
    double steps = (double)(e->qmax - e->qmin), exact = (hi - lo) / steps;
    double below = exact < (double)FLT_MIN ? lo / (double)FLT_MIN : lo * steps / (hi - lo);
    if (spec->flags & QDBG_SPEC_POWER_OF_TWO)
        below = lo / (double)power_of_two(normal_scale(exact));
    double at = rint((double)e->qmin - below);
    return at > (double)e->qmax ? e->qmax : (int32_t)at;
}

qdbg_encoding qdbg__encoding_of_range(const qdbg_quant_spec *spec, float min, float max)
{
    qdbg_encoding e = QDBG_ENCODING_INIT;
    qdbg__spec_integers(spec, &e.qmin, &e.qmax);
    double lo = min < 0 ? (double)min : 0.0, hi = max > 0 ? (double)max : 0.0;
    double end = hi, steps = (double)e.qmax;
    if (spec->symmetry == QDBG_ASYMMETRIC) {
        end = hi - lo;
        steps = (double)(e.qmax - e.qmin);
        e.zero_point = zero_point_of(spec, &e, lo, hi);
    } else if (spec->is_signed && -lo > hi) {
        end = -lo;
    }
    e.scale = final_scale(normal_scale(end / steps), spec, &e);
    e.min = (float)(e.qmin - e.zero_point) * e.scale;
    e.max = (float)(e.qmax - e.zero_point) * e.scale;
    return e;
}

void qdbg__low_power_scales(qdbg_encoding *blocks, size_t n, size_t stride, uint32_t bits)
{
    float coarsest = 0;
    for (size_t b = 0; b < n; b++)
        coarsest = fmaxf(coarsest, blocks[b * stride].scale);
    double units = ldexp(1, (int)bits), channel = (double)coarsest / units;
    for (size_t b = 0; b < n; b++) {
        qdbg_encoding *e = &blocks[b * stride];
        e->block_scale = (uint32_t)fmax(1, rint((double)e->scale / channel));
        e->scale = normal_scale(channel * (double)e->block_scale);
        e->min = (float)(e->qmin - e->zero_point) * e->scale;
        e->max = (float)(e->qmax - e->zero_point) * e->scale;
    }
}

qdbg_status qdbg_encoding_from_range(qdbg_ctx *ctx, const qdbg_quant_spec *spec, float min,
                                     float max, qdbg_encoding *encoding)
{
    if (!ctx)
        return QDBG_E_INVALID;
    qdbg__clear_error(ctx);
    qdbg_status status = qdbg__spec_check(ctx, spec, "encoding");
    if (status != QDBG_OK)
        return status;
    if (spec->bits == QDBG_BITS_BYPASS)
        return qdbg__fail(ctx, QDBG_E_INVALID, "a bypassed quantizer has no encoding");
    if (!encoding || encoding->struct_size != sizeof *encoding)
        return qdbg__fail(ctx, QDBG_E_INVALID, "encoding is NULL or its struct_size is wrong");
    if (!isfinite(min) || !isfinite(max))
        return qdbg__fail(ctx, QDBG_E_NUMERIC, "the range [%g, %g] is not finite", (double)min,
                          (double)max);
    if (min > max)
        return qdbg__fail(ctx, QDBG_E_INVALID, "the range [%g, %g] is upside down", (double)min,
                          (double)max);
    *encoding = qdbg__encoding_of_range(spec, min, max);
    return QDBG_OK;
}

static bool encoding_good(const qdbg_encoding *e)
{
    return e && e->struct_size == sizeof *e && isnormal(e->scale) && e->scale > 0 &&
           e->qmin < e->qmax && e->zero_point >= e->qmin && e->zero_point <= e->qmax;
}

/* Two stretches of n floats that share some but not all of their memory. */
static bool partly_overlap(const float *a, const float *b, size_t n)
{
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    uintptr_t gap = x > y ? x - y : y - x;
    return gap != 0 && gap / sizeof *a < n;
}

qdbg_status qdbg_fakequant_f32(qdbg_ctx *ctx, const qdbg_encoding *encoding, int32_t rounding,
                               const float *src, float *dst, size_t n)
{
    if (!ctx)
        return QDBG_E_INVALID;
    qdbg__clear_error(ctx);
    if (!encoding_good(encoding))
        return qdbg__fail(ctx, QDBG_E_INVALID,
                          "encoding: struct_size, scale, qmin, qmax or zero_point is bad");
    if (rounding < QDBG_ROUND_NEAREST_EVEN || rounding > QDBG_ROUND_NEAREST_AWAY)
        return qdbg__fail(ctx, QDBG_E_INVALID, "rounding %d is unknown", rounding);
    if (n > 0 && (!src || !dst))
        return qdbg__fail(ctx, QDBG_E_INVALID, "src or dst is NULL");
    if (n > 0 && partly_overlap(src, dst, n))
        return qdbg__fail(ctx, QDBG_E_INVALID, "src and dst overlap in part");
    qdbg__grid grid = qdbg__grid_of(encoding, rounding);
    qdbg__kernels_of(ctx)->fakequant(src, dst, n, &grid);
    return QDBG_OK;
}
