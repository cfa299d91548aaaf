// Matrix products and their gradients against float64: batches, shared operands, transposes, bias, activations.
#include "native/core/thread_pool.h"
#include "native/ops/nn/matmul.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

double activate(const std::string& kind, double x) {
  if (kind == "gelu_tanh") return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  if (kind == "gelu_erf") return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
  if (kind == "quick_gelu") return x / (1 + std::exp(-1.702 * x));
  if (kind == "silu") return x / (1 + std::exp(-x));
  return kind == "relu" ? std::max(x, 0.0) : x;
}

struct Problem {
  Shape a, b;
  bool transpose_a = false, transpose_b = false;
};

// C and its shape, batch by batch with plain loops.
Values reference(const Problem& p, const Values& a, const Values& b, Shape* shape = nullptr) {
  const int64_t ar = p.a.rank() == 1 ? 1 : p.a[-2], ac = p.a[-1], br = p.b[-2], bc = p.b[-1];
  const int64_t m = p.transpose_a ? ac : ar, k = p.transpose_a ? ar : ac, n = p.transpose_b ? br : bc;
  const Shape& leader = p.a.rank() > 2 ? p.a : p.b;
  const int64_t batch = leader.numel(0, leader.rank() - 2);
  Values c(static_cast<size_t>(batch * m * n));
  for (int64_t z = 0; z < batch; ++z) {
    const double* az = a.data() + (p.a.rank() > 2 ? z * ar * ac : 0);
    const double* bz = b.data() + (p.b.rank() > 2 ? z * br * bc : 0);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < k; ++l)
          sum += az[p.transpose_a ? l * ac + i : i * ac + l] * bz[p.transpose_b ? j * bc + l : l * bc + j];
        c[(z * m + i) * n + j] = sum;
      }
  }
  if (shape != nullptr) {
    *shape = Shape{};
    for (int i = 0; i < leader.rank() - 2; ++i) shape->push_back(leader[i]);
    if (p.a.rank() > 1) shape->push_back(m);
    shape->push_back(n);
  }
  return c;
}

const std::vector<Problem>& problems() {
  static const std::vector<Problem> all{
      {{7}, {7, 5}},                                     // one row
      {{3, 7}, {7, 5}},
      {{7, 3}, {5, 7}, true, true},
      {{2, 3, 4, 9}, {6, 9}, false, true},               // linear on any leading dimensions
      {{4, 5, 3}, {5, 6}, true, false},                  // shared b, a transposed: no collapse
      {{5, 3}, {4, 5, 6}, true, false},                  // shared a
      {{3, 5}, {2, 2, 6, 5}, false, true},
      {{2, 3, 8, 17}, {2, 3, 17, 4}},                    // both batched
      {{3, 17, 8}, {3, 4, 17}, true, true},
  };
  return all;
}

// Measured worst over all instruction sets × 1.05.
double bound(DType dtype) { return dtype == DType::f32 ? 3.4e-7 : 3.43e-3; }

}  // namespace

TEST_CASE("matmul matches float64 for every batching and transpose") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Problem& p : problems()) {
      const Values a = normals(random, p.a, dtype), b = normals(random, p.b, dtype);
      Shape shape;
      const Values expected = reference(p, a, b, &shape);
      const Tensor c = matmul(upload(device, p.a, a, dtype), upload(device, p.b, b, dtype), {}, p.transpose_a, p.transpose_b, "none");
      CHECK_MSG(c.shape() == shape && c.dtype() == dtype, p.a << " x " << p.b << " gave " << c.shape());
      CHECK_CLOSE("matmul", c, expected, bound(dtype));
    }
  });
}

TEST_CASE("matmul adds the bias and applies the activation") {
  Random random(2);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    const Problem p{{2, 9, 33}, {19, 33}, false, true};
    const Values x = normals(random, p.a, dtype, 0.3), w = normals(random, p.b, dtype, 0.3), bias = normals(random, {19}, dtype);
    for (const char* kind : {"none", "gelu_tanh", "gelu_erf", "quick_gelu", "silu", "relu"}) {
      Values expected = reference(p, x, w);
      for (size_t i = 0; i < expected.size(); ++i) expected[i] = activate(kind, expected[i] + bias[i % 19]);
      CHECK_CLOSE(std::string("linear ") + kind,
                  matmul(upload(device, p.a, x, dtype), upload(device, p.b, w, dtype), upload(device, {19}, bias, dtype), false, true, kind),
                  expected, bound(dtype));
    }
  });
}

TEST_CASE("matmul_bwd matches central differences for every batching and transpose") {
  Random random(3);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Problem& p : problems()) {
      const Values a = normals(random, p.a, dtype), b = normals(random, p.b, dtype);
      Shape shape;
      reference(p, a, b, &shape);
      const Values dy = normals(random, shape, dtype);
      const auto grads = matmul_bwd(upload(device, shape, dy, dtype), upload(device, p.a, a, dtype), upload(device, p.b, b, dtype),
                                    p.transpose_a, p.transpose_b, true, true);
      CHECK(grads[0].shape() == p.a && grads[1].shape() == p.b);
      CHECK_CLOSE("matmul da", grads[0], central_differences([&](const Values& v) { return inner(reference(p, v, b), dy); }, a), bound(dtype));
      CHECK_CLOSE("matmul db", grads[1], central_differences([&](const Values& v) { return inner(reference(p, a, v), dy); }, b), bound(dtype));
    }
  });
}

TEST_CASE("linear_bwd gives exactly what is asked for") {
  Random random(4);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    const Shape xs{2, 35, 11}, ws{6, 11}, ys{2, 35, 6};
    const Problem p{xs, ws, false, true};
    const Values x = normals(random, xs, dtype), w = normals(random, ws, dtype), dy = normals(random, ys, dtype);
    Values dbias(6);
    for (size_t i = 0; i < dy.size(); ++i) dbias[i % 6] += dy[i];
    const Tensor up = upload(device, ys, dy, dtype), xt = upload(device, xs, x, dtype), wt = upload(device, ws, w, dtype);
    const auto grads = linear_bwd(up, xt, wt, true, true, true);
    CHECK_CLOSE("linear dx", grads[0], central_differences([&](const Values& v) { return inner(reference(p, v, w), dy); }, x), bound(dtype));
    CHECK_CLOSE("linear dweight", grads[1], central_differences([&](const Values& v) { return inner(reference(p, x, v), dy); }, w), bound(dtype));
    CHECK_CLOSE("linear dbias", grads[2], dbias, bound(dtype));
    const auto frozen = linear_bwd(up, {}, wt, true, false, false);
    CHECK(!frozen[1] && !frozen[2] && download(frozen[0]) == download(grads[0]));
    const auto first_layer = linear_bwd(up, xt, {}, false, true, false);
    CHECK(!first_layer[0] && download(first_layer[1]) == download(grads[1]));
  });
}

TEST_CASE("matmul gradients have the same bits for every number of threads") {
  Random random(5);
  Device& device = *test_devices()[0];
  const Tensor x = upload(device, {301, 70}, normals(random, {301, 70})), dy = upload(device, {301, 90}, normals(random, {301, 90}));
  const Tensor w = upload(device, {90, 70}, normals(random, {90, 70}));
  const int threads = ThreadPool::instance().size();
  std::vector<std::vector<Values>> runs;
  for (int size : {1, 2, 5}) {
    ThreadPool::instance().set_size(size);
    const auto grads = linear_bwd(dy, x, w, true, true, true);
    runs.push_back({download(grads[0]), download(grads[1]), download(grads[2])});
  }
  ThreadPool::instance().set_size(threads);
  CHECK(runs[0] == runs[1] && runs[0] == runs[2]);
}

TEST_CASE("device.matmul_precision = bf16 multiplies rounded operands") {
  Random random(6);
  for (const auto& device : test_devices()) {
    const Problem p{{24, 96}, {40, 96}, false, true};
    Values a = normals(random, p.a), b = normals(random, p.b);
    device->matmul_precision = MatmulPrecision::bf16;
    const Tensor c = matmul(upload(*device, p.a, a), upload(*device, p.b, b), {}, false, true, "none");
    for (double& value : a) value = rounded(value, DType::bf16);
    for (double& value : b) value = rounded(value, DType::bf16);
    CHECK_CLOSE("matmul bf16 operands", c, reference(p, a, b), 1.29e-7);
    device->matmul_precision = MatmulPrecision::f32;
  }
}

TEST_CASE("matmul: empty tensors, NaN, wrong shapes and names") {
  for (const auto& device : test_devices()) {
    const Tensor none = upload(*device, {0, 3}, {}), w = upload(*device, {2, 3}, {1, 2, 3, 4, 5, 6});
    CHECK(matmul(none, w, {}, false, true, "none").shape() == (Shape{0, 2}));
    CHECK(download(matmul(none, none, {}, true, false, "none")) == Values(9, 0.0));
    CHECK(download(matmul(upload(*device, {2, 0}, {}), upload(*device, {0, 2}, {}), upload(*device, {2}, {1, -1}), false, false, "relu")) ==
          (Values{1, 0, 1, 0}));
    const auto grads = linear_bwd(upload(*device, {0, 2}, {}), none, w, true, true, true);
    CHECK(grads[0].shape() == (Shape{0, 3}) && download(grads[1]) == Values(6, 0.0) && download(grads[2]) == Values(2, 0.0));
    const Tensor no_batch = upload(*device, {0, 3, 2}, {});
    CHECK(download(matmul_bwd(upload(*device, {0, 2, 3}, {}), no_batch, upload(*device, {3, 3}, Values(9)), true, false, false, true)[1]) ==
          Values(9, 0.0));
    const Values y = download(matmul(upload(*device, {2, 3}, {1, NAN, 1, 1, 1, 1}), w, {}, false, true, "none"));
    CHECK(std::isnan(y[0]) && std::isnan(y[1]) && y[2] == 6 && y[3] == 15);
    CHECK_THROWS(matmul(w, w, {}, false, false, "none"));
    CHECK_THROWS(matmul(w, w, {}, false, true, "swish"));
    CHECK_THROWS(matmul(w, w, upload(*device, {3}, Values(3)), false, true, "none"));
    CHECK_THROWS(matmul(upload(*device, {2, 2, 3}, Values(12)), upload(*device, {3, 3, 2}, Values(18)), {}, false, false, "none"));
    CHECK_THROWS(matmul(w, upload(*device, {2, 3}, Values(6), DType::bf16), {}, false, true, "none"));
  }
}

int main() { return run_all(); }
