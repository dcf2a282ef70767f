/* Quantization to stored integers and back, sixteen lanes at a time. */
#ifndef QDBG_KERNELS_SIMD_INTEGERS_H
#define QDBG_KERNELS_SIMD_INTEGERS_H

#include "fakequant.h"

/* Bytes that sixteen integers take; 4-bit ones are handled as 8 and packed after. */
V16_FN size_t bytes16(int32_t store)
{
    if (store == QDBG__STORE_I16 || store == QDBG__STORE_U16)
        return 32;
    return store == QDBG__STORE_I4 || store == QDBG__STORE_U4 ? 8 : 16;
}

/* Eight bytes, each a number below 16, to four. */
V16_FN uint32_t pack_nibbles(uint64_t bytes)
{
    uint64_t pairs = (bytes | bytes >> 4) & UINT64_C(0x00ff00ff00ff00ff);
    pairs = (pairs | pairs >> 8) & UINT64_C(0x0000ffff0000ffff);
    return (uint32_t)(pairs | pairs >> 16);
}

V16_FN uint64_t unpack_nibbles(uint32_t packed)
{
    uint64_t pairs = (packed | (uint64_t)packed << 16) & UINT64_C(0x0000ffff0000ffff);
    pairs = (pairs | pairs << 8) & UINT64_C(0x00ff00ff00ff00ff);
    return (pairs | pairs << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
}

V16_FN void store_packed(uint8_t *p, v16i q)
{
    uint64_t bytes[2];
    v16i_store8(bytes, v16i_and(q, v16i_set1(15)));
    uint32_t packed[2] = {pack_nibbles(bytes[0]), pack_nibbles(bytes[1])};
    memcpy(p, packed, sizeof packed);
}

V16_FN v16i load_packed(const uint8_t *p, int32_t store)
{
    uint32_t packed[2];
    memcpy(packed, p, sizeof packed);
    uint64_t bytes[2] = {unpack_nibbles(packed[0]), unpack_nibbles(packed[1])};
    v16i q = v16i_load_u8(bytes);
    if (store == QDBG__STORE_U4)
        return q;
    v16i eight = v16i_set1(8); /* 8..15 stand for -8..-1 */
    return v16i_sub(v16i_and(v16i_add(q, eight), v16i_set1(15)), eight);
}

V16_FN void store_integers(void *p, v16i q, int32_t store)
{
    if (bytes16(store) == 32)
        v16i_store16(p, q);
    else if (bytes16(store) == 16)
        v16i_store8(p, q);
    else
        store_packed(p, q);
}

V16_FN v16i load_integers(const void *p, int32_t store)
{
    switch (store) {
    case QDBG__STORE_I8:
        return v16i_load_i8(p);
    case QDBG__STORE_U8:
        return v16i_load_u8(p);
    case QDBG__STORE_I16:
        return v16i_load_i16(p);
    case QDBG__STORE_U16:
        return v16i_load_u16(p);
    default:
        return load_packed(p, store);
    }
}

/* Bytes of the first n < 16 integers. */
V16_FN size_t bytes_part(size_t n, int32_t store)
{
    return (n * bytes16(store) + 15) / 16;
}

V16_FN v16i quantize16(v16 x, const grid16 *g, v16i zero_point, int rounding)
{
    x = v16_select(v16_isnan(x), v16_set1(0.0f), x);
    return v16i_add(v16_cut(clamped_steps(x, g, rounding)), zero_point);
}

V16_FN void quantize_run(const float *src, void *dst, size_t n, const qdbg__grid *grid,
                         int rounding, int32_t store)
{
    grid16 g = grid16_of(grid, 0.0f);
    v16i zero_point = v16i_set1(grid->zero_point);
    uint8_t *out = dst;
    for (; n >= 16; n -= 16, src += 16, out += bytes16(store))
        store_integers(out, quantize16(v16_load(src), &g, zero_point, rounding), store);
    if (n == 0)
        return;
    uint8_t part[32];
    v16i q = quantize16(v16_load_part(src, n), &g, zero_point, rounding);
    store_integers(part, q, store);
    if (n % 2 == 1 && bytes16(store) == 8)
        part[n / 2] &= 15;
    memcpy(out, part, bytes_part(n, store));
}

V16_FN void quantize_stored(const float *src, void *dst, size_t n, const qdbg__grid *grid,
                            int32_t store)
{
    if (grid->rounding == QDBG__ROUND_EVEN)
        quantize_run(src, dst, n, grid, QDBG__ROUND_EVEN, store);
    else if (grid->rounding == QDBG__ROUND_UP)
        quantize_run(src, dst, n, grid, QDBG__ROUND_UP, store);
    else
        quantize_run(src, dst, n, grid, QDBG__ROUND_AWAY, store);
}

static void quantize(const float *src, void *dst, size_t n, const qdbg__grid *grid, int32_t store)
{
    if (!grid_is_plain(grid))
        qdbg__quantize_ref(src, dst, n, grid, store);
    else if (bytes16(store) == 32)
        quantize_stored(src, dst, n, grid, QDBG__STORE_I16);
    else if (bytes16(store) == 16)
        quantize_stored(src, dst, n, grid, QDBG__STORE_I8);
    else
        quantize_stored(src, dst, n, grid, QDBG__STORE_I4);
}

V16_FN void dequantize_run(const void *src, float *dst, size_t n, const qdbg__grid *grid,
                           int32_t store)
{
    v16 scale = v16_set1(grid->scale);
    v16i zero_point = v16i_set1(grid->zero_point);
    const uint8_t *in = src;
    for (; n >= 16; n -= 16, dst += 16, in += bytes16(store)) {
        v16i steps = v16i_sub(load_integers(in, store), zero_point);
        v16_store(dst, v16_mul(v16_of_int(steps), scale));
    }
    uint8_t part[32] = {0};
    memcpy(part, in, bytes_part(n, store));
    v16i steps = v16i_sub(load_integers(part, store), zero_point);
    v16_store_part(dst, n, v16_mul(v16_of_int(steps), scale));
}

static void dequantize(const void *src, float *dst, size_t n, const qdbg__grid *grid, int32_t store)
{
    switch (store) {
    case QDBG__STORE_I8:
        dequantize_run(src, dst, n, grid, QDBG__STORE_I8);
        break;
    case QDBG__STORE_U8:
        dequantize_run(src, dst, n, grid, QDBG__STORE_U8);
        break;
    case QDBG__STORE_I16:
        dequantize_run(src, dst, n, grid, QDBG__STORE_I16);
        break;
    case QDBG__STORE_U16:
        dequantize_run(src, dst, n, grid, QDBG__STORE_U16);
        break;
    case QDBG__STORE_I4:
        dequantize_run(src, dst, n, grid, QDBG__STORE_I4);
        break;
    default:
        dequantize_run(src, dst, n, grid, QDBG__STORE_U4);
    }
}

#endif
