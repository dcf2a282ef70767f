/* Sixteen lanes on AArch64 Advanced SIMD: four registers; see ../simd/v16.h. */
#ifndef QDBG_KERNELS_V16_NEON_H
#define QDBG_KERNELS_V16_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct v16 {
    float32x4_t a, b, c, d;
} v16;
typedef struct v16i {
    int32x4_t a, b, c, d;
} v16i;
typedef struct v16m {
    uint32x4_t a, b, c, d; /* all bits of a lane set or clear */
} v16m;
typedef struct v16d {
    float64x2_t a, b, c, d, e, f, g, h;
} v16d;

/* A function by the instruction for each part, and how many operands it has. */
#define V16_ONE(result, name, type, op)                      \
    V16_FN result name(type x)                               \
    {                                                        \
        return (result){op(x.a), op(x.b), op(x.c), op(x.d)}; \
    }
#define V16_TWO(result, name, type, op)                                          \
    V16_FN result name(type x, type y)                                           \
    {                                                                            \
        return (result){op(x.a, y.a), op(x.b, y.b), op(x.c, y.c), op(x.d, y.d)}; \
    }
#define V16D_TWO(name, op)                                                     \
    V16_FN v16d name(v16d x, v16d y)                                           \
    {                                                                          \
        return (v16d){op(x.a, y.a), op(x.b, y.b), op(x.c, y.c), op(x.d, y.d),  \
                      op(x.e, y.e), op(x.f, y.f), op(x.g, y.g), op(x.h, y.h)}; \
    }

V16_FN v16 v16_set1(float x)
{
    float32x4_t v = vdupq_n_f32(x);
    return (v16){v, v, v, v};
}

V16_FN v16 v16_load(const float *p)
{
    return (v16){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}

V16_FN v16 v16_load_once(const float *p)
{
    return v16_load(p); /* no instruction computes on memory */
}

V16_FN void v16_store(float *p, v16 x)
{
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
}

V16_FN v16 v16_load_part(const float *p, size_t n)
{
    float part[16] = {0};
    memcpy(part, p, n * sizeof *p);
    return v16_load(part);
}

V16_FN void v16_store_part(float *p, size_t n, v16 x)
{
    float part[16];
    v16_store(part, x);
    memcpy(p, part, n * sizeof *p);
}

V16_FN void v16_stream(float *p, v16 x)
{
    /* gcc 12 has no intrinsic for the store pair with a non-temporal hint. */
    __asm__ volatile("stnp %q0, %q1, [%2]" : : "w"(x.a), "w"(x.b), "r"(p) : "memory");
    __asm__ volatile("stnp %q0, %q1, [%2, #32]" : : "w"(x.c), "w"(x.d), "r"(p) : "memory");
}

V16_FN void v16_stream_end(void)
{
    /* These stores obey the barriers that hand memory to another thread. */
}

V16_TWO(v16, v16_add, v16, vaddq_f32)
V16_TWO(v16, v16_sub, v16, vsubq_f32)
V16_TWO(v16, v16_mul, v16, vmulq_f32)
V16_TWO(v16, v16_div, v16, vdivq_f32)
V16_TWO(v16, v16_min, v16, vminq_f32)
V16_TWO(v16, v16_max, v16, vmaxq_f32)

V16_FN v16 v16_fma(v16 x, v16 y, v16 z)
{
    return (v16){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c),
                 vfmaq_f32(z.d, x.d, y.d)};
}

V16_FN v16 v16_fnma(v16 x, v16 y, v16 z)
{
    return (v16){vfmsq_f32(z.a, x.a, y.a), vfmsq_f32(z.b, x.b, y.b), vfmsq_f32(z.c, x.c, y.c),
                 vfmsq_f32(z.d, x.d, y.d)};
}

V16_ONE(v16, v16_trunc, v16, vrndq_f32)

V16_FN v16 v16_trunc_plus(v16 x, v16 y)
{
    return v16_add(v16_trunc(x), y);
}

V16_ONE(v16, v16_abs, v16, vabsq_f32)

V16_FN v16 v16_copysign(v16 size, v16 sign)
{
    uint32x4_t bit = vdupq_n_u32(0x80000000u);
    return (v16){vbslq_f32(bit, sign.a, size.a), vbslq_f32(bit, sign.b, size.b),
                 vbslq_f32(bit, sign.c, size.c), vbslq_f32(bit, sign.d, size.d)};
}

V16_TWO(v16m, v16_lt, v16, vcltq_f32)
V16_TWO(v16m, v16_le, v16, vcleq_f32)

V16_FN v16m v16_isnan(v16 x)
{
    return (v16m){vmvnq_u32(vceqq_f32(x.a, x.a)), vmvnq_u32(vceqq_f32(x.b, x.b)),
                  vmvnq_u32(vceqq_f32(x.c, x.c)), vmvnq_u32(vceqq_f32(x.d, x.d))};
}

V16_FN v16m v16_nonfinite(v16 x)
{
    float32x4_t inf = vdupq_n_f32(__builtin_inff());
    return (v16m){vmvnq_u32(vcaltq_f32(x.a, inf)), vmvnq_u32(vcaltq_f32(x.b, inf)),
                  vmvnq_u32(vcaltq_f32(x.c, inf)), vmvnq_u32(vcaltq_f32(x.d, inf))};
}

V16_FN v16 v16_select(v16m m, v16 x, v16 y)
{
    return (v16){vbslq_f32(m.a, x.a, y.a), vbslq_f32(m.b, x.b, y.b), vbslq_f32(m.c, x.c, y.c),
                 vbslq_f32(m.d, x.d, y.d)};
}

V16_TWO(v16m, v16m_or, v16m, vorrq_u32)

V16_FN unsigned v16m_count(v16m m)
{
    uint32x4_t ab = vaddq_u32(m.a, m.b), cd = vaddq_u32(m.c, m.d);
    return 0u - vaddvq_u32(vaddq_u32(ab, cd));
}

V16_FN int v16m_any(v16m m)
{
    return vmaxvq_u32(vorrq_u32(vorrq_u32(m.a, m.b), vorrq_u32(m.c, m.d))) != 0;
}

V16_ONE(v16i, v16m_minus_one, v16m, vreinterpretq_s32_u32)
V16_ONE(v16i, v16_bits, v16, vreinterpretq_s32_f32)
V16_ONE(v16, v16i_float_bits, v16i, vreinterpretq_f32_s32)
V16_ONE(v16i, v16_cut, v16, vcvtq_s32_f32)
V16_ONE(v16, v16_of_int, v16i, vcvtq_f32_s32)

V16_FN v16i v16i_set1(int32_t x)
{
    int32x4_t v = vdupq_n_s32(x);
    return (v16i){v, v, v, v};
}

V16_FN v16i v16i_load(const int32_t *p)
{
    return (v16i){vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)};
}

V16_FN void v16i_store(int32_t *p, v16i x)
{
    vst1q_s32(p, x.a);
    vst1q_s32(p + 4, x.b);
    vst1q_s32(p + 8, x.c);
    vst1q_s32(p + 12, x.d);
}

V16_TWO(v16i, v16i_add, v16i, vaddq_s32)
V16_TWO(v16i, v16i_sub, v16i, vsubq_s32)
V16_TWO(v16i, v16i_and, v16i, vandq_s32)
V16_TWO(v16i, v16i_or, v16i, vorrq_s32)
V16_TWO(v16i, v16i_max, v16i, vmaxq_s32)

V16_FN v16i v16i_shl(v16i x, int n)
{
    int32x4_t by = vdupq_n_s32(n);
    return (v16i){vshlq_s32(x.a, by), vshlq_s32(x.b, by), vshlq_s32(x.c, by), vshlq_s32(x.d, by)};
}

V16_FN int32x4_t v16i_shr_quarter(int32x4_t x, int n)
{
    return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(x), vdupq_n_s32(-n)));
}

V16_FN v16i v16i_shr(v16i x, int n)
{
    return (v16i){v16i_shr_quarter(x.a, n), v16i_shr_quarter(x.b, n), v16i_shr_quarter(x.c, n),
                  v16i_shr_quarter(x.d, n)};
}

V16_TWO(v16m, v16i_lt, v16i, vcltq_s32)
V16_TWO(v16m, v16i_eq, v16i, vceqq_s32)

V16_FN v16i v16i_select(v16m m, v16i x, v16i y)
{
    return (v16i){vbslq_s32(m.a, x.a, y.a), vbslq_s32(m.b, x.b, y.b), vbslq_s32(m.c, x.c, y.c),
                  vbslq_s32(m.d, x.d, y.d)};
}

V16_FN int16x8_t v16i_low(v16i x)
{
    return vcombine_s16(vmovn_s32(x.a), vmovn_s32(x.b));
}

V16_FN int16x8_t v16i_high(v16i x)
{
    return vcombine_s16(vmovn_s32(x.c), vmovn_s32(x.d));
}

V16_FN void v16i_store16(void *p, v16i x)
{
    vst1q_s8(p, vreinterpretq_s8_s16(v16i_low(x)));
    vst1q_s8((int8_t *)p + 16, vreinterpretq_s8_s16(v16i_high(x)));
}

V16_FN void v16i_store8(void *p, v16i x)
{
    vst1q_s8(p, vcombine_s8(vmovn_s16(v16i_low(x)), vmovn_s16(v16i_high(x))));
}

V16_FN v16i v16i_widen(int16x8_t low, int16x8_t high)
{
    return (v16i){vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)),
                  vmovl_high_s16(high)};
}

V16_FN v16i v16i_load_i8(const void *p)
{
    int8x16_t v = vld1q_s8(p);
    return v16i_widen(vmovl_s8(vget_low_s8(v)), vmovl_high_s8(v));
}

V16_FN v16i v16i_load_u8(const void *p)
{
    uint8x16_t v = vld1q_u8(p);
    return v16i_widen(vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(v))),
                      vreinterpretq_s16_u16(vmovl_high_u8(v)));
}

V16_FN v16i v16i_load_i16(const void *p)
{
    const uint8_t *bytes = p;
    return v16i_widen(vreinterpretq_s16_u8(vld1q_u8(bytes)),
                      vreinterpretq_s16_u8(vld1q_u8(bytes + 16)));
}

V16_FN v16i v16i_load_u16(const void *p)
{
    v16i x = v16i_load_i16(p), low = v16i_set1(0xffff);
    return v16i_and(x, low);
}

V16_FN v16d v16d_set1(double x)
{
    float64x2_t v = vdupq_n_f64(x);
    return (v16d){v, v, v, v, v, v, v, v};
}

V16_FN v16d v16d_of(v16 x)
{
    return (v16d){vcvt_f64_f32(vget_low_f32(x.a)), vcvt_high_f64_f32(x.a),
                  vcvt_f64_f32(vget_low_f32(x.b)), vcvt_high_f64_f32(x.b),
                  vcvt_f64_f32(vget_low_f32(x.c)), vcvt_high_f64_f32(x.c),
                  vcvt_f64_f32(vget_low_f32(x.d)), vcvt_high_f64_f32(x.d)};
}

V16D_TWO(v16d_add, vaddq_f64)
V16D_TWO(v16d_sub, vsubq_f64)
V16D_TWO(v16d_mul, vmulq_f64)

V16_FN v16d v16d_fma(v16d x, v16d y, v16d z)
{
    return (v16d){vfmaq_f64(z.a, x.a, y.a), vfmaq_f64(z.b, x.b, y.b), vfmaq_f64(z.c, x.c, y.c),
                  vfmaq_f64(z.d, x.d, y.d), vfmaq_f64(z.e, x.e, y.e), vfmaq_f64(z.f, x.f, y.f),
                  vfmaq_f64(z.g, x.g, y.g), vfmaq_f64(z.h, x.h, y.h)};
}

V16D_TWO(v16d_max, vmaxq_f64)

V16_FN v16d v16d_abs(v16d x)
{
    return (v16d){vabsq_f64(x.a), vabsq_f64(x.b), vabsq_f64(x.c), vabsq_f64(x.d),
                  vabsq_f64(x.e), vabsq_f64(x.f), vabsq_f64(x.g), vabsq_f64(x.h)};
}

V16_FN void v16d_store(double *p, v16d x)
{
    vst1q_f64(p + 0, x.a);
    vst1q_f64(p + 2, x.b);
    vst1q_f64(p + 4, x.c);
    vst1q_f64(p + 6, x.d);
    vst1q_f64(p + 8, x.e);
    vst1q_f64(p + 10, x.f);
    vst1q_f64(p + 12, x.g);
    vst1q_f64(p + 14, x.h);
}

#undef V16_ONE
#undef V16_TWO
#undef V16D_TWO

#endif
