// Element-wise functions of two tensors: exact, so every element must equal the float64 result after one rounding.
#include "native/ops/elem/binary.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

double apply(const std::string& kind, double a, double b) {
  if (kind == "add") return a + b;
  if (kind == "sub") return a - b;
  if (kind == "mul") return a * b;
  if (kind == "div") return a / b;
  if (kind == "maximum") return std::max(a, b);
  if (kind == "minimum") return std::min(a, b);
  if (kind == "equal") return a == b;
  return a > b ? 1 : (a < b ? 0 : 0.5);
}

// Walks every output index the slow way.
Values reference(const std::string& kind, const Shape& sa, const Values& a, const Shape& sb, const Values& b, Shape* out) {
  const int rank = std::max(sa.rank(), sb.rank());
  auto padded = [&](const Shape& s, int d) { return d < rank - s.rank() ? 1 : s[d - (rank - s.rank())]; };
  *out = Shape();
  for (int d = 0; d < rank; ++d) out->push_back(padded(sa, d) == 1 ? padded(sb, d) : padded(sa, d));
  Values y(static_cast<size_t>(out->numel()));
  for (size_t i = 0; i < y.size(); ++i) {
    int64_t rest = static_cast<int64_t>(i), ia = 0, ib = 0, step_a = 1, step_b = 1;
    for (int d = rank - 1; d >= 0; --d) {
      const int64_t index = rest % (*out)[d];
      rest /= (*out)[d];
      if (padded(sa, d) > 1) ia += index * step_a;
      if (padded(sb, d) > 1) ib += index * step_b;
      step_a *= padded(sa, d);
      step_b *= padded(sb, d);
    }
    y[i] = apply(kind, a[static_cast<size_t>(ia)], b[static_cast<size_t>(ib)]);
  }
  return y;
}

const std::vector<std::pair<Shape, Shape>> kShapes = {
    {{7}, {7}}, {{3, 5, 7}, {7}}, {{3, 5, 7}, {3, 1, 7}}, {{3, 5, 7}, {}}, {{}, {3, 5}}, {{5, 7}, {2, 5, 7}}, {{4, 1}, {1, 6}},
    {{2, 1, 3, 1, 2}, {5, 1, 4, 1}}, {{1, 1}, {1}}, {{64, 1031}, {1031}}, {{37, 33, 31}, {33, 1}}, {{3, 40009}, {3, 40009}},
};

}  // namespace

TEST_CASE("binary gives the rounded float64 result for every way of broadcasting") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const char* kind : {"add", "sub", "mul", "div", "maximum", "minimum", "heaviside", "equal"}) {
      for (const auto& [sa, sb] : kShapes) {
        Values a = normals(random, sa, dtype), b = normals(random, sb, dtype);
        if (!b.empty()) b[b.size() / 2] = a[a.size() / 2];
        Shape shape;
        Values expected = reference(kind, sa, a, sb, b, &shape);
        for (double& value : expected) value = rounded(value, dtype);
        const Tensor y = binary(upload(device, sa, a, dtype), upload(device, sb, b, dtype), kind);
        CHECK(y.shape() == shape && y.dtype() == dtype);
        CHECK_MSG(download(y) == expected, kind << " " << sa << " " << sb << " " << device.name());
      }
    }
  });
}

TEST_CASE("binary: NaN, infinities, empty tensors, wrong arguments") {
  for (const auto& device : test_devices()) {
    const Tensor nan = upload(*device, {1}, {NAN}), x = upload(*device, {2}, {-INFINITY, 1});
    for (const char* kind : {"add", "maximum", "minimum", "heaviside"}) {
      for (double value : download(binary(nan, x, kind))) CHECK_MSG(std::isnan(value), kind);
      for (double value : download(binary(x, nan, kind))) CHECK_MSG(std::isnan(value), kind);
    }
    CHECK(download(binary(x, x, "maximum")) == (Values{-INFINITY, 1}));
    const Tensor none = upload(*device, {0, 2}, {});
    CHECK(binary(none, x, "add").shape() == (Shape{0, 2}));
    CHECK_THROWS(binary(x, upload(*device, {3}, Values(3)), "add"));
    CHECK_THROWS(binary(x, upload(*device, {2}, Values(2), DType::bf16), "add"));
    CHECK_THROWS(binary(x, x, "modulo"));
  }
}

int main() { return run_all(); }
