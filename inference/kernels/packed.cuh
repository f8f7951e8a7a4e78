// Packed activations and weights: both as whole numbers, in the order in which a tensor core's lanes hold them.
//
// A unit is 256 columns. The lane with g = lane / 4 and t = lane % 4 reads 16 bytes of each 32 columns ("span") at once.
//
// Activations, of 8 tokens ("tile"): x = scale * (128 * high + low), 14 bits, one scale a token and unit:
//   4096 B  [8 spans][32 lanes][high of columns 4t.., high of 16 + 4t.., low of 4t.., low of 16 + 4t..], token g
//    256 B  [32 lanes][high half, low half] of sums: pairs of f16, of spans 2t and 2t + 1 of token g, divided by 8
//     32 B  [8] f32: scales
// Tiles follow each other, the units of a tile follow each other.
//
// Activations in f16 ("halves"), of 8 tokens: x * 2^-6, so that what a gate lets through does not reach the end of f16:
//   4096 B  [8 spans][4 pairs][32 lanes][pair i of columns 4t, 4t + 2; 4t + 1, 4t + 3; 16 + 4t, 16 + 4t + 2; 16 + 4t + 1, 16 + 4t + 3],
//           token g
// whose pairs 2j and 2j + 1 are the fragment of B for `mma.m16n8k16` that fits the weights' words: bytes 0 and 2 of a word, then
// bytes 1 and 3. 128 bytes are 8 tokens' rows of 16: a matrix of `ldmatrix`, and a core matrix of `wgmma` (K-major, no swizzle).
//
// Weights, of 16 rows; i = 0..3 is row g + 8 * (i % 2), columns 16 * (i / 2) + 4t..:
//   nibbles  2048 B  [4 pairs of spans][32 lanes][i], low nibbles of the pair's first span
//   bytes    4096 B  [8 spans][32 lanes][i], signed
// and then scales, one of
//   spans    [16 rows][8 scales, 8 minima of a byte], [16 rows][scale f16, scale of the minima f16]   Q4_K, Q5_K
//   halves   [16 rows][16 scales, signed bytes], [16 rows][scale f16, 0]                              Q6_K
//   floats   [16 rows][8 scales f16]                                                                   Q8_0, Q5_0
//   minima   [16 rows][8 scales f16], [16 rows][8 minima f16]                                          Q4_0, Q4_1, Q5_1
// A weight is scale * number - minimum. The units of 16 rows follow each other.
#pragma once

#include "ptx.cuh"

constexpr int UNIT = 256, SPAN = 32, SPANS = UNIT / SPAN;
constexpr int TILE_ROWS = 16, TILE_TOKENS_PACKED = 8;
constexpr int X_SUMS = 4096, X_SCALES = X_SUMS + 256, X_UNIT_BYTES = X_SCALES + 32;
constexpr int NIBBLE_BYTES = 2048, BYTE_BYTES = 4096;

// Formats of weights, as the launch names them.
constexpr int NIBBLES_SPANS = 0, NIBBLES_MINIMA = 1, BYTES_SPANS = 2, BYTES_HALVES = 3, BYTES_FLOATS = 4, BYTES_MINIMA = 5;

DEVICE int packed_unit_bytes(int format) {
    int quants = format == NIBBLES_SPANS || format == NIBBLES_MINIMA ? NIBBLE_BYTES : BYTE_BYTES;
    int scales = format == BYTES_FLOATS ? 256 : format == NIBBLES_MINIMA || format == BYTES_MINIMA ? 512 : 320;
    return quants + scales;
}

// Matrices that share their activations, as the launch names them.
constexpr int PACKED_PARTS = 3;

struct PackedMatrix {
    const unsigned char *units; // [tiles][num_units]
    const float *bias;          // [rows], or null
    float *y;                   // [batch] rows, y_stride apart
    long long y_stride;
    int rows, format;
};

// Products of 9 to 64 tokens (packed_gemm.cu, packed_gemm_wgmma.cu).
struct PackedGemm {
    PackedMatrix part[PACKED_PARTS];
    const unsigned char *x; // halves, [tiles of 8 tokens][num_units]
    float *partial;         // null when num_splits is 1
    unsigned *arrived;      // [blocks of rows]
    int num_units, batch, num_parts, num_splits;
};

DEVICE half_t to_half(float x) {
    half_t y;
    from_float(x, y);
    return y;
}

DEVICE float byte_float(unsigned word, int at) {
    // A byte in the last place of 2^23.
    return __uint_as_float(permute_bytes(word, 0x4b000000u, 0x7440u | static_cast<unsigned>(at))) - 8388608.0f;
}
DEVICE float half_float(unsigned word, int at) { return to_float(half_t{static_cast<unsigned short>(word >> (16 * at))}); }

// Packs 256 numbers of token `g` of a tile: a warp, whose lane has columns 8 * lane... All lanes take part.
// What is not a finite number makes the scale NaN, and with it all products.
DEVICE void pack_unit(const float (&x)[8], unsigned char *unit, int g) {
    float largest = 0.0f;
    bool finite = true;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        largest = fmaxf(largest, fabsf(x[i]));
        finite = finite && fabsf(x[i]) <= 3.4e38f;
    }
#pragma unroll
    for (int distance = WARP_SIZE / 2; distance > 0; distance /= 2)
        largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, distance));
    finite = __all_sync(ALL_LANES, finite);
    // 14 bits: a product of 32 with weights below 16 stays below 2^22.
    float inverse = largest > 0.0f && finite ? 8191.0f / largest : 0.0f;
    unsigned words[4] = {};
    int sum = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        int number = static_cast<int>(rintf(x[i] * inverse));
        number = finite ? max(-8191, min(8191, number)) : 0;
        int high = (number + 64) >> 7, low = number - high * 128;
        words[i / 4] |= (static_cast<unsigned>(high) & 255u) << (8 * (i % 4));
        words[2 + i / 4] |= (static_cast<unsigned>(low) & 255u) << (8 * (i % 4));
        sum += number;
    }
    int span = lane_id() / 4, column = lane_id() % 4 * 8;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        int t = column % 16 / 4 + i % 2, word = i / 2 * 2 + column / 16;
        *reinterpret_cast<unsigned *>(unit + ((span * WARP_SIZE + g * 4 + t) * 4 + word) * 4) = words[i];
    }
    sum += __shfl_xor_sync(ALL_LANES, sum, 1);
    sum += __shfl_xor_sync(ALL_LANES, sum, 2);
    if (lane_id() % 4 == 0) {
        float eighth = static_cast<float>(sum) * 0.125f;
        half_t high = to_half(eighth), low = to_half(eighth - to_float(high));
        unsigned char *at = unit + X_SUMS + (g * 4 + span / 2) * 8 + span % 2 * 2;
        *reinterpret_cast<unsigned short *>(at) = high.bits;
        *reinterpret_cast<unsigned short *>(at + 4) = low.bits;
    }
    if (lane_id() == 0)
        *reinterpret_cast<float *>(unit + X_SCALES + 4 * g) = finite ? largest / 8191.0f : __uint_as_float(0x7fc00000u);
}

constexpr int HALVES_UNIT_BYTES = 4096;
constexpr float HALVES_SCALE = 0.015625f;

// Writes 256 numbers of token `g` of a tile in f16: a warp, whose lane has columns 8 * lane... What is too large becomes infinite.
DEVICE void pack_unit_halves(const float (&x)[8], unsigned char *unit, int g) {
    int span = lane_id() / 4, column = lane_id() % 4 * 8;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        // Columns i and the next but one of two lanes, which lie side by side.
        int word = column / 16 * 2 + i, t = column % 16 / 4;
        unsigned pairs[2];
#pragma unroll
        for (int next = 0; next < 2; ++next)
            pairs[next] = pack_halves(x[4 * next + i] * HALVES_SCALE, x[4 * next + i + 2] * HALVES_SCALE);
        store_words(unit + ((span * 4 + word) * WARP_SIZE + g * 4 + t) * 4, pairs);
    }
}

// Where unit `unit` of a token's tile lies.
DEVICE unsigned char *packed_unit(unsigned char *packed, long long token, int num_units, int unit) {
    return packed + (token / TILE_TOKENS_PACKED * num_units + unit) * X_UNIT_BYTES;
}
DEVICE unsigned char *halves_unit(unsigned char *packed, long long token, int num_units, int unit) {
    return packed + (token / TILE_TOKENS_PACKED * num_units + unit) * HALVES_UNIT_BYTES;
}

// Writes a warp's products of activations in halves, as `mma` and `wgmma` leave them: rows g and g + 8 of each tile from `first_row`, tokens
// 2t and 2t + 1 of each tile of tokens. Shape: ROW_TILES and TILES of them.
template <typename Shape>
DEVICE void write_products(int batch, const PackedMatrix &matrix, int first_row,
                       const float (&total)[Shape::ROW_TILES][Shape::TILES][4]) {
    int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
    for (int tile = 0; tile < Shape::ROW_TILES; ++tile)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            int row = first_row + tile * TILE_ROWS + half * 8 + g;
            if (row >= matrix.rows)
                continue;
            float bias = matrix.bias != nullptr ? matrix.bias[row] : 0.0f;
#pragma unroll
            for (int x_tile = 0; x_tile < Shape::TILES; ++x_tile)
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    int token = x_tile * TILE_TOKENS_PACKED + 2 * t + i;
                    if (token < batch)
                        matrix.y[token * matrix.y_stride + row] = total[tile][x_tile][2 * half + i] * (1.0f / HALVES_SCALE) + bias;
                }
        }
}
