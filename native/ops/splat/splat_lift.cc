#include "native/ops/splat/splat_lift.h"

#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

constexpr const char* kOp = "splat_lift";

void sum_rows(const SplatLiftArgs& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    check_range(kOp, a.offsets, i, a.pairs.pairs);
    float masked = 0, all = 0;
    for (int64_t p = a.offsets[i]; p < a.offsets[i + 1]; ++p) {
      masked += a.sums[2 * p];
      all += a.sums[2 * p + 1];
    }
    a.out[2 * i] = masked;
    a.out[2 * i + 1] = all;
  }
}

}  // namespace

void splat_lift_cpu(const SplatLiftArgs& a) {
  const auto walk = cpu::blend_kernels().lift;
  for_each_tile(kOp, a.pairs, [&](const cpu::TileList& list, const TilePixels& at) {
    check_slots(kOp, list, a.slots, a.pairs.pairs);
    cpu::LiftTile tile;
    start_walk(at, tile.transmittance, tile.limit);
    read_plane(a.mask, a.pairs, at, tile.mask, 0.0f);
    std::fill(tile.near, tile.near + kTilePixels, -INFINITY);
    std::fill(tile.far, tile.far + kTilePixels, INFINITY);
    if (a.median_depth) {
      read_plane(a.median_depth, a.pairs, at, tile.near, 0.0f);
      for (int i = 0; i < kTilePixels; ++i) {
        const float median = tile.near[i];
        tile.near[i] = median - kLiftDepthShare * median;
        tile.far[i] = median + kLiftDepthShare * median;
      }
    }
    walk(list, tile, a.slots, a.sums);
  });
  ThreadPool::instance().parallel_for(a.pairs.count, 4096,
                                      [&](int64_t begin, int64_t end) { sum_rows(a, begin, end); });
}

Tensor splat_lift(const Tensor& projected, const Tensor& gaussians, const Tensor& tile_ranges, const Tensor& offsets,
                  const Tensor& slots, const Tensor& mask, const Tensor& median_depth, int64_t width, int64_t height) {
  check_pairs(kOp, projected, gaussians, tile_ranges, width, height);
  check_argument(kOp, "offsets", offsets, DType::i32, {projected.size(0) + 1}, projected);
  check_argument(kOp, "slots", slots, DType::i32, gaussians.shape(), projected);
  check_argument(kOp, "mask", mask, DType::f32, {height, width}, projected);
  if (median_depth) check_argument(kOp, "median_depth", median_depth, DType::f32, {height, width}, projected);
  Device& device = projected.device();
  Tensor out = Tensor::empty(device, {projected.size(0), 2});
  const Tensor sums = Tensor::empty(device, {gaussians.size(0), 2});
  const SplatLiftArgs args{pair_args(projected, gaussians, tile_ranges, width, height), offsets.as<int32_t>(),
                           slots.as<int32_t>(), mask.as<float>(), median_depth.as<float>(), sums.as<float>(),
                               out.as<float>()};
  if (projected.size(0) > 0) RL_LAUNCH(device, kOp, splat_lift_cpu(args), splat_lift_cuda(args, cuda_stream(device)));
  return out;
}

RL_OP(splat_lift);

}  // namespace rl
