// packed_gemm_wgmma: the products of packed_gemm.cu on compute capability 9.0, with `wgmma`: a warp turns weights into f16 in registers,
// which are A, and activations are B, which the tensor cores themselves read from shared memory. So what a warp does for 16 x 16
// weights does not grow with the tokens.
//
// Entry points packed_wgmma_16, _32 and _64, for batches up to that. Grid: (blocks of rows, num_splits), WGMMA_THREADS threads,
// WGMMA_SHARED_BYTES of dynamic shared memory. `wgmma_row_blocks(rows)` blocks for each matrix, one matrix after another: WGMMA_ROWS
// rows of one matrix a block, its last block may have less. With R blocks in all:
//   num_splits  wgmma_splits(R, num_units, multiprocessors), or any number from 1 to 2 * num_units and to 32
//   partial     num_splits * R * WGMMA_ROWS * (16, 32 or 64: the entry point's) floats when num_splits > 1, aligned to 16
//   arrived     R words when num_splits > 1, zero before the first launch; every launch leaves zeros
// Launches that may run at once need their own `partial` and `arrived`. Compiled for sm_90a; elsewhere there are no entry points.
//
// Splits share the columns in chunks of 128. Their sums are added as a tree, by whichever block comes last: so the bits depend on
// num_splits, the entry point and nothing else, not even on the other tokens.
//
// A warpgroup has 64 rows for each row tile of its warps, and all tokens. Chunks come by bulk copies into a ring of stages, without
// barriers of the block: each warp fills its own weights again, and the last warp that has left a stage its activations. Fragments of
// two spans alternate: one is made while the tensor cores multiply the other. Products of a chunk have ended when those of the
// next have all begun; then its stage is free. A lane turns two spans' scales and minima of its rows into pairs of f16, once a unit, and
// hands them out by shuffles. Numbers become weights as in packed_gemm.cu.
// Layouts: packed.cuh. Truth: the plain product with dequantized weights (tests/it/kernels/packed_gemm.rs).

#include "packed.cuh"
#include "wgmma.cuh"

constexpr int WGMMA_SHARED_BYTES = 224 << 10;
constexpr int WGMMA_WARPS = 16, WGMMA_ROW_TILES = 1;
constexpr int WGMMA_THREADS = WGMMA_WARPS * WARP_SIZE, WGMMA_ROWS = WGMMA_WARPS * WGMMA_ROW_TILES * TILE_ROWS;

constexpr int wgmma_row_blocks(int rows) { return (rows + WGMMA_ROWS - 1) / WGMMA_ROWS; }

// Names of its own beside those of packed_gemm.cu, which the tests compile together.
namespace warpgroup {

constexpr int CHUNKS_OF_UNIT = 2, CHUNK_SPANS = SPANS / CHUNKS_OF_UNIT;
constexpr int X_CHUNK_BYTES = HALVES_UNIT_BYTES / CHUNKS_OF_UNIT;

// What a block is made of.
template <int X_TILES, int NUM_WARPS, int WARP_ROW_TILES, int BYTES_OF_SHARED> struct GemmShape {
    static constexpr int TILES = X_TILES, WARPS = NUM_WARPS, ROW_TILES = WARP_ROW_TILES, SHARED_BYTES = BYTES_OF_SHARED;
    static constexpr int THREADS = WARPS * WARP_SIZE, BLOCK_TILES = WARPS * ROW_TILES, ROWS = BLOCK_TILES * TILE_ROWS;
    static constexpr int X_BYTES = TILES * X_CHUNK_BYTES;
    static constexpr int MOST_STAGES = 8;
    DEVICE_MEMBER constexpr int stage_bytes(int chunk_bytes) { return X_BYTES + BLOCK_TILES * chunk_bytes; }
    DEVICE_MEMBER constexpr int stages(int chunk_bytes) {
        int fit = SHARED_BYTES / stage_bytes(chunk_bytes);
        return fit < MOST_STAGES ? fit : MOST_STAGES;
    }
};

// A row tile's weights of a chunk: `READS` pieces of 16 bytes a lane for each pair of spans. `numbers` makes pairs of f16, exactly:
// of the bytes 0 and 2 of a word, and of 1 and 3.
struct GemmNibbles {
    static constexpr int BYTES = NIBBLE_BYTES, READS = 1;
    DEVICE_MEMBER void numbers(const Bits128 (&quants)[READS], int span, int i, unsigned (&pairs)[2]) {
        unsigned word = quants[0].word[i];
#pragma unroll
        for (int upper = 0; upper < 2; ++upper) {
            unsigned bytes = upper == 0 ? word : word >> 8;
            if (span % 2 == 0)
                pairs[upper] = add_halves(and_or(bytes, 0x000f000fu, 0x64006400u), 0xe400e400u); // - 1024
            else
                pairs[upper] = fma_halves(and_or(bytes, 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u); // / 16 - 64
        }
    }
};

struct GemmBytes {
    static constexpr int BYTES = BYTE_BYTES, READS = 2;
    DEVICE_MEMBER void numbers(const Bits128 (&quants)[READS], int span, int i, unsigned (&pairs)[2]) {
        unsigned word = quants[span % 2].word[i] ^ 0x80808080u;
#pragma unroll
        for (int upper = 0; upper < 2; ++upper)
            pairs[upper] = add_halves(permute_bytes(word, 0x64646464u, upper == 0 ? 0x4240u : 0x4341u), 0xe480e480u); // - 1152
    }
};

// What a lane reads of a row's scales, of spans 2t and 2t + 1. `pairs` are what their numbers are multiplied by: with minima
// (scale, -minimum), with HALVES (scale of columns 0..15, of 16..31).
struct GemmSpanScales {
    static constexpr bool HALVES = false, HAS_MINIMA = true;
    unsigned scales, minima, super;
    DEVICE_MEMBER GemmSpanScales load(const unsigned char *from, int row, int t) {
        return {*reinterpret_cast<const unsigned short *>(from + 16 * row + 2 * t),
                *reinterpret_cast<const unsigned short *>(from + 16 * row + 8 + 2 * t),
                *reinterpret_cast<const unsigned *>(from + 256 + 4 * row)};
    }
    DEVICE_MEMBER unsigned pair(const GemmSpanScales &s, int i) {
        return pack_halves(half_float(s.super, 0) * byte_float(s.scales, i), -half_float(s.super, 1) * byte_float(s.minima, i));
    }
};

struct GemmHalfScales {
    static constexpr bool HALVES = true, HAS_MINIMA = false;
    unsigned scales, super;
    DEVICE_MEMBER GemmHalfScales load(const unsigned char *from, int row, int t) {
        return {*reinterpret_cast<const unsigned *>(from + 16 * row + 4 * t), *reinterpret_cast<const unsigned *>(from + 256 + 4 * row)};
    }
    DEVICE_MEMBER unsigned pair(const GemmHalfScales &s, int i) {
        auto scale = [&](int at) { return static_cast<float>(static_cast<signed char>(s.scales >> (8 * at))); };
        return pack_halves(half_float(s.super, 0) * scale(2 * i), half_float(s.super, 0) * scale(2 * i + 1));
    }
};

template <bool MINIMA> struct GemmFloatScales {
    static constexpr bool HALVES = false, HAS_MINIMA = MINIMA;
    unsigned scales, minima;
    DEVICE_MEMBER GemmFloatScales load(const unsigned char *from, int row, int t) {
        return {*reinterpret_cast<const unsigned *>(from + 16 * row + 4 * t),
                MINIMA ? *reinterpret_cast<const unsigned *>(from + 256 + 16 * row + 4 * t) : 0};
    }
    DEVICE_MEMBER unsigned pair(const GemmFloatScales &s, int i) {
        return permute_bytes(s.scales, s.minima ^ 0x80008000u, i == 0 ? 0x5410u : 0x7632u);
    }
};

// What a block reads: the warp's row tiles, of which `row_tiles` exist, and chunks first.. to end.
struct GemmWork {
    const unsigned char *units, *x;
    long long tile_bytes; // of a row tile
    int row_tiles, x_tiles, num_units;
    int first, end;
};

template <typename Quants> DEVICE constexpr int chunk_bytes() { return Quants::BYTES / CHUNKS_OF_UNIT; }

// The scales of a warp's rows g and g + 8 of every row tile: as read, and as pairs of f16.
template <typename Scales, typename Shape> struct WarpScales {
    Scales read[Shape::ROW_TILES][2];
    unsigned pairs[Shape::ROW_TILES][2][2];
};

template <typename Scales, typename Shape>
DEVICE void load_scales(WarpScales<Scales, Shape> &scales, const GemmWork &work, int unit_bytes, int quant_bytes, int unit) {
    const unsigned char *from = work.units + unit * unit_bytes + quant_bytes;
#pragma unroll
    for (int tile = 0; tile < Shape::ROW_TILES; ++tile)
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            scales.read[tile][row] = {};
            if (tile < work.row_tiles)
                scales.read[tile][row] = Scales::load(from + tile * work.tile_bytes, lane_id() / 4 + 8 * row, lane_id() % 4);
        }
}

template <typename Scales, typename Shape> DEVICE void make_pairs(WarpScales<Scales, Shape> &scales) {
#pragma unroll
    for (int tile = 0; tile < Shape::ROW_TILES; ++tile)
#pragma unroll
        for (int row = 0; row < 2; ++row)
#pragma unroll
            for (int i = 0; i < 2; ++i)
                scales.pairs[tile][row][i] = Scales::pair(scales.read[tile][row], i);
}

// Makes the fragments of a row tile's span: of its columns 0..15 and 16..31. `pairs` are those of rows g and g + 8.
template <typename Quants, typename Scales>
DEVICE void make_fragments(const Bits128 (&quants)[Quants::READS], int span, const unsigned (&pairs)[2], unsigned (&a)[2][4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        int row = i % 2, step = i / 2;
        unsigned numbers[2];
        Quants::numbers(quants, span, i, numbers);
        unsigned scale = permute_bytes(pairs[row], 0, Scales::HALVES && step == 1 ? 0x3232u : 0x1010u);
        unsigned minimum = Scales::HAS_MINIMA ? permute_bytes(pairs[row], 0, 0x3232u) : 0x80008000u;
        a[step][row] = fma_halves(numbers[0], scale, minimum);
        a[step][row + 2] = fma_halves(numbers[1], scale, minimum);
    }
}

// 8 tokens with 8 columns.
constexpr int CORE_BYTES = 128;

// Keeps sums where they are until here.
template <typename Shape> DEVICE void pin_sums(float (&total)[Shape::ROW_TILES][Shape::TILES][4]) {
#pragma unroll
    for (int tile = 0; tile < Shape::ROW_TILES; ++tile)
#pragma unroll
        for (int at = 0; at < Shape::TILES * 4; ++at)
            pin(total[tile][at / 4][at % 4]);
}

// Starts the products of a span, which read `a` until the group after the next has begun.
template <typename Shape>
DEVICE void start_span(SharedMatrix x, unsigned (&a)[Shape::ROW_TILES][2][4], float (&total)[Shape::ROW_TILES][Shape::TILES][4]) {
#pragma unroll
    for (int tile = 0; tile < Shape::ROW_TILES; ++tile)
#pragma unroll
        for (int at = 0; at < 8; ++at)
            pin(a[tile][at / 4][at % 4]);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < 2; ++step)
#pragma unroll
        for (int tile = 0; tile < Shape::ROW_TILES; ++tile)
            wgmma_m64k16(total[tile], a[tile][step], moved(x, step * CORE_BYTES * 2));
    wgmma_commit();
}

// Adds the products of a chunk, which is half `half` of its unit.
template <typename Quants, typename Scales, typename Shape>
DEVICE void multiply_chunk(const unsigned char *stage, const WarpScales<Scales, Shape> &scales, int half,
                         unsigned (&a)[2][Shape::ROW_TILES][2][4], float (&total)[Shape::ROW_TILES][Shape::TILES][4]) {
    constexpr int BYTES = chunk_bytes<Quants>(), READS = Quants::READS;
    const unsigned char *weights = stage + Shape::X_BYTES + warp_id() * Shape::ROW_TILES * BYTES + lane_id() * 16;
    SharedMatrix x = shared_matrix(stage, CORE_BYTES, X_CHUNK_BYTES);
    int holder = (lane_id() & 28) + half * 2;
    Bits128 quants[Shape::ROW_TILES][READS];
#pragma unroll
    for (int span = 0; span < CHUNK_SPANS; ++span) {
        wgmma_wait<1>();
#pragma unroll
        for (int tile = 0; tile < Shape::ROW_TILES; ++tile) {
#pragma unroll
            for (int read = 0; read < READS; ++read)
                if (span % 2 == 0)
                    quants[tile][read] =
                        *reinterpret_cast<const Bits128 *>(weights + tile * BYTES + (span / 2 * READS + read) * WARP_SIZE * 16);
            unsigned pairs[2];
#pragma unroll
            for (int row = 0; row < 2; ++row)
                pairs[row] = __shfl_sync(ALL_LANES, scales.pairs[tile][row][span % 2], holder + span / 2);
            make_fragments<Quants, Scales>(quants[tile], span, pairs, a[span % 2][tile]);
        }
        start_span<Shape>(moved(x, span * 4 * CORE_BYTES), a[span % 2], total);
    }
}

// Starts to copy the warp's weights of a chunk; one lane calls it.
template <typename Quants, typename Shape>
DEVICE void copy_weights(const GemmWork &work, int unit_bytes, unsigned char *stage, Phase *full, int chunk) {
    constexpr int BYTES = chunk_bytes<Quants>();
    int tiles = max(0, min(work.row_tiles, Shape::ROW_TILES));
    unsigned char *to = stage + Shape::X_BYTES + warp_id() * Shape::ROW_TILES * BYTES;
    const unsigned char *from = work.units + chunk / CHUNKS_OF_UNIT * unit_bytes + chunk % CHUNKS_OF_UNIT * BYTES;
    phase_arrive(full, tiles * BYTES);
#pragma unroll
    for (int tile = 0; tile < Shape::ROW_TILES; ++tile)
        if (tile < tiles)
            bulk_copy(to + tile * BYTES, from + tile * work.tile_bytes, BYTES, full);
}

// Starts to copy a chunk of activations; one thread calls it.
template <typename Shape> DEVICE void copy_x(const GemmWork &work, unsigned char *stage, Phase *full, int chunk) {
    phase_arrive(full, work.x_tiles * X_CHUNK_BYTES);
    const unsigned char *from = work.x + static_cast<long long>(chunk) * X_CHUNK_BYTES;
#pragma unroll
    for (int tile = 0; tile < Shape::TILES; ++tile)
        if (tile < work.x_tiles)
            bulk_copy(stage + tile * X_CHUNK_BYTES, from + static_cast<long long>(tile) * work.num_units * HALVES_UNIT_BYTES,
                      X_CHUNK_BYTES, full);
}

template <typename Quants, typename Scales, typename Shape>
DEVICE void multiply_chunks(const GemmWork &work, int unit_bytes, float (&total)[Shape::ROW_TILES][Shape::TILES][4]) {
    constexpr int STAGE = Shape::stage_bytes(chunk_bytes<Quants>()), STAGES = Shape::stages(chunk_bytes<Quants>());
    static_assert(STAGES >= 3);
    DYNAMIC_SHARED(unsigned char, ring);
    SHARED(Phase, full, Shape::MOST_STAGES);
    SHARED(unsigned, left, Shape::MOST_STAGES);
    WarpScales<Scales, Shape> scales;
    unsigned a[2][Shape::ROW_TILES][2][4];
    int filled = min(STAGES, work.end - work.first);
    if (threadIdx.x < STAGES) {
        phase_init(full + threadIdx.x, Shape::WARPS + 1);
        left[threadIdx.x] = 0;
        phase_init_done();
    }
    __syncthreads();
    if (lane_id() == 0)
        for (int i = 0; i < filled; ++i)
            copy_weights<Quants, Shape>(work, unit_bytes, ring + i * STAGE, full + i, work.first + i);
    if (filled > 0)
        load_scales(scales, work, unit_bytes, Quants::BYTES, work.first / CHUNKS_OF_UNIT);
    // Weights are under way before activations are there: those come from the kernel before.
    start_kernel_after();
    wait_for_kernel_before();
    if (lane_id() == 0)
        for (int i = warp_id(); i < filled; i += Shape::WARPS)
            copy_x<Shape>(work, ring + i * STAGE, full + i, work.first + i);
    int stage = 0, before = STAGES - 1, odd = 0;
    for (int chunk = work.first; chunk < work.end; ++chunk) {
        phase_wait(full + stage, odd);
        int unit = chunk / CHUNKS_OF_UNIT, half = chunk % CHUNKS_OF_UNIT;
        if (half == 0 || chunk == work.first) {
            make_pairs(scales);
            if ((unit + 1) * CHUNKS_OF_UNIT < work.end)
                load_scales(scales, work, unit_bytes, Quants::BYTES, unit + 1);
        }
        multiply_chunk<Quants>(ring + stage * STAGE, scales, half, a, total);
        // The products of the chunk before have ended.
        int next = chunk - 1 + STAGES;
        if (lane_id() == 0 && chunk > work.first && next < work.end) {
            copy_weights<Quants, Shape>(work, unit_bytes, ring + before * STAGE, full + before, next);
            if (atomicAdd(left + before, 1u) + 1 == static_cast<unsigned>(Shape::WARPS)) {
                left[before] = 0;
                copy_x<Shape>(work, ring + before * STAGE, full + before, next);
            }
        }
        __syncwarp();
        before = stage;
        stage = stage == STAGES - 1 ? 0 : stage + 1;
        odd ^= stage == 0;
    }
    wgmma_wait<0>();
    pin_sums<Shape>(total);
}

// Where a thread's `at`-th four sums of a split lie.
template <typename Shape> DEVICE float *sums_of_split(const PackedGemm &p, int split, int at) {
    long long block = static_cast<long long>(split) * gridDim.x + blockIdx.x;
    return p.partial + block * (Shape::ROWS * Shape::TILES * TILE_TOKENS_PACKED) + (at * Shape::THREADS + static_cast<int>(threadIdx.x)) * 4;
}

template <typename Shape, typename Take> DEVICE void each_four_sums(float (&total)[Shape::ROW_TILES][Shape::TILES][4], Take take) {
#pragma unroll
    for (int tile = 0; tile < Shape::ROW_TILES; ++tile)
#pragma unroll
        for (int x_tile = 0; x_tile < Shape::TILES; ++x_tile)
            take(total[tile][x_tile], tile * Shape::TILES + x_tile);
}

template <typename Shape> DEVICE void leave_sums(const PackedGemm &p, int split, float (&total)[Shape::ROW_TILES][Shape::TILES][4]) {
    each_four_sums<Shape>(total, [&](float(&sums)[4], int at) {
        Bits128 bits;
#pragma unroll
        for (int i = 0; i < 4; ++i)
            bits.word[i] = __float_as_uint(sums[i]);
        *reinterpret_cast<Bits128 *>(sums_of_split<Shape>(p, split, at)) = bits;
    });
}

template <typename Shape> DEVICE void add_sums(const PackedGemm &p, int split, float (&total)[Shape::ROW_TILES][Shape::TILES][4]) {
    each_four_sums<Shape>(total, [&](float(&sums)[4], int at) {
        Bits128 bits = load16_of_others(sums_of_split<Shape>(p, split, at));
#pragma unroll
        for (int i = 0; i < 4; ++i)
            sums[i] += __uint_as_float(bits.word[i]);
    });
}

// Adds the splits' sums as a tree: of two neighbours whichever is done first leaves its sums, and the other takes them and goes on.
// A bit of `arrived`, that of the right one's first split, says that one of them is done; the second to come clears it. Returns
// whether the block has come to the root: then `total` are the sums of all.
template <typename Shape> DEVICE bool join_neighbours(const PackedGemm &p, float (&total)[Shape::ROW_TILES][Shape::TILES][4]) {
    // Seen before, and after the own sums are there: two words, so that none is written while others read it.
    SHARED(unsigned, other_is_done, 2);
    unsigned *arrived = p.arrived + blockIdx.x;
    int own = static_cast<int>(blockIdx.y);
    for (int distance = 1; distance < p.num_splits; distance *= 2) {
        bool is_left = own % (2 * distance) == 0;
        int other = is_left ? own + distance : own - distance;
        if (other >= p.num_splits)
            continue;
        unsigned bit = 1u << max(own, other);
        if (threadIdx.x == 0)
            other_is_done[0] = atomicOr(arrived, 0u) & bit;
        __syncthreads();
        if (other_is_done[0] == 0) {
            leave_sums<Shape>(p, own, total);
            __threadfence();
        }
        __syncthreads();
        if (threadIdx.x == 0)
            other_is_done[1] = atomicXor(arrived, bit) & bit;
        __syncthreads();
        if (other_is_done[1] == 0)
            return false;
        __threadfence();
        add_sums<Shape>(p, other, total);
        own = min(own, other);
    }
    return true;
}

template <typename Shape> DEVICE void packed_wgmma(const PackedGemm &p) {
    int block = static_cast<int>(blockIdx.x), part = 0;
    while (part + 1 < p.num_parts && block >= (p.part[part].rows + Shape::ROWS - 1) / Shape::ROWS) {
        block -= (p.part[part].rows + Shape::ROWS - 1) / Shape::ROWS;
        ++part;
    }
    const PackedMatrix &matrix = p.part[part];
    int first_tile = block * Shape::BLOCK_TILES + warp_id() * Shape::ROW_TILES, chunks = p.num_units * CHUNKS_OF_UNIT;
    int unit_bytes = packed_unit_bytes(matrix.format), split = static_cast<int>(blockIdx.y);
    GemmWork work;
    work.tile_bytes = static_cast<long long>(p.num_units) * unit_bytes;
    work.row_tiles = (matrix.rows + TILE_ROWS - 1) / TILE_ROWS - first_tile;
    work.units = matrix.units + (work.row_tiles > 0 ? first_tile * work.tile_bytes : 0);
    work.x = p.x;
    work.x_tiles = (p.batch + TILE_TOKENS_PACKED - 1) / TILE_TOKENS_PACKED;
    work.num_units = p.num_units;
    work.first = split * chunks / p.num_splits;
    work.end = (split + 1) * chunks / p.num_splits;
    float total[Shape::ROW_TILES][Shape::TILES][4] = {};
    switch (matrix.format) {
    case NIBBLES_SPANS:
        multiply_chunks<GemmNibbles, GemmSpanScales, Shape>(work, unit_bytes, total);
        break;
    case NIBBLES_MINIMA:
        multiply_chunks<GemmNibbles, GemmFloatScales<true>, Shape>(work, unit_bytes, total);
        break;
    case BYTES_SPANS:
        multiply_chunks<GemmBytes, GemmSpanScales, Shape>(work, unit_bytes, total);
        break;
    case BYTES_HALVES:
        multiply_chunks<GemmBytes, GemmHalfScales, Shape>(work, unit_bytes, total);
        break;
    case BYTES_FLOATS:
        multiply_chunks<GemmBytes, GemmFloatScales<false>, Shape>(work, unit_bytes, total);
        break;
    default:
        multiply_chunks<GemmBytes, GemmFloatScales<true>, Shape>(work, unit_bytes, total);
        break;
    }
    if (p.num_splits == 1 || join_neighbours<Shape>(p, total))
        write_products<Shape>(p.batch, matrix, first_tile * TILE_ROWS, total);
}

} // namespace warpgroup

// Returns into how many parts to cut the columns, for this many blocks of rows in all: the number that takes the least time when a
// processor works on one block. Counted in chunks: a block costs 2 more to start, and adding partial sums 1 each and 2 for each step.
constexpr int wgmma_splits(int row_blocks, int num_units, int multiprocessors) {
    int best = 1, least = 0, chunks = num_units * warpgroup::CHUNKS_OF_UNIT;
    for (int splits = 1, steps = 0; splits <= 16 && splits * 2 <= chunks; ++splits) {
        if (1 << steps < splits)
            ++steps;
        int waves = (row_blocks * splits + multiprocessors - 1) / multiprocessors;
        int cost = waves * ((chunks + splits - 1) / splits + 2 + (splits > 1)) + 2 * steps;
        if (splits == 1 || cost < least) {
            best = splits;
            least = cost;
        }
    }
    return best;
}

#if !defined(GEMM_SHAPES_ELSEWHERE) && (!defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL))
template <int TILES> using WgmmaShape = warpgroup::GemmShape<TILES, WGMMA_WARPS, WGMMA_ROW_TILES, WGMMA_SHARED_BYTES>;
KERNEL(WGMMA_THREADS) packed_wgmma_16(PackedGemm p) { warpgroup::packed_wgmma<WgmmaShape<2>>(p); }
KERNEL(WGMMA_THREADS) packed_wgmma_32(PackedGemm p) { warpgroup::packed_wgmma<WgmmaShape<4>>(p); }
KERNEL(WGMMA_THREADS) packed_wgmma_64(PackedGemm p) { warpgroup::packed_wgmma<WgmmaShape<8>>(p); }
#endif
