// packed_gemv: products of up to 8 tokens with up to three quantized matrices, exact to the 14 bits of an activation.
//
// Grid: the matrices' tiles of 16 rows one after another; threads and shared memory as packed_gemv.cuh says, which multiplies.
// Layouts: packed.cuh. Truth: the plain product with dequantized weights (tests/it/kernels/packed.rs). Ladder: lab/cuda.md.

#include "packed_gemv.cuh"

struct PackedGemv {
    PackedMatrix part[PACKED_PARTS];
    const unsigned char *x; // packed, [num_units]
    int num_units, batch, num_parts;
    int ring_bytes; // of a warp: PACKED_STAGES times the largest unit of the parts
};

// Adds the warps' totals in order and writes what exists.
DEVICE void write_packed(const PackedGemv &p, const PackedMatrix &matrix, int first_row, const float (&total)[4]) {
    const float *sums = share_totals(total);
    int index = static_cast<int>(threadIdx.x), token = index / TILE_ROWS, row = first_row + index % TILE_ROWS;
    if (index >= TOTALS_OF_WARP || token >= p.batch || row >= matrix.rows)
        return;
    float bias = matrix.bias != nullptr ? matrix.bias[row] : 0.0f;
    matrix.y[token * matrix.y_stride + row] = add_totals(sums, token, index % TILE_ROWS, bias);
}

// Finds the block's matrix and runs `multiply(its format, its rows' units, total)`.
template <typename Multiply> DEVICE void packed_rows(const PackedGemv &p, Multiply multiply) {
    start_kernel_after();
    int tile = static_cast<int>(blockIdx.x), part = 0;
    while (part + 1 < p.num_parts && tile >= (p.part[part].rows + TILE_ROWS - 1) / TILE_ROWS) {
        tile -= (p.part[part].rows + TILE_ROWS - 1) / TILE_ROWS;
        ++part;
    }
    const PackedMatrix &matrix = p.part[part];
    float total[4] = {};
    multiply(matrix.format, matrix.units + static_cast<long long>(tile) * p.num_units * packed_unit_bytes(matrix.format), total);
    write_packed(p, matrix, tile * TILE_ROWS, total);
}

#define PACKED_ROWS_OF_ANY(multiply)                                                                                      \
    packed_rows(p, [&](int format, const unsigned char *row, float(&total)[4]) { MULTIPLY_FORMAT(multiply, format, p, row, total) })

KERNEL_BLOCKS(PACKED_THREADS, 2) packed_gemv(PackedGemv p) { PACKED_ROWS_OF_ANY(multiply_units); }
KERNEL_BLOCKS(PACKED_THREADS, 2) packed_gemv_one(PackedGemv p) { PACKED_ROWS_OF_ANY(multiply_units_one); }

// All parts are NIBBLES_SPANS: fewer registers, so that more is under way.
KERNEL_BLOCKS(PACKED_THREADS, 3) packed_gemv_spans(PackedGemv p) {
    packed_rows(p, [&](int, const unsigned char *row, float(&total)[4]) { multiply_units<Nibbles, SpanScales>(p, row, total); });
}
KERNEL_BLOCKS(PACKED_THREADS, 3) packed_gemv_spans_one(PackedGemv p) {
    packed_rows(p, [&](int, const unsigned char *row, float(&total)[4]) { multiply_units_one<Nibbles, SpanScales>(p, row, total); });
}

// unpack_weights: the weights in 16 bits, for products of many tokens and as an embedding. Grid: (tiles of 16 rows, num_units), 256
// threads.
struct UnpackWeights {
    const unsigned char *units; // [tiles][num_units]
    void *out;                  // [rows, width] of the kernel's type
    int rows, width, num_units, format;
};

// The weight of row `row` and column `column` of a unit.
DEVICE float packed_weight(const unsigned char *unit, int format, int row, int column) {
    int lane = row % 8 * 4 + column % 16 / 4, word = column % SPAN / 16 * 2 + row / 8, byte = column % 4, span = column / SPAN;
    bool nibbles = format == NIBBLES_SPANS || format == NIBBLES_MINIMA;
    int number;
    if (nibbles)
        number = unit[((span / 2 * WARP_SIZE + lane) * 4 + word) * 4 + byte] >> (span % 2 * 4) & 15;
    else
        number = static_cast<signed char>(unit[((span * WARP_SIZE + lane) * 4 + word) * 4 + byte]);
    const unsigned char *scales = unit + (nibbles ? NIBBLE_BYTES : BYTE_BYTES);
    auto half_at = [&](int at) { return to_float(half_t{*reinterpret_cast<const unsigned short *>(scales + at)}); };
    float value = static_cast<float>(number);
    switch (format) {
    case NIBBLES_SPANS:
    case BYTES_SPANS:
        return half_at(256 + 4 * row) * static_cast<float>(scales[16 * row + span]) * value -
               half_at(256 + 4 * row + 2) * static_cast<float>(scales[16 * row + 8 + span]);
    case BYTES_HALVES:
        return half_at(256 + 4 * row) * static_cast<float>(static_cast<signed char>(scales[16 * row + column / 16])) * value;
    case BYTES_FLOATS:
        return half_at(16 * row + 2 * span) * value;
    default:
        return half_at(16 * row + 2 * span) * value - half_at(256 + 16 * row + 2 * span);
    }
}

template <typename Out> DEVICE void unpack_weights(const UnpackWeights &p) {
    wait_for_kernel_before();
    const unsigned char *unit =
        p.units + (static_cast<long long>(blockIdx.x) * p.num_units + blockIdx.y) * packed_unit_bytes(p.format);
    int column = static_cast<int>(threadIdx.x), at = static_cast<int>(blockIdx.y) * UNIT + column;
    if (at >= p.width)
        return;
    for (int row = 0; row < TILE_ROWS; ++row) {
        long long index = static_cast<long long>(blockIdx.x) * TILE_ROWS + row;
        if (index < p.rows)
            from_float(packed_weight(unit, p.format, row, column), static_cast<Out *>(p.out)[index * p.width + at]);
    }
}

KERNEL(256) unpack_weights_bf16(UnpackWeights p) { unpack_weights<bf16_t>(p); }
KERNEL(256) unpack_weights_f16(UnpackWeights p) { unpack_weights<half_t>(p); }
