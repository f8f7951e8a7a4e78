// The names of CUDA C++ that kernels use, on the host machine: indices, shuffles, votes, barriers, atomics, conversions.
// Each means what the CUDA C++ programming guide says; where that says "undefined", the run stops or the result is NaN.
#pragma once

#include "emulator.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#define threadIdx (::host::place.thread)
#define blockIdx (::host::place.block)
#define blockDim (::host::place.block_dim)
#define gridDim (::host::place.grid_dim)
#define __restrict__ __restrict

namespace host {

template <typename To, typename From> To bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

// cvt.f32.f16
inline float half_to_float(uint16_t half) {
    uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    if (exponent == 31)
        return bits<float>(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) {
        float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
        return sign ? -magnitude : magnitude;
    }
    return bits<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

// Drops `shift` bits, to nearest, ties to even.
inline uint32_t round_shift(uint32_t value, unsigned shift) {
    uint32_t half = 1u << (shift - 1), odd = value >> shift & 1;
    return (value + half - 1 + odd) >> shift;
}

// cvt.rn.f16.f32: to nearest, ties to even; too large becomes infinite; NaN becomes 0x7fff.
inline uint16_t float_to_half(float x) {
    uint32_t word = bits<uint32_t>(x), sign = word >> 16 & 0x8000, magnitude = word & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return 0x7fff;
    if (magnitude >= 0x47800000u) // 2^16 or more
        return static_cast<uint16_t>(sign | 0x7c00);
    if (magnitude >= 0x38800000u) // normal; a carry out of the mantissa raises the exponent, to infinity at the end
        return static_cast<uint16_t>(sign | round_shift(magnitude - (112u << 23), 13));
    unsigned shift = 126 - (magnitude >> 23);
    if (shift > 24)
        return static_cast<uint16_t>(sign);
    return static_cast<uint16_t>(sign | round_shift((magnitude & 0x7fffff) | 0x800000, shift));
}

// cvt.rn.bf16.f32
inline uint16_t float_to_bf16(float x) {
    uint32_t word = bits<uint32_t>(x);
    if ((word & 0x7fffffffu) > 0x7f800000u)
        return 0x7fff;
    return static_cast<uint16_t>(round_shift(word & 0x7fffffffu, 16) | (word >> 16 & 0x8000));
}

// Returns what `lane` brought; outside the mask CUDA leaves it undefined, here the run stops.
template <typename T> T brought(const Gathered &gathered, unsigned lane, Site site) {
    if (!(gathered.mask >> lane & 1))
        fail("%s at %s:%d reads lane %u, which is not in the mask %08x", site.what, site.file, site.line, lane,
             gathered.mask);
    T value;
    memcpy(&value, gathered.payload[lane], sizeof value);
    return value;
}

} // namespace host

// The caller's place, as default arguments of each operation.
#define HOST_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(HOST_SITE) { host::barrier({"__syncthreads", file, line}); }

inline void __syncwarp(unsigned mask = 0xffffffffu, HOST_SITE) {
    char nothing = 0;
    host::gather(mask, &nothing, sizeof nothing, {"__syncwarp", file, line});
}

template <typename T> T __shfl_sync(unsigned mask, T value, int source, int width = 32, HOST_SITE) {
    host::Site site{"__shfl_sync", file, line};
    auto gathered = host::gather(mask, &value, sizeof value, site);
    unsigned first = host::lane() / width * width;
    return host::brought<T>(*gathered, first + static_cast<unsigned>(source) % width, site);
}

template <typename T> T __shfl_xor_sync(unsigned mask, T value, int distance, int width = 32, HOST_SITE) {
    host::Site site{"__shfl_xor_sync", file, line};
    auto gathered = host::gather(mask, &value, sizeof value, site);
    unsigned source = host::lane() ^ static_cast<unsigned>(distance);
    // Lanes of later groups of `width` keep their own value; earlier groups may be read.
    return source / width > host::lane() / width ? value : host::brought<T>(*gathered, source, site);
}

template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, HOST_SITE) {
    host::Site site{"__shfl_down_sync", file, line};
    auto gathered = host::gather(mask, &value, sizeof value, site);
    unsigned source = host::lane() + distance;
    return host::lane() % width + distance >= static_cast<unsigned>(width)
               ? value
               : host::brought<T>(*gathered, source, site);
}

template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, HOST_SITE) {
    host::Site site{"__shfl_up_sync", file, line};
    auto gathered = host::gather(mask, &value, sizeof value, site);
    return host::lane() % width < distance ? value : host::brought<T>(*gathered, host::lane() - distance, site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, HOST_SITE) {
    host::Site site{"__ballot_sync", file, line};
    auto gathered = host::gather(mask, &predicate, sizeof predicate, site);
    unsigned votes = 0;
    for (unsigned lane = 0; lane < host::WARP; ++lane)
        if ((mask >> lane & 1) && host::brought<int>(*gathered, lane, site) != 0)
            votes |= 1u << lane;
    return votes;
}

inline int __any_sync(unsigned mask, int predicate, HOST_SITE) {
    return __ballot_sync(mask, predicate, file, line) != 0;
}

inline int __all_sync(unsigned mask, int predicate, HOST_SITE) {
    return __ballot_sync(mask, predicate, file, line) == mask;
}

// Joins what the lanes of `mask` bring; every lane has the result.
template <typename T, typename Join> T reduce_sync(unsigned mask, T value, Join join, host::Site site) {
    auto gathered = host::gather(mask, &value, sizeof value, site);
    for (unsigned lane = 0; lane < host::WARP; ++lane)
        if ((mask >> lane & 1) && lane != host::lane())
            value = join(value, host::brought<T>(*gathered, lane, site));
    return value;
}
inline int __reduce_add_sync(unsigned mask, int value, HOST_SITE) {
    return reduce_sync(mask, value, [](int a, int b) { return a + b; }, {"__reduce_add_sync", file, line});
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value, HOST_SITE) {
    return reduce_sync(mask, value, [](unsigned a, unsigned b) { return std::max(a, b); }, {"__reduce_max_sync", file, line});
}

// One fibre runs at a time, so a plain read and write are atomic. All return the value before.
template <typename T> T atomicAdd(T *address, T value) {
    T before = *address;
    *address = before + value;
    return before;
}
template <typename T> T atomicMax(T *address, T value) {
    T before = *address;
    *address = std::max(before, value);
    return before;
}
template <typename T> T atomicOr(T *address, T value) {
    T before = *address;
    *address = before | value;
    return before;
}
template <typename T> T atomicXor(T *address, T value) {
    T before = *address;
    *address = before ^ value;
    return before;
}
template <typename T> T atomicExch(T *address, T value) {
    T before = *address;
    *address = value;
    return before;
}
template <typename T> T atomicCAS(T *address, T expected, T value) {
    T before = *address;
    if (before == expected)
        *address = value;
    return before;
}
inline void __threadfence() {}

inline int __popc(unsigned word) { return __builtin_popcount(word); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }

inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }

inline float __uint_as_float(unsigned word) { return host::bits<float>(word); }
inline unsigned __float_as_uint(float x) { return host::bits<unsigned>(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
