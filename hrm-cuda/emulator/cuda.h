// CUDA C++ as far as the kernels use it, with a CPU meaning. Included ahead of every kernel source.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "runtime.h"

#define HRM_EMULATOR
// The sources for compute capability 9.0a are not empty.
#define __CUDA_ARCH_FEAT_SM90_ALL
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __grid_constant__
#define __align__(n) alignas(n)

#define threadIdx (emulator::thread_index())
#define blockIdx (emulator::block_index())
#define blockDim (emulator::block_size())
#define gridDim (emulator::grid_size())
constexpr int warpSize = emulator::WARP;

// Shared memory: `SHARED_DYNAMIC(name)` is the bytes that the launch asks for, aligned to 16, of `SHARED_DYNAMIC_1024(name)`
// the shared address is a multiple of 1024; `SHARED(type, name, count)` is an array of the block's own.
#define SHARED_DYNAMIC(name) unsigned char* name = static_cast<unsigned char*>(emulator::dynamic_shared())
#define SHARED_DYNAMIC_1024(name) SHARED_DYNAMIC(name)
#define SHARED(type, name, count)                                                                                        \
    type* name = static_cast<type*>(emulator::static_shared(sizeof(type) * (count), emulator::Site::here()))

// Vectors.

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// Barriers and warps.

inline void __syncthreads(emulator::Site site = emulator::Site::here()) { emulator::barrier(site); }

namespace emulator {

inline void whole_warp(unsigned mask, const char* name) {
    if (mask != 0xffffffffu) fault("%s of some lanes only (mask %#x): the emulator knows whole warps", name, mask);
}

// Each lane gets the value of lane `source`.
template <class T>
T shuffle(const char* name, unsigned mask, T value, int source, Site site) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    whole_warp(mask, name);
    struct Part { T value; int source; };
    return collective(name, site, Part{value, source & (WARP - 1)}, [](Part (&parts)[WARP]) {
        T values[WARP];
        for (int i = 0; i < WARP; i++) values[i] = parts[i].value;
        for (Part& part : parts) part.value = values[part.source & (WARP - 1)];
    }).value;
}

}  // namespace emulator

inline void __syncwarp(unsigned mask = ~0u, emulator::Site site = emulator::Site::here()) {
    emulator::whole_warp(mask, "__syncwarp");
    emulator::collective("__syncwarp", site, 0, [](int (&)[emulator::WARP]) {});
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, emulator::Site site = emulator::Site::here()) {
    return emulator::shuffle("__shfl_sync", mask, value, source, site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int with, emulator::Site site = emulator::Site::here()) {
    return emulator::shuffle("__shfl_xor_sync", mask, value, emulator::lane() ^ with, site);
}
// Lanes whose source lies outside the warp keep their own value.
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, emulator::Site site = emulator::Site::here()) {
    const int source = emulator::lane() + int(by);
    return emulator::shuffle("__shfl_down_sync", mask, value, source < 32 ? source : emulator::lane(), site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, emulator::Site site = emulator::Site::here()) {
    const int source = emulator::lane() - int(by);
    return emulator::shuffle("__shfl_up_sync", mask, value, source >= 0 ? source : emulator::lane(), site);
}
inline unsigned __ballot_sync(unsigned mask, int vote, emulator::Site site = emulator::Site::here()) {
    emulator::whole_warp(mask, "__ballot_sync");
    return emulator::collective("__ballot_sync", site, unsigned(vote != 0), [](unsigned (&parts)[emulator::WARP]) {
        unsigned votes = 0;
        for (int i = 0; i < emulator::WARP; i++) votes |= parts[i] << i;
        for (unsigned& part : parts) part = votes;
    });
}
inline int __any_sync(unsigned mask, int vote, emulator::Site site = emulator::Site::here()) {
    return __ballot_sync(mask, vote, site) != 0;
}
inline int __all_sync(unsigned mask, int vote, emulator::Site site = emulator::Site::here()) {
    return __ballot_sync(mask, vote, site) == ~0u;
}

// Atomics: blocks run on several threads of the host.

inline int atomicAdd(int* at, int value) { return __atomic_fetch_add(at, value, __ATOMIC_RELAXED); }
inline unsigned atomicAdd(unsigned* at, unsigned value) { return __atomic_fetch_add(at, value, __ATOMIC_RELAXED); }
template <class T>
T atomicMax(T* at, T value) {
    T old = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (old < value && !__atomic_compare_exchange_n(at, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return old;
}
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// Arithmetic that C++ does not have, or not by this name.

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned((uint64_t(x) * y) >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
template <class T> T __ldg(const T* at) { return *at; }

namespace emulator {
template <class To, class From>
To bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "sizes differ");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
}  // namespace emulator
inline float __int_as_float(int x) { return emulator::bits<float>(x); }
inline int __float_as_int(float x) { return emulator::bits<int>(x); }
inline float __uint_as_float(unsigned x) { return emulator::bits<float>(x); }
inline unsigned __float_as_uint(float x) { return emulator::bits<unsigned>(x); }

inline int min(int x, int y) { return x < y ? x : y; }
inline int max(int x, int y) { return x < y ? y : x; }
inline unsigned min(unsigned x, unsigned y) { return x < y ? x : y; }
inline unsigned max(unsigned x, unsigned y) { return x < y ? y : x; }
inline long long min(long long x, long long y) { return x < y ? x : y; }
inline long long max(long long x, long long y) { return x < y ? y : x; }
inline float min(float x, float y) { return std::fmin(x, y); }
inline float max(float x, float y) { return std::fmax(x, y); }

// Entry points, by name, with cuLaunchKernel's convention: an array of pointers to the arguments.

namespace emulator {

template <class T>
constexpr char letter() {
    // Of the classes only the tensor map is passed.
    constexpr bool map = std::is_class<T>::value && sizeof(T) == 128 && alignof(T) == 64;
    static_assert(!std::is_same<T, bool>::value && (map || !std::is_class<T>::value), "no launch passes this");
    return map                                           ? 't'
           : std::is_pointer<T>::value                   ? 'p'
           : std::is_same<T, float>::value               ? 'f'
           : std::is_same<T, double>::value              ? 'd'
           : std::is_integral<T>::value && sizeof(T) == 4 ? 'i'
           : std::is_integral<T>::value && sizeof(T) == 8 ? 'u'
                                                          : '?';
}

template <auto kernel>
struct Export;
template <class... Parameters, void (*kernel)(Parameters...)>
struct Export<kernel> {
    static constexpr char signature[] = {letter<Parameters>()..., '\0'};
    template <size_t... I>
    static void call(void** arguments, std::index_sequence<I...>) {
        kernel(*static_cast<std::remove_const_t<Parameters>*>(arguments[I])...);
    }
    static void entry(void** arguments) { call(arguments, std::index_sequence_for<Parameters...>{}); }
};

}  // namespace emulator

#define EXPORT_KERNEL(name) EXPORT_CLUSTERS(name, 1)
// The same for a kernel whose __cluster_dims__ are (cluster, 1, 1).
#define EXPORT_CLUSTERS(name, cluster)                                                                                   \
    static const emulator::Registration name##_registration(#name, emulator::Export<&name>::signature,                   \
                                                            emulator::Export<&name>::entry, cluster);
