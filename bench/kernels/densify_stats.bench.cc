// Speed of native/ops/splat/densify_stats.h. Options: --help.
#include "bench/kernels/splat_scene.h"
#include "native/ops/splat/densify_stats.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run_on_scenes(argc, argv, [](bench::Bench& b, const bench::SplatScene& scene) {
    const double count = static_cast<double>(scene.count);
    b.time("densify_stats", scene.name, {scene.count, 12}, {32 * count, 7 * count}, [&] {
      return [rows = bench::splat_rows(b, scene), d = b.normal({scene.count, 10}), sums = b.constant({scene.count}, 0, DType::f32),
              visits = b.constant({scene.count}, 0, DType::f32), side = scene.side] {
        densify_stats(rows, d, sums, visits, side, side);
      };
    });
  });
}
