// Products of up to 8 tokens with rows of a quantized matrix, exact to the 14 bits of an activation: what packed_gemv.cu and
// expert_gemv.cu share.
//
// Blocks of 256 threads with PACKED_WARPS * ring_bytes of dynamic shared memory: the 8 warps take a row's units of 256 columns in turn and
// are added in order, so a token's result depends on nothing else. A warp copies two units ahead into a ring of its own, the first before it waits for the kernel before; activations come from the caches.
// Numbers are multiplied as bytes by `mma.m16n8k32` (two products an activation: its upper and lower 7 bits), sums of 32 are exact, scales and
// minima are applied in f32; the minima of a unit are one more product in f16. Sums stay below 2^22 where weights have 4 bits or
// blocks 16 columns: then they become floats by their bits, without a conversion. One token (`_one`) goes without tensor cores: four
// numbers an instruction, and lanes join their shares in the end. Bandwidth-bound.
//
// `Work` says what a block multiplies: `x` (packed, [num_units]), `num_units`, `batch`, and `ring_bytes` of a warp: PACKED_STAGES times the
// largest unit of the launch's matrices.
#pragma once

#include "packed.cuh"

constexpr int PACKED_WARPS = 8, PACKED_THREADS = PACKED_WARPS * WARP_SIZE;
constexpr int PACKED_STAGES = 2;

// Sums become floats by their bits: 1.5 * 2^23, whose last bit counts one.
constexpr int MAGIC = 0x4b400000;
constexpr float MAGIC_FLOAT = 12582912.0f;

// Fragments of 8 tokens and 32 columns.
struct XSpan {
    unsigned high[2], low[2];
};

// A lane's view of a unit's activations: token `lane / 4`, if there is one.
struct XUnit {
    const unsigned char *fragments, *sums;
    const float *scales; // of tokens 2t and 2t + 1
    bool valid;
};

DEVICE XUnit x_unit(const unsigned char *unit, int batch) {
    int lane = lane_id();
    return {unit + lane * 16, unit + X_SUMS + lane * 8, reinterpret_cast<const float *>(unit + X_SCALES) + lane % 4 * 2,
            lane < 4 * batch};
}

DEVICE XSpan load_x(const XUnit &x, int span) {
    if (!x.valid)
        return {};
    Bits128 bits = load16(x.fragments + span * WARP_SIZE * 16);
    return {{bits.word[0], bits.word[1]}, {bits.word[2], bits.word[3]}};
}

// Numbers of a unit in shared memory, as fragments of the 32 columns of a span.
struct Nibbles {
    static constexpr int BYTES = NIBBLE_BYTES;
    static constexpr bool SMALL = true;
    DEVICE_MEMBER void fragments(const unsigned char *unit, int span, unsigned (&a)[4]) {
        Bits128 quants = load16(unit + (span / 2 * WARP_SIZE + lane_id()) * 16);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            a[i] = quants.word[i] >> (span % 2 * 4) & 0x0f0f0f0fu;
    }
};

struct Bytes {
    static constexpr int BYTES = BYTE_BYTES;
    static constexpr bool SMALL = false;
    DEVICE_MEMBER void fragments(const unsigned char *unit, int span, unsigned (&a)[4]) {
        Bits128 quants = load16(unit + (span * WARP_SIZE + lane_id()) * 16);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            a[i] = quants.word[i];
    }
};

DEVICE unsigned half_pair(float x, float y) { return to_half(x).bits | static_cast<unsigned>(to_half(y).bits) << 16; }

// How the scales of a unit lie behind its numbers, for rows g (0) and g + 8 (1). `Four` are the scales of four blocks of columns (32,
// or 16 with HALVES) of a row; `common` is what all of them are multiplied by; the minima, as fragments of spans 2t and 2t + 1,
// are multiplied by `common_min`.
DEVICE int scale_row(int row) { return lane_id() / 4 + 8 * row; }
DEVICE unsigned word_at(const unsigned char *from) { return *reinterpret_cast<const unsigned *>(from); }

struct SpanScales {
    static constexpr int BYTES = 320;
    static constexpr bool HALVES = false, HAS_MINIMA = true;
    using Four = unsigned;
    DEVICE_MEMBER Four four(const unsigned char *scales, int row, int first) { return word_at(scales + 16 * scale_row(row) + first); }
    DEVICE_MEMBER float scale(Four four, int i) { return byte_float(four, i); }
    DEVICE_MEMBER float common(const unsigned char *scales, int row) { return half_float(word_at(scales + 256 + 4 * scale_row(row)), 0); }
    DEVICE_MEMBER float common_min(const unsigned char *scales, int row) {
        return half_float(word_at(scales + 256 + 4 * scale_row(row)), 1);
    }
    DEVICE_MEMBER unsigned minima(const unsigned char *scales, int row) {
        int t = lane_id() % 4;
        unsigned word = word_at(scales + 16 * scale_row(row) + 8 + t / 2 * 4);
        return half_pair(byte_float(word, t % 2 * 2), byte_float(word, t % 2 * 2 + 1));
    }
};

struct HalfScales {
    static constexpr int BYTES = 320;
    static constexpr bool HALVES = true, HAS_MINIMA = false;
    using Four = unsigned;
    DEVICE_MEMBER Four four(const unsigned char *scales, int row, int first) { return word_at(scales + 16 * scale_row(row) + first); }
    DEVICE_MEMBER float scale(Four four, int i) { return static_cast<float>(static_cast<signed char>(four >> (8 * i))); }
    DEVICE_MEMBER float common(const unsigned char *scales, int row) { return half_float(word_at(scales + 256 + 4 * scale_row(row)), 0); }
};

template <bool MINIMA> struct FloatScales {
    static constexpr int BYTES = MINIMA ? 512 : 256;
    static constexpr bool HALVES = false, HAS_MINIMA = MINIMA;
    struct Four {
        unsigned pair[2];
    };
    DEVICE_MEMBER Four four(const unsigned char *scales, int row, int first) {
        const unsigned char *from = scales + 16 * scale_row(row) + 2 * first;
        return {{word_at(from), word_at(from + 4)}};
    }
    DEVICE_MEMBER float scale(const Four &four, int i) { return half_float(four.pair[i / 2], i % 2); }
    DEVICE_MEMBER float common(const unsigned char *, int) { return 1.0f; }
    DEVICE_MEMBER float common_min(const unsigned char *, int) { return 1.0f; }
    DEVICE_MEMBER unsigned minima(const unsigned char *scales, int row) {
        return word_at(scales + 256 + 16 * scale_row(row) + lane_id() % 4 * 4);
    }
};

// The float of a sum; SMALL ones are below 2^22 and have MAGIC added.
template <bool SMALL> DEVICE float exact_float(int sum) {
    return SMALL ? __uint_as_float(static_cast<unsigned>(sum)) - MAGIC_FLOAT : static_cast<float>(sum);
}

// sums += scale * (high * 128 + low) for one product's 4 numbers.
template <bool SMALL> DEVICE void add_scaled(float (&sums)[4], int (&product)[4], const float (&scale)[2]) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
        sums[i] += scale[i / 2] * exact_float<SMALL>(product[i]);
}

template <bool SMALL> DEVICE void shift_high(int (&product)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
        product[i] = product[i] * 128 + (SMALL ? MAGIC : 0);
}

// Products that are under way together: each is two dependent ones, whose latency the others hide.
constexpr int CHAINS = 4;

// Adds the products of CHAINS blocks of columns (spans, or halves of spans) from `first` to `sums`, before the common scale.
template <typename Quants, typename Scales>
DEVICE void multiply_blocks(const unsigned char *unit, int first, const XSpan *x, float (&sums)[4]) {
    constexpr bool SMALL = Scales::HALVES || Quants::SMALL;
    constexpr int BLOCKS = Scales::HALVES ? 2 : 1;
    unsigned a[CHAINS / BLOCKS][4];
    int product[CHAINS][4] = {};
#pragma unroll
    for (int span = 0; span < CHAINS / BLOCKS; ++span)
        Quants::fragments(unit, first / BLOCKS + span, a[span]);
    auto multiply = [&](int chain, const unsigned (&b)[2]) {
        const unsigned(&part)[4] = a[chain / BLOCKS];
        if constexpr (Scales::HALVES) {
            const unsigned half[2] = {part[chain % 2 * 2], part[chain % 2 * 2 + 1]};
            mma_m16n8k16_s8(product[chain], half, b[chain % 2]);
        } else {
            mma_m16n8k32_s8(product[chain], part, b);
        }
    };
#pragma unroll
    for (int chain = 0; chain < CHAINS; ++chain)
        multiply(chain, x[chain / BLOCKS].high);
#pragma unroll
    for (int chain = 0; chain < CHAINS; ++chain)
        shift_high<SMALL>(product[chain]);
#pragma unroll
    for (int chain = 0; chain < CHAINS; ++chain)
        multiply(chain, x[chain / BLOCKS].low);
    const unsigned char *scales = unit + Quants::BYTES;
    typename Scales::Four four[2] = {Scales::four(scales, 0, first), Scales::four(scales, 1, first)};
#pragma unroll
    for (int chain = 0; chain < CHAINS; ++chain) {
        float scale[2] = {Scales::scale(four[0], chain), Scales::scale(four[1], chain)};
        add_scaled<SMALL>(sums, product[chain], scale);
    }
}

// Adds a unit's sums to the total, with the common scales, the tokens' scales and the minima.
template <typename Scales>
DEVICE void finish_unit(const unsigned char *scales, const XUnit &x, const float (&sums)[4], float (&total)[4]) {
    float below[4] = {};
    if constexpr (Scales::HAS_MINIMA) {
        unsigned first = Scales::minima(scales, 0), second = Scales::minima(scales, 1);
        unsigned a[4] = {first, second, first, second}, b[2] = {};
        if (x.valid) {
            b[0] = word_at(x.sums);
            b[1] = word_at(x.sums + 4);
        }
        mma_m16n8k16(below, a, b, half_t{});
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        float sum = Scales::common(scales, i / 2) * sums[i];
        if constexpr (Scales::HAS_MINIMA)
            sum -= Scales::common_min(scales, i / 2) * 8.0f * below[i];
        total[i] += x.scales[i % 2] * sum;
    }
}

template <typename Quants, typename Scales>
DEVICE void multiply_unit(const unsigned char *unit, const XUnit &x, float (&total)[4]) {
    // Spans that the chains of a step cover.
    constexpr int SPANS_AT_ONCE = Scales::HALVES ? CHAINS / 2 : CHAINS;
    float sums[4] = {};
#pragma unroll
    for (int first = 0; first < SPANS; first += SPANS_AT_ONCE) {
        XSpan spans[SPANS_AT_ONCE];
#pragma unroll
        for (int span = 0; span < SPANS_AT_ONCE; ++span)
            spans[span] = load_x(x, first + span);
        multiply_blocks<Quants, Scales>(unit, first * (Scales::HALVES ? 2 : 1), spans, sums);
    }
    finish_unit<Scales>(unit + Quants::BYTES, x, sums, total);
}

// A lane's activations of token 0 in a unit: columns 4t.. and 16 + 4t.. of each span, sums of spans 2t and 2t + 1.
struct OneToken {
    Bits128 fragments[SPANS];
    unsigned sums[2];
    float scale;
};

DEVICE OneToken load_one(const unsigned char *unit) {
    int t = lane_id() % 4;
    OneToken x;
#pragma unroll
    for (int span = 0; span < SPANS; ++span)
        x.fragments[span] = load16(unit + (span * WARP_SIZE + t) * 16);
    x.sums[0] = word_at(unit + X_SUMS + t * 8);
    x.sums[1] = word_at(unit + X_SUMS + t * 8 + 4);
    x.scale = *reinterpret_cast<const float *>(unit + X_SCALES);
    return x;
}

// Adds a unit's products with one token to `total`, a lane's share of rows g and g + 8: four numbers at once, without tensor cores.
template <typename Quants, typename Scales> DEVICE void multiply_one(const unsigned char *unit, const OneToken &x, float (&total)[2]) {
    constexpr bool SMALL = Scales::HALVES || Quants::SMALL;
    constexpr int BLOCKS = Scales::HALVES ? 2 : 1, SPANS_OF_FOUR = 4 / BLOCKS;
    const unsigned char *scales = unit + Quants::BYTES;
    float sums[2] = {};
#pragma unroll
    for (int first = 0; first < SPANS; first += SPANS_OF_FOUR) {
        typename Scales::Four four[2] = {Scales::four(scales, 0, first * BLOCKS), Scales::four(scales, 1, first * BLOCKS)};
#pragma unroll
        for (int i = 0; i < SPANS_OF_FOUR; ++i) {
            unsigned a[4];
            Quants::fragments(unit, first + i, a);
            const Bits128 &b = x.fragments[first + i];
#pragma unroll
            for (int row = 0; row < 2; ++row)
#pragma unroll
                for (int block = 0; block < BLOCKS; ++block) {
                    int product = dot4(a[row + 2 * block], b.word[block], 0);
                    if (BLOCKS == 1)
                        product = dot4(a[row + 2], b.word[1], product);
                    product = product * 128 + (SMALL ? MAGIC : 0);
                    product = dot4(a[row + 2 * block], b.word[2 + block], product);
                    if (BLOCKS == 1)
                        product = dot4(a[row + 2], b.word[3], product);
                    sums[row] += Scales::scale(four[row], i * BLOCKS + block) * exact_float<SMALL>(product);
                }
        }
    }
#pragma unroll
    for (int row = 0; row < 2; ++row) {
        float sum = Scales::common(scales, row) * sums[row];
        if constexpr (Scales::HAS_MINIMA) {
            unsigned minima = Scales::minima(scales, row), high = x.sums[0], low = x.sums[1];
            float below = half_float(minima, 0) * (half_float(high, 0) + half_float(low, 0)) +
                          half_float(minima, 1) * (half_float(high, 1) + half_float(low, 1));
            sum -= Scales::common_min(scales, row) * 8.0f * below;
        }
        total[row] += x.scale * sum;
    }
}

// Starts to copy a unit's weights to a warp's ring; both addresses are the lane's.
template <int BYTES> DEVICE void copy_weights(unsigned char *to, const unsigned char *from) {
    constexpr int STEP = WARP_SIZE * 16;
#pragma unroll
    for (int at = 0; at < BYTES; at += STEP)
        if (at + STEP <= BYTES || lane_id() * 16 < BYTES - at)
            cp_async_16(to + at, from + at, true);
}

// Hands the warp's units of its rows to `multiply(unit in shared memory, load(its number))`, one after another; `load` runs while the
// unit is on its way.
template <int UNIT_BYTES, typename Work, typename Load, typename Multiply>
DEVICE void stream_units(const Work &p, const unsigned char *row, Load load, Multiply multiply) {
    DYNAMIC_SHARED(unsigned char, shared);
    unsigned char *ring = shared + warp_id() * p.ring_bytes;
    int first = warp_id();
    const unsigned char *from = row + static_cast<long long>(first) * UNIT_BYTES + lane_id() * 16;
#pragma unroll
    for (int stage = 0; stage < PACKED_STAGES; ++stage) {
        if (first + stage * PACKED_WARPS < p.num_units)
            copy_weights<UNIT_BYTES>(ring + stage * UNIT_BYTES + lane_id() * 16, from + stage * PACKED_WARPS * UNIT_BYTES);
        cp_async_commit();
    }
    // Weights are on their way; activations come from the kernel before.
    wait_for_kernel_before();
    unsigned char *now = ring;
    for (int unit = first; unit < p.num_units; unit += PACKED_WARPS) {
        auto x = load(unit);
        cp_async_wait<PACKED_STAGES - 1>();
        __syncwarp();
        multiply(now, x);
        // All lanes have read the stage.
        __syncwarp();
        from += PACKED_WARPS * UNIT_BYTES;
        if (unit + PACKED_STAGES * PACKED_WARPS < p.num_units)
            copy_weights<UNIT_BYTES>(now + lane_id() * 16, from + (PACKED_STAGES - 1) * PACKED_WARPS * UNIT_BYTES);
        cp_async_commit();
        now = now == ring ? ring + UNIT_BYTES : ring;
    }
}

template <typename Quants, typename Scales, typename Work>
DEVICE void multiply_units(const Work &p, const unsigned char *row, float (&total)[4]) {
    stream_units<Quants::BYTES + Scales::BYTES>(
        p, row, [&](int unit) { return x_unit(p.x + static_cast<long long>(unit) * X_UNIT_BYTES, p.batch); },
        [&](const unsigned char *unit, const XUnit &x) { multiply_unit<Quants, Scales>(unit, x, total); });
}

// As multiply_units for token 0, in `total[0]` and `[2]` of the lanes with t = 0, where multiply_units has it.
template <typename Quants, typename Scales, typename Work>
DEVICE void multiply_units_one(const Work &p, const unsigned char *row, float (&total)[4]) {
    float shares[2] = {};
    stream_units<Quants::BYTES + Scales::BYTES>(
        p, row, [&](int unit) { return load_one(p.x + static_cast<long long>(unit) * X_UNIT_BYTES); },
        [&](const unsigned char *unit, const OneToken &x) { multiply_one<Quants, Scales>(unit, x, shares); });
#pragma unroll
    for (int row_of_lane = 0; row_of_lane < 2; ++row_of_lane) {
        float share = shares[row_of_lane];
        share += __shfl_xor_sync(ALL_LANES, share, 1);
        share += __shfl_xor_sync(ALL_LANES, share, 2);
        total[2 * row_of_lane] = share;
    }
}

// Runs `multiply<Quants, Scales>(p, row, total)` with those of the format.
#define MULTIPLY_FORMAT(multiply, format, p, row, total)                                                                  \
    switch (format) {                                                                                                     \
    case NIBBLES_SPANS:                                                                                                   \
        multiply<Nibbles, SpanScales>(p, row, total);                                                                     \
        break;                                                                                                            \
    case NIBBLES_MINIMA:                                                                                                  \
        multiply<Nibbles, FloatScales<true>>(p, row, total);                                                              \
        break;                                                                                                            \
    case BYTES_SPANS:                                                                                                     \
        multiply<Bytes, SpanScales>(p, row, total);                                                                       \
        break;                                                                                                            \
    case BYTES_HALVES:                                                                                                    \
        multiply<Bytes, HalfScales>(p, row, total);                                                                       \
        break;                                                                                                            \
    case BYTES_FLOATS:                                                                                                    \
        multiply<Bytes, FloatScales<false>>(p, row, total);                                                               \
        break;                                                                                                            \
    default:                                                                                                              \
        multiply<Bytes, FloatScales<true>>(p, row, total);                                                                \
        break;                                                                                                            \
    }

// Totals of a block: [PACKED_WARPS][8 tokens][16 rows].
constexpr int TOTALS_OF_WARP = TILE_ROWS * TILE_TOKENS_PACKED;

// Leaves the warps' totals in shared memory for all.
DEVICE const float *share_totals(const float (&total)[4]) {
    SHARED(float, sums, PACKED_WARPS * TOTALS_OF_WARP);
    int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
    for (int i = 0; i < 4; ++i)
        sums[(warp_id() * TILE_TOKENS_PACKED + 2 * t + i % 2) * TILE_ROWS + g + i / 2 * 8] = total[i];
    __syncthreads();
    return sums;
}

// Returns `sum` and the warps' totals of a token and row, added in order.
DEVICE float add_totals(const float *sums, int token, int row, float sum) {
#pragma unroll
    for (int warp = 0; warp < PACKED_WARPS; ++warp)
        sum += sums[warp * TOTALS_OF_WARP + token * TILE_ROWS + row];
    return sum;
}
