// Speed of native/ops/train/adamw.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/train/adamw.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    if (b.dtype() != DType::f32) return;
    for (const bench::Case& test : {bench::Case{"flux lora a", {64, 12288}}, bench::Case{"tiny editor ff", {640, 160}}}) {
      const double count = static_cast<double>(test.shape.numel());
      b.time("adamw", test.name, test.shape, {28 * count, 14 * count}, [&] {
        // The second moment must not be negative; the step keeps growing in training, its value does not change the work.
        return [p = b.normal(test.shape), g = b.normal(test.shape), m = b.normal(test.shape), v = b.constant(test.shape, 1, DType::f32)] {
          adamw(p, g, m, v, 1e-4, 0.9, 0.999, 1e-8, 0.01, 1000);
        };
      });
    }
  });
}
