// group_norm with and without SiLU against float64, gradients against float64 formulas that are themselves checked by
// central differences.
#include "native/ops/conv/group_norm.h"

#include <limits>

#include "native/core/thread_pool.h"
#include "test/native/conv_reference.h"

using namespace rl;
using namespace rl::test;

namespace {

struct NormCase {
  int64_t batch, channels, height, width, groups;
};

const std::vector<NormCase> kCases = {{2, 8, 9, 7, 4}, {1, 32, 24, 24, 32}, {3, 6, 1, 1, 2}, {2, 64, 33, 31, 8},
    {1, 4, 50, 40, 1}};
constexpr double kEps = 1e-6;

using Values = std::vector<double>;

Values forward(const NormCase& c, const Values& x, const Values& w, const Values& b, bool silu) {
  Values y(x.size());
  const int64_t pixels = c.height * c.width, width = c.channels / c.groups, count = width * pixels;
  for (int64_t group = 0; group < c.batch * c.groups; ++group) {
    const auto base = static_cast<size_t>(group * count);
    double mean = 0, var = 0;
    for (int64_t i = 0; i < count; ++i) mean += x[base + static_cast<size_t>(i)];
    mean /= static_cast<double>(count);
    for (int64_t i = 0; i < count; ++i) var += std::pow(x[base + static_cast<size_t>(i)] - mean, 2);
    const double rstd = 1 / std::sqrt(var / static_cast<double>(count) + kEps);
    for (int64_t i = 0; i < count; ++i) {
      const auto channel = static_cast<size_t>(group % c.groups * width + i / pixels);
      const double z = (x[base + static_cast<size_t>(i)] - mean) * rstd * w[channel] + b[channel];
      y[base + static_cast<size_t>(i)] = silu ? z / (1 + std::exp(-z)) : z;
    }
  }
  return y;
}

// Gradients of sum(y dy) by central differences with Richardson extrapolation, in float64.
Values differences(Values values, const std::function<double(const Values&)>& loss) {
  Values out(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const double at = values[i];
    auto slope = [&](double h) {
      values[i] = at + h;
      const double up = loss(values);
      values[i] = at - h;
      const double down = loss(values);
      values[i] = at;
      return (up - down) / (2 * h);
    };
    out[i] = (4 * slope(1e-3) - slope(2e-3)) / 3;
  }
  return out;
}

struct Gradients {
  Values dx, dw, db;
};

// The chain rule, written out from d mean / dx and d rstd / dx rather than from the simplified form of the contract.
Gradients backward(const NormCase& c, const Values& x, const Values& w, const Values& b, const Values& dy, bool silu) {
  Gradients g{Values(x.size()), Values(w.size(), 0), Values(w.size(), 0)};
  const int64_t pixels = c.height * c.width, width = c.channels / c.groups, count = width * pixels;
  for (int64_t group = 0; group < c.batch * c.groups; ++group) {
    const auto base = static_cast<size_t>(group * count);
    double mean = 0, var = 0;
    for (int64_t i = 0; i < count; ++i) mean += x[base + static_cast<size_t>(i)] / static_cast<double>(count);
    for (int64_t i = 0; i < count; ++i) var += std::pow(x[base + static_cast<size_t>(i)] - mean,
        2) / static_cast<double>(count);
    const double rstd = 1 / std::sqrt(var + kEps);
    double d_mean = 0, d_var = 0;
    Values dhat(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      const size_t at = base + static_cast<size_t>(i),
          channel = static_cast<size_t>(group % c.groups * width + i / pixels);
      const double hat = (x[at] - mean) * rstd, z = hat * w[channel] + b[channel], s = 1 / (1 + std::exp(-z));
      const double dz = silu ? dy[at] * (s + z * s * (1 - s)) : dy[at];
      g.dw[channel] += dz * hat;
      g.db[channel] += dz;
      dhat[static_cast<size_t>(i)] = dz * w[channel];
      d_mean -= dz * w[channel] * rstd;
      d_var -= 0.5 * dz * w[channel] * (x[at] - mean) * rstd * rstd * rstd;
    }
    for (int64_t i = 0; i < count; ++i) {
      const size_t at = base + static_cast<size_t>(i);
      g.dx[at] = dhat[static_cast<size_t>(i)] * rstd + d_mean / static_cast<double>(count) +
                 d_var * 2 * (x[at] - mean) / static_cast<double>(count);
    }
  }
  return g;
}

double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

TEST_CASE("the reference gradients agree with central differences") {
  const NormCase c{2, 4, 3, 2, 2};
  Random random(5);
  auto draw = [&](int64_t count) {
    const std::vector<float> values = random.normals(count);
    return Values(values.begin(), values.end());
  };
  const Values x = draw(48), w = draw(4), b = draw(4), dy = draw(48);
  for (bool silu : {false, true}) {
    const Gradients g = backward(c, x, w, b, dy, silu);
    CHECK_LE(compare(g.dx, differences(x, [&](const Values& v) { return dot(forward(c, v, w, b, silu), dy);
        })).relative, 1e-8);
    CHECK_LE(compare(g.dw, differences(w, [&](const Values& v) { return dot(forward(c, x, v, b, silu), dy);
        })).relative, 1e-8);
    CHECK_LE(compare(g.db, differences(b, [&](const Values& v) { return dot(forward(c, x, w, v, silu), dy);
        })).relative, 1e-8);
  }
}

TEST_CASE("group_norm and its gradients match float64") {
  for_each_device_and_isa([&](Device& device, const std::string& where) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      double worst[4] = {};
      for (const NormCase& c : kCases) {
        for (bool silu : {false, true}) {
          Random random(static_cast<uint64_t>(c.channels));
          const Shape shape{c.batch, c.channels, c.height, c.width};
          const Sample x(device, shape, dtype, random), w(device, {c.channels}, dtype, random),
              b(device, {c.channels}, dtype, random),
              dy(device, shape, dtype, random);
          const std::vector<Tensor> out = group_norm(x.tensor, w.tensor, b.tensor, c.groups, kEps, silu);
          const std::vector<Tensor> grads = group_norm_bwd(dy.tensor, x.tensor, w.tensor, b.tensor, out[1], c.groups,
              silu, true);
          const Gradients g = backward(c, x.values, w.values, b.values, dy.values, silu);
          const Values y = forward(c, x.values, w.values, b.values, silu);
          const Tensor* actual[4] = {&out[0], &grads[0], &grads[1], &grads[2]};
          const Values* expected[4] = {&y, &g.dx, &g.dw, &g.db};
          for (int i = 0; i < 4; ++i) worst[i] = std::max(worst[i], compare(read(*actual[i]), *expected[i]).relative);
        }
      }
      std::printf("  %s %s: y %.3g dx %.3g dw %.3g db %.3g\n", where.c_str(), name_of(dtype), worst[0], worst[1],
          worst[2], worst[3]);
      // f32: worst observed on any ISA 3.36e-7; bf16: half a unit of the last place.
      for (double error : worst) CHECK_LE(error, dtype == DType::f32 ? 3.36e-7 * 1.05 : 0x1p-8);
    }
  });
}

TEST_CASE("group_norm keeps its digits when the mean is large") {
  const std::shared_ptr<Device> device = make_device("cpu");
  const NormCase c{1, 2, 64, 64, 1};
  Random random(3);
  std::vector<float> values = random.normals(2 * 64 * 64);
  for (float& value : values) value += 1000;
  const Values x(values.begin(), values.end()), ones(2, 1.0), zeros(2, 0.0);
  const Tensor w = upload(*device, {2}, DType::f32, {1, 1}), b = upload(*device, {2}, DType::f32, {0, 0});
  const Tensor y = group_norm(upload(*device, {1, 2, 64, 64}, DType::f32, values), w, b, 1, kEps, false)[0];
  // The mean itself is rounded to f32: 1000 * 2^-24 of a unit deviation.
  CHECK_LE(compare(read(y), forward(c, x, ones, zeros, false)).max_abs, 1000 * 0x1p-24);
}

TEST_CASE("group_norm without batch, with NaN in one group, and whatever the number of threads") {
  const std::shared_ptr<Device> device = make_device("cpu");
  const Tensor w = upload(*device, {4}, DType::f32, {1, 2, 3, 4}), b = upload(*device, {4}, DType::f32, {0, 1, 0, 1});
  const Tensor none = Tensor::empty(*device, {0, 4, 3, 3});
  const std::vector<Tensor> out = group_norm(none, w, b, 2, kEps, true);
  CHECK(out[0].shape() == none.shape());
  for (double value : read(group_norm_bwd(none, none, w, b, out[1], 2, true, true)[1])) CHECK(value == 0);

  Random random(2);
  std::vector<float> values = random.normals(4 * 9);
  values[3] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<double> y = read(group_norm(upload(*device, {1, 4, 3, 3}, DType::f32, values), w, b, 2, kEps,
      true)[0]);
  for (size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (i < 18));

  const Sample x(*device, {4, 16, 40, 40}, DType::f32, random), gamma(*device, {16}, DType::f32, random);
  auto all = [&](int threads) {
    ThreadPool::instance().set_size(threads);
    const std::vector<Tensor> made = group_norm(x.tensor, gamma.tensor, gamma.tensor, 4, kEps, true);
    std::vector<double> joined = read(made[0]);
    for (const Tensor& grad : group_norm_bwd(x.tensor, x.tensor, gamma.tensor, gamma.tensor, made[1], 4, true, true))
      for (double value : read(grad)) joined.push_back(value);
    return joined;
  };
  const int size = ThreadPool::instance().size();
  CHECK(all(1) == all(3));
  ThreadPool::instance().set_size(size);
}

TEST_CASE("group_norm refuses wrong shapes") {
  const std::shared_ptr<Device> device = make_device("cpu");
  const Tensor x = Tensor::empty(*device, {1, 6, 3, 3}), w = Tensor::empty(*device, {6});
  CHECK_THROWS(group_norm(x, w, w, 4, kEps, false));
  CHECK_THROWS(group_norm(x, Tensor::empty(*device, {5}), w, 3, kEps, false));
  CHECK_THROWS(group_norm(x, w, Tensor{}, 3, kEps, false));
}

int main() { return run_all(); }
