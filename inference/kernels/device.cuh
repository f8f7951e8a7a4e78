// What all kernels share, for the GPU and for the host: qualifiers, number formats, wide loads, warp and block reductions.
//
// A kernel includes nothing else and uses no header of CUDA, so that NVRTC could compile it on a machine that has only
// a driver. Compiled by a C++ compiler it runs on the fibres of host/emulator.h; what differs is confined to this file and
// ptx.cuh.
#pragma once

#include "compiler.cuh"

constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr int WARP_SIZE = 32;
// The slot of a row that only fills a batch up to the size of a captured graph: its keys and values go nowhere.
constexpr unsigned NO_SLOT = 0xffffffffu;
// Softmax works in powers of two, which the hardware has.
constexpr float LOG2_E = 1.44269504f;

// Formats of 16 bits, kept as bits: conversions are single instructions and need no header of CUDA.
struct half_t {
    unsigned short bits;
};
struct bf16_t {
    unsigned short bits;
};

#if defined(__CUDACC__)
DEVICE float to_float(half_t x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
DEVICE float to_float(bf16_t x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
DEVICE void from_float(float x, half_t &y) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }
DEVICE void from_float(float x, bf16_t &y) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }
#else
DEVICE float to_float(half_t x) { return host::half_to_float(x.bits); }
DEVICE float to_float(bf16_t x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
DEVICE void from_float(float x, half_t &y) { y.bits = host::float_to_half(x); }
DEVICE void from_float(float x, bf16_t &y) { y.bits = host::float_to_bf16(x); }
#endif
DEVICE float to_float(float x) { return x; }
DEVICE void from_float(float x, float &y) { y = x; }

// Numbers in the total order of floats, larger for larger ones, and back.
DEVICE unsigned ordered(float x) {
    unsigned bits = __float_as_uint(x);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}
DEVICE float unordered(unsigned key) { return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key); }

// 16 bytes, the widest access of a thread.
struct alignas(16) Bits128 {
    unsigned word[4];
};

// Reads 16 bytes. `from` must be a multiple of 16. Not through the read-only path: with early starts a kernel runs while the one
// before still writes, and what that path once read stays as it was.
DEVICE Bits128 load16(const void *from) {
#if defined(__CUDACC__)
    uint4 read = *static_cast<const uint4 *>(from);
    return {{read.x, read.y, read.z, read.w}};
#else
    host::check_aligned(from, 16, "a wide load");
    return *static_cast<const Bits128 *>(from);
#endif
}

// Reads 16 bytes, or a float, that other blocks have written while the kernel runs: from L2, which they share. Comes after a fence.
DEVICE Bits128 load16_of_others(const void *from) {
#if defined(__CUDACC__)
    uint4 read = __ldcg(static_cast<const uint4 *>(from));
    return {{read.x, read.y, read.z, read.w}};
#else
    return load16(from);
#endif
}

DEVICE float load_of_others(const float *from) {
#if defined(__CUDACC__)
    return __ldcg(from);
#else
    return *from;
#endif
}

// Reads 2 or 4 consecutive floats. `from` must be a multiple of their size.
DEVICE void load_floats(const float *from, float (&to)[2]) {
#if defined(__CUDACC__)
    float2 read = *reinterpret_cast<const float2 *>(from);
    to[0] = read.x;
    to[1] = read.y;
#else
    host::check_aligned(from, 8, "a wide load");
    to[0] = from[0];
    to[1] = from[1];
#endif
}
DEVICE void load_floats(const float *from, float (&to)[4]) {
    Bits128 bits = load16(from);
#pragma unroll
    for (int i = 0; i < 4; ++i)
        to[i] = __uint_as_float(bits.word[i]);
}

// Writes 2 consecutive floats. `to` must be a multiple of their size.
DEVICE void store_floats(float *to, const float (&from)[2]) {
#if defined(__CUDACC__)
    *reinterpret_cast<float2 *>(to) = make_float2(from[0], from[1]);
#else
    host::check_aligned(to, 8, "a wide store");
    to[0] = from[0];
    to[1] = from[1];
#endif
}

DEVICE void store_words(void *to, const unsigned (&from)[2]) {
#if defined(__CUDACC__)
    *static_cast<uint2 *>(to) = make_uint2(from[0], from[1]);
#else
    host::check_aligned(to, 8, "a wide store");
    memcpy(to, from, 8);
#endif
}

// Reads 8 consecutive numbers as floats. `from` must be a multiple of 16 bytes.
DEVICE void load8(const half_t *from, float (&to)[8]) {
    Bits128 bits = load16(from);
#pragma unroll
    for (int i = 0; i < 8; ++i)
        to[i] = to_float(half_t{static_cast<unsigned short>(bits.word[i / 2] >> (16 * (i % 2)))});
}
DEVICE void load8(const bf16_t *from, float (&to)[8]) {
    Bits128 bits = load16(from);
#pragma unroll
    for (int i = 0; i < 8; ++i)
        to[i] = to_float(bf16_t{static_cast<unsigned short>(bits.word[i / 2] >> (16 * (i % 2)))});
}
DEVICE void load8(const float *from, float (&to)[8]) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
        Bits128 bits = load16(from + 4 * part);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            to[4 * part + i] = __uint_as_float(bits.word[i]);
    }
}

// Writes 8 consecutive floats. `to` must be a multiple of 16 bytes.
DEVICE void store8(float *to, const float (&from)[8]) {
#if defined(__CUDACC__)
    reinterpret_cast<float4 *>(to)[0] = make_float4(from[0], from[1], from[2], from[3]);
    reinterpret_cast<float4 *>(to)[1] = make_float4(from[4], from[5], from[6], from[7]);
#else
    host::check_aligned(to, 16, "a wide store");
    for (int i = 0; i < 8; ++i)
        to[i] = from[i];
#endif
}

DEVICE int lane_id() { return static_cast<int>(threadIdx.x) % WARP_SIZE; }
DEVICE int warp_id() { return static_cast<int>(threadIdx.x) / WARP_SIZE; }

// Returns the sum over the warp, in every lane.
DEVICE float warp_sum(float x) {
#pragma unroll
    for (int distance = WARP_SIZE / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, distance);
    return x;
}

// Returns the sum over a block of `WARPS` warps, in every thread. Blocks are one-dimensional.
template <int WARPS> DEVICE float block_sum(float x) {
    SHARED(float, sums, WARPS);
    x = warp_sum(x);
    if (lane_id() == 0)
        sums[warp_id()] = x;
    __syncthreads();
    float total = 0.0f;
#pragma unroll
    for (int warp = 0; warp < WARPS; ++warp)
        total += sums[warp];
    // The next sum may overwrite `sums` only when all have read it.
    __syncthreads();
    return total;
}
