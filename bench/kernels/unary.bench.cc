// Speed of native/ops/elem/unary.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/elem/unary.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    for (const char* kind : {"gelu_tanh", "silu", "exp"}) {
      for (const Shape& shape : {Shape{1, 10880, 12288}, Shape{4, 672, 640}}) {
        const double count = static_cast<double>(shape.numel());
        b.time("unary", kind, shape, {2 * count * b.size(), count}, [&] { return [x = b.normal(shape), kind] { unary(x, kind); }; });
        b.time("unary_bwd", kind, shape, {3 * count * b.size(), count}, [&] {
          return [dy = b.normal(shape), x = b.normal(shape), kind] { unary_bwd(dy, x, kind); };
        });
      }
    }
  });
}
