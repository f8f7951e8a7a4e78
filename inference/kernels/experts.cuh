// What the kernels of a mixture of experts pass to each other, in memory whose places do not depend on the routing, so that no step
// waits for the host.
//
// A *pair* is a token and one of the experts that it uses: number token * num_used + slot, the most probable expert first. Pairs of one
// expert have consecutive *places*, in the order of their tokens; each expert begins at a multiple of 8, a tile of packed activations.
// Places between experts belong to nobody: nothing is written there and nothing that is computed from them is used. An *expert tile* is up
// to `tile_rows` places of one expert, what a block of a product takes; a launch has as many as there can be, the rest have no rows.
#pragma once

#include "packed.cuh"

// The place of a pair that does not exist: its token only fills a batch.
constexpr unsigned NOWHERE = 0xffffffffu;
constexpr int PLACES_OF_TILE = TILE_TOKENS_PACKED;

struct alignas(16) ExpertTile {
    unsigned expert, first, rows, unused;
};

DEVICE ExpertTile load_tile(const ExpertTile *from) {
    Bits128 bits = load16(from);
    return {bits.word[0], bits.word[1], bits.word[2], 0};
}

constexpr int EXPERT_PARTS = 2;

// The matrices of all experts, of one type, one after another.
struct ExpertMatrices {
    const unsigned char *units; // [num_experts][tiles of 16 rows][num_units]
    long long expert_bytes;
    int rows, format;
};

// A product of places with the matrices of their experts; those of several parts (gate and up) are multiplied with the same activations.
struct ExpertProduct {
    ExpertMatrices part[EXPERT_PARTS];
    const unsigned char *x;    // units of packed.cuh, as the kernel says
    float *y;                  // [places, rows of all parts]
    const ExpertTile *tiles;   // [num_tiles]
    const unsigned *pairs;     // [places]: the pair that is there
    int num_parts, num_units;
    int num_tokens, num_used;  // of expert_gemv with activations of tokens; else num_tokens is 0
    int ring_bytes;            // of expert_gemv
};

// A block's share: rows of one expert's matrix, and where their products go.
struct ExpertRows {
    PackedMatrix matrix;
    int block; // of the matrix's blocks of rows
};

// Finds the matrix of the `block`-th block of `rows_of_block` rows of all parts.
DEVICE ExpertRows rows_of_expert(const ExpertProduct &p, const ExpertTile &tile, int block, int rows_of_block) {
    int part = 0, before = 0, stride = p.part[0].rows;
    if (p.num_parts > 1) {
        int blocks = (p.part[0].rows + rows_of_block - 1) / rows_of_block;
        stride += p.part[1].rows;
        if (block >= blocks) {
            block -= blocks;
            part = 1;
            before = p.part[0].rows;
        }
    }
    const ExpertMatrices &all = p.part[part];
    return {{all.units + tile.expert * all.expert_bytes, nullptr, p.y + static_cast<long long>(tile.first) * stride + before, stride,
             all.rows, all.format},
            block};
}
