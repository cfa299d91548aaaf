#include "native/backend/cpu/cpu_device.h"

#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <future>
#include <limits>
#include <vector>

namespace rl {

namespace {

constexpr size_t kAlignment = 64;                       // one cache line, one AVX-512 register
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kChecked = size_t{64} << 20;           // larger requests are checked against free memory first
constexpr size_t kReserve = size_t{256} << 20;          // left to the system: Linux would rather kill than refuse

size_t read_number(const char* path) {
  std::ifstream file(path);
  size_t value = std::numeric_limits<size_t>::max();
  file >> value;  // "max" leaves it untouched
  return file ? value : std::numeric_limits<size_t>::max();
}

void* allocate_host(size_t bytes) {
  if (bytes >= kChecked && bytes + kReserve > free_host_bytes()) return nullptr;
  const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  void* data = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (data != nullptr && bytes >= kHugePage) ::madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

}  // namespace

size_t free_host_bytes() {
  size_t free = std::numeric_limits<size_t>::max();
  std::ifstream info("/proc/meminfo");
  std::string key, unit;
  size_t kib = 0;
  while (info >> key >> kib) {
    std::getline(info, unit);
    if (key == "MemAvailable:") free = kib * 1024;
  }
  const size_t limit = read_number("/sys/fs/cgroup/memory.max");
  const size_t used = read_number("/sys/fs/cgroup/memory.current");
  if (limit != std::numeric_limits<size_t>::max() && used <= limit) free = std::min(free, limit - used);
  return free;
}

CpuDevice::CpuDevice() : Device(DeviceKind::cpu, 0, "cpu") {
  // A block whose last handle is gone may still be read or written by queued commands: it is freed behind them.
  const auto release = [this](void* data, size_t) {
    if (queue_) {
      queue_->enqueue_always([data] { std::free(data); });
    } else {
      std::free(data);
    }
  };
  const auto settle = [this] {
    auto reached = std::make_shared<std::promise<void>>();
    queue_->enqueue_always([reached] { reached->set_value(); });
    reached->get_future().wait();
  };
  arena_ = std::make_unique<Arena>(Arena::System{allocate_host, release, free_host_bytes, "memory", settle});
}

CpuDevice::~CpuDevice() {
  queue_.reset();  // first: its thread holds workspaces of the kernels
  arena_.reset();
  ::malloc_trim(0);
}

void CpuDevice::trim() {
  Device::trim();
  // What the arena gave back stays in malloc's pools otherwise, and a process that edits again and again would grow.
  enqueue_always([] { ::malloc_trim(0); });
}

void CpuDevice::upload(void* destination, const void* host, size_t bytes) {
  auto staged = std::make_shared<std::vector<char>>(static_cast<const char*>(host), static_cast<const char*>(host) + bytes);
  enqueue("upload", [=] { std::memcpy(destination, staged->data(), staged->size()); });
}

void CpuDevice::download(void* host, const void* source, size_t bytes) {
  enqueue("download", [=] { std::memcpy(host, source, bytes); });
}

}  // namespace rl
