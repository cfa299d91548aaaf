// Modulation against float64, its gradients against central differences of the float64 forward.
#include "native/core/thread_pool.h"
#include "native/ops/nn/modulate.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

constexpr double kEps = 1e-6;

Values reference(const Values& x, const Values& shift, const Values& scale, const Shape& shape) {
  const int64_t length = shape[1], dim = shape[2];
  Values y(x.size());
  for (int64_t row = 0; row < shape[0] * length; ++row) {
    const double* in = x.data() + row * dim;
    const double* up = shift.data() + row / length * dim;
    const double* gain = scale.data() + row / length * dim;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < dim; ++i) mean += in[i] / dim;
    for (int64_t i = 0; i < dim; ++i) variance += (in[i] - mean) * (in[i] - mean) / dim;
    for (int64_t i = 0; i < dim; ++i) y[row * dim + i] = (in[i] - mean) / std::sqrt(variance + kEps) * (1 + gain[i]) + up[i];
  }
  return y;
}

// Measured worst over all instruction sets × 1.05.
double forward_bound(DType dtype) { return dtype == DType::f32 ? 2.21e-7 : 3.35e-3; }
double backward_bound(DType dtype) { return dtype == DType::f32 ? 2.16e-7 : 3.63e-3; }

}  // namespace

TEST_CASE("modulate matches float64, each batch item with its own row") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{1, 1, 1}, Shape{2, 3, 7}, Shape{3, 65, 64}, Shape{5, 1, 40}, Shape{2, 2, 3072}}) {
      const Shape row{shape[0], shape[2]};
      const Values x = normals(random, shape, dtype, 1, 1), shift = normals(random, row, dtype), scale = normals(random, row, dtype);
      const Tensor y = modulate(upload(device, shape, x, dtype), upload(device, row, shift, dtype), upload(device, row, scale, dtype), kEps);
      CHECK(y.shape() == shape && y.dtype() == dtype);
      CHECK_CLOSE("modulate", y, reference(x, shift, scale, shape), forward_bound(dtype));
    }
  });
}

TEST_CASE("modulate_bwd matches central differences") {
  Random random(2);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{2, 3, 5}, Shape{3, 1, 9}, Shape{2, 40, 3}}) {
      const Shape row{shape[0], shape[2]};
      const Values x = normals(random, shape, dtype), shift = normals(random, row, dtype), scale = normals(random, row, dtype),
                   dy = normals(random, shape, dtype);
      const auto grads = modulate_bwd(upload(device, shape, dy, dtype), upload(device, shape, x, dtype),
                                      upload(device, row, scale, dtype), kEps, true, true, true);
      CHECK_CLOSE("modulate dx", grads[0],
                  central_differences([&](const Values& v) { return inner(reference(v, shift, scale, shape), dy); }, x), backward_bound(dtype));
      CHECK_CLOSE("modulate dshift", grads[1],
                  central_differences([&](const Values& v) { return inner(reference(x, v, scale, shape), dy); }, shift), backward_bound(dtype));
      CHECK_CLOSE("modulate dscale", grads[2],
                  central_differences([&](const Values& v) { return inner(reference(x, shift, v, shape), dy); }, scale), backward_bound(dtype));
      const auto only = modulate_bwd(upload(device, shape, dy, dtype), upload(device, shape, x, dtype),
                                     upload(device, row, scale, dtype), kEps, false, true, false);
      CHECK(!only[0] && !only[2] && download(only[1]) == download(grads[1]));
    }
  });
}

TEST_CASE("modulate: empty tensors, NaN stays in its row, wrong shapes") {
  for (const auto& device : test_devices()) {
    const Tensor none = upload(*device, {2, 0}, {});
    CHECK(modulate(upload(*device, {2, 4, 0}, {}), none, none, kEps).numel() == 0);
    const Tensor rows = upload(*device, {2, 3}, Values(6, 0.5));
    CHECK(modulate(upload(*device, {2, 0, 3}, {}), rows, rows, kEps).numel() == 0);
    const Tensor nothing = upload(*device, {2, 0, 3}, {});
    CHECK(download(modulate_bwd(nothing, nothing, rows, kEps, true, true, true)[1]) == Values(6, 0.0));
    Values x{1, 2, 3, NAN, 5, 6};
    const Values y = download(modulate(upload(*device, {2, 1, 3}, x), rows, rows, kEps));
    for (int i = 0; i < 3; ++i) CHECK(std::isfinite(y[i]) && std::isnan(y[3 + i]));
    CHECK_THROWS(modulate(upload(*device, {2, 1, 3}, x), upload(*device, {3}, Values(3)), rows, kEps));
    CHECK_THROWS(modulate(upload(*device, {2, 3}, x), rows, rows, kEps));
  }
}

int main() { return run_all(); }
