// Speed of native/ops/nn/matmul.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/nn/matmul.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    struct Product { const char* name; int64_t rows, out, in; };
    for (const auto& [name, rows, out, in] : {Product{"flux q/k/v", 10368, 3072, 3072}, Product{"flux ff up", 10368, 12288, 3072},
                                              Product{"flux ff down", 10368, 3072, 12288}, Product{"flux modulation", 1, 18432, 3072},
                                              Product{"vggt-1b mlp", 12366, 4096, 1024}, Product{"square", 4096, 4096, 4096},
                                              Product{"tiny editor q/k/v", 2592, 160, 160}, Product{"tiny editor ff", 2592, 640, 160},
                                              Product{"tiny verifier mlp", 621, 512, 128}}) {
      const Shape shape{rows, out, in};
      const double m = static_cast<double>(rows), n = static_cast<double>(out), k = static_cast<double>(in);
      const double bytes = (m * k + n * k + m * n) * b.size(), flops = 2 * m * n * k;
      b.time("linear", name, shape, {bytes, flops}, [&, rows = rows, out = out, in = in] {
        return [x = b.normal({rows, in}), w = b.normal({out, in}), bias = b.normal({out})] {
          matmul(x, w, bias, false, true, "none");
        };
      });
      b.time("linear+gelu_tanh", name, shape, {bytes, flops}, [&, rows = rows, out = out, in = in] {
        return [x = b.normal({rows, in}), w = b.normal({out, in}), bias = b.normal({out})] {
          matmul(x, w, bias, false, true, "gelu_tanh");
        };
      });
      b.time("linear_bwd", name, shape, {2 * bytes, 2 * flops}, [&, rows = rows, out = out, in = in] {
        return [dy = b.normal({rows, out}), x = b.normal({rows, in}), w = b.normal({out, in})] {
          linear_bwd(dy, x, w, true, true, true);
        };
      });
    }
  });
}
