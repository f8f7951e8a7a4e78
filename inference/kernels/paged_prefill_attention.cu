// paged_prefill_attention: causal attention of the query tokens of prompts over their paged keys and values, on tensor
// cores (FlashAttention-2, arXiv 2307.08691, with `mma.m16n8k16`).
//
// Grid: (num_heads, num_tiles), PREFILL_THREADS threads, `prefill_shared_bytes(head_dim)` bytes of dynamic shared
// memory, over a cache in 8 bits `prefill_bytes_shared_bytes(head_dim)`. A block
// attends with PREFILL_ROWS query rows of one head of one sequence, each of its 4 warps with 32 of them, and walks through the
// context in tiles of 64 tokens that two buffers hold in turn. Heads of a group are neighbours in the grid and read the same keys
// and values from L2. List tiles with the longest context first: blocks start in that order, and short ones fill the end.
//
// A KV block of one head is contiguous. Keys [head_dim][16 tokens] and values [16 tokens][head_dim] are both [k][n] of a
// product, what `ldmatrix.trans` makes B fragments of; the 8 rows of a matrix lie in 8 different groups of 4 banks: keys by a
// swizzle, values by rows that are 16 bytes longer. Queries are rounded to f16 and lie as A fragments in registers or, from a
// head size of 80 on, in shared memory, where each lane reads back what it wrote. Weights are rounded to f16 for the second
// product. The maximum of a row is raised only when weights would exceed 2^8, so most tiles rescale nothing.
//
// Keys and values of 8 bits (q8_tile.cuh) are copied as they lie, become f16 once a tile for all rows, and go the same way from there
// on. There is one tile of f16 then, and in place of the other one the bytes of the next: a barrier a tile more, less shared memory.
//
// A row's bits depend neither on the other rows nor on how a prompt is cut into tiles: tiles of the context start at multiples of
// 64, and what a row does not see adds exact zeros: its scores become -infinity, and values that no row of the block sees are
// zeros in shared memory, since a slot that no token wrote may hold NaN. Blocks of which no row sees a token are not read.
// Truth: ops/paged_attention/reference.rs. Ladder: lab/cuda.md.

#include "paged_prefill_bytes.cuh"

template <int HEAD_DIM, int WARPS, int MATRICES, bool STAY = queries_stay(HEAD_DIM, MATRICES)>
DEVICE void paged_prefill(const PagedPrefillAttention &p) {
    using Shared = PrefillShared<HEAD_DIM, WARPS, MATRICES, STAY>;
    DYNAMIC_SHARED(Shared, shared);
    start_kernel_after();
    wait_for_kernel_before();
    PrefillTile work = prefill_tile(p);
    int tile = work.first_token / KV_TILE, end_tile = (work.end_token + KV_TILE - 1) / KV_TILE;
    int token = token_to_copy<WARPS>(tile);
    copy_tile<HEAD_DIM, WARPS>(p, work, shared->tiles[tile & 1], block_to_copy(work, token), token);
    cp_async_commit();
    // Read a tile ahead, so that no copy waits for its address.
    unsigned next_block = block_to_copy(work, token + KV_TILE);

    WarpRows rows = warp_rows(work, MATRICES);
    Queries<HEAD_DIM, MATRICES, STAY> queries;
    place_queries(queries, Shared::queries(shared));
    load_queries(p, work, rows.first, queries);
    PrefillSums<HEAD_DIM, MATRICES> sums;
    clear(sums);
    for (; tile < end_tile; ++tile) {
        cp_async_wait<0>();
        // This tile is there for all warps, and all have used the other buffer.
        __syncthreads();
        if (tile + 1 < end_tile) {
            token += KV_TILE;
            copy_tile<HEAD_DIM, WARPS>(p, work, shared->tiles[(tile + 1) & 1], next_block, token);
            next_block = block_to_copy(work, token + KV_TILE);
        }
        cp_async_commit();
        if (rows.first < work.rows)
            attend(p, rows, queries, shared->tiles[tile & 1], tile * KV_TILE, sums);
    }
    write_rows(p, work, rows.first, sums);
}

template <int HEAD_DIM, int WARPS, int MATRICES, bool STAY = queries_stay(HEAD_DIM, MATRICES)>
DEVICE void paged_prefill_bytes(const PagedPrefillAttention &p) {
    using Shared = PrefillBytesShared<HEAD_DIM, WARPS, MATRICES, STAY>;
    DYNAMIC_SHARED(Shared, shared);
    start_kernel_after();
    wait_for_kernel_before();
    PrefillTile work = prefill_tile(p);
    int tile = work.first_token / KV_TILE, end_tile = (work.end_token + KV_TILE - 1) / KV_TILE;
    copy_bytes(p, work, shared->stages[warp_id()], block_to_copy(work, token_to_copy<WARPS>(tile)), token_to_copy<WARPS>(tile));

    WarpRows rows = warp_rows(work, MATRICES);
    Queries<HEAD_DIM, MATRICES, STAY> queries;
    place_queries(queries, Shared::queries(shared));
    load_queries(p, work, rows.first, queries);
    PrefillSums<HEAD_DIM, MATRICES> sums;
    clear(sums);
    for (; tile < end_tile; ++tile) {
        // The next block is read before it is needed, but nothing is kept while the products need all registers, not even what
        // the block of threads works on.
        PrefillTile work = prefill_tile(p);
        int warp = thread_read_anew() / WARP_SIZE, token = tile * KV_TILE + warp * KV_BLOCK, next_token = token + KV_TILE;
        ByteStage<HEAD_DIM> &stage = shared->stages[warp];
        unsigned next_block = block_to_copy(work, next_token);
        cp_async_wait<0>();
        // All have used the tile before; and the warp's bytes are there for all its lanes.
        __syncthreads();
        widen_bytes(work, stage, shared->tile, token);
        // The tile is there for all; and the warp's bytes are used.
        __syncthreads();
        if (tile + 1 < end_tile)
            copy_bytes(p, work, stage, next_block, next_token);
        if (rows.first_position <= rows.last_position)
            attend(p, rows, queries, shared->tile, tile * KV_TILE, sums);
    }
    write_rows(p, prefill_tile(p), rows.first, sums);
}

// An entry point for each format and head size.
#define PREFILL_KERNELS(head_dim)                                                                                        \
    static_assert(PrefillShared<head_dim, PREFILL_WARPS, PREFILL_MATRICES,                                               \
                                queries_stay(head_dim, PREFILL_MATRICES)>::BYTES == prefill_shared_bytes(head_dim));     \
    static_assert(                                                                                                       \
        PrefillBytesShared<head_dim, PREFILL_WARPS, PREFILL_MATRICES, queries_stay(head_dim, PREFILL_MATRICES)>::BYTES == \
        prefill_bytes_shared_bytes(head_dim));                                                                           \
    KERNEL(PREFILL_THREADS) paged_prefill_f16_##head_dim(PagedPrefillAttention p) {                                      \
        paged_prefill<head_dim, PREFILL_WARPS, PREFILL_MATRICES>(p);                                                     \
    }                                                                                                                    \
    KERNEL(PREFILL_THREADS) paged_prefill_q8_##head_dim(PagedPrefillAttention p) {                                       \
        paged_prefill_bytes<head_dim, PREFILL_WARPS, PREFILL_MATRICES>(p);                                               \
    }

PREFILL_KERNELS(64)
PREFILL_KERNELS(80)
PREFILL_KERNELS(96)
PREFILL_KERNELS(128)
