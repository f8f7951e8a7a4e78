// A cache of keys and values in 8 bits: how its tiles lie, and how their bytes become f16. kv_cache/q8_tile.rs has the whole text.
//
// A tile is the keys or the values of a KV block and key head: bytes that are 128 more than their numbers, keys [head_dim][16 tokens],
// values [16 tokens][head_dim], then an f16 scale for each 32 numbers of a token, [groups][16 tokens]. Tiles follow each other and
// begin at multiples of 16 bytes.
#pragma once

#include "ptx.cuh"

constexpr int Q8_TOKENS = 16, Q8_GROUP = 32, Q8_EXCESS = 128;

constexpr int q8_groups(int head_dim) { return (head_dim + Q8_GROUP - 1) / Q8_GROUP; }
constexpr int q8_tile_bytes(int head_dim) { return (head_dim + 2 * q8_groups(head_dim)) * Q8_TOKENS; }
static_assert(q8_tile_bytes(128) == 2176 && q8_tile_bytes(80) == 1376);

// Which two bytes of a word become a pair: neighbours, or those 2 apart. The other two bytes of the selection make each an f16 of
// 1024 more.
constexpr unsigned FIRST_TWO = 0x4140u, LAST_TWO = 0x4342u, EVEN_TWO = 0x4240u, ODD_TWO = 0x4341u;

// Returns the numbers of two bytes as a pair of f16, exactly.
DEVICE unsigned pair_of_bytes(unsigned word, unsigned which) {
    // Less 1152: 1024 that the bits in front stand for, and the excess.
    return add_halves(permute_bytes(word, 0x64646464u, which), 0xe480e480u);
}

// Returns the products of two pairs of f16.
DEVICE unsigned mul_halves(unsigned a, unsigned b) { return fma_halves(a, b, 0u); }

// Returns one of a pair of f16.
DEVICE float half_of_pair(unsigned pair, int which) { return to_float(half_t{static_cast<unsigned short>(pair >> (16 * which))}); }
