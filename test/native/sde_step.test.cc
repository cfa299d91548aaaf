// The sampler step against float64, its replay bit for bit, its gradients against central differences in float64.
#include "native/core/thread_pool.h"
#include "native/ops/train/sde_step.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

constexpr double kFromSample = 0.93, kFromVelocity = -0.088, kStd = 0.31, kWeight = 1 / (kStd * kStd), kConstant = 0.25;

struct Reference {
  Values mean, next, log_prob;
};

// `noise` draws the next sample, else `given` is scored.
Reference reference(const Values& sample, const Values& velocity, const Values* noise, const Values* given, size_t batch) {
  Reference out{Values(sample.size()), Values(sample.size()), Values(batch, kConstant)};
  const size_t dim = sample.size() / batch;
  for (size_t i = 0; i < sample.size(); ++i) {
    out.mean[i] = kFromSample * sample[i] + kFromVelocity * velocity[i];
    out.next[i] = noise ? out.mean[i] + kStd * (*noise)[i] : (*given)[i];
    const double error = out.next[i] - out.mean[i];
    out.log_prob[i / dim] -= 0.5 * kWeight * error * error / static_cast<double>(dim);
  }
  return out;
}

}  // namespace

TEST_CASE("sde_step matches float64, and a replay gives the same bits") {
  Random random(1);
  for (const auto& device : test_devices()) {
    for (const Shape& shape : {Shape{1}, Shape{2, 6, 16}, Shape{3, 4097}, Shape{1, 20011}}) {
      const Values sample = normals(random, shape), velocity = normals(random, shape), noise = normals(random, shape);
      const Reference expected = reference(sample, velocity, &noise, nullptr, static_cast<size_t>(shape[0]));
      const Tensor ts = upload(*device, shape, sample), tv = upload(*device, shape, velocity);
      const auto step = sde_step(ts, tv, upload(*device, shape, noise), {}, kFromSample, kFromVelocity, kStd, kWeight, kConstant, true);
      CHECK_CLOSE("next", step[0], expected.next, 7.07e-8);
      CHECK_CLOSE("mean", step[1], expected.mean, 6.3e-8);
      CHECK_CLOSE("log_prob", step[2], expected.log_prob, 6.3e-8);
      const auto replay = sde_step(ts, tv, {}, step[0], kFromSample, kFromVelocity, kStd, kWeight, kConstant, true);
      CHECK(!replay[0]);
      CHECK(download(replay[1]) == download(step[1]) && download(replay[2]) == download(step[2]));
      const auto plain = sde_step(ts, tv, {}, {}, kFromSample, kFromVelocity, 0, 0, 0, false);
      CHECK(download(plain[0]) == download(step[1]) && !plain[2]);
    }
  }
}

TEST_CASE("sde_step_bwd matches central differences, with next constant in the log-probability") {
  Random random(2);
  for (const auto& device : test_devices()) {
    const Shape shape{2, 3, 5};
    const Values sample = normals(random, shape), velocity = normals(random, shape), next = normals(random, shape);
    const Values dnext = normals(random, shape), dmean = normals(random, shape), dlog_prob = normals(random, {2});
    const auto loss = [&](const Values& s, const Values& v) {
      const Reference r = reference(s, v, nullptr, &next, 2);
      return inner(r.mean, dmean) + inner(r.mean, dnext) + inner(r.log_prob, dlog_prob);
    };
    const auto step = sde_step(upload(*device, shape, sample), upload(*device, shape, velocity), {}, upload(*device, shape, next),
                               kFromSample, kFromVelocity, kStd, kWeight, kConstant, true);
    const auto grads = sde_step_bwd(upload(*device, shape, dnext), upload(*device, shape, dmean), upload(*device, {2}, dlog_prob),
                                    upload(*device, shape, next), step[1], kFromSample, kFromVelocity, kWeight, true, true);
    CHECK_CLOSE("dsample", grads[0], central_differences([&](const Values& s) { return loss(s, velocity); }, sample), 6.3e-8);
    CHECK_CLOSE("dvelocity", grads[1], central_differences([&](const Values& v) { return loss(sample, v); }, velocity), 6.3e-8);
    CHECK(!sde_step_bwd({}, upload(*device, shape, dmean), {}, {}, step[1], 1, 1, 0, false, true)[0]);
  }
}

TEST_CASE("sde_step has the same bits for every number of threads") {
  Random random(3);
  Device& cpu = *test_devices()[0];
  const Shape shape{2, 50021};
  const Tensor s = upload(cpu, shape, normals(random, shape)), v = upload(cpu, shape, normals(random, shape)), e = upload(cpu, shape, normals(random, shape));
  const int threads = ThreadPool::instance().size();
  std::vector<Values> runs;
  for (int size : {1, 2, 5}) {
    ThreadPool::instance().set_size(size);
    runs.push_back(download(sde_step(s, v, e, {}, kFromSample, kFromVelocity, kStd, kWeight, kConstant, true)[2]));
  }
  ThreadPool::instance().set_size(threads);
  CHECK(runs[0] == runs[1] && runs[0] == runs[2]);
}

TEST_CASE("sde_step: NaN, empty tensors, wrong arguments") {
  for (const auto& device : test_devices()) {
    const Tensor x = upload(*device, {2, 2}, {1, NAN, 3, 4}), none = upload(*device, {0, 3}, {});
    const Values log_prob = download(sde_step(x, x, x, {}, 1, 1, 1, 1, 0, true)[2]);
    CHECK(std::isnan(log_prob[0]) && std::isfinite(log_prob[1]));
    CHECK(sde_step(none, none, none, {}, 1, 1, 1, 1, 0, true)[2].numel() == 0);
    CHECK_THROWS(sde_step(x, x, x, x, 1, 1, 1, 1, 0, true));
    CHECK_THROWS(sde_step(x, x, {}, {}, 1, 1, 1, 1, 0, true));
    CHECK_THROWS(sde_step(x, none, x, {}, 1, 1, 1, 1, 0, true));
    CHECK_THROWS(sde_step(upload(*device, {1}, {1}, DType::bf16), x, x, {}, 1, 1, 1, 1, 0, true));
  }
}

int main() { return run_all(); }
