// add_rms_norm: adds a layer's output to the residual stream and normalises the sum, y = r / sqrt(mean(r^2) + eps) * weight.
//
// Grid: one block a row, 256 threads. The second reading of the row comes from L1 or L2. Sums in f32, in an order that
// depends on nothing but the width, so a row's result does not depend on the batch. Bandwidth-bound from some hundred rows
// on; for one row it is all latency. Truth: ops/rms_norm/reference.rs after an addition. Ladder: lab/cuda.md.

#include "device.cuh"

constexpr int NORM_THREADS = 256;

struct AddRmsNorm {
    const float *delta;  // [num_tokens, hidden], or null: nothing is added
    float *residual;     // [num_tokens, hidden], receives the sum
    const float *weight; // [hidden]
    void *out;           // [num_tokens, hidden] of the kernel's type
    int hidden;
    float eps;
};

template <typename Out> DEVICE void add_rms_norm(const AddRmsNorm &p) {
    long long at = static_cast<long long>(blockIdx.x) * p.hidden;
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
    float scale = 1.0f / sqrtf(block_sum<NORM_THREADS / WARP_SIZE>(squares) / static_cast<float>(p.hidden) + p.eps);
    Out *out = static_cast<Out *>(p.out) + at;
    // Each thread reads again what it wrote itself.
    for (int i = static_cast<int>(threadIdx.x); i < p.hidden; i += NORM_THREADS)
        from_float(residual[i] * scale * p.weight[i], out[i]);
}

KERNEL(NORM_THREADS) add_rms_norm_f32(AddRmsNorm p) { add_rms_norm<float>(p); }
KERNEL(NORM_THREADS) add_rms_norm_f16(AddRmsNorm p) { add_rms_norm<half_t>(p); }
KERNEL(NORM_THREADS) add_rms_norm_bf16(AddRmsNorm p) { add_rms_norm<bf16_t>(p); }
