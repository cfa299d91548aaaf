// A device that runs nothing and stores nothing: what is left of a network's cost is the host's. For measuring the
// overhead of the TypeScript graph, and for planning memory at full size.
#pragma once

#include "native/core/device.h"
#include "native/core/queue.h"

namespace rl {

class NullDevice final : public Device {
 public:
  NullDevice() : Device(DeviceKind::null, 0, "null") {
    static char nowhere[64];
    arena_ = std::make_unique<Arena>(Arena::System{[](size_t) -> void* { return nowhere; }, [](void*, size_t) {},
                                                   [] { return size_t{0}; }, "memory"});
  }
  void enqueue(const char*, std::function<void()>) override {}
  void enqueue_wait(std::function<void(std::exception_ptr)> done) override { queue_.enqueue_wait(std::move(done)); }
  void enqueue_always(std::function<void()> work) override { queue_.enqueue_always(std::move(work)); }
  void abort() override { queue_.abort(); }
  void upload(void*, const void*, size_t) override {}
  void download(void*, const void*, size_t) override {}

 private:
  CommandQueue queue_;
};

}  // namespace rl
