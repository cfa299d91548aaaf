// Opacity and scales of a Gaussian that is replaced by N copies of itself at its place, so that the copies together render
// like the original (Kheradmand et al. 2024, "3D Gaussian Splatting as Markov Chain Monte Carlo", eq. 9):
//   o' = 1 - (1 - o)^(1/N)
//   s' = s o / D,   D = sum_{i=1..N} sum_{k=0..i-1} C(i-1, k) (-1)^k o'^(k+1) / sqrt(k+1)
// Summed over i first: D = sum_{k=1..N} C(N, k) (-1)^(k-1) o'^k / sqrt(k), as C(0, k) + .. + C(N-1, k) = C(N, k+1).
//   opacities f32 [N] (activated), scales f32 [N, 3] (activated), copies i32 [N] in 1..51
//   -> new opacities f32 [N], new scales f32 [N, 3]
// One copy changes nothing, nor does opacity 0 or less. Opacities are cut at 1 - 2^-24, where D loses no digits that f32
// would show. NaN gives NaN. copies outside 1..51 fail with ERR_CONFIG when the command runs on the CPU; on CUDA the
// results are NaN. Moments of the optimiser are the caller's to reset.
// Precision: f64 before one rounding. Tolerance against the double sum in long double (test/native/mcmc.test.cc): 5.9e-8.
// Bytes: 9 words per Gaussian. FLOPs: about 8 N for N copies, and two transcendental functions.
#pragma once

#include <vector>

#include "native/core/rng.h"
#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

inline constexpr int kMaxCopies = 51;

struct McmcRelocationArgs {
  const float* opacities;
  const float* scales;
  const int32_t* copies;
  float* new_opacities;
  float* new_scales;
  int64_t count;
};

// New opacity of one Gaussian, and the factor of its scales.
RL_HOST_DEVICE inline double relocated(double opacity, int copies, double* factor) {
  *factor = 1;
  if (copies == 1 || opacity <= 0) return opacity;
  if (opacity > 1 - 0x1p-24) opacity = 1 - 0x1p-24;
  const double fresh = -expm1(log1p(-opacity) / copies);
  double sum = 0, term = -1;  // C(N, k) (-1)^(k-1) o'^k
  for (int k = 1; k <= copies; ++k) {
    term *= -fresh * (copies - k + 1) / k;
    sum += term / sqrt(static_cast<double>(k));
  }
  *factor = opacity / sum;
  return fresh;
}

RL_HOST_DEVICE inline void relocate_gaussian(const McmcRelocationArgs& a, int64_t i) {
  double factor;
  a.new_opacities[i] = static_cast<float>(relocated(a.opacities[i], a.copies[i], &factor));
  for (int k = 0; k < 3; ++k) a.new_scales[3 * i + k] = static_cast<float>(a.scales[3 * i + k] * factor);
}

void mcmc_relocation_cpu(const McmcRelocationArgs& args);
#if RL_WITH_CUDA
void mcmc_relocation_cuda(const McmcRelocationArgs& args, cudaStream_t stream);
#endif

// -> [new opacities, new scales]
std::vector<Tensor> mcmc_relocation(const Tensor& opacities, const Tensor& scales, const Tensor& copies);

}  // namespace rl
