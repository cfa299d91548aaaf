// Speed of native/ops/conv/conv2d.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/conv/conv2d.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    struct Conv { const char* name; Shape x; int64_t out, kernel, stride; };
    for (const auto& [name, shape, out, kernel, stride] :
         {Conv{"flux vae 384", {1, 128, 384, 384}, 128, 3, 1}, Conv{"flux vae 48", {9, 512, 48, 48}, 512, 3, 1},
          Conv{"vggt-1b patches", {9, 3, 518, 518}, 1024, 14, 14}, Conv{"tiny vae 96", {9, 16, 96, 96}, 16, 3, 1},
          Conv{"tiny vae down", {9, 16, 96, 96}, 16, 3, 2}, Conv{"tiny vae 12", {9, 64, 12, 12}, 64, 3, 1}}) {
      const int64_t channels = shape[1], pad = kernel == 3 && stride == 1 ? 1 : 0, end = kernel == 3 ? 1 : 0;
      const Ints padding{pad, pad, end, end};
      const int64_t height = (shape[2] + pad + end - kernel) / stride + 1, width = (shape[3] + pad + end - kernel) / stride + 1;
      const Shape weight{out, channels, kernel, kernel}, result{shape[0], out, height, width};
      const double bytes = static_cast<double>(shape.numel() + weight.numel() + result.numel()) * b.size();
      const double flops = 2.0 * static_cast<double>(result.numel() * channels * kernel * kernel);
      b.time("conv2d", name, shape, {bytes, flops}, [&, shape = shape, out = out, stride = stride] {
        return [x = b.normal(shape), w = b.normal(weight), bias = b.normal({out}), stride, padding] {
          conv2d(x, w, bias, stride, padding);
        };
      });
      b.time("conv2d_bwd", name, shape, {2 * bytes, 2 * flops}, [&, shape = shape, stride = stride] {
        return [dy = b.normal(result), x = b.normal(shape), w = b.normal(weight), stride, padding] {
          conv2d_bwd(dy, x, w, stride, padding, true, true, true);
        };
      });
    }
  });
}
