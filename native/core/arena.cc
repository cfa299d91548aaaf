#include "native/core/arena.h"

#include <algorithm>

#include "native/core/error.h"

namespace rl {

size_t Arena::size_class(size_t bytes) {
  if (bytes <= 1024) return std::max<size_t>(64, (bytes + 63) / 64 * 64);
  const int log2 = 63 - __builtin_clzll(bytes - 1);
  const size_t step = size_t{1} << (log2 - 3);
  return (bytes + step - 1) / step * step;
}

void* Arena::allocate(size_t bytes) {
  const size_t size = size_class(bytes);
  std::unique_lock lock(mutex_);
  void* data = nullptr;
  auto found = free_.find(size);
  if (found != free_.end() && !found->second.empty()) {
    data = found->second.back();
    found->second.pop_back();
    stats_.cached -= size;
  } else {
    data = system_.allocate(size);
    if (data == nullptr && stats_.cached > 0) {
      trim_locked();
      if (system_.settle) {
        // Commands on their way may themselves let go of blocks.
        lock.unlock();
        system_.settle();
        lock.lock();
      }
      data = system_.allocate(size);
    }
    if (data == nullptr) {
      constexpr double kMiB = 1024.0 * 1024.0;
      throw Error(code::kOutOfMemory,
                  str("out of ", system_.what, ": ", static_cast<int64_t>(size / kMiB), " MiB requested, ",
                      static_cast<int64_t>(system_.free_bytes() / kMiB), " MiB free, ",
                      static_cast<int64_t>(stats_.used / kMiB),
                      " MiB in use by tensors. Lower the resolution, the number of views or the group size"));
    }
  }
  stats_.used += size;
  stats_.blocks += 1;
  stats_.peak = std::max(stats_.peak, stats_.used);
  return data;
}

void Arena::release(void* data, size_t bytes) {
  const size_t size = size_class(bytes);
  std::lock_guard lock(mutex_);
  free_[size].push_back(data);
  stats_.used -= size;
  stats_.blocks -= 1;
  stats_.cached += size;
}

void Arena::trim() {
  std::lock_guard lock(mutex_);
  trim_locked();
}

void Arena::trim_locked() {
  for (auto& [size, blocks] : free_)
    for (void* data : blocks) system_.release(data, size);
  free_.clear();
  stats_.cached = 0;
}

ArenaStats Arena::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace rl
