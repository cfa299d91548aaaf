// Speed of native/ops/nn/rmsnorm.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/nn/rmsnorm.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    for (const bench::Case& test : {bench::Case{"flux q/k", {1, 10880, 24, 128}}, bench::Case{"tiny editor q/k", {4, 672, 5, 32}}}) {
      const int64_t dim = test.shape[-1];
      const double count = static_cast<double>(test.shape.numel()), rows = count / static_cast<double>(dim);
      const double bytes = (2 * count + static_cast<double>(dim)) * b.size();
      b.time("rmsnorm", test.name, test.shape, {bytes, 4 * count}, [&] {
        return [x = b.normal(test.shape), weight = b.normal({dim})] { rmsnorm(x, weight, 1e-6); };
      });
      b.time("rmsnorm_bwd", test.name, test.shape, {bytes + rows * static_cast<double>(dim) * b.size(), 11 * count}, [&] {
        return [dy = b.normal(test.shape), x = b.normal(test.shape), weight = b.normal({dim})] {
          rmsnorm_bwd(dy, x, weight, 1e-6, true);
        };
      });
    }
  });
}
