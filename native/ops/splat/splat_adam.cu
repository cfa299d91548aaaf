#include "native/backend/cuda/types.cuh"
#include "native/ops/splat/splat_adam.h"

namespace rl {

namespace {

__global__ void splat_adam_kernel(SplatAdamArgs a) {
  const int64_t count = a.rows * a.dim;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    const float g = a.grad[i];
    const float m = a.beta1 * a.m[i] + a.fresh1 * g;
    const float v = a.beta2 * a.v[i] + a.fresh2 * g * g;
    a.m[i] = m;
    a.v[i] = v;
    const float scale = a.row_scale == nullptr ? 1.0f : a.row_scale[i / a.dim];
    if (scale != 0) a.param[i] -= scale * (a.rate * m / (sqrtf(v) * a.correction + a.eps));
  }
}

}  // namespace

void splat_adam_cuda(const SplatAdamArgs& args, cudaStream_t stream) {
  splat_adam_kernel<<<grid_for(args.rows * args.dim, 256), 256, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
