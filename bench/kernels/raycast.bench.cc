// Speed of native/ops/geom/raycast.h: nine views of a ground plane with eight objects. Options: --help.
#include "bench/harness.h"
#include "native/ops/geom/raycast.h"

using namespace rl;

namespace {

SceneDesc scene_of_eight() {
  SceneDesc scene;
  Primitive ground;
  ground.shape = SolidShape::kGround;
  ground.size[0] = ground.size[1] = 15;
  ground.material.texture = Texture::kTiles;
  scene.primitives.push_back(ground);
  for (int i = 0; i < 8; ++i) {
    Primitive solid;
    solid.shape = static_cast<SolidShape>(i % 6);
    solid.position[0] = static_cast<float>(i % 3) - 1, solid.position[1] = static_cast<float>(i / 3) - 1, solid.position[2] = 0.4f;
    solid.size[0] = 0.35f, solid.size[1] = solid.size[2] = 0.15f;
    solid.material.texture = static_cast<Texture>(i % kTextureCount);
    scene.primitives.push_back(solid);
  }
  return scene;
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    if (b.is_cuda() || b.dtype() != DType::f32) return;
    for (const int side : {64, 256}) {
      const int64_t samples = int64_t{9} * side * side * 4;
      const double rays = static_cast<double>(samples);
      // 20 operations a ray and primitive that its bounding sphere rejects, of nine, and 120 for the hit; 4 bytes a sample.
      b.time("raycast trace", str("9 views at 4 samples a pixel"), {9, side, side, 4}, {4 * rays, rays * (9 * 20 + 120)}, [&] {
        const float f = static_cast<float>(side), c = f / 2;
        // From 4 m in front and 1 m above, looking along +y.
        const CameraDesc camera{f, f, c, c, {1, 0, 0, 0, 0, 0, -1, 1, 0, 1, 0, 4}};
        return [scene = scene_of_eight(), cameras = std::vector<CameraDesc>(9, camera), side,
                out = std::make_shared<std::vector<Sample>>(static_cast<size_t>(samples))] {
          trace(scene, cameras.data(), 9, {side, side, 4}, out->data());
        };
      });
    }
  });
}
