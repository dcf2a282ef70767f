/* Sixteen lanes on AVX2 with FMA: two registers; see ../simd/v16.h. */
#ifndef QDBG_KERNELS_V16_AVX2_H
#define QDBG_KERNELS_V16_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct v16 {
    __m256 lo, hi;
} v16;
typedef struct v16i {
    __m256i lo, hi;
} v16i;
typedef struct v16m {
    __m256 lo, hi; /* all bits of a lane set or clear */
} v16m;
typedef struct v16d {
    __m256d a, b, c, d;
} v16d;

/* A function by the instruction for each part, and how many operands it has. */
#define V16_ONE(result, name, type, op)      \
    V16_FN result name(type x)               \
    {                                        \
        return (result){op(x.lo), op(x.hi)}; \
    }
#define V16_TWO(result, name, type, op)                  \
    V16_FN result name(type x, type y)                   \
    {                                                    \
        return (result){op(x.lo, y.lo), op(x.hi, y.hi)}; \
    }
#define V16D_TWO(name, op)                                                     \
    V16_FN v16d name(v16d x, v16d y)                                           \
    {                                                                          \
        return (v16d){op(x.a, y.a), op(x.b, y.b), op(x.c, y.c), op(x.d, y.d)}; \
    }

V16_FN v16 v16_set1(float x)
{
    __m256 v = _mm256_set1_ps(x);
    return (v16){v, v};
}

V16_FN v16 v16_load(const float *p)
{
    return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

V16_FN v16 v16_load_once(const float *p)
{
    v16 a = v16_load(p);
    __asm__("" : "+x"(a.lo), "+x"(a.hi));
    return a;
}

V16_FN void v16_store(float *p, v16 a)
{
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}

V16_FN v16 v16_load_part(const float *p, size_t n)
{
    float part[16] = {0};
    memcpy(part, p, n * sizeof *p);
    return v16_load(part);
}

V16_FN void v16_store_part(float *p, size_t n, v16 a)
{
    float part[16];
    v16_store(part, a);
    memcpy(p, part, n * sizeof *p);
}

V16_FN void v16_stream(float *p, v16 a)
{
    _mm256_stream_ps(p, a.lo);
    _mm256_stream_ps(p + 8, a.hi);
}

V16_FN void v16_stream_end(void)
{
    _mm_sfence();
}

V16_TWO(v16, v16_add, v16, _mm256_add_ps)
V16_TWO(v16, v16_sub, v16, _mm256_sub_ps)
V16_TWO(v16, v16_mul, v16, _mm256_mul_ps)
V16_TWO(v16, v16_div, v16, _mm256_div_ps)
V16_TWO(v16, v16_min, v16, _mm256_min_ps)
V16_TWO(v16, v16_max, v16, _mm256_max_ps)

V16_FN v16 v16_fma(v16 a, v16 b, v16 c)
{
    return (v16){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

V16_FN v16 v16_fnma(v16 a, v16 b, v16 c)
{
    return (v16){_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}

V16_FN v16 v16_trunc(v16 a)
{
    enum { MODE = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC };
    return (v16){_mm256_round_ps(a.lo, MODE), _mm256_round_ps(a.hi, MODE)};
}

V16_FN v16 v16_trunc_plus(v16 x, v16 y)
{
    return v16_add(v16_trunc(x), y);
}

V16_FN v16 v16_abs(v16 a)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}

V16_FN v16 v16_copysign(v16 size, v16 sign)
{
    __m256 bit = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_or_ps(size.lo, _mm256_and_ps(sign.lo, bit)),
                 _mm256_or_ps(size.hi, _mm256_and_ps(sign.hi, bit))};
}

V16_FN v16m v16_lt(v16 a, v16 b)
{
    return (v16m){_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)};
}

V16_FN v16m v16_le(v16 a, v16 b)
{
    return (v16m){_mm256_cmp_ps(a.lo, b.lo, _CMP_LE_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LE_OQ)};
}

V16_FN v16m v16_isnan(v16 a)
{
    return (v16m){_mm256_cmp_ps(a.lo, a.lo, _CMP_UNORD_Q), _mm256_cmp_ps(a.hi, a.hi, _CMP_UNORD_Q)};
}

V16_FN v16m v16_nonfinite(v16 a)
{
    __m256 inf = _mm256_set1_ps(__builtin_inff());
    v16 size = v16_abs(a);
    return (v16m){_mm256_cmp_ps(size.lo, inf, _CMP_NLT_UQ),
                  _mm256_cmp_ps(size.hi, inf, _CMP_NLT_UQ)};
}

V16_FN v16 v16_select(v16m m, v16 a, v16 b)
{
    return (v16){_mm256_blendv_ps(b.lo, a.lo, m.lo), _mm256_blendv_ps(b.hi, a.hi, m.hi)};
}

V16_TWO(v16m, v16m_or, v16m, _mm256_or_ps)

V16_FN unsigned v16m_lanes(v16m m)
{
    return (unsigned)_mm256_movemask_ps(m.lo) | (unsigned)_mm256_movemask_ps(m.hi) << 8;
}

V16_FN int v16m_any(v16m m)
{
    return v16m_lanes(m) != 0;
}

V16_FN unsigned v16m_count(v16m m)
{
    return (unsigned)__builtin_popcount(v16m_lanes(m));
}

V16_ONE(v16i, v16m_minus_one, v16m, _mm256_castps_si256)
V16_ONE(v16i, v16_bits, v16, _mm256_castps_si256)
V16_ONE(v16, v16i_float_bits, v16i, _mm256_castsi256_ps)
V16_ONE(v16i, v16_cut, v16, _mm256_cvttps_epi32)
V16_ONE(v16, v16_of_int, v16i, _mm256_cvtepi32_ps)

V16_FN v16i v16i_set1(int32_t x)
{
    __m256i v = _mm256_set1_epi32(x);
    return (v16i){v, v};
}

V16_FN v16i v16i_load(const int32_t *p)
{
    return (v16i){_mm256_loadu_si256((const void *)p), _mm256_loadu_si256((const void *)(p + 8))};
}

V16_FN void v16i_store(int32_t *p, v16i a)
{
    _mm256_storeu_si256((void *)p, a.lo);
    _mm256_storeu_si256((void *)(p + 8), a.hi);
}

V16_TWO(v16i, v16i_add, v16i, _mm256_add_epi32)
V16_TWO(v16i, v16i_sub, v16i, _mm256_sub_epi32)
V16_TWO(v16i, v16i_and, v16i, _mm256_and_si256)
V16_TWO(v16i, v16i_or, v16i, _mm256_or_si256)
V16_TWO(v16i, v16i_max, v16i, _mm256_max_epi32)

V16_FN v16i v16i_shl(v16i a, int n)
{
    return (v16i){_mm256_slli_epi32(a.lo, n), _mm256_slli_epi32(a.hi, n)};
}

V16_FN v16i v16i_shr(v16i a, int n)
{
    return (v16i){_mm256_srli_epi32(a.lo, n), _mm256_srli_epi32(a.hi, n)};
}

V16_FN v16m v16i_lt(v16i a, v16i b)
{
    return (v16m){_mm256_castsi256_ps(_mm256_cmpgt_epi32(b.lo, a.lo)),
                  _mm256_castsi256_ps(_mm256_cmpgt_epi32(b.hi, a.hi))};
}

V16_FN v16m v16i_eq(v16i a, v16i b)
{
    return (v16m){_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.lo, b.lo)),
                  _mm256_castsi256_ps(_mm256_cmpeq_epi32(a.hi, b.hi))};
}

V16_FN v16i v16i_select(v16m m, v16i a, v16i b)
{
    return v16_bits(v16_select(m, v16i_float_bits(a), v16i_float_bits(b)));
}

/* Pack 2 x 8 lanes of 16 bits: the unit works in halves of 128 bits, so order them after. */
V16_FN __m256i v16i_pack16(v16i a)
{
    __m256i low = _mm256_set1_epi32(0xffff);
    __m256i packed = _mm256_packus_epi32(_mm256_and_si256(a.lo, low), _mm256_and_si256(a.hi, low));
    return _mm256_permute4x64_epi64(packed, 0xd8);
}

V16_FN void v16i_store16(void *p, v16i a)
{
    _mm256_storeu_si256(p, v16i_pack16(a));
}

V16_FN void v16i_store8(void *p, v16i a)
{
    __m256i low = _mm256_and_si256(v16i_pack16(a), _mm256_set1_epi16(0xff));
    _mm_storeu_si128(
        p, _mm_packus_epi16(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
}

V16_FN v16i v16i_load_i8(const void *p)
{
    __m128i v = _mm_loadu_si128(p);
    return (v16i){_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))};
}

V16_FN v16i v16i_load_u8(const void *p)
{
    __m128i v = _mm_loadu_si128(p);
    return (v16i){_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))};
}

V16_FN v16i v16i_load_i16(const void *p)
{
    const __m128i *half = p;
    return (v16i){_mm256_cvtepi16_epi32(_mm_loadu_si128(half)),
                  _mm256_cvtepi16_epi32(_mm_loadu_si128(half + 1))};
}

V16_FN v16i v16i_load_u16(const void *p)
{
    const __m128i *half = p;
    return (v16i){_mm256_cvtepu16_epi32(_mm_loadu_si128(half)),
                  _mm256_cvtepu16_epi32(_mm_loadu_si128(half + 1))};
}

V16_FN v16d v16d_set1(double x)
{
    __m256d v = _mm256_set1_pd(x);
    return (v16d){v, v, v, v};
}

V16_FN v16d v16d_of(v16 a)
{
    return (v16d){_mm256_cvtps_pd(_mm256_castps256_ps128(a.lo)),
                  _mm256_cvtps_pd(_mm256_extractf128_ps(a.lo, 1)),
                  _mm256_cvtps_pd(_mm256_castps256_ps128(a.hi)),
                  _mm256_cvtps_pd(_mm256_extractf128_ps(a.hi, 1))};
}

V16D_TWO(v16d_add, _mm256_add_pd)
V16D_TWO(v16d_sub, _mm256_sub_pd)
V16D_TWO(v16d_mul, _mm256_mul_pd)

V16_FN v16d v16d_fma(v16d x, v16d y, v16d z)
{
    return (v16d){_mm256_fmadd_pd(x.a, y.a, z.a), _mm256_fmadd_pd(x.b, y.b, z.b),
                  _mm256_fmadd_pd(x.c, y.c, z.c), _mm256_fmadd_pd(x.d, y.d, z.d)};
}

V16D_TWO(v16d_max, _mm256_max_pd)

V16_FN v16d v16d_abs(v16d x)
{
    __m256d sign = _mm256_set1_pd(-0.0);
    return (v16d){_mm256_andnot_pd(sign, x.a), _mm256_andnot_pd(sign, x.b),
                  _mm256_andnot_pd(sign, x.c), _mm256_andnot_pd(sign, x.d)};
}

V16_FN void v16d_store(double *p, v16d x)
{
    _mm256_storeu_pd(p, x.a);
    _mm256_storeu_pd(p + 4, x.b);
    _mm256_storeu_pd(p + 8, x.c);
    _mm256_storeu_pd(p + 12, x.d);
}

#undef V16_ONE
#undef V16_TWO
#undef V16D_TWO

#endif
