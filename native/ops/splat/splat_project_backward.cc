#include "native/ops/splat/splat_project_backward.h"

#include <algorithm>
#include <cmath>

#include "native/backend/cpu/vec_math.h"
#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

// As in splat_project.cc.
#pragma GCC optimize("no-trapping-math")

#include "native/ops/splat/projection.h"

namespace rl {

namespace {

constexpr int kLanes = 16;  // Gaussians side by side, field-major

struct Block {
  float mean[3][kLanes], quat[4][kLanes], scale[3][kLanes], slope[kLanes];
  float visible[kLanes];
  float d[kProjectedGradientColumns][kLanes];
  float d_colour[3][kLanes];        // 0 where clamped or culled
  float weight[16][kLanes];         // sh_k . d_colour
  float basis[16][kLanes];
  float d_mean[3][kLanes], d_quat[4][kLanes], d_log_scale[3][kLanes];
};

template <int degree>
inline __attribute__((always_inline)) void gather(const SplatProjectBackwardArgs& args, int64_t first, int lanes,
                                                  Block& block) {
  const SplatProjectArgs& a = args.forward;
  for (int l = 0; l < kLanes; ++l) block.visible[l] = 0;
  for (int l = 0; l < lanes; ++l) {
    const int64_t i = first + l;
    const float* projected = a.projected + kProjectedColumns * i;
    const float* d = args.d_projected + kProjectedGradientColumns * i;
    const bool visible = projected[10] > 0;
    block.visible[l] = visible ? 1.0f : 0.0f;
    for (int c = 0; c < 3; ++c) block.mean[c][l] = a.means[3 * i + c];
    for (int c = 0; c < 4; ++c) block.quat[c][l] = a.quats[4 * i + c];
    for (int c = 0; c < 3; ++c) block.scale[c][l] = a.log_scales[3 * i + c];
    block.slope[l] = -std::fabs(a.opacity_logits[i]);
    for (int c = 0; c < kProjectedGradientColumns; ++c) block.d[c][l] = d[c];
    float d_colour[3];
    for (int c = 0; c < 3; ++c) {
      d_colour[c] = visible && projected[6 + c] > 0 ? d[6 + c] : 0.0f;
      block.d_colour[c][l] = d_colour[c];
    }
    const float* rest = a.sh_rest + 3 * a.rest * i;
    for (int k = 1; k < sh_count(degree); ++k)
      block.weight[k][l] = rest[3 * k - 3] * d_colour[0] + rest[3 * k - 2] * d_colour[1] + rest[3 * k - 1] * d_colour[2];
  }
  for (int c = 0; c < 3; ++c) cpu::vexp(block.scale[c], block.scale[c], kLanes);
  // o (1 - o) from exp(-|logit|): 1 - o of a nearly opaque Gaussian would cancel.
  cpu::vexp(block.slope, block.slope, kLanes);
  for (int l = 0; l < kLanes; ++l) block.slope[l] /= (1 + block.slope[l]) * (1 + block.slope[l]);
}

template <int degree>
inline __attribute__((always_inline)) void backward_lanes(const SplatCamera& cam, Block& block) {
  for (int l = 0; l < kLanes; ++l) {
    const float mean[3] = {block.mean[0][l], block.mean[1][l], block.mean[2][l]};
    float direction[3], basis[sh_count(degree)];
    splat_direction(cam, mean, direction);
    sh_basis<degree>(direction[0], direction[1], direction[2], basis);
    for (int k = 0; k < sh_count(degree); ++k) block.basis[k][l] = basis[k];
  }
  for (int l = 0; l < kLanes; ++l) {
    const float mean[3] = {block.mean[0][l], block.mean[1][l], block.mean[2][l]};
    const float quat[4] = {block.quat[0][l], block.quat[1][l], block.quat[2][l], block.quat[3][l]};
    const float scale[3] = {block.scale[0][l], block.scale[1][l], block.scale[2][l]};
    float direction[3], d_direction[3], weight[sh_count(degree)], d[kProjectedGradientColumns];
    float d_mean[3], d_quat[4], d_log_scale[3];
    splat_direction(cam, mean, direction);
    for (int k = 1; k < sh_count(degree); ++k) weight[k] = block.weight[k][l];
    sh_direction_gradient<degree>(direction[0], direction[1], direction[2], weight, d_direction);
    for (int c = 0; c < kProjectedGradientColumns; ++c) d[c] = block.d[c][l];
    splat_shape_backward<double>(cam, mean, quat, scale, d, d_direction, d_mean, d_quat, d_log_scale);
    for (int c = 0; c < 3; ++c) block.d_mean[c][l] = d_mean[c];
    for (int c = 0; c < 4; ++c) block.d_quat[c][l] = d_quat[c];
    for (int c = 0; c < 3; ++c) block.d_log_scale[c][l] = d_log_scale[c];
  }
}

template <int degree>
inline __attribute__((always_inline)) void scatter(const SplatProjectBackwardArgs& args, int64_t first, int lanes,
                                                   const Block& block) {
  for (int l = 0; l < lanes; ++l) {
    const int64_t i = first + l;
    const bool visible = block.visible[l] > 0;
    for (int c = 0; c < 3; ++c) args.d_means[3 * i + c] = visible ? block.d_mean[c][l] : 0.0f;
    for (int c = 0; c < 4; ++c) args.d_quats[4 * i + c] = visible ? block.d_quat[c][l] : 0.0f;
    for (int c = 0; c < 3; ++c) args.d_log_scales[3 * i + c] = visible ? block.d_log_scale[c][l] : 0.0f;
    args.d_opacity_logits[i] = visible ? block.slope[l] * block.d[5][l] : 0.0f;
    for (int c = 0; c < 3; ++c) args.d_sh0[3 * i + c] = kSh0 * block.d_colour[c][l];
    float* rest = args.d_sh_rest + 3 * args.forward.rest * i;
    for (int k = 1; k < sh_count(degree); ++k)
      for (int c = 0; c < 3; ++c) rest[3 * (k - 1) + c] = visible ? block.basis[k][l] * block.d_colour[c][l] : 0.0f;
    for (int64_t k = 3 * (sh_count(degree) - 1); k < 3 * args.forward.rest; ++k) rest[k] = 0;
  }
}

template <int degree>
inline __attribute__((always_inline)) void backward_range(const SplatProjectBackwardArgs& args, int64_t begin, int64_t end) {
  const SplatProjectArgs& a = args.forward;
  const SplatCamera cam = splat_camera(a.camera, a.width, a.height, a.near);
  Block block{};
  for (int64_t first = begin; first < end; first += kLanes) {
    const int lanes = static_cast<int>(std::min<int64_t>(kLanes, end - first));
    gather<degree>(args, first, lanes, block);
    backward_lanes<degree>(cam, block);
    scatter<degree>(args, first, lanes, block);
  }
}

using Args = SplatProjectBackwardArgs;
RL_VECTORIZED void backward_degree0(const Args& args, int64_t begin, int64_t end) { backward_range<0>(args, begin, end); }
RL_VECTORIZED void backward_degree1(const Args& args, int64_t begin, int64_t end) { backward_range<1>(args, begin, end); }
RL_VECTORIZED void backward_degree2(const Args& args, int64_t begin, int64_t end) { backward_range<2>(args, begin, end); }
RL_VECTORIZED void backward_degree3(const Args& args, int64_t begin, int64_t end) { backward_range<3>(args, begin, end); }

}  // namespace

void splat_project_backward_cpu(const SplatProjectBackwardArgs& args) {
  using Body = void (*)(const SplatProjectBackwardArgs&, int64_t, int64_t);
  static const Body bodies[] = {backward_degree0, backward_degree1, backward_degree2, backward_degree3};
  const Body body = bodies[args.forward.degree];
  const int64_t count = args.forward.count, blocks = (count + kLanes - 1) / kLanes;
  ThreadPool::instance().parallel_for(blocks, 16, [&](int64_t begin, int64_t end) {
    body(args, begin * kLanes, std::min(end * kLanes, count));
  });
}

std::vector<Tensor> splat_project_backward(const Tensor& means, const Tensor& quats, const Tensor& log_scales,
                                           const Tensor& opacity_logits, const Tensor& sh0, const Tensor& sh_rest,
                                           const Tensor& camera, int64_t width, int64_t height, int64_t degree, double near,
                                           const Tensor& projected, const Tensor& d_projected) {
  constexpr const char* op = "splat_project_backward";
  SplatProjectArgs forward =
      check_splat_project(op, means, quats, log_scales, opacity_logits, sh0, sh_rest, camera, width, height, degree, near);
  check_dtype(op, "projected", projected, DType::f32);
  RL_CHECK(projected.shape() == Shape({forward.count, kProjectedColumns}), code::kShape, op, ": expected projected [",
           forward.count, ",", kProjectedColumns, "], got ", projected.shape());
  check_dtype(op, "d_projected", d_projected, DType::f32);
  RL_CHECK(d_projected.shape() == Shape({forward.count, kProjectedGradientColumns}), code::kShape, op,
           ": expected d_projected [", forward.count, ",", kProjectedGradientColumns, "], got ", d_projected.shape());
  check_device(op, "projected", projected, means);
  check_device(op, "d_projected", d_projected, means);
  forward.projected = projected.as<float>();

  Device& device = means.device();
  std::vector<Tensor> out;
  for (const Tensor* like : {&means, &quats, &log_scales, &opacity_logits, &sh0, &sh_rest})
    out.push_back(Tensor::empty(device, like->shape()));
  const SplatProjectBackwardArgs args{forward, d_projected.as<float>(), out[0].as<float>(), out[1].as<float>(),
                                      out[2].as<float>(), out[3].as<float>(), out[4].as<float>(), out[5].as<float>()};
  if (forward.count > 0)
    RL_LAUNCH(device, op, splat_project_backward_cpu(args), splat_project_backward_cuda(args, cuda_stream(device)));
  return out;
}

RL_OP(splat_project_backward);

}  // namespace rl
