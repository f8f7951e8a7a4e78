// expert_gemv: products of up to 8 tokens with the matrices of the experts that they use, exact to the 14 bits of an activation. Each
// expert in use is read once, whoever uses it.
//
// Grid: (tiles of 16 rows of all parts, expert tiles), tiles of up to 8 places; threads and shared memory as packed_gemv.cuh says, which
// multiplies. A block multiplies one expert's rows and
//   num_tokens > 0   all tokens' activations, one tile, and keeps the products of those that use the expert (gate and up)
//   num_tokens = 0   the activations at the expert's places, which are one tile (down)
// Entry points as packed_gemv.cu has them; `_one` where a step has one token. A block knows its weights only after the kernel
// before it, so nothing is under way earlier. Bandwidth-bound.
// Layouts: packed.cuh, experts.cuh. Truth: the plain product with dequantized weights (tests/it/kernels/experts.rs). Ladder: lab/cuda.md.

#include "experts.cuh"
#include "packed_gemv.cuh"

// What packed_gemv.cuh multiplies.
struct ExpertGemv {
    const unsigned char *x;
    int num_units, batch, ring_bytes;
};

// Adds the warps' totals in order and writes those of the tile's places.
DEVICE void write_places(const ExpertProduct &p, const ExpertTile &tile, const ExpertRows &rows, const float (&total)[4]) {
    const float *sums = share_totals(total);
    int index = static_cast<int>(threadIdx.x), place = index / TILE_ROWS, row = rows.block * TILE_ROWS + index % TILE_ROWS;
    if (index >= TOTALS_OF_WARP || place >= static_cast<int>(tile.rows) || row >= rows.matrix.rows)
        return;
    int token = place;
    if (p.num_tokens > 0)
        token = static_cast<int>(p.pairs[tile.first + static_cast<unsigned>(place)]) / p.num_used;
    rows.matrix.y[place * rows.matrix.y_stride + row] = add_totals(sums, token, index % TILE_ROWS, 0.0f);
}

// Finds the block's expert and runs `multiply(what, its format, its rows' units, total)`.
template <typename Multiply> DEVICE void expert_rows(const ExpertProduct &p, Multiply multiply) {
    start_kernel_after();
    wait_for_kernel_before();
    ExpertTile tile = load_tile(p.tiles + blockIdx.y);
    if (tile.rows == 0)
        return;
    ExpertRows rows = rows_of_expert(p, tile, static_cast<int>(blockIdx.x), TILE_ROWS);
    ExpertGemv what{p.x, p.num_units, p.num_tokens, p.ring_bytes};
    if (p.num_tokens == 0) {
        what.x += static_cast<long long>(tile.first / PLACES_OF_TILE) * p.num_units * X_UNIT_BYTES;
        what.batch = static_cast<int>(tile.rows);
    }
    const unsigned char *units =
        rows.matrix.units + static_cast<long long>(rows.block) * p.num_units * packed_unit_bytes(rows.matrix.format);
    float total[4] = {};
    multiply(what, rows.matrix.format, units, total);
    write_places(p, tile, rows, total);
}

#define EXPERT_ROWS_OF_ANY(multiply)                                                                                      \
    expert_rows(p, [&](const ExpertGemv &what, int format, const unsigned char *row, float(&total)[4]) {                  \
        MULTIPLY_FORMAT(multiply, format, what, row, total)                                                               \
    })

KERNEL_BLOCKS(PACKED_THREADS, 2) expert_gemv(ExpertProduct p) { EXPERT_ROWS_OF_ANY(multiply_units); }
KERNEL_BLOCKS(PACKED_THREADS, 2) expert_gemv_one(ExpertProduct p) { EXPERT_ROWS_OF_ANY(multiply_units_one); }

// All parts are NIBBLES_SPANS.
KERNEL_BLOCKS(PACKED_THREADS, 3) expert_gemv_spans(ExpertProduct p) {
    expert_rows(p, [&](const ExpertGemv &what, int, const unsigned char *row, float(&total)[4]) {
        multiply_units<Nibbles, SpanScales>(what, row, total);
    });
}
KERNEL_BLOCKS(PACKED_THREADS, 3) expert_gemv_spans_one(ExpertProduct p) {
    expert_rows(p, [&](const ExpertGemv &what, int, const unsigned char *row, float(&total)[4]) {
        multiply_units_one<Nibbles, SpanScales>(what, row, total);
    });
}
