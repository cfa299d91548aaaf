#include "native/backend/cuda/types.cuh"
#include "native/ops/train/adamw.h"

namespace rl {

namespace {

__global__ void adamw_kernel(AdamwArgs a) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < a.count; i += int64_t{gridDim.x} * blockDim.x) {
    const float g = a.grad[i];
    const float m = a.beta1 * a.m[i] + a.fresh1 * g;
    const float v = a.beta2 * a.v[i] + a.fresh2 * g * g;
    a.m[i] = m;
    a.v[i] = v;
    a.param[i] = a.param[i] * a.keep - a.rate * m / (sqrtf(v) * a.correction + a.eps);
  }
}

}  // namespace

void adamw_cuda(const AdamwArgs& args, cudaStream_t stream) {
  adamw_kernel<<<grid_for(args.count, 256), 256, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
