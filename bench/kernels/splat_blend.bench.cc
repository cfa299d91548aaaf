// Speed of native/ops/splat/splat_blend.h, splat_blend_backward.h and splat_lift.h. Options: --help.
#include "bench/kernels/splat_scene.h"
#include "native/ops/splat/splat_blend.h"
#include "native/ops/splat/splat_blend_backward.h"
#include "native/ops/splat/splat_lift.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run_on_scenes(argc, argv, [](bench::Bench& b, const bench::SplatScene& scene) {
    const double pairs = 1.9 * static_cast<double>(scene.count);
    const double pixels = static_cast<double>(scene.side * scene.side);
    const double reached = 40 * pairs;  // pixels of a pair within reach
    const int64_t side = scene.side;
    b.time("splat_blend", scene.name, {scene.count, 12}, {52 * pairs + 36 * pixels, 38 * reached}, [&] {
      return [p = bench::splat_pairs(b, scene), background = b.constant({3}, 0.5, DType::f32), side] {
        splat_blend(p.projected, p.gaussians, p.tile_ranges, background, side, side);
      };
    });
    b.time("splat_blend_backward", scene.name, {scene.count, 12}, {132 * pairs + 28 * pixels, 50 * reached}, [&] {
      const auto p = bench::splat_pairs(b, scene);
      const Tensor background = b.constant({3}, 0.5, DType::f32);
      const auto out = splat_blend(p.projected, p.gaussians, p.tile_ranges, background, side, side);
      return [p, background, out, d = b.normal({3, side, side}), side] {
        splat_blend_backward(p.projected, p.offsets, p.gaussians, p.slots, p.tile_ranges, background, out[4], out[5],
                             d, {}, {}, side, side);
      };
    });
    b.time("splat_lift", scene.name, {scene.count, 12}, {68 * pairs + 8 * pixels, 35 * reached}, [&] {
      return [p = bench::splat_pairs(b, scene), mask = b.constant({side, side}, 1, DType::f32), side] {
        splat_lift(p.projected, p.gaussians, p.tile_ranges, p.offsets, p.slots, mask, {}, side, side);
      };
    });
  });
}
