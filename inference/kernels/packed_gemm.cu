// packed_gemm: products of 9 to 64 tokens with up to three quantized matrices on tensor cores (packed_gemm.cuh).
//
// Entry points packed_gemm_16, _32 and _64, for batches up to that. Grid: (blocks of rows, num_splits), GEMM_THREADS threads,
// GEMM_SHARED_BYTES of dynamic shared memory (more than the 48 KB that need no attribute). `gemm_row_blocks(rows, batch)` blocks for
// each matrix, one matrix after another: `gemm_rows(batch)` rows of one matrix a block, its last block may have less. The entry point is
// the smallest that has room for the batch. With R blocks in all:
//   num_splits  gemm_splits(R, num_units, multiprocessors), or any number from 1 to 4 * num_units
//   partial     num_splits * R * gemm_rows(batch) * (16, 32 or 64: the entry point's) floats when num_splits > 1, aligned to 16
//   arrived     R counters when num_splits > 1, zero before the first launch; every launch leaves zeros
// Launches that may run at once need their own `partial` and `arrived`.
//
// Splits share the columns in chunks of 64. The last block that arrives adds what all have written, in the order of the splits: so
// the bits depend on num_splits, the entry point and nothing else, not even on the other tokens.
//
// Layouts: packed.cuh. Truth: the plain product with dequantized weights (tests/it/kernels/packed_gemm.rs). Ladder: lab/cuda.md.

#include "packed_gemm.cuh"

constexpr int GEMM_MOST_SPLITS = 12;

// Returns into how many parts to cut the columns, for this many blocks of rows in all: the number that takes the least time when a
// processor works on two blocks. Counted in chunks: a block costs 5 more to start and end and 2 to leave its sums, each split 1 to be added.
constexpr int gemm_splits(int row_blocks, int num_units, int multiprocessors) {
    int chunks = num_units * CHUNKS_OF_UNIT, best = 1, least = 0;
    for (int splits = 1; splits <= GEMM_MOST_SPLITS && splits * CHUNKS_OF_UNIT <= chunks; ++splits) {
        int waves = (row_blocks * splits + 2 * multiprocessors - 1) / (2 * multiprocessors);
        int cost = waves * ((chunks + splits - 1) / splits + (splits > 1 ? 7 : 5)) + (splits > 1 ? splits : 0);
        if (splits == 1 || cost < least) {
            best = splits;
            least = cost;
        }
    }
    return best;
}

// Where a thread's `at`-th four sums of a split lie.
template <typename Shape> DEVICE float *partial_sums(const PackedGemm &p, int split, int at) {
    long long block = static_cast<long long>(split) * gridDim.x + blockIdx.x;
    return p.partial + block * (Shape::ROWS * Shape::TILES * TILE_TOKENS_PACKED) + (at * Shape::THREADS + static_cast<int>(threadIdx.x)) * 4;
}

// Leaves the block's sums to the last block of its rows, and returns whether it is that: then `total` are the sums of all.
template <typename Shape> DEVICE bool join_splits(const PackedGemm &p, float (&total)[Shape::ROW_TILES][Shape::TILES][4]) {
    SHARED(unsigned, arrived, 1);
    auto each = [&](auto take) {
#pragma unroll
        for (int tile = 0; tile < Shape::ROW_TILES; ++tile)
#pragma unroll
            for (int x_tile = 0; x_tile < Shape::TILES; ++x_tile)
                take(total[tile][x_tile], tile * Shape::TILES + x_tile);
    };
    int own = static_cast<int>(blockIdx.y);
    each([&](float(&sums)[4], int at) {
        Bits128 bits;
#pragma unroll
        for (int i = 0; i < 4; ++i)
            bits.word[i] = __float_as_uint(sums[i]);
        *reinterpret_cast<Bits128 *>(partial_sums<Shape>(p, own, at)) = bits;
    });
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        arrived[0] = atomicAdd(p.arrived + blockIdx.x, 1u);
    __syncthreads();
    if (arrived[0] + 1 != static_cast<unsigned>(p.num_splits))
        return false;
    __threadfence();
    if (threadIdx.x == 0)
        p.arrived[blockIdx.x] = 0;
    for (int split = 0; split < p.num_splits; ++split)
        each([&](float(&sums)[4], int at) {
            Bits128 bits = load16_of_others(partial_sums<Shape>(p, split, at));
#pragma unroll
            for (int i = 0; i < 4; ++i)
                sums[i] = __uint_as_float(bits.word[i]) + (split == 0 ? 0.0f : sums[i]);
        });
    return true;
}

template <typename Shape> DEVICE void packed_gemm(const PackedGemm &p) {
    int block = static_cast<int>(blockIdx.x), part = 0;
    while (part + 1 < p.num_parts && block >= (p.part[part].rows + Shape::ROWS - 1) / Shape::ROWS) {
        block -= (p.part[part].rows + Shape::ROWS - 1) / Shape::ROWS;
        ++part;
    }
    const PackedMatrix &matrix = p.part[part];
    int first_tile = block * Shape::BLOCK_TILES + warp_id() * Shape::ROW_TILES;
    GemmWork work = work_of(matrix, first_tile, p.x, p.num_units, p.batch);
    unsigned chunks = work.end, splits = static_cast<unsigned>(p.num_splits);
    work.first = blockIdx.y * chunks / splits;
    work.end = (blockIdx.y + 1) * chunks / splits;
    float total[Shape::ROW_TILES][Shape::TILES][4] = {};
    multiply_work<Shape>(matrix.format, work, total);
    if (p.num_splits == 1 || join_splits<Shape>(p, total))
        write_products<Shape>(p.batch, matrix, first_tile * TILE_ROWS, total);
}

KERNEL(GEMM_THREADS) packed_gemm_16(PackedGemm p) { packed_gemm<GemmEntry<16>>(p); }
KERNEL(GEMM_THREADS) packed_gemm_32(PackedGemm p) { packed_gemm<GemmEntry<32>>(p); }
KERNEL(GEMM_THREADS) packed_gemm_64(PackedGemm p) { packed_gemm<GemmEntry<64>>(p); }
