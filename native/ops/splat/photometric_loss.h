// Photometric loss of a rendered picture and its gradient in one call (Kerbl et al. 2023, "3D Gaussian Splatting for
// Real-Time Radiance Field Rendering", eq. 7; SSIM of Wang et al. 2004, eq. 13):
//   L = (1 - w) mean|x - y| + w (1 - mean SSIM(x, y)),   x = mask * image,  y = mask * target
// SSIM per channel with an 11x11 Gaussian window K (sigma 1.5, sum 1), zeros beyond the border, dynamic range 1:
//   A1 = 2 mx my + C1    A2 = 2 cov(x, y) + C2    B1 = mx^2 + my^2 + C1    B2 = var x + var y + C2    S = A1 A2 / (B1 B2)
//   mx = K*x, my = K*y, var x + var y = K*(x^2 + y^2) - mx^2 - my^2, cov = K*(x y) - mx my, C1 = 0.01^2, C2 = 0.03^2
// Gradient: with g1 = 2 my A2 / (B1 B2) - 2 mx S / B1, g2 = -S / B2, g3 = 2 A1 / (B1 B2),
//   dL/dimage = mask / n [(1 - w) sign(x - y) - w (K*(g1 - 2 mx g2 - my g3) + 2 x (K*g2) + y (K*g3))],  sign(0) = 0
// Both means are over all n = 3 H W elements, masked ones included (there x = y = 0, so |x - y| = 0; S = 1 a window away).
//   image, target f32 [3, H, W] · mask f32 [H, W] or absent · w = ssim_weight in [0, 1]
//   -> terms f32 [2] (mean |x - y|, mean SSIM), d_image f32 [3, H, W]; without pixels the terms are (0, 1)
// A NaN of a picture reaches both terms and the gradients up to 2 * 5 pixels away, also where the mask is 0.
// Precision: f32 filters, f64 sums. Bits do not depend on the number of threads. Tolerances against float64
// (test/native/photometric_loss.test.cc), relative to the largest element: terms 2.9e-7, d_image 5.1e-6; where nothing varies,
// and the difference in a variance cancels, 3.3e-6 and 1.2e-5.
// Bytes: 3 words per element on the CPU, which works in strips that stay in cache; 11 on CUDA (3 gradient maps written once and
// read once). FLOPs: 270 per element, not counting halos.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

inline constexpr int kSsimRadius = 5;
inline constexpr float kSsimC1 = 0.01f * 0.01f, kSsimC2 = 0.03f * 0.03f;

struct PhotometricLossArgs {
  const float* image;
  const float* target;
  const float* mask;  // may be null
  float* terms;
  float* d_image;
  float* maps;      // CUDA only: [3, planes, height, width], the gradient maps before their filter
  double* partial;  // [parts, 2]: sums of |x - y| and of S, one part per row on the CPU, per tile on CUDA
  int64_t planes, height, width;
  float ssim_weight;
};

// Parts of the sums, in the order in which they are added.
int64_t photometric_loss_parts(bool cuda, int64_t planes, int64_t height, int64_t width);

void photometric_loss_cpu(const PhotometricLossArgs& args);
#if RL_WITH_CUDA
void photometric_loss_cuda(const PhotometricLossArgs& args, cudaStream_t stream);
#endif

// -> [terms, d_image]
std::vector<Tensor> photometric_loss(const Tensor& image, const Tensor& target, const Tensor& mask, double ssim_weight);

}  // namespace rl
