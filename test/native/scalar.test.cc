// Functions of a tensor and two numbers, against float64.
#include "native/ops/elem/scalar.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

TEST_CASE("scalar matches float64") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{}, Shape{5, 7}, Shape{33333}}) {
      const Values x = normals(random, shape, dtype);
      auto exact = [&](const std::function<double(double)>& f) {
        Values y(x.size());
        for (size_t i = 0; i < x.size(); ++i) y[i] = f(x[i]);
        return y;
      };
      auto mapped = [&](const std::function<double(double)>& f) { return exact([&](double v) { return rounded(f(v), dtype); }); };
      const Tensor tx = upload(device, shape, x, dtype);
      CHECK(download(scalar(tx, "clamp", -0.5, 0.25)) == mapped([](double v) { return std::min(std::max(v, -0.5), 0.25); }));
      CHECK(download(scalar(tx, "within", -0.5, 0.25)) == mapped([](double v) { return v >= -0.5 && v <= 0.25; }));
      CHECK(download(scalar(tx, "affine", 1, 0.5)) == mapped([](double v) { return static_cast<float>(v) + 0.5f; }));
      CHECK(download(scalar(tx, "affine", -3, 0)) == mapped([](double v) { return -3 * v; }));
      // Two roundings, then powf: measured worst × 1.05.
      CHECK_CLOSE("affine", scalar(tx, "affine", 1.7, -0.3), exact([](double v) { return v * 1.7 - 0.3; }),
                  dtype == DType::f32 ? 1.11e-7 : 4.1e-3);
      const Tensor positive = scalar(tx, "clamp", 0.25, 9);
      CHECK_CLOSE("power", scalar(positive, "power", 2.5, 0), exact([](double v) { return std::pow(std::max(v, 0.25), 2.5); }),
                  dtype == DType::f32 ? 6.3e-8 : 4.1e-3);
    }
  });
}

TEST_CASE("scalar: NaN, empty tensors, wrong arguments") {
  for (const auto& device : test_devices()) {
    const Tensor nan = upload(*device, {1}, {NAN});
    for (const char* kind : {"affine", "clamp", "within", "power"}) {
      CHECK_MSG(std::isnan(download(scalar(nan, kind, 1, 2))[0]), kind);
      CHECK(scalar(upload(*device, {2, 0}, {}), kind, 1, 2).numel() == 0);
    }
    CHECK_THROWS(scalar(nan, "clamp", 2, 1));
    CHECK_THROWS(scalar(nan, "modulo", 2, 1));
  }
}

int main() { return run_all(); }
