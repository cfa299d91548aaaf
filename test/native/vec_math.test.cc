// Vector functions on every ISA against float64, in units of the last place.
#include "native/backend/cpu/vec_math.h"

#include <limits>

#include "native/backend/cpu/bf16.h"
#include "native/backend/cpu/cpu_features.h"
#include "test/native/harness.h"

using namespace rl::cpu;
using namespace rl::test;

namespace {

void for_each_isa(const std::function<void(const char*)>& body) {
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (isa > detected_isa()) continue;
    set_isa(isa);
    body(isa_name(isa));
  }
  set_isa(detected_isa());
}

// |actual - expected| in units of the spacing of floats at `expected`.
double ulps(float actual, double expected) {
  if (std::isnan(actual) || std::isnan(expected)) return std::isnan(actual) && std::isnan(expected) ? 0 : INFINITY;
  const float rounded = static_cast<float>(expected);
  if (std::isinf(actual) || std::isinf(rounded)) return actual == rounded ? 0 : INFINITY;
  const double magnitude = std::max(std::fabs(expected), static_cast<double>(std::numeric_limits<float>::min()));
  return std::fabs(actual - expected) / std::ldexp(1.0, std::ilogb(magnitude) - 23);
}

// A fine grid over [low, high], the same on a logarithmic scale around zero, and the special values.
std::vector<float> inputs(double low, double high) {
  std::vector<float> x;
  for (int i = 0; i <= 400000; ++i) x.push_back(static_cast<float>(low + (high - low) * i / 400000));
  for (double e = -40; e < 8; e += 0.001) x.push_back(static_cast<float>(std::exp2(e))), x.push_back(-x.back());
  for (float special : {0.0f, -0.0f, INFINITY, -INFINITY, std::numeric_limits<float>::quiet_NaN(), 1e-45f, 3e38f, -3e38f})
    x.push_back(special);
  return x;
}

void check(const char* name, void (*function)(const float*, float*, int64_t), double (*exact)(double), double low,
           double high, double bound) {
  const std::vector<float> x = inputs(low, high);
  double worst = 0;
  for_each_isa([&](const char* isa) {
    Guarded<float> y(static_cast<int64_t>(x.size()));
    function(x.data(), y.data(), static_cast<int64_t>(x.size()));
    CHECK(y.intact());
    double most = 0;
    float where = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double u = ulps(y[static_cast<int64_t>(i)], exact(x[i]));
      if (u > most) most = u, where = x[i];
    }
    CHECK_MSG(most <= bound, name << " on " << isa << ": " << most << " ulp at " << where);
    worst = std::max(worst, most);
  });
  std::printf("     %s: worst %.3f ulp\n", name, worst);
}

double exact_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double exact_activation(Activation a, double x) {
  switch (a) {
    case Activation::none: return x;
    case Activation::gelu_tanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::gelu_erf: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::quick_gelu: return x * exact_sigmoid(1.702 * x);
    case Activation::silu: return x * exact_sigmoid(x);
    case Activation::relu: return std::max(x, 0.0);
  }
  return x;
}

constexpr Activation kAll[] = {Activation::none,       Activation::gelu_tanh, Activation::gelu_erf,
                               Activation::quick_gelu, Activation::silu,      Activation::relu};

}  // namespace

TEST_CASE("vexp, vtanh, verf, vsigmoid within the documented error") {
  check("vexp", vexp, [](double x) { return std::exp(x); }, -105, 90, 1.02);
  check("vtanh", vtanh, [](double x) { return std::tanh(x); }, -10, 10, 1.27);
  check("verf", verf, [](double x) { return std::erf(x); }, -5, 5, 1.28);
  check("vsigmoid", vsigmoid, exact_sigmoid, -90, 90, 2.1);
}

TEST_CASE("activations and their derivatives") {
  std::vector<float> x;
  for (int i = -40000; i <= 40000; ++i) x.push_back(static_cast<float>(i) * 3e-4f);
  const auto n = static_cast<int64_t>(x.size());
  std::vector<float> dy(x.size(), 2.0f);
  double worst = 0, worst_grad = 0;
  for_each_isa([&](const char* isa) {
    for (Activation a : kAll) {
      Guarded<float> y(n), dx(n);
      vactivation(a, x.data(), y.data(), n);
      vactivation_grad(a, x.data(), dy.data(), dx.data(), n);
      CHECK(y.intact() && dx.intact());
      for (int64_t i = 0; i < n; ++i) {
        const double at = x[static_cast<size_t>(i)], h = 1e-5;
        const double error = std::fabs(y[i] - exact_activation(a, at)) / std::max(1.0, std::fabs(at));
        double derivative = (exact_activation(a, at + h) - exact_activation(a, at - h)) / (2 * h);
        if (a == Activation::relu && at == 0) derivative = 0;
        const double error_grad = std::fabs(dx[i] - 2 * derivative);
        worst = std::max(worst, error), worst_grad = std::max(worst_grad, error_grad);
        CHECK_MSG(error <= 1.5e-7 && error_grad <= 2.1e-6, isa << " activation " << static_cast<int>(a) << " at " << at
                  << ": " << error << " " << error_grad);
      }
    }
  });
  std::printf("     worst: value %.3g (relative to max(1,|x|)), derivative %.3g\n", worst, worst_grad);
}

TEST_CASE("every length, in place, NaN stays") {
  for_each_isa([](const char* isa) {
    for (int64_t n = 0; n < 70; ++n) {
      Random random(static_cast<uint64_t>(n));
      Guarded<float> x(random.normals(n));
      std::vector<float> expected = x.values();
      if (n > 3) x[3] = expected[3] = std::numeric_limits<float>::quiet_NaN();
      vactivation(Activation::silu, x.data(), x.data(), n);
      bool ok = x.intact();
      for (int64_t i = 0; i < n; ++i) {
        const double e = exact_activation(Activation::silu, expected[static_cast<size_t>(i)]);
        ok &= std::isnan(e) ? std::isnan(x[i]) : std::fabs(x[i] - e) < 1e-6;
      }
      for (Activation a : kAll) {
        const float nan = std::numeric_limits<float>::quiet_NaN(), one = 1;
        float y = 0, dx = 0;
        vactivation(a, &nan, &y, 1);
        vactivation_grad(a, &nan, &one, &dx, 1);
        ok &= std::isnan(y) && (std::isnan(dx) || a == Activation::none);
      }
      CHECK_MSG(ok, isa << " length " << n);
    }
  });
}

TEST_CASE("bf16 conversion rounds to nearest even and keeps NaN") {
  for_each_isa([](const char* isa) {
    Random random(4);
    const int64_t n = 100003;
    std::vector<float> x(static_cast<size_t>(n));
    for (float& value : x) {
      const auto bits = static_cast<uint32_t>(random.next());  // every exponent, infinities and NaN included
      std::memcpy(&value, &bits, 4);
    }
    const uint32_t special[] = {0x7F800001u, 0x7FFFFFFFu, 0xFF800001u, 0x7F7FFFFFu, 0x3F808000u, 0x3F818000u, 1u};
    std::memcpy(x.data(), special, sizeof special);
    Guarded<bf16> half(n);
    Guarded<float> back(n);
    to_bf16(x.data(), half.data(), n);
    to_float(half.data(), back.data(), n);
    bool ok = half.intact() && back.intact();
    for (int64_t i = 0; i < n; ++i) {
      const float value = x[static_cast<size_t>(i)];
      ok &= half[i].bits == to_bf16(value).bits;
      if (std::isnan(value)) {
        ok &= std::isnan(back[i]);
        continue;
      }
      // Independent rule: no other bf16 is nearer, and on a tie the last bit is 0.
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      const double down = to_float(bf16{static_cast<uint16_t>(bits >> 16)});
      const uint16_t up_bits = static_cast<uint16_t>((bits >> 16) + 1);
      const double up = (up_bits & 0x7F80) == 0x7F80 && (up_bits & 0x7F) == 0 && std::isfinite(value)
                            ? std::copysign(std::ldexp(1.0, 128), value) : to_float(bf16{up_bits});
      if (std::isinf(value)) {
        ok &= back[i] == value;
        continue;
      }
      const double below = std::fabs(value - down), above = std::fabs(up - value);
      const uint16_t expected = static_cast<uint16_t>(
          below < above || (below == above && !(bits >> 16 & 1)) ? bits >> 16 : up_bits);
      ok &= half[i].bits == expected;
    }
    CHECK_MSG(ok, isa);
  });
}

int main() { return run_all(); }
