#include "native/ops/conv/upsample.h"

#include <limits>

#include "test/native/conv_reference.h"

using namespace rl;
using namespace rl::test;

TEST_CASE("upsample_nearest2x copies, its gradient sums") {
  for_each_device_and_isa([&](Device& device, const std::string&) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      for (const Shape& shape : {Shape{2, 3, 5, 7}, Shape{1, 1, 1, 1}, Shape{3, 8, 16, 33}}) {
        Random random(4);
        const int64_t height = shape[2], width = shape[3], planes = shape[0] * shape[1];
        const Sample x(device, shape, dtype, random),
            dy(device, {shape[0], shape[1], 2 * height, 2 * width}, dtype, random);
        std::vector<double> y(dy.values.size()), dx(x.values.size(), 0);
        for (int64_t plane = 0; plane < planes; ++plane)
          for (int64_t i = 0; i < 2 * height; ++i)
            for (int64_t j = 0; j < 2 * width; ++j) {
              const auto to = static_cast<size_t>((plane * 2 * height + i) * 2 * width + j);
              const auto from = static_cast<size_t>((plane * height + i / 2) * width + j / 2);
              y[to] = x.values[from];
              dx[from] += dy.values[to];
            }
        CHECK(read(upsample_nearest2x(x.tensor)) == y);
        // Two f32 roundings; bf16: half a unit of the last place.
        CHECK_LE(compare(read(upsample_nearest2x_bwd(dy.tensor)), dx).relative, dtype == DType::f32 ? 0x1p-23 : 0x1p-8);
      }
    }
  });
}

TEST_CASE("upsample_nearest2x without elements, with NaN, with odd gradients") {
  const std::shared_ptr<Device> device = make_device("cpu");
  CHECK(upsample_nearest2x(Tensor::empty(*device, {0, 3, 4, 5})).shape() == Shape({0, 3, 8, 10}));
  CHECK(upsample_nearest2x(Tensor::empty(*device, {2, 3, 4, 0})).shape() == Shape({2, 3, 8, 0}));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<double> y = read(upsample_nearest2x(upload(*device, {1, 1, 1, 2}, DType::f32, {1, nan})));
  CHECK(y[0] == 1 && y[1] == 1 && std::isnan(y[2]) && std::isnan(y[7]));
  CHECK_THROWS(upsample_nearest2x_bwd(Tensor::empty(*device, {1, 1, 3, 4})));
  CHECK_THROWS(upsample_nearest2x(Tensor::empty(*device, {3, 4, 5})));
}

int main() { return run_all(); }
