// Speed of native/ops/splat/splat_adam.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/splat/splat_adam.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    if (b.dtype() != DType::f32) return;
    for (const bench::Case& test : {bench::Case{"means", {100000, 3}}, bench::Case{"opacity logits", {100000}},
                                    bench::Case{"degree 3 harmonics", {100000, 15, 3}}}) {
      const double count = static_cast<double>(test.shape.numel()), rows = static_cast<double>(test.shape[0]);
      b.time("splat_adam", test.name, test.shape, {28 * count + 4 * rows, 14 * count}, [&] {
        // The second moment must not be negative.
        return [p = b.normal(test.shape), g = b.normal(test.shape), m = b.normal(test.shape), v = b.constant(test.shape, 1, DType::f32),
                scale = b.constant({test.shape[0]}, 0.5, DType::f32)] {
          splat_adam(p, g, m, v, scale, 1e-4, 0.9, 0.999, 1e-15, 1000);
        };
      });
    }
  });
}
