// What the kernels of paged_decode_attention.cu share: their arguments, and what a split leaves for the merge.
#pragma once

#include "packed.cuh"

constexpr int DECODE_WARPS = 4, DECODE_THREADS = DECODE_WARPS * WARP_SIZE;
constexpr int TILE_TOKENS = 16;

struct PagedDecodeAttention {
    const float *q;               // [num_seqs, num_heads, head_dim], turned
    const void *k_cache;          // [num_blocks, num_kv_heads, head_dim, 16], or tiles of q8_tile.cuh
    const void *v_cache;          // [num_blocks, num_kv_heads, 16, head_dim], or tiles of q8_tile.cuh
    const unsigned *block_tables; // [num_seqs, max_blocks]
    const unsigned *context_lens; // [num_seqs], the new token included; 0: a row that only fills the batch, gives zeros
    float *out;                   // [num_seqs, num_heads, head_dim]
    float *partial;               // [num_seqs, num_heads, num_splits, head_dim], when num_splits > 1
    float *partial_state;         // [num_seqs, num_heads, num_splits, 2]: maximum (in powers of two) and sum
    int num_heads, num_kv_heads, max_blocks;
    int num_splits;
    int window;    // tokens that are seen; 0: all
    float scale;   // of the scores
    float softcap; // bounds the scores; 0: no bound
    int head_dim;  // for the merges that pack
    void *packed;  // for the merges that pack: units of num_heads * head_dim columns, tiles of 8 sequences
};

// A split without tokens has the sum 0, and what `partial` holds for it is not used. The only split gives zeros.
DEVICE void leave_empty(const PagedDecodeAttention &p, int group, int head_dim) {
    long long first_head = static_cast<long long>(blockIdx.z) * p.num_heads + blockIdx.y * group;
    if (p.num_splits == 1) {
        for (int index = static_cast<int>(threadIdx.x); index < group * head_dim; index += DECODE_THREADS)
            p.out[first_head * head_dim + index] = 0.0f;
    } else if (static_cast<int>(threadIdx.x) < group) {
        long long place = (first_head + threadIdx.x) * p.num_splits + blockIdx.x;
        p.partial_state[2 * place] = -INFINITY;
        p.partial_state[2 * place + 1] = 0.0f;
    }
}
