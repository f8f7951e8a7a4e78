// Small kernels with faults put in on purpose: the tests of the harness want each of them found. The right versions are here
// too, so that a test knows that it is the fault that was found.

#include "../ptx.cuh"
#include "case.h"

#include <vector>

namespace {

constexpr int THREADS = 128;

enum Fault {
    NONE = 0,
    NO_BARRIER = 1,          // reads what other threads may not have written
    NO_SECOND_BARRIER = 2,   // overwrites what other threads may not have read
    BEYOND_SHARED = 3,       // reads one element past a shared array
    BEYOND_GLOBAL = 4,       // reads one element past a buffer
    WRONG_LANE = 5,          // shuffles from a lane that is not the partner
    LANE_OUTSIDE_MASK = 6,   // reads a lane that does not take part
    MISSING_LANE = 7,        // a lane of the mask does not come
    BARRIER_IN_BRANCH = 8,   // half of the threads wait at another barrier
    LEFT_BEFORE_BARRIER = 9, // some threads have ended
    UNWRITTEN_SHARED = 10,   // reads shared memory that nobody wrote
    NO_WAIT_FOR_COPY = 11,   // reads an asynchronous copy before the wait for it
    MISALIGNED = 12,         // a wide load from an odd address
};

// Two rounds of: everyone writes its number, then reads its neighbour's. y[i] = x[i + 1] + 2 * x[i + 1].
void neighbours(const float *x, float *y, int fault) {
    SHARED(float, shared, THREADS);
    int self = static_cast<int>(threadIdx.x), next = self + 1;
    if (fault != BEYOND_SHARED)
        next %= THREADS;
    float total = 0.0f;
    for (int round = 1; round <= 2; ++round) {
        if (fault != UNWRITTEN_SHARED || self != 5)
            shared[self] = static_cast<float>(round) * x[fault == BEYOND_GLOBAL ? self + 1 : self];
        if (fault == LEFT_BEFORE_BARRIER && self >= 64)
            return;
        if (fault == BARRIER_IN_BRANCH && self < 64)
            __syncthreads();
        else if (fault != NO_BARRIER)
            __syncthreads();
        total += shared[next];
        if (fault != NO_SECOND_BARRIER)
            __syncthreads();
    }
    y[self] = total;
}

// The sum of each warp's numbers, in every lane.
void sums(const float *x, float *y, int fault) {
    unsigned mask = fault == LANE_OUTSIDE_MASK ? 0x0000ffffu : ALL_LANES;
    if (fault == LANE_OUTSIDE_MASK && lane_id() >= 16)
        return;
    if (fault == MISSING_LANE && lane_id() == 31)
        return;
    float total = x[threadIdx.x];
    for (int distance = 16; distance > 0; distance /= 2)
        total += __shfl_xor_sync(mask, total, fault == WRONG_LANE && distance == 4 ? 3 : distance);
    y[threadIdx.x] = total;
}

void run_neighbours(host::Case &run) {
    const float *x = run.input<float>("x");
    float *y = run.output<float>("y", THREADS);
    int fault = run.integer("fault");
    host::launch({1}, {THREADS}, 0, run.seed, [=] { neighbours(x, y, fault); });
}

void run_sums(host::Case &run) {
    const float *x = run.input<float>("x");
    float *y = run.output<float>("y", THREADS);
    int fault = run.integer("fault");
    host::launch({1}, {THREADS}, 0, run.seed, [=] { sums(x, y, fault); });
}

// Every operation of the emulated machine that the kernels of today leave untried, one number a thread and row.
void operations(unsigned *y, unsigned *counter) {
    unsigned self = threadIdx.x, lane = static_cast<unsigned>(lane_id());
    unsigned row = 0;
    auto put = [&](unsigned value) { y[row++ * 64 + self] = value; };
    put(__shfl_sync(ALL_LANES, self, 5));
    put(__shfl_sync(ALL_LANES, self, 9, 8));
    put(__shfl_up_sync(ALL_LANES, self, 3));
    put(__shfl_down_sync(ALL_LANES, self, 3));
    put(__shfl_down_sync(ALL_LANES, self, 3, 8));
    put(__ballot_sync(ALL_LANES, lane % 3 == 0));
    put(lane < 16 ? __ballot_sync(0x0000ffffu, lane > 2) : __ballot_sync(0xffff0000u, lane < 20));
    put(static_cast<unsigned>(__any_sync(ALL_LANES, self == 40)));
    put(static_cast<unsigned>(__all_sync(ALL_LANES, self < 40)));
    atomicAdd(counter, self);
    atomicMax(counter + 1, self);
    if (atomicCAS(counter + 2, 0u, self + 1) == 0)
        atomicAdd(counter + 3, 1u);
    DYNAMIC_SHARED(unsigned, shared);
    shared[self] = self;
    __syncthreads();
    put(shared[63 - self]);
}

void run_operations(host::Case &run) {
    unsigned *y = run.output<unsigned>("y", 10 * 64);
    unsigned *counter = run.in_out<unsigned>("counter");
    host::launch({1}, {64}, 64 * sizeof(unsigned), run.seed, [=] { operations(y, counter); });
}

// Each block writes the place it has, so that a test sees that every block and thread ran once.
void run_grid(host::Case &run) {
    unsigned *y = run.output<unsigned>("y", 2 * 3 * 4 * 8 * 2);
    host::launch({2, 3, 4}, {8, 2}, 0, run.seed, [=] {
        unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
        unsigned at = block * blockDim.count() + threadIdx.y * blockDim.x + threadIdx.x;
        y[at] = y[at] == 0xffffffffu ? at : 0;
    });
}

// f16 and bf16 of every float that is given, and the floats of every f16 and bf16.
void run_conversions(host::Case &run) {
    size_t count = run.count("x", sizeof(float));
    const float *x = run.input<float>("x");
    auto *half = run.output<half_t>("half", count);
    auto *bf16 = run.output<bf16_t>("bf16", count);
    float *from_half = run.output<float>("from_half", 65536), *from_bf16 = run.output<float>("from_bf16", 65536);
    for (size_t i = 0; i < count; ++i) {
        from_float(x[i], half[i]);
        from_float(x[i], bf16[i]);
    }
    for (unsigned bits = 0; bits < 65536; ++bits) {
        from_half[bits] = to_float(half_t{static_cast<unsigned short>(bits)});
        from_bf16[bits] = to_float(bf16_t{static_cast<unsigned short>(bits)});
    }
}

// Copies x to y through shared memory, 4 numbers a thread.
void copies(const float *x, float *y, int fault) {
    SHARED(float, shared, 4 * THREADS);
    int at = 4 * static_cast<int>(threadIdx.x);
    cp_async_16(shared + at, x + at, true);
    cp_async_commit();
    if (fault != NO_WAIT_FOR_COPY)
        cp_async_wait<0>();
    __syncthreads();
    // The neighbour's numbers.
    at = (at + 4) % (4 * THREADS);
    Bits128 bits = load16(shared + at + (fault == MISALIGNED ? 1 : 0));
    for (int i = 0; i < 4; ++i)
        y[at + i] = __uint_as_float(bits.word[i]);
}

void run_copies(host::Case &run) {
    const float *x = run.input<float>("x");
    float *y = run.output<float>("y", 4 * THREADS);
    int fault = run.integer("fault");
    host::launch({1}, {THREADS}, 0, run.seed, [=] { copies(x, y, fault); });
}

} // namespace

const std::vector<host::NamedCase> host::HARNESS_CASES = {
    {"neighbours", run_neighbours}, {"sums", run_sums}, {"copies", run_copies},
    {"operations", run_operations}, {"grid", run_grid}, {"conversions", run_conversions},
};
