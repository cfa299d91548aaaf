#include "native/backend/cuda/types.cuh"
#include "native/ops/splat/densify_stats.h"

namespace rl {

namespace {

__global__ void densify_stats_kernel(DensifyStatsArgs a) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < a.count; i += int64_t{gridDim.x} * blockDim.x)
    add_densify_stats(a, i);
}

}  // namespace

void densify_stats_cuda(const DensifyStatsArgs& args, cudaStream_t stream) {
  densify_stats_kernel<<<grid_for(args.count, 256), 256, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
