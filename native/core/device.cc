#include "native/core/device.h"

#include <future>

#include "native/core/error.h"

namespace rl {

Buffer::~Buffer() {
  if (owner) {
    // Commands that read this memory may still be queued: let go of it behind them.
    auto keep = std::move(owner);
    try {
      device->enqueue_always([keep] {});
    } catch (...) {
    }
  } else if (data != nullptr) {
    device->arena_->release(data, bytes);
  }
}

std::shared_ptr<Buffer> Device::allocate(size_t bytes) {
  auto buffer = std::make_shared<Buffer>();
  buffer->device = shared_from_this();
  buffer->bytes = bytes;
  buffer->data = arena_->allocate(bytes);
  return buffer;
}

void Device::wait() {
  auto reached = std::make_shared<std::promise<void>>();
  auto future = reached->get_future();
  enqueue_wait([reached](std::exception_ptr error) {
    if (error) {
      reached->set_exception(error);
    } else {
      reached->set_value();
    }
  });
  future.get();
}

}  // namespace rl
