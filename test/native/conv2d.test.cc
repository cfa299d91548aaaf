// conv2d forward and backward against float64 sums over the definition.
#include "native/ops/conv/conv2d.h"

#include <limits>

#include "native/core/thread_pool.h"
#include "test/native/conv_reference.h"

using namespace rl;
using namespace rl::test;

namespace {

struct ConvCase {
  int64_t batch, in, height, width, out, kernel_h, kernel_w, stride;
  Ints padding;  // top, left, bottom, right
  bool bias;
};

const std::vector<ConvCase> kCases = {
    {2, 3, 17, 23, 5, 3, 3, 1, {1, 1, 1, 1}, true},     {1, 8, 96, 96, 16, 3, 3, 1, {1, 1, 1, 1}, true},
    {2, 16, 24, 24, 64, 3, 3, 1, {1, 1, 1, 1}, false},  {3, 7, 15, 18, 9, 3, 3, 2, {0, 0, 1, 1}, true},
    {2, 32, 16, 16, 32, 3, 3, 2, {0, 0, 1, 1}, true},   {2, 5, 13, 11, 6, 3, 3, 2, {1, 1, 1, 1}, true},
    {2, 12, 19, 21, 33, 1, 1, 1, {0, 0, 0, 0}, true},   {2, 4, 9, 9, 6, 1, 1, 2, {0, 0, 0, 0}, true},
    {2, 3, 42, 28, 24, 14, 14, 14, {0, 0, 0, 0}, true}, {1, 3, 37, 25, 17, 8, 8, 8, {0, 0, 0, 0}, false},
    {2, 2, 20, 31, 3, 5, 4, 3, {2, 1, 0, 3}, true},     {1, 1, 1, 1, 1, 1, 1, 1, {0, 0, 0, 0}, false},
    {1, 2, 5, 5, 2, 5, 5, 1, {0, 0, 0, 0}, true},       {1, 2, 4, 40, 3, 2, 7, 1, {3, 4, 2, 5}, true},
    {2, 130, 7, 6, 70, 3, 3, 1, {1, 1, 1, 1}, true},    {1, 3, 3, 3, 4, 3, 3, 3, {2, 2, 2, 2}, true},
    {1, 3, 200, 180, 4, 3, 3, 1, {1, 1, 1, 1}, true},
};

cpu::ConvShape shape_of(const ConvCase& c) {
  return {c.batch, c.in, c.height, c.width, c.out, (c.height + c.padding[0] + c.padding[2] - c.kernel_h) / c.stride + 1,
          (c.width + c.padding[1] + c.padding[3] - c.kernel_w) / c.stride + 1, c.kernel_h, c.kernel_w, c.stride,
          c.padding[0], c.padding[1]};
}

struct Worst {
  double y = 0, dx = 0, dw = 0, db = 0;
};

Worst run(Device& device, DType dtype, const std::vector<ConvCase>& cases, bool exact = false) {
  Worst worst;
  for (const ConvCase& c : cases) {
    const cpu::ConvShape s = shape_of(c);
    Random random(static_cast<uint64_t>(c.height * 31 + c.width));
    Sample x(device, {s.batch, s.in_channels, s.in_h, s.in_w}, dtype, random, exact);
    Sample w(device, {s.out_channels, s.in_channels, s.kernel_h, s.kernel_w}, dtype, random, exact);
    Sample b(device, {s.out_channels}, dtype, random, exact);
    Sample dy(device, {s.batch, s.out_channels, s.out_h, s.out_w}, dtype, random, exact);
    const ConvReference expected = conv_reference(s, x.values, w.values, c.bias ? &b.values : nullptr, dy.values);
    const Tensor y = conv2d(x.tensor, w.tensor, c.bias ? b.tensor : Tensor{}, c.stride, c.padding);
    const std::vector<Tensor> grads = conv2d_bwd(dy.tensor, x.tensor, w.tensor, c.stride, c.padding, true, true, true);
    CHECK(y.shape() == dy.tensor.shape());
    auto note = [&](double& at, const Tensor& actual, const std::vector<double>& reference, const char* what) {
      const double error = compare(read(actual), reference).relative;
      CHECK_MSG(error < 0.05, what << " of " << x.tensor.shape() << " * " << w.tensor.shape() << " stride " << c.stride
                                   << ": " << error);
      at = std::max(at, error);
    };
    note(worst.y, y, expected.y, "y");
    note(worst.dx, grads[0], expected.dx, "dx");
    note(worst.dw, grads[1], expected.dw, "dw");
    note(worst.db, grads[2], expected.db, "db");
  }
  return worst;
}

}  // namespace

TEST_CASE("conv2d and its gradients match float64") {
  for_each_device_and_isa([&](Device& device, const std::string& where) {
    const Worst f32 = run(device, DType::f32, kCases), bf16 = run(device, DType::bf16, kCases);
    std::printf("  %s: f32 y %.3g dx %.3g dw %.3g db %.3g, bf16 y %.3g dx %.3g dw %.3g db %.3g\n", where.c_str(),
        f32.y, f32.dx,
                f32.dw, f32.db, bf16.y, bf16.dx, bf16.dw, bf16.db);
    // Worst observed on any ISA.
    CHECK_LE(f32.y, 9.37e-7 * 1.05);
    CHECK_LE(f32.dx, 7.46e-7 * 1.05);
    CHECK_LE(f32.dw, 2.04e-6 * 1.05);
    CHECK_LE(f32.db, 9.81e-7 * 1.05);
    for (double error : {bf16.y, bf16.dx, bf16.dw, bf16.db}) CHECK_LE(error, 0x1p-8);  // half a unit of the last place
  });
}

TEST_CASE("conv2d with matmul precision bf16 is exact to f32 on operands that bf16 holds") {
  std::vector<ConvCase> cases = kCases;
  cases.push_back({3, 24, 31, 29, 40, 3, 3, 1, {1, 1, 1, 1}, true});
  cases.push_back({2, 72, 18, 17, 24, 3, 3, 2, {0, 0, 1, 1}, true});
  cases.push_back({2, 9, 20, 33, 11, 2, 5, 1, {0, 2, 1, 2}, false});
  cases.push_back({1, 8, 30, 24, 16, 8, 6, 6, {1, 0, 0, 2}, true});
  for_each_device_and_isa([&](Device& device, const std::string& where) {
    device.matmul_precision = MatmulPrecision::bf16;
    const Worst worst = run(device, DType::f32, cases, true);
    device.matmul_precision = MatmulPrecision::f32;
    std::printf("  %s: y %.3g dx %.3g dw %.3g db %.3g\n", where.c_str(), worst.y, worst.dx, worst.dw, worst.db);
    // Worst observed on any ISA.
    CHECK_LE(worst.y, 6.07e-7 * 1.05);
    CHECK_LE(worst.dx, 5.31e-7 * 1.05);
    CHECK_LE(worst.dw, 9.01e-7 * 1.05);
    CHECK_LE(worst.db, 1.74e-7 * 1.05);
  });
}

TEST_CASE("the reference gradients agree with central differences") {
  const ConvCase c{2, 2, 5, 6, 3, 3, 2, 2, {1, 0, 2, 1}, true};
  const cpu::ConvShape s = shape_of(c);
  Random random(9);
  auto draw = [&](int64_t count) {
    const std::vector<float> values = random.normals(count);
    return std::vector<double>(values.begin(), values.end());
  };
  std::vector<double> x = draw(2 * 2 * 5 * 6), w = draw(3 * 2 * 3 * 2), b = draw(3),
      dy = draw(2 * 3 * s.out_h * s.out_w);
  const ConvReference at = conv_reference(s, x, w, &b, dy);
  auto loss = [&] {
    const ConvReference r = conv_reference(s, x, w, &b, dy);
    double sum = 0;
    for (size_t i = 0; i < dy.size(); ++i) sum += r.y[i] * dy[i];
    return sum;
  };
  auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
    for (size_t i = 0; i < values.size(); ++i) {
      const double value = values[i], h = 1e-3;
      values[i] = value + h;
      const double up = loss();
      values[i] = value - h;
      const double down = loss();
      values[i] = value;
      CHECK_LE(std::fabs((up - down) / (2 * h) - gradient[i]), 1e-9);
    }
  };
  check(x, at.dx);
  check(w, at.dw);
  check(b, at.db);
}

TEST_CASE("conv2d without batch, with NaN, and whatever the number of threads") {
  const std::shared_ptr<Device> device = make_device("cpu");
  Random random(3);
  const Sample w(*device, {5, 4, 3, 3}, DType::f32, random);
  const Ints around = {1, 1, 1, 1};
  const Tensor none = Tensor::empty(*device, {0, 4, 6, 6});
  CHECK(conv2d(none, w.tensor, Tensor{}, 1, around).shape() == Shape({0, 5, 6, 6}));
  const std::vector<Tensor> empty = conv2d_bwd(Tensor::empty(*device, {0, 5, 6, 6}), none, w.tensor, 1, around, true,
      true, true);
  CHECK(empty[0].shape() == none.shape());
  for (double value : read(empty[1])) CHECK(value == 0);
  for (double value : read(empty[2])) CHECK(value == 0);

  // NaN in pixel (3, 2) of channel 1 reaches its 3 x 3 neighbourhood, and that channel's weights alone.
  std::vector<float> values = random.normals(4 * 8 * 8);
  values[64 + 3 * 8 + 2] = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = upload(*device, {1, 4, 8, 8}, DType::f32, values);
  const std::vector<double> y = read(conv2d(x, w.tensor, Tensor{}, 1, around));
  for (size_t i = 0; i < y.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) % 64 / 8, column = static_cast<int64_t>(i) % 8;
    CHECK(std::isnan(y[i]) == (std::abs(row - 3) <= 1 && std::abs(column - 2) <= 1));
  }
  const Sample dy(*device, {1, 5, 8, 8}, DType::f32, random);
  const std::vector<double> dw = read(conv2d_bwd(dy.tensor, x, w.tensor, 1, around, false, true, false)[1]);
  for (size_t i = 0; i < dw.size(); ++i) CHECK(std::isnan(dw[i]) == (i / 9 % 4 == 1));

  const Sample big(*device, {5, 4, 40, 50}, DType::f32, random), grad(*device, {5, 5, 40, 50}, DType::f32, random);
  auto all = [&](int threads) {
    ThreadPool::instance().set_size(threads);
    std::vector<double> joined = read(conv2d(big.tensor, w.tensor, Tensor{}, 1, around));
    for (const Tensor& part : conv2d_bwd(grad.tensor, big.tensor, w.tensor, 1, around, true, true, true))
      for (double value : read(part)) joined.push_back(value);
    return joined;
  };
  const Sample wide(*device, {20, 24, 30, 31}, DType::f32, random), kernel(*device, {40, 24, 3, 3}, DType::f32, random),
      wide_grad(*device, {20, 40, 30, 31}, DType::f32, random);
  auto all_wide = [&](int threads) {
    ThreadPool::instance().set_size(threads);
    std::vector<double> joined = read(conv2d(wide.tensor, kernel.tensor, Tensor{}, 1, around));
    for (const Tensor& part : conv2d_bwd(wide_grad.tensor, wide.tensor, kernel.tensor, 1, around, true, true, true))
      for (double value : read(part)) joined.push_back(value);
    return joined;
  };
  const int size = ThreadPool::instance().size();
  for (MatmulPrecision precision : {MatmulPrecision::f32, MatmulPrecision::bf16}) {
    device->matmul_precision = precision;
    const std::vector<double> one = all(1), one_wide = all_wide(1);
    for (int threads : {2, 7}) {
      CHECK(one == all(threads));
      CHECK(one_wide == all_wide(threads));
    }
  }
  ThreadPool::instance().set_size(size);
}

TEST_CASE("conv2d computes only the gradients asked for and refuses wrong shapes") {
  const std::shared_ptr<Device> device = make_device("cpu");
  Random random(4);
  const Sample x(*device, {1, 2, 4, 4}, DType::f32, random), w(*device, {3, 2, 3, 3}, DType::f32, random),
      dy(*device, {1, 3, 4, 4}, DType::f32, random);
  const Ints around = {1, 1, 1, 1};
  const std::vector<Tensor> grads = conv2d_bwd(dy.tensor, x.tensor, w.tensor, 1, around, false, true, false);
  CHECK(!grads[0].defined() && grads[1].defined() && !grads[2].defined());
  CHECK_THROWS(conv2d(x.tensor, Tensor::empty(*device, {3, 1, 3, 3}), Tensor{}, 1, around));
  CHECK_THROWS(conv2d(x.tensor, w.tensor, Tensor::empty(*device, {2}), 1, around));
  CHECK_THROWS(conv2d(x.tensor, w.tensor, Tensor{}, 0, around));
  CHECK_THROWS(conv2d(x.tensor, w.tensor, Tensor{}, 1, {1, 1}));
  CHECK_THROWS(conv2d(x.tensor, w.tensor, Tensor{}, 1, {-1, 1, 1, 1}));
  CHECK_THROWS(conv2d(x.tensor, Tensor::empty(*device, {3, 2, 5, 5}), Tensor{}, 1, {0, 0, 0, 0}));
  CHECK_THROWS(conv2d(x.tensor, Tensor::empty(*device, {3, 2, 3, 3}, DType::bf16), Tensor{}, 1, around));
  CHECK_THROWS(conv2d_bwd(x.tensor, x.tensor, w.tensor, 1, around, true, true, true));
}

int main() { return run_all(); }
