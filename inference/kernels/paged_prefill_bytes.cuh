// Keys and values of 8 bits for paged_prefill_attention.cu: a warp copies the bytes of one KV block of a tile, and makes them f16
// where the products look for them.
#pragma once

#include "paged_prefill.cuh"
#include "q8_tile.cuh"

// The bytes of a KV block, as they lie in the cache.
template <int HEAD_DIM> struct ByteStage {
    static constexpr int PIECES = q8_tile_bytes(HEAD_DIM) / 16;
    alignas(16) unsigned char keys[q8_tile_bytes(HEAD_DIM)], values[q8_tile_bytes(HEAD_DIM)];
};

template <int HEAD_DIM, int WARPS, int MATRICES, bool STAY> struct PrefillBytesShared {
    static_assert(WARPS == BLOCKS_OF_TILE, "a warp has one KV block of a tile");
    static constexpr int QUERIES = STAY ? 0 : WARPS * MATRICES * HEAD_DIM / 16 * WARP_SIZE;
    KvTile<HEAD_DIM> tile;
    ByteStage<HEAD_DIM> stages[WARPS];
    static constexpr int BYTES = sizeof(KvTile<HEAD_DIM>) + WARPS * sizeof(ByteStage<HEAD_DIM>) + QUERIES * sizeof(Bits128);
    DEVICE_MEMBER Bits128 *queries(PrefillBytesShared *shared) { return reinterpret_cast<Bits128 *>(shared + 1); }
};

// Dynamic shared memory of the entry points.
constexpr int prefill_bytes_shared_bytes(int head_dim) {
    return KV_TILE * (2 * head_dim + 8) * 2 + BLOCKS_OF_TILE * 2 * q8_tile_bytes(head_dim) +
           (queries_stay(head_dim, PREFILL_MATRICES) ? 0 : PREFILL_ROWS * head_dim * 2);
}
static_assert(prefill_bytes_shared_bytes(64) == 26112 && prefill_bytes_shared_bytes(128) == 83968);

// Starts to copy a KV block, which begins at `first_token`; of a block that is not seen the bytes are zeros, whose scales are 0.
template <int HEAD_DIM>
DEVICE void copy_bytes(const PagedPrefillAttention &p, const PrefillTile &work, ByteStage<HEAD_DIM> &to, unsigned block,
                       int first_token) {
    constexpr int PIECES = ByteStage<HEAD_DIM>::PIECES;
    int lane = thread_read_anew() % WARP_SIZE;
    unsigned tile = block * static_cast<unsigned>(p.num_kv_heads) + static_cast<unsigned>(work.kv_head);
    long long at = static_cast<long long>(tile) * (PIECES * 16) + lane * 16;
    const unsigned char *keys = static_cast<const unsigned char *>(p.k_cache) + at;
    const unsigned char *values = static_cast<const unsigned char *>(p.v_cache) + at;
    bool seen = block_is_seen(work, first_token);
#pragma unroll
    for (int piece = 0; piece < PIECES; piece += WARP_SIZE)
        if (piece + lane < PIECES) {
            cp_async_16(to.keys + (piece + lane) * 16, keys + piece * 16, seen);
            cp_async_16(to.values + (piece + lane) * 16, values + piece * 16, seen);
        }
    cp_async_commit();
}

// Turns 8 bytes into f16, times the scales of pairs, and writes them.
DEVICE void write_widened(half_t *to, const unsigned char *from, const unsigned (&scales)[4]) {
    const unsigned *words = reinterpret_cast<const unsigned *>(from);
    Bits128 widened;
#pragma unroll
    for (int i = 0; i < 4; ++i)
        widened.word[i] = mul_halves(pair_of_bytes(words[i / 2], i % 2 == 0 ? FIRST_TWO : LAST_TWO), scales[i]);
    *reinterpret_cast<Bits128 *>(to) = widened;
}

// Makes the warp's KV block f16, in its place in the tile. Values that no row of the block of threads sees become zeros, whatever
// their scales: a slot that no token wrote may hold NaN. Such keys give scores that are not used.
template <int HEAD_DIM>
DEVICE void widen_bytes(const PrefillTile &work, const ByteStage<HEAD_DIM> &from, KvTile<HEAD_DIM> &to, int first_token) {
    constexpr int ROW = KvTile<HEAD_DIM>::VALUE_ROW, ROW_PIECES = HEAD_DIM / 8, NUMBERS = HEAD_DIM * KV_BLOCK;
    int thread = thread_read_anew(), warp = thread / WARP_SIZE, lane = thread % WARP_SIZE;
    half_t *keys = to.keys + warp * NUMBERS, *values = to.values + warp * KV_BLOCK * ROW;
    const half_t *value_scales = reinterpret_cast<const half_t *>(from.values + NUMBERS);
    // Half a row of keys, 8 tokens.
#pragma unroll 4
    for (int piece = lane; piece < 2 * HEAD_DIM; piece += WARP_SIZE) {
        int d = piece / 2, half = piece % 2;
        Bits128 scales = load16(from.keys + NUMBERS + (d / Q8_GROUP * KV_BLOCK + half * 8) * 2);
        write_widened(keys + key_place(d, half) * 8, from.keys + piece * 8, scales.word);
    }
    // 8 dimensions of a token's values.
#pragma unroll 4
    for (int piece = lane; piece < 2 * HEAD_DIM; piece += WARP_SIZE) {
        int token = piece / ROW_PIECES, d = piece % ROW_PIECES * 8;
        bool seen = first_token + token >= work.first_token && first_token + token < work.end_token;
        unsigned scale = seen ? value_scales[d / Q8_GROUP * KV_BLOCK + token].bits : 0u;
        unsigned both = scale | scale << 16;
        write_widened(values + token * ROW + d, from.values + piece * 8, {both, both, both, both});
    }
}
