// Runs one case: `runner CASE SEED`, with inputs and outputs as case.h says. Exit status 0: it ran; 2: wrong use of this
// program; 3: the kernel did what no kernel may (emulator.h); anything else: AddressSanitizer or UBSan found a fault.

#include "case.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

namespace host {

namespace {

[[noreturn]] void misuse(const std::string &message) {
    fprintf(stderr, "runner: %s\n", message.c_str());
    exit(2);
}

void read_bytes(const std::string &name, Buffer &buffer) {
    std::cin.read(reinterpret_cast<char *>(buffer.data.get()), static_cast<std::streamsize>(buffer.bytes));
    if (static_cast<size_t>(std::cin.gcount()) != buffer.bytes)
        misuse("standard input ends within buffer " + name);
}

} // namespace

Buffer Case::allocate(size_t bytes) {
    void *memory = nullptr;
    if (posix_memalign(&memory, 256, bytes) != 0)
        misuse("no memory");
    memset(memory, 0xff, bytes);
    return {bytes, std::shared_ptr<unsigned char>(static_cast<unsigned char *>(memory), free)};
}

Case Case::read(uint64_t seed) {
    Case result;
    result.seed = seed;
    std::vector<std::string> order;
    std::string kind, name;
    while (std::cin >> kind && kind != "end") {
        if (kind == "scalar") {
            std::cin >> name >> result.scalars[name];
        } else if (kind == "buffer") {
            size_t bytes = 0;
            std::cin >> name >> bytes;
            result.buffers[name] = allocate(bytes);
            order.push_back(name);
        } else {
            misuse("unknown line " + kind);
        }
    }
    if (std::cin.get() != '\n')
        misuse("the header does not end");
    for (const auto &buffer : order)
        read_bytes(buffer, result.buffers[buffer]);
    return result;
}

void Case::write() const {
    for (const auto &name : outputs)
        std::cout << "buffer " << name << ' ' << buffers.at(name).bytes << '\n';
    std::cout << "end\n";
    for (const auto &name : outputs) {
        const Buffer &buffer = buffers.at(name);
        std::cout.write(reinterpret_cast<const char *>(buffer.data.get()), static_cast<std::streamsize>(buffer.bytes));
    }
    std::cout.flush();
}

double Case::number(const std::string &name) const {
    auto found = scalars.find(name);
    if (found == scalars.end())
        misuse("the case needs the scalar " + name);
    return found->second;
}

Buffer &Case::find(const std::string &name) {
    auto found = buffers.find(name);
    if (found == buffers.end())
        misuse("the case needs the buffer " + name);
    return found->second;
}

} // namespace host

int main(int argc, char **argv) {
    using namespace host;
    std::ios::sync_with_stdio(false);
    if (argc != 3)
        misuse("usage: runner CASE SEED");
    for (const auto *cases : {&HARNESS_CASES, &PTX_CASES, &SMALL_KERNEL_CASES, &ATTENTION_CASES,
                              &PACKED_CASES, &GEMM_CASES, &CANDIDATE_CASES, &EXPERT_CASES})
        for (const NamedCase &named : *cases)
            if (strcmp(named.name, argv[1]) == 0) {
                Case run = Case::read(strtoull(argv[2], nullptr, 10));
                named.run(run);
                run.write();
                return 0;
            }
    misuse(std::string("no case ") + argv[1]);
}
