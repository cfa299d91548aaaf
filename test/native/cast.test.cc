// Conversions are exact or correctly rounded; fill and select write exact values.
#include "native/ops/elem/cast.h"
#include "native/ops/elem/fill.h"
#include "native/ops/elem/select.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

TEST_CASE("cast rounds to nearest even and back exactly") {
  Random random(1);
  for (const auto& device : test_devices()) {
    Values x = normals(random, {70001});
    x[3] = NAN, x[4] = -INFINITY, x[5] = 1.00390625, x[6] = 1.01171875, x[7] = 1e-40;
    Values expected = x;
    for (double& value : expected) value = rounded(value, DType::bf16);
    const Tensor narrow = cast(upload(*device, {70001}, x), "bf16");
    CHECK(narrow.dtype() == DType::bf16);
    CHECK_LE(compare(download(narrow), expected).max_abs, 0);
    CHECK_LE(compare(download(cast(narrow, "f32")), expected).max_abs, 0);
    CHECK_LE(compare(download(cast(narrow, "bf16")), expected).max_abs, 0);
    CHECK(download(cast(upload(*device, {3}, {-7, 0, 16777217}, DType::i32), "f32")) == (Values{-7, 0, 16777216}));
    CHECK(cast(upload(*device, {0}, {}), "bf16").numel() == 0);
    CHECK_THROWS(cast(narrow, "i32"));
    CHECK_THROWS(cast(narrow, "f8"));
  }
}

TEST_CASE("fill sets every element of every type") {
  for (const auto& device : test_devices()) {
    for (DType dtype : {DType::f32, DType::bf16, DType::i32}) {
      const Tensor x = upload(*device, {70001}, Values(70001), dtype);
      fill(x, -3);
      CHECK(download(x) == Values(70001, -3));
      fill(upload(*device, {0}, {}, dtype), 1);
    }
    CHECK_THROWS(fill(upload(*device, {1}, {0}, DType::i32), 0.5));
    CHECK_THROWS(fill(upload(*device, {1}, {0}, DType::i32), 3e9));
  }
}

TEST_CASE("select keeps the other side's NaN out") {
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    const Tensor mask = upload(device, {4}, {0, 1, -2, 0}, dtype);
    const Tensor a = upload(device, {4}, {NAN, 1, 2, INFINITY}, dtype), b = upload(device, {4}, {5, NAN, NAN, 6}, dtype);
    CHECK(download(select(mask, a, b)) == (Values{5, 1, 2, 6}));
    CHECK_THROWS(select(mask, a, upload(device, {3}, Values(3), dtype)));
  });
}

int main() { return run_all(); }
