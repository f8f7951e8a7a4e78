// Matrix products of a warpgroup, four warps that begin at a multiple of four: `wgmma` of compute capability 9.0, each instruction a
// function with a twin for the host machine.
//
// `wgmma` reads a tile of A, 64 x 16, from registers: a warp's fragment is that of `mma.m16n8k16` for its 16 rows (ptx.cuh). It
// reads B, 16 x N, from shared memory, as core matrices of 8 columns (tokens) with 8 numbers along k: 8 rows of 16 bytes, contiguous.
// Sums, of every 8 columns: those of `mma.m16n8k16`.
//
// It runs on by itself: between `wgmma_fence` and the wait for its group nobody may touch its registers, nor its shared memory. What
// threads wrote to that (cp.async too) it sees after `fence_shared_for_wgmma` by them and a barrier.
//
// A phase (`mbarrier`, 8 bytes of shared memory) ends when all its arrivals have come and all bytes that they announced; it is the
// next one's turn then. Who waits for one names whether its number, from 0, is odd.
// Layouts: PTX ISA, "Asynchronous warpgroup level matrix"; tests/it/kernels/ptx.rs compares the twins with a plain product.
#pragma once

#include "ptx.cuh"

#if defined(__CUDACC__)

// Where B lies: core matrices that follow each other along k are `k_stride` bytes apart, along its columns `n_stride`.
struct SharedMatrix {
    unsigned long long bits;
};
DEVICE SharedMatrix shared_matrix(const void *start, int k_stride, int n_stride) {
    return {static_cast<unsigned long long>((shared_address(start) & 0x3ffffu) >> 4) |
            static_cast<unsigned long long>(k_stride >> 4) << 16 | static_cast<unsigned long long>(n_stride >> 4) << 32};
}
DEVICE SharedMatrix moved(SharedMatrix b, int bytes) { return {b.bits + static_cast<unsigned>(bytes >> 4)}; }

DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int GROUPS> DEVICE void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory"); }
DEVICE void fence_shared_for_wgmma() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

using Phase = unsigned long long;

DEVICE void phase_init(Phase *phase, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(phase)), "r"(arrivals) : "memory");
}
// Comes after phase_init, before a barrier.
DEVICE void phase_init_done() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// Arrives and announces `bytes` of copies.
DEVICE void phase_arrive(Phase *phase, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(phase)), "r"(bytes) : "memory");
}
// Starts to copy `bytes`, a multiple of 16, to shared memory. Both addresses are multiples of 16.
DEVICE void bulk_copy(void *shared, const void *global, int bytes, Phase *phase) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared_address(shared)),
                 "l"(global), "r"(bytes), "r"(shared_address(phase))
                 : "memory");
}
DEVICE void phase_wait(Phase *phase, int odd) {
    asm volatile("{\n"
                 ".reg .pred ended;\n"
                 "WAIT:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
                 "@!ended bra WAIT;\n"
                 "}" ::"r"(shared_address(phase)),
                 "r"(odd)
                 : "memory");
}

// Keeps the compiler from moving what makes a register across the fences and waits around it.
DEVICE void pin(unsigned &word) { asm volatile("" : "+r"(word)::"memory"); }
DEVICE void pin(float &x) { asm volatile("" : "+f"(x)::"memory"); }

#define SUMS_OF_8(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define A_AND_B "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits)

// Adds the product of a fragment of A, 64 x 16, with B of 8 * TILES columns.
DEVICE void wgmma_m64k16(float (&d)[2][4], const unsigned (&a)[4], SharedMatrix b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7}, {%8,%9,%10,%11}, %12, 1, 1, 1, 0;"
                 : SUMS_OF_8(0), SUMS_OF_8(1)
                 : A_AND_B);
}
DEVICE void wgmma_m64k16(float (&d)[4][4], const unsigned (&a)[4], SharedMatrix b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, "
                 "{%16,%17,%18,%19}, %20, 1, 1, 1, 0;"
                 : SUMS_OF_8(0), SUMS_OF_8(1), SUMS_OF_8(2), SUMS_OF_8(3)
                 : A_AND_B);
}
DEVICE void wgmma_m64k16(float (&d)[8][4], const unsigned (&a)[4], SharedMatrix b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36, 1, 1, 1, 0;"
                 : SUMS_OF_8(0), SUMS_OF_8(1), SUMS_OF_8(2), SUMS_OF_8(3), SUMS_OF_8(4), SUMS_OF_8(5), SUMS_OF_8(6), SUMS_OF_8(7)
                 : A_AND_B);
}

#undef SUMS_OF_8
#undef A_AND_B

#else

struct SharedMatrix {
    const unsigned char *start;
    int k_stride, n_stride;
};
DEVICE SharedMatrix shared_matrix(const void *start, int k_stride, int n_stride) {
    host::check_aligned(start, 16, "a core matrix");
    return {static_cast<const unsigned char *>(start), k_stride, n_stride};
}
DEVICE SharedMatrix moved(SharedMatrix b, int bytes) { return {b.start + bytes, b.k_stride, b.n_stride}; }

// Products are done at once; what a lane brings to one are its words of A.
template <int TILES> DEVICE void wgmma_m64k16(float (&d)[TILES][4], const unsigned (&a)[4], SharedMatrix b, HOST_SITE) {
    host::Site site{"wgmma.m64k16", file, line};
    MatrixOperands own{{a[0], a[1], a[2], a[3]}, {}};
    auto gathered = host::gather(ALL_LANES, &own, sizeof own, site);
    unsigned g = host::lane() / 4, t = host::lane() % 4;
    for (unsigned at = 0; at < TILES * 4u; ++at) {
        unsigned row = g + at % 4 / 2 * 8, column = 2 * t + at % 2;
        double sum = d[at / 4][at % 4];
        for (unsigned k = 0; k < 16; ++k) {
            auto left = host::brought<MatrixOperands>(*gathered, row % 8 * 4 + k % 8 / 2, site);
            const unsigned char *core = b.start + k / 8 * b.k_stride + at / 4 * b.n_stride;
            half_t right = reinterpret_cast<const half_t *>(core + column * 16)[k % 8];
            sum += double{half_of_word<half_t>(left.a[row / 8 + k / 8 * 2], k % 2)} * to_float(right);
        }
        d[at / 4][at % 4] = static_cast<float>(sum);
    }
}

using Phase = host::Phase;

DEVICE void phase_init(Phase *phase, int arrivals) { host::phase_init(*phase, arrivals); }
DEVICE void phase_init_done() {}
DEVICE void phase_arrive(Phase *phase, int bytes) { host::phase_arrive(*phase, bytes); }
DEVICE void bulk_copy(void *shared, const void *global, int bytes, Phase *phase) {
    host::copy_for_phase(shared, global, static_cast<size_t>(bytes), *phase);
}
DEVICE void phase_wait(Phase *phase, int odd, HOST_SITE) { host::phase_wait(*phase, odd, {"phase_wait", file, line}); }

DEVICE void wgmma_fence() {}
DEVICE void wgmma_commit() {}
template <int GROUPS> DEVICE void wgmma_wait() {}
DEVICE void fence_shared_for_wgmma() {}
DEVICE void pin(unsigned &) {}
DEVICE void pin(float &) {}

#endif
