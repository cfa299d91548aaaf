#include "native/ops/splat/mcmc_noise.h"

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

void mcmc_noise_cpu(const McmcNoiseArgs& a) {
  ThreadPool::instance().parallel_for(a.count, 256, [&](int64_t begin, int64_t end) {
    float draws[4], z[3];
    bool drawn = false;
    for (int64_t i = begin; i < end; ++i) {
      for (int k = 0; k < 3; ++k) {
        const uint64_t number = a.offset + static_cast<uint64_t>(3 * i + k);
        if (!drawn || number % 4 == 0) philox_normal4(a.seed, 0, number / 4, draws);
        drawn = true;
        z[k] = draws[number % 4];
      }
      add_mcmc_noise(a, i, z);
    }
  });
}

std::vector<Tensor> mcmc_noise(const Tensor& means, const Tensor& quats, const Tensor& log_scales,
                               const Tensor& opacity_logits, double noise_rate, int64_t seed, int64_t offset) {
  const char* op = "mcmc_noise";
  check_dtype(op, "means", means, DType::f32);
  RL_CHECK(means.rank() == 2 && means.size(1) == 3, code::kShape, "mcmc_noise: expected means [N,3], got ", means.shape());
  const int64_t count = means.size(0);
  check_shape(op, "quats", quats, {count, 4}, means);
  check_shape(op, "log_scales", log_scales, {count, 3}, means);
  check_shape(op, "opacity_logits", opacity_logits, {count}, means);
  check_like(op, "quats", quats, means);
  check_like(op, "log_scales", log_scales, means);
  check_like(op, "opacity_logits", opacity_logits, means);
  RL_CHECK(noise_rate >= 0, code::kConfig, "mcmc_noise: noise_rate must not be negative, got ", noise_rate);
  RL_CHECK(seed >= 0 && offset >= 0, code::kConfig, "mcmc_noise: seed ", seed, " and offset ", offset, " must not be negative");
  if (count == 0) return {};
  const McmcNoiseArgs args{means.as<float>(), quats.as<float>(), log_scales.as<float>(), opacity_logits.as<float>(), count,
                           noise_rate, static_cast<uint64_t>(seed), static_cast<uint64_t>(offset)};
  RL_LAUNCH(means.device(), "mcmc_noise", mcmc_noise_cpu(args), mcmc_noise_cuda(args, cuda_stream(means.device())));
  return {};
}

RL_OP(mcmc_noise);

}  // namespace rl
