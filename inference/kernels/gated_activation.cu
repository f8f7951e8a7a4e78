// gated_activation: act(gate) * up, element by element.
//
// Grid: (ceil(width / 256), num_tokens up to 65535 rows a launch), 256 threads. Neighbouring threads read neighbouring
// numbers. Bandwidth-bound: 12 bytes an element. Rows of `gate` and `up` may lie apart (`stride`), so that one product of both
// weights can feed it. Truth: ops/gated_activation/reference.rs. Ladder: lab/cuda.md.

#include "device.cuh"

struct GatedActivation {
    const float *gate, *up; // [num_tokens] rows of `width`, `stride` apart
    float *out;             // [num_tokens, width]
    long long stride;
    int width;
    int gelu_tanh; // 0: SiLU
};

DEVICE float silu(float x) { return x / (1.0f + expf(-x)); }

DEVICE float gelu_tanh(float x) {
    const float slope = 0.79788456f; // sqrt(2 / pi)
    return 0.5f * x * (1.0f + tanhf(slope * (x + 0.044715f * x * x * x)));
}

KERNEL(256) gated_activation(GatedActivation p) {
    int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (column >= p.width)
        return;
    long long row = blockIdx.y;
    float gate = p.gate[row * p.stride + column], up = p.up[row * p.stride + column];
    p.out[row * p.width + column] = (p.gelu_tanh ? gelu_tanh(gate) : silu(gate)) * up;
}
