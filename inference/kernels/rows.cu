// Kernels that move whole rows: what stands before and after the layers, and between products of other kinds.
//
//   embed_rows           rows of the embedding. Grid: (num_tokens), 256 threads
//   pack_rows            f32 to packed activations. Grid: (ceil(width / 1024), num_tokens), 128 threads, a warp a unit
//   pack_rows_halves     f32 to activations in f16. Grid and threads as pack_rows
//   rows_bf16            f32 to bf16. Grid: (ceil(width / 256), num_tokens), 256 threads
//   rows_f16             f32 to f16, times HALVES_SCALE. Grid as rows_bf16
//   add_bias             a bias to every row. Grid: (ceil(width / 256), num_tokens), 256 threads
//   largest_of_row       the largest logit of each row, of equal ones the first. Grid: (num_rows), 1024 threads
//
// All bandwidth- or latency-bound. Truth: tests/it/kernels/packed.rs. Ladder: lab/cuda.md.

#include "packed.cuh"

struct EmbedRows {
    const bf16_t *table_bf16; // [vocabulary, hidden], one of the two
    const half_t *table_f16;
    const unsigned *ids; // [num_tokens]
    float *out;          // [num_tokens, hidden]
    float scale;
    int hidden;
};

KERNEL(256) embed_rows(EmbedRows p) {
    start_kernel_after();
    wait_for_kernel_before();
    long long from = static_cast<long long>(p.ids[blockIdx.x]) * p.hidden, to = static_cast<long long>(blockIdx.x) * p.hidden;
    for (int i = static_cast<int>(threadIdx.x); i < p.hidden; i += 256) {
        float x = p.table_f16 != nullptr ? to_float(p.table_f16[from + i]) : to_float(p.table_bf16[from + i]);
        p.out[to + i] = x * p.scale;
    }
}

struct Rows {
    const float *x; // [num_tokens, width]
    void *out;
    int width;
};

// A token's unit, of which a warp has read 8 numbers a lane.
struct RowUnit {
    float x[8];
    unsigned char *out;
    int token_of_tile;
};

// Returns whether the warp has a unit.
DEVICE bool load_row_unit(const Rows &p, int unit_bytes, RowUnit &row_unit) {
    int unit = static_cast<int>(blockIdx.x) * 4 + warp_id(), num_units = (p.width + UNIT - 1) / UNIT;
    if (unit >= num_units)
        return false;
    long long row = blockIdx.y;
    int column = unit * UNIT + lane_id() * 8;
#pragma unroll
    for (int i = 0; i < 8; ++i)
        row_unit.x[i] = column + i < p.width ? p.x[row * p.width + column + i] : 0.0f;
    row_unit.out = static_cast<unsigned char *>(p.out) + (row / TILE_TOKENS_PACKED * num_units + unit) * unit_bytes;
    row_unit.token_of_tile = static_cast<int>(row) % TILE_TOKENS_PACKED;
    return true;
}

KERNEL(128) pack_rows(Rows p) {
    start_kernel_after();
    wait_for_kernel_before();
    RowUnit unit;
    if (load_row_unit(p, X_UNIT_BYTES, unit))
        pack_unit(unit.x, unit.out, unit.token_of_tile);
}

KERNEL(128) pack_rows_halves(Rows p) {
    start_kernel_after();
    wait_for_kernel_before();
    RowUnit unit;
    if (load_row_unit(p, HALVES_UNIT_BYTES, unit))
        pack_unit_halves(unit.x, unit.out, unit.token_of_tile);
}

KERNEL(256) rows_bf16(Rows p) {
    start_kernel_after();
    wait_for_kernel_before();
    int column = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    long long at = static_cast<long long>(blockIdx.y) * p.width + column;
    if (column < p.width)
        from_float(p.x[at], static_cast<bf16_t *>(p.out)[at]);
}

KERNEL(256) rows_f16(Rows p) {
    start_kernel_after();
    wait_for_kernel_before();
    int column = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    long long at = static_cast<long long>(blockIdx.y) * p.width + column;
    if (column < p.width)
        from_float(p.x[at] * HALVES_SCALE, static_cast<half_t *>(p.out)[at]);
}

struct AddBias {
    const float *bias; // [width]
    float *y;          // rows of `width`, `stride` apart
    long long stride;
    int width;
};

KERNEL(256) add_bias(AddBias p) {
    start_kernel_after();
    wait_for_kernel_before();
    int column = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    if (column < p.width)
        p.y[static_cast<long long>(blockIdx.y) * p.stride + column] += p.bias[column];
}

constexpr int LARGEST_THREADS = 1024;

struct LargestOfRow {
    const float *logits; // [num_rows] rows, `stride` apart
    unsigned *ids;       // [num_rows]
    long long stride;
    int width;
};

KERNEL(LARGEST_THREADS) largest_of_row(LargestOfRow p) {
    start_kernel_after();
    wait_for_kernel_before();
    SHARED(float, values, LARGEST_THREADS / WARP_SIZE);
    SHARED(int, places, LARGEST_THREADS / WARP_SIZE);
    const float *row = p.logits + static_cast<long long>(blockIdx.x) * p.stride;
    float value = -INFINITY;
    int place = p.width - 1;
    auto take = [&](float other, int at) {
        if (other > value || (other == value && at < place)) {
            value = other;
            place = at;
        }
    };
    // Several reads are under way at once.
    constexpr int AT_ONCE = 8;
    for (int first = static_cast<int>(threadIdx.x); first < p.width; first += AT_ONCE * LARGEST_THREADS) {
        float logits[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i)
            logits[i] = first + i * LARGEST_THREADS < p.width ? row[first + i * LARGEST_THREADS] : -INFINITY;
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i)
            if (first + i * LARGEST_THREADS < p.width)
                take(logits[i], first + i * LARGEST_THREADS);
    }
    auto take_of_warp = [&] {
#pragma unroll
        for (int distance = WARP_SIZE / 2; distance > 0; distance /= 2) {
            float other = __shfl_xor_sync(ALL_LANES, value, distance);
            int at = __shfl_xor_sync(ALL_LANES, place, distance);
            take(other, at);
        }
    };
    take_of_warp();
    if (lane_id() == 0) {
        values[warp_id()] = value;
        places[warp_id()] = place;
    }
    __syncthreads();
    if (warp_id() == 0) {
        value = values[lane_id()];
        place = places[lane_id()];
        take_of_warp();
        if (lane_id() == 0)
            p.ids[blockIdx.x] = static_cast<unsigned>(place);
    }
}
