#include "native/ops/splat/splat_blend.h"

#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

void splat_blend_cpu(const SplatBlendArgs& a) {
  const int64_t plane = a.pairs.width * a.pairs.height;
  const auto walk = cpu::blend_kernels().forward;
  for_each_tile("splat_blend", a.pairs, [&](const cpu::TileList& list, const TilePixels& at) {
    cpu::ForwardTile tile;
    std::memset(&tile, 0, sizeof tile);
    start_walk(at, tile.transmittance, tile.limit);
    std::fill(tile.last, tile.last + kTilePixels, static_cast<int32_t>(list.begin));
    walk(list, tile);
    float alpha[kTilePixels];
    for (int i = 0; i < kTilePixels; ++i) {
      alpha[i] = 1.0f - tile.transmittance[i];
      for (int c = 0; c < 3; ++c) tile.colour[c][i] += tile.transmittance[i] * a.background[c];
    }
    for (int c = 0; c < 3; ++c) write_plane(tile.colour[c], a.pairs, at, a.image + c * plane);
    write_plane(alpha, a.pairs, at, a.alpha);
    write_plane(tile.depth, a.pairs, at, a.depth);
    write_plane(tile.median, a.pairs, at, a.median_depth);
    write_plane(tile.transmittance, a.pairs, at, a.transmittance);
    write_plane(tile.last, a.pairs, at, a.last);
  });
}

std::vector<Tensor> splat_blend(const Tensor& projected, const Tensor& gaussians, const Tensor& tile_ranges,
                                const Tensor& background, int64_t width, int64_t height) {
  check_pairs("splat_blend", projected, gaussians, tile_ranges, width, height);
  check_argument("splat_blend", "background", background, DType::f32, {3}, projected);
  Device& device = projected.device();
  const Tensor image = Tensor::empty(device, {3, height, width}), alpha = Tensor::empty(device, {height, width});
  const Tensor depth = Tensor::empty(device, {height, width}), median = Tensor::empty(device, {height, width});
  const Tensor transmittance = Tensor::empty(device, {height, width});
  const Tensor last = Tensor::empty(device, {height, width}, DType::i32);
  const SplatBlendArgs args{pair_args(projected, gaussians, tile_ranges, width, height), background.as<float>(),
                            image.as<float>(), alpha.as<float>(), depth.as<float>(), median.as<float>(),
                            transmittance.as<float>(), last.as<int32_t>()};
  RL_LAUNCH(device, "splat_blend", splat_blend_cpu(args), splat_blend_cuda(args, cuda_stream(device)));
  return {image, alpha, depth, median, transmittance, last};
}

RL_OP(splat_blend);

}  // namespace rl
