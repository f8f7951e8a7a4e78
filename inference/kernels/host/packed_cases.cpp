// Launches of packed_gemv, of what packs for it and of the rows' kernels, with the grids that their headers name.

#include "../add_rms_norm.cu"
#include "../gated_activation.cu"
#include "../packed_gemv.cu"
#include "../rows.cu"
#include "case.h"

#include <vector>

namespace {

unsigned tiles(int count, int each) { return static_cast<unsigned>((count + each - 1) / each); }

unsigned char *packed_output(host::Case &run, const char *name, int rows, int width) {
    size_t bytes = static_cast<size_t>(tiles(rows, TILE_TOKENS_PACKED)) * tiles(width, UNIT) * X_UNIT_BYTES;
    unsigned char *packed = run.output<unsigned char>(name, bytes);
    // The rest of the last tile is never used, but loaded where it is a scale.
    memset(packed, 0, bytes);
    return packed;
}

unsigned char *halves_output(host::Case &run, const char *name, int rows, int width) {
    size_t bytes = static_cast<size_t>(tiles(rows, TILE_TOKENS_PACKED)) * tiles(width, UNIT) * HALVES_UNIT_BYTES;
    unsigned char *halves = run.output<unsigned char>(name, bytes);
    memset(halves, 0, bytes);
    return halves;
}

unsigned char *pack(host::Case &run, const float *x, int rows, int width) {
    Rows p{x, packed_output(run, "packed", rows, width), width};
    host::launch({tiles(width, 4 * UNIT), static_cast<unsigned>(rows)}, {128}, 0, run.seed, [=] { pack_rows(p); });
    return static_cast<unsigned char *>(p.out);
}

void run_pack_rows(host::Case &run) { pack(run, run.input<float>("x"), run.integer("rows"), run.integer("width")); }

template <typename Out, void (*KERNEL_OF_TYPE)(Rows)> void run_rows(host::Case &run) {
    Rows p{run.input<float>("x"), nullptr, run.integer("width")};
    unsigned rows = static_cast<unsigned>(run.integer("rows"));
    p.out = run.output<Out>("out", rows * static_cast<size_t>(p.width));
    host::launch({tiles(p.width, 256), rows}, {256}, 0, run.seed, [=] { KERNEL_OF_TYPE(p); });
}

// One or two matrices, named by their suffix.
void run_packed_gemv(host::Case &run) {
    PackedGemv p{};
    int width = run.integer("width");
    p.batch = run.integer("batch");
    p.num_units = static_cast<int>(tiles(width, UNIT));
    p.x = pack(run, run.input<float>("x"), p.batch, width);
    unsigned blocks = 0;
    for (std::string part : {"a", "b", "c"}) {
        if (!run.has("units_" + part))
            continue;
        PackedMatrix &matrix = p.part[p.num_parts++];
        matrix.rows = run.integer("rows_" + part);
        matrix.format = run.integer("format_" + part);
        matrix.units = run.input<unsigned char>("units_" + part);
        matrix.bias = run.has("bias_" + part) ? run.input<float>("bias_" + part) : nullptr;
        matrix.y_stride = matrix.rows + 3;
        matrix.y = run.output<float>("y_" + part, static_cast<size_t>(p.batch) * (matrix.rows + 3));
        blocks += tiles(matrix.rows, TILE_ROWS);
    }
    p.ring_bytes = run.integer("ring_bytes");
    bool spans = true;
    for (int part = 0; part < p.num_parts; ++part)
        spans = spans && p.part[part].format == NIBBLES_SPANS;
    bool one = p.batch == 1;
    auto kernel = spans ? one ? packed_gemv_spans_one : packed_gemv_spans : one ? packed_gemv_one : packed_gemv;
    host::launch({blocks}, {PACKED_THREADS}, PACKED_WARPS * static_cast<unsigned>(p.ring_bytes), run.seed, [=] { kernel(p); });
}

void run_unpack_weights(host::Case &run) {
    UnpackWeights p{};
    p.rows = run.integer("rows");
    p.width = run.integer("width");
    p.format = run.integer("format");
    p.num_units = static_cast<int>(tiles(p.width, UNIT));
    p.units = run.input<unsigned char>("units");
    p.out = run.output<bf16_t>("out", static_cast<size_t>(p.rows) * p.width);
    host::launch({tiles(p.rows, TILE_ROWS), static_cast<unsigned>(p.num_units)}, {256}, 0, run.seed, [=] { unpack_weights_bf16(p); });
}

void run_gated_packed(host::Case &run) {
    GatedActivation p{};
    p.width = run.integer("width");
    p.stride = run.integer("stride");
    p.gelu_tanh = run.integer("gelu_tanh");
    int rows = run.integer("rows");
    p.gate = run.input<float>("gate");
    p.up = run.input<float>("up");
    p.out = packed_output(run, "packed", rows, p.width);
    host::Dim3 grid{tiles(p.width, 4 * UNIT), static_cast<unsigned>(rows)};
    host::launch(grid, {GATED_THREADS}, 0, run.seed, [=] { gated_activation_packed(p); });
    p.out = halves_output(run, "halves", rows, p.width);
    host::launch(grid, {GATED_THREADS}, 0, run.seed, [=] { gated_activation_halves(p); });
}

void run_norm_packed(host::Case &run) {
    AddRmsNorm p{};
    p.hidden = run.integer("hidden");
    p.eps = static_cast<float>(run.number("eps"));
    int rows = run.integer("rows");
    p.delta = run.input<float>("delta");
    p.residual = run.in_out<float>("residual");
    p.weight = run.input<float>("weight");
    p.is_valid = run.output<unsigned>("is_valid", static_cast<size_t>(rows));
    p.plain = run.output<float>("plain", static_cast<size_t>(rows) * p.hidden);
    p.out = packed_output(run, "packed", rows, p.hidden);
    unsigned warps = std::min(tiles(p.hidden, UNIT), static_cast<unsigned>(NORM_MOST_WARPS));
    host::launch({static_cast<unsigned>(rows)}, {warps * WARP_SIZE}, 0, run.seed, [=] { add_rms_norm_packed(p); });
}

void run_embed_rows(host::Case &run) {
    EmbedRows p{};
    p.hidden = run.integer("hidden");
    p.scale = static_cast<float>(run.number("scale"));
    p.table_f16 = run.input<half_t>("table");
    p.ids = run.input<unsigned>("ids");
    unsigned tokens = static_cast<unsigned>(run.count("ids", sizeof(unsigned)));
    p.out = run.output<float>("out", static_cast<size_t>(tokens) * p.hidden);
    host::launch({tokens}, {256}, 0, run.seed, [=] { embed_rows(p); });
}

void run_largest_of_row(host::Case &run) {
    LargestOfRow p{};
    p.width = run.integer("width");
    p.stride = run.integer("stride");
    p.logits = run.input<float>("logits");
    unsigned rows = static_cast<unsigned>(run.integer("rows"));
    p.ids = run.output<unsigned>("ids", rows);
    host::launch({rows}, {LARGEST_THREADS}, 0, run.seed, [=] { largest_of_row(p); });
}

} // namespace

const std::vector<host::NamedCase> host::PACKED_CASES = {
    {"pack_rows", run_pack_rows},
    {"rows_bf16", run_rows<bf16_t, rows_bf16>},
    {"rows_f16", run_rows<half_t, rows_f16>},
    {"packed_gemv", run_packed_gemv},
    {"unpack_weights", run_unpack_weights},
    {"gated_packed", run_gated_packed},
    {"norm_packed", run_norm_packed},
    {"embed_rows", run_embed_rows},
    {"largest_of_row", run_largest_of_row},
};
