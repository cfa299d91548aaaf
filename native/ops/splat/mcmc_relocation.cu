#include "native/backend/cuda/types.cuh"
#include "native/ops/splat/mcmc_relocation.h"

namespace rl {

namespace {

__global__ void mcmc_relocation_kernel(McmcRelocationArgs a) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < a.count; i += int64_t{gridDim.x} * blockDim.x) {
    if (a.copies[i] >= 1 && a.copies[i] <= kMaxCopies) {
      relocate_gaussian(a, i);
      continue;
    }
    a.new_opacities[i] = nanf("");
    for (int k = 0; k < 3; ++k) a.new_scales[3 * i + k] = nanf("");
  }
}

}  // namespace

void mcmc_relocation_cuda(const McmcRelocationArgs& args, cudaStream_t stream) {
  mcmc_relocation_kernel<<<grid_for(args.count, 128), 128, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
