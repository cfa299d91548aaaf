#include "native/ops/geom/raycast.h"

#include "native/core/error.h"
#include "native/core/thread_pool.h"

// GCC fuses a*b+c by default where the target has FMA, which changes low bits, and then pixels, between machines.
// Everything below, the two headers included, is compiled without it whatever the command line says.
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
#if defined(__FAST_MATH__)
#error "raycast.cc must be compiled without -ffast-math: its pictures are the same bytes on every machine"
#endif

#include "native/ops/geom/raycast_shapes.h"
#include "native/ops/geom/raycast_textures.h"

namespace rl {
namespace {

using namespace raycast_detail;

static_assert(sizeof(Sample) == 4, "the packed G-buffer has four bytes per sample");

struct Hit {
  int primitive = -1;
  float t = 0;
  Vec3 object_position{}, world_normal{};
};

Vec3 vec(const float* v) { return {v[0], v[1], v[2]}; }

// Object axes are the columns of the world-from-object rotation.
Vec3 to_object(const Primitive& p, Vec3 v) {
  const float* r = p.rotation;
  return {r[0] * v.x + r[3] * v.y + r[6] * v.z, r[1] * v.x + r[4] * v.y + r[7] * v.z,
          r[2] * v.x + r[5] * v.y + r[8] * v.z};
}

Vec3 to_world(const Primitive& p, Vec3 v) {
  const float* r = p.rotation;
  return {r[0] * v.x + r[1] * v.y + r[2] * v.z, r[3] * v.x + r[4] * v.y + r[5] * v.z,
          r[6] * v.x + r[7] * v.y + r[8] * v.z};
}

uint8_t to_byte(float x) { return static_cast<uint8_t>(clamp01(x) * 255.0f + 0.5f); }

struct Camera {
  Vec3 origin, right, down, forward;  // world axes
  float fx, fy, cx, cy;

  explicit Camera(const CameraDesc& c) : fx(c.fx), fy(c.fy), cx(c.cx), cy(c.cy) {
    const float* m = c.world_to_cam;
    right = {m[0], m[1], m[2]};
    down = {m[4], m[5], m[6]};
    forward = {m[8], m[9], m[10]};
    origin = (right * m[3] + down * m[7] + forward * m[11]) * -1.0f;
  }

  // Unit direction; *cosine is its component along the optical axis (z-depth = t * cosine).
  Vec3 direction(float u, float v, float* cosine) const {
    const float x = (u - cx) / fx, y = (v - cy) / fy;
    *cosine = 1.0f / root(x * x + y * y + 1.0f);
    return (right * x + down * y + forward) * *cosine;
  }
};

class Tracer {
 public:
  explicit Tracer(const SceneDesc& scene) : scene_(scene), light_(vec(scene.light_direction)) {
    for (const Primitive& p : scene.primitives) {
      centres_.push_back(vec(p.position));
      const float radius = bounding_radius(p.shape, p.size);
      squares_.push_back(radius >= kHuge ? kHuge : radius * radius * 1.0001f);
    }
  }

  Hit nearest(Vec3 origin, Vec3 direction, float t_max) const {
    Hit hit;
    float best = t_max;
    Vec3 best_origin{}, best_direction{}, normal{};
    for (size_t i = 0; i < centres_.size(); ++i) {
      if (misses(i, origin, direction)) continue;
      const Primitive& p = scene_.primitives[i];
      const Vec3 o = to_object(p, origin - centres_[i]), d = to_object(p, direction);
      if (!hit_shape(p.shape, p.size, o, d, best, &best, &normal)) continue;
      hit.primitive = static_cast<int>(i);
      hit.world_normal = normal;
      best_origin = o;
      best_direction = d;
    }
    hit.t = best;
    if (hit.primitive >= 0) {
      const Primitive& p = scene_.primitives[static_cast<size_t>(hit.primitive)];
      hit.world_normal = to_world(p, hit.world_normal);
      hit.object_position = best_origin + best_direction * best;
      if (p.shape == SolidShape::kGround) hit.object_position.z = 0.0f;  // textures see one exact plane
    }
    return hit;
  }

  Sample sample(Vec3 origin, Vec3 direction, float t_max, Vec3* position) const {
    const Hit hit = nearest(origin, direction, t_max);
    if (hit.primitive < 0) {
      *position = direction;
      return sky(direction);
    }
    *position = hit.object_position;
    float direct = dot(hit.world_normal, light_);
    if (direct > 0.0f) {
      const Vec3 start = origin + direction * hit.t + hit.world_normal * 2e-3f;
      if (shadowed(start)) direct = 0.0f;
    }
    return {static_cast<uint8_t>(hit.primitive + 1), mix_of(hit.primitive, hit.object_position), to_byte(direct),
            to_byte(0.75f + 0.25f * hit.world_normal.z)};
  }

  uint8_t mix_of(int primitive, Vec3 position) const {
    const Primitive& p = scene_.primitives[static_cast<size_t>(primitive)];
    float mix = texture_mix(p.material, position);
    if (p.shape == SolidShape::kGround && mix > 0.0f) {
      // Far patterns would alias to noise that differs between views; they fade to colour0 over half the radius.
      const float radius = root(position.x * position.x + position.y * position.y);
      mix *= clamp01((p.size[1] * 1.5f - radius) / (p.size[1] * 0.5f));
    }
    return to_byte(mix);
  }

 private:
  bool misses(size_t i, Vec3 origin, Vec3 direction) const {
    const Vec3 to_centre = centres_[i] - origin;
    const float along = dot(to_centre, direction);
    const Vec3 off = to_centre - direction * along;
    const float square = dot(off, off);
    return square > squares_[i] || (along < 0.0f && dot(to_centre, to_centre) > squares_[i]);
  }

  bool shadowed(Vec3 start) const {
    float t;
    Vec3 normal;
    for (size_t i = 0; i < centres_.size(); ++i) {
      const Primitive& p = scene_.primitives[i];
      if (p.shape == SolidShape::kGround || misses(i, start, light_)) continue;
      if (hit_shape(p.shape, p.size, to_object(p, start - centres_[i]), to_object(p, light_), kHuge, &t, &normal))
        return true;
    }
    return false;
  }

  Sample sky(Vec3 direction) const {
    float cover = 0.0f;
    for (const Cloud& cloud : scene_.clouds) {
      const Vec3 off = direction - vec(cloud.direction);
      const float e = (off.x * off.x + off.y * off.y + 5.0f * off.z * off.z) / (cloud.radius * cloud.radius);
      cover = 1.0f - (1.0f - cover) * (1.0f - ease(clamp01(1.5f * (1.0f - e))));
    }
    return {0, to_byte(direction.z * 3.0f), to_byte(cover), 255};
  }

  const SceneDesc& scene_;
  Vec3 light_;
  std::vector<Vec3> centres_;
  std::vector<float> squares_;  // squared bounding radii
};

// Samples per pixel side.
int grid_of(ImageSize size) {
  check_size(size);
  return size.spp == 1 ? 1 : size.spp == 4 ? 2 : 4;
}

void trace_row(const SceneDesc& scene, const Tracer& tracer, const Camera& camera, int64_t row, int y, ImageSize size,
               int grid, Sample* samples, const TraceOutputs& out) {
  const int64_t first = row * size.width;
  for (int x = 0; x < size.width; ++x) {
    const int64_t pixel = first + x;
    for (int k = 0; k < size.spp; ++k) {
      const float u = static_cast<float>(x) + (static_cast<float>(k % grid) + 0.5f) / static_cast<float>(grid);
      const float v = static_cast<float>(y) + (static_cast<float>(k / grid) + 0.5f) / static_cast<float>(grid);
      float cosine;
      const Vec3 direction = camera.direction(u, v, &cosine);
      Vec3 position;
      samples[pixel * size.spp + k] =
          tracer.sample(camera.origin, direction, scene.far_depth / cosine, &position);
      if (out.positions) {
        float* to = out.positions + (pixel * size.spp + k) * 3;
        to[0] = position.x;
        to[1] = position.y;
        to[2] = position.z;
      }
    }
    if (!out.depth && !out.ids && !out.points) continue;
    float cosine;
    const Vec3 direction =
        camera.direction(static_cast<float>(x) + 0.5f, static_cast<float>(y) + 0.5f, &cosine);
    const Hit hit = tracer.nearest(camera.origin, direction, scene.far_depth / cosine);
    if (out.depth) out.depth[pixel] = hit.primitive < 0 ? scene.far_depth : hit.t * cosine;
    if (out.ids) out.ids[pixel] = hit.primitive + 1;
    if (out.points) {
      const Vec3 point = camera.origin + direction * hit.t;
      float* to = out.points + pixel * 3;
      to[0] = point.x;
      to[1] = point.y;
      to[2] = point.z;
    }
  }
}

void check_views(int64_t views) {
  RL_CHECK(views >= 0 && views <= kMaxViews, code::kShape, "raycast: expected 0..", kMaxViews, " views, got ", views);
}

struct Rgb {
  float c[3];
};

// Everything a sample's colour depends on but its four bytes.
struct SurfaceColours {
  Rgb base, step;
};

void check_primitive(const Primitive& p, size_t index) {
  const int shape = static_cast<int>(p.shape), texture = static_cast<int>(p.material.texture);
  RL_CHECK(shape >= 0 && shape < kShapeCount, code::kConfig, "raycast: primitive ", index, " has unknown shape ",
           shape);
  RL_CHECK(texture >= 0 && texture < kTextureCount, code::kConfig, "raycast: primitive ", index,
           " has unknown texture ", texture);
  const int used = p.shape == SolidShape::kSphere ? 1 : p.shape == SolidShape::kBox ? 3 : 2;
  for (int k = 0; k < used; ++k) {
    const bool may_be_zero = p.shape == SolidShape::kCapsule && k == 1;
    RL_CHECK(p.size[k] > 0.0f || (may_be_zero && p.size[k] == 0.0f), code::kConfig, "raycast: primitive ", index,
             " size ", k, " must be positive, got ", p.size[k]);
  }
  RL_CHECK(p.material.period > 0.0f, code::kConfig, "raycast: primitive ", index,
           " texture period must be positive, got ", p.material.period);
  RL_CHECK(p.material.axis >= 0 && p.material.axis <= 3, code::kConfig, "raycast: primitive ", index,
           " texture axis must be 0..3, got ", p.material.axis);
}

}  // namespace

void check_size(ImageSize size) {
  RL_CHECK(size.width > 0 && size.height > 0 && size.width <= 16384 && size.height <= 16384, code::kShape,
           "raycast: expected a width and height in 1..16384, got ", size.width, "x", size.height);
  RL_CHECK(size.spp == 1 || size.spp == 4 || size.spp == 16, code::kConfig,
           "raycast: samples per pixel must be 1, 4 or 16, got ", size.spp);
}

void check_scene(const SceneDesc& scene) {
  RL_CHECK(scene.primitives.size() <= 254, code::kConfig, "raycast: at most 254 primitives, got ",
           scene.primitives.size());
  RL_CHECK(scene.far_depth > 0.0f, code::kConfig, "raycast: far_depth must be positive, got ", scene.far_depth);
  for (size_t i = 0; i < scene.primitives.size(); ++i) check_primitive(scene.primitives[i], i);
}

void trace(const SceneDesc& scene, const CameraDesc* cameras, int64_t views, ImageSize size, Sample* samples,
           const TraceOutputs& outputs) {
  check_views(views);
  check_scene(scene);
  const int grid = grid_of(size);
  std::vector<Camera> prepared;
  for (int64_t v = 0; v < views; ++v) {
    RL_CHECK(cameras[v].fx > 0.0f && cameras[v].fy > 0.0f, code::kConfig, "raycast: camera ", v,
             " needs positive focal lengths, got ", cameras[v].fx, ", ", cameras[v].fy);
    prepared.emplace_back(cameras[v]);
  }
  const Tracer tracer(scene);
  ThreadPool::instance().parallel_for(views * size.height, 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      trace_row(scene, tracer, prepared[static_cast<size_t>(row / size.height)], row,
                static_cast<int>(row % size.height), size, grid, samples, outputs);
  });
}

void retexture(const SceneDesc& scene, const float* positions, int64_t count, Sample* samples) {
  check_scene(scene);
  const Tracer tracer(scene);
  ThreadPool::instance().parallel_for(count, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (samples[i].id == 0) continue;
      RL_CHECK(samples[i].id <= scene.primitives.size(), code::kConfig, "raycast: sample of primitive ",
               samples[i].id - 1, " in a scene of ", scene.primitives.size());
      samples[i].mix = tracer.mix_of(samples[i].id - 1, vec(positions + i * 3));
    }
  });
}

void shade(const SceneDesc& scene, const Sample* samples, int64_t views, ImageSize size, float* rgb) {
  check_views(views);
  check_size(size);
  const size_t surfaces = scene.primitives.size() + 1;
  std::vector<SurfaceColours> table(surfaces);
  for (int k = 0; k < 3; ++k) {
    table[0].base.c[k] = scene.sky_horizon[k];
    table[0].step.c[k] = scene.sky_zenith[k] - scene.sky_horizon[k];
    for (size_t i = 1; i < surfaces; ++i) {
      const Material& m = scene.primitives[i - 1].material;
      table[i].base.c[k] = m.colour0[k];
      table[i].step.c[k] = m.colour1[k] - m.colour0[k];
    }
  }
  constexpr float kByte = 1.0f / 255.0f;
  const float mean = 1.0f / static_cast<float>(size.spp);
  const int64_t plane = int64_t{size.width} * size.height;
  ThreadPool::instance().parallel_for(views * plane, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      float sum[3] = {0, 0, 0};
      for (int s = 0; s < size.spp; ++s) {
        const Sample sample = samples[pixel * size.spp + s];
        RL_CHECK(sample.id < surfaces, code::kConfig, "raycast: sample of primitive ", sample.id - 1,
                 " in a scene of ", scene.primitives.size());
        const SurfaceColours& colours = table[sample.id];
        const float mix = static_cast<float>(sample.mix) * kByte, direct = static_cast<float>(sample.direct) * kByte;
        const float ambient = static_cast<float>(sample.ambient) * kByte;
        for (int k = 0; k < 3; ++k) {
          const float albedo = colours.base.c[k] + colours.step.c[k] * mix;
          sum[k] += sample.id == 0 ? albedo + (scene.cloud_colour[k] - albedo) * direct
                                   : albedo * (scene.ambient_colour[k] * ambient + scene.light_colour[k] * direct);
        }
      }
      float* out = rgb + (pixel / plane) * 3 * plane + pixel % plane;
      for (int k = 0; k < 3; ++k) out[k * plane] = clamp01(sum[k] * mean);
    }
  });
}

}  // namespace rl
