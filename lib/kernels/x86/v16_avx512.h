/* Sixteen lanes on AVX-512 F, BW, DQ, VL; see ../simd/v16.h. */
#ifndef QDBG_KERNELS_V16_AVX512_H
#define QDBG_KERNELS_V16_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

typedef __m512 v16;
typedef __m512i v16i;
typedef __mmask16 v16m;
typedef struct v16d {
    __m512d lo, hi;
} v16d;

/* A function by its instruction, and how many operands it has. */
#define V16_ONE(result, name, type, op) \
    V16_FN result name(type a)          \
    {                                   \
        return op(a);                   \
    }
#define V16_TWO(result, name, type, op) \
    V16_FN result name(type a, type b)  \
    {                                   \
        return op(a, b);                \
    }
#define V16D_TWO(name, op)                             \
    V16_FN v16d name(v16d a, v16d b)                   \
    {                                                  \
        return (v16d){op(a.lo, b.lo), op(a.hi, b.hi)}; \
    }

V16_FN v16 v16_set1(float x)
{
    return _mm512_set1_ps(x);
}

V16_FN v16 v16_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

V16_FN v16 v16_load_once(const float *p)
{
    v16 a = v16_load(p);
    __asm__("" : "+v"(a));
    return a;
}

V16_FN void v16_store(float *p, v16 a)
{
    _mm512_storeu_ps(p, a);
}

V16_FN v16 v16_load_part(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps((v16m)((1u << n) - 1), p);
}

V16_FN void v16_store_part(float *p, size_t n, v16 a)
{
    _mm512_mask_storeu_ps(p, (v16m)((1u << n) - 1), a);
}

V16_FN void v16_stream(float *p, v16 a)
{
    _mm512_stream_ps(p, a);
}

V16_FN void v16_stream_end(void)
{
    _mm_sfence();
}

V16_TWO(v16, v16_add, v16, _mm512_add_ps)
V16_TWO(v16, v16_sub, v16, _mm512_sub_ps)
V16_TWO(v16, v16_mul, v16, _mm512_mul_ps)
V16_TWO(v16, v16_div, v16, _mm512_div_ps)
V16_TWO(v16, v16_min, v16, _mm512_min_ps)
V16_TWO(v16, v16_max, v16, _mm512_max_ps)

V16_FN v16 v16_fma(v16 a, v16 b, v16 c)
{
    return _mm512_fmadd_ps(a, b, c);
}

V16_FN v16 v16_fnma(v16 a, v16 b, v16 c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

V16_FN v16 v16_trunc(v16 a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
}

V16_FN v16 v16_trunc_plus(v16 a, v16 b)
{
    /* Adding the shifter leaves no fraction; two additions are cheaper than an addition and the
     * rounding instruction. */
    v16 shifter = _mm512_set1_ps(0x1.8p+23f);
    v16 whole = _mm512_add_round_ps(a, shifter, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    return _mm512_sub_ps(whole, _mm512_sub_ps(shifter, b));
}

V16_FN v16 v16_abs(v16 a)
{
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a);
}

V16_FN v16 v16_copysign(v16 size, v16 sign)
{
    return _mm512_or_ps(size, _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
}

V16_FN v16m v16_lt(v16 a, v16 b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

V16_FN v16m v16_le(v16 a, v16 b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
}

V16_FN v16m v16_isnan(v16 a)
{
    return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
}

V16_FN v16m v16_nonfinite(v16 a)
{
    return _mm512_fpclass_ps_mask(a, 0x99);
}

V16_FN v16 v16_select(v16m m, v16 a, v16 b)
{
    return _mm512_mask_blend_ps(m, b, a);
}

V16_FN v16m v16m_or(v16m a, v16m b)
{
    return (v16m)(a | b);
}

V16_FN int v16m_any(v16m m)
{
    return m != 0;
}

V16_FN unsigned v16m_count(v16m m)
{
    return (unsigned)__builtin_popcount(m);
}

V16_ONE(v16i, v16m_minus_one, v16m, _mm512_movm_epi32)
V16_ONE(v16i, v16_bits, v16, _mm512_castps_si512)
V16_ONE(v16, v16i_float_bits, v16i, _mm512_castsi512_ps)
V16_ONE(v16i, v16_cut, v16, _mm512_cvttps_epi32)
V16_ONE(v16, v16_of_int, v16i, _mm512_cvtepi32_ps)

V16_FN v16i v16i_set1(int32_t x)
{
    return _mm512_set1_epi32(x);
}

V16_FN v16i v16i_load(const int32_t *p)
{
    return _mm512_loadu_si512(p);
}

V16_FN void v16i_store(int32_t *p, v16i a)
{
    _mm512_storeu_si512(p, a);
}

V16_TWO(v16i, v16i_add, v16i, _mm512_add_epi32)
V16_TWO(v16i, v16i_sub, v16i, _mm512_sub_epi32)
V16_TWO(v16i, v16i_and, v16i, _mm512_and_si512)
V16_TWO(v16i, v16i_or, v16i, _mm512_or_si512)
V16_TWO(v16i, v16i_max, v16i, _mm512_max_epi32)

V16_FN v16i v16i_shl(v16i a, int n)
{
    return _mm512_slli_epi32(a, (unsigned)n);
}

V16_FN v16i v16i_shr(v16i a, int n)
{
    return _mm512_srli_epi32(a, (unsigned)n);
}

V16_TWO(v16m, v16i_lt, v16i, _mm512_cmplt_epi32_mask)
V16_TWO(v16m, v16i_eq, v16i, _mm512_cmpeq_epi32_mask)

V16_FN v16i v16i_select(v16m m, v16i a, v16i b)
{
    return _mm512_mask_blend_epi32(m, b, a);
}

V16_FN void v16i_store8(void *p, v16i a)
{
    _mm_storeu_si128(p, _mm512_cvtepi32_epi8(a));
}

V16_FN void v16i_store16(void *p, v16i a)
{
    _mm256_storeu_si256(p, _mm512_cvtepi32_epi16(a));
}

V16_FN v16i v16i_load_i8(const void *p)
{
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(p));
}

V16_FN v16i v16i_load_u8(const void *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(p));
}

V16_FN v16i v16i_load_i16(const void *p)
{
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256(p));
}

V16_FN v16i v16i_load_u16(const void *p)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
}

V16_FN v16d v16d_set1(double x)
{
    __m512d v = _mm512_set1_pd(x);
    return (v16d){v, v};
}

V16_FN v16d v16d_of(v16 a)
{
    return (v16d){_mm512_cvtps_pd(_mm512_castps512_ps256(a)),
                  _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1))};
}

V16D_TWO(v16d_add, _mm512_add_pd)
V16D_TWO(v16d_sub, _mm512_sub_pd)
V16D_TWO(v16d_mul, _mm512_mul_pd)

V16_FN v16d v16d_fma(v16d a, v16d b, v16d c)
{
    return (v16d){_mm512_fmadd_pd(a.lo, b.lo, c.lo), _mm512_fmadd_pd(a.hi, b.hi, c.hi)};
}

V16D_TWO(v16d_max, _mm512_max_pd)

V16_FN v16d v16d_abs(v16d a)
{
    __m512d sign = _mm512_set1_pd(-0.0);
    return (v16d){_mm512_andnot_pd(sign, a.lo), _mm512_andnot_pd(sign, a.hi)};
}

V16_FN void v16d_store(double *p, v16d a)
{
    _mm512_storeu_pd(p, a.lo);
    _mm512_storeu_pd(p + 8, a.hi);
}

#undef V16_ONE
#undef V16_TWO
#undef V16D_TWO

#endif
