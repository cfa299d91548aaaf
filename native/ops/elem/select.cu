#include "native/backend/cuda/types.cuh"
#include "native/ops/elem/select.h"

namespace rl {

namespace {

template <class T>
__global__ void select_kernel(const T* __restrict__ mask, const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ y,
                              int64_t count) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x)
    y[i] = to_f32(mask[i]) != 0 ? a[i] : b[i];
}

}  // namespace

void select_cuda(const SelectArgs& args, cudaStream_t stream) {
  RL_DISPATCH_CUDA(args.dtype, T, {
    select_kernel<T><<<grid_for(args.count, 256), 256, 0, stream>>>(static_cast<const T*>(args.mask), static_cast<const T*>(args.a),
                                                                  static_cast<const T*>(args.b), static_cast<T*>(args.y), args.count);
  });
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
