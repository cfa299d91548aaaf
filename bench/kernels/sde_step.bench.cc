// Speed of native/ops/train/sde_step.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/train/sde_step.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    if (b.dtype() != DType::f32) return;
    for (const bench::Case& test : {bench::Case{"1 rollout 9x512", {1, 9216, 64}}, bench::Case{"16 rollouts 9x512", {16, 9216, 64}},
                                    bench::Case{"tiny editor", {4, 324, 64}}}) {
      const double count = static_cast<double>(test.shape.numel());
      b.time("sde_step", test.name, test.shape, {20 * count, 8 * count}, [&] {
        return [x = b.normal(test.shape), v = b.normal(test.shape), noise = b.normal(test.shape)] {
          sde_step(x, v, noise, {}, 0.98, -0.04, 0.1, 100, -1, true);
        };
      });
      b.time("sde_step replay", test.name, test.shape, {16 * count, 8 * count}, [&] {
        return [x = b.normal(test.shape), v = b.normal(test.shape), next = b.normal(test.shape)] {
          sde_step(x, v, {}, next, 0.98, -0.04, 0.1, 100, -1, true);
        };
      });
    }
  });
}
