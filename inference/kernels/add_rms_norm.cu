// add_rms_norm: adds a layer's output to the residual stream and normalises the sum, y = r / sqrt(mean(r^2) + eps) * weight.
//
// Grid: one block a row, 256 threads. The second reading of the row comes from L1 or L2. Sums in f32, in an order that
// depends on nothing but the width, so a row's result does not depend on the batch. Bandwidth-bound from some hundred rows
// on; for one row it is all latency. With `_packed` the result is packed for packed_gemv, whose columns beyond the width are zero.
// Truth: ops/rms_norm/reference.rs after an addition. Ladder: lab/cuda.md.

#include "packed.cuh"

constexpr int NORM_THREADS = 256;

struct AddRmsNorm {
    const float *delta;  // [num_tokens, hidden], or null: nothing is added
    float *residual;     // [num_tokens, hidden], receives the sum
    const float *weight; // [hidden]
    void *out;           // [num_tokens, hidden] of the kernel's type
    unsigned *is_valid;  // [num_tokens]: whether the row is of finite numbers, or null
    float *plain;         // [num_tokens, hidden]: the result in f32 too, or null; of the kernels that take units
    const unsigned *rows; // [num_tokens]: rows of delta and residual that are taken, or null: all
    int hidden;
    float eps;
};

// Where the block's row of the residual stream begins.
DEVICE long long row_of(const AddRmsNorm &p) {
    return static_cast<long long>(p.rows != nullptr ? p.rows[blockIdx.x] : blockIdx.x) * p.hidden;
}

// Adds, and returns the factor of the norm.
DEVICE float add_and_scale(const AddRmsNorm &p) {
    start_kernel_after();
    wait_for_kernel_before();
    long long at = row_of(p);
    float *residual = p.residual + at;
    float squares = 0.0f;
    for (int i = static_cast<int>(threadIdx.x); i < p.hidden; i += NORM_THREADS) {
        float x = residual[i];
        if (p.delta != nullptr) {
            x += p.delta[at + i];
            residual[i] = x;
        }
        squares += x * x;
    }
    float sum = block_sum<NORM_THREADS / WARP_SIZE>(squares);
    if (p.is_valid != nullptr && threadIdx.x == 0)
        p.is_valid[blockIdx.x] = sum <= 3.4e38f;
    return 1.0f / sqrtf(sum / static_cast<float>(p.hidden) + p.eps);
}

template <typename Out> DEVICE void add_rms_norm(const AddRmsNorm &p) {
    float scale = add_and_scale(p);
    const float *residual = p.residual + row_of(p);
    Out *out = static_cast<Out *>(p.out) + static_cast<long long>(blockIdx.x) * p.hidden;
    // Each thread reads again what it wrote itself.
    for (int i = static_cast<int>(threadIdx.x); i < p.hidden; i += NORM_THREADS)
        from_float(residual[i] * scale * p.weight[i], out[i]);
}

KERNEL(NORM_THREADS) add_rms_norm_f32(AddRmsNorm p) { add_rms_norm<float>(p); }
KERNEL(NORM_THREADS) add_rms_norm_f16(AddRmsNorm p) { add_rms_norm<half_t>(p); }
KERNEL(NORM_THREADS) add_rms_norm_bf16(AddRmsNorm p) { add_rms_norm<bf16_t>(p); }

// Units that a warp keeps in registers between sum and result; a block has a warp for each unit up to 32.
constexpr int NORM_UNITS = 2, NORM_MOST_WARPS = 32;

// The row's sums of squares, over all warps of the block.
DEVICE float sum_of_warps(float x) {
    SHARED(float, sums, NORM_MOST_WARPS);
    x = warp_sum(x);
    if (lane_id() == 0)
        sums[warp_id()] = x;
    __syncthreads();
    float total = 0.0f;
    for (int warp = 0; warp < static_cast<int>(blockDim.x) / WARP_SIZE; ++warp)
        total += sums[warp];
    return total;
}

// As add_rms_norm, for a product of few tokens: the row is read once. Threads: 32 * min(units, 32), at most 64 units.
template <typename Pack> DEVICE void add_rms_norm_units(const AddRmsNorm &p, Pack pack) {
    start_kernel_after();
    int num_units = (p.hidden + UNIT - 1) / UNIT, warps = static_cast<int>(blockDim.x) / WARP_SIZE;
    float weight[NORM_UNITS][8] = {}, x[NORM_UNITS][8] = {};
#pragma unroll
    for (int i = 0; i < NORM_UNITS; ++i) {
        int column = (warp_id() + i * warps) * UNIT + lane_id() * 8;
        if (column < p.hidden)
            load8(p.weight + column, weight[i]);
    }
    wait_for_kernel_before();
    long long row = row_of(p);
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < NORM_UNITS; ++i) {
        int column = (warp_id() + i * warps) * UNIT + lane_id() * 8;
        if (column >= p.hidden)
            continue;
        load8(p.residual + row + column, x[i]);
        if (p.delta != nullptr) {
            float delta[8];
            load8(p.delta + row + column, delta);
#pragma unroll
            for (int j = 0; j < 8; ++j)
                x[i][j] += delta[j];
            store8(p.residual + row + column, x[i]);
        }
#pragma unroll
        for (int j = 0; j < 8; ++j)
            squares += x[i][j] * x[i][j];
    }
    float sum = sum_of_warps(squares);
    if (p.is_valid != nullptr && threadIdx.x == 0)
        p.is_valid[blockIdx.x] = sum <= 3.4e38f;
    float scale = 1.0f / sqrtf(sum / static_cast<float>(p.hidden) + p.eps);
#pragma unroll
    for (int i = 0; i < NORM_UNITS; ++i) {
        int unit = warp_id() + i * warps;
        if (unit >= num_units)
            break;
#pragma unroll
        for (int j = 0; j < 8; ++j)
            x[i][j] *= scale * weight[i][j];
        int column = unit * UNIT + lane_id() * 8;
        if (p.plain != nullptr && column < p.hidden)
            store8(p.plain + static_cast<long long>(blockIdx.x) * p.hidden + column, x[i]);
        pack(x[i], unit, num_units);
    }
}

KERNEL(NORM_MOST_WARPS * WARP_SIZE) add_rms_norm_packed(AddRmsNorm p) {
    add_rms_norm_units(p, [&](const float(&x)[8], int unit, int num_units) {
        unsigned char *to = packed_unit(static_cast<unsigned char *>(p.out), blockIdx.x, num_units, unit);
        pack_unit(x, to, static_cast<int>(blockIdx.x) % TILE_TOKENS_PACKED);
    });
}

KERNEL(NORM_MOST_WARPS * WARP_SIZE) add_rms_norm_halves(AddRmsNorm p) {
    add_rms_norm_units(p, [&](const float(&x)[8], int unit, int num_units) {
        unsigned char *to = halves_unit(static_cast<unsigned char *>(p.out), blockIdx.x, num_units, unit);
        pack_unit_halves(x, to, static_cast<int>(blockIdx.x) % TILE_TOKENS_PACKED);
    });
}

// Rows in f16, times HALVES_SCALE, for products of many tokens.
KERNEL(NORM_MOST_WARPS * WARP_SIZE) add_rms_norm_f16_scaled(AddRmsNorm p) {
    add_rms_norm_units(p, [&](const float(&x)[8], int unit, int) {
        int column = unit * UNIT + lane_id() * 8;
        if (column >= p.hidden)
            return;
        Bits128 halves;
#pragma unroll
        for (int i = 0; i < 4; ++i)
            halves.word[i] = pack_halves(x[2 * i] * HALVES_SCALE, x[2 * i + 1] * HALVES_SCALE);
        half_t *row = static_cast<half_t *>(p.out) + static_cast<long long>(blockIdx.x) * p.hidden;
        *reinterpret_cast<Bits128 *>(row + column) = halves;
    });
}
