// Speed of native/ops/splat/splat_tile_counts.h and splat_bin.h. Options: --help.
#include "bench/kernels/splat_scene.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run_on_scenes(argc, argv, [](bench::Bench& b, const bench::SplatScene& scene) {
    const double count = static_cast<double>(scene.count);
    b.time("splat_tile_counts", scene.name, {scene.count, 12}, {56 * count, 12 * count}, [&] {
      return [rows = bench::splat_rows(b, scene), side = scene.side] { splat_tile_counts(rows, side, side); };
    });
    // About 1.9 pairs a Gaussian, 6 digits on CUDA.
    b.time("splat_bin", scene.name, {scene.count, 12}, {(b.is_cuda() ? 270 : 138) * count, 0}, [&] {
      return [pairs = bench::splat_pairs(b, scene), side = scene.side] {
        splat_bin(pairs.projected, pairs.offsets, pairs.total, side, side);
      };
    });
  });
}
