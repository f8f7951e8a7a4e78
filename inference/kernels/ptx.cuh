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
//   m16n8k16, 8-bit   a[0] (g, 4t..4t+3)   a[1] (g+8, same)   b (4t..4t+3, g)
//   all               d[0], d[1] (g, 2t..2t+1)   d[2], d[3] (g+8, same)
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

DEVICE void mma_m16n8k16_s8(int (&d)[4], const unsigned (&a)[2], unsigned b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b));
}

// sum + the four products of signed bytes.
DEVICE int dot4(unsigned a, unsigned b, int sum) { return __dp4a(static_cast<int>(a), static_cast<int>(b), sum); }

// Waits until the kernel before has ended, where this one was started early; start_kernel_after lets the next one start while this
// one ends. Without such launches both do nothing.
DEVICE void wait_for_kernel_before() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
DEVICE void start_kernel_after() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Returns threadIdx.x, read anew: what a loop makes of it is not kept in registers that the rest of the loop needs.
DEVICE int thread_read_anew() {
    int thread;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    return thread;
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

// The same for 4 bytes, through the L1 cache.
DEVICE void cp_async_4(void *shared, const void *global) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}

DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `GROUPS` of this thread's committed groups are still under way. Others see them after a barrier.
template <int GROUPS> DEVICE void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory"); }

// Rounds two floats to f16, to nearest, ties to even: `low` in the lower half of the word.
DEVICE unsigned pack_halves(float low, float high) {
    unsigned word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
}

// Returns a * b + c and a + b of pairs of f16, each rounded once.
DEVICE unsigned fma_halves(unsigned a, unsigned b, unsigned c) {
    unsigned d;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
DEVICE unsigned add_halves(unsigned a, unsigned b) {
    unsigned d;
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    return d;
}

// Returns (a & mask) | bits in one instruction, which the compiler makes two of when both are constants.
DEVICE unsigned and_or(unsigned a, unsigned mask, unsigned bits) {
    unsigned d;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(a), "r"(mask), "r"(bits));
    return d;
}

// Returns the bytes of (b, a), eight of them, that the nibbles of `places` name.
DEVICE unsigned permute_bytes(unsigned a, unsigned b, unsigned places) { return __byte_perm(a, b, places); }

// Returns 2^x to 2 ulp; what would be denormal is 0.
DEVICE float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Returns 1 / x to 1 ulp; what would be denormal is 0.
DEVICE float reciprocal_approx(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

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

// The first half of a product of 32.
DEVICE void mma_m16n8k16_s8(int (&d)[4], const unsigned (&a)[2], unsigned b, HOST_SITE) {
    unsigned rows[4] = {a[0], a[1], 0, 0}, columns[2] = {b, 0};
    fragment_products<int, 4>(d, rows, columns, byte_of_word, {"mma.m16n8k16", file, line});
}

DEVICE int dot4(unsigned a, unsigned b, int sum) {
    for (unsigned at = 0; at < 4; ++at)
        sum += byte_of_word(a, at) * byte_of_word(b, at);
    return sum;
}

DEVICE int thread_read_anew() { return static_cast<int>(threadIdx.x); }

DEVICE void wait_for_kernel_before() {}
DEVICE void start_kernel_after() {}

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

DEVICE unsigned pack_halves(float low, float high) { return host::float_to_half(low) | unsigned{host::float_to_half(high)} << 16; }

// a * b + c of f16: truncated to float with a last bit that says whether something was cut, which then rounds as the exact sum.
DEVICE unsigned fma_half(unsigned short a, unsigned short b, unsigned short c) {
    double product = double{host::half_to_float(a)} * host::half_to_float(b), addend = host::half_to_float(c);
    double sum = product + addend, back = sum - product;
    double error = (product - (sum - back)) + (addend - back);
    float near = static_cast<float>(sum);
    if (!std::isfinite(near) || (error == 0.0 && near == sum))
        return host::float_to_half(near);
    bool away = std::fabs(near) > std::fabs(sum) || (near == sum && (error < 0.0) == (sum > 0.0));
    return host::float_to_half(__uint_as_float((__float_as_uint(near) - (away ? 1u : 0u)) | 1u));
}

DEVICE unsigned fma_halves(unsigned a, unsigned b, unsigned c) {
    auto half = [](unsigned pair, int at) { return static_cast<unsigned short>(pair >> (16 * at)); };
    return fma_half(half(a, 0), half(b, 0), half(c, 0)) | fma_half(half(a, 1), half(b, 1), half(c, 1)) << 16;
}
DEVICE unsigned add_halves(unsigned a, unsigned b) { return fma_halves(a, 0x3c003c00u, b); }

DEVICE unsigned and_or(unsigned a, unsigned mask, unsigned bits) { return (a & mask) | bits; }

DEVICE unsigned permute_bytes(unsigned a, unsigned b, unsigned places) {
    unsigned long long bytes = a | static_cast<unsigned long long>(b) << 32;
    unsigned result = 0;
    for (int i = 0; i < 4; ++i)
        result |= static_cast<unsigned>(bytes >> (8 * (places >> (4 * i) & 7u)) & 255u) << (8 * i);
    return result;
}

DEVICE float exp2_approx(float x) {
    float y = std::exp2(x);
    return y < 0x1p-126f ? 0.0f : y;
}

DEVICE float reciprocal_approx(float x) {
    float y = 1.0f / x;
    return std::fabs(y) < 0x1p-126f ? 0.0f : y;
}

DEVICE void cp_async_16(void *shared, const void *global, bool valid) {
    host::copy_async(shared, global, 16, valid ? 16 : 0);
}
DEVICE void cp_async_4(void *shared, const void *global) { host::copy_async(shared, global, 4, 4); }
DEVICE void cp_async_commit() { host::commit_copies(); }
template <int GROUPS> DEVICE void cp_async_wait() { host::wait_copies(GROUPS); }

#endif

// Returns tanh(x), with an error of at most 3e-7 for any x, without a branch.
DEVICE float tanh_approx(float x) { return 1.0f - 2.0f * reciprocal_approx(exp2_approx(x * 2.88539008f) + 1.0f); }
