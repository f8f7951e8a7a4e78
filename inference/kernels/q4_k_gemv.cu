// q4_k_gemv: products of up to 8 rows of f32 activations with Q4_K weights, on tensor cores.
//
// Grid: (ceil(out / 16)), 256 threads: 16 rows of weights are the rows of A, 8 tokens the columns of B. The 8 warps take the row's
// superblocks in turn and are added in order, so a token's result depends on nothing else. Nibbles become bf16 exactly
// (0..15); an activation is the sum of two bf16, which keeps 16 of its bits and its range; scales and minima are applied in f32 to
// sums of 32. Of each row a lane reads 8 neighbouring bytes of every 32, four lanes a whole sector. The order of k within a
// product is free as long as A and B agree: it is the order in which bytes lie in a word.
// Needs width % 256 == 0, weights and x aligned to 16 bytes. Truth: the plain product with dequantized weights
// (tests/it/kernels/gemv.rs). Ladder: lab/cuda.md.

#include "ptx.cuh"

constexpr int Q4_WARPS = 8, Q4_THREADS = Q4_WARPS * WARP_SIZE;
constexpr int Q4_ROWS = 16, Q4_TOKENS = 8;
constexpr int SUPERBLOCK = 256, SUPERBLOCK_BYTES = 144, SPAN = 32;

struct Q4KGemv {
    const unsigned char *weights; // [out] rows of superblocks
    const float *x;               // [batch, width]
    float *y;                     // [batch, out]
    int width, out, batch;
};

// Two numbers below 128 in the halves of a word, as bf16. 0x4300 is 128, and its last bit counts one.
DEVICE unsigned small_integers(unsigned pair) {
    pair |= 0x43004300u;
#if defined(__CUDACC__)
    unsigned exact;
    // pair * 1 - 128
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(exact) : "r"(pair), "r"(0x3f803f80u), "r"(0xc300c300u));
    return exact;
#else
    bf16_t low, high;
    from_float(to_float(bf16_t{static_cast<unsigned short>(pair)}) - 128.0f, low);
    from_float(to_float(bf16_t{static_cast<unsigned short>(pair >> 16)}) - 128.0f, high);
    return low.bits | static_cast<unsigned>(high.bits) << 16;
#endif
}

// Splits two numbers into words of their upper and lower bf16.
DEVICE void split(float x0, float x1, unsigned &upper, unsigned &lower) {
    bf16_t u0, u1, l0, l1;
    from_float(x0, u0);
    from_float(x1, u1);
    from_float(x0 - to_float(u0), l0);
    from_float(x1 - to_float(u1), l1);
    upper = u0.bits | static_cast<unsigned>(u1.bits) << 16;
    lower = l0.bits | static_cast<unsigned>(l1.bits) << 16;
}

// A lane's part of one row's superblock: scales, and bytes 8t..8t+7 of each 32 bytes of nibbles.
struct RowPart {
    Bits128 head; // d and dmin, then 12 bytes of scales and minima
    unsigned quants[4][2];
};

DEVICE RowPart load_row(const unsigned char *superblock) {
    RowPart part;
    part.head = load16(superblock);
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
        const unsigned *from = reinterpret_cast<const unsigned *>(superblock + 16 + 32 * pair + lane_id() % 4 * 8);
        part.quants[pair][0] = from[0];
        part.quants[pair][1] = from[1];
    }
    return part;
}

DEVICE unsigned byte_at(unsigned word, int at) { return word >> (8 * at) & 255u; }

// The scale and minimum of 32 weights: 6 bits each, times the superblock's.
DEVICE void span_scale(const Bits128 &head, int span, float &scale, float &minimum) {
    unsigned scale_bits, min_bits;
    if (span < 4) {
        scale_bits = byte_at(head.word[1], span) & 63u;
        min_bits = byte_at(head.word[2], span) & 63u;
    } else {
        unsigned low = byte_at(head.word[3], span - 4);
        scale_bits = (low & 15u) | byte_at(head.word[1], span - 4) >> 6 << 4;
        min_bits = low >> 4 | byte_at(head.word[2], span - 4) >> 6 << 4;
    }
    scale = to_float(half_t{static_cast<unsigned short>(head.word[0])}) * static_cast<float>(scale_bits);
    minimum = to_float(half_t{static_cast<unsigned short>(head.word[0] >> 16)}) * static_cast<float>(min_bits);
}

// A lane's activations of 32: token `lane / 4`, positions 8t..8t+7, as B fragments; and the sums of 32 of tokens 2t and 2t + 1.
struct SpanActivations {
    unsigned upper[2][2], lower[2][2];
    float sums[2];
};

DEVICE SpanActivations load_activations(const float *x, bool valid) {
    float values[8] = {};
    if (valid)
        load8(x, values);
    SpanActivations span;
    float sum = 0.0f;
#pragma unroll
    for (int word = 0; word < 2; ++word) {
        // Bytes 0 and 2 of a word of weights lie where a fragment's first pair lies, bytes 1 and 3 after a shift.
        const float *four = values + 4 * word;
        split(four[0], four[2], span.upper[word][0], span.lower[word][0]);
        split(four[1], four[3], span.upper[word][1], span.lower[word][1]);
        sum += four[0] + four[1] + four[2] + four[3];
    }
    sum += __shfl_xor_sync(ALL_LANES, sum, 1);
    sum += __shfl_xor_sync(ALL_LANES, sum, 2);
#pragma unroll
    for (int i = 0; i < 2; ++i)
        span.sums[i] = __shfl_sync(ALL_LANES, sum, 4 * (lane_id() % 4 * 2 + i));
    return span;
}

// Adds the products of 32 weights of each row; `row[0]` is the lane's row g, `row[1]` its row g + 8.
DEVICE void multiply_span(const RowPart (&row)[2], int span, const SpanActivations &x, float (&total)[4]) {
    float sums[4] = {};
    int shift = span % 2 * 4;
#pragma unroll
    for (int word = 0; word < 2; ++word) {
        unsigned a[4];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            unsigned quants = row[i].quants[span / 2][word] >> shift;
            a[i] = small_integers(quants & 0x000f000fu);
            a[i + 2] = small_integers(quants >> 8 & 0x000f000fu);
        }
        mma_m16n8k16(sums, a, x.upper[word], bf16_t{});
        mma_m16n8k16(sums, a, x.lower[word], bf16_t{});
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        float scale, minimum;
        span_scale(row[i].head, span, scale, minimum);
        total[2 * i] += scale * sums[2 * i] - minimum * x.sums[0];
        total[2 * i + 1] += scale * sums[2 * i + 1] - minimum * x.sums[1];
    }
}

// Adds the warps' sums in order and writes what exists.
DEVICE void write_tile(const Q4KGemv &p, const float (&total)[4]) {
    SHARED(float, sums, Q4_WARPS * Q4_ROWS * Q4_TOKENS);
    int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
    for (int i = 0; i < 4; ++i)
        sums[(warp_id() * Q4_TOKENS + 2 * t + i % 2) * Q4_ROWS + g + i / 2 * 8] = total[i];
    __syncthreads();
    int index = static_cast<int>(threadIdx.x), token = index / Q4_ROWS, row = static_cast<int>(blockIdx.x) * Q4_ROWS + index % Q4_ROWS;
    if (token >= p.batch || token >= Q4_TOKENS || row >= p.out)
        return;
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < Q4_WARPS; ++warp)
        sum += sums[warp * Q4_ROWS * Q4_TOKENS + index];
    p.y[static_cast<long long>(token) * p.out + row] = sum;
}

KERNEL(Q4_THREADS) q4_k_gemv(Q4KGemv p) {
    int superblocks = p.width / SUPERBLOCK, token = lane_id() / 4;
    long long row_bytes = static_cast<long long>(superblocks) * SUPERBLOCK_BYTES;
    // Rows beyond the end read the last one; nobody writes their results.
    const unsigned char *rows[2];
#pragma unroll
    for (int i = 0; i < 2; ++i)
        rows[i] = p.weights + min(static_cast<int>(blockIdx.x) * Q4_ROWS + token + 8 * i, p.out - 1) * row_bytes;
    const float *x = p.x + static_cast<long long>(token) * p.width + lane_id() % 4 * 8;
    float total[4] = {};
    for (int superblock = warp_id(); superblock < superblocks; superblock += Q4_WARPS) {
        RowPart row[2] = {load_row(rows[0] + superblock * SUPERBLOCK_BYTES), load_row(rows[1] + superblock * SUPERBLOCK_BYTES)};
#pragma unroll
        for (int span = 0; span < SUPERBLOCK / SPAN; ++span) {
            SpanActivations activations = load_activations(x + superblock * SUPERBLOCK + span * SPAN, token < p.batch);
            multiply_span(row, span, activations, total);
        }
    }
    write_tile(p, total);
}
