// Element-wise functions against float64, their derivatives against central differences of the float64 function.
#include "native/ops/elem/unary.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

struct Function {
  const char* kind;
  std::function<double(double)> f;
  double offset;  // of the inputs, for functions of positive numbers
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

const std::vector<Function> kFunctions = {
    {"gelu_tanh", [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }, 0},
    {"gelu_erf", [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }, 0},
    {"quick_gelu", [](double x) { return x * sigmoid(1.702 * x); }, 0},
    {"silu", [](double x) { return x * sigmoid(x); }, 0},
    {"relu", [](double x) { return x > 0 ? x : 0; }, 0},
    {"softplus", [](double x) { return std::log1p(std::exp(-std::fabs(x))) + std::max(x, 0.0); }, 0},
    {"exp", [](double x) { return std::exp(x); }, 0},
    {"expm1", [](double x) { return std::expm1(x); }, 0},
    {"log", [](double x) { return std::log(x); }, 6},
    {"sqrt", [](double x) { return std::sqrt(x); }, 6},
    {"square", [](double x) { return x * x; }, 0},
    {"abs", [](double x) { return std::fabs(x); }, 0},
    {"sigmoid", sigmoid, 0},
    {"tanh", [](double x) { return std::tanh(x); }, 0},
    {"sign", [](double x) { return (x > 0) - (x < 0); }, 0},
    {"neg", [](double x) { return -x; }, 0},
    {"reciprocal", [](double x) { return 1 / x; }, 6},
};

// Measured worst × 1.05; tensors of one element make it a relative error of single values.
double forward_bound(DType dtype) { return dtype == DType::f32 ? 9.93e-7 : 3.59e-3; }
double backward_bound(DType dtype) { return dtype == DType::f32 ? 1.1e-6 : 3.79e-3; }

// Numbers at least 1e-2 from the kink at 0, and positive where the function needs it.
Values inputs(Random& random, const Shape& shape, DType dtype, double offset) {
  Values x = normals(random, shape, dtype, offset > 0 ? 1 : 3, offset);
  for (double& value : x) {
    if (std::fabs(value) < 1e-2) value = rounded(0.02, dtype);
    if (offset > 0 && value < 0.5) value = 0.5;
  }
  return x;
}

}  // namespace

TEST_CASE("unary matches float64, unary_bwd its derivative") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Function& function : kFunctions) {
      for (const Shape& shape : {Shape{}, Shape{1}, Shape{3, 5}, Shape{2, 4099}, Shape{20011}}) {
        const Values x = inputs(random, shape, dtype, function.offset), dy = normals(random, shape, dtype);
        Values y(x.size()), dx(x.size());
        for (size_t i = 0; i < x.size(); ++i) {
          y[i] = function.f(x[i]);
          dx[i] = dy[i] * (function.f(x[i] + 1e-5) - function.f(x[i] - 1e-5)) / 2e-5;
        }
        const Tensor tx = upload(device, shape, x, dtype);
        CHECK_CLOSE(std::string(function.kind), unary(tx, function.kind), y, forward_bound(dtype));
        CHECK_CLOSE(function.kind + std::string("'"), unary_bwd(upload(device, shape, dy, dtype), tx, function.kind), dx,
                    backward_bound(dtype));
      }
    }
  });
}

TEST_CASE("unary: kinks, NaN, empty tensors, wrong arguments") {
  for (const auto& device : test_devices()) {
    const Tensor zero = upload(*device, {2}, {0, NAN}), one = upload(*device, {2}, {1, 1});
    for (const char* kind : {"relu", "abs", "sign"}) CHECK(download(unary_bwd(one, zero, kind))[0] == 0);
    for (const Function& function : kFunctions) {
      CHECK_MSG(std::isnan(download(unary(zero, function.kind))[1]), function.kind);
      CHECK(unary(upload(*device, {0, 3}, {}), function.kind).numel() == 0);
    }
    CHECK(download(unary(upload(*device, {3}, {-200, 0, 200}), "softplus")) == (Values{0, static_cast<float>(std::log(2.0)), 200}));
    const Values logs = download(unary(upload(*device, {4}, {0, INFINITY, -1, 1e-40}), "log"));
    CHECK(logs[0] == -INFINITY && logs[1] == INFINITY && std::isnan(logs[2]) && std::fabs(logs[3] + 92.1034) < 1e-4);
    CHECK_THROWS(unary(one, "cosine"));
    CHECK_THROWS(unary_bwd(upload(*device, {3}, Values(3)), one, "exp"));
    CHECK_THROWS(unary(upload(*device, {1}, {1}, DType::i32), "exp"));
  }
}

int main() { return run_all(); }
