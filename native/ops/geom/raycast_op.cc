// The op `raycast`: native/ops/geom/raycast.h over tensors. Scene and cameras are read when the command runs.
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/geom/raycast.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

// scene f32 [n], cameras f32 [V, 16] -> [rgb [V, 3, H, W], depth [V, H, W], ids i32 [V, H, W]]
std::vector<Tensor> raycast_views(const Tensor& scene, const Tensor& cameras, int64_t width, int64_t height, int64_t spp) {
  check_dtype("raycast", "scene", scene, DType::f32);
  check_rank("raycast", "scene", scene, 1);
  check_dtype("raycast", "cameras", cameras, DType::f32);
  RL_CHECK(cameras.rank() == 2 && cameras.size(1) == kCameraFloats, code::kShape, "raycast: expected cameras [V,",
           int64_t{kCameraFloats}, "], got ", cameras.shape());
  Device& device = scene.device();
  RL_CHECK(&cameras.device() == &device, code::kShape, "raycast: cameras are on ", cameras.device().name(),
           " but scene is on ", device.name());
  RL_CHECK(!device.is_cuda(), code::kDevice, "raycast: runs on the CPU, got tensors on ", device.name(),
           "; render on a CPU device and upload the pictures");
  RL_CHECK(width > 0 && height > 0 && width <= 1 << 16 && height <= 1 << 16, code::kConfig, "raycast: size ", width, "x",
           height, " must lie in [1, 65536]");
  const ImageSize size{static_cast<int>(width), static_cast<int>(height), static_cast<int>(spp)};
  check_size(size);
  const int64_t views = cameras.size(0);
  Tensor rgb = Tensor::empty(device, {views, 3, height, width});
  Tensor depth = Tensor::empty(device, {views, height, width});
  Tensor ids = Tensor::empty(device, {views, height, width}, DType::i32);
  if (views == 0) return {rgb, depth, ids};
  const float* scene_data = scene.as<float>();
  const float* camera_data = cameras.as<float>();
  float* rgb_data = rgb.as<float>();
  float* depth_data = depth.as<float>();
  int32_t* id_data = ids.as<int32_t>();
  const int64_t scene_len = scene.size(0);
  device.enqueue("raycast", [=] {
    raycast(scene_data, scene_len, camera_data, views, size.width, size.height, size.spp, rgb_data, depth_data, id_data,
            nullptr);
  });
  return {rgb, depth, ids};
}

const bool registered_raycast = detail::register_op("raycast", &raycast_views);

}  // namespace
}  // namespace rl
