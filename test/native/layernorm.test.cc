// LayerNorm against float64, its gradients against central differences of the float64 forward.
#include "native/core/thread_pool.h"
#include "native/ops/nn/layernorm.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

constexpr double kEps = 1e-5;

Values reference(const Values& x, const Values& weight, const Values& bias, int64_t dim) {
  Values y(x.size());
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(dim)) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < dim; ++i) mean += x[row + i] / dim;
    for (int64_t i = 0; i < dim; ++i) variance += (x[row + i] - mean) * (x[row + i] - mean) / dim;
    const double r = 1 / std::sqrt(variance + kEps);
    for (int64_t i = 0; i < dim; ++i)
      y[row + i] = (x[row + i] - mean) * r * (weight.empty() ? 1 : weight[i]) + (bias.empty() ? 0 : bias[i]);
  }
  return y;
}

// Measured worst over all instruction sets × 1.05.
double forward_bound(DType dtype) { return dtype == DType::f32 ? 2.84e-7 : 3.72e-3; }
double backward_bound(DType dtype) { return dtype == DType::f32 ? 3.14e-7 : 2.28e-3; }

}  // namespace

TEST_CASE("layernorm matches float64 on odd sizes, with and without weight and bias") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{1}, Shape{5, 7}, Shape{2, 3, 64}, Shape{33, 31}, Shape{3, 3072}, Shape{2, 1027}})
      for (int parts = 0; parts < 4; ++parts) {
        const int64_t dim = shape[-1];
        // An offset of 3 makes cancellation in the variance show.
        const Values x = normals(random, shape, dtype, 1, 3), w = normals(random, {dim}, dtype), b = normals(random, {dim}, dtype);
        const Tensor weight = parts & 1 ? upload(device, {dim}, w, dtype) : Tensor{};
        const Tensor bias = parts & 2 ? upload(device, {dim}, b, dtype) : Tensor{};
        const Tensor y = layernorm(upload(device, shape, x, dtype), weight, bias, kEps);
        CHECK(y.shape() == shape && y.dtype() == dtype);
        CHECK_CLOSE("layernorm", y, reference(x, parts & 1 ? w : Values{}, parts & 2 ? b : Values{}, dim), forward_bound(dtype));
      }
  });
}

TEST_CASE("layernorm_bwd matches central differences") {
  Random random(2);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{3, 5}, Shape{2, 2, 17}, Shape{70, 4}}) {
      const int64_t dim = shape[-1];
      const Values x = normals(random, shape, dtype), w = normals(random, {dim}, dtype), dy = normals(random, shape, dtype);
      const Values b(static_cast<size_t>(dim), 0);
      const auto grads = layernorm_bwd(upload(device, shape, dy, dtype), upload(device, shape, x, dtype),
                                       upload(device, {dim}, w, dtype), kEps, true, true, true);
      CHECK_CLOSE("layernorm dx", grads[0],
                  central_differences([&](const Values& v) { return inner(reference(v, w, b, dim), dy); }, x), backward_bound(dtype));
      CHECK_CLOSE("layernorm dweight", grads[1],
                  central_differences([&](const Values& v) { return inner(reference(x, v, b, dim), dy); }, w), backward_bound(dtype));
      CHECK_CLOSE("layernorm dbias", grads[2],
                  central_differences([&](const Values& v) { return inner(reference(x, w, v, dim), dy); }, b), backward_bound(dtype));
      const auto plain = layernorm_bwd(upload(device, shape, dy, dtype), upload(device, shape, x, dtype), {}, kEps, true, false, false);
      CHECK(!plain[1] && !plain[2]);
      CHECK_CLOSE("layernorm dx", plain[0],
                  central_differences([&](const Values& v) { return inner(reference(v, {}, {}, dim), dy); }, x), backward_bound(dtype));
    }
  });
}

TEST_CASE("layernorm gradients have the same bits for every number of threads") {
  Random random(3);
  Device& device = *test_devices()[0];
  const Shape shape{517, 96};
  const Tensor x = upload(device, shape, normals(random, shape)), dy = upload(device, shape, normals(random, shape));
  const int threads = ThreadPool::instance().size();
  std::vector<std::vector<Values>> runs;
  for (int size : {1, 2, 5}) {
    ThreadPool::instance().set_size(size);
    const auto grads = layernorm_bwd(dy, x, {}, kEps, true, true, true);
    runs.push_back({download(grads[0]), download(grads[1]), download(grads[2])});
  }
  ThreadPool::instance().set_size(threads);
  CHECK(runs[0] == runs[1] && runs[0] == runs[2]);
}

TEST_CASE("layernorm writes inside its rows only") {
  Random random(4);
  for (int64_t dim : {1, 31, 33, 100}) {
    const std::vector<float> x = random.normals(3 * dim);
    Guarded<float> y(3 * dim), dx(3 * dim), dgain(dim), dshift(dim), partial(2 * dim);
    norm_rows_cpu({x.data(), nullptr, nullptr, y.data(), 1, 3, dim, 0.0f, 1e-5f, DType::f32});
    norm_rows_bwd_cpu({x.data(), x.data(), nullptr, dx.data(), dgain.data(), dshift.data(), partial.data(), nullptr, 1, 3, dim,
                       0.0f, 1e-5f, DType::f32});
    CHECK(y.intact() && dx.intact() && dgain.intact() && dshift.intact() && partial.intact());
  }
}

TEST_CASE("layernorm: empty tensors, NaN, constant rows, wrong shapes") {
  for (const auto& device : test_devices()) {
    CHECK(layernorm(upload(*device, {0, 8}, {}), {}, {}, kEps).numel() == 0);
    CHECK(layernorm(upload(*device, {4, 0}, {}), {}, {}, kEps).numel() == 0);
    const auto none = layernorm_bwd(upload(*device, {0, 3}, {}), upload(*device, {0, 3}, {}), {}, kEps, true, true, true);
    CHECK(download(none[1]) == Values(3, 0.0) && download(none[2]) == Values(3, 0.0));
    Values x(16, 2.0);
    x[3] = NAN;
    const Values y = download(layernorm(upload(*device, {2, 8}, x), {}, {}, kEps));
    for (int i = 0; i < 8; ++i) CHECK(std::isnan(y[i]) && y[8 + i] == 0);
    const Tensor a = upload(*device, {2, 8}, x);
    CHECK_THROWS(layernorm(a, upload(*device, {7}, Values(7)), {}, kEps));
    CHECK_THROWS(layernorm(a, {}, upload(*device, {8}, Values(8), DType::bf16), kEps));
    CHECK_THROWS(layernorm_bwd(upload(*device, {8, 2}, x), a, {}, kEps, true, false, false));
  }
}

int main() { return run_all(); }
