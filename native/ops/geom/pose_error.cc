#include "native/ops/geom/pose_error.h"

#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/geom/pose_pair.h"
#include "native/ops/registry.h"

namespace rl {

void pose_error_cpu(const PoseErrorArgs& a) {
  for (int64_t p = 0; p < a.count; ++p) {
    const int64_t i = a.pairs[2 * p], j = a.pairs[2 * p + 1];
    RL_CHECK(i >= 0 && i < a.views && j >= 0 && j < a.views, code::kShape, "pose_error: pairs[", p, "] is (", i, ", ", j,
             "), expected views in [0, ", a.views, ")");
    const RelativePose estimate = relative_pose(a.estimate + 12 * i, a.estimate + 12 * j);
    const RelativePose reference = relative_pose(a.reference + 12 * i, a.reference + 12 * j);
    a.rotation_deg[p] = static_cast<float>(rotation_error_deg(estimate, reference));
    a.translation_deg[p] = static_cast<float>(translation_error_deg(estimate, reference, a.ignore_sign));
  }
}

std::vector<Tensor> pose_error(const Tensor& estimate, const Tensor& reference, const Tensor& pairs,
                               bool ignore_sign) {
  check_dtype("pose_error", "estimate", estimate, DType::f32);
  RL_CHECK(estimate.rank() == 3 && estimate.size(1) == 3 && estimate.size(2) == 4, code::kShape,
           "pose_error: expected estimate [V,3,4], got ", estimate.shape());
  check_shape("pose_error", "reference", reference, estimate.shape(), estimate);
  check_like("pose_error", "reference", reference, estimate);
  check_dtype("pose_error", "pairs", pairs, DType::i32);
  RL_CHECK(pairs.rank() == 2 && pairs.size(1) == 2, code::kShape, "pose_error: expected pairs [P,2], got ", pairs.shape());
  RL_CHECK(&pairs.device() == &estimate.device(), code::kShape, "pose_error: pairs are on ", pairs.device().name(),
           " but estimate is on ", estimate.device().name());
  Device& device = estimate.device();
  Tensor rotation = Tensor::empty(device, {pairs.size(0)}), translation = Tensor::empty(device, {pairs.size(0)});
  const PoseErrorArgs args{estimate.as<float>(), reference.as<float>(), pairs.as<int32_t>(), rotation.as<float>(),
                           translation.as<float>(), estimate.size(0), pairs.size(0), ignore_sign};
  if (args.count > 0) RL_LAUNCH(device, "pose_error", pose_error_cpu(args), pose_error_cuda(args, cuda_stream(device)));
  return {rotation, translation};
}

RL_OP(pose_error);

}  // namespace rl
