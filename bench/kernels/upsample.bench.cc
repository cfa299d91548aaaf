// Speed of native/ops/conv/upsample.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/conv/upsample.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    for (const bench::Case& test : {bench::Case{"flux vae 192", {1, 256, 192, 192}}, bench::Case{"tiny vae 48", {9, 32, 48, 48}}}) {
      const double count = static_cast<double>(test.shape.numel());
      b.time("upsample_nearest2x", test.name, test.shape, {5 * count * b.size(), 0}, [&] {
        return [x = b.normal(test.shape)] { upsample_nearest2x(x); };
      });
      b.time("upsample_nearest2x_bwd", test.name, test.shape, {5 * count * b.size(), 3 * count}, [&] {
        return [dy = b.normal({test.shape[0], test.shape[1], 2 * test.shape[2], 2 * test.shape[3]})] { upsample_nearest2x_bwd(dy); };
      });
    }
  });
}
