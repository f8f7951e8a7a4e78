// What paged_decode_tiles.cuh does with a tile of 8 bits (q8_tile.cuh).
//
// `ldmatrix.trans` moves pairs of bytes, so a lane gets two neighbouring tokens of keys, or dimensions of values, of two rows; with
// g = lane / 4 and t = lane % 4:
//
//   keys     a word is dimensions 2t, 2t + 1 of tokens 2g, 2g + 1. Its even bytes are a B fragment of the 8 even tokens, its odd
//            ones of the odd tokens, so a lane's scores are those of tokens 4t to 4t + 3. Numbers are whole, exact in f16; each 32
//            dimensions are summed by themselves, times the tokens' scales in f32: as exact as with keys of f16
//   values   rows are read in the order of tokens 4t, 4t + 1 and then 4t + 2, 4t + 3, as the scores lie, so a word is dimensions
//            2g, 2g + 1 of two such tokens: even bytes are rows 0 to 7 of an A fragment, odd ones rows 8 to 15. Numbers times
//            scales are rounded to f16, as a cache of f16 would have them
//
// Keys lie as in the cache: the 8 rows of a matrix are 128 bytes in order. Rows of values are an odd number of 16 bytes, and the second
// 8 tokens 32 bytes further: so the rows of a matrix, tokens 0, 1, 4, 5, 8, 9, 12, 13 or 2 more, lie in different banks.
// Tokens that are not seen: their scores are not used, and their scales count as 0 for values, since both may be NaN.
#pragma once

#include "paged_decode_tiles.cuh"
#include "q8_tile.cuh"

template <int HEAD_DIM> struct BytesTile {
    static constexpr int SIZE = HEAD_DIM, STEPS = HEAD_DIM / 16, GROUPS = q8_groups(HEAD_DIM);
    static constexpr int BYTES = q8_tile_bytes(HEAD_DIM), PIECES = BYTES / 16;
    static constexpr int VALUE_ROW = (HEAD_DIM / 16 | 1) * 16, SECOND_HALF = 32;
    // As in the cache.
    alignas(16) unsigned char keys[TILE_TOKENS * HEAD_DIM];
    half_t key_scales[GROUPS * TILE_TOKENS];
    alignas(16) unsigned char values[TILE_TOKENS * VALUE_ROW + SECOND_HALF];
    half_t value_scales[GROUPS * TILE_TOKENS];

    DEVICE_MEMBER int token_of(int half, int i) { return lane_id() % 4 * 4 + 2 * i + half; }
    DEVICE_MEMBER int dimension_of(int half) { return lane_id() / 4 * 2 + half; }
    DEVICE_MEMBER int value_place(int token) { return token * VALUE_ROW + token / 8 * SECOND_HALF; }

    DEVICE_MEMBER void copy_keys(const PagedDecodeAttention &p, BytesTile &to, long long at) {
        const unsigned char *keys = static_cast<const unsigned char *>(p.k_cache) + at;
#pragma unroll
        for (int first = 0; first < PIECES; first += WARP_SIZE) {
            int piece = first + lane_id();
            if (piece < PIECES)
                cp_async_16(to.keys + piece * 16, keys + piece * 16, true);
        }
        cp_async_commit();
    }

    DEVICE_MEMBER void copy_values(const PagedDecodeAttention &p, BytesTile &to, long long at, int, int) {
        constexpr int ROW_PIECES = HEAD_DIM / 16, NUMBERS = TILE_TOKENS * ROW_PIECES;
        const unsigned char *values = static_cast<const unsigned char *>(p.v_cache) + at;
        unsigned char *scales = reinterpret_cast<unsigned char *>(to.value_scales);
#pragma unroll
        for (int first = 0; first < PIECES; first += WARP_SIZE) {
            int piece = first + lane_id();
            if (piece >= PIECES)
                break;
            unsigned char *place = piece < NUMBERS ? to.values + value_place(piece / ROW_PIECES) + piece % ROW_PIECES * 16
                                                   : scales + (piece - NUMBERS) * 16;
            cp_async_16(place, values + piece * 16, true);
        }
        cp_async_commit();
    }

    // Returns the scales of tokens 4t + 2 i and one more in a group.
    DEVICE_MEMBER unsigned scales_of(const half_t *scales, int group, int i) {
        const half_t *first = scales + group * TILE_TOKENS + lane_id() % 4 * 4;
        return reinterpret_cast<const unsigned *>(first)[i];
    }

    // Reads 32 rows of keys; a last group may have 16, which are then read twice.
    DEVICE_MEMBER void read_keys(const BytesTile &tile, int group, unsigned (&words)[4]) {
        int row = group * Q8_GROUP + Q8_GROUP <= HEAD_DIM ? lane_id() : lane_id() % 16;
        ldmatrix_x4_trans(words, tile.keys + (group * Q8_GROUP + row) * TILE_TOKENS);
    }

    DEVICE_MEMBER void scores_of(const Bits128 (&queries)[STEPS][WARP_SIZE], const BytesTile &tile, float (&scores)[2][2]) {
        unsigned words[GROUPS][4];
#pragma unroll
        for (int group = 0; group < GROUPS; ++group)
            read_keys(tile, group, words[group]);
#pragma unroll
        for (int half = 0; half < 2; ++half)
            scores[half][0] = scores[half][1] = 0.0f;
#pragma unroll
        for (int group = 0; group < GROUPS; ++group) {
            float sums[2][4] = {};
#pragma unroll
            for (int step = 0; step < 2; ++step) {
                if (2 * group + step >= STEPS)
                    continue;
                Bits128 query = queries[2 * group + step][lane_id()];
                unsigned lower = words[group][2 * step], upper = words[group][2 * step + 1];
                mma_m16n8k16(sums[0], query.word, {pair_of_bytes(lower, EVEN_TWO), pair_of_bytes(upper, EVEN_TWO)}, half_t{});
                mma_m16n8k16(sums[1], query.word, {pair_of_bytes(lower, ODD_TWO), pair_of_bytes(upper, ODD_TWO)}, half_t{});
            }
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                unsigned scales = scales_of(tile.key_scales, group, i);
#pragma unroll
                for (int half = 0; half < 2; ++half)
                    scores[half][i] += (sums[half][i] + sums[half][2 + i]) * half_of_pair(scales, half);
            }
        }
    }

    // Reads 16 tokens of 32 dimensions: of each 16 the pairs of tokens 4t, 4t + 1 and then those of 4t + 2, 4t + 3.
    DEVICE_MEMBER void read_values(const BytesTile &tile, int group, unsigned (&words)[4]) {
        int matrix = lane_id() / 8, row = lane_id() % 8, token = row / 2 * 4 + matrix % 2 * 2 + row % 2;
        int column = group * Q8_GROUP + (group * Q8_GROUP + Q8_GROUP <= HEAD_DIM ? matrix / 2 * 16 : 0);
        ldmatrix_x4_trans(words, tile.values + value_place(token) + column);
    }

    DEVICE_MEMBER void add_values(const BytesTile &tile, const float (&weights)[2][2], WarpSums<HEAD_DIM> &sums, int first_seen,
                                  int end_seen) {
        unsigned high[2], low[2], seen[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            high[i] = pack_with_rest(weights[0][i], weights[1][i], low[i]);
            int token = token_of(0, i);
            seen[i] = (token >= first_seen && token < end_seen ? 0xffffu : 0u) |
                      (token + 1 >= first_seen && token + 1 < end_seen ? 0xffff0000u : 0u);
        }
        unsigned words[GROUPS][4];
#pragma unroll
        for (int group = 0; group < GROUPS; ++group)
            read_values(tile, group, words[group]);
#pragma unroll
        for (int group = 0; group < GROUPS; ++group) {
            unsigned scales[2];
#pragma unroll
            for (int i = 0; i < 2; ++i)
                scales[i] = scales_of(tile.value_scales, group, i) & seen[i];
            unsigned values[2][4];
#pragma unroll
            for (int step = 0; step < 2; ++step)
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    unsigned pair = pair_of_bytes(words[group][2 * step + i / 2], i % 2 == 0 ? EVEN_TWO : ODD_TWO);
                    values[step][i] = mul_halves(pair, scales[i / 2]);
                }
#pragma unroll
            for (int part = 0; part < 2; ++part)
#pragma unroll
                for (int step = 0; step < 2; ++step)
                    if (2 * group + step < STEPS)
                        mma_m16n8k16(sums.acc[2 * group + step], values[step], part == 0 ? high : low, half_t{});
        }
    }
};
static_assert(sizeof(BytesTile<128>) == 2176 + 16 * 144 + 32 + 128 && sizeof(BytesTile<80>) == 2 * 1376 + 32);
