#include "native/ops/splat/splat_project.h"

#include <algorithm>
#include <cmath>

#include "native/backend/cpu/vec_math.h"
#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

// Selections and roundings become vector instructions only so. Before projection.h: what is to be inlined must have
// been compiled with the same options.
#pragma GCC optimize("no-trapping-math")

#include "native/ops/splat/projection.h"

namespace rl {

namespace {

constexpr int kLanes = 16;  // Gaussians side by side, field-major

struct Block {
  float mean[3][kLanes], quat[4][kLanes], scale[3][kLanes], opacity[kLanes], log_gain[kLanes];
  float sh[16][3][kLanes];
  float out[kProjectedColumns][kLanes], visible[kLanes];
};

// Copies `lanes` Gaussians from `first` on; the lanes behind them are zero, which is culled.
template <int degree>
inline __attribute__((always_inline)) void gather(const SplatProjectArgs& a, int64_t first, int lanes, Block& block) {
  for (int l = 0; l < lanes; ++l) {
    const int64_t i = first + l;
    for (int c = 0; c < 3; ++c) block.mean[c][l] = a.means[3 * i + c];
    for (int c = 0; c < 4; ++c) block.quat[c][l] = a.quats[4 * i + c];
    for (int c = 0; c < 3; ++c) block.scale[c][l] = a.log_scales[3 * i + c];
    block.opacity[l] = a.opacity_logits[i];
    for (int c = 0; c < 3; ++c) block.sh[0][c][l] = a.sh0[3 * i + c];
    const float* rest = a.sh_rest + 3 * a.rest * i;
    for (int k = 1; k < sh_count(degree); ++k)
      for (int c = 0; c < 3; ++c) block.sh[k][c][l] = rest[3 * (k - 1) + c];
  }
  for (int c = 0; c < 3; ++c) cpu::vexp(block.scale[c], block.scale[c], kLanes);
  cpu::vsigmoid(block.opacity, block.opacity, kLanes);
  for (int l = 0; l < lanes; ++l) {
    const float gain = 255 * block.opacity[l];
    block.log_gain[l] = gain > 1 ? 2 * std::log(gain) : 0;
  }
}

template <int degree>
inline __attribute__((always_inline)) void project_lanes(const SplatCamera& cam, Block& block) {
  for (int l = 0; l < kLanes; ++l) {
    const float mean[3] = {block.mean[0][l], block.mean[1][l], block.mean[2][l]};
    const float quat[4] = {block.quat[0][l], block.quat[1][l], block.quat[2][l], block.quat[3][l]};
    const float scale[3] = {block.scale[0][l], block.scale[1][l], block.scale[2][l]};
    float direction[3], basis[sh_count(degree)], colour[3] = {0.5f, 0.5f, 0.5f}, out[kProjectedColumns];
    splat_direction(cam, mean, direction);
    sh_basis<degree>(direction[0], direction[1], direction[2], basis);
    for (int k = 0; k < sh_count(degree); ++k)
      for (int c = 0; c < 3; ++c) colour[c] += basis[k] * block.sh[k][c][l];
    const bool visible = splat_project_one(cam, mean, quat, scale, block.opacity[l], block.log_gain[l], colour, out);
    block.visible[l] = visible ? 1.0f : 0.0f;
    for (int c = 0; c < kProjectedColumns; ++c) block.out[c][l] = out[c];
  }
}

template <int degree>
inline __attribute__((always_inline)) void project_range(const SplatProjectArgs& a, int64_t begin, int64_t end) {
  const SplatCamera cam = splat_camera(a.camera, a.width, a.height, a.near);
  Block block{};
  for (int64_t first = begin; first < end; first += kLanes) {
    const int lanes = static_cast<int>(std::min<int64_t>(kLanes, end - first));
    gather<degree>(a, first, lanes, block);
    project_lanes<degree>(cam, block);
    float* out = a.projected + first * kProjectedColumns;
    for (int l = 0; l < lanes; ++l)
      for (int c = 0; c < kProjectedColumns; ++c) out[l * kProjectedColumns + c] = block.visible[l] > 0 ? block.out[c][l] : 0.0f;
  }
}

RL_VECTORIZED void project_degree0(const SplatProjectArgs& a, int64_t begin, int64_t end) { project_range<0>(a, begin, end); }
RL_VECTORIZED void project_degree1(const SplatProjectArgs& a, int64_t begin, int64_t end) { project_range<1>(a, begin, end); }
RL_VECTORIZED void project_degree2(const SplatProjectArgs& a, int64_t begin, int64_t end) { project_range<2>(a, begin, end); }
RL_VECTORIZED void project_degree3(const SplatProjectArgs& a, int64_t begin, int64_t end) { project_range<3>(a, begin, end); }

}  // namespace

void splat_project_cpu(const SplatProjectArgs& args) {
  using Body = void (*)(const SplatProjectArgs&, int64_t, int64_t);
  static const Body bodies[] = {project_degree0, project_degree1, project_degree2, project_degree3};
  const Body body = bodies[args.degree];
  // Ranges are whole blocks, so that a Gaussian meets the same code whatever the number of threads.
  const int64_t blocks = (args.count + kLanes - 1) / kLanes;
  ThreadPool::instance().parallel_for(blocks, 32, [&](int64_t begin, int64_t end) {
    body(args, begin * kLanes, std::min(end * kLanes, args.count));
  });
}

SplatProjectArgs check_splat_project(const char* op, const Tensor& means, const Tensor& quats, const Tensor& log_scales,
                                     const Tensor& opacity_logits, const Tensor& sh0, const Tensor& sh_rest,
                                     const Tensor& camera, int64_t width, int64_t height, int64_t degree, double near) {
  check_dtype(op, "means", means, DType::f32);
  RL_CHECK(means.rank() == 2 && means.size(1) == 3, code::kShape, op, ": expected means [N,3], got ", means.shape());
  const int64_t count = means.size(0);
  const auto check = [&](const char* name, const Tensor& tensor, const Shape& shape) {
    check_dtype(op, name, tensor, DType::f32);
    RL_CHECK(tensor.shape() == shape, code::kShape, op, ": expected ", name, " ", shape, ", got ", tensor.shape(),
             " (means is ", means.shape(), ")");
    RL_CHECK(&tensor.device() == &means.device(), code::kShape, op, ": ", name, " is on ", tensor.device().name(),
             " but means is on ", means.device().name());
  };
  check("quats", quats, {count, 4});
  check("log_scales", log_scales, {count, 3});
  check("opacity_logits", opacity_logits, {count});
  check("sh0", sh0, {count, 3});
  check_dtype(op, "sh_rest", sh_rest, DType::f32);
  const int64_t rest = sh_rest.rank() == 3 ? sh_rest.size(1) : -1;
  RL_CHECK(rest == 0 || rest == 3 || rest == 8 || rest == 15, code::kShape, op, ": expected sh_rest [", count,
           ",R,3] with R 0, 3, 8 or 15, got ", sh_rest.shape());
  check("sh_rest", sh_rest, {count, rest, 3});
  check("camera", camera, {16});
  RL_CHECK(degree >= 0 && degree <= 3, code::kConfig, op, ": degree must be 0, 1, 2 or 3, got ", degree);
  RL_CHECK((degree + 1) * (degree + 1) - 1 <= rest, code::kConfig, op, ": degree ", degree, " needs ",
           (degree + 1) * (degree + 1) - 1, " coefficients in sh_rest, which is ", sh_rest.shape());
  RL_CHECK(near > 0 && near < 1e30, code::kConfig, op, ": near must be positive and finite, got ", near);
  constexpr int64_t kMaxSide = int64_t{1} << 20;
  RL_CHECK(width >= 1 && width <= kMaxSide && height >= 1 && height <= kMaxSide, code::kConfig, op, ": a picture of ", width,
           " x ", height, " pixels, expected sides from 1 to ", kMaxSide);
  return {means.as<float>(), quats.as<float>(), log_scales.as<float>(), opacity_logits.as<float>(), sh0.as<float>(),
          sh_rest.as<float>(), camera.as<float>(), nullptr, count, rest, width, height, static_cast<int>(degree),
          static_cast<float>(near)};
}

Tensor splat_project(const Tensor& means, const Tensor& quats, const Tensor& log_scales, const Tensor& opacity_logits,
                     const Tensor& sh0, const Tensor& sh_rest, const Tensor& camera, int64_t width, int64_t height,
                     int64_t degree, double near) {
  SplatProjectArgs args = check_splat_project("splat_project", means, quats, log_scales, opacity_logits, sh0, sh_rest, camera,
                                              width, height, degree, near);
  Device& device = means.device();
  const Tensor projected = Tensor::empty(device, {args.count, kProjectedColumns});
  args.projected = projected.as<float>();
  if (args.count > 0)
    RL_LAUNCH(device, "splat_project", splat_project_cpu(args), splat_project_cuda(args, cuda_stream(device)));
  return projected;
}

RL_OP(splat_project);

}  // namespace rl
