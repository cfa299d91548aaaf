// The packed float layout of raycast.h: reading, checking, and the flat entry points.
#include <cstring>
#include <memory>

#include "native/core/error.h"
#include "native/ops/geom/raycast.h"

namespace rl {
namespace {

std::vector<CameraDesc> unpack_cameras(const float* cameras, int64_t views) {
  RL_CHECK(views >= 0 && views <= kMaxViews, code::kShape, "raycast: expected 0..", kMaxViews, " views, got ", views);
  std::vector<CameraDesc> out(static_cast<size_t>(views));
  for (int64_t v = 0; v < views; ++v) {
    const float* c = cameras + v * kCameraFloats;
    for (int64_t i = 0; i < kCameraFloats; ++i)
      RL_CHECK(c[i] - c[i] == 0.0f, code::kConfig, "raycast: camera ", v, " value ", i, " is not finite");
    CameraDesc& camera = out[static_cast<size_t>(v)];
    camera = {c[0], c[1], c[2], c[3], {}};
    std::memcpy(camera.world_to_cam, c + 4, sizeof camera.world_to_cam);
  }
  return out;
}

// A whole number that fits the range, from a packed float.
int64_t whole(float value, int64_t limit, const char* what) {
  const bool in_range = value >= 0.0f && value <= static_cast<float>(limit);
  RL_CHECK(in_range && static_cast<float>(static_cast<int64_t>(value)) == value, code::kConfig,
           "raycast: packed scene: ", what, " must be an integer in 0..", limit, ", got ", value);
  return static_cast<int64_t>(value);
}

void read3(const float* from, float* to) { std::memcpy(to, from, 3 * sizeof(float)); }

}  // namespace

SceneDesc unpack_scene(const float* s, int64_t scene_len) {
  RL_CHECK(scene_len >= kSceneHeader, code::kShape, "raycast: packed scene: expected at least ", kSceneHeader,
           " values, got ", scene_len);
  for (int64_t i = 0; i < scene_len; ++i)
    RL_CHECK(s[i] - s[i] == 0.0f, code::kConfig, "raycast: packed scene: value ", i, " is not finite");
  RL_CHECK(s[0] == static_cast<float>(kSceneVersion), code::kConfig, "raycast: packed scene: expected layout version ",
           kSceneVersion, ", got ", s[0]);
  const int64_t primitives = whole(s[1], 254, "primitive count"), clouds = whole(s[2], 64, "cloud count");
  const int64_t expected = kSceneHeader + clouds * kSceneCloud + primitives * kScenePrimitive;
  RL_CHECK(scene_len == expected, code::kShape, "raycast: packed scene: expected ", expected, " values for ",
           primitives, " primitives and ", clouds, " clouds, got ", scene_len);
  SceneDesc out;
  out.far_depth = s[3];
  read3(s + 4, out.light_direction);
  read3(s + 7, out.light_colour);
  read3(s + 10, out.ambient_colour);
  read3(s + 13, out.sky_horizon);
  read3(s + 16, out.sky_zenith);
  read3(s + 19, out.cloud_colour);
  const float* at = s + kSceneHeader;
  for (int64_t i = 0; i < clouds; ++i, at += kSceneCloud) out.clouds.push_back({{at[0], at[1], at[2]}, at[3]});
  for (const Cloud& cloud : out.clouds)
    RL_CHECK(cloud.radius > 0.0f, code::kConfig, "raycast: cloud radius must be positive, got ", cloud.radius);
  for (int64_t i = 0; i < primitives; ++i, at += kScenePrimitive) {
    Primitive p;
    p.shape = static_cast<SolidShape>(whole(at[0], kShapeCount - 1, "shape"));
    read3(at + 1, p.position);
    std::memcpy(p.rotation, at + 4, sizeof p.rotation);
    read3(at + 13, p.size);
    p.material.texture = static_cast<Texture>(whole(at[16], kTextureCount - 1, "texture"));
    p.material.axis = static_cast<int32_t>(whole(at[17], 3, "texture axis"));
    p.material.period = at[18];
    p.material.phase = at[19];
    p.material.seed = static_cast<uint32_t>(whole(at[20], (1 << 24) - 1, "texture seed"));
    read3(at + 21, p.material.colour0);
    read3(at + 24, p.material.colour1);
    out.primitives.push_back(p);
  }
  check_scene(out);
  return out;
}

void raycast_gbuffer(const float* scene, int64_t scene_len, const float* cameras, int64_t views, int width, int height,
                     int spp, uint8_t* samples, float* depth, int32_t* ids, float* points) {
  const SceneDesc desc = unpack_scene(scene, scene_len);
  const std::vector<CameraDesc> unpacked = unpack_cameras(cameras, views);
  trace(desc, unpacked.data(), views, {width, height, spp}, reinterpret_cast<Sample*>(samples),
        {depth, ids, points, nullptr});
}

void shade_gbuffer(const float* scene, int64_t scene_len, const uint8_t* samples, int64_t views, int width, int height,
                   int spp, float* rgb) {
  shade(unpack_scene(scene, scene_len), reinterpret_cast<const Sample*>(samples), views, {width, height, spp}, rgb);
}

void raycast(const float* scene, int64_t scene_len, const float* cameras, int64_t views, int width, int height, int spp,
             float* rgb, float* depth, int32_t* ids, float* points) {
  const SceneDesc desc = unpack_scene(scene, scene_len);
  const std::vector<CameraDesc> unpacked = unpack_cameras(cameras, views);
  const ImageSize size{width, height, spp};
  check_size(size);
  const size_t count = static_cast<size_t>(views) * static_cast<size_t>(width) * static_cast<size_t>(height) *
                       static_cast<size_t>(spp);
  const std::unique_ptr<Sample[]> samples(new Sample[count]);
  trace(desc, unpacked.data(), views, size, samples.get(), {depth, ids, points, nullptr});
  shade(desc, samples.get(), views, size, rgb);
}

}  // namespace rl
