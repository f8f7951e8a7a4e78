// Launches of quantized_gemv and q4_k_gemv, with the grids that their headers name.

#include "../q4_k_gemv.cu"
#include "../quantized_gemv.cu"
#include "case.h"

#include <vector>

namespace {

using GemvKernel = void (*)(QuantizedGemv);

template <typename Arguments> Arguments gemv_arguments(host::Case &run) {
    Arguments p{};
    p.width = run.integer("width");
    p.out = run.integer("out");
    p.batch = run.integer("batch");
    p.weights = run.input<unsigned char>("weights");
    p.x = run.input<float>("x");
    p.y = run.output<float>("y", static_cast<size_t>(p.batch) * p.out);
    return p;
}

// Kernels for at most 1, 2, 4 and 8 rows of activations.
template <GemvKernel ONE, GemvKernel TWO, GemvKernel FOUR, GemvKernel EIGHT> void run_gemv(host::Case &run) {
    auto p = gemv_arguments<QuantizedGemv>(run);
    GemvKernel kernel = p.batch > 4 ? EIGHT : p.batch > 2 ? FOUR : p.batch > 1 ? TWO : ONE;
    int rows_per_block = GEMV_WARPS * GEMV_ROWS;
    unsigned blocks = static_cast<unsigned>((p.out + rows_per_block - 1) / rows_per_block);
    host::launch({blocks}, {GEMV_THREADS}, 0, run.seed, [=] { kernel(p); });
}

void run_q4_k_gemv(host::Case &run) {
    auto p = gemv_arguments<Q4KGemv>(run);
    unsigned blocks = static_cast<unsigned>((p.out + Q4_ROWS - 1) / Q4_ROWS);
    host::launch({blocks}, {Q4_THREADS}, 0, run.seed, [=] { q4_k_gemv(p); });
}

} // namespace

const std::vector<host::NamedCase> host::GEMV_CASES = {
    {"gemv_q8_0",
     run_gemv<quantized_gemv_q8_0_1, quantized_gemv_q8_0_2, quantized_gemv_q8_0_4, quantized_gemv_q8_0_8>},
    {"gemv_q4_k",
     run_gemv<quantized_gemv_q4_k_1, quantized_gemv_q4_k_2, quantized_gemv_q4_k_4, quantized_gemv_q4_k_8>},
    {"q4_k_gemv", run_q4_k_gemv},
    {"gemv_q6_k",
     run_gemv<quantized_gemv_q6_k_1, quantized_gemv_q6_k_2, quantized_gemv_q6_k_4, quantized_gemv_q6_k_8>},
};
