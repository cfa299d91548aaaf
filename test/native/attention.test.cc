// Attention on every ISA of this machine against float64, forward and backward. The float64 backward itself is checked
// by central differences of the float64 forward.
#include "native/backend/cpu/attention.h"

#include <limits>

#include "native/backend/cpu/bf16.h"
#include "native/backend/cpu/cpu_features.h"
#include "native/core/thread_pool.h"
#include "test/native/harness.h"

using namespace rl::cpu;
using namespace rl::test;

namespace {

using Doubles = std::vector<double>;

struct Shape {
  int64_t batch, heads, lq, lk, d;
  bool causal = false, bias = false;
};

struct Reference {
  Shape s;
  double scale;
  Doubles q, k, v, bias, out, lse;

  double score(int64_t b, int64_t h, int64_t i, int64_t j) const {
    double sum = 0;
    for (int64_t c = 0; c < s.d; ++c) sum += q[at(b, s.lq, i, h, c)] * k[at(b, s.lk, j, h, c)];
    return sum * scale + (s.bias ? bias[static_cast<size_t>((h * s.lq + i) * s.lk + j)] : 0);
  }
  size_t at(int64_t b, int64_t length, int64_t i, int64_t h, int64_t c) const {
    return static_cast<size_t>(((b * length + i) * s.heads + h) * s.d + c);
  }
  int64_t seen(int64_t i) const { return s.causal ? std::min(s.lk, i + 1) : s.lk; }

  void forward() {
    out.assign(q.size(), 0);
    lse.assign(static_cast<size_t>(s.batch * s.heads * s.lq), -INFINITY);
    for (int64_t b = 0; b < s.batch; ++b)
      for (int64_t h = 0; h < s.heads; ++h)
        for (int64_t i = 0; i < s.lq; ++i) {
          Doubles row;
          double top = -INFINITY, sum = 0;
          for (int64_t j = 0; j < seen(i); ++j) row.push_back(score(b, h, i, j)), top = std::max(top, row.back());
          if (top == -INFINITY) continue;
          for (double& x : row) x = std::exp(x - top), sum += x;
          lse[static_cast<size_t>((b * s.heads + h) * s.lq + i)] = top + std::log(sum);
          for (int64_t j = 0; j < seen(i); ++j)
            for (int64_t c = 0; c < s.d; ++c)
              out[at(b, s.lq, i, h, c)] += row[static_cast<size_t>(j)] / sum * v[at(b, s.lk, j, h, c)];
        }
  }

  void backward(const Doubles& dout, Doubles& dq, Doubles& dk, Doubles& dv, Doubles& dbias) const {
    dq.assign(q.size(), 0), dk.assign(k.size(), 0), dv.assign(v.size(), 0);
    dbias.assign(static_cast<size_t>(s.heads * s.lq * s.lk), 0);
    for (int64_t b = 0; b < s.batch; ++b)
      for (int64_t h = 0; h < s.heads; ++h)
        for (int64_t i = 0; i < s.lq; ++i) {
          const double row_lse = lse[static_cast<size_t>((b * s.heads + h) * s.lq + i)];
          if (row_lse == -INFINITY) continue;
          double delta = 0;
          for (int64_t c = 0; c < s.d; ++c) delta += dout[at(b, s.lq, i, h, c)] * out[at(b, s.lq, i, h, c)];
          for (int64_t j = 0; j < seen(i); ++j) {
            const double p = std::exp(score(b, h, i, j) - row_lse);
            double dp = 0;
            for (int64_t c = 0; c < s.d; ++c) {
              dp += dout[at(b, s.lq, i, h, c)] * v[at(b, s.lk, j, h, c)];
              dv[at(b, s.lk, j, h, c)] += p * dout[at(b, s.lq, i, h, c)];
            }
            const double ds = p * (dp - delta);
            dbias[static_cast<size_t>((h * s.lq + i) * s.lk + j)] += ds;
            for (int64_t c = 0; c < s.d; ++c) {
              dq[at(b, s.lq, i, h, c)] += scale * ds * k[at(b, s.lk, j, h, c)];
              dk[at(b, s.lk, j, h, c)] += scale * ds * q[at(b, s.lq, i, h, c)];
            }
          }
        }
  }
};

// An array of either type with sentinels.
struct Store {
  ElementType type;
  Guarded<float> f32;
  Guarded<bf16> half;
  Store(ElementType t, const std::vector<float>& values)
      : type(t),
        f32(t == ElementType::f32 ? static_cast<int64_t>(values.size()) : 0),
        half(t == ElementType::bf16 ? static_cast<int64_t>(values.size()) : 0) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (t == ElementType::f32) f32[static_cast<int64_t>(i)] = values[i];
      else half[static_cast<int64_t>(i)] = to_bf16(values[i]);
    }
  }
  void* data() { return type == ElementType::f32 ? static_cast<void*>(f32.data()) : half.data(); }
  Doubles values() {
    Doubles out;
    for (float x : f32.values()) out.push_back(x);
    for (bf16 x : half.values()) out.push_back(to_float(x));
    return out;
  }
  bool intact() const { return f32.intact() && half.intact(); }
};

struct Result {
  double forward = 0, lse = 0, gradient = 0;
};

Result run(const Shape& s, ElementType type, Compute compute, bool gradient) {
  Random random(11);
  const int64_t nq = s.batch * s.lq * s.heads * s.d, nk = s.batch * s.lk * s.heads * s.d, nb = s.heads * s.lq * s.lk;
  Store q(type, random.normals(nq)), k(type, random.normals(nk)), v(type, random.normals(nk));
  Store out(type, std::vector<float>(static_cast<size_t>(nq), 7)), dout(type, random.normals(nq));
  Guarded<float> bias(s.bias ? random.normals(nb) : std::vector<float>()), lse(s.batch * s.heads * s.lq);
  AttentionArgs a;
  a.batch = s.batch, a.heads = s.heads, a.lq = s.lq, a.lk = s.lk, a.d = s.d;
  a.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.d)));
  a.causal = s.causal, a.type = type, a.compute = compute;
  a.q = q.data(), a.k = k.data(), a.v = v.data(), a.out = out.data(), a.lse = lse.data();
  if (s.bias) a.bias = bias.data();
  attention_forward(a);
  Reference r{s, a.scale, q.values(), k.values(), v.values(), {}, {}, {}};
  for (float x : bias.values()) r.bias.push_back(x);
  r.forward();
  CHECK(out.intact() && lse.intact() && q.intact() && k.intact() && v.intact());
  Result result;
  result.forward = compare(out.values(), r.out).relative;
  result.lse = compare(lse.values(), r.lse).relative;
  if (!gradient) return result;
  Store dq(type, std::vector<float>(static_cast<size_t>(nq), 7)), dk(type, std::vector<float>(static_cast<size_t>(nk), 7));
  Store dv = dk;
  Guarded<float> dbias(s.bias ? nb : 0, 7);
  AttentionGradArgs g;
  g.f = a, g.dout = dout.data(), g.dq = dq.data(), g.dk = dk.data(), g.dv = dv.data();
  if (s.bias) g.dbias = dbias.data();
  attention_backward(g);
  Doubles eq, ek, ev, eb;
  r.backward(dout.values(), eq, ek, ev, eb);
  result.gradient = std::max({compare(dq.values(), eq).relative, compare(dk.values(), ek).relative,
                              compare(dv.values(), ev).relative,
                              s.bias ? compare(dbias.values(), eb).relative : 0.0});
  CHECK(dq.intact() && dk.intact() && dv.intact() && dbias.intact());
  return result;
}

void for_each_isa(const std::function<void(const char*)>& body) {
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx}) {
    if (isa > detected_isa()) continue;
    set_isa(isa);
    body(isa_name(isa));
  }
  set_isa(detected_isa());
}

const std::vector<Shape> kShapes{
    {1, 1, 1, 1, 1},         {2, 3, 5, 7, 3},           {1, 2, 36, 36, 32},      {2, 1, 70, 33, 40, false, true},
    {1, 5, 65, 65, 16, true}, {2, 2, 130, 300, 64, true}, {1, 1, 300, 130, 64, true, true}, {1, 1, 90, 150, 512},
    {3, 4, 17, 290, 96, false, true}, {1, 1, 60, 140, 200, true}};

// Worst seen over all shapes and ISAs, times 1.05; relative to the largest value of the tensor.
constexpr double kForward = 1.62e-6, kLse = 1.5e-7, kGradient = 2.6e-6;
constexpr double kRoundedForward = 0.0058, kRoundedGradient = 0.0099;

}  // namespace

TEST_CASE("float64 backward agrees with central differences") {
  const Shape s{2, 2, 4, 5, 3, true, true};
  Random random(5);
  auto fill = [&](int64_t n) {
    const auto x = random.normals(n);
    return Doubles(x.begin(), x.end());
  };
  Reference r{s, 0.7, fill(s.batch * s.lq * s.heads * s.d), fill(s.batch * s.lk * s.heads * s.d),
              fill(s.batch * s.lk * s.heads * s.d), fill(s.heads * s.lq * s.lk), {}, {}};
  const Doubles dout = fill(s.batch * s.lq * s.heads * s.d);
  r.forward();
  Doubles grads[4];
  r.backward(dout, grads[0], grads[1], grads[2], grads[3]);
  Doubles* inputs[4] = {&r.q, &r.k, &r.v, &r.bias};
  double worst = 0;
  for (int which = 0; which < 4; ++which)
    for (size_t i = 0; i < inputs[which]->size(); ++i) {
      auto value = [&](double delta) {
        Reference moved = r;
        Doubles* target[4] = {&moved.q, &moved.k, &moved.v, &moved.bias};
        (*target[which])[i] += delta;
        moved.forward();
        double sum = 0;
        for (size_t o = 0; o < dout.size(); ++o) sum += dout[o] * moved.out[o];
        return sum;
      };
      worst = std::max(worst, std::fabs((value(1e-5) - value(-1e-5)) / 2e-5 - grads[which][i]));
    }
  CHECK_LE(worst, 1e-8);
}

TEST_CASE("f32 against float64") {
  Result worst;
  for_each_isa([&](const char* isa) {
    for (const Shape& s : kShapes) {
      const Result r = run(s, ElementType::f32, Compute::f32, true);
      worst.forward = std::max(worst.forward, r.forward), worst.lse = std::max(worst.lse, r.lse);
      worst.gradient = std::max(worst.gradient, r.gradient);
      CHECK_MSG(r.forward <= kForward && r.lse <= kLse && r.gradient <= kGradient,
                isa << " " << s.batch << "," << s.heads << "," << s.lq << "," << s.lk << "," << s.d << ": forward "
                    << r.forward << " lse " << r.lse << " gradient " << r.gradient);
    }
  });
  std::printf("     worst relative: forward %.3g, lse %.3g, gradient %.3g\n", worst.forward, worst.lse, worst.gradient);
}

TEST_CASE("bf16 storage and bf16 multiplication") {
  Result worst;
  for_each_isa([&](const char* isa) {
    for (const Shape& s : kShapes) {
      if (s.lk == 1) continue;  // dQ and dK are exactly zero: a relative error says nothing
      for (int mode = 0; mode < 3; ++mode) {
        const Result r = run(s, mode == 2 ? ElementType::f32 : ElementType::bf16, mode ? Compute::bf16 : Compute::f32, true);
        worst.forward = std::max(worst.forward, r.forward), worst.gradient = std::max(worst.gradient, r.gradient);
        CHECK_MSG(r.forward <= kRoundedForward && r.gradient <= kRoundedGradient,
                  isa << " mode " << mode << " " << s.batch << "," << s.heads << "," << s.lq << "," << s.lk << "," << s.d
                      << ": forward " << r.forward << " gradient " << r.gradient);
      }
    }
  });
  std::printf("     worst relative: forward %.3g, gradient %.3g\n", worst.forward, worst.gradient);
}

TEST_CASE("empty sizes") {
  for (const Shape& s : {Shape{0, 2, 3, 4, 8}, Shape{2, 0, 3, 4, 8}, Shape{2, 2, 0, 4, 8}, Shape{2, 2, 3, 0, 8}}) {
    const Result r = run(s, ElementType::f32, Compute::f32, true);  // lk = 0: zeros and -inf
    CHECK(r.forward == 0 && r.lse == 0 && r.gradient == 0);
  }
}

TEST_CASE("a fully masked row gives zeros, -inf and no gradient") {
  for_each_isa([](const char* isa) {
    const int64_t lq = 3, lk = 300, d = 20;
    Random random(2);
    const auto q = random.normals(lq * d), k = random.normals(lk * d), v = random.normals(lk * d);
    std::vector<float> bias(static_cast<size_t>(lq * lk), 0.0f), out(static_cast<size_t>(lq * d), 3), lse(3), dq(out);
    std::vector<float> dk(k.size()), dv(k.size()), dout(out.size(), 1.0f), dbias(bias.size(), 5);
    std::fill(bias.begin() + lk, bias.begin() + 2 * lk, -INFINITY);
    std::fill(bias.begin(), bias.begin() + 270, -INFINITY);  // row 0: the whole first key block
    AttentionArgs a;
    a.batch = 1, a.heads = 1, a.lq = lq, a.lk = lk, a.d = d, a.scale = 0.3f;
    a.q = q.data(), a.k = k.data(), a.v = v.data(), a.out = out.data(), a.lse = lse.data(), a.bias = bias.data();
    attention_forward(a);
    AttentionGradArgs g{a, dout.data(), dq.data(), dk.data(), dv.data(), dbias.data()};
    attention_backward(g);
    bool ok = lse[1] == -INFINITY && std::isfinite(lse[0]) && std::isfinite(lse[2]);
    for (int64_t c = 0; c < d; ++c) {
      ok &= out[static_cast<size_t>(d + c)] == 0 && dq[static_cast<size_t>(d + c)] == 0;
      ok &= std::isfinite(out[static_cast<size_t>(c)]) && out[static_cast<size_t>(c)] != 0;
    }
    for (float x : dk) ok &= std::isfinite(x);
    for (float x : dbias) ok &= std::isfinite(x);
    CHECK_MSG(ok, isa);
  });
}

TEST_CASE("NaN in a query, key or value comes out") {
  for_each_isa([](const char* isa) {
    const int64_t l = 40, d = 24;
    for (Compute compute : {Compute::f32, Compute::bf16})
      for (int which = 0; which < 3; ++which) {
        Random random(2);
        auto q = random.normals(l * d), k = random.normals(l * d), v = random.normals(l * d);
        std::vector<float> out(q.size());
        (which == 0 ? q : which == 1 ? k : v)[static_cast<size_t>(9 * d + 5)] = std::numeric_limits<float>::quiet_NaN();
        AttentionArgs a;
        a.batch = 1, a.heads = 1, a.lq = l, a.lk = l, a.d = d, a.compute = compute;
        a.q = q.data(), a.k = k.data(), a.v = v.data(), a.out = out.data();
        attention_forward(a);
        bool ok = true;
        for (int64_t i = 0; i < l; ++i)
          for (int64_t c = 0; c < d; ++c) {
            const bool expected = which == 0 ? i == 9 : which == 1 ? true : c == 5;
            ok &= std::isnan(out[static_cast<size_t>(i * d + c)]) == expected;
          }
        CHECK_MSG(ok, isa << " array " << which << " compute " << static_cast<int>(compute));
      }
  });
}

TEST_CASE("same bits for any number of threads") {
  rl::ThreadPool& pool = rl::ThreadPool::instance();
  const int size = pool.size();
  for (const Shape& s : {Shape{1, 2, 200, 300, 32, true}, Shape{2, 3, 150, 90, 24}}) {
    Random random(3);
    const int64_t nq = s.batch * s.lq * s.heads * s.d, nk = s.batch * s.lk * s.heads * s.d;
    const auto q = random.normals(nq), k = random.normals(nk), v = random.normals(nk), dout = random.normals(nq);
    std::vector<float> first;
    for (int threads : {1, 2, 5}) {
      pool.set_size(threads);
      std::vector<float> out(q.size()), lse(static_cast<size_t>(s.batch * s.heads * s.lq)), dq(q.size()), dk(k.size()), dv(k.size());
      AttentionArgs a;
      a.batch = s.batch, a.heads = s.heads, a.lq = s.lq, a.lk = s.lk, a.d = s.d, a.scale = 0.2f, a.causal = s.causal;
      a.q = q.data(), a.k = k.data(), a.v = v.data(), a.out = out.data(), a.lse = lse.data();
      attention_forward(a);
      attention_backward({a, dout.data(), dq.data(), dk.data(), dv.data(), nullptr});
      for (const auto* more : {&lse, &dq, &dk, &dv}) out.insert(out.end(), more->begin(), more->end());
      if (first.empty()) first = out;
      CHECK(first == out);
    }
  }
  pool.set_size(size);
}

TEST_CASE("wrong arguments throw") {
  AttentionArgs a;
  a.batch = a.heads = a.lq = a.lk = 1, a.d = 8;
  CHECK_THROWS(attention_forward(a));
  a.d = 0;
  CHECK_THROWS(attention_forward(a));
  a.d = 513;
  CHECK_THROWS(attention_forward(a));
}

int main() { return run_all(); }
