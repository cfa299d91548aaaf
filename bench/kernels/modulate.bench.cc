// Speed of native/ops/nn/modulate.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/nn/modulate.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    for (const bench::Case& test : {bench::Case{"flux", {1, 10880, 3072}}, bench::Case{"tiny editor", {4, 672, 160}}}) {
      const Shape row{test.shape[0], test.shape[2]};
      const double count = static_cast<double>(test.shape.numel());
      b.time("modulate", test.name, test.shape, {2 * count * b.size(), 9 * count}, [&] {
        return [x = b.normal(test.shape), shift = b.normal(row), scale = b.normal(row)] { modulate(x, shift, scale, 1e-6); };
      });
      b.time("modulate_bwd", test.name, test.shape, {3 * count * b.size(), 17 * count}, [&] {
        return [dy = b.normal(test.shape), x = b.normal(test.shape), scale = b.normal(row)] {
          modulate_bwd(dy, x, scale, 1e-6, true, true, true);
        };
      });
    }
  });
}
