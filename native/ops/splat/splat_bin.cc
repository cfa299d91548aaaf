#include "native/ops/splat/splat_bin.h"

#include "native/ops/dispatch.h"
#include "native/ops/registry.h"
#include "native/ops/splat/pairs.h"

namespace rl {

namespace {

// Stable sort of `count` keys by their high 32 bits, through `other` and back; 11 bits at a time.
uint64_t* sort_by_depth(uint64_t* keys, uint64_t* other, int64_t count) {
  constexpr int kBits = 11, kDigits = 3, kBuckets = 1 << kBits;
  std::vector<int64_t> starts(size_t{kDigits} * kBuckets);
  for (int64_t i = 0; i < count; ++i)
    for (int d = 0; d < kDigits; ++d)
      ++starts[static_cast<size_t>(d * kBuckets) + (keys[i] >> (32 + d * kBits) & (kBuckets - 1))];
  for (int d = 0; d < kDigits; ++d) {
    int64_t* start = starts.data() + d * kBuckets;
    // one bucket: nothing moves
    if (count > 0 && start[keys[0] >> (32 + d * kBits) & (kBuckets - 1)] == count) continue;
    int64_t sum = 0;
    for (int b = 0; b < kBuckets; ++b) {
      const int64_t size = start[b];
      start[b] = sum;
      sum += size;
    }
    for (int64_t i = 0; i < count; ++i) other[start[keys[i] >> (32 + d * kBits) & (kBuckets - 1)]++] = keys[i];
    std::swap(keys, other);
  }
  return keys;
}

uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

}  // namespace

void splat_bin_cpu(const SplatBinArgs& a) {
  ThreadPool& pool = ThreadPool::instance();
  RL_CHECK(a.offsets[0] == 0 && a.offsets[a.count] == a.pairs, code::kShape, "splat_bin: offsets run from ",
           a.offsets[0], " to ", a.offsets[a.count], ", expected 0 to total ", a.pairs);
  int64_t touching = 0;
  for (int64_t i = 0; i < a.count; ++i)
    if (a.offsets[i + 1] != a.offsets[i])
      a.keys[touching++] = uint64_t{bits_of(a.projected[i * kProjectedColumns + 9])} << 32 | static_cast<uint64_t>(i);
  const uint64_t* order = sort_by_depth(a.keys, a.keys + a.count, touching);

  // Counting sort by tile: each part of the depth order has its own counters, so parts go in parallel and the order
  // stays.
  const int64_t tiles = int64_t{a.tiles_x} * a.tiles_y;
  const int64_t parts = std::clamp<int64_t>(touching / 1024, 1, 2 * pool.size());
  std::vector<int32_t> places(static_cast<size_t>(parts * tiles));
  const auto each_pair = [&](int64_t part, const auto& body) {
    for (int64_t k = touching * part / parts; k < touching * (part + 1) / parts; ++k) {
      const int64_t i = static_cast<int64_t>(order[k] & 0xFFFFFFFFu);
      const TileRect rect = tile_rect(a.projected + i * kProjectedColumns, a.tiles_x, a.tiles_y);
      int32_t slot = a.offsets[i];
      RL_CHECK(rect.count() == int64_t{a.offsets[i + 1]} - slot, code::kShape, "splat_bin: Gaussian ", i, " touches ",
               rect.count(), " tiles but offsets have ", a.offsets[i + 1] - slot,
               "; use those of splat_tile_counts for this projection and picture");
      for (int64_t y = rect.y0; y < rect.y1; ++y)
        for (int64_t x = rect.x0; x < rect.x1; ++x) body(y * a.tiles_x + x, static_cast<int32_t>(i), slot++);
    }
  };
  pool.parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      int32_t* counts = places.data() + part * tiles;
      each_pair(part, [&](int64_t tile, int32_t, int32_t) { ++counts[tile]; });
    }
  });
  int32_t sum = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    a.tile_ranges[tile] = sum;
    for (int64_t part = 0; part < parts; ++part) {
      int32_t& place = places[static_cast<size_t>(part * tiles + tile)];
      const int32_t size = place;
      place = sum;
      sum += size;
    }
  }
  a.tile_ranges[tiles] = sum;
  pool.parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      int32_t* next = places.data() + part * tiles;
      each_pair(part, [&](int64_t tile, int32_t gaussian, int32_t slot) {
        const int32_t place = next[tile]++;
        a.gaussians[place] = gaussian;
        a.slots[place] = slot;
      });
    }
  });
}

std::vector<Tensor> splat_bin(const Tensor& projected, const Tensor& offsets, int64_t total, int64_t width,
                              int64_t height) {
  check_projected("splat_bin", projected);
  check_picture("splat_bin", width, height);
  const int64_t count = projected.size(0);
  check_argument("splat_bin", "offsets", offsets, DType::i32, {count + 1}, projected);
  RL_CHECK(total >= 0 && total <= INT32_MAX, code::kConfig, "splat_bin: ", count,
           " Gaussians touch more than 2^31 - 1 tiles of a ",
           width, "x", height, " picture (total is ", total, "); render a smaller picture or fewer Gaussians");
  Device& device = projected.device();
  const int64_t tiles = tiles_along(width) * tiles_along(height);
  const Tensor gaussians = Tensor::empty(device, {total}, DType::i32);
  const Tensor slots = Tensor::empty(device, {total}, DType::i32);
  const Tensor ranges = Tensor::empty(device, {tiles + 1}, DType::i32);
  // 64-bit keys as pairs of i32.
  const Tensor keys = Tensor::empty(device, {2 * (device.is_cuda() ? total : count), 2}, DType::i32);
  SplatBinArgs args{projected.as<float>(), offsets.as<int32_t>(), gaussians.as<int32_t>(), slots.as<int32_t>(),
                    ranges.as<int32_t>(), count, total, static_cast<int32_t>(tiles_along(width)),
                    static_cast<int32_t>(tiles_along(height)), keys.as<uint64_t>(), nullptr, nullptr, 0};
  Tensor unsorted, scratch;
#if RL_WITH_CUDA
  if (device.is_cuda()) {
    args.scratch_bytes = splat_bin_scratch(total, static_cast<int32_t>(tiles));
    unsorted = Tensor::empty(device, {2, total}, DType::i32);
    scratch = Tensor::empty(device, {static_cast<int64_t>(args.scratch_bytes / 4 + 1)}, DType::i32);
    args.unsorted = unsorted.as<int32_t>();
    args.scratch = scratch.data();
  }
#endif
  RL_LAUNCH(device, "splat_bin", splat_bin_cpu(args), splat_bin_cuda(args, cuda_stream(device)));
  return {gaussians, slots, ranges};
}

RL_OP(splat_bin);

}  // namespace rl
