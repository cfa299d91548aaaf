#include "native/backend/cuda/types.cuh"
#include "native/ops/elem/fill.h"

namespace rl {

namespace {

template <class T>
__global__ void fill_kernel(T* __restrict__ x, int64_t count, T value) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) x[i] = value;
}

template <class T>
void launch(const FillArgs& args, T value, cudaStream_t stream) {
  fill_kernel<T><<<grid_for(args.count, 256), 256, 0, stream>>>(static_cast<T*>(args.x), args.count, value);
  RL_CUDA(cudaGetLastError());
}

}  // namespace

void fill_cuda(const FillArgs& args, cudaStream_t stream) {
  switch (args.dtype) {
    case DType::f32: return launch(args, static_cast<float>(args.value), stream);
    case DType::bf16: return launch(args, __float2bfloat16_rn(static_cast<float>(args.value)), stream);
    case DType::i32: return launch(args, static_cast<int32_t>(args.value), stream);
    default: return launch(args, static_cast<uint8_t>(args.value), stream);
  }
}

}  // namespace rl
