// One run of a kernel, as a test asks for it: scalars and buffers by name in, buffers by name out.
//
// On standard input: lines `scalar NAME NUMBER`, `buffer NAME BYTES`, `end`, then the bytes of the buffers in that order. On
// standard output: lines `buffer NAME BYTES`, `end`, then their bytes. Every buffer is an allocation of exactly its size, so
// that AddressSanitizer sees an access beyond it; one that a kernel is to fill starts as 0xff.
#pragma once

#include "emulator.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace host {

struct Buffer {
    size_t bytes = 0;
    // Aligned to 256, as allocations of the GPU are.
    std::shared_ptr<unsigned char> data;
};

class Case {
  public:
    // Seed of the order of blocks and threads.
    uint64_t seed = 0;

    static Case read(uint64_t seed);
    void write() const;

    double number(const std::string &name) const;
    int integer(const std::string &name) const { return static_cast<int>(number(name)); }
    // Returns the buffer of this name that the test gave; the run stops when there is none.
    template <typename T> T *input(const std::string &name) {
        return reinterpret_cast<T *>(find(name).data.get());
    }
    bool has(const std::string &name) const { return buffers.count(name) > 0; }
    size_t count(const std::string &name, size_t size_of_element) { return find(name).bytes / size_of_element; }
    // Makes a buffer for results.
    template <typename T> T *output(const std::string &name, size_t count) {
        Buffer &buffer = buffers[name] = allocate(count * sizeof(T));
        outputs.push_back(name);
        return reinterpret_cast<T *>(buffer.data.get());
    }
    // Makes a buffer that the test does not see, starting as 0xff.
    template <typename T> T *scratch(const std::string &name, size_t count) {
        Buffer &buffer = buffers[name] = allocate(count * sizeof(T));
        return reinterpret_cast<T *>(buffer.data.get());
    }
    // Marks a buffer that the test gave as one whose bytes it wants back.
    template <typename T> T *in_out(const std::string &name) {
        outputs.push_back(name);
        return input<T>(name);
    }

  private:
    std::map<std::string, double> scalars;
    std::map<std::string, Buffer> buffers;
    std::vector<std::string> outputs;

    Buffer &find(const std::string &name);
    static Buffer allocate(size_t bytes);
};

using RunCase = void (*)(Case &);

// A table of cases by name; each file of cases has one.
struct NamedCase {
    const char *name;
    RunCase run;
};
extern const std::vector<NamedCase> HARNESS_CASES, PTX_CASES, SMALL_KERNEL_CASES, ATTENTION_CASES, PACKED_CASES,
    GEMM_CASES, CANDIDATE_CASES, EXPERT_CASES;

} // namespace host
