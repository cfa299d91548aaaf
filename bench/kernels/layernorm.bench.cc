// Speed of native/ops/nn/layernorm.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/nn/layernorm.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    for (const bench::Case& test : {bench::Case{"vggt-1b", {9, 1374, 1024}}, bench::Case{"tiny verifier", {9, 69, 128}}}) {
      const int64_t dim = test.shape[-1];
      const double count = static_cast<double>(test.shape.numel());
      b.time("layernorm", test.name, test.shape, {2 * count * b.size(), 8 * count}, [&] {
        return [x = b.normal(test.shape), w = b.normal({dim}), bias = b.normal({dim})] { layernorm(x, w, bias, 1e-6); };
      });
      b.time("layernorm_bwd", test.name, test.shape, {3 * count * b.size(), 17 * count}, [&] {
        return [dy = b.normal(test.shape), x = b.normal(test.shape), w = b.normal({dim})] {
          layernorm_bwd(dy, x, w, 1e-6, true, true, true);
        };
      });
    }
  });
}
