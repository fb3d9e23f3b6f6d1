// Kernels for the emulator's own tests: what it must notice, and what it must allow.
#include "tensor_cores.h"

// y[0] = the sum of x over the block, through shared memory. With `skip` the barrier is left out.
extern "C" __global__ void fault_block_sum(const float* x, float* y, int skip) {
    SHARED(float, parts, 128);
    parts[threadIdx.x] = x[threadIdx.x];
    if (!skip) __syncthreads();
    if (threadIdx.x == 0) {
        float sum = 0.0f;
        for (unsigned i = 0; i < blockDim.x; i++) sum += parts[i];
        y[0] = sum;
    }
}
EXPORT_KERNEL(fault_block_sum)

// Threads from `stay` on leave; the others meet at a barrier.
extern "C" __global__ void fault_early_exit(float* y, int stay) {
    if (int(threadIdx.x) >= stay) return;
    __syncthreads();
    y[threadIdx.x] = float(threadIdx.x);
}
EXPORT_KERNEL(fault_early_exit)

// Half of the lanes of a warp shuffle, the other half wait at the barrier.
extern "C" __global__ void fault_deadlock(float* y) {
    float value = float(threadIdx.x);
    if (threadIdx.x % 2 == 0) value = __shfl_xor_sync(~0u, value, 1);
    __syncthreads();
    y[threadIdx.x] = value;
}
EXPORT_KERNEL(fault_deadlock)

// The lanes of a warp meet at two different shuffles.
extern "C" __global__ void fault_divergence(float* y) {
    float value = float(threadIdx.x);
    if (threadIdx.x % 2 == 0)
        value = __shfl_xor_sync(~0u, value, 2);
    else
        value = __shfl_xor_sync(~0u, value, 4);
    y[threadIdx.x] = value;
}
EXPORT_KERNEL(fault_divergence)

// Thread `who` writes byte `at` of dynamic shared memory.
extern "C" __global__ void fault_shared_write(int who, int at) {
    SHARED_DYNAMIC(bytes);
    if (int(threadIdx.x) == who) bytes[at] = 1;
}
EXPORT_KERNEL(fault_shared_write)

// Each thread writes element `first + thread` of y.
extern "C" __global__ void fault_global_write(float* y, int first) { y[first + int(threadIdx.x)] = 1.0f; }
EXPORT_KERNEL(fault_global_write)

// y = what the block's shared memory holds at first.
extern "C" __global__ void fault_uninitialised(float* y) {
    SHARED_DYNAMIC(bytes);
    y[threadIdx.x] = reinterpret_cast<float*>(bytes)[threadIdx.x];
}
EXPORT_KERNEL(fault_uninitialised)

// y = x through an asynchronous copy of 4 floats by each thread. With `early` the result is read before the wait.
extern "C" __global__ void fault_copy(const float* x, float* y, int early) {
    SHARED_DYNAMIC(bytes);
    float* tile = reinterpret_cast<float*>(bytes);
    const unsigned at = 4 * threadIdx.x;
    copy_async(tile + at, x + at, true);
    copy_commit();
    if (!early) copy_wait<0>();
    for (unsigned i = at; i < at + 4; i++) y[i] = tile[i];
    if (early) copy_wait<0>();
}
EXPORT_KERNEL(fault_copy)

// y = the order in which the threads of the block ran, one at a time.
extern "C" __global__ void fault_order(int* y, int* counter) { y[threadIdx.x] = atomicAdd(counter, 1); }
EXPORT_KERNEL(fault_order)
