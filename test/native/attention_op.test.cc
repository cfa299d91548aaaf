// Attention as an op (checks, optional results, bias, masks) against float64; gradients against central differences of the
// float64 forward. The CPU kernel itself is tested in attention.test.cc.
#include "native/ops/nn/attention.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

struct Problem {
  int64_t batch, heads, lq, lk, d;
  bool causal, with_bias;
  Shape queries() const { return {batch, lq, heads, d}; }
  Shape keys() const { return {batch, lk, heads, d}; }
  double scale() const { return 1 / std::sqrt(static_cast<double>(d)); }
};

Values reference(const Problem& p, const Values& q, const Values& k, const Values& v, const Values& bias, Values* lse = nullptr) {
  Values out(q.size());
  if (lse != nullptr) lse->assign(static_cast<size_t>(p.batch * p.heads * p.lq), -INFINITY);
  for (int64_t b = 0; b < p.batch; ++b)
    for (int64_t h = 0; h < p.heads; ++h)
      for (int64_t i = 0; i < p.lq; ++i) {
        const int64_t keys = p.causal ? std::min(i + 1, p.lk) : p.lk;
        const double* qi = q.data() + ((b * p.lq + i) * p.heads + h) * p.d;
        Values score(static_cast<size_t>(keys));
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < keys; ++j) {
          const double* kj = k.data() + ((b * p.lk + j) * p.heads + h) * p.d;
          for (int64_t c = 0; c < p.d; ++c) score[j] += qi[c] * kj[c];
          score[j] = score[j] * p.scale() + (bias.empty() ? 0 : bias[(h * p.lq + i) * p.lk + j]);
          top = std::max(top, score[j]);
        }
        if (top == -INFINITY) continue;
        for (double& s : score) sum += s = std::exp(s - top);
        for (int64_t j = 0; j < keys; ++j)
          for (int64_t c = 0; c < p.d; ++c)
            out[((b * p.lq + i) * p.heads + h) * p.d + c] += score[j] / sum * v[((b * p.lk + j) * p.heads + h) * p.d + c];
        if (lse != nullptr) (*lse)[(b * p.heads + h) * p.lq + i] = top + std::log(sum);
      }
  return out;
}

// Measured worst over all instruction sets × 1.05. bf16: P and dS are rounded to 8 bits, too.
double forward_bound(DType dtype) { return dtype == DType::f32 ? 1.53e-6 : 3.05e-3; }
double backward_bound(DType dtype) { return dtype == DType::f32 ? 8.48e-7 : 1.14e-2; }

Tensor optional_bias(Device& device, const Problem& p, const Values& bias) {
  return p.with_bias ? upload(device, {p.heads, p.lq, p.lk}, bias) : Tensor{};
}

}  // namespace

TEST_CASE("attention matches float64: head dims, lengths, causal, bias") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Problem& p : {Problem{1, 1, 1, 1, 1, false, false}, {2, 3, 5, 7, 12, false, false}, {1, 2, 130, 67, 64, false, true},
                             {2, 2, 33, 33, 64, true, false}, {1, 3, 65, 200, 128, false, false}, {1, 1, 20, 90, 512, false, false},
                             {1, 2, 9, 40, 33, true, true}, {1, 2, 257, 257, 16, false, false}, {1, 1, 40, 70, 256, true, false}}) {
      const Values q = normals(random, p.queries(), dtype), k = normals(random, p.keys(), dtype), v = normals(random, p.keys(), dtype);
      Values bias;
      if (p.with_bias) bias = normals(random, {p.heads, p.lq, p.lk});
      Values lse;
      const Values expected = reference(p, q, k, v, bias, &lse);
      const Tensor bt = optional_bias(device, p, bias), qt = upload(device, p.queries(), q, dtype);
      const Tensor kt = upload(device, p.keys(), k, dtype), vt = upload(device, p.keys(), v, dtype);
      const auto got = attention(qt, kt, vt, bt, p.scale(), p.causal, true);
      CHECK_CLOSE("attention", got[0], expected, forward_bound(dtype));
      CHECK_CLOSE("attention lse", got[1], lse, 1.25e-7);
      const auto plain = attention(qt, kt, vt, bt, p.scale(), p.causal, false);
      CHECK(!plain[1] && download(plain[0]) == download(got[0]));
    }
  });
}

TEST_CASE("attention_bwd matches central differences") {
  Random random(2);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Problem& p : {Problem{2, 2, 3, 5, 4, false, false}, {1, 2, 6, 6, 16, true, false}, {2, 2, 4, 7, 16, false, true}, {2, 1, 5, 5, 8, true, true},
                             {1, 1, 3, 70, 5, false, false}, {1, 1, 70, 3, 5, false, false}}) {
      const Values q = normals(random, p.queries(), dtype), k = normals(random, p.keys(), dtype), v = normals(random, p.keys(), dtype);
      const Values dout = normals(random, p.queries(), dtype);
      Values bias;
      if (p.with_bias) bias = normals(random, {p.heads, p.lq, p.lk});
      const Tensor bt = optional_bias(device, p, bias), qt = upload(device, p.queries(), q, dtype);
      const Tensor kt = upload(device, p.keys(), k, dtype), vt = upload(device, p.keys(), v, dtype);
      const auto y = attention(qt, kt, vt, bt, p.scale(), p.causal, true);
      const auto grads = attention_bwd(upload(device, p.queries(), dout, dtype), qt, kt, vt, y[0], y[1], bt, p.scale(), p.causal, p.with_bias);
      const auto loss = [&](const Values& a, const Values& b, const Values& c) { return inner(reference(p, a, b, c, bias), dout); };
      CHECK(grads[3].defined() == p.with_bias);
      if (p.with_bias)
        CHECK_CLOSE("attention dbias", grads[3],
                    central_differences([&](const Values& x) { return inner(reference(p, q, k, v, x), dout); }, bias), backward_bound(dtype));
      CHECK_CLOSE("attention dq", grads[0], central_differences([&](const Values& x) { return loss(x, k, v); }, q), backward_bound(dtype));
      CHECK_CLOSE("attention dk", grads[1], central_differences([&](const Values& x) { return loss(q, x, v); }, k), backward_bound(dtype));
      CHECK_CLOSE("attention dv", grads[2], central_differences([&](const Values& x) { return loss(q, k, x); }, v), backward_bound(dtype));
    }
  });
}

TEST_CASE("attention_bwd over several tiles matches the closed form") {
  Random random(3);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Problem& p : {Problem{1, 2, 150, 210, 64, false, false}, {1, 1, 140, 140, 128, true, false}, {1, 1, 80, 90, 256, false, true}}) {
      const Values q = normals(random, p.queries(), dtype), k = normals(random, p.keys(), dtype), v = normals(random, p.keys(), dtype);
      const Values dout = normals(random, p.queries(), dtype);
      Values bias;
      if (p.with_bias) bias = normals(random, {p.heads, p.lq, p.lk});
      Values lse, dq(q.size()), dk(k.size()), dv(v.size());
      const Values out = reference(p, q, k, v, bias, &lse);
      for (int64_t h = 0; h < p.heads; ++h)
        for (int64_t i = 0; i < p.lq; ++i) {
          const size_t qi = static_cast<size_t>((i * p.heads + h) * p.d);
          double delta = 0;
          for (int64_t c = 0; c < p.d; ++c) delta += dout[qi + c] * out[qi + c];
          for (int64_t j = 0; j < (p.causal ? i + 1 : p.lk); ++j) {
            const size_t kj = static_cast<size_t>((j * p.heads + h) * p.d);
            double score = 0, dp = 0;
            for (int64_t c = 0; c < p.d; ++c) score += q[qi + c] * k[kj + c], dp += dout[qi + c] * v[kj + c];
            score = score * p.scale() + (p.with_bias ? bias[(h * p.lq + i) * p.lk + j] : 0);
            const double probability = std::exp(score - lse[h * p.lq + i]), ds = probability * (dp - delta) * p.scale();
            for (int64_t c = 0; c < p.d; ++c) {
              dq[qi + c] += ds * k[kj + c];
              dk[kj + c] += ds * q[qi + c];
              dv[kj + c] += probability * dout[qi + c];
            }
          }
        }
      const Tensor bt = optional_bias(device, p, bias), qt = upload(device, p.queries(), q, dtype);
      const Tensor kt = upload(device, p.keys(), k, dtype), vt = upload(device, p.keys(), v, dtype);
      const auto y = attention(qt, kt, vt, bt, p.scale(), p.causal, true);
      const Tensor up = upload(device, p.queries(), dout, dtype);
      const auto grads = attention_bwd(up, qt, kt, vt, y[0], y[1], bt, p.scale(), p.causal, p.with_bias);
      CHECK_CLOSE("attention tiles dq", grads[0], dq, backward_bound(dtype));
      CHECK_CLOSE("attention tiles dk", grads[1], dk, backward_bound(dtype));
      CHECK_CLOSE("attention tiles dv", grads[2], dv, backward_bound(dtype));
      const auto again = attention_bwd(up, qt, kt, vt, y[0], y[1], bt, p.scale(), p.causal, p.with_bias);
      for (int i = 0; i < 3; ++i) CHECK(download(again[i]) == download(grads[i]));
    }
  });
}

TEST_CASE("attention: masked rows, empty tensors, NaN, wrong shapes") {
  for (const auto& device : test_devices()) {
    const Tensor x = upload(*device, {1, 2, 1, 2}, {1, 2, 3, 4});
    const Tensor mask = upload(*device, {1, 2, 2}, {-INFINITY, -INFINITY, 0, -INFINITY});
    const auto masked = attention(x, x, x, mask, 1, false, true);
    CHECK(download(masked[0]) == (Values{0, 0, 1, 2}));
    CHECK(download(masked[1])[0] == -INFINITY);
    const auto grads = attention_bwd(x, x, x, x, masked[0], masked[1], mask, 1, false, true);
    CHECK(download(grads[0]) == Values(4, 0.0) && download(grads[2]) == (Values{3, 4, 0, 0}) &&
          download(grads[3]) == Values(4, 0.0));
    const Tensor none = upload(*device, {1, 0, 1, 2}, {});
    CHECK(download(attention(x, none, none, {}, 1, false, false)[0]) == Values(4, 0.0));
    CHECK(attention(none, x, x, {}, 1, false, true)[0].numel() == 0);
    const Values y = download(attention(upload(*device, {1, 2, 1, 2}, {NAN, 2, 3, 4}), x, x, {}, 1, false, false)[0]);
    CHECK(std::isnan(y[0]) && std::isnan(y[1]) && std::isfinite(y[2]) && std::isfinite(y[3]));
    CHECK_THROWS(attention(x, none, x, {}, 1, false, false));
    CHECK_THROWS(attention(x, x, x, upload(*device, {2, 2}, Values(4)), 1, false, false));
    CHECK_THROWS(attention(x, x, upload(*device, {1, 2, 1, 2}, Values(4), DType::bf16), {}, 1, false, false));
    CHECK_THROWS(attention(upload(*device, {1, 2, 2}, Values(4)), x, x, {}, 1, false, false));
  }
}

int main() { return run_all(); }
