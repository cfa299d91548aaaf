// Speed of native/ops/nn/rope.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/nn/rope.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    struct Rotation { bench::Case test; int64_t block; };
    for (const auto& [test, block] : {Rotation{{"flux", {1, 10880, 24, 128}}, 2}, Rotation{{"vggt-1b", {9, 1374, 16, 64}}, 32},
                                      Rotation{{"tiny editor", {4, 672, 5, 32}}, 2}}) {
      const Shape table{test.shape[1], test.shape[3] / 2};
      const double count = static_cast<double>(test.shape.numel());
      const double tables = 4.0 * static_cast<double>(test.shape[1] * test.shape[3]);
      b.time("rope", test.name, test.shape, {2 * count * b.size() + tables, 3 * count}, [&, block = block] {
        return [x = b.normal(test.shape), cosine = b.normal(table, DType::f32), sine = b.normal(table, DType::f32), block] {
          rope(x, cosine, sine, block, false);
        };
      });
    }
  });
}
