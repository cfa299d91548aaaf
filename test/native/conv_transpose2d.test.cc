// conv_transpose2d forward and backward against float64: it is the gradient map of a convolution, whose reference is in
// conv_reference.h.
#include "native/ops/conv/conv_transpose2d.h"

#include <limits>

#include "test/native/conv_reference.h"

using namespace rl;
using namespace rl::test;

namespace {

struct TransposeCase {
  int64_t batch, in, height, width, out, kernel_h, kernel_w, stride;
};

const std::vector<TransposeCase> kCases = {
    {2, 8, 7, 5, 6, 4, 4, 4}, {1, 16, 12, 12, 16, 2, 2, 2}, {2, 3, 6, 9, 5, 3, 3, 1}, {2, 4, 5, 6, 3, 3, 3, 2},
    {1, 5, 4, 3, 2, 2, 3, 5}, {1, 40, 20, 30, 17, 4, 4, 2}, {1, 1, 1, 1, 1, 1, 1, 1}, {3, 2, 9, 2, 9, 5, 1, 3},
};

void run(Device& device, DType dtype, double worst[4]) {
  for (const TransposeCase& c : kCases) {
    const cpu::ConvShape s{c.batch, c.out, (c.height - 1) * c.stride + c.kernel_h,
        (c.width - 1) * c.stride + c.kernel_w,
                           c.in, c.height, c.width, c.kernel_h, c.kernel_w, c.stride, 0, 0};
    Random random(static_cast<uint64_t>(c.in * 100 + c.width));
    const Sample x(device, {c.batch, c.in, c.height, c.width}, dtype, random);
    const Sample w(device, {c.in, c.out, c.kernel_h, c.kernel_w}, dtype, random);
    const Sample b(device, {c.out}, dtype, random);
    const Sample dy(device, {c.batch, c.out, s.in_h, s.in_w}, dtype, random);
    // In the convolution's terms its input is dy, its output gradient x.
    ConvReference expected = conv_reference(s, dy.values, w.values, nullptr, x.values);
    std::vector<double> db(b.values.size(), 0);
    for (size_t i = 0; i < expected.dx.size(); ++i) {
      const size_t channel = i / static_cast<size_t>(s.in_h * s.in_w) % b.values.size();
      expected.dx[i] += b.values[channel];
      db[channel] += dy.values[i];
    }
    const Tensor y = conv_transpose2d(x.tensor, w.tensor, b.tensor, c.stride);
    CHECK(y.shape() == dy.tensor.shape());
    const std::vector<Tensor> grads = conv_transpose2d_bwd(dy.tensor, x.tensor, w.tensor, c.stride, true, true, true);
    const Tensor* actual[4] = {&y, &grads[0], &grads[1], &grads[2]};
    const std::vector<double>* reference[4] = {&expected.dx, &expected.y, &expected.dw, &db};
    for (int i = 0; i < 4; ++i) worst[i] = std::max(worst[i], compare(read(*actual[i]), *reference[i]).relative);
  }
}

}  // namespace

TEST_CASE("conv_transpose2d and its gradients match float64") {
  for_each_device_and_isa([&](Device& device, const std::string& where) {
    double f32[4] = {}, bf16[4] = {};
    run(device, DType::f32, f32);
    run(device, DType::bf16, bf16);
    std::printf("  %s: f32 y %.3g dx %.3g dw %.3g db %.3g, bf16 y %.3g dx %.3g dw %.3g db %.3g\n", where.c_str(),
        f32[0],
                f32[1], f32[2], f32[3], bf16[0], bf16[1], bf16[2], bf16[3]);
    for (int i = 0; i < 4; ++i) {
      CHECK_LE(f32[i], 6.65e-7 * 1.05);  // worst observed, any ISA
      CHECK_LE(bf16[i], 0x1p-8);         // rounding to bf16: half a unit of the last place
    }
  });
}

TEST_CASE("conv_transpose2d without bias, without batch, and with NaN") {
  const std::shared_ptr<Device> device = make_device("cpu");
  Random random(1);
  const Sample w(*device, {2, 3, 2, 2}, DType::f32, random);
  const Tensor none = Tensor::empty(*device, {0, 2, 4, 4});
  CHECK(conv_transpose2d(none, w.tensor, Tensor{}, 2).shape() == Shape({0, 3, 8, 8}));
  const std::vector<Tensor> grads = conv_transpose2d_bwd(Tensor::empty(*device, {0, 3, 8, 8}), none, w.tensor, 2,
      true, true, true);
  for (double value : read(grads[1])) CHECK(value == 0);
  for (double value : read(grads[2])) CHECK(value == 0);
  std::vector<float> values(2 * 3 * 3, 1);
  values[4] = std::numeric_limits<float>::quiet_NaN();  // pixel (1, 1) of channel 0
  const std::vector<double> y = read(conv_transpose2d(upload(*device, {1, 2, 3, 3}, DType::f32, values), w.tensor,
      Tensor{}, 2));
  for (int64_t i = 0; i < 3 * 36; ++i) {
    const int64_t row = i % 36 / 6, column = i % 6;
    CHECK(std::isnan(y[static_cast<size_t>(i)]) == (row / 2 == 1 && column / 2 == 1));
  }
}

TEST_CASE("conv_transpose2d refuses wrong shapes") {
  const std::shared_ptr<Device> device = make_device("cpu");
  const Tensor x = Tensor::empty(*device, {1, 2, 3, 3}), w = Tensor::empty(*device, {3, 2, 2, 2});
  CHECK_THROWS(conv_transpose2d(x, w, Tensor{}, 2));
  CHECK_THROWS(conv_transpose2d(x, Tensor::empty(*device, {2, 4, 2, 2}), Tensor::empty(*device, {3}), 2));
  CHECK_THROWS(conv_transpose2d(x, Tensor::empty(*device, {2, 4, 2, 2}), Tensor{}, 0));
}

int main() { return run_all(); }
