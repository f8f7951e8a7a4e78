// Launches of packed_gemm and packed_gemm_wgmma, with the grids and buffers that their headers name. Activations are packed by pack_rows_halves.

#include "../packed_gemm.cu"
#include "../packed_gemm_wgmma.cu"
#include "../rows.cu"
#include "case.h"

#include <cstring>
#include <vector>

namespace {

unsigned pieces(int count, int each) { return static_cast<unsigned>((count + each - 1) / each); }

unsigned char *pack_halves_of(host::Case &run, const float *x, int rows, int width) {
    size_t bytes = static_cast<size_t>(pieces(rows, TILE_TOKENS_PACKED)) * pieces(width, UNIT) * HALVES_UNIT_BYTES;
    // Tokens that the last tile does not have stay 0xff, not a number.
    Rows p{x, run.output<unsigned char>("packed", bytes), width};
    host::launch({pieces(width, 4 * UNIT), static_cast<unsigned>(rows)}, {128}, 0, run.seed, [=] { pack_rows_halves(p); });
    return static_cast<unsigned char *>(p.out);
}

void run_pack_rows_halves(host::Case &run) {
    pack_halves_of(run, run.input<float>("x"), run.integer("rows"), run.integer("width"));
}

using GemmKernel = void (*)(PackedGemm);

// How a kernel is launched for a batch: of its entry points, those for 16, 32 and 64 tokens, the smallest with room.
struct GemmLaunch {
    GemmKernel kernel;
    int tokens, rows_of_block, threads, shared_bytes;
    size_t most_shared_bytes;
};

GemmLaunch launch_of(const GemmKernel (&kernels)[3], int batch) {
    int entry = batch <= 16 ? 0 : batch <= 32 ? 1 : 2;
    return {kernels[entry], 16 << entry, gemm_rows(batch), GEMM_THREADS, GEMM_SHARED_BYTES, host::MOST_SHARED_BYTES};
}
GemmLaunch gemm_launch(int batch) { return launch_of({packed_gemm_16, packed_gemm_32, packed_gemm_64}, batch); }
GemmLaunch wgmma_launch(int batch) {
    GemmLaunch launch = launch_of({packed_wgmma_16, packed_wgmma_32, packed_wgmma_64}, batch);
    launch.rows_of_block = WGMMA_ROWS;
    launch.threads = WGMMA_THREADS;
    launch.shared_bytes = WGMMA_SHARED_BYTES;
    launch.most_shared_bytes = host::MOST_SHARED_BYTES_90;
    return launch;
}

// Up to three matrices, named by their suffix.
void run_gemm(host::Case &run, GemmLaunch (*launch_for)(int batch)) {
    PackedGemm p{};
    int width = run.integer("width");
    p.batch = run.integer("batch");
    GemmLaunch launch = launch_for(p.batch);
    p.num_units = static_cast<int>(pieces(width, UNIT));
    p.x = pack_halves_of(run, run.input<float>("x"), p.batch, width);
    int blocks = 0;
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
        blocks += static_cast<int>(pieces(matrix.rows, launch.rows_of_block));
    }
    p.num_splits = run.integer("splits");
    if (p.num_splits > 1) {
        size_t sums = static_cast<size_t>(p.num_splits) * blocks * launch.rows_of_block * launch.tokens;
        // Which sums are left there depends on who came second.
        p.partial = run.scratch<float>("partial", sums);
        p.arrived = run.output<unsigned>("arrived", static_cast<size_t>(blocks));
        memset(p.arrived, 0, static_cast<size_t>(blocks) * sizeof(unsigned));
    }
    host::launch({static_cast<unsigned>(blocks), static_cast<unsigned>(p.num_splits)}, {static_cast<unsigned>(launch.threads)},
                 static_cast<size_t>(launch.shared_bytes), run.seed, [=] { launch.kernel(p); }, launch.most_shared_bytes);
}

// Splits for every combination that a test names, three numbers each: blocks of rows, units, processors.
void run_splits(host::Case &run, int (*splits_of)(int row_blocks, int num_units, int multiprocessors)) {
    size_t count = run.count("shapes", 3 * sizeof(int));
    const int *shapes = run.input<int>("shapes");
    int *splits = run.output<int>("splits", count);
    for (size_t i = 0; i < count; ++i)
        splits[i] = splits_of(shapes[3 * i], shapes[3 * i + 1], shapes[3 * i + 2]);
}

} // namespace

const std::vector<host::NamedCase> host::GEMM_CASES = {
    {"pack_rows_halves", run_pack_rows_halves},
    {"packed_gemm", [](host::Case &run) { run_gemm(run, gemm_launch); }},
    {"packed_gemm_wgmma", [](host::Case &run) { run_gemm(run, wgmma_launch); }},
    {"gemm_splits", [](host::Case &run) { run_splits(run, gemm_splits); }},
    {"wgmma_splits", [](host::Case &run) { run_splits(run, wgmma_splits); }},
};
