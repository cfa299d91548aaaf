// Speed of native/ops/conv/resize.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/conv/resize.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    struct Resize { bench::Case test; int64_t height, width; };
    for (const auto& [test, height, width] : {Resize{{"vggt-1b dpt", {9, 256, 74, 74}}, 148, 148},
                                              Resize{{"tiny verifier dpt", {9, 24, 16, 16}}, 32, 32}}) {
      const double planes = static_cast<double>(test.shape[0] * test.shape[1]), in_height = static_cast<double>(test.shape[2]);
      const double out = static_cast<double>(height * width), columns = in_height * static_cast<double>(width);
      const double bytes = (static_cast<double>(test.shape.numel()) + planes * out) * b.size();
      const auto flops = [&](double taps) { return 2 * planes * (out + columns) * taps; };
      b.time("resize_bilinear", test.name, test.shape, {bytes, flops(2)}, [&, height = height, width = width] {
        return [x = b.normal(test.shape), height, width] { resize_bilinear(x, height, width, true); };
      });
      b.time("resize_bilinear_bwd", test.name, test.shape, {bytes, flops(2)}, [&, height = height, width = width] {
        return [dy = b.normal({test.shape[0], test.shape[1], height, width}), h = test.shape[2], w = test.shape[3]] {
          resize_bilinear_bwd(dy, h, w, true);
        };
      });
    }
    // A photograph made smaller: 4 · H/h taps a pixel.
    b.time("resize_bicubic", "photograph 1036 to 518", {9, 3, 1036, 1036},
           {27.0 * (1036 * 1036 + 518 * 518) * b.size(), 2 * 27.0 * 8 * (518 * 1036 + 518 * 518)}, [&] {
      return [x = b.normal({9, 3, 1036, 1036})] { resize_bicubic(x, 518, 518, true); };
    });
  });
}
