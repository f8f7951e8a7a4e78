// Products of up to 64 tokens with rows of a quantized matrix on tensor cores: what packed_gemm.cu and expert_gemm.cu share. Weights
// become f16 in registers (as in Marlin, arXiv 2408.11743), activations are f16, sums f32.
//
// Blocks of GEMM_THREADS threads with GEMM_SHARED_BYTES of dynamic shared memory (more than the 48 KB that need no attribute) multiply
// `gemm_rows(batch)` rows of a matrix, its last block may have less.
//
// A warp has 2 or 3 tiles of 16 rows and all tokens, so that a fragment of activations from shared memory serves as many `mma`. Chunks
// come by `cp.async` into a ring of stages: weights, which the warp reads back that copied them, and activations, which all warps read;
// weights lie as fragments, 16 bytes a lane, activations as matrices of `ldmatrix`, both without bank conflicts. Scales and minima of a unit come with its first chunk, one unit ahead,
// and the warp makes them pairs of f16 in shared memory. Nibbles become f16 by their bits (1024 + n, or 1024 + 16 n, minus that), then
// one `fma` scales them and takes the minimum away: a weight is rounded to f16, as are its scale and minimum.
// Layouts: packed.cuh.
#pragma once

#include "packed.cuh"

// A chunk is a pair of spans, of which 16 bytes a lane have the nibbles.
constexpr int CHUNKS_OF_UNIT = SPANS / 2;
constexpr int X_CHUNK_BYTES = HALVES_UNIT_BYTES / CHUNKS_OF_UNIT;
constexpr int GEMM_SHARED_BYTES = 98304;
constexpr int GEMM_WARPS = 4, GEMM_THREADS = GEMM_WARPS * WARP_SIZE;

// Row tiles of a warp. With more tokens, activations from shared memory bind before the tensor cores do, and each of them serves more
// products where a warp has more rows.
constexpr int gemm_row_tiles(int batch) { return batch > 32 ? 3 : 2; }
constexpr int gemm_rows(int batch) { return GEMM_WARPS * gemm_row_tiles(batch) * TILE_ROWS; }

constexpr int gemm_row_blocks(int rows, int batch) { return (rows + gemm_rows(batch) - 1) / gemm_rows(batch); }

// What a block is made of.
template <int X_TILES, int NUM_WARPS, int WARP_ROW_TILES, int BYTES_OF_SHARED> struct GemmShape {
    static constexpr int TILES = X_TILES, WARPS = NUM_WARPS, ROW_TILES = WARP_ROW_TILES, SHARED_BYTES = BYTES_OF_SHARED;
    static constexpr int THREADS = WARPS * WARP_SIZE, BLOCK_TILES = WARPS * ROW_TILES, ROWS = BLOCK_TILES * TILE_ROWS;
    static constexpr int X_BYTES = TILES * X_CHUNK_BYTES;
    // 4 words a lane and row tile, of two units.
    static constexpr int SCALES_BYTES = 2 * 16 * ROW_TILES * THREADS;
    static constexpr int MOST_STAGES = CHUNKS_OF_UNIT + 1;
    DEVICE_MEMBER constexpr int stage_bytes(int chunk_bytes) { return X_BYTES + BLOCK_TILES * chunk_bytes; }
    DEVICE_MEMBER constexpr int stages(int chunk_bytes) {
        int fit = (SHARED_BYTES - SCALES_BYTES) / stage_bytes(chunk_bytes);
        return fit < MOST_STAGES ? fit : MOST_STAGES;
    }
};

// A row tile's weights: `READS` pieces of 16 bytes a lane for each pair of spans. `numbers` makes pairs of f16 for one of the two spans,
// exactly: of the bytes 0 and 2 of a word, and of 1 and 3.
struct GemmNibbles {
    static constexpr int BYTES = NIBBLE_BYTES, READS = 1;
    DEVICE_MEMBER void numbers(unsigned word, int second, unsigned (&pairs)[2]) {
#pragma unroll
        for (int upper = 0; upper < 2; ++upper) {
            unsigned bytes = upper == 0 ? word : word >> 8;
            if (second == 0)
                pairs[upper] = add_halves(and_or(bytes, 0x000f000fu, 0x64006400u), 0xe400e400u); // - 1024
            else
                pairs[upper] = fma_halves(and_or(bytes, 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u); // / 16 - 64
        }
    }
};

struct GemmBytes {
    static constexpr int BYTES = BYTE_BYTES, READS = 2;
    DEVICE_MEMBER void numbers(unsigned word, int, unsigned (&pairs)[2]) {
        word ^= 0x80808080u;
#pragma unroll
        for (int upper = 0; upper < 2; ++upper)
            pairs[upper] = add_halves(permute_bytes(word, 0x64646464u, upper == 0 ? 0x4240u : 0x4341u), 0xe480e480u); // - 1152
    }
};

// What a lane reads of a row's scales and minima, words at `at(i)`, and the two words of f16 that it makes of them. Each is the `which`-th
// word of a pair of spans: (scale of the first, of the second) and their minima, negative; with HALVES the scales of the first span's
// two halves and those of the second's.
struct GemmSpanScales {
    static constexpr bool HALVES = false, HAS_MINIMA = true;
    static constexpr int READS = 2;
    // t: scales 0..3, scales 4..7, minima 0..3, minima 4..7; then the scale of both.
    DEVICE_MEMBER unsigned at(unsigned i, unsigned row, unsigned t) { return i == 0 ? 16 * row + 4 * t : 256 + 4 * row; }
    DEVICE_MEMBER void make_words(const unsigned (&read)[2], unsigned (&words)[2]) {
        float common = lane_id() % 4 < 2 ? half_float(read[1], 0) : -half_float(read[1], 1);
#pragma unroll
        for (int i = 0; i < 2; ++i)
            words[i] = pack_halves(common * byte_float(read[0], 2 * i), common * byte_float(read[0], 2 * i + 1));
    }
    DEVICE_MEMBER int pair(int i, int t) { return t % 2 * 2 + i; }
    DEVICE_MEMBER int which(int, int t) { return t / 2; }
};

struct GemmHalfScales {
    static constexpr bool HALVES = true, HAS_MINIMA = false;
    static constexpr int READS = 2;
    DEVICE_MEMBER unsigned at(unsigned i, unsigned row, unsigned t) { return i == 0 ? 16 * row + 4 * t : 256 + 4 * row; }
    DEVICE_MEMBER void make_words(const unsigned (&read)[2], unsigned (&words)[2]) {
        float common = half_float(read[1], 0);
        auto scale = [&](int at) { return byte_float(read[0] ^ 0x80808080u, at) - 128.0f; };
#pragma unroll
        for (int i = 0; i < 2; ++i)
            words[i] = pack_halves(common * scale(2 * i), common * scale(2 * i + 1));
    }
    DEVICE_MEMBER int pair(int, int t) { return t; }
    DEVICE_MEMBER int which(int i, int) { return i; }
};

template <bool MINIMA> struct GemmFloatScales {
    static constexpr bool HALVES = false, HAS_MINIMA = MINIMA;
    static constexpr int READS = MINIMA ? 2 : 1;
    DEVICE_MEMBER unsigned at(unsigned i, unsigned row, unsigned t) { return 256 * i + 16 * row + 4 * t; }
    DEVICE_MEMBER void make_words(const unsigned (&read)[2], unsigned (&words)[2]) {
        words[0] = read[0];
        words[1] = read[1] ^ 0x80008000u;
    }
    DEVICE_MEMBER int pair(int, int t) { return t; }
    DEVICE_MEMBER int which(int i, int) { return i; }
};

// What a block reads, in chunks first.. to end. A row tile that does not exist is the matrix's last one again, a tile of tokens that
// does not exist the last one: nobody writes what comes of them.
struct GemmWork {
    const unsigned char *units; // of the warp's first row tile
    const unsigned char *x;
    // Offsets are counted in 32 bits and without a sign, which saves registers.
    unsigned last_tile, tile_bytes, unit_bytes; // the last row tile that exists, seen from the first
    unsigned last_x_tile, x_tile_bytes;
    unsigned first, end;
};

template <typename Quants> DEVICE constexpr int chunk_bytes() { return Quants::BYTES / CHUNKS_OF_UNIT; }

// Returns where the row tile lies, seen from the warp's first.
DEVICE unsigned row_tile_offset(const GemmWork &work, unsigned tile) {
    return (tile < work.last_tile ? tile : work.last_tile) * work.tile_bytes;
}

// Starts to copy the warp's weights of a chunk.
template <typename Quants, typename Shape> DEVICE void copy_weights(const GemmWork &work, unsigned char *stage, unsigned chunk) {
    constexpr int BYTES = chunk_bytes<Quants>();
    unsigned char *to = stage + Shape::X_BYTES + warp_id() * Shape::ROW_TILES * BYTES + lane_id() * 16;
    unsigned at = chunk / CHUNKS_OF_UNIT * work.unit_bytes + chunk % CHUNKS_OF_UNIT * BYTES + static_cast<unsigned>(lane_id()) * 16;
#pragma unroll
    for (int tile = 0; tile < Shape::ROW_TILES; ++tile) {
        const unsigned char *from = work.units + (at + row_tile_offset(work, tile));
#pragma unroll
        for (int piece = 0; piece < BYTES; piece += 16 * WARP_SIZE)
            cp_async_16(to + tile * BYTES + piece, from + piece, true);
    }
}

// Starts to copy the thread's share of a chunk of activations.
template <typename Shape> DEVICE void copy_x(const GemmWork &work, unsigned char *stage, unsigned chunk) {
    constexpr unsigned PIECES = Shape::X_BYTES / 16, PIECES_OF_TILE = X_CHUNK_BYTES / 16, THREADS = Shape::THREADS;
    static_assert((PIECES % THREADS == 0 || PIECES < THREADS) && THREADS % PIECES_OF_TILE == 0);
    unsigned own = threadIdx.x, at = chunk * X_CHUNK_BYTES + own % PIECES_OF_TILE * 16;
#pragma unroll
    for (unsigned first = 0; first < PIECES; first += THREADS) {
        unsigned tile = first / PIECES_OF_TILE + own / PIECES_OF_TILE;
        unsigned from = at + (tile < work.last_x_tile ? tile : work.last_x_tile) * work.x_tile_bytes;
        if (PIECES % THREADS == 0 || own < PIECES)
            cp_async_16(stage + (first + own) * 16, work.x + from, true);
    }
}

// The place of a row tile's scales. Units use two places in turn, so that those of the next are under way.
constexpr int TILE_SCALES = 4 * WARP_SIZE;
template <typename Shape> DEVICE unsigned *scales_place(unsigned *places, unsigned unit, int tile) {
    return places + ((unit % 2 * Shape::WARPS + threadIdx.x / WARP_SIZE) * Shape::ROW_TILES + tile) * TILE_SCALES;
}

// Starts to copy the scales that the lane makes words of, of rows g and g + 8 of the warp's row tiles.
template <typename Quants, typename Scales, typename Shape>
DEVICE void copy_scales(const GemmWork &work, unsigned *places, unsigned unit) {
    unsigned first = unit * work.unit_bytes + Quants::BYTES;
#pragma unroll
    for (int tile = 0; tile < Shape::ROW_TILES; ++tile)
#pragma unroll
        for (int row = 0; row < 2; ++row)
#pragma unroll
            for (int i = 0; i < Scales::READS; ++i)
                cp_async_4(scales_place<Shape>(places, unit, tile) + (row * 2 + i) * WARP_SIZE + lane_id(),
                           work.units + (first + row_tile_offset(work, tile) + Scales::at(i, lane_id() / 4 + 8 * row, lane_id() % 4)));
}

// Makes words of them, [4 pairs of spans][16 rows][2], in the same place.
template <typename Scales, typename Shape> DEVICE void make_words(unsigned *places, unsigned unit) {
    int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
    for (int tile = 0; tile < Shape::ROW_TILES; ++tile) {
        unsigned *place = scales_place<Shape>(places, unit, tile), words[2][2];
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            unsigned read[2] = {};
#pragma unroll
            for (int i = 0; i < Scales::READS; ++i)
                read[i] = place[(row * 2 + i) * WARP_SIZE + lane_id()];
            Scales::make_words(read, words[row]);
        }
        __syncwarp();
#pragma unroll
        for (int row = 0; row < 2; ++row)
#pragma unroll
            for (int i = 0; i < 2; ++i)
                place[(Scales::pair(i, t) * TILE_ROWS + 8 * row + g) * 2 + Scales::which(i, t)] = words[row][i];
    }
    __syncwarp();
}

// The words of a row and a pair of spans, which one load reads.
struct alignas(8) PairWords {
    unsigned word[2];
};

// Makes the fragments of a row tile's span, the pair's first or second: of its columns 0..15 and 16..31. `scales`: their words, of
// rows g and g + 8.
template <typename Quants, typename Scales>
DEVICE void make_fragments(const Bits128 &quants, int second, const PairWords (&scales)[2], unsigned (&a)[2][4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        int row = i % 2, step = i / 2;
        unsigned numbers[2];
        Quants::numbers(quants.word[i], second, numbers);
        int at = Scales::HALVES ? step : second;
        unsigned both = at == 0 ? 0x1010u : 0x3232u;
        unsigned scale = permute_bytes(scales[row].word[Scales::HALVES ? second : 0], 0, both);
        unsigned minimum = Scales::HAS_MINIMA ? permute_bytes(scales[row].word[1], 0, both) : 0x80008000u;
        a[step][row] = fma_halves(numbers[0], scale, minimum);
        a[step][row + 2] = fma_halves(numbers[1], scale, minimum);
    }
}

// Adds the products of a span. Sums that depend on each other are ROW_TILES * GROUP products apart.
template <typename Shape>
DEVICE void multiply_gemm_span(const unsigned char *x, const unsigned (&a)[Shape::ROW_TILES][2][4],
                               float (&total)[Shape::ROW_TILES][Shape::TILES][4]) {
    constexpr int MOST = 8 / Shape::ROW_TILES, GROUP = Shape::TILES < MOST || Shape::TILES % MOST != 0 ? 2 : MOST;
#pragma unroll
    for (int first = 0; first < Shape::TILES; first += GROUP) {
        unsigned b[GROUP][4];
#pragma unroll
        for (int i = 0; i < GROUP; ++i)
            ldmatrix_x4(b[i], x + (first + i) * X_CHUNK_BYTES);
#pragma unroll
        for (int step = 0; step < 2; ++step)
#pragma unroll
            for (int i = 0; i < GROUP; ++i) {
                unsigned columns[2] = {b[i][2 * step], b[i][2 * step + 1]};
#pragma unroll
                for (int tile = 0; tile < Shape::ROW_TILES; ++tile)
                    mma_m16n8k16(total[tile][first + i], a[tile][step], columns, half_t{});
            }
    }
}

// Adds the products of a chunk.
template <typename Quants, typename Scales, typename Shape>
DEVICE void multiply_chunk(const unsigned char *stage, unsigned *places, unsigned chunk,
                           float (&total)[Shape::ROW_TILES][Shape::TILES][4]) {
    constexpr int BYTES = chunk_bytes<Quants>(), PIECE = WARP_SIZE * 16;
    const unsigned char *x = stage + lane_id() * 16, *weights = x + Shape::X_BYTES + warp_id() * Shape::ROW_TILES * BYTES;
    PairWords scales[Shape::ROW_TILES][2];
    Bits128 quants[Shape::ROW_TILES];
#pragma unroll
    for (int tile = 0; tile < Shape::ROW_TILES; ++tile)
#pragma unroll
        for (int row = 0; row < 2; ++row)
            scales[tile][row] = reinterpret_cast<const PairWords *>(
                scales_place<Shape>(places, chunk / CHUNKS_OF_UNIT, tile))[chunk % CHUNKS_OF_UNIT * TILE_ROWS + (8 * row + lane_id() / 4)];
#pragma unroll
    for (int second = 0; second < 2; ++second) {
        unsigned a[Shape::ROW_TILES][2][4];
#pragma unroll
        for (int tile = 0; tile < Shape::ROW_TILES; ++tile) {
            if (second < Quants::READS)
                quants[tile] = *reinterpret_cast<const Bits128 *>(weights + tile * BYTES + second * PIECE);
            make_fragments<Quants, Scales>(quants[tile], second, scales[tile], a[tile]);
        }
        multiply_gemm_span<Shape>(x + second * PIECE, a, total);
    }
}

// Starts to copy a chunk but for its activations.
template <typename Quants, typename Scales, typename Shape>
DEVICE void copy_matrix(const GemmWork &work, unsigned char *stage, unsigned *places, unsigned chunk) {
    copy_weights<Quants, Shape>(work, stage, chunk);
    if (chunk % CHUNKS_OF_UNIT == 0 || chunk == work.first)
        copy_scales<Quants, Scales, Shape>(work, places, chunk / CHUNKS_OF_UNIT);
}

template <typename Quants, typename Scales, typename Shape>
DEVICE void multiply_chunks(const GemmWork &work, float (&total)[Shape::ROW_TILES][Shape::TILES][4]) {
    constexpr int STAGE = Shape::stage_bytes(chunk_bytes<Quants>()), STAGES = Shape::stages(chunk_bytes<Quants>());
    // With more, a unit's scales would come while those of the unit before the last are read.
    static_assert(STAGES >= 2 && STAGES <= CHUNKS_OF_UNIT + 1);
    DYNAMIC_SHARED(unsigned char, shared);
    unsigned *places = reinterpret_cast<unsigned *>(shared);
    unsigned char *ring = shared + Shape::SCALES_BYTES;
#pragma unroll
    for (int i = 0; i < STAGES - 1; ++i)
        if (work.first + i < work.end)
            copy_matrix<Quants, Scales, Shape>(work, ring + i * STAGE, places, work.first + i);
    // Weights are under way before activations are there: those come from the kernel before.
    start_kernel_after();
    wait_for_kernel_before();
#pragma unroll
    for (int i = 0; i < STAGES - 1; ++i) {
        if (work.first + i < work.end)
            copy_x<Shape>(work, ring + i * STAGE, work.first + i);
        cp_async_commit();
    }
    int stage = 0;
    for (unsigned chunk = work.first; chunk < work.end; ++chunk) {
        cp_async_wait<STAGES - 2>();
        __syncthreads();
        if (chunk % CHUNKS_OF_UNIT == 0 || chunk == work.first)
            make_words<Scales, Shape>(places, chunk / CHUNKS_OF_UNIT);
        // All have left the stage that was read last.
        unsigned next = chunk + STAGES - 1;
        if (next < work.end) {
            unsigned char *free = ring + (stage == 0 ? STAGES - 1 : stage - 1) * STAGE;
            copy_matrix<Quants, Scales, Shape>(work, free, places, next);
            copy_x<Shape>(work, free, next);
        }
        cp_async_commit();
        multiply_chunk<Quants, Scales, Shape>(ring + stage * STAGE, places, chunk, total);
        stage = stage == STAGES - 1 ? 0 : stage + 1;
    }
}

// Adds the products of a block's work with weights of the format.
template <typename Shape> DEVICE void multiply_work(int format, const GemmWork &work, float (&total)[Shape::ROW_TILES][Shape::TILES][4]) {
    switch (format) {
    case NIBBLES_SPANS:
        multiply_chunks<GemmNibbles, GemmSpanScales, Shape>(work, total);
        break;
    case NIBBLES_MINIMA:
        multiply_chunks<GemmNibbles, GemmFloatScales<true>, Shape>(work, total);
        break;
    case BYTES_SPANS:
        multiply_chunks<GemmBytes, GemmSpanScales, Shape>(work, total);
        break;
    case BYTES_HALVES:
        multiply_chunks<GemmBytes, GemmHalfScales, Shape>(work, total);
        break;
    case BYTES_FLOATS:
        multiply_chunks<GemmBytes, GemmFloatScales<false>, Shape>(work, total);
        break;
    default:
        multiply_chunks<GemmBytes, GemmFloatScales<true>, Shape>(work, total);
        break;
    }
}

// Returns the warp's work with rows from tile `first_tile` of a matrix and `batch` tokens, but for the chunks.
DEVICE GemmWork work_of(const PackedMatrix &matrix, int first_tile, const unsigned char *x, int num_units, int batch) {
    int last_tile = (matrix.rows - 1) / TILE_ROWS;
    GemmWork work;
    work.unit_bytes = static_cast<unsigned>(packed_unit_bytes(matrix.format));
    work.tile_bytes = static_cast<unsigned>(num_units) * work.unit_bytes;
    work.units = matrix.units + static_cast<long long>(min(first_tile, last_tile)) * work.tile_bytes;
    work.last_tile = static_cast<unsigned>(max(last_tile - first_tile, 0));
    work.x = x;
    work.last_x_tile = static_cast<unsigned>(batch - 1) / TILE_TOKENS_PACKED;
    work.x_tile_bytes = static_cast<unsigned>(num_units) * HALVES_UNIT_BYTES;
    work.first = 0;
    work.end = static_cast<unsigned>(num_units) * CHUNKS_OF_UNIT;
    return work;
}

template <int TOKENS> using GemmEntry =
    GemmShape<TOKENS / TILE_TOKENS_PACKED, GEMM_WARPS, gemm_row_tiles(TOKENS), GEMM_SHARED_BYTES>;
