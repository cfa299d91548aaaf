// Gradient of splat_project (formula, shapes and errors there; Kerbl et al. 2023, appendix A, rederived with the exact
// branches) by every parameter, from the gradient by columns 0-9 of `projected`; extents carry none.
//   d_projected f32 [N,10] -> [d_means [N,3], d_quats [N,4], d_log_scales [N,3], d_opacity_logits [N], d_sh0 [N,3],
//   d_sh_rest [N,R,3]]
// With G' = -Q G Q (Q the conic matrix, G = [[dA, dB/2], [dB/2, dC]]), N = J W R diag(s), dN = 2 G' N:
//   d_log_scale_j = n1_j dn1_j + n2_j dn2_j             d_quat = (I - q q^T) dR/dq / |q|, orthogonal to q
//   d_mean = W^T d(x, y, z) + (I - d d^T) / |mu - centre| sum_k grad Y_k (sh_k . d_colour)
//   d_sh_k = Y_k d_colour                               d_opacity_logit = o (1 - o) d_opacity
// Where the Jacobian's clamp holds x/z, only the 1/z of its entry moves. A colour clamped at 0 passes no gradient. A
// culled Gaussian (columns 10 and 11 of `projected` are 0) gets zeros, as do coefficients beyond `degree`.
// `projected` must be the result of splat_project for the same arguments.
// Precision: geometry in f64 inside (in f32 nothing is left of d_log_scale along a splat 300 px long and 0.5 px
// wide, which is then off by some 1000 times itself), colour in f32.
// Tolerance against float64 differences (test/native/splat_project.test.cc), of a gradient's largest value: 3.83e-7
// (sh_rest), others 1.62e-7; times 3 on CUDA. The gradient along those long thin splats: 3.1e-5 of itself.
// Bytes: 4 (2 (14 + 3 R) + 22) a Gaussian (560 at degree 3). FLOPs: 620 a Gaussian, 6, 37, 137 or 335 more for degree 0 to 3.
#pragma once

#include <vector>

#include "native/ops/splat/splat_project.h"

namespace rl {

struct SplatProjectBackwardArgs {
  SplatProjectArgs forward;  // its `projected` is read
  const float* d_projected;
  float* d_means;
  float* d_quats;
  float* d_log_scales;
  float* d_opacity_logits;
  float* d_sh0;
  float* d_sh_rest;
};

void splat_project_backward_cpu(const SplatProjectBackwardArgs& args);
#if RL_WITH_CUDA
void splat_project_backward_cuda(const SplatProjectBackwardArgs& args, cudaStream_t stream);
#endif

std::vector<Tensor> splat_project_backward(const Tensor& means, const Tensor& quats, const Tensor& log_scales,
                                           const Tensor& opacity_logits, const Tensor& sh0, const Tensor& sh_rest,
                                           const Tensor& camera, int64_t width, int64_t height, int64_t degree, double near,
                                           const Tensor& projected, const Tensor& d_projected);

}  // namespace rl
