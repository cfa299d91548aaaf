// Group normalisation (Wu & He 2018), optionally followed by SiLU in the same pass.
//
//   x       [B, C, ...]  f32 or bf16; each group is C / groups channels with all their pixels
//   weight  [C], bias [C]   same dtype as x
//   y       [B, C, ...]
//   z = (x − mean) · rstd · weight[c] + bias[c],  rstd = 1/sqrt(var + eps), var over the group (not unbiased);  y = z
//   or z·sigmoid(z)
// Forward also returns stats f32 [B, groups, 2] = (mean, rstd), which backward reads.
// Backward, with dz = dy · silu'(z) or dy, g = dz · weight, x̂ = (x − mean) rstd:
//   dx = rstd (g − mean(g) − x̂ mean(g x̂)),  dweight[c] = Σ dz x̂,  dbias[c] = Σ dz
//
// Precision: f32 vector sums added up in f64 every few hundred elements (CPU), f32 tree (CUDA); one rounding to the
// output type.
// Tolerance: see test/native/group_norm.test.cc (measured worst × 1.05).
// Bytes: 2 · numel · size (the group is read again from cache).   FLOPs: about 7 per element forward, 14 backward.
#pragma once

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct GroupNormArgs {
  const void* x;
  const void* weight;
  const void* bias;
  void* y;
  float* stats;
  float* partial;  // [2, B, C] scratch of CUDA: mean and squared deviations of each channel
  int64_t batch, channels, pixels, groups;
  double eps;
  bool silu;
  DType dtype;
};

struct GroupNormBwdArgs {
  const void* dy;
  const void* x;
  const void* weight;
  const void* bias;
  const float* stats;
  void* dx;
  void* dweight;   // null when not wanted, with dbias
  void* dbias;
  float* partial;  // [2, B, C]: Σ dz x̂ and Σ dz
  int64_t batch, channels, pixels, groups;
  bool silu;
  DType dtype;
};

void group_norm_cpu(const GroupNormArgs& a);
void group_norm_bwd_cpu(const GroupNormBwdArgs& a);
#if RL_WITH_CUDA
void group_norm_cuda(const GroupNormArgs& a, cudaStream_t stream);
void group_norm_bwd_cuda(const GroupNormBwdArgs& a, cudaStream_t stream);
#endif

// -> [y, stats]
std::vector<Tensor> group_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t groups, double eps,
    bool silu);
// -> [dx, dweight, dbias], the last two absent when not needed.
std::vector<Tensor> group_norm_bwd(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& bias,
                                   const Tensor& stats, int64_t groups, bool silu, bool need_dweight);

}  // namespace rl
