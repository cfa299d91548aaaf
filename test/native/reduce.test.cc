// Reductions against float64 sums over every choice of dimensions.
#include "native/core/thread_pool.h"
#include "native/ops/elem/reduce.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

// `mask` has a bit for every reduced dimension.
Values reference(const std::string& kind, const Shape& shape, const Values& x, unsigned mask) {
  int64_t outputs = 1, reduced = 1;
  for (int d = 0; d < shape.rank(); ++d) (mask >> d & 1 ? reduced : outputs) *= shape[d];
  Values y(static_cast<size_t>(outputs), kind == "max" ? -INFINITY : 0.0);
  for (size_t i = 0; i < x.size(); ++i) {
    int64_t rest = static_cast<int64_t>(i), at = 0, step = 1;
    for (int d = shape.rank() - 1; d >= 0; --d) {
      if (!(mask >> d & 1)) {
        at += rest % shape[d] * step;
        step *= shape[d];
      }
      rest /= shape[d];
    }
    double& out = y[static_cast<size_t>(at)];
    out = kind == "max" ? std::max(out, x[i]) : out + (kind == "sum_squares" ? x[i] * x[i] : x[i]);
  }
  if (kind == "mean")
    for (double& value : y) value /= static_cast<double>(reduced);
  return y;
}

std::vector<int64_t> dims_of(const Shape& shape, unsigned mask) {
  std::vector<int64_t> dims;
  for (int d = 0; d < shape.rank(); ++d)
    if (mask >> d & 1) dims.push_back(d % 2 ? d : d - shape.rank());
  return dims;
}

// Half a unit in the last place for f32 sums in f64, of the output type for bf16; × 1.05.
double bound(DType dtype) { return dtype == DType::f32 ? 6.3e-8 : 4.1e-3; }

}  // namespace

TEST_CASE("reduce matches float64 for every choice of dimensions") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{7}, Shape{5, 3}, Shape{2, 3, 4, 5}, Shape{3, 1, 257}, Shape{4099, 3}, Shape{3, 2053, 17}, Shape{70001}, Shape{2, 700, 300}}) {
      const Values x = normals(random, shape, dtype, 1, 0.5);
      const Tensor tx = upload(device, shape, x, dtype);
      for (unsigned mask = 1; mask < 1u << shape.rank(); ++mask) {
        for (const char* kind : {"sum", "mean", "max", "sum_squares"}) {
          const Tensor y = reduce(tx, kind, dims_of(shape, mask), false), kept = reduce(tx, kind, dims_of(shape, mask), true);
          CHECK(y.dtype() == (std::string(kind) == "sum_squares" ? DType::f32 : dtype));
          CHECK(kept.rank() == shape.rank() && kept.numel() == y.numel());
          const Values expected = reference(kind, shape, x, mask);
          // Several runs of dimensions keep f32 between the passes; CUDA sums chunks in f32.
          const double factor = device.is_cuda() ? 20 : 2;
          CHECK_CLOSE(kind, y, expected, y.dtype() == dtype ? bound(dtype) * factor : bound(DType::f32) * factor);
          if (std::string(kind) == "max") CHECK(download(y) == expected);
        }
      }
    }
  });
}

TEST_CASE("reduce has the same bits for every number of threads") {
  Random random(2);
  Device& device = *test_devices()[0];
  const Tensor x = upload(device, {130, 1111}, normals(random, {130, 1111}));
  const int threads = ThreadPool::instance().size();
  for (const std::vector<int64_t>& dims : {std::vector<int64_t>{}, {0}, {1}}) {
    std::vector<Values> runs;
    for (int size : {1, 2, 5}) {
      ThreadPool::instance().set_size(size);
      runs.push_back(download(reduce(x, "sum", dims, false)));
    }
    CHECK(runs[0] == runs[1] && runs[0] == runs[2]);
  }
  ThreadPool::instance().set_size(threads);
}

TEST_CASE("reduce: scalars, empty tensors, NaN, wrong dimensions") {
  for (const auto& device : test_devices()) {
    const Tensor scalar = upload(*device, {}, {-3});
    CHECK(download(reduce(scalar, "sum", {}, false)) == Values{-3});
    CHECK(download(reduce(scalar, "sum_squares", {}, false)) == Values{9});
    const Tensor none = upload(*device, {0, 2}, {});
    CHECK(download(reduce(none, "sum", {0}, false)) == (Values{0, 0}));
    CHECK(download(reduce(none, "max", {0}, false)) == (Values{-INFINITY, -INFINITY}));
    CHECK(std::isnan(download(reduce(none, "mean", {}, false))[0]));
    CHECK(reduce(none, "sum", {1}, false).shape() == Shape{0});
    const Tensor nan = upload(*device, {2, 3}, {1, NAN, 9, 1, 2, 3});
    for (const char* kind : {"sum", "mean", "max", "sum_squares"}) {
      const Values rows = download(reduce(nan, kind, {1}, false)), columns = download(reduce(nan, kind, {0}, false));
      CHECK_MSG(std::isnan(rows[0]) && std::isfinite(rows[1]) && std::isnan(columns[1]) && std::isfinite(columns[2]), kind);
    }
    CHECK_THROWS(reduce(nan, "sum", {2}, false));
    CHECK_THROWS(reduce(nan, "sum", {1, -1}, false));
    CHECK_THROWS(reduce(nan, "median", {1}, false));
  }
}

int main() { return run_all(); }
