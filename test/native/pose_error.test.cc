// Relative pose errors against angles that are known by construction.
#include "native/ops/geom/pose_error.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

constexpr double kDegree = M_PI / 180;

// Rotation by `deg` about `axis` (unit), and translation t.
Values pose(double deg, const Values& axis, const Values& t) {
  const double c = std::cos(deg * kDegree), s = std::sin(deg * kDegree), x = axis[0], y = axis[1], z = axis[2], d = 1 - c;
  return {c + x * x * d, x * y * d - z * s, x * z * d + y * s, t[0], y * x * d + z * s, c + y * y * d, y * z * d - x * s, t[1],
          z * x * d - y * s, z * y * d + x * s, c + z * z * d, t[2]};
}

Values joined(const Values& a, const Values& b) {
  Values out = a;
  out.insert(out.end(), b.begin(), b.end());
  return out;
}

const Values kAxis = {2 / 3.0, -1 / 3.0, 2 / 3.0};

}  // namespace

TEST_CASE("pose_error gives the angles it was built from") {
  for (const auto& device : test_devices()) {
    const Values still = pose(0, kAxis, {0, 0, 0});
    for (double angle : {0.0, 1e-4, 0.5, 30.0, 90.0, 150.0, 179.9, 180.0}) {
      const Values estimate = joined(still, pose(angle, kAxis, {1, 0, 0}));
      const Values reference = joined(still, pose(0, kAxis, {3 * std::cos(angle * kDegree), 3 * std::sin(angle * kDegree), 0}));
      for (bool ignore_sign : {false, true}) {
        const auto errors = pose_error(upload(*device, {2, 3, 4}, estimate), upload(*device, {2, 3, 4}, reference),
                                       upload(*device, {1, 2}, {0, 1}, DType::i32), ignore_sign);
        const double translation = ignore_sign ? std::min(angle, 180 - angle) : angle;
        // f32 extrinsics: an entry is off by 6e-8, an angle by some 1e-5 degrees.
        CHECK_LE(Worst::note("rotation deg", std::fabs(download(errors[0])[0] - angle)), 2e-5);
        CHECK_LE(Worst::note("translation deg", std::fabs(download(errors[1])[0] - translation)), 2e-5);
      }
    }
  }
}

TEST_CASE("pose_error: degenerate baselines, NaN, indices, shapes") {
  for (const auto& device : test_devices()) {
    const Values here = pose(20, kAxis, {1, 2, 3}), away = pose(20, kAxis, {2, 2, 3});
    const auto errors = [&](const Values& estimate, const Values& reference, const Values& pairs) {
      return pose_error(upload(*device, {2, 3, 4}, estimate), upload(*device, {2, 3, 4}, reference), upload(*device, {1, 2}, pairs, DType::i32), false);
    };
    CHECK(download(errors(joined(here, away), joined(here, here), {0, 1})[1])[0] == 0);
    CHECK(download(errors(joined(here, here), joined(here, away), {0, 1})[1])[0] == 90);
    Values broken = joined(here, away);
    broken[15] = NAN;
    CHECK(std::isnan(download(errors(broken, joined(here, away), {0, 1})[1])[0]));
    if (device->is_cuda()) {
      CHECK(std::isnan(download(errors(broken, broken, {0, 2})[0])[0]));
    } else {
      CHECK_THROWS(download(errors(broken, broken, {0, 2})[0]));
    }
    const Tensor poses = upload(*device, {2, 3, 4}, joined(here, away));
    CHECK(pose_error(poses, poses, upload(*device, {0, 2}, {}, DType::i32), false)[0].numel() == 0);
    CHECK_THROWS(pose_error(poses, upload(*device, {1, 3, 4}, here), upload(*device, {1, 2}, {0, 1}, DType::i32), false));
    CHECK_THROWS(pose_error(poses, poses, upload(*device, {2}, {0, 1}, DType::i32), false));
  }
}

int main() { return run_all(); }
