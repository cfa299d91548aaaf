#include "native/ops/train/sde_step.h"

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

// Elements [first, last) of sample b; returns Σ (next - mean)^2.
double step_chunk(const SdeStepArgs& a, int64_t first, int64_t last) {
  double sum = 0;
  for (int64_t i = first; i < last; ++i) {
    const float mean = static_cast<float>(a.from_sample * a.sample[i] + a.from_velocity * a.velocity[i]);
    a.mean[i] = mean;
    float next = mean;
    if (a.noise != nullptr) {
      next = static_cast<float>(mean + a.std * a.noise[i]);
      a.next[i] = next;
    } else if (a.next != nullptr) {
      next = a.next[i];
    }
    const double error = static_cast<double>(next) - mean;
    sum += error * error;
  }
  return sum;
}

}  // namespace

void sde_step_cpu(const SdeStepArgs& a) {
  ThreadPool::instance().parallel_for(a.batch * a.chunks, 2, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / a.chunks, chunk = task % a.chunks;
      a.partial[task] = step_chunk(a, b * a.dim + chunk * kSdeChunk, b * a.dim + std::min(a.dim, (chunk + 1) * kSdeChunk));
    }
  });
  if (a.log_prob == nullptr) return;
  for (int64_t b = 0; b < a.batch; ++b) {
    double sum = 0;
    for (int64_t chunk = 0; chunk < a.chunks; ++chunk) sum += a.partial[b * a.chunks + chunk];
    a.log_prob[b] = static_cast<float>(a.constant - 0.5 * a.weight * (sum / static_cast<double>(a.dim)));
  }
}

void sde_step_bwd_cpu(const SdeStepBwdArgs& a) {
  ThreadPool::instance().parallel_for(a.batch * a.dim, 8192, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double g = 0;
      if (a.dnext != nullptr) g += a.dnext[i];
      if (a.dmean != nullptr) g += a.dmean[i];
      if (a.dlog_prob != nullptr)
        g += a.dlog_prob[i / a.dim] * (a.weight / static_cast<double>(a.dim)) * (static_cast<double>(a.next[i]) - a.mean[i]);
      if (a.dsample != nullptr) a.dsample[i] = static_cast<float>(a.from_sample * g);
      if (a.dvelocity != nullptr) a.dvelocity[i] = static_cast<float>(a.from_velocity * g);
    }
  });
}

namespace {

void check_operand(const char* op, const char* name, const Tensor& tensor, const Tensor& sample) {
  if (!tensor) return;
  check_shape(op, name, tensor, sample.shape(), sample);
  check_like(op, name, tensor, sample);
}

}  // namespace

std::vector<Tensor> sde_step(const Tensor& sample, const Tensor& velocity, const Tensor& noise, const Tensor& next,
                             double from_sample, double from_velocity, double std, double weight, double constant,
                             bool score) {
  check_dtype("sde_step", "sample", sample, DType::f32);
  check_defined("sde_step", "velocity", velocity);
  RL_CHECK(sample.rank() >= 1, code::kShape, "sde_step: sample must have a batch dimension");
  check_operand("sde_step", "velocity", velocity, sample);
  check_operand("sde_step", "noise", noise, sample);
  check_operand("sde_step", "next", next, sample);
  RL_CHECK(!(noise && next), code::kConfig, "sde_step: give noise to draw the next sample or next to score one, not both");
  RL_CHECK(!score || noise || next, code::kConfig, "sde_step: a step without noise has no log-probability");
  Device& device = sample.device();
  const int64_t batch = sample.size(0), dim = sample.shape().numel(1, sample.rank());
  const int64_t chunks = std::max<int64_t>(1, (dim + kSdeChunk - 1) / kSdeChunk);
  Tensor mean = Tensor::empty(device, sample.shape()), drawn, log_prob;
  if (noise) drawn = Tensor::empty(device, sample.shape());
  if (score) log_prob = Tensor::empty(device, {batch});
  Tensor partial = Tensor::empty(device, {batch, chunks}, DType::f64);
  const SdeStepArgs args{sample.as<float>(), velocity.as<float>(), noise.as<float>(),
                         noise ? drawn.as<float>() : next.as<float>(), mean.as<float>(), log_prob.as<float>(),
                         partial.as<double>(), batch, dim, chunks, from_sample, from_velocity, std, weight, constant};
  if (batch > 0)
    RL_LAUNCH(device, "sde_step", sde_step_cpu(args), sde_step_cuda(args, cuda_stream(device)));
  if (!noise && !next) drawn = mean;
  return {drawn, mean, log_prob};
}

std::vector<Tensor> sde_step_bwd(const Tensor& dnext, const Tensor& dmean, const Tensor& dlog_prob, const Tensor& next,
                                 const Tensor& mean, double from_sample, double from_velocity, double weight,
                                 bool need_sample, bool need_velocity) {
  check_dtype("sde_step_bwd", "mean", mean, DType::f32);
  RL_CHECK(mean.rank() >= 1, code::kShape, "sde_step_bwd: mean must have a batch dimension");
  check_operand("sde_step_bwd", "dnext", dnext, mean);
  check_operand("sde_step_bwd", "dmean", dmean, mean);
  check_operand("sde_step_bwd", "next", next, mean);
  if (dlog_prob) {
    check_defined("sde_step_bwd", "next", next);
    check_shape("sde_step_bwd", "dlog_prob", dlog_prob, {mean.size(0)}, mean);
    check_like("sde_step_bwd", "dlog_prob", dlog_prob, mean);
  }
  Device& device = mean.device();
  Tensor dsample, dvelocity;
  if (need_sample) dsample = Tensor::empty(device, mean.shape());
  if (need_velocity) dvelocity = Tensor::empty(device, mean.shape());
  const SdeStepBwdArgs args{dnext.as<float>(), dmean.as<float>(), dlog_prob.as<float>(), next.as<float>(),
                            mean.as<float>(), dsample.as<float>(), dvelocity.as<float>(), mean.size(0),
                            mean.shape().numel(1, mean.rank()), from_sample, from_velocity, weight};
  if (mean.numel() > 0)
    RL_LAUNCH(device, "sde_step_bwd", sde_step_bwd_cpu(args), sde_step_bwd_cuda(args, cuda_stream(device)));
  return {dsample, dvelocity};
}

RL_OP(sde_step);
RL_OP(sde_step_bwd);

}  // namespace rl
