#include "native/backend/cuda/types.cuh"
#include "native/ops/splat/mcmc_noise.h"

namespace rl {

namespace {

// One Gaussian per thread; its three draws lie in one or two Philox blocks.
__global__ void mcmc_noise_kernel(McmcNoiseArgs a) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < a.count; i += int64_t{gridDim.x} * blockDim.x) {
    const uint64_t first = a.offset + static_cast<uint64_t>(3 * i);
    float z[3] = {}, draws[4];
    for (uint64_t block = first / 4; block <= (first + 2) / 4; ++block) {
      philox_normal4(a.seed, 0, block, draws);
#pragma unroll
      for (int k = 0; k < 3; ++k)
#pragma unroll
        for (int d = 0; d < 4; ++d)
          if (first + k == 4 * block + d) z[k] = draws[d];
    }
    add_mcmc_noise(a, i, z);
  }
}

}  // namespace

void mcmc_noise_cuda(const McmcNoiseArgs& args, cudaStream_t stream) {
  mcmc_noise_kernel<<<grid_for(args.count, 128), 128, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
