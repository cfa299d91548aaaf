#include "native/ops/splat/splat_blend_backward.h"

#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

constexpr const char* kOp = "splat_blend_backward";

void sum_rows(const SplatBlendBackwardArgs& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    check_range(kOp, a.offsets, i, a.pairs.pairs);
    float sums[kMoments] = {};
    for (int64_t p = a.offsets[i]; p < a.offsets[i + 1]; ++p)
      for (int k = 0; k < kMoments; ++k) sums[k] += a.moments[p * kMoments + k];
    gradients_of_moments(a.pairs.projected + i * kProjectedColumns, sums, a.d_projected + i * kGradientColumns);
  }
}

}  // namespace

void splat_blend_backward_cpu(const SplatBlendBackwardArgs& a) {
  const int64_t plane = a.pairs.width * a.pairs.height;
  const auto walk = cpu::blend_kernels().backward;
  for_each_tile(kOp, a.pairs, [&](const cpu::TileList& list, const TilePixels& at) {
    check_slots(kOp, list, a.slots, a.pairs.pairs);
    cpu::BackwardTile tile;
    read_plane(a.transmittance, a.pairs, at, tile.transmittance, 1.0f);
    read_plane(a.last, a.pairs, at, tile.last, static_cast<int32_t>(list.begin));
    for (int i = 0; i < kTilePixels; ++i)
      tile.last[i] = std::clamp(tile.last[i], static_cast<int32_t>(list.begin), static_cast<int32_t>(list.end));
    for (int c = 0; c < 3; ++c) read_plane(a.d_image + c * plane, a.pairs, at, tile.gradient[c], 0.0f);
    if (a.d_depth) read_plane(a.d_depth, a.pairs, at, tile.gradient[3], 0.0f);
    // Each Gaussian adds g_alpha to its value and the background adds none: only the difference matters.
    if (a.d_alpha) {
      read_plane(a.d_alpha, a.pairs, at, tile.behind, 0.0f);
    } else {
      std::fill(tile.behind, tile.behind + kTilePixels, 0.0f);
    }
    for (int i = 0; i < kTilePixels; ++i)
      tile.behind[i] = tile.gradient[0][i] * a.background[0] + tile.gradient[1][i] * a.background[1] +
                       tile.gradient[2][i] * a.background[2] - tile.behind[i];
    walk(list, tile, a.d_depth != nullptr, a.slots, a.moments);
  });
  ThreadPool::instance().parallel_for(a.pairs.count, 1024,
                                      [&](int64_t begin, int64_t end) { sum_rows(a, begin, end); });
}

Tensor splat_blend_backward(const Tensor& projected, const Tensor& offsets, const Tensor& gaussians,
                            const Tensor& slots,
                            const Tensor& tile_ranges, const Tensor& background, const Tensor& transmittance,
                            const Tensor& last, const Tensor& d_image, const Tensor& d_alpha, const Tensor& d_depth,
                            int64_t width, int64_t height) {
  check_pairs(kOp, projected, gaussians, tile_ranges, width, height);
  const Shape plane{height, width};
  check_argument(kOp, "offsets", offsets, DType::i32, {projected.size(0) + 1}, projected);
  check_argument(kOp, "slots", slots, DType::i32, gaussians.shape(), projected);
  check_argument(kOp, "background", background, DType::f32, {3}, projected);
  check_argument(kOp, "transmittance", transmittance, DType::f32, plane, projected);
  check_argument(kOp, "last", last, DType::i32, plane, projected);
  check_argument(kOp, "d_image", d_image, DType::f32, {3, height, width}, projected);
  if (d_alpha) check_argument(kOp, "d_alpha", d_alpha, DType::f32, plane, projected);
  if (d_depth) check_argument(kOp, "d_depth", d_depth, DType::f32, plane, projected);
  Device& device = projected.device();
  Tensor out = Tensor::empty(device, {projected.size(0), kGradientColumns});
  const Tensor moments = Tensor::empty(device, {gaussians.size(0), kMoments});
  const SplatBlendBackwardArgs args{pair_args(projected, gaussians, tile_ranges, width, height), offsets.as<int32_t>(),
                                    slots.as<int32_t>(), background.as<float>(), transmittance.as<float>(),
                                    last.as<int32_t>(), d_image.as<float>(), d_alpha.as<float>(), d_depth.as<float>(),
                                    moments.as<float>(), out.as<float>()};
  if (projected.size(0) == 0) return out;
  RL_LAUNCH(device, kOp, splat_blend_backward_cpu(args), splat_blend_backward_cuda(args, cuda_stream(device)));
  return out;
}

RL_OP(splat_blend_backward);

}  // namespace rl
