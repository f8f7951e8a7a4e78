// Runs a kernel on the host: what a CUDA program sees of its machine, made of lockstep fibres.
//
// Each thread of a block is a fibre with its own stack. One runs at a time, until it waits: at a block barrier, at a warp
// operation (shuffle, vote, matrix product) or at its end. Who goes on then is drawn from a seed, as is the order of
// blocks. So a kernel that lacks a barrier gives other numbers for some seeds, and a test that runs a few seeds sees it.
//
// What makes faults visible:
// - shared memory is a heap allocation a variable, of exactly its size and filled with 0xff (NaN in every float format, -1
//   in integers): AddressSanitizer sees an access outside, and a read before the first write spoils the result;
// - a lane that is missing from a warp operation, a shuffle from a lane outside the mask, threads that wait at different
//   barriers or have ended while others wait stop the run with the places where every thread stands;
// - asynchronous copies (cp.async) take place at the wait that they need, not before.
//
// Not shown: time, coalescing, bank conflicts, registers, occupancy, the memory model (here all memory is sequentially
// consistent), races between warps within one stretch without waits, and races between blocks (a block runs to its end
// before the next starts). ../lab/cuda.md says what that means for each kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace host {

constexpr unsigned WARP = 32;
// Shared memory that a block can have on every card from compute capability 8.0 on (8.6, 8.9 and 12.0 have the least).
constexpr size_t MOST_SHARED_BYTES = 99 * 1024;
// The same on compute capability 9.0, for kernels that only it runs.
constexpr size_t MOST_SHARED_BYTES_90 = 227 * 1024;
// The largest value that the lanes of a warp hand to each other: the operands of a matrix product.
constexpr size_t MOST_PAYLOAD_BYTES = 48;

struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
    unsigned count() const { return x * y * z; }
};

// Where the running fibre is in the grid.
struct Place {
    Dim3 thread, block, block_dim, grid_dim;
};
extern Place place;

// A place in the source where threads wait for each other.
struct Site {
    const char *what, *file;
    int line;
    bool operator==(const Site &other) const;
};

// What every lane of a warp brought to an operation; lanes outside the mask hold 0xff.
struct Gathered {
    unsigned mask;
    alignas(16) unsigned char payload[WARP][MOST_PAYLOAD_BYTES];
};

// Runs `kernel` for every thread of the grid. `seed` decides the order of blocks and, between waits, of threads.
void launch(Dim3 grid, Dim3 block, size_t dynamic_shared_bytes, uint64_t seed, const std::function<void()> &kernel,
            size_t most_shared_bytes = MOST_SHARED_BYTES);

// Waits for all threads of the block.
void barrier(Site site);

// Waits for the lanes of `mask` and returns what each brought.
std::shared_ptr<const Gathered> gather(unsigned mask, const void *payload, size_t bytes, Site site);

// Returns the block's shared variable of this declaration, the same for all of its threads.
void *static_shared(const void *declaration, size_t bytes);
void *dynamic_shared();

// Returns the lane of the running fibre in its warp.
unsigned lane();

// Asynchronous copies of the running fibre. A source of less than `bytes` is completed with zeros.
void copy_async(void *to, const void *from, size_t bytes, size_t source_bytes);
void commit_copies();
void wait_copies(unsigned groups_left);

// A phase of asynchronous work (`mbarrier`), in shared memory. Copies for it take place when somebody waits for it.
struct Phase {
    uint16_t arrivals, left;
    uint32_t number : 1;
    int32_t bytes : 31;
};
void phase_init(Phase &phase, int arrivals);
void phase_arrive(Phase &phase, int bytes);
void copy_for_phase(void *to, const void *from, size_t bytes, Phase &phase);
void phase_wait(Phase &phase, int odd, Site site);

// Stops the run with a message that names the running thread. Exit status `FAILED`.
constexpr int FAILED = 3;
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Stops the run unless an address is a multiple of `bytes`, which wide accesses of a GPU need.
void check_aligned(const void *address, size_t bytes, const char *what);

} // namespace host
