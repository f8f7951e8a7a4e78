// Fibres, barriers and shared memory of the host machine; emulator.h says what they are for.

#include "emulator.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace host {

Place place;

namespace {

// Frames are several times larger under AddressSanitizer.
constexpr size_t STACK_BYTES = 128 * 1024;
constexpr unsigned MOST_THREADS = 1024;
// Threads named in a report of who waits where.
constexpr unsigned MOST_REPORTED = 12;

enum class State { Runs, AtBarrier, AtWarpOperation, AtPhase, Ended };

struct Copy {
    void *to;
    const void *from;
    size_t bytes, source_bytes;
};

struct Fibre {
    ucontext_t context;
    char *stack = nullptr;
    void *fake_stack = nullptr;
    Dim3 thread;
    State state = State::Ended;
    Site site{};
    unsigned mask = 0;
    Phase *phase = nullptr;
    unsigned char payload[MOST_PAYLOAD_BYTES];
    std::shared_ptr<const Gathered> gathered;
    std::vector<Copy> uncommitted;
    std::deque<std::vector<Copy>> groups;
};

// splitmix64: a few lines, good enough to shuffle.
struct Random {
    uint64_t state;
    uint64_t next() {
        uint64_t z = (state += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    size_t below(size_t bound) { return next() % bound; }
};

struct Machine {
    ucontext_t scheduler;
    void *scheduler_fake_stack = nullptr;
    const void *scheduler_stack = nullptr;
    size_t scheduler_stack_bytes = 0;
    std::vector<Fibre> fibres;
    std::vector<unsigned> runnable;
    unsigned running = 0;
    unsigned num_threads = 0;
    Random random{0};
    const std::function<void()> *kernel = nullptr;
    std::map<const void *, void *> shared;
    size_t shared_bytes = 0, most_shared_bytes = 0;
    void *dynamic = nullptr;
    std::map<Phase *, std::vector<Copy>> copies_for_phases;
};
Machine machine;

Fibre &current() { return machine.fibres[machine.running]; }

char *new_stack() {
    size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void *memory = mmap(nullptr, STACK_BYTES + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0)
        fail("no memory for a fibre's stack");
    return static_cast<char *>(memory) + page;
}

void before_switch([[maybe_unused]] void **save, [[maybe_unused]] const void *stack, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(save, stack, bytes);
#endif
}

// `stack` and `bytes` receive the stack that was left.
void after_switch([[maybe_unused]] void *saved, [[maybe_unused]] const void **stack, [[maybe_unused]] size_t *bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(saved, stack, bytes);
#endif
}

void after_switch_to_fibre(void *saved) {
    after_switch(saved, &machine.scheduler_stack, &machine.scheduler_stack_bytes);
}

// Gives the processor to the scheduler; returns when it is this fibre's turn again.
void wait_here() {
    Fibre &self = current();
    before_switch(&self.fake_stack, machine.scheduler_stack, machine.scheduler_stack_bytes);
    swapcontext(&self.context, &machine.scheduler);
    after_switch_to_fibre(self.fake_stack);
}

void run_fibre() {
    after_switch_to_fibre(nullptr);
    (*machine.kernel)();
    Fibre &self = current();
    if (!self.uncommitted.empty())
        fail("ends with asynchronous copies that were never committed");
    self.state = State::Ended;
    before_switch(nullptr, machine.scheduler_stack, machine.scheduler_stack_bytes);
    setcontext(&machine.scheduler);
}

void start_fibre(unsigned index, Dim3 block) {
    Fibre &fibre = machine.fibres[index];
    if (fibre.stack == nullptr)
        fibre.stack = new_stack();
    fibre.thread = {index % block.x, index / block.x % block.y, index / block.x / block.y};
    fibre.state = State::Runs;
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = fibre.stack;
    fibre.context.uc_stack.ss_size = STACK_BYTES;
    fibre.context.uc_link = nullptr;
    makecontext(&fibre.context, run_fibre, 0);
    machine.runnable.push_back(index);
}

void switch_to(unsigned index) {
    machine.running = index;
    Fibre &fibre = current();
    place.thread = fibre.thread;
    before_switch(&machine.scheduler_fake_stack, fibre.stack, STACK_BYTES);
    swapcontext(&machine.scheduler, &fibre.context);
    after_switch(machine.scheduler_fake_stack, nullptr, nullptr);
}

void make_runnable(unsigned index) {
    machine.fibres[index].state = State::Runs;
    machine.runnable.push_back(index);
}

[[noreturn]] void report_stuck(const char *problem) {
    fprintf(stderr, "kernel error: block (%u, %u, %u): %s\n", place.block.x, place.block.y, place.block.z, problem);
    unsigned reported = 0;
    for (unsigned index = 0; index < machine.num_threads && reported < MOST_REPORTED; ++index) {
        const Fibre &fibre = machine.fibres[index];
        const Fibre *before = index > 0 ? &machine.fibres[index - 1] : nullptr;
        if (before && before->state == fibre.state && before->site == fibre.site && before->mask == fibre.mask)
            continue;
        ++reported;
        if (fibre.state == State::Ended)
            fprintf(stderr, "  thread %u on: has ended\n", index);
        else
            fprintf(stderr, "  thread %u on: waits in %s, mask %08x, at %s:%d\n", index, fibre.site.what, fibre.mask,
                    fibre.site.file, fibre.site.line);
    }
    fflush(stderr);
    _exit(FAILED);
}

// Called when nobody can run: either all wait at one barrier, or the kernel is wrong.
void release_barrier() {
    const Site &site = machine.fibres[0].site;
    for (unsigned index = 0; index < machine.num_threads; ++index)
        if (machine.fibres[index].state == State::AtWarpOperation)
            report_stuck("a warp operation lacks lanes of its mask");
    for (unsigned index = 0; index < machine.num_threads; ++index) {
        const Fibre &fibre = machine.fibres[index];
        if (fibre.state == State::AtPhase)
            report_stuck("threads wait for a phase that does not end");
        if (fibre.state == State::Ended)
            report_stuck("threads wait at a barrier that others have left behind");
        if (!(fibre.site == site))
            report_stuck("threads wait at different barriers");
    }
    for (unsigned index = 0; index < machine.num_threads; ++index)
        make_runnable(index);
}

// Releases the lanes of a warp operation once all are there.
void release_warp(unsigned first, unsigned mask, const Site &site) {
    for (unsigned lane = 0; lane < WARP; ++lane) {
        if (!(mask >> lane & 1))
            continue;
        const Fibre &fibre = machine.fibres[first + lane];
        if (fibre.state != State::AtWarpOperation || fibre.mask != mask || !(fibre.site == site))
            return;
    }
    auto gathered = std::make_shared<Gathered>();
    gathered->mask = mask;
    memset(gathered->payload, 0xff, sizeof gathered->payload);
    for (unsigned lane = 0; lane < WARP; ++lane)
        if (mask >> lane & 1)
            memcpy(gathered->payload[lane], machine.fibres[first + lane].payload, MOST_PAYLOAD_BYTES);
    for (unsigned lane = 0; lane < WARP; ++lane) {
        if (!(mask >> lane & 1))
            continue;
        machine.fibres[first + lane].gathered = gathered;
        make_runnable(first + lane);
    }
}

void *allocate_shared(size_t bytes) {
    machine.shared_bytes += bytes;
    if (machine.shared_bytes > machine.most_shared_bytes)
        fail("%zu bytes of shared memory, and a block can have %zu", machine.shared_bytes, machine.most_shared_bytes);
    void *memory = nullptr;
    if (posix_memalign(&memory, 16, bytes) != 0)
        fail("no memory");
    memset(memory, 0xff, bytes);
    return memory;
}

// Byte by byte through instrumented code, so that AddressSanitizer checks both sides.
void do_copy(const Copy &copy) {
    auto *to = static_cast<volatile unsigned char *>(copy.to);
    auto *from = static_cast<const volatile unsigned char *>(copy.from);
    for (size_t index = 0; index < copy.bytes; ++index)
        to[index] = index < copy.source_bytes ? from[index] : 0;
}

// Begins the next phase if this one has ended, and lets those go on who waited.
void end_phase(Phase &phase) {
    if (phase.left != 0 || phase.bytes != 0)
        return;
    phase.left = phase.arrivals;
    phase.number ^= 1;
    for (unsigned index = 0; index < machine.num_threads; ++index)
        if (machine.fibres[index].state == State::AtPhase && machine.fibres[index].phase == &phase)
            make_runnable(index);
}

void finish_copies(Phase &phase) {
    for (const Copy &copy : machine.copies_for_phases[&phase]) {
        do_copy(copy);
        phase.bytes -= static_cast<int32_t>(copy.bytes);
    }
    machine.copies_for_phases[&phase].clear();
    end_phase(phase);
}

// Does the oldest copies until at most `groups_left` groups are pending.
void finish_copies(Fibre &fibre, unsigned groups_left) {
    while (fibre.groups.size() > groups_left) {
        for (const Copy &copy : fibre.groups.front())
            do_copy(copy);
        fibre.groups.pop_front();
    }
}

void run_block(Dim3 block, size_t dynamic_shared_bytes) {
    machine.shared_bytes = 0;
    machine.dynamic = dynamic_shared_bytes > 0 ? allocate_shared(dynamic_shared_bytes) : nullptr;
    machine.runnable.clear();
    for (unsigned index = 0; index < machine.num_threads; ++index)
        start_fibre(index, block);
    size_t ended = 0;
    while (ended < machine.num_threads) {
        if (machine.runnable.empty())
            release_barrier();
        size_t drawn = machine.random.below(machine.runnable.size());
        unsigned index = machine.runnable[drawn];
        machine.runnable[drawn] = machine.runnable.back();
        machine.runnable.pop_back();
        switch_to(index);
        ended += machine.fibres[index].state == State::Ended;
    }
    // Nobody waited for these; they take place all the same, and their addresses are checked.
    for (unsigned index = 0; index < machine.num_threads; ++index)
        finish_copies(machine.fibres[index], 0);
    for (auto &[phase, copies] : machine.copies_for_phases)
        if (!copies.empty())
            fail("ends with asynchronous copies that nobody waited for");
    machine.copies_for_phases.clear();
    for (auto &[declaration, memory] : machine.shared)
        free(memory);
    machine.shared.clear();
    free(machine.dynamic);
}

void check_launch(Dim3 grid, Dim3 block) {
    if (block.count() == 0 || block.count() > MOST_THREADS)
        fail("a block of %u threads: 1 to %u are possible", block.count(), MOST_THREADS);
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535)
        fail("a grid of %u x %u x %u blocks: y and z go to 65535, none may be 0", grid.x, grid.y, grid.z);
}

} // namespace

bool Site::operator==(const Site &other) const {
    return what == other.what && line == other.line && (file == other.file || strcmp(file, other.file) == 0);
}

void launch(Dim3 grid, Dim3 block, size_t dynamic_shared_bytes, uint64_t seed, const std::function<void()> &kernel,
            size_t most_shared_bytes) {
    check_launch(grid, block);
    machine.most_shared_bytes = most_shared_bytes;
    machine.random = {seed};
    machine.kernel = &kernel;
    machine.num_threads = block.count();
    if (machine.fibres.size() < machine.num_threads)
        machine.fibres.resize(machine.num_threads);
    place.block_dim = block;
    place.grid_dim = grid;
    std::vector<unsigned> order(grid.count());
    for (unsigned index = 0; index < order.size(); ++index)
        order[index] = index;
    for (size_t index = order.size(); index > 1; --index)
        std::swap(order[index - 1], order[machine.random.below(index)]);
    for (unsigned index : order) {
        place.block = {index % grid.x, index / grid.x % grid.y, index / grid.x / grid.y};
        run_block(block, dynamic_shared_bytes);
    }
}

void barrier(Site site) {
    Fibre &self = current();
    self.site = site;
    self.mask = 0;
    self.state = State::AtBarrier;
    wait_here();
}

std::shared_ptr<const Gathered> gather(unsigned mask, const void *payload, size_t bytes, Site site) {
    if (bytes > MOST_PAYLOAD_BYTES)
        fail("%s of %zu bytes", site.what, bytes);
    if (!(mask >> lane() & 1))
        fail("%s at %s:%d: the mask %08x lacks its own lane", site.what, site.file, site.line, mask);
    unsigned first = machine.running / WARP * WARP;
    for (unsigned other = 0; other < WARP; ++other)
        if ((mask >> other & 1) && first + other >= machine.num_threads)
            fail("%s at %s:%d: the mask %08x names lanes that the block does not have", site.what, site.file, site.line,
                 mask);
    Fibre &self = current();
    memcpy(self.payload, payload, bytes);
    self.site = site;
    self.mask = mask;
    self.state = State::AtWarpOperation;
    release_warp(first, mask, site);
    wait_here();
    return std::move(self.gathered);
}

void *static_shared(const void *declaration, size_t bytes) {
    void *&memory = machine.shared[declaration];
    if (memory == nullptr)
        memory = allocate_shared(bytes);
    return memory;
}

void *dynamic_shared() {
    if (machine.dynamic == nullptr)
        fail("uses dynamic shared memory, and the launch gave it none");
    return machine.dynamic;
}

unsigned lane() { return machine.running % WARP; }

void copy_async(void *to, const void *from, size_t bytes, size_t source_bytes) {
    check_aligned(to, bytes, "the target of an asynchronous copy");
    if (source_bytes > 0)
        check_aligned(from, bytes, "the source of an asynchronous copy");
    current().uncommitted.push_back({to, from, bytes, source_bytes});
}

void commit_copies() {
    Fibre &self = current();
    self.groups.push_back(std::move(self.uncommitted));
    self.uncommitted.clear();
}

void wait_copies(unsigned groups_left) { finish_copies(current(), groups_left); }

void phase_init(Phase &phase, int arrivals) {
    check_aligned(&phase, 8, "a phase");
    phase.arrivals = phase.left = static_cast<uint16_t>(arrivals);
    phase.number = 0;
    phase.bytes = 0;
}

void phase_arrive(Phase &phase, int bytes) {
    if (phase.left == 0)
        fail("arrives at a phase for which all have arrived");
    --phase.left;
    phase.bytes += bytes;
    end_phase(phase);
}

void copy_for_phase(void *to, const void *from, size_t bytes, Phase &phase) {
    check_aligned(to, 16, "the target of a bulk copy");
    check_aligned(from, 16, "the source of a bulk copy");
    if (bytes % 16 != 0)
        fail("a bulk copy of %zu bytes, which is not a multiple of 16", bytes);
    machine.copies_for_phases[&phase].push_back({to, from, bytes, bytes});
    for (unsigned index = 0; index < machine.num_threads; ++index)
        if (machine.fibres[index].state == State::AtPhase && machine.fibres[index].phase == &phase)
            return finish_copies(phase);
}

void phase_wait(Phase &phase, int odd, Site site) {
    finish_copies(phase);
    if (phase.number != static_cast<unsigned>(odd))
        return;
    Fibre &self = current();
    self.site = site;
    self.mask = 0;
    self.phase = &phase;
    self.state = State::AtPhase;
    wait_here();
}

void fail(const char *format, ...) {
    fprintf(stderr, "kernel error: block (%u, %u, %u), thread (%u, %u, %u): ", place.block.x, place.block.y,
            place.block.z, place.thread.x, place.thread.y, place.thread.z);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    fflush(stderr);
    _exit(FAILED);
}

void check_aligned(const void *address, size_t bytes, const char *what) {
    if (reinterpret_cast<uintptr_t>(address) % bytes != 0)
        fail("%s, %p, is not a multiple of %zu", what, address, bytes);
}

} // namespace host
