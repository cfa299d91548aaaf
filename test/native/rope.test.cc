// Rotary embedding against float64 for the three pairings in use; the inverse undoes it.
#include "native/ops/nn/rope.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

struct Tables {
  Values cosine, sine;
};

Tables random_tables(Random& random, int64_t length, int64_t pairs) {
  Tables t;
  for (int64_t i = 0; i < length * pairs; ++i) {
    const double angle = random.uniform(-10, 10);
    t.cosine.push_back(rounded(std::cos(angle), DType::f32));
    t.sine.push_back(rounded(std::sin(angle), DType::f32));
  }
  return t;
}

Values reference(const Values& x, const Tables& t, const Shape& shape, int64_t block) {
  const int64_t length = shape[1], heads = shape[2], dim = shape[3];
  Values y(x.size());
  for (int64_t row = 0; row < shape[0] * length * heads; ++row) {
    const int64_t token = row / heads % length;
    for (int64_t pair = 0; pair < dim / 2; ++pair) {
      const int64_t p = row * dim + pair / (block / 2) * block + pair % (block / 2), q = p + block / 2;
      const double c = t.cosine[token * (dim / 2) + pair], s = t.sine[token * (dim / 2) + pair];
      y[p] = x[p] * c - x[q] * s;
      y[q] = x[p] * s + x[q] * c;
    }
  }
  return y;
}

// Measured worst over all instruction sets × 1.05.
double bound(DType dtype) { return dtype == DType::f32 ? 8.49e-8 : 2.91e-3; }

}  // namespace

TEST_CASE("rope matches float64: neighbours, halves of halves, halves") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{1, 1, 1, 4}, Shape{2, 5, 3, 12}, Shape{1, 9, 2, 128}, Shape{3, 4, 16, 64}})
      for (int64_t block : {int64_t{2}, shape[3] / 2, shape[3]}) {
        const int64_t pairs = shape[3] / 2;
        const Values x = normals(random, shape, dtype);
        const Tables t = random_tables(random, shape[1], pairs);
        const Tensor cosine = upload(device, {shape[1], pairs}, t.cosine), sine = upload(device, {shape[1], pairs}, t.sine);
        CHECK_CLOSE("rope", rope(upload(device, shape, x, dtype), cosine, sine, block, false), reference(x, t, shape, block), bound(dtype));
        // The gradient of a rotation is the rotation back.
        Tables back = t;
        for (double& s : back.sine) s = -s;
        CHECK_CLOSE("rope inverse", rope(upload(device, shape, x, dtype), cosine, sine, block, true), reference(x, back, shape, block), bound(dtype));
      }
  });
}

TEST_CASE("rope: inverse is the gradient (central differences)") {
  Random random(2);
  const Shape shape{1, 2, 2, 8};
  const Tables t = random_tables(random, 2, 4);
  const Values x = normals(random, shape), dy = normals(random, shape);
  for (const auto& device : test_devices()) {
    const Tensor cosine = upload(*device, {2, 4}, t.cosine), sine = upload(*device, {2, 4}, t.sine);
    for (int64_t block : {2, 4, 8})
      CHECK_CLOSE("rope dx", rope(upload(*device, shape, dy), cosine, sine, block, true),
                  central_differences([&](const Values& v) { return inner(reference(v, t, shape, block), dy); }, x), 5.77e-8);
  }
}

TEST_CASE("rope: position zero is the identity; empty, NaN, wrong shapes") {
  for (const auto& device : test_devices()) {
    const Tensor one = upload(*device, {1, 2}, {1, 1}), zero = upload(*device, {1, 2}, {0, 0});
    const Values x{1, -2, 3, -4};
    CHECK(download(rope(upload(*device, {1, 1, 1, 4}, x), one, zero, 2, false)) == x);
    CHECK(rope(upload(*device, {0, 1, 3, 4}, {}), one, zero, 2, false).numel() == 0);
    CHECK(rope(upload(*device, {2, 1, 0, 4}, {}), one, zero, 4, false).numel() == 0);
    const Values y = download(rope(upload(*device, {1, 1, 1, 4}, {1, NAN, 3, 4}), one, zero, 2, false));
    CHECK(std::isnan(y[0]) && std::isnan(y[1]) && y[2] == 3 && y[3] == 4);
    const Tensor a = upload(*device, {1, 1, 1, 4}, x);
    CHECK_THROWS(rope(a, one, zero, 3, false));
    CHECK_THROWS(rope(a, one, zero, 8, false));
    CHECK_THROWS(rope(a, upload(*device, {2, 2}, Values(4)), zero, 2, false));
    CHECK_THROWS(rope(a, upload(*device, {1, 2}, Values(2), DType::bf16), zero, 2, false));
  }
}

int main() { return run_all(); }
