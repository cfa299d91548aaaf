// Softmax and its logarithm against float64, gradients against the closed form in float64.
#include "native/ops/elem/softmax.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

Values reference(const Values& x, int64_t dim, bool log) {
  Values y(x.size());
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(dim)) {
    double peak = -INFINITY, sum = 0;
    for (int64_t i = 0; i < dim; ++i) peak = std::max(peak, x[row + i]);
    for (int64_t i = 0; i < dim; ++i) sum += std::exp(x[row + i] - peak);
    for (int64_t i = 0; i < dim; ++i)
      y[row + i] = log ? x[row + i] - peak - std::log(sum) : std::exp(x[row + i] - peak) / sum;
  }
  return y;
}

}  // namespace

TEST_CASE("softmax matches float64") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{1}, Shape{3, 9}, Shape{2, 5, 77}, Shape{301, 1}, Shape{4, 5003}}) {
      for (double scale : {1.0, 30.0}) {
        const Values x = normals(random, shape, dtype, scale), dy = normals(random, shape, dtype);
        for (bool log : {false, true}) {
          const std::string name = log ? "log softmax" : "softmax";
          const Tensor y = softmax(upload(device, shape, x, dtype), log);
          CHECK_CLOSE(name, y, reference(x, shape[-1], log), dtype == DType::f32 ? 7.75e-8 : 4.1e-3);
          // The backward sees the rounded y. In saturated rows dx is all cancellation, which only f64 sums survive.
          if (scale > 1 && device.is_cuda()) continue;
          const Values seen = download(y);
          Values dx(x.size());
          for (size_t row = 0; row < x.size(); row += static_cast<size_t>(shape[-1])) {
            double sum = 0;
            for (int64_t i = 0; i < shape[-1]; ++i) sum += log ? dy[row + i] : dy[row + i] * seen[row + i];
            for (int64_t i = 0; i < shape[-1]; ++i)
              dx[row + i] = log ? dy[row + i] - std::exp(seen[row + i]) * sum : seen[row + i] * (dy[row + i] - sum);
          }
          CHECK_CLOSE(name + " dx", softmax_bwd(upload(device, shape, dy, dtype), y, log), dx, dtype == DType::f32 ? 7.2e-8 : 4.1e-3);
        }
      }
    }
  });
}

TEST_CASE("softmax_bwd matches central differences of the forward") {
  Random random(2);
  Device& device = *test_devices()[0];
  const Shape shape{3, 7};
  for (bool log : {false, true}) {
    const Values x = normals(random, shape), dy = normals(random, shape);
    const Values expected = central_differences([&](const Values& v) { return inner(reference(v, 7, log), dy); }, x);
    CHECK_LE(compare(download(softmax_bwd(upload(device, shape, dy), softmax(upload(device, shape, x), log), log)), expected).relative, 1e-6);
  }
}

TEST_CASE("softmax: huge numbers, NaN, empty tensors, wrong shapes") {
  for (const auto& device : test_devices()) {
    CHECK(download(softmax(upload(*device, {2}, {1e30, -1e30}), false)) == (Values{1, 0}));
    CHECK(download(softmax(upload(*device, {2}, {-INFINITY, 3}), false)) == (Values{0, 1}));
    const Values y = download(softmax(upload(*device, {2, 2}, {NAN, 1, 1, 1}), false));
    CHECK(std::isnan(y[0]) && std::isnan(y[1]) && y[2] == 0.5 && y[3] == 0.5);
    CHECK(softmax(upload(*device, {0, 3}, {}), false).numel() == 0 && softmax(upload(*device, {3, 0}, {}), true).numel() == 0);
    CHECK_THROWS(softmax(upload(*device, {}, {1}), false));
    CHECK_THROWS(softmax_bwd(upload(*device, {2}, Values(2)), upload(*device, {3}, Values(3)), false));
  }
}

int main() { return run_all(); }
