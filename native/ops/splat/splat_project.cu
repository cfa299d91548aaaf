#include "native/backend/cuda/types.cuh"
#include "native/ops/splat/projection.h"
#include "native/ops/splat/splat_project.h"

namespace rl {

namespace {

constexpr unsigned kThreads = 128;

template <int degree>
__global__ void splat_project_kernel(SplatProjectArgs a) {
  __shared__ SplatCamera cam;
  if (threadIdx.x == 0) cam = splat_camera(a.camera, a.width, a.height, a.near);
  __syncthreads();
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < a.count; i += int64_t{gridDim.x} * kThreads) {
    const float* mean = a.means + 3 * i;
    const float* rest = a.sh_rest + 3 * a.rest * i;
    const float scale[3] = {expf(a.log_scales[3 * i]), expf(a.log_scales[3 * i + 1]), expf(a.log_scales[3 * i + 2])};
    const float opacity = 1 / (1 + expf(-a.opacity_logits[i])), gain = 255 * opacity;
    float direction[3], basis[sh_count(degree)], colour[3], out[kProjectedColumns];
    splat_direction(cam, mean, direction);
    sh_basis<degree>(direction[0], direction[1], direction[2], basis);
    for (int c = 0; c < 3; ++c) colour[c] = 0.5f + basis[0] * a.sh0[3 * i + c];
#pragma unroll
    for (int k = 1; k < sh_count(degree); ++k)
      for (int c = 0; c < 3; ++c) colour[c] += basis[k] * rest[3 * (k - 1) + c];
    const float log_gain = gain > 1 ? 2 * logf(gain) : 0.0f;
    const bool visible = splat_project_one(cam, mean, a.quats + 4 * i, scale, opacity, log_gain, colour, out);
    for (int c = 0; c < kProjectedColumns; ++c) a.projected[kProjectedColumns * i + c] = visible ? out[c] : 0.0f;
  }
}

}  // namespace

void splat_project_cuda(const SplatProjectArgs& args, cudaStream_t stream) {
  const unsigned grid = grid_for(args.count, kThreads);
  switch (args.degree) {
    case 0: splat_project_kernel<0><<<grid, kThreads, 0, stream>>>(args); break;
    case 1: splat_project_kernel<1><<<grid, kThreads, 0, stream>>>(args); break;
    case 2: splat_project_kernel<2><<<grid, kThreads, 0, stream>>>(args); break;
    default: splat_project_kernel<3><<<grid, kThreads, 0, stream>>>(args); break;
  }
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
