// The CPU as a device: host memory, one queue thread; kernels spread over the thread pool.
#pragma once

#include "native/core/device.h"
#include "native/core/queue.h"

namespace rl {

class CpuDevice final : public Device {
 public:
  CpuDevice();
  ~CpuDevice() override;
  void enqueue(const char* op, std::function<void()> work) override { queue_->enqueue(op, std::move(work)); }
  void enqueue_wait(std::function<void(std::exception_ptr)> done) override { queue_->enqueue_wait(std::move(done)); }
  void enqueue_always(std::function<void()> work) override { queue_->enqueue_always(std::move(work)); }
  void abort() override { queue_->abort(); }
  void trim() override;
  std::vector<OpTime> take_times() override { return queue_->take_times(); }
  void upload(void* destination, const void* host, size_t bytes) override;
  void download(void* host, const void* source, size_t bytes) override;

 private:
  std::unique_ptr<CommandQueue> queue_ = std::make_unique<CommandQueue>();
};

// Bytes this process could still allocate: the smaller of free system memory and what the control group leaves.
size_t free_host_bytes();

}  // namespace rl
