// PTX instructions that CUDA C++ has no name for, each a function with a twin for the host machine.
//
// The twins have the lane layout of the PTX ISA manual ("Matrix fragments for mma.m16n8k16 / m16n8k32", "ldmatrix",
// "cp.async"); inference/tests/it/kernels/ptx.rs builds fragments from the manual's formulas and compares with a plain matrix
// product. Every lane of the warp takes part. With g = lane / 4 and t = lane % 4:
//
//   m16n8k16, 16-bit  a[0] (g, 2t..2t+1)   a[1] (g+8, same)   a[2] (g, 2t+8..2t+9)     a[3] (g+8, same)   rows of A
//                     b[0] (2t..2t+1, g)   b[1] (2t+8..2t+9, g)                                           (k, n) of B
//   m16n8k32, 8-bit   a[0] (g, 4t..4t+3)   a[1] (g+8, same)   a[2] (g, 4t+16..4t+19)   a[3] (g+8, same)
//                     b[0] (4t..4t+3, g)   b[1] (4t+16..4t+19, g)
//   both              d[0], d[1] (g, 2t..2t+1)   d[2], d[3] (g+8, same)
#pragma once

#include "device.cuh"

#if defined(__CUDACC__)

DEVICE void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], bf16_t) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DEVICE void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], half_t) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DEVICE void mma_m16n8k32_s8(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DEVICE unsigned shared_address(const void *shared) { return static_cast<unsigned>(__cvta_generic_to_shared(shared)); }

// Reads four 8 x 8 matrices of 16-bit numbers. Lanes 8i..8i+7 give the rows of matrix i, each 16 bytes, aligned.
DEVICE void ldmatrix_x4(unsigned (&r)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

DEVICE void ldmatrix_x4_trans(unsigned (&r)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// Starts to copy 16 bytes to shared memory, past the L1 cache; zeros when `valid` is false, and then reads nothing.
DEVICE void cp_async_16(void *shared, const void *global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(valid ? 16 : 0)
                 : "memory");
}

DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `GROUPS` of this thread's committed groups are still under way. Others see them after a barrier.
template <int GROUPS> DEVICE void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory"); }

#else

// A lane's operands of a matrix product.
struct MatrixOperands {
    unsigned a[4], b[2];
};

// Returns the product of row `row` of A with column `column` of B, from the fragments of all lanes. A word holds
// `PER_WORD` numbers, and `number` reads one of them.
template <typename Sum, int PER_WORD, typename Number>
Sum fragment_product(const host::Gathered &gathered, unsigned row, unsigned column, Number number, host::Site site) {
    Sum sum = 0;
    for (unsigned k = 0; k < 8 * PER_WORD; ++k) {
        unsigned t = k % (4 * PER_WORD) / PER_WORD, upper = k / (4 * PER_WORD), at = k % PER_WORD;
        auto left = host::brought<MatrixOperands>(gathered, row % 8 * 4 + t, site);
        auto right = host::brought<MatrixOperands>(gathered, column * 4 + t, site);
        sum += static_cast<Sum>(number(left.a[row / 8 + 2 * upper], at)) * static_cast<Sum>(number(right.b[upper], at));
    }
    return sum;
}

// The hardware adds in an order of its own with at least the precision of float; here the sum is exact to double.
template <typename Sum, int PER_WORD, typename D, typename Number>
void fragment_products(D (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Number number, host::Site site) {
    MatrixOperands own{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    auto gathered = host::gather(ALL_LANES, &own, sizeof own, site);
    unsigned g = host::lane() / 4, t = host::lane() % 4;
    for (unsigned i = 0; i < 4; ++i)
        d[i] = static_cast<D>(d[i] + fragment_product<Sum, PER_WORD>(*gathered, g + i / 2 * 8, 2 * t + i % 2, number, site));
}

template <typename T> DEVICE float half_of_word(unsigned word, unsigned at) {
    return to_float(T{static_cast<unsigned short>(word >> (16 * at))});
}

template <typename T>
DEVICE void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], T, HOST_SITE) {
    fragment_products<double, 2>(d, a, b, half_of_word<T>, {"mma.m16n8k16", file, line});
}

DEVICE int byte_of_word(unsigned word, unsigned at) { return static_cast<signed char>(word >> (8 * at)); }

DEVICE void mma_m16n8k32_s8(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], HOST_SITE) {
    fragment_products<int, 4>(d, a, b, byte_of_word, {"mma.m16n8k32", file, line});
}

DEVICE unsigned short matrix_element(const host::Gathered &rows, unsigned matrix, unsigned row, unsigned column,
                                     host::Site site) {
    return host::brought<const unsigned short *>(rows, matrix * 8 + row, site)[column];
}

template <bool TRANS> void load_matrices(unsigned (&r)[4], const void *row, host::Site site) {
    host::check_aligned(row, 16, "a row of ldmatrix");
    auto rows = host::gather(ALL_LANES, &row, sizeof row, site);
    unsigned g = host::lane() / 4, t = host::lane() % 4;
    for (unsigned matrix = 0; matrix < 4; ++matrix) {
        unsigned low = TRANS ? matrix_element(*rows, matrix, 2 * t, g, site) : matrix_element(*rows, matrix, g, 2 * t, site);
        unsigned high = TRANS ? matrix_element(*rows, matrix, 2 * t + 1, g, site)
                              : matrix_element(*rows, matrix, g, 2 * t + 1, site);
        r[matrix] = low | high << 16;
    }
    // Nobody may overwrite a row before all have read it: the instruction is done for the whole warp at once.
    host::gather(ALL_LANES, &row, sizeof row, site);
}

DEVICE void ldmatrix_x4(unsigned (&r)[4], const void *row, HOST_SITE) {
    load_matrices<false>(r, row, {"ldmatrix", file, line});
}
DEVICE void ldmatrix_x4_trans(unsigned (&r)[4], const void *row, HOST_SITE) {
    load_matrices<true>(r, row, {"ldmatrix.trans", file, line});
}

DEVICE void cp_async_16(void *shared, const void *global, bool valid) {
    host::copy_async(shared, global, 16, valid ? 16 : 0);
}
DEVICE void cp_async_commit() { host::commit_copies(); }
template <int GROUPS> DEVICE void cp_async_wait() { host::wait_copies(GROUPS); }

#endif
