// A caching allocator: freed blocks are kept by size class and handed out again, so steady loops never reach the
// system allocator. One per device; used from the host thread and from buffer destructors on other threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace rl {

struct ArenaStats {
  size_t used = 0;    // bytes in live blocks (rounded to their size class)
  size_t cached = 0;  // bytes in free blocks kept for reuse
  size_t peak = 0;    // largest `used` so far
  size_t blocks = 0;  // live blocks
};

class Arena {
 public:
  struct System {
    std::function<void*(size_t)> allocate;       // null when there is no memory
    std::function<void(void*, size_t)> release;  // may take effect later, behind commands that still use the block
    std::function<size_t()> free_bytes;          // what the system could still give
    std::string what;                            // "memory", "GPU memory"
    std::function<void()> settle = nullptr;      // waits until every release so far took effect; null: they do at once
  };

  explicit Arena(System system) : system_(std::move(system)) {}
  ~Arena() { trim(); }

  void* allocate(size_t bytes);
  void release(void* data, size_t bytes);
  void trim();  // gives cached blocks back to the system
  ArenaStats stats() const;

  // Rounds up to a class: 64-byte steps below 1 KiB, then eight classes per power of two (at most 12.5 % waste).
  static size_t size_class(size_t bytes);

 private:
  void trim_locked();

  System system_;
  mutable std::mutex mutex_;
  std::unordered_map<size_t, std::vector<void*>> free_;
  ArenaStats stats_;
};

}  // namespace rl
