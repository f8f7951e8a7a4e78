// gated_activation: act(gate) * up, element by element.
//
// Grid: (ceil(width / 1024), num_tokens up to 65535 rows a launch), 128 threads, a thread 8 columns, a warp a unit of 256. Reads
// 16 bytes at once where rows are aligned. Bandwidth-bound: 12 bytes an element, or 10. Rows of `gate` and `up` may lie apart
// (`stride`), so that one product of both weights can feed it. All but the first write what the next product reads:
//
//   gated_activation, _bf16    f32, bf16
//   gated_activation_f16       f16, times HALVES_SCALE
//   gated_activation_packed    units of packed.cuh
//   gated_activation_halves    units of packed.cuh in f16
//   gated_places_packed, _halves   the same of pairs at the places of their experts (experts.cuh), `rows`
//
// Truth: ops/gated_activation/reference.rs. Ladder: lab/cuda.md.

#include "experts.cuh"

constexpr int GATED_THREADS = 128;

struct GatedActivation {
    const float *gate, *up; // [num_tokens] rows of `width`, `stride` apart
    void *out;              // [num_tokens, width] of the kernel's type
    const unsigned *rows;   // of the kernels that go by places: [num_tokens], rows of all three, or NOWHERE
    long long stride;
    int width;
    int gelu_tanh; // 0: SiLU
};

DEVICE float silu(float x) { return x / (1.0f + expf(-x)); }

DEVICE float gelu_tanh(float x) {
    const float slope = 0.79788456f; // sqrt(2 / pi)
    return 0.5f * x * (1.0f + tanhf(slope * (x + 0.044715f * x * x * x)));
}

DEVICE float gated(const GatedActivation &p, float gate, float up) { return (p.gelu_tanh ? gelu_tanh(gate) : silu(gate)) * up; }

// Writes 8 numbers as the kernel's type; those of `count` that there are.
template <typename Out> DEVICE void write_columns(Out *to, const float (&x)[8], int count) {
    struct alignas(16) Eight {
        Out x[8];
    } eight;
#pragma unroll
    for (int i = 0; i < 8; ++i)
        from_float(x[i], eight.x[i]);
    if (count == 8 && reinterpret_cast<unsigned long long>(to) % 16 == 0) {
        *reinterpret_cast<Eight *>(to) = eight;
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i)
        if (i < count)
            to[i] = eight.x[i];
}

// Reads 8 numbers, those of `count` that there are; the rest stays.
DEVICE void read_columns(const float *from, float (&x)[8], int count) {
    if (count == 8 && reinterpret_cast<unsigned long long>(from) % 16 == 0) {
        load8(from, x);
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i)
        if (i < count)
            x[i] = from[i];
}

// Hands the thread's 8 columns to `write(x, row, column)`; those beyond the width are zero. Whole warps leave at the end. BY_PLACES: the
// row is the one that `rows` names.
template <bool BY_PLACES = false, typename Write> DEVICE void gated_columns(const GatedActivation &p, Write write) {
    start_kernel_after();
    wait_for_kernel_before();
    int unit = static_cast<int>(blockIdx.x) * (GATED_THREADS / WARP_SIZE) + warp_id(), column = unit * UNIT + lane_id() * 8;
    if (unit * UNIT >= p.width)
        return;
    long long row = blockIdx.y;
    if constexpr (BY_PLACES) {
        if (p.rows[row] == NOWHERE)
            return;
        row = p.rows[row];
    }
    float gate[8] = {}, up[8] = {};
    int count = min(p.width - column, 8);
    read_columns(p.gate + row * p.stride + column, gate, count);
    read_columns(p.up + row * p.stride + column, up, count);
#pragma unroll
    for (int i = 0; i < 8; ++i)
        gate[i] = gated(p, gate[i], up[i]);
    write(gate, row, column);
}

template <typename Out> DEVICE void gated_activation_as(const GatedActivation &p) {
    gated_columns(p, [&](const float(&x)[8], long long row, int column) {
        write_columns(static_cast<Out *>(p.out) + row * p.width + column, x, min(p.width - column, 8));
    });
}

KERNEL(GATED_THREADS) gated_activation(GatedActivation p) { gated_activation_as<float>(p); }
KERNEL(GATED_THREADS) gated_activation_bf16(GatedActivation p) { gated_activation_as<bf16_t>(p); }

KERNEL(GATED_THREADS) gated_activation_f16(GatedActivation p) {
    gated_columns(p, [&](float(&x)[8], long long row, int column) {
#pragma unroll
        for (int i = 0; i < 8; ++i)
            x[i] *= HALVES_SCALE;
        write_columns(static_cast<half_t *>(p.out) + row * p.width + column, x, min(p.width - column, 8));
    });
}

template <bool BY_PLACES> DEVICE void gated_packed(const GatedActivation &p) {
    gated_columns<BY_PLACES>(p, [&](const float(&x)[8], long long row, int column) {
        unsigned char *to = packed_unit(static_cast<unsigned char *>(p.out), row, (p.width + UNIT - 1) / UNIT, column / UNIT);
        pack_unit(x, to, static_cast<int>(row) % TILE_TOKENS_PACKED);
    });
}

template <bool BY_PLACES> DEVICE void gated_halves(const GatedActivation &p) {
    gated_columns<BY_PLACES>(p, [&](const float(&x)[8], long long row, int column) {
        unsigned char *to = halves_unit(static_cast<unsigned char *>(p.out), row, (p.width + UNIT - 1) / UNIT, column / UNIT);
        pack_unit_halves(x, to, static_cast<int>(row) % TILE_TOKENS_PACKED);
    });
}

KERNEL(GATED_THREADS) gated_activation_packed(GatedActivation p) { gated_packed<false>(p); }
KERNEL(GATED_THREADS) gated_activation_halves(GatedActivation p) { gated_halves<false>(p); }
KERNEL(GATED_THREADS) gated_places_packed(GatedActivation p) { gated_packed<true>(p); }
KERNEL(GATED_THREADS) gated_places_halves(GatedActivation p) { gated_halves<true>(p); }
