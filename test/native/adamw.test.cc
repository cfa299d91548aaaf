// AdamW and the in-place updates against float64 recursions.
#include "native/ops/train/adamw.h"
#include "native/ops/train/in_place.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

TEST_CASE("adamw follows the float64 recursion") {
  Random random(1);
  for (const auto& device : test_devices()) {
    for (const Shape& shape : {Shape{1}, Shape{7, 3}, Shape{20003}}) {
      Values p = normals(random, shape), m(p.size()), v(p.size());
      const Tensor tp = upload(*device, shape, p), tm = upload(*device, shape, m), tv = upload(*device, shape, v);
      const double lr = 0.01, b1 = 0.9, b2 = 0.999, eps = 1e-8, decay = 0.1;
      for (int64_t step = 1; step <= 20; ++step) {
        const Values g = normals(random, shape);
        adamw(tp, upload(*device, shape, g), tm, tv, lr, b1, b2, eps, decay, step);
        for (size_t i = 0; i < p.size(); ++i) {
          m[i] = b1 * m[i] + (1 - b1) * g[i];
          v[i] = b2 * v[i] + (1 - b2) * g[i] * g[i];
          const double n = static_cast<double>(step);
          p[i] = p[i] * (1 - lr * decay) - lr * (m[i] / (1 - std::pow(b1, n))) / (std::sqrt(v[i] / (1 - std::pow(b2, n))) + eps);
        }
      }
      CHECK_CLOSE("adamw param", tp, p, 4.12e-7);
      CHECK_CLOSE("adamw m", tm, m, 3.54e-7);
      CHECK_CLOSE("adamw v", tv, v, 3.54e-7);
    }
  }
}

TEST_CASE("adamw: empty tensors, wrong arguments") {
  Device& cpu = *test_devices()[0];
  const Tensor x = upload(cpu, {2}, Values(2)), none = upload(cpu, {0}, {}), half = upload(cpu, {2}, Values(2), DType::bf16);
  adamw(none, none, none, none, 1, 0.9, 0.9, 1e-8, 0, 1);
  CHECK_THROWS(adamw(x, x, x, none, 1, 0.9, 0.9, 1e-8, 0, 1));
  CHECK_THROWS(adamw(x, half, x, x, 1, 0.9, 0.9, 1e-8, 0, 1));
  CHECK_THROWS(adamw(x, x, x, x, 1, 0.9, 0.9, 1e-8, 0, 0));
  CHECK_THROWS(adamw(x, x, x, x, 1, 1.0, 0.9, 1e-8, 0, 1));
}

TEST_CASE("scale, axpy and lerp in place, for mixed types") {
  Random random(2);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (DType other : {DType::f32, DType::bf16}) {
      const Shape shape{40003};
      const Values y = normals(random, shape, dtype), x = normals(random, shape, other);
      const Tensor tx = upload(device, shape, x, other);
      auto updated = [&](const std::function<void(const Tensor&)>& update) {
        const Tensor ty = upload(device, shape, y, dtype);
        update(ty);
        return ty;
      };
      auto expected = [&](const std::function<double(double, double)>& f) {
        Values out(y.size());
        for (size_t i = 0; i < y.size(); ++i) out[i] = f(y[i], x[i]);
        return out;
      };
      const double bound = dtype == DType::f32 ? 6.5e-8 : 4.1e-3;
      CHECK_CLOSE("axpy", updated([&](const Tensor& t) { axpy_in_place(t, tx, -0.3); }), expected([](double a, double b) { return a - 0.3 * b; }), bound);
      CHECK_CLOSE("lerp", updated([&](const Tensor& t) { lerp_in_place(t, tx, 0.1); }), expected([](double a, double b) { return a + 0.1 * (b - a); }), bound);
      CHECK_CLOSE("scale", updated([&](const Tensor& t) { scale_in_place(t, 1.7); }), expected([](double a, double) { return 1.7 * a; }), bound);
    }
    const Tensor nan = upload(device, {2}, {NAN, INFINITY}, dtype);
    scale_in_place(nan, 0);
    CHECK(download(nan) == (Values{0, 0}));
    CHECK_THROWS(axpy_in_place(nan, upload(device, {3}, Values(3), dtype), 1));
  });
}

int main() { return run_all(); }
