// Speed of native/ops/nn/gated_residual.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/nn/gated_residual.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    for (const bench::Case& test : {bench::Case{"flux", {1, 10880, 3072}}, bench::Case{"tiny editor", {4, 672, 160}}}) {
      const Shape row{test.shape[0], test.shape[2]};
      const double count = static_cast<double>(test.shape.numel());
      b.time("gated_residual", test.name, test.shape, {3 * count * b.size(), 2 * count}, [&] {
        return [x = b.normal(test.shape), gate = b.normal(row), branch = b.normal(test.shape)] { gated_residual(x, gate, branch); };
      });
      b.time("gated_residual_bwd", test.name, test.shape, {3 * count * b.size(), 3 * count}, [&] {
        return [dy = b.normal(test.shape), gate = b.normal(row), branch = b.normal(test.shape)] {
          gated_residual_bwd(dy, gate, branch, true, true);
        };
      });
    }
  });
}
