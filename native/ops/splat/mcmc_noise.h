// Noise on the means of a Gaussian splat, in place: what makes its training a Langevin sampler (Kheradmand et al. 2024, "3D
// Gaussian Splatting as Markov Chain Monte Carlo", the exploration term of its SGLD update; k = 100, t = 0.995 there):
//   mean += noise_rate * sigmoid(-100 (o - 0.005)) * Sigma z,   o = sigmoid(opacity_logit),   z ~ N(0, I)
//   Sigma = R diag(exp(log_scale))^2 R^T,   R of the normalised quaternion (w, x, y, z)
// Transparent Gaussians wander within their own extent, opaque ones stay. The paper has noise_rate = 5e5 * (rate of the means).
// Gaussian i takes draws offset + 3 i .. + 2 of the sequence (seed, stream 0) of native/core/rng.h, those of
// randn(x [N, 3], seed, 0, offset): the same for every backend and number of threads.
// A Gaussian whose noise is not finite (zero quaternion, NaN, overflow) keeps its mean.
//   means f32 [N, 3], quats f32 [N, 4], log_scales f32 [N, 3], opacity_logits f32 [N] · integers seed, offset in [0, 2^53]
// Precision: f64 before one rounding. Tolerance against float64 (test/native/mcmc.test.cc): 5.8e-8 of the largest mean.
// Bytes: 14 words per Gaussian (11 read, 3 written). FLOPs: 80 and three normal draws per Gaussian.
#pragma once

#include <vector>

#include "native/core/rng.h"
#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct McmcNoiseArgs {
  float* means;
  const float* quats;
  const float* log_scales;
  const float* opacity_logits;
  int64_t count;
  double noise_rate;
  uint64_t seed, offset;
};

// Adds the noise of Gaussian i, made from the standard normals z[3].
RL_HOST_DEVICE inline void add_mcmc_noise(const McmcNoiseArgs& a, int64_t i, const float z[3]) {
  const float* q = a.quats + 4 * i;
  const double w0 = q[0], x0 = q[1], y0 = q[2], z0 = q[3], norm = sqrt(w0 * w0 + x0 * x0 + y0 * y0 + z0 * z0);
  const double w = w0 / norm, x = x0 / norm, y = y0 / norm, v = z0 / norm;
  const double r[3][3] = {{1 - 2 * (y * y + v * v), 2 * (x * y - w * v), 2 * (x * v + w * y)},
                          {2 * (x * y + w * v), 1 - 2 * (x * x + v * v), 2 * (y * v - w * x)},
                          {2 * (x * v - w * y), 2 * (y * v + w * x), 1 - 2 * (x * x + y * y)}};
  const double opacity = 1 / (1 + exp(-static_cast<double>(a.opacity_logits[i])));
  const double rate = a.noise_rate / (1 + exp(100 * (opacity - 0.005)));
  double local[3];  // along the axes of the Gaussian
  for (int j = 0; j < 3; ++j)
    local[j] = rate * exp(2 * static_cast<double>(a.log_scales[3 * i + j])) * (r[0][j] * z[0] + r[1][j] * z[1] + r[2][j] * z[2]);
  float moved[3];
  bool finite = true;
  for (int k = 0; k < 3; ++k) {
    const double noise = r[k][0] * local[0] + r[k][1] * local[1] + r[k][2] * local[2];
    moved[k] = static_cast<float>(a.means[3 * i + k] + noise);
    finite = finite && moved[k] - moved[k] == 0;
  }
  if (!finite) return;
  for (int k = 0; k < 3; ++k) a.means[3 * i + k] = moved[k];
}

void mcmc_noise_cpu(const McmcNoiseArgs& args);
#if RL_WITH_CUDA
void mcmc_noise_cuda(const McmcNoiseArgs& args, cudaStream_t stream);
#endif

std::vector<Tensor> mcmc_noise(const Tensor& means, const Tensor& quats, const Tensor& log_scales,
                               const Tensor& opacity_logits, double noise_rate, int64_t seed, int64_t offset);

}  // namespace rl
