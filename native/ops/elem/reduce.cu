#include "native/backend/cuda/types.cuh"
#include "native/ops/elem/reduce.h"

namespace rl {

namespace {

enum class Fold { sum, squares, max };

template <Fold kFold>
__device__ __forceinline__ float start() { return kFold == Fold::max ? -INFINITY : 0.0f; }

template <Fold kFold, class Number>
__device__ __forceinline__ Number combine(Number a, Number b) {
  if constexpr (kFold == Fold::max) return a < b || b != b ? b : a;
  return a + b;
}

template <Fold kFold>
__device__ __forceinline__ float fold(float a, float v) {
  if constexpr (kFold == Fold::squares) return fmaf(v, v, a);
  return combine<kFold>(a, v);
}

template <Fold kFold>
__device__ __forceinline__ float warp_fold(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = combine<kFold>(value, __shfl_xor_sync(0xFFFFFFFFu, value, offset));
  return value;
}

// A chunk of a contiguous run per block.
template <Fold kFold, class T>
__global__ void run_kernel(const T* __restrict__ x, double* __restrict__ partial, int64_t tasks, int64_t count, int64_t chunks,
                           int64_t chunk_rows) {
  __shared__ float warps[32];
  for (int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
    const int64_t first = task % chunks * chunk_rows, last = min(count, first + chunk_rows);
    const T* row = x + task / chunks * count;
    float value = start<kFold>();
    for (int64_t i = first + threadIdx.x; i < last; i += blockDim.x) value = fold<kFold>(value, to_f32(row[i]));
    value = warp_fold<kFold>(value);
    __syncthreads();  // the block's previous task may still be reading
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x == 0) {
      double sum = warps[0];
      for (unsigned w = 1; w < blockDim.x / 32; ++w) sum = combine<kFold>(sum, static_cast<double>(warps[w]));
      partial[task] = sum;
    }
  }
}

// A chunk of rows of one column per thread; neighbours read neighbouring columns.
template <Fold kFold, class T>
__global__ void columns_kernel(const T* __restrict__ x, double* __restrict__ partial, int64_t outer, int64_t count, int64_t inner,
                               int64_t chunks, int64_t chunk_rows) {
  const int64_t total = outer * chunks * inner;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total; i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t column = i % inner, chunk = i / inner % chunks, o = i / inner / chunks;
    const int64_t first = chunk * chunk_rows, last = min(count, first + chunk_rows);
    const T* source = x + o * count * inner + column;
    float value = start<kFold>();
    for (int64_t r = first; r < last; ++r) value = fold<kFold>(value, to_f32(source[r * inner]));
    partial[i] = value;
  }
}

template <Fold kFold, class T>
__global__ void combine_kernel(const double* __restrict__ partial, T* __restrict__ out, int64_t outer, int64_t chunks,
                               int64_t inner, double scale) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < outer * inner; i += int64_t{gridDim.x} * blockDim.x) {
    const double* source = partial + i / inner * chunks * inner + i % inner;
    double value = start<kFold>();
    for (int64_t chunk = 0; chunk < chunks; ++chunk) value = combine<kFold>(value, source[chunk * inner]);
    out[i] = from_f32<T>(static_cast<float>(value * scale));
  }
}

template <Fold kFold>
void run(const ReduceArgs& a, cudaStream_t stream) {
  RL_DISPATCH_CUDA(a.in_dtype, T, {
    const T* x = static_cast<const T*>(a.x);
    if (a.inner == 1) {
      const int64_t tasks = a.outer * a.chunks;
      run_kernel<kFold, T><<<grid_for(tasks, 1), row_threads(min(a.count, a.chunk_rows)), 0, stream>>>(
          x, a.partial, tasks, a.count, a.chunks, a.chunk_rows);
    } else {
      columns_kernel<kFold, T><<<grid_for(a.outer * a.chunks * a.inner, 128), 128, 0, stream>>>(
          x, a.partial, a.outer, a.count, a.inner, a.chunks, a.chunk_rows);
    }
  });
  RL_CUDA(cudaGetLastError());
  RL_DISPATCH_CUDA(a.out_dtype, T, {
    combine_kernel<kFold, T><<<grid_for(a.outer * a.inner, 128), 128, 0, stream>>>(a.partial, static_cast<T*>(a.out), a.outer,
                                                                                a.chunks, a.inner, a.scale);
  });
  RL_CUDA(cudaGetLastError());
}

}  // namespace

void reduce_cuda(const ReduceArgs& args, cudaStream_t stream) {
  switch (args.kind) {
    case ReduceKind::max: return run<Fold::max>(args, stream);
    case ReduceKind::sum_squares: return run<Fold::squares>(args, stream);
    default: return run<Fold::sum>(args, stream);
  }
}

}  // namespace rl
