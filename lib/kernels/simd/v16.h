/* Sixteen lanes: the vocabulary in which the SIMD kernels are written once for all instruction
 * sets.
 *
 * v16 float32, v16i int32, v16d float64, v16m a mask. Every function does lane by lane what its
 * name says in IEEE 754 arithmetic. What the name does not say:
 *
 *   load, store            any alignment; load_part, store_part: the first n < 16, rest read as 0
 *   load_once              load into a register; without, compilers load again for every use
 *   stream                 aligned to 64 bytes, past the caches; stream_end once after the last
 *   fma(a, b, c)           a * b + c          fnma(a, b, c)   c - a * b
 *   min(a, b), max(a, b)   `a` is never NaN; a NaN in `b` comes out, perhaps not yet quiet
 *   select(m, a, b)        a where m, b elsewhere
 *   nonfinite              NaN or infinite
 *   minus_one              -1 where the mask is set, 0 elsewhere
 *   trunc_plus(a, b)       trunc(a) + b for 0 <= a < 2^21 and whole numbers b of at most 2^21
 *   cut                    float to int, toward zero
 *   shl, shr               by a constant, shr fills with zeros
 *   store8, store16        the low bits of each lane, 1 or 2 bytes a lane
 *   v16d_of                exact; v16d_store writes double[16] in order
 */
#ifndef QDBG_KERNELS_SIMD_V16_H
#define QDBG_KERNELS_SIMD_V16_H

#define V16_FN static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#include "../x86/v16_avx512.h"
#elif defined(__AVX2__)
#include "../x86/v16_avx2.h"
#elif defined(__aarch64__)
#include "../arm/v16_neon.h"
#endif

#endif
