// Speed of native/ops/conv/group_norm.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/conv/group_norm.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    struct Norm { bench::Case test; int64_t groups; };
    for (const auto& [test, groups] : {Norm{{"flux vae 384", {1, 128, 384, 384}}, 32}, Norm{{"flux vae 48", {9, 512, 48, 48}}, 32},
                                       Norm{{"tiny vae 96", {9, 16, 96, 96}}, 8}}) {
      const int64_t channels = test.shape[1];
      const double count = static_cast<double>(test.shape.numel());
      b.time("group_norm+silu", test.name, test.shape, {2 * count * b.size(), 7 * count}, [&, groups = groups] {
        return [x = b.normal(test.shape), w = b.normal({channels}), bias = b.normal({channels}), groups] {
          group_norm(x, w, bias, groups, 1e-6, true);
        };
      });
      b.time("group_norm+silu_bwd", test.name, test.shape, {3 * count * b.size(), 14 * count}, [&, groups = groups] {
        const Tensor x = b.normal(test.shape), w = b.normal({channels}), bias = b.normal({channels});
        return [dy = b.normal(test.shape), x, w, bias, stats = group_norm(x, w, bias, groups, 1e-6, true)[1], groups] {
          group_norm_bwd(dy, x, w, bias, stats, groups, true, true);
        };
      });
    }
  });
}
