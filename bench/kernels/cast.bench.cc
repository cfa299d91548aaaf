// Speed of native/ops/elem/cast.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/elem/cast.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    const Shape shape{3072, 12288};
    const double count = static_cast<double>(shape.numel());
    const char* target = b.dtype() == DType::f32 ? "bf16" : "f32";
    b.time("cast", std::string("to ") + target, shape, {6 * count, 0}, [&] { return [x = b.normal(shape), target] { cast(x, target); }; });
  });
}
