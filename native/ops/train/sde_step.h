// One step of a flow sampler as a Gaussian transition that is linear in its inputs, with its log-probability:
//   mean = from_sample x + from_velocity v          next = mean + std noise
//   log_prob[b] = constant - weight/2 mean_d (next - mean)^2
// Which coefficients make it Flow-SDE (Flow-GRPO, arXiv 2505.05470), CPS (2509.05952), Dance-SDE or an Euler step is
// decided by the caller (src/tensor/ops/train.ts). Without noise, `next` is given and only scored (replay of a rollout).
// Backward, with `next` constant for the log-probability:
//   g = dmean + dnext + dlog_prob[b] weight (next - mean) / D,   dvelocity = from_velocity g,   dsample = from_sample g
// Shapes: sample, velocity, noise, next, mean [B, ...] f32, D elements each; log_prob [B] f32.
// Precision: f64 per element, one rounding; log_prob uses the rounded next and mean, so that a replay with the same
// velocity gives the same bits. Sums in f64 in a fixed order.
// Tolerance (test/native/sde_step.test.cc): 7.1e-8 of the largest value.
// Bytes: 3 reads and 2 writes of the sample. FLOPs: 8 per element.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct SdeStepArgs {
  const float* sample;
  const float* velocity;
  const float* noise;  // null in a replay
  float* next;         // written from noise, or read in a replay; null for neither
  float* mean;
  float* log_prob;     // [batch], null when there is none
  double* partial;     // [batch, chunks]
  int64_t batch, dim, chunks;
  double from_sample, from_velocity, std, weight, constant;
};

struct SdeStepBwdArgs {
  const float* dnext;      // null where no gradient comes in
  const float* dmean;
  const float* dlog_prob;
  const float* next;       // null when dlog_prob is
  const float* mean;
  float* dsample;          // null when not wanted
  float* dvelocity;
  int64_t batch, dim;
  double from_sample, from_velocity, weight;
};

inline constexpr int64_t kSdeChunk = 4096;  // elements summed as one; fixed, so that the bits are

void sde_step_cpu(const SdeStepArgs& args);
void sde_step_bwd_cpu(const SdeStepBwdArgs& args);
#if RL_WITH_CUDA
void sde_step_cuda(const SdeStepArgs& args, cudaStream_t stream);
void sde_step_bwd_cuda(const SdeStepBwdArgs& args, cudaStream_t stream);
#endif

// -> [next (absent in a replay), mean, log_prob (absent unless scored)]. With neither noise nor next, next = mean.
std::vector<Tensor> sde_step(const Tensor& sample, const Tensor& velocity, const Tensor& noise, const Tensor& next,
                             double from_sample, double from_velocity, double std, double weight, double constant,
                             bool score);
// -> [dsample, dvelocity], absent unless needed.
std::vector<Tensor> sde_step_bwd(const Tensor& dnext, const Tensor& dmean, const Tensor& dlog_prob, const Tensor& next,
                                 const Tensor& mean, double from_sample, double from_velocity, double weight,
                                 bool need_sample, bool need_velocity);

}  // namespace rl
