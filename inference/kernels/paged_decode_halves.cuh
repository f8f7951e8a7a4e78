// What paged_decode_tiles.cuh does with a tile of f16.
//
// Keys lie [head_dim][16 tokens], swizzled, and values [16 tokens][head_dim], in rows that are 16 bytes longer, so that the 8 rows of
// a matrix of `ldmatrix` lie in different banks. With g = lane / 4 and t = lane % 4 a lane's scores are those of tokens 2t, 2t + 1
// and 8 more, and its sums those of dimensions g and g + 8 of 16.
#pragma once

#include "paged_decode_tiles.cuh"

// The 8 numbers at the end of each row of values are not used.
template <int HEAD_DIM> struct HalvesTile {
    static constexpr int SIZE = HEAD_DIM, STEPS = HEAD_DIM / 16;
    static constexpr int BYTES = HEAD_DIM * TILE_TOKENS * 2;
    static constexpr int VALUE_ROW = HEAD_DIM + 8;
    // Fragments of keys or values that are read together.
    static constexpr int AT_ONCE = 4;
    half_t keys[TILE_TOKENS * HEAD_DIM], values[TILE_TOKENS * VALUE_ROW];

    DEVICE_MEMBER int token_of(int half, int i) { return half * 8 + lane_id() % 4 * 2 + i; }
    DEVICE_MEMBER int dimension_of(int half) { return half * 8 + lane_id() / 4; }

    DEVICE_MEMBER void copy_keys(const PagedDecodeAttention &p, HalvesTile &to, long long at) {
        const half_t *keys = reinterpret_cast<const half_t *>(static_cast<const char *>(p.k_cache) + at) + lane_id() * 8;
        // Rows 4 apart would be in the same banks, so every other four have their halves exchanged; 16 rows on it is the same.
        half_t *place = to.keys + (lane_id() ^ (lane_id() / 8 & 1)) * 8;
#pragma unroll
        for (int piece = 0; piece < 2 * HEAD_DIM; piece += WARP_SIZE)
            cp_async_16(place + piece * 8, keys + piece * 8, true);
        cp_async_commit();
    }

    // Tokens that are not seen become zeros: a slot that no token wrote may hold NaN.
    DEVICE_MEMBER void copy_values(const PagedDecodeAttention &p, HalvesTile &to, long long at, int first_seen, int end_seen) {
        constexpr int ROW_PIECES = HEAD_DIM / 8;
        const half_t *values = reinterpret_cast<const half_t *>(static_cast<const char *>(p.v_cache) + at) + lane_id() * 8;
#pragma unroll
        for (int piece = 0; piece < 2 * HEAD_DIM; piece += WARP_SIZE) {
            int token = (piece + lane_id()) / ROW_PIECES, column = (piece + lane_id()) % ROW_PIECES;
            half_t *place = to.values + token * VALUE_ROW + column * 8;
            cp_async_16(place, values + piece * 8, token >= first_seen && token < end_seen);
        }
        cp_async_commit();
    }

    DEVICE_MEMBER void scores_of(const Bits128 (&queries)[STEPS][WARP_SIZE], const HalvesTile &tile, float (&scores)[2][2]) {
        int matrix = lane_id() / 8, d = matrix % 2 * 8 + lane_id() % 8;
        const half_t *row = tile.keys + (2 * d + (matrix / 2 ^ (d / 4 & 1))) * 8;
        // Two chains of sums a half, and several fragments read before the first is used: a product takes 30 cycles or so.
        float sums[2][2][4] = {};
#pragma unroll
        for (int first = 0; first < STEPS; first += AT_ONCE) {
            unsigned keys[AT_ONCE][4];
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i)
                if (first + i < STEPS)
                    ldmatrix_x4_trans(keys[i], row + (first + i) * 16 * TILE_TOKENS);
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i) {
                if (first + i >= STEPS)
                    continue;
                Bits128 query = queries[first + i][lane_id()];
#pragma unroll
                for (int half = 0; half < 2; ++half)
                    mma_m16n8k16(sums[i % 2][half], query.word, {keys[i][2 * half], keys[i][2 * half + 1]}, half_t{});
            }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int i = 0; i < 2; ++i)
                scores[half][i] = sums[0][half][i] + sums[1][half][i] + (sums[0][half][2 + i] + sums[1][half][2 + i]);
    }

    // What is not seen was made zero by the copy.
    DEVICE_MEMBER void add_values(const HalvesTile &tile, const float (&weights)[2][2], WarpSums<HEAD_DIM> &sums, int, int) {
        unsigned high[2], low[2];
#pragma unroll
        for (int half = 0; half < 2; ++half)
            high[half] = pack_with_rest(weights[half][0], weights[half][1], low[half]);
        int matrix = lane_id() / 8, token = matrix / 2 * 8 + lane_id() % 8;
        const half_t *row = tile.values + token * VALUE_ROW + matrix % 2 * 8;
#pragma unroll
        for (int first = 0; first < STEPS; first += AT_ONCE) {
            unsigned values[AT_ONCE][4];
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i)
                if (first + i < STEPS)
                    ldmatrix_x4_trans(values[i], row + (first + i) * 16);
#pragma unroll
            for (int part = 0; part < 2; ++part)
#pragma unroll
                for (int i = 0; i < AT_ONCE; ++i)
                    if (first + i < STEPS)
                        mma_m16n8k16(sums.acc[first + i], values[i], part == 0 ? high : low, half_t{});
        }
    }
};
static_assert(sizeof(DecodeTiles<HalvesTile<128>>) == 38144);
