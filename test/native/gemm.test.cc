// GEMM on every ISA of this machine against float64.
#include "native/backend/cpu/gemm.h"

#include <limits>

#include "native/backend/cpu/bf16.h"
#include "native/backend/cpu/cpu_features.h"
#include "native/core/thread_pool.h"
#include "test/native/harness.h"

using namespace rl::cpu;
using namespace rl::test;

namespace {

struct Shape {
  int64_t m, n, k;
};

struct Options {
  bool transpose_a = false, transpose_b = false;
  ElementType a = ElementType::f32, b = ElementType::f32, c = ElementType::f32, bias_type = ElementType::f32;
  Compute compute = Compute::f32;
  bool bias = false, accumulate = false;
  Activation activation = Activation::none;
  float alpha = 1;
  int64_t batch = 1;
  bool share_b = false;
  int64_t pad = 0;  // extra elements per row
};

double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::none: return x;
    case Activation::gelu_tanh: return x * 0.5 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::gelu_erf: return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::quick_gelu: return x / (1 + std::exp(-1.702 * x));
    case Activation::silu: return x / (1 + std::exp(-x));
    case Activation::relu: return x > 0 ? x : (x <= 0 ? 0 : x);
  }
  return x;
}

// Values stored as f32 or bf16; reads back what was stored.
struct Store {
  ElementType type;
  Guarded<float> f32;
  Guarded<bf16> half;
  Store(ElementType t, const std::vector<float>& values)
      : type(t),
        f32(t == ElementType::f32 ? static_cast<int64_t>(values.size()) : 0),
        half(t == ElementType::bf16 ? static_cast<int64_t>(values.size()) : 0) {
    for (size_t i = 0; i < values.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      if (t == ElementType::f32) f32[at] = values[i];
      else half[at] = to_bf16(values[i]);
    }
  }
  void* data() { return type == ElementType::f32 ? static_cast<void*>(f32.data()) : half.data(); }
  double at(int64_t i) { return type == ElementType::f32 ? f32[i] : to_float(half[i]); }
  bool intact() const { return f32.intact() && half.intact(); }
};

Difference run(const Shape& s, const Options& o, uint64_t seed = 1) {
  Random random(seed);
  const int64_t a_rows = o.transpose_a ? s.k : s.m, a_columns = o.transpose_a ? s.m : s.k;
  const int64_t b_rows = o.transpose_b ? s.n : s.k, b_columns = o.transpose_b ? s.k : s.n;
  const int64_t a_stride = a_columns + o.pad, b_stride = b_columns + o.pad, c_stride = s.n + o.pad;
  Store a(o.a, random.normals(o.batch * a_rows * a_stride));
  Store b(o.b, random.normals((o.share_b ? 1 : o.batch) * b_rows * b_stride));
  Store c(o.c, random.normals(o.batch * s.m * c_stride)), before = c;
  Store bias(o.bias_type, random.normals(s.n));
  GemmArgs g;
  g.m = s.m, g.n = s.n, g.k = s.k;
  g.a = {a.data(), o.a, a_stride, o.transpose_a};
  g.b = {b.data(), o.b, b_stride, o.transpose_b};
  g.c = c.data(), g.c_type = o.c, g.c_row_stride = c_stride;
  if (o.bias) g.bias = bias.data(), g.bias_type = o.bias_type;
  g.activation = o.activation, g.alpha = o.alpha, g.accumulate = o.accumulate, g.compute = o.compute;
  g.batch = o.batch, g.a_batch_stride = a_rows * a_stride, g.c_batch_stride = s.m * c_stride;
  g.b_batch_stride = o.share_b ? 0 : b_rows * b_stride;
  gemm(g);
  CHECK(a.intact() && b.intact() && c.intact() && bias.intact());
  std::vector<double> actual, expected;
  for (int64_t z = 0; z < o.batch; ++z)
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t j = 0; j < c_stride; ++j) {
        const int64_t at = z * s.m * c_stride + i * c_stride + j;
        if (j >= s.n) {  // padding must be untouched
          CHECK(c.at(at) == before.at(at));
          continue;
        }
        double sum = 0;
        for (int64_t p = 0; p < s.k; ++p) {
          double x = a.at(g.a_batch_stride * z + (o.transpose_a ? p * a_stride + i : i * a_stride + p));
          double y = b.at(g.b_batch_stride * z + (o.transpose_b ? j * b_stride + p : p * b_stride + j));
          sum += x * y;
        }
        double value = activate(o.activation, o.alpha * sum + (o.bias ? bias.at(j) : 0));
        if (o.accumulate) value += before.at(at);
        actual.push_back(c.at(at));
        expected.push_back(value);
      }
  return compare(actual, expected);
}

// Worst seen over all cases and ISAs, times 1.05; relative to the largest |C|. Rounded: bf16 output, or f32 operands
// rounded to bf16.
constexpr double kTightRelative = 1.05e-6, kRoundedRelative = 3.6e-3;

double bound(const Options& o) {
  const bool rounds = o.c == ElementType::bf16 ||
                      (o.compute == Compute::bf16 && (o.a == ElementType::f32 || o.b == ElementType::f32));
  return rounds ? kRoundedRelative : kTightRelative;
}

void for_each_isa(const std::function<void(const char*)>& body) {
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx}) {
    if (isa > detected_isa()) continue;
    set_isa(isa);
    body(isa_name(isa));
  }
  set_isa(detected_isa());
}

void check_all(const std::vector<Shape>& shapes, const std::vector<Options>& options) {
  double worst[2] = {0, 0};
  for_each_isa([&](const char* isa) {
    for (const Shape& s : shapes)
      for (const Options& o : options) {
        const Difference d = run(s, o);
        double& w = worst[bound(o) == kRoundedRelative];
        w = std::max(w, d.relative);
        CHECK_MSG(d.relative <= bound(o), isa << " " << s.m << "x" << s.n << "x" << s.k << " ta=" << o.transpose_a
                  << " tb=" << o.transpose_b << " a=" << int(o.a) << " b=" << int(o.b) << " c=" << int(o.c)
                  << " compute=" << int(o.compute) << " act=" << int(o.activation) << " acc=" << o.accumulate
                  << " bias=" << o.bias << " batch=" << o.batch << ": relative " << d.relative);
      }
  });
  std::printf("     worst relative: exact operands %.3g, rounded %.3g\n", worst[0], worst[1]);
}

const std::vector<Shape> kShapes{{1, 1, 1},    {1, 65, 33},   {2, 7, 100},  {3, 17, 5},    {9, 9, 9},    {16, 32, 64},
                                 {17, 33, 31}, {37, 70, 129}, {64, 3, 257}, {100, 128, 32}, {61, 50, 777}, {130, 97, 300}};

}  // namespace

TEST_CASE("all orientations and element types") {
  std::vector<Options> options;
  for (int bits = 0; bits < 32; ++bits) {
    Options o;
    o.transpose_a = bits & 1, o.transpose_b = bits & 2;
    o.a = bits & 4 ? ElementType::bf16 : ElementType::f32;
    o.b = bits & 8 ? ElementType::bf16 : ElementType::f32;
    o.compute = bits & 16 ? Compute::bf16 : Compute::f32;
    options.push_back(o);
  }
  check_all(kShapes, options);
}

TEST_CASE("bias, activations, alpha, accumulate, output type, row padding") {
  std::vector<Options> options;
  for (Activation activation : {Activation::none, Activation::gelu_tanh, Activation::gelu_erf, Activation::quick_gelu,
                                Activation::silu, Activation::relu})
    for (int bits = 0; bits < 16; ++bits) {
      Options o;
      o.transpose_b = true;
      o.activation = activation;
      o.bias = bits & 1, o.accumulate = bits & 2;
      o.bias_type = bits & 4 ? ElementType::bf16 : ElementType::f32;
      o.c = bits & 8 ? ElementType::bf16 : ElementType::f32;
      o.alpha = bits & 2 ? 0.5f : 1;
      o.pad = 3;
      options.push_back(o);
    }
  check_all({{5, 40, 24}, {33, 65, 40}, {50, 20, 500}}, options);
}

TEST_CASE("k blocks, k slices and split k") {
  std::vector<Options> options(4);
  options[1].transpose_a = true;
  options[2].transpose_a = true, options[2].accumulate = true, options[2].bias = true;
  options[3].activation = Activation::silu, options[3].accumulate = true;
  check_all({{40, 48, 3000}, {16, 16, 9000}, {150, 200, 1100}}, options);
  check_all({{70, 290, 8300}}, {options[2]});
}

// Sizes that reach every way of reading operands and keeping sums: bf16 rows in place or packed (odd strides, k not in
// whole tiles, many columns), A packed for all column groups, sums in tiles over several k blocks.
TEST_CASE("large bf16 products") {
  std::vector<Options> options(6);
  for (Options& o : options) o.compute = Compute::bf16, o.transpose_b = true;
  options[0].a = options[0].b = ElementType::bf16;
  options[1] = options[0], options[1].bias = options[1].accumulate = true, options[1].pad = 1;
  options[2] = options[0], options[2].bias = true, options[2].c = ElementType::bf16, options[2].pad = 2;
  options[3] = options[2], options[3].accumulate = true, options[3].alpha = 0.5f, options[3].transpose_b = false;
  options[4].bias = true, options[4].activation = Activation::gelu_tanh;
  options[5].transpose_a = true, options[5].transpose_b = false, options[5].accumulate = true;
  check_all({{75, 50, 640}, {40, 600, 704}, {530, 33, 300}, {70, 530, 650}}, options);
}

TEST_CASE("batch, shared operand") {
  std::vector<Options> options(3);
  options[0].batch = 5;
  options[1].batch = 3, options[1].share_b = true, options[1].transpose_b = true, options[1].pad = 1;
  options[2].batch = 2, options[2].a = options[2].b = ElementType::bf16, options[2].compute = Compute::bf16;
  check_all({{20, 30, 40}, {1, 33, 7}, {90, 70, 50}}, options);
}

TEST_CASE("empty sizes") {
  for_each_isa([](const char*) {
    Options o;
    o.bias = true, o.activation = Activation::gelu_erf;
    CHECK_LE(run({5, 40, 0}, o).relative, kTightRelative);
    CHECK_LE(run({50, 70, 0}, o).relative, kTightRelative);
    o.accumulate = true, o.transpose_b = true;
    CHECK_LE(run({3, 7, 0}, o).relative, kTightRelative);
    CHECK(run({0, 5, 5}, o).max_abs == 0);
    CHECK(run({5, 0, 5}, o).max_abs == 0);
    o.batch = 0;
    CHECK(run({5, 5, 5}, o).max_abs == 0);
  });
}

TEST_CASE("NaN and infinity reach exactly the outputs that use them") {
  for_each_isa([](const char* isa) {
    for (const Shape& s : {Shape{3, 40, 50}, Shape{40, 50, 70}})
      for (bool transposed : {false, true})
        for (Compute compute : {Compute::f32, Compute::bf16})
          for (Activation activation : {Activation::none, Activation::gelu_tanh, Activation::gelu_erf, Activation::relu}) {
            std::vector<float> a(static_cast<size_t>(s.m * s.k), 1.0f), b(static_cast<size_t>(s.k * s.n), 0.5f);
            std::vector<float> c(static_cast<size_t>(s.m * s.n), 0.0f);
            a[static_cast<size_t>(1 * s.k + 7)] = std::numeric_limits<float>::quiet_NaN();
            GemmArgs g;
            g.m = s.m, g.n = s.n, g.k = s.k, g.compute = compute, g.activation = activation;
            g.a = {a.data(), ElementType::f32, s.k, false};
            g.b = {b.data(), ElementType::f32, transposed ? s.k : s.n, transposed};
            g.c = c.data(), g.c_row_stride = s.n;
            gemm(g);
            bool ok = true;
            for (int64_t i = 0; i < s.m; ++i)
              for (int64_t j = 0; j < s.n; ++j) ok &= std::isnan(c[static_cast<size_t>(i * s.n + j)]) == (i == 1);
            CHECK_MSG(ok, isa << " m=" << s.m << " transposed=" << transposed << " activation=" << int(activation));
          }
  });
}

TEST_CASE("same bits for any number of threads") {
  rl::ThreadPool& pool = rl::ThreadPool::instance();
  const int size = pool.size();
  for_each_isa([&](const char* isa) {
    for (const Shape& s : {Shape{200, 150, 300}, Shape{32, 32, 4000}, Shape{1, 900, 500}, Shape{500, 4, 600},
                           Shape{160, 160, 640}, Shape{300, 600, 520}})
      for (Compute compute : {Compute::f32, Compute::bf16}) {
      Random random(3);
      const auto a = random.normals(s.m * s.k), b = random.normals(s.n * s.k);
      std::vector<float> first;
      for (int threads : {1, 2, 5}) {
        pool.set_size(threads);
        std::vector<float> c(static_cast<size_t>(s.m * s.n));
        GemmArgs g;
        g.m = s.m, g.n = s.n, g.k = s.k, g.compute = compute;
        g.a = {a.data(), ElementType::f32, s.k, false}, g.b = {b.data(), ElementType::f32, s.k, true};
        g.c = c.data(), g.c_row_stride = s.n;
        gemm(g);
        if (first.empty()) first = c;
        CHECK_MSG(first == c, isa << " " << s.m << "x" << s.n << "x" << s.k << " threads " << threads);
      }
    }
  });
  pool.set_size(size);
}

TEST_CASE("wrong arguments throw") {
  float x[4] = {};
  GemmArgs g;
  g.m = g.n = g.k = 2;
  g.a = {x, ElementType::f32, 2, false}, g.b = {x, ElementType::f32, 2, false};
  g.c_row_stride = 2;
  CHECK_THROWS(gemm(g));  // no C
  float c[4];
  g.c = c;
  g.a.row_stride = 1;
  CHECK_THROWS(gemm(g));
  g.a.row_stride = 2;
  g.k = -1;
  CHECK_THROWS(gemm(g));
}

int main() { return run_all(); }
