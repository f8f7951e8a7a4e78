// The intrinsics of ptx.cuh on fragments that a test gives, lane by lane and register by register.

#include "../wgmma.cuh"
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

// `a`: 4 words a lane of four warps; `b`: core matrices as they lie, [2 along k][2 of columns], brought by bulk copies in
// the first of two phases; `d`: 8 sums a lane, added to in both.
void run_wgmma_f16(host::Case &run) {
    const unsigned *a = run.input<unsigned>("a");
    const unsigned char *b = run.input<unsigned char>("b");
    float *d = run.in_out<float>("d");
    host::launch({1}, {128}, 0, run.seed, [=] {
        SHARED(unsigned char, cores, 512);
        SHARED(Phase, phase, 1);
        int thread = static_cast<int>(threadIdx.x);
        unsigned own_a[4];
        float own_d[2][4];
        for (int i = 0; i < 8; ++i) {
            own_a[i % 4] = a[4 * thread + i % 4];
            own_d[i / 4][i % 4] = d[8 * thread + i];
        }
        if (thread == 0)
            phase_init(phase, 4);
        phase_init_done();
        __syncthreads();
        for (int turn = 0; turn < 2; ++turn) {
            if (lane_id() == 0) {
                phase_arrive(phase, turn == 0 ? 128 : 0);
                if (turn == 0)
                    bulk_copy(cores + warp_id() * 128, b + warp_id() * 128, 128, phase);
            }
            phase_wait(phase, turn);
            wgmma_fence();
            wgmma_m64k16(own_d, own_a, shared_matrix(cores, 256, 128));
            wgmma_commit();
            wgmma_wait<0>();
        }
        for (int i = 0; i < 8; ++i)
            d[8 * thread + i] = own_d[i / 4][i % 4];
    });
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

// The arithmetic of single numbers: `x` in pairs.
void run_arithmetic(host::Case &run) {
    size_t count = run.count("x", sizeof(float));
    const float *x = run.input<float>("x");
    unsigned *halves = run.output<unsigned>("halves", count / 2);
    float *exp2 = run.output<float>("exp2", count), *reciprocal = run.output<float>("reciprocal", count);
    float *tanh = run.output<float>("tanh", count);
    host::launch({static_cast<unsigned>(count / 2)}, {2}, 0, run.seed, [=] {
        unsigned at = 2 * blockIdx.x + threadIdx.x;
        exp2[at] = exp2_approx(x[at]);
        reciprocal[at] = reciprocal_approx(x[at]);
        tanh[at] = tanh_approx(x[at]);
        if (threadIdx.x == 0)
            halves[blockIdx.x] = pack_halves(x[at], x[at + 1]);
    });
}

// Pairs of f16: a * b + c, a + c, and bytes of a and b in the order `places`.
void run_pairs(host::Case &run) {
    size_t count = run.count("a", sizeof(unsigned));
    const unsigned *a = run.input<unsigned>("a"), *b = run.input<unsigned>("b"), *c = run.input<unsigned>("c");
    unsigned *fma = run.output<unsigned>("fma", count), *add = run.output<unsigned>("add", count);
    unsigned *bytes = run.output<unsigned>("bytes", count), places = static_cast<unsigned>(run.integer("places"));
    for (size_t i = 0; i < count; ++i) {
        fma[i] = fma_halves(a[i], b[i], c[i]);
        add[i] = add_halves(a[i], c[i]);
        bytes[i] = permute_bytes(a[i], b[i], places);
    }
}

} // namespace

const std::vector<host::NamedCase> host::PTX_CASES = {
    {"mma_f16", run_mma_f16},   {"mma_bf16", run_mma_bf16},         {"mma_s8", run_mma_s8},
    {"wgmma_f16", run_wgmma_f16},
    {"ldmatrix", run_ldmatrix}, {"tile_product", run_tile_product}, {"arithmetic", run_arithmetic},
    {"pairs", run_pairs},
};
