// What moves rows to and from the places of experts.
//
//   gather_expert_rows   f32 rows of tokens to halves at the places of their pairs. Grid: (num_tokens, ceil(width / 1024)), 128 threads, a warp
//                        a unit
//   combine_experts      the weighted sum of a token's experts, in the order of its slots: no atomics, the same bits every time. With
//                        `shared` also what an expert that all tokens use has yielded, times the sigmoid of a logit where there is one.
//                        Grid: (num_tokens, ceil(width / 1024)), 256 threads, 4 columns each
//
// Bandwidth-bound. Truth: tests/it/kernels/experts.rs. Layouts: experts.cuh. Ladder: lab/cuda.md.

#include "experts.cuh"

struct GatherExpertRows {
    const float *x;         // [num_tokens, width]
    unsigned char *out;     // halves, [tiles of 8 places][num_units]
    const unsigned *places; // [num_tokens, num_used]
    int width, num_used;    // width: a multiple of 8
};

KERNEL(128) gather_expert_rows(GatherExpertRows p) {
    start_kernel_after();
    wait_for_kernel_before();
    int unit = static_cast<int>(blockIdx.y) * 4 + warp_id(), num_units = (p.width + UNIT - 1) / UNIT;
    if (unit >= num_units)
        return;
    long long token = blockIdx.x;
    int column = unit * UNIT + lane_id() * 8;
    float x[8] = {};
    if (column < p.width)
        load8(p.x + token * p.width + column, x);
    for (int slot = 0; slot < p.num_used; ++slot) {
        unsigned place = p.places[token * p.num_used + slot];
        if (place != NOWHERE)
            pack_unit_halves(x, halves_unit(p.out, place, num_units, unit), static_cast<int>(place % PLACES_OF_TILE));
    }
}

struct CombineExperts {
    const float *y;         // [places, width]
    const float *weights;   // [num_tokens, num_used]
    const unsigned *places; // [num_tokens, num_used]
    const float *shared;    // [num_tokens, width], or null
    const float *gate;      // [num_tokens] logits, `gate_stride` apart, or null
    float *out;             // [num_tokens, width]
    long long gate_stride;
    int width, num_used; // width: a multiple of 4
};

KERNEL(256) combine_experts(CombineExperts p) {
    start_kernel_after();
    wait_for_kernel_before();
    long long token = blockIdx.x;
    int column = (static_cast<int>(blockIdx.y) * 256 + static_cast<int>(threadIdx.x)) * 4;
    if (column >= p.width)
        return;
    float sum[4] = {};
    auto add = [&](float weight, const float *row) {
        float x[4];
        load_floats(row + column, x);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            sum[i] += weight * x[i];
    };
    for (int slot = 0; slot < p.num_used; ++slot) {
        long long pair = token * p.num_used + slot;
        if (p.places[pair] != NOWHERE)
            add(p.weights[pair], p.y + static_cast<long long>(p.places[pair]) * p.width);
    }
    if (p.shared != nullptr) {
        float open = p.gate != nullptr ? 1.0f / (1.0f + expf(-p.gate[token * p.gate_stride])) : 1.0f;
        add(open, p.shared + token * p.width);
    }
    Bits128 bits;
#pragma unroll
    for (int i = 0; i < 4; ++i)
        bits.word[i] = __float_as_uint(sum[i]);
    *reinterpret_cast<Bits128 *>(p.out + token * p.width + column) = bits;
}
