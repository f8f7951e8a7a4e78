// expert_gemm: products of the places of experts with their matrices, from 9 tokens of a step to a whole prompt, on tensor cores.
//
// Entry points expert_gemm_16, _32 and _64, for expert tiles of up to so many places. Grid: (expert tiles, blocks of gemm_rows(16, 32 or
// 64) rows of all parts); threads and shared memory as packed_gemm.cuh says, which multiplies. Activations are halves at the
// places. Neighbouring blocks are tiles of the same expert with the same weights, which one of them brings to L2 for all. Columns are
// not split: experts make enough blocks.
// Layouts: packed.cuh, experts.cuh. Truth: the plain product with dequantized weights (tests/it/kernels/experts.rs). Ladder: lab/cuda.md.

#include "experts.cuh"
#include "packed_gemm.cuh"

template <typename Shape> DEVICE void expert_gemm(const ExpertProduct &p) {
    wait_for_kernel_before();
    ExpertTile tile = load_tile(p.tiles + blockIdx.x);
    if (tile.rows == 0)
        return;
    ExpertRows rows = rows_of_expert(p, tile, static_cast<int>(blockIdx.y), Shape::ROWS);
    int first_tile = rows.block * Shape::BLOCK_TILES + warp_id() * Shape::ROW_TILES, batch = static_cast<int>(tile.rows);
    const unsigned char *x = p.x + static_cast<long long>(tile.first / PLACES_OF_TILE) * p.num_units * HALVES_UNIT_BYTES;
    GemmWork work = work_of(rows.matrix, first_tile, x, p.num_units, batch);
    float total[Shape::ROW_TILES][Shape::TILES][4] = {};
    multiply_work<Shape>(rows.matrix.format, work, total);
    write_products<Shape>(batch, rows.matrix, first_tile * TILE_ROWS, total);
}

KERNEL(GEMM_THREADS) expert_gemm_16(ExpertProduct p) { expert_gemm<GemmEntry<16>>(p); }
KERNEL(GEMM_THREADS) expert_gemm_32(ExpertProduct p) { expert_gemm<GemmEntry<32>>(p); }
KERNEL(GEMM_THREADS) expert_gemm_64(ExpertProduct p) { expert_gemm<GemmEntry<64>>(p); }
