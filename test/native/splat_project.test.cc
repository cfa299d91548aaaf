// splat_project and its backward against a float64 projection written from the formulas, and its central differences.
#include "native/ops/splat/splat_project.h"

#include "native/core/thread_pool.h"
#include "native/ops/splat/splat_project_backward.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

constexpr int64_t kWidth = 53, kHeight = 37;
constexpr double kNear = 0.2;

// Wider than float64: the textbook formulas lose the digits of long thin splats that the test is after.
using Real = long double;
constexpr Real kPi = 3.14159265358979323846264338327950288L, kDilation = Real(3) / 10;

Real clamped(Real x, Real low, Real high) { return std::min(std::max(x, low), high); }

// (fx, fy, cx, cy, worldToCam): rotated, off-centre, fx != fy; rounded to f32 as the op sees it.
Values test_camera(double shift = 0) {
  const double w = 0.9, x = 0.2, y = -0.35, z = 0.15, n = std::sqrt(w * w + x * x + y * y + z * z);
  const double a = w / n, b = x / n, c = y / n, d = z / n;
  Values out = {45, 41, 0.37 * kWidth, 0.58 * kHeight,
                1 - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c), 0.3 + shift,
                2 * (b * c + a * d), 1 - 2 * (b * b + d * d), 2 * (c * d - a * b), -0.2,
                2 * (b * d - a * c), 2 * (c * d + a * b), 1 - 2 * (b * b + c * c), 4};
  for (double& value : out) value = rounded(value, DType::f32);
  return out;
}

struct Scene {
  int64_t count = 0, rest = 0;
  Values means, quats, log_scales, logits, sh0, sh_rest;
};

// The parameters of one Gaussian in a row: mean 3, quat 4, log scale 3, logit 1, sh0 3, sh_rest 3 R.
std::vector<Real> row_of(const Scene& s, int64_t i) {
  std::vector<Real> out;
  const auto add = [&](const Values& v, int64_t n) { out.insert(out.end(), v.begin() + i * n, v.begin() + (i + 1) * n); };
  add(s.means, 3), add(s.quats, 4), add(s.log_scales, 3), add(s.logits, 1), add(s.sh0, 3), add(s.sh_rest, 3 * s.rest);
  return out;
}

struct Reference {
  Real column[12];  // without culling; the extents before the ceiling
  bool culled, clamped_x, clamped_y;
  Real raw[3];      // colour before its clamp
};

Real basis_function(int k, Real x, Real y, Real z) {
  switch (k) {
    case 0: return Real(0.5) * std::sqrt(1 / kPi);
    case 1: return -std::sqrt(3 / (4 * kPi)) * y;
    case 2: return std::sqrt(3 / (4 * kPi)) * z;
    case 3: return -std::sqrt(3 / (4 * kPi)) * x;
    case 4: return Real(0.5) * std::sqrt(15 / kPi) * x * y;
    case 5: return -Real(0.5) * std::sqrt(15 / kPi) * y * z;
    case 6: return 0.25 * std::sqrt(5 / kPi) * (2 * z * z - x * x - y * y);
    case 7: return -Real(0.5) * std::sqrt(15 / kPi) * x * z;
    case 8: return 0.25 * std::sqrt(15 / kPi) * (x * x - y * y);
    case 9: return -0.25 * std::sqrt(35 / (2 * kPi)) * y * (3 * x * x - y * y);
    case 10: return Real(0.5) * std::sqrt(105 / kPi) * x * y * z;
    case 11: return -0.25 * std::sqrt(21 / (2 * kPi)) * y * (4 * z * z - x * x - y * y);
    case 12: return 0.25 * std::sqrt(7 / kPi) * z * (2 * z * z - 3 * x * x - 3 * y * y);
    case 13: return -0.25 * std::sqrt(21 / (2 * kPi)) * x * (4 * z * z - x * x - y * y);
    case 14: return 0.25 * std::sqrt(105 / kPi) * z * (x * x - y * y);
    default: return -0.25 * std::sqrt(35 / (2 * kPi)) * x * (x * x - 3 * y * y);
  }
}

// The textbook order of operations: Sigma first, then J W Sigma W^T J^T, then ac - b^2.
Reference project(const std::vector<Real>& g, const Values& cam, int degree, int64_t width = kWidth, int64_t height = kHeight) {
  Reference out{};
  const Real *m = &g[0], *q = &g[3];
  const Real fx = cam[0], fy = cam[1], cx = cam[2], cy = cam[3];
  Real p[3], centre[3];
  for (int r = 0; r < 3; ++r) {
    p[r] = cam[7 + 4 * r];
    centre[r] = 0;
    for (int c = 0; c < 3; ++c) p[r] += cam[4 + 4 * r + c] * m[c], centre[r] -= cam[4 + 4 * c + r] * cam[7 + 4 * c];
  }
  const Real n = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  const Real w = q[0] / n, x = q[1] / n, y = q[2] / n, z = q[3] / n;
  const Real rotation[3][3] = {{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
                                 {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
                                 {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}};
  Real sigma[3][3] = {}, jw[2][3], cov[2][2] = {};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      for (int k = 0; k < 3; ++k) sigma[i][j] += rotation[i][k] * rotation[j][k] * std::exp(2 * g[7 + k]);
  const Real tx = width / (2 * fx), ty = height / (2 * fy), ux = p[0] / p[2], uy = p[1] / p[2];
  const Real rx = clamped(ux, -(cx / fx + Real(3) / 10 * tx), (width - cx) / fx + Real(3) / 10 * tx);
  const Real ry = clamped(uy, -(cy / fy + Real(3) / 10 * ty), (height - cy) / fy + Real(3) / 10 * ty);
  for (int i = 0; i < 3; ++i) {
    jw[0][i] = fx / p[2] * cam[4 + i] - fx * rx / p[2] * cam[12 + i];
    jw[1][i] = fy / p[2] * cam[8 + i] - fy * ry / p[2] * cam[12 + i];
  }
  for (int a = 0; a < 2; ++a)
    for (int b = 0; b < 2; ++b)
      for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) cov[a][b] += jw[a][i] * sigma[i][j] * jw[b][j];
  const Real a = cov[0][0] + kDilation, b = cov[0][1], c = cov[1][1] + 0.3, det = a * c - b * b;
  Real direction[3] = {m[0] - centre[0], m[1] - centre[1], m[2] - centre[2]};
  const Real distance = std::sqrt(direction[0] * direction[0] + direction[1] * direction[1] + direction[2] * direction[2]);
  for (Real& value : direction) value /= distance;
  const Real opacity = 1 / (1 + std::exp(-g[10]));
  out.column[0] = fx * ux + cx, out.column[1] = fy * uy + cy;
  out.column[2] = c / det, out.column[3] = -b / det, out.column[4] = a / det, out.column[5] = opacity;
  for (int channel = 0; channel < 3; ++channel) {
    Real colour = 0.5;
    for (int k = 0; k < (degree + 1) * (degree + 1); ++k)
      colour += basis_function(k, direction[0], direction[1], direction[2]) * g[11 + 3 * k + channel];
    out.raw[channel] = colour;
    out.column[6 + channel] = std::max(Real(0), colour);
  }
  out.column[9] = p[2];
  const Real k = std::sqrt(std::max(Real(0), 2 * std::log(255 * opacity)));
  out.column[10] = k * std::sqrt(a), out.column[11] = k * std::sqrt(c);
  const Real hw = std::max(Real(1), std::ceil(out.column[10])), hh = std::max(Real(1), std::ceil(out.column[11]));
  out.clamped_x = rx != ux, out.clamped_y = ry != uy;
  out.culled = !(p[2] > kNear) || !(det > 0) || !(opacity >= Real(1) / 255) || !(n > 0) || out.column[0] + hw <= 0 ||
               out.column[0] - hw >= width || out.column[1] + hh <= 0 || out.column[1] - hh >= height;
  return out;
}

// Gaussians in front of, beside and behind the camera; some of a colour below 0, faint or large.
Scene random_scene(Random& random, int64_t count, int64_t rest) {
  Scene s{count, rest, normals(random, {count, 3}, DType::f32, 1.3), normals(random, {count, 4}),
          normals(random, {count, 3}, DType::f32, 0.7, -1.2), normals(random, {count}, DType::f32, 2.5),
          normals(random, {count, 3}, DType::f32, 1.5), normals(random, {count, rest, 3}, DType::f32, 0.4)};
  // Every fifth lies far to a side and reaches into the picture, so that the clamp of the Jacobian holds.
  for (int64_t i = 0; i < count; i += 5) {
    for (int c = 0; c < 3; ++c) s.means[3 * i + c] = rounded(s.means[3 * i + c] * 3, DType::f32);
    for (int c = 0; c < 3; ++c) s.log_scales[3 * i + c] = rounded(s.log_scales[3 * i + c] + 1.6, DType::f32);
  }
  return s;
}

struct Inputs {
  Tensor means, quats, log_scales, logits, sh0, sh_rest, camera;
};

Inputs upload_scene(Device& device, const Scene& s, const Values& camera) {
  const int64_t n = s.count;
  return {upload(device, {n, 3}, s.means),  upload(device, {n, 4}, s.quats), upload(device, {n, 3}, s.log_scales),
          upload(device, {n}, s.logits),    upload(device, {n, 3}, s.sh0),   upload(device, {n, s.rest, 3}, s.sh_rest),
          upload(device, {16}, camera)};
}

Tensor run_forward(const Inputs& t, int64_t degree, int64_t width = kWidth, int64_t height = kHeight) {
  return splat_project(t.means, t.quats, t.log_scales, t.logits, t.sh0, t.sh_rest, t.camera, width, height, degree, kNear);
}

std::vector<Values> run_backward(const Inputs& t, int64_t degree, const Tensor& projected, const Values& cotangent,
                                 int64_t width = kWidth, int64_t height = kHeight) {
  const auto gradients = splat_project_backward(
      t.means, t.quats, t.log_scales, t.logits, t.sh0, t.sh_rest, t.camera, width, height, degree, kNear, projected,
      upload(t.means.device(), {t.means.size(0), 10}, cotangent));
  std::vector<Values> out;
  for (const Tensor& gradient : gradients) out.push_back(download(gradient));
  return out;
}

// Columns 0-9, clamped colours included, of one Gaussian times `cotangent`; differences of fourth order.
Values differences(std::vector<Real> at, const Values& camera, int degree, const double* cotangent, Real step = 1e-6L) {
  Values gradient(at.size());
  for (size_t i = 0; i < at.size(); ++i) {
    const Real x = at[i];
    const auto loss = [&](Real value) {
      at[i] = value;
      const Reference p = project(at, camera, degree);
      Real sum = 0;
      for (int c = 0; c < 10; ++c) sum += cotangent[c] * p.column[c];
      return sum;
    };
    const Real narrow = loss(x + step) - loss(x - step), wide = loss(x + 2 * step) - loss(x - 2 * step);
    gradient[i] = static_cast<double>((8 * narrow - wide) / (12 * step));
    at[i] = x;
  }
  return gradient;
}

const char* const kGradients[] = {"means", "quats", "log_scales", "opacity_logits", "sh0", "sh_rest"};
const char* const kColumns[] = {"u", "v", "A", "B", "C", "opacity", "r", "g", "b", "z"};

// Of a column's or gradient's largest value: the worst observed, with AVX-512, AVX2 and SSE2, times 1.05.
constexpr double kColumnBounds[] = {4.16e-7, 1.28e-7, 7.11e-7, 2.46e-6, 7.64e-7, 8.91e-8, 2.1e-7, 2.4e-7, 2.11e-7, 4.97e-8};
constexpr double kGradientBounds[] = {7.34e-8, 1.53e-7, 1.22e-7, 1.62e-7, 1.09e-7, 3.83e-7};

void check_scene(Device& device, const Scene& s, int degree, const Values& camera, Random& random) {
  const Inputs inputs = upload_scene(device, s, camera);
  const Tensor projected = run_forward(inputs, degree);
  CHECK(projected.shape() == Shape({s.count, 12}));
  const Values actual = download(projected);
  const double slack = device.is_cuda() ? 3 : 1;
  std::vector<Values> columns(10), expected(10);
  std::vector<Reference> references;
  for (int64_t i = 0; i < s.count; ++i) {
    references.push_back(project(row_of(s, i), camera, degree));
    const Reference& r = references.back();
    for (int c = 0; c < 10; ++c) {
      columns[c].push_back(actual[12 * i + c]);
      expected[c].push_back(r.culled ? 0 : static_cast<double>(r.column[c]));
    }
    for (int c = 10; c < 12; ++c) {
      const double got = actual[12 * i + c], exact = r.culled ? 0 : std::max(1.0, static_cast<double>(r.column[c]));
      // Within the rounding of f32 an extent may take the next whole number.
      CHECK_MSG(got == std::ceil(exact) || got == std::ceil(exact * (1 - 2e-6)) || got == std::ceil(exact * (1 + 2e-6)),
                "extent " << c << " of Gaussian " << i << ": " << got << ", expected " << exact);
    }
  }
  for (int c = 0; c < 10; ++c) {
    const double error = Worst::note(std::string("forward ") + kColumns[c], compare(columns[c], expected[c]).relative);
    CHECK_LE(error, slack * kColumnBounds[c]);
  }

  Values cotangent = normals(random, {s.count, 10});
  const auto gradients = run_backward(inputs, degree, projected, cotangent);
  std::vector<Values> wanted(6);
  for (int64_t i = 0; i < s.count; ++i) {
    Values row = references[i].culled ? Values(14 + 3 * s.rest) : differences(row_of(s, i), camera, degree, &cotangent[10 * i]);
    const int64_t sizes[] = {3, 4, 3, 1, 3, 3 * s.rest};
    for (int64_t t = 0, at = 0; t < 6; at += sizes[t++])
      wanted[t].insert(wanted[t].end(), row.begin() + at, row.begin() + at + sizes[t]);
  }
  for (int t = 0; t < 6; ++t) {
    const double error = Worst::note(std::string("gradient ") + kGradients[t], compare(gradients[t], wanted[t]).relative);
    CHECK_MSG(error <= slack * kGradientBounds[t], kGradients[t] << " degree " << degree << ", " << s.count << " Gaussians: " << error);
  }
}

}  // namespace

TEST_CASE("splat_project and its gradients agree with float64 for every degree") {
  Random random(3);
  int clamped_x = 0, clamped_y = 0, culled = 0, dark = 0, visible = 0;
  for (const auto& device : test_devices())
    for (int degree : {0, 1, 2, 3})
      for (int64_t count : {int64_t{1}, int64_t{16}, int64_t{157}})
        for (int64_t rest : {int64_t{(degree + 1) * (degree + 1) - 1}, int64_t{15}}) {
          const Scene s = random_scene(random, count, rest);
          const Values camera = test_camera();
          check_scene(*device, s, degree, camera, random);
          for (int64_t i = 0; i < count; ++i) {
            const Reference r = project(row_of(s, i), camera, degree);
            culled += r.culled;
            if (r.culled) continue;
            ++visible, clamped_x += r.clamped_x, clamped_y += r.clamped_y;
            dark += r.raw[0] < 0 || r.raw[1] < 0 || r.raw[2] < 0;
          }
        }
  // The cases that the formulas treat apart did occur.
  CHECK(visible > 400 && culled > 100 && clamped_x > 30 && clamped_y > 30 && dark > 100);
}

TEST_CASE("splat_project: more Gaussians than one range of a thread, a world far from its origin") {
  Random random(4);
  for (const auto& device : test_devices()) {
    check_scene(*device, random_scene(random, 2 * 16 * 32 * 3 + 5, 3), 1, test_camera(), random);
    // 512 m to the side of the origin, where the cameras of a surveyed scene are.
    Scene s = random_scene(random, 64, 0);
    Values far = test_camera();
    const double move = 512;
    for (int64_t i = 0; i < s.count; ++i) s.means[3 * i] = rounded(s.means[3 * i] + move, DType::f32);
    for (int r = 0; r < 3; ++r) far[7 + 4 * r] = rounded(far[7 + 4 * r] - far[4 + 4 * r] * move, DType::f32);
    check_scene(*device, s, 0, far, random);
  }
}

TEST_CASE("splat_project: long thin splats keep their determinant and the gradient of their length") {
  for (const auto& device : test_devices()) {
    Random random(5);
    Scene s = random_scene(random, 41, 0);
    for (int64_t i = 0; i < s.count; ++i) {
      for (int c = 0; c < 3; ++c) s.means[3 * i + c] = rounded(s.means[3 * i + c] * 0.2, DType::f32);
      s.log_scales[3 * i] = rounded(std::log(20.0), DType::f32);  // some 300 px
      s.log_scales[3 * i + 1] = s.log_scales[3 * i + 2] = rounded(std::log(0.01), DType::f32);
      s.logits[i] = 1;
    }
    const Values camera = test_camera();
    const Inputs inputs = upload_scene(*device, s, camera);
    const Tensor projected = run_forward(inputs, 0);
    const Values actual = download(projected);
    Values cotangent(static_cast<size_t>(s.count) * 10);
    for (int64_t i = 0; i < s.count; ++i)
      for (int c : {2, 3, 4}) cotangent[10 * i + c] = rounded(random.normal(), DType::f32);
    const Values length = run_backward(inputs, 0, projected, cotangent)[2];
    double forward = 0, backward = 0;
    for (int64_t i = 0; i < s.count; ++i) {
      const Reference r = project(row_of(s, i), camera, 0);
      CHECK(!r.culled);
      for (int k : {2, 3, 4}) {
        const Real error = std::fabs(actual[12 * i + k] - r.column[k]) / (r.column[2] + r.column[4]);
        forward = std::max(forward, static_cast<double>(error));
      }
      const double wanted = differences(row_of(s, i), camera, 0, &cotangent[10 * i], 1e-3L)[7];
      backward = std::max(backward, std::fabs(length[3 * i] - wanted) / std::fabs(wanted));
    }
    // The gradient of the length is 1e-5 of that of the width: f32 inside would leave nothing of it.
    CHECK_LE(Worst::note("needles: conic, of its trace", forward), 6.66e-7);
    CHECK_LE(Worst::note("needles: gradient of the length, of itself", backward), 3.02e-5);
  }
}

TEST_CASE("splat_project: what is not finite or has no rotation is culled and touches nothing else") {
  const double huge = 3e38, inf = INFINITY;
  for (const auto& device : test_devices()) {
    Random random(6);
    Scene clean = random_scene(random, 48, 3);
    // In front of the camera, so that only the fault can cull it; the other Gaussians stay what they are.
    for (int64_t i = 0; i < clean.count; ++i)
      for (int c = 0; c < 3; ++c) clean.means[3 * i + c] = rounded(0.1 * random.normal(), DType::f32), clean.log_scales[3 * i + c] = -1;
    for (double& logit : clean.logits) logit = 1;
    const Values cotangent = normals(random, {clean.count, 10});
    const Inputs inputs = upload_scene(*device, clean, test_camera());
    const Tensor projected = run_forward(inputs, 1);
    const Values expected = download(projected);
    const auto gradients = run_backward(inputs, 1, projected, cotangent);
    for (int64_t i = 0; i < clean.count; ++i) CHECK(expected[12 * i + 10] > 0);

    Scene s = clean;
    Values d = cotangent;
    struct Fault {
      Values* field;
      int64_t width;
      Values value;
    };
    const std::vector<Fault> faults = {
        {&s.means, 3, {NAN, 0, 0}},        {&s.means, 3, {0, inf, 0}},         {&s.means, 3, {0, 0, -huge}},
        {&s.quats, 4, {0, 0, 0, 0}},       {&s.quats, 4, {1, NAN, 0, 0}},      {&s.quats, 4, {inf, 0, 0, 0}},
        {&s.quats, 4, {1e-30, 0, 0, 0}},   {&s.log_scales, 3, {90, 0, 0}},     {&s.log_scales, 3, {0, 40, 40}},
        {&s.log_scales, 3, {0, 0, NAN}},   {&s.log_scales, 3, {inf, 0, 0}},    {&s.logits, 1, {NAN}},
        {&s.logits, 1, {-inf}},            {&s.logits, 1, {-5.6}},             {&s.sh0, 3, {NAN, 0, 0}},
        {&s.sh0, 3, {0, inf, 0}},          {&s.sh_rest, 9, Values(9, NAN)},    {&s.sh_rest, 9, Values(9, -inf)}};
    std::vector<bool> faulty(48, false);
    for (size_t f = 0; f < faults.size(); ++f) {
      const int64_t i = static_cast<int64_t>(1 + 2 * f);  // every other one, in every block of 16
      faulty[static_cast<size_t>(i)] = true;
      for (int64_t c = 0; c < faults[f].width; ++c) (*faults[f].field)[i * faults[f].width + c] = faults[f].value[c];
      for (int c = 0; c < 10; ++c) d[10 * i + c] = f % 2 ? NAN : inf;
    }
    const Inputs broken = upload_scene(*device, s, test_camera());
    const Tensor outcome = run_forward(broken, 1);
    const Values actual = download(outcome);
    const auto actual_gradients = run_backward(broken, 1, outcome, d);
    const int64_t widths[] = {3, 4, 3, 1, 3, 9};
    for (int64_t i = 0; i < 48; ++i) {
      const bool bad = faulty[static_cast<size_t>(i)];
      for (int c = 0; c < 12; ++c)
        CHECK_MSG(actual[12 * i + c] == (bad ? 0 : expected[12 * i + c]), "Gaussian " << i << " column " << c << ": " << actual[12 * i + c]);
      for (int t = 0; t < 6; ++t)
        for (int64_t c = 0; c < widths[t]; ++c)
          CHECK_MSG(actual_gradients[t][widths[t] * i + c] == (bad ? 0 : gradients[t][widths[t] * i + c]),
                    "Gaussian " << i << " gradient of " << kGradients[t] << ": " << actual_gradients[t][widths[t] * i + c]);
    }
    // A logit of 1e4 is an opacity of 1 whose gradient is 0; a camera without a focal length sees nothing.
    for (double fx : {0.0, -45.0, static_cast<double>(NAN), inf}) {
      Values camera = test_camera();
      camera[0] = fx;
      for (double value : download(run_forward(upload_scene(*device, clean, camera), 1))) CHECK(value == 0);
    }
    clean.logits[0] = 1e4;
    const Inputs opaque = upload_scene(*device, clean, test_camera());
    const Tensor solid = run_forward(opaque, 1);
    CHECK(download(solid)[5] == 1);
    CHECK(run_backward(opaque, 1, solid, cotangent)[3][0] == 0);
  }
}

TEST_CASE("splat_project: bits do not depend on the number of threads, no Gaussians, wrong arguments") {
  Random random(7);
  const Values camera = test_camera();
  ThreadPool& pool = ThreadPool::instance();
  const int threads = pool.size();
  const Scene s = random_scene(random, 2063, 8);
  const Values cotangent = normals(random, {s.count, 10});
  Device& cpu = *test_devices()[0];
  Values first;
  for (int size : {1, 3, threads}) {
    pool.set_size(size);
    const Inputs inputs = upload_scene(cpu, s, camera);
    const Tensor projected = run_forward(inputs, 2);
    Values all = download(projected);
    for (const Values& gradient : run_backward(inputs, 2, projected, cotangent)) all.insert(all.end(), gradient.begin(), gradient.end());
    if (first.empty()) first = all;
    CHECK(all == first);
  }
  for (const auto& device : test_devices()) {
    const Inputs none = upload_scene(*device, Scene{0, 15, {}, {}, {}, {}, {}, {}}, camera);
    const Tensor projected = run_forward(none, 3);
    CHECK(projected.shape() == Shape({0, 12}));
    for (const Values& gradient : run_backward(none, 3, projected, {})) CHECK(gradient.empty());

    const Inputs t = upload_scene(*device, random_scene(random, 4, 3), camera);
    const auto code_of = [&](const std::function<void()>& call) -> std::string {
      try {
        call();
      } catch (const Error& error) {
        return error.code();
      }
      return "none";
    };
    const auto with = [&](auto change) {
      Inputs wrong = t;
      change(wrong);
      return code_of([&] { run_forward(wrong, 1); });
    };
    const auto zeros = [&](const Shape& shape, DType dtype = DType::f32) { return upload(*device, shape, Values(static_cast<size_t>(shape.numel())), dtype); };
    CHECK(with([](Inputs&) {}) == "none");
    CHECK(with([&](Inputs& x) { x.means = zeros({4, 4}); }) == code::kShape);
    CHECK(with([&](Inputs& x) { x.means = zeros({4, 3}, DType::bf16); }) == code::kShape);
    CHECK(with([&](Inputs& x) { x.means = Tensor(); }) == code::kShape);
    CHECK(with([&](Inputs& x) { x.quats = zeros({3, 4}); }) == code::kShape);
    CHECK(with([&](Inputs& x) { x.log_scales = zeros({4}); }) == code::kShape);
    CHECK(with([&](Inputs& x) { x.logits = zeros({4, 1}); }) == code::kShape);
    CHECK(with([&](Inputs& x) { x.sh0 = zeros({4, 1, 3}); }) == code::kShape);
    CHECK(with([&](Inputs& x) { x.sh_rest = zeros({4, 4, 3}); }) == code::kShape);
    CHECK(with([&](Inputs& x) { x.sh_rest = zeros({4, 9}); }) == code::kShape);
    CHECK(with([&](Inputs& x) { x.camera = zeros({3, 4}); }) == code::kShape);
    for (int64_t degree : {-1, 2, 4}) CHECK(code_of([&] { run_forward(t, degree); }) == code::kConfig);
    CHECK(code_of([&] { run_forward(t, 1, 0, 5); }) == code::kConfig);
    CHECK(code_of([&] { run_forward(t, 1, 5, int64_t{1} << 21); }) == code::kConfig);
    for (double near : {0.0, -1.0, static_cast<double>(NAN), static_cast<double>(INFINITY)})
      CHECK(code_of([&] { splat_project(t.means, t.quats, t.log_scales, t.logits, t.sh0, t.sh_rest, t.camera, 5, 5, 1, near); }) == code::kConfig);
    const auto backward = [&](const Tensor& values, const Tensor& gradient) {
      return code_of([&] {
        splat_project_backward(t.means, t.quats, t.log_scales, t.logits, t.sh0, t.sh_rest, t.camera, 5, 5, 1, kNear, values, gradient);
      });
    };
    CHECK(backward(zeros({4, 12}), zeros({4, 10})) == "none");
    CHECK(backward(zeros({4, 10}), zeros({4, 10})) == code::kShape);
    CHECK(backward(zeros({4, 12}), zeros({4, 12})) == code::kShape);
    device->wait();
  }
}

int main() { return run_all(); }
