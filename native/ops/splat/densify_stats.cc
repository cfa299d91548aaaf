#include "native/ops/splat/densify_stats.h"

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

void densify_stats_cpu(const DensifyStatsArgs& a) {
  ThreadPool::instance().parallel_for(a.count, 2048, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) add_densify_stats(a, i);
  });
}

std::vector<Tensor> densify_stats(const Tensor& projected, const Tensor& d_projected, const Tensor& gradient_sums,
                                  const Tensor& view_counts, int64_t width, int64_t height) {
  const char* op = "densify_stats";
  check_dtype(op, "projected", projected, DType::f32);
  RL_CHECK(projected.rank() == 2 && projected.size(1) == 12, code::kShape, "densify_stats: expected projected [N,12], got ",
           projected.shape());
  const int64_t count = projected.size(0);
  check_shape(op, "d_projected", d_projected, {count, 10}, projected);
  check_shape(op, "gradient_sums", gradient_sums, {count}, projected);
  check_shape(op, "view_counts", view_counts, {count}, projected);
  check_like(op, "d_projected", d_projected, projected);
  check_like(op, "gradient_sums", gradient_sums, projected);
  check_like(op, "view_counts", view_counts, projected);
  RL_CHECK(width > 0 && height > 0, code::kConfig, "densify_stats: the picture is ", width, "x", height,
           ", expected positive sizes");
  if (count == 0) return {};
  const DensifyStatsArgs args{projected.as<float>(), d_projected.as<float>(), gradient_sums.as<float>(),
                              view_counts.as<float>(), count, static_cast<float>(0.5 * static_cast<double>(width)),
                              static_cast<float>(0.5 * static_cast<double>(height))};
  RL_LAUNCH(projected.device(), "densify_stats", densify_stats_cpu(args), densify_stats_cuda(args, cuda_stream(projected.device())));
  return {};
}

RL_OP(densify_stats);

}  // namespace rl
