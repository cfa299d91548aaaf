// Speed of native/ops/conv/conv_transpose2d.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/conv/conv_transpose2d.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    struct Conv { const char* name; Shape x; int64_t out, kernel; };
    for (const auto& [name, shape, out, kernel] : {Conv{"vggt-1b dpt 4x", {9, 256, 37, 37}, 256, 4},
                                                   Conv{"vggt-1b dpt 2x", {9, 512, 37, 37}, 512, 2},
                                                   Conv{"tiny verifier dpt 4x", {9, 24, 8, 8}, 24, 4}}) {
      const Shape weight{shape[1], out, kernel, kernel}, result{shape[0], out, shape[2] * kernel, shape[3] * kernel};
      const double bytes = static_cast<double>(shape.numel() + weight.numel() + result.numel()) * b.size();
      const double flops = 2.0 * static_cast<double>(shape.numel() * out * kernel * kernel);
      b.time("conv_transpose2d", name, shape, {bytes, flops}, [&, shape = shape, out = out, kernel = kernel] {
        return [x = b.normal(shape), w = b.normal(weight), bias = b.normal({out}), kernel] { conv_transpose2d(x, w, bias, kernel); };
      });
      b.time("conv_transpose2d_bwd", name, shape, {2 * bytes, 2 * flops}, [&, shape = shape, kernel = kernel] {
        return [dy = b.normal(result), x = b.normal(shape), w = b.normal(weight), kernel] {
          conv_transpose2d_bwd(dy, x, w, kernel, true, true, true);
        };
      });
    }
  });
}
