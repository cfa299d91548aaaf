// RMSNorm against float64, its gradients against central differences of the float64 forward.
#include "native/core/thread_pool.h"
#include "native/ops/nn/rmsnorm.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

constexpr double kEps = 1e-6;

Values reference(const Values& x, const Values& weight) {
  const int64_t dim = static_cast<int64_t>(weight.size());
  Values y(x.size());
  for (size_t row = 0; row < x.size(); row += weight.size()) {
    double square = 0;
    for (int64_t i = 0; i < dim; ++i) square += x[row + i] * x[row + i] / dim;
    for (int64_t i = 0; i < dim; ++i) y[row + i] = x[row + i] / std::sqrt(square + kEps) * weight[i];
  }
  return y;
}

// Measured worst over all instruction sets × 1.05.
double forward_bound(DType dtype) { return dtype == DType::f32 ? 2.26e-7 : 2.34e-3; }
double backward_bound(DType dtype) { return dtype == DType::f32 ? 2.52e-7 : 2.75e-3; }

}  // namespace

TEST_CASE("rmsnorm matches float64 on odd sizes") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{1}, Shape{5, 7}, Shape{2, 3, 4, 128}, Shape{33, 31}, Shape{3, 4096}, Shape{2, 1027}}) {
      const int64_t dim = shape[-1];
      const Values x = normals(random, shape, dtype), w = normals(random, {dim}, dtype);
      const Tensor y = rmsnorm(upload(device, shape, x, dtype), upload(device, {dim}, w, dtype), kEps);
      CHECK(y.shape() == shape && y.dtype() == dtype);
      CHECK_CLOSE("rmsnorm", y, reference(x, w), forward_bound(dtype));
    }
  });
}

TEST_CASE("rmsnorm_bwd matches central differences") {
  Random random(2);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{3, 5}, Shape{2, 2, 17}, Shape{130, 3}}) {
      const int64_t dim = shape[-1];
      const Values x = normals(random, shape, dtype), w = normals(random, {dim}, dtype), dy = normals(random, shape, dtype);
      const auto grads = rmsnorm_bwd(upload(device, shape, dy, dtype), upload(device, shape, x, dtype), upload(device, {dim}, w, dtype), kEps, true);
      CHECK_CLOSE("rmsnorm dx", grads[0], central_differences([&](const Values& v) { return inner(reference(v, w), dy); }, x), backward_bound(dtype));
      CHECK_CLOSE("rmsnorm dweight", grads[1], central_differences([&](const Values& v) { return inner(reference(x, v), dy); }, w), backward_bound(dtype));
      CHECK(!rmsnorm_bwd(upload(device, shape, dy, dtype), upload(device, shape, x, dtype), upload(device, {dim}, w, dtype), kEps, false)[1]);
    }
  });
}

TEST_CASE("rmsnorm dweight has the same bits for every number of threads") {
  Random random(3);
  Device& device = *test_devices()[0];
  const Shape shape{517, 96};
  const Tensor x = upload(device, shape, normals(random, shape)), dy = upload(device, shape, normals(random, shape));
  const Tensor weight = upload(device, {96}, normals(random, {96}));
  const int threads = ThreadPool::instance().size();
  std::vector<Values> runs;
  for (int size : {1, 2, 5}) {
    ThreadPool::instance().set_size(size);
    runs.push_back(download(rmsnorm_bwd(dy, x, weight, kEps, true)[1]));
  }
  ThreadPool::instance().set_size(threads);
  CHECK(runs[0] == runs[1] && runs[0] == runs[2]);
}

TEST_CASE("rmsnorm: empty tensors, NaN, wrong shapes") {
  for (const auto& device : test_devices()) {
    const Tensor weight = upload(*device, {3}, {1, 1, 1}), none = upload(*device, {0, 3}, {});
    CHECK(rmsnorm(none, weight, kEps).numel() == 0);
    CHECK(rmsnorm(upload(*device, {4, 0}, {}), upload(*device, {0}, {}), kEps).numel() == 0);
    CHECK(download(rmsnorm_bwd(none, none, weight, kEps, true)[1]) == Values(3, 0.0));
    const Values y = download(rmsnorm(upload(*device, {2, 3}, {1, 2, 3, 4, NAN, 6}), weight, kEps));
    for (int i = 0; i < 3; ++i) CHECK(std::isfinite(y[i]) && std::isnan(y[3 + i]));
    CHECK_THROWS(rmsnorm(none, upload(*device, {2}, Values(2)), kEps));
    CHECK_THROWS(rmsnorm(none, upload(*device, {3}, Values(3), DType::bf16), kEps));
  }
}

int main() { return run_all(); }
