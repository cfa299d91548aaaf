// A CUDA device: one stream for everything, one waiter thread that reports on behalf of readers.
//
// Kernels are launched on the stream when the op is called, so errors of a launch are thrown there; what a kernel does
// wrong while it runs breaks the device and is reported by the next wait. `enqueue` runs host functions in stream order
// and is for those only: they must not call CUDA, nor touch the device's memory. abort() cannot recall launched
// kernels:
// waits report ERR_ABORTED at once, the stream runs dry in its own time, and later commands come after it.
#pragma once

#include <cuda_runtime.h>

#include <memory>

#include "native/backend/cuda/cuda_queue.h"
#include "native/core/device.h"

namespace rl {

class CudaDevice final : public Device {
 public:
  // What one device keeps for an op group between calls (plans, handles); destroyed before the stream.
  struct Cache {
    virtual ~Cache() = default;
  };

  explicit CudaDevice(int index);
  ~CudaDevice() override;

  void enqueue(const char* op, std::function<void()> work) override;
  void enqueue_wait(std::function<void(std::exception_ptr)> done) override;
  void enqueue_always(std::function<void()> work) override;
  void abort() override;
  void upload(void* destination, const void* host, size_t bytes) override;
  void download(void* host, const void* source, size_t bytes) override;

  // Makes the device current for the calling thread.
  cudaStream_t stream();
  // Scratch memory that any command on the stream may use; it is shared, so nothing in it survives the next command.
  void* workspace();
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what cuBLASLt asks for on Hopper

  std::unique_ptr<Cache> gemm_cache;

 private:
  struct Staging;

  cudaStream_t stream_ = nullptr;
  std::shared_ptr<Staging> staging_;
  void* workspace_ = nullptr;
  std::unique_ptr<CudaQueue> queue_;
};

// Throws ERR_ENVIRONMENT with the facts about driver, runtime and architectures when the device cannot be had.
std::shared_ptr<Device> make_cuda_device(int index);

// The stream every kernel of `device` is launched on; `device` must be a CUDA device. Makes it current for this thread.
cudaStream_t cuda_stream(Device& device);

}  // namespace rl
