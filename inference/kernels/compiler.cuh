// The two compilers that kernels are written for: nvcc (or NVRTC), and a C++ compiler with host/emulator.h. Only names.
//
// KERNEL(threads) name(arguments)   an entry point for blocks of at most so many threads
// KERNEL_BLOCKS(threads, blocks)    the same; registers are to suffice for so many blocks on a multiprocessor
// DEVICE                            a function that kernels call; DEVICE_MEMBER: the same in a struct
// SHARED(type, name, count)         an array in shared memory; `name` is a pointer to its first element
// DYNAMIC_SHARED(type, name)        the shared memory whose size the launch decides, a multiple of 16 bytes
#pragma once

#if defined(__CUDACC__)

#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#define KERNEL_BLOCKS(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER static __device__ __forceinline__
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define DYNAMIC_SHARED(type, name)                                                                                       \
    extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];                                                 \
    type *name = reinterpret_cast<type *>(dynamic_shared_memory)

#else

#include "host/cuda_names.h"

#define KERNEL(threads) [[maybe_unused]] static void
#define KERNEL_BLOCKS(threads, blocks) [[maybe_unused]] static void
#define DEVICE [[maybe_unused]] static inline
#define DEVICE_MEMBER static inline
#define SHARED(type, name, count)                                                                                        \
    static const char name##_declaration = 0;                                                                            \
    type *name = static_cast<type *>(host::static_shared(&name##_declaration, sizeof(type) * (count)))
#define DYNAMIC_SHARED(type, name) type *name = static_cast<type *>(host::dynamic_shared())

#endif
