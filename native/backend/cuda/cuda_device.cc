#include "native/backend/cuda/cuda_device.h"

#include <algorithm>
#include <cstring>

#include "native/backend/cuda/cuda_info.h"
#include "native/backend/cuda/cuda_probe.h"
#include "native/core/error.h"

namespace rl {

namespace {

constexpr size_t kChunk = size_t{8} << 20;           // one transfer to the device
constexpr size_t kInFlight = size_t{64} << 20;       // staged bytes on their way before the host has to wait
constexpr size_t kKeptPinned = size_t{256} << 20;    // page-locked memory kept for reuse

void check(cudaError_t status, const std::string& name, const char* what) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();
  throw Error(status == cudaErrorMemoryAllocation ? code::kOutOfMemory : code::kDevice,
              str(name, ": ", what, ": ", cudaGetErrorString(status), " (CUDA error ", static_cast<int>(status), ")"));
}

void make_current(int index) {
  thread_local int current = -1;
  if (current == index) return;
  check(cudaSetDevice(index), str("cuda:", index), "cannot be made current");
  current = index;
}

Arena::System device_memory(int index) {
  return {[index](size_t bytes) -> void* {
            make_current(index);
            void* data = nullptr;
            const cudaError_t status = cudaMalloc(&data, bytes);
            if (status == cudaSuccess) return data;
            (void)cudaGetLastError();  // or the next launch would report it
            if (status == cudaErrorMemoryAllocation) return nullptr;
            check(status, str("cuda:", index), "memory cannot be allocated");
            return nullptr;
          },
          [](void* data, size_t) {
            (void)cudaFree(data);  // waits for the device, so that nothing queued still uses it
            (void)cudaGetLastError();
          },
          [index] {
            make_current(index);
            size_t free = 0, total = 0;
            if (cudaMemGetInfo(&free, &total) != cudaSuccess) (void)cudaGetLastError();
            return free;
          },
          "GPU memory"};
}

Arena::System pinned_memory() {
  return {[](size_t bytes) -> void* {
            void* data = nullptr;
            if (cudaHostAlloc(&data, bytes, cudaHostAllocPortable) == cudaSuccess) return data;
            (void)cudaGetLastError();
            return nullptr;
          },
          [](void* data, size_t) {
            (void)cudaFreeHost(data);
            (void)cudaGetLastError();
          },
          [] { return size_t{0}; }, "page-locked host memory"};
}

}  // namespace

// Page-locked buffers between pageable memory and the device. Shared with commands in flight, which may outlive a call.
struct CudaDevice::Staging {
  Arena pinned{pinned_memory()};
  std::mutex mutex;
  std::condition_variable drained;
  size_t in_flight = 0;

  void release(void* data, size_t bytes) {
    pinned.release(data, bytes);
    if (pinned.stats().cached > kKeptPinned) pinned.trim();
  }
};

CudaDevice::CudaDevice(int index) : Device(DeviceKind::cuda, index, str("cuda:", index)) {
  make_current(index);
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), name(), "no stream can be made");
  arena_ = std::make_unique<Arena>(device_memory(index));
  staging_ = std::make_shared<Staging>();
  queue_ = std::make_unique<CudaQueue>(index, name(), stream_);
}

CudaDevice::~CudaDevice() {
  queue_.reset();
  gemm_cache.reset();
  if (workspace_ != nullptr) arena_->release(workspace_, kWorkspaceBytes);
  (void)cudaStreamDestroy(stream_);
  (void)cudaGetLastError();
}

void CudaDevice::enqueue(const char* op, std::function<void()> work) {
  make_current(index());
  queue_->enqueue(op, std::move(work));
}

void CudaDevice::enqueue_wait(std::function<void(std::exception_ptr)> done) {
  make_current(index());
  queue_->enqueue_wait(std::move(done));
}

void CudaDevice::enqueue_always(std::function<void()> work) {
  make_current(index());
  queue_->enqueue_always(std::move(work));
}

void CudaDevice::abort() { queue_->abort(); }

cudaStream_t CudaDevice::stream() {
  make_current(index());
  return stream_;
}

void* CudaDevice::workspace() {
  if (workspace_ == nullptr) workspace_ = arena_->allocate(kWorkspaceBytes);
  return workspace_;
}

void CudaDevice::upload(void* destination, const void* host, size_t bytes) {
  make_current(index());
  queue_->check();
  const auto staging = staging_;
  for (size_t done = 0; done < bytes; done += kChunk) {
    const size_t size = std::min(kChunk, bytes - done);
    {
      std::unique_lock lock(staging->mutex);
      staging->drained.wait(lock, [&] { return staging->in_flight == 0 || staging->in_flight + size <= kInFlight; });
      staging->in_flight += size;
    }
    void* staged = nullptr;
    const auto release = [staging, size](void* block) {
      if (block != nullptr) staging->release(block, size);
      {
        std::lock_guard lock(staging->mutex);
        staging->in_flight -= size;
      }
      staging->drained.notify_one();
    };
    try {
      staged = staging->pinned.allocate(size);
      std::memcpy(staged, static_cast<const char*>(host) + done, size);
      check(cudaMemcpyAsync(static_cast<char*>(destination) + done, staged, size, cudaMemcpyHostToDevice, stream_),
            name(),
            "upload");
    } catch (...) {
      release(staged);
      throw;
    }
    queue_->enqueue_always([release, staged] { release(staged); });
  }
}

void CudaDevice::download(void* host, const void* source, size_t bytes) {
  if (bytes == 0) return;
  make_current(index());
  queue_->check();
  const auto staging = staging_;
  // As large as the tensor: the copy has its place in the stream now, before the tensor's memory is handed out again.
  void* staged = staging->pinned.allocate(bytes);
  const cudaError_t status = cudaMemcpyAsync(staged, source, bytes, cudaMemcpyDeviceToHost, stream_);
  if (status != cudaSuccess) staging->release(staged, bytes);
  check(status, name(), "download");
  queue_->enqueue_copy(host, staged, bytes, [staging, staged, bytes] { staging->release(staged, bytes); });
}

std::shared_ptr<Device> make_cuda_device(int index) {
  const CudaInfo& info = cuda_info();
  const auto facts = [&](const std::string& why) {
    return Error(code::kEnvironment,
                 str("device 'cuda:", index, "' cannot be used: ", why, ". CUDA runtime ", info.runtime, ", driver ",
                     info.driver.empty() ? "none" : info.driver, ", built for ", info.architectures,
                     ". --device cpu works everywhere"));
  };
  if (info.device_count == 0) throw facts(info.unavailable);
  if (index >= info.device_count) throw facts(str("there are ", info.device_count, " CUDA devices, cuda:0 to cuda:",
                                                  info.device_count - 1));
  if (index == 0 && !info.unavailable.empty()) throw facts(info.unavailable);
  make_current(index);
  const cudaError_t status = cuda_probe();
  if (status != cudaSuccess)
    throw facts(str(info.devices[static_cast<size_t>(index)], ": ", cudaGetErrorString(status), " (CUDA error ",
                    static_cast<int>(status), ")"));
  return std::make_shared<CudaDevice>(index);
}

cudaStream_t cuda_stream(Device& device) { return static_cast<CudaDevice&>(device).stream(); }

}  // namespace rl
