// Projection of 3D Gaussians to 2D: Kerbl et al. 2023 ("3D Gaussian splatting", section 4), the projected covariance of
// Zwicker et al. 2001 ("EWA splatting", equations 24 to 31), per Gaussian with scale s = exp(log_scale), opacity
// o = sigmoid(logit), rotation R(q / |q|):
//   (x, y, z) = W mu + T                                u = fx x/z + cx        v = fy y/z + cy
//   [[a, b], [b, c]] = J W R diag(s)^2 R^T W^T J^T + 0.3 I        J = [[fx/z, 0, -fx rx/z], [0, fy/z, -fy ry/z]]
//   rx = x/z clamped to [-(cx + 0.15 width)/fx, (width - cx + 0.15 width)/fx], ry alike (keeps splats beside the picture sane)
//   conic (A, B, C) = (c, -b, a) / (a c - b^2)
//   colour = max(0, 1/2 + sum_k Y_k(d) sh_k)            d = (mu - camera centre) / |mu - camera centre|, world axes
//   half width = max(1, ceil(k sqrt a)), half height = max(1, ceil(k sqrt c)), k = sqrt(2 ln(255 o)): alpha < 1/255 beyond
//   means [N,3] · quats [N,4] (w, x, y, z), any length · log_scales [N,3] · opacity_logits [N] · sh0 [N,3] ·
//   sh_rest [N,R,3], R in {0, 3, 8, 15} coefficients after the first, coefficient outer, R >= (degree + 1)^2 - 1 ·
//   camera [16] = (fx, fy, cx, cy, worldToCam 3x4 row-major) with fx, fy > 0 and W orthonormal; all f32
//   -> projected f32 [N,12]: u, v, A, B, C, opacity, r, g, b, z, half width, half height
// Axes are OpenCV (x right, y down, z forward), pixel centres lie at +0.5. All 12 columns are 0 for a culled Gaussian:
// z <= near, opacity < 1/255, extent outside the picture, |q|^2 outside [1e-30, 1e30] or anything that is not finite
// in f32 (inputs, camera, covariance: s fx/z beyond some 1e9 pixels). Nothing of a culled Gaussian reaches another one.
// degree 0 to 3. Errors: ERR_SHAPE for shapes, dtypes and devices, ERR_CONFIG for degree, near and picture size.
// Precision: f32; W mu + T and the view direction's difference in f64; the determinant is |n1 x n2|^2 + 0.3 trace + 0.09
// (projection.h), which long thin splats do not cancel.
// Tolerance against float64 (test/native/splat_project.test.cc), of a column's largest value: 2.46e-6 (B), others 7.7e-7;
// times 3 on CUDA. The extents may differ by one where k sqrt a is within 2e-6 of a whole number.
// Bytes: 4 (14 + 3 R + 12) a Gaussian (284 at degree 3). FLOPs: 290 a Gaussian, 12, 41, 88 or 176 more for degree 0 to 3.
#pragma once

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct SplatProjectArgs {
  const float* means;
  const float* quats;
  const float* log_scales;
  const float* opacity_logits;
  const float* sh0;
  const float* sh_rest;
  const float* camera;
  float* projected;
  int64_t count, rest;  // N, R
  int64_t width, height;
  int degree;
  float near;
};

void splat_project_cpu(const SplatProjectArgs& args);
#if RL_WITH_CUDA
void splat_project_cuda(const SplatProjectArgs& args, cudaStream_t stream);
#endif

// Throws what splat_project and splat_project_backward (named by `op`) refuse, and fills everything but `projected`.
SplatProjectArgs check_splat_project(const char* op, const Tensor& means, const Tensor& quats, const Tensor& log_scales,
                                     const Tensor& opacity_logits, const Tensor& sh0, const Tensor& sh_rest,
                                     const Tensor& camera, int64_t width, int64_t height, int64_t degree, double near);

Tensor splat_project(const Tensor& means, const Tensor& quats, const Tensor& log_scales, const Tensor& opacity_logits,
                     const Tensor& sh0, const Tensor& sh_rest, const Tensor& camera, int64_t width, int64_t height,
                     int64_t degree, double near);

}  // namespace rl
