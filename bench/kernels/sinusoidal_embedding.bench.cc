// Speed of native/ops/nn/sinusoidal_embedding.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/nn/sinusoidal_embedding.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    if (b.dtype() != DType::f32) return;
    b.time("sinusoidal_embedding", "flux", {16, 256}, {4.0 * 16 * 256, 16 * 256}, [&] {
      return [t = b.normal({16})] { sinusoidal_embedding(t, 256); };
    });
  });
}
