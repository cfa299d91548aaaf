#include "native/ops/splat/mcmc_relocation.h"

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

void mcmc_relocation_cpu(const McmcRelocationArgs& a) {
  ThreadPool::instance().parallel_for(a.count, 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      RL_CHECK(a.copies[i] >= 1 && a.copies[i] <= kMaxCopies, code::kConfig, "mcmc_relocation: copies[", i, "] is ",
               a.copies[i], ", expected 1 to ", kMaxCopies);
      relocate_gaussian(a, i);
    }
  });
}

std::vector<Tensor> mcmc_relocation(const Tensor& opacities, const Tensor& scales, const Tensor& copies) {
  const char* op = "mcmc_relocation";
  check_dtype(op, "opacities", opacities, DType::f32);
  check_rank(op, "opacities", opacities, 1);
  const int64_t count = opacities.size(0);
  check_shape(op, "scales", scales, {count, 3}, opacities);
  check_like(op, "scales", scales, opacities);
  check_dtype(op, "copies", copies, DType::i32);
  check_shape(op, "copies", copies, {count}, opacities);
  check_device(op, "copies", copies, opacities);
  Device& device = opacities.device();
  Tensor new_opacities = Tensor::empty(device, {count}), new_scales = Tensor::empty(device, {count, 3});
  const McmcRelocationArgs args{opacities.as<float>(), scales.as<float>(), copies.as<int32_t>(), new_opacities.as<float>(),
                                new_scales.as<float>(), count};
  if (count > 0)
    RL_LAUNCH(device, "mcmc_relocation", mcmc_relocation_cpu(args), mcmc_relocation_cuda(args, cuda_stream(device)));
  return {new_opacities, new_scales};
}

RL_OP(mcmc_relocation);

}  // namespace rl
