// Analytic ray casting of procedural scenes: exact colour, depth and instance truth for any camera.
//
// World axes: z up, metres. Cameras are OpenCV (x right, y down, z forward), camera-from-world, pixel centres at +0.5.
// Two passes. `trace` fills a G-buffer of four bytes per sample (which surface, which mix of its two colours, how much
// light); `shade` turns the G-buffer and a palette into a picture. A recoloured scene (new surface colours, light tint,
// ambient or sky colours) needs `shade` only; a new texture needs `retexture` and `shade`.
//
// Shading, per sample, in display values: albedo = c0 + mix (c1 - c0);
//   colour = albedo * (ambient_colour * ambient + light_colour * direct)
// with direct = max(0, n.l) * [not in shadow], ambient = 0.75 + 0.25 n_z; sky: (horizon -> zenith by mix) -> cloud by
// direct. mix, direct and ambient are stored as round(255 x). A pixel is the mean of its samples (box filter), clamped.
//
// Determinism: the same bytes on every machine. float32 only, operations limited to + - * / sqrt (exactly rounded by
// IEEE 754) and conversions; no libm; contraction into fused multiply-add is switched off in raycast.cc whatever the
// compiler flags are; rows are independent, so the thread count cannot matter. raycast.test holds golden hashes.
//
// Precision against float64 (raycast.test): sphere and ground depth 3.9e-7 relative; hit points within 8.1e-7 m of
// every surface (torus 2.1e-6 m) from 4 m away.
// Cost: 20 flops per ray and primitive that its bounding sphere rejects, about 120 for a hit; 4 bytes per sample. A
// procedural view of 64x64 pixels at 4 samples takes 1.3 ms on one core.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rl {

enum class SolidShape : int32_t {
  kSphere = 0,    // size[0] radius
  kBox = 1,       // size half extents x, y, z
  kCylinder = 2,  // size[0] radius, size[1] half height, axis z
  kCone = 3,      // size[0] base radius at z = -size[1], apex at z = +size[1]
  kTorus = 4,     // size[0] ring radius, size[1] tube radius, axis z
  kCapsule = 5,   // size[0] radius, size[1] half length of the segment along z (total half height is the sum)
  kGround = 6,    // disc of radius size[0] in z = 0, seen from +z; the texture fades out beyond radius size[1]
};
inline constexpr int kShapeCount = 7;

// 3D functions of the object-space position, so a texture sticks to its object in every view. Value 0 shows colour0.
enum class Texture : int32_t {
  kSolid = 0,
  kChecker = 1,
  kStripes = 2,  // across `axis`
  kDots = 3,     // balls on a body-centred lattice: every plane cuts some
  kNoise = 4,    // veined value noise, three octaves
  kBrick = 5,    // courses along `axis`
  kWood = 6,     // rings about `axis`
  kTiles = 7,    // checker cells with a random grey each: never repeats
  kHalves = 8,   // the side above `phase` metres along `axis`
};
inline constexpr int kTextureCount = 9;

struct Material {
  Texture texture = Texture::kSolid;
  int32_t axis = 2;      // 0 x, 1 y, 2 z, 3 the diagonal x + y + z
  float period = 1.0f;   // metres
  float phase = 0.0f;    // periods, along `axis`
  uint32_t seed = 0;     // noise, wood, tiles
  float colour0[3] = {1, 1, 1};
  float colour1[3] = {0, 0, 0};
};

struct Primitive {
  SolidShape shape = SolidShape::kSphere;
  float position[3] = {0, 0, 0};
  float rotation[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};  // world-from-object, row-major, orthonormal
  float size[3] = {1, 1, 1};
  Material material;
};

// A soft, flat blob on the sky dome about a unit direction c: for a ray d it covers smoothstep(1.5 (1 - e)), where
// e = ((d.x - c.x)^2 + (d.y - c.y)^2 + 5 (d.z - c.z)^2) / radius^2.
struct Cloud {
  float direction[3];
  float radius;
};

struct SceneDesc {
  float light_direction[3] = {0, 0, 1};  // unit, from the scene towards the light
  float light_colour[3] = {1, 1, 1};
  float ambient_colour[3] = {0, 0, 0};
  float sky_horizon[3] = {1, 1, 1};
  float sky_zenith[3] = {1, 1, 1};
  float cloud_colour[3] = {1, 1, 1};
  float far_depth = 20.0f;  // z-depth written where only sky is seen; nothing beyond it is hit
  std::vector<Cloud> clouds;
  std::vector<Primitive> primitives;  // at most 254
};

struct CameraDesc {
  float fx, fy, cx, cy;      // pixels
  float world_to_cam[12];    // 3x4 row-major
};

// One sub-pixel sample. `id` is 0 for sky, i + 1 for primitive i. The other fields are documented at the top.
struct Sample {
  uint8_t id, mix, direct, ambient;
};

struct ImageSize {
  int width = 0, height = 0;
  int spp = 1;  // 1, 4 or 16 samples per pixel on a fixed regular grid
};

// Optional outputs of trace, null to skip. Values belong to the ray through the pixel centre.
struct TraceOutputs {
  float* depth = nullptr;      // [V, H, W] z-depth in the camera, far_depth for sky
  int32_t* ids = nullptr;      // [V, H, W] as Sample::id
  float* points = nullptr;     // [V, H, W, 3] world position; sky: the point at far_depth on the ray
  float* positions = nullptr;  // [V, H, W, spp, 3] object-space position of each sample (sky: unit direction)
};

// Packed scene, all float32: header of kSceneHeader values
//   0 layout version (1) · 1 primitive count · 2 cloud count · 3 far_depth · 4-6 light_direction ·
//   7-9 light_colour · 10-12 ambient_colour · 13-15 sky_horizon · 16-18 sky_zenith · 19-21 cloud_colour
// then per cloud direction xyz, radius; then per primitive kScenePrimitive values
//   0 shape · 1-3 position · 4-12 rotation · 13-15 size · 16 texture · 17 axis · 18 period · 19 phase ·
//   20 seed (an integer below 2^24) · 21-23 colour0 · 24-26 colour1
inline constexpr int64_t kSceneVersion = 1;
inline constexpr int64_t kSceneHeader = 22;
inline constexpr int64_t kSceneCloud = 4;
inline constexpr int64_t kScenePrimitive = 27;
inline constexpr int64_t kMaxViews = int64_t{1} << 20;
inline constexpr int64_t kCameraFloats = 16;  // fx, fy, cx, cy, world_to_cam row-major

// Reads and checks a packed scene. Throws rl::Error (ERR_SHAPE for a wrong length, ERR_CONFIG for a wrong value).
SceneDesc unpack_scene(const float* scene, int64_t scene_len);

// Throws ERR_CONFIG or ERR_SHAPE for sizes, counts or settings that trace cannot take.
void check_scene(const SceneDesc& scene);
void check_size(ImageSize size);

// Casts every sample. samples: [V, H, W, spp]. Objects are seen from outside: a camera inside one looks through it.
void trace(const SceneDesc& scene, const CameraDesc* cameras, int64_t views, ImageSize size, Sample* samples,
           const TraceOutputs& outputs = {});

// Recomputes Sample::mix for the scene's present textures from the positions that trace wrote. count samples.
void retexture(const SceneDesc& scene, const float* positions, int64_t count, Sample* samples);

// samples [V, H, W, spp] -> rgb [V, 3, H, W] in [0, 1].
void shade(const SceneDesc& scene, const Sample* samples, int64_t views, ImageSize size, float* rgb);

// Flat entry points over packed arrays (scene as above, cameras [V, 16]); they check everything they read.
// rgb [V, 3, H, W], depth [V, H, W], ids [V, H, W], points [V, H, W, 3] or null.
void raycast(const float* scene, int64_t scene_len, const float* cameras, int64_t views, int width, int height, int spp,
             float* rgb, float* depth, int32_t* ids, float* points);

// The same without colours: samples is [V, H, W, spp, 4] bytes (see Sample).
void raycast_gbuffer(const float* scene, int64_t scene_len, const float* cameras, int64_t views, int width, int height,
                     int spp, uint8_t* samples, float* depth, int32_t* ids, float* points);

// Pictures from a cached G-buffer under the packed scene's colours. Ids beyond its primitives throw ERR_CONFIG.
void shade_gbuffer(const float* scene, int64_t scene_len, const uint8_t* samples, int64_t views, int width, int height,
                   int spp, float* rgb);

}  // namespace rl
