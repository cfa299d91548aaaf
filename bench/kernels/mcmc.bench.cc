// Speed of native/ops/splat/mcmc_noise.h and mcmc_relocation.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/splat/mcmc_noise.h"
#include "native/ops/splat/mcmc_relocation.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    if (b.dtype() != DType::f32) return;
    for (const auto& [name, count] : {std::pair{"20k", int64_t{20000}}, std::pair{"200k", int64_t{200000}}}) {
      const double n = static_cast<double>(count);
      b.time("mcmc_noise", name, {count, 3}, {56 * n, 80 * n}, [&, count = count] {
        return [means = b.normal({count, 3}), quats = b.normal({count, 4}), scales = b.normal({count, 3}),
                logits = b.normal({count})] { mcmc_noise(means, quats, scales, logits, 1e-9, 1, 0); };
      });
      b.time("mcmc_relocation", name, {count, 3}, {36 * n, 24 * n}, [&, count = count] {
        return [opacities = b.constant({count}, 0.5, DType::f32), scales = b.constant({count, 3}, 0.1, DType::f32),
                copies = b.ints({count}, std::vector<int32_t>(count, 3))] { mcmc_relocation(opacities, scales, copies); };
      });
    }
  });
}
