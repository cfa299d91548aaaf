#include "native/ops/splat/splat_tile_counts.h"

#include "native/ops/dispatch.h"
#include "native/ops/registry.h"
#include "native/ops/splat/pairs.h"

namespace rl {

void splat_tile_counts_cpu(const SplatTileCountsArgs& a) {
  ThreadPool::instance().parallel_for(a.count, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      a.offsets[i] = static_cast<int32_t>(tile_rect(a.projected + i * kProjectedColumns, a.tiles_x, a.tiles_y).count());
  });
  int64_t sum = 0;
  for (int64_t i = 0; i < a.count; ++i) {
    const int64_t tiles = a.offsets[i];
    a.offsets[i] = static_cast<int32_t>(sum);
    sum += tiles;
  }
  a.offsets[a.count] = static_cast<int32_t>(sum);
  a.total[0] = sum > INT32_MAX ? -1 : static_cast<int32_t>(sum);
}

std::vector<Tensor> splat_tile_counts(const Tensor& projected, int64_t width, int64_t height) {
  check_projected("splat_tile_counts", projected);
  check_picture("splat_tile_counts", width, height);
  Device& device = projected.device();
  const int64_t count = projected.size(0);
  const Tensor offsets = Tensor::empty(device, {count + 1}, DType::i32), total = Tensor::empty(device, {1}, DType::i32);
  SplatTileCountsArgs args{projected.as<float>(), offsets.as<int32_t>(), total.as<int32_t>(), count,
                           static_cast<int32_t>(tiles_along(width)), static_cast<int32_t>(tiles_along(height)), nullptr,
                           nullptr, 0};
  Tensor sums, scratch;
#if RL_WITH_CUDA
  if (device.is_cuda()) {
    args.scratch_bytes = splat_tile_counts_scratch(count);
    sums = Tensor::empty(device, {2 * (count + 1)}, DType::i32);
    scratch = Tensor::empty(device, {static_cast<int64_t>(args.scratch_bytes / 4 + 1)}, DType::i32);
    args.sums = sums.as<int64_t>();
    args.scratch = scratch.data();
  }
#endif
  RL_LAUNCH(device, "splat_tile_counts", splat_tile_counts_cpu(args),
            splat_tile_counts_cuda(args, cuda_stream(device)));
  return {offsets, total};
}

RL_OP(splat_tile_counts);

}  // namespace rl
