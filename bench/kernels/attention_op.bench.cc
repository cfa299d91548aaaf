// Speed of native/ops/nn/attention.h. Options: --help.
#include <cmath>

#include "bench/harness.h"
#include "native/ops/nn/attention.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    // [B, L, H, D]
    for (const bench::Case& test : {bench::Case{"flux 9x384", {1, 10880, 24, 128}}, bench::Case{"flux 9x512", {1, 18944, 24, 128}},
                                    bench::Case{"vggt-1b frame", {9, 1374, 16, 64}}, bench::Case{"vggt-1b global", {1, 12366, 16, 64}},
                                    bench::Case{"4096x64", {1, 4096, 16, 64}}, bench::Case{"flux vae", {1, 2304, 1, 512}},
                                    bench::Case{"tiny editor", {4, 672, 5, 32}}, bench::Case{"tiny verifier", {1, 621, 4, 32}}}) {
      const double count = static_cast<double>(test.shape.numel()), scale = 1 / std::sqrt(static_cast<double>(test.shape[3]));
      const double flops = 4 * count * static_cast<double>(test.shape[1]);
      b.time("attention", test.name, test.shape, {4 * count * b.size(), flops}, [&] {
        return [q = b.normal(test.shape), k = b.normal(test.shape), v = b.normal(test.shape), scale] {
          attention(q, k, v, {}, scale, false, false);
        };
      });
      b.time("attention_bwd", test.name, test.shape, {8 * count * b.size(), 2.5 * flops}, [&] {
        const Tensor q = b.normal(test.shape), k = b.normal(test.shape), v = b.normal(test.shape);
        const std::vector<Tensor> forward = attention(q, k, v, {}, scale, false, true);
        return [q, k, v, scale, out = forward[0], lse = forward[1], dout = b.normal(test.shape)] {
          attention_bwd(dout, q, k, v, out, lse, {}, scale, false, false);
        };
      });
    }
  });
}
