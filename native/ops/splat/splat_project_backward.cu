#include "native/backend/cuda/types.cuh"
#include "native/ops/splat/projection.h"
#include "native/ops/splat/splat_project_backward.h"

namespace rl {

namespace {

constexpr unsigned kThreads = 128;

template <int degree>
__global__ void splat_project_backward_kernel(SplatProjectBackwardArgs args) {
  const SplatProjectArgs& a = args.forward;
  __shared__ SplatCamera cam;
  if (threadIdx.x == 0) cam = splat_camera(a.camera, a.width, a.height, a.near);
  __syncthreads();
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < a.count; i += int64_t{gridDim.x} * kThreads) {
    const float* projected = a.projected + kProjectedColumns * i;
    const float* d = args.d_projected + kProjectedGradientColumns * i;
    const float* mean = a.means + 3 * i;
    const float* rest = a.sh_rest + 3 * a.rest * i;
    float* d_rest = args.d_sh_rest + 3 * a.rest * i;
    const bool visible = projected[10] > 0;
    float d_colour[3], direction[3], d_direction[3], basis[sh_count(degree)], weight[sh_count(degree)];
    for (int c = 0; c < 3; ++c) d_colour[c] = visible && projected[6 + c] > 0 ? d[6 + c] : 0.0f;
    splat_direction(cam, mean, direction);
    sh_basis<degree>(direction[0], direction[1], direction[2], basis);
    for (int c = 0; c < 3; ++c) args.d_sh0[3 * i + c] = kSh0 * d_colour[c];
#pragma unroll
    for (int k = 1; k < sh_count(degree); ++k) {
      weight[k] = rest[3 * k - 3] * d_colour[0] + rest[3 * k - 2] * d_colour[1] + rest[3 * k - 1] * d_colour[2];
      for (int c = 0; c < 3; ++c) d_rest[3 * (k - 1) + c] = visible ? basis[k] * d_colour[c] : 0.0f;
    }
    for (int64_t k = 3 * (sh_count(degree) - 1); k < 3 * a.rest; ++k) d_rest[k] = 0;
    sh_direction_gradient<degree>(direction[0], direction[1], direction[2], weight, d_direction);

    // o (1 - o) from exp(-|logit|): 1 - o of a nearly opaque Gaussian would cancel.
    const float e = expf(-fabsf(a.opacity_logits[i]));
    args.d_opacity_logits[i] = visible ? e / ((1 + e) * (1 + e)) * d[5] : 0.0f;
    const float scale[3] = {expf(a.log_scales[3 * i]), expf(a.log_scales[3 * i + 1]), expf(a.log_scales[3 * i + 2])};
    float d_mean[3], d_quat[4], d_log_scale[3];
    splat_shape_backward<double>(cam, mean, a.quats + 4 * i, scale, d, d_direction, d_mean, d_quat, d_log_scale);
    for (int c = 0; c < 3; ++c) args.d_means[3 * i + c] = visible ? d_mean[c] : 0.0f;
    for (int c = 0; c < 4; ++c) args.d_quats[4 * i + c] = visible ? d_quat[c] : 0.0f;
    for (int c = 0; c < 3; ++c) args.d_log_scales[3 * i + c] = visible ? d_log_scale[c] : 0.0f;
  }
}

}  // namespace

void splat_project_backward_cuda(const SplatProjectBackwardArgs& args, cudaStream_t stream) {
  const unsigned grid = grid_for(args.forward.count, kThreads);
  switch (args.forward.degree) {
    case 0: splat_project_backward_kernel<0><<<grid, kThreads, 0, stream>>>(args); break;
    case 1: splat_project_backward_kernel<1><<<grid, kThreads, 0, stream>>>(args); break;
    case 2: splat_project_backward_kernel<2><<<grid, kThreads, 0, stream>>>(args); break;
    default: splat_project_backward_kernel<3><<<grid, kThreads, 0, stream>>>(args); break;
  }
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
