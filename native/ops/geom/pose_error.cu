#include "native/backend/cuda/types.cuh"
#include "native/ops/geom/pose_error.h"
#include "native/ops/geom/pose_pair.h"

namespace rl {

namespace {

__global__ void pose_error_kernel(PoseErrorArgs a) {
  for (int64_t p = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; p < a.count; p += int64_t{gridDim.x} * blockDim.x) {
    const int64_t i = a.pairs[2 * p], j = a.pairs[2 * p + 1];
    if (i < 0 || i >= a.views || j < 0 || j >= a.views) {
      a.rotation_deg[p] = a.translation_deg[p] = nanf("");
      continue;
    }
    const RelativePose estimate = relative_pose(a.estimate + 12 * i, a.estimate + 12 * j);
    const RelativePose reference = relative_pose(a.reference + 12 * i, a.reference + 12 * j);
    a.rotation_deg[p] = static_cast<float>(rotation_error_deg(estimate, reference));
    a.translation_deg[p] = static_cast<float>(translation_error_deg(estimate, reference, a.ignore_sign));
  }
}

}  // namespace

void pose_error_cuda(const PoseErrorArgs& args, cudaStream_t stream) {
  pose_error_kernel<<<grid_for(args.count, 64), 64, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
