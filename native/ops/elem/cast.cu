#include "native/backend/cuda/types.cuh"
#include "native/ops/elem/cast.h"

namespace rl {

namespace {

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float widen(int32_t x) { return __int2float_rn(x); }
__device__ __forceinline__ float widen(uint8_t x) { return static_cast<float>(x); }

template <class From, class To>
__global__ void cast_kernel(const From* __restrict__ x, To* __restrict__ y, int64_t count) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x)
    y[i] = from_f32<To>(widen(x[i]));
}

template <class From>
void run(const CastArgs& args, cudaStream_t stream) {
  RL_DISPATCH_CUDA(args.to, To, {
    cast_kernel<From, To><<<grid_for(args.count, 256), 256, 0, stream>>>(static_cast<const From*>(args.x),
                                                                       static_cast<To*>(args.y), args.count);
  });
  RL_CUDA(cudaGetLastError());
}

}  // namespace

void cast_cuda(const CastArgs& args, cudaStream_t stream) {
  switch (args.from) {
    case DType::f32: return run<float>(args, stream);
    case DType::bf16: return run<__nv_bfloat16>(args, stream);
    case DType::i32: return run<int32_t>(args, stream);
    default: return run<uint8_t>(args, stream);
  }
}

}  // namespace rl
