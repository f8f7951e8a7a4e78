// quantized_gemv: products of a few rows of f32 activations with quantized weights, for decoding batches of at most 8.
//
// Grid: (ceil(out / 8)), 128 threads: a warp has 2 rows of weights and walks along them 256 weights at a time, 8 a lane. Blocks are
// those of the GGUF file, unpacked in registers: weights are exact, activations are not rounded, sums are f32. Lanes read
// 2 or 4 neighbouring bytes (blocks of Q8_0 and Q6_K are only 2-byte aligned), so a warp reads whole lines; activations come
// from L1, once for both rows. Bandwidth-bound for 1 or 2 rows of activations; from about 4 the multiplications bind.
// For Q4_K and larger batches there is q4_k_gemv. Q4_K and Q6_K need width % 256 == 0, Q8_0 width % 32 == 0. Truth: the plain
// product with dequantized weights (tests/it/kernels/gemv.rs). Ladder: lab/cuda.md.

#include "device.cuh"

constexpr int GEMV_WARPS = 4, GEMV_ROWS = 2, GEMV_THREADS = GEMV_WARPS * WARP_SIZE;
constexpr int STEP = 256;

struct QuantizedGemv {
    const unsigned char *weights; // [out] rows of blocks
    const float *x;               // [batch, width]
    float *y;                     // [batch, out]
    int width, out, batch;
};

// A lane's part of 256 weights.
struct LaneWeights {
    float w[8];
};

DEVICE unsigned load_u16(const unsigned char *from) { return *reinterpret_cast<const unsigned short *>(from); }
DEVICE unsigned load_u32(const unsigned char *from) { return *reinterpret_cast<const unsigned *>(from); }
DEVICE float half_bits(unsigned bits) { return to_float(half_t{static_cast<unsigned short>(bits)}); }
DEVICE float signed_byte(unsigned byte) { return static_cast<float>(static_cast<signed char>(byte)); }

// 34 bytes for 32 weights: scale f16, 32 signed bytes. A lane has weights 64 i + 2 lane and the next, i = 0..3.
struct Q8_0 {
    static constexpr int GROUPS = 4, EACH = 2;
    static constexpr int BYTES_PER_32 = 34;
    DEVICE_MEMBER int position(int lane, int group) { return 64 * group + 2 * lane; }

    DEVICE_MEMBER LaneWeights load(const unsigned char *row, int step, int width) {
        LaneWeights lane{};
        int id = lane_id();
#pragma unroll
        for (int group = 0; group < GROUPS; ++group) {
            int block = step * (STEP / 32) + 2 * group + id / 16;
            if (block * 32 >= width)
                break;
            const unsigned char *from = row + static_cast<long long>(block) * BYTES_PER_32;
            float scale = half_bits(load_u16(from));
            unsigned pair = load_u16(from + 2 + id % 16 * 2);
            lane.w[2 * group] = scale * signed_byte(pair & 0xff);
            lane.w[2 * group + 1] = scale * signed_byte(pair >> 8);
        }
        return lane;
    }
};

// 144 bytes for 256 weights: scale and minimum f16, 8 scales and minima of 6 bits in 12 bytes, 128 bytes of which 32 j..32 j + 31
// have the low halves of weights 64 j.. and the high halves of 64 j + 32... A lane has 4 bytes: weights
// 64 (lane / 8) + 4 (lane % 8) and three more, and those 32 further on.
struct Q4_K {
    static constexpr int GROUPS = 2, EACH = 4;
    static constexpr int BYTES_PER_32 = 18;
    DEVICE_MEMBER int position(int lane, int group) { return 64 * (lane / 8) + 32 * group + 4 * (lane % 8); }

    // The 6-bit scale (low byte) and minimum (high byte) of 32 weights.
    DEVICE_MEMBER unsigned scale_and_min(const unsigned char *packed, int span) {
        if (span < 4)
            return (packed[span] & 63u) | (packed[span + 4] & 63u) << 8;
        unsigned scale = (packed[span + 4] & 15u) | (packed[span - 4] >> 6) << 4;
        return scale | ((packed[span + 4] >> 4u) | (packed[span] >> 6) << 4) << 8;
    }

    DEVICE_MEMBER LaneWeights load(const unsigned char *row, int step, int) {
        const unsigned char *from = row + static_cast<long long>(step) * 144;
        unsigned head = load_u32(from), quants = load_u32(from + 16 + lane_id() * 4);
        float d = half_bits(head & 0xffff), dmin = half_bits(head >> 16);
        LaneWeights lane;
#pragma unroll
        for (int group = 0; group < GROUPS; ++group) {
            unsigned pair = scale_and_min(from + 4, lane_id() / 8 * 2 + group);
            float scale = d * static_cast<float>(pair & 0xff), minimum = dmin * static_cast<float>(pair >> 8);
#pragma unroll
            for (int i = 0; i < EACH; ++i)
                lane.w[group * EACH + i] = scale * static_cast<float>(quants >> (8 * i + 4 * group) & 15u) - minimum;
        }
        return lane;
    }
};

// 210 bytes for 256 weights: 128 bytes of low halves, 64 bytes of upper pairs of bits, 16 signed scales, scale f16. A lane has
// weights 128 (lane / 16) + 32 i + 2 (lane % 16) and the next, i = 0..3.
struct Q6_K {
    static constexpr int GROUPS = 4, EACH = 2;
    static constexpr int LOW = 0, HIGH = 128, SCALES = 192, SCALE = 208;
    DEVICE_MEMBER int position(int lane, int group) { return 128 * (lane / 16) + 32 * group + 2 * (lane % 16); }

    DEVICE_MEMBER LaneWeights load(const unsigned char *row, int step, int) {
        const unsigned char *from = row + static_cast<long long>(step) * 210;
        int half = lane_id() / 16, at = lane_id() % 16 * 2;
        unsigned low[2] = {load_u16(from + LOW + 64 * half + at), load_u16(from + LOW + 64 * half + 32 + at)};
        unsigned high = load_u16(from + HIGH + 32 * half + at);
        float d = half_bits(load_u16(from + SCALE));
        LaneWeights lane;
#pragma unroll
        for (int group = 0; group < GROUPS; ++group) {
            float scale = d * signed_byte(from[SCALES + 8 * half + 2 * group + at / 16]);
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                unsigned quant = (low[group % 2] >> (8 * i + 4 * (group / 2)) & 15u) | (high >> (8 * i + 2 * group) & 3u) << 4;
                lane.w[group * EACH + i] = scale * static_cast<float>(static_cast<int>(quant) - 32);
            }
        }
        return lane;
    }
};

// Adds the products of the lane's weights with one row of activations.
template <typename Format>
DEVICE void multiply(const LaneWeights (&weights)[GEMV_ROWS], const float *x, int left, float (&sums)[GEMV_ROWS]) {
#pragma unroll
    for (int group = 0; group < Format::GROUPS; ++group) {
        int position = Format::position(lane_id(), group);
        if (position >= left)
            break;
        float values[Format::EACH];
        load_floats(x + position, values);
#pragma unroll
        for (int i = 0; i < Format::EACH; ++i)
#pragma unroll
            for (int row = 0; row < GEMV_ROWS; ++row)
                sums[row] += weights[row].w[group * Format::EACH + i] * values[i];
    }
}

template <typename Format, int BATCH> DEVICE void quantized_gemv(const QuantizedGemv &p, long long row_bytes) {
    int first = (static_cast<int>(blockIdx.x) * GEMV_WARPS + warp_id()) * GEMV_ROWS;
    // The whole warp leaves; nothing below waits for other warps.
    if (first >= p.out)
        return;
    float sums[BATCH][GEMV_ROWS] = {};
    for (int step = 0; step * STEP < p.width; ++step) {
        LaneWeights weights[GEMV_ROWS];
#pragma unroll
        for (int row = 0; row < GEMV_ROWS; ++row)
            weights[row] = Format::load(p.weights + min(first + row, p.out - 1) * row_bytes, step, p.width);
#pragma unroll
        for (int b = 0; b < BATCH; ++b)
            if (b < p.batch)
                multiply<Format>(weights, p.x + static_cast<long long>(b) * p.width + step * STEP, p.width - step * STEP,
                                 sums[b]);
    }
#pragma unroll
    for (int b = 0; b < BATCH; ++b)
#pragma unroll
        for (int row = 0; row < GEMV_ROWS; ++row) {
            float total = warp_sum(sums[b][row]);
            if (lane_id() == 0 && b < p.batch && first + row < p.out)
                p.y[static_cast<long long>(b) * p.out + first + row] = total;
        }
}

#define GEMV_KERNELS(name, Format, row_bytes)                                                                            \
    KERNEL(GEMV_THREADS) quantized_gemv_##name##_1(QuantizedGemv p) { quantized_gemv<Format, 1>(p, row_bytes); }         \
    KERNEL(GEMV_THREADS) quantized_gemv_##name##_2(QuantizedGemv p) { quantized_gemv<Format, 2>(p, row_bytes); }         \
    KERNEL(GEMV_THREADS) quantized_gemv_##name##_4(QuantizedGemv p) { quantized_gemv<Format, 4>(p, row_bytes); }         \
    KERNEL(GEMV_THREADS) quantized_gemv_##name##_8(QuantizedGemv p) { quantized_gemv<Format, 8>(p, row_bytes); }

GEMV_KERNELS(q8_0, Q8_0, static_cast<long long>(p.width / 32) * 34)
GEMV_KERNELS(q4_k, Q4_K, static_cast<long long>(p.width / 256) * 144)
GEMV_KERNELS(q6_k, Q6_K, static_cast<long long>(p.width / 256) * 210)
