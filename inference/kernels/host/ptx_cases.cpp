// The intrinsics of ptx.cuh on fragments that a test gives, lane by lane and register by register.

#include "../ptx.cuh"
#include "case.h"

#include <vector>

namespace {

// `a`: 4 words a lane, `b`: 2 words a lane, `d`: 4 sums a lane, added to.
template <typename Sum, typename Multiply> void run_mma(host::Case &run, Multiply multiply) {
    const unsigned *a = run.input<unsigned>("a"), *b = run.input<unsigned>("b");
    Sum *d = run.in_out<Sum>("d");
    host::launch({1}, {32}, 0, run.seed, [=] {
        int lane = lane_id();
        unsigned own_a[4], own_b[2];
        Sum own_d[4];
        for (int i = 0; i < 4; ++i) {
            own_a[i] = a[4 * lane + i];
            own_b[i % 2] = b[2 * lane + i % 2];
            own_d[i] = d[4 * lane + i];
        }
        multiply(own_d, own_a, own_b);
        for (int i = 0; i < 4; ++i)
            d[4 * lane + i] = own_d[i];
    });
}

using Words4 = const unsigned (&)[4];
using Words2 = const unsigned (&)[2];

void run_mma_f16(host::Case &run) {
    run_mma<float>(run, [](float(&d)[4], Words4 a, Words2 b) { mma_m16n8k16(d, a, b, half_t{}); });
}
void run_mma_bf16(host::Case &run) {
    run_mma<float>(run, [](float(&d)[4], Words4 a, Words2 b) { mma_m16n8k16(d, a, b, bf16_t{}); });
}
void run_mma_s8(host::Case &run) {
    run_mma<int>(run, [](int(&d)[4], Words4 a, Words2 b) { mma_m16n8k32_s8(d, a, b); });
}

// `matrices`: 32 rows of 8 numbers of 16 bits; rows 8i.. are matrix i. They are brought to shared memory by cp.async, where lane
// l's row is row `order[l]`. `r`: 4 words a lane.
void run_ldmatrix(host::Case &run) {
    const unsigned char *matrices = run.input<unsigned char>("matrices");
    unsigned *r = run.output<unsigned>("r", 128);
    bool trans = run.integer("trans") != 0;
    host::launch({1}, {32}, 0, run.seed, [=] {
        SHARED(unsigned char, rows, 32 * 16);
        // The rows lie backwards, so that only the addresses say which is which.
        unsigned char *row = rows + (31 - lane_id()) * 16;
        cp_async_16(row, matrices + lane_id() * 16, true);
        cp_async_commit();
        cp_async_wait<0>();
        __syncwarp();
        unsigned own[4];
        if (trans)
            ldmatrix_x4_trans(own, row);
        else
            ldmatrix_x4(own, row);
        for (int i = 0; i < 4; ++i)
            r[4 * lane_id() + i] = own[i];
    });
}

// A whole product as a kernel would do it, m = 16, n = 8: A and B [k][n] in shared memory, ldmatrix for both, k in steps of 16;
// the last step is completed with zeros by cp.async.
void run_tile_product(host::Case &run) {
    const bf16_t *a = run.input<bf16_t>("a"), *b = run.input<bf16_t>("b");
    float *d = run.output<float>("d", 16 * 8);
    int k = run.integer("k");
    host::launch({1}, {32}, 0, run.seed, [=] {
        SHARED(bf16_t, tile_a, 16 * 16);
        SHARED(bf16_t, tile_b, 16 * 8);
        int lane = lane_id(), row = lane / 2, half = lane % 2 * 8;
        float sums[4] = {};
        for (int start = 0; start < k; start += 16) {
            bool a_valid = start + half < k, b_valid = start + lane < k;
            cp_async_16(tile_a + row * 16 + half, a + row * k + (a_valid ? start + half : 0), a_valid);
            if (lane < 16)
                cp_async_16(tile_b + lane * 8, b + (b_valid ? (start + lane) * 8 : 0), b_valid);
            cp_async_commit();
            cp_async_wait<0>();
            __syncwarp();
            unsigned fragment_a[4], fragment_b[4];
            // Matrices of A: rows 0..8 and 8..16 of the left half, then of the right half.
            ldmatrix_x4(fragment_a, tile_a + lane % 16 * 16 + lane / 16 * 8);
            ldmatrix_x4_trans(fragment_b, tile_b + lane % 16 * 8);
            mma_m16n8k16(sums, fragment_a, {fragment_b[0], fragment_b[1]}, bf16_t{});
            __syncwarp();
        }
        for (int i = 0; i < 4; ++i)
            d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
    });
}

} // namespace

const std::vector<host::NamedCase> host::PTX_CASES = {
    {"mma_f16", run_mma_f16},   {"mma_bf16", run_mma_bf16},         {"mma_s8", run_mma_s8},
    {"ldmatrix", run_ldmatrix}, {"tile_product", run_tile_product},
};
