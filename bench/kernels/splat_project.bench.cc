// Speed of native/ops/splat/splat_project.h and its backward. Options: --help.
#include "bench/harness.h"
#include "native/ops/splat/splat_project.h"
#include "native/ops/splat/splat_project_backward.h"

using namespace rl;

namespace {

constexpr int64_t kWidth = 512, kHeight = 512, kDegree = 3, kRest = 15;

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    if (b.dtype() != DType::f32) return;
    for (const auto& [name, count] : {std::pair{"20k degree 3", int64_t{20000}}, std::pair{"200k degree 3", int64_t{200000}}}) {
      const double n = static_cast<double>(count);
      // A cloud of unit size 4 in front of the camera: nearly every Gaussian is visible.
      const auto scene = [&b, count = count] {
        const float camera[16] = {500, 500, 256, 256, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 8};
        Tensor view = Tensor::empty(b.device(), {16});
        b.device().upload(view.data(), camera, sizeof camera);
        return std::vector<Tensor>{b.normal({count, 3}), b.normal({count, 4}), b.normal({count, 3}), b.normal({count}),
                                   b.normal({count, 3}), b.normal({count, kRest, 3}), view};
      };
      b.time("splat_project", name, {count, 3}, {284 * n, 466 * n}, [&] {
        return [s = scene()] {
          splat_project(s[0], s[1], s[2], s[3], s[4], s[5], s[6], kWidth, kHeight, kDegree, 0.2);
        };
      });
      b.time("splat_project_backward", name, {count, 3}, {560 * n, 955 * n}, [&, count = count] {
        const auto s = scene();
        const Tensor projected = splat_project(s[0], s[1], s[2], s[3], s[4], s[5], s[6], kWidth, kHeight, kDegree, 0.2);
        return [s, projected, d = b.normal({count, 10})] {
          splat_project_backward(s[0], s[1], s[2], s[3], s[4], s[5], s[6], kWidth, kHeight, kDegree, 0.2, projected, d);
        };
      });
    }
  });
}
